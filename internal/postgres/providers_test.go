package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// modelRig is a database with a chain of providers and a run that waits.
type modelRig struct {
	*testing.T
	pg  *pgtest.DB
	db  *postgres.DB
	ids map[string]string // of providers, by name
	in  ops.Incident
}

func newModelRig(t *testing.T) *modelRig {
	t.Helper()
	g := &modelRig{T: t, pg: pgtest.New(t), ids: map[string]string{}}
	g.db = open(t, g.pg.API)
	for _, p := range []ops.Provider{
		{Name: "third", Kind: "google", Model: "m"},
		{Name: "second", Kind: "anthropic", Model: "m", Fallback: "third"},
		{Name: "first", Kind: "openai", Model: "m", Fallback: "second", Default: true, Wait: 60},
	} {
		p.ID, p.BaseURL = ops.NewID(), "https://llm.example"
		require.NoError(t, g.db.CreateProvider(t.Context(), p))
		g.ids[p.Name] = p.ID
	}
	var err error
	g.in, err = g.db.CreateIncident(t.Context(), postgres.NewIncident{Title: "x", Severity: ops.SeverityHigh, Agent: "investigator", Actor: "service:test"})
	require.NoError(t, err)
	return g
}

func (g *modelRig) owner(sql string, args ...any) {
	g.Helper()
	conn, err := pgx.Connect(g.Context(), g.pg.Owner.Reveal())
	require.NoError(g, err)
	defer func() { _ = conn.Close(context.WithoutCancel(g.Context())) }()
	_, err = conn.Exec(g.Context(), sql, args...)
	require.NoError(g, err)
}

func (g *modelRig) store(c *postgres.ClaimedRun, events ...ops.Event) error {
	for i := range events {
		events[i].RunSeq = c.Run.AckedSeq + int64(i) + 1
	}
	_, err := g.db.StoreEvents(g.Context(), postgres.RunClaim{Run: c.Run.ID, Worker: "w", Epoch: c.Run.Epoch}, events)
	return err
}

// TestChain: the providers of a run are fixed when it is claimed, and its token
// opens these at the proxy.
func TestChain(t *testing.T) {
	t.Parallel()
	g := newModelRig(t)
	token := ops.HashToken(ops.NewToken(ops.ProxyTokenPrefix))
	c, err := g.db.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(ops.NewToken("g")), ProxyTokenHash: token})
	require.NoError(t, err)
	require.Equal(t, "first", c.Provider.Name)
	require.Len(t, c.Fallbacks, 2)
	require.Equal(t, "second", c.Fallbacks[0].Name)
	require.Equal(t, "third", c.Fallbacks[1].Name)
	require.WithinDuration(t, time.Now().Add(time.Hour), c.WaitUntil, time.Minute)

	changed := c.Provider
	changed.Fallback, changed.Model = "", "another"
	require.NoError(t, g.db.UpdateProvider(t.Context(), changed))
	proxy := open(t, g.pg.Proxy)
	grant, err := proxy.RunByProxyToken(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, postgres.RunGrant{RunID: c.Run.ID, IncidentID: g.in.ID, Actor: "run:" + c.Run.ID, ProviderID: g.ids["first"],
		Fallbacks: []string{g.ids["second"], g.ids["third"]},
		Models:    map[string]string{g.ids["first"]: c.Provider.Model, g.ids["second"]: c.Fallbacks[0].Model, g.ids["third"]: c.Fallbacks[1].Model}, Deadline: grant.Deadline}, grant)
	alive, err := proxy.ProxyTokensAlive(t.Context(), [][]byte{token, ops.HashToken(ops.NewToken("x"))})
	require.NoError(t, err)
	require.Equal(t, [][]byte{token}, alive)
}

func TestFallbacksThatLeadNowhere(t *testing.T) {
	t.Parallel()
	g := newModelRig(t)
	change := func(name, fallback string) error {
		p, err := g.db.Provider(t.Context(), g.ids[name])
		require.NoError(t, err)
		p.Fallback = fallback
		return g.db.UpdateProvider(t.Context(), p)
	}
	for _, name := range []string{"first", "second", "third"} {
		require.Equal(t, ops.CodeInvalid, ops.CodeOf(change("third", name)), name)
	}
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(change("third", "nobody")))
	add := func(name, fallback string) error {
		return g.db.CreateProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: name, Kind: "openai", BaseURL: "https://x", Model: "m", Fallback: fallback})
	}
	require.NoError(t, add("zeroth", "first"), "three behind it")
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(add("before", "zeroth")))
	require.NoError(t, add("fourth", ""))
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(change("third", "fourth")), "four behind the first of all")

	for name, why := range map[string]string{"first": "default", "second": "fallback of first"} {
		err := g.db.RemoveProvider(t.Context(), g.ids[name])
		require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
		require.ErrorContains(t, err, why)
	}
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(g.db.RemoveProvider(t.Context(), ops.NewID())))
}

