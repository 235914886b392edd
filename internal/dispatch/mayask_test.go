package dispatch

import (
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/stretchr/testify/require"
)

// Roles deny agents as they deny tools; of the rules those count that name the tool.
func TestThreatsMayAsk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id          string
		deny, allow []string
		rules       []string
		says        string
	}{
		{id: "K1 nothing said"},
		{id: "K1 all else denied", rules: []string{"allow:ssh_hosts", "deny:*"}},
		{id: "K1 a rule", rules: []string{"deny:ask_agent(rev*)"}, says: "a rule of the agent that asks"},
		{id: "K1 a rule for others", rules: []string{"deny:ask_agent(other)"}},
		{id: "K2 a role", deny: []string{"tool:ask_agent"}, says: "a role of who started this"},
		{id: "K2 an exception", deny: []string{"tool:ask_agent"}, allow: []string{"tool:ask_agent:reviewer"}},
		{id: "K2 all tools", deny: []string{"tool:*"}, says: "a role of who started this"},
		{id: "K2 no role", deny: []string{"nonsense"}, says: "not valid"},
		{id: "A5 no rules", rules: []string{"allow:nonsense"}, says: "not valid"},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			err := mayAsk(postgres.ActorRoles{Deny: c.deny, Allow: c.allow}, c.rules, "reviewer")
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
			require.ErrorContains(t, err, c.says)
		})
	}
}
