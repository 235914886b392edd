package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
)

// as makes the run act for somebody else, as if they had started it.
func (r run) as(actor string) run {
	r.w.t.Helper()
	_, err := r.w.owner().Pool().Exec(r.w.t.Context(), `UPDATE runs SET actor = $2 WHERE id = $1`, r.id, actor)
	require.NoError(r.w.t, err)
	return r
}

// role makes a role that may start any agent.
func (w *world) role(id string, deny, allow []string) {
	w.t.Helper()
	require.NoError(w.t, w.api.PutRole(w.t.Context(), ops.Role{ID: id, Actions: []ops.Permission{ops.CanRespond}, Agents: []string{"*"}, Deny: deny, Allow: allow}))
}

// somebody is a user with these roles, whose runs act for user:NAME.
func (w *world) somebody(name string, roles ...string) postgres.User {
	w.t.Helper()
	u := postgres.User{ID: ops.NewID(), Username: name, PasswordHash: "x", Roles: roles}
	require.NoError(w.t, w.api.CreateUser(w.t.Context(), u))
	return u
}

func (w *world) roles(u postgres.User, roles ...string) {
	w.t.Helper()
	require.NoError(w.t, w.api.ChangeUser(w.t.Context(), u.ID, postgres.UserChange{Roles: append([]string{}, roles...)}))
}

func command(text string) args { return args{"target": "demo", "command": text} }

