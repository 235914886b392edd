package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/sandbox"
	"github.com/akmatori/akmatori/internal/wire"
	"golang.org/x/sync/errgroup"
)

// Limits of a run where its agent names none.
const (
	defaultSteps       = 25
	defaultToolCalls   = 40
	defaultDuration    = 10 * time.Minute
	defaultOutputChars = 30_000
)

const (
	// parallelCalls bounds the calls of one turn that run at the same time.
	parallelCalls = 4
	// maxUseless turns in a row end a run.
	maxUseless = 3
	// maxShrinks is how often the conversation is shortened for a model that
	// finds it too long.
	maxShrinks = 4
	// margin is kept before the run's deadline, so that its end is stored
	// while the claim is still good.
	margin = 5 * time.Second
	// patience is how long a run whose token is refused waits for the api to
	// say why, before it is dropped.
	patience = 5 * time.Second
)

// Why a run's context ends.
var (
	errLost     = errors.New("the run belongs to another worker or has ended")
	errStopping = errors.New("the worker stops")
	errTimeUp   = errors.New("the run's time is up")
	errNearEnd  = errors.New("the run's time is nearly up")
	errParked   = errors.New("the run waits for people")
)

// cancelled says that people have stopped the run.
type cancelled struct{ reason string }

func (c cancelled) Error() string { return "cancelled: " + c.reason }

// run is one run on this worker. Its goroutine is work; the session reads the
// outbox and cancels.
type run struct {
	ref     wire.RunRef
	task    wire.Task
	worker  string
	out     *outbox
	cancel  context.CancelCauseFunc
	backoff time.Duration
	metrics *metrics
	sandbox *sandbox.Sandbox // nil: there is no shell
	log     *slog.Logger

	// Of the goroutine of work alone:
	limits  ops.Limits
	t       *transcript
	gateway *gateway
	shell   *shell // nil: not offered
	model   *llm.Model
	tools   []llm.Tool
	known   map[string]bool // names of tools
	unsure  map[string]bool // calls of the shell by another worker that may have run
}

// verdict is how a run ended.
type verdict struct {
	state  ops.RunState
	reason string
}

