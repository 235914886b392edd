package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// What people do to incidents. Everything is on the timeline of each incident
// that it changes, and what they have set is theirs: alerts change it no more.

// SetIncidentStatus is a person's change of the status. Only an open incident
// can be acknowledged or resolved; any can be closed.
func (db *DB) SetIncidentStatus(ctx context.Context, incident string, to ops.IncidentStatus, actor string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		i, err := lockIncident(ctx, tx, incident)
		if err != nil {
			return err
		}
		if i.Status == to {
			return nil
		}
		if !i.Status.Open() && to != ops.IncidentClosed || i.Status == ops.IncidentMerged {
			return ops.Errorf(ops.CodeConflict, "the incident is %s", i.Status)
		}
		// Who has ended it says whether its group may open it again.
		if _, err := tx.Exec(ctx, `UPDATE incidents SET status = $2, edited = $3,
				resolve_at = CASE WHEN $2 IN ('resolved', 'closed') THEN NULL ELSE resolve_at END,
				resolved_by = CASE WHEN $2 IN ('resolved', 'closed') THEN $4 ELSE '' END,
				maintenance_until = CASE WHEN $2 IN ('resolved', 'closed') THEN NULL ELSE maintenance_until END,
				resolved_at = CASE WHEN $2 IN ('resolved', 'closed') THEN coalesce(resolved_at, now()) END WHERE id = $1`,
			incident, to, edited(i, ops.EditedStatus), actor); err != nil {
			return err
		}
		kind := ops.EventIncidentChanged
		if to == ops.IncidentResolved {
			kind = ops.EventIncidentResolved
		}
		return tell(ctx, tx, i.ID, actor, kind, ops.IncidentChange{Status: to, Reason: "by hand"})
	})
}

// IncidentEdit is what a person changes of an incident; nil leaves it as it is.
type IncidentEdit struct {
	Title, Description *string
	Severity           *ops.Severity
	Assignee           *string // empty: nobody
}

// EditIncident is a person's change of an incident. A merged one is a conflict.
func (db *DB) EditIncident(ctx context.Context, incident string, e IncidentEdit, actor string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		i, err := lockIncident(ctx, tx, incident)
		if err != nil {
			return err
		}
		if i.Status == ops.IncidentMerged {
			return ops.Errorf(ops.CodeConflict, "the incident is merged into another one: edit that one")
		}
		c := ops.IncidentChange{Reason: "edited by hand"}
		var fields []string
		if e.Title != nil {
			i.Title, c.Title, fields = *e.Title, *e.Title, append(fields, ops.EditedTitle)
		}
		if e.Description != nil {
			i.Description, fields = *e.Description, append(fields, ops.EditedDescription)
			c.Reason = "its description was edited by hand"
		}
		if e.Severity != nil {
			i.Severity, c.Severity, fields = *e.Severity, *e.Severity, append(fields, ops.EditedSeverity)
		}
		if e.Assignee != nil {
			i.Assignee, c.Assignee, fields = *e.Assignee, *e.Assignee, append(fields, ops.EditedAssignee)
			c.Reason = "assigned by hand"
			if i.Assignee == "" {
				c.Reason = "assigned to nobody"
			}
		}
		if len(fields) == 0 {
			return nil
		}
		if err := searchable(ctx, tx, i.ID, []string{i.Title}); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE incidents SET title = $2, description = $3, severity = $4, assignee = $5, edited = $6 WHERE id = $1`,
			i.ID, i.Title, i.Description, i.Severity, i.Assignee, edited(i, fields...)); err != nil {
			return err
		}
		if e.Title != nil { // also where there are enough words: it is what people call it
			if _, err := tx.Exec(ctx, `UPDATE incident_search SET words = words || array_to_tsvector($2::text[]) WHERE number = $1 AND length(words) < $3`,
				i.Number, searchWords(i.Title), 2*maxSearchWords); err != nil {
				return err
			}
		}
		if err := tell(ctx, tx, i.ID, actor, ops.EventIncidentChanged, c); err != nil || e.Severity == nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE runs SET priority = $2 WHERE id = $1 AND state = 'queued'`, orNullText(i.RunID), priority(i.Severity))
		return err
	})
}

func edited(i ops.Incident, fields ...string) []string {
	all := append(slices.Clone(i.Edited), fields...)
	slices.Sort(all)
	return slices.Compact(all)
}

