package agent

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
)

// transcript is what a run has done so far. It is built from stored events by
// another worker exactly as it was built from the model's turns by the first.
type transcript struct {
	turns   []*turn
	calls   int               // of all turns
	asked   map[string]string // tool and arguments to the id of the first such call
	outputs map[string]string // of calls that are done and evidence, by id
	useless int               // turns in a row that brought nothing new
	// corrected says that the model has had its one chance to correct citations.
	corrected bool
	finding   *ops.Finding // submitted before a restart
}

// turn is one turn of the model and what its calls gave.
type turn struct {
	ops.Message
	results map[string]ops.ToolResult // by call id
}

// malformedKey wraps arguments that are not a JSON object, so that they can be
// stored and sent back to any vendor.
const malformedKey = "malformed_arguments"

// replay reads the stored events of a run.
func replay(events []ops.Event) (*transcript, error) {
	t := &transcript{asked: map[string]string{}, outputs: map[string]string{}}
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
	m := ops.Message{Turn: len(t.turns) + 1, Text: storable(r.Text), Usage: r.Usage}
	for i, c := range r.Calls {
		args, err := canonical(c.Arguments)
		if err != nil {
			args, _ = json.Marshal(map[string]string{malformedKey: storable(headTail(c.Arguments, maxField))})
		}
		m.Calls = append(m.Calls, ops.ToolUse{
			ID: fmt.Sprintf("c%d", t.calls+i+1), ModelID: storable(short(c.ID)), Name: storable(short(c.Name)), Arguments: args,
		})
	}
	return m
}

func (t *transcript) add(m ops.Message) *turn {
	n := &turn{Message: m, results: map[string]ops.ToolResult{}}
	t.turns = append(t.turns, n)
	t.calls += len(m.Calls)
	return n
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
		if r.State == ops.CallDone && c.Name != bash { // the api has no record of a shell's call
			t.outputs[r.ID] = r.Text
		}
		if c.Name == submitFindings && strings.HasPrefix(r.Text, correction) {
			t.corrected = true
		}
		if _, ok := t.asked[key(c)]; !ok {
			t.asked[key(c)] = c.ID
		}
	}
}

// citesShell says whether findings cite a call of the shell.
func (t *transcript) citesShell(f ops.Finding) bool {
	cited := slices.Clone(f.Evidence)
	for _, h := range f.Hypotheses {
		cited = append(cited, h.Evidence...)
	}
	for _, n := range t.turns {
		for _, use := range n.Calls {
			if use.Name == bash && slices.ContainsFunc(cited, func(c ops.Citation) bool { return c.Call == use.ID }) {
				return true
			}
		}
	}
	return false
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
	if n == nil {
		return
	}
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

// messages is the conversation as the model reads it, with limit bytes of each result.
func (t *transcript) messages(briefing string, limit int) []llm.Message {
	out := []llm.Message{{Role: llm.User, Text: briefing}}
	for _, n := range t.turns {
		m := llm.Message{Role: llm.Assistant, Text: n.Text}
		if m.Text == "" && len(n.Calls) == 0 {
			m.Text = "(nothing)" // vendors refuse an empty message
		}
		used := map[string]bool{}
		var results []llm.Message
		for _, c := range n.Calls {
			id := c.ModelID
			if id == "" || used[id] {
				id = c.ID
			}
			used[id] = true
			m.Calls = append(m.Calls, llm.Call{ID: id, Name: sendable(c.Name), Arguments: string(c.Arguments)})
			results = append(results, llm.Message{Role: llm.ToolRole, CallID: id, Text: toModel(n.results[c.ID], limit)})
		}
		out = append(append(out, m), results...)
		switch {
		case len(n.Calls) > 0:
		case n.Text == "":
			out = append(out, llm.Message{Role: llm.User, Text: nudgeEmpty})
		default:
			out = append(out, llm.Message{Role: llm.User, Text: nudgeText})
		}
	}
	return out
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
