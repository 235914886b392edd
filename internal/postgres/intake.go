package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// DefaultAgent investigates what alerts open.
const DefaultAgent = "investigator"

// Ingest stores deliveries with everything that follows from their alerts, in
// one transaction: either all of it is stored or nothing is. Several callers at
// once are safe, also in other processes: alerts of one group wait for each other.
//
// What follows, for each alert in the order given:
//
//   - An episode that is new and fires joins the open incident of its group, or
//     opens one and queues one run.
//   - A state that is older than the stored one changes nothing (a late or
//     repeated notification); it is counted.
//   - An episode that is acknowledged at its sender still counts as firing; its
//     incident is acknowledged if nobody has touched it yet.
//   - When the last firing alert of an incident is resolved, so is the incident.
//   - A resolve of an unknown episode is kept, so that its late "firing" opens
//     nothing; it opens nothing itself.
func (db *DB) Ingest(ctx context.Context, deliveries []ops.Delivery) error {
	err := db.tx(ctx, func(tx pgx.Tx) error {
		in, err := loadIntake(ctx, tx, deliveries)
		if err != nil {
			return err
		}
		for i := range deliveries {
			for j := range deliveries[i].Alerts {
				in.apply(&deliveries[i], deliveries[i].Alerts[j])
			}
		}
		return in.store(ctx, tx, deliveries)
	})
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	return nil
}

// intake is the part of the database that a batch of deliveries touches, and
// what has changed of it. It is loaded with a few queries, changed in memory and
// written in one batch, so the cost of a batch is a few round trips.
type intake struct {
	alerts    map[alertKey]*storedAlert
	newest    map[alertKey]*storedAlert    // of identities, under the empty episode
	open      map[groupKey]*storedIncident // the open incident of each group
	incidents map[string]*storedIncident
	events    []ops.Event
	// order keeps writes in the order of first use.
	alertOrder    []*storedAlert
	incidentOrder []*storedIncident
}

type alertKey struct{ source, identity, episode string }

type groupKey struct{ source, key string }

type storedAlert struct {
	ops.Alert
	delivery     string
	fresh, dirty bool
}

type storedIncident struct {
	ops.Incident
	fresh, dirty bool
	run          string // queued by this batch
}

func loadIntake(ctx context.Context, tx pgx.Tx, deliveries []ops.Delivery) (*intake, error) {
	in := &intake{alerts: map[alertKey]*storedAlert{}, newest: map[alertKey]*storedAlert{}, open: map[groupKey]*storedIncident{}, incidents: map[string]*storedIncident{}}
	var sources, identities, episodes []string
	groups := map[groupKey]bool{}
	for _, d := range deliveries {
		for _, a := range d.Alerts {
			sources, identities, episodes = append(sources, d.SourceID), append(identities, a.Identity), append(episodes, a.Episode)
			groups[groupKey{d.SourceID, a.GroupKey}] = true
		}
	}
	if len(sources) == 0 {
		return in, nil
	}
	if err := lockGroups(ctx, tx, groups); err != nil {
		return nil, err
	}
	// The group's lock does not cover an alert that is known under another group
	// (the sender was regrouped): the rows are locked as well.
	rows, err := tx.Query(ctx, selectAlerts+` JOIN (
			SELECT source, ident, CASE WHEN epi <> '' THEN epi ELSE
				(SELECT n.episode FROM alerts n WHERE n.source_id = source AND n.identity = ident ORDER BY n.at DESC, n.id DESC LIMIT 1) END AS epi
			FROM unnest($1::uuid[], $2::text[], $3::text[]) AS given (source, ident, epi)) AS k
		ON source_id = k.source AND identity = k.ident AND episode = k.epi ORDER BY id FOR UPDATE OF alerts`, sources, identities, episodes)
	if err != nil {
		return nil, err
	}
	known, err := pgx.CollectRows(rows, scanAlert)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range known {
		in.remember(&storedAlert{Alert: a})
		if a.IncidentID != "" {
			ids = append(ids, a.IncidentID)
		}
	}
	var groupSources, groupKeys []string
	for g := range groups {
		groupSources, groupKeys = append(groupSources, g.source), append(groupKeys, g.key)
	}
	// Locked by id, so that two batches never wait for each other in a circle.
	rows, err = tx.Query(ctx, selectIncidents+` WHERE i.id IN (
			SELECT unnest($1::uuid[])
			UNION SELECT g.id FROM incidents g JOIN unnest($2::uuid[], $3::text[]) AS k (source, key)
				ON g.source_id = k.source AND g.group_key = k.key
				WHERE g.status IN ('triggered', 'acknowledged') AND g.group_key <> '')
		ORDER BY i.id FOR UPDATE OF i`, ids, groupSources, groupKeys)
	if err != nil {
		return nil, err
	}
	incidents, err := pgx.CollectRows(rows, scanIncident)
	if err != nil {
		return nil, err
	}
	for _, i := range incidents {
		s := &storedIncident{Incident: i}
		in.incidents[i.ID] = s
		if isOpen(i.Status) {
			in.open[groupKey{i.SourceID, i.GroupKey}] = s
		}
	}
	return in, nil
}

