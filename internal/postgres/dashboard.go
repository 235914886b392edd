package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// Dashboard is what somebody sees first: what is on fire, who works on it, what
// came in and what was spent.
type Dashboard struct {
	At      time.Time      `json:"at"`
	Open    []OpenCount    `json:"open" nullable:"false" doc:"Open incidents, the worst first. Every severity is there."`
	Oldest  *ops.Incident  `json:"oldest_unacknowledged,omitempty" doc:"That nobody has taken on."`
	Hottest []ops.Incident `json:"hottest" nullable:"false" doc:"Open ones, the worst first, of each severity the newest; at most 8."`

	Queued  int          `json:"investigations_queued"`
	Running int          `json:"investigations_running"`
	Waiting int          `json:"investigations_waiting_approval"`
	Live    []RunningNow `json:"investigations" nullable:"false" doc:"Those that a worker or a person is busy with, the newest first; at most 8."`

	Hours   []NoiseHour   `json:"hours" nullable:"false" doc:"What came in, oldest first; the last hour is still going on."`
	Sources []NoiseSource `json:"noisy_sources" nullable:"false" doc:"In these hours, most alerts first; at most 10."`
	Alerts  []NoisyAlert  `json:"noisy_alerts" nullable:"false" doc:"What began most often in these hours; at most 10."`
	Days    []SpentDay    `json:"days" nullable:"false" doc:"What was spent on each of the last 30 days, in UTC, oldest first."`
}

// OpenCount counts the open incidents of a severity.
type OpenCount struct {
	Severity     ops.Severity `json:"severity" enum:"critical,high,warning,info"`
	Triggered    int          `json:"triggered"`
	Acknowledged int          `json:"acknowledged"`
}

// RunningNow is an incident and how its investigation stands.
type RunningNow struct {
	Incident  ops.Incident `json:"incident"`
	Agent     string       `json:"agent"`
	StartedAt time.Time    `json:"started_at,omitzero"`
	USD       float64      `json:"usd"`
	Unpriced  bool         `json:"unpriced,omitempty"`
}

// NoiseHour is what came in an hour.
type NoiseHour struct {
	At         time.Time `json:"at" doc:"When it began."`
	Deliveries int64     `json:"deliveries"`
	Alerts     int64     `json:"alerts" doc:"That began."`
	Incidents  int64     `json:"incidents" doc:"That were opened for them."`
}

// NoiseSource is what a source sent.
type NoiseSource struct {
	SourceID   string `json:"source_id"`
	Source     string `json:"source"`
	Deliveries int64  `json:"deliveries"`
	Alerts     int64  `json:"alerts"`
	Incidents  int64  `json:"incidents"`
}

// NoisyAlert is one thing that is reported as broken again and again.
type NoisyAlert struct {
	SourceID  string    `json:"source_id"`
	Source    string    `json:"source"`
	Identity  string    `json:"identity"`
	Title     string    `json:"title" doc:"Of the newest one."`
	Alerts    int64     `json:"alerts" doc:"How often it began."`
	Reports   int64     `json:"reports" doc:"How often the sender told of that."`
	Incidents int64     `json:"incidents" doc:"In how many incidents it is."`
	Incident  int64     `json:"incident,omitempty" doc:"The number of the newest one."`
	Since     time.Time `json:"since" doc:"From when on it was counted: where very much came in, later than the hours begin."`
}

// SpentDay is what a day cost.
type SpentDay struct {
	Day      string  `json:"day"`
	Runs     int64   `json:"runs"`
	Tokens   int64   `json:"tokens"`
	USD      float64 `json:"usd"`
	Unpriced int64   `json:"unpriced,omitempty" doc:"Turns whose price nobody knows; usd leaves them out."`
}

const dashboardRows = 8