// work investigates and ends the run. It returns false if the run is to be
// forgotten without an end: it is somebody else's.
func (r *run) work(ctx context.Context) bool {
	v, err := r.investigate(ctx)
	if errors.Is(err, errDeadToken) || llm.KindOf(err) == llm.Auth {
		// The token dies with the run: the api is about to say so.
		select {
		case <-ctx.Done():
		case <-time.After(patience):
		}
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if c, ok := errors.AsType[cancelled](err); ok {
		v, err = verdict{ops.RunCancelled, c.reason}, nil
	}
	if e, ok := errors.AsType[*llm.Error](err); ok {
		r.log.Warn("the model failed", "err", e, "cause", e.Unwrap(), "attempts", e.Attempts)
		v, err = verdict{ops.RunFailed, e.Error()}, nil
		if e.Attempts > 1 {
			v.reason += fmt.Sprintf(", after %d attempts", e.Attempts)
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, errStopping):
		r.log.Info("the run is left to another worker")
		_, _ = r.out.add(context.WithoutCancel(ctx), ops.NewEvent(ops.EventNotice,
			ops.Notice{Text: "Worker " + r.worker + " stops. Another one goes on from here."}), true)
		return true
	case errors.Is(err, errParked):
		r.log.Info("the run waits for an approval")
		_, _ = r.out.add(context.WithoutCancel(ctx), ops.NewEvent(ops.EventRunParked,
			ops.RunChange{State: ops.RunWaitingApproval, Worker: r.worker}), true)
		return true
	case errors.Is(err, errLost), errors.Is(err, errDeadToken), errors.Is(err, errOutboxClosed):
		r.log.Info("the run is dropped", "why", err)
		return false
	case errors.Is(err, errTimeUp):
		v = verdict{ops.RunInconclusive, "the time for the investigation was up"}
	default:
		r.log.Error("the run failed", "err", err)
		v = verdict{ops.RunFailed, "internal error of the worker"}
		if _, ok := errors.AsType[*ops.Error](err); ok {
			v.reason = ops.MessageOf(err)
		}
	}
	r.log.Info("the run has ended", "state", v.state, "reason", v.reason)
	r.metrics.runs.WithLabelValues(string(v.state)).Inc()
	_, _ = r.out.add(context.WithoutCancel(ctx), ops.NewEvent(ops.EventRunEnded, ops.RunChange{State: v.state, Reason: v.reason}), true)
	return true
}

// investigate is the loop: the model's turn, its calls, and again.
func (r *run) investigate(ctx context.Context) (verdict, error) {
	var err error
	if r.t, err = replay(r.task.Transcript); err != nil {
		return verdict{}, err
	}
	if r.t.finding != nil { // a worker died between findings and the end
		return r.conclude(*r.t.finding), nil
	}
	ctx, near, stop := r.deadlines(ctx)
	defer stop()
	if len(r.t.turns) > 0 {
		if _, err := r.notice(ctx, "Worker %s goes on behind turn %d.", r.worker, len(r.t.turns)); err != nil {
			return verdict{}, err
		}
	}
	r.gateway = newGateway(r.task.GatewayURL, ops.NewSecret(r.task.GatewayToken), r.backoff, r.log, func(error) {
		_, _ = r.notice(ctx, "The gateway does not answer. What it was asked waits for it.")
	})
	defer r.gateway.close()
	r.model, err = llm.Open(llm.Config{Kind: r.task.Model.Kind, BaseURL: r.task.Model.BaseURL,
		Key: ops.NewSecret(r.task.Model.Token), Backoff: r.backoff})
	if err != nil {
		return verdict{}, err
	}
	defer r.model.Close()
	if r.tools, err = r.gateway.tools(near); err != nil {
		return r.orTime(ctx, near, err)
	}
	r.known = map[string]bool{submitFindings: true}
	for _, t := range r.tools {
		r.known[t.Name] = true
	}
	if r.shell = r.openShell(); r.shell != nil {
		defer r.shell.close()
		r.tools, r.known[bash] = append(r.tools, bashTool()), true
	}
	r.unsure = map[string]bool{}
	for _, c := range r.t.pending() {
		r.unsure[c.ID] = c.Name == bash
	}
	if len(r.t.pending()) > 0 {
		if v, err := r.answer(ctx, near, true); v != nil || err != nil {
			return orZero(v), err
		}
	}
	return r.loop(ctx, near)
}

// loop takes turns until the run has a verdict.
func (r *run) loop(ctx, near context.Context) (verdict, error) {
	briefing := briefing(r.task)
	shrinks, again := 0, false
	for {
		if r.t.useless >= maxUseless {
			return verdict{ops.RunInconclusive, fmt.Sprintf("the model brought nothing new in %d turns in a row", maxUseless)}, nil
		}
		req := llm.Request{Model: r.task.Model.Model, System: r.task.Agent.Prompt, Tools: append(r.tools[:len(r.tools):len(r.tools)], findingsTool())}
		if req.System == "" {
			req.System = systemPrompt
		}
		req.Messages = r.t.messages(briefing, r.limits.OutputChars>>shrinks)
		asking := near
		limit := r.limit(near)
		if limit != "" {
			if !again {
				if _, err := r.notice(ctx, "%s The model is told to conclude.", limit); err != nil {
					return verdict{}, err
				}
			}
			req.Tools = []llm.Tool{findingsTool()}
			req.Messages = append(req.Messages, lastTurn(limit))
			asking = ctx
		}
		reply, err := r.ask(asking, req)
		switch {
		case err == nil:
		case llm.KindOf(err) == llm.TooLong && shrinks < maxShrinks:
			shrinks++
			if _, err := r.notice(ctx, "The conversation is too long for the model. Old output is shown to it shorter."); err != nil {
				return verdict{}, err
			}
			continue
		case near.Err() != nil && ctx.Err() == nil && limit == "":
			continue // in time for a last turn
		default:
			return verdict{}, err
		}
		m := r.t.message(reply)
		seq, err := r.emit(ctx, ops.EventMessage, m)
		if err != nil {
			return verdict{}, err
		}
		r.t.add(m)
		if len(m.Calls) > 0 {
			// What is called must be known to have been called: the api has the
			// turn before any of its calls is made.
			if err := r.out.stored(ctx, seq); err != nil {
				return verdict{}, err
			}
		}
		if v, err := r.answer(ctx, near, limit == ""); v != nil || err != nil {
			return orZero(v), err
		}
		if limit == "" {
			continue
		}
		if r.t.corrected && !again { // the citations of the last turn may be corrected, too
			again = true
			continue
		}
		if text := strings.TrimSpace(m.Text); text != "" {
			if _, err := r.emit(ctx, ops.EventFindings, ops.Finding{Summary: headTail(text, maxField), Evidence: []ops.Citation{}}); err != nil {
				return verdict{}, err
			}
		}
		return verdict{ops.RunInconclusive, limit + " The model submitted no findings."}, nil
	}
}

// deadlines gives a context until the run's end, and one that leaves time for a last turn.
func (r *run) deadlines(ctx context.Context) (end, near context.Context, stop func()) {
	now := time.Now()
	deadline := now.Add(r.limits.Duration)
	if d := r.task.Deadline; !d.IsZero() && d.Add(-margin).Before(deadline) {
		deadline = d.Add(-margin)
	}
	left := max(0, deadline.Sub(now))
	end, cancelEnd := context.WithDeadlineCause(ctx, deadline, errTimeUp)
	near, cancelNear := context.WithDeadlineCause(end, deadline.Add(-min(time.Minute, left/5)), errNearEnd)
	return end, near, func() { cancelNear(); cancelEnd() }
}

// orTime tells the end of the time for work from the end of the run.
func (r *run) orTime(ctx, near context.Context, err error) (verdict, error) {
	if near.Err() != nil && ctx.Err() == nil {
		return verdict{ops.RunFailed, "the gateway did not answer in the time for the investigation"}, nil
	}
	return verdict{}, err
}

// limit says why the next turn must be the last, "" if it need not be.
func (r *run) limit(near context.Context) string {
	switch {
	case near.Err() != nil:
		return "The time for this investigation is nearly up."
	case len(r.t.turns) >= r.limits.Steps-1:
		return fmt.Sprintf("The limit of %d turns is reached.", r.limits.Steps)
	case r.t.calls >= r.limits.ToolCalls:
		return fmt.Sprintf("The limit of %d tool calls is reached.", r.limits.ToolCalls)
	}
	return ""
}

// ask has one turn and shows it while it comes.
func (r *run) ask(ctx context.Context, req llm.Request) (llm.Reply, error) {
	n := len(r.t.turns) + 1
	show := func() *trickle {
		return &trickle{emit: func(s string) { _, _ = r.emit(ctx, ops.EventTextDelta, ops.TextDelta{Turn: n, Text: storable(s)}) }}
	}
	live := show()
	began := time.Now()
	reply, err := r.model.Stream(ctx, req, func(d llm.Delta) {
		if d.Retry == nil {
			live.add(d.Text)
			return
		}
		live.close()
		live = show()
		void := ""
		if d.Retry.Void {
			void = fmt.Sprintf(" What is shown of turn %d is void.", n)
		}
		r.metrics.modelErrors.WithLabelValues(string(d.Retry.Because.Kind)).Inc()
		_, _ = r.notice(ctx, "%s.%s It is asked again in %s.", capital(d.Retry.Because.Error()), void, d.Retry.After.Round(time.Millisecond))
	})
	live.close()
	if err != nil {
		if kind := llm.KindOf(err); kind != "" {
			r.metrics.modelErrors.WithLabelValues(string(kind)).Inc()
		}
		return llm.Reply{}, err
	}
	r.metrics.turn(reply.Usage, time.Since(began))
	return reply, nil
}

// answer makes the calls of the last turn that have no result, several at once,
// and gives a verdict if one of them submits findings that are accepted. If one
// waits for people for longer than the gateway holds it, the error is errParked:
// whoever resumes the run makes that call again under the same id.
func (r *run) answer(ctx, near context.Context, toolsLeft bool) (*verdict, error) {
	pending := r.t.pending()
	var mu sync.Mutex // of the transcript
	finish := func(res ops.ToolResult) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := r.emit(ctx, ops.EventToolResult, res); err != nil {
			return err
		}
		r.t.result(res)
		return nil
	}
	var submitted []ops.ToolUse
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelCalls)
	twins := map[string]string{} // calls of this turn
	var waits atomic.Bool        // one of them is for people to decide
	for _, c := range pending {
		if c.Name == submitFindings {
			submitted = append(submitted, c)
			continue
		}
		if r.unsure[c.ID] {
			if err := finish(ops.ToolResult{ID: c.ID, State: ops.CallUnknown, Text: unsure}); err != nil {
				_ = g.Wait()
				return nil, err
			}
			continue
		}
		mu.Lock()
		why := r.refuse(c, twins, toolsLeft)
		mu.Unlock()
		if why != "" {
			_, err := r.notice(ctx, "%s (%s): %s", short(c.Name), c.ID, why)
			if err == nil {
				err = finish(ops.ToolResult{ID: c.ID, State: ops.CallDenied, Text: why})
			}
			if err != nil {
				_ = g.Wait()
				return nil, err
			}
			continue
		}
		twins[key(c)] = c.ID
		g.Go(func() error {
			res, err := r.call(gctx, near, c)
			if err != nil {
				return err
			}
			if res.State == ops.CallWaiting { // its siblings may still end
				waits.Store(true)
				return nil
			}
			return finish(res)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if waits.Load() {
		return nil, errParked
	}
	for _, c := range submitted {
		f, why := r.judge(c)
		if why == "" {
			if _, err := r.emit(ctx, ops.EventFindings, f); err != nil {
				return nil, err
			}
			v := r.conclude(f)
			return &v, nil
		}
		if err := finish(ops.ToolResult{ID: c.ID, State: ops.CallDenied, Text: why}); err != nil {
			return nil, err
		}
	}
	r.t.settle()
	return nil, nil
}

// refuse says why a call is not made, "" if it is. The model reads it.
func (r *run) refuse(c ops.ToolUse, twins map[string]string, toolsLeft bool) string {
	if text, bad := malformed(c); bad {
		_, err := canonical(text)
		if err == nil {
			err = errors.New("the arguments were not understood")
		}
		return "The call was not made: " + err.Error() + "."
	}
	earlier, repeated := r.t.asked[key(c)]
	if twin, ok := twins[key(c)]; ok {
		earlier, repeated = twin, true
	}
	switch {
	case !r.known[c.Name]:
		return fmt.Sprintf("The call was not made: there is no tool %q.", short(c.Name))
	case !toolsLeft:
		return "The call was not made: no tool but " + submitFindings + " is left."
	case repeated:
		return fmt.Sprintf("The call was not made: it is the same as %s. Its result stands above.", earlier)
	case r.number(c) > r.limits.ToolCalls:
		return fmt.Sprintf("The call was not made: the limit of %d tool calls is reached.", r.limits.ToolCalls)
	}
	return ""
}

// number is the place of a call of the last turn in the run, from 1.
func (r *run) number(c ops.ToolUse) int {
	calls := r.t.last().Calls
	for i := range calls {
		if calls[i].ID == c.ID {
			return r.t.calls - len(calls) + i + 1
		}
	}
	return r.t.calls
}

// call makes one call, at the gateway or in the shell. The result of one that has
// no answer when the time for work is over is unknown, which is not an error.
func (r *run) call(ctx, near context.Context, c ops.ToolUse) (ops.ToolResult, error) {
	if _, err := r.emit(ctx, ops.EventToolCall, ops.ToolCallStarted{ID: c.ID, Name: c.Name, Arguments: c.Arguments}); err != nil {
		return ops.ToolResult{}, err
	}
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(near, func() { cancel(context.Cause(near)) })()
	live := &trickle{emit: func(s string) { _, _ = r.emit(ctx, ops.EventToolOutput, ops.ToolOutput{ID: c.ID, Text: storable(s)}) }}
	began := time.Now()
	tool := r.gateway.call
	if c.Name == bash {
		tool = r.shell.call
	}
	res, err := tool(work, c, live.add)
	live.close()
	if errors.Is(err, errNearEnd) && ctx.Err() == nil {
		res, err = ops.ToolResult{ID: c.ID, State: ops.CallUnknown, Duration: time.Since(began),
			Text: "No answer came in the time for this investigation. Whether the call was made is not known."}, nil
	}
	if err == nil {
		r.metrics.calls.WithLabelValues(c.Name, string(res.State)).Inc()
	}
	return res, err
}

// correction starts the answer to findings whose citations do not hold.
const correction = "Not accepted: some claims are not backed by what the tools printed."

// judge reads submitted findings. why says to the model what is wrong; the
// second time, what is not backed is left for the api to drop.
func (r *run) judge(c ops.ToolUse) (f ops.Finding, why string) {
	if text, bad := malformed(c); bad {
		_, err := canonical(text)
		return f, fmt.Sprintf("Not accepted: %v.", err)
	}
	f, err := readFindings(c.Arguments)
	if err != nil {
		return f, "Not accepted: " + err.Error() + "."
	}
	if dropped := ops.CheckFindings(f, r.t.outputs).Dropped; len(dropped) > 0 && !r.t.corrected {
		if r.t.citesShell(f) {
			dropped = append([]string{"calls of " + bash + " are no evidence: cite the calls whose output they worked on"}, dropped...)
		}
		return f, correction + "\n- " + strings.Join(dropped[:min(len(dropped), 20)], "\n- ") +
			"\nCite ids of finished calls, copy excerpts letter by letter, and submit once more. What is not backed then is removed."
	}
	return f, ""
}

// conclude gives the verdict on findings that were sent. The api checks them
// again on what the gateway stored.
func (r *run) conclude(f ops.Finding) verdict {
	if ops.CheckFindings(f, r.t.outputs).Conclusive {
		return verdict{ops.RunConcluded, ""}
	}
	return verdict{ops.RunInconclusive, "no root cause is backed by evidence"}
}

func (r *run) emit(ctx context.Context, kind ops.EventKind, data any) (int64, error) {
	r.metrics.events.Inc()
	return r.out.add(ctx, ops.NewEvent(kind, data), false)
}

func (r *run) notice(ctx context.Context, format string, args ...any) (int64, error) {
	return r.emit(ctx, ops.EventNotice, ops.Notice{Text: storable(fmt.Sprintf(format, args...))})
}

func orZero(v *verdict) verdict {
	if v == nil {
		return verdict{}
	}
	return *v
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
