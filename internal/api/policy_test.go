package api

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

func TestExplainPolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	for _, c := range []struct {
		tool      string
		arguments any
		want      policy.Verdict
		rule      string
		canonical string
		would     []string
	}{
		{"ssh_hosts", nil, policy.Allow, "allow:ssh_hosts", "", []string{}},
		{"ssh_execute", body{"target": "web-1", "command": "df  -h | head -5"}, policy.Allow, "allow:ssh_execute(@diagnostics)", "df -h | head -5", []string{}},
		{"ssh_execute", body{"target": "web-1", "command": "systemctl restart 'nginx'"}, policy.Ask, "", "systemctl restart nginx", []string{"allow:ssh_execute(systemctl restart nginx)"}},
		{"ssh_execute", body{"command": "df; reboot"}, policy.Deny, "deny:ssh_execute(reboot *)", "df; reboot", []string{}},
		{"ssh_execute", body{"command": "df\u202e"}, policy.Deny, "", "", []string{}},
		{"ssh_execute", body{}, policy.Ask, "", "", []string{}},
		{"ssh_execute", body{"command": 7}, policy.Deny, "", "", []string{}},
		{"ssh_read_file", body{"path": "/var/log/syslog"}, policy.Allow, "allow:ssh_read_file(@diagnostics)", "", []string{}},
		{"ssh_read_file", body{"path": "/etc/shadow"}, policy.Ask, "", "", []string{"allow:ssh_read_file(//etc/shadow)"}},
		{"zabbix_api", body{"method": "host.get", "params": body{"limit": 1}}, policy.Allow, "allow:zabbix_api(*.get)", "", []string{}},
		{"zabbix_api", body{"method": "mediatype.get"}, policy.Ask, "ask:zabbix_api(mediatype.*)", "", []string{"allow:zabbix_api(mediatype.get)"}},
		{"zabbix_api", body{"method": "host.delete"}, policy.Ask, "", "", []string{"allow:zabbix_api(host.delete)"}},
		{"nope", nil, policy.Deny, "", "", []string{}},
	} {
		in := body{"agent": "investigator", "tool": c.tool}
		if c.arguments != nil {
			in["arguments"] = c.arguments
		}
		a := r.call("POST", "/api/v1/policy/explain", in)
		require.Equal(t, 200, a.status, a.body)
		var e explanation
		a.into(t, &e)
		require.Equal(t, c.want, e.Verdict, a.body)
		require.Equal(t, c.rule, e.Rule, a.body)
		require.Equal(t, c.canonical, e.Canonical, a.body)
		require.Equal(t, c.would, e.WouldAllow, a.body)
		require.NotEmpty(t, e.Reasons, a.body)
	}
	a := r.call("POST", "/api/v1/policy/explain", body{"agent": "investigator", "tool": "ssh_hosts", "rules": []string{"deny:*"}})
	require.Contains(t, a.body, `"verdict":"deny"`)

	for status, bad := range map[int][]body{
		404: {{"agent": "nobody", "tool": "ssh_hosts"}},
		422: {{"agent": "investigator"}, {"agent": "investigator", "tool": "ssh_hosts", "arguments": []int{1}}, {"agent": "investigator", "tool": "ssh_hosts", "rules": []string{"deny: x"}}, {"agent": "investigator", "tool": "ssh_hosts", "permision": []string{}}},
	} {
		for _, in := range bad {
			require.Equal(t, status, r.call("POST", "/api/v1/policy/explain", in).status, in)
		}
	}
}

func TestDryRunPolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", body{"title": "x"}).status)
	var runs struct{ Items []ops.Run }
	r.call("GET", "/api/v1/incidents/1/runs", nil).into(t, &runs)
	require.Len(t, runs.Items, 1)
	gateway, err := postgres.Open(t.Context(), postgres.Config{URL: r.pg.Gateway, App: "test"})
	require.NoError(t, err)
	t.Cleanup(gateway.Close)
	for i, call := range []struct{ tool, arguments string }{
		{"ssh_execute", `{"target":"a","command":"df -h"}`}, {"ssh_execute", `{"target":"a","command":"restartd"}`}, {"ssh_execute", `{"target":"a","command":"restartd"}`}, {"ssh_hosts", `{}`}, {"gone", `{"a":1}`}, {"ssh_execute", `[]`},
	} {
		known, err := gateway.StartCall(t.Context(), postgres.StartCall{Call: ops.ToolCall{RunID: runs.Items[0].ID, ID: fmt.Sprint("c", i), Tool: call.tool, Arguments: json.RawMessage(call.arguments), Digest: []byte("d"), Verdict: "allow"},
			Instance: 1, Audit: ops.AuditRecord{Chain: "gateway", Action: "tool.intent", At: time.Now()}})
		require.NoError(t, err)
		require.Nil(t, known)
	}
	try := func(rules ...string) dryRun {
		t.Helper()
		a := r.call("POST", "/api/v1/policy/dry-run", body{"agent": "investigator", "rules": rules})
		require.Equal(t, 200, a.status, a.body)
		var d dryRun
		a.into(t, &d)
		require.Equal(t, 6, d.Calls)
		require.False(t, d.Partial)
		return d
	}
	d := try("allow:ssh_hosts", "allow:ssh_execute(restartd *)", "deny:ssh_hosts")
	require.Equal(t, []changeSum{{policy.Allow, policy.Ask, 1}, {policy.Ask, policy.Allow, 2}}, d.Changed)
	require.Len(t, d.Examples, 2)
	require.Equal(t, 2, d.Examples[0].Calls)
	require.Equal(t, "allow:ssh_execute(restartd *)", d.Examples[0].Rule)
	require.Equal(t, "c2", d.Examples[0].CallID)
	require.Len(t, d.Unreachable, 1)
	require.Empty(t, try("allow:ssh_hosts", "allow:ssh_execute(@diagnostics)").Changed)
	require.Equal(t, []changeSum{{policy.Allow, policy.Deny, 2}, {policy.Ask, policy.Deny, 2}}, try("deny:*").Changed)

	require.Equal(t, 422, r.call("POST", "/api/v1/policy/dry-run", body{"agent": "investigator", "rules": []string{"x"}}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/policy/dry-run", body{"agent": "investigator", "rules": []string{}, "days": 31}).status)
	require.Equal(t, 404, r.call("POST", "/api/v1/policy/dry-run", body{"agent": "nobody", "rules": []string{}}).status)
}
