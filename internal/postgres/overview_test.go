package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/postgres/seed"
)

// seqScans counts the sequential scans so far, of whoever has reported them.
func seqScans(t *testing.T, conn *pgx.Conn) map[string]int64 {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT relname::text, seq_scan FROM pg_stat_user_tables WHERE relname IN ('incidents', 'alerts', 'runs', 'findings', 'deliveries')`)
	require.NoError(t, err)
	out := map[string]int64{}
	var name string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error { out[name] = n; return nil })
	require.NoError(t, err)
	return out
}

func TestDashboardAndFeedOfManyAlerts(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	require.NoError(t, seed.Run(t.Context(), pg.Owner, seed.Config{Incidents: 3000, Alerts: 30_000, Seed: 3}, nil))
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	_, err = conn.Exec(t.Context(), `ANALYZE`)
	require.NoError(t, err)
	count := func(text string, args ...any) (n int64) {
		t.Helper()
		require.NoError(t, conn.QueryRow(t.Context(), text, args...).Scan(&n))
		return n
	}
	rare := ""
	require.NoError(t, conn.QueryRow(t.Context(), `UPDATE alerts SET host = 'needle-in-hay', summary = 'ÜBER der Grenze', labels = labels || '{"rare":"a:b"}' WHERE id = (SELECT id FROM alerts ORDER BY id OFFSET 100 LIMIT 1)
		RETURNING id`).Scan(&rare))
	// What a connection has read is told when it ends, and by this one when it likes
	// to: the seed is waited for, and nothing is counted before the last look.
	alone := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			return count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`) == 0
		}, 20*time.Second, 20*time.Millisecond)
	}
	alone()
	before := seqScans(t, conn)

	// Apart from the pool of the tests' own statements: what it has read is
	// reported when its connections end.
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pg.API, App: "test"})
	require.NoError(t, err)
	require.NoError(t, db.CountNoise(t.Context()))
	require.NoError(t, db.CountNoise(t.Context()), "twice is once")
	require.NoError(t, db.RankNoise(t.Context()))
	d, err := db.Dashboard(t.Context(), time.Now(), 168)
	require.NoError(t, err)
	day, err := db.Dashboard(t.Context(), time.Now(), 24)
	require.NoError(t, err)
	all := walk(t, db, postgres.AlertFilter{Limit: 200})
	one := walk(t, db, postgres.AlertFilter{Text: "NEEDLE hay", Limit: 5})
	umlauts := walk(t, db, postgres.AlertFilter{Text: "über GRENZE", Limit: 5})
	labelled := walk(t, db, postgres.AlertFilter{Labels: []string{"rare:a:b"}, Limit: 5})
	firing := walk(t, db, postgres.AlertFilter{Statuses: []ops.AlertStatus{ops.AlertFiring}, Limit: 100})
	bad := walk(t, db, postgres.AlertFilter{Severities: []ops.Severity{ops.SeverityCritical}, Sources: []string{d.Sources[0].SourceID}, Limit: 100})
	none := walk(t, db, postgres.AlertFilter{Sources: []string{ops.NewID()}})
	_, err = db.System(t.Context())
	require.NoError(t, err)
	_, err = db.SetupState(t.Context())
	require.NoError(t, err)
	db.Close()
	alone()
	after := seqScans(t, conn)
	require.Equal(t, before["alerts"], after["alerts"], "alerts were read from end to end")
	require.Equal(t, before["incidents"], after["incidents"], "incidents were read from end to end")

	require.EqualValues(t, 30_000, len(all))
	for n, a := range all {
		require.True(t, n == 0 || all[n-1].ID > a.ID, "newest first, each once")
	}
	require.Equal(t, []string{rare}, ids(one))
	require.Equal(t, []string{rare}, ids(umlauts))
	require.Equal(t, []string{rare}, ids(labelled))
	require.EqualValues(t, count(`SELECT count(*) FROM alerts WHERE status = 'firing'`), len(firing))
	require.NotEmpty(t, bad)
	require.EqualValues(t, count(`SELECT count(*) FROM alerts WHERE severity = 'critical' AND source_id = $1`, d.Sources[0].SourceID), len(bad))
	require.Empty(t, none)

	opened := `SELECT count(*) FROM incidents WHERE status IN ('triggered', 'acknowledged')`
	var sum int64
	for _, o := range d.Open {
		sum += int64(o.Triggered + o.Acknowledged)
		require.EqualValues(t, count(opened+` AND severity = $1 AND status = 'triggered'`, o.Severity), o.Triggered)
	}
	require.Equal(t, count(opened), sum)
	require.Len(t, d.Hottest, 8)
	require.Equal(t, ops.SeverityCritical, d.Hottest[0].Severity)
	require.Equal(t, count(`SELECT min(number) FROM incidents WHERE status = 'triggered'`), d.Oldest.Number)
	require.EqualValues(t, count(`SELECT count(*) FROM incidents WHERE investigation = 'queued'`), d.Queued)
	require.Len(t, d.Hours, 168)
	require.Len(t, day.Hours, 24)
	var alerts, incidents int64
	for _, h := range d.Hours {
		alerts, incidents = alerts+h.Alerts, incidents+h.Incidents
	}
	from := d.Hours[0].At
	require.Equal(t, count(`SELECT count(*) FROM incidents WHERE opened_at >= $1`, from), incidents)
	// The seed's ids are made of first_seen, to the millisecond.
	require.InDelta(t, count(`SELECT count(*) FROM alerts WHERE first_seen >= $1`, from), alerts, 3)
	require.NotEmpty(t, d.Alerts)
	require.NotEmpty(t, d.Alerts[0].Title)
	require.Len(t, d.Days, 30)
	require.Equal(t, time.Now().UTC().Format(time.DateOnly), d.Days[29].Day)

}

