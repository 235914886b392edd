package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How much of the past is counted, and how many alerts are looked at to find
// what is noisiest.
const (
	noiseDays  = 8
	noiseTop   = 10
	noiseLook  = 100_000
	noiseAgain = 2 * time.Hour // is counted anew: transactions end late, and chores may pause
)

// NoiseWindows are the hours that the noisiest alerts are found of.
var NoiseWindows = []int{24, 7 * 24}

// idAt is below all ids that were made at t or later, and above those before (ops.NewID).
func idAt(t time.Time) string {
	ms := fmt.Sprintf("%012x", max(0, t.UnixMilli()))
	return ms[:8] + "-" + ms[8:] + "-0000-0000-000000000000"
}

// CountNoise counts what came in each hour that has not been counted, and the
// last two anew. It reads indexes alone, so it costs little after a storm as well.
func (db *DB) CountNoise(ctx context.Context) error {
	now := time.Now().UTC()
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = off`); err != nil {
			return err
		}
		oldest := now.Add(-noiseDays * 24 * time.Hour).Truncate(time.Hour)
		var newest *time.Time
		if err := tx.QueryRow(ctx, `SELECT max(at) FROM derived.noise_hours`).Scan(&newest); err != nil {
			return err
		}
		from := oldest
		if newest != nil && newest.Add(-noiseAgain+time.Hour).After(oldest) {
			from = newest.Add(-noiseAgain + time.Hour)
		}
		var hours []time.Time
		var low, high []string
		for at := from; !at.After(now); at = at.Add(time.Hour) {
			hours, low, high = append(hours, at), append(low, idAt(at)), append(high, idAt(at.Add(time.Hour)))
		}
		if _, err := tx.Exec(ctx, `INSERT INTO derived.noise_hours AS n (at, source_id, deliveries, alerts, incidents)
			SELECT * FROM (
				SELECT h.at, s.id,
					(SELECT count(*) FROM deliveries d WHERE d.source_id = s.id AND d.received_at >= h.at AND d.received_at < h.at + interval '1 hour') AS deliveries,
					(SELECT count(*) FROM alerts a WHERE a.source_id::text = s.id::text AND a.id >= h.low AND a.id < h.high) AS alerts,
					coalesce(i.n, 0) AS incidents
				FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[]) AS h (at, low, high) CROSS JOIN sources s
				LEFT JOIN (SELECT date_trunc('hour', opened_at, 'UTC') AS at, source_id, count(*) AS n FROM incidents WHERE opened_at >= $4 GROUP BY 1, 2) AS i
					ON i.at = h.at AND i.source_id = s.id) AS c
			WHERE c.deliveries + c.alerts + c.incidents > 0
			ON CONFLICT (at, source_id) DO UPDATE SET deliveries = greatest(n.deliveries, excluded.deliveries), alerts = greatest(n.alerts, excluded.alerts),
				incidents = greatest(n.incidents, excluded.incidents)`, hours, low, high, from); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM derived.noise_hours WHERE at < $1`, oldest)
		return err
	})
}

// RankNoise finds what began most often in the newest hours, of the newest
// 100,000 alerts. Test events are no noise.
func (db *DB) RankNoise(ctx context.Context) error {
	now := time.Now().UTC()
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL enable_seqscan = off`); err != nil {
			return err
		}
		for _, hours := range NoiseWindows {
			if _, err := tx.Exec(ctx, `DELETE FROM derived.noisiest WHERE hours = $1`, hours); err != nil {
				return err
			}
			since := now.Add(-time.Duration(hours) * time.Hour)
			if _, err := tx.Exec(ctx, `WITH recent AS MATERIALIZED (
					SELECT source_id, identity, incident_id, count, first_seen, kind FROM alerts WHERE id >= $2 ORDER BY id DESC LIMIT $3)
				INSERT INTO derived.noisiest (hours, rank, source_id, identity, alerts, reports, incidents, counted)
				SELECT $1, row_number() OVER (ORDER BY n DESC, reports DESC, source_id, identity), source_id, identity, n, reports, incidents,
					greatest((SELECT CASE WHEN count(*) = $3 THEN min(first_seen) END FROM recent), $4)
				FROM (SELECT source_id, identity, count(*) AS n, sum(count) AS reports, count(DISTINCT incident_id) AS incidents
					FROM recent WHERE kind <> 'test' GROUP BY source_id, identity ORDER BY n DESC, reports DESC, source_id, identity LIMIT $5) AS most`,
				hours, idAt(since), noiseLook, since, noiseTop); err != nil {
				return err
			}
		}
		return nil
	})
}
