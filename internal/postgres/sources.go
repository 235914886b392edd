package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// CreateSource stores a source.
func (db *DB) CreateSource(ctx context.Context, s ops.Source) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO sources (id, name, kind, enabled, secret_hash, auth, settings, secret_sealed, options)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		s.ID, s.Name, s.Kind, s.Enabled, orNoBytes(s.Secret.Hash), authOf(s), s.Settings, s.Secret.Sealed, s.Options)
	return mapError(err)
}

// SourceChange says what of a source becomes another; nil leaves it as it is.
type SourceChange struct {
	Name     *string
	Enabled  *bool
	Settings *[]byte // JSON; empty for none
	Options  *ops.SourceOptions
}

// ChangeSource changes a source.
func (db *DB) ChangeSource(ctx context.Context, id string, c SourceChange) error {
	var settings []byte
	if c.Settings != nil && len(*c.Settings) > 0 {
		settings = *c.Settings
	}
	return found(db.pool.Exec(ctx, `UPDATE sources SET name = coalesce($2, name), enabled = coalesce($3, enabled),
			settings = CASE WHEN $4 THEN $5::jsonb ELSE settings END, options = coalesce($6::jsonb, options)
		WHERE id = $1 AND deleted_at IS NULL`, id, c.Name, c.Enabled, c.Settings != nil, settings, c.Options))
}

// DeleteSource takes a source away, with its secrets and settings. Its
// deliveries, alerts and incidents stay as long as all others, so its row stays,
// under a name that is free.
func (db *DB) DeleteSource(ctx context.Context, id string) error {
	return found(db.pool.Exec(ctx, `WITH reconcile AS (DELETE FROM source_reconcile WHERE source_id = $1)
		UPDATE sources SET deleted_at = now(), enabled = false, name = name || ' ' || id, settings = NULL, options = '{}',
			verify_until = NULL, secret_hash = '', secret_sealed = NULL, old_hash = NULL, old_sealed = NULL, old_until = NULL
		WHERE id = $1 AND deleted_at IS NULL`, id))
}

// VerifySource lets set-up mode of a source last until then; the zero time ends it.
func (db *DB) VerifySource(ctx context.Context, id string, until time.Time) error {
	return found(db.pool.Exec(ctx, `UPDATE sources SET verify_until = $2 WHERE id = $1 AND deleted_at IS NULL`, id, orNull(until)))
}

// ReplaceSourceSecret gives a source another secret. The one before it counts
// until oldUntil, the one before that no more.
func (db *DB) ReplaceSourceSecret(ctx context.Context, id string, secret ops.SourceSecret, oldUntil time.Time) error {
	return found(db.pool.Exec(ctx, `UPDATE sources SET old_hash = secret_hash, old_sealed = secret_sealed, old_until = $4,
		secret_hash = $2, secret_sealed = $3 WHERE id = $1 AND deleted_at IS NULL`, id, orNoBytes(secret.Hash), secret.Sealed, oldUntil))
}

// found makes an error of a change that found no row.
func found(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	return mapError(err)
}

func authOf(s ops.Source) string {
	if s.Auth == "" {
		return ops.AuthSecret
	}
	return s.Auth
}

// orNoBytes makes nil empty: a column that is never null.
func orNoBytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// warnFor is how long a warning is shown after its last delivery.
const warnFor = 7 * 24 * time.Hour

// Sources gives all sources by name, with their health.
func (db *DB) Sources(ctx context.Context) ([]ops.Source, error) {
	return db.sources(ctx, "")
}

// Source gives one source, with its health.
func (db *DB) Source(ctx context.Context, id string) (ops.Source, error) {
	if !ops.ValidID(id) {
		return ops.Source{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	all, err := db.sources(ctx, id)
	if err == nil && len(all) == 0 {
		err = ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	if err != nil {
		return ops.Source{}, err
	}
	return all[0], nil
}

// sources gives the one of that id, or all for none.
func (db *DB) sources(ctx context.Context, id string) ([]ops.Source, error) {
	rows, err := db.pool.Query(ctx, `SELECT s.id, s.name, s.kind, s.enabled, s.created_at, s.auth, s.settings, s.options, s.verify_until,
			s.secret_hash, s.secret_sealed, s.old_hash, s.old_sealed, s.old_until,
			coalesce(h.deliveries, 0), coalesce(h.duplicates, 0), h.last_delivery_at, coalesce(h.rejected_since, 0),
			(SELECT json_agg(json_build_object('kind', e.kind, 'count', e.count, 'at', e.at, 'text', e.text) ORDER BY e.kind)
				FROM source_errors e WHERE e.source_id = s.id),
			(SELECT json_agg(json_build_object('code', w.code, 'text', w.text, 'count', w.count, 'at', w.at) ORDER BY w.code)
				FROM source_warnings w WHERE w.source_id = s.id AND w.at > now() - $1::interval)
		FROM sources s LEFT JOIN source_health h ON h.source_id = s.id
		WHERE s.deleted_at IS NULL AND ($2::uuid IS NULL OR s.id = $2) ORDER BY s.name`, warnFor, orNullText(id))
	if err != nil {
		return nil, mapError(err)
	}
	sources, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s ops.Source, err error) {
		var verify, until, delivery *time.Time
		h := &s.Health
		err = row.Scan(&s.ID, &s.Name, &s.Kind, &s.Enabled, &s.CreatedAt, &s.Auth, &s.Settings, &s.Options, &verify,
			&s.Secret.Hash, &s.Secret.Sealed, &s.Old.Hash, &s.Old.Sealed, &until,
			&h.Deliveries, &h.Duplicates, &delivery, &h.RejectedSince, &h.Errors, &h.Warnings)
		s.VerifyUntil, s.OldUntil, h.LastDeliveryAt = orZero(verify), orZero(until), orZero(delivery)
		h.Sum()
		return s, err
	})
	return sources, mapError(err)
}

// rates are the two rings of source_rates.
var rates = []struct {
	unit  string
	each  time.Duration
	slots int
}{{"minute", time.Minute, 60}, {"hour", time.Hour, 24}}

// SourceRates gives how much a source sent in each of the last 60 minutes and
// 24 hours, oldest first; the last one is still going on.
func (db *DB) SourceRates(ctx context.Context, id string, now time.Time) (minutes, hours []ops.SourceRate, err error) {
	rows, err := db.pool.Query(ctx, `SELECT unit, at, deliveries, alerts, errors FROM source_rates WHERE source_id = $1`, id)
	if err != nil {
		return nil, nil, mapError(err)
	}
	type counted struct {
		unit string
		ops.SourceRate
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c counted, err error) {
		err = row.Scan(&c.unit, &c.At, &c.Deliveries, &c.Alerts, &c.Errors)
		return c, err
	})
	if err != nil {
		return nil, nil, mapError(err)
	}
	series := make([][]ops.SourceRate, len(rates))
	for i, r := range rates {
		last := now.UTC().Truncate(r.each)
		series[i] = make([]ops.SourceRate, r.slots)
		for n := range series[i] {
			series[i][n].At = last.Add(-r.each * time.Duration(r.slots-1-n))
		}
		for _, c := range all {
			n := r.slots - 1 - int(last.Sub(c.At)/r.each)
			if c.unit == r.unit && n >= 0 && n < r.slots {
				c.At = c.At.UTC()
				series[i][n] = c.SourceRate
			}
		}
	}
	return series[0], series[1], nil
}

