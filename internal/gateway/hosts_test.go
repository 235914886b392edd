package gateway_test

import (
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
)

// TestSeveralHosts: one call is one decision about all of its hosts, and one
// result that says of each what became of it.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, moved := sshtest.New(t), sshtest.New(t), sshtest.New(t)
	w.host("a", a)
	w.host("b", b)
	_, other := sshtest.Key(t, "")
	w.host("moved", moved, func(target *ops.Target, _ *ops.Credential) { target.HostKey = other })
	w.host("foreign", b, func(_ *ops.Target, c *ops.Credential) { c.Targets = []string{"another"} })
	a.Script(a.Dir+"/which", "echo I am a")
	r := w.run("allow:ssh_execute(cat *)", "allow:ssh_execute(echo *)")
	c := r.client(w.gateway)
	run := func(id, command string, more args) ops.ToolResult {
		t.Helper()
		more["command"] = command
		return call(t, c, id, "ssh_execute", more)
	}
	got := run("c1", "cat "+a.Dir+"/which", args{"hosts": []string{"a", "b"}})
	require.Equal(t, ops.CallDone, got.State, got.Text)
	require.Equal(t, "[a: exit status 0]\necho I am a\n[b: exit status 0]\necho I am a\n", got.Text)
	require.Equal(t, "a, b", got.Target)
	require.Equal(t, 0, *got.ExitCode)
	audits := r.audits()
	require.Equal(t, []string{"tool.intent intent", "tool.outcome ok"}, actions(audits))
	require.Equal(t, "a, b", audits[0].Detail["target"])
	require.Equal(t, "a-key version 1, b-key version 1", audits[0].Detail["credential"])

	// A host with another key is a part of the result, in the audit log, and stops nobody else.
	got = run("c2", "echo x", args{"hosts": []string{"a", "moved"}})
	require.Equal(t, ops.CallFailed, got.State)
	require.Contains(t, got.Text, "[a: exit status 0]\nx\n[moved: the host key of moved is not the pinned one")
	audits = r.audits()
	require.Equal(t, "tool.host_key_refused failed", actions(audits)[3])
	require.Equal(t, "moved", audits[3].Detail["host"])

	// If one may not be, nothing runs anywhere.
	sessions := strings.Count(a.Log(), "Starting session")
	for id, row := range map[string]struct {
		hosts args
		want  string
	}{
		"r1": {args{"hosts": []string{"a", "nowhere"}}, "no ssh target"},
		"r2": {args{"hosts": []string{"a", "foreign"}}, "may not be used for host foreign"},
		"r3": {args{"hosts": []string{"a", "a"}}, "twice"},
		"r4": {args{"hosts": []string{"a"}, "target": "b"}, "give either target or hosts"},
		"r5": {args{}, "give either target or hosts"},
		"r6": {args{"hosts": []string{}}, "give either target or hosts"},
		"r7": {args{"hosts": strings.Split(strings.Repeat("a ", 20)+"a", " ")}, "more than 20 items"},
	} {
		got := run(id, "echo x", row.hosts)
		require.Equal(t, ops.CallDenied, got.State, id)
		require.Contains(t, got.Text, row.want, id)
	}
	require.Equal(t, sessions, strings.Count(a.Log(), "Starting session"))

	// What people approve is all of them: another list is another call.
	asker := w.run("ask:ssh_execute")
	began := asker.began(w.gateway, "c1", args{"hosts": []string{"a", "b"}, "command": "echo asked"})
	asked := asker.asked("c1")
	require.Equal(t, "a, b", asked.Target)
	require.Equal(t, "a-key version 1, b-key version 1", asked.Facts["credential"])
	require.NoError(t, w.decide(asked, w.person("eve"), true))
	require.Equal(t, "[a: exit status 0]\nasked\n[b: exit status 0]\nasked\n", receive(t, began).Text)
}
