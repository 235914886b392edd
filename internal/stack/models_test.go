package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestEachKindOfModel: one investigation with each kind of provider, and one in
// which the first provider cannot be had, all through the real processes.
func TestEachKindOfModel(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "two-calls.yaml")
	c.startAll()
	stored, err := c.db.Providers(t.Context())
	require.NoError(t, err)
	vendor := strings.TrimSuffix(stored[0].BaseURL, "/v1")
	provider := func(kind, base string) config.Provider {
		return config.Provider{Name: "model", Kind: kind, BaseURL: base, Model: "scripted", Credential: "model", Default: true, AllowPrivate: true,
			Effort: "medium", PriceInput: new(2.5), PriceOutput: new(10.0)}
	}
	// investigate has one incident looked into, and gives what the model said.
	investigate := func(name string) (said []ops.Message, notices string) {
		c.alert(name, "firing", time.Now().UTC().Truncate(time.Millisecond))
		var in ops.Incident
		require.Eventually(t, func() bool {
			all, err := c.db.Incidents(t.Context(), postgres.IncidentFilter{})
			require.NoError(t, err)
			in = all[0]
			return strings.Contains(in.Title, name) && in.Investigation.Final()
		}, 90*time.Second, 50*time.Millisecond, "the investigation of %s does not end", name)
		require.Equal(t, ops.RunConcluded, in.Investigation, "%s: %s", name, in.InvestigationReason)
		events, err := c.db.Events(t.Context(), in.ID, 0, 1000)
		require.NoError(t, err)
		for _, e := range events {
			switch e.Kind {
			case ops.EventMessage:
				var m ops.Message
				require.NoError(t, json.Unmarshal(e.Data, &m))
				said = append(said, m)
			case ops.EventNotice:
				notices += string(e.Data) + "\n"
			}
		}
		require.Len(t, said, 3)
		return said, notices
	}
	for kind, path := range map[string]string{"openai": "/v1", "openai-compatible": "/v1", "openrouter": "/api/v1", "anthropic": "", "google": ""} {
		c.configure(config.File{Providers: []config.Provider{provider(kind, vendor+path)}})
		said, _ := investigate("Disk-" + kind)
		for _, m := range said {
			require.Equal(t, "model", m.Usage.Provider)
			require.NotNil(t, m.Usage.CostUSD)
			require.Positive(t, *m.Usage.CostUSD)
		}
		require.Positive(t, said[2].Usage.CachedTokens, kind)
	}

	away := provider("openai", "http://"+freePort(t)+"/v1")
	away.Fallback, away.Patience = "spare", 1
	spare := provider("anthropic", vendor)
	spare.Name, spare.Default = "spare", false
	spare.Credential = "spare"
	c.configure(config.File{Credentials: []config.Credential{{Name: "spare", Kind: "llm_key", Secret: c.modelKey, Targets: []string{"spare"}}},
		Providers: []config.Provider{away, spare}})
	said, notices := investigate("Disk-fallback")
	require.Contains(t, notices, "The run goes on with provider spare (scripted).")
	for _, m := range said {
		require.Equal(t, "spare", m.Usage.Provider)
	}
}

// TestModelAwayForAnHour: the only vendor is down, and several incidents wait for
// it, each in the queue and not on a worker. Its hour is made short by moving the
// stored times. Whose time is over says so; the others go on where they were once
// the vendor answers, and no turn that is stored is paid twice.
func TestModelAwayForAnHour(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "two-calls.yaml")
	stored, err := c.db.Providers(t.Context())
	require.NoError(t, err)
	up, err := url.Parse(stored[0].BaseURL)
	require.NoError(t, err)
	var down atomic.Bool
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: up.Scheme, Host: up.Host})
	forward.FlushInterval = -1
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	c.configure(config.File{Providers: []config.Provider{{Name: "model", Kind: "openai-compatible", BaseURL: front.URL + "/v1", Model: "scripted", Credential: "model",
		Default: true, AllowPrivate: true, Patience: 1, Wait: 60}}})
	c.atTurn(2, func() { down.Store(true) }) // the first to get so far has paid for a turn
	c.startAll()
	const incidents = 4
	for n := range incidents {
		c.alert(fmt.Sprintf("Disk%d", n), "firing", time.Now().UTC().Truncate(time.Millisecond))
	}
	conn, err := pgx.Connect(t.Context(), c.pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	count := func(where string) (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM runs WHERE `+where).Scan(&n))
		return n
	}
	require.Eventually(t, down.Load, 90*time.Second, 50*time.Millisecond)
	waiting := `state = 'queued' AND waiting_since IS NOT NULL AND worker = ''`
	done := count(`state = 'concluded'`)
	require.Eventually(t, func() bool { done = count(`state = 'concluded'`); return count(waiting)+done == incidents }, 120*time.Second, 100*time.Millisecond,
		"not all wait in the queue")
	require.Positive(t, incidents-done)
	reasons := map[string]int{}
	all, err := c.db.Incidents(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	for _, i := range all {
		reasons[i.InvestigationReason]++
	}
	require.Equal(t, incidents-done, reasons["it waits for its model"], "%v", reasons)

	// 59 minutes later it is asked again, and is still down: they wait on.
	later := func(minutes int, where string) {
		_, err := conn.Exec(t.Context(), `UPDATE runs SET waiting_since = waiting_since - make_interval(mins => $1), available_at = now() WHERE state = 'queued' AND `+where, minutes)
		require.NoError(t, err)
	}
	parked := count(`parked > 1`)
	later(59, `true`)
	require.Eventually(t, func() bool { return count(`parked > 1 AND `+waiting)+done == incidents }, 120*time.Second, 100*time.Millisecond, "%d were parked twice before", parked)

	// The time of one is over; for the others the vendor is back.
	var over string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT id::text FROM runs WHERE `+waiting+` ORDER BY created_at DESC LIMIT 1`).Scan(&over))
	later(2, `id = '`+over+`'`)
	require.Eventually(t, func() bool { return count(`id = '`+over+`' AND state = 'failed'`) == 1 }, 120*time.Second, 100*time.Millisecond)
	down.Store(false)
	later(0, `true`)
	require.Eventually(t, func() bool { return count(`state = 'concluded'`) == incidents-1 }, 120*time.Second, 100*time.Millisecond)
	require.Equal(t, incidents, count(`true`), "no run is lost, and none was made anew")
	for _, i := range all {
		i, err := c.db.Incident(t.Context(), i.ID)
		require.NoError(t, err)
		events, err := c.db.Events(t.Context(), i.ID, 0, 1000)
		require.NoError(t, err)
		turns := map[int]int{}
		for _, e := range events {
			if e.Kind == ops.EventMessage {
				var m ops.Message
				require.NoError(t, json.Unmarshal(e.Data, &m))
				turns[m.Turn]++
			}
		}
		for turn, n := range turns {
			require.Equal(t, 1, n, "turn %d of incident %d was had twice", turn, i.Number)
		}
		if i.RunID == over {
			require.Contains(t, i.InvestigationReason, "the model is overloaded")
		} else {
			require.Equal(t, ops.RunConcluded, i.Investigation, i.InvestigationReason)
		}
	}
}
