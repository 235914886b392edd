package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DefaultAgent investigates what alerts open.
const DefaultAgent = "investigator"

// queueBegin begins a transaction and keeps the plans of intake's queries.
// Postgres would make a new one for each batch, since it thinks nothing of what
// an array will hold, and that costs more than the query. A plan that is kept must
// be right for a table that has grown since, so it uses the indexes.
func queueBegin(b *pgx.Batch) {
	b.Queue(`BEGIN`)
	b.Queue(`SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`)
}

// Ingest stores deliveries with everything that follows from their alerts, in
// one transaction: either all of it is stored or nothing is. Several callers at
// once are safe, also in other processes: alerts of one group wait for each other.
//
// What follows, for each alert in the order given:
//
//   - An episode that is new and fires joins the incident of its group
//     (package grouping says which group that is): the open one, or one that
//     ended by itself a short while ago and is opened again, or a new one. It is
//     investigated once. Beyond a source's rate of new incidents there is one
//     for all the rest.
//   - It closes older episodes of the same identity that still fire: their
//     sender has never said that they ended. Where a sender may have several at
//     once, and ends each, it does not.
//   - A state that is older than the stored one changes nothing (a late or
//     repeated notification); it is counted. So is an episode that is older than
//     another one of its identity. The end of an episode that its sender names is
//     never late, and an end that we have concluded from the sender's silence is
//     taken back when it mentions the episode again.
//   - An alert that is repeated may be worse than before, or named otherwise. The
//     alert follows, and its incident as far as no person has set it.
//   - An episode that is acknowledged at its sender still counts as firing; its
//     incident is acknowledged if nobody has touched it yet.
//   - When the last firing alert of an incident is resolved, so is the incident,
//     at once or when its source's flap hold is over.
//   - A resolve of an unknown episode is kept, so that its late "firing" opens
//     nothing; it opens nothing itself.
func (db *DB) Ingest(ctx context.Context, deliveries []ops.Delivery) error {
	var apart []string // incidents of known alerts that are not their groups'
	err := db.terse(ctx, func(c *pgx.Conn) error {
		in := newIntake()
		// First round trip: what has been here before, and what decides on the rest.
		b := &pgx.Batch{}
		queueBegin(b)
		claims := queueClaims(b, deliveries)
		var version int64
		in.queueGrouping(b, sourcesOf(deliveries), &version)
		if err := c.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		fresh, err := claims.settle(ctx, c)
		if err != nil {
			return err
		}
		// Second: the groups are locked, and loaded with all that is in them.
		decisions, err := db.loadIntake(ctx, c, in, version, fresh, apart)
		if err != nil {
			return err
		}
		if apart = in.apart(); len(apart) > 0 {
			return errAgain // their rows must be locked with the others, in order
		}
		n := 0
		for i := range fresh {
			for j := range fresh[i].Alerts {
				in.apply(&fresh[i], fresh[i].Alerts[j], decisions[n])
				n++
			}
		}
		// Third: all of it is written and committed. The news is told behind that: a
		// transaction that tells some commits alone in the whole cluster, and has the
		// disk for itself. Whoever misses it, since we are killed here, looks by itself.
		last, committed := &pgx.Batch{}, false
		in.queueAll(last, deliveries)
		last.Queue(`COMMIT`).Exec(func(pgconn.CommandTag) error { committed = true; return nil })
		in.queueNews(last)
		if err := c.SendBatch(ctx, last).Close(); !committed {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	return nil
}

// sourcesOf are the sources of deliveries that bring alerts.
func sourcesOf(deliveries []ops.Delivery) []string {
	sources := map[string]bool{}
	for _, d := range deliveries {
		if len(d.Alerts) > 0 {
			sources[d.SourceID] = true
		}
	}
	return sortedKeys(sources)
}

// intake is the part of the database that a batch of deliveries touches, and
// what has changed of it. It is loaded with a few queries, changed in memory and
// written in one batch, so the cost of a batch is three round trips.
type intake struct {
	config    *grouping.Config
	sources   map[string]*storedSource
	alerts    map[alertKey]*storedAlert
	newest    map[identityKey]*storedAlert
	firing    map[identityKey][]*storedAlert // not resolved when they were loaded or made
	groups    map[string]*storedGroup
	incidents map[string]*storedIncident
	locked    map[string]bool // groups
	actor     string          // of the events
	because   string          // why the delivery was made by ourselves, if it was
	several   bool            // its identities may have several episodes open at once
	events    []ops.Event
	// These keep writes in the order of first use.
	alertOrder    []*storedAlert
	incidentOrder []*storedIncident
	groupOrder    []*storedGroup
}

type alertKey struct{ source, identity, episode string }

type identityKey struct{ source, identity string }

type storedSource struct {
	ops.Source
	storm     storm
	counted   int  // incidents that this batch has opened within the storm's minute
	collected bool // this batch has put a group into the storm
}

// storm is what a source's storms row says.
type storm struct {
	since    time.Time
	opened   int
	incident string // empty: there is no storm
	lastAt   time.Time
	quietAt  time.Time
}

type storedAlert struct {
	ops.Alert
	delivery              string
	fresh, dirty, changed bool // changed: more than its state
}

type storedGroup struct {
	key            string
	incident       string
	openedAt, last time.Time
	dirty          bool
}

type storedIncident struct {
	ops.Incident
	flapSince     time.Time
	flapCount     int
	agent         string
	maintenanceID string
	fresh, dirty  bool
	run           string // queued by this batch
	escalated     bool   // its waiting run is more urgent now
}

func newIntake() *intake {
	return &intake{sources: map[string]*storedSource{}, alerts: map[alertKey]*storedAlert{}, newest: map[identityKey]*storedAlert{},
		firing: map[identityKey][]*storedAlert{}, groups: map[string]*storedGroup{}, incidents: map[string]*storedIncident{}, locked: map[string]bool{}}
}

// loadIntake decides on each of the deliveries' alerts, in their order, and
// locks and loads what they touch, and the incidents apart.
func (db *DB) loadIntake(ctx context.Context, c *pgx.Conn, in *intake, version int64, deliveries []ops.Delivery, apart []string) ([]grouping.Decision, error) {
	var err error
	if in.config, err = db.rules.get(ctx, c, version); err != nil {
		return nil, err
	}
	n := 0
	for _, d := range deliveries {
		n += len(d.Alerts)
	}
	if n == 0 {
		return nil, nil
	}
	decisions := make([]grouping.Decision, 0, n)
	want := map[alertKey]bool{}
	groups := map[string]map[string]bool{} // by source
	var now time.Time
	for i := range deliveries {
		d := &deliveries[i]
		if d.ReceivedAt.After(now) {
			now = d.ReceivedAt
		}
		for j := range d.Alerts {
			a := &d.Alerts[j]
			want[alertKey{d.SourceID, a.Identity, a.Episode}] = true
			decision := in.config.Decide(in.subject(d.SourceID, a))
			decisions = append(decisions, decision)
			if groups[d.SourceID] == nil {
				groups[d.SourceID] = map[string]bool{}
			}
			groups[d.SourceID][decision.Key] = true
			in.locked[decision.Key] = true
		}
	}
	for id, keys := range groups {
		if src := in.sources[id]; src != nil && src.mayStorm(len(keys), now) {
			in.locked[grouping.StormKey(id)] = true
		}
	}
	b := &pgx.Batch{}
	queueLocks(b, sortedKeys(in.locked))
	in.queueKnown(b, want)
	in.queueGroups(b, apart)
	return decisions, c.SendBatch(ctx, b).Close()
}

// apart are the incidents of loaded alerts that are not loaded: those of another
// group than the alert is in now.
func (in *intake) apart() []string {
	missing := map[string]bool{}
	for _, a := range in.alerts {
		if a.IncidentID != "" && in.incidents[a.IncidentID] == nil {
			missing[a.IncidentID] = true
		}
	}
	return sortedKeys(missing)
}

func (in *intake) subject(source string, a *ops.Alert) grouping.Subject {
	s := grouping.Subject{Alert: a, SourceID: source}
	if src := in.sources[source]; src != nil {
		s.Source, s.SourceKind = src.Name, src.Kind
	}
	return s
}

// loadGrouping reads what decides on alerts of these sources.
func (db *DB) loadGrouping(ctx context.Context, tx pgx.Tx, in *intake, sources []string) error {
	b := &pgx.Batch{}
	var version int64
	in.queueGrouping(b, sources, &version)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	var err error
	in.config, err = db.rules.get(ctx, tx, version)
	return err
}

// queueGrouping reads, without a lock, these sources and which version of the
// rules is in force.
func (in *intake) queueGrouping(b *pgx.Batch, sources []string, version *int64) {
	b.Queue(`SELECT version FROM grouping_version WHERE singleton`).QueryRow(func(row pgx.Row) error { return row.Scan(version) })
	b.Queue(`SELECT s.id, s.name, s.kind, s.options, t.since, coalesce(t.opened, 0), coalesce(t.incident_id::text, ''), t.last_at, t.quiet_at
		FROM sources s LEFT JOIN storms t ON t.source_id = s.id WHERE s.id = ANY($1::uuid[])`, sources).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			s := &storedSource{}
			var since, last, quiet *time.Time
			if err := rows.Scan(&s.ID, &s.Name, &s.Kind, &s.Options, &since, &s.storm.opened, &s.storm.incident, &last, &quiet); err != nil {
				return err
			}
			s.storm.since, s.storm.lastAt, s.storm.quietAt = orZero(since), orZero(last), orZero(quiet)
			in.sources[s.ID] = s
		}
		return rows.Err()
	})
}