func lockGroups(ctx context.Context, tx pgx.Tx, groups map[groupKey]bool) error {
	names := make([]string, 0, len(groups))
	for g := range groups {
		names = append(names, g.source+" "+g.key)
	}
	// Sorted by the very number that is locked: two names may share one.
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(h) FROM (
		SELECT DISTINCT hashtextextended('group ' || n, 0) AS h FROM unnest($1::text[]) AS n ORDER BY h) AS sorted`, names)
	return err
}

func isOpen(s ops.IncidentStatus) bool {
	return s == ops.IncidentTriggered || s == ops.IncidentAcknowledged
}

func (in *intake) remember(s *storedAlert) {
	in.alerts[alertKey{s.SourceID, s.Identity, s.Episode}] = s
	identity := alertKey{s.SourceID, s.Identity, ""}
	if n := in.newest[identity]; n == nil || s.At.After(n.At) {
		in.newest[identity] = s
	}
}

// episode says which occurrence an alert is of whose sender does not: the
// newest one as long as it goes on, or if the alert is not from after its end.
func (in *intake) episode(a ops.Alert) string {
	n := in.newest[alertKey{a.SourceID, a.Identity, ""}]
	if n == nil || n.Status == ops.AlertResolved && a.Status != ops.AlertResolved && a.At.After(n.At) {
		return a.At.Format(time.RFC3339Nano)
	}
	return n.Episode
}

// apply changes the loaded part by one alert.
func (in *intake) apply(d *ops.Delivery, a ops.Alert) {
	a.SourceID = d.SourceID
	if a.Episode == "" {
		a.Episode = in.episode(a)
	}
	key := alertKey{a.SourceID, a.Identity, a.Episode}
	s := in.alerts[key]
	if s == nil {
		a.ID, a.Count, a.FirstSeen, a.LastSeen = ops.NewID(), 1, d.ReceivedAt, d.ReceivedAt
		s = &storedAlert{Alert: a, delivery: d.ID, fresh: true}
		in.remember(s)
		in.alertOrder = append(in.alertOrder, s)
		if a.Status != ops.AlertResolved {
			in.join(s)
		}
		if a.Status == ops.AlertAcknowledged {
			in.acknowledge(s)
		}
		return
	}
	if !s.fresh && !s.dirty {
		in.alertOrder = append(in.alertOrder, s)
	}
	s.dirty = true
	s.Count++
	s.LastSeen = d.ReceivedAt
	if a.Status == s.Status || a.At.Before(s.At) || s.Status == ops.AlertResolved {
		return // a repetition, or late: an episode that has ended stays ended
	}
	s.Status, s.At, s.EndsAt, s.delivery = a.Status, a.At, a.EndsAt, d.ID
	switch a.Status {
	case ops.AlertResolved:
		in.leave(s)
	case ops.AlertAcknowledged:
		in.acknowledge(s)
	case ops.AlertFiring: // no longer acknowledged; its incident is left to people
		if i := in.incidents[s.IncidentID]; i != nil {
			in.touch(i)
			in.event(i, ops.EventAlertFiring, change(s))
		}
	}
}

// join puts a firing alert into its group's incident.
func (in *intake) join(s *storedAlert) {
	group := groupKey{s.SourceID, s.GroupKey}
	i := in.open[group]
	if i == nil {
		i = &storedIncident{fresh: true, run: ops.NewID(), Incident: ops.Incident{
			ID: ops.NewID(), Title: s.Title, Description: s.Description, Severity: s.Severity, Status: ops.IncidentTriggered,
			SourceID: s.SourceID, Service: s.Service, GroupKey: s.GroupKey, OpenedAt: s.FirstSeen,
			Investigation: ops.RunQueued,
		}}
		in.open[group], in.incidents[i.ID] = i, i
		in.incidentOrder = append(in.incidentOrder, i)
		in.event(i, ops.EventIncidentOpened, ops.IncidentChange{Status: i.Status, Severity: i.Severity, Title: i.Title,
			Reason: "first alert of its group"})
	}
	s.IncidentID = i.ID
	i.AlertCount++
	i.FiringCount++
	if s.Severity.Rank() > i.Severity.Rank() {
		i.Severity = s.Severity
	}
	in.touch(i)
	in.event(i, ops.EventAlertFiring, change(s))
	if i.fresh && i.AlertCount == 1 {
		in.event(i, ops.EventRunQueued, ops.RunChange{State: ops.RunQueued})
		in.events[len(in.events)-1].RunID = i.run
	}
}

// acknowledge notes that somebody has taken an alert at its sender.
func (in *intake) acknowledge(s *storedAlert) {
	i := in.incidents[s.IncidentID]
	if i == nil {
		return
	}
	in.touch(i)
	in.event(i, ops.EventAlertAcked, change(s))
	if i.Status == ops.IncidentTriggered {
		i.Status = ops.IncidentAcknowledged
		in.event(i, ops.EventIncidentChanged, ops.IncidentChange{Status: i.Status, Reason: "acknowledged at its source"})
	}
}

// leave takes a resolved alert out of its incident's firing ones.
func (in *intake) leave(s *storedAlert) {
	i := in.incidents[s.IncidentID]
	if i == nil {
		return
	}
	i.FiringCount = max(0, i.FiringCount-1)
	in.touch(i)
	in.event(i, ops.EventAlertResolved, change(s))
	if i.FiringCount == 0 && isOpen(i.Status) {
		i.Status, i.ResolvedAt = ops.IncidentResolved, s.LastSeen
		delete(in.open, groupKey{i.SourceID, i.GroupKey})
		in.event(i, ops.EventIncidentResolved, ops.IncidentChange{Status: i.Status, Reason: "its last firing alert was resolved"})
	}
}

func (in *intake) touch(i *storedIncident) {
	if !i.fresh && !i.dirty {
		i.dirty = true
		in.incidentOrder = append(in.incidentOrder, i)
	}
}

func (in *intake) event(i *storedIncident, kind ops.EventKind, data any) {
	i.LastSeq++
	e := ops.NewEvent(kind, data)
	e.IncidentID, e.Seq, e.Actor = i.ID, i.LastSeq, "source:"+i.SourceID
	in.events = append(in.events, e)
}

func change(s *storedAlert) ops.AlertChange {
	return ops.AlertChange{AlertID: s.ID, Title: s.Title, Severity: s.Severity, Host: s.Host, Summary: s.Summary}
}

// store writes everything in one batch and one copy.
func (in *intake) store(ctx context.Context, tx pgx.Tx, deliveries []ops.Delivery) error {
	b := &pgx.Batch{}
	queueDeliveries(b, deliveries)
	for _, i := range in.incidentOrder {
		if i.fresh {
			b.Queue(`INSERT INTO incidents (id, title, description, severity, status, investigation, run_id, source_id, service, group_key,
					alert_count, firing_count, opened_at, updated_at, resolved_at, last_seq)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now(), $14, $15)`,
				i.ID, i.Title, i.Description, i.Severity, i.Status, i.Investigation, i.run, i.SourceID, i.Service, i.GroupKey,
				i.AlertCount, i.FiringCount, i.OpenedAt, orNull(i.ResolvedAt), i.LastSeq)
			b.Queue(`INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at)
				VALUES ($1, $2, $3, 'queued', $4, now(), now())`, i.run, i.ID, DefaultAgent, priority(i.Severity))
			b.Queue(`SELECT pg_notify($1, $2)`, ChannelRuns, i.run)
		} else {
			b.Queue(`UPDATE incidents SET severity = $2, status = $3, alert_count = $4, firing_count = $5, resolved_at = $6, last_seq = $7,
				updated_at = now() WHERE id = $1`, i.ID, i.Severity, i.Status, i.AlertCount, i.FiringCount, orNull(i.ResolvedAt), i.LastSeq)
		}
		b.Queue(`SELECT pg_notify($1, $2)`, ChannelEvents, i.ID)
	}
	for _, a := range in.alertOrder {
		if a.fresh {
			b.Queue(`INSERT INTO alerts (id, source_id, incident_id, identity, episode, group_key, status, at, starts_at, ends_at, severity,
					title, summary, description, service, host, labels, annotations, links, count, first_seen, last_seen, delivery_id, kind)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)`,
				a.ID, a.SourceID, orNullText(a.IncidentID), a.Identity, a.Episode, a.GroupKey, a.Status, a.At, a.StartsAt, orNull(a.EndsAt),
				a.Severity, a.Title, a.Summary, a.Description, a.Service, a.Host, orEmpty(a.Labels), orEmpty(a.Annotations), orNone(a.Links),
				a.Count, a.FirstSeen, a.LastSeen, a.delivery, a.Kind)
		} else {
			b.Queue(`UPDATE alerts SET status = $2, at = $3, ends_at = $4, count = $5, last_seen = $6,
				delivery_id = coalesce($7, delivery_id) WHERE id = $1`,
				a.ID, a.Status, a.At, orNull(a.EndsAt), a.Count, a.LastSeen, orNullText(a.delivery))
		}
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if len(in.events) == 0 {
		return nil
	}
	return insertEvents(ctx, tx, in.events)
}

const selectAlerts = `SELECT id, source_id, coalesce(incident_id::text, ''), identity, episode, group_key, status, at, starts_at, ends_at, severity,
	title, summary, description, service, host, labels, annotations, links, count, first_seen, last_seen, kind FROM alerts`

func scanAlert(row pgx.CollectableRow) (a ops.Alert, err error) {
	var ends *time.Time
	err = row.Scan(&a.ID, &a.SourceID, &a.IncidentID, &a.Identity, &a.Episode, &a.GroupKey, &a.Status, &a.At, &a.StartsAt, &ends, &a.Severity,
		&a.Title, &a.Summary, &a.Description, &a.Service, &a.Host, &a.Labels, &a.Annotations, &a.Links, &a.Count, &a.FirstSeen, &a.LastSeen, &a.Kind)
	a.EndsAt = orZero(ends)
	return a, err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orNullText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orNone[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
