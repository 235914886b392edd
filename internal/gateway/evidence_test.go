package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
)

// shippedRun is a run with the rules of the agent that is there from the start,
// which may also print files.
func (w *world) shippedRun() run {
	w.t.Helper()
	shipped, err := w.api.Agent(w.t.Context(), "investigator")
	require.NoError(w.t, err)
	return w.run(append([]string{"allow:ssh_execute(cat *)", "allow:ssh_execute(echo *)"}, shipped.Rules...)...)
}

// TestEvidence: what a result leaves out can be read by whoever made the call,
// and by nobody else, and goes with the run.
//
// threats: E12 K6
func TestEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	r := w.shippedRun()
	c := r.client(w.gateway)
	secret := strings.Split(s.Key.Reveal(), "\n")[2]
	log := filepath.Join(s.Dir, "app.log")
	filler := strings.Repeat("GET /health 200 in 3 ms, and nothing else happened at all\n", 6000)
	require.NoError(t, os.WriteFile(log, []byte(filler+"FATAL: \x1b[31mdisk quota exceeded\x1b[0m key "+secret+"\n"+filler), 0o600))

	long := call(t, c, "c1", "ssh_execute", args{"target": "demo", "command": "cat " + log})
	require.Equal(t, ops.CallDone, long.State, long.Text)
	require.NotContains(t, long.Text, "FATAL")
	require.Positive(t, long.Truncated)
	require.Contains(t, long.Text[len(long.Text)-300:], "evidence_read and evidence_search read them as call c1")
	call(t, c, "c2", "ssh_execute", args{"target": "demo", "command": "echo FATAL"})

	found := call(t, c, "c3", "evidence_search", args{"pattern": "FATAL"})
	require.Equal(t, ops.CallDone, found.State)
	want := "[call c1, ssh_execute on demo]\n6001: FATAL: disk quota exceeded key " + ops.Redacted
	require.True(t, strings.HasPrefix(found.Text, want), found.Text)
	require.Contains(t, found.Text, "[call c2, ssh_execute on demo]\n1: FATAL\n")
	page := call(t, c, "c4", "evidence_read", args{"call": "c1", "from_line": 6001, "lines": 1})
	require.Contains(t, page.Text, "\nFATAL: disk quota exceeded key "+ops.Redacted)
	require.Contains(t, call(t, c, "c5", "evidence_read", args{"call": "c2"}).Text, "\nFATAL\n")

	// What was found there can be cited.
	outputs := map[string]string{"c1": long.Text, "c3": found.Text, "c4": page.Text}
	cited := func(call string) bool {
		f := ops.CheckFindings(ops.Finding{RootCause: "quota", Evidence: []ops.Citation{{Call: call, Excerpt: "FATAL: disk quota exceeded"}}}, outputs)
		return f.Conclusive
	}
	require.True(t, cited("c3"))
	require.True(t, cited("c4"))
	require.False(t, cited("c1"))

	// What is wrong with the arguments is said without what could write to a terminal.
	wrong := call(t, c, "c6", "evidence_search", args{"pattern": "(\x1b]0;t\x07FATAL\u202e"})
	require.Equal(t, ops.CallFailed, wrong.State)
	require.Equal(t, "pattern is not a regular expression: missing closing ): `(FATAL`", wrong.Text)
	require.Contains(t, actions(r.audits()), "tool.outcome failed")
	for _, rec := range r.audits() {
		require.NotContains(t, rec.Detail["why"], "\x1b")
	}

	// Nobody else's: neither another run, nor a token.
	other := w.shippedRun()
	oc := other.client(w.gateway)
	_, _, tc := w.issue([]string{"allow:evidence_*"}, []string{"*"}, []string{"*"})
	for _, stranger := range []func(string, string, any) ops.ToolResult{
		func(id, name string, a any) ops.ToolResult { return call(t, oc, id, name, a) },
		func(id, name string, a any) ops.ToolResult { return call(t, tc, id, name, a) },
	} {
		got := stranger("c1", "evidence_read", args{"call": "c4"})
		require.Equal(t, ops.CallFailed, got.State)
		require.Contains(t, got.Text, "there is no such call")
		require.Contains(t, stranger("c9", "evidence_search", args{"pattern": "FATAL"}).Text, "no line of 0 calls matches")
		require.Contains(t, stranger("c8", "evidence_read", args{"call": r.id}).Text, "there is no such call")
	}

	// The gateway can add to it, and nothing else; with the run it goes.
	owner := w.owner()
	var chunks int
	count := func() int {
		require.NoError(t, owner.Pool().QueryRow(t.Context(), `SELECT count(*) FROM evidence WHERE run_id = $1`, r.id).Scan(&chunks))
		return chunks
	}
	require.Greater(t, count(), 1)
	for _, forbidden := range []string{"UPDATE", "DELETE", "TRUNCATE"} {
		var may bool
		require.NoError(t, owner.Pool().QueryRow(t.Context(), `SELECT has_table_privilege('akmatori_gateway', 'evidence', $1)`, forbidden).Scan(&may))
		require.False(t, may, forbidden)
	}
	var leaked int
	require.NoError(t, owner.Pool().QueryRow(t.Context(), `SELECT count(*) FROM evidence WHERE position($1::bytea IN data) > 0`, []byte(secret)).Scan(&leaked))
	require.Zero(t, leaked)
	r.end()
	_, err := owner.Pool().Exec(t.Context(), `DELETE FROM incidents WHERE id = (SELECT incident_id FROM runs WHERE id = $1)`, r.id)
	require.NoError(t, err)
	require.Zero(t, count())
}

// TestReadFile: rules about files hold for where a path leads.
func TestReadFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for name, text := range map[string]string{"log/app.log": "fine\n", "conf/app.conf": "password=1\n", "other/x": "x\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for link, to := range map[string]string{"log/latest": "app.log", "log/conf": "../conf/app.conf", "log/other": "../other", "log/shadow": "/etc/shadow"} {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, link)))
	}
	r := w.run("deny:ssh_read_file(/"+dir+"/conf/**)", "allow:ssh_read_file(/"+dir+"/log/**)")
	c := r.client(w.gateway)
	for i, row := range []struct {
		path  string
		state ops.CallState
		want  string
	}{
		{"log/app.log", ops.CallDone, "[" + dir + "/log/app.log: lines 1 to 1 of 5 bytes]\nfine\n"},
		{"log/latest", ops.CallDone, "fine\n"},
		{"conf/app.conf", ops.CallDenied, "denied by the rules"},
		{"log/conf", ops.CallFailed, "leads to " + dir + "/conf/app.conf. The call was denied by the rules"},
		{"log/other/x", ops.CallFailed, "ask for that path itself"},
		{"log/shadow", ops.CallFailed, "leads to /etc/shadow"},
		{"log/none", ops.CallFailed, "there is no such file"},
	} {
		got := call(t, c, fmt.Sprintf("c%d", i), "ssh_read_file", args{"target": "demo", "path": filepath.Join(dir, row.path)})
		require.Equal(t, row.state, got.State, "%s: %s", row.path, got.Text)
		require.Contains(t, got.Text, row.want, row.path)
		require.NotContains(t, got.Text, "password=")
	}
}
