package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/testlog"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

const realKey = "sk-real-0123456789abcdef"

// world is a proxy with a database, in which one run has been claimed.
type world struct {
	t        *testing.T
	urls     *pgtest.DB
	api      *postgres.DB
	proxy    *Proxy
	public   seal.PublicKey
	provider ops.Provider
	incident string
	run      string
	token    ops.Secret
	logs     *testlog.Log
}

// newWorld starts a proxy whose only provider is at base.
func newWorld(t *testing.T, base string, change func(*ops.Provider), roots *x509.CertPool) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, urls: pgtest.New(t), logs: &testlog.Log{}, token: ops.NewToken(ops.ProxyTokenPrefix)}
	var err error
	w.api, err = postgres.Open(ctx, postgres.Config{URL: w.urls.API})
	require.NoError(t, err)
	t.Cleanup(w.api.Close)
	private, public, err := seal.GenerateKey(ops.ZoneEgress)
	require.NoError(t, err)
	w.public = public
	ring, err := seal.NewRing(private)
	require.NoError(t, err)
	w.credential("main-key", realKey, "main*")
	w.provider = ops.Provider{ID: ops.NewID(), Name: "main", Kind: "openai-compatible", BaseURL: base, Model: "m", Credential: "main-key", Default: true, AllowPrivate: true}
	if change != nil {
		change(&w.provider)
	}
	require.NoError(t, w.api.PutProvider(ctx, w.provider))
	in, err := w.api.CreateIncident(ctx, postgres.NewIncident{Title: "disk full", Severity: ops.SeverityHigh, Agent: "investigator", Actor: "service:test"})
	require.NoError(t, err)
	w.incident = in.ID
	claim, err := w.api.Claim(ctx, postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(ops.NewToken(ops.GatewayTokenPrefix)), ProxyTokenHash: ops.HashToken(w.token)})
	require.NoError(t, err)
	require.NotNil(t, claim)
	w.run = claim.Run.ID

	ctx, cancel := context.WithCancel(ctx)
	w.proxy, err = New(ctx, Config{Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", DatabaseURL: w.urls.Proxy, EgressKeys: ring, AuditKey: ops.NewAuditKey("proxy").Text(),
		RootCAs: roots, Log: slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- w.proxy.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		for _, secret := range []string{realKey, w.token.Reveal()} {
			require.NotContains(t, w.logs.String(), secret)
		}
	})
	return w
}

func (w *world) credential(name, plaintext string, targets ...string) {
	w.t.Helper()
	cred := ops.Credential{ID: ops.NewID(), Name: name, Kind: "llm_key", Targets: targets, Version: 1}
	var err error
	cred.Sealed, err = w.public.Seal(cred, ops.NewSecret(plaintext))
	require.NoError(w.t, err)
	require.NoError(w.t, w.api.CreateCredential(w.t.Context(), cred))
}

func (w *world) url() string { return w.proxy.URL() + "/llm/" + w.provider.ID + "/chat/completions" }

// asked is a request of an agent.
const asked = `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`

// post sends an agent's request; the body of the answer must be closed.
func (w *world) post(change func(*http.Request)) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url(), strings.NewReader(asked))
	require.NoError(w.t, err)
	r.Header.Set("Authorization", "Bearer "+w.token.Reveal())
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	transport := &http.Transport{DisableCompression: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	res, err := transport.RoundTrip(r)
	require.NoError(w.t, err, w.logs)
	w.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (w *world) answer(change func(*http.Request)) (int, string) {
	w.t.Helper()
	res := w.post(change)
	body, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	return res.StatusCode, string(body)
}

// audit gives the proxy's chain, verified, as "action outcome".
func (w *world) audit() (short []string, all []ops.AuditRecord) {
	w.t.Helper()
	all, err := w.api.Audit(w.t.Context(), chain, 0, 1000)
	require.NoError(w.t, err)
	_, err = ops.VerifyChain(nil, all)
	require.NoError(w.t, err)
	for _, r := range all {
		require.Equal(w.t, "run:"+w.run, r.Actor)
		text, err := json.Marshal(r)
		require.NoError(w.t, err)
		require.NotContains(w.t, string(text), realKey)
		short = append(short, r.Action+" "+r.Outcome)
	}
	return short, all
}

func (w *world) execAsOwner(sql string, args ...any) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.urls.Owner.Reveal())
	require.NoError(w.t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(w.t.Context())) }()
	_, err = conn.Exec(w.t.Context(), sql, args...)
	require.NoError(w.t, err)
}

