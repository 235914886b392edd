package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

const (
	soon     = 10 * time.Second
	password = "correct horse battery"
)

// rig is a running api on a database of its own.
type rig struct {
	*API
	t     testing.TB
	pg    *pgtest.DB
	log   *testlog.Log
	token string // API token of the user "ann"
	tools seal.Ring
	conf  Config
	stop  func()
}

func config(t testing.TB, pg *pgtest.DB) (Config, seal.Ring) {
	t.Helper()
	toolsKey, tools, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	_, egress, err := seal.GenerateKey(ops.ZoneEgress)
	require.NoError(t, err)
	ring, err := seal.NewRing(toolsKey)
	require.NoError(t, err)
	audit := ops.NewAuditKey(Chain)
	return Config{PublicListen: "127.0.0.1:0", AgentListen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", DatabaseURL: pg.API,
		WorkerToken: ops.NewToken(ops.WorkerTokenPrefix), ToolsPublicKey: tools.String(), EgressPublicKey: egress.String(),
		GatewayURL: "http://gateway/mcp", ProxyURL: "http://proxy", AuditKey: audit.Text(),
		AuditPublicKeys: ops.NewSecret(ops.AuditKeys{audit.Public(), ops.NewAuditKey("gateway").Public(), ops.NewAuditKey("proxy").Public()}.String())}, ring
}

// start runs an api with a changed configuration.
func start(t testing.TB, pg *pgtest.DB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, pg: pg, log: &testlog.Log{}}
	r.conf, r.tools = config(t, pg)
	r.conf.Log = slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if change != nil {
		change(&r.conf)
	}
	s, err := New(context.WithoutCancel(t.Context()), r.conf)
	require.NoError(t, err)
	r.API = s
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	t.Cleanup(r.stop)
	return r
}

// newRig runs an api with a user that has an API token.
func newRig(t testing.TB) *rig {
	t.Helper()
	r := start(t, pgtest.New(t), nil)
	r.makeUser()
	return r
}

func (r *rig) makeUser() {
	r.t.Helper()
	u := postgres.User{ID: ops.NewID(), Username: "ann", Roles: []string{"admin"}}
	var err error
	u.PasswordHash, err = HashPassword(ops.NewSecret(password))
	require.NoError(r.t, err)
	require.NoError(r.t, r.db.CreateUser(r.t.Context(), u))
	token := ops.NewToken(ops.APITokenPrefix)
	require.NoError(r.t, r.db.CreateToken(r.t.Context(), postgres.APIToken{ID: ops.NewID(), UserID: u.ID, Name: "test", Hash: ops.HashToken(token)}))
	r.token = token.Reveal()
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (a reply) into(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), v), a.body)
}

// send makes a request with headers given as pairs.
func (r *rig) send(client *http.Client, method, path string, body any, header ...string) reply {
	r.t.Helper()
	a, err := r.try(client, method, path, body, header...)
	require.NoError(r.t, err)
	return a
}

func (r *rig) try(client *http.Client, method, path string, body any, header ...string) (reply, error) {
	var data []byte
	switch b := body.(type) {
	case nil:
	case string:
		data = []byte(b)
	case []byte:
		data = b
	default:
		var err error
		if data, err = json.Marshal(b); err != nil {
			return reply{}, err
		}
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.t.Context()), method, r.PublicURL()+path, bytes.NewReader(data))
	if err != nil {
		return reply{}, err
	}
	if len(data) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(out)}, err
}

// call makes a request as ann.
func (r *rig) call(method, path string, body any) reply {
	r.t.Helper()
	return r.send(http.DefaultClient, method, path, body, "Authorization", "Bearer "+r.token)
}

