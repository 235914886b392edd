package postgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// ownColumns are an incident's row. Who locks it reads these alone: what would be
// joined to a row that was waited for is what it was before the wait.
const ownColumns = `i.id, i.number, i.title, i.description, i.severity, i.status, i.investigation, i.investigation_reason,
	coalesce(i.source_id::text, ''), i.service, i.group_key, i.alert_count, i.firing_count, i.assignee,
	i.opened_at, i.updated_at, i.resolved_at, coalesce(i.run_id::text, ''), i.last_seq,
	i.resolved_by, i.resolve_at, i.edited, coalesce(i.merged_into::text, ''), i.reopened, i.transitions,
	i.flap_count >= 5 AND i.flap_since > now() - interval '1 hour', coalesce(i.rule_id::text, ''), i.storm, i.maintenance, i.maintenance_until`

const incidentColumns = ownColumns + `, coalesce(s.name, '')`

const selectIncidents = `SELECT ` + incidentColumns + ` FROM incidents i LEFT JOIN sources s ON s.id = i.source_id`

// scanIncident reads [incidentColumns], and more if there are more columns.
func scanIncident(row pgx.CollectableRow) (i ops.Incident, err error) { return scanIncidentAnd(row) }

func scanIncidentAnd(row pgx.CollectableRow, more ...any) (ops.Incident, error) {
	var source string
	i, err := scanOwn(row, append([]any{&source}, more...)...)
	i.SourceName = source
	return i, err
}

// scanOwn reads [ownColumns], and more if there are more columns.
func scanOwn(row pgx.CollectableRow, more ...any) (i ops.Incident, err error) {
	var resolved, resolve, maintained *time.Time
	var flapping *bool
	err = row.Scan(append([]any{&i.ID, &i.Number, &i.Title, &i.Description, &i.Severity, &i.Status, &i.Investigation, &i.InvestigationReason,
		&i.SourceID, &i.Service, &i.GroupKey, &i.AlertCount, &i.FiringCount, &i.Assignee,
		&i.OpenedAt, &i.UpdatedAt, &resolved, &i.RunID, &i.LastSeq,
		&i.ResolvedBy, &resolve, &i.Edited, &i.MergedInto, &i.Reopened, &i.Transitions,
		&flapping, &i.RuleID, &i.Storm, &i.Maintenance, &maintained}, more...)...)
	i.ResolvedAt, i.ResolveAt, i.MaintenanceUntil = orZero(resolved), orZero(resolve), orZero(maintained)
	i.Flapping = flapping != nil && *flapping
	return i, err
}

// Incident gives one incident by its id.
func (db *DB) Incident(ctx context.Context, id string) (ops.Incident, error) {
	return db.incident(ctx, selectIncidents+` WHERE i.id = $1`, id)
}

// IncidentByNumber gives one incident by its number.
func (db *DB) IncidentByNumber(ctx context.Context, number int64) (ops.Incident, error) {
	return db.incident(ctx, selectIncidents+` WHERE i.number = $1`, number)
}

func (db *DB) incident(ctx context.Context, query string, arg any) (ops.Incident, error) {
	rows, err := db.pool.Query(ctx, query, arg)
	if err != nil {
		return ops.Incident{}, mapError(err)
	}
	i, err := pgx.CollectExactlyOneRow(rows, scanIncident)
	return i, mapError(err)
}

// IncidentAlerts gives the alerts of an incident, at most 1,000, oldest first.
func (db *DB) IncidentAlerts(ctx context.Context, incident string) ([]ops.Alert, error) {
	rows, err := db.pool.Query(ctx, selectAlerts+` WHERE incident_id = $1 ORDER BY first_seen, id LIMIT 1000`, incident)
	if err != nil {
		return nil, mapError(err)
	}
	alerts, err := pgx.CollectRows(rows, scanAlert)
	return alerts, mapError(err)
}

const selectEvents = `SELECT incident_id, seq, at, kind, coalesce(run_id::text, ''), coalesce(run_seq, 0), actor, data FROM events`

func scanEvent(row pgx.CollectableRow) (e ops.Event, err error) {
	err = row.Scan(&e.IncidentID, &e.Seq, &e.At, &e.Kind, &e.RunID, &e.RunSeq, &e.Actor, &e.Data)
	return e, err
}

