package postgres

import (
	"context"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// SetReconcileSecret stores what proves us to the sender of a source, sealed
// ([ops.Source.ReconcileCredential]); nil removes it.
func (db *DB) SetReconcileSecret(ctx context.Context, source string, sealed []byte) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO source_reconcile (source_id, secret) VALUES ($1, $2)
		ON CONFLICT (source_id) DO UPDATE SET secret = $2`, source, sealed)
	return mapError(err)
}

// Reconciliation gives what asking the sender of a source has come to. A source
// that was never asked has the zero value.
func (db *DB) Reconciliation(ctx context.Context, source string) (r ops.Reconciliation, err error) {
	var started, ended, ok *time.Time
	rows, err := db.pool.Query(ctx, `SELECT secret IS NOT NULL, started_at, ended_at, ok_at, error, missed, resolved, waiting
		FROM source_reconcile WHERE source_id = $1`, source)
	if err != nil {
		return r, mapError(err)
	}
	_, err = pgx.ForEachRow(rows, []any{&r.HasSecret, &started, &ended, &ok, &r.Error, &r.Missed, &r.Resolved, &r.Waiting}, func() error { return nil })
	r.StartedAt, r.EndedAt, r.OKAt = orZero(started), orZero(ended), orZero(ok)
	return r, mapError(err)
}

// ReconcileDue gives up to limit enabled sources whose sender is to be asked
// now, the one that has waited longest first.
func (db *DB) ReconcileDue(ctx context.Context, limit int) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT s.id FROM sources s LEFT JOIN source_reconcile r ON r.source_id = s.id
		WHERE s.enabled AND (s.options->'reconcile'->>'every_seconds')::int > 0
			AND (r.started_at IS NULL OR r.started_at <= now() - make_interval(secs => (s.options->'reconcile'->>'every_seconds')::int))
		ORDER BY r.started_at NULLS FIRST LIMIT $1`, limit)
	if err != nil {
		return nil, mapError(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, mapError(err)
}

// Asking is what a run starts with.
type Asking struct {
	Secret []byte // sealed; nil if there is none
	// Absent has the alerts that fired here and were not there when the sender
	// was asked before, by id, with when that was first so.
	Absent map[string]time.Time
}

// StartReconcile begins a run of a source and keeps others from one for lease.
// If another is under way, it is code conflict.
func (db *DB) StartReconcile(ctx context.Context, source string, lease time.Duration) (a Asking, err error) {
	rows, err := db.pool.Query(ctx, `INSERT INTO source_reconcile AS r (source_id, started_at) VALUES ($1, now())
		ON CONFLICT (source_id) DO UPDATE SET started_at = now()
			WHERE r.started_at IS NULL OR r.ended_at >= r.started_at OR r.started_at < now() - $2::interval
		RETURNING secret, absent`, source, lease)
	if err != nil {
		return a, mapError(err)
	}
	found := false
	_, err = pgx.ForEachRow(rows, []any{&a.Secret, &a.Absent}, func() error { found = true; return nil })
	if err == nil && !found {
		return a, ops.Errorf(ops.CodeConflict, "the sender is being asked right now")
	}
	return a, mapError(err)
}

// Asked is how a run ended.
type Asked struct {
	Missed, Resolved, Waiting int
	Absent                    map[string]time.Time
	Problem                   string // why not everything was read; empty if it was
}

// EndReconcile ends a run. After one with a problem, Absent stays as it was.
func (db *DB) EndReconcile(ctx context.Context, source string, a Asked) error {
	_, err := db.pool.Exec(ctx, `UPDATE source_reconcile SET ended_at = greatest(now(), started_at), error = $2, missed = missed + $3, resolved = resolved + $4,
		waiting = $5, ok_at = CASE WHEN $2 = '' THEN now() ELSE ok_at END, absent = CASE WHEN $2 = '' THEN $6 ELSE absent END WHERE source_id = $1`,
		source, a.Problem, a.Missed, a.Resolved, a.Waiting, orNoTimes(a.Absent))
	return mapError(err)
}

func orNoTimes(m map[string]time.Time) map[string]time.Time {
	if m == nil {
		return map[string]time.Time{}
	}
	return m
}

// OpenAlerts gives up to limit alerts of a source that fire, without those about
// the monitoring itself and tests: what its sender would have in its list.
func (db *DB) OpenAlerts(ctx context.Context, source string, limit int) ([]ops.Alert, error) {
	return db.alerts(ctx, selectAlerts+` WHERE source_id = $1 AND status <> 'resolved' AND kind NOT IN ('internal', 'test')
		ORDER BY identity LIMIT $2`, source, limit)
}

// NewestAlerts gives, for each of the identities, the alert that it had last.
func (db *DB) NewestAlerts(ctx context.Context, source string, identities []string) ([]ops.Alert, error) {
	return db.alerts(ctx, `SELECT a.* FROM unnest($2::text[]) AS i (ident), LATERAL (`+
		selectAlerts+` WHERE source_id = $1 AND identity = i.ident ORDER BY at DESC, id DESC LIMIT 1) AS a`, source, identities)
}

// KnownAlerts gives those alerts of a source that are stored, by their
// identities and episodes.
func (db *DB) KnownAlerts(ctx context.Context, source string, identities, episodes []string) ([]ops.Alert, error) {
	return db.alerts(ctx, selectAlerts+` JOIN unnest($2::text[], $3::text[]) AS k (ident, epi) ON identity = k.ident AND episode = k.epi
		WHERE source_id = $1`, source, identities, episodes)
}

func (db *DB) alerts(ctx context.Context, query string, args ...any) ([]ops.Alert, error) {
	rows, err := db.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, mapError(err)
	}
	alerts, err := pgx.CollectRows(rows, scanAlert)
	return alerts, mapError(err)
}

