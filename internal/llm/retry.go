package llm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// maxMalformed bounds the tries after garbage: a vendor that sends it twice in
// a row will send it again.
const maxMalformed = 3

// Stream has one turn. each is called for every [Delta], in order, on the
// calling goroutine; a slow one slows the stream down. The error is an [*Error]
// or the context's.
func (m *Model) Stream(ctx context.Context, req Request, each func(Delta)) (Reply, error) {
	malformed, began := 0, time.Now()
	for attempt := 1; ; attempt++ {
		delivered := false
		reply, err := m.once(ctx, req, func(d Delta) {
			delivered = true
			each(d)
		})
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return Reply{}, fmt.Errorf("model turn: %w", context.Cause(ctx))
		}
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = &Error{Kind: Unavailable, err: err}
		}
		e.Attempts = attempt
		if e.Kind == Malformed {
			malformed++
		}
		pause := max(m.pause(attempt), e.RetryAfter)
		spent := attempt >= m.cfg.Attempts
		if m.cfg.Patience > 0 {
			spent = time.Since(began)+pause > m.cfg.Patience
		}
		if !e.Retryable() || spent || malformed >= maxMalformed {
			return Reply{}, e
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
			return Reply{}, e // there would be no time left to try
		}
		each(Delta{Retry: &Retry{After: pause, Because: e, Void: delivered}})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Reply{}, fmt.Errorf("model turn: %w", context.Cause(ctx))
		}
	}
}

// pause doubles from Backoff to 30 times of it, and takes between half and all of that.
func (m *Model) pause(attempt int) time.Duration {
	d := m.cfg.Backoff * time.Duration(min(30, 1<<min(attempt-1, 10)))
	return d/2 + rand.N(d/2+1)
}

var errSilent = errors.New("the stream was silent for too long")

// once is one attempt under a watchdog: a stream that says nothing is ended.
func (m *Model) once(ctx context.Context, req Request, say func(Delta)) (Reply, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(m.cfg.Silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	reply, err := m.ask(ctx, req, func(d Delta) {
		if d.Text != "" || d.Reasoning != "" {
			watchdog.Stop() // a slow reader is not a silent stream
			say(d)
		}
		watchdog.Reset(m.cfg.Silence)
	})
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return Reply{}, &Error{Kind: Interrupted, Detail: errSilent.Error(), err: err}
	}
	return reply, err
}
