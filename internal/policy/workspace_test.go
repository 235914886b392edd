package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/policy"
)

// The files of a workspace may be read and those below work/ written where no
// rule says otherwise, and no rule opens another file.
func TestWorkspace(t *testing.T) {
	t.Parallel()
	const allow, ask, deny = policy.Allow, policy.Ask, policy.Deny
	for _, c := range []struct {
		name  string
		rules []string
		calls map[[2]string]policy.Verdict
	}{
		{"silent", nil, map[[2]string]policy.Verdict{
			{"Read", "notes"}: allow, {"Read", "../incident.json"}: allow, {"Read", "/workspace/evidence/c1.txt"}: allow, {"Read", "/etc/passwd"}: deny,
			{"Read", "../../x"}: deny, {"Read", "~root/x"}: deny, {"Read", ""}: deny,
			{"Grep", ""}: allow, {"Grep", ".."}: allow, {"Grep", "../.."}: deny, {"Glob", "../skills"}: allow, {"Glob", "/"}: deny,
			{"Write", "notes"}: allow, {"Write", "a/b"}: allow, {"Write", "../incident.json"}: deny, {"Write", "../work"}: allow, {"Write", "/tmp/x"}: deny,
			{"Edit", "notes"}: allow, {"Edit", "../AGENTS.md"}: deny, {"Bash", "cat notes"}: ask,
		}},
		{"everything", []string{"allow:*"}, map[[2]string]policy.Verdict{
			{"Read", "/etc/passwd"}: deny, {"Write", "../incident.json"}: deny, {"Write", "notes"}: allow, {"Bash", "cat < /etc/hostname"}: allow,
		}},
		{"stricter", []string{"deny:Write", "ask:Edit(./plan.md)", "deny:Read(/evidence/c2.txt)", "deny:Grep(/evidence/**)"}, map[[2]string]policy.Verdict{
			{"Write", "notes"}: deny, {"Edit", "plan.md"}: ask, {"Edit", "./x/../plan.md"}: ask, {"Edit", "other"}: allow, {"Read", "../evidence/c2.txt"}: deny,
			{"Read", "../evidence/c1.txt"}: allow, {"Grep", ".."}: deny, {"Grep", "."}: allow,
		}},
		{"redirections", []string{"allow:Bash(sort)", "allow:Bash(tee ?*)"}, map[[2]string]policy.Verdict{
			{"Bash", "sort < ../evidence/c1.txt > sorted"}: allow, {"Bash", "sort < /etc/passwd"}: ask, {"Bash", "sort > ../incident.json"}: ask, {"Bash", "sort > $X"}: ask,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rules, err := policy.Load(c.rules)
			require.NoError(t, err)
			for call, want := range c.calls {
				d := rules.Decide(policy.Call{Tool: call[0], Command: call[1], Place: policy.Workspace()})
				require.Equal(t, want, d.Verdict, "%v: %v", call, d)
				require.NotEmpty(t, d.Reasons)
				require.Equal(t, policy.Deny, policy.Policy{Role: role(t, "tool:"+call[0]), Agent: rules}.Decide(policy.Call{Tool: call[0], Command: call[1], Place: policy.Workspace()}).Verdict)
				require.NotEqual(t, policy.Allow, policy.Policy{}.Decide(policy.Call{Tool: call[0], Command: call[1], Place: policy.Workspace()}).Verdict, "no list allows nothing")
			}
		})
	}
	rules, err := policy.Load([]string{"ask:Write(/work/plan.md)"})
	require.NoError(t, err)
	d := rules.Decide(policy.Call{Tool: "Read", Command: "x", Place: policy.Workspace()})
	require.Equal(t, policy.LayerWorkspace, d.Layer)
	require.Equal(t, "allow:Read(/**)", d.Rule)
	require.Equal(t, []string{"allow:Write(/work/plan.md)"}, policy.Policy{Agent: rules}.WouldAllow(policy.Call{Tool: "Write", Command: "plan.md", Place: policy.Workspace()}))
	require.ElementsMatch(t, []string{"Read", "Write", "Edit", "Grep", "Glob"}, policy.LocalFiles())
	require.True(t, policy.Local("Bash"))
	require.False(t, policy.Local("ssh_execute"))
}

func role(t *testing.T, deny ...string) *policy.Role {
	t.Helper()
	r, err := policy.Builtin().LoadRole(deny, nil)
	require.NoError(t, err)
	return r
}