func newUpstream(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestAStreamPassesWithTheKeyInAndNothingElseOut(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	proceed := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != asked {
			w.WriteHeader(http.StatusTeapot)
		}
		got <- r
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("X-Request-Id", "echo "+r.Header.Get("Authorization"))
		w.Header().Set("Trailer", "X-Late")
		_, _ = fmt.Fprint(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-proceed
		_, _ = fmt.Fprintf(w, "data: your key is %s", realKey[:9])
		_ = http.NewResponseController(w).Flush()
		_, _ = fmt.Fprintf(w, "%s!\n\ndata: [DONE]\n\n", realKey[9:])
		w.Header().Set("X-Late", realKey)
	})
	w := newWorld(t, up.URL+"/v1/", nil, nil)
	res := w.post(func(r *http.Request) {
		r.Header.Set("Cookie", "a=b")
		r.Header.Set("Proxy-Authorization", "Basic x")
		r.Header.Set("Connection", "authorization, x-named")
		r.Header.Set("X-Named", "1")
		r.Header.Set("X-Api-Key", "client")
		r.Header.Set("X-Http-Method-Override", "DELETE")
		r.Header.Set("Anthropic-Beta", "code-execution-2025-08-25") // which our client does not send
		r.Header.Set("X-Forwarded-For", "1.2.3.4")
		r.Header.Set("Accept-Encoding", "gzip")
	})
	require.Equal(t, http.StatusOK, res.StatusCode)
	lines := bufio.NewReader(res.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: one\n", line, "it streams: the upstream has not ended yet")
	close(proceed)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Equal(t, "\ndata: your key is [redacted]!\n\ndata: [DONE]\n\n", string(rest))
	require.Equal(t, "echo Bearer [redacted]", res.Header.Get("X-Request-Id"))
	require.Empty(t, res.Header.Get("Set-Cookie"))
	require.Empty(t, res.Trailer)

	r := <-got
	require.Equal(t, "/v1/chat/completions", r.URL.Path)
	require.Equal(t, []string{"Bearer " + realKey}, r.Header.Values("Authorization"))
	r.Header.Del("Authorization")
	require.Equal(t, http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(asked))},
		"User-Agent": {"akmatori"}, "Accept-Encoding": {"identity"}}, r.Header)

	require.Eventually(t, func() bool { short, _ := w.audit(); return len(short) == 2 }, 5*time.Second, 10*time.Millisecond)
	short, all := w.audit()
	require.Equal(t, []string{"llm.intent intent", "llm.outcome ok"}, short)
	require.Equal(t, "provider:"+w.provider.ID, all[1].Object)
	require.Equal(t, "200", all[1].Detail["upstream_status"])
	require.Equal(t, "1", all[1].Detail["credential_version"])

	metrics, err := http.Get(w.proxy.OpsURL() + "/metrics")
	require.NoError(t, err)
	defer func() { _ = metrics.Body.Close() }()
	text, err := io.ReadAll(metrics.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), `akmatori_proxy_requests_total{status="200"} 1`)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused request reached the provider") })
	w := newWorld(t, up.URL, nil, nil)
	w.credential("foreign", realKey, "another")
	w.credential("lines", "sk-0123456789\r\nX: y", "lines")
	others := map[string]ops.Provider{}
	for name, p := range map[string]ops.Provider{
		"other":   {Kind: "openai-compatible", BaseURL: up.URL, AllowPrivate: true},
		"foreign": {Kind: "openai-compatible", BaseURL: up.URL, AllowPrivate: true, Credential: "foreign"},
		"lines":   {Kind: "openai-compatible", BaseURL: up.URL, AllowPrivate: true, Credential: "lines"},
		"kind":    {Kind: "gopher", BaseURL: up.URL, AllowPrivate: true},
		"plain":   {Kind: "openai-compatible", BaseURL: "http://example.com/v1"},
		"file":    {Kind: "openai-compatible", BaseURL: "file:///etc/passwd", AllowPrivate: true},
		"user":    {Kind: "openai-compatible", BaseURL: "https://a:b@example.com/v1"},
		"private": {Kind: "openai-compatible", BaseURL: "https" + strings.TrimPrefix(up.URL, "http"), AllowPrivate: false},
		"meta":    {Kind: "openai-compatible", BaseURL: "http://169.254.169.254/v1", AllowPrivate: true},
		"number":  {Kind: "openai-compatible", BaseURL: "http://2130706433/v1", AllowPrivate: true},
	} {
		p.ID, p.Name, p.Model = ops.NewID(), name, "m"
		require.NoError(t, w.api.PutProvider(t.Context(), p))
		others[name] = p
	}
	path := func(p string) func(*http.Request) {
		return func(r *http.Request) {
			u, err := url.Parse(w.proxy.URL() + p)
			require.NoError(t, err)
			r.URL = u
		}
	}
	own := "/llm/" + w.provider.ID
	// bound binds the run to another provider for one request.
	bound := func(name string) func(*http.Request) {
		return func(r *http.Request) {
			w.execAsOwner(`UPDATE runs SET provider_id = $2 WHERE id = $1`, w.run, others[name].ID)
			r.URL.Path = "/llm/" + others[name].ID + "/chat/completions"
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
		reason string
	}{
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "token is required"},
		{"two tokens", func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }, 401, "token is required"},
		{"a gateway token", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+ops.NewToken(ops.GatewayTokenPrefix).Reveal())
		}, 401, "token is required"},
		{"an unknown token", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+ops.NewToken(ops.ProxyTokenPrefix).Reveal())
		}, 401, "not that of a running run"},
		{"another provider", path("/llm/" + others["other"].ID + "/chat/completions"), 403, "not bound"},
		{"no such provider", path("/llm/x/chat/completions"), 403, "not bound"},
		{"GET", func(r *http.Request) { r.Method, r.Body, r.ContentLength = http.MethodGet, nil, 0 }, 403, "GET /chat/completions is not allowed"},
		{"another path", path(own + "/models"), 403, "/models is not allowed"},
		{"the base", path(own), 403, "plain form"},
		{"dots", path(own + "/x/../chat/completions"), 403, "plain form"},
		{"two slashes", path(own + "//chat/completions"), 403, "plain form"},
		{"escaped", path(own + "/chat%2fcompletions"), 403, "plain form"},
		{"needlessly escaped", path(own + "/ch%61t/completions"), 403, "plain form"},
		{"a query", func(r *http.Request) { r.URL.RawQuery = "a=b" }, 403, "not allowed"},
		{"outside", path("/"), 403, "plain form"},
		{"a key for another provider", bound("foreign"), 403, "not for this provider"},
		{"a key with a line break", bound("lines"), 403, "control characters"},
		{"an unknown kind", bound("kind"), 403, "not allowed"},
		{"plain http to the world", bound("plain"), 403, "must be https"},
		{"another scheme", bound("file"), 403, "not usable"},
		{"a password in the URL", bound("user"), 403, "not usable"},
		{"a private address", bound("private"), 403, "address is not allowed"},
		{"metadata", bound("meta"), 403, "address is not allowed"},
		{"a number for a host", bound("number"), 403, "address is not allowed"},
	} {
		// One after the other: some of them change the run.
		status, body := w.answer(tt.change)
		require.Equal(t, tt.status, status, "%s: %s", tt.name, body)
		var got struct {
			Error struct{ Message, Type string }
		}
		require.NoError(t, json.Unmarshal([]byte(body), &got), tt.name)
		require.Contains(t, got.Error.Message, tt.reason, tt.name)
		require.Equal(t, "akmatori_proxy", got.Error.Type)
		require.NotContains(t, body, "169.254")
	}
	short, _ := w.audit()
	require.NotContains(t, short, "llm.outcome ok")
	require.Contains(t, short, "llm.denied denied")
}

