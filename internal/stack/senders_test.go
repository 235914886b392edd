//go:build chaos

package stack_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// The senders of a storm: what they send, and what they do when it is not taken.
// Each knows the state of its alerts and writes down what it was told.

// manner is how one kind of sender delivers. Its times are the real ones
// divided by haste.
type manner struct {
	kind   string
	slots  int // requests at once
	groups int // how many, and how many alerts one has
	alerts func(r *rand.Rand) int
	body   func(g *group, reports []*episode) any

	// Between two tries it waits for first, then factor times as long, at most
	// max. tries are at a message (0: as many as fit into the window).
	first, max time.Duration
	factor     float64
	tries      int
	// A sender with a window sends the whole group's state again when the window
	// ends without success, for as long as it takes. One without gives up.
	window time.Duration

	sign func(header http.Header, key ops.Secret, body []byte)
	// id names the header with the sender's own name for a message, the same in
	// each try.
	id string
	// acks says that people acknowledge alerts over there, twice that two
	// instances report each change, form that some bodies are forms.
	acks, twice, form bool
}

const haste = 5

func manners() []*manner {
	const ms, s = time.Millisecond / haste, time.Second / haste
	upTo := func(n int) func(*rand.Rand) int { return func(r *rand.Rand) int { return 1 + r.IntN(n) } }
	one := func(*rand.Rand) int { return 1 }
	return []*manner{
		// Until group_interval (its minimum), then the group as it is by then.
		{kind: "alertmanager", slots: 60, groups: 360, alerts: upTo(19), body: alertmanagerBody, first: 500 * ms, max: 60 * s, factor: 1.5, window: 10 * s, twice: true},
		// Never again but at the next group_interval (not of 5 m here, but 30 s).
		{kind: "grafana", slots: 40, groups: 160, alerts: upTo(19), body: grafanaBody, tries: 1, window: 30 * s, sign: signGrafana},
		// For 48 hours, the next event of an incident waits for the one before it.
		{kind: "pagerduty", slots: 30, groups: 900, alerts: one, body: pagerDutyBody, first: 1 * s, max: 20 * s, factor: 2, window: 48 * time.Hour, sign: signPagerDuty, id: "X-Webhook-Id", acks: true},
		// Five tries.
		{kind: "datadog", slots: 20, groups: 300, alerts: upTo(5), body: datadogBody, first: 2 * s, max: 60 * s, factor: 2, tries: 5, form: true},
		// Three attempts, ten seconds apart: the defaults of a media type.
		{kind: "zabbix", slots: 20, groups: 1600, alerts: one, body: zabbixBody, first: 10 * s, max: 10 * s, factor: 1, tries: 3, acks: true},
		// A script with a loop around curl.
		{kind: "webhook", slots: 10, groups: 100, alerts: upTo(19), body: webhookBody, first: 1 * s, max: 30 * s, factor: 3, tries: 4},
	}
}

// sender is one source as it is configured at both ends.
type sender struct {
	*manner
	url    string
	secret ops.Secret
	busy   chan struct{} // a place for each request under way
}

// group is what a sender groups, with what has become of its alerts.
type group struct {
	*sender
	name     string
	n        int // of all groups
	rand     *rand.Rand
	start    time.Duration // into the storm
	episodes []*episode
	steps    [][]turn
	sent     int // messages
}

// episode is one alert from its beginning to its end. Its title is known to
// nobody else: by it the test finds the alert again, whatever intake makes of it.
type episode struct {
	title  string
	group  string
	object string // what is broken
	n      int    // episode of it
	starts time.Time
	at     time.Time // of the newest change
	status ops.AlertStatus
	told   bool // its end was taken, so it is not reported any more

	// What the sender knows for certain, and what it does not.
	tried, taken map[ops.AlertStatus]bool
	firedTaken   time.Time // when the first 2xx for a firing state came
	endTried     time.Time // when its end was first sent
}

