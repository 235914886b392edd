package seed

import (
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

type source struct{ id, name, kind string }

// problem is something that goes wrong again and again.
type problem struct {
	name, words string
	severity    ops.Severity
}

var problems = []problem{
	{"HighErrorRate", "more than 5 % of requests fail", ops.SeverityCritical},
	{"DiskAlmostFull", "the disk is almost full, mounted at /var/lib/postgresql", ops.SeverityWarning},
	{"HighLatency", "p99 latency is above the objective", ops.SeverityHigh},
	{"PodCrashLooping", "the pod restarts again and again", ops.SeverityHigh},
	{"TargetDown", "the exporter does not answer", ops.SeverityWarning},
	{"CertificateExpiresSoon", "the certificate ends in less than 7 days", ops.SeverityInfo},
	{"MemoryPressure", "the working set is near the limit, OOM is likely", ops.SeverityHigh},
	{"ReplicationLag", "the replica is behind its primary", ops.SeverityCritical},
	{"QueueBacklog", "messages wait longer than they may", ops.SeverityWarning},
	{"CPUThrottling", "the CPU quota is used up", ops.SeverityInfo},
	{"BackupMissing", "there is no backup of the last day", ops.SeverityWarning},
	{"磁盘空间不足", "服务器磁盘空间不足", ops.SeverityHigh},
	{"Überlast", "die Warteschlange läuft über", ops.SeverityWarning},
}

var (
	names  = []string{"checkout", "payments", "search", "catalog", "auth", "billing", "mail", "media", "orders", "ledger"}
	tiers  = []string{"api", "worker", "db", "cache", "gateway"}
	envs   = []string{"prod", "prod", "prod", "staging", "dev"}
	places = []string{"eu-west-1", "eu-central-1", "us-east-1", "ap-south-1"}
	teams  = []string{"platform", "storefront", "data", "payments", "sre", "identity"}
	people = []string{"", "", "", "ann", "bob", "chi", "dana"}
	kinds  = []string{"alertmanager", "alertmanager", "grafana", "zabbix", "datadog", "pagerduty", "webhook"}
)

// maker makes incidents in the order of time.
type maker struct {
	random
	Config
	sources []source
	made    int // incidents
	alerts  int
}

func newMaker(c Config) *maker {
	m := &maker{Config: c, random: random(c.Seed)}
	for n, kind := range kinds {
		m.sources = append(m.sources, source{m.id(m.opened(0)), fmt.Sprintf("%s-seed-%d", kind, n+1), kind})
	}
	return m
}

// opened is when the nth incident opened: evenly spread.
func (m *maker) opened(n int) time.Time {
	whole := days * 24 * time.Hour
	return m.Now.Add(-whole).Add(time.Duration(float64(whole) * float64(n) / float64(m.Incidents)))
}

// rows are what is copied at once.
type rows struct {
	incidents, alerts, runs, events, findings [][]any
	searchable                                []searchable
}

// searchable are an incident's texts and those of its alerts that it is found by.
type searchable struct {
	incident string
	texts    []string
	alerts   []ops.Alert
}

type table struct {
	name    string
	columns []string
	rows    [][]any
}

// tables are in the order of their references.
func (r *rows) tables() []table {
	return []table{
		{"incidents", []string{"id", "number", "title", "description", "severity", "status", "investigation", "investigation_reason", "run_id",
			"source_id", "service", "group_key", "alert_count", "firing_count", "assignee", "opened_at", "updated_at", "resolved_at", "last_seq"}, r.incidents},
		{"alerts", []string{"id", "source_id", "incident_id", "identity", "episode", "group_key", "status", "at", "starts_at", "ends_at", "severity",
			"title", "summary", "description", "service", "host", "labels", "annotations", "links", "count", "first_seen", "last_seen", "delivery_id"}, r.alerts},
		{"runs", []string{"id", "incident_id", "agent_id", "state", "reason", "priority", "epoch", "created_at", "available_at", "started_at", "ended_at"}, r.runs},
		{"events", []string{"incident_id", "seq", "at", "kind", "run_id", "actor", "data"}, r.events},
		{"findings", []string{"run_id", "incident_id", "at", "conclusive", "finding"}, r.findings},
	}
}

// next makes the next n incidents.
func (m *maker) next(n int) *rows {
	r := &rows{}
	for range n {
		m.incident(r)
	}
	return r
}

// size says how many alerts the next incident has: what is left is left for the
// others.
func (m *maker) size() int {
	left, others := m.Alerts-m.alerts, m.Incidents-m.made-1
	switch {
	case others == 0:
		return left
	case m.made%5000 == 2500: // a storm
		return min(10_000, (left-others)/2+1)
	}
	mean := left / (others + 1)
	return min(1+m.often(4*mean), left-others)
}

// incident makes one, with everything that belongs to it.
func (m *maker) incident(r *rows) {
	at := m.opened(m.made)
	n := m.size()
	m.made++
	m.alerts += n
	age := m.Now.Sub(at)
	p, src := problems[m.often(len(problems))], m.sources[m.often(len(m.sources))]
	service := pick(&m.random, names) + "-" + tiers[m.often(len(tiers))]
	env, place := pick(&m.random, envs), pick(&m.random, places)

	id := m.id(at)
	over := age > 48*time.Hour && !m.chance(1) || m.chance(70)
	status, resolved := ops.IncidentTriggered, any(nil)
	end := at.Add(time.Duration(60+m.often(36_000)) * time.Second)
	switch {
	case over && end.Before(m.Now):
		status, resolved = ops.IncidentResolved, end
		if m.chance(30) {
			status = ops.IncidentClosed
		} else if m.chance(2) {
			status = ops.IncidentMerged
		}
	case m.chance(40):
		status = ops.IncidentAcknowledged
	}
	firing := 0
	if resolved == nil {
		firing = 1 + m.below(n)
		end = at.Add(age / 2)
	}
	state := m.outcome(resolved != nil)
	run := any(nil)
	if state != "" {
		run = m.id(at)
	}
	e := &timeline{rows: r, incident: id, source: src.id, at: at}
	title := fmt.Sprintf("%s on %s", p.name, service)
	group := fmt.Sprintf("{alertname=%q, service=%q, env=%q}#%d", p.name, service, env, m.made)
	e.add(ops.EventIncidentOpened, nil, ops.IncidentChange{Status: ops.IncidentTriggered, Severity: p.severity, Title: title, Reason: "first alert of its group"})
	if run != nil {
		e.add(ops.EventRunQueued, run, ops.RunChange{State: ops.RunQueued})
	}
	found := searchable{incident: id, texts: []string{title, service}}
	for k := range n {
		a := m.alert(p, service, env, place, at, k)
		a.ID, a.IncidentID, a.SourceID, a.GroupKey = m.id(a.FirstSeen), id, src.id, group
		if k >= firing {
			a.Status, a.At, a.EndsAt = ops.AlertResolved, end, end
		}
		r.alerts = append(r.alerts, alertRow(a, m.id(a.FirstSeen)))
		e.at = a.FirstSeen
		e.add(ops.EventAlertFiring, nil, ops.AlertChange{AlertID: a.ID, Title: a.Title, Severity: a.Severity, Host: a.Host, Summary: a.Summary})
		if k < 200 { // more than that it is not found by
			found.alerts = append(found.alerts, a)
		}
	}
	r.searchable = append(r.searchable, found)
	e.at = end
	if run != nil {
		m.run(r, e, run, state, id, at, end)
	}
	if resolved != nil {
		e.add(ops.EventIncidentResolved, nil, ops.IncidentChange{Status: ops.IncidentResolved, Reason: "its last firing alert was resolved"})
	}
	r.incidents = append(r.incidents, []any{id, int64(m.made), title, p.words, string(p.severity), string(status), string(state), "", run,
		src.id, service, group, n, firing, pick(&m.random, people), at, end, resolved, e.seq})
}

// outcome is the state of an investigation.
func (m *maker) outcome(over bool) ops.RunState {
	switch n := m.below(100); {
	case !over && n < 3:
		return ops.RunQueued // nobody works here: it waits
	case n < 12:
		return ""
	case n < 70:
		return ops.RunConcluded
	case n < 88:
		return ops.RunInconclusive
	case n < 96:
		return ops.RunFailed
	}
	return ops.RunCancelled
}

func (m *maker) run(r *rows, e *timeline, run any, state ops.RunState, incident string, at, end time.Time) {
	if state == ops.RunQueued {
		r.runs = append(r.runs, []any{run, incident, "investigator", string(state), "", 2, 0, at, at.AddDate(10, 0, 0), nil, nil})
		return
	}
	e.add(ops.EventRunStarted, run, ops.RunChange{State: ops.RunRunning, Worker: "seed", Epoch: 1})
	e.add(ops.EventRunEnded, run, ops.RunChange{State: state})
	r.runs = append(r.runs, []any{run, incident, "investigator", string(state), "", 2, 1, at, at, at, end})
	if state == ops.RunConcluded {
		finding := ops.Finding{Conclusive: true, Summary: "The disk of the primary is full of old write-ahead log."}
		e.add(ops.EventFindings, run, finding)
		r.findings = append(r.findings, []any{run, incident, end, true, object(finding)})
	}
}

// alert makes the kth alert of an incident.
func (m *maker) alert(p problem, service, env, place string, at time.Time, k int) ops.Alert {
	host := fmt.Sprintf("%s-%d.%s.%s.example.com", service, 1+(m.made*7+k)%400, env, place)
	seen := at.Add(time.Duration(k) * 20 * time.Millisecond)
	return ops.Alert{
		Identity: fmt.Sprintf("%s/%d/%d", p.name, m.made, k), Episode: at.Format(time.RFC3339), Status: ops.AlertFiring, At: seen, StartsAt: seen,
		Severity: p.severity, Title: p.name, Summary: p.name + " on " + host + ": " + p.words, Service: service, Host: host,
		Labels: map[string]string{"alertname": p.name, "service": service, "env": env, "region": place, "severity": string(p.severity),
			"team": teams[(len(service)*7+len(p.name))%len(teams)], "instance": host, "job": "node"},
		FirstSeen: seen, LastSeen: seen.Add(time.Minute), Count: 1 + int64(m.often(50)),
	}
}

func alertRow(a ops.Alert, delivery string) []any {
	ends := any(nil)
	if !a.EndsAt.IsZero() {
		ends = a.EndsAt
	}
	links := []ops.Link{{Kind: "runbook", URL: "https://runbooks.example.com/" + a.Labels["alertname"]}}
	return []any{a.ID, a.SourceID, a.IncidentID, a.Identity, a.Episode, a.GroupKey, string(a.Status), a.At, a.StartsAt, ends, string(a.Severity),
		a.Title, a.Summary, a.Description, a.Service, a.Host, object(a.Labels), object(map[string]string{"summary": a.Summary}), object(links),
		a.Count, a.FirstSeen, a.LastSeen, delivery}
}

// timeline numbers the events of an incident.
type timeline struct {
	*rows
	incident, source string
	at               time.Time
	seq              int64
}

func (t *timeline) add(kind ops.EventKind, run, data any) {
	t.seq++
	t.events = append(t.events, []any{t.incident, t.seq, t.at, string(kind), run, "source:" + t.source, object(data)})
}