// Dashboard reads all of it in one round trip: from counts that are kept, and
// from indexes a few rows each. hours is one of [NoiseWindows].
func (db *DB) Dashboard(ctx context.Context, now time.Time, hours int) (Dashboard, error) {
	now = now.UTC()
	last := now.Truncate(time.Hour)
	since := last.Add(-time.Duration(hours-1) * time.Hour)
	d := Dashboard{At: now, Hottest: []ops.Incident{}, Live: []RunningNow{}, Sources: []NoiseSource{}, Alerts: []NoisyAlert{}}
	for _, s := range []ops.Severity{ops.SeverityCritical, ops.SeverityHigh, ops.SeverityWarning, ops.SeverityInfo} {
		d.Open = append(d.Open, OpenCount{Severity: s})
	}
	for n := range hours {
		d.Hours = append(d.Hours, NoiseHour{At: since.Add(time.Duration(n) * time.Hour)})
	}
	for n := range 30 {
		d.Days = append(d.Days, SpentDay{Day: now.AddDate(0, 0, n-29).Format(time.DateOnly)})
	}
	b := &pgx.Batch{}
	d.queueFire(b)
	d.queueRuns(b)
	d.queueNoise(b, since, hours)
	b.Queue(`SELECT to_char(day, 'YYYY-MM-DD'), sum(runs)::bigint, sum(input_tokens + output_tokens)::bigint, sum(usd), sum(unpriced)::bigint
		FROM usage_days WHERE day >= $1::date GROUP BY day`, d.Days[0].Day).Query(func(rows pgx.Rows) error {
		var s SpentDay
		_, err := pgx.ForEachRow(rows, []any{&s.Day, &s.Runs, &s.Tokens, &s.USD, &s.Unpriced}, func() error {
			for n := range d.Days {
				if d.Days[n].Day == s.Day {
					d.Days[n] = s
				}
			}
			return nil
		})
		return err
	})
	if err := db.pool.SendBatch(ctx, b).Close(); err != nil {
		return d, mapError(fmt.Errorf("dashboard: %w", err))
	}
	return d, nil
}

func (d *Dashboard) queueFire(b *pgx.Batch) {
	b.Queue(`SELECT severity, status, sum(n)::int FROM derived.incident_tallies WHERE status IN ('triggered', 'acknowledged') GROUP BY 1, 2`).Query(func(rows pgx.Rows) error {
		var severity ops.Severity
		var status ops.IncidentStatus
		var n int
		_, err := pgx.ForEachRow(rows, []any{&severity, &status, &n}, func() error {
			for i := range d.Open {
				switch {
				case d.Open[i].Severity != severity:
				case status == ops.IncidentTriggered:
					d.Open[i].Triggered = n
				default:
					d.Open[i].Acknowledged = n
				}
			}
			return nil
		})
		return err
	})
	b.Queue(selectIncidents + ` WHERE i.status = 'triggered' ORDER BY i.number LIMIT 1`).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, scanIncident)
		if len(found) == 1 {
			d.Oldest = &found[0]
		}
		return err
	})
	b.Queue(selectIncidents+` JOIN (
			SELECT h.number, s.rank FROM unnest(ARRAY['critical', 'high', 'warning', 'info']) WITH ORDINALITY AS s (severity, rank)
			CROSS JOIN LATERAL (SELECT number FROM incidents x WHERE x.severity = s.severity AND x.status IN ('triggered', 'acknowledged') ORDER BY number DESC LIMIT $1) AS h
			ORDER BY s.rank, h.number DESC LIMIT $1) AS hot ON hot.number = i.number ORDER BY hot.rank, i.number DESC`, dashboardRows).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, scanIncident)
		d.Hottest = append(d.Hottest, found...)
		return err
	})
}