// TestThreatsRolesAtTheGateway: what the roles deny of whoever started a run, the
// gateway denies, as they are at the time of the call.
func TestThreatsRolesAtTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	w.somebody("root", "admin") // somebody must manage accounts
	w.role("echoes", []string{"tool:ssh_execute"}, []string{"tool:ssh_execute:echo *"})
	w.role("everything", nil, []string{"tool:*"})
	w.role("plain", nil, nil)
	w.role("blind", []string{"tool:ssh_*"}, nil)
	rules := []string{"allow:ssh_hosts", "allow:ssh_execute(echo *)", "allow:ssh_execute(printf *)"}

	for _, c := range []struct {
		id    string
		roles []string
		calls map[string]ops.CallState
	}{
		{"B29", []string{"echoes"}, map[string]ops.CallState{"echo a": ops.CallDone, "printf a": ops.CallDenied, "echo a; printf b": ops.CallDenied, "echo a && echo b": ops.CallDone, "echo $(printf b)": ops.CallDenied, "bash -c 'printf b'": ops.CallDenied}},
		{"E6", []string{"echoes", "everything"}, map[string]ops.CallState{"printf a": ops.CallDenied, "echo a": ops.CallDone}},
		{"E6 no denial", []string{"plain", "everything"}, map[string]ops.CallState{"printf a": ops.CallDone}},
	} {
		t.Run(c.id, func(t *testing.T) {
			name := "u" + ops.NewID()
			w.somebody(name, c.roles...)
			r := w.run(rules...).as("user:" + name)
			conn := r.client(w.gateway)
			for cmd, want := range c.calls {
				res := call(t, conn, ops.NewID(), "ssh_execute", command(cmd))
				require.Equal(t, want, res.State, "%s: %s", cmd, res.Text)
				if want == ops.CallDenied {
					require.Contains(t, res.Text, "has a role that does not allow it")
				}
			}
			last := r.audits()[len(r.audits())-1]
			require.Equal(t, "user:"+name, last.Detail["requester"])
			require.NotEmpty(t, last.Detail["roles"])
		})
	}

	t.Run("D7", func(t *testing.T) {
		w.somebody("blind1", "blind")
		conn := w.run("allow:*").as("user:blind1").client(w.gateway)
		require.NotContains(t, tools(t, conn), "ssh_execute")
		require.NotContains(t, tools(t, conn), "ssh_hosts")
		_, hidden := conn.CallTool(t.Context(), request("c1", "ssh_execute", command("echo a"), nil))
		_, missing := conn.CallTool(t.Context(), request("c2", "ssh_executf", command("echo a"), nil))
		require.ErrorContains(t, hidden, "not found")
		require.ErrorContains(t, missing, "not found")
	})

	t.Run("E7", func(t *testing.T) {
		for _, nobody := range []string{"", "user:", "user:nobody", "nobody", "alert", "cron:x", "User:root", "user:root "} {
			conn := w.run(rules...).as(nobody).client(w.gateway)
			res := call(t, conn, "c1", "ssh_execute", command("echo a"))
			require.Equal(t, ops.CallDenied, res.State, "%q", nobody)
			require.Contains(t, res.Text, "may not use agent")
		}
		// Alerts and the program itself have a role of their own.
		for _, service := range []string{"alert:" + ops.NewID(), "service:schedule"} {
			require.Equal(t, ops.CallDone, call(t, w.run(rules...).as(service).client(w.gateway), "c1", "ssh_execute", command("echo a")).State, service)
		}
	})

	t.Run("E7 what alerts start", func(t *testing.T) {
		mine, other := "alert:"+ops.NewID(), "alert:"+ops.NewID()
		require.NoError(t, w.api.PutServiceActor(t.Context(), ops.ServiceActor{Actor: mine, Roles: []string{"blind"}}))
		require.Equal(t, ops.CallDone, call(t, w.run(rules...).as(other).client(w.gateway), "c1", "ssh_execute", command("echo a")).State)
		_, err := w.run(rules...).as(mine).client(w.gateway).CallTool(t.Context(), request("c1", "ssh_execute", command("echo a"), nil))
		require.ErrorContains(t, err, "not found")
		require.NoError(t, w.api.PutServiceActor(t.Context(), ops.ServiceActor{Actor: mine, Roles: nil}))
		require.Equal(t, ops.CallDenied, call(t, w.run(rules...).as(mine).client(w.gateway), "c1", "ssh_execute", command("echo a")).State, "an actor with no role may nothing")
	})

	t.Run("E4", func(t *testing.T) {
		// Demoting counts from the next call on: other roles, no right to start the
		// agent, no role at all; then disabling.
		u := w.somebody("demoted", "plain")
		r := w.run(rules...).as("user:demoted")
		conn := r.client(w.gateway)
		state := func(id string) ops.CallState {
			return call(t, conn, id, "ssh_execute", command("printf a")).State
		}
		require.Equal(t, ops.CallDone, state("c1"))
		w.roles(u, "echoes")
		require.Equal(t, ops.CallDenied, state("c2"))
		w.roles(u, "viewer")
		require.Equal(t, ops.CallDenied, state("c3"))
		w.roles(u)
		require.Equal(t, ops.CallDenied, state("c4"))
		w.roles(u, "plain")
		require.Equal(t, ops.CallDone, state("c5"))
		require.Equal(t, ops.CallDone, state("c1"), "what was done stays done")
		yes := true
		require.NoError(t, w.api.ChangeUser(t.Context(), u.ID, postgres.UserChange{Disabled: &yes}))
		_, err := conn.CallTool(t.Context(), request("c6", "ssh_execute", command("printf a"), nil))
		require.Error(t, err)
	})

	t.Run("E1", func(t *testing.T) {
		// Somebody who may more asks for the same: the run keeps whom it was started
		// for, and theirs would be another one.
		w.somebody("starter", "echoes")
		w.somebody("boss", "admin")
		r := w.run(rules...).as("user:starter")
		grant, err := w.api.GrantByHolder(t.Context(), r.id)
		require.NoError(t, err)
		require.Equal(t, ops.CodeConflict, ops.CodeOf(w.api.Investigate(t.Context(), grant.IncidentID, grant.Agent, "user:boss")))
		conn := r.client(w.gateway)
		require.Equal(t, ops.CallDenied, call(t, conn, "c1", "ssh_execute", command("printf a")).State)
		require.Equal(t, ops.CallDone, call(t, conn, "c2", "ssh_execute", command("echo a")).State)
		require.Equal(t, ops.CallDone, call(t, w.run(rules...).as("user:boss").client(w.gateway), "c1", "ssh_execute", command("printf a")).State)
	})
}