// MergeIncident makes incident from a part of into: its alerts and its groups go
// over, and it is merged. What investigates it is cancelled.
func (db *DB) MergeIncident(ctx context.Context, from, into, actor string) error {
	if from == into {
		return ops.Errorf(ops.CodeInvalid, "an incident cannot be merged into itself")
	}
	return db.tx(ctx, func(tx pgx.Tx) error {
		keys, err := lockGroupsOf(ctx, tx, from)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT FROM alerts WHERE incident_id = $1 ORDER BY id FOR UPDATE`, from); err != nil {
			return err
		}
		pair, err := lockIncidents(ctx, tx, from, into)
		if err != nil {
			return err
		}
		f, to := pair[0], pair[1]
		now, err := groupsOf(ctx, tx, from)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(now, func(k string) bool { return !slices.Contains(keys, k) }) {
			return errAgain // another group joined it meanwhile
		}
		if err := takes(f, to, f.FiringCount); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectAlerts+` WHERE incident_id = $1 ORDER BY first_seen, id LIMIT 1000`, from)
		if err != nil {
			return err
		}
		moved, err := pgx.CollectRows(rows, scanAlert)
		if err != nil {
			return err
		}
		if err := searchable(ctx, tx, into, []string{f.Title}, moved...); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE groups SET incident_id = $2 WHERE incident_id = $1`, from, into); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE storms SET incident_id = $2 WHERE incident_id = $1`, from, into); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE alerts SET incident_id = $2, why = $3 WHERE incident_id = $1`, from, into,
			fmt.Sprintf("Incident %d, which it was in, was merged into this one by %s.", f.Number, actor)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE incidents SET status = 'merged', merged_into = $2, edited = $3, resolve_at = NULL, maintenance_until = NULL,
				resolved_by = $4, resolved_at = coalesce(resolved_at, now()) WHERE id = $1`, from, into, edited(f, ops.EditedStatus), actor); err != nil {
			return err
		}
		if err := inheritSearch(ctx, tx, from, into); err != nil {
			return err
		}
		if err := db.recount(ctx, tx, &to, f.Severity, f.ID); err != nil {
			return err
		}
		if err := tell(ctx, tx, from, actor, ops.EventIncidentMerged, ops.IncidentChange{Status: ops.IncidentMerged, Other: into, OtherNumber: to.Number,
			Alerts: f.AlertCount, Reason: fmt.Sprintf("merged into incident %d by hand", to.Number)}); err != nil {
			return err
		}
		if err := tell(ctx, tx, into, actor, ops.EventIncidentMerged, ops.IncidentChange{Other: from, OtherNumber: f.Number, Alerts: f.AlertCount,
			Severity: to.Severity, Reason: fmt.Sprintf("incident %d was merged into this one by hand, with %s", f.Number, alerts(f.AlertCount))}); err != nil {
			return err
		}
		err = cancelRun(ctx, tx, from, fmt.Sprintf("its incident was merged into incident %d", to.Number))
		if ops.CodeOf(err) == ops.CodeConflict { // nothing investigates it
			return nil
		}
		return err
	})
}

func alerts(n int) string {
	if n == 1 {
		return "1 alert"
	}
	return fmt.Sprintf("%d alerts", n)
}

// lockGroupsOf locks the groups of an incident and gives them.
func lockGroupsOf(ctx context.Context, tx pgx.Tx, incident string) ([]string, error) {
	keys, err := groupsOf(ctx, tx, incident)
	if err != nil || len(keys) == 0 {
		return keys, err
	}
	b := &pgx.Batch{}
	queueLocks(b, keys)
	return keys, tx.SendBatch(ctx, b).Close()
}

func groupsOf(ctx context.Context, tx pgx.Tx, incident string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT key FROM groups WHERE incident_id = $1 ORDER BY key`, incident)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// SplitIncident takes alerts out of an incident into a new one, and gives its
// id. At least one alert must stay behind. The group stays with the old
// incident: what comes new belongs there. Nothing investigates the new one by itself.
func (db *DB) SplitIncident(ctx context.Context, from string, ids []string, title, actor string) (to string, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		moved, err := lockMoved(ctx, tx, from, ids)
		if err != nil {
			return err
		}
		pair, err := lockIncidents(ctx, tx, from)
		if err != nil {
			return err
		}
		f := pair[0]
		if f.Status == ops.IncidentMerged {
			return ops.Errorf(ops.CodeConflict, "the incident is merged into another one: split that one")
		}
		if len(moved) >= f.AlertCount {
			return ops.Errorf(ops.CodeInvalid, "all alerts of the incident would go: leave at least one, or edit this incident")
		}
		first := slices.MinFunc(moved, func(a, b ops.Alert) int { return a.FirstSeen.Compare(b.FirstSeen) })
		n := ops.Incident{ID: ops.NewID(), Title: cmp.Or(title, first.Title), Description: first.Description, Status: ops.IncidentTriggered,
			Severity: first.Severity, SourceID: first.SourceID, Service: first.Service, OpenedAt: first.FirstSeen}
		if title != "" {
			n.Edited = []string{ops.EditedTitle}
		}
		if firingOf(moved) == 0 {
			n.Status, n.ResolvedAt, n.ResolvedBy = ops.IncidentResolved, time.Now(), ops.BySystem
		}
		if err := tx.QueryRow(ctx, `INSERT INTO incidents (id, title, description, severity, status, source_id, service, opened_at, updated_at,
				resolved_at, resolved_by, edited) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), $9, $10, $11) RETURNING number`,
			n.ID, n.Title, n.Description, n.Severity, n.Status, orNullText(n.SourceID), n.Service, n.OpenedAt, orNull(n.ResolvedAt), n.ResolvedBy,
			orNone(n.Edited)).Scan(&n.Number); err != nil {
			return err
		}
		if err := tell(ctx, tx, n.ID, actor, ops.EventIncidentOpened, ops.IncidentChange{Status: n.Status, Severity: n.Severity, Title: n.Title,
			Reason: fmt.Sprintf("split from incident %d by hand", f.Number)}); err != nil {
			return err
		}
		to = n.ID
		return db.move(ctx, tx, f, n, moved, actor)
	})
	return to, err
}

