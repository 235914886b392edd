package casefile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// Past is a run that has ended, as the api has stored it.
type Past struct {
	Incident ops.Incident
	Alerts   []ops.Alert
	Run      ops.Run
	Events   []ops.Event    // of the run, in order
	Calls    []ops.ToolCall // of the run
	Finding  *ops.Finding   // nil: it found nothing
}

// maxAlerts bounds how many alerts of an incident go into its case.
const maxAlerts = 50

// FromRun makes a case of a run: its alerts come in again, its hosts answer what
// they answered, and the model says what it said. What was found is expected, and
// marked as not confirmed. What could not be made into a script is in the notes.
// Secrets are taken out ([Scrub]).
func FromRun(p Past) (Case, error) {
	if !p.Run.State.Final() {
		return Case{}, ops.Errorf(ops.CodeConflict, "the investigation has not ended yet")
	}
	c := Case{Name: fmt.Sprintf("incident-%d-%.8s", p.Incident.Number, p.Run.ID[max(0, len(p.Run.ID)-8):]), About: "exported",
		Description: fmt.Sprintf("Incident %d: %s", p.Incident.Number, p.Incident.Title)}
	c.alerts(p)
	c.hosts(p.Calls)
	var err error
	if c.Transcript, err = Turns(p.Events); err != nil {
		return Case{}, err
	}
	c.expect(p)
	if p.Run.Parent != "" {
		c.note("The run went on with the conversation of an earlier one, which a case cannot have: its transcript may say things that only make sense behind that.")
	}
	c = Scrub(c)
	c.requote()
	return c, c.check()
}

// Turns gives what a model said in a run, from its events.
func Turns(events []ops.Event) ([]Turn, error) {
	var turns []Turn
	for _, e := range events {
		if e.Kind != ops.EventMessage {
			continue
		}
		var m ops.Message
		if err := json.Unmarshal(e.Data, &m); err != nil {
			return nil, fmt.Errorf("turn %d: %w", len(turns)+1, err)
		}
		t := Turn{Text: m.Text}
		for _, use := range m.Calls {
			call := Call{Tool: use.Name}
			if err := json.Unmarshal(use.Arguments, &call.Arguments); err != nil {
				return nil, fmt.Errorf("turn %d: %w", len(turns)+1, err)
			}
			if text, ok := call.Arguments["malformed_arguments"].(string); ok && len(call.Arguments) == 1 {
				call.Raw, call.Arguments = text, nil
			}
			t.Calls = append(t.Calls, call)
		}
		if t.Text == "" && len(t.Calls) == 0 {
			t.Text = " " // it said nothing, and a script must say something
		}
		turns = append(turns, t)
	}
	return turns, nil
}

func (c *Case) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(c.Notes, n) {
		c.Notes = append(c.Notes, n)
	}
}

func (c *Case) alerts(p Past) {
	for _, a := range p.Alerts[:min(len(p.Alerts), maxAlerts)] {
		c.Alerts = append(c.Alerts, Alert{Title: cmp.Or(a.Title, p.Incident.Title), Severity: string(a.Severity), Host: a.Host, Service: a.Service,
			Summary: a.Summary, Description: a.Description, Labels: a.Labels, Annotations: a.Annotations})
	}
	if len(p.Alerts) > maxAlerts {
		c.note("%d more alerts of the incident are left out.", len(p.Alerts)-maxAlerts)
	}
	if len(c.Alerts) == 0 { // a person opened it
		c.Alerts = []Alert{{Title: p.Incident.Title, Severity: string(p.Incident.Severity), Service: p.Incident.Service, Description: p.Incident.Description}}
	}
}

