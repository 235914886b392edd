package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
)

// transcript is what a run has done so far. It is built from stored events by
// another worker exactly as it was built from the model's turns by the first.
type transcript struct {
	briefing string
	past     []*transcript // of runs whose conversation this one goes on with
	said     map[int64]ops.RunMessage
	heard    []ops.RunMessage // behind the last turn: the next one reads them
	applied  map[int64]bool   // numbers of what was said and is read
	shown    ops.Compaction   // what the model is shown of all this
	usage    ops.Usage        // of all turns
	usd      float64          // of those whose price is known
	newest   struct {         // turn: what another one takes at least
		output int64
		usd    float64
	}

	// isAsked says that another agent has asked for this run: words alone answer it.
	isAsked bool
	// theirTurns are those of agents that this run has asked.
	theirTurns int

	turns   []*turn
	calls   int               // of all turns
	asked   map[string]string // tool and arguments to the id of the first such call
	outputs map[string]string // of calls that are done and evidence, by id
	useless int               // turns in a row that brought nothing new
	wrote   bool              // something was done in the run's own folder
	// corrected says that the model has had its one chance to correct citations.
	corrected bool
	finding   *ops.Finding // submitted before a restart
}

// turn is one turn of the model and what its calls gave.
type turn struct {
	ops.Message
	settled bool
	heard   []ops.RunMessage          // right before it
	results map[string]ops.ToolResult // by call id
}

// malformedKey wraps arguments that are not a JSON object, so that they can be
// stored and sent back to any vendor.
const malformedKey = "malformed_arguments"

