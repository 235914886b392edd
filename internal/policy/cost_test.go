package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
)

// TestCost: no text of the allowed length takes long to judge.
func TestCost(t *testing.T) {
	t.Parallel()
	r := load(t, "deny:ssh_execute(rm *)", "allow:ssh_execute(a*a*a*a*b *)", "allow:ssh_execute(df *)", "allow:*")
	for _, unit := range []string{"(", "((", "$(", "$((", "`", "\\`", "{ ", "[[ ", "if ", "case x in x) ", "a|", "a;", "a ", "a&&", "sudo ", "eval ", "sh ", "sh -c '", "\"$(", "${a:-", "${a[", "<(", "a <<E\n", "a=(", "!(", "@(a|",
		"env sh ", "a() ", "function f ", "time ", "! ", "coproc ", "while a; do ", "'a' ", "\\a", "{a,", "a>b ", "[", "*", "a", "$'", "\"`", "sudo sh 'rm' ", "python ';' "} {
		text := strings.Repeat(unit, policy.MaxCommand/len(unit))
		start := time.Now()
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: text})
		require.NotEmpty(t, d.Verdict)
		require.Less(t, time.Since(start), 2*time.Second, "%q", unit)
	}
}
