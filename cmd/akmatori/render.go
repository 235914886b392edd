package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// resultLines is how much of a tool's output is shown.
const resultLines = 40

// renderer prints a timeline. Text of the model and output of commands are
// printed as they come; the whole turn or result, when it comes, is printed
// only as far as its pieces were not.
type renderer struct {
	out io.Writer
	// open is what the last unfinished line belongs to: "turn RUN N" or "call ID".
	open    string
	midLine bool
	// streamed has what was printed in pieces and has not come as a whole yet.
	streamed map[string]bool
}

func newRenderer(out io.Writer) *renderer {
	return &renderer{out: out, streamed: map[string]bool{}}
}

// event prints one event. Data that is not what its kind promises is shown as
// the kind alone.
func (r *renderer) event(e ops.Event) {
	switch e.Kind {
	case ops.EventTextDelta:
		if d, ok := data[ops.TextDelta](e); ok {
			r.piece(turn(e.RunID, d.Turn), d.Text, "  ")
		}
	case ops.EventToolOutput:
		if d, ok := data[ops.ToolOutput](e); ok {
			r.piece("call "+e.RunID+d.ID, d.Text, margin(d.ID))
		}
	case ops.EventMessage:
		d, ok := data[ops.Message](e)
		if key := turn(e.RunID, d.Turn); ok && d.Text != "" && !r.streamed[key] {
			r.end()
			_, _ = fmt.Fprintln(r.out, indent(inert(d.Text), "  "))
		} else {
			delete(r.streamed, key)
		}
	case ops.EventToolResult:
		if d, ok := data[ops.ToolResult](e); ok {
			r.result(e, d)
		}
	default:
		r.line(e.At, "%s", summary(e))
	}
}

func (r *renderer) result(e ops.Event, d ops.ToolResult) {
	if key := "call " + e.RunID + d.ID; r.streamed[key] {
		delete(r.streamed, key)
	} else if text := strings.TrimRight(d.Text, "\n"); text != "" {
		r.end()
		lines := strings.Split(inert(text), "\n")
		if more := len(lines) - resultLines; more > 0 {
			lines = append(lines[:resultLines], fmt.Sprintf("… %d more lines", more))
		}
		_, _ = fmt.Fprintln(r.out, indent(strings.Join(lines, "\n"), margin(d.ID)))
	}
	status := string(d.State)
	if d.ExitCode != nil {
		status += fmt.Sprintf(", exit %d", *d.ExitCode)
	}
	if d.Truncated > 0 {
		status += fmt.Sprintf(", %d bytes left out", d.Truncated)
	}
	r.line(e.At, "%s %s, %s", d.ID, status, d.Duration.Round(time.Millisecond))
}

// piece continues what is open, or opens it.
func (r *renderer) piece(key, text, prefix string) {
	if text == "" {
		return
	}
	if r.open != key {
		r.end()
	}
	r.open = key
	r.streamed[key] = true
	for line := range strings.Lines(inert(text)) {
		if !r.midLine {
			_, _ = io.WriteString(r.out, prefix)
		}
		_, _ = io.WriteString(r.out, line)
		r.midLine = !strings.HasSuffix(line, "\n")
	}
}

// end finishes what is open.
func (r *renderer) end() {
	if r.midLine {
		_, _ = io.WriteString(r.out, "\n")
	}
	r.open, r.midLine = "", false
}

func (r *renderer) line(at time.Time, format string, args ...any) {
	r.end()
	_, _ = fmt.Fprintf(r.out, "%s  %s\n", at.Local().Format(time.TimeOnly), inertLine(fmt.Sprintf(format, args...)))
}

// margin stands before each line of a call's output: calls run side by side.
func margin(call string) string { return fmt.Sprintf("  %4s │ ", inertLine(call)) }

func turn(run string, n int) string { return fmt.Sprintf("turn %s %d", run, n) }

// data decodes what an event carries.
func data[T any](e ops.Event) (d T, ok bool) {
	ok = json.Unmarshal(e.Data, &d) == nil
	return d, ok
}

// summary is an event on one line.
func summary(e ops.Event) string {
	switch e.Kind {
	case ops.EventIncidentOpened, ops.EventIncidentResolved, ops.EventIncidentReopened, ops.EventIncidentChanged,
		ops.EventIncidentMerged, ops.EventIncidentSplit:
		if d, ok := data[ops.IncidentChange](e); ok {
			return phrase("incident "+strings.TrimPrefix(string(e.Kind), "incident."), string(d.Status), d.Title, d.Reason, by(e.Actor))
		}
	case ops.EventAlertFiring, ops.EventAlertAcked, ops.EventAlertUpdated, ops.EventAlertResolved:
		if d, ok := data[ops.AlertChange](e); ok {
			return phrase("alert "+strings.TrimPrefix(string(e.Kind), "alert.")+": "+d.Title, string(d.Severity), d.Host, d.Summary, d.Reason)
		}
	case ops.EventRunQueued, ops.EventRunStarted, ops.EventRunRequeued, ops.EventRunEnded:
		if d, ok := data[ops.RunChange](e); ok {
			return phrase("investigation "+string(d.State), d.Worker, d.Reason)
		}
	case ops.EventToolCall:
		if d, ok := data[ops.ToolCallStarted](e); ok {
			return d.ID + " → " + d.Name + " " + arguments(d.Arguments)
		}
	case ops.EventAgentAsked:
		if d, ok := data[ops.AgentAsked](e); ok {
			return phrase(d.CallID+" → asks agent "+d.Agent, d.Task)
		}
	case ops.EventNotice:
		if d, ok := data[ops.Notice](e); ok {
			return "note: " + d.Text
		}
	case ops.EventFindings:
		if d, ok := data[ops.Finding](e); ok {
			return phrase("findings submitted", d.Summary)
		}
	}
	return string(e.Kind)
}

// arguments shows a command as a command, and everything else as JSON.
func arguments(raw json.RawMessage) string {
	var fields map[string]any
	if json.Unmarshal(raw, &fields) == nil {
		command, isText := fields["command"].(string)
		if target, ok := fields["target"].(string); ok && isText && len(fields) == 2 {
			return target + " $ " + command
		}
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return ""
	}
	return b.String()
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return "by " + actor
}

func phrase(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " · ")
}

func indent(text, prefix string) string {
	return prefix + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+prefix)
}
