package postgres_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

const ada, bob = "user:ada", "user:bob"

func anyAgent(string) error { return nil }

// opened gives a database with a provider and one incident that Ada had opened
// and whose run waits.
func opened(t *testing.T) (*postgres.DB, *pgtest.DB, ops.Incident) {
	t.Helper()
	pg := pgtest.New(t)
	db := open(t, pg.API)
	provider(t, db)
	for _, name := range []string{"ada", "bob"} {
		require.NoError(t, db.CreateUser(t.Context(), postgres.User{ID: ops.NewID(), Username: name, PasswordHash: "x", Roles: []string{"responder"}}))
	}
	return db, pg, byHand(t, db, "Disk is full on web-1", ada)
}

func byHand(t *testing.T, db *postgres.DB, title, actor string) ops.Incident {
	t.Helper()
	i, err := db.CreateIncident(t.Context(), postgres.NewIncident{Title: title, Severity: ops.SeverityHigh, Agent: postgres.DefaultAgent, Actor: actor})
	require.NoError(t, err)
	return i
}

func (s *script) say(db *postgres.DB, incident, actor, text string) int64 {
	s.t.Helper()
	seq, err := db.Say(s.t.Context(), postgres.Say{Incident: incident, Actor: actor, Text: text, May: anyAgent})
	require.NoError(s.t, err)
	return seq
}

// script sends a run's events in order.
type script struct {
	t   *testing.T
	db  *postgres.DB
	c   postgres.RunClaim
	seq int64
}

func take(t *testing.T, db *postgres.DB) (*postgres.ClaimedRun, *script) {
	t.Helper()
	got := claim(t, db, "w")
	require.NotNil(t, got)
	return got, &script{t, db, postgres.RunClaim{Run: got.Run.ID, Worker: "w", Epoch: got.Run.Epoch}, got.Run.AckedSeq}
}

func (s *script) try(kind ops.EventKind, data any) error {
	e := ops.NewEvent(kind, data)
	e.RunSeq = s.seq + 1
	_, err := s.db.StoreEvents(s.t.Context(), s.c, []ops.Event{e})
	if err == nil {
		s.seq++
	}
	return err
}

func (s *script) send(kind ops.EventKind, data any) {
	s.t.Helper()
	require.NoError(s.t, s.try(kind, data))
}

func (s *script) end(state ops.RunState) { s.send(ops.EventRunEnded, ops.RunChange{State: state}) }

func TestSayingSomethingToARun(t *testing.T) {
	t.Parallel()
	db, _, i := opened(t)
	got, s := take(t, db)
	require.Equal(t, ada, got.Run.Actor)
	seq := s.say(db, i.ID, ada, "look at web-2")
	unread, err := db.Unread(t.Context(), []string{got.Run.ID, ops.NewID()})
	require.NoError(t, err)
	require.Len(t, unread[got.Run.ID], 1)
	require.Equal(t, seq, unread[got.Run.ID][0].Seq)
	require.Equal(t, "look at web-2", unread[got.Run.ID][0].Text)

	require.Equal(t, ops.CodeInvalid, ops.CodeOf(s.try(ops.EventApplied, ops.Applied{Seq: seq + 7})))
	s.send(ops.EventApplied, ops.Applied{Seq: seq})
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(s.try(ops.EventApplied, ops.Applied{Seq: seq})), "a message is applied once")
	unread, err = db.Unread(t.Context(), []string{got.Run.ID})
	require.NoError(t, err)
	require.Empty(t, unread)

	// Another worker gets it with the transcript.
	require.NoError(t, db.Shorten(t.Context(), "w", -time.Minute))
	n, err := db.RequeueExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	again, _ := take(t, db)
	require.Equal(t, []int64{seq}, []int64{again.Messages[0].Seq})
	require.Equal(t, ops.EventApplied, again.Transcript[0].Kind)
}