// browser is a client with cookies.
func browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	c := &http.Client{Jar: jar, Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (r *rig) source(name string) source {
	r.t.Helper()
	var src source
	a := r.call("POST", "/api/v1/sources", map[string]any{"name": name, "kind": "alertmanager"})
	require.Equal(r.t, 201, a.status, a.body)
	a.into(r.t, &src)
	return src
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no tools key":       {func(c *Config) { c.ToolsPublicKey = "" }, "key of zone tools"},
		"keys exchanged":     {func(c *Config) { c.ToolsPublicKey, c.EgressPublicKey = c.EgressPublicKey, c.ToolsPublicKey }, "it is a key of zone"},
		"no worker token":    {func(c *Config) { c.WorkerToken = ops.Secret{} }, "worker token is empty"},
		"malformed database": {func(c *Config) { c.DatabaseURL = ops.NewSecret("postgres://u:hunter2@[") }, "malformed"},
		"strange public URL": {func(c *Config) { c.PublicURL = "ftp://x" }, "public URL"},
		"occupied listener":  {func(c *Config) { c.OpsListen = "127.0.0.1:1x" }, "ops listener"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := config(t, pg)
			c.Log = slog.New(slog.DiscardHandler)
			tc.change(&c)
			_, err := New(t.Context(), c)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

var linkPattern = regexp.MustCompile(`setup link: (http[^"#]+)/setup#token=(akms_[A-Za-z0-9_-]+)`)

func TestSetupLinkWorksOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	r := start(t, pg, nil)
	first := linkPattern.FindStringSubmatch(r.log.String())
	require.NotNil(t, first, r.log.String())
	require.Equal(t, r.PublicURL(), first[1])

	r2 := start(t, pg, nil) // a new start makes a new link, and the old one void
	second := linkPattern.FindStringSubmatch(r2.log.String())
	require.NotEqual(t, first[2], second[2])

	who := map[string]string{"token": first[2], "username": "ann", "password": password}
	require.Equal(t, 401, r.send(http.DefaultClient, "POST", "/api/v1/auth/setup", who).status)
	who["token"] = second[2]
	who["password"] = "short"
	a := r.send(http.DefaultClient, "POST", "/api/v1/auth/setup", who)
	require.Equal(t, 422, a.status)
	require.NotContains(t, a.body, "short")
	require.NotContains(t, a.body, second[2])
	who["password"] = password
	b := browser(t)
	a = r.send(b, "POST", "/api/v1/auth/setup", who)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, `"username":"ann"`)
	require.Equal(t, 200, r.send(b, "GET", "/api/v1/auth/session", nil).status, "the first admin is signed in")
	require.Equal(t, 401, r.send(http.DefaultClient, "POST", "/api/v1/auth/setup", who).status, "the link works once")

	r3 := start(t, pg, nil)
	require.NotContains(t, r3.log.String(), "setup link", "there is a user")
	who["username"] = "eve"
	require.Equal(t, 401, r.send(http.DefaultClient, "POST", "/api/v1/auth/setup", who).status)

	// A replica that starts while the first user is being made may arm one more.
	r.exec(`INSERT INTO setup_tokens (hash, expires_at) VALUES ($1, now() + interval '1 hour')`, ops.HashToken(ops.NewSecret(second[2])))
	require.Equal(t, 401, r.send(http.DefaultClient, "POST", "/api/v1/auth/setup", who).status)
}

func TestSetupLinkUnderRace(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), nil)
	link := linkPattern.FindStringSubmatch(r.log.String())
	var wg sync.WaitGroup
	statuses := make([]int, 8)
	for n := range statuses {
		wg.Go(func() {
			a, err := r.try(http.DefaultClient, "POST", "/api/v1/auth/setup", map[string]string{"token": link[2], "username": "u" + string(rune('a'+n)), "password": password})
			if err == nil {
				statuses[n] = a.status
			}
		})
	}
	wg.Wait()
	made := 0
	for _, st := range statuses {
		if st == 200 {
			made++
		}
	}
	require.Equal(t, 1, made, statuses)
}

