package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// rulesCache keeps rules and windows in their usable form. Each change of them
// changes a version, which every batch of deliveries reads.
type rulesCache struct {
	mu      sync.Mutex
	version int64
	config  *grouping.Config
}

// get gives what is configured as of version, or something newer.
func (c *rulesCache) get(ctx context.Context, tx querier, version int64) (*grouping.Config, error) {
	c.mu.Lock()
	known, config := c.version, c.config
	c.mu.Unlock()
	if config != nil && known >= version {
		return config, nil
	}
	rules, err := groupingRules(ctx, tx)
	if err != nil {
		return nil, err
	}
	windows, err := maintenanceWindows(ctx, tx)
	if err != nil {
		return nil, err
	}
	// All were checked before they were stored. One that this release no longer
	// understands is passed over: alerts must be stored all the same.
	config, _ = grouping.Compile(rules, windows)
	c.mu.Lock()
	defer c.mu.Unlock()
	if version > c.version {
		c.version, c.config = version, config
	}
	return config, nil
}

// changeGrouping makes a change of rules or windows known to every process. Its
// lock makes changes wait for each other, so that a count before an insert holds.
func (db *DB) changeGrouping(ctx context.Context, change func(pgx.Tx) error) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE grouping_version SET version = version + 1`); err != nil {
			return err
		}
		return change(tx)
	})
}

const selectRules = `SELECT id, name, position, enabled, match, key, window_kind, window_seconds, min_severity, investigate, agent,
	created_at, updated_at FROM grouping_rules`

func scanRule(row pgx.CollectableRow) (r ops.GroupingRule, err error) {
	err = row.Scan(&r.ID, &r.Name, &r.Position, &r.Enabled, &r.Match, &r.Key, &r.Window, &r.WindowSeconds, &r.MinSeverity, &r.Investigate,
		&r.Agent, &r.CreatedAt, &r.UpdatedAt)
	return r, err
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func groupingRules(ctx context.Context, q querier) ([]ops.GroupingRule, error) {
	rows, err := q.Query(ctx, selectRules+` ORDER BY position, created_at, id LIMIT $1`, grouping.MaxRules)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRule)
}

// GroupingRules gives all rules in the order in which they are tried.
func (db *DB) GroupingRules(ctx context.Context) ([]ops.GroupingRule, error) {
	rules, err := groupingRules(ctx, db.pool)
	return rules, mapError(err)
}

// PutGroupingRule stores a rule under its id, whether it is new or not. It must
// have been checked. It gives the rule as it is stored.
func (db *DB) PutGroupingRule(ctx context.Context, r ops.GroupingRule, isNew bool) (ops.GroupingRule, error) {
	err := db.changeGrouping(ctx, func(tx pgx.Tx) error {
		if err := checkAgent(ctx, tx, r.Agent); err != nil {
			return err
		}
		var n int
		if isNew {
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM grouping_rules`).Scan(&n); err != nil {
				return err
			}
			if n >= grouping.MaxRules {
				return ops.Errorf(ops.CodeConflict, "there are %d grouping rules, and there can be no more: remove one first", n)
			}
			return tx.QueryRow(ctx, `INSERT INTO grouping_rules (id, name, position, enabled, match, key, window_kind, window_seconds,
					min_severity, investigate, agent)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING created_at, updated_at`,
				r.ID, r.Name, r.Position, r.Enabled, r.Match, r.Key, r.Window, r.WindowSeconds, r.MinSeverity, r.Investigate, r.Agent).
				Scan(&r.CreatedAt, &r.UpdatedAt)
		}
		return tx.QueryRow(ctx, `UPDATE grouping_rules SET name = $2, position = $3, enabled = $4, match = $5, key = $6, window_kind = $7,
				window_seconds = $8, min_severity = $9, investigate = $10, agent = $11, updated_at = now()
			WHERE id = $1 RETURNING created_at, updated_at`,
			r.ID, r.Name, r.Position, r.Enabled, r.Match, r.Key, r.Window, r.WindowSeconds, r.MinSeverity, r.Investigate, r.Agent).
			Scan(&r.CreatedAt, &r.UpdatedAt)
	})
	return r, err
}

