package policy_test

import (
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
)

// Rules about tools that were added by configuration hold by their names, whether
// the tools are there or not.
func TestThreatsConfiguredNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, server, tool string }{
		{"D4 ours", "zabbix", "x"}, {"D4 the start of ours", "ask", "x"}, {"D4 whole", "tools", "x"},
		{"D1 upper case", "Grafana", "x"}, {"D1 underscore", "gra_fana", "x"}, {"D1 empty", "", "x"}, {"D1 no tool", "grafana", ""},
		{"D1 zero width", "grafana", "x\u200b"}, {"D1 homoglyph", "grаfana", "x"}, {"D1 dot", "grafana", "a.b"}, {"D1 long", "grafana", strings.Repeat("x", 60)},
		{"D1 long server", strings.Repeat("x", 31), "x"},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			name, err := policy.ConfiguredName(c.server, c.tool)
			require.Error(t, err)
			require.Empty(t, name)
			require.Equal(t, policy.Deny, load(t, "allow:*").Decide(policy.Call{Tool: c.server + "__" + c.tool}).Verdict)
		})
	}
	name, err := policy.ConfiguredName("grafana", "search__all")
	require.NoError(t, err)
	require.Equal(t, "grafana__search__all", name)
	for _, wrong := range []string{"allow:grafana", "allow:grafana_x", "allow:nope*", "allow:zabbix__x", "allow:ssh__*", "allow:Grafana__x", "allow:grafana__", "allow:grafana__x(", "allow:grafana__x*(a=b)"} {
		_, err := policy.Load([]string{wrong})
		require.Error(t, err, wrong)
	}

	search := func(args map[string]any) policy.Call {
		return policy.Call{Tool: "grafana__search", Arguments: args}
	}
	for _, c := range []struct {
		rules []string
		args  map[string]any
		want  policy.Verdict
	}{
		{nil, nil, policy.Ask},
		{[]string{"allow:*"}, nil, policy.Allow},
		{[]string{"deny:*"}, nil, policy.Deny},
		{[]string{"deny:grafana__*", "allow:*"}, nil, policy.Deny},
		{[]string{"allow:grafana__search"}, nil, policy.Allow},
		{[]string{"allow:grafana__searc"}, nil, policy.Ask},
		{[]string{"allow:other__*", "allow:zabbix_*"}, nil, policy.Ask},
		{[]string{"allow:grafana__search(q=up*)"}, map[string]any{"q": "up 1"}, policy.Allow},
		{[]string{"allow:grafana__search(q=up*)"}, map[string]any{"q": "down"}, policy.Ask},
		{[]string{"allow:grafana__search(n=1000)"}, map[string]any{"n": "1e3"}, policy.Deny},
	} {
		rules, err := policy.Load(c.rules)
		require.NoError(t, err)
		require.Equal(t, c.want, rules.Decide(search(c.args)).Verdict, "%v", c.rules)
		require.Equal(t, c.want == policy.Deny && c.args == nil, rules.Hides("grafana__search"), "%v", c.rules)
	}
	// A list of allowed tools ends with deny:*, which is about all of them.
	only := load(t, "allow:zabbix_*", "allow:grafana__a", "deny:*")
	require.True(t, only.Hides("grafana__search"))
	require.False(t, only.Hides("grafana__a"))

	require.Empty(t, load(t, "allow:zabbix_*", "deny:*").Unreachable())
	require.Len(t, load(t, "deny:*", "allow:grafana__a", "allow:grafana__*").Unreachable(), 2)
	require.Len(t, load(t, "deny:grafana__*", "allow:grafana__a", "allow:grafana__a*", "allow:other__*").Unreachable(), 2)
	require.Equal(t, []string{"allow:grafana__search"}, policy.Policy{}.WouldAllow(search(nil)))

	role, err := policy.Builtin().LoadRole([]string{"tool:*"}, []string{"tool:grafana__search"})
	require.NoError(t, err)
	p := policy.Policy{Agent: load(t, "allow:*"), Role: role}
	require.Equal(t, policy.Allow, p.Decide(search(nil)).Verdict, "E6: strictly narrower")
	require.Equal(t, policy.Deny, p.Decide(policy.Call{Tool: "grafana__other"}).Verdict)
	role, err = policy.Builtin().LoadRole([]string{"tool:grafana__search"}, []string{"tool:grafana__*"})
	require.NoError(t, err)
	p.Role = role
	require.Equal(t, policy.Deny, p.Decide(search(nil)).Verdict)
}