func walk(t *testing.T, db *postgres.DB, f postgres.AlertFilter) (all []postgres.FeedAlert) {
	t.Helper()
	for {
		feed, err := db.AlertFeed(t.Context(), f)
		require.NoError(t, err)
		all = append(all, feed.Alerts...)
		if f.Before = feed.Next; f.Before == "" {
			return all
		}
	}
}

func ids(all []postgres.FeedAlert) (out []string) {
	for _, a := range all {
		out = append(out, a.ID)
	}
	return out
}

func TestProcessesSpeakForThemselves(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	dbs := map[string]*postgres.DB{"api": open(t, pg.API), "gateway": open(t, pg.Gateway), "proxy": open(t, pg.Proxy)}
	log := &strings.Builder{}
	for kind, db := range dbs {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			var detail func() ops.ProcessDetail
			if kind == "api" {
				detail = func() ops.ProcessDetail {
					return ops.ProcessDetail{Workers: []ops.WorkerState{{Name: "w1", Slots: 4, Runs: 1}}}
				}
			}
			db.Announce(ctx, kind, detail, slog.New(slog.NewTextHandler(log, nil)))
		}()
		require.Eventually(t, func() bool {
			all, err := dbs["api"].Processes(t.Context())
			require.NoError(t, err)
			for _, p := range all {
				if p.Kind == kind {
					require.True(t, p.Alive)
					require.Equal(t, kind == "api", len(p.Workers) == 1)
					return true
				}
			}
			return false
		}, 10*time.Second, 10*time.Millisecond)
		stop()
		<-done
	}
	require.Empty(t, log.String())

	// Nobody speaks for another, at another time, or takes a word back.
	for role, url := range map[string]ops.Secret{"gateway": pg.Gateway, "proxy": pg.Proxy} {
		conn, err := pgx.Connect(t.Context(), url.Reveal())
		require.NoError(t, err)
		for _, text := range []string{
			`INSERT INTO derived.process_beats (instance, kind, version, started_at) VALUES (gen_random_uuid(), 'api', 'x', now())`,
			fmt.Sprintf(`INSERT INTO derived.process_beats (instance, kind, version, started_at, at) VALUES (gen_random_uuid(), '%s', 'x', now(), now() + interval '1 day')`, role),
			`SELECT * FROM derived.process_beats`, `DELETE FROM derived.process_beats`, `UPDATE derived.process_beats SET version = 'x'`,
			`SELECT * FROM derived.noise_hours`, `INSERT INTO derived.incident_tallies VALUES ('a', 'b', 'c', NULL, 'd', 1)`, `UPDATE installation SET wizard_dismissed_by = 'x'`,
		} {
			_, err := conn.Exec(t.Context(), text)
			require.ErrorContains(t, err, "42501", "%s: %s", role, text)
		}
		require.NoError(t, conn.Close(t.Context()))
	}

	owner, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = owner.Close(context.WithoutCancel(t.Context())) })
	_, err = owner.Exec(t.Context(), `INSERT INTO derived.process_beats (instance, kind, version, started_at, at)
		SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, kind, 'old', now() - interval '9 days', now() - age::interval
		FROM (VALUES (1, 'proxy', '1 hour'), (1, 'proxy', '2 hours'), (2, 'gateway', '8 days')) AS v (n, kind, age)`)
	require.NoError(t, err)
	require.NoError(t, dbs["api"].PruneBeats(t.Context()))
	var left string
	require.NoError(t, owner.QueryRow(t.Context(), `SELECT string_agg(kind || ' ' || version, ', ' ORDER BY at) FROM derived.process_beats WHERE version = 'old'`).Scan(&left))
	require.Equal(t, "proxy old", left, "the newest word of each, if it is not a week old")
	all, err := dbs["api"].Processes(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 3, "one that is long gone is shown only where there is no other")
	_, err = owner.Exec(t.Context(), `DELETE FROM derived.process_beats WHERE kind = 'proxy' AND version <> 'old'`)
	require.NoError(t, err)
	all, err = dbs["api"].Processes(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.False(t, all[2].Alive)
	require.Equal(t, "proxy", all[2].Kind)
}

