//go:build chaos

package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

const (
	investigations = 50
	workers        = 3
	workerKills    = 14
	apiKills       = 3
	steered        = 15 // investigations that a person says something to
)

// TestInvestigations has 50 incidents investigated while their workers, and at
// times the api, are killed with -9 at random moments. Every investigation
// concludes; the host has run each command once; the model was never asked for a
// turn that was stored when it was asked; what people said was read once.
func TestInvestigations(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 3))
	scenario, err := os.ReadFile("testdata/one-of-many.yaml")
	require.NoError(t, err)
	pg := pgtest.New(t)
	c := prepareOn(t, pg, string(scenario))
	c.demoHost()
	bill := newBill(t, pg)
	c.onAsked = bill.asked
	fleet := []*proc{c.procs["agent"]}
	for n := range workers - 1 {
		name := fmt.Sprintf("agent-%d", n+2)
		c.add(name, slices.Clone(c.procs["agent"].env)...)
		fleet = append(fleet, c.procs[name])
	}
	c.startAll()
	for _, p := range fleet[1:] {
		p.start()
	}

	var incidents []ops.Incident
	said := map[int64]string{} // numbers in the timeline of the incident
	for n := range investigations {
		var i ops.Incident
		require.NoError(t, json.Unmarshal(c.posted("/api/v1/incidents", map[string]string{"title": fmt.Sprintf("inv%02d", n)}, http.StatusCreated), &i))
		incidents = append(incidents, i)
		if n < steered {
			var heard struct{ Seq int64 }
			require.NoError(t, json.Unmarshal(c.posted("/api/v1/incidents/"+i.ID+"/message", map[string]string{"text": "look well"}, http.StatusAccepted), &heard))
			said[int64(n)<<32|heard.Seq] = i.ID
		}
	}

	began := time.Now()
	for n := range workerKills + apiKills {
		// Nothing is waited for: these are the moments of the deaths, which the seed chooses.
		time.Sleep(time.Duration(r.IntN(900)) * time.Millisecond)
		p := fleet[r.IntN(len(fleet))]
		if n%((workerKills+apiKills)/apiKills) == 3 {
			p = c.procs["api"]
		}
		p.kill()
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		p.start()
	}
	require.Eventually(t, func() bool {
		queued, running, err := c.db.QueueDepth(context.Background())
		return err == nil && queued+running == 0
	}, 3*time.Minute, 200*time.Millisecond, "the investigations do not end")
	c.procs["api"].ready()

	taken := 0
	for n, i := range incidents {
		now, err := c.db.Incident(t.Context(), i.ID)
		require.NoError(t, err)
		if now.Investigation != ops.RunConcluded {
			t.Errorf("%s ended %s: %s", i.Title, now.Investigation, now.InvestigationReason)
		}
		runs, err := c.db.Runs(t.Context(), i.ID)
		require.NoError(t, err)
		require.Len(t, runs, 1, i.Title)
		taken += runs[0].Epoch
		c.checkTimeline(i, said, int64(n))
	}
	c.mu.Lock()
	ran := len(c.execs)
	for command, n := range c.execs {
		if n != 1 {
			t.Errorf("the host ran %q %d times", command, n)
		}
	}
	c.mu.Unlock()
	require.Equal(t, 3*investigations, ran)
	bill.mu.Lock()
	defer bill.mu.Unlock()
	require.Empty(t, bill.twice, "turns that were paid although they were stored")
	require.Greater(t, taken, investigations, "no worker was killed at work")
	t.Logf("%d investigations in %.1f s, claimed %d times; the model was asked %d times for %d turns; %d commands, each once",
		investigations, time.Since(began).Seconds(), taken, bill.requests, bill.turns(), ran)
	if t.Failed() {
		c.dumpLogs()
	}
}

// posted sends a body as the admin, and wants this status.
func (c *cluster) posted(path string, body any, want int) []byte {
	c.t.Helper()
	status, out := c.send(http.MethodPost, path, body)
	require.Equal(c.t, want, status, "%s: %s", path, out)
	return out
}

// checkTimeline says that nothing in it is missing or there twice.
func (c *cluster) checkTimeline(i ops.Incident, said map[int64]string, n int64) {
	t := c.t
	t.Helper()
	seen, events := c.timeline(i)
	for _, e := range events {
		if e.Kind == ops.EventApplied {
			var a ops.Applied
			require.NoError(t, json.Unmarshal(e.Data, &a))
			require.Equal(t, i.ID, said[n<<32|a.Seq])
		}
	}
	want := map[string]int{"turn 1": 1, "turn 2": 1, "turn 3": 1, "result c1": 1, "result c2": 1, "result c3": 1, "briefing": 1, "findings": 1, "run.ended": 1}
	if n < steered {
		want["applied"] = 1
	}
	for what, times := range want {
		if seen[what] != times {
			t.Errorf("%s: %s is there %d times, not %d", i.Title, what, seen[what], times)
		}
	}
}

// bill counts what the model was asked, and looks at each request whether its
// turn was stored already.
type bill struct {
	pool *pgxpool.Pool

	mu       sync.Mutex
	requests int
	of       map[string]int // title and turn
	twice    []string
}

func newBill(t *testing.T, pg *pgtest.DB) *bill {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return &bill{pool: pool, of: map[string]int{}}
}

func (b *bill) turns() int { return len(b.of) }

func (b *bill) asked(turn int, body []byte) {
	_, rest, _ := strings.Cut(string(body), `\"title\": \"inv`)
	if len(rest) < 2 {
		return
	}
	title := "inv" + rest[:2]
	var stored bool
	err := b.pool.QueryRow(context.Background(), `SELECT EXISTS (SELECT FROM events e JOIN incidents i ON i.id = e.incident_id
		WHERE i.title = $1 AND e.kind = 'message' AND (e.data->>'turn')::int >= $2)`, title, turn).Scan(&stored)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	b.of[fmt.Sprint(title, " turn ", turn)]++
	if err != nil || stored {
		b.twice = append(b.twice, fmt.Sprint(title, " turn ", turn, " ", err))
	}
}
