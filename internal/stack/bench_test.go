package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

const (
	benchClients = 8
	benchGroups  = 100
	benchSlice   = 400 * time.Millisecond // for each contender in a round
)

// BenchmarkIntake takes new alerts with eight clients, one alert a request and
// 64: our webhook, which has stored them when it answers (fsync is on), a real
// Alertmanager, which keeps them in memory, and PostgreSQL alone, with the same
// rows in one transaction a request. They take turns, so that what else the
// machine does hits all of them; the ratios are what counts. An operation is a
// round of all turns. Without Alertmanager on the machine there is none.
//
// Processor time says more than the rates on a machine that does other things,
// too: of the clients (this process), the server that they ask, and PostgreSQL.
func BenchmarkIntake(b *testing.B) {
	pg := pgtest.NewDurable(b)
	c := prepareOn(b, pg.DB, "name: none\nmodel: none\nturns: [{text: nothing}]\n")
	c.calm()
	c.procs["api"].env = append(c.procs["api"].env, "AKMATORI_LOG_LEVEL=warn")
	c.procs["api"].start()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchClients}}
	defer client.CloseIdleConnections()

	ours := c.webhookContender(client)
	database := postgresContender(b, c)
	var rival func(int64, int) error
	var rivalPid int
	if _, err := exec.LookPath("prometheus-alertmanager"); err == nil {
		rival, rivalPid = alertmanagerContender(b, client)
	}
	var contenders []*contender
	for _, alerts := range []int{1, 64} {
		contenders = append(contenders, &contender{name: "akmatori", alerts: alerts, send: ours, server: c.procs["api"].cmd.Process.Pid, database: pg.Pid()})
		if rival != nil {
			contenders = append(contenders, &contender{name: "alertmanager", alerts: alerts, send: rival, server: rivalPid})
		}
		contenders = append(contenders, &contender{name: "postgres", alerts: alerts, send: database, database: pg.Pid()})
	}
	for _, x := range contenders { // connections, caches
		x.turn(b, benchSlice/4)
		x.took, x.busy, x.spent = nil, 0, [3]time.Duration{}
	}
	var thousand time.Duration
	for b.Loop() {
		for _, x := range contenders {
			x.turn(b, benchSlice)
		}
		began := time.Now()
		require.NoError(b, ours(serial.Add(1), 1000))
		thousand = max(thousand, time.Since(began))
	}
	b.ReportMetric(0, "ns/op") // of a round: says nothing
	b.ReportMetric(thousand.Seconds()*1000, "ms/1000-alerts")
	b.Log(compare(b, contenders))
}

// serial numbers alerts, for all contenders.
var serial atomic.Int64

// contender takes requests with new alerts.
type contender struct {
	name   string
	alerts int                             // a request
	send   func(n int64, alerts int) error // n is new
	// Processes that work for it, apart from this one: 0 if there is none.
	server, database int

	took  []time.Duration
	busy  time.Duration
	spent [3]time.Duration // of processor time: here, by the server, by the database
}

// used is what the processes that work for x have used so far.
func (x *contender) used() (all [3]time.Duration) {
	var here syscall.Rusage // the others are children of this one
	if syscall.Getrusage(syscall.RUSAGE_SELF, &here) == nil {
		all[0] = time.Duration(here.Utime.Nano() + here.Stime.Nano())
	}
	for i, pid := range []int{x.server, x.database} {
		if pid != 0 {
			all[i+1] = processorTime(pid)
		}
	}
	return all
}

// processorTime is what a process and its children have used, 0 if the system
// does not tell.
func processorTime(pid int) (total time.Duration) {
	const tick = time.Second / 100 // of /proc, on every Linux
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // has ended
		}
		// The name in parentheses may hold anything: what counts is behind it, from
		// the third field on: the parent is the fourth, the times are 14 to 17.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		own := filepath.Base(filepath.Dir(name)) == strconv.Itoa(pid)
		if len(fields) < 15 || !own && fields[1] != strconv.Itoa(pid) {
			continue
		}
		times := fields[11:13]
		if own { // with those of its children that have ended
			times = fields[11:15]
		}
		for _, ticks := range times {
			n, _ := strconv.ParseInt(ticks, 10, 64)
			total += time.Duration(n) * tick
		}
	}
	return total
}

