package gateway_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/gateway"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
)

// asked waits for the n-th newest request of a run to be pending and gives it.
func (r run) asked(call string) (a ops.Approval) {
	r.w.t.Helper()
	require.Eventually(r.w.t, func() bool {
		all, err := r.w.api.Approvals(r.w.t.Context(), postgres.ApprovalFilter{State: ops.ApprovalPending})
		require.NoError(r.w.t, err)
		for _, one := range all {
			if one.RunID == r.id && one.CallID == call {
				a = one
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "nobody was asked for %s", call)
	return a
}

// person is a user who may decide.
func (w *world) person(name string) postgres.User {
	w.t.Helper()
	u := postgres.User{ID: ops.NewID(), Username: name, PasswordHash: "x", Roles: []string{"approver"}}
	require.NoError(w.t, w.api.CreateUser(w.t.Context(), u))
	return u
}

func (w *world) decide(a ops.Approval, who postgres.User, approve bool, more ...func(*postgres.Decide)) error {
	w.t.Helper()
	d := postgres.Decide{Approval: a.ID, User: who, Approve: approve, Reason: "because"}
	for _, m := range more {
		m(&d)
	}
	_, err := w.api.DecideApproval(w.t.Context(), d)
	return err
}

// began is a call under way.
func (r run) began(g *gateway.Gateway, id string, a args) <-chan ops.ToolResult {
	r.w.t.Helper()
	c, out := r.client(g), make(chan ops.ToolResult, 1)
	go func() {
		res, err := c.CallTool(context.WithoutCancel(r.w.t.Context()), request(id, "ssh_execute", a, nil))
		if err != nil {
			out <- ops.ToolResult{Text: err.Error()}
			return
		}
		out <- result(r.w.t, res)
	}()
	return out
}

// TestApproval: people decide, once, on what they were shown.
//
// threats: F1 F2 F4 F5 F7 F11 F12 E4
func TestApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	w.zabbix("z", "p")
	ann, bob := w.person("ann"), w.person("bob")
	say := func(text string) args { return args{"target": "demo", "command": "printf '%s' '" + text + "'"} }

	t.Run("approved", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", say("yes; rm -rf /"))
		a := r.asked("c1")
		require.Equal(t, `printf '%s' 'yes; rm -rf /'`, a.Command)
		require.Equal(t, ops.RiskLow, a.Risk)
		require.Equal(t, "reads", a.Effect)
		require.Contains(t, a.Facts["host_key"], "SHA256:")
		require.Equal(t, "demo-key version 1", a.Facts["credential"])
		require.NoError(t, w.decide(a, ann, true))
		res := receive(t, got)
		require.Equal(t, ops.CallDone, res.State, res.Text)
		require.Equal(t, "yes; rm -rf /", res.Text)
		require.Equal(t, []string{"approval.requested intent", "tool.intent intent", "tool.outcome ok"}, actions(r.audits()))
		// F2: the same call again gives the stored result, and no other call can use it.
		require.Equal(t, res.Text, call(t, r.client(w.gateway), "c1", "ssh_execute", say("yes; rm -rf /")).Text)
		require.Equal(t, ops.CodeConflict, ops.CodeOf(w.decide(a, bob, true)))
		used, err := w.api.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.False(t, used.UsedAt.IsZero())
		// Nobody had noted the request when it was decided: it is on the timeline all the same, and first.
		events, err := w.api.Events(t.Context(), a.IncidentID, 0, 100)
		require.NoError(t, err)
		var kinds []ops.EventKind
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		require.Equal(t, []ops.EventKind{ops.EventApprovalAsked, ops.EventApprovalDecided}, kinds[len(kinds)-2:])
	})

	t.Run("denied", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", say("no"))
		require.NoError(t, w.decide(r.asked("c1"), ann, false))
		res := receive(t, got)
		require.Equal(t, ops.CallDenied, res.State)
		require.Contains(t, res.Text, "A person has denied the call: because")
		require.Equal(t, []string{"approval.requested intent", "tool.denied denied"}, actions(r.audits()))
	})

	t.Run("F7 not by who asks", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		_, err := w.owner().Pool().Exec(t.Context(), `UPDATE runs SET actor = 'user:ann' WHERE id = $1`, r.id)
		require.NoError(t, err)
		got := r.began(w.gateway, "c1", args{"target": "demo", "command": "mkdir -v " + s.Dir + "/mine"})
		a := r.asked("c1")
		require.Equal(t, ops.RiskMedium, a.Risk)
		require.Equal(t, ops.CodeForbidden, ops.CodeOf(w.decide(a, ann, true)))
		require.NoError(t, w.decide(a, bob, true))
		require.Contains(t, receive(t, got).Text, "mine")
	})

	t.Run("high risk is for one time", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", args{"target": "demo", "command": "echo $(id -u >/dev/null; echo dynamic)"})
		a := r.asked("c1")
		require.Equal(t, ops.RiskHigh, a.Risk)
		require.Equal(t, "echo $(id -u >/dev/null; echo dynamic)", a.Command, "byte for byte")
		require.Equal(t, ops.CodeInvalid, ops.CodeOf(w.decide(a, ann, true, func(d *postgres.Decide) { d.Grant = time.Minute })))
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, "dynamic\n", receive(t, got).Text)
	})

	t.Run("a grant", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", say("again"))
		require.NoError(t, w.decide(r.asked("c1"), ann, true, func(d *postgres.Decide) { d.Grant = time.Minute }))
		require.Equal(t, "again", receive(t, got).Text)
		c := r.client(w.gateway)
		res := call(t, c, "c2", "ssh_execute", say("again"))
		require.Equal(t, "again", res.Text, "nobody is asked")
		grants, err := w.api.Grants(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, grants, 1)
		other := r.began(w.gateway, "c3", say("another"))
		require.NoError(t, w.decide(r.asked("c3"), ann, false))
		require.Equal(t, ops.CallDenied, receive(t, other).State)
		require.NoError(t, w.api.RevokeGrant(t.Context(), grants[0].ID, "ann"))
		later := r.began(w.gateway, "c4", say("again"))
		require.NoError(t, w.decide(r.asked("c4"), ann, false))
		require.Equal(t, ops.CallDenied, receive(t, later).State)

		// It is worth nothing without who has given it.
		once := r.began(w.gateway, "c5", say("once more"))
		require.NoError(t, w.decide(r.asked("c5"), bob, true, func(d *postgres.Decide) { d.Grant = time.Minute }))
		require.Equal(t, "once more", receive(t, once).Text)
		const disable = `UPDATE users SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1`
		_, err = w.owner().Pool().Exec(t.Context(), disable, bob.ID, true)
		require.NoError(t, err)
		grants, err = w.api.Grants(t.Context(), "")
		require.NoError(t, err)
		require.False(t, grants[0].ExpiresAt.After(time.Now()))
		later = r.began(w.gateway, "c6", say("once more"))
		require.NoError(t, w.decide(r.asked("c6"), ann, false))
		require.Equal(t, ops.CallDenied, receive(t, later).State)
		_, err = w.owner().Pool().Exec(t.Context(), disable, bob.ID, false)
		require.NoError(t, err)
	})

	t.Run("F1 F4 what has changed is not run", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", say("x"))
		a := r.asked("c1")
		way, err := w.api.Way(t.Context(), "demo", 1)
		require.NoError(t, err)
		target := way[0].Target
		changed := target
		changed.User = "somebody"
		require.NoError(t, w.api.PutTarget(t.Context(), changed))
		require.NoError(t, w.decide(a, ann, true))
		res := receive(t, got)
		require.NoError(t, w.api.PutTarget(t.Context(), target))
		require.Equal(t, ops.CallDenied, res.State)
		require.Contains(t, res.Text, "have changed since")
	})

	t.Run("F11 a decision finds its call on another gateway", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		first, stop := w.start()
		got := r.began(first, "c1", say("moved"))
		a := r.asked("c1")
		stop()
		require.NotEqual(t, ops.CallDone, receive(t, got).State, "whoever asked must ask another gateway")
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, "moved", call(t, r.client(w.gateway), "c1", "ssh_execute", say("moved")).Text)
	})

	t.Run("F2 two gateways race", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		second, _ := w.start()
		s.Script(s.Dir+"/count", "echo x >> "+s.Dir+"/n; cat "+s.Dir+"/n")
		a1 := args{"target": "demo", "command": "/bin/sh " + s.Dir + "/count"}
		one, two := r.began(w.gateway, "c1", a1), r.began(second, "c1", a1)
		a := r.asked("c1")
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, "x\n", receive(t, one).Text)
		require.Equal(t, "x\n", receive(t, two).Text)
	})

	t.Run("F5 people see all that is done, however long", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		c := r.client(w.gateway)
		create := func(length int) args { // whose canonical form is so long
			frame := len(`{"method":"script.create","params":{"pad":""}}`)
			return args{"method": "script.create", "params": args{"pad": strings.Repeat("x", length-frame)}}
		}
		long := call(t, c, "long", "zabbix_api", create(64<<10+1))
		require.Equal(t, ops.CallDenied, long.State, long.Text)
		require.Contains(t, long.Text, "more than 65536 bytes")
		require.Equal(t, []string{"tool.denied denied"}, actions(r.audits()))

		got := began(t, c, "full", "zabbix_api", create(64<<10))
		shown := create(64 << 10)
		shown["target"] = "z" // the only one: it was left out
		want, err := json.Marshal(shown)
		require.NoError(t, err)
		a := r.asked("full")
		require.JSONEq(t, string(want), string(a.Arguments))
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, ops.CallDone, receive(t, got).State)
		stored, err := w.api.Call(t.Context(), r.id, "full")
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(stored.Arguments))

		// NUL, which Postgres does not store, is refused; what only looks like it is not changed.
		got = began(t, c, "escape", "zabbix_api", args{"method": "script.create", "params": args{"command": `printf '\u0000'`}})
		a = r.asked("escape")
		require.Contains(t, string(a.Arguments), `printf '\\u0000'`)
		require.NoError(t, w.decide(a, ann, false))
		require.Equal(t, ops.CallDenied, receive(t, got).State)
		for id, params := range map[string]args{"value": {"command": []string{"a", "b\x00"}}, "name": {"a\x00": 1}} {
			nul := call(t, c, "nul-"+id, "zabbix_api", args{"method": "script.create", "params": params})
			require.Equal(t, ops.CallDenied, nul.State)
			require.Contains(t, nul.Text, "has NUL, a control character")
		}
	})

	t.Run("F12 who asks too much is refused", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		refused := 0
		for n := range 12 {
			got := r.began(w.gateway, "c"+string(rune('a'+n)), say(string(rune('a'+n))))
			if n < 10 {
				require.NoError(t, w.decide(r.asked("c"+string(rune('a'+n))), ann, false))
			}
			if res := receive(t, got); strings.Contains(res.Text, "no more are asked now") {
				refused++
			}
		}
		require.Equal(t, 2, refused)
	})

	t.Run("E4 a disabled user's run does nothing more", func(t *testing.T) {
		eve := w.person("eve")
		r := w.run("allow:ssh_execute(echo *)")
		_, err := w.owner().Pool().Exec(t.Context(), `UPDATE runs SET actor = 'user:eve' WHERE id = $1`, r.id)
		require.NoError(t, err)
		c := r.client(w.gateway)
		require.Equal(t, "x\n", call(t, c, "c1", "ssh_execute", args{"target": "demo", "command": "echo x"}).Text)
		_, err = w.owner().Pool().Exec(t.Context(), `UPDATE users SET disabled_at = now() WHERE id = $1`, eve.ID)
		require.NoError(t, err)
		_, err = c.CallTool(t.Context(), request("c2", "ssh_execute", args{"target": "demo", "command": "echo x"}, nil))
		require.Error(t, err)
	})
}