// threats: E11
func TestAMessageOfSomebodyElseIsANewRun(t *testing.T) {
	t.Parallel()
	db, _, i := opened(t)
	got, s := take(t, db)
	s.send(ops.EventBriefing, ops.Briefing{Text: "b"})
	s.send(ops.EventMessage, ops.Message{Turn: 1, Text: "so far"})
	seq := s.say(db, i.ID, bob, "let me")
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(s.try(ops.EventApplied, ops.Applied{Seq: seq})), "a run of Ada's does what Bob says")
	s.end(ops.RunCancelled) // it makes way
	next, n := take(t, db)
	require.Equal(t, bob, next.Run.Actor)
	require.Equal(t, got.Run.ID, next.Run.Parent)
	require.Len(t, next.History, 1)
	require.Len(t, next.History[0].Transcript, 2)
	require.Equal(t, seq, next.Messages[0].Seq)
	n.send(ops.EventApplied, ops.Applied{Seq: seq})

	// One that waits makes way at once.
	n.send(ops.EventRunParked, ops.RunChange{State: ops.RunWaitingApproval})
	third := s.say(db, i.ID, ada, "mine again")
	last, _ := take(t, db)
	require.Equal(t, ada, last.Run.Actor)
	require.Equal(t, next.Run.ID, last.Run.Parent)
	require.Len(t, last.History, 2)
	require.Equal(t, got.Run.ID, last.History[0].Run)
	require.Equal(t, []int64{third}, []int64{last.Messages[0].Seq})
	kinds(t, db, i.ID)
}

func TestWhatARunHasNotReadIsHandedOn(t *testing.T) {
	t.Parallel()
	for state, handed := range map[ops.RunState]bool{ops.RunConcluded: true, ops.RunInconclusive: true, ops.RunFailed: false} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			db, _, i := opened(t)
			_, s := take(t, db)
			first := s.say(db, i.ID, ada, "one")
			s.end(state)
			if !handed { // until she says something again
				require.Nil(t, claim(t, db, "w"))
				s.say(db, i.ID, ada, "two")
			}
			next, n := take(t, db)
			require.Equal(t, first, next.Messages[0].Seq)
			for _, m := range next.Messages {
				n.send(ops.EventApplied, ops.Applied{Seq: m.Seq})
			}
			n.end(ops.RunInconclusive)
			require.Nil(t, claim(t, db, "w"), "there is no end of runs")
		})
	}
	t.Run("people stopped it", func(t *testing.T) {
		t.Parallel()
		db, _, i := opened(t)
		_, s := take(t, db)
		s.say(db, i.ID, ada, "one")
		require.NoError(t, db.CancelRun(t.Context(), i.ID, "enough"))
		s.end(ops.RunCancelled)
		require.Nil(t, claim(t, db, "w"))
	})
}

func TestSayRefuses(t *testing.T) {
	t.Parallel()
	db, _, i := opened(t)
	_, err := db.Say(t.Context(), postgres.Say{Incident: i.ID, Actor: bob, Text: "x", May: func(agent string) error {
		return ops.Errorf(ops.CodeForbidden, "not %s", agent)
	}})
	require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
	for range 20 {
		_, err := db.Say(t.Context(), postgres.Say{Incident: i.ID, Actor: ada, Text: "x", May: anyAgent})
		require.NoError(t, err)
	}
	_, err = db.Say(t.Context(), postgres.Say{Incident: i.ID, Actor: ada, Text: "x", May: anyAgent})
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
}

func TestAnAnsweredQuestionKeepsTheConclusion(t *testing.T) {
	t.Parallel()
	for name, conclusive := range map[string]bool{"concluded": true, "inconclusive": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, pg, i := opened(t)
			got, s := take(t, db)
			if conclusive {
				evidence(t, pg, got.Run.ID, "c1", "97% /")
				s.send(ops.EventFindings, ops.Finding{Summary: "s", RootCause: "full", Evidence: []ops.Citation{{Call: "c1"}}})
			}
			s.end(ops.RunConcluded)
			seq := s.say(db, i.ID, ada, "why?")
			_, n := take(t, db)
			n.send(ops.EventApplied, ops.Applied{Seq: seq})
			n.send(ops.EventRunEnded, ops.RunChange{State: ops.RunConcluded, Reason: "a question was answered"})
			now, err := db.Incident(t.Context(), i.ID)
			require.NoError(t, err)
			require.Equal(t, ops.RunState(name), now.Investigation)
		})
	}
}