func TestAChoreThatFailsIsSeen(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	_, err := db.Chore(t.Context(), "sweep", time.Minute, func(context.Context) error { return errors.New("the broom at 10.0.0.1 is broken") })
	require.Error(t, err)
	sweep := func() postgres.Work {
		s, err := db.System(t.Context())
		require.NoError(t, err)
		for _, w := range s.Chores {
			if w.Name == "sweep" {
				return w
			}
		}
		require.Fail(t, "it is not there")
		return postgres.Work{}
	}
	w := sweep()
	require.True(t, w.Failing)
	require.True(t, w.RanAt.IsZero())
	require.Contains(t, w.Error, "broom")
	done, err := db.Chore(t.Context(), "sweep", time.Minute, func(context.Context) error { return nil })
	require.NoError(t, err)
	require.True(t, done, "one that failed is due again")
	require.False(t, sweep().Failing)
}

func TestUsageIsSplitByAgentAndModel(t *testing.T) {
	t.Parallel()
	db, _, _ := opened(t)
	_, s := take(t, db)
	price := .25
	s.send(ops.EventMessage, ops.Message{Turn: 1, Text: "a", Usage: ops.Usage{Provider: "p", Model: "m1", InputTokens: 10, OutputTokens: 5, CostUSD: &price}})
	s.send(ops.EventMessage, ops.Message{Turn: 2, Text: "b", Usage: ops.Usage{Provider: "p", Model: "m2", InputTokens: 7, OutputTokens: 1}})
	s.send(ops.EventMessage, ops.Message{Turn: 3, Text: "c", Usage: ops.Usage{Provider: "p", Model: "m1", InputTokens: 10, OutputTokens: 5, CostUSD: &price}})
	parts, err := db.UsageParts(t.Context(), time.Now().AddDate(0, 0, -1))
	require.NoError(t, err)
	today := time.Now().UTC().Format(time.DateOnly)
	require.Equal(t, []ops.UsagePart{
		{Day: today, Kind: "agent", Name: postgres.DefaultAgent, Count: 1, InputTokens: 27, OutputTokens: 11, USD: .5, Unpriced: 1},
		{Day: today, Kind: "model", Name: "p / m1", Count: 2, InputTokens: 20, OutputTokens: 10, USD: .5},
		{Day: today, Kind: "model", Name: "p / m2", Count: 1, InputTokens: 7, OutputTokens: 1, Unpriced: 1},
	}, parts)
}

