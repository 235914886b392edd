package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// System says how the parts of a deployment are that the database knows of.
type System struct {
	Schema        int64     `json:"schema" doc:"Of the database, and of this program."`
	Postgres      string    `json:"postgres" doc:"Its version."`
	DatabaseBytes int64     `json:"database_bytes"`
	Queued        int       `json:"runs_queued" doc:"Investigations that wait for a worker; counted up to 10000."`
	OldestQueued  time.Time `json:"oldest_queued_at,omitzero"`
	Running       int       `json:"runs_running"`
	Waiting       int       `json:"runs_waiting_approval" doc:"Counted up to 10000."`
	Approvals     int       `json:"approvals_pending" doc:"Counted up to 10000."`
	Unindexed     int       `json:"search_waiting" doc:"Incidents that are not found yet by what came last; counted up to 10000."`
	Chores        []Work    `json:"chores" nullable:"false" doc:"What the api does by itself."`
	Letters       []Letters `json:"dead_letters" nullable:"false" doc:"Sources with deliveries that nothing was read from."`
}

// Work is what became of a chore.
type Work struct {
	Name     string    `json:"name"`
	Does     string    `json:"does,omitempty" doc:"What it is, for people."`
	RanAt    time.Time `json:"ran_at,omitzero" doc:"When it was last done."`
	FailedAt time.Time `json:"failed_at,omitzero" doc:"When it last failed."`
	Failing  bool      `json:"failing" doc:"It has not been done since."`
	Error    string    `json:"error,omitempty" doc:"What the last failure said; for those who manage the inventory."`
}

// Letters counts the open dead letters of a source.
type Letters struct {
	SourceID string `json:"source_id"`
	Source   string `json:"source"`
	Count    int    `json:"count" doc:"Counted up to 1000."`
}

// System reads all of it. Every count has a bound and an index.
func (db *DB) System(ctx context.Context) (s System, err error) {
	b := &pgx.Batch{}
	s.Chores, s.Letters = []Work{}, []Letters{}
	b.Queue(`SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied), current_setting('server_version'), pg_database_size(current_database()),
			(SELECT count(*) FROM (SELECT FROM runs WHERE state = 'queued' LIMIT 10000) AS q),
			(SELECT min(created_at) FROM (SELECT created_at FROM runs WHERE state = 'queued' LIMIT 10000) AS q),
			(SELECT count(*) FROM runs WHERE state = 'running'),
			(SELECT count(*) FROM (SELECT FROM incidents WHERE investigation = 'waiting_approval' LIMIT 10000) AS q),
			(SELECT count(*) FROM (SELECT FROM approvals WHERE state = 'pending' AND expires_at > now() LIMIT 10000) AS q),
			(SELECT count(*) FROM (SELECT FROM search_due LIMIT 10000) AS q)`).QueryRow(func(row pgx.Row) error {
		var oldest *time.Time
		err := row.Scan(&s.Schema, &s.Postgres, &s.DatabaseBytes, &s.Queued, &oldest, &s.Running, &s.Waiting, &s.Approvals, &s.Unindexed)
		s.OldestQueued = orZero(oldest)
		return err
	})
	b.Queue(`SELECT name, ran_at, failed_at, error FROM chores ORDER BY name LIMIT 100`).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var w Work
			var ran, failed *time.Time
			if err := rows.Scan(&w.Name, &ran, &failed, &w.Error); err != nil {
				return err
			}
			w.RanAt, w.FailedAt = orZero(ran), orZero(failed)
			w.Failing = w.FailedAt.After(w.RanAt)
			s.Chores = append(s.Chores, w)
		}
		return rows.Err()
	})
	b.Queue(`SELECT s.id, s.name, n.n FROM sources s CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
			SELECT FROM deliveries d WHERE d.source_id = s.id AND d.problem <> '' AND d.replayed_at IS NULL LIMIT 1000) AS q) AS n
		WHERE s.deleted_at IS NULL AND n.n > 0 ORDER BY n.n DESC, s.name LIMIT 100`).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var l Letters
			if err := rows.Scan(&l.SourceID, &l.Source, &l.Count); err != nil {
				return err
			}
			s.Letters = append(s.Letters, l)
		}
		return rows.Err()
	})
	if err := db.pool.SendBatch(ctx, b).Close(); err != nil {
		return s, mapError(fmt.Errorf("system: %w", err))
	}
	return s, nil
}