// queueKnown locks and loads the alerts that are wanted: the episodes that are
// named and, for those that are new or have ended, what fires of their identities
// and the newest episode of each.
func (in *intake) queueKnown(b *pgx.Batch, want map[alertKey]bool) {
	var sources, identities, episodes []string
	for k := range want {
		sources, identities, episodes = append(sources, k.source), append(identities, k.identity), append(episodes, k.episode)
	}
	// The group's lock does not cover an alert that is known under another group
	// (the sender was regrouped): the rows are locked as well.
	b.Queue(selectAlerts+` WHERE id = ANY(ARRAY(SELECT found.id
			FROM unnest($1::uuid[], $2::text[], $3::text[]) AS g (source, ident, epi)
			LEFT JOIN LATERAL (SELECT x.id, x.status FROM alerts x
				WHERE x.source_id = g.source AND x.identity = g.ident AND x.episode = g.epi) AS named ON true
			CROSS JOIN LATERAL (
				(SELECT named.id)
				UNION ALL
				(SELECT x.id FROM alerts x WHERE x.source_id = g.source AND x.identity = g.ident AND x.status <> 'resolved'
					AND coalesce(named.status, 'resolved') = 'resolved' LIMIT 100)
				UNION ALL
				(SELECT x.id FROM alerts x WHERE x.source_id = g.source AND x.identity = g.ident
					AND coalesce(named.status, 'resolved') = 'resolved' ORDER BY x.at DESC, x.id DESC LIMIT 1)
			) AS found))
		ORDER BY id FOR UPDATE`, sources, identities, episodes).Query(func(rows pgx.Rows) error {
		known, err := pgx.CollectRows(rows, scanAlert)
		for _, a := range known {
			in.remember(&storedAlert{Alert: a})
		}
		return err
	})
}

