package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// What a postmortem has of each at most. What is left out is counted.
const (
	pmEvents = 500
	pmAlerts = 25
	pmCalls  = 100
)

type postmortemQuery struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Zone string `query:"zone" maxLength:"60" default:"UTC" doc:"The time zone of its times, such as Europe/Berlin."`
}

// markdownFile is an answer that is a document.
type markdownFile struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func (s *API) postmortemOperations(api huma.API) {
	handle(s, api, operation{id: "get-postmortem", method: http.MethodGet, path: "/incidents/{id}/postmortem", tag: "incidents", markdown: true,
		summary: "What happened, as a Markdown document made of the records: no model writes it"}, s.postmortem)
}

// story is all that a postmortem tells.
type story struct {
	incident ops.Incident
	events   []ops.Event // of the kinds that tell what happened, oldest first
	more     bool        // there are more of them
	alerts   []ops.Alert
	runs     []ops.Run
	findings []postgres.StoredFinding
	feedback []ops.Feedback
	calls    []ops.ToolCall
	zone     *time.Location
	at       time.Time
}

func (s *API) postmortem(ctx context.Context, _ caller, in *postmortemQuery) (*markdownFile, error) {
	zone, err := time.LoadLocation(in.Zone)
	if err != nil || in.Zone == "Local" {
		return nil, ops.Errorf(ops.CodeInvalid, "there is no such time zone: name one as in Europe/Berlin")
	}
	i, err := s.incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	p := story{incident: i, zone: zone, at: time.Now()}
	for _, read := range []func() error{
		func() (err error) { p.events, err = s.db.EventsOf(ctx, i.ID, keyEvents, pmEvents+1); return err },
		func() (err error) { p.alerts, err = s.db.AlertPage(ctx, i.ID, "", pmAlerts); return err },
		func() (err error) { p.runs, err = s.db.Runs(ctx, i.ID); return err },
		func() (err error) { p.findings, err = s.findingsOf(ctx, i.ID); return err },
		func() (err error) { p.feedback, err = s.db.Feedback(ctx, i.ID); return err },
		func() (err error) { p.calls, err = s.db.Calls(ctx, i.ID); return err },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if p.more = len(p.events) > pmEvents; p.more {
		p.events = p.events[:pmEvents]
	}
	return &markdownFile{ContentType: "text/markdown; charset=utf-8",
		Disposition: fmt.Sprintf(`attachment; filename="incident-%d.md"`, i.Number), Body: []byte(p.write())}, nil
}

// keyEvents are those that tell what happened; what the agent thought and what
// its tools printed is told by findings and calls.
var keyEvents = []ops.EventKind{ops.EventIncidentOpened, ops.EventIncidentResolved, ops.EventIncidentReopened, ops.EventIncidentChanged,
	ops.EventIncidentMerged, ops.EventIncidentSplit, ops.EventAlertFiring, ops.EventAlertAcked, ops.EventAlertResolved, ops.EventRunQueued,
	ops.EventRunStarted, ops.EventRunParked, ops.EventRunEnded, ops.EventApprovalAsked, ops.EventApprovalDecided, ops.EventPersonSaid,
	ops.EventFeedback, ops.EventFindings}

func (p *story) write() string {
	m := &markdown{}
	m.line("# Incident %d: %s", p.incident.Number, inline(p.incident.Title))
	m.line("")
	p.head(m)
	var newest *postgres.StoredFinding
	if len(p.findings) > 0 {
		newest = &p.findings[0]
	}
	p.found(m, newest)
	p.timeline(m)
	if newest != nil {
		p.actions(m, newest.Finding.Actions)
	}
	p.alerting(m)
	p.done(m)
	p.people(m)
	p.cost(m)
	m.line("---\n\nMade from the records of incident %s at %s. The words of alerts, hosts and models are quoted as they came.", code(p.incident.ID), p.time(p.at))
	return m.String()
}

func (p *story) head(m *markdown) {
	i := p.incident
	for _, fact := range [][2]string{
		{"Severity", string(i.Severity)},
		{"Status", string(i.Status)},
		{"Service", inline(i.Service)},
		{"Source", cmp.Or(inline(i.SourceName), "opened by hand")},
		{"Opened", p.time(i.OpenedAt)},
		{"Resolved", p.resolved()},
		{"Assignee", inline(i.Assignee)},
		{"Alerts", fmt.Sprintf("%d, of which %d fire", i.AlertCount, i.FiringCount)},
	} {
		if fact[1] != "" {
			m.line("- **%s:** %s", fact[0], fact[1])
		}
	}
}

func (p *story) resolved() string {
	i := p.incident
	if i.ResolvedAt.IsZero() {
		return ""
	}
	text := fmt.Sprintf("%s, after %s", p.time(i.ResolvedAt), i.ResolvedAt.Sub(i.OpenedAt).Round(time.Second))
	if i.ResolvedBy != "" {
		text += ", by " + person(i.ResolvedBy)
	}
	return text
}

// found tells what the newest investigation that found something came to.
func (p *story) found(m *markdown, newest *postgres.StoredFinding) {
	m.heading("Summary")
	if newest == nil {
		m.paragraphs(p.incident.Description)
		m.line("No investigation has come to findings.")
		return
	}
	f := newest.Finding
	m.paragraphs(cmp.Or(f.Summary, p.incident.Description, "There is none."))
	m.heading("Impact")
	m.paragraphs(cmp.Or(f.Impact, "It was not said."))
	m.heading("Root cause")
	if f.Conclusive && f.RootCause != "" {
		m.paragraphs(f.RootCause)
		m.line("Confidence: %.0f %%.\n", 100*f.Confidence)
		p.evidence(m, newest.RunID, f.Evidence, "")
	} else {
		m.line("No root cause stands on evidence.")
	}
	if len(f.Hypotheses) > 0 {
		m.heading("Hypotheses")
		for _, h := range f.Hypotheses {
			m.line("- **%s:** %s", h.Verdict, inline(h.Statement))
			p.evidence(m, newest.RunID, h.Evidence, "  ")
		}
	}
	if len(f.Dropped) > 0 {
		m.heading("Claims that were dropped for want of evidence")
		for _, claim := range f.Dropped {
			m.line("- %s", inline(claim))
		}
	}
}

// evidence quotes what is cited, with the call that printed it.
func (p *story) evidence(m *markdown, run string, cited []ops.Citation, indent string) {
	for _, c := range cited {
		text := code(c.Call)
		if at := slices.IndexFunc(p.calls, func(call ops.ToolCall) bool { return call.RunID == run && call.ID == c.Call }); at >= 0 {
			text += " " + what(p.calls[at])
		}
		if c.Excerpt != "" {
			text += ": " + code(c.Excerpt)
		}
		m.line("%s- %s", indent, text)
	}
}

// what is done by a call, and where.
func what(c ops.ToolCall) string {
	text := code(cmp.Or(c.Command, c.Tool))
	if c.Target != "" {
		text += " on " + code(c.Target)
	}
	return text
}

func (p *story) timeline(m *markdown) {
	m.heading("Timeline")
	m.line("Times are in %s.\n", code(p.zone.String()))
	skipped := 0
	seen := 0
	for _, e := range p.events {
		if strings.HasPrefix(string(e.Kind), "alert.") {
			if seen++; seen > 2*pmAlerts {
				skipped++
				continue
			}
		}
		if text := tells(e); text != "" {
			if e.Actor != "" {
				text += " — " + person(e.Actor)
			}
			m.line("- %s %s", p.time(e.At), text)
		}
	}
	if skipped > 0 {
		m.line("- and %d more changes of alerts", skipped)
	}
	if p.more {
		m.line("- and more than %d events", pmEvents)
	}
}

// tells gives an event in words; nothing where its data cannot be read.
func tells(e ops.Event) string {
	switch e.Kind {
	case ops.EventAlertFiring, ops.EventAlertAcked, ops.EventAlertResolved:
		return tellsAlert(e)
	case ops.EventRunQueued, ops.EventRunStarted, ops.EventRunParked, ops.EventRunEnded:
		c := dataOf[ops.RunChange](e)
		return "Investigation " + inline(string(c.State)) + because(c.Reason)
	case ops.EventApprovalAsked, ops.EventApprovalDecided:
		c := dataOf[ops.ApprovalChange](e)
		text := "Approval asked for "
		if e.Kind == ops.EventApprovalDecided {
			text = "Approval " + inline(string(c.State)) + ": "
		}
		text += what(ops.ToolCall{Command: c.Command, Tool: c.Tool, Target: c.Target})
		if c.By != "" {
			text += " by " + person(c.By)
		}
		return text + because(c.Reason)
	case ops.EventPersonSaid:
		return "Said to the agent: " + inline(dataOf[ops.PersonSaid](e).Text)
	case ops.EventFeedback:
		c := dataOf[ops.Feedback](e)
		return "Findings called " + inline(string(c.Verdict)) + because(c.Comment)
	case ops.EventFindings:
		if f := dataOf[ops.Finding](e); f.Conclusive {
			return "The investigation found: " + inline(f.RootCause)
		}
		return "The investigation found no cause that it can prove"
	}
	return tellsIncident(e)
}

func tellsAlert(e ops.Event) string {
	c := dataOf[ops.AlertChange](e)
	word := map[ops.EventKind]string{ops.EventAlertFiring: "fires", ops.EventAlertAcked: "acknowledged", ops.EventAlertResolved: "resolved"}[e.Kind]
	text := "Alert " + word + ": " + inline(c.Title)
	if c.Host != "" {
		text += " on " + inline(c.Host)
	}
	return text
}

func tellsIncident(e ops.Event) string {
	words := map[ops.EventKind]string{ops.EventIncidentOpened: "Incident opened", ops.EventIncidentResolved: "Incident resolved",
		ops.EventIncidentReopened: "Incident opened again", ops.EventIncidentChanged: "Incident changed", ops.EventIncidentMerged: "Incidents merged",
		ops.EventIncidentSplit: "Alerts moved"}
	c := dataOf[ops.IncidentChange](e)
	text := words[e.Kind]
	if e.Kind == ops.EventIncidentChanged {
		for _, part := range [][2]string{{"status", string(c.Status)}, {"severity", string(c.Severity)}, {"title", c.Title}, {"assignee", c.Assignee}} {
			if part[1] != "" {
				text += fmt.Sprintf(", %s %s", part[0], inline(part[1]))
			}
		}
	}
	return text + because(c.Reason)
}

func because(reason string) string {
	if reason = inline(reason); reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func dataOf[T any](e ops.Event) (data T) {
	_ = json.Unmarshal(e.Data, &data) // what cannot be read is not told
	return data
}

// alerting lists the alerts that it is made of.
func (p *story) alerting(m *markdown) {
	if len(p.alerts) == 0 {
		return
	}
	m.heading("Alerts")
	for _, a := range p.alerts {
		text := inline(a.Title)
		if a.Host != "" {
			text += " on " + inline(a.Host)
		}
		text += fmt.Sprintf(", %s, since %s", a.Severity, p.time(a.StartsAt))
		if !a.EndsAt.IsZero() {
			text += ", until " + p.time(a.EndsAt)
		}
		m.line("- %s", text)
	}
	if n := p.incident.AlertCount - len(p.alerts); n > 0 {
		m.line("- and %d more", n)
	}
}

// actions are what the agent recommends to people.
func (p *story) actions(m *markdown, actions []ops.Action) {
	if len(actions) == 0 {
		return
	}
	m.heading("Recommended actions")
	for _, a := range actions {
		text := inline(a.Title)
		if a.Target != "" {
			text += " on " + code(a.Target)
		}
		m.line("- [ ] %s\n", text)
		if a.Command != "" {
			m.block(a.Command)
		}
	}
}

// done tells what the agent did.
func (p *story) done(m *markdown) {
	if len(p.calls) == 0 {
		return
	}
	m.heading("What the agent did")
	for _, c := range p.calls[:min(len(p.calls), pmCalls)] {
		text := string(c.State)
		if c.Result != nil && c.Result.ExitCode != nil {
			text = fmt.Sprintf("exit %d", *c.Result.ExitCode)
		}
		if c.Result != nil && c.Result.Duration > 0 {
			text += ", " + c.Result.Duration.Round(time.Millisecond).String()
		}
		if c.Verdict != "" {
			text += ", " + c.Verdict
			if c.Rule != "" {
				text += " by " + code(c.Rule)
			}
		}
		m.line("- %s %s %s: %s", p.time(c.CreatedAt), code(c.ID), what(c), text)
	}
	if n := len(p.calls) - pmCalls; n > 0 {
		m.line("- and %d more calls", n)
	}
}

// people tells which of them did something, and what they think of the findings.
func (p *story) people(m *markdown) {
	did := map[string][]string{}
	for _, e := range p.events {
		who := e.Actor
		if e.Kind == ops.EventApprovalDecided {
			who = cmp.Or(dataOf[ops.ApprovalChange](e).By, who)
		}
		if !strings.HasPrefix(who, "user:") {
			continue
		}
		if word := deed(e); !slices.Contains(did[who], word) {
			did[who] = append(did[who], word)
		}
	}
	if len(did) > 0 {
		m.heading("Who did what")
		names := make([]string, 0, len(did))
		for name := range did {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			m.line("- %s: %s", person(name), strings.Join(did[name], ", "))
		}
	}
	if len(p.feedback) > 0 {
		m.heading("What people think of the findings")
		for _, f := range p.feedback {
			m.line("- %s, %s: %s%s", person(f.By), p.time(f.At), inline(string(f.Verdict)), because(f.Comment))
		}
	}
}

// person gives the name of a user, and of any other actor what it is as well.
func person(actor string) string { return inline(strings.TrimPrefix(actor, "user:")) }

// deed is what a person did, in a word or two.
func deed(e ops.Event) string {
	switch e.Kind {
	case ops.EventIncidentChanged:
		if c := dataOf[ops.IncidentChange](e); c.Status != "" {
			return inline(string(c.Status))
		} else if strings.HasPrefix(c.Reason, "assigned") {
			return "assigned"
		}
		return "edited"
	case ops.EventApprovalDecided:
		return inline(string(dataOf[ops.ApprovalChange](e).State)) + " a call"
	case ops.EventRunQueued:
		return "investigated"
	case ops.EventRunEnded:
		return "ended an investigation"
	case ops.EventPersonSaid:
		return "wrote to the agent"
	case ops.EventFeedback:
		return "judged the findings"
	}
	_, word, _ := strings.Cut(string(e.Kind), ".")
	return inline(word)
}

func (p *story) cost(m *markdown) {
	if len(p.runs) == 0 {
		return
	}
	m.heading("Cost")
	usd, unpriced := 0.0, false
	for _, r := range slices.Backward(p.runs) {
		took := ""
		if !r.StartedAt.IsZero() && !r.EndedAt.IsZero() {
			took = ", " + r.EndedAt.Sub(r.StartedAt).Round(time.Second).String()
		}
		m.line("- %s %s by %s%s: %d tokens read, %d written, %s", p.time(r.CreatedAt), inline(string(r.State)), inline(r.Agent), took,
			r.InputTokens, r.OutputTokens, dollars(r.USD, r.Unpriced))
		usd, unpriced = usd+r.USD, unpriced || r.Unpriced
	}
	m.line("\nIn all: %s.\n", dollars(usd, unpriced))
}

func dollars(usd float64, unpriced bool) string {
	text := fmt.Sprintf("%.4f US dollars", usd)
	if unpriced {
		text += " and what nobody knows the price of"
	}
	return text
}

func (p *story) time(at time.Time) string {
	return at.In(p.zone).Format("2006-01-02 15:04:05 MST")
}
