//go:build compose

package compose_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
)

// connects is a program for gawk that opens a connection.
const connects = `BEGIN{s="/inet/tcp/0/mcp-gateway-agents/8082";print((s|&getline)<0)?"closed":"open"}`

// shellCommands are what a model that was talked into something tries in the
// shell of its run, and what it gets to see.
var shellCommands = []struct{ command, sees string }{
	// What the shell is for.
	{"id -u", "1001\n"},
	{"grep alertname ../incident.json", `"alertname": "DiskAlmostFull"`},
	{"touch note && ls", "note\n"},
	{"jq -r .incident.status ../incident.json", "triggered\n"},
	{"rg -c . /etc/debian_version", "1\n"},
	// What the api has said cannot be changed, though the files are of the shell's own user.
	{"cp /etc/hostname ../incident.json", "cannot create regular file '../incident.json': Permission denied"},
	{"chmod 666 ../incident.json", "chmod: changing permissions of '../incident.json': Operation not permitted"},
	{"tee -a ../incident.json", "tee: ../incident.json: Permission denied"},
	{"rm -f ../incident.json", "cannot remove '../incident.json': Permission denied"},
	{"mv ../incident.json .", "cannot move '../incident.json'"},
	{"mkdir ../skills", "cannot create directory"},
	// Nothing is written anywhere else, and nothing that was written is executed.
	{"touch /tmp/x", "Permission denied"},
	{"touch /work/x", "Permission denied"},
	{"touch /dev/shm/x", "Permission denied"},
	{"touch /etc/x", "cannot touch '/etc/x'"},
	{"cp /bin/ls program && ./program", "./program: Permission denied"},
	// No secret of the worker, of another run or of a process.
	{"cat /run/akmatori/worker-token", "Permission denied"},
	{"ls /run/akmatori", "Permission denied"},
	{"cat /proc/1/environ", "Permission denied"},
	{"cat /proc/self/environ", "Permission denied"},
	{"ls /work/runs", "Permission denied"},
	{"env", "PATH=/usr/local/bin:/usr/bin:/bin"},
	{"ps aux", "mount -t proc"},
	// No way to the network, to the worker or out of the confinement.
	{"gawk '" + connects + "'", "closed\n"},
	{"kill -9 1", "Operation not permitted"},
	{"unshare -U true", "unshare failed: Operation not permitted"},
	{"ulimit -f", "65536\n"},
	{"head -c 100000000 /dev/zero | tee big | wc -c ; stat -c %s big", "67108864\n"},
}

// testConfined: the shell of a run, in the container as it runs.
func testConfined(t *testing.T, d *deployment) {
	var calls []map[string]any
	for _, c := range shellCommands {
		calls = append(calls, map[string]any{"tool": "Bash", "arguments": map[string]any{"command": c.command}})
	}
	scenario, err := json.Marshal(map[string]any{"name": "confined", "turns": []any{
		map[string]any{"calls": calls},
		map[string]any{"calls": []any{map[string]any{"tool": "submit_findings",
			"arguments": map[string]any{"summary": "s", "root_cause": "", "confidence": 0, "evidence": []any{}}}}},
	}})
	require.NoError(t, err)
	d.model(t, scenario)
	// A rule for all commands does not allow what runs other programs: those are spelled out.
	spelled := regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllString(connects, `\$0`)
	before := d.sql("SELECT rules FROM agents WHERE id = 'investigator'")
	d.sql("UPDATE agents SET provider = 'outside-model', rules = ARRAY['allow:Bash(env)', 'allow:Bash(unshare -U true)', $$allow:Bash(gawk " + spelled +
		")$$, 'allow:Bash'] || rules WHERE id = 'investigator'")
	title := d.alert()
	i := d.ended(title)
	d.sql("UPDATE agents SET provider = '', rules = $$" + before + "$$ WHERE id = 'investigator'")

	results := d.results(i)
	for n, c := range shellCommands {
		res, ok := results[fmt.Sprintf("c%d", n+1)]
		require.True(t, ok, "%s: no result", c.command)
		require.Equal(t, ops.CallDone, res.State, "%s: %s", c.command, res.Text)
		require.Contains(t, res.Text, c.sees, c.command)
		for _, s := range d.secrets() {
			require.NotContains(t, res.Text, s.value, "%s shows %s", c.command, s.name)
		}
		require.NotContains(t, res.Text, "AKMATORI_", c.command)
	}
	t.Logf("%d commands in the shell of a run did what they should", len(shellCommands))
}

// model serves a scripted one outside, and makes it a provider.
func (d *deployment) model(t *testing.T, scenario []byte) {
	s, err := fake.LoadScenario(strings.NewReader(string(scenario)))
	require.NoError(t, err)
	key := ops.NewToken("sk-test-")
	l, err := in(d.outside, func() (net.Listener, error) { return net.Listen("tcp", at(modelAddress, modelPort)) })
	require.NoError(t, err)
	server := &http.Server{Handler: fake.NewVendor(s, fake.Config{Key: key}), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	for _, add := range []struct {
		path string
		body map[string]any
	}{
		{"credentials", map[string]any{"name": "outside-model", "kind": "llm_key", "secret": key.Reveal(), "targets": []string{"outside-model"}}},
		{"llm-providers", map[string]any{"name": "outside-model", "kind": "openai", "base_url": "http://" + at(modelAddress, modelPort) + "/v1",
			"model": "m", "credential": "outside-model", "allow_private": true}},
	} {
		raw, err := json.Marshal(add.body)
		require.NoError(t, err)
		status, err := d.do(http.MethodPost, "/api/v1/"+add.path, d.token, raw, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, status, add.path)
	}
}

// ended waits until the investigation of an alert is over, however.
func (d *deployment) ended(title string) ops.Incident {
	d.t.Helper()
	var found []ops.Incident
	require.Eventually(d.t, func() bool {
		found = d.find(title)
		return len(found) == 1 && found[0].Investigation.Final()
	}, 3*time.Minute, 200*time.Millisecond, "%s does not end", title)
	return found[0]
}

// results gives the results of an incident's tool calls, by call.
func (d *deployment) results(i ops.Incident) map[string]ops.ToolResult {
	t := d.t
	t.Helper()
	all := map[string]ops.ToolResult{}
	for after := int64(0); ; {
		var page struct{ Items []ops.Event }
		status, err := d.do(http.MethodGet, fmt.Sprintf("/api/v1/incidents/%s/events?after=%d", i.ID, after), d.token, nil, &page)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		if len(page.Items) == 0 {
			return all
		}
		for _, e := range page.Items {
			after = e.Seq
			if e.Kind != ops.EventToolResult {
				continue
			}
			var res ops.ToolResult
			require.NoError(t, json.Unmarshal(e.Data, &res))
			all[res.ID] = res
		}
	}
}

// sql runs a statement as the owner of the database, with psql in its container.
func (d *deployment) sql(statement string) string {
	d.t.Helper()
	return d.sqlAs(d.password(), statement)
}

func (d *deployment) sqlAs(password, statement string) string {
	d.t.Helper()
	return strings.TrimSpace(d.run("docker", "exec", "-e", "PGPASSWORD="+password, d.containers(false)["postgres"].ID,
		"psql", "-h", "127.0.0.1", "-U", "akmatori_owner", "-d", "akmatori", "-v", "ON_ERROR_STOP=1", "-Atqc", statement))
}

// password is that of the database's owner.
func (d *deployment) password() string {
	d.t.Helper()
	data, err := os.ReadFile(d.file("secrets-postgres", "password"))
	require.NoError(d.t, err)
	return strings.TrimSpace(string(data))
}
