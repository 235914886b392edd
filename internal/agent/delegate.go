package agent

import (
	"context"
	_ "embed" // how ask_agent is described
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

//go:embed ask_agent.md
var askDescription string

// askTool describes ask_agent with the agents that this run may ask.
func askTool(agents []ops.SubAgent) llm.Tool {
	text := strings.TrimSpace(askDescription) + "\n\nAgents:"
	ids := make([]string, len(agents))
	for i, a := range agents {
		ids[i] = a.ID
		text += "\n- " + a.ID + ": " + short(a.Description)
	}
	known, _ := json.Marshal(ids) // strings can be marshalled
	return llm.Tool{Name: ops.AskAgent, Description: text, Schema: json.RawMessage(fmt.Sprintf(
		`{"type":"object","additionalProperties":false,"required":["agent","task"],"properties":{
	"agent":{"type":"string","enum":%s,"description":"who is asked"},
	"task":{"type":"string","maxLength":%d,"description":"all that the agent needs to know and what you want back: it sees the incident and this text, and nothing of your conversation"},
	"calls":{"type":"array","maxItems":%d,"items":{"type":"string"},"description":"ids of your calls, such as c2, whose output the agent is to read word for word"}}}`,
		known, ops.MaxTask, ops.MaxShownCalls))}
}

// errands are the calls of a run that wait for another agent. The run puts them in,
// the session sends them, and the child that works on one is the session's, too.
type errands struct {
	wake func()

	mu  sync.Mutex
	all map[string]*errand
}

type errand struct {
	frame  wire.Delegate
	sent   bool // on this connection, and nothing has changed since
	child  *run // that this worker has for it
	answer chan ops.ToolResult
}

func (a *errands) put(f wire.Delegate) *errand {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[string]*errand{}
	}
	one := &errand{frame: f, answer: make(chan ops.ToolResult, 1)}
	a.all[f.Call] = one
	a.wake()
	return one
}

// drop forgets a call and gives the child that works on it.
func (a *errands) drop(call string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.all[call]
	if one == nil {
		return nil
	}
	delete(a.all, call)
	return one.child
}

// due gives what is to be sent now.
func (a *errands) due() (frames []wire.Delegate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.all {
		if one.sent {
			continue
		}
		one.sent = true
		f := one.frame
		if one.child != nil {
			f.Has = one.child.ref.Epoch
		}
		frames = append(frames, f)
	}
	return frames
}

// again makes all be sent once more, on a new connection.
func (a *errands) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.all {
		one.sent = false
	}
}

// begin notes that the worker has a child for a call. It is false if nobody
// waits for that any more.
func (a *errands) begin(call string, child *run) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.all[call]
	if one == nil {
		return false
	}
	one.child = child
	return true
}

// over notes that the worker no longer has the child: the api knows the result, or
// who goes on.
func (a *errands) over(call string, child *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.all[call]; one != nil && one.child == child {
		one.child, one.sent = nil, false
		a.wake()
	}
}

// done hands a call its result.
func (a *errands) done(call string, res ops.ToolResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.all[call]; one != nil {
		select {
		case one.answer <- res:
		default: // it has one
		}
	}
}

// askAgent is one call of ask_agent: until the api has its result, or says that the
// other agent waits for people. The error is the context's.
func (r *run) askAgent(ctx context.Context, use ops.ToolUse) (ops.ToolResult, error) {
	f, err := readAsk(use.Arguments)
	if err != nil {
		return ops.ToolResult{ID: use.ID, State: ops.CallDenied, Text: "The agent was not asked: " + err.Error() + "."}, nil
	}
	f.RunRef, f.Call = r.ref, use.ID
	one := r.errands.put(f)
	defer func() {
		if child := r.errands.drop(use.ID); child != nil {
			child.cancel(orphaned(ctx))
		}
	}()
	select {
	case res := <-one.answer:
		res.ID, res.Text = use.ID, ops.Storable(res.Text)
		return res, nil
	case <-ctx.Done():
		return ops.ToolResult{}, context.Cause(ctx)
	}
}

// orphaned is why a child ends whose call has ended without a result.
func orphaned(ctx context.Context) error {
	cause := context.Cause(ctx)
	_, stopped := errors.AsType[cancelled](cause)
	switch {
	case stopped, errors.Is(cause, errStopping), errors.Is(cause, errLost):
		return cause
	case errors.Is(cause, errDeadToken), errors.Is(cause, errOutboxClosed):
		return errLost
	}
	return cancelled{"the agent that asked for it has no more time"}
}

// readAsk reads canonical arguments. The error is for the model.
func readAsk(raw json.RawMessage) (f wire.Delegate, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return f, errors.New("the arguments must be a JSON object")
	}
	for name, value := range fields { // not a struct: its field names would match in any case
		switch name {
		case "agent":
			err = json.Unmarshal(value, &f.Agent)
		case "task":
			err = json.Unmarshal(value, &f.Task)
		case "calls":
			err = json.Unmarshal(value, &f.Show)
		default:
			return f, fmt.Errorf("there is no argument %q", short(name))
		}
		if err != nil {
			return f, fmt.Errorf("%s has the wrong type", name)
		}
	}
	f.Task = strings.TrimSpace(ops.Storable(f.Task))
	switch {
	case !ops.ValidAgentID(f.Agent):
		return f, fmt.Errorf("there is no agent %q", short(f.Agent))
	case f.Task == "":
		return f, errors.New("the task is missing")
	case len(f.Task) > ops.MaxTask:
		return f, fmt.Errorf("the task is longer than %d bytes", ops.MaxTask)
	case len(f.Show) > ops.MaxShownCalls:
		return f, fmt.Errorf("at most %d calls can be shown", ops.MaxShownCalls)
	}
	f.Show = slices.DeleteFunc(f.Show, func(id string) bool { return len(id) > 16 })
	return f, nil
}