func TestSetupState(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	db := open(t, pg.API)
	state := func() postgres.SetupState {
		t.Helper()
		s, err := db.SetupState(t.Context())
		require.NoError(t, err)
		return s
	}
	empty := state()
	for _, step := range []postgres.SetupStep{empty.Provider, empty.Source, empty.Target, empty.Incident} {
		require.Equal(t, "missing", step.State)
	}
	require.False(t, empty.Complete)

	provider(t, db)
	p, err := db.Providers(t.Context())
	require.NoError(t, err)
	require.Equal(t, "begun", state().Provider.State)
	require.NoError(t, db.ProviderTested(t.Context(), p[0]))
	require.Equal(t, "done", state().Provider.State)
	p[0].Effort = "high"
	require.NoError(t, db.UpdateProvider(t.Context(), p[0]))
	require.Equal(t, "done", state().Provider.State)
	p[0].Model = "another"
	require.NoError(t, db.UpdateProvider(t.Context(), p[0]))
	require.Equal(t, "begun", state().Provider.State, "another model has answered nothing yet")

	target := ops.Target{ID: ops.NewID(), Name: "web-1", Kind: "ssh", Address: "h", Port: 22}
	require.NoError(t, db.CreateTarget(t.Context(), target))
	require.Equal(t, "begun", state().Target.State)
	require.NoError(t, db.TargetTested(t.Context(), target.ID))
	require.Equal(t, "web-1", state().Target.Name)
	require.Equal(t, "done", state().Target.State)

	require.NoError(t, db.DismissSetup(t.Context(), "user:ann", true))
	require.Equal(t, "user:ann", state().DismissedBy)
	require.NoError(t, db.DismissSetup(t.Context(), "user:ann", false))
	require.Zero(t, state().DismissedAt)
	require.Empty(t, state().DismissedBy)
}

// TestSetupByAnInvestigation has it show what was used, and nothing that is newer.
func TestSetupByAnInvestigation(t *testing.T) {
	t.Parallel()
	r := remembers(t)
	add := func(name string) {
		require.NoError(t, r.CreateTarget(t.Context(), ops.Target{ID: ops.NewID(), Name: name, Kind: "ssh", Address: "h", Port: 22}))
	}
	add("db-1")
	r.investigate("a", "Disk", "shop", "the journal", nil)
	s, err := r.SetupState(t.Context())
	require.NoError(t, err)
	require.Equal(t, "done", s.Incident.State)
	require.Equal(t, "done", s.Provider.State)
	require.Equal(t, "begun", s.Target.State, "it used another")
	add("web-1")
	add("web-2")
	s, err = r.SetupState(t.Context())
	require.NoError(t, err)
	require.Equal(t, "done", s.Target.State)
	require.Equal(t, "web-1", s.Target.Name)
	require.Equal(t, s.Incident.At, s.Target.At)
	require.True(t, s.Provider.State == "done" && s.Provider.At.Equal(s.Incident.At))
}

// TestFeedOfLabelsWithColons: a key may have them as well as a value.
func TestFeedOfLabelsWithColons(t *testing.T) {
	t.Parallel()
	s := tell(t, 10, ops.SourceOptions{})
	a := an("a")
	a.Labels = map[string]string{"scope:env": "prod:eu"}
	s.send(0, a, an("b"))
	for label, found := range map[string]int{"scope:env:prod:eu": 1, "scope:env:prod": 0, "scope:": 0, "scope": 0} {
		feed, err := s.AlertFeed(t.Context(), postgres.AlertFilter{Labels: []string{label}})
		require.NoError(t, err, label)
		require.Len(t, feed.Alerts, found, label)
	}
}
