package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGlobSteps: no glob goes back further than its bound, whatever the word.
func TestGlobSteps(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		"*", "*a", "a*a*a*a*a*a*a*a*b", strings.Repeat("*a", 60) + "b", strings.Repeat("a*", 60), "*" + strings.Repeat("a", 100) + "b", strings.Repeat("?*", 60) + "b",
		"*" + strings.Repeat("[a-z]", 100) + "0", strings.Repeat("a", 900), "*" + strings.Repeat("a?", 60) + "b",
	} {
		g, reason := parsePlainGlob(pattern)
		require.Empty(t, reason, pattern)
		for _, word := range []string{strings.Repeat("a", 5000), strings.Repeat("ab", 2500), strings.Repeat("a", 4999) + "b"} {
			_, steps := g.run(word)
			require.LessOrEqual(t, steps, len(word)*(maxAfterStar+1), pattern)
			_, twice := g.run(word + word)
			require.LessOrEqual(t, twice, 2*steps+2*maxAfterStar*maxAfterStar, "%s: %d", pattern, steps)
		}
	}
	_, reason := parsePlainGlob("*" + strings.Repeat("a", maxAfterStar))
	require.Contains(t, reason, "behind a *")
}
