package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// settleBatch bounds what one call settles of a kind. The rest is due next time.
const settleBatch = 200

// Settle does what is due by time alone: incidents whose flap hold is over are
// resolved, alerts that their sender no longer mentions too, storms end, and
// what fires on after a maintenance window is investigated.
func (db *DB) Settle(ctx context.Context) error {
	var errs []error
	for _, s := range []struct {
		what string
		do   func(context.Context) error
	}{{"flap holds", db.settleHolds}, {"resolve timeouts", db.settleTimeouts}, {"storms", db.settleStorms}, {"maintenance", db.settleMaintenance}} {
		if err := s.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("settle %s: %w", s.what, mapError(err)))
		}
	}
	return errors.Join(errs...)
}

// settle changes incidents that a query selects with FOR UPDATE.
func (db *DB) settle(ctx context.Context, query string, args []any, do func(context.Context, pgx.Tx, *intake, time.Time) error) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		in := newIntake()
		in.actor = ops.BySystem
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		if err := in.addIncidents(rows); err != nil || len(in.incidents) == 0 {
			return err
		}
		if err := do(ctx, tx, in, time.Now().UTC()); err != nil {
			return err
		}
		return in.store(ctx, tx)
	})
}

func (db *DB) settleHolds(ctx context.Context) error {
	return db.settle(ctx, selectStored+` WHERE i.resolve_at <= now() ORDER BY i.resolve_at, i.id LIMIT $1 FOR UPDATE SKIP LOCKED`, []any{settleBatch},
		func(_ context.Context, _ pgx.Tx, in *intake, now time.Time) error {
			for _, id := range sortedKeys(in.incidents) {
				i := in.incidents[id]
				if i.Status.Open() && i.FiringCount == 0 {
					in.resolve(i, now, "its flap hold is over, and none of its alerts has fired again")
				} else {
					in.touch(i)
					i.ResolveAt = time.Time{}
				}
			}
			return nil
		})
}

// settleTimeouts goes through the sources that have a timeout, each in
// transactions of its own.
func (db *DB) settleTimeouts(ctx context.Context) error {
	rows, err := db.pool.Query(ctx, `SELECT id, (options->>'resolve_timeout_seconds')::int FROM sources
		WHERE (options->>'resolve_timeout_seconds')::int > 0 ORDER BY id`)
	if err != nil {
		return err
	}
	type source struct {
		id      string
		seconds int
	}
	sources, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s source, err error) {
		err = row.Scan(&s.id, &s.seconds)
		return s, err
	})
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := db.settleTimeout(ctx, s.id, time.Duration(s.seconds)*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) settleTimeout(ctx context.Context, source string, timeout time.Duration) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		// The index holds what is open of the source and nothing else. That the source
		// is silent is told once, by us, and is true until it is heard of again.
		rows, err := tx.Query(ctx, selectAlerts+` WHERE source_id = $1 AND status <> 'resolved' AND last_seen < now() - $2::interval
			AND identity <> $4 ORDER BY id LIMIT $3 FOR UPDATE`, source, timeout, settleBatch, ops.SilentIdentity)
		if err != nil {
			return err
		}
		silent, err := pgx.CollectRows(rows, scanAlert)
		if err != nil || len(silent) == 0 {
			return err
		}
		in := newIntake()
		if err := db.loadGrouping(ctx, tx, in, []string{source}); err != nil {
			return err
		}
		in.actor = ops.BySystem
		var incidents []string
		for _, a := range silent {
			if a.IncidentID != "" {
				incidents = append(incidents, a.IncidentID)
			}
		}
		if err := in.loadGroups(ctx, tx, incidents); err != nil {
			return err
		}
		now := time.Now().UTC()
		for _, a := range silent {
			s := &storedAlert{Alert: a}
			in.touchAlert(s)
			// The sender's own time of its last word: what it says later is later.
			s.Status, s.EndsAt = ops.AlertResolved, now
			in.leave(s, now, fmt.Sprintf("its sender has not mentioned it for %s (resolve timeout)", timeout))
		}
		return in.store(ctx, tx)
	})
}

