package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

const (
	// askWaits is how long a call is held for people where nothing else is set;
	// then the run is parked, and makes the call when they have decided.
	askWaits = 2 * time.Minute
	// parkBefore is left of the time for work when a call stops waiting.
	parkBefore = 5 * time.Second
)

// asks are calls of a run that people are asked about by the api: the run puts
// in and waits, the session sends, and again on each new connection.
type asks struct {
	wake func()

	mu   sync.Mutex
	open map[string]*waiting // by call
}

type waiting struct {
	frame   wire.Ask
	sent    bool // on this connection
	decided chan wire.Decision
}

func newAsks(wake func()) *asks { return &asks{wake: wake, open: map[string]*waiting{}} }

// put has a call asked about. What the api says of it comes on the channel.
func (a *asks) put(f wire.Ask) (<-chan wire.Decision, func()) {
	w := &waiting{frame: f, decided: make(chan wire.Decision, 2)} // that people are asked, and what they say
	a.mu.Lock()
	a.open[f.Call] = w
	a.mu.Unlock()
	a.wake()
	return w.decided, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, f.Call)
	}
}

// unsent takes what is to be sent on this connection.
func (a *asks) unsent() (all []wire.Ask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.open {
		if !w.sent {
			w.sent = true
			all = append(all, w.frame)
		}
	}
	return all
}

// rewind makes all be sent again: what was answered on another connection may be lost.
func (a *asks) rewind() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.open {
		w.sent = false
	}
}

// decide hands over what the api says. Only the first of what ends a wait counts.
func (a *asks) decide(d wire.Decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.open[d.Call]
	if w == nil {
		return
	}
	if d.State != wire.DecisionPending {
		delete(a.open, d.Call)
	}
	select {
	case w.decided <- d:
	default: // that people are asked, once more
	}
}

// asked is the answer to a call that people were asked about.
type asked struct {
	state ops.CallState // empty: the call is to be made, now and once
	text  string
}

// askPeople asks about a call and waits: for a while, since a place on a worker
// is dear, but never longer than there is time for work.
func (r *run) askPeople(ctx context.Context, use ops.ToolUse, arguments json.RawMessage, reasons []string) (asked, error) {
	decided, drop := r.asks.put(wire.Ask{RunRef: r.ref, Call: use.ID, Tool: use.Name, Arguments: arguments, Reasons: reasons})
	defer drop()
	late := time.NewTimer(r.askWaits)
	defer late.Stop()
	known, over := false, false // to the api; the wait
	for {
		if known && over {
			return asked{ops.CallWaiting, ""}, nil
		}
		select {
		case d := <-decided:
			if known = true; d.State != wire.DecisionPending {
				return answerOf(d), nil
			}
		case <-late.C:
			over = true
		case <-r.parkAt:
			if !known {
				return asked{ops.CallDenied, "The call needs a person's approval, and nobody could be asked: the api does not answer. It was not made.\n"}, nil
			}
			over = true
		case <-ctx.Done():
			return asked{}, context.Cause(ctx)
		}
	}
}

// answerOf is a decision as the model reads it.
func answerOf(d wire.Decision) asked {
	why := ""
	if d.Reason != "" {
		why = ": " + short(d.Reason)
	}
	switch d.State {
	case wire.DecisionApproved:
		return asked{}
	case wire.DecisionDenied:
		return asked{ops.CallDenied, fmt.Sprintf("A person has denied the call%s.", why)}
	case wire.DecisionExpired:
		return asked{ops.CallDenied, "The call needs a person's approval, and nobody gave it in time."}
	case wire.DecisionUsed:
		return asked{ops.CallUnknown, unsure}
	default:
		return asked{ops.CallDenied, fmt.Sprintf("The call needs a person's approval, and was not made%s.", why)}
	}
}