// TestThreatsApprovalsOfRoles: an approval is of whoever started the run, and
// holds only as long as roles and rules are what they were.
func TestThreatsApprovalsOfRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	w.somebody("root", "admin")
	w.role("plain", nil, nil)
	w.role("echoes", []string{"tool:ssh_execute"}, []string{"tool:ssh_execute:echo *"})
	w.role("noisy", []string{"tool:zabbix_*"}, nil)
	ann := w.person("ann")
	asked := command("seq 3")

	t.Run("E2", func(t *testing.T) {
		w.somebody("starter", "plain")
		r := w.run("allow:ssh_hosts").as("user:starter")
		got := r.began(w.gateway, "c1", asked)
		a := r.asked("c1")
		require.Equal(t, "user:starter", a.Requester)
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, ops.CallDone, receive(t, got).State)
	})

	for _, c := range []struct {
		id    string
		roles []string
		text  string
	}{
		{"F4 a role that denies it came meanwhile", []string{"plain", "echoes"}, "has a role that does not allow it"},
		{"F4 the role was taken meanwhile", nil, "may not use agent"},
		{"F1 another role came meanwhile, which says nothing of it", []string{"plain", "noisy"}, "have changed since"},
	} {
		t.Run(c.id, func(t *testing.T) {
			name := "u" + ops.NewID()
			u := w.somebody(name, "plain")
			r := w.run("allow:ssh_hosts").as("user:" + name)
			got := r.began(w.gateway, "c1", asked)
			a := r.asked("c1")
			w.roles(u, c.roles...)
			require.NoError(t, w.decide(a, ann, true))
			res := receive(t, got)
			require.Equal(t, ops.CallDenied, res.State)
			require.Contains(t, res.Text, c.text)
		})
	}
	t.Run("F1 the rules", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", asked)
		a := r.asked("c1")
		require.NoError(t, w.api.PutAgent(t.Context(), ops.AgentDef{ID: a.Agent, Rules: []string{"allow:ssh_hosts", "deny:zabbix_*"}}))
		require.NoError(t, w.decide(a, ann, true))
		res := receive(t, got)
		require.Equal(t, ops.CallDenied, res.State)
		require.Contains(t, res.Text, "have changed since")
	})
	t.Run("F4 the run has ended", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", asked)
		a := r.asked("c1")
		r.end()
		_ = w.decide(a, ann, true)
		require.NotEqual(t, ops.CallDone, receive(t, got).State)
	})
	t.Run("F9", func(t *testing.T) {
		// Two must say yes to what destroys as a whole; one no ends it.
		bob, eve := w.person("bob"), w.person("eve")
		dd := command("dd if=/dev/null of=/tmp/akmatori-none count=0")
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", dd)
		a := r.asked("c1")
		require.Equal(t, []any{ops.RiskCritical, 2}, []any{a.Risk, a.Needed})
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, ops.CodeConflict, ops.CodeOf(w.decide(a, ann, true)), "the same person does not count twice")
		require.NoError(t, w.decide(a, bob, false))
		require.Equal(t, ops.CodeConflict, ops.CodeOf(w.decide(a, eve, true)), "late")
		require.Equal(t, ops.CallDenied, receive(t, got).State)
		again := r.began(w.gateway, "c2", dd)
		a = r.asked("c2")
		require.NoError(t, w.decide(a, ann, true))
		require.NoError(t, w.decide(a, eve, true))
		require.NotEqual(t, ops.CallDenied, receive(t, again).State)
	})
	t.Run("F5", func(t *testing.T) {
		// What runs behind 9,000 harmless characters is shown as well, and parks nothing.
		long := "echo " + strings.Repeat("a", 9000) + "; seq 3"
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", command(long))
		a := r.asked("c1")
		require.Equal(t, long, a.Command)
		require.NoError(t, w.decide(a, ann, false))
		require.Equal(t, ops.CallDenied, receive(t, got).State)
	})
	t.Run("F14", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		const cmd = "mkdir --password=hunter2 /srv/token=abc --host=db-1"
		got := r.began(w.gateway, "c1", command(cmd))
		a := r.asked("c1")
		require.Equal(t, cmd, a.Command)
		require.Equal(t, "demo", a.Target)
		require.NoError(t, w.decide(a, ann, false))
		receive(t, got)
	})
	t.Run("F13", func(t *testing.T) {
		// Other arguments under the same id are another call, approved or not.
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", asked)
		a := r.asked("c1")
		res := receive(t, r.began(w.gateway, "c1", command("seq 4")))
		require.NotEqual(t, ops.CallDone, res.State)
		require.Contains(t, res.Text, "other arguments")
		require.NoError(t, w.decide(a, ann, true))
		require.Equal(t, "1\n2\n3\n", receive(t, got).Text)
		require.Contains(t, call(t, r.client(w.gateway), "c1", "ssh_execute", command("seq 4")).Text, "other arguments")
	})
	t.Run("F16", func(t *testing.T) {
		// A credential that does not open is no obstacle while people think: it is not
		// touched before they have said yes, and then its fault is the call's.
		broken := sshtest.New(t)
		w.host("broken", broken, func(_ *ops.Target, c *ops.Credential) { c.Name = "broken-key" })
		_, err := w.owner().Pool().Exec(t.Context(), `UPDATE credentials SET sealed = '\x00' WHERE name = 'broken-key'`)
		require.NoError(t, err)
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", args{"target": "broken", "command": "seq 3"})
		a := r.asked("c1")
		require.NoError(t, w.decide(a, ann, true))
		res := receive(t, got)
		require.Equal(t, ops.CallFailed, res.State)
		require.Equal(t, []string{"approval.requested intent", "tool.intent intent", "tool.outcome failed"}, actions(r.audits()))
	})
	t.Run("G6 what is denied is never asked", func(t *testing.T) {
		require.NoError(t, gatekeeper(t, w, "low"))
		r := w.run("deny:ssh_execute(seq *)", "allow:ssh_hosts")
		require.Equal(t, ops.CallDenied, call(t, r.client(w.gateway), "c1", "ssh_execute", asked).State)
		all, err := w.api.Approvals(t.Context(), postgres.ApprovalFilter{State: ops.ApprovalPending})
		require.NoError(t, err)
		require.Empty(t, all)
		task, err := w.api.ClaimReview(t.Context(), []byte("x"), time.Minute)
		require.NoError(t, err)
		require.Nil(t, task)
	})
	t.Run("G6 what is asked is approved by a rating, once", func(t *testing.T) {
		r := w.run("allow:ssh_hosts")
		got := r.began(w.gateway, "c1", asked)
		r.asked("c1")
		task, err := w.api.ClaimReview(t.Context(), []byte("y"), time.Minute)
		require.NoError(t, err)
		require.NotNil(t, task)
		again, err := w.api.ClaimReview(t.Context(), []byte("z"), time.Minute)
		require.NoError(t, err)
		require.Nil(t, again, "it is reviewed once")
		ok, err := w.api.EndReview(t.Context(), *task, ops.Review{State: ops.ReviewRated, Risk: ops.RiskLow, Reasoning: "harmless"})
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "1\n2\n3\n", receive(t, got).Text)
		_, err = w.api.EndReview(t.Context(), *task, ops.Review{State: ops.ReviewRated, Risk: ops.RiskLow, Reasoning: "harmless"})
		require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
		require.Equal(t, []string{"approval.requested intent", "tool.intent intent", "tool.outcome ok"}, actions(r.audits()))
	})
}

