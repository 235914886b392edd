package stack_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestFlow is one alert, end to end, through four processes: concluded, resolved
// by its sender, and nowhere a secret.
//
// threats: N2
func TestFlow(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "two-calls.yaml")
	c.startAll()
	started := time.Now().UTC().Truncate(time.Millisecond)
	c.alert("DiskFull", "firing", started)
	i := c.concluded()
	c.checkOnce(i)
	require.Equal(t, ops.IncidentTriggered, i.Status)
	c.alert("DiskFull", "resolved", started)
	i = c.incident()
	require.Equal(t, ops.IncidentResolved, i.Status)
	require.Equal(t, ops.RunConcluded, i.Investigation)
	require.Equal(t, http.StatusUnauthorized, c.post("DiskFull", "firing", started, ops.NewSecret("wrong")))

	// What must show up nowhere: the secrets themselves, in the forms that
	// they could take, and anything that looks like a token of ours
	// (but the setup link, akms_: the log of the api is where it is printed).
	tokens := regexp.MustCompile(`akm[a-rt-z]?_[A-Za-z0-9_-]{43}`)
	for place, text := range c.places() {
		require.Empty(t, tokens.FindAllString(text, 3), "tokens in the %s", place)
		for n, secret := range c.secrets {
			for _, piece := range pieces(secret) {
				for _, form := range []string{piece, base64.StdEncoding.EncodeToString([]byte(piece)), hex.EncodeToString([]byte(piece))} {
					require.False(t, strings.Contains(text, form), "secret %d shows in the %s", n, place)
				}
			}
		}
	}
}

// TestKilled kills one process at one moment of the flow, with -9, and starts it
// again. Whatever it was, the investigation ends with the same timeline.
func TestKilled(t *testing.T) {
	t.Parallel()
	moments := map[string]func(c *cluster, kill func()){
		"as the alert was accepted": func(c *cluster, kill func()) { kill() },
		"in the first model turn":   func(c *cluster, kill func()) { c.atTurn(1, kill) },
		"in the second command":     func(c *cluster, kill func()) { c.atExec("uptime", kill) },
		"in the last model turn":    func(c *cluster, kill func()) { c.atTurn(3, kill) },
	}
	slots := make(chan struct{}, 3) // stacks at once: the machine has to keep up
	for _, victim := range []string{"api", "agent", "mcp", "proxy"} {
		for moment, arm := range moments {
			t.Run(victim+" "+moment, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				c := newCluster(t, "two-calls.yaml")
				c.startAll()
				killed := make(chan struct{})
				kill := func() { c.procs[victim].kill(); close(killed) }
				accepted := moment == "as the alert was accepted"
				if !accepted {
					arm(c, kill)
				}
				c.alert("DiskFull", "firing", time.Now().UTC())
				if accepted {
					arm(c, kill)
				}
				select {
				case <-killed:
				case <-time.After(60 * time.Second):
					c.dumpLogs()
					t.Fatal("the moment did not come")
				}
				c.procs[victim].start()
				c.checkOnce(c.concluded())
			})
		}
	}
}

// TestWorkerAbsent accepts an alert while no worker is there: the run waits.
func TestWorkerAbsent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "two-calls.yaml")
	c.startAll()
	c.procs["agent"].kill()
	c.alert("DiskFull", "firing", time.Now().UTC())
	require.Equal(t, ops.RunQueued, c.incident().Investigation)
	c.procs["agent"].start()
	c.checkOnce(c.concluded())
}

// dump gives the rows of every table as text; bytea comes as hex.
func dump(t testing.TB, owner ops.Secret) map[string]string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	out := map[string]string{}
	for _, table := range tables {
		rows, err := conn.Query(t.Context(), fmt.Sprintf(`SELECT x::text FROM %s AS x`, pgx.Identifier{table}.Sanitize()))
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		out[table] = strings.Join(lines, "\n")
	}
	return out
}
