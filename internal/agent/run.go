package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
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

const (
	// parallelCalls bounds the calls of one turn that run at the same time.
	parallelCalls = 4
	// maxUseless turns in a row end a run.
	maxUseless = 3
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
	sandbox *sandbox.Sandbox // nil: there is no workspace
	library *library
	asks    *asks
	// askWaits is how long a call is held for people.
	askWaits time.Duration
	inbox    inbox
	errands  errands
	log      *slog.Logger

	// Of the goroutine of work alone:
	limits  ops.Limits
	t       *transcript
	gateway *gateway
	shell   *shell // nil: not offered
	guides  *guides
	models  *models
	tools   []llm.Tool
	known   map[string]bool               // names of tools
	unsure  map[string]bool               // calls in the folder of another worker that may have been made
	parkAt  <-chan struct{}               // closed when calls stop waiting for people
	counted struct{ bytes, tokens int64 } // of the newest request, as the vendor counts it
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
	if errors.Is(err, errDeadToken) || llm.KindOf(err) == llm.Token {
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
	if away, ok := errors.AsType[errModelAway](err); ok {
		r.log.Warn("the run waits for its model", "err", away.err)
		_, _ = r.out.add(context.WithoutCancel(ctx), ops.NewEvent(ops.EventRunParked,
			ops.RunChange{State: ops.RunQueued, Worker: r.worker, Reason: "it waits for the model"}), true)
		return true
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
	if r.t, err = replay(r.task.Transcript, r.task.Messages); err != nil {
		return verdict{}, err
	}
	r.t.isAsked = r.task.Asked != nil
	for _, p := range r.task.History {
		past, err := replay(p.Transcript, p.Messages)
		if err != nil {
			return verdict{}, err
		}
		r.t.past = append(r.t.past, past)
	}
	r.inbox.add(r.task.Messages...)
	r.inbox.conclude(r.task.Conclude)
	if r.t.finding != nil { // a worker died between findings and the end
		return r.conclude(*r.t.finding), nil
	}
	ctx, near, stop := r.deadlines(ctx)
	defer stop()
	if end, ok := near.Deadline(); ok {
		park, stop := context.WithDeadline(near, end.Add(-parkBefore))
		defer stop()
		r.parkAt = park.Done()
	}
	if len(r.t.turns) > 0 {
		if _, err := r.notice(ctx, "Worker %s goes on behind turn %d.", r.worker, len(r.t.turns)); err != nil {
			return verdict{}, err
		}
	}
	r.gateway = newGateway(r.task.GatewayURL, ops.NewSecret(r.task.GatewayToken), r.backoff, r.log, func(error) {
		_, _ = r.notice(ctx, "The gateway does not answer. What it was asked waits for it.")
	})
	defer r.gateway.close()
	if r.models, err = openModels(r.task, r.backoff); err != nil {
		return verdict{}, err
	}
	defer r.models.close()
	if r.tools, err = r.gateway.tools(near); err != nil {
		return r.orTime(ctx, near, err)
	}
	r.known = map[string]bool{submitFindings: true}
	if len(r.task.SubAgents) > 0 {
		r.tools = append(r.tools, askTool(r.task.SubAgents))
	}
	for _, t := range r.tools {
		r.known[t.Name] = true
	}
	if err := r.borrow(near); err != nil {
		return verdict{}, err
	}
	defer r.guides.giveBack()
	if r.shell = r.openShell(); r.shell != nil {
		defer r.shell.close()
		for _, t := range ownTools() {
			if r.shell.has(t.name) {
				r.tools, r.known[t.name] = append(r.tools, t.toModel()), true
			}
		}
	}
	r.unsure = map[string]bool{}
	for _, c := range r.t.pending() {
		t := own(c.Name)
		r.unsure[c.ID] = t != nil && t.writes && !slices.Contains(r.task.Waiting, c.ID)
	}
	if len(r.t.pending()) > 0 {
		if v, err := r.answer(ctx, near, true); v != nil || err != nil {
			return orZero(v), err
		}
	}
	return r.loop(ctx, near)
}

// borrow gets the skills that the run has, and offers to read them. It begins
// without those that cannot be had.
func (r *run) borrow(ctx context.Context) error {
	var problems []string
	r.guides, problems = r.library.borrow(ctx, r.ref, r.task.Skills)
	r.guides.runbooks = r.task.Runbooks
	r.task.Skills = r.guides.refs() // the model is told of what there is
	for _, p := range problems {
		r.log.Warn("a run begins without a skill", "problem", p)
		if _, err := r.notice(ctx, "The run goes on without a part of its guidance: %s.", p); err != nil {
			r.guides.giveBack()
			return err
		}
	}
	if len(r.guides.skills)+len(r.guides.runbooks) > 0 {
		r.tools, r.known[guidanceRead] = append(r.tools, guidanceTool()), true
	}
	return nil
}

// loop takes turns until the run has a verdict.
func (r *run) loop(ctx, near context.Context) (verdict, error) {
	if err := r.brief(ctx); err != nil {
		return verdict{}, err
	}
	again := false
	for {
		if v, err := r.listen(ctx); v != nil || err != nil {
			return orZero(v), err
		}
		if r.t.answered() {
			return verdict{ops.RunConcluded, answered}, nil
		}
		if r.t.useless >= maxUseless {
			return verdict{ops.RunInconclusive, fmt.Sprintf("the model brought nothing new in %d turns in a row", maxUseless)}, nil
		}
		limit := r.limit(near)
		if limit != "" && !again {
			if _, err := r.notice(ctx, "%s The model is told to conclude.", limit); err != nil {
				return verdict{}, err
			}
		}
		asking := near
		if limit != "" {
			asking = ctx
		}
		reply, err := r.turn(ctx, asking, limit)
		if err == nil && limit == "" && r.t.shown.Last {
			limit = tooLong
		}
		if err != nil {
			if near.Err() != nil && ctx.Err() == nil && limit == "" {
				continue // in time for a last turn
			}
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
		if limit == "" || r.t.answered() {
			continue
		}
		text := strings.TrimSpace(m.Text)
		if r.t.corrected && !again { // the citations of the last turn may be corrected, too
			again = true
			continue
		}
		if text != "" {
			if _, err := r.emit(ctx, ops.EventFindings, ops.Finding{Summary: headTail(text, maxField), Evidence: []ops.Citation{}}); err != nil {
				return verdict{}, err
			}
		}
		return verdict{ops.RunInconclusive, limit + " The model submitted no findings."}, nil
	}
}

// answered is why a run ends that goes on with another one's conversation, and
// has answered in words. The api looks whether the incident has a conclusion.
const answered = "a question was answered"

// turn asks the model, with less and less of what was if the model finds it too
// long. With a limit the turn is the last, and so it is once nothing more can be
// left out.
func (r *run) turn(ctx, asking context.Context, limit string) (llm.Reply, error) {
	req := func() llm.Request {
		if limit == "" && r.t.shown.Last {
			return r.request(tooLong)
		}
		return r.request(limit)
	}
	if err := r.fit(asking, req); err != nil {
		return llm.Reply{}, err
	}
	for {
		q := req()
		reply, err := r.ask(asking, q)
		if errors.Is(err, errTurned) { // to a model whose window may be smaller
			if err := r.fit(asking, req); err != nil {
				return llm.Reply{}, err
			}
			continue
		}
		if llm.KindOf(err) == llm.TooLong {
			shorter, serr := r.squeeze(asking, req)
			if shorter && serr == nil {
				continue
			}
			if serr != nil && llm.KindOf(serr) == "" {
				err = serr
			}
		}
		if err == nil {
			r.counted.bytes, r.counted.tokens = requestBytes(q), reply.Usage.InputTokens
		}
		return reply, err
	}
}

// request is what the model is asked next; with a limit, for the last time.
func (r *run) request(limit string) llm.Request {
	q := llm.Request{System: systemPrompt(r.task.Agent), Tools: append(r.tools[:len(r.tools):len(r.tools)], findingsTool()),
		Messages: r.t.messages(r.limits.OutputChars), MaxOutput: int64(r.limits.OutputTokens)}
	if limit != "" {
		c := conversation(q.Messages)
		c.user(lastTurn(limit))
		q.Messages, q.Tools = c, []llm.Tool{findingsTool()}
	}
	return q
}

// next is about how many tokens one more turn takes.
func (r *run) next() int64 { return r.tokens(r.request("")) + r.t.newest.output }

// brief tells the model about the incident, once in the life of a run: a worker
// that takes it up tells what the first one told, word for word.
func (r *run) brief(ctx context.Context) error {
	if r.t.briefing != "" {
		return nil
	}
	b := ops.Briefing{Text: ops.Storable(briefing(r.task))}
	if _, err := r.emit(ctx, ops.EventBriefing, b); err != nil {
		return err
	}
	r.t.briefing = b.Text
	return nil
}

// listen puts what people have said into the conversation. Somebody else than
// the run acts for does not steer it: the run makes way for one that acts for them.
func (r *run) listen(ctx context.Context) (*verdict, error) {
	for _, m := range r.unread() {
		if m.Actor != r.task.Actor {
			return &verdict{ops.RunCancelled, strings.TrimPrefix(m.Actor, "user:") + " goes on with it"}, nil
		}
		if _, err := r.emit(ctx, ops.EventApplied, ops.Applied{Seq: m.Seq}); err != nil {
			return nil, err
		}
		r.t.said[m.Seq] = m
		r.t.hear(m)
	}
	return nil, nil
}

// unread is what was said and the model has not read.
func (r *run) unread() []ops.RunMessage {
	return slices.DeleteFunc(r.inbox.messages(), func(m ops.RunMessage) bool { return r.t.applied[m.Seq] })
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
	case len(r.t.turns)+r.t.theirTurns >= r.limits.Steps-1:
		return fmt.Sprintf("The limit of %d turns is reached.", r.limits.Steps)
	case r.t.calls >= r.limits.ToolCalls:
		return fmt.Sprintf("The limit of %d tool calls is reached.", r.limits.ToolCalls)
	case len(r.t.turns) > 0 && r.t.tokens()+2*r.next() > r.limits.Tokens: // another turn, and the last one
		return fmt.Sprintf("The limit of %d tokens is nearly reached.", r.limits.Tokens)
	case r.t.usd+2*r.t.newest.usd > r.limits.USD:
		return fmt.Sprintf("The limit of %s USD is nearly reached.", strconv.FormatFloat(r.limits.USD, 'f', -1, 64))
	}
	if r.t.shown.Last {
		return tooLong
	}
	if why := r.inbox.concluding(); why != "" {
		return capital(why) + "."
	}
	return ""
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
		if output, ok := r.t.outputs[res.ID]; ok && r.shell != nil {
			r.shell.keep(res.ID, output)
		}
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
		if why == "" && toolsLeft && slices.ContainsFunc(r.unread(), func(m ops.RunMessage) bool { return m.Actor == r.task.Actor }) {
			why = notYet
		}
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
	case repeated && (c.Name != guidanceRead || r.t.shown == ops.Compaction{}): // which may have taken it from view
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

// call makes one call, at the gateway, in the shell or of another agent. The result of one that has
// no answer when the time for work is over is unknown, which is not an error.
func (r *run) call(ctx, near context.Context, c ops.ToolUse) (ops.ToolResult, error) {
	if _, err := r.emit(ctx, ops.EventToolCall, ops.ToolCallStarted{ID: c.ID, Name: c.Name, Arguments: c.Arguments}); err != nil {
		return ops.ToolResult{}, err
	}
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(near, func() { cancel(context.Cause(near)) })()
	live := &trickle{emit: func(s string) {
		_, _ = r.emit(ctx, ops.EventToolOutput, ops.ToolOutput{ID: c.ID, Text: ops.Storable(s)})
	}}
	began := time.Now()
	tool := r.gateway.call
	switch {
	case own(c.Name) != nil:
		tool = r.shell.call
	case c.Name == ops.AskAgent:
		tool = func(ctx context.Context, use ops.ToolUse, _ func(string)) (ops.ToolResult, error) {
			return r.askAgent(ctx, use)
		}
	case c.Name == guidanceRead:
		tool = func(context.Context, ops.ToolUse, func(string)) (ops.ToolResult, error) { return r.guides.call(c), nil }
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

// notYet answers findings that did not know what was said meanwhile.
const notYet = "Not accepted yet: somebody has sent a message meanwhile. Read it, then go on, or submit again."

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
	if dropped := r.t.check(f).Dropped; len(dropped) > 0 && !r.t.corrected {
		if tool := r.t.citesOwn(f); tool != "" {
			dropped = append([]string{"calls of " + tool + " are no evidence: cite the calls whose output they worked on, or that checked what they say"}, dropped...)
		}
		if r.t.cites(f, ops.AskAgent) {
			dropped = append([]string{"what another agent says is no evidence: make the call that shows it yourself, and cite that"}, dropped...)
		}
		return f, correction + "\n- " + strings.Join(dropped[:min(len(dropped), 20)], "\n- ") +
			"\nCite ids of finished calls, copy excerpts letter by letter, and submit once more. What is not backed then is removed."
	}
	return f, ""
}

// conclude gives the verdict on findings that were sent. The api checks them
// again on what the gateway stored.
func (r *run) conclude(f ops.Finding) verdict {
	if r.t.check(f).Conclusive {
		return verdict{ops.RunConcluded, ""}
	}
	return verdict{ops.RunInconclusive, "no root cause is backed by evidence"}
}

func (r *run) emit(ctx context.Context, kind ops.EventKind, data any) (int64, error) {
	r.metrics.events.Inc()
	return r.out.add(ctx, ops.NewEvent(kind, data), false)
}

func (r *run) notice(ctx context.Context, format string, args ...any) (int64, error) {
	return r.emit(ctx, ops.EventNotice, ops.Notice{Text: ops.Storable(fmt.Sprintf(format, args...))})
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