// turn is a change of an episode.
type turn struct {
	episode *episode
	status  ops.AlertStatus
}

// newGroup makes up the life of a group: some alerts begin together, some later,
// some end and begin anew while others go on, and most end in the end.
func newGroup(s *sender, n int, r *rand.Rand) *group {
	g := &group{sender: s, n: n, rand: r, name: fmt.Sprintf("g%d", n), start: time.Duration(r.Int64N(int64(spread)))}
	begin := func(object, times int) turn {
		e := &episode{group: g.name, object: fmt.Sprintf("%s/a%d", g.name, object), n: times,
			title: fmt.Sprintf("%s/a%d#%d", g.name, object, times), tried: map[ops.AlertStatus]bool{}, taken: map[ops.AlertStatus]bool{}}
		g.episodes = append(g.episodes, e)
		return turn{e, ops.AlertFiring}
	}
	alerts := s.alerts(r)
	var first, second, acks, ends, again, last []turn
	for i := range alerts {
		t := begin(i, 1)
		if i == 0 || r.IntN(3) > 0 {
			first = append(first, t)
		} else {
			second = append(second, t)
		}
		if s.acks && r.IntN(3) == 0 {
			acks = append(acks, turn{t.episode, ops.AlertAcknowledged})
		}
		if i > 0 && r.IntN(3) == 0 { // the first goes on, and the group with it
			ends = append(ends, turn{t.episode, ops.AlertResolved})
			if r.IntN(2) == 0 {
				again = append(again, begin(i, 2))
			}
		}
	}
	if r.IntN(4) > 0 {
		for _, e := range g.episodes {
			last = append(last, turn{e, ops.AlertResolved})
		}
	}
	for _, step := range [][]turn{first, second, acks, ends, again, last} {
		if len(step) > 0 {
			g.steps = append(g.steps, step)
		}
	}
	// A group that ended altogether and begins again within the re-open window.
	if len(last) > 0 && s.kind == "zabbix" && r.IntN(4) == 0 {
		g.steps = append(g.steps, []turn{begin(0, 2)})
	}
	return g
}

// live sends what becomes of the group, to its end.
func (g *group) live(ctx context.Context, l *ledger) {
	sleep(ctx, g.start)
	for _, step := range g.steps {
		now := time.Now().UTC().Truncate(time.Millisecond)
		var changed []*episode
		for _, t := range step {
			e := t.episode
			if t.status == ops.AlertFiring {
				e.starts = now
			}
			if t.status == e.status {
				continue
			}
			e.status, e.at = t.status, now
			changed = append(changed, e)
		}
		if g.window == 0 || g.id != "" { // a message a change, or one of all that changed
			g.deliver(ctx, l, changed)
		} else {
			for ctx.Err() == nil && !g.deliver(ctx, l, g.known()) {
			}
		}
		sleep(ctx, time.Duration(g.rand.Int64N(int64(pause))))
	}
}

// known are the alerts that a group with a memory reports: all that fire, and
// those whose end has not been taken yet.
func (g *group) known() []*episode {
	var known []*episode
	for _, e := range g.episodes {
		if e.status != "" && !e.told {
			known = append(known, e)
		}
	}
	return known
}

// deliver sends one message until it is taken, the window ends or the tries are
// used up.
func (g *group) deliver(ctx context.Context, l *ledger, reports []*episode) bool {
	if len(reports) == 0 {
		return true
	}
	if g.kind == "zabbix" || g.kind == "pagerduty" || g.kind == "datadog" { // one alert a message
		all := true
		for _, e := range reports {
			all = g.send(ctx, l, []*episode{e}) && all
		}
		return all
	}
	return g.send(ctx, l, reports)
}