func TestLoginAndLogout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := browser(t)
	login := func(user, pass string) reply {
		return r.send(b, "POST", "/api/v1/auth/login", map[string]string{"username": user, "password": pass})
	}
	require.Equal(t, 401, r.send(b, "GET", "/api/v1/auth/session", nil).status)
	wrong := login("ann", "wrong password")
	require.Equal(t, 401, wrong.status)
	require.Equal(t, "application/problem+json", wrong.header.Get("Content-Type"))
	nobody := login("nobody", "wrong password")
	require.Equal(t, wrong.body, nobody.body, "it does not say who exists")
	require.Empty(t, wrong.header.Get("Set-Cookie"))

	ok := login("ann", password)
	require.Equal(t, 200, ok.status, ok.body)
	cookie := ok.header.Get("Set-Cookie")
	require.True(t, strings.HasPrefix(cookie, "akmatori="), cookie)
	require.Contains(t, cookie, "HttpOnly")
	require.Contains(t, cookie, "SameSite=Lax")
	require.Contains(t, cookie, "Path=/")
	require.Equal(t, 200, r.send(b, "GET", "/api/v1/incidents", nil).status)

	value := strings.TrimPrefix(strings.SplitN(cookie, ";", 2)[0], "akmatori=")
	require.NotContains(t, dump(t, r.pg), value, "only the hash of a session's token is stored")

	out := r.send(b, "POST", "/api/v1/auth/logout", nil)
	require.Equal(t, 204, out.status, out.body)
	require.Contains(t, out.header.Get("Set-Cookie"), "Max-Age=0")
	replay := r.send(http.DefaultClient, "GET", "/api/v1/incidents", nil, "Cookie", "akmatori="+value)
	require.Equal(t, 401, replay.status, "the session is gone, not only its cookie")

	var records struct{ Items []ops.AuditRecord }
	r.call("GET", "/api/v1/audit/chains/api", nil).into(t, &records)
	outcomes := map[string]int{}
	for _, rec := range records.Items {
		outcomes[rec.Actor+" "+rec.Action+" "+rec.Outcome]++
		if rec.Action == "login" {
			require.Equal(t, "127.0.0.1", rec.Detail["address"])
		}
	}
	require.Equal(t, map[string]int{"user:ann login denied": 1, "anonymous login denied": 1, "user:ann login ok": 1,
		"user:ann logout intent": 1, "user:ann logout ok": 1}, outcomes)
	_, err := ops.VerifyChain(nil, records.Items)
	require.NoError(t, err)
}

func TestCookieForHTTPS(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) { c.PublicURL = "https://ops.example/" })
	r.makeUser()
	local := "http://" + r.public.Addr().String()
	resp, err := http.Post(local+"/api/v1/auth/login", "application/json", strings.NewReader(`{"username":"ann","password":"`+password+`"}`))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	cookie := resp.Header.Get("Set-Cookie")
	require.True(t, strings.HasPrefix(cookie, "__Host-akmatori="), cookie)
	require.Contains(t, cookie, "Secure")
	require.NotContains(t, cookie, "Domain")
	require.Contains(t, resp.Header.Get("Strict-Transport-Security"), "max-age")
	require.Equal(t, "https://ops.example/webhook/alert/x", r.webhookURL("x"))
}

func TestLoginIsThrottled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	login := func(pass string) reply {
		return r.send(http.DefaultClient, "POST", "/api/v1/auth/login", map[string]string{"username": "ann", "password": pass})
	}
	var last reply
	for range 2 * failuresPerUser { // a minute may end in between
		if last = login("wrong password"); last.status == 429 {
			break
		}
	}
	require.Equal(t, 429, last.status)
	require.Equal(t, "60", last.header.Get("Retry-After"))
	require.Equal(t, 429, login(password).status, "not even the right one")
	require.Equal(t, 200, r.call("GET", "/api/v1/incidents", nil).status, "tokens still work")
}

// TestNobodyIsLockedOutByAName: what comes by a link or from a provider is counted
// by its network, and no user's name is taken for that.
func TestNobodyIsLockedOutByAName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"invitation 127.0.0.1", "setup link 127.0.0.1", "oidc 127.0.0.1"} {
		for range failuresPerUser {
			r.send(http.DefaultClient, "POST", "/api/v1/auth/login", map[string]string{"username": name, "password": "wrong password"})
		}
		require.True(t, r.logins.allowed(name, "127.0.0.1"), name)
	}
	r.guest("bob", "viewer")
}

