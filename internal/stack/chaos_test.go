//go:build chaos

package stack_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

var seed = flag.Uint64("seed", 0, "of the storm; 0 makes one")

const (
	spread = 8 * time.Second // groups begin within it
	pause  = 2 * time.Second // at most, between two changes of a group
	kills  = 6               // of the api, beside the one of PostgreSQL

	patience = 4 * time.Minute // on a busy machine; a quiet one needs less than one
)

// TestStorm has six kinds of senders report 10,000 alerts while the api is
// killed with -9 at random moments, and PostgreSQL is stopped once without a
// word. Then it compares what is stored with what the senders were told: what
// was answered with 2xx is there, once, in the incident of its group, and
// nothing else is. What was sent without an answer may be there.
//
// The seed fixes what is sent and when the kills come; how the machine
// interleaves it all differs from run to run.
func TestStorm(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	pg := pgtest.NewDurable(t)
	scenario, err := os.ReadFile("testdata/two-calls.yaml") // nobody investigates here
	require.NoError(t, err)
	c := prepareOn(t, pg.DB, string(scenario))
	senders := c.senders()
	c.calm()
	api := c.procs["api"]
	api.start()
	c.admin, err = stack.MakeAdmin(t.Context(), c.url, c.db, c.state)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var running, beside sync.WaitGroup
	l := &ledger{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}, begun: map[string]*episode{},
		deliveries: map[string]bool{}, aside: func(f func()) { beside.Go(f) }}
	began := time.Now()
	planned := 0
	for _, g := range newGroups(senders) {
		planned += len(g.episodes)
		running.Go(func() { g.live(ctx, l) })
	}
	require.Greater(t, planned, 10_000)
	over := make(chan struct{})
	go func() { running.Wait(); beside.Wait(); close(over) }()

	killed := 0
	for _, m := range mishaps(planned) {
		for l.fired.Load() < int64(m.after) && ctx.Err() == nil {
			sleep(ctx, time.Millisecond)
		}
		sleep(ctx, m.later)
		if m.database {
			pg.Crash()
			sleep(ctx, m.down)
			pg.Restart()
			continue
		}
		api.kill()
		killed++
		sleep(ctx, m.down)
		api.start()
	}
	<-over // each sender ends with ctx
	took := time.Since(began)
	require.NoError(t, ctx.Err(), "the storm is not over after %s: %d of %d alerts were accepted, %d requests refused, %d not answered",
		patience, l.fired.Load(), planned, l.refused.Load(), l.silent.Load())
	require.Empty(t, l.wrong)
	api.ready()

	got := c.reckon(l)
	t.Log(table(l, got, planned, killed, took))
	require.Empty(t, got.faults)
	c.sameThroughTheAPI()
}

// mishap is a crash, after so many alerts were taken.
type mishap struct {
	after       int
	later, down time.Duration
	database    bool
}

func mishaps(planned int) []mishap {
	r := rand.New(rand.NewPCG(*seed, 1))
	all := make([]mishap, kills+1)
	for i := range all {
		all[i] = mishap{after: planned/20 + r.IntN(planned*17/20), later: time.Duration(r.Int64N(int64(50 * time.Millisecond))),
			down: time.Duration(r.Int64N(int64(700 * time.Millisecond)))}
	}
	all[r.IntN(len(all))].database = true
	slices.SortFunc(all, func(a, b mishap) int { return cmp.Compare(a.after, b.after) })
	return all
}

// senders makes a source of each kind.
func (c *cluster) senders() []*sender {
	var all []*sender
	f := config.File{}
	for _, m := range manners() {
		s := &sender{manner: m, secret: ops.NewToken(ops.WebhookTokenPrefix), busy: make(chan struct{}, m.slots)}
		src := config.Source{ID: ops.NewID(), Name: "storm-" + m.kind, Kind: m.kind, Secret: s.secret}
		if m.sign != nil {
			src.Auth = ops.AuthSignature
		}
		f.Sources = append(f.Sources, src)
		s.url = c.url + "/webhook/alert/" + src.ID
		all = append(all, s)
	}
	c.configure(f)
	return all
}

func newGroups(senders []*sender) []*group {
	var all []*group
	for _, s := range senders {
		for range s.groups {
			n := len(all) + 1
			all = append(all, newGroup(s, n, rand.New(rand.NewPCG(*seed, uint64(n)<<8))))
		}
	}
	return all
}

// reckoning is what the database says, compared with the ledger.
type reckoning struct {
	stored, lost, doubled, junk int
	incidents                   int
	least, most                 int // incidents that there must be and may be
	faults                      []string
}

