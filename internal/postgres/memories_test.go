package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// remembering is a source whose incidents are investigated and remembered.
type remembering struct {
	*postgres.DB
	t      *testing.T
	pg     *pgtest.DB
	conn   *pgx.Conn
	source string
	minute int
}

func remembers(t *testing.T) *remembering {
	t.Helper()
	pg := pgtest.New(t)
	r := &remembering{DB: open(t, pg.API), t: t, pg: pg, source: ops.NewID()}
	provider(t, r.DB)
	require.NoError(t, r.CreateSource(t.Context(), ops.Source{ID: r.source, Name: "prod", Kind: "alertmanager", Enabled: true, Secret: ops.SourceSecret{Hash: []byte{1}}}))
	var err error
	r.conn, err = pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.conn.Close(t.Context()) })
	return r
}

// investigate sends an alert and gives what its run begins with, once it has found cause.
func (r *remembering) investigate(identity, title, service, cause string, labels map[string]string) *postgres.ClaimedRun {
	r.t.Helper()
	r.minute++
	d := delivery(r.source, r.minute, identity)
	d.Alerts[0].GroupKey, d.Alerts[0].Service, d.Alerts[0].Episode, d.Alerts[0].Title, d.Alerts[0].Labels = fmt.Sprint(r.minute), service, fmt.Sprint(r.minute), title, labels
	require.NoError(r.t, r.Ingest(r.t.Context(), []ops.Delivery{d}))
	got, s := take(r.t, r.DB)
	_, err := r.conn.Exec(r.t.Context(), `INSERT INTO tool_calls (run_id, call_id, tool, arguments, digest, created_at) VALUES ($1, 'c1', 'ssh_execute', '{"target": "web-1"}', '', now())`, got.Run.ID)
	require.NoError(r.t, err)
	_, err = r.conn.Exec(r.t.Context(), `INSERT INTO tool_steps (run_id, call_id, state, at, data) VALUES ($1, 'c1', 'done', now(), '{"text": "97 % of /"}')`, got.Run.ID)
	require.NoError(r.t, err)
	cited := []ops.Citation{{Call: "c1", Excerpt: "97 %"}}
	s.send(ops.EventFindings, ops.Finding{Summary: "sum", RootCause: cause, Confidence: 0.9, Evidence: cited,
		Hypotheses: []ops.Hypothesis{{Statement: cause, Verdict: ops.VerdictConfirmed, Evidence: cited}}})
	s.end(ops.RunConcluded)
	return got
}

func (r *remembering) remember(of *postgres.ClaimedRun, change func(*ops.Memory)) ops.Memory {
	r.t.Helper()
	now := time.Now().UTC()
	m := ops.Memory{ID: ops.NewID(), IncidentID: of.Incident.ID, RunID: of.Run.ID, Service: of.Incident.Service, Pattern: "p", Cause: "c", ConfirmedBy: ada, ConfirmedAt: now}
	if change != nil {
		change(&m)
	}
	require.NoError(r.t, r.Remember(r.t.Context(), m))
	return m
}