// maxLocks is how many groups are locked one by one: the server has room for a
// few thousand locks in all.
const maxLocks = 256

// queueLocks locks groups until the transaction ends. Very many of them are
// locked by locking all there are.
func queueLocks(b *pgx.Batch, keys []string) {
	if len(keys) > maxLocks {
		b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended('groups', 0))`)
		return
	}
	b.Queue(`SELECT pg_advisory_xact_lock_shared(hashtextextended('groups', 0))`)
	// Sorted by the very number that is locked: two names may share one.
	b.Queue(`SELECT pg_advisory_xact_lock(h) FROM (
		SELECT DISTINCT hashtextextended('group ' || n, 0) AS h FROM unnest($1::text[]) AS n ORDER BY h) AS sorted`, keys)
}

const selectStored = `SELECT ` + ownColumns + `, i.flap_since, i.flap_count, i.agent_id, coalesce(i.maintenance_id::text, '') FROM incidents i`

func scanStored(row pgx.CollectableRow) (*storedIncident, error) {
	i := &storedIncident{}
	var flap *time.Time
	var err error
	i.Incident, err = scanOwn(row, &flap, &i.flapCount, &i.agent, &i.maintenanceID)
	i.flapSince = orZero(flap)
	return i, err
}

// loadGroups loads the locked groups, and locks their incidents and those given.
func (in *intake) loadGroups(ctx context.Context, tx pgx.Tx, incidents []string) error {
	b := &pgx.Batch{}
	in.queueGroups(b, incidents)
	return tx.SendBatch(ctx, b).Close()
}

func (in *intake) queueGroups(b *pgx.Batch, incidents []string) {
	keys := sortedKeys(in.locked)
	b.Queue(`SELECT key, incident_id, opened_at, last_at FROM groups WHERE key = ANY($1)`, keys).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			g := &storedGroup{}
			if err := rows.Scan(&g.key, &g.incident, &g.openedAt, &g.last); err != nil {
				return err
			}
			in.groups[g.key] = g
		}
		return rows.Err()
	})
	// Locked by id, so that two batches never wait for each other in a circle. The
	// groups are locked already, so which incidents they have is still true behind a wait.
	b.Queue(selectStored+` WHERE i.id = ANY($1::uuid[] || ARRAY(SELECT incident_id FROM groups WHERE key = ANY($2)))
		ORDER BY i.id FOR UPDATE`, incidents, keys).Query(in.addIncidents)
}

func (in *intake) addIncidents(rows pgx.Rows) error {
	stored, err := pgx.CollectRows(rows, scanStored)
	for _, i := range stored {
		in.incidents[i.ID] = i
	}
	return err
}

func (in *intake) remember(s *storedAlert) {
	in.alerts[alertKey{s.SourceID, s.Identity, s.Episode}] = s
	identity := identityKey{s.SourceID, s.Identity}
	if n := in.newest[identity]; n == nil || s.At.After(n.At) {
		in.newest[identity] = s
	}
	if s.Status != ops.AlertResolved {
		in.firing[identity] = append(in.firing[identity], s)
	}
}

func (in *intake) touch(i *storedIncident) {
	if !i.fresh && !i.dirty {
		i.dirty = true
		in.incidentOrder = append(in.incidentOrder, i)
	}
}

func (in *intake) touchAlert(s *storedAlert) {
	if !s.fresh && !s.dirty {
		s.dirty = true
		in.alertOrder = append(in.alertOrder, s)
	}
}

func (in *intake) touchGroup(g *storedGroup) {
	if !g.dirty {
		g.dirty = true
		in.groupOrder = append(in.groupOrder, g)
	}
}

func (in *intake) event(i *storedIncident, kind ops.EventKind, data any) {
	in.touch(i)
	i.LastSeq++
	if c, ok := data.(ops.AlertChange); ok && c.Reason == "" {
		c.Reason = in.because
		data = c
	}
	e := ops.NewEvent(kind, data)
	e.IncidentID, e.Seq, e.Actor = i.ID, i.LastSeq, in.actor
	in.events = append(in.events, e)
}

// say puts a reason on the timeline.
func (in *intake) say(i *storedIncident, format string, args ...any) {
	in.event(i, ops.EventIncidentChanged, ops.IncidentChange{Reason: fmt.Sprintf(format, args...)})
}

// store writes everything in one batch.
func (in *intake) store(ctx context.Context, tx pgx.Tx) error {
	b := &pgx.Batch{}
	in.queueAll(b, nil)
	in.queueNews(b)
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, b).Close()
}

func (in *intake) queueAll(b *pgx.Batch, deliveries []ops.Delivery) {
	var changed changedIncidents
	for _, i := range in.incidentOrder {
		if i.fresh {
			queueFresh(b, i)
		} else {
			changed.add(i)
		}
	}
	changed.queue(b)
	for _, i := range in.incidentOrder {
		queueItsRun(b, i)
	}
	queueGroups(b, in.groupOrder)
	queueAlerts(b, in.alertOrder)
	queueSearch(b, in.incidents, in.incidentOrder, in.alertOrder)
	for _, id := range sortedKeys(in.sources) { // sorted: another process counts the same rows
		s := in.sources[id]
		if s.counted > 0 { // others may have counted meanwhile, or begun a storm
			b.Queue(`INSERT INTO storms (source_id, since, opened, last_at) VALUES ($1, $2, $3, $2)
				ON CONFLICT (source_id) DO UPDATE SET since = greatest(storms.since, $2),
					opened = CASE WHEN $2 - storms.since < $5::interval THEN storms.opened + $4 ELSE $3 END`,
				id, s.storm.since, s.storm.opened, s.counted, stormMinute)
		}
		if s.collected {
			b.Queue(`UPDATE storms SET incident_id = $2, last_at = $3, quiet_at = $4 WHERE source_id = $1`, id, s.storm.incident, s.storm.lastAt, s.storm.quietAt)
		}
	}
	queueEvents(b, in.events)
	queueDeliveries(b, deliveries)
}

// queueNews wakes those who follow incidents and those who run investigations.
func (in *intake) queueNews(b *pgx.Batch) {
	var channels, ids []string
	for _, i := range in.incidentOrder {
		channels, ids = append(channels, ChannelEvents), append(ids, i.ID)
		if i.run != "" {
			channels, ids = append(channels, ChannelRuns), append(ids, i.run)
		}
	}
	if len(ids) > 0 {
		b.Queue(`SELECT count(pg_notify(channel, id)) FROM unnest($1::text[], $2::text[]) AS news (channel, id)`, channels, ids)
	}
}

func queueFresh(b *pgx.Batch, i *storedIncident) {
	b.Queue(`INSERT INTO incidents (id, title, description, severity, status, investigation, investigation_reason, run_id, source_id, service, group_key,
				alert_count, firing_count, opened_at, updated_at, resolved_at, resolved_by, resolve_at, last_seq, reopened, transitions,
				flap_since, flap_count, rule_id, agent_id, storm, maintenance, maintenance_id, maintenance_until)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, now(), $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)`,
		i.ID, i.Title, i.Description, i.Severity, i.Status, i.Investigation, i.InvestigationReason, orNullText(i.run), orNullText(i.SourceID), i.Service, i.GroupKey,
		i.AlertCount, i.FiringCount, i.OpenedAt, orNull(i.ResolvedAt), i.ResolvedBy, orNull(i.ResolveAt), i.LastSeq, i.Reopened, i.Transitions,
		orNull(i.flapSince), i.flapCount, orNullText(i.RuleID), i.agent, i.Storm, i.Maintenance, orNullText(i.maintenanceID), orNull(i.MaintenanceUntil))
}

// changedIncidents are known incidents that have changed, by column.
type changedIncidents struct {
	ids, titles, descriptions, severities, statuses, investigations, reasons, resolvers, maintenances []string
	runs, maintenanceIDs                                                                              []*string
	alerts, firing, reopened, transitions, flaps                                                      []int
	seqs                                                                                              []int64
	resolved, resolve, flapSince, maintained                                                          []*time.Time
}

func (c *changedIncidents) add(i *storedIncident) {
	c.ids, c.titles, c.descriptions = append(c.ids, i.ID), append(c.titles, i.Title), append(c.descriptions, i.Description)
	c.severities, c.statuses = append(c.severities, string(i.Severity)), append(c.statuses, string(i.Status))
	c.investigations, c.reasons = append(c.investigations, string(i.Investigation)), append(c.reasons, i.InvestigationReason)
	c.runs, c.alerts, c.firing = append(c.runs, orNullText(i.run)), append(c.alerts, i.AlertCount), append(c.firing, i.FiringCount)
	c.resolved, c.resolvers, c.resolve = append(c.resolved, orNull(i.ResolvedAt)), append(c.resolvers, i.ResolvedBy), append(c.resolve, orNull(i.ResolveAt))
	c.seqs, c.reopened, c.transitions = append(c.seqs, i.LastSeq), append(c.reopened, i.Reopened), append(c.transitions, i.Transitions)
	c.flapSince, c.flaps, c.maintenances = append(c.flapSince, orNull(i.flapSince)), append(c.flaps, i.flapCount), append(c.maintenances, i.Maintenance)
	c.maintenanceIDs, c.maintained = append(c.maintenanceIDs, orNullText(i.maintenanceID)), append(c.maintained, orNull(i.MaintenanceUntil))
}

func (c *changedIncidents) queue(b *pgx.Batch) {
	if len(c.ids) == 0 {
		return
	}
	b.Queue(`UPDATE incidents AS i SET title = u.title, description = u.description, severity = u.severity, status = u.status,
			investigation = u.investigation, investigation_reason = u.reason, run_id = coalesce(u.run, i.run_id), alert_count = u.alerts,
			firing_count = u.firing, resolved_at = u.resolved, resolved_by = u.resolver, resolve_at = u.resolve, last_seq = u.seq,
			reopened = u.reopened, transitions = u.transitions, flap_since = u.flap_since, flap_count = u.flaps, maintenance = u.maintenance,
			maintenance_id = u.maintenance_id, maintenance_until = u.maintained, updated_at = now()
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::int[], $10::int[],
				$11::timestamptz[], $12::text[], $13::timestamptz[], $14::bigint[], $15::int[], $16::int[], $17::timestamptz[], $18::int[], $19::text[],
				$20::uuid[], $21::timestamptz[])
			AS u (id, title, description, severity, status, investigation, reason, run, alerts, firing, resolved, resolver, resolve, seq,
				reopened, transitions, flap_since, flaps, maintenance, maintenance_id, maintained)
		WHERE i.id = u.id`,
		c.ids, c.titles, c.descriptions, c.severities, c.statuses, c.investigations, c.reasons, c.runs, c.alerts, c.firing, c.resolved, c.resolvers,
		c.resolve, c.seqs, c.reopened, c.transitions, c.flapSince, c.flaps, c.maintenances, c.maintenanceIDs, c.maintained)
}

// queueItsRun queues the run that an incident is to have, or makes it more urgent.
func queueItsRun(b *pgx.Batch, i *storedIncident) {
	if i.run != "" {
		// An agent that was removed or disabled since must not keep alerts from being stored.
		b.Queue(`INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at, actor)
			VALUES ($1, $2, coalesce((SELECT id FROM agents WHERE id = $3 AND disabled_at IS NULL), $4), 'queued', $5, now(), now(), $6)`,
			i.run, i.ID, i.agent, DefaultAgent, priority(i.Severity), alertActor(i.SourceID))
	} else if i.escalated && i.Investigation == ops.RunQueued {
		b.Queue(`UPDATE runs SET priority = $2 WHERE id = $1 AND state = 'queued'`, i.RunID, priority(i.Severity))
	}
}

// queueGroups writes groups in one statement.
func queueGroups(b *pgx.Batch, groups []*storedGroup) {
	n := len(groups)
	if n == 0 {
		return
	}
	keys, incidents, opened, last := make([]string, n), make([]string, n), make([]time.Time, n), make([]time.Time, n)
	for i, g := range groups {
		keys[i], incidents[i], opened[i], last[i] = g.key, g.incident, g.openedAt, g.last
	}
	b.Queue(`INSERT INTO groups (key, incident_id, opened_at, last_at)
		SELECT * FROM unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[])
		ON CONFLICT (key) DO UPDATE SET incident_id = excluded.incident_id, opened_at = excluded.opened_at, last_at = excluded.last_at`,
		keys, incidents, opened, last)
}

// queueAlerts writes alerts: new ones in one statement, since there may be many.
func queueAlerts(b *pgx.Batch, alerts []*storedAlert) {
	var fresh alertColumns
	for _, a := range alerts {
		switch {
		case a.fresh:
			fresh.add(a)
		case a.changed:
			b.Queue(`UPDATE alerts SET status = $2, at = $3, ends_at = $4, count = $5, last_seen = $6, delivery_id = coalesce($7, delivery_id),
					severity = $8, title = $9, summary = $10, description = $11, service = $12, host = $13, labels = $14, annotations = $15, links = $16,
					sender_severity = $17, starts_at = $18 WHERE id = $1`,
				a.ID, a.Status, a.At, orNull(a.EndsAt), a.Count, a.LastSeen, orNullText(a.delivery),
				a.Severity, a.Title, a.Summary, a.Description, a.Service, a.Host, orEmpty(a.Labels), orEmpty(a.Annotations), orNone(a.Links), a.SenderSeverity, a.StartsAt)
		default:
			b.Queue(`UPDATE alerts SET status = $2, at = $3, ends_at = $4, count = $5, last_seen = $6,
				delivery_id = coalesce($7, delivery_id) WHERE id = $1`,
				a.ID, a.Status, a.At, orNull(a.EndsAt), a.Count, a.LastSeen, orNullText(a.delivery))
		}
	}
	fresh.queue(b)
}

// alertColumns are new alerts, by column. A statement of its own for each would
// cost more than twice as much.
type alertColumns struct {
	ids, sources, identities, episodes, groups, statuses, severities, titles, summaries, descriptions []string
	services, hosts, labels, annotations, links, deliveries, kinds, words, whys                       []string
	incidents                                                                                         []*string
	at, starts, first, last                                                                           []time.Time
	ends                                                                                              []*time.Time
	counts                                                                                            []int64
}

func (c *alertColumns) add(a *storedAlert) {
	c.ids, c.sources, c.incidents = append(c.ids, a.ID), append(c.sources, a.SourceID), append(c.incidents, orNullText(a.IncidentID))
	c.identities, c.episodes, c.groups = append(c.identities, a.Identity), append(c.episodes, a.Episode), append(c.groups, a.GroupKey)
	c.statuses, c.severities = append(c.statuses, string(a.Status)), append(c.severities, string(a.Severity))
	c.at, c.starts, c.ends = append(c.at, a.At), append(c.starts, a.StartsAt), append(c.ends, orNull(a.EndsAt))
	c.titles, c.summaries, c.descriptions = append(c.titles, a.Title), append(c.summaries, a.Summary), append(c.descriptions, a.Description)
	c.services, c.hosts = append(c.services, a.Service), append(c.hosts, a.Host)
	c.labels, c.annotations, c.links = append(c.labels, asJSON(orEmpty(a.Labels))), append(c.annotations, asJSON(orEmpty(a.Annotations))), append(c.links, asJSON(orNone(a.Links)))
	c.counts, c.first, c.last = append(c.counts, a.Count), append(c.first, a.FirstSeen), append(c.last, a.LastSeen)
	c.deliveries, c.kinds = append(c.deliveries, a.delivery), append(c.kinds, a.Kind)
	c.words, c.whys = append(c.words, a.SenderSeverity), append(c.whys, a.Why)
}

func (c *alertColumns) queue(b *pgx.Batch) {
	if len(c.ids) == 0 {
		return
	}
	b.Queue(`INSERT INTO alerts (id, source_id, incident_id, identity, episode, group_key, status, at, starts_at, ends_at, severity,
			title, summary, description, service, host, labels, annotations, links, count, first_seen, last_seen, delivery_id, kind, sender_severity, why)
		SELECT id, source, incident, identity, episode, grp, status, at, starts, ends, severity,
			title, summary, description, service, host, labels::jsonb, annotations::jsonb, links::jsonb, count, first, last, delivery, kind, word, why
		FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[],
				$11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[],
				$21::timestamptz[], $22::timestamptz[], $23::uuid[], $24::text[], $25::text[], $26::text[])
			AS a (id, source, incident, identity, episode, grp, status, at, starts, ends, severity,
				title, summary, description, service, host, labels, annotations, links, count, first, last, delivery, kind, word, why)`,
		c.ids, c.sources, c.incidents, c.identities, c.episodes, c.groups, c.statuses, c.at, c.starts, c.ends, c.severities,
		c.titles, c.summaries, c.descriptions, c.services, c.hosts, c.labels, c.annotations, c.links, c.counts, c.first, c.last,
		c.deliveries, c.kinds, c.words, c.whys)
}

// asJSON is for values that can always be written as JSON.
func asJSON(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// queueEvents writes events of the api that have their numbers, in one statement.
func queueEvents(b *pgx.Batch, events []ops.Event) {
	if len(events) == 0 {
		return
	}
	n := len(events)
	incidents, seqs, at, kinds := make([]string, n), make([]int64, n), make([]time.Time, n), make([]string, n)
	runs, actors, data := make([]*string, n), make([]string, n), make([]string, n)
	for i, e := range events {
		incidents[i], seqs[i], at[i], kinds[i] = e.IncidentID, e.Seq, e.At, string(e.Kind)
		runs[i], actors[i], data[i] = orNullText(e.RunID), e.Actor, string(e.Data)
	}
	b.Queue(`INSERT INTO events (incident_id, seq, at, kind, run_id, actor, data)
		SELECT incident, seq, at, kind, run, actor, data::json FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[], $5::uuid[], $6::text[], $7::text[])
			AS e (incident, seq, at, kind, run, actor, data)`, incidents, seqs, at, kinds, runs, actors, data)
}

const columnsOfAlerts = `id, source_id, coalesce(incident_id::text, ''), identity, episode, group_key, status, at, starts_at, ends_at, severity,
	title, summary, description, service, host, labels, annotations, links, count, first_seen, last_seen, kind, sender_severity, why`

const selectAlerts = `SELECT ` + columnsOfAlerts + ` FROM alerts`

func scanAlert(row pgx.CollectableRow) (a ops.Alert, err error) { return scanAlertAnd(row) }

// scanAlertAnd reads the columns of [selectAlerts], and more if there are more.
func scanAlertAnd(row pgx.CollectableRow, more ...any) (a ops.Alert, err error) {
	var ends *time.Time
	err = row.Scan(append([]any{&a.ID, &a.SourceID, &a.IncidentID, &a.Identity, &a.Episode, &a.GroupKey, &a.Status, &a.At, &a.StartsAt, &ends, &a.Severity,
		&a.Title, &a.Summary, &a.Description, &a.Service, &a.Host, &a.Labels, &a.Annotations, &a.Links, &a.Count, &a.FirstSeen, &a.LastSeen, &a.Kind,
		&a.SenderSeverity, &a.Why}, more...)...)
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
