package tool_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/stretchr/testify/require"
)

const (
	zabbixToken    = "1e0c762a1a5f0276be9e3d7a87e2e718bb1262409cd0fb890759bf3ef9e73a43"
	zabbixPassword = "canary-of-zabbix"
)

// zabbixServer answers as the API of Zabbix does, in what matters here: which
// requests need whom, how it is said who asks, how errors look. What methods
// give is the test's to say.
type zabbixServer struct {
	*httptest.Server
	t       testing.TB
	version string

	mu       sync.Mutex
	sessions map[string]bool
	logins   int
	logouts  int
	calls    []string // methods, as they came
	last     map[string]any
	answer   func(method string, params json.RawMessage) (any, *rpcError)
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    string `json:"data"`
}

func notAuthorised(data string) *rpcError { return &rpcError{-32602, "Invalid params.", data} }

func newZabbix(t testing.TB, version string, answer func(method string, params json.RawMessage) (any, *rpcError)) *zabbixServer {
	t.Helper()
	s := &zabbixServer{t: t, version: version, sessions: map[string]bool{}, answer: answer}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *zabbixServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Version string          `json:"jsonrpc"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
		Auth    *string         `json:"auth"`
		ID      int             `json:"id"`
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &req); err != nil || r.URL.Path != ops.ZabbixPath || r.Header.Get("Content-Type") != "application/json-rpc" {
		s.t.Errorf("not a request of the API: %s %s %v", r.URL, body, err)
	}
	result, failed := s.do(req.Method, req.Params, req.Auth, r.Header.Get("Authorization"))
	reply := map[string]any{"jsonrpc": "2.0", "id": req.ID, "result": result}
	if failed != nil {
		delete(reply, "result")
		reply["error"] = failed
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply)
}

func (s *zabbixServer) do(method string, params json.RawMessage, auth *string, header string) (any, *rpcError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method)
	bearer, inHeader := strings.CutPrefix(header, "Bearer ")
	old := strings.HasPrefix(s.version, "6.0")
	switch {
	case old && inHeader, !old && auth != nil:
		s.t.Errorf("%s says in the wrong way to %s who asks", method, s.version)
	case (method == "apiinfo.version" || method == "user.login") && (inHeader || auth != nil):
		return nil, &rpcError{-32602, "Invalid params.", `The "` + method + `" method must be called without the "auth" parameter.`}
	case method == "apiinfo.version":
		return s.version, nil
	case method == "user.login":
		s.logins++
		var in struct{ Username, Password string }
		if json.Unmarshal(params, &in) != nil || in.Username != "reader" || in.Password != zabbixPassword {
			return nil, &rpcError{-32500, "Application error.", "Incorrect user name or password or account is temporarily blocked."}
		}
		session := fmt.Sprintf("%032x", s.logins*7919)
		s.sessions[session] = true
		return session, nil
	}
	who := bearer
	if auth != nil {
		who = *auth
	}
	switch {
	case who == "":
		return nil, notAuthorised("Not authorised.")
	case who != zabbixToken && !s.sessions[who]:
		return nil, notAuthorised("Session terminated, re-login, please.")
	case method == "user.logout":
		s.logouts++
		delete(s.sessions, who)
		return true, nil
	}
	s.last = map[string]any{}
	_ = json.Unmarshal(params, &s.last)
	return s.answer(method, params)
}

// expire ends all sessions, as time does.
func (s *zabbixServer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

func (s *zabbixServer) counts() (logins, logouts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins, s.logouts
}

// zabbixHop is the way to a server with a credential of that kind.
func zabbixHop(t testing.TB, address, kind, secret string) tool.Hop {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	return tool.Hop{
		Target:     ops.Target{ID: "t", Name: "zbx", Kind: "zabbix", Scheme: u.Scheme, Address: u.Hostname(), Port: port, User: "reader"},
		Credential: ops.Credential{ID: "c", Name: "zbx-reader", Kind: kind, Version: 1},
		Open:       func() (ops.Secret, error) { return ops.NewSecret(secret), nil },
	}
}

// zabbixClient is the client under test with its tools.
type zabbixClient struct {
	t testing.TB
	*tool.Zabbix
	log   *strings.Builder
	tools []tool.Tool
}

func newZabbixClient(t testing.TB) *zabbixClient {
	t.Helper()
	c := &zabbixClient{t: t, log: &strings.Builder{}}
	log := slog.New(slog.NewTextHandler(c.log, nil))
	c.Zabbix = tool.NewZabbix(log)
	t.Cleanup(c.Close)
	pool := tool.NewPool(log)
	t.Cleanup(pool.Close)
	c.tools = tool.Table(pool, c.Zabbix)
	return c
}

func (c *zabbixClient) try(ctx context.Context, hop tool.Hop, name, raw string) (tool.Outcome, error) {
	c.t.Helper()
	i := slices.IndexFunc(c.tools, func(t tool.Tool) bool { return t.Name == name })
	args, err := c.tools[i].Parse(json.RawMessage(raw))
	require.NoError(c.t, err)
	return c.tools[i].Run(ctx, tool.Call{Args: args, Hops: []tool.Hop{hop}})
}

func (c *zabbixClient) call(hop tool.Hop, name, raw string) tool.Outcome {
	c.t.Helper()
	out, err := c.try(c.t.Context(), hop, name, raw)
	require.NoError(c.t, err)
	return out
}

type list = []any

type object = map[string]any

func TestZabbixAuthentication(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"6.0.14", "6.4.0", "7.0.0alpha1", "7.4.1"} {
		s := newZabbix(t, version, func(string, json.RawMessage) (any, *rpcError) { return list{}, nil })
		c := newZabbixClient(t)
		token := zabbixHop(t, s.URL, "zabbix_token", zabbixToken)
		require.Equal(t, "no problem matches\n", c.call(token, "zabbix_problems", `{}`).Text, version)
		require.Equal(t, []string{"apiinfo.version", "problem.get"}, s.calls, version)

		// A password makes one session, which all calls share.
		password := zabbixHop(t, s.URL, "zabbix_password", zabbixPassword)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := c.try(t.Context(), password, "zabbix_problems", `{}`); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		logins, logouts := s.counts()
		require.Equal(t, 1, logins, version)
		require.Zero(t, logouts, version)
		// One that has ended is made anew, once.
		s.expire()
		c.call(password, "zabbix_problems", `{}`)
		logins, _ = s.counts()
		require.Equal(t, 2, logins, version)
		// Another version of the credential is another session, and the old one is given back.
		password.Credential.Version++
		c.call(password, "zabbix_problems", `{}`)
		require.Eventually(t, func() bool {
			logins, logouts := s.counts()
			return logins == 3 && logouts == 1
		}, 5*time.Second, 5*time.Millisecond, version)
		c.Close()
		_, logouts = s.counts()
		require.Equal(t, 2, logouts, version)
		require.Empty(t, s.sessions, version)
		_, err := c.try(t.Context(), password, "zabbix_problems", `{}`)
		require.ErrorContains(t, err, "stopping")
		require.NotContains(t, c.log.String(), zabbixPassword)
	}
}

func TestZabbixRefusals(t *testing.T) {
	t.Parallel()
	ended := false
	s := newZabbix(t, "6.0.14", func(method string, _ json.RawMessage) (any, *rpcError) {
		switch {
		case ended:
			return nil, notAuthorised("Session terminated, re-login, please.")
		case method == "host.get":
			return nil, &rpcError{-32500, "Application error.", "No permissions to referred object or it does not exist! \x1b[31m" + zabbixToken}
		}
		return object{"not": "a list"}, nil
	})
	c := newZabbixClient(t)
	token := zabbixHop(t, s.URL, "zabbix_token", zabbixToken)

	// What the API says is for the model, without what is secret in it.
	_, err := c.try(t.Context(), token, "zabbix_problems", `{"host":"x"}`)
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
	require.Equal(t, "zbx refuses host.get: Application error. No permissions to referred object or it does not exist! [redacted][redacted]", ops.MessageOf(err))
	_, err = c.try(t.Context(), token, "zabbix_problems", `{}`)
	require.ErrorContains(t, err, "something else than a list")
	_, err = c.try(t.Context(), zabbixHop(t, s.URL, "zabbix_token", "another"), "zabbix_problems", `{}`)
	require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
	require.ErrorContains(t, err, "refuses its credential")
	_, err = c.try(t.Context(), zabbixHop(t, s.URL, "ssh_password", "x"), "zabbix_problems", `{}`)
	require.ErrorContains(t, err, "not for Zabbix")

	// A wrong password is not tried again at once: Zabbix blocks the account.
	wrong := zabbixHop(t, s.URL, "zabbix_password", "hunter2hunter2")
	for range 3 {
		_, err = c.try(t.Context(), wrong, "zabbix_problems", `{}`)
		require.Equal(t, "zbx refuses the login of reader with credential zbx-reader", ops.MessageOf(err))
		require.NotContains(t, err.Error(), "hunter2")
	}
	logins, _ := s.counts()
	require.Equal(t, 1, logins)
	// A session that ends at once is made anew once a call, not for ever.
	ended = true
	right := zabbixHop(t, s.URL, "zabbix_password", zabbixPassword)
	right.Credential.Version = 2
	_, err = c.try(t.Context(), right, "zabbix_problems", `{}`)
	require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
	logins, _ = s.counts()
	require.Equal(t, 3, logins)
	// A credential that does not open is nobody's fault but ours.
	broken := token
	broken.Open = func() (ops.Secret, error) { return ops.Secret{}, io.ErrUnexpectedEOF }
	_, err = c.try(t.Context(), broken, "zabbix_problems", `{}`)
	require.Equal(t, ops.CodeInternal, ops.CodeOf(err))
}

// TestZabbixIsNot: what answers is not the API, or nothing is there.
func TestZabbixIsNot(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	t.Cleanup(elsewhere.Close)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "redirects are not followed"},
		"nothing":    {http.NotFound, "is not the API of Zabbix"},
		"an error":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "HTTP 502"},
		"a page":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "is not the API of Zabbix"},
		"other JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"result":"6.0.14"}`) }, "is not the API of Zabbix"},
		"no result":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1}`) }, "is not the API of Zabbix"},
		"no version": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","result":"x","id":1}`)
		}, "is not the API of Zabbix"},
		"a long text": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 17<<20)) }, "larger than 16 MiB"},
		"half of it": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0",`)
		}, "cannot be reached"},
	} {
		s := httptest.NewServer(tt.answer)
		_, err := newZabbixClient(t).try(t.Context(), zabbixHop(t, s.URL, "zabbix_token", zabbixToken), "zabbix_problems", `{}`)
		require.ErrorContains(t, err, tt.want, name)
		require.NotEqual(t, ops.CodeInternal, ops.CodeOf(err), name)
		s.Close()
	}
	require.Empty(t, reached)

	gone := httptest.NewServer(http.NotFoundHandler())
	nobody := zabbixHop(t, gone.URL, "zabbix_token", zabbixToken)
	gone.Close()
	_, err := newZabbixClient(t).try(t.Context(), nobody, "zabbix_problems", `{}`)
	require.ErrorContains(t, err, "cannot be reached at 127.0.0.1")

	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = newZabbixClient(t).try(ctx, zabbixHop(t, slow.URL, "zabbix_token", zabbixToken), "zabbix_problems", `{}`)
	require.ErrorContains(t, err, "did not answer in time")
}

