package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/llm/catalogue"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

// errModelAway ends a claim whose models cannot be had, of a run that may wait
// for one: it goes back into the queue and frees its place meanwhile.
type errModelAway struct{ err error }

func (e errModelAway) Error() string { return "the model is away: " + e.err.Error() }
func (e errModelAway) Unwrap() error { return e.err }

// errTurned says that another model is asked from now on.
var errTurned = errors.New("another model is asked")

// models are those that a run may ask, and which of them it asks. A run that has
// turned to a fallback stays with it for as long as this worker has the run: to
// go back and forth would cost a wait each time, and what the vendor has cached.
type models struct {
	leases []wire.ModelLease
	open   []*llm.Model
	at     int
}

func openModels(task wire.Task, backoff time.Duration) (*models, error) {
	m := &models{leases: append([]wire.ModelLease{task.Model}, task.Fallback...)}
	for _, l := range m.leases {
		model, err := llm.Open(llm.Config{Kind: l.Kind, BaseURL: l.BaseURL, Key: ops.NewSecret(l.Token), Backoff: backoff, Patience: l.Patience})
		if err != nil {
			m.close()
			return nil, err
		}
		m.open = append(m.open, model)
	}
	return m, nil
}

func (m *models) close() {
	for _, model := range m.open {
		model.Close()
	}
}

// now is the model that is asked.
func (m *models) now() wire.ModelLease { return m.leases[m.at] }

// window is how many tokens a conversation with the present model may have, its
// answer included; 0 means that nobody knows.
func (m *models) window() int {
	l := m.now()
	if l.Window > 0 {
		return l.Window
	}
	n, _ := catalogue.Window(l.Kind, l.Model)
	return n
}

// turn says whether another model is to be asked because of err, and turns to it.
func (m *models) turn(err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || m.at+1 >= len(m.leases) {
		return false
	}
	account := e.Kind == llm.Auth || e.Kind == llm.Quota
	if !e.Retryable() && (!account || !m.now().FallbackOnAccount) {
		return false
	}
	m.at++
	return true
}

// price completes what a turn cost.
func price(l wire.ModelLease, u *ops.Usage) {
	u.Provider = l.Provider
	catalogue.Charge(u, l.Kind, l.Model, l.PriceInput, l.PriceOutput)
}

// ask has one turn, of the first model that can be had, and shows it while it
// comes. req says nothing of the model. If it cannot be had and there is another
// one, the error is errTurned; if none can be had and the run may wait for one, it
// is errModelAway.
func (r *run) ask(ctx context.Context, req llm.Request) (llm.Reply, error) {
	lease := r.models.now()
	req.Model, req.Effort = lease.Model, lease.Effort
	reply, err := r.askOne(ctx, r.models.open[r.models.at], req)
	if err == nil {
		price(lease, &reply.Usage)
		return reply, nil
	}
	if ctx.Err() != nil {
		return llm.Reply{}, err
	}
	if r.models.turn(err) {
		next := r.models.now()
		if _, err := r.notice(ctx, "%s: %s. The run goes on with %s.", capital(named(lease)), err, named(next)); err != nil {
			return llm.Reply{}, err
		}
		return llm.Reply{}, errTurned
	}
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Retryable() && time.Now().Before(r.task.WaitUntil) {
		_, noticeErr := r.notice(ctx, "%s: %s. The run waits for it until %s and is tried again every few minutes.",
			capital(named(lease)), err, r.task.WaitUntil.UTC().Format("15:04 MST on 2 January"))
		if noticeErr != nil {
			return llm.Reply{}, noticeErr
		}
		return llm.Reply{}, errModelAway{err}
	}
	return llm.Reply{}, err
}

// named is how people know a model.
func named(l wire.ModelLease) string {
	if l.Provider == "" {
		return "the model " + l.Model
	}
	return fmt.Sprintf("provider %s (%s)", l.Provider, l.Model)
}

// askOne has one turn of one model.
func (r *run) askOne(ctx context.Context, model *llm.Model, req llm.Request) (llm.Reply, error) {
	n := len(r.t.turns) + 1
	show := func(kind ops.EventKind) *trickle {
		return &trickle{emit: func(s string) { _, _ = r.emit(ctx, kind, ops.TextDelta{Turn: n, Text: ops.Storable(s)}) }}
	}
	text, reasoning := show(ops.EventTextDelta), show(ops.EventReasoning)
	began := time.Now()
	reply, err := model.Stream(ctx, req, func(d llm.Delta) {
		if d.Retry == nil {
			reasoning.add(d.Reasoning)
			text.add(d.Text)
			return
		}
		reasoning.close()
		text.close()
		text, reasoning = show(ops.EventTextDelta), show(ops.EventReasoning)
		void := ""
		if d.Retry.Void {
			void = fmt.Sprintf(" What is shown of turn %d is void.", n)
		}
		r.metrics.modelErrors.WithLabelValues(string(d.Retry.Because.Kind)).Inc()
		_, _ = r.notice(ctx, "%s.%s It is asked again in %s.", capital(d.Retry.Because.Error()), void, d.Retry.After.Round(time.Millisecond))
	})
	reasoning.close()
	text.close()
	if err != nil {
		if kind := llm.KindOf(err); kind != "" {
			r.metrics.modelErrors.WithLabelValues(string(kind)).Inc()
		}
		return llm.Reply{}, err
	}
	r.metrics.turn(reply.Usage, time.Since(began))
	return reply, nil
}