// TestGuessingAtOnceIsThrottled: no more are judged of guesses that are made at
// once than of those that follow each other, on each way that takes a secret.
func TestGuessingAtOnceIsThrottled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.signIn("ann", password)
	for _, way := range []struct {
		method, path string
		guess        map[string]string
		wrong        int
	}{
		{"POST", "/login", map[string]string{"username": "ann", "password": "wrong password"}, 401},
		{"POST", "/setup", map[string]string{"token": "akms_wrong", "username": "eve", "password": password}, 401},
		{"POST", "/accept", map[string]string{"token": "akmi_wrong", "password": password}, 401},
		{"PUT", "/password", map[string]string{"current": "wrong password", "new": "another good one"}, 403},
		{"POST", "/totp", map[string]string{"proof": "wrong password"}, 403},
	} {
		r.logins = newThrottle()
		for range maxHashes { // so that none is judged before all have come
			r.hashes.slots <- struct{}{}
		}
		statuses := make(chan int, 3*failuresPerUser)
		for range cap(statuses) {
			go func() {
				a, _ := r.try(b, way.method, "/api/v1/auth"+way.path, way.guess)
				statuses <- a.status
			}()
		}
		for range cap(statuses) - failuresPerUser {
			require.Equal(t, 429, <-statuses, way.path)
		}
		for range maxHashes {
			<-r.hashes.slots
		}
		for range failuresPerUser {
			require.Equal(t, way.wrong, <-statuses, way.path)
		}
		require.Equal(t, 429, r.send(b, way.method, "/api/v1/auth"+way.path, way.guess).status, way.path)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var made createdToken
	a := r.call("POST", "/api/v1/tokens", map[string]string{"name": "ci"})
	require.Equal(t, 201, a.status, a.body)
	a.into(t, &made)
	require.True(t, strings.HasPrefix(made.Token, "akm_"))
	require.NotContains(t, dump(t, r.pg), made.Token)
	use := func() int {
		return r.send(http.DefaultClient, "GET", "/api/v1/tokens", nil, "Authorization", "Bearer "+made.Token).status
	}
	require.Equal(t, 200, use())
	require.Equal(t, 200, r.send(http.DefaultClient, "GET", "/api/v1/tokens", nil, "Authorization", "bearer "+made.Token).status)
	require.NotContains(t, r.call("GET", "/api/v1/tokens", nil).body, made.Token)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/tokens/x", nil).status)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/tokens/"+made.ID, nil).status)
	require.Equal(t, 401, use())
	require.Equal(t, 404, r.call("DELETE", "/api/v1/tokens/"+made.ID, nil).status)
	require.NotContains(t, r.log.String(), made.Token)

	require.Equal(t, 201, r.call("POST", "/api/v1/tokens", map[string]any{"name": "nothing", "actions": []string{}}).status)
	require.Contains(t, r.call("GET", "/api/v1/tokens", nil).body, `"name":"nothing","actions":[]`, "which is not all")
}

// TestNothingIsAnonymous calls every route that there is without and with wrong
// credentials.
func TestNothingIsAnonymous(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	doc, err := Document()
	require.NoError(t, err)
	var spec struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(doc, &spec))
	open := map[string]bool{"post /api/v1/auth/login": true, "post /api/v1/auth/setup": true, "post /api/v1/auth/accept": true, "post /api/v1/auth/second": true,
		"get /api/v1/auth/methods": true, "get /api/v1/auth/oidc/start": true, "get /api/v1/auth/oidc/callback": true}
	known := map[string]bool{"POST /webhook/alert/{source_id}": true, "POST /webhook/alert/{source_id}/": true, "GET /openapi.json": true}
	for path, methods := range spec.Paths {
		for method := range methods {
			known[strings.ToUpper(method)+" "+path] = true
		}
	}
	require.NoError(t, chi.Walk(r.publicHandler().(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		require.True(t, known[method+" "+route], "%s %s is served and not described", method, route)
		return nil
	}))
	routes := 0
	for path, methods := range spec.Paths {
		for method := range methods {
			if open[method+" "+path] {
				continue
			}
			routes++
			real := strings.NewReplacer("{id}", ops.NewID()).Replace(path)
			for _, header := range [][]string{nil,
				{"Authorization", "Bearer akm_wrong"}, {"Authorization", "Bearer " + r.conf.WorkerToken.Reveal()},
				{"Authorization", "Basic YW5uOng="}, {"Cookie", "akmatori=wrong"}, {"Cookie", "__Host-akmatori=wrong"},
				// Who sends a wrong token is not saved by anything else.
				{"Authorization", "Bearer ", "X-User", "ann", "Cookie", "akmatori="},
			} {
				a := r.send(http.DefaultClient, strings.ToUpper(method), real, nil, header...)
				require.Equal(t, 401, a.status, "%s %s %v: %s", method, path, header, a.body)
				require.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
			}
		}
	}
	require.Greater(t, routes, 20)
	for _, path := range []string{"/metrics", "/readyz", "/livez", "/agents"} {
		require.Contains(t, r.send(http.DefaultClient, "GET", path, nil).header.Get("Content-Type"), "text/html", "it is a path of the page: %s", path)
	}
}

func TestCrossSiteRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := browser(t)
	require.Equal(t, 200, r.send(b, "POST", "/api/v1/auth/login", map[string]string{"username": "ann", "password": password}).status)
	incident := map[string]string{"title": "x"}
	for name, tc := range map[string]struct {
		header []string
		want   int
	}{
		"another site":         {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		"another subdomain":    {[]string{"Sec-Fetch-Site", "same-site", "Origin", "http://evil.localhost"}, 403},
		"another port":         {[]string{"Origin", "http://127.0.0.1:1"}, 403},
		"no origin":            {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, 403},
		"the page":             {[]string{"Sec-Fetch-Site", "same-origin", "Origin", r.PublicURL()}, 201},
		"an old browser":       {[]string{"Origin", r.PublicURL()}, 201},
		"no browser":           {nil, 201},
		"a form of the page":   {[]string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		"a text of a web form": {[]string{"Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site"}, 403},
	} {
		a := r.send(b, "POST", "/api/v1/incidents", incident, tc.header...)
		require.Equal(t, tc.want, a.status, "%s: %s", name, a.body)
	}
	a := r.send(b, "POST", "/api/v1/auth/login", map[string]string{"username": "ann", "password": password}, "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 403, a.status, "a login from elsewhere would sign somebody in as another")
}

func TestErrorsNeverEchoValues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const canary = "s3cr3t-canary-value"
	for path, body := range map[string]any{
		"/api/v1/credentials":   map[string]any{"name": "x", "kind": canary, "secret": canary, "targets": []string{"a"}},
		"/api/v1/credentials?2": map[string]any{"name": canary + " !", "kind": "ssh_key", "secret": canary, "targets": []string{"a"}},
		"/api/v1/credentials?3": map[string]any{"name": "x", "kind": "ssh_key", "secret": []string{canary}, "targets": canary},
		"/api/v1/credentials?4": `{"secret": ` + canary,
		"/api/v1/sources":       map[string]any{"name": "x", "kind": canary, "secret": canary},
		"/api/v1/sources?2":     map[string]any{"name": "x", "kind": "alertmanager", "secret": 7, "enabled": canary},
		"/api/v1/targets":       map[string]any{"name": "x", "kind": "ssh", "address": "h", "user": "u", "host_key": canary},
		"/api/v1/llm-providers": map[string]any{"name": "x", "kind": "openai", "base_url": "https://u:" + canary + "@h/", "model": "m"},
		"/api/v1/auth/login":    map[string]any{"username": canary, "password": canary},
		"/api/v1/auth/setup":    map[string]any{"token": canary, "username": "ann", "password": "short"},
	} {
		a := r.call("POST", path, body)
		require.GreaterOrEqual(t, a.status, 400, path)
		require.Less(t, a.status, 500, path)
		require.NotContains(t, a.body, canary, path)
		var p problem
		a.into(t, &p)
		require.Equal(t, a.status, p.Status)
		require.NotEmpty(t, p.Title)
	}
	require.NotContains(t, r.log.String(), canary)
}