func TestZabbixTLS(t *testing.T) {
	t.Parallel()
	s := &zabbixServer{t: t, version: "7.0.1", sessions: map[string]bool{}, answer: func(string, json.RawMessage) (any, *rpcError) { return list{}, nil }}
	s.Server = httptest.NewTLSServer(s)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	c := newZabbixClient(t)
	hop := zabbixHop(t, s.URL, "zabbix_token", zabbixToken)
	_, err := c.try(t.Context(), hop, "zabbix_problems", `{}`)
	require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
	require.ErrorContains(t, err, "not trusted")
	require.Empty(t, s.calls)
	hop.Target.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	require.Equal(t, "no problem matches\n", c.call(hop, "zabbix_problems", `{}`).Text)
	hop.Target.CA = "nonsense"
	_, err = c.try(t.Context(), hop, "zabbix_problems", `{}`)
	require.ErrorContains(t, err, "not a certificate")
}

// TestZabbixIsHostile: texts of the other side are texts.
func TestZabbixIsHostile(t *testing.T) {
	t.Parallel()
	s := newZabbix(t, "6.0.14", func(method string, _ json.RawMessage) (any, *rpcError) {
		if method == "trigger.get" {
			return list{object{"triggerid": "7", "status": "0", "hosts": list{object{"hostid": "1", "host": "h\x00\n", "name": "h", "status": "0"}}}}, nil
		}
		// Numbers for texts, texts for lists, and what no one expects.
		return list{
			object{"eventid": 5, "objectid": "7", "clock": "1700000000", "name": "a\x1b[2Jb\u202e" + zabbixToken, "severity": 9, "acknowledged": true, "tags": "none", "opdata": nil},
			object{"eventid": "4", "objectid": "8", "clock": "x", "name": list{}, "severity": "4", "tags": list{object{"tag": "service", "value": "x\ny"}, "?"}},
			"not an object", nil, 5,
		}, nil
	})
	out := newZabbixClient(t).call(zabbixHop(t, s.URL, "zabbix_token", zabbixToken), "zabbix_problems", `{"limit":2}`)
	require.NotContains(t, out.Text+string(out.Data), zabbixToken)
	require.NotContains(t, out.Text, "\x1b")
	require.NotContains(t, string(out.Data), `\u001b`)
	require.NotContains(t, string(out.Data), `\u0000`)
	require.Contains(t, out.Text, "[severity 9] ab[redacted][redacted] on h; since 2023-11-14T22:13:20Z")
	require.Contains(t, out.Text, "tags: service=x y")
	require.Contains(t, out.Text, "on a host that cannot be seen")
}

