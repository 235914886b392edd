package api

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

func TestPostmortem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	i := r.found("Disk is full on web-1", "old logs", ops.Action{Title: "clean up", Target: "web-1", Command: "rm -rf /var/log/old"})
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/"+i.ID+"/acknowledge", nil).status)
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/"+i.ID+"/feedback", map[string]any{"verdict": "partly", "comment": "a dump, too"}).status)
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/"+i.ID+"/resolve", nil).status)

	path := "/api/v1/incidents/" + i.ID + "/postmortem"
	a := r.call("GET", path+"?zone=Europe/Berlin", nil)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "text/markdown; charset=utf-8", a.header.Get("Content-Type"))
	require.Contains(t, a.header.Get("Content-Disposition"), "attachment; filename=\"incident-1.md\"")
	for _, part := range []string{"# Incident 1: Disk is full on web-1", "old logs", "`c1`", "clean up on `web-1`", "\n```\nrm -rf /var/log/old\n```\n",
		"- ann: opened, investigated, acknowledged, judged the findings, resolved", "partly (a dump, too)", "Times are in `Europe/Berlin`", "In all: 0.0000 US dollars"} {
		require.Contains(t, a.body, part)
	}
	require.Regexp(t, `- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d CES?T Incident changed, status acknowledged`, a.body)
	require.Contains(t, r.call("GET", path, nil).body, " UTC Incident opened")
	require.Equal(t, 422, r.call("GET", path+"?zone=Mars/Base", nil).status)
	require.Equal(t, 422, r.call("GET", path+"?zone=Local", nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/incidents/999/postmortem", nil).status)
	require.Equal(t, 200, r.send(r.guest("vic", "viewer"), "GET", path, nil).status)
}

// What came with an alert is shown to those who may see deliveries.
func TestDeliveryOfAlert(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	body := `{"receiver":"x","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Disk"},"startsAt":"2026-01-01T00:00:00Z","fingerprint":"f1"}],
		"groupKey":"g","groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://am","version":"4","truncatedAlerts":0}`
	require.Equal(t, 202, r.send(http.DefaultClient, "POST", strings.TrimPrefix(src.WebhookURL, r.PublicURL()), body, "Authorization", "Bearer "+src.Secret).status)
	var alerts struct{ Items []ops.Alert }
	r.call("GET", "/api/v1/incidents/1/alerts", nil).into(t, &alerts)
	require.Len(t, alerts.Items, 1)
	path := "/api/v1/deliveries/of-alert/" + alerts.Items[0].ID
	var d shownDelivery
	r.call("GET", path, nil).into(t, &d)
	require.Equal(t, body, d.Body)
	require.Equal(t, 404, r.call("GET", "/api/v1/deliveries/of-alert/"+ops.NewID(), nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/deliveries/of-alert/nosuch", nil).status)
	require.Equal(t, 403, r.send(r.guest("rob", "responder"), "GET", path, nil).status)
	r.exec(`UPDATE alerts SET delivery_id = gen_random_uuid()`)
	a := r.call("GET", path, nil)
	require.Equal(t, 404, a.status)
	require.Contains(t, a.body, "not kept any more")
}

// evil is text that would do something to somebody who reads the document.
const evil = "# heading\n\n- [ ] [x](javascript:alert(1)) ![i](http://evil.example/i.png) <img src=x onerror=alert(1)> &lt; *a* _b_ ~~c~~ `d` ``` | $e$ " +
	"http://evil.example www.evil.example a@evil.example @ann mailto:x@y ftp://z \u202egnp.exe \x1b[2J zero\u200bwidth\n\n---\n\n1. one\n\n    code\n\n[ref]: http://evil.example\n\n<script>alert(1)</script>"

func TestPostmortemIsInert(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	exit := 1
	event := func(kind ops.EventKind, actor string, data any) ops.Event {
		e := ops.NewEvent(kind, data)
		e.At, e.Actor = at, actor
		return e
	}
	cited := []ops.Citation{{Call: "c1", Excerpt: evil}, {Call: evil}}
	p := story{zone: time.UTC, at: at, more: true,
		incident: ops.Incident{ID: "i", Number: 7, Title: evil, Description: evil, Severity: ops.SeverityHigh, Status: ops.IncidentResolved, SourceName: evil,
			Service: evil, Assignee: evil, OpenedAt: at, ResolvedAt: at.Add(time.Minute), ResolvedBy: evil, AlertCount: 9},
		events: []ops.Event{event(ops.EventIncidentOpened, evil, ops.IncidentChange{Reason: evil}), event(ops.EventIncidentChanged, "user:"+evil, ops.IncidentChange{Title: evil, Assignee: evil}),
			event(ops.EventAlertFiring, "", ops.AlertChange{Title: evil, Host: evil}), event(ops.EventRunEnded, "", ops.RunChange{State: ops.RunState(evil), Reason: evil}),
			event(ops.EventApprovalAsked, "", ops.ApprovalChange{Command: evil, Target: evil}), event(ops.EventApprovalDecided, "", ops.ApprovalChange{Tool: evil, State: ops.ApprovalState(evil), By: evil, Reason: evil}),
			event(ops.EventPersonSaid, "user:x", ops.PersonSaid{Text: evil}), event(ops.EventFeedback, "user:x", ops.Feedback{Verdict: ops.FeedbackVerdict(evil), Comment: evil}),
			event(ops.EventFindings, "", ops.Finding{Conclusive: true, RootCause: evil})},
		alerts: []ops.Alert{{Title: evil, Host: evil, StartsAt: at, EndsAt: at}},
		runs:   []ops.Run{{Agent: evil, State: ops.RunState(evil), CreatedAt: at, StartedAt: at, EndedAt: at.Add(time.Second), USD: 0.5, Unpriced: true}},
		findings: []postgres.StoredFinding{{RunID: "r", Finding: ops.Finding{Conclusive: true, Summary: evil, Impact: evil, RootCause: evil, Evidence: cited, Dropped: []string{evil},
			Hypotheses: []ops.Hypothesis{{Statement: evil, Verdict: ops.VerdictConfirmed, Evidence: cited}}, Actions: []ops.Action{{Title: evil, Target: evil, Command: evil}}}}},
		feedback: []ops.Feedback{{By: evil, Comment: evil, Verdict: ops.FeedbackWrong, At: at}},
		calls: []ops.ToolCall{{RunID: "r", ID: "c1", Tool: "ssh_execute", Command: evil, Target: evil, Verdict: "allow", Rule: evil, State: ops.CallDone,
			Result: &ops.ToolResult{ExitCode: &exit, Duration: time.Second}, CreatedAt: at}},
	}
	// The page's unit tests read this file, too, and see that nothing of it acts.
	const golden = "testdata/postmortem.md"
	got := p.write()
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
	require.NotContains(t, got, "\u202e")
	require.NotContains(t, got, "\x1b")
}

var escaped = regexp.MustCompile("\\\\[!-/:-@\\[-`{-~]")

func FuzzMarkdown(f *testing.F) {
	for _, seed := range []string{evil, "", "`", "``` ```", "1. x", "- x", "a\\", "\\", "1) x", "+ x", "= x", "a  b", "`` ` ``", "-", "http://x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line := inline(text)
		if strings.ContainsAny(line, "\n\r\t\x1b") || strings.HasPrefix(line, " ") {
			t.Fatalf("%q does not stay on its line: %q", text, line)
		}
		for w := range strings.FieldsSeq(line) {
			if linkLike(w) && !strings.HasPrefix(w, "`") {
				t.Fatalf("%q has a link: %q", text, line)
			}
			if !strings.Contains(w, "`") || strings.Contains(w, "\\`") {
				if bare := escaped.ReplaceAllString(w, ""); !linkLike(w) && strings.ContainsAny(bare, "`*_[]<>&|~$#!") {
					t.Fatalf("%q has markup: %q", text, line)
				}
			}
		}
		// The fence of code is longer than each run of backticks in it.
		span := code(text)
		if inner := strings.Trim(span, "`"); span != "" && longestRun(inner, '`') >= len(span)-len(strings.TrimLeft(span, "`")) {
			t.Fatalf("%q ends its code: %q", text, span)
		}
		var m markdown
		m.block(text)
		lines := strings.Split(strings.TrimRight(m.String(), "\n"), "\n")
		for _, l := range lines[1 : len(lines)-1] {
			if strings.Contains(l, lines[0]) {
				t.Fatalf("%q ends its block: %q", text, m.String())
			}
		}
	})
}