// Events gives up to limit events of a timeline behind number after, in order.
func (db *DB) Events(ctx context.Context, incident string, after int64, limit int) ([]ops.Event, error) {
	rows, err := db.pool.Query(ctx, selectEvents+` WHERE incident_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`, incident, after, limit)
	if err != nil {
		return nil, mapError(err)
	}
	events, err := pgx.CollectRows(rows, scanEvent)
	return events, mapError(err)
}

// EventsOf gives up to limit events of the given kinds, in order.
func (db *DB) EventsOf(ctx context.Context, incident string, kinds []ops.EventKind, limit int) ([]ops.Event, error) {
	rows, err := db.pool.Query(ctx, selectEvents+` WHERE incident_id = $1 AND kind = ANY($2) ORDER BY seq LIMIT $3`, incident, kinds, limit)
	if err != nil {
		return nil, mapError(err)
	}
	events, err := pgx.CollectRows(rows, scanEvent)
	return events, mapError(err)
}

// appendEvents gives events the next numbers of the incident's timeline, stores
// them and wakes readers. It locks the incident's row.
func appendEvents(ctx context.Context, tx pgx.Tx, incident string, events ...ops.Event) (last int64, err error) {
	if err := tx.QueryRow(ctx, `UPDATE incidents SET last_seq = last_seq + $2, updated_at = now() WHERE id = $1 RETURNING last_seq`,
		incident, len(events)).Scan(&last); err != nil {
		return 0, err
	}
	for i := range events {
		events[i].IncidentID, events[i].Seq = incident, last-int64(len(events)-1-i)
	}
	if err := insertEvents(ctx, tx, events); err != nil {
		return 0, err
	}
	return last, notify(ctx, tx, ChannelEvents, incident)
}

// insertEvents stores events that have their numbers.
func insertEvents(ctx context.Context, tx pgx.Tx, events []ops.Event) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"events"},
		[]string{"incident_id", "seq", "at", "kind", "run_id", "run_seq", "actor", "data"},
		pgx.CopyFromSlice(len(events), func(i int) ([]any, error) {
			e := events[i]
			var run, runSeq any
			if e.RunID != "" {
				run = e.RunID
			}
			if e.RunSeq != 0 {
				runSeq = e.RunSeq
			}
			data := json.RawMessage(bytes.ToValidUTF8(e.Data, []byte("\uFFFD")))
			return []any{e.IncidentID, e.Seq, e.At, string(e.Kind), run, runSeq, e.Actor, data}, nil
		}))
	return err
}

func notify(ctx context.Context, tx pgx.Tx, channel, payload string) error {
	_, err := tx.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, payload)
	return err
}

// NewIncident is what a person opens by hand.
type NewIncident struct {
	ID                 string // empty: a new one
	Title, Description string
	Severity           ops.Severity
	Agent              string // empty: no investigation
	Actor              string
}

// CreateIncident opens an incident by hand.
func (db *DB) CreateIncident(ctx context.Context, n NewIncident) (ops.Incident, error) {
	id := cmp.Or(n.ID, ops.NewID())
	err := db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO incidents (id, title, description, severity, status, opened_at, updated_at)
			VALUES ($1, $2, $3, $4, 'triggered', now(), now())`, id, n.Title, n.Description, n.Severity); err != nil {
			return err
		}
		if err := searchable(ctx, tx, id, []string{n.Title}); err != nil {
			return err
		}
		e := ops.NewEvent(ops.EventIncidentOpened, ops.IncidentChange{Status: ops.IncidentTriggered, Severity: n.Severity,
			Title: n.Title, Reason: "opened by hand"})
		e.Actor = n.Actor
		if _, err := appendEvents(ctx, tx, id, e); err != nil {
			return err
		}
		if n.Agent == "" {
			return nil
		}
		return queueRun(ctx, tx, id, n.Agent, n.Severity, n.Actor)
	})
	if err != nil {
		return ops.Incident{}, err
	}
	return db.Incident(ctx, id)
}

// StoredFinding is the finding of one run.
type StoredFinding struct {
	RunID   string      `json:"run_id"`
	At      time.Time   `json:"at"`
	Finding ops.Finding `json:"finding"`
}

// Findings gives the findings of an incident's runs, newest first.
func (db *DB) Findings(ctx context.Context, incident string) ([]StoredFinding, error) {
	rows, err := db.pool.Query(ctx, `SELECT run_id, at, finding FROM findings WHERE incident_id = $1 ORDER BY at DESC LIMIT 100`, incident)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f StoredFinding, err error) {
		err = row.Scan(&f.RunID, &f.At, &f.Finding)
		return f, err
	})
	return items, mapError(err)
}
