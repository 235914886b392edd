package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

type provider = map[string]any

// newProviders is an api whose proxy lets in who has a token that its own role
// knows, and gives the vendor what it was asked.
func newProviders(t *testing.T, scenario string) *rig {
	t.Helper()
	s, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	vendor := fake.NewVendor(s, fake.Config{Key: ops.NewSecret("sk-vendor")})
	pg := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pg.Proxy, App: "test"})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("X-Api-Key")
		grant, err := db.RunByProxyToken(r.Context(), ops.HashToken(ops.NewSecret(token)))
		path, ok := strings.CutPrefix(r.URL.Path, "/llm/"+grant.ProviderID+"/")
		if err != nil || !ok || grant.Actor != "user:ann" {
			http.Error(w, `{"type":"error","error":{"type":"akmatori_proxy","message":"no","code":"401"}}`, http.StatusUnauthorized)
			return
		}
		r.URL.Path = "/" + path
		r.Header.Set("X-Api-Key", "sk-vendor")
		vendor.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	g := start(t, pg, func(c *Config) { c.ProxyURL = proxy.URL })
	g.makeUser()
	return g
}

func TestProviders(t *testing.T) {
	t.Parallel()
	g := newProviders(t, "turns: [{text: a}]")
	const root = "/api/v1/llm-providers"
	add := func(p provider) ops.Provider {
		t.Helper()
		a := g.call("POST", root, p)
		require.Equal(t, 201, a.status, a.body)
		var out ops.Provider
		a.into(t, &out)
		return out
	}
	main := add(provider{"name": "main", "kind": "anthropic", "model": "claude-sonnet-4-5", "key": "sk-ant-secret", "effort": "high"})
	require.True(t, main.Default, "the first one is the default")
	require.Equal(t, "https://api.anthropic.com", main.BaseURL)
	require.Equal(t, "main-key", main.Credential)
	spare := add(provider{"name": "spare", "kind": "openai-compatible", "model": "qwen", "base_url": "http://10.0.0.5:8000/v1/", "allow_private": true,
		"price_input": 0.5, "price_output": 1.5, "window": 32768})
	require.Equal(t, "http://10.0.0.5:8000/v1", spare.BaseURL)
	require.InDelta(t, 1.5, *spare.PriceOutput, 0)

	for name, p := range map[string]provider{
		"no model":               {"name": "x", "kind": "openai"},
		"a kind nobody has":      {"name": "x", "kind": "oracle", "model": "m"},
		"no place":               {"name": "x", "kind": "openai-compatible", "model": "m"},
		"plain http":             {"name": "x", "kind": "openai", "model": "m", "base_url": "http://api.example.com"},
		"a model with a path":    {"name": "x", "kind": "google", "model": "m?key=1"},
		"half a price":           {"name": "x", "kind": "openai", "model": "m", "price_input": 1},
		"a negative price":       {"name": "x", "kind": "openai", "model": "m", "price_input": -1, "price_output": 1},
		"itself for fallback":    {"name": "x", "kind": "openai", "model": "m", "fallback": "x"},
		"nobody for fallback":    {"name": "x", "kind": "openai", "model": "m", "fallback": "nobody"},
		"patience for nothing":   {"name": "x", "kind": "openai", "model": "m", "patience": 5},
		"an unknown effort":      {"name": "x", "kind": "openai", "model": "m", "effort": "max"},
		"key and credential":     {"name": "x", "kind": "openai", "model": "m", "key": "k", "credential": "main-key"},
		"somebody's credential":  {"name": "x", "kind": "openai", "model": "m", "credential": "nobody"},
		"a key of two lines":     {"name": "x", "kind": "openai", "model": "m", "key": "a\nb"},
		"a day and more to wait": {"name": "x", "kind": "openai", "model": "m", "wait": 1441},
	} {
		a := g.call("POST", root, p)
		require.Contains(t, []int{400, 422}, a.status, "%s: %s", name, a.body)
		require.NotContains(t, a.body, "oracle-secret")
	}
	require.Equal(t, 409, g.call("POST", root, provider{"name": "main", "kind": "openai", "model": "m"}).status)

	change := func(p ops.Provider, with provider) reply {
		in := provider{"kind": p.Kind, "base_url": p.BaseURL, "model": p.Model, "allow_private": p.AllowPrivate, "credential": p.Credential}
		for k, v := range with {
			in[k] = v
		}
		return g.call("PUT", root+"/"+p.ID, in)
	}
	a := change(main, provider{"fallback": "spare", "fallback_on_account": true, "patience": 30, "wait": 60})
	require.Equal(t, 200, a.status, a.body)
	var changed struct {
		ops.Provider
		Info struct {
			Window int
			Price  struct{ Input float64 }
		} `json:"model_info"`
	}
	a.into(t, &changed)
	require.Equal(t, "spare", changed.Fallback)
	require.Equal(t, 60, changed.Wait)
	require.True(t, changed.Default)
	require.Equal(t, 200_000, changed.Info.Window)
	require.InDelta(t, 3, changed.Info.Price.Input, 0)

	a = change(spare, provider{"fallback": "main"})
	require.Equal(t, 422, a.status, a.body)
	require.Contains(t, a.body, "lead back")
	last := "spare"
	for _, name := range []string{"third", "fourth"} {
		add(provider{"name": name, "kind": "openai", "model": "m"})
		var all struct{ Items []ops.Provider }
		g.call("GET", root, nil).into(t, &all)
		for _, p := range all.Items {
			if p.Name == last {
				require.Equal(t, 200, change(p, provider{"fallback": name}).status)
			}
		}
		last = name
	}
	fifth := add(provider{"name": "fifth", "kind": "openai", "model": "m"})
	a = change(fifth, provider{"fallback": "main"})
	require.Equal(t, 422, a.status, a.body)
	require.Contains(t, a.body, "at most 3 fallbacks")

	// A new key is the next version, and nobody sees either.
	require.Equal(t, 200, change(main, provider{"credential": "", "key": "sk-ant-next", "fallback": "spare"}).status)
	var credentials struct{ Items []ops.Credential }
	a = g.call("GET", "/api/v1/credentials", nil)
	a.into(t, &credentials)
	require.Len(t, credentials.Items, 1)
	require.Equal(t, 2, credentials.Items[0].Version)
	require.Equal(t, []string{"main"}, credentials.Items[0].Targets)
	require.NotContains(t, a.body+g.call("GET", root, nil).body+g.call("GET", root+"/"+main.ID, nil).body+g.call("GET", "/api/v1/audit", nil).body, "sk-ant-")

	// What is refused leaves the key that is there, and makes none.
	require.Equal(t, 409, g.call("POST", root, provider{"name": "main", "kind": "openai", "model": "m", "key": "sk-typed-elsewhere"}).status)
	require.Equal(t, 422, change(fifth, provider{"credential": "", "key": "sk-typed-elsewhere", "fallback": "main"}).status)
	g.call("GET", "/api/v1/credentials", nil).into(t, &credentials)
	require.Len(t, credentials.Items, 1)
	require.Equal(t, 2, credentials.Items[0].Version)
	require.Equal(t, 2, count(t, g.pg, `SELECT count(*) FROM audit WHERE action LIKE 'credential.%' AND outcome = 'failed'`))

	// A change that says nothing of the key leaves it, one that says none takes it away.
	a = g.call("PUT", root+"/"+main.ID, provider{"kind": "anthropic", "model": "claude-sonnet-4-5", "fallback": "spare"})
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &changed)
	require.Equal(t, "main-key", changed.Credential)
	a = change(main, provider{"credential": "", "fallback": "spare"})
	require.Equal(t, 200, a.status, a.body)
	require.NotContains(t, a.body, "main-key")

	require.Equal(t, 409, g.call("DELETE", root+"/"+main.ID, nil).status, "it is the default")
	a = g.call("DELETE", root+"/"+spare.ID, nil)
	require.Equal(t, 409, a.status)
	require.Contains(t, a.body, "fallback of main")
	require.Equal(t, 200, change(main, provider{"fallback": ""}).status)
	require.Equal(t, 204, g.call("DELETE", root+"/"+spare.ID, nil).status)
	require.Equal(t, 404, g.call("GET", root+"/"+spare.ID, nil).status)
	require.Equal(t, 404, g.call("DELETE", root+"/none", nil).status)
}

