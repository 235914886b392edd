package postgres

import (
	"context"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Retention says how long things are kept; 0 means for ever. The audit is kept
// for ever.
type Retention struct {
	// Incidents are kept for so long after their end, and with them all that
	// belongs to them: alerts, timeline, runs, findings, tool calls. Open ones are
	// kept. Less than 7 days the database refuses.
	// Small things that would otherwise grow for ever are kept as long after they
	// were of use: tokens and maintenance windows that have ended, memories that
	// have expired; and what was spent in a day, for at least keepUsage.
	Incidents time.Duration
	// Deliveries are the requests as they came, and alerts that were over before
	// anything was known of them.
	Deliveries time.Duration
}

// keepUsage is how far back what was spent can be asked for, and a bit more.
const keepUsage = 400 * 24 * time.Hour

// MinKeepIncidents is what the database insists on (migration 7).
const MinKeepIncidents = 7 * 24 * time.Hour

// Check refuses what the database would refuse, and what cannot be meant.
func (r Retention) Check() error {
	if r.Incidents != 0 && r.Incidents < MinKeepIncidents {
		return ops.Errorf(ops.CodeInvalid, "incidents are kept for at least 7 days after their end, or 0: for ever")
	}
	if r.Deliveries < 0 {
		return ops.Errorf(ops.CodeInvalid, "how long deliveries are kept is not negative; 0 is for ever")
	}
	return nil
}

// A run deletes so much at once and so often; what is left waits for the next
// one. Each statement is a short transaction: nobody waits long for its locks.
const (
	retentionBatch   = 1000
	retentionBatches = 100
	incidentBatch    = 50 // a storm has 10,000 alerts and twice as many events
)

// DeleteExpired deletes what is older than r says, up to a bound, and gives how
// many rows of each kind; what belongs to an incident is not counted.
func (db *DB) DeleteExpired(ctx context.Context, r Retention) (map[string]int64, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	deleted := map[string]int64{}
	usage := r.Incidents
	if usage != 0 {
		usage = max(usage, keepUsage)
	}
	for _, kind := range []struct {
		name  string
		keep  time.Duration
		batch int
		text  string // $1 is how long, $2 how many
	}{
		{"incidents", r.Incidents, incidentBatch, `SELECT delete_old_incidents(make_interval(secs => $1), $2)`},
		// The ids of deliveries are in the order of time, so the primary key finds the oldest.
		{"deliveries", r.Deliveries, retentionBatch, `WITH gone AS (DELETE FROM deliveries WHERE id IN (SELECT id FROM (
				SELECT id, received_at FROM deliveries ORDER BY id LIMIT $2) AS oldest
			WHERE received_at < now() - make_interval(secs => $1)) RETURNING 1) SELECT count(*) FROM gone`},
		{"alerts", r.Deliveries, retentionBatch, `WITH gone AS (DELETE FROM alerts WHERE id IN (
				SELECT id FROM alerts WHERE incident_id IS NULL AND first_seen < now() - make_interval(secs => $1)
				AND last_seen < now() - make_interval(secs => $1) ORDER BY first_seen LIMIT $2 FOR UPDATE SKIP LOCKED) AND incident_id IS NULL RETURNING 1) SELECT count(*) FROM gone`},
		{"usage", usage, retentionBatch, `WITH gone AS (DELETE FROM usage_days WHERE (day, source) IN (SELECT day, source FROM usage_days
			WHERE day < (now() - make_interval(secs => $1))::date ORDER BY day LIMIT $2) RETURNING 1) SELECT count(*) FROM gone`},
		{"gateway tokens", r.Incidents, retentionBatch, `WITH gone AS (DELETE FROM gateway_tokens WHERE id IN (SELECT id FROM gateway_tokens
			WHERE expires_at < now() - make_interval(secs => $1) ORDER BY expires_at LIMIT $2) RETURNING 1) SELECT count(*) FROM gone`},
		{"api tokens", r.Incidents, retentionBatch, `WITH gone AS (DELETE FROM api_tokens WHERE id IN (SELECT id FROM api_tokens
			WHERE expires_at < now() - make_interval(secs => $1) ORDER BY expires_at LIMIT $2) RETURNING 1) SELECT count(*) FROM gone`},
		{"maintenance windows", r.Incidents, retentionBatch, `WITH gone AS (DELETE FROM maintenance_windows WHERE id IN (SELECT id FROM maintenance_windows
			WHERE ends_at < now() - make_interval(secs => $1) ORDER BY ends_at LIMIT $2) RETURNING 1) SELECT count(*) FROM gone`},
		{"memories", r.Incidents, retentionBatch, `WITH gone AS (DELETE FROM memories WHERE id IN (SELECT id FROM memories
			WHERE expires_at < now() - make_interval(secs => $1) ORDER BY id LIMIT $2) RETURNING 1) SELECT count(*) FROM gone`},
	} {
		if kind.keep == 0 {
			continue
		}
		for range retentionBatches {
			var n int64
			if err := db.pool.QueryRow(ctx, kind.text, kind.keep.Seconds(), kind.batch).Scan(&n); err != nil {
				return deleted, mapError(err)
			}
			deleted[kind.name] += n
			if n < int64(kind.batch) {
				break
			}
		}
	}
	return deleted, nil
}