// TestARunWaitsForItsModel: it frees its worker, is not counted as lost, comes
// back after its rest, and remembers since when it waits until a model answers.
func TestARunWaitsForItsModel(t *testing.T) {
	t.Parallel()
	g := newModelRig(t)
	away := func() ops.Event {
		return ops.NewEvent(ops.EventRunParked, ops.RunChange{State: ops.RunQueued, Reason: "it waits for the model"})
	}
	first := claim(t, g.db, "w")
	require.NoError(t, g.store(first, ops.NewEvent(ops.EventReasoning, ops.TextDelta{Turn: 1, Text: "hm"}), away()))
	require.Nil(t, claim(t, g.db, "w"), "it rests")
	in, err := g.db.Incident(t.Context(), g.in.ID)
	require.NoError(t, err)
	require.Equal(t, ops.RunQueued, in.Investigation)
	require.Error(t, g.store(first, away()), "the claim has ended")

	for range 2 * postgres.MaxClaims { // an hour and more of it
		g.owner(`UPDATE runs SET available_at = now(), waiting_since = waiting_since - interval '5 minutes'`)
		c := claim(t, g.db, "w")
		require.NotNil(t, c)
		require.NoError(t, g.store(c, away()))
	}
	g.owner(`UPDATE runs SET available_at = now()`)
	c := claim(t, g.db, "w")
	require.WithinDuration(t, time.Now().Add(time.Hour-2*postgres.MaxClaims*5*time.Minute), c.WaitUntil, time.Minute)
	require.NoError(t, g.store(c, ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Text: "there"})))
	c.Run.AckedSeq++
	require.NoError(t, g.store(c, away()))
	g.owner(`UPDATE runs SET available_at = now()`)
	c = claim(t, g.db, "w")
	require.WithinDuration(t, time.Now().Add(time.Hour), c.WaitUntil, time.Minute, "a model has answered in between")
	require.NoError(t, g.store(c, away()))
	require.NoError(t, g.db.CancelRun(t.Context(), g.in.ID, "enough"), "people can end it while it waits")
}

func TestTestsOfProvidersAreBounded(t *testing.T) {
	t.Parallel()
	g := newModelRig(t)
	var ends []func(context.Context) error
	for range 8 {
		_, end, err := g.db.MintProviderTest(t.Context(), g.ids["first"], "user:ann")
		require.NoError(t, err)
		ends = append(ends, end)
	}
	_, _, err := g.db.MintProviderTest(t.Context(), g.ids["first"], "user:ann")
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
	require.NoError(t, ends[0](t.Context()))
	token, _, err := g.db.MintProviderTest(t.Context(), g.ids["third"], "user:ann")
	require.NoError(t, err)
	proxy := open(t, g.pg.Proxy)
	grant, err := proxy.RunByProxyToken(t.Context(), ops.HashToken(token))
	require.NoError(t, err)
	require.Equal(t, g.ids["third"], grant.ProviderID)
	require.Empty(t, grant.RunID+grant.IncidentID)
	g.owner(`UPDATE provider_tests SET expires_at = now() - interval '1 second'`)
	_, err = proxy.RunByProxyToken(t.Context(), ops.HashToken(token))
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
}

// TestATestIsOfOneConfiguration: what was tested counts no more for what was changed since.
func TestATestIsOfOneConfiguration(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		by     func(*modelRig, ops.Provider) error
		tested bool
	}{
		"loaded as it was": {func(g *modelRig, p ops.Provider) error { return g.db.PutProvider(g.Context(), p) }, true},
		"loaded with another model": {func(g *modelRig, p ops.Provider) error {
			p.ID, p.Model = ops.NewID(), "m2"
			return g.db.PutProvider(g.Context(), p)
		}, false},
		"changed": {func(g *modelRig, p ops.Provider) error {
			p.BaseURL = "https://elsewhere.example"
			return g.db.UpdateProvider(g.Context(), p)
		}, false},
		"another key while it was tested": {func(g *modelRig, p ops.Provider) error {
			g.owner(`UPDATE providers SET tested_at = NULL`)
			require.NoError(g, g.db.CreateCredential(g.Context(), ops.Credential{ID: ops.NewID(), Name: "key", Kind: "llm_key", Targets: []string{"*"}, Version: 1, Sealed: []byte{1}}))
			with := p
			with.Credential = "key"
			require.NoError(g, g.db.UpdateProvider(g.Context(), with))
			return g.db.ProviderTested(g.Context(), p)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newModelRig(t)
			p, err := g.db.Provider(t.Context(), g.ids["first"])
			require.NoError(t, err)
			require.NoError(t, g.db.ProviderTested(t.Context(), p))
			require.NoError(t, change.by(g, p))
			setup, err := g.db.SetupState(t.Context())
			require.NoError(t, err)
			require.Equal(t, change.tested, setup.Provider.State == "done", setup.Provider.State)
		})
	}
}