func TestKnownModels(t *testing.T) {
	t.Parallel()
	g := newProviders(t, "turns: [{text: a}]")
	for kind, base := range ops.ProviderKinds {
		var out struct {
			BaseURL string `json:"base_url"`
			Models  []struct{ ID string }
		}
		g.call("GET", "/api/v1/llm-providers/kinds/"+kind, nil).into(t, &out)
		require.Equal(t, base, out.BaseURL)
		require.Equal(t, kind == "openai-compatible", len(out.Models) == 0)
	}
	require.Equal(t, 422, g.call("GET", "/api/v1/llm-providers/kinds/oracle", nil).status)
}

func TestTestOfAProvider(t *testing.T) {
	t.Parallel()
	g := newProviders(t, `
turns:
  - text: Ready.
    calls: [{tool: report_status, arguments: {status: ready}}]
    repeat: true
    faults: [{status: 529}]
`)
	var p ops.Provider
	g.call("POST", "/api/v1/llm-providers", provider{"name": "main", "kind": "anthropic", "model": "claude-sonnet-4-5", "key": "sk-never-used-here"}).into(t, &p)
	test := func() (out providerTest) {
		a := g.call("POST", "/api/v1/llm-providers/"+p.ID+"/test", nil)
		require.Equal(t, 200, a.status, a.body)
		a.into(t, &out)
		return out
	}
	out := test()
	require.False(t, out.OK)
	require.Equal(t, "overloaded", out.Kind)
	require.Contains(t, out.Error, "overloaded")
	out = test()
	require.True(t, out.OK, out.Error)
	require.True(t, out.Tools)
	require.Equal(t, "Ready.", out.Text)
	require.Positive(t, out.Usage.InputTokens)
	require.Equal(t, "main", out.Usage.Provider)
	require.NotNil(t, out.Usage.CostUSD)
	require.Positive(t, *out.Usage.CostUSD)
	require.Equal(t, 404, g.call("POST", "/api/v1/llm-providers/"+ops.NewID()+"/test", nil).status)
	a := g.call("GET", "/api/v1/audit", nil)
	require.Equal(t, 4, strings.Count(a.body, "provider.tested"))
}