func TestAMovedCredentialDoesNotOpen(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { t.Error("the key was used") })
	w := newWorld(t, up.URL, func(p *ops.Provider) { p.Name = "elsewhere" }, nil)
	status, body := w.answer(nil)
	require.Equal(t, http.StatusForbidden, status, body)
	w.execAsOwner(`UPDATE credentials SET targets = '{*}'`)
	status, body = w.answer(nil)
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, body, "does not open")
	short, _ := w.audit()
	require.Equal(t, []string{"llm.intent intent", "llm.outcome denied", "llm.intent intent", "llm.outcome denied"}, short)
}

func TestWhatTheProviderAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
		body   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		},
			502, "answered 302, which is not followed"},
		"not modified": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, 502, "304"},
		"gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("xxxx"))
		}, 502, "encoding that was not asked for"},
		"unauthorized": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "Incorrect API key: "+r.Header.Get("Authorization")[:18]+"***")
		}, 502, "the provider refused the credential (401)"},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "slow down")
		}, 429, "slow down"},
		"its own error": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "debug: "+r.Header.Get("Authorization"))
		}, 500, "debug: Bearer [redacted]"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newUpstream(t, tt.answer).URL, nil, nil)
			status, body := w.answer(nil)
			require.Equal(t, tt.status, status, body)
			require.Contains(t, body, tt.body)
			require.NotContains(t, body, realKey[:8])
			short, _ := w.audit()
			require.Equal(t, []string{"llm.intent intent", "llm.outcome failed"}, short)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, nil)
		w := newWorld(t, up.URL, nil, nil)
		up.Close()
		status, body := w.answer(nil)
		require.Equal(t, http.StatusBadGateway, status)
		require.Contains(t, body, "cannot be reached")
		require.NotContains(t, body, "127.0.0.1")
	})
	t.Run("breaks off in the middle", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "data: half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}).URL, nil, nil)
		_, err := io.ReadAll(w.post(nil).Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "half an answer must not look whole")
		short, _ := w.audit()
		require.Equal(t, []string{"llm.intent intent", "llm.outcome failed"}, short)
	})
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	up.EnableHTTP2 = true
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	up.StartTLS()
	t.Cleanup(up.Close)
	roots := x509.NewCertPool()
	roots.AddCert(up.Certificate())

	status, body := newWorld(t, up.URL, nil, roots).answer(nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "HTTP/2.0", body)
	status, body = newWorld(t, up.URL, nil, nil).answer(nil)
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, body, "certificate is not valid")
}

