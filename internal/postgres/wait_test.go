package postgres_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// meanwhile does something while another transaction holds rows that it needs,
// and gives what came of it when that one is committed.
func meanwhile(t *testing.T, urls *pgtest.DB, hold func(tx pgx.Tx), do func() error) error {
	t.Helper()
	conn := owner(t, urls)
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	hold(tx)
	done := make(chan error, 1)
	go func() { done <- do() }()
	waitsForLock(t, urls)
	require.NoError(t, tx.Commit(t.Context()))
	return <-done
}

// waitsForLock waits until somebody waits for another transaction of this database;
// the server has those of other tests, too.
func waitsForLock(t *testing.T, urls *pgtest.DB) {
	t.Helper()
	watch := owner(t, urls)
	require.Eventually(t, func() bool {
		var waits bool
		err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits)
		return err == nil && waits
	}, 20*time.Second, 5*time.Millisecond, "nobody waits for the other transaction")
}

// TestBehindAWait: who has waited for a row decides on what is true then, and
// not on what was when it began to wait.
func TestBehindAWait(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (*pgtest.DB, *postgres.DB, string, ops.Incident) {
		t.Parallel()
		urls := pgtest.New(t)
		db := open(t, urls.API)
		src := source(t, db)
		require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, 0, "a", "b")}))
		all, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
		require.NoError(t, err)
		return urls, db, src, all[0]
	}
	exec := func(t *testing.T, tx pgx.Tx, sql string, args ...any) {
		t.Helper()
		_, err := tx.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	edit := `UPDATE incidents SET title = 'by hand', edited = '{title}', severity = 'critical', status = 'acknowledged',
		last_seq = last_seq + 1 WHERE id = $1`
	event := `INSERT INTO events (incident_id, seq, at, kind, actor, data) SELECT id, last_seq, now(), 'notice', '', '{}' FROM incidents WHERE id = $1`

	t.Run("alerts behind a person", func(t *testing.T) {
		urls, db, src, i := begin(t)
		require.NoError(t, meanwhile(t, urls, func(tx pgx.Tx) {
			exec(t, tx, edit, i.ID)
			exec(t, tx, event, i.ID)
			exec(t, tx, `UPDATE sources SET name = 'renamed'`)
		}, func() error { return db.Ingest(t.Context(), []ops.Delivery{delivery(src, 1, "-a", "c")}) }))
		now, err := db.Incident(t.Context(), i.ID)
		require.NoError(t, err)
		require.Equal(t, []any{"by hand", ops.SeverityCritical, ops.IncidentAcknowledged, 3, 2, "renamed"},
			[]any{now.Title, now.Severity, now.Status, now.AlertCount, now.FiringCount, now.SourceName})
		require.Len(t, kinds(t, db, i.ID), int(now.LastSeq), "each event has its own number")
	})
	t.Run("alerts of an incident that is merged", func(t *testing.T) {
		urls, db, src, i := begin(t)
		into, err := db.CreateIncident(t.Context(), postgres.NewIncident{Title: "all of it", Severity: ops.SeverityHigh})
		require.NoError(t, err)
		// The group's lock, as a merge takes it, and then its rows.
		require.NoError(t, meanwhile(t, urls, func(tx pgx.Tx) {
			exec(t, tx, `SELECT pg_advisory_xact_lock(hashtextextended('group ' || key, 0)) FROM groups WHERE incident_id = $1`, i.ID)
			exec(t, tx, `UPDATE groups SET incident_id = $2 WHERE incident_id = $1`, i.ID, into.ID)
			exec(t, tx, `UPDATE alerts SET incident_id = $2 WHERE incident_id = $1`, i.ID, into.ID)
			exec(t, tx, `UPDATE incidents SET status = 'merged', merged_into = $2, alert_count = 0, firing_count = 0 WHERE id = $1`, i.ID, into.ID)
			exec(t, tx, `UPDATE incidents SET alert_count = 2, firing_count = 2 WHERE id = $1`, into.ID)
		}, func() error { return db.Ingest(t.Context(), []ops.Delivery{delivery(src, 1, "-a", "c")}) }))
		now, err := db.Incident(t.Context(), into.ID)
		require.NoError(t, err)
		require.Equal(t, []int{3, 2}, []int{now.AlertCount, now.FiringCount})
	})
	t.Run("alerts behind the beginning of a storm", func(t *testing.T) {
		urls, db, src, i := begin(t)
		other := delivery(src, 0, "c")
		other.Alerts[0].GroupKey = "other"
		require.NoError(t, meanwhile(t, urls, func(tx pgx.Tx) {
			exec(t, tx, `SELECT pg_advisory_xact_lock(hashtextextended('groups', 0))`)
			exec(t, tx, `UPDATE storms SET opened = opened + 10, incident_id = $1, quiet_at = last_at + interval '1 hour'`, i.ID)
		}, func() error { return db.Ingest(t.Context(), []ops.Delivery{other}) }))
		var storm string
		var opened int
		require.NoError(t, owner(t, urls).QueryRow(t.Context(), `SELECT coalesce(incident_id::text, 'none'), opened FROM storms`).Scan(&storm, &opened))
		require.Equal(t, []any{i.ID, 12}, []any{storm, opened}, "the storm goes on, and all are counted")
	})
	t.Run("a person behind another one", func(t *testing.T) {
		urls, db, _, i := begin(t)
		nobody := "somebody"
		require.NoError(t, meanwhile(t, urls, func(tx pgx.Tx) { exec(t, tx, edit, i.ID); exec(t, tx, event, i.ID) },
			func() error {
				return db.EditIncident(t.Context(), i.ID, postgres.IncidentEdit{Assignee: &nobody}, "user:b")
			}))
		now, err := db.Incident(t.Context(), i.ID)
		require.NoError(t, err)
		require.Equal(t, []any{"by hand", ops.SeverityCritical, "somebody", []string{ops.EditedAssignee, ops.EditedTitle}},
			[]any{now.Title, now.Severity, now.Assignee, now.Edited})
		require.Len(t, kinds(t, db, i.ID), int(now.LastSeq))
	})
	t.Run("an agent's end behind its first run", func(t *testing.T) {
		urls, db, _, i := begin(t)
		require.NoError(t, db.PutAgent(t.Context(), ops.AgentDef{ID: "shopper"}))
		disabled := false
		require.NoError(t, meanwhile(t, urls, func(tx pgx.Tx) {
			exec(t, tx, `INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at, ended_at, actor)
				VALUES ($1, $2, 'shopper', 'failed', 1, now(), now(), now(), 'user:a')`, ops.NewID(), i.ID)
		}, func() (err error) { disabled, err = db.RemoveAgent(t.Context(), "shopper"); return err }))
		require.True(t, disabled, "it has run, so it is kept")
	})
}

// TestLocksJoinNothing: a row that was waited for is read anew, and what the same
// statement joins to it is not. So whoever may wait locks in one statement and
// reads the rest in the next.
func TestLocksJoinNothing(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	lock, looked := regexp.MustCompile(`FOR (NO KEY )?(UPDATE|SHARE) OF \w+[^`+"`"+`]*`), 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, found := range lock.FindAllString(string(text), -1) {
			looked++
			require.Contains(t, found, "SKIP LOCKED", "%s: %s", name, found)
		}
	}
	require.Positive(t, looked, "the statement that claims runs is one")
}
