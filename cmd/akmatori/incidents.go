package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

type incidentsCmd struct {
	Status   []string `help:"Only these: triggered, acknowledged, resolved, closed, merged."`
	Severity string   `help:"Only this one." enum:"critical,high,warning,info," default:""`
	Source   string   `help:"Only of the source with this id."`
	Q        string   `help:"Only with these words in the title or service." short:"q"`
	Limit    int      `help:"At most so many; 0 for all." default:"50"`
}

// Run lists incidents.
func (i *incidentsCmd) Run(ctx context.Context, w *world) error {
	if i.Limit < 0 {
		return usage("--limit is not negative")
	}
	c, err := w.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {"200"}}
	if i.Limit > 0 {
		query.Set("limit", strconv.Itoa(min(i.Limit, 200)))
	}
	for name, value := range map[string]string{"status": strings.Join(i.Status, ","), "severity": i.Severity, "source": i.Source, "q": i.Q} {
		if value != "" {
			query.Set(name, value)
		}
	}
	raw, err := c.list(ctx, "incidents", query, "cursor", i.Limit)
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(raw)
	}
	incidents, err := as[ops.Incident](raw)
	if err != nil {
		return err
	}
	rows := make([][]string, len(incidents))
	for n, in := range incidents {
		rows[n] = []string{strconv.FormatInt(in.Number, 10), string(in.Severity), string(in.Status), investigation(in),
			strconv.Itoa(in.AlertCount), moment(in.OpenedAt), in.Title}
	}
	return w.table([]string{"NUMBER", "SEVERITY", "STATUS", "INVESTIGATION", "ALERTS", "OPENED", "TITLE"}, rows)
}

type incidentCmd struct {
	Incident string `arg:"" help:"Its number or id."`
	Follow   bool   `short:"f" help:"Show its timeline as it grows, until the investigation ends."`
}

// finding is one run's result, as the API gives it.
type finding struct {
	RunID   string      `json:"run_id"`
	At      time.Time   `json:"at"`
	Finding ops.Finding `json:"finding"`
}

// Run shows an incident: header, findings, timeline. Followed, the findings
// come last, when they are there.
func (i *incidentCmd) Run(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	path := "incidents/" + url.PathEscape(i.Incident)
	var raw rawJSON
	if err := c.call(ctx, "GET", path, nil, nil, &raw); err != nil {
		return err
	}
	incidents, err := as[ops.Incident]([]rawJSON{raw})
	if err != nil {
		return err
	}
	in := incidents[0]
	if i.Follow {
		return follow(ctx, w, c, in)
	}
	findings, err := c.list(ctx, path+"/findings", nil, "cursor", 0)
	if err != nil {
		return err
	}
	events, err := c.list(ctx, path+"/events", url.Values{"limit": {"1000"}}, "after", 0)
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(map[string]any{"incident": raw, "findings": findings, "events": events})
	}
	header(w, in)
	if err := printFindings(w, findings, in.RunID); err != nil {
		return err
	}
	timeline, err := as[ops.Event](events)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w.stdout, "\nTimeline")
	r := newRenderer(w.stdout)
	for _, e := range timeline {
		// The pieces of a turn and of an output come again as a whole.
		if e.Kind != ops.EventTextDelta && e.Kind != ops.EventToolOutput {
			r.event(e)
		}
	}
	r.end()
	return nil
}

func header(w *world, in ops.Incident) {
	_, _ = fmt.Fprintf(w.stdout, "#%d  %s\n%s · %s · investigation: %s\n", in.Number, inertLine(in.Title),
		inertLine(string(in.Severity)), inertLine(string(in.Status)), inertLine(investigation(in)))
	facts := []string{"opened " + moment(in.OpenedAt)}
	for _, f := range []struct{ name, value string }{{"source", in.SourceName}, {"service", in.Service}, {"assignee", in.Assignee}, {"resolved", moment(in.ResolvedAt)}} {
		if f.value != "" {
			facts = append(facts, f.name+" "+f.value)
		}
	}
	facts = append(facts, fmt.Sprintf("%d alerts, %d firing", in.AlertCount, in.FiringCount))
	_, _ = fmt.Fprintln(w.stdout, inertLine(strings.Join(facts, " · ")))
	if in.InvestigationReason != "" {
		_, _ = fmt.Fprintln(w.stdout, "reason: "+inertLine(in.InvestigationReason))
	}
	if in.Description != "" {
		_, _ = fmt.Fprintln(w.stdout, "\n"+indent(inert(in.Description), "  "))
	}
}