func checkAgent(ctx context.Context, tx pgx.Tx, id string) error {
	if id == "" {
		return nil
	}
	var known bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM agents WHERE id = $1)`, id).Scan(&known); err != nil {
		return err
	}
	if !known {
		return ops.Errorf(ops.CodeInvalid, "agent does not name one: there is no agent %q", id)
	}
	return nil
}

// DeleteGroupingRule removes a rule. Its groups' incidents stay as they are.
func (db *DB) DeleteGroupingRule(ctx context.Context, id string) error {
	return db.changeGrouping(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM grouping_rules WHERE id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			err = ops.Errorf(ops.CodeNotFound, "there is no such grouping rule")
		}
		return err
	})
}

const selectWindows = `SELECT id, name, enabled, match, starts_at, ends_at, days, start_time, minutes, time_zone, created_at, updated_at
	FROM maintenance_windows`

func scanWindow(row pgx.CollectableRow) (w ops.MaintenanceWindow, err error) {
	var starts, ends *time.Time
	err = row.Scan(&w.ID, &w.Name, &w.Enabled, &w.Match, &starts, &ends, &w.Days, &w.StartTime, &w.Minutes, &w.TimeZone, &w.CreatedAt, &w.UpdatedAt)
	w.StartsAt, w.EndsAt = orZero(starts), orZero(ends)
	return w, err
}

func maintenanceWindows(ctx context.Context, q querier) ([]ops.MaintenanceWindow, error) {
	rows, err := q.Query(ctx, selectWindows+` ORDER BY name LIMIT $1`, grouping.MaxWindows)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanWindow)
}

// MaintenanceWindows gives all windows by name, past ones too.
func (db *DB) MaintenanceWindows(ctx context.Context) ([]ops.MaintenanceWindow, error) {
	windows, err := maintenanceWindows(ctx, db.pool)
	return windows, mapError(err)
}

// PutMaintenanceWindow stores a window under its id, whether it is new or not.
// It must have been checked. Incidents that it covers are looked at again: it
// may be over sooner or later than it was. It gives the window as it is stored.
func (db *DB) PutMaintenanceWindow(ctx context.Context, w ops.MaintenanceWindow, isNew bool) (ops.MaintenanceWindow, error) {
	err := db.changeGrouping(ctx, func(tx pgx.Tx) error {
		if isNew {
			var n int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM maintenance_windows`).Scan(&n); err != nil {
				return err
			}
			if n >= grouping.MaxWindows {
				return ops.Errorf(ops.CodeConflict, "there are %d maintenance windows, and there can be no more: remove old ones first", n)
			}
			return tx.QueryRow(ctx, `INSERT INTO maintenance_windows (id, name, enabled, match, starts_at, ends_at, days, start_time, minutes, time_zone)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING created_at, updated_at`,
				w.ID, w.Name, w.Enabled, w.Match, orNull(w.StartsAt), orNull(w.EndsAt), orNone(w.Days), w.StartTime, w.Minutes, w.TimeZone).
				Scan(&w.CreatedAt, &w.UpdatedAt)
		}
		if err := tx.QueryRow(ctx, `UPDATE maintenance_windows SET name = $2, enabled = $3, match = $4, starts_at = $5, ends_at = $6, days = $7,
				start_time = $8, minutes = $9, time_zone = $10, updated_at = now() WHERE id = $1 RETURNING created_at, updated_at`,
			w.ID, w.Name, w.Enabled, w.Match, orNull(w.StartsAt), orNull(w.EndsAt), orNone(w.Days), w.StartTime, w.Minutes, w.TimeZone).
			Scan(&w.CreatedAt, &w.UpdatedAt); err != nil {
			return err
		}
		return lookAgain(ctx, tx, w.ID)
	})
	return w, err
}

// DeleteMaintenanceWindow removes a window, which ends it for what it covers.
func (db *DB) DeleteMaintenanceWindow(ctx context.Context, id string) error {
	return db.changeGrouping(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM maintenance_windows WHERE id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			err = ops.Errorf(ops.CodeNotFound, "there is no such maintenance window")
		}
		if err != nil {
			return err
		}
		return lookAgain(ctx, tx, id)
	})
}

