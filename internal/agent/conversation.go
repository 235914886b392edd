package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
)

// What is shown of the model's own words in turns whose output is not shown any
// more, and of one call where it is named.
const (
	maxOldWords = 2000
	maxNamed    = 160
)

// earlier marks the ids of calls that an earlier run has made: they cannot be cited.
const earlier = "earlier "

// messages is the conversation as the model reads it, with limit bytes of each
// output. It depends on the transcript alone, so that it is the same after a
// restart, and what was read before is read again from the vendor's cache.
func (t *transcript) messages(limit int) []llm.Message {
	var out conversation
	out.user(t.begin())
	if t.shown.Output > 0 {
		limit = min(limit, t.shown.Output)
	}
	compact := t.shown != (ops.Compaction{})
	if t.shown.Summary != "" {
		out.user(t.summary())
	} else {
		for _, p := range t.past {
			out.turns(p, view{limit: limit, named: compact, prefix: earlier})
			out.user(p.outcome())
		}
	}
	if len(t.past) > 0 {
		out.user(newTurn)
	}
	for _, n := range t.turns {
		if n.Turn <= t.shown.Summarised {
			continue
		}
		out.turn(n, view{limit: limit, named: n.Turn <= t.shown.Turns})
	}
	out.said(t.heard)
	return out
}

// begin is what the model was told first, as far as it is still shown.
func (t *transcript) begin() string {
	if t.shown.Briefing > 0 {
		return headTail(t.briefing, t.shown.Briefing)
	}
	return t.briefing
}

// conversation joins what the user says in a row: not all vendors take two such messages.
type conversation []llm.Message

func (c *conversation) user(text string) {
	if text == "" {
		return
	}
	if n := len(*c); n > 0 && (*c)[n-1].Role == llm.User {
		(*c)[n-1].Text += "\n\n" + text
		return
	}
	*c = append(*c, llm.Message{Role: llm.User, Text: text})
}

// said puts in what people said. That it is a person who speaks, the api says:
// nothing in an alert or an output can look like it, as those are in messages of
// their own or in JSON.
func (c *conversation) said(all []ops.RunMessage) {
	for _, m := range all {
		c.user(message(m))
	}
}

func message(m ops.RunMessage) string {
	_, name, _ := strings.Cut(m.Actor, ":")
	return fmt.Sprintf("Message from %s, a person who works on this incident:\n%s", short(name), m.Text)
}

// view is how turns are shown.
type view struct {
	limit  int    // bytes of one output
	named  bool   // outputs are named in place of shown
	prefix string // of ids
}

func (c *conversation) turns(t *transcript, v view) {
	for _, n := range t.turns {
		c.turn(n, v)
	}
	c.said(t.heard)
}

func (c *conversation) turn(n *turn, v view) {
	c.said(n.heard)
	m := llm.Message{Role: llm.Assistant, Text: n.Text, Vendor: n.Vendor}
	if v.named {
		m.Text = headTail(m.Text, maxOldWords)
	}
	if m.Text == "" && len(n.Calls) == 0 {
		m.Text = "(nothing)" // vendors refuse an empty message
	}
	used := map[string]bool{}
	var results []llm.Message
	for _, use := range n.Calls {
		id := use.ModelID
		if id == "" || used[id] {
			id = use.ID
		}
		used[id] = true
		m.Calls = append(m.Calls, llm.Call{ID: id, Name: sendable(use.Name), Arguments: string(use.Arguments)})
		results = append(results, llm.Message{Role: llm.ToolRole, CallID: id, Text: n.result(use, v)})
	}
	*c = append(append(*c, m), results...)
	switch {
	case len(n.Calls) > 0:
	case v.prefix != "": // the end of a run that is over
	case n.Cut:
		c.user(nudgeCut)
	case n.Text == "":
		c.user(nudgeEmpty)
	default:
		c.user(nudgeText)
	}
}

// result is what the model reads of a call's result.
func (n *turn) result(use ops.ToolUse, v view) string {
	r, ok := n.results[use.ID]
	switch {
	case !ok && use.Name == submitFindings:
		return "[" + v.prefix + use.ID + "]\nAccepted."
	case !ok:
		return "[" + v.prefix + use.ID + "]\n(it has no result: the investigation ended before)"
	case v.named && len(r.Text) > 2*maxNamed:
		return callLine(use, r, v.prefix)
	}
	r.ID = v.prefix + r.ID
	return toModel(r, v.limit)
}

// callLine says in one line what an output was of, for a model that is not shown it
// any more: "[c7: ssh_execute df -h on web-1, done, 12 lines, …]".
func callLine(use ops.ToolUse, r ops.ToolResult, prefix string) string {
	how := string(r.State)
	if r.ExitCode != nil && *r.ExitCode != 0 {
		how += fmt.Sprintf(", exit code %d", *r.ExitCode)
	}
	again := "not shown any more"
	if prefix == "" && use.Name == guidanceRead {
		again = "not shown any more; " + guidanceRead + " shows it again"
	} else if prefix == "" && own(use.Name) == nil && use.Name != ops.AskAgent {
		again = "not shown any more; evidence_read shows it again, if you have that tool"
	}
	return fmt.Sprintf("[%s%s: %s, %s, %d lines, %s]", prefix, use.ID, callText(use), how, 1+strings.Count(strings.TrimSpace(r.Text), "\n"), again)
}

// callText is a call in a few words.
func callText(use ops.ToolUse) string {
	var args map[string]any
	_ = json.Unmarshal(use.Arguments, &args)
	text := use.Name
	command, _ := args["command"].(string)
	target, _ := args["target"].(string)
	switch {
	case command != "" && target != "":
		text += " " + command + " on " + target
	case command != "":
		text += " " + command
	case len(args) > 0:
		text += " " + string(use.Arguments)
	}
	return strings.ReplaceAll(headTail(text, maxNamed), "\n", " ")
}

// outcome says what an earlier run came to.
func (t *transcript) outcome() string {
	if t.finding == nil {
		return "That investigation ended here, without findings."
	}
	raw, err := json.Marshal(t.finding)
	if err != nil {
		return ""
	}
	return "That investigation ended here, with these findings, which are no evidence:\n" + headTail(string(raw), maxField)
}

// summary stands for the turns that are not shown any more: the model's own
// words about them, and all their calls.
func (t *transcript) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Your notes on what you did so far, which stand in its place:\n%s\n\nThe calls that you made:\n", t.shown.Summary)
	index := func(turns []*turn, prefix string) {
		for _, n := range turns {
			for _, use := range n.Calls {
				if r, ok := n.results[use.ID]; ok && use.Name != submitFindings {
					b.WriteString(callLine(use, r, prefix) + "\n")
				}
			}
		}
	}
	for _, p := range t.past {
		index(p.turns, earlier)
	}
	index(t.turns[:min(t.shown.Summarised, len(t.turns))], "")
	said := func(all []ops.RunMessage) { // kept letter by letter
		for _, m := range all {
			b.WriteString("\n" + message(m) + "\n")
		}
	}
	for _, p := range t.past {
		for _, n := range p.turns {
			said(n.heard)
		}
		said(p.heard)
	}
	for _, n := range t.turns[:min(t.shown.Summarised, len(t.turns))] {
		said(n.heard)
	}
	if t.shown.Last {
		return headTail(b.String(), lastSummary)
	}
	return b.String()
}
