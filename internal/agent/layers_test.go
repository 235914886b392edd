package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/wire"
)

// What the roles of whoever started a run deny, and what the platform forbids,
// holds for the shell of the run too; so does which tools the agent has.
func TestLayersOfTheShell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		deny, allow, tools []string
		calls              map[string]policy.Verdict
	}{
		{nil, nil, nil, map[string]policy.Verdict{"wc x": policy.Allow, "rm x": policy.Allow, "reboot": policy.Deny}},
		{[]string{"tool:Bash"}, nil, nil, map[string]policy.Verdict{"wc x": policy.Deny}},
		{[]string{"tool:Bash"}, []string{"tool:Bash:wc *"}, nil, map[string]policy.Verdict{"wc x": policy.Allow, "wc x; rm x": policy.Deny}},
		{nil, nil, []string{"ssh_*"}, map[string]policy.Verdict{"wc x": policy.Deny}},
		{nil, nil, []string{"B*"}, map[string]policy.Verdict{"wc x": policy.Allow}},
	} {
		p, err := rulesOf(wire.Task{RoleDeny: c.deny, RoleAllow: c.allow, Agent: ops.AgentDef{Rules: []string{"allow:*"}, Tools: c.tools}})
		require.NoError(t, err)
		for cmd, want := range c.calls {
			require.Equal(t, want, p.Decide(policy.Call{Tool: toolBash, Command: cmd}).Verdict, "%v %s", c, cmd)
		}
	}
	for _, bad := range []wire.Task{{RoleDeny: []string{"Bash"}}, {Agent: ops.AgentDef{Tools: []string{"nope"}}}, {Agent: ops.AgentDef{Rules: []string{"x"}}}} {
		_, err := rulesOf(bad)
		require.Error(t, err)
	}
}
