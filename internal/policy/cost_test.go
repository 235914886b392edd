package policy_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
)

// TestCost: what is done about a command grows with its length and not with the
// square of it, whatever it consists of. Counted are allocations, since they
// come with every step and no clock is needed for them.
func TestCost(t *testing.T) { // not parallel: the count is of the whole process
	r := load(t, "deny:ssh_execute(rm *)", "allow:ssh_execute(a*a*a*a*b *)", "allow:ssh_execute(@diagnostics)", "allow:ssh_execute(df *)", "allow:*")
	for _, unit := range []string{"(", "((", "$(", "$((", "`", "\\`", "{ ", "[[ ", "if ", "case x in x) ", "a|", "a;", "a ", "a&&", "sudo ", "eval ", "sh ", "sh -c '", "\"$(", "${a:-", "${a[", "<(", "a <<E\n", "a=(", "!(", "@(a|",
		"env sh ", "a() ", "function f ", "time ", "! ", "coproc ", "while a; do ", "'a' ", "\\a", "{a,", "a>b ", "[", "*", "a", "$'", "\"`", "sudo sh 'rm' ", "python ';' ", "timeout 1 ", "xargs ", "nice ", "find / -exec ", "grep -e a ", "a >/b ", "/a* ", "sudo timeout 1 nice env "} {
		steps := func(n int) uint64 {
			text := strings.Repeat(unit, n/len(unit)&^1) // even: quotes are closed
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d := r.Decide(policy.Call{Tool: "ssh_execute", Command: text})
			runtime.ReadMemStats(&after)
			require.NotEmpty(t, d.Verdict)
			return after.Mallocs - before.Mallocs
		}
		half, whole := steps(policy.MaxCommand/4), steps(policy.MaxCommand/2)
		require.Less(t, whole, 3*half+10_000, "%q: %v steps for half of it", unit, half)
		require.Less(t, whole, uint64(1_000_000), "%q", unit)
	}
}