func (r *reckoning) fault(format string, args ...any) {
	if len(r.faults) < 20 {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

// storedAlert is a row of an alert.
type storedAlert struct {
	Title, Status, Incident string
	Copies                  int
}

func (c *cluster) reckon(l *ledger) *reckoning {
	t := c.t
	conn, err := pgx.Connect(t.Context(), c.pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	r := &reckoning{}

	alerts := rowsOf[storedAlert](t, conn, `SELECT title, min(status), coalesce(min(incident_id::text), ''), count(*) FROM alerts GROUP BY title`)
	stored := map[string]storedAlert{}
	incidentOf, groupOf := map[string]string{}, map[string]string{}
	for _, a := range alerts {
		stored[a.Title] = a
		r.stored += a.Copies
		r.doubled += a.Copies - 1
		e := l.begun[a.Title]
		if e == nil {
			r.junk++
			r.fault("an alert that nobody sent: %q", a.Title)
			continue
		}
		if a.Copies > 1 {
			r.fault("%s is stored %d times", a.Title, a.Copies)
		}
		if a.Incident == "" {
			continue
		}
		if other := incidentOf[e.group]; other != "" && other != a.Incident {
			r.fault("group %s is in incidents %s and %s", e.group, other, a.Incident)
		}
		if other := groupOf[a.Incident]; other != "" && other != e.group {
			r.fault("incident %s has groups %s and %s", a.Incident, other, e.group)
		}
		incidentOf[e.group], groupOf[a.Incident] = a.Incident, e.group
	}
	must, may := map[string]bool{}, map[string]bool{}
	for title, e := range l.begun {
		a, known := stored[title]
		if !known && len(e.taken) > 0 {
			r.lost++
			r.fault("%s was accepted and is not stored", title)
			continue
		}
		may[e.group] = may[e.group] || e.tried[ops.AlertFiring] || e.tried[ops.AlertAcknowledged]
		fired := !e.firedTaken.IsZero() && (e.endTried.IsZero() || e.firedTaken.Before(e.endTried))
		must[e.group] = must[e.group] || fired
		if !known {
			continue
		}
		if fired && a.Incident == "" {
			r.lost++
			r.fault("%s fired and is in no incident", title)
		}
		ended := a.Status == string(ops.AlertResolved)
		if ended && !e.tried[ops.AlertResolved] || !ended && e.taken[ops.AlertResolved] {
			r.fault("%s is %s; accepted was %v of %v", title, a.Status, e.taken, e.tried)
		}
		if e.taken[ops.AlertAcknowledged] && a.Status == string(ops.AlertFiring) {
			r.fault("%s was acknowledged and is not", title)
		}
	}
	for group := range may {
		r.most++
		if must[group] {
			r.least++
			if incidentOf[group] == "" {
				r.fault("group %s has no incident", group)
			}
		}
	}
	r.incidents = rowsOf[int](t, conn, `SELECT count(*) FROM incidents`)[0]
	if r.incidents != len(groupOf) {
		r.junk += r.incidents - len(groupOf)
		r.fault("%d incidents, of which %d have alerts", r.incidents, len(groupOf))
	}
	// What must hold whatever was sent.
	for what, query := range map[string]string{
		"counts of incidents that are wrong": `SELECT i.number::text FROM incidents i LEFT JOIN
			(SELECT incident_id, count(*) AS n, count(*) FILTER (WHERE status <> 'resolved') AS firing FROM alerts GROUP BY 1) a ON a.incident_id = i.id
			WHERE i.alert_count <> coalesce(a.n, 0) OR i.firing_count <> coalesce(a.firing, 0) OR (i.firing_count = 0) <> (i.status = 'resolved')`,
		"timelines with holes": `SELECT i.number::text FROM incidents i LEFT JOIN
			(SELECT incident_id, count(*) AS n, min(seq) AS lo, max(seq) AS hi FROM events GROUP BY 1) e ON e.incident_id = i.id
			WHERE e.lo IS DISTINCT FROM 1 OR e.hi IS DISTINCT FROM e.n OR e.hi IS DISTINCT FROM i.last_seq`,
		"alerts that began or ended twice": `SELECT data->>'alert_id' || ' ' || kind FROM events WHERE kind IN ('alert.firing', 'alert.resolved')
			GROUP BY data->>'alert_id', kind HAVING count(*) > 1`,
		"alerts whose beginning or end is not on the timeline": `SELECT a.title FROM alerts a WHERE a.incident_id IS NOT NULL AND
			(NOT EXISTS (SELECT FROM events e WHERE e.incident_id = a.incident_id AND e.kind = 'alert.firing' AND e.data->>'alert_id' = a.id::text)
			OR a.status = 'resolved' AND NOT EXISTS (SELECT FROM events e WHERE e.incident_id = a.incident_id AND e.kind = 'alert.resolved' AND e.data->>'alert_id' = a.id::text))`,
		"incidents with more than one live run": `SELECT incident_id::text FROM runs WHERE state IN ('queued', 'running', 'waiting_approval')
			GROUP BY 1 HAVING count(*) > 1`,
		"incidents without a run": `SELECT number::text FROM incidents i WHERE NOT EXISTS (SELECT FROM runs r WHERE r.incident_id = i.id)`,
	} {
		if found := rowsOf[string](t, conn, query+` LIMIT 10`); len(found) > 0 {
			r.fault("%s: %v", what, found)
		}
	}
	there := map[string]bool{}
	for _, id := range rowsOf[string](t, conn, `SELECT id::text FROM deliveries`) {
		there[id] = true
	}
	for id := range l.deliveries {
		if !there[id] {
			r.fault("delivery %s was accepted and is not stored", id)
		}
	}
	return r
}

func rowsOf[T any](t testing.TB, conn *pgx.Conn, query string) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	require.NoError(t, err)
	var zero T
	to := pgx.RowTo[T]
	if _, ok := any(zero).(storedAlert); ok {
		to = pgx.RowToStructByPos[T]
	}
	all, err := pgx.CollectRows(rows, to)
	require.NoError(t, err, query)
	return all
}

// sameThroughTheAPI reads every incident, and of some all alerts and the whole
// timeline, as people's programs do.
func (c *cluster) sameThroughTheAPI() {
	t := c.t
	type page[T any] struct {
		Items      []T    `json:"items"`
		NextCursor string `json:"next_cursor"`
	}
	var incidents []ops.Incident
	for cursor := ""; ; {
		var p page[ops.Incident]
		require.NoError(t, json.Unmarshal(c.get("/api/v1/incidents?limit=200&cursor="+cursor), &p))
		incidents = append(incidents, p.Items...)
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	conn, err := pgx.Connect(t.Context(), c.pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	want := rowsOf[string](t, conn, `SELECT id::text FROM incidents ORDER BY number DESC`)
	var have []string
	for _, i := range incidents {
		have = append(have, i.ID)
	}
	slices.Sort(have)
	slices.Sort(want)
	require.Equal(t, want, have)

	r := rand.New(rand.NewPCG(*seed, 2))
	for range 50 {
		i := incidents[r.IntN(len(incidents))]
		var alerts page[ops.Alert]
		require.NoError(t, json.Unmarshal(c.get("/api/v1/incidents/"+i.ID+"/alerts"), &alerts))
		require.Len(t, alerts.Items, i.AlertCount)
		var timeline page[ops.Event]
		require.NoError(t, json.Unmarshal(c.get("/api/v1/incidents/"+i.ID+"/events?limit=1000"), &timeline))
		for n, e := range timeline.Items {
			require.Equal(t, int64(n+1), e.Seq)
		}
		require.Len(t, timeline.Items, int(i.LastSeq))
	}
}

func table(l *ledger, r *reckoning, planned, killed int, took time.Duration) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, v any) { _, _ = fmt.Fprintf(w, "%s\t%v\t\n", name, v) }
	row("\nalerts (episodes) of the script", planned)
	row("sent at least once", len(l.begun))
	row("accepted", l.fired.Load())
	row("stored", r.stored)
	row("LOST", r.lost)
	row("DOUBLED", r.doubled)
	row("JUNK", r.junk)
	expected := fmt.Sprint(r.least)
	if r.most > r.least { // groups of which no firing state was answered with 2xx
		expected = fmt.Sprintf("%d..%d", r.least, r.most)
	}
	row("incidents expected", expected)
	row("incidents", r.incidents)
	row("requests", l.requests.Load())
	row("of them accepted", l.accepted.Load())
	row("refused (503)", l.refused.Load())
	row("without an answer", l.silent.Load())
	row("retries", l.retried.Load())
	row("re-sent after success", l.resent.Load())
	row("given up by the sender", l.givenUp.Load())
	row("alert states sent", l.alerts.Load())
	row("of them accepted", l.alertsAccepted.Load())
	row("kill -9 of the api", killed)
	row("crashes of PostgreSQL", 1)
	row("seconds", fmt.Sprintf("%.1f", took.Seconds()))
	row("seed", *seed)
	_ = w.Flush()
	return b.String()
}