// headsAmong bounds how far back [DB.DeliveryHeads] looks: a sender may have sent
// nothing for long, while we have.
const headsAmong = 2000

// DeliveryHeads gives the first bytes of the newest deliveries that the sender
// itself has sent and proved, newest first, of the newest there are.
func (db *DB) DeliveryHeads(ctx context.Context, source string, deliveries, bytes int) ([][]byte, error) {
	rows, err := db.pool.Query(ctx, `SELECT substring(body FOR $3) FROM
		(SELECT received_at, id, body, content_type, unproven FROM deliveries WHERE source_id = $1 ORDER BY received_at DESC, id DESC LIMIT $5) AS newest
		WHERE content_type <> $4 AND NOT unproven ORDER BY received_at DESC, id DESC LIMIT $2`, source, deliveries, bytes, ops.OwnContentType, headsAmong)
	if err != nil {
		return nil, mapError(err)
	}
	heads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	return heads, mapError(err)
}

// Silence is a source that has been silent for longer than it may, or one that
// has an alert about that.
type Silence struct {
	SourceID, Name string
	// Heard is when it was heard of last: by a delivery, by being asked, or when
	// it was made. After is how long it may be silent; 0 if nobody minds any more.
	Heard time.Time
	After time.Duration
	// Alert is the open alert about it; its ID is empty if there is none. Ended is
	// when the last one before it ended, zero if there was none.
	Alert ops.Alert
	Ended time.Time
}

// Silences gives them all, by the clock of the database.
func (db *DB) Silences(ctx context.Context) ([]Silence, error) {
	rows, err := db.pool.Query(ctx, `SELECT s.id, s.name, heard.at, heard.after, coalesce(a.id::text, ''), coalesce(a.episode, ''), coalesce(a.group_key, ''),
			coalesce(a.title, ''), coalesce(a.severity, ''), a.starts_at,
			(SELECT max(e.ends_at) FROM alerts e WHERE e.source_id = s.id AND e.identity = $1)
		FROM sources s LEFT JOIN source_health h ON h.source_id = s.id LEFT JOIN source_reconcile r ON r.source_id = s.id
			CROSS JOIN LATERAL (SELECT greatest(s.created_at, h.last_delivery_at, r.ok_at) AS at,
				CASE WHEN s.enabled THEN coalesce((s.options->>'silent_after_seconds')::int, 0) ELSE 0 END AS after) AS heard
			LEFT JOIN alerts a ON a.source_id = s.id AND a.identity = $1 AND a.status <> 'resolved'
		WHERE a.id IS NOT NULL OR heard.after > 0 AND heard.at < now() - make_interval(secs => heard.after)
		ORDER BY s.id`, ops.SilentIdentity)
	if err != nil {
		return nil, mapError(err)
	}
	silences, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Silence, err error) {
		var seconds int
		var starts, ended *time.Time
		a := &s.Alert
		err = row.Scan(&s.SourceID, &s.Name, &s.Heard, &seconds, &a.ID, &a.Episode, &a.GroupKey, &a.Title, &a.Severity, &starts, &ended)
		s.After, a.StartsAt, s.Ended = time.Duration(seconds)*time.Second, orZero(starts), orZero(ended)
		return s, err
	})
	return silences, mapError(err)
}
