package eval

import (
	"testing"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// Were the product to store a claim that nothing backs, the evaluation would see it.
func TestClaimsWithoutEvidenceAreSeen(t *testing.T) {
	t.Parallel()
	calls := []ops.ToolCall{
		{ID: "c1", State: ops.CallDone, Result: &ops.ToolResult{Text: "Filesystem  Use%\n/dev/sda1   99% /\n"}},
		{ID: "c2", State: ops.CallDenied, Result: &ops.ToolResult{Text: "no"}},
	}
	cite := func(call, excerpt string) []ops.Citation { return []ops.Citation{{Call: call, Excerpt: excerpt}} }
	for _, c := range []struct {
		name string
		f    ops.Finding
		want int
	}{
		{"nothing", ops.Finding{}, 0},
		{"backed", ops.Finding{RootCause: "x", Evidence: cite("c1", "/dev/sda1 99%")}, 0},
		{"cut words", ops.Finding{RootCause: "x", Evidence: cite("c1", "sda1 99% /")}, 0},
		{"cause without", ops.Finding{RootCause: "x"}, 1},
		{"invented words", ops.Finding{RootCause: "x", Evidence: cite("c1", "/dev/sda1 98%")}, 1},
		{"words of two places", ops.Finding{RootCause: "x", Evidence: cite("c1", "Filesystem 99%")}, 1},
		{"denied call", ops.Finding{RootCause: "x", Evidence: cite("c2", "no")}, 1},
		{"no call", ops.Finding{RootCause: "x", Evidence: cite("c9", "")}, 1},
		{"verdict without", ops.Finding{Hypotheses: []ops.Hypothesis{{Statement: "h", Verdict: ops.VerdictRefuted}}}, 1},
		{"open", ops.Finding{Hypotheses: []ops.Hypothesis{{Statement: "h", Verdict: ops.VerdictOpen}}}, 0},
	} {
		require.Len(t, uncited(c.f, calls), c.want, c.name)
		out := outcome{run: ops.Run{State: ops.RunInconclusive}, finding: &c.f, calls: calls}
		row := judge(casefile.Case{Expect: casefile.Expect{Outcome: casefile.ExpectInconclusive}}, out)
		require.Equal(t, c.want > 0, row.Result == Uncited, c.name)
		require.Equal(t, c.want > 0, report([]Row{row}).Err(0) != nil, c.name)
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	require.Equal(t, 1.0, quantile([]float64{1}, .95))
	twenty := make([]float64, 20)
	for i := range twenty {
		twenty[i] = float64(i + 1)
	}
	require.Equal(t, 10.0, quantile(twenty, .5))
	require.Equal(t, 19.0, quantile(twenty, .95))
}