func TestBodies(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	})
	w := newWorld(t, up.URL, nil, nil)
	for _, tt := range []struct {
		name    string
		size    int64
		chunked bool
		status  int
	}{
		{"at the limit", MaxBody, false, 200},
		{"over the limit", MaxBody + 1, false, 413},
		{"chunked", 1000, true, 200},
		{"chunked, over the limit", MaxBody + 1, true, 413},
	} {
		res := w.post(func(r *http.Request) {
			const begin, finish = `{"model":"m","messages":[{"role":"user","content":"`, `"}]}`
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(begin), io.LimitReader(letters{}, tt.size-int64(len(begin+finish))), strings.NewReader(finish)))
			r.ContentLength = tt.size
			if tt.chunked {
				r.ContentLength = -1
			}
		})
		require.Equal(t, tt.status, res.StatusCode, tt.name)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		if tt.status == http.StatusOK {
			require.Equal(t, fmt.Sprint(tt.size), string(body))
		}
	}
	require.True(t, w.proxy.bodies.TryAcquire(bodyMemory), "all memory was given back")
	status, body := w.answer(nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "full")
	w.proxy.bodies.Release(bodyMemory)
}

type letters struct{}

func (letters) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }

// hanging is a provider that sends one event and then nothing until it is left.
func hanging(t *testing.T) *httptest.Server {
	return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

func TestTheEndOfTheRunCutsItsStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanging(t).URL, nil, nil)
	res := w.post(nil)
	_, err := io.ReadFull(res.Body, make([]byte, len("data: one\n\n")))
	require.NoError(t, err)
	require.NoError(t, w.api.CancelRun(t.Context(), w.incident, "enough"))
	ended := time.Now()
	_, err = io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Less(t, time.Since(ended), time.Second)
	status, _ := w.answer(nil)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Eventually(t, func() bool { short, _ := w.audit(); return len(short) == 2 }, 5*time.Second, 10*time.Millisecond)
	_, all := w.audit()
	require.Equal(t, "the run has ended", all[1].Detail["reason"])
}

func TestARunHasAFewStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hanging(t).URL, nil, nil)
	for range runStreams {
		require.Equal(t, http.StatusOK, w.post(nil).StatusCode)
	}
	res := w.post(nil)
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	require.Equal(t, runStreams, w.proxy.live.len())
}

// Bodies that never end fill what one run may have, and other runs go on.
// threats: I15
func TestARunFillsTheProxyForNobodyElse(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	w := newWorld(t, up.URL, nil, nil)
	_, err := w.api.CreateIncident(t.Context(), postgres.NewIncident{Title: "other", Severity: ops.SeverityHigh, Agent: "investigator", Actor: "service:test"})
	require.NoError(t, err)
	token := ops.NewToken(ops.ProxyTokenPrefix)
	other, err := w.api.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(ops.NewToken(ops.GatewayTokenPrefix)), ProxyTokenHash: ops.HashToken(token)})
	require.NoError(t, err)
	require.NotNil(t, other)
	for range runStreams - 1 {
		body, more := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url(), body)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+w.token.Reveal())
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_ = res.Body.Close()
			}
		}()
		t.Cleanup(func() { _ = more.CloseWithError(io.ErrUnexpectedEOF); <-answered })
	}
	unknown := func(r *http.Request) { r.ContentLength = -1 }
	require.Eventually(t, func() bool {
		status, _ := w.answer(unknown)
		return status == http.StatusTooManyRequests
	}, 10*time.Second, 10*time.Millisecond)
	status, body := w.answer(unknown)
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Contains(t, body, "bytes already")
	status, body = w.answer(func(r *http.Request) {
		unknown(r)
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
	})
	require.Equal(t, http.StatusOK, status, body)
}

func TestAClientThatLeavesEndsTheRequest(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	w := newWorld(t, newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	}).URL, nil, nil)
	res := w.post(nil)
	require.NoError(t, res.Body.Close())
	<-left
	require.Eventually(t, func() bool { return w.proxy.live.len() == 0 }, 5*time.Second, 10*time.Millisecond)
}

func TestNoDatabaseNoRequest(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { t.Error("the provider was reached") })
	w := newWorld(t, up.URL, nil, nil)
	ready, err := http.Get(w.proxy.OpsURL() + "/readyz")
	require.NoError(t, err)
	require.NoError(t, ready.Body.Close())
	require.Equal(t, http.StatusOK, ready.StatusCode)

	u, err := url.Parse(w.urls.Owner.Reveal())
	require.NoError(t, err)
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	conn, err := pgx.Connect(t.Context(), u.String())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), `ALTER DATABASE `+pgx.Identifier{name}.Sanitize()+` ALLOW_CONNECTIONS false`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
	require.NoError(t, err)

	res := w.post(nil)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	ready, err = http.Get(w.proxy.OpsURL() + "/readyz")
	require.NoError(t, err)
	require.NoError(t, ready.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, ready.StatusCode)
}

func TestWithoutAuditNothingIsDone(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { t.Error("the provider was reached") })
	w := newWorld(t, up.URL, nil, nil)
	w.execAsOwner(`REVOKE INSERT ON audit FROM akmatori_proxy`)
	status, body := w.answer(nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "audit cannot be written")
}

func TestRawRequestLines(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { t.Error("the provider was reached") })
	w := newWorld(t, up.URL, nil, nil)
	for _, line := range []string{
		"POST http://169.254.169.254/llm/" + w.provider.ID + "/chat/completions HTTP/1.1",
		"POST " + w.url() + " HTTP/1.1",
		"CONNECT example.com:443 HTTP/1.1",
		"POST * HTTP/1.1",
		"POST /llm/" + w.provider.ID + "/chat\\completions HTTP/1.1",
		"POST /llm/" + w.provider.ID + "/chat/completions?# HTTP/1.1",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.proxy.URL(), "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "%s\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", line, w.token.Reveal())
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, line)
		require.Contains(t, []int{400, 403}, res.StatusCode, line)
		require.NoError(t, res.Body.Close())
		require.NoError(t, conn.Close())
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "zone egress")
}