func (g *group) send(ctx context.Context, l *ledger, reports []*episode) bool {
	m := g.letter(reports)
	if g.twice && g.rand.IntN(5) == 0 { // the other instance, a moment later and by itself
		l.aside(func() {
			sleep(ctx, time.Duration(g.n%7)*100*time.Millisecond)
			l.post(ctx, m, 0)
		})
	}
	wait := g.first
	began := time.Now()
	for try := 1; ; try++ {
		if try > 1 {
			l.retried.Add(1)
		}
		cut := time.Duration(0)
		if g.rand.IntN(30) == 0 { // hangs up before the answer comes
			cut = time.Duration(1+g.rand.IntN(4000)) * time.Microsecond
		}
		if l.post(ctx, m, cut) {
			if g.rand.IntN(20) == 0 { // and sends the same once more, much later
				late := time.Duration(g.rand.Int64N(int64(pause)))
				l.aside(func() { sleep(ctx, late); l.resent.Add(1); l.post(ctx, m, 0) })
			}
			for i, e := range reports {
				e.told = m.statuses[i] == ops.AlertResolved
			}
			return true
		}
		left := g.window - time.Since(began)
		switch {
		case ctx.Err() != nil:
			return false
		case g.tries > 0 && try >= g.tries && g.window > 0, g.window > 0 && left < wait:
			sleep(ctx, left)
			return false
		case g.tries > 0 && try >= g.tries:
			l.givenUp.Add(1)
			return false
		}
		sleep(ctx, time.Duration(float64(wait)*(0.75+g.rand.Float64()/2)))
		wait = min(time.Duration(float64(wait)*g.factor), g.max)
	}
}

// letter is one message, the same in each try.
type letter struct {
	*sender
	header   http.Header
	body     []byte
	reports  []*episode
	statuses []ops.AlertStatus
}

func (g *group) letter(reports []*episode) *letter {
	g.sent++
	m := &letter{sender: g.sender, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, reports: reports}
	for _, e := range reports {
		m.statuses = append(m.statuses, e.status)
	}
	body, err := json.Marshal(g.body(g, reports))
	if err != nil {
		panic(err)
	}
	if g.form && g.n%3 == 0 {
		body = []byte(url.Values{"payload": {string(body)}}.Encode())
		m.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	m.body = body
	if g.id != "" {
		m.header.Set(g.id, fmt.Sprintf("%s-%d", g.name, g.sent))
	}
	if g.sign != nil {
		g.sign(m.header, g.secret, m.body)
	} else {
		m.header.Set("Authorization", "Bearer "+g.secret.Reveal())
	}
	return m
}

// ledger is what all senders know together: what was answered with 2xx.
type ledger struct {
	client *http.Client
	aside  func(func()) // runs f beside the storm, and is waited for

	mu         sync.Mutex
	begun      map[string]*episode // sent at least once
	deliveries map[string]bool     // ids of answers
	wrong      []string            // answers that must not be

	requests, accepted, refused, silent, retried, resent, givenUp atomic.Int64
	alerts, alertsAccepted                                        atomic.Int64 // in requests
	fired                                                         atomic.Int64 // episodes with a 2xx
}

// post sends a letter once and notes what came of it. After cut, if there is
// one, it does not wait for the answer any longer.
func (l *ledger) post(ctx context.Context, m *letter, cut time.Duration) bool {
	limit := 5 * time.Second // PagerDuty's, the strictest
	if cut > 0 {
		limit = cut
	}
	select {
	case m.busy <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-m.busy }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l.note(m)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(m.body))
	if err != nil {
		panic(err)
	}
	req.Header = m.header.Clone()
	l.requests.Add(1)
	l.alerts.Add(int64(len(m.reports)))
	resp, err := l.client.Do(req)
	if err != nil {
		l.silent.Add(1)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		l.refused.Add(1)
		return false
	case resp.StatusCode/100 == 2: // an Alertmanager takes the status for the answer
		l.taken(m, answer, err == nil)
		return true
	}
	l.complain(fmt.Sprintf("%s was answered %s: %s", m.kind, resp.Status, answer))
	return false
}