func gatekeeper(t *testing.T, w *world, threshold ops.Risk) error {
	t.Helper()
	if err := w.api.PutProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: "judge", Kind: "openai", BaseURL: "https://llm.example.com/v1", Model: "m", Default: true}); err != nil {
		return err
	}
	_, err := w.api.PutGatekeeper(t.Context(), ops.Gatekeeper{Enabled: true, Threshold: threshold, Effects: []string{"reads"}, Tools: []string{"ssh_execute"}, Hourly: 100})
	return err
}

// TestThreatsShells: a call has nothing of what an earlier one has done to its shell.
func TestThreatsShells(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	ann := w.person("ann")
	r := w.run("allow:ssh_execute(echo *)", "allow:ssh_execute(pwd)")
	conn := r.client(w.gateway)
	first := call(t, conn, "c0", "ssh_execute", command("pwd")).Text
	for id, before := range map[string]string{"B28 an alias": "alias echo=false pwd=false", "B28 a function": "echo() { false; }; pwd() { false; }; export -f echo pwd", "B28 a folder": "cd /tmp && export PATH=/nowhere"} {
		t.Run(id, func(t *testing.T) {
			call1 := ops.NewID()
			got := r.began(w.gateway, call1, command(before))
			require.NoError(t, w.decide(r.asked(call1), ann, true))
			require.Contains(t, []ops.CallState{ops.CallDone, ops.CallFailed}, receive(t, got).State)
			require.Equal(t, "a\n", call(t, conn, ops.NewID(), "ssh_execute", command("echo a")).Text)
			require.Equal(t, first, call(t, conn, ops.NewID(), "ssh_execute", command("pwd")).Text)
		})
	}
	t.Run("E8", func(t *testing.T) {
		for _, forged := range []args{{"target": "demo", "command": "echo a", "actor": "user:root"}, {"target": "demo", "command": "echo a", "agent": "x"}, {"target": "demo", "command": "echo a", "run_id": ops.NewID()}} {
			require.Equal(t, ops.CallDenied, call(t, conn, ops.NewID(), "ssh_execute", forged).State)
		}
	})
}

