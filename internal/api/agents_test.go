package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

func TestAgents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	var all struct{ Items []agentView }
	r.call("GET", "/api/v1/agents", nil).into(t, &all)
	starters := postgres.Starters()
	require.Len(t, all.Items, len(starters))
	for i, a := range all.Items {
		stored, err := r.db.Agent(t.Context(), a.ID)
		require.NoError(t, err)
		stored.Tools, stored.Targets, stored.Credentials = nil, nil, nil
		if len(stored.SubAgents) == 0 {
			stored.SubAgents = nil
		}
		require.Equal(t, starters[i], stored, "a reset gives what a new database has")
		require.True(t, a.Starter)
		require.Empty(t, a.Warnings)
	}
	first := all.Items[0]
	require.True(t, first.BuiltIn)

	// Made, seen, changed.
	in := body{"id": "shopper", "description": "Looks at shops", "prompt": "You look at shops.", "rules": []string{"deny:ssh_execute(rm *)", "allow:ssh_hosts", "allow:*", "deny:ssh_hosts"},
		"tools": []string{"ssh_*", "zabbix_problems"}, "limits": body{"steps": 5, "seconds": 90, "usd": 1.5}}
	a := r.call("POST", "/api/v1/agents", in)
	require.Equal(t, 201, a.status, a.body)
	var made agentView
	a.into(t, &made)
	require.Equal(t, []string{`rule 4, "deny:ssh_hosts": unreachable: allow:ssh_hosts comes first`}, made.Warnings)
	require.Equal(t, agentLimits{Steps: 5, Seconds: 90, USD: 1.5}, made.Limits)
	require.Equal(t, 409, r.call("POST", "/api/v1/agents", in).status, "the id is taken")
	delete(in, "id")
	in["rules"], in["limits"] = []string{"allow:ssh_hosts"}, body{"steps": 6}
	a = r.call("PUT", "/api/v1/agents/shopper", in)
	require.Equal(t, 200, a.status, a.body)
	made = agentView{}
	a.into(t, &made)
	require.Equal(t, []string{"allow:ssh_hosts"}, made.Rules)
	require.Equal(t, agentLimits{Steps: 6}, made.Limits)
	require.Equal(t, 404, r.call("PUT", "/api/v1/agents/nobody", in).status)
	stored, err := r.db.Agent(t.Context(), "shopper")
	require.NoError(t, err)
	require.Equal(t, 6, stored.Limits.Steps)

	// The default one is edited and reset, not disabled, not removed.
	require.Equal(t, 200, r.call("PUT", "/api/v1/agents/investigator", body{"rules": []string{"deny:*"}, "prompt": "x"}).status)
	require.Equal(t, 409, r.call("PUT", "/api/v1/agents/investigator", body{"disabled": true}).status)
	require.Equal(t, 409, r.call("DELETE", "/api/v1/agents/investigator", nil).status)
	require.Equal(t, 409, r.call("POST", "/api/v1/agents/shopper/reset", nil).status)
	a = r.call("POST", "/api/v1/agents/investigator/reset", nil)
	require.Equal(t, 200, a.status, a.body)
	var reset agentView
	a.into(t, &reset)
	require.Equal(t, first.AgentBody, reset.AgentBody)

	// Whom it may ask, and where and with what it works.
	whole := body{"rules": []string{"allow:*"}, "skills": []string{"disk"}, "sub_agents": []string{"reviewer"}, "targets": []string{"web-*"}, "credentials": []string{"web-login"}}
	a = r.call("PUT", "/api/v1/agents/shopper", whole)
	require.Equal(t, 200, a.status, a.body)
	made = agentView{}
	a.into(t, &made)
	require.Equal(t, [][]string{{"disk"}, {"reviewer"}, {"web-*"}, {"web-login"}}, [][]string{made.Skills, made.SubAgents, made.Targets, made.Credentials})
	for _, bad := range []struct {
		field, says string
		list        []string
	}{
		{"sub_agents", `there is no agent \"nobody\"`, []string{"nobody"}}, {"sub_agents", "cannot ask itself", []string{"shopper"}},
		{"sub_agents", "is there twice", []string{"reviewer", "reviewer"}}, {"targets", "no name and no glob", []string{"a b"}},
		{"credentials", "no name and no glob", []string{"[x"}}, {"skills", "no name of a skill", []string{"../x"}},
	} {
		a = r.call("PUT", "/api/v1/agents/shopper", body{bad.field: bad.list})
		require.Equal(t, 422, a.status, a.body)
		require.Contains(t, a.body, bad.says)
	}
	a = r.call("PUT", "/api/v1/agents/reviewer", body{"sub_agents": []string{"summarizer", "shopper"}})
	require.Equal(t, 422, a.status, a.body)
	require.Contains(t, a.body, "reviewer → shopper → reviewer")
	require.JSONEq(t, `{"removed":false,"disabled":true}`, r.call("DELETE", "/api/v1/agents/reviewer", nil).body, "shopper names it")
	require.Equal(t, 200, r.call("POST", "/api/v1/agents/reviewer/reset", nil).status)

	// One that has run is disabled: nobody starts it any more, and it can be enabled.
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", body{"title": "x", "agent": "shopper"}).status)
	a = r.call("DELETE", "/api/v1/agents/shopper", nil)
	require.Equal(t, 200, a.status, a.body)
	require.JSONEq(t, `{"removed":false,"disabled":true}`, a.body)
	require.Equal(t, 409, r.call("POST", "/api/v1/incidents", body{"title": "y", "agent": "shopper"}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/incidents", body{"title": "y", "agent": "nobody"}).status)
	require.Equal(t, 200, r.call("PUT", "/api/v1/agents/shopper", body{"disabled": false}).status)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", body{"title": "y", "agent": "shopper"}).status)
	// One that has not goes.
	require.Equal(t, 201, r.call("POST", "/api/v1/agents", body{"id": "brief"}).status)
	require.JSONEq(t, `{"removed":true,"disabled":false}`, r.call("DELETE", "/api/v1/agents/brief", nil).body)
	require.Equal(t, 404, r.call("GET", "/api/v1/agents/brief", nil).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/agents/brief", nil).status)

	var records []ops.AuditRecord
	records, err = r.db.Audit(t.Context(), Chain, 0, 1000)
	require.NoError(t, err)
	done := map[string]int{}
	for _, rec := range records {
		done[rec.Action+" "+rec.Outcome]++
		if rec.Action == "agent.created" && rec.Object == "shopper" {
			require.Contains(t, rec.Detail["rules"], "deny:ssh_execute(rm *)")
		}
	}
	for _, want := range []string{"agent.created intent", "agent.created ok", "agent.created failed", "agent.changed ok", "agent.changed failed", "agent.reset ok", "agent.removed ok", "agent.removed failed"} {
		require.NotZero(t, done[want], want)
	}
}

// What is wrong with an agent is said with its place, and nothing is stored.
func TestThreatsAgents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	for _, c := range []struct {
		id       string
		in       body
		location string
	}{
		{"A1", body{"permision": []string{}}, "body"},
		{"A1 in limits", body{"limits": body{"stepps": 1}}, "body.limits"},
		{"A2 a blank", body{"rules": []string{"allow:ssh_hosts", "deny: Write"}}, "body.rules[1]"},
		{"A2 a case", body{"rules": []string{"deny:write"}}, "body.rules[0]"},
		{"A2 a verb", body{"rules": []string{"Deny:Write"}}, "body.rules[0]"},
		{"A3", body{"rules": []string{"deny:ssh_hosts(domain:evil.com)"}}, "body.rules[0]"},
		{"A5 a tool", body{"rules": []string{"allow:*", "allow:nope"}}, "body.rules[1]"},
		{"A5 a tool of its own", body{"tools": []string{"ssh_hosts", "nope"}}, "body.tools[1]"},
		{"A5 a pattern", body{"tools": []string{"ssh_execute(rm *)"}}, "body.tools[0]"},
		{"A5 a provider", body{"provider": "nobody"}, ""},
		{"B16 invisible", body{"rules": []string{"allow:ssh_execute(a\u202e)"}}, "body.rules[0]"},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			c.in["id"] = "a" + ops.NewID()[:8]
			a := r.call("POST", "/api/v1/agents", c.in)
			require.Equal(t, 422, a.status, a.body)
			if c.location != "" {
				var p problem
				a.into(t, &p)
				require.NotEmpty(t, p.Errors, a.body)
				require.True(t, strings.HasPrefix(p.Errors[0].Location, c.location), a.body)
			}
			require.Equal(t, 404, r.call("GET", "/api/v1/agents/"+c.in["id"].(string), nil).status)
		})
	}
	t.Run("A8", func(t *testing.T) {
		t.Parallel()
		for n, in := range []string{`{"id":"none1"}`, `{"id":"none2","rules":[]}`} {
			a := r.send(http.DefaultClient, "POST", "/api/v1/agents", in, "Authorization", "Bearer "+r.token)
			require.Equal(t, 201, a.status, "%d %s", n, a.body)
			for _, tool := range []string{"ssh_hosts", "Bash", "evidence_read"} {
				arguments := map[string]any{}
				if tool == "Bash" {
					arguments["command"] = "df"
				}
				a = r.call("POST", "/api/v1/policy/explain", map[string]any{"agent": []string{"none1", "none2"}[n], "tool": tool, "arguments": arguments})
				require.Contains(t, a.body, `"verdict":"ask"`)
			}
		}
		a := r.send(http.DefaultClient, "POST", "/api/v1/agents", `{"id":"none3","rules":null}`, "Authorization", "Bearer "+r.token)
		require.Contains(t, []int{201, 422}, a.status, "null means ask, or is refused")
	})
	for _, id := range []string{"", "A", "a b", "../x", "*", "-a", strings.Repeat("a", 64), "a\u200b"} {
		require.Equal(t, 422, r.call("POST", "/api/v1/agents", body{"id": id}).status, id)
	}
}