func (d *Dashboard) queueRuns(b *pgx.Batch) {
	b.Queue(`SELECT coalesce(sum(n) FILTER (WHERE investigation = 'queued'), 0)::int, coalesce(sum(n) FILTER (WHERE investigation = 'running'), 0)::int,
			coalesce(sum(n) FILTER (WHERE investigation = 'waiting_approval'), 0)::int
		FROM derived.incident_tallies WHERE investigation IN ('queued', 'running', 'waiting_approval')`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&d.Queued, &d.Running, &d.Waiting)
	})
	b.Queue(`SELECT `+incidentColumns+`, r.agent_id, r.started_at, r.usd, r.unpriced FROM (
			SELECT l.number FROM unnest(ARRAY['running', 'waiting_approval']) AS s (state)
			CROSS JOIN LATERAL (SELECT number FROM incidents x WHERE x.investigation = s.state ORDER BY number DESC LIMIT $1) AS l ORDER BY l.number DESC LIMIT $1) AS live
		JOIN incidents i ON i.number = live.number LEFT JOIN sources s ON s.id = i.source_id JOIN runs r ON r.id = i.run_id ORDER BY i.number DESC`, dashboardRows).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r RunningNow, err error) {
			var started *time.Time
			r.Incident, err = scanIncidentAnd(row, &r.Agent, &started, &r.USD, &r.Unpriced)
			r.StartedAt = orZero(started)
			return r, err
		})
		d.Live = append(d.Live, found...)
		return err
	})
}

func (d *Dashboard) queueNoise(b *pgx.Batch, since time.Time, hours int) {
	b.Queue(`SELECT at, sum(deliveries)::bigint, sum(alerts)::bigint, sum(incidents)::bigint FROM derived.noise_hours WHERE at >= $1 GROUP BY at`, since).Query(func(rows pgx.Rows) error {
		var h NoiseHour
		_, err := pgx.ForEachRow(rows, []any{&h.At, &h.Deliveries, &h.Alerts, &h.Incidents}, func() error {
			if n := int(h.At.Sub(since) / time.Hour); n >= 0 && n < len(d.Hours) {
				h.At = h.At.UTC()
				d.Hours[n] = h
			}
			return nil
		})
		return err
	})
	b.Queue(`SELECT n.source_id, coalesce(s.name, ''), sum(n.deliveries)::bigint, sum(n.alerts)::bigint, sum(n.incidents)::bigint
		FROM derived.noise_hours n LEFT JOIN sources s ON s.id = n.source_id AND s.deleted_at IS NULL WHERE n.at >= $1
		GROUP BY 1, 2 ORDER BY 4 DESC, 3 DESC, 1 LIMIT 10`, since).Query(func(rows pgx.Rows) error {
		var s NoiseSource
		_, err := pgx.ForEachRow(rows, []any{&s.SourceID, &s.Source, &s.Deliveries, &s.Alerts, &s.Incidents}, func() error {
			d.Sources = append(d.Sources, s)
			return nil
		})
		return err
	})
	b.Queue(`SELECT n.source_id, coalesce(s.name, ''), n.identity, coalesce(a.title, ''), n.alerts, n.reports, n.incidents, coalesce((SELECT number FROM incidents i WHERE i.id = a.incident_id), 0), n.counted
		FROM derived.noisiest n LEFT JOIN sources s ON s.id = n.source_id AND s.deleted_at IS NULL
		LEFT JOIN LATERAL (SELECT title, incident_id FROM alerts x WHERE x.source_id = n.source_id AND x.identity = n.identity ORDER BY x.at DESC, x.id DESC LIMIT 1) AS a ON true
		WHERE n.hours = $1 ORDER BY n.rank`, hours).Query(func(rows pgx.Rows) error {
		var a NoisyAlert
		_, err := pgx.ForEachRow(rows, []any{&a.SourceID, &a.Source, &a.Identity, &a.Title, &a.Alerts, &a.Reports, &a.Incidents, &a.Incident, &a.Since}, func() error {
			a.Since = a.Since.UTC()
			d.Alerts = append(d.Alerts, a)
			return nil
		})
		return err
	})
}