func TestZabbixAPI(t *testing.T) {
	t.Parallel()
	s := newZabbix(t, "7.0.0", func(method string, params json.RawMessage) (any, *rpcError) {
		switch method {
		case "mediatype.get":
			return list{object{"mediatypeid": "1", "passwd": "p1", "parameters": list{object{"name": "api_token", "value": "p2"}, object{"name": "url", "value": "https://x"}}},
				object{"macro": "{$DB.PASSWORD}", "value": "p3"}, object{"tls_psk": "p4", "snmp_community": "p5", "password": ""}}, nil
		case "host.delete":
			return object{"hostids": params}, nil
		case "number.get":
			return list{json.Number("1e131000"), json.Number("1e3")}, nil
		case "many.get":
			return slices.Repeat(list{object{"name": strings.Repeat("x", 1000)}}, 300), nil
		case "deep.get":
			return json.RawMessage(strings.Repeat("[", 1000) + strings.Repeat("]", 1000)), nil
		}
		return 5, nil
	})
	c := newZabbixClient(t)
	hop := zabbixHop(t, s.URL, "zabbix_token", zabbixToken)
	out := c.call(hop, "zabbix_api", `{"method":"mediatype.get","params":{"output":"extend"}}`)
	require.Equal(t, "extend", s.last["output"])
	for _, secret := range []string{"p1", "p2", "p3", "p4", "p5"} {
		require.NotContains(t, out.Text+string(out.Data), secret)
	}
	require.Contains(t, out.Text, `{"name":"url","value":"https://x"}`)
	require.Contains(t, out.Text, `"password":""`)
	require.True(t, strings.HasSuffix(out.Text, "[3 in all]\n"), out.Text)
	out = c.call(hop, "zabbix_api", `{"method":"number.get"}`)
	require.Equal(t, `{"result":["1e131000",1e3]}`, string(out.Data), "what Postgres would write out to its last digit is a text")
	out = c.call(hop, "zabbix_api", `{"method":"many.get"}`)
	require.Nil(t, out.Data, "the text, and what is kept of it, must do")
	require.Contains(t, out.Text, "[300 in all]")
	_, err := c.try(t.Context(), hop, "zabbix_api", `{"method":"deep.get"}`)
	require.ErrorContains(t, err, "nested more than")
	require.Equal(t, "{\"hostids\":[\"1\",\"2\"]}\n", c.call(hop, "zabbix_api", `{"method":"host.delete","ids":["1","2"]}`).Text)
	require.Equal(t, "5\n", c.call(hop, "zabbix_api", `{"method":"Host.get","params":{"countOutput":true}}`).Text)
	for _, method := range []string{"user.login", "User.Login", "user.logout", "user.checkAuthentication", "token.generate"} {
		_, err := c.try(t.Context(), hop, "zabbix_api", `{"method":"`+method+`"}`)
		require.Equal(t, ops.CodeForbidden, ops.CodeOf(err), method)
	}
	_, err = c.try(t.Context(), hop, "zabbix_api", `{"method":"host.get","params":{},"ids":["1"]}`)
	require.ErrorContains(t, err, "not both")
	_, err = c.try(t.Context(), hop, "zabbix_acknowledge", `{"event_ids":["1"],"acknowledge":false}`)
	require.ErrorContains(t, err, "nothing to do")
}