// evidence stores a finished call, as the gateway does.
func evidence(t *testing.T, pg *pgtest.DB, run, call, text string) {
	t.Helper()
	db := open(t, pg.Gateway)
	record := ops.AuditRecord{Chain: "gateway", At: time.Now(), Actor: "run:" + run, Action: "tool.intent", Object: call, RunID: run, Outcome: "intent"}
	known, err := db.StartCall(t.Context(), postgres.StartCall{Call: ops.ToolCall{RunID: run, ID: call, Tool: "ssh_execute", Arguments: json.RawMessage(`{}`), Digest: []byte{1}},
		Instance: 1, Audit: record})
	require.NoError(t, err)
	require.Nil(t, known)
	_, err = db.FinishCall(t.Context(), run, ops.ToolResult{ID: call, State: ops.CallDone, Text: text}, record)
	require.NoError(t, err)
}

func usage(in, out int64, usd float64) ops.Usage {
	return ops.Usage{InputTokens: in, OutputTokens: out, CostUSD: &usd}
}

func TestUsageAndBudgets(t *testing.T) {
	t.Parallel()
	db, _, i := opened(t)
	_, s := take(t, db)
	s.send(ops.EventMessage, ops.Message{Turn: 1, Usage: usage(1000, 50, 0.25)})
	u := usage(100, 5, 0.05)
	s.send(ops.EventCompaction, ops.Compaction{Turns: 1, Usage: &u})
	s.send(ops.EventMessage, ops.Message{Turn: 2, Usage: ops.Usage{InputTokens: 10, OutputTokens: 1}})
	runs, err := db.Runs(t.Context(), i.ID)
	require.NoError(t, err)
	require.Equal(t, []int64{1110, 56}, []int64{runs[0].InputTokens, runs[0].OutputTokens})
	require.InDelta(t, 0.30, runs[0].USD, 1e-9)
	require.True(t, runs[0].Unpriced)
	days, err := db.Usage(t.Context(), time.Now().AddDate(0, 0, -1))
	require.NoError(t, err)
	require.Len(t, days, 1)
	require.Equal(t, []int64{1, 1110, 56, 1}, []int64{days[0].Runs, days[0].InputTokens, days[0].OutputTokens, days[0].Unpriced})

	for name, tt := range map[string]struct {
		budget ops.Budget
		want   string
	}{
		"none":         {ops.Budget{}, ""},
		"tokens left":  {ops.Budget{Tokens: 1167}, ""},
		"tokens":       {ops.Budget{Tokens: 1166}, "today's budget of 1166 tokens is used up"},
		"money left":   {ops.Budget{USD: 0.31}, ""},
		"money":        {ops.Budget{USD: 0.30}, "today's budget of 0.30 USD is used up"},
		"one run only": {ops.Budget{Runs: 1}, ""}, // it has started already
	} {
		b := tt.budget
		b.Scope, b.UpdatedBy = ops.BudgetAll, ada
		require.NoError(t, db.SetBudget(t.Context(), b))
		why, err := db.OverBudget(t.Context(), s.c.Run, true)
		require.NoError(t, err)
		require.Equal(t, tt.want, why, name)
	}

	// Another worker is told to conclude; another incident is not begun.
	require.NoError(t, db.SetBudget(t.Context(), ops.Budget{Scope: ops.BudgetAll, Tokens: 5, UpdatedBy: ada}))
	require.NoError(t, db.Shorten(t.Context(), "w", -time.Minute))
	_, err = db.RequeueExpired(t.Context())
	require.NoError(t, err)
	again, _ := take(t, db)
	require.Equal(t, "today's budget of 5 tokens is used up", again.Conclude)
	other := byHand(t, db, "Another", ada)
	require.Nil(t, claim(t, db, "w"))
	other, err = db.Incident(t.Context(), other.ID)
	require.NoError(t, err)
	require.Equal(t, ops.RunFailed, other.Investigation)
	require.Equal(t, "not started: today's budget of 5 tokens is used up", other.InvestigationReason)

	// A source has one of its own.
	require.NoError(t, db.RemoveBudget(t.Context(), ops.BudgetAll))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(db.RemoveBudget(t.Context(), ops.BudgetAll)))
	src := source(t, db)
	require.NoError(t, db.SetBudget(t.Context(), ops.Budget{Scope: src, Runs: 1, UpdatedBy: ada}))
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, 0, "a")}))
	_, first := take(t, db)
	first.end(ops.RunInconclusive)
	d := delivery(src, 0, "b")
	d.Alerts[0].GroupKey = "other"
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{d}))
	require.Nil(t, claim(t, db, "w"))
	all, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	require.Equal(t, "not started: today's budget of source am of 1 investigations is used up", all[0].InvestigationReason)
}