func (db *DB) settleStorms(ctx context.Context) error {
	rows, err := db.pool.Query(ctx, `SELECT source_id FROM storms WHERE incident_id IS NOT NULL AND quiet_at <= now() ORDER BY quiet_at LIMIT $1`, settleBatch)
	if err != nil {
		return err
	}
	sources, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, source := range sources {
		err := db.tx(ctx, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			queueLocks(b, []string{grouping.StormKey(source)})
			if err := tx.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
			var incident string
			err := tx.QueryRow(ctx, `SELECT incident_id FROM storms WHERE source_id = $1 AND incident_id IS NOT NULL AND quiet_at <= now()`, source).Scan(&incident)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // it goes on
			}
			if err != nil {
				return err
			}
			in := newIntake()
			in.actor = ops.BySystem
			if err := in.loadGroups(ctx, tx, []string{incident}); err != nil {
				return err
			}
			for _, i := range in.incidents {
				in.say(i, "the storm is over: no new group of alerts came for a while. It collected %d alerts; new groups have incidents of their own again", i.AlertCount)
			}
			if err := in.store(ctx, tx); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `UPDATE storms SET incident_id = NULL, quiet_at = NULL WHERE source_id = $1`, source)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settleMaintenance looks at incidents whose maintenance should be over: their
// window may have been changed since, or another one covers what still fires.
func (db *DB) settleMaintenance(ctx context.Context) error {
	return db.settle(ctx, selectStored+` WHERE i.maintenance_until <= now() ORDER BY i.maintenance_until, i.id LIMIT $1 FOR UPDATE SKIP LOCKED`, []any{settleBatch},
		func(ctx context.Context, tx pgx.Tx, in *intake, now time.Time) error {
			if err := db.loadGrouping(ctx, tx, in, nil); err != nil {
				return err
			}
			for _, id := range sortedKeys(in.incidents) {
				i := in.incidents[id]
				in.touch(i)
				i.MaintenanceUntil = time.Time{}
				if !i.Status.Open() || i.FiringCount == 0 {
					continue
				}
				m, covered, err := db.covered(ctx, tx, in, i, now)
				if err != nil {
					return err
				}
				why := fmt.Sprintf("maintenance %q is over", i.Maintenance)
				if _, on := in.config.Until(i.maintenanceID, now); on {
					why = fmt.Sprintf("maintenance %q has changed", i.Maintenance)
				}
				if covered {
					if m.ID != i.maintenanceID {
						in.say(i, "%s, and %q covers it until %s", why, m.Name, m.Until.Format(clock))
					}
					i.Maintenance, i.maintenanceID, i.MaintenanceUntil = m.Name, m.ID, m.Until
					continue
				}
				why += ", and it still fires"
				in.say(i, "%s", why)
				in.investigate(i, grouping.Decision{Agent: i.agent, NotInvestigated: in.config.NotInvestigated(i.RuleID, i.Severity)}, why)
			}
			return nil
		})
}

// covered says whether planned work covers all that fires of an incident, and
// gives the window that ends last: as it was judged while its alerts came
// ([intake.mark]). Of very many alerts the oldest stand for all.
func (db *DB) covered(ctx context.Context, tx pgx.Tx, in *intake, i *storedIncident, now time.Time) (last grouping.Maintenance, ok bool, err error) {
	rows, err := tx.Query(ctx, selectAlerts+` WHERE incident_id = $1 AND status <> 'resolved' AND kind <> $2 ORDER BY first_seen, id LIMIT 1000`, i.ID, ops.AlertTest)
	if err != nil {
		return last, false, err
	}
	firing, err := pgx.CollectRows(rows, scanAlert)
	if err != nil {
		return last, false, err
	}
	unknown := map[string]bool{}
	for _, a := range firing {
		if in.sources[a.SourceID] == nil {
			unknown[a.SourceID] = true
		}
	}
	if err := db.loadGrouping(ctx, tx, in, sortedKeys(unknown)); err != nil {
		return last, false, err
	}
	for n := range firing {
		m, on := in.config.Maintenance(in.subject(firing[n].SourceID, &firing[n]), now)
		if !on {
			return last, false, nil
		}
		if m.Until.After(last.Until) {
			last = m
		}
	}
	return last, len(firing) > 0, nil
}
