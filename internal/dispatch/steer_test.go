package dispatch

import (
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

func message(f wire.Frame) *wire.Message   { return f.Message }
func conclude(f wire.Frame) *wire.Conclude { return f.Conclude }

func (r *rig) say(incident, actor, text string) int64 {
	r.t.Helper()
	seq, err := r.db.Say(r.t.Context(), postgres.Say{Incident: incident, Actor: actor, Text: text, May: func(string) error { return nil }})
	require.NoError(r.t, err)
	return seq
}

// What people say reaches the worker, comes again to the next connection and
// worker, and no more once it is read.
func TestMessagesReachTheWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("a")
	w, got := r.working("w1")
	require.Equal(t, "service:test", got.Actor)
	first := r.say(i.ID, "service:test", "one")
	m := next(w, message)
	require.Equal(t, wire.Message{RunRef: got.RunRef, Message: m.Message}, *m)
	require.Equal(t, first, m.Message.Seq)
	require.Equal(t, "one", m.Message.Text)

	w.hangUp() // before it was read
	w = r.dial("w1", 1, got.RunRef)
	next(w, welcome)
	require.Equal(t, first, next(w, message).Message.Seq)
	w.events(got.RunRef, event(1, ops.EventApplied, ops.Applied{Seq: first}))
	next(w, ack)
	w.hangUp()
	w = r.dial("w1", 1, got.RunRef)
	next(w, welcome)
	second := r.say(i.ID, "service:test", "two")
	require.Equal(t, second, next(w, message).Message.Seq, "what was read came again")

	// The next worker has both with its task, and what of it was read.
	w.hangUp()
	require.NoError(t, r.db.Shorten(t.Context(), "w1", -1))
	other, again := r.working("w2")
	require.Equal(t, got.Run, again.Run)
	require.Len(t, again.Messages, 2)
	require.Equal(t, []ops.EventKind{ops.EventApplied}, []ops.EventKind{again.Transcript[0].Kind})
	third := r.say(i.ID, "service:test", "three")
	require.Equal(t, third, next(other, message).Message.Seq, "what came with the task was sent once more")
}

// A worker may get its own run again, while frames of the claim that it lost are
// still on their way. They end nothing of the new one.
func TestALateFrameOfALostClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("a")
	w := r.dial("w1", 2)
	w.send(wire.Frame{Ready: &wire.Ready{Free: 2}})
	lost := next(w, task)
	require.NoError(t, r.db.Shorten(t.Context(), "w1", -1))
	again := next(w, task)
	require.Equal(t, wire.RunRef{Run: lost.Run, Epoch: lost.Epoch + 1}, again.RunRef)
	w.events(lost.RunRef, event(1, ops.EventNotice, ops.Notice{Text: "late"}))
	require.Equal(t, lost.RunRef, next(w, cancelled).RunRef)
	said := r.say(i.ID, "service:test", "look at the other disk")
	m := next(w, message)
	require.Equal(t, again.RunRef, m.RunRef)
	require.Equal(t, said, m.Message.Seq)
}

func TestARunOverTheBudgetIsToldToConclude(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	r.incident("a")
	require.NoError(t, r.db.SetBudget(t.Context(), ops.Budget{Scope: ops.BudgetAll, Tokens: 100, UpdatedBy: "service:test"}))
	w, got := r.working("w1")
	require.Empty(t, got.Conclude)
	w.events(got.RunRef, event(1, ops.EventMessage, ops.Message{Turn: 1, Usage: ops.Usage{InputTokens: 90, OutputTokens: 9}}))
	w.events(got.RunRef, event(2, ops.EventMessage, ops.Message{Turn: 2, Usage: ops.Usage{InputTokens: 90, OutputTokens: 9}}))
	c := next(w, conclude)
	require.Equal(t, wire.Conclude{RunRef: got.RunRef, Reason: "today's budget of 100 tokens is used up"}, *c)
}

func TestHistoryFitsAFrame(t *testing.T) {
	t.Parallel()
	big := func(run string, size int) postgres.PastRun {
		return postgres.PastRun{Run: run, Transcript: []ops.Event{ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1}),
			ops.NewEvent(ops.EventToolResult, ops.ToolResult{ID: "c1", Text: string(make([]byte, size))})}}
	}
	fit := fitHistory([]postgres.PastRun{big("a", 4000), big("b", 4000), big("c", 40)}, 3000)
	require.Len(t, fit, 3)
	require.Equal(t, []string{"a", "b", "c"}, []string{fit[0].Run, fit[1].Run, fit[2].Run})
	require.Contains(t, string(fit[0].Transcript[1].Data), "were left out when the run was resumed")
	require.Len(t, fitHistory([]postgres.PastRun{big("a", 100), big("b", 100)}, 10), 1, "the newest is always there")
}