func TestContextOfAnInvestigation(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	db := open(t, pg.API)
	provider(t, db)
	src := source(t, db)
	conclude := func(cause string) ops.Incident {
		t.Helper()
		got, s := take(t, db)
		evidence(t, pg, got.Run.ID, "c1", "97% /")
		s.send(ops.EventFindings, ops.Finding{Summary: "s", RootCause: cause, Confidence: 1, Evidence: []ops.Citation{{Call: "c1"}},
			Actions: []ops.Action{{Title: "clean up"}}})
		s.end(ops.RunConcluded)
		return got.Incident
	}
	ingest := func(minute int, name, group, service string) {
		t.Helper()
		d := delivery(src, minute, name)
		d.Alerts[0].GroupKey, d.Alerts[0].Service, d.Alerts[0].Episode, d.Alerts[0].Title = group, service, fmt.Sprint(minute), "DiskFull on "+group
		require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{d}))
	}
	// The same thing, earlier: it was explained and closed by hand.
	ingest(0, "disk", "web-1", "shop")
	before := conclude("old logs")
	require.NoError(t, db.SetIncidentStatus(t.Context(), before.ID, ops.IncidentResolved, ada))
	byHand(t, db, "Certificate of mail expired", robot)
	conclude("nobody renewed it")
	byHand(t, db, "DiskFull on web-9", robot)
	wrong := conclude("a wrong cause")
	runs, err := db.Runs(t.Context(), wrong.ID)
	require.NoError(t, err)
	require.NoError(t, db.GiveFeedback(t.Context(), wrong.ID, ops.Feedback{RunID: runs[0].ID, By: bob, Verdict: ops.FeedbackRight, At: time.Now()}))
	require.NoError(t, db.GiveFeedback(t.Context(), wrong.ID, ops.Feedback{RunID: runs[0].ID, By: bob, Verdict: ops.FeedbackWrong, Comment: "no", At: time.Now()}))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(db.GiveFeedback(t.Context(), before.ID, ops.Feedback{RunID: runs[0].ID, By: bob, Verdict: ops.FeedbackWrong, At: time.Now()})))
	byHand(t, db, "DiskFull on db-1", robot)
	conclude("a table that grew")
	now := time.Now().UTC()
	for _, c := range []ops.Change{
		{Service: "shop", At: now.Add(-time.Hour), Text: "release 7"},
		{Service: "shop", At: now.Add(-72 * time.Hour), Text: "long ago"},
		{Service: "mail", At: now, Text: "elsewhere"},
	} {
		c.ID, c.NotedBy = ops.NewID(), ada
		require.NoError(t, db.NoteChange(t.Context(), c))
	}

	ingest(100, "disk", "web-1b", "shop")
	got, s := take(t, db)
	require.NotNil(t, got.Context)
	require.Len(t, got.Context.Episodes, 1)
	require.Equal(t, before.Number, got.Context.Episodes[0].Number)
	require.Equal(t, "old logs", got.Context.Episodes[0].RootCause)
	require.Equal(t, ada, got.Context.Episodes[0].ResolvedBy)
	require.Len(t, got.Context.Similar, 1, "an earlier episode is not said twice")
	similar, err := db.Similar(t.Context(), got.Incident)
	require.NoError(t, err)
	var causes []string
	for _, i := range similar {
		causes = append(causes, i.RootCause)
		require.Len(t, i.Actions, 1)
	}
	require.ElementsMatch(t, []string{"old logs", "a table that grew"}, causes, "what was called wrong or is something else is not similar")
	require.Equal(t, "old logs", causes[0], "the same service comes first")
	require.Len(t, got.Context.Changes, 1)
	require.Equal(t, "release 7", got.Context.Changes[0].Text)

	// Told once: whoever takes the run up reads what the first worker has told.
	s.send(ops.EventBriefing, ops.Briefing{Text: "b"})
	require.NoError(t, db.Shorten(t.Context(), "w", -time.Minute))
	_, err = db.RequeueExpired(t.Context())
	require.NoError(t, err)
	again, _ := take(t, db)
	require.Nil(t, again.Context)
	feedback, err := db.Feedback(t.Context(), wrong.ID)
	require.NoError(t, err)
	require.Len(t, feedback, 1)
	require.Equal(t, ops.FeedbackWrong, feedback[0].Verdict)
	changes, err := db.Changes(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, changes, 3)
}

