package tool

import (
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/stretchr/testify/require"
)

func TestTogether(t *testing.T) {
	t.Parallel()
	zero, two := 0, 2
	o, err := together([]onHost{{Host: "a", ExitCode: &zero, text: "fine"}, {Host: "b", ExitCode: &two, text: "bad\n"}, {Host: "c", ExitCode: &zero}}, nil)
	require.NoError(t, err)
	require.Equal(t, "[a: exit status 0]\nfine\n[b: exit status 2]\nbad\n[c: exit status 0]\n", o.Text)
	require.Equal(t, 2, *o.ExitCode)
	require.Empty(t, o.Stopped)
	require.JSONEq(t, `[{"host":"a","exit_code":0},{"host":"b","exit_code":2},{"host":"c","exit_code":0}]`, string(o.Data))

	// What is too long keeps a part of each, and all of it as evidence.
	long := strings.Repeat("a line of the log é\n", 10_000)
	var kept strings.Builder
	o, err = together([]onHost{{Host: "a", ExitCode: &zero, text: long, Left: 7}, {Host: "b", ExitCode: &zero, text: "short\n"}, {Host: "c", Problem: "it is away", text: strings.Repeat("x", 200_000)}},
		func(c ops.EvidenceChunk) error {
			text, err := c.Text()
			kept.WriteString(text)
			return err
		})
	require.NoError(t, err)
	require.Nil(t, o.ExitCode)
	require.Equal(t, "on 1 of 3 hosts it did not end by itself", o.Stopped)
	require.Less(t, len(o.Text), 2*plain.Half)
	require.Contains(t, o.Text, "[b: exit status 0]\nshort\n[c: it is away]\nxxx")
	require.Equal(t, 2, strings.Count(o.Text, "bytes are left out here"))
	require.Equal(t, "[a: exit status 0]\n"+long+"[b: exit status 0]\nshort\n[c: it is away]\n"+strings.Repeat("x", 200_000)+"\n", kept.String())
	require.Positive(t, o.Truncated)
}
