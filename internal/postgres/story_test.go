package postgres_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// story is a source and what it sends. Its clock is the deliveries': minutes
// since the start, which may lie in the past.
type story struct {
	*postgres.DB
	t     *testing.T
	pg    *pgtest.DB
	src   string
	start time.Time
	// several is what is said of each delivery.
	several bool
}

// tell begins a story that began so many minutes ago.
func tell(t *testing.T, ago int, o ops.SourceOptions) *story {
	t.Helper()
	pg := pgtest.New(t)
	s := &story{DB: open(t, pg.API), t: t, pg: pg, start: time.Now().UTC().Add(-time.Duration(ago) * time.Minute)}
	s.src = s.source("prod", o)
	return s
}

func (s *story) source(name string, o ops.SourceOptions) string {
	s.t.Helper()
	src := ops.Source{ID: ops.NewID(), Name: name, Kind: "alertmanager", Enabled: true, Secret: ops.SourceSecret{Hash: []byte{1}}, Options: o}
	require.NoError(s.t, s.CreateSource(s.t.Context(), src))
	return src.ID
}

// an makes an alert of the identity that its text begins with, in group "g":
// "a", "a#2" (episode 2), "-a" (resolved), "+a" (acknowledged).
func an(text string, change ...func(*ops.Alert)) ops.Alert {
	a := ops.Alert{Status: ops.AlertFiring, Severity: ops.SeverityWarning, GroupKey: "g"}
	switch text[0] {
	case '-':
		text, a.Status = text[1:], ops.AlertResolved
	case '+':
		text, a.Status = text[1:], ops.AlertAcknowledged
	}
	var ok bool
	if a.Identity, a.Episode, ok = strings.Cut(text, "#"); !ok {
		a.Episode = "1"
	}
	a.Title = "alert " + a.Identity
	for _, c := range change {
		c(&a)
	}
	return a
}

func severity(v ops.Severity) func(*ops.Alert) { return func(a *ops.Alert) { a.Severity = v } }
func group(v string) func(*ops.Alert)          { return func(a *ops.Alert) { a.GroupKey = v } }
func service(v string) func(*ops.Alert)        { return func(a *ops.Alert) { a.Service = v } }

// sentAt makes the sender's time another than that of the delivery, in minutes.
func (s *story) sentAt(minute float64) func(*ops.Alert) {
	return func(a *ops.Alert) { a.At = s.at(minute) }
}

func (s *story) at(minute float64) time.Time {
	return s.start.Add(time.Duration(minute * float64(time.Minute))).Truncate(time.Microsecond)
}

func (s *story) send(minute float64, alerts ...ops.Alert) { s.sendFrom(s.src, minute, alerts...) }

func (s *story) sendFrom(source string, minute float64, alerts ...ops.Alert) {
	s.t.Helper()
	d := ops.Delivery{ID: ops.NewID(), SourceID: source, Several: s.several, ReceivedAt: s.at(minute), ContentType: "application/json", Body: []byte("{}")}
	for _, a := range alerts {
		if a.At.IsZero() {
			a.At = s.at(minute)
		}
		a.StartsAt = a.At
		if a.Status == ops.AlertResolved {
			a.EndsAt = a.At
		}
		d.Alerts = append(d.Alerts, a)
	}
	require.NoError(s.t, s.Ingest(s.t.Context(), []ops.Delivery{d}))
}

// all gives all incidents, oldest first.
func (s *story) all() []ops.Incident {
	s.t.Helper()
	rows, err := s.Incidents(s.t.Context(), postgres.IncidentFilter{Limit: 200})
	require.NoError(s.t, err)
	for a, b := 0, len(rows)-1; a < b; a, b = a+1, b-1 {
		rows[a], rows[b] = rows[b], rows[a]
	}
	return rows
}

// one gives the only incident.
func (s *story) one() ops.Incident {
	s.t.Helper()
	all := s.all()
	require.Len(s.t, all, 1)
	return all[0]
}

func (s *story) alertsOf(incident string) []ops.Alert {
	s.t.Helper()
	alerts, err := s.IncidentAlerts(s.t.Context(), incident)
	require.NoError(s.t, err)
	return alerts
}

// timeline gives "kind reason" of each event, and checks the numbers.
func (s *story) timeline(incident string) (out []string) {
	s.t.Helper()
	kinds(s.t, s.DB, incident)
	events, err := s.Events(s.t.Context(), incident, 0, 1000)
	require.NoError(s.t, err)
	for _, e := range events {
		var data struct{ Reason string }
		require.NoError(s.t, json.Unmarshal(e.Data, &data))
		out = append(out, strings.TrimSpace(string(e.Kind)+" "+data.Reason))
	}
	return out
}

// says requires that an incident's timeline has these texts, in this order.
func (s *story) says(incident string, want ...string) {
	s.t.Helper()
	lines := s.timeline(incident)
	n := 0
	for _, l := range lines {
		if n < len(want) && strings.Contains(l, want[n]) {
			n++
		}
	}
	if n < len(want) {
		require.Fail(s.t, "not on the timeline: "+want[n], strings.Join(lines, "\n"))
	}
}

// counts requires that every incident's counts are those of its alerts, that it
// has at most one live run, and that no alert is lost.
func (s *story) counts() {
	s.t.Helper()
	require.Zero(s.t, s.query(`SELECT count(*) FROM incidents i WHERE alert_count <> (SELECT count(*) FROM alerts WHERE incident_id = i.id)
		OR firing_count <> (SELECT count(*) FROM alerts WHERE incident_id = i.id AND status <> 'resolved')`), "counts are wrong")
	require.Zero(s.t, s.query(`SELECT count(*) FROM incidents WHERE status IN ('triggered', 'acknowledged') AND firing_count = 0 AND alert_count > 0 AND resolve_at IS NULL`),
		"nothing fires of an open incident")
	require.Zero(s.t, s.query(`SELECT count(*) FROM groups g JOIN incidents i ON i.id = g.incident_id WHERE i.status = 'merged'`), "a group leads to a merged incident")
}

func (s *story) query(sql string, args ...any) (n int) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.pg.Owner.Reveal())
	require.NoError(s.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	require.NoError(s.t, conn.QueryRow(s.t.Context(), sql, args...).Scan(&n))
	return n
}

func (s *story) exec(sql string, args ...any) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.pg.Owner.Reveal())
	require.NoError(s.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(s.t.Context(), sql, args...)
	require.NoError(s.t, err)
}

func (s *story) rule(r ops.GroupingRule) ops.GroupingRule {
	s.t.Helper()
	r.ID, r.Enabled = ops.NewID(), true
	r, err := s.PutGroupingRule(s.t.Context(), r, true)
	require.NoError(s.t, err)
	return r
}

func (s *story) window(w ops.MaintenanceWindow) ops.MaintenanceWindow {
	s.t.Helper()
	w.ID, w.Enabled = ops.NewID(), true
	w, err := s.PutMaintenanceWindow(s.t.Context(), w, true)
	require.NoError(s.t, err)
	return w
}

// conclude ends the waiting run of an incident.
func (s *story) conclude(state ops.RunState) {
	s.t.Helper()
	if s.query(`SELECT count(*) FROM providers`) == 0 {
		provider(s.t, s.DB)
	}
	got := claim(s.t, s.DB, "w")
	require.NotNil(s.t, got)
	s.exec(`UPDATE runs SET state = $2, ended_at = now() WHERE id = $1`, got.Run.ID, state)
	s.exec(`UPDATE incidents SET investigation = $2 WHERE id = $1`, got.Incident.ID, state)
}