// MoveAlerts takes alerts of an incident over to another one. Their groups stay
// where they are: what comes new of them belongs to the old incident.
func (db *DB) MoveAlerts(ctx context.Context, from, to string, ids []string, actor string) error {
	if from == to {
		return ops.Errorf(ops.CodeInvalid, "the alerts are in that incident already")
	}
	return db.tx(ctx, func(tx pgx.Tx) error {
		moved, err := lockMoved(ctx, tx, from, ids)
		if err != nil {
			return err
		}
		pair, err := lockIncidents(ctx, tx, from, to)
		if err != nil {
			return err
		}
		if err := takes(pair[0], pair[1], firingOf(moved)); err != nil {
			return err
		}
		return db.move(ctx, tx, pair[0], pair[1], moved, actor)
	})
}

// takes refuses what would make an incident say less than its alerts.
func takes(from, to ops.Incident, firing int) error {
	switch {
	case from.Status == ops.IncidentMerged:
		return ops.Errorf(ops.CodeConflict, "incident %d is merged into another one already", from.Number)
	case to.Status == ops.IncidentMerged:
		return ops.Errorf(ops.CodeConflict, "incident %d is merged into another one: name that one", to.Number)
	case to.Status == ops.IncidentClosed:
		return ops.Errorf(ops.CodeConflict, "incident %d is closed", to.Number)
	case !to.Status.Open() && firing > 0:
		return ops.Errorf(ops.CodeConflict, "incident %d is %s, and %s would fire on in it unseen", to.Number, to.Status, alerts(firing))
	}
	return nil
}

// lockMoved locks alerts of an incident and gives them. All must be its own.
func lockMoved(ctx context.Context, tx pgx.Tx, from string, ids []string) ([]ops.Alert, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	rows, err := tx.Query(ctx, selectAlerts+` WHERE id = ANY($1::uuid[]) AND incident_id = $2 ORDER BY id FOR UPDATE`, ids, from)
	if err != nil {
		return nil, err
	}
	moved, err := pgx.CollectRows(rows, scanAlert)
	if err == nil && (len(moved) == 0 || len(moved) < len(ids)) {
		err = ops.Errorf(ops.CodeInvalid, "alert_ids names %d alerts, of which %d are in the incident", len(ids), len(moved))
	}
	return moved, err
}

// lockIncidents locks incidents by id, as everybody does, and gives them in the
// order asked for, without the names of their sources.
func lockIncidents(ctx context.Context, tx pgx.Tx, ids ...string) ([]ops.Incident, error) {
	rows, err := tx.Query(ctx, `SELECT `+ownColumns+` FROM incidents i WHERE i.id = ANY($1::uuid[]) ORDER BY i.id FOR UPDATE`, ids)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ops.Incident, error) { return scanOwn(row) })
	if err != nil {
		return nil, err
	}
	out := make([]ops.Incident, len(ids))
	for n, id := range ids {
		at := slices.IndexFunc(found, func(i ops.Incident) bool { return i.ID == id })
		if at < 0 {
			return nil, ops.Errorf(ops.CodeNotFound, "there is no such incident")
		}
		out[n] = found[at]
	}
	return out, nil
}

