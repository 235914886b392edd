package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// BeatEvery is how often a process says that it lives. One that has been silent
// for BeatGone is taken for gone.
const (
	BeatEvery = 10 * time.Second
	BeatGone  = 35 * time.Second
)

// keepBeats is how long the last word of a process that is gone is kept.
const keepBeats = 7 * 24 * time.Hour

// Announce says until ctx ends that a process of this kind lives, which must be
// the one that the role is for. detail may be nil; only the api has one. What
// fails is tried again at the next beat: nothing depends on it but what people see.
func (db *DB) Announce(ctx context.Context, kind string, detail func() ops.ProcessDetail, log *slog.Logger) {
	instance, version, began := ops.NewID(), ops.Version(), time.Now()
	tick := time.NewTicker(BeatEvery)
	defer tick.Stop()
	for {
		if err := db.beat(ctx, instance, kind, version, began, detail); err != nil && ctx.Err() == nil {
			log.Warn("that this process lives could not be said", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (db *DB) beat(ctx context.Context, instance, kind, version string, began time.Time, detail func() ops.ProcessDetail) error {
	ctx, cancel := context.WithTimeout(ctx, BeatEvery)
	defer cancel()
	var err error
	if detail == nil {
		_, err = db.pool.Exec(ctx, `INSERT INTO derived.process_beats (instance, kind, version, started_at) VALUES ($1, $2, $3, $4)`,
			instance, kind, version, began)
	} else {
		_, err = db.pool.Exec(ctx, `INSERT INTO derived.process_beats (instance, kind, version, started_at, detail) VALUES ($1, $2, $3, $4, $5)`,
			instance, kind, version, began, detail())
	}
	return mapError(err)
}

// PruneBeats leaves the newest word of each process, and none of those that have
// been silent for a week.
func (db *DB) PruneBeats(ctx context.Context) error {
	_, err := db.pool.Exec(ctx, `DELETE FROM derived.process_beats b WHERE b.at < now() - $1::interval
		OR b.at < now() - interval '1 minute' AND EXISTS (SELECT FROM derived.process_beats n WHERE n.instance = b.instance AND n.at > b.at)`, keepBeats)
	return mapError(err)
}

// Processes gives what each process said last: those that live, of those that
// are gone the ones of the last quarter of an hour, and of a kind that has none
// of either the one that was there last. At most 200, the newest first.
func (db *DB) Processes(ctx context.Context) ([]ops.Process, error) {
	rows, err := db.pool.Query(ctx, `WITH last AS (
			SELECT DISTINCT ON (instance) instance, kind, version, started_at, at, detail FROM derived.process_beats ORDER BY instance, at DESC)
		SELECT kind, version, started_at, at, at > now() - $1::interval, detail FROM last l
		WHERE at > now() - interval '15 minutes' OR at = (SELECT max(at) FROM last n WHERE n.kind = l.kind)
		ORDER BY at DESC LIMIT 200`, BeatGone)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p ops.Process, err error) {
		err = row.Scan(&p.Kind, &p.Version, &p.StartedAt, &p.SeenAt, &p.Alive, &p.ProcessDetail)
		return p, err
	})
	return all, mapError(err)
}