// TestZabbixHistory: a series of a known form, as values, in steps, and as trends.
func TestZabbixHistory(t *testing.T) {
	t.Parallel()
	start := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	item := object{"itemid": "9", "name": "n", "key_": "k", "value_type": "0", "units": "%", "delay": "1s", "history": "7d", "trends": "365d",
		"hosts": list{object{"host": "h"}}}
	var asked []string
	// One value a second since start, with one peak; one hour of trends an hour, for ever.
	value := func(n int64) float64 {
		if n == 5000 {
			return 1000
		}
		return float64(n % 100)
	}
	s := newZabbix(t, "6.0.14", func(method string, params json.RawMessage) (any, *rpcError) {
		var p struct {
			From  int64 `json:"time_from"`
			Till  int64 `json:"time_till"`
			Limit int   `json:"limit"`
			Order string
		}
		_ = json.Unmarshal(params, &p)
		asked = append(asked, method)
		found := list{}
		switch method {
		case "item.get":
			return list{item}, nil
		case "history.get":
			for at := min(p.Till, time.Now().Unix()); at >= max(p.From, start.Unix()) && len(found) < p.Limit; at-- {
				found = append(found, object{"clock": strconv.FormatInt(at, 10), "value": fmt.Sprint(value(at - start.Unix()))})
			}
		case "trend.get":
			for at := p.From - p.From%3600; at <= p.Till && at < start.Unix() && len(found) < p.Limit; at += 3600 {
				found = append(found, object{"clock": strconv.FormatInt(at, 10), "num": "3600", "value_min": "1", "value_avg": "2", "value_max": "3"})
			}
		}
		return found, nil
	})
	c := newZabbixClient(t)
	hop := zabbixHop(t, s.URL, "zabbix_token", zabbixToken)
	type points struct {
		Source string
		N      int64
		Min    float64
		Avg    float64
		Max    float64
		Step   int `json:"step_seconds"`
		Cut    bool
		Points []struct {
			At            time.Time
			Min, Avg, Max float64
			N             int64
		}
	}
	read := func(raw string) (p points) {
		asked = nil
		out := c.call(hop, "zabbix_history", raw)
		require.NoError(t, json.Unmarshal(out.Data, &p))
		require.LessOrEqual(t, len(p.Points), 60)
		var n int64
		for _, one := range p.Points {
			n += one.N
		}
		require.Equal(t, p.N, n, "every value is in one step")
		return p
	}
	at := func(seconds int) string { return start.Add(time.Duration(seconds) * time.Second).Format(time.RFC3339) }

	few := read(`{"item_id":"9","since":"` + at(0) + `","until":"` + at(19) + `"}`)
	require.Equal(t, 0, few.Step)
	require.Len(t, few.Points, 20)
	require.InDelta(t, 9.5, few.Avg, 1e-9)

	// 10,801 values: more than one page of the API, less than what is read.
	whole := read(`{"item_id":"9","since":"` + at(0) + `","until":"` + at(10800) + `"}`)
	require.Equal(t, "history", whole.Source)
	require.Equal(t, int64(10801), whole.N)
	require.Equal(t, 300, whole.Step)
	require.InDelta(t, 1000.0, whole.Max, 0, "a peak of one second is not lost")
	require.Equal(t, 2, strings.Count(strings.Join(asked, " "), "history.get"))
	require.InDelta(t, 1000.0, whole.Points[5000/300].Max, 0)
	require.Equal(t, start, whole.Points[0].At)

	// A month of seconds is read as trends, and the newest hours as values.
	item["delay"] = "1m"
	month := read(`{"item_id":"9","since":"30d"}`)
	require.Equal(t, "trends", month.Source)
	require.Equal(t, 24*3600, month.Step)
	require.InDelta(t, 1.0, month.Points[0].Min, 0)
	require.InDelta(t, 1000.0, month.Max, 0)
	require.False(t, month.Cut)

	// No trends: only values, and what is left out is said.
	item["trends"] = "0"
	_, err := c.try(t.Context(), hop, "zabbix_history", `{"item_id":"9","source":"trends"}`)
	require.ErrorContains(t, err, "no trends")
	start = start.Add(-24 * time.Hour)
	cut := read(`{"item_id":"9","since":"2d"}`)
	require.True(t, cut.Cut)
	require.Less(t, math.Abs(float64(cut.N-50_000)), 20_000.0)

	require.Equal(t, "history", read(`{"item_id":"9","since":"2020-01-01","until":"2020-01-02"}`).Source)
	for raw, wrong := range map[string]string{
		`{}`: "give item_id", `{"item_id":"9","host":"h"}`: "give item_id", `{"item_id":"9","since":"1h","until":"2h"}`: "not before",
	} {
		_, err := c.try(t.Context(), hop, "zabbix_history", raw)
		require.ErrorContains(t, err, wrong, raw)
	}
	item["value_type"] = "5"
	_, err = c.try(t.Context(), hop, "zabbix_history", `{"item_id":"9"}`)
	require.ErrorContains(t, err, "cannot be shown")
}
