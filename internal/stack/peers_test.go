//go:build peers

package stack_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// TestPeers has a real Prometheus find that a target is down and a real
// Alertmanager tell us, and the agent look at real OpenSSH servers: one direct,
// one through a jump host, one whose host key has changed. Meanwhile the api,
// the agent and the gateway are killed, one after the other.
func TestPeers(t *testing.T) {
	dir := peerDir(t)
	count := filepath.Join(dir, "count")
	require.NoError(t, os.Mkdir(count, 0o777))
	require.NoError(t, os.Chmod(count, 0o777))
	sshd := peer(t, nil, "sshd.sh", "start", filepath.Join(dir, "ssh"))
	t.Cleanup(func() { peer(t, nil, "sshd.sh", "stop", filepath.Join(dir, "ssh")) })

	scenario, err := os.ReadFile("testdata/peers.yaml")
	require.NoError(t, err)
	c := prepare(t, strings.ReplaceAll(string(scenario), "COUNT", count))
	c.sshTargets(sshd, count)
	c.startAll()

	am := peer(t, []string{"AM_WEBHOOK_URL=" + c.url + "/webhook/alert/" + c.source, "AM_BEARER=" + c.webhook.Reveal()},
		"alertmanager.sh", "start", filepath.Join(dir, "am"))
	t.Cleanup(func() { peer(t, nil, "alertmanager.sh", "stop", filepath.Join(dir, "am")) })
	peer(t, nil, "prometheus.sh", "start", filepath.Join(dir, "prom"), "0", am["ALERTMANAGER_ADDR"])
	t.Cleanup(func() { peer(t, nil, "prometheus.sh", "stop", filepath.Join(dir, "prom")) })

	victims := make(chan string)
	for turn, victim := range map[int]string{2: "api", 3: "agent", 4: "mcp"} {
		c.atTurn(turn, func() { c.procs[victim].kill(); victims <- victim })
	}
	peer(t, nil, "prometheus.sh", "trip", filepath.Join(dir, "prom"))
	for range 3 {
		select {
		case victim := <-victims:
			c.procs[victim].start()
		case <-time.After(90 * time.Second):
			c.dumpLogs()
			t.Fatal("the run stopped")
		}
	}
	i := c.concluded()
	require.Contains(t, i.GroupKey, "PeerDown")
	require.Equal(t, ops.SeverityCritical, i.Severity)
	files, err := os.ReadDir(count)
	require.NoError(t, err)
	var made []string
	for _, f := range files {
		name, _, _ := strings.Cut(f.Name(), ".")
		made = append(made, name)
	}
	require.Equal(t, []string{"direct", "jumped"}, made, "what the hosts executed")

	states := map[string]ops.ToolCall{}
	calls, err := c.db.Calls(t.Context(), i.ID)
	require.NoError(t, err)
	for _, call := range calls {
		states[call.ID] = call
	}
	require.Equal(t, ops.CallDone, states["c2"].State)
	require.Equal(t, ops.CallDone, states["c3"].State)
	require.Equal(t, ops.CallFailed, states["c4"].State, "the host with another key")
	require.Contains(t, strings.ToLower(states["c4"].Result.Text), "host key")
	require.Equal(t, ops.CallDenied, states["c5"].State, "no rule allows rm")
	findings, err := c.db.Findings(t.Context(), i.ID)
	require.NoError(t, err)
	require.Len(t, findings[0].Finding.Evidence, 2, "the failed call is no evidence")

	// Nobody tried to log in at the host with the changed key, and the audit has it.
	log, err := os.ReadFile(filepath.Join(sshd["SSH_LOGS"], "mismatch.log"))
	require.NoError(t, err)
	for _, word := range []string{"Accepted", "Failed", "Postponed", "preauth] userauth"} {
		require.NotContains(t, string(log), word)
	}
	records, err := c.db.Audit(t.Context(), "gateway", 0, 1000)
	require.NoError(t, err)
	_, err = ops.VerifyChain(nil, records)
	require.NoError(t, err)
	audited := false
	for _, r := range records {
		audited = audited || r.Outcome == "failed" && strings.Contains(r.Detail["offered"], "SHA256:") && r.Detail["offered"] != r.Detail["pinned"]
	}
	require.True(t, audited, "no audit record of the changed host key: %+v", records)

	peer(t, nil, "prometheus.sh", "recover", filepath.Join(dir, "prom"))
	require.Eventually(t, func() bool { return c.incident().Status == ops.IncidentResolved }, 60*time.Second, 100*time.Millisecond)
}

// sshTargets makes the three servers targets and lets mktemp in count run on them.
func (c *cluster) sshTargets(sshd map[string]string, count string) {
	t := c.t
	known, err := os.ReadFile(sshd["SSH_KNOWN_HOSTS"])
	require.NoError(t, err)
	pinned := func(port string) string {
		var keys []string
		for line := range strings.Lines(string(known)) {
			if key, ok := strings.CutPrefix(line, "[127.0.0.1]:"+port+" "); ok {
				keys = append(keys, strings.TrimSpace(key))
			}
		}
		require.NotEmpty(t, keys, "no known key of port %s", port)
		return strings.Join(keys, "\n")
	}
	secret := func(name string) ops.Secret {
		data, err := os.ReadFile(sshd[name])
		require.NoError(t, err)
		return ops.NewSecret(string(data))
	}
	target := func(name, port, credential, jump string) config.Target {
		n, err := strconv.Atoi(sshd[port])
		require.NoError(t, err)
		return config.Target{Name: name, Address: "127.0.0.1", Port: n, User: sshd["SSH_USER"], HostKey: pinned(sshd[port]),
			Credential: credential, Jump: jump}
	}
	c.configure(config.File{
		Credentials: []config.Credential{
			{Name: "login", Kind: "ssh_key", Secret: secret("SSH_KEY"), Targets: []string{"direct", "jumped", "changed"}},
			{Name: "jump", Kind: "ssh_key", Secret: secret("SSH_JUMP_KEY"), Targets: []string{"jump"}},
		},
		Targets: []config.Target{
			target("jump", "SSH_JUMP_PORT", "jump", ""),
			target("direct", "SSH_PORT", "login", ""),
			target("jumped", "SSH_PORT", "login", "jump"),
			target("changed", "SSH_MISMATCH_PORT", "login", ""),
		},
		Agents: []config.Agent{{ID: "investigator", Rules: []string{"allow:ssh_hosts", "allow:ssh_execute(mktemp -p " + count + " ?*)", "deny:*"}}}, // what is not allowed is not asked
	})
}
