package agent

import (
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

// TestQuotesOfOutputsThatAreLeftOut: the api has them, and decides.
func TestQuotesOfOutputsThatAreLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
turns:
  - calls: [{tool: ssh_hosts}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: full, confidence: 1, evidence: [{call: c1, excerpt: 97% /}]}}]
`)
	run := w.task(func(task *wire.Task) {
		task.Transcript = []ops.Event{
			ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Calls: []ops.ToolUse{{ID: "c1", Name: "ssh_hosts", Arguments: []byte(`{}`)}}}),
			ops.NewEvent(ops.EventToolResult, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: "/dev/sda1 97% /"}.Emptied()),
		}
	})
	w.worker()
	require.Equal(t, ops.RunConcluded, w.end(run).State)
	require.Len(t, all[ops.Message](t, w.stored(run), ops.EventMessage), 1, "it need not correct what holds")
}