// TestContextIsFoundByIndexes fails if a part of the context would read a whole table.
func TestContextIsFoundByIndexes(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), `SET enable_seqscan = off`)
	require.NoError(t, err)
	for name, query := range map[string]string{
		"newest findings": `SELECT run_id FROM findings WHERE conclusive ORDER BY at DESC LIMIT 300`,
		"alike":           `SELECT run_id FROM findings WHERE conclusive AND words @@ '''a'' & ''b''' LIMIT 200`,
		"changes":         `SELECT id FROM changes WHERE service = ANY('{a,b}') AND at > now() LIMIT 10`,
		"changes to drop": `SELECT id FROM changes WHERE at < now() ORDER BY at LIMIT 100`,
		"unread":          `SELECT seq FROM run_messages WHERE run_id = ANY('{}'::uuid[]) ORDER BY run_id, seq`,
		"memories alike":  `SELECT id FROM memories WHERE words @@ '''a'' | ''b'''`,
		"same memories":   `SELECT id FROM memories WHERE identities && '{a,b}'`,
		"our memories":    `SELECT id FROM memories WHERE service = 'shop' ORDER BY id DESC LIMIT 300`,
		"memories":        `SELECT id FROM memories ORDER BY id DESC LIMIT 50`,
		"old usage":       `SELECT day FROM usage_days WHERE day < now()::date ORDER BY day LIMIT 100`,
		"old tokens":      `SELECT id FROM gateway_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT 100`,
		"old windows":     `SELECT id FROM maintenance_windows WHERE ends_at < now() ORDER BY ends_at LIMIT 100`,
		"old api tokens":  `SELECT id FROM api_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT 100`,
		"feedback":        `SELECT 1 FROM finding_feedback WHERE incident_id = '` + ops.NewID() + `' ORDER BY at DESC`,
	} {
		rows, err := conn.Query(t.Context(), `EXPLAIN `+query)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(lines), "Seq Scan", name)
	}
}

// TestARunThatPeopleStopDoesNotRest: what a worker says of its run may have been on its way.
func TestARunThatPeopleStopDoesNotRest(t *testing.T) {
	t.Parallel()
	for _, rests := range []ops.RunState{ops.RunQueued, ops.RunWaitingApproval} {
		t.Run(string(rests), func(t *testing.T) {
			t.Parallel()
			db, _, i := opened(t)
			_, s := take(t, db)
			require.NoError(t, db.CancelRun(t.Context(), i.ID, "enough"))
			s.send(ops.EventRunParked, ops.RunChange{State: rests})
			now, err := db.Incident(t.Context(), i.ID)
			require.NoError(t, err)
			require.Equal(t, ops.RunCancelled, now.Investigation)
			require.Equal(t, "enough", now.InvestigationReason)
			require.Nil(t, claim(t, db, "w"))
			kinds(t, db, i.ID)
		})
	}
}

func TestNothingIsSaidToARunThatPeopleStop(t *testing.T) {
	t.Parallel()
	db, _, i := opened(t)
	_, s := take(t, db)
	require.NoError(t, db.CancelRun(t.Context(), i.ID, "enough"))
	_, err := db.Say(t.Context(), postgres.Say{Incident: i.ID, Actor: ada, Text: "look at web-2 instead", May: anyAgent})
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err), "nobody would read it")
	s.end(ops.RunCancelled)
	seq := s.say(db, i.ID, ada, "look at web-2 instead")
	next, _ := take(t, db)
	require.Equal(t, []int64{seq}, []int64{next.Messages[0].Seq})
}