// TestRolesOfTools: what a role says of tools is checked, and policy explain and
// dry-run show it for a named actor.
func TestRolesOfTools(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	put := func(b body) reply { return r.call("PUT", "/api/v1/roles/careful", b) }
	a := put(body{"actions": []string{"read"}, "deny": []string{"tool:ssh_execute", "tool:nope"}})
	require.Equal(t, 422, a.status, a.body)
	require.Contains(t, a.body, `"location":"body.deny[1]"`)
	a = put(body{"actions": []string{"read"}, "allow": []string{"ssh_execute"}})
	require.Contains(t, a.body, `"location":"body.allow[0]"`)
	require.Equal(t, 204, put(body{"actions": []string{"read", "incidents.respond"}, "agents": []string{"investigator"},
		"deny": []string{"tool:ssh_execute"}, "allow": []string{"tool:ssh_execute:df *"}}).status)
	r.guest("bob", "careful")
	explain := func(actor, command string) explanation {
		t.Helper()
		a := r.call("POST", "/api/v1/policy/explain", body{"agent": "investigator", "tool": "ssh_execute", "arguments": body{"command": command}, "actor": actor})
		require.Equal(t, 200, a.status, a.body)
		var e explanation
		a.into(t, &e)
		return e
	}
	e := explain("user:bob", "uptime")
	require.Equal(t, policy.Deny, e.Verdict)
	require.Equal(t, policy.LayerRole, e.Layer)
	require.Equal(t, "deny tool:ssh_execute", e.Rule)
	require.Equal(t, []string{"careful"}, e.Roles)
	require.Equal(t, policy.Allow, explain("user:bob", "df -h").Verdict)
	require.Equal(t, policy.Allow, explain("user:ann", "uptime").Verdict)
	require.Equal(t, policy.Allow, explain("", "uptime").Verdict)
	require.Equal(t, []string{"automation"}, explain("alert:"+ops.NewID(), "uptime").Roles)
	e = explain("", "rm -rf /var")
	require.Equal(t, []any{policy.Destroys, ops.RiskCritical}, []any{e.Effect, e.Risk})
	for _, actor := range []string{"user:nobody", "bob", "nobody:x"} {
		require.Equal(t, 422, r.call("POST", "/api/v1/policy/explain", body{"agent": "investigator", "tool": "ssh_hosts", "actor": actor}).status, actor)
	}

	// What alerts start has a role of its own, one source another one.
	id := r.source("am").ID
	require.Equal(t, 422, r.call("PUT", "/api/v1/actors/alert:"+id, body{"roles": []string{"nosuch"}}).status)
	require.Equal(t, 422, r.call("PUT", "/api/v1/actors/user:bob", body{"roles": []string{"careful"}}).status)
	require.Equal(t, 204, r.call("PUT", "/api/v1/actors/alert:"+id, body{"roles": []string{"careful"}}).status)
	require.Equal(t, policy.Deny, explain("alert:"+id, "uptime").Verdict)
	require.Equal(t, policy.Allow, explain("alert:"+ops.NewID(), "uptime").Verdict)
	require.Equal(t, 409, r.call("DELETE", "/api/v1/roles/careful", nil).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/actors/alert:*", nil).status)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/actors/alert:"+id, nil).status)
	require.Equal(t, policy.Allow, explain("alert:"+id, "uptime").Verdict)
	var actors struct{ Items []ops.ServiceActor }
	r.call("GET", "/api/v1/actors", nil).into(t, &actors)
	require.Len(t, actors.Items, 2)
	roles, err := r.db.RolesOfActor(context.Background(), "")
	require.NoError(t, err)
	require.Empty(t, roles.Roles, "nobody has no role")
}