// queueRates counts in both rings. A slot that is older than at is begun anew,
// one that is newer keeps what it has. The caller queues sources in order.
func queueRates(b *pgx.Batch, source string, at time.Time, deliveries, alerts, errors int) {
	for _, r := range rates {
		slot := at.UTC().Truncate(r.each)
		b.Queue(`INSERT INTO source_rates AS r (source_id, unit, slot, at, deliveries, alerts, errors) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (source_id, unit, slot) DO UPDATE SET at = $4,
				deliveries = $5 + CASE WHEN r.at = $4 THEN r.deliveries ELSE 0 END,
				alerts = $6 + CASE WHEN r.at = $4 THEN r.alerts ELSE 0 END,
				errors = $7 + CASE WHEN r.at = $4 THEN r.errors ELSE 0 END
			WHERE r.at <= $4`, source, r.unit, slot.Unix()/int64(r.each/time.Second)%int64(r.slots), slot, deliveries, alerts, errors)
	}
}

// CountSources adds up the health of sources. Another process that counts the
// same rows may get in its way; then it is done again.
func (db *DB) CountSources(ctx context.Context, counts []*SourceCount) error {
	slices.SortFunc(counts, func(a, b *SourceCount) int { return strings.Compare(a.Source, b.Source) })
	return db.tx(ctx, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		for _, c := range counts {
			queueCount(b, c)
		}
		return tx.SendBatch(ctx, b).Close()
	})
}

func queueCount(b *pgx.Batch, c *SourceCount) {
	b.Queue(`INSERT INTO source_health AS h (source_id, deliveries, duplicates, last_delivery_at, rejected_since) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (source_id) DO UPDATE SET deliveries = h.deliveries + $2, duplicates = h.duplicates + $3,
			last_delivery_at = greatest(h.last_delivery_at, $4), rejected_since = $5 + CASE WHEN $2 > 0 THEN 0 ELSE h.rejected_since END`,
		c.Source, c.deliveries, c.duplicates, orNull(c.last), c.refused)
	for _, at := range slices.SortedFunc(maps.Keys(c.minutes), time.Time.Compare) {
		m := c.minutes[at]
		queueRates(b, c.Source, at, m.deliveries, m.alerts, m.errors)
	}
	for _, kind := range sortedKeys(c.errors) {
		queueError(b, c.Source, c.errors[kind])
	}
	for _, code := range sortedKeys(c.warnings) {
		w := c.warnings[code]
		b.Queue(`INSERT INTO source_warnings AS w (source_id, code, text, count, at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (source_id, code) DO UPDATE SET text = $3, count = w.count + $4, at = $5`, c.Source, w.Code, w.Text, w.Count, w.At)
	}
}

func queueError(b *pgx.Batch, source string, e ops.SourceError) {
	b.Queue(`INSERT INTO source_errors AS e (source_id, kind, count, at, text) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (source_id, kind) DO UPDATE SET count = e.count + $3, at = greatest(e.at, $4), text = $5`, source, e.Kind, e.Count, e.At, e.Text)
}

// IncidentOfAlert gives the incident of the newest episode of an alert.
func (db *DB) IncidentOfAlert(ctx context.Context, source, identity string) (ops.Incident, error) {
	var id *string
	err := db.pool.QueryRow(ctx, `SELECT incident_id FROM alerts WHERE source_id = $1 AND identity = $2 ORDER BY at DESC, id DESC LIMIT 1`, source, identity).Scan(&id)
	if err != nil {
		return ops.Incident{}, mapError(err)
	}
	if id == nil {
		return ops.Incident{}, ops.Errorf(ops.CodeNotFound, "it belongs to no incident")
	}
	return db.Incident(ctx, *id)
}
