package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
)

// moveTarget changes a target as the api does.
func (w *world) moveTarget(name string, how func(*ops.Target)) {
	w.t.Helper()
	way, err := w.api.Way(w.t.Context(), name, 1)
	require.NoError(w.t, err)
	now := way[0].Target
	how(&now)
	require.NoError(w.t, w.api.UpdateTarget(w.t.Context(), way[0].Target, now))
}

// TestTargetChanged: what is kept of a target's old place is given up within a
// second, what comes goes to the new one under the key that is pinned for that,
// and a command that runs ends where it began.
func TestTargetChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gate, before, after, spare := sshtest.New(t), sshtest.New(t), sshtest.New(t), sshtest.New(t)
	key, public := sshtest.Key(t, "")
	before.Authorize(public)
	after.Authorize(public)
	before.Key = key
	w.host("gate", gate)
	w.host("demo", before, func(target *ops.Target, _ *ops.Credential) { target.Jump = "gate" })
	w.host("kept", spare)
	open := w.zabbix("east", "a disk is full")
	w.host("removed", spare)
	before.Script(before.Dir+"/wait.sh", "echo begun; while [ ! -e $1 ]; do sleep 0.05; done; echo survived")
	r := w.run("allow:ssh_execute(echo *)", "allow:zabbix_problems", script(before, "wait.sh"))
	c := r.client(w.gateway)
	echo := func(id, target string) ops.ToolResult {
		return call(t, c, id, "ssh_execute", args{"target": target, "command": "echo " + id})
	}
	for _, name := range []string{"demo", "kept", "removed"} {
		require.Equal(t, "a-"+name+"\n", echo("a-"+name, name).Text)
	}
	require.Equal(t, ops.CallDone, call(t, c, "z", "zabbix_problems", args{}).State)
	require.Positive(t, open.Load())
	logins := func(s *sshtest.Server) int { return strings.Count(s.Log(), "Accepted publickey") }
	ended := func(s *sshtest.Server) int { return strings.Count(s.Log(), "Closing connection to") }
	require.Zero(t, ended(before), before.Log())
	kept := logins(spare)

	// Labels are no place: that connection stays, as the last call shows.
	w.moveTarget("kept", func(t *ops.Target) { t.Labels = map[string]string{"env": "prod"} })
	began := time.Now()
	w.moveTarget("demo", func(t *ops.Target) { t.Port, t.HostKey = after.Port, "" })
	w.moveTarget("east", func(t *ops.Target) { t.Port = 1 })
	way, err := w.api.Way(t.Context(), "removed", 1)
	require.NoError(t, err)
	require.NoError(t, w.api.DeleteTarget(t.Context(), way[0].ID))
	require.Eventually(t, func() bool { return ended(before) == 1 && ended(spare) == 1 && open.Load() == 0 }, 10*time.Second, 10*time.Millisecond)
	// The promise is a second; what a machine that does other things adds is no part of it.
	require.Less(t, time.Since(began), 5*time.Second)
	require.Contains(t, echo("b", "demo").Text, "no host key is pinned for demo")
	require.Zero(t, logins(after))
	w.moveTarget("demo", func(t *ops.Target) { t.HostKey = after.HostKey })
	require.Equal(t, "c\n", echo("c", "demo").Text)
	require.Equal(t, 1, logins(after))

	// The way is a part of the place.
	w.moveTarget("demo", func(t *ops.Target) { t.Jump, t.Port, t.HostKey = "", before.Port, before.HostKey })
	require.Eventually(t, func() bool { return ended(after) == 1 }, 10*time.Second, 10*time.Millisecond)
	running := r.began(w.gateway, "w", args{"target": "demo", "command": "/bin/sh " + before.Dir + "/wait.sh " + before.Dir + "/go"})
	require.Eventually(t, func() bool { return strings.Count(before.Log(), "Starting session") == 2 }, 10*time.Second, 10*time.Millisecond)
	w.moveTarget("demo", func(t *ops.Target) { t.Port, t.HostKey = after.Port, after.HostKey })
	require.Equal(t, "d\n", echo("d", "demo").Text)
	require.Equal(t, 2, logins(after))
	require.Equal(t, 1, ended(before), "its command runs")
	before.Script(before.Dir+"/go", "")
	require.Contains(t, receive(t, running).Text, "survived")
	require.Eventually(t, func() bool { return ended(before) == 2 }, 10*time.Second, 10*time.Millisecond)

	require.Equal(t, "e\n", echo("e", "kept").Text)
	require.Equal(t, kept, logins(spare))
}
