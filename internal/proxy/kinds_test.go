package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// basePaths are where the vendors of each kind begin.
var basePaths = map[string]string{"openai": "/v1", "openai-compatible": "/v1", "openrouter": "/api/v1", "anthropic": "", "google": ""}

func vendorOf(t *testing.T, scenario, key string) (*fake.Vendor, string) {
	t.Helper()
	s, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	v := fake.NewVendor(s, fake.Config{Key: ops.NewSecret(key)})
	return v, newUpstream(t, v.ServeHTTP).URL
}

func ask(t *testing.T, w *world, p ops.Provider, token ops.Secret) (llm.Reply, error) {
	t.Helper()
	m, err := llm.Open(llm.Config{Kind: p.Kind, BaseURL: w.proxy.URL() + "/llm/" + p.ID, Key: token, Attempts: 2, Backoff: time.Millisecond})
	require.NoError(t, err)
	defer m.Close()
	return m.Stream(t.Context(), llm.Request{Model: p.Model, Messages: []llm.Message{{Role: llm.User, Text: "hi"}}}, func(llm.Delta) {})
}

// TestEachKindOfProvider: the client of each vendor gets its turn, with a key
// that it never had, and can ask for nothing else.
func TestEachKindOfProvider(t *testing.T) {
	t.Parallel()
	for kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			vendor, url := vendorOf(t, "chunk: 1000\nturns: [{text: 'a key was "+realKey+" here', repeat: true}]", realKey)
			w := newWorld(t, url+basePaths[kind], func(p *ops.Provider) { p.Kind = kind }, nil)
			reply, err := ask(t, w, w.provider, w.token)
			require.NoError(t, err)
			require.Equal(t, "a key was "+ops.Redacted+" here", reply.Text)
			require.Zero(t, vendor.Refused())
			for _, token := range []ops.Secret{ops.NewToken(ops.ProxyTokenPrefix), ops.NewSecret(realKey)} {
				_, err = ask(t, w, w.provider, token)
				require.Equal(t, llm.Token, llm.KindOf(err), "%v", err)
			}
			other := w.provider
			other.Model = "another"
			_, err = ask(t, w, other, w.token)
			require.Equal(t, llm.Invalid, llm.KindOf(err), "%v", err)
			require.Zero(t, vendor.Refused(), "nothing without the key goes out")
			for _, path := range []string{"", "/", "/models", "/v1/models", "/v1/messages/count_tokens", "/v1/messages/batches", "/v1beta/models", "/v1beta/models/m:generateContent",
				"/v1beta/models/m:countTokens", "/v1beta/cachedContents", "/v1/files", "/embeddings", "/responses", "/responses/resp_1", "/chat/completions", "/credits"} {
				if path == kinds()[kind].path(w.provider.Model) {
					continue
				}
				status, body := w.answer(func(r *http.Request) { r.URL.Path = "/llm/" + w.provider.ID + path })
				require.Equal(t, http.StatusForbidden, status, "%s: %s", path, body)
			}
			// It is the run's model, whichever the provider has since.
			require.NoError(t, w.api.UpdateProvider(t.Context(), other))
			_, err = ask(t, w, other, w.token)
			require.Equal(t, llm.Invalid, llm.KindOf(err), "%v", err)
			_, err = ask(t, w, w.provider, w.token)
			require.NoError(t, err)
		})
	}
}

func TestARefusedKeyIsTold(t *testing.T) {
	t.Parallel()
	for kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			vendor, url := vendorOf(t, "turns: [{text: a}]", "sk-another-key")
			w := newWorld(t, url+basePaths[kind], func(p *ops.Provider) { p.Kind = kind }, nil)
			_, err := ask(t, w, w.provider, w.token)
			require.Equal(t, llm.Auth, llm.KindOf(err), "%v", err)
			require.Equal(t, 1, vendor.Refused())
		})
	}
}