// replay reads the stored events of a run, and what people said to it.
func replay(events []ops.Event, said []ops.RunMessage) (*transcript, error) {
	t := &transcript{asked: map[string]string{}, outputs: map[string]string{}, said: map[int64]ops.RunMessage{}, applied: map[int64]bool{}}
	for _, m := range said {
		t.said[m.Seq] = m
	}
	var err error
	for _, e := range events {
		switch e.Kind {
		case ops.EventMessage:
			var m ops.Message
			if err = json.Unmarshal(e.Data, &m); err == nil {
				t.settle()
				t.add(m)
			}
		case ops.EventToolResult:
			var r ops.ToolResult
			if err = json.Unmarshal(e.Data, &r); err == nil {
				t.result(r)
			}
		case ops.EventFindings:
			t.finding = &ops.Finding{}
			err = json.Unmarshal(e.Data, t.finding)
		case ops.EventBriefing:
			var b ops.Briefing
			err = json.Unmarshal(e.Data, &b)
			t.briefing = b.Text
		case ops.EventApplied:
			var a ops.Applied
			if err = json.Unmarshal(e.Data, &a); err == nil {
				t.settle()
				t.hear(t.said[a.Seq])
			}
		case ops.EventCompaction:
			var c ops.Compaction
			if err = json.Unmarshal(e.Data, &c); err == nil {
				t.shorten(c)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("transcript event %d: %w", e.RunSeq, err)
		}
	}
	if len(t.pending()) == 0 {
		t.settle()
	}
	return t, nil
}

// message makes the event data of a reply: the next turn, its calls numbered.
func (t *transcript) message(r llm.Reply) ops.Message {
	m := ops.Message{Turn: len(t.turns) + 1, Text: ops.Storable(r.Text), Usage: r.Usage, Cut: r.Stop == llm.StopLength,
		Reasoning: ops.Storable(r.Reasoning), Vendor: r.Vendor}
	for i, c := range r.Calls {
		args, err := canonical(c.Arguments)
		if err != nil {
			args, _ = json.Marshal(map[string]string{malformedKey: ops.Storable(headTail(c.Arguments, maxField))})
		}
		m.Calls = append(m.Calls, ops.ToolUse{
			ID: fmt.Sprintf("c%d", t.calls+i+1), ModelID: ops.Storable(short(c.ID)), Name: ops.Storable(short(c.Name)), Arguments: args,
		})
	}
	return m
}

func (t *transcript) add(m ops.Message) *turn {
	n := &turn{Message: m, heard: t.heard, results: map[string]ops.ToolResult{}}
	t.heard = nil
	t.turns = append(t.turns, n)
	t.calls += len(m.Calls)
	t.spend(m.Usage)
	t.newest.output, t.newest.usd = m.Usage.OutputTokens, 0
	if m.Usage.CostUSD != nil {
		t.newest.usd = *m.Usage.CostUSD
	}
	return n
}

func (t *transcript) spend(u ops.Usage) {
	t.usage.InputTokens += u.InputTokens
	t.usage.OutputTokens += u.OutputTokens
	if u.CostUSD != nil {
		t.usd += *u.CostUSD
	}
}

// tokens is what the run has used.
func (t *transcript) tokens() int64 { return t.usage.InputTokens + t.usage.OutputTokens }

// hear puts what somebody said behind the last turn. It is news: the model has
// its chances again.
func (t *transcript) hear(m ops.RunMessage) {
	t.heard = append(t.heard, m)
	t.applied[m.Seq] = true
	t.useless = 0
}

// answered says that the last turn answers in words what another agent has asked,
// or a person behind the end of another run. Nothing is left to be done then.
func (t *transcript) answered() bool {
	n := t.last()
	return n != nil && (t.isAsked || len(t.past) > 0) && len(t.heard) == 0 && len(n.Calls) == 0 && !n.Cut && strings.TrimSpace(n.Text) != ""
}

// shorten shows the model less from now on.
func (t *transcript) shorten(c ops.Compaction) {
	t.shown = c
	if c.Usage != nil {
		t.spend(*c.Usage)
	}
}

func (t *transcript) last() *turn {
	if len(t.turns) == 0 {
		return nil
	}
	return t.turns[len(t.turns)-1]
}

// result stores what a call of the last turn gave.
func (t *transcript) result(r ops.ToolResult) {
	n := t.last()
	if n == nil {
		return
	}
	for _, c := range n.Calls {
		if c.ID != r.ID {
			continue
		}
		n.results[r.ID] = r
		switch tool := own(c.Name); {
		// What another agent says, the api has no record of as evidence either.
		case tool == nil && c.Name != guidanceRead && c.Name != ops.AskAgent && r.State == ops.CallDone:
			t.outputs[r.ID] = r.Text
		case tool != nil && tool.writes && r.State != ops.CallDenied: // the api has no record of these
			t.wrote = true
			maps.DeleteFunc(t.asked, func(_, id string) bool { return own(t.tool(id)) != nil }) // which may give something else now
		}
		if r.Child != nil { // what it has cost is cost of this run, too
			t.spend(ops.Usage{InputTokens: r.Child.InputTokens, OutputTokens: r.Child.OutputTokens, CostUSD: &r.Child.USD})
			t.theirTurns += r.Child.Turns
		}
		if c.Name == submitFindings && strings.HasPrefix(r.Text, correction) {
			t.corrected = true
		}
		if _, ok := t.asked[key(c)]; !ok {
			t.asked[key(c)] = c.ID
		}
	}
}

// tool gives the name of a call's tool.
func (t *transcript) tool(id string) string {
	for _, n := range slices.Backward(t.turns) {
		for _, c := range n.Calls {
			if c.ID == id {
				return c.Name
			}
		}
	}
	return ""
}

// check is [ops.CheckFindings] as far as this worker knows: of an output that was
// left out when the run was resumed it takes every quotation. The api has the
// output, and checks again.
func (t *transcript) check(f ops.Finding) ops.Finding {
	outputs := maps.Clone(t.outputs)
	for _, c := range citedBy(f) {
		if ops.IsEmptied(t.outputs[c.Call]) {
			outputs[c.Call] += "\n" + c.Excerpt
		}
	}
	return ops.CheckFindings(f, outputs)
}

func citedBy(f ops.Finding) []ops.Citation {
	cited := slices.Clone(f.Evidence)
	for _, h := range f.Hypotheses {
		cited = append(cited, h.Evidence...)
	}
	return cited
}

// cites says whether findings cite a call of that tool.
func (t *transcript) cites(f ops.Finding, tool string) bool {
	return slices.ContainsFunc(citedBy(f), func(c ops.Citation) bool { return t.tool(c.Call) == tool })
}

// citesOwn gives the name of a tool of the run's own folder, or of its guidance,
// whose call findings cite, if they do.
func (t *transcript) citesOwn(f ops.Finding) string {
	cited := citedBy(f)
	for _, n := range t.turns {
		for _, use := range n.Calls {
			if (own(use.Name) != nil || use.Name == guidanceRead) && slices.ContainsFunc(cited, func(c ops.Citation) bool { return c.Call == use.ID }) {
				return use.Name
			}
		}
	}
	return ""
}

// pending gives the calls of the last turn that have no result yet.
func (t *transcript) pending() []ops.ToolUse {
	var out []ops.ToolUse
	if n := t.last(); n != nil {
		for _, c := range n.Calls {
			if _, ok := n.results[c.ID]; !ok {
				out = append(out, c)
			}
		}
	}
	return out
}

// settle counts the last turn, once it is complete: it was useful if a call of
// it was really made.
func (t *transcript) settle() {
	n := t.last()
	if n == nil || n.settled {
		return
	}
	n.settled = true
	t.useless++
	for _, r := range n.results {
		if r.State != ops.CallDenied {
			t.useless = 0
		}
	}
}

// key tells identical calls: arguments are canonical.
func key(c ops.ToolUse) string { return c.Name + " " + string(c.Arguments) }

// malformed gives the text of arguments that were not a JSON object.
func malformed(c ops.ToolUse) (string, bool) {
	var m map[string]any
	if json.Unmarshal(c.Arguments, &m) != nil || len(m) != 1 {
		return "", false
	}
	s, ok := m[malformedKey].(string)
	return s, ok
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// sendable makes a name that the model invented fit to be sent back.
func sendable(name string) string {
	name = notInNames.ReplaceAllString(name, "_")
	if name == "" {
		return "unknown"
	}
	return name[:min(len(name), 64)]
}