// A call that nobody decides on is held for a while, then answered as waiting;
// asked again, it goes on where it was.
//
// threats: F11
func TestApprovalParks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	ann := w.person("ann")
	w.stop()
	w.gateway, w.stop = w.start(func(c *gateway.Config) { c.RunWaits = 300 * time.Millisecond })
	r := w.run("allow:ssh_hosts")
	c := r.client(w.gateway)
	a1 := args{"target": "demo", "command": "printf late"}
	require.Equal(t, ops.CallWaiting, call(t, c, "c1", "ssh_execute", a1).State)
	require.NoError(t, w.decide(r.asked("c1"), ann, true))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { require.Equal(t, "late", call(t, r.client(w.gateway), "c1", "ssh_execute", a1).Text) })
	}
	wg.Wait()
	require.Equal(t, []string{"approval.requested intent", "tool.intent intent", "tool.outcome ok"}, actions(r.audits()))

	// What nobody has decided in time, and what was approved and is asked for again too late.
	for id, want := range map[string]string{"c2": "nobody gave it in time", "c3": "was approved, but came too late"} {
		require.Equal(t, ops.CallWaiting, call(t, c, id, "ssh_execute", a1).State)
		a, late := r.asked(id), "1 hour"
		if id == "c3" {
			require.NoError(t, w.decide(a, ann, true))
			late = "15 minutes"
		}
		_, err := w.owner().Pool().Exec(t.Context(), `UPDATE approvals SET decided_at = decided_at - $2::interval, expires_at = expires_at - $2::interval WHERE id = $1`, a.ID, late)
		require.NoError(t, err)
		res := call(t, c, id, "ssh_execute", a1)
		require.Equal(t, ops.CallDenied, res.State, id)
		require.Contains(t, res.Text, want)
	}
}