// turn has all clients send for a while.
func (x *contender) turn(b testing.TB, d time.Duration) {
	var mu sync.Mutex
	var clients sync.WaitGroup
	before := x.used()
	began := time.Now()
	for range benchClients {
		clients.Go(func() {
			var took []time.Duration
			for time.Since(began) < d {
				sent := time.Now()
				if err := x.send(serial.Add(1), x.alerts); err != nil {
					b.Error(x.name, err)
					return
				}
				took = append(took, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			x.took = append(x.took, took...)
		})
	}
	clients.Wait()
	x.busy += time.Since(began)
	for i, after := range x.used() {
		x.spent[i] += after - before[i]
	}
}

func (x *contender) rate() float64 { return float64(len(x.took)) / x.busy.Seconds() }

func (x *contender) at(q float64) float64 {
	slices.Sort(x.took)
	return float64(x.took[int(q*float64(len(x.took)-1))].Microseconds()) / 1000
}

// each is the processor time of a request, in microseconds.
func (x *contender) each(part int) float64 {
	return float64(x.spent[part].Microseconds()) / float64(len(x.took))
}

func compare(b *testing.B, contenders []*contender) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\nalerts/request\t\trequests/s\talerts/s\tp50 ms\tp99 ms\tclient µs\tserver µs\tdatabase µs\takmatori is\t")
	var own *contender
	for _, x := range contenders {
		ratio := ""
		if x.name == "akmatori" {
			own = x
			b.ReportMetric(x.rate()*float64(x.alerts), fmt.Sprintf("alerts/s-%d", x.alerts))
			b.ReportMetric(x.at(.99), fmt.Sprintf("p99-ms-%d", x.alerts))
		} else {
			ratio = fmt.Sprintf("%.2f×", own.rate()/x.rate())
			b.ReportMetric(own.rate()/x.rate(), fmt.Sprintf("x-%s-%d", x.name, x.alerts))
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%s\t\n", x.alerts, x.name, x.rate(), x.rate()*float64(x.alerts),
			x.at(.50), x.at(.99), x.each(0), x.each(1), x.each(2), ratio)
	}
	_ = w.Flush()
	return out.String()
}

// benchAlerts are alerts as Alertmanager sends and takes them, one list entry each.
func benchAlerts(n int64, alerts int, webhook bool) string {
	var s strings.Builder
	starts := time.Now().UTC().Format(time.RFC3339Nano)
	for i := range alerts {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteByte('{')
		if webhook {
			_, _ = fmt.Fprintf(&s, `"status":"firing","endsAt":"0001-01-01T00:00:00Z","fingerprint":"%016x",`, n<<10|int64(i))
		}
		_, _ = fmt.Fprintf(&s, `"labels":{"alertname":"Bench%d","instance":"host-%d-%d:9100","severity":"warning","job":"node","service":"shop"},`+
			`"annotations":{"summary":"Disk is full on host-%d-%d","description":"It has 3 %% left and will be full in two hours."},`+
			`"startsAt":"%s","generatorURL":"http://127.0.0.1:9090/graph?g0.expr=up"}`,
			n%benchGroups, n, i, n, i, starts)
	}
	return s.String()
}

func (c *cluster) webhookContender(client *http.Client) func(int64, int) error {
	url := c.url + "/webhook/alert/" + c.source
	return func(n int64, alerts int) error {
		body := fmt.Sprintf(`{"version":"4","groupKey":"{}:{alertname=\"Bench%[1]d\"}","status":"firing","receiver":"akmatori","groupLabels":{"alertname":"Bench%[1]d"},`+
			`"commonLabels":{"alertname":"Bench%[1]d"},"commonAnnotations":{},"externalURL":"http://127.0.0.1:9093","truncatedAlerts":0,"alerts":[%[2]s]}`,
			n%benchGroups, benchAlerts(n, alerts, true))
		return postJSON(client, url, body, "Bearer "+c.webhook.Reveal(), http.StatusAccepted)
	}
}

// alertmanagerContender starts an Alertmanager with nobody to tell. It groups as
// our alerts are grouped.
func alertmanagerContender(t testing.TB, client *http.Client) (send func(int64, int) error, pid int) {
	dir := filepath.Join(peerDir(t), "am")
	am := peer(t, []string{"AM_GROUP_BY=alertname", "AM_GROUP_WAIT=30s", "AM_GROUP_INTERVAL=5m", "AM_LOG_LEVEL=warn"}, "alertmanager.sh", "start", dir)
	t.Cleanup(func() { peer(t, nil, "alertmanager.sh", "stop", dir) })
	pid, err := strconv.Atoi(am["ALERTMANAGER_PID"])
	require.NoError(t, err)
	return func(n int64, alerts int) error {
		return postJSON(client, am["ALERTMANAGER_URL"]+"/api/v2/alerts", "["+benchAlerts(n, alerts, false)+"]", "", http.StatusOK)
	}, pid
}

// postgresContender writes the rows that a request with new alerts of one group
// needs, in one transaction and one round trip: what a webhook could do at best
// that shares no transactions.
func postgresContender(t testing.TB, c *cluster) func(int64, int) error {
	conf, err := pgxpool.ParseConfig(c.pg.Owner.Reveal())
	require.NoError(t, err)
	conf.MaxConns = benchClients
	pool, err := pgxpool.NewWithConfig(t.Context(), conf)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	groups := make([]string, benchGroups)
	for i := range groups {
		groups[i] = ops.NewID()
		_, err := pool.Exec(t.Context(), `INSERT INTO incidents (id, title, severity, status, opened_at, updated_at) VALUES ($1, 'Bench', 'warning', 'triggered', now(), now())`, groups[i])
		require.NoError(t, err)
	}
	return func(n int64, alerts int) error {
		incident, delivery, body := groups[n%benchGroups], ops.NewID(), benchAlerts(n, alerts, true)
		ids := make([]string, alerts)
		for i := range ids {
			ids[i] = ops.NewID()
		}
		q := &pgx.Batch{} // outside of a transaction it is one itself
		q.Queue(`INSERT INTO deliveries (id, source_id, received_at, content_type, body, alert_count) VALUES ($1, $2, now(), 'application/json', $3, $4)`,
			delivery, c.source, body, alerts)
		q.Queue(`INSERT INTO alerts (id, source_id, incident_id, identity, episode, group_key, status, at, starts_at, severity, title, summary, description,
				service, host, labels, annotations, links, first_seen, last_seen, delivery_id)
			SELECT id, $2, $3, id::text, 'e', 'Bench', 'firing', now(), now(), 'warning', 'Disk is full on ' || id, 'Disk is full on ' || id,
				'It has 3 % left and will be full in two hours.', 'shop', 'host-' || id,
				'{"alertname": "Bench", "severity": "warning", "job": "node", "service": "shop", "instance": "host-1-1:9100"}',
				'{"summary": "Disk is full on host-1-1", "description": "It has 3 % left and will be full in two hours."}',
				'[{"kind": "generator", "url": "http://127.0.0.1:9090/graph?g0.expr=up"}]', now(), now(), $4
			FROM unnest($1::uuid[]) AS id`, ids, c.source, incident, delivery)
		q.Queue(`WITH i AS (UPDATE incidents SET alert_count = alert_count + $2, firing_count = firing_count + $2, last_seq = last_seq + $2, updated_at = now()
				WHERE id = $1 RETURNING last_seq)
			INSERT INTO events (incident_id, seq, at, kind, actor, data)
			SELECT $1, i.last_seq - $2 + n, now(), 'alert.firing', 'source', json_build_object('alert_id', id, 'title', 'Disk is full on ' || id, 'severity', 'warning')
			FROM i, unnest($3::uuid[]) WITH ORDINALITY AS a (id, n)`, incident, alerts, ids)
		return pool.SendBatch(context.Background(), q).Close()
	}
}

func postJSON(client *http.Client, url, body, authorization string, want int) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != want {
		return errors.New(resp.Status + ": " + string(answer))
	}
	return nil
}