func lockIncident(ctx context.Context, tx pgx.Tx, id string) (ops.Incident, error) {
	one, err := lockIncidents(ctx, tx, id)
	if err != nil {
		return ops.Incident{}, err
	}
	return one[0], nil
}

func firingOf(moved []ops.Alert) (n int) {
	for _, a := range moved {
		if a.Status != ops.AlertResolved {
			n++
		}
	}
	return n
}

// move takes alerts over between two locked incidents and says so on both timelines.
func (db *DB) move(ctx context.Context, tx pgx.Tx, from, to ops.Incident, moved []ops.Alert, actor string) error {
	ids := make([]string, len(moved))
	worst := ops.SeverityInfo
	for n, a := range moved {
		ids[n] = a.ID
		if a.Severity.Rank() > worst.Rank() {
			worst = a.Severity
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE alerts SET incident_id = $2, why = $3 WHERE id = ANY($1::uuid[])`, ids, to.ID,
		fmt.Sprintf("Moved here from incident %d by %s.", from.Number, actor)); err != nil {
		return err
	}
	if err := searchable(ctx, tx, to.ID, []string{to.Title, to.Service}, moved...); err != nil {
		return err
	}
	if err := db.recount(ctx, tx, &to, worst, from.ID); err != nil {
		return err
	}
	if err := searchable(ctx, tx, to.ID, []string{to.Title, to.Service}, moved...); err != nil {
		return err
	}
	what := alerts(len(moved))
	if err := tell(ctx, tx, from.ID, actor, ops.EventIncidentSplit, ops.IncidentChange{Other: to.ID, OtherNumber: to.Number, Alerts: len(moved),
		Reason: fmt.Sprintf("%s moved to incident %d by hand", what, to.Number)}); err != nil {
		return err
	}
	if err := tell(ctx, tx, to.ID, actor, ops.EventIncidentSplit, ops.IncidentChange{Other: from.ID, OtherNumber: from.Number, Alerts: len(moved),
		Severity: to.Severity, Reason: fmt.Sprintf("%s moved here from incident %d by hand", what, from.Number)}); err != nil {
		return err
	}
	return endEmptied(ctx, tx, from)
}

// recount counts the alerts of both incidents anew, and raises the one that got
// some to their severity unless a person has set its own.
func (db *DB) recount(ctx context.Context, tx pgx.Tx, to *ops.Incident, worst ops.Severity, from string) error {
	if worst.Rank() > to.Severity.Rank() && !slices.Contains(to.Edited, ops.EditedSeverity) {
		to.Severity = worst
	}
	_, err := tx.Exec(ctx, `UPDATE incidents i SET
			alert_count = (SELECT count(*) FROM alerts a WHERE a.incident_id = i.id),
			firing_count = (SELECT count(*) FROM alerts a WHERE a.incident_id = i.id AND a.status <> 'resolved'),
			severity = CASE WHEN i.id = $1 THEN $3 ELSE severity END,
			resolve_at = CASE WHEN i.id = $1 AND EXISTS (SELECT FROM alerts a WHERE a.incident_id = i.id AND a.status <> 'resolved') THEN NULL ELSE resolve_at END,
			updated_at = now()
		WHERE i.id IN ($1, $2)`, to.ID, from, to.Severity)
	return err
}

// endEmptied resolves an open incident whose firing alerts have all gone to another one.
func endEmptied(ctx context.Context, tx pgx.Tx, i ops.Incident) error {
	if !i.Status.Open() || i.FiringCount == 0 {
		return nil
	}
	tag, err := tx.Exec(ctx, `UPDATE incidents SET status = 'resolved', resolved_at = now(), resolved_by = $2, resolve_at = NULL, maintenance_until = NULL
		WHERE id = $1 AND firing_count = 0`, i.ID, ops.BySystem)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	return tell(ctx, tx, i.ID, ops.BySystem, ops.EventIncidentResolved, ops.IncidentChange{Status: ops.IncidentResolved,
		Reason: "all its firing alerts were moved to other incidents"})
}

// tell puts one event on an incident's timeline.
func tell(ctx context.Context, tx pgx.Tx, incident, actor string, kind ops.EventKind, change ops.IncidentChange) error {
	e := ops.NewEvent(kind, change)
	e.Actor = actor
	_, err := appendEvents(ctx, tx, incident, e)
	return err
}