func recalled(c *postgres.ClaimedRun) (ids []string) {
	for _, m := range c.Context.Memories {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestMemoriesAreOffered(t *testing.T) {
	t.Parallel()
	r := remembers(t)
	disk := r.investigate("disk", "DiskFull on web-1", "shop", "logs", map[string]string{"cluster": "prod"})
	require.Empty(t, disk.Context.Memories)
	queue := r.investigate("queue", "Queue is long", "shop", "a consumer hangs", nil)
	mail := r.investigate("mail", "Certificate of mail expired", "mail", "nobody renewed it", nil)
	generic := r.investigate("x", "Whatever", "", "z", nil)

	same := r.remember(disk, func(m *ops.Memory) { m.Pattern, m.Labels = "the disk is full", []string{"cluster:prod"} })
	ours := r.remember(queue, nil)
	r.remember(mail, func(m *ops.Memory) { m.Pattern = "DiskFull on web-1, said another service's" })
	words := r.remember(generic, func(m *ops.Memory) { m.Service, m.Pattern = "", "DiskFull on any web host" })

	// The very same alert, then the service, then words.
	got := r.investigate("disk", "DiskFull on web-1", "shop", "logs", map[string]string{"cluster": "prod"})
	require.Equal(t, []string{same.ID, ours.ID, words.ID}, recalled(got))
	first := got.Context.Memories[0]
	require.Equal(t, []any{"the disk is full", "c", disk.Incident.Number, ada}, []any{first.Pattern, first.Cause, first.Incident, first.ConfirmedBy})

	// Without its label it is not the same; the same alert counts for another service, too.
	require.Equal(t, []string{ours.ID, words.ID}, recalled(r.investigate("disk", "DiskFull on web-1", "shop", "logs", map[string]string{"cluster": "dev"})))
	require.Equal(t, []string{same.ID}, recalled(r.investigate("disk", "High load", "other", "logs", map[string]string{"cluster": "prod", "x": "y"})))
	require.Empty(t, recalled(r.investigate("new", "High load on web", "other", "l", nil)), "one word in common is none")

	// What holds no more is not offered.
	_, err := r.EditMemory(t.Context(), ours.ID, bob, func(m *ops.Memory) error { m.Stale = true; return nil })
	require.NoError(t, err)
	_, err = r.EditMemory(t.Context(), words.ID, bob, func(m *ops.Memory) error { m.ExpiresAt = time.Now().Add(-time.Second); return nil })
	require.NoError(t, err)
	require.Empty(t, recalled(r.investigate("disk", "DiskFull on web-1", "shop", "logs", map[string]string{"cluster": "dev"})))

	// Each investigation counts once, however often it is claimed before it is told.
	before, err := r.Memory(t.Context(), same.ID)
	require.NoError(t, err)
	require.EqualValues(t, 2, before.Offered)
	require.WithinDuration(t, time.Now(), before.OfferedAt, time.Minute)
	r.minute++
	d := delivery(r.source, r.minute, "disk")
	d.Alerts[0].Labels, d.Alerts[0].Episode = map[string]string{"cluster": "prod"}, "again"
	require.NoError(t, r.Ingest(t.Context(), []ops.Delivery{d}))
	for range 2 {
		c, _ := take(t, r.DB)
		require.Equal(t, []string{same.ID}, recalled(c))
		require.NoError(t, r.Shorten(t.Context(), "w", -time.Minute))
		_, err = r.RequeueExpired(t.Context())
		require.NoError(t, err)
	}
	after, err := r.Memory(t.Context(), same.ID)
	require.NoError(t, err)
	require.EqualValues(t, 3, after.Offered)
}

func TestMemoriesAreListedEditedAndForgotten(t *testing.T) {
	t.Parallel()
	r := remembers(t)
	var all []ops.Memory
	for n := range 5 {
		of := r.investigate(fmt.Sprint("i", n), "DiskFull", []string{"shop", "mail"}[n%2], "logs", nil)
		all = append(all, r.remember(of, func(m *ops.Memory) { m.Cause = fmt.Sprintf("cause number%d of disk-%d", n, n) }))
	}
	again := all[0]
	again.ID = ops.NewID()
	require.Equal(t, ops.CodeConflict, ops.CodeOf(r.Remember(t.Context(), again)), "findings are remembered once")
	again.RunID = all[1].RunID
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(r.Remember(t.Context(), again)), "a run of another incident")

	list := func(f postgres.MemoryFilter) (ids []string) {
		found, err := r.Memories(t.Context(), f)
		require.NoError(t, err)
		for _, m := range found {
			ids = append(ids, m.ID)
		}
		return ids
	}
	id := func(n int) string { return all[n].ID }
	require.Equal(t, []string{id(4), id(3), id(2)}, list(postgres.MemoryFilter{Limit: 3}))
	require.Equal(t, []string{id(1), id(0)}, list(postgres.MemoryFilter{Limit: 3, Before: id(2)}))
	require.Equal(t, []string{id(3)}, list(postgres.MemoryFilter{Text: "disk number3"}))
	require.Equal(t, []string{id(3), id(1)}, list(postgres.MemoryFilter{Service: "mail"}))
	require.Equal(t, []string{id(3), id(1)}, list(postgres.MemoryFilter{Text: "mai"}))
	require.Equal(t, []string{id(2)}, list(postgres.MemoryFilter{Incident: all[2].IncidentID}))
	require.Empty(t, list(postgres.MemoryFilter{Text: "!!"}))

	edited, err := r.EditMemory(t.Context(), id(3), bob, func(m *ops.Memory) error { m.Cause, m.Stale = "another", true; return nil })
	require.NoError(t, err)
	require.Equal(t, []any{"another", bob, ada}, []any{edited.Cause, edited.UpdatedBy, edited.ConfirmedBy})
	require.Empty(t, list(postgres.MemoryFilter{Text: "number3"}))
	old, current := true, false
	require.Equal(t, []string{id(3)}, list(postgres.MemoryFilter{Old: &old}))
	require.Equal(t, []string{id(4), id(2), id(1), id(0)}, list(postgres.MemoryFilter{Old: &current}))
	_, err = r.EditMemory(t.Context(), ops.NewID(), bob, func(*ops.Memory) error { return nil })
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))

	require.NoError(t, r.DeleteMemory(t.Context(), id(3)))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(r.DeleteMemory(t.Context(), id(3))))
	_, err = r.Memory(t.Context(), id(3))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))

	// It outlives its incident.
	_, err = r.conn.Exec(t.Context(), `DELETE FROM incidents WHERE id = $1`, all[2].IncidentID)
	require.NoError(t, err)
	left, err := r.Memory(t.Context(), id(2))
	require.NoError(t, err)
	require.Equal(t, []any{"", "", "cause number2 of disk-2"}, []any{left.IncidentID, left.RunID, left.Cause})
	require.Positive(t, left.IncidentNumber)

	for _, other := range []ops.Secret{r.pg.Gateway, r.pg.Proxy} {
		conn, err := pgx.Connect(t.Context(), other.Reveal())
		require.NoError(t, err)
		for _, text := range []string{`SELECT id FROM memories`, `SELECT id FROM memory_rules`, `DELETE FROM memory_offers`} {
			_, err = conn.Exec(t.Context(), text)
			require.ErrorContains(t, err, "42501", text)
		}
		require.NoError(t, conn.Close(t.Context()))
	}
}