// note is what may be stored from now on, whatever the answer is.
func (l *ledger) note(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range m.reports {
		l.begun[e.title] = e
		e.tried[m.statuses[i]] = true
		if m.statuses[i] == ops.AlertResolved && e.endTried.IsZero() {
			e.endTried = time.Now()
		}
	}
}

// taken is what must be stored from now on.
func (l *ledger) taken(m *letter, answer []byte, whole bool) {
	l.accepted.Add(1)
	l.alertsAccepted.Add(int64(len(m.reports)))
	var out struct {
		Delivery, Problem string
		Alerts            int
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if whole {
		if err := json.Unmarshal(answer, &out); err != nil || out.Delivery == "" || out.Problem != "" || out.Alerts != len(m.reports) {
			l.wrong = append(l.wrong, fmt.Sprintf("%s: %d alerts were answered with %s", m.kind, len(m.reports), answer))
		}
		l.deliveries[out.Delivery] = true
	}
	for i, e := range m.reports {
		if len(e.taken) == 0 {
			l.fired.Add(1)
		}
		e.taken[m.statuses[i]] = true
		if m.statuses[i] != ops.AlertResolved && e.firedTaken.IsZero() {
			e.firedTaken = time.Now()
		}
	}
}

func (l *ledger) complain(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, what)
}

// sleep is a sender's own clock.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// The bodies, as SENDERS send them. Some have more in them than intake reads.

func alertmanagerBody(g *group, reports []*episode) any {
	labels := map[string]string{"alertname": "Chaos", "group": g.name}
	status, alerts := "resolved", []any{}
	for _, e := range reports {
		own := map[string]string{"alertname": "Chaos", "group": g.name, "instance": e.object + ":9100", "severity": "warning", "job": "node"}
		ends := "0001-01-01T00:00:00Z"
		if e.status == ops.AlertResolved {
			ends = e.at.Format(time.RFC3339Nano)
		} else {
			status = "firing"
		}
		alerts = append(alerts, map[string]any{"status": string(e.status), "labels": own, "annotations": map[string]string{"summary": e.title},
			"startsAt": e.starts.Format(time.RFC3339Nano), "endsAt": ends, "fingerprint": fingerprint(e.object),
			"generatorURL": "http://127.0.0.1:9090/graph?g0.expr=up"})
	}
	return map[string]any{"version": "4", "groupKey": fmt.Sprintf(`{}:{group=%q}`, g.name), "status": status, "receiver": "akmatori",
		"groupLabels": map[string]string{"group": g.name}, "commonLabels": labels, "commonAnnotations": map[string]string{},
		"externalURL": "http://127.0.0.1:9093", "truncatedAlerts": 0, "alerts": alerts}
}

func grafanaBody(g *group, reports []*episode) any {
	body := alertmanagerBody(g, reports).(map[string]any)
	body["version"], body["orgId"], body["title"], body["state"] = "1", 1, "[FIRING] "+g.name, "alerting"
	for _, a := range body["alerts"].([]any) {
		alert := a.(map[string]any)
		alert["values"], alert["valueString"], alert["ruleUID"], alert["orgId"] = map[string]float64{"A": 1}, "[ var='A' value=1 ]", "rule-"+g.name, 1
	}
	return body
}

func pagerDutyBody(_ *group, reports []*episode) any {
	e := reports[0]
	status := map[ops.AlertStatus]string{ops.AlertFiring: "triggered", ops.AlertAcknowledged: "acknowledged", ops.AlertResolved: "resolved"}[e.status]
	return map[string]any{"event": map[string]any{"id": fingerprint(e.title + status), "event_type": "incident." + status, "resource_type": "incident",
		"occurred_at": e.at.Format("2006-01-02T15:04:05.000Z"), "agent": nil, "client": nil,
		"data": map[string]any{"id": "P" + strings.ToUpper(fingerprint(e.title)), "type": "incident", "number": 1, "status": status,
			"incident_key": e.object, "created_at": e.starts.Format(time.RFC3339), "title": e.title, "urgency": "high", "priority": nil,
			"service": map[string]string{"id": "PSERVICE", "summary": "API", "type": "service_reference"}, "resolve_reason": nil,
			"html_url": "https://acme.pagerduty.com/incidents/" + e.object}}}
}