// lookAgain has the incidents that a window covers settled next time.
func lookAgain(ctx context.Context, tx pgx.Tx, window string) error {
	_, err := tx.Exec(ctx, `UPDATE incidents SET maintenance_until = now() WHERE id IN
		(SELECT id FROM incidents WHERE maintenance_until IS NOT NULL AND maintenance_id = $1 ORDER BY id FOR UPDATE)`, window)
	return err
}

const (
	previewBack   = 90 * 24 * time.Hour
	previewAlerts = 100_000
)

// PreviewGrouping goes through the stored alerts of the last 90 days, at most
// the newest 100,000 of them, as if rule had been there: instead of the stored
// one with its id, or beside them. The rule must have been checked. It counts as
// enabled.
func (db *DB) PreviewGrouping(ctx context.Context, rule ops.GroupingRule) (ops.GroupingPreview, error) {
	p, err := db.previewGrouping(ctx, rule)
	if err != nil {
		return p, fmt.Errorf("preview: %w", mapError(err))
	}
	return p, nil
}

func (db *DB) previewGrouping(ctx context.Context, rule ops.GroupingRule) (p ops.GroupingPreview, err error) {
	rules, err := groupingRules(ctx, db.pool)
	if err != nil {
		return p, err
	}
	rule.Enabled, rule.CreatedAt = true, time.Now() // of several at one position the newest is tried last
	i := slices.IndexFunc(rules, func(r ops.GroupingRule) bool { return r.ID == rule.ID })
	if i < 0 {
		rules = append(rules, rule)
	} else {
		rule.CreatedAt = rules[i].CreatedAt
		rules[i] = rule
	}
	config, _ := grouping.Compile(rules, nil) // as in rulesCache
	sources, err := db.Sources(ctx)
	if err != nil {
		return p, err
	}
	byID := make(map[string]ops.Source, len(sources))
	for _, s := range sources {
		byID[s.ID] = s
	}
	since := time.Now().Add(-previewBack)
	// Ids begin with the time that they were made, so this is in their order.
	rows, err := db.pool.Query(ctx, `SELECT incident_id, source_id, identity, group_key, kind, severity, title, service, host, labels, status,
			first_seen, last_seen
		FROM alerts WHERE id >= $1 AND incident_id IS NOT NULL ORDER BY id DESC LIMIT $2`, firstID(since), previewAlerts+1)
	if err != nil {
		return p, err
	}
	defer rows.Close()
	replay := grouping.NewReplay(config, rule.ID)
	n := 0
	for rows.Next() {
		if n++; n > previewAlerts {
			break
		}
		var a ops.Alert
		if err := rows.Scan(&a.IncidentID, &a.SourceID, &a.Identity, &a.GroupKey, &a.Kind, &a.Severity, &a.Title, &a.Service, &a.Host, &a.Labels, &a.Status,
			&a.FirstSeen, &a.LastSeen); err != nil {
			return p, err
		}
		src := byID[a.SourceID]
		var to time.Time
		if a.Status == ops.AlertResolved {
			to = a.LastSeen
		}
		replay.Add(grouping.Subject{Alert: &a, SourceID: a.SourceID, Source: src.Name, SourceKind: src.Kind}, a.FirstSeen, to,
			reopenWindow(src.Options), a.IncidentID)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return p, err
	}
	p = replay.Result()
	p.Truncated = n > previewAlerts
	return p, nil
}

// firstID is the least id that [ops.NewID] could have made at t.
func firstID(t time.Time) string {
	ms := fmt.Sprintf("%012x", max(0, t.UnixMilli()))
	return ms[:8] + "-" + ms[8:] + "-7000-8000-000000000000"
}

// reopenWindow is how long an incident may be opened again after its end.
func reopenWindow(o ops.SourceOptions) time.Duration {
	switch {
	case o.ReopenWindowSeconds < 0:
		return -1
	case o.ReopenWindowSeconds == 0:
		return grouping.DefaultReopen
	}
	return time.Duration(o.ReopenWindowSeconds) * time.Second
}