// TestAgentOfARun: which tools an agent has, and whether it may work at all,
// counts at each call.
func TestAgentOfARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	r := w.run("allow:*")
	conn := r.client(w.gateway)
	require.Contains(t, tools(t, conn), "ssh_execute")
	grant, err := w.api.GrantByHolder(t.Context(), r.id)
	require.NoError(t, err)
	a := ops.AgentDef{ID: grant.Agent, Rules: []string{"allow:*"}, Tools: []string{"ssh_hosts", "zabbix_*"}}
	require.NoError(t, w.api.PutAgent(t.Context(), a))
	require.NotContains(t, tools(t, conn), "ssh_execute")
	require.Contains(t, tools(t, conn), "ssh_hosts")
	_, err = conn.CallTool(t.Context(), request("c1", "ssh_execute", command("echo a"), nil))
	require.ErrorContains(t, err, "not found")
	require.Equal(t, ops.CallDone, call(t, conn, "c2", "ssh_hosts", args{}).State)
	yes := true
	require.NoError(t, w.api.ChangeAgent(t.Context(), a, &yes))
	res := call(t, conn, "c3", "ssh_hosts", args{})
	require.Equal(t, ops.CallDenied, res.State)
	require.Contains(t, res.Text, "is disabled")
}

// An agent works where, and with the credentials, that its definition says, on
// the way to a target too; what another agent may use is nothing to it.
func TestThreatsScopeOfAnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	host := sshtest.New(t)
	w.host("web-1", host)
	w.host("db-1", host)
	w.host("inner", host, func(target *ops.Target, _ *ops.Credential) { target.Jump = "web-1" })
	r := w.run("allow:*")
	conn := r.client(w.gateway)
	grant, err := w.api.GrantByHolder(t.Context(), r.id)
	require.NoError(t, err)
	on := func(name string) args { return args{"target": name, "command": "echo a"} }
	n := 0
	for _, c := range []struct {
		id                   string
		targets, credentials []string
		target               string
		says                 string // empty: it is done
	}{
		{id: "K10 no bounds", target: "web-1"},
		{id: "K10 its own", targets: []string{"web-*"}, credentials: []string{"web-1-key"}, target: "web-1"},
		{id: "K10 another target", targets: []string{"web-*"}, target: "db-1", says: "there is no ssh target"},
		{id: "K10 another credential", credentials: []string{"web-*"}, target: "db-1", says: "may not use credential db-1-key"},
		{id: "K10 the way there", credentials: []string{"inner-key"}, target: "inner", says: "may not use credential web-1-key"},
		{id: "K10 the way and the end", credentials: []string{"inner-key", "web-1-key"}, target: "inner"},
	} {
		t.Run(c.id, func(t *testing.T) {
			require.NoError(t, w.api.PutAgent(t.Context(), ops.AgentDef{ID: grant.Agent, Rules: []string{"allow:*"}, Targets: c.targets, Credentials: c.credentials}))
			n++
			res := call(t, conn, fmt.Sprintf("c%d", n), "ssh_execute", on(c.target))
			if c.says == "" {
				require.Equal(t, ops.CallDone, res.State, res.Text)
				return
			}
			require.Equal(t, ops.CallDenied, res.State, res.Text)
			require.Contains(t, res.Text, c.says)
		})
	}
	require.NoError(t, w.api.PutAgent(t.Context(), ops.AgentDef{ID: grant.Agent, Rules: []string{"allow:*"}, Targets: []string{"web-*"}}))
	require.NotContains(t, call(t, conn, "hosts", "ssh_hosts", args{}).Text, "db-1")
}