func datadogBody(g *group, reports []*episode) any {
	e := reports[0]
	transition, kind := "Triggered", "error"
	if e.status == ops.AlertResolved {
		transition, kind = "Recovered", "success"
	}
	millis := strconv.FormatInt(e.at.UnixMilli(), 10)
	return map[string]string{"alert_id": g.name, "alert_cycle_key": fingerprint(e.title), "alert_transition": transition, "alert_type": kind,
		"alert_priority": "P3", "alert_title": e.title, "alert_status": "$ALERT_STATUS", "alert_query": "avg(last_5m):avg:system.cpu.user{*} by {host} > 90",
		"alert_scope": "host:" + e.object, "event_title": "[P3] [" + transition + " on {host:" + e.object + "}] " + e.title,
		"text_only_msg": "It is high.\nLook at it.", "hostname": e.object, "tags": "env:prod,host:" + e.object, "id": fingerprint(e.title + transition),
		"date": millis, "last_updated": millis, "org_id": "42", "org_name": "Acme", "priority": "normal"}
}

func zabbixBody(_ *group, reports []*episode) any {
	e := reports[0]
	body := map[string]any{"event_id": fingerprint(e.title), "event_source": "0", "event_object": "0", "event_value": "1", "event_status": "PROBLEM",
		"event_name": e.title, "event_nseverity": "2", "event_severity": "Warning", "event_ack": "No", "event_update_status": "0",
		"event_update_message": "{EVENT.UPDATE.MESSAGE}", "event_recovery_id": "{EVENT.RECOVERY.ID}", "event_opdata": "*UNKNOWN*",
		"event_tags": []map[string]string{{"tag": "service", "value": "shop"}, {"tag": "scope", "value": "availability"}},
		"trigger_id": fingerprint(e.object), "host_id": "10559", "host_host": e.object, "host_name": e.object, "event_unix": e.starts.Unix()}
	switch e.status {
	case ops.AlertAcknowledged:
		body["event_ack"], body["event_update_status"], body["event_update_unix"] = "Yes", "1", e.at.Unix()+1
	case ops.AlertResolved:
		body["event_value"], body["event_status"], body["event_recovery_unix"] = "0", "RESOLVED", e.at.Unix()+1
	}
	return body
}

func webhookBody(g *group, reports []*episode) any {
	alerts := []any{}
	for _, e := range reports {
		alerts = append(alerts, map[string]any{"identity": e.object, "episode": strconv.Itoa(e.n), "group": g.name, "status": string(e.status),
			"severity": "warning", "title": e.title, "host": e.object, "starts_at": e.starts.Format(time.RFC3339Nano), "at": e.at.Format(time.RFC3339Nano),
			"labels": map[string]string{"team": "blue"}})
	}
	return map[string]any{"alerts": alerts}
}

func signPagerDuty(header http.Header, key ops.Secret, body []byte) {
	header.Set("X-PagerDuty-Signature", "v1="+hex.EncodeToString([]byte("an older secret's signature....."))+",v1="+mac(key, body))
}

func signGrafana(header http.Header, key ops.Secret, body []byte) {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	header.Set("X-Grafana-Alerting-Timestamp", stamp)
	header.Set("X-Grafana-Alerting-Signature", mac(key, append([]byte(stamp+":"), body...)))
}

func mac(key ops.Secret, message []byte) string {
	h := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = h.Write(message)
	return hex.EncodeToString(h.Sum(nil))
}

func fingerprint(s string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return fmt.Sprintf("%016x", h.Sum64())
}