func investigation(in ops.Incident) string {
	if in.Investigation == "" {
		return "none"
	}
	return strings.ReplaceAll(string(in.Investigation), "_", " ")
}

// printFindings prints the newest; the incident's newest run is run.
func printFindings(w *world, raw []json.RawMessage, run string) error {
	if len(raw) == 0 {
		return nil
	}
	all, err := as[finding](raw)
	if err != nil {
		return err
	}
	f := all[0].Finding
	title := "Findings"
	if all[0].RunID != run {
		title += " of an earlier investigation"
	}
	if !f.Conclusive {
		title += " (inconclusive)"
	}
	out := func(format string, args ...any) { _, _ = fmt.Fprintf(w.stdout, format+"\n", args...) }
	out("\n%s", title)
	if f.Summary != "" {
		out("%s", indent(inert(f.Summary), "  "))
	}
	if f.RootCause != "" {
		out("  Root cause (confidence %.0f %%):\n%s", f.Confidence*100, indent(inert(f.RootCause), "    "))
		cite(out, f.Evidence, "    ")
	}
	if f.Impact != "" {
		out("  Impact:\n%s", indent(inert(f.Impact), "    "))
	}
	for _, h := range f.Hypotheses {
		out("  Hypothesis %s: %s", inertLine(string(h.Verdict)), inertLine(h.Statement))
		cite(out, h.Evidence, "    ")
	}
	for _, a := range f.Actions {
		text := a.Title
		if a.Target != "" {
			text += " [" + a.Target + "]"
		}
		out("  Next: %s", inertLine(text))
		if a.Command != "" {
			out("%s", indent(inert(a.Command), "    $ "))
		}
	}
	for _, d := range f.Dropped {
		out("  Not backed: %s", inertLine(d))
	}
	return nil
}

func cite(out func(string, ...any), citations []ops.Citation, prefix string) {
	for _, c := range citations {
		line := prefix + "evidence " + inertLine(c.Call)
		if c.Excerpt != "" {
			line += ": " + inertLine(c.Excerpt)
		}
		out("%s", line)
	}
}

// follow prints the timeline from its start and as it grows, until the newest
// run has ended.
func follow(ctx context.Context, w *world, c *client, in ops.Incident) error {
	if !w.json {
		header(w, in)
		_, _ = fmt.Fprintln(w.stdout, "\nTimeline")
	}
	r := newRenderer(w.stdout)
	run, state := in.RunID, ops.RunState("")
	if in.LastSeq == 0 && run == "" {
		return errors.New("the incident has no timeline and nobody investigates it")
	}
	err := c.stream(ctx, w, in.ID, func(raw []byte, e ops.Event) (more bool, err error) {
		if w.json {
			var line bytes.Buffer
			if err := json.Compact(&line, raw); err != nil {
				return false, err
			}
			if _, err := fmt.Fprintln(w.stdout, line.String()); err != nil {
				return false, err
			}
		} else {
			r.event(e)
		}
		var change ops.RunChange
		switch e.Kind {
		case ops.EventRunQueued:
			if e.Seq > in.LastSeq { // somebody has asked for another one meanwhile
				run, state = e.RunID, ""
			}
		case ops.EventRunEnded:
			if e.RunID == run && json.Unmarshal(e.Data, &change) == nil {
				state = change.State
			}
		}
		return e.Seq < in.LastSeq || run != "" && state == "", nil
	})
	r.end()
	if err != nil {
		return err
	}
	if run == "" {
		return nil
	}
	if !w.json {
		raw, err := c.list(ctx, "incidents/"+url.PathEscape(in.ID)+"/findings", nil, "cursor", 0)
		if err != nil {
			return err
		}
		if err := printFindings(w, raw, run); err != nil {
			return err
		}
	}
	if state != ops.RunConcluded {
		return &exitError{exitInconclusive, fmt.Errorf("the investigation ended %s", state)}
	}
	return nil
}
