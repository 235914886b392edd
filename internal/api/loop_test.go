package api

import (
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/stretchr/testify/require"
)

// found opens an incident as ann and has its run find something.
func (r *rig) found(title, cause string, actions ...ops.Action) ops.Incident {
	t := r.t
	t.Helper()
	a := r.call("POST", "/api/v1/incidents", map[string]any{"title": title})
	require.Equal(t, 201, a.status, a.body)
	var i ops.Incident
	a.into(t, &i)
	got, err := r.db.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(ops.NewToken("g")), ProxyTokenHash: ops.HashToken(ops.NewToken("p"))})
	require.NoError(t, err)
	require.NotNil(t, got)
	r.exec(`INSERT INTO tool_calls (run_id, call_id, tool, arguments, digest, created_at) VALUES ($1, 'c1', 'ssh_execute', '{}', '\x01', now())`, got.Run.ID)
	r.exec(`INSERT INTO tool_steps (run_id, call_id, state, at, data) VALUES ($1, 'c1', 'done', now(), '{"id": "c1", "state": "done", "text": "97% /"}')`, got.Run.ID)
	events := []ops.Event{
		ops.NewEvent(ops.EventFindings, ops.Finding{Summary: "s", RootCause: cause, Evidence: []ops.Citation{{Call: "c1"}}, Actions: actions}),
		ops.NewEvent(ops.EventRunEnded, ops.RunChange{State: ops.RunConcluded}),
	}
	for n := range events {
		events[n].RunSeq = int64(n + 1)
	}
	_, err = r.db.StoreEvents(t.Context(), postgres.RunClaim{Run: got.Run.ID, Worker: "w", Epoch: 1}, events)
	require.NoError(t, err)
	return i
}

func (r *rig) withProvider() {
	r.t.Helper()
	require.NoError(r.t, r.db.CreateProvider(r.t.Context(), ops.Provider{ID: ops.NewID(), Name: "p", Kind: "openai", BaseURL: "http://x", Model: "m"}))
}

// threats: K6
func TestMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	i := r.found("Disk is full", "logs")
	path := "/api/v1/incidents/" + i.ID + "/message"
	require.Equal(t, 422, r.call("POST", path, map[string]any{"text": ""}).status)
	require.Equal(t, 422, r.call("POST", path, map[string]any{"text": " \n "}).status)
	require.Equal(t, 404, r.call("POST", "/api/v1/incidents/999/message", map[string]any{"text": "x"}).status)

	viewer := r.guest("vic", "viewer")
	require.Equal(t, 403, r.send(viewer, "POST", path, map[string]any{"text": "x"}).status)
	require.Equal(t, 204, r.call("PUT", "/api/v1/roles/other-agents", map[string]any{"actions": []string{"read", "incidents.respond"}, "agents": []string{"another"}}).status)
	other := r.guest("oz", "other-agents")
	a := r.send(other, "POST", path, map[string]any{"text": "x"})
	require.Equal(t, 403, a.status, a.body)
	require.Contains(t, a.body, "do not allow you to start agent")

	// The run has ended: a new one goes on.
	a = r.call("POST", path, map[string]any{"text": "why?"})
	require.Equal(t, 202, a.status, a.body)
	var runs struct{ Items []ops.Run }
	r.call("GET", "/api/v1/incidents/"+i.ID+"/runs", nil).into(t, &runs)
	require.Len(t, runs.Items, 2)
	require.Equal(t, "user:ann", runs.Items[0].Actor)
	require.Equal(t, runs.Items[1].ID, runs.Items[0].Parent)
	require.Contains(t, r.timeline(int(i.Number)), "why?")
	require.Contains(t, r.audit(), `"incident.message"`)
	require.NotContains(t, r.audit(), "why?")
}

func TestFeedbackAndSimilarIncidents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	first := r.found("Disk is full on web-1", "old logs", ops.Action{Title: "look", Target: "web-1", Command: "df -h"},
		ops.Action{Title: "clean", Target: "web-1", Command: "rm -rf /var/log/old"}, ops.Action{Title: "think"})
	second := r.found("Disk is full on web-2", "a dump")

	var similar struct{ Items []ops.SimilarIncident }
	r.call("GET", "/api/v1/incidents/"+second.ID+"/similar", nil).into(t, &similar)
	require.Len(t, similar.Items, 1)
	require.Equal(t, "old logs", similar.Items[0].RootCause)

	// What the rules say of recommended commands.
	var found struct{ Items []postgres.StoredFinding }
	r.call("GET", "/api/v1/incidents/"+first.ID+"/findings", nil).into(t, &found)
	actions := found.Items[0].Finding.Actions
	require.Equal(t, "allow", actions[0].Check.Verdict)
	require.Contains(t, []string{"ask", "deny"}, actions[1].Check.Verdict)
	require.NotEmpty(t, actions[1].Check.Reason)
	require.Nil(t, actions[2].Check)

	path := "/api/v1/incidents/" + first.ID + "/feedback"
	require.Equal(t, 422, r.call("POST", path, map[string]any{"verdict": "meh"}).status)
	require.Equal(t, 403, r.send(r.guest("vic", "viewer"), "POST", path, map[string]any{"verdict": "right"}).status)
	require.Equal(t, 409, r.call("POST", path, map[string]any{"verdict": "right", "run_id": second.RunID}).status, "that is of another incident")
	require.Equal(t, 200, r.call("POST", path, map[string]any{"verdict": "partly", "comment": "half"}).status)
	require.Equal(t, 200, r.call("POST", path, map[string]any{"verdict": "wrong", "comment": "no"}).status)
	var feedback struct{ Items []ops.Feedback }
	r.call("GET", path, nil).into(t, &feedback)
	require.Len(t, feedback.Items, 1)
	require.Equal(t, ops.FeedbackWrong, feedback.Items[0].Verdict)
	require.Equal(t, "user:ann", feedback.Items[0].By)
	require.Contains(t, r.audit(), `"incident.feedback"`)
	require.Contains(t, r.timeline(int(first.Number)), `"wrong"`)
	r.call("GET", "/api/v1/incidents/"+second.ID+"/similar", nil).into(t, &similar)
	require.Empty(t, similar.Items, "what was called wrong is shown no more")
	empty := r.call("POST", "/api/v1/incidents", map[string]any{"title": "Another"})
	var i ops.Incident
	empty.into(t, &i)
	require.Equal(t, 409, r.call("POST", "/api/v1/incidents/"+i.ID+"/feedback", map[string]any{"verdict": "right"}).status)
}

func TestBudgetsUsageAndChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	src := r.source("am")
	require.Equal(t, 200, r.call("PUT", "/api/v1/budgets/all", map[string]any{"usd": 12.5}).status)
	require.Equal(t, 200, r.call("PUT", "/api/v1/budgets/"+src.ID, map[string]any{"runs": 3}).status)
	require.Equal(t, 404, r.call("PUT", "/api/v1/budgets/nobody", map[string]any{"runs": 3}).status)
	require.Equal(t, 404, r.call("PUT", "/api/v1/budgets/"+ops.NewID(), map[string]any{"runs": 3}).status)
	require.Equal(t, 422, r.call("PUT", "/api/v1/budgets/all", map[string]any{"usd": -1}).status)
	require.Equal(t, 403, r.send(r.guest("rob", "responder"), "PUT", "/api/v1/budgets/all", map[string]any{"usd": 99}).status)
	var budgets struct{ Items []ops.Budget }
	r.call("GET", "/api/v1/budgets", nil).into(t, &budgets)
	require.Len(t, budgets.Items, 2)
	require.Equal(t, []any{"all", 12.5, "user:ann"}, []any{budgets.Items[0].Scope, budgets.Items[0].USD, budgets.Items[0].UpdatedBy})
	require.Equal(t, 204, r.call("DELETE", "/api/v1/budgets/"+src.ID, nil).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/budgets/"+src.ID, nil).status)

	r.found("a", "b")
	var usage struct{ Items []ops.DayUsage }
	r.call("GET", "/api/v1/usage", nil).into(t, &usage)
	require.Len(t, usage.Items, 1)
	require.Equal(t, int64(1), usage.Items[0].Runs)

	for name, body := range map[string]map[string]any{
		"no service":      {"text": "x"},
		"blank":           {"service": " ", "text": "x"},
		"link of a trick": {"service": "shop", "text": "x", "link": "javascript:alert(1)"},
		"long ago":        {"service": "shop", "text": "x", "at": "2020-01-01T00:00:00Z"},
	} {
		require.Equal(t, 422, r.call("POST", "/api/v1/changes", body).status, name)
	}
	require.Equal(t, 201, r.call("POST", "/api/v1/changes", map[string]any{"service": "shop", "text": "release 7", "link": "https://ci/7"}).status)
	var changes struct{ Items []ops.Change }
	r.call("GET", "/api/v1/changes?service=shop", nil).into(t, &changes)
	require.Len(t, changes.Items, 1)
	require.Equal(t, "user:ann", changes.Items[0].NotedBy)
	r.call("GET", "/api/v1/changes?service=mail", nil).into(t, &changes)
	require.Empty(t, changes.Items)
}

// What a vendor wants back of its own is for workers: no browser gets it.
func TestWhatIsAVendorsStaysHere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	a := r.call("POST", "/api/v1/incidents", map[string]any{"title": "Disk is full"})
	var i ops.Incident
	a.into(t, &i)
	claim := func() *postgres.ClaimedRun {
		got, err := r.db.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour,
			GatewayTokenHash: ops.HashToken(ops.NewToken("g")), ProxyTokenHash: ops.HashToken(ops.NewToken("p"))})
		require.NoError(t, err)
		require.NotNil(t, got)
		return got
	}
	got := claim()
	e := ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Text: "I look.", Reasoning: "hm", Vendor: []byte(`{"data":"gAAAA-of-the-vendor"}`)})
	e.RunSeq = 1
	_, err := r.db.StoreEvents(t.Context(), postgres.RunClaim{Run: got.Run.ID, Worker: "w", Epoch: 1}, []ops.Event{e})
	require.NoError(t, err)
	body := r.timeline(int(i.Number))
	require.Contains(t, body, "I look.")
	require.Contains(t, body, `"reasoning":"hm"`)
	require.NotContains(t, body, "of-the-vendor")
	s := r.open(t, "/api/v1/incidents/"+i.ID+"/stream", "Authorization", "Bearer "+r.token)
	for {
		if e := s.next(); e.Kind == ops.EventMessage {
			require.Contains(t, string(e.Data), "I look.")
			require.NotContains(t, string(e.Data), "vendor")
			break
		}
	}
	require.NoError(t, r.db.Shorten(t.Context(), "w", -time.Minute))
	_, err = r.db.RequeueExpired(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(claim().Transcript[0].Data), "gAAAA-of-the-vendor", "the next worker has it")
}