func TestWhereTheTokenMayBe(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "Bearer "+realKey, r.Header.Get("Authorization"))
		require.Empty(t, r.Header.Get("X-Api-Key")+r.Header.Get("X-Goog-Api-Key")+r.URL.RawQuery)
		_, _ = io.WriteString(w, "fine")
	})
	w := newWorld(t, up.URL, nil, nil)
	for name, tt := range map[string]struct {
		headers http.Header
		query   string
		status  int
	}{
		"bearer":             {http.Header{"Authorization": {"Bearer " + w.token.Reveal()}}, "", 200},
		"x-api-key":          {http.Header{"X-Api-Key": {w.token.Reveal()}}, "", 200},
		"x-goog-api-key":     {http.Header{"X-Goog-Api-Key": {w.token.Reveal()}}, "", 200},
		"none":               {http.Header{}, "", 401},
		"two of a kind":      {http.Header{"X-Api-Key": {w.token.Reveal(), w.token.Reveal()}}, "", 401},
		"two kinds":          {http.Header{"X-Api-Key": {w.token.Reveal()}, "Authorization": {"Bearer " + w.token.Reveal()}}, "", 401},
		"a key beside it":    {http.Header{"X-Api-Key": {w.token.Reveal()}, "X-Goog-Api-Key": {"AIza"}}, "", 200},
		"basic beside it":    {http.Header{"X-Api-Key": {w.token.Reveal()}, "Authorization": {"Basic YTpi"}}, "", 200},
		"no bearer":          {http.Header{"Authorization": {"Basic " + w.token.Reveal()}}, "", 401},
		"in the query":       {http.Header{}, "key=" + w.token.Reveal(), 401},
		"a query beside it":  {http.Header{"X-Api-Key": {w.token.Reveal()}}, "key=AIza", 403},
		"Google's query":     {http.Header{"X-Api-Key": {w.token.Reveal()}}, "alt=sse", 403},
		"too long":           {http.Header{"X-Api-Key": {ops.ProxyTokenPrefix + strings.Repeat("x", 200)}}, "", 401},
		"of another purpose": {http.Header{"X-Api-Key": {ops.NewToken(ops.GatewayTokenPrefix).Reveal()}}, "", 401},
	} {
		status, body := w.answer(func(r *http.Request) {
			r.Header = tt.headers
			r.URL.RawQuery = tt.query
		})
		require.Equal(t, tt.status, status, "%s: %s", name, body)
		require.NotContains(t, body, w.token.Reveal())
	}
}

// TestFallbacks: a run reaches the providers of its chain, as they were when it
// was claimed, and no other.
func TestFallbacks(t *testing.T) {
	t.Parallel()
	_, first := vendorOf(t, "turns: [{text: first, repeat: true}]", realKey)
	_, second := vendorOf(t, "turns: [{text: second, repeat: true}]", "sk-second-key")
	w := newWorld(t, first+"/v1", nil, nil)
	w.credential("second-key", "sk-second-key", "second")
	add := func(name, fallback string) ops.Provider {
		p := ops.Provider{ID: ops.NewID(), Name: name, Kind: "anthropic", BaseURL: second, Model: "m", Credential: "second-key", AllowPrivate: true, Fallback: fallback}
		require.NoError(t, w.api.CreateProvider(t.Context(), p))
		return p
	}
	late, other := add("second", ""), add("third", "")
	other.Credential = ""
	_, err := ask(t, w, late, w.token)
	require.Equal(t, llm.Invalid, llm.KindOf(err), "%v", err)
	w.execAsOwner(`UPDATE runs SET fallback_ids = ARRAY[$2]::uuid[] WHERE id = $1`, w.run, late.ID)
	reply, err := ask(t, w, late, w.token)
	require.NoError(t, err)
	require.Equal(t, "second", reply.Text)
	reply, err = ask(t, w, w.provider, w.token)
	require.NoError(t, err)
	require.Equal(t, "first", reply.Text)
	_, err = ask(t, w, other, w.token)
	require.Equal(t, llm.Invalid, llm.KindOf(err), "%v", err)
}

// TestOfAProvider: the token of a test opens one provider, until it is taken back.
func TestOfAProvider(t *testing.T) {
	t.Parallel()
	_, url := vendorOf(t, "turns: [{text: fine, repeat: true}]", realKey)
	w := newWorld(t, url+"/v1", nil, nil)
	other := ops.Provider{ID: ops.NewID(), Name: "other", Kind: "openai-compatible", BaseURL: url + "/v1", Model: "m", AllowPrivate: true}
	require.NoError(t, w.api.CreateProvider(t.Context(), other))
	token, end, err := w.api.MintProviderTest(t.Context(), w.provider.ID, "user:ada")
	require.NoError(t, err)
	reply, err := ask(t, w, w.provider, token)
	require.NoError(t, err)
	require.Equal(t, "fine", reply.Text)
	_, err = ask(t, w, other, token)
	require.Equal(t, llm.Invalid, llm.KindOf(err), "%v", err)
	require.NoError(t, end(context.WithoutCancel(t.Context())))
	_, err = ask(t, w, w.provider, token)
	require.Equal(t, llm.Token, llm.KindOf(err), "%v", err)
	all, err := w.api.Audit(t.Context(), chain, 0, 100)
	require.NoError(t, err)
	require.Len(t, all, 3) // intent, outcome, and the denial of the other
	for _, r := range all {
		require.Equal(t, "user:ada", r.Actor)
		require.Empty(t, r.RunID)
	}
}