// hosts makes scripts of what was called. Of two answers to the same command the
// first stays: a model that asks twice is refused anyhow.
func (c *Case) hosts(calls []ops.ToolCall) {
	at := map[string]int{}
	host := func(name string) *Host {
		if _, ok := at[name]; !ok {
			at[name] = len(c.Hosts)
			c.Hosts = append(c.Hosts, Host{Name: name})
		}
		return &c.Hosts[at[name]]
	}
	for _, call := range calls {
		if call.Result == nil || call.State == ops.CallDenied {
			continue // it would be denied again
		}
		done := call.State == ops.CallDone
		switch {
		case call.Tool == "ssh_hosts" && done:
			for line := range strings.Lines(call.Result.Text) {
				if name, labels, ok := listed(line); ok {
					host(name).Labels = labels
				}
			}
		case call.Tool == "ssh_execute" && call.Target != "" && !strings.Contains(call.Target, ",") && call.Result.ExitCode != nil:
			h := host(call.Target)
			if !slices.ContainsFunc(h.Commands, func(k Command) bool { return k.Run == call.Command }) {
				h.Commands = append(h.Commands, Command{Run: call.Command, Output: call.Result.Text, Exit: *call.Result.ExitCode})
			}
			if call.Result.Truncated > 0 {
				c.note("%s: %d bytes of the output are not in the case.", call.ID, call.Result.Truncated)
			}
			if call.Verdict == "ask" {
				c.Approved = append(c.Approved, "ssh_execute("+call.Command+")")
			}
		case call.Tool == "ssh_read_file" && done:
			c.file(host(call.Target), call)
		case strings.HasPrefix(call.Tool, "evidence_"): // they follow from the others
		default:
			c.note("%s (%s, %s): what it answered is not scripted; write it down by hand if the case needs it.", call.ID, call.Tool, call.State)
		}
	}
}

// listed reads a line of ssh_hosts.
func listed(line string) (name string, labels map[string]string, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 || !hostShape.MatchString(words[0]) || len(words) > 1 && !strings.Contains(words[1], "=") {
		return "", nil, false
	}
	last := ""
	for _, w := range words[1:] {
		if k, v, is := strings.Cut(w, "="); is {
			if labels == nil {
				labels = map[string]string{}
			}
			last, labels[k] = k, v
		} else {
			labels[last] += " " + w
		}
	}
	return words[0], labels, true
}

var fileHead = regexp.MustCompile(`^\[(/[^\n]*): (lines 1 to [0-9]+|bytes 0 to [0-9]+|the last [0-9]+ lines|[^\n:]*)[^\n]*\]\n`)

func (c *Case) file(h *Host, call ops.ToolCall) {
	m := fileHead.FindStringSubmatch(call.Result.Text)
	if m == nil {
		c.note("%s (ssh_read_file): its answer is not scripted.", call.ID)
		return
	}
	if h.Files == nil {
		h.Files = map[string]string{}
	}
	body := call.Result.Text[len(m[0]):]
	if !strings.HasPrefix(m[2], "lines 1 ") || strings.Contains(body, "\n[there is more: ") {
		c.note("%s: only a part of %s was read, and is all of it in the case.", call.ID, m[1])
	}
	h.Files[m[1]] = body
}

// expect takes what was found for what is to be found.
func (c *Case) expect(p Past) {
	c.Expect = Expect{Outcome: ExpectInconclusive, Unconfirmed: true}
	if f := p.Finding; f != nil && f.Conclusive && p.Run.State == ops.RunConcluded {
		c.Expect.Outcome = ExpectCause
		c.Expect.Cause.All = []string{fold(f.RootCause)} // becomes a pattern once it is clean
		c.note("The expected cause is what the run found, word for word. Say instead, in expect.cause, which words every right answer must have, and take unconfirmed out.")
	} else {
		c.note("The run found no cause, so none is expected. If there is one, say so in expect, and take unconfirmed out.")
	}
}

// requote drops the words of quotes that the cleaned outputs do not have, whose
// citation of the call stays, and makes a pattern of the expected cause.
func (c *Case) requote() {
	var outputs strings.Builder
	for _, h := range c.Hosts {
		for _, cmd := range h.Commands {
			outputs.WriteString(fold(cmd.Output) + "\n")
		}
		for _, text := range h.Files {
			outputs.WriteString(fold(text) + "\n")
		}
	}
	all := outputs.String()
	for _, t := range c.Transcript {
		for _, call := range t.Calls {
			if call.Tool == "submit_findings" {
				requote(call.Arguments, all)
			}
		}
	}
	for i, text := range c.Expect.Cause.All {
		c.Expect.Cause.All[i] = regexp.QuoteMeta(text)
	}
}

func requote(v any, outputs string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			requote(e, outputs)
		}
	case map[string]any:
		if words, ok := v["excerpt"].(string); ok && strings.Contains(words, ops.Redacted) && !strings.Contains(outputs, fold(words)) {
			delete(v, "excerpt")
		}
		for _, e := range v {
			requote(e, outputs)
		}
	}
}

func fold(s string) string { return strings.Join(strings.Fields(s), " ") }