func TestRulesRemember(t *testing.T) {
	t.Parallel()
	r := remembers(t)
	early := r.investigate("early", "DiskFull", "shop", "logs", nil)
	rule := ops.MemoryRule{ID: ops.NewID(), Name: "sure", Enabled: true, Service: "sh*", MinConfidence: 0.85, NeedsFeedback: true, UpdatedBy: ada}
	rule, err := r.PutMemoryRule(t.Context(), rule, true)
	require.NoError(t, err)
	other := rule
	other.ID = ops.NewID()
	_, err = r.PutMemoryRule(t.Context(), other, true)
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err), "the name is taken")
	due := func() (runs []string) {
		all, err := r.DueMemories(t.Context())
		require.NoError(t, err)
		for _, d := range all {
			require.Equal(t, []string{"sure", "logs"}, []string{d.Rule, d.Finding.RootCause})
			runs = append(runs, d.RunID)
		}
		return runs
	}
	judge := func(c *postgres.ClaimedRun, by string, v ops.FeedbackVerdict) {
		t.Helper()
		require.NoError(t, r.GiveFeedback(t.Context(), c.Incident.ID, ops.Feedback{RunID: c.Run.ID, By: by, Verdict: v, At: time.Now()}))
	}
	judge(early, ada, ops.FeedbackRight)
	a, b, mail := r.investigate("a", "A", "shop", "logs", nil), r.investigate("b", "B", "shop", "logs", nil), r.investigate("m", "M", "mail", "logs", nil)
	require.Empty(t, due(), "nobody has called them right")
	for _, c := range []*postgres.ClaimedRun{a, b, mail} {
		judge(c, ada, ops.FeedbackRight)
	}
	judge(b, bob, ops.FeedbackWrong)
	require.Equal(t, []string{a.Run.ID}, due(), "not what is older than the rule, another service's, or wrong for somebody")

	// What was remembered and deleted does not come back.
	m := r.remember(a, func(m *ops.Memory) { m.ConfirmedBy = "rule:sure" })
	require.Empty(t, due())
	require.NoError(t, r.DeleteMemory(t.Context(), m.ID))
	require.Empty(t, due())

	rule.NeedsFeedback, rule.MinConfidence = false, 0.95
	rule, err = r.PutMemoryRule(t.Context(), rule, false)
	require.NoError(t, err)
	r.investigate("c", "C", "shop", "logs", nil)
	require.Empty(t, due(), "not sure enough")
	rule.MinConfidence, rule.SourceID = 0.5, r.source
	_, err = r.PutMemoryRule(t.Context(), rule, false)
	require.NoError(t, err)
	d := r.investigate("d", "D", "shop", "logs", nil)
	require.Equal(t, []string{d.Run.ID}, due())
	require.NoError(t, r.PassOver(t.Context(), d.Run.ID))
	require.Empty(t, due())
	rules, err := r.MemoryRules(t.Context())
	require.NoError(t, err)
	require.Len(t, rules, 1)
	require.NoError(t, r.DeleteMemoryRule(t.Context(), rule.ID))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(r.DeleteMemoryRule(t.Context(), rule.ID)))
}
