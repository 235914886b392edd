package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

const goodToken = "akm_good"

// fakeAPI speaks the contract of the public API from memory.
type fakeAPI struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, path with query
	posted   []map[string]any
	incident ops.Incident
	findings []finding
	events   []ops.Event
	// live gets events after the stored ones; the stream breaks off after each
	// breakAfter of them, and ends its quiet when live is closed.
	live       chan liveEvent
	breakAfter int
	audit      map[string][]ops.AuditRecord
	auditKeys  ops.AuditKeys
	second     string // the code that signing in takes
}

func newAPI(t *testing.T) *fakeAPI {
	t.Helper()
	a := &fakeAPI{audit: map[string][]ops.AuditRecord{}, breakAfter: 1 << 30}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Username, Password string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.Username != "admin" || in.Password != "pass word" {
			problem(w, http.StatusUnauthorized, "wrong username or password")
			return
		}
		if a.second != "" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "half", Secure: true, Path: "/", HttpOnly: true})
			reply(w, map[string]any{"code_due": true})
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s1", Secure: true, Path: "/", HttpOnly: true})
		reply(w, map[string]any{"user": map[string]string{"id": "1", "username": "admin"}})
	})
	mux.HandleFunc("POST /api/v1/auth/second", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Code string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		if c, err := r.Cookie("session"); err != nil || c.Value != "half" || in.Code != a.second {
			problem(w, http.StatusForbidden, "the code is wrong")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s1", Secure: true, Path: "/", HttpOnly: true})
		reply(w, map[string]any{"user": map[string]string{"id": "1", "username": "admin"}})
	})
	mux.HandleFunc("GET /api/v1/auth/session", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodToken {
			problem(w, http.StatusUnauthorized, "the token is unknown")
			return
		}
		reply(w, map[string]any{"user": map[string]string{"id": "1", "username": "olga"}})
	})
	mux.HandleFunc("POST /api/v1/auth/logout", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /api/v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("session"); err != nil || c.Value != "s1" {
			problem(w, http.StatusUnauthorized, "no session")
			return
		}
		w.WriteHeader(http.StatusCreated)
		reply(w, map[string]string{"id": "1", "name": "cli", "token": goodToken})
	})
	mux.HandleFunc("GET /api/v1/incidents", func(w http.ResponseWriter, r *http.Request) {
		at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		if at == 0 {
			at = 5
		}
		var items []ops.Incident
		for n := at; n > 0 && len(items) < min(limit, 2); n-- {
			i := a.incident
			i.Number = int64(n)
			items = append(items, i)
		}
		next := ""
		if n := at - len(items); n > 0 {
			next = strconv.Itoa(n)
		}
		reply(w, map[string]any{"items": items, "next_cursor": next})
	})
	mux.HandleFunc("GET /api/v1/incidents/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id := r.PathValue("id"); id != "7" && id != a.incident.ID {
			problem(w, http.StatusNotFound, "there is no such incident")
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		reply(w, a.incident)
	})
	mux.HandleFunc("GET /api/v1/incidents/{id}/findings", func(w http.ResponseWriter, _ *http.Request) { list(w, a.findings) })
	mux.HandleFunc("GET /api/v1/incidents/{id}/events", func(w http.ResponseWriter, _ *http.Request) { list(w, a.events) })
	mux.HandleFunc("GET /api/v1/incidents/{id}/runs/{run}/case", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "name: incident-%s-%s\ndescription: \"\x1b[31m\"\n", r.PathValue("id"), r.PathValue("run"))
	})
	mux.HandleFunc("GET /api/v1/incidents/{id}/stream", a.stream)
	mux.HandleFunc("GET /api/v1/audit/chains", func(w http.ResponseWriter, _ *http.Request) {
		list(w, []map[string]any{{"keys": strings.Split(a.auditKeys.String(), "\n")}})
	})
	mux.HandleFunc("GET /api/v1/audit/chains/{chain}", func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		records := a.audit[r.PathValue("chain")]
		records = records[min(after, len(records)):]
		list(w, records[:min(3, len(records))])
	})
	mux.HandleFunc("GET /api/v1/{things}", func(w http.ResponseWriter, _ *http.Request) {
		list(w, []map[string]any{{"name": "web\x1b[31m", "kind": "alertmanager", "enabled": true, "webhook_url": "http://h/w", "address": "10.0.0.1", "port": 22,
			"targets": []string{"a", "b"}, "version": 2, "health": map[string]any{"deliveries": 9}, "host_key": "ssh-ed25519 A\nssh-rsa B"}})
	})
	mux.HandleFunc("POST /api/v1/{things}", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		_ = json.NewDecoder(r.Body).Decode(&in)
		a.mu.Lock()
		a.posted = append(a.posted, in)
		a.mu.Unlock()
		if in["name"] == "taken" {
			problem(w, http.StatusConflict, "that name is taken")
			return
		}
		secret := in["secret"]
		delete(in, "secret")
		if r.PathValue("things") == "sources" {
			in["webhook_url"], in["secret"] = "http://h/webhook/alert/1", "akmh_once"
		}
		w.WriteHeader(http.StatusCreated)
		reply(w, in)
		in["secret"] = secret
	})
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.requests = append(a.requests, r.Method+" "+r.URL.RequestURI())
		a.mu.Unlock()
		open := strings.HasPrefix(r.URL.Path, "/api/v1/auth/") || r.URL.Path == "/api/v1/tokens"
		if !open && r.Header.Get("Authorization") != "Bearer "+goodToken {
			problem(w, http.StatusUnauthorized, "sign in first")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *fakeAPI) stream(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	w.Header().Set("Content-Type", "text/event-stream")
	sent := 0
	send := func(e ops.Event) bool {
		data, _ := json.Marshal(e)
		_, _ = fmt.Fprintf(w, ": keep\n\nid: %d\nevent: timeline\ndata: %s\n\n", e.Seq, data)
		_ = http.NewResponseController(w).Flush()
		sent++
		return sent < a.breakAfter
	}
	for {
		a.mu.Lock()
		var next *ops.Event
		if int(after) < len(a.events) {
			next = &a.events[after]
		}
		a.mu.Unlock()
		if next != nil {
			after = next.Seq
			if !send(*next) {
				return
			}
			continue
		}
		select {
		case e, ok := <-a.live:
			if !ok {
				return
			}
			a.store(e.kind, e.data)
		case <-r.Context().Done():
			return
		}
	}
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func list[T any](w http.ResponseWriter, items []T) {
	if items == nil {
		items = []T{}
	}
	reply(w, map[string]any{"items": items, "next_cursor": ""})
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	reply(w, map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// result is what a command printed and how it ended.
type result struct {
	code     int
	out, err string
}

// cli runs a command with an environment and standard input.
func cli(t *testing.T, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	w := &world{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return env[k] },
		readPassword: func() (string, error) { return "pass word", nil }}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code := run(ctx, w, args)
	return result{code, out.String(), errs.String()}
}

func (a *fakeAPI) env() map[string]string {
	return map[string]string{envURL: a.URL, envToken: goodToken, "HOME": "/nowhere"}
}

type liveEvent struct {
	kind ops.EventKind
	data any
}

// store adds the next event of the incident.
func (a *fakeAPI) store(kind ops.EventKind, data any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := ops.NewEvent(kind, data)
	e.RunID, e.IncidentID = a.incident.RunID, a.incident.ID
	e.Seq = int64(len(a.events)) + 1
	a.events = append(a.events, e)
	a.incident.LastSeq = e.Seq
}

func investigated(t *testing.T) *fakeAPI {
	a := newAPI(t)
	a.incident = ops.Incident{ID: ops.NewID(), Number: 7, Title: "disk full on web-1\x1b]0;pwned\x07", Severity: ops.SeverityCritical,
		Status: ops.IncidentTriggered, Investigation: ops.RunRunning, RunID: ops.NewID(), AlertCount: 1, FiringCount: 1,
		OpenedAt: time.Date(2026, 11, 21, 3, 10, 0, 0, time.UTC), SourceName: "prod"}
	a.store(ops.EventIncidentOpened, ops.IncidentChange{Status: ops.IncidentTriggered, Title: "disk full"})
	a.store(ops.EventRunStarted, ops.RunChange{State: ops.RunRunning, Worker: "w1"})
	return a
}

func TestLoginStoresATokenForOneURL(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	dir := t.TempDir()
	env := map[string]string{"XDG_CONFIG_HOME": dir}
	require.Equal(t, exitSignedOut, cli(t, env, "", "incidents").code)

	got := cli(t, env, "wrong\n", "login", a.URL, "--username", "admin", "--password-stdin")
	require.Equal(t, exitSignedOut, got.code)
	require.Contains(t, got.err, "wrong username or password")

	got = cli(t, env, "admin\n", "login", a.URL+"/")
	require.Equal(t, 0, got.code, got.err)
	require.NotContains(t, got.out+got.err, goodToken)
	require.NotContains(t, got.out+got.err, "pass word")
	info, err := os.Stat(filepath.Join(dir, "akmatori", "config.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	files, err := os.ReadDir(filepath.Join(dir, "akmatori"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, []string{"POST /api/v1/auth/login", "POST /api/v1/tokens", "POST /api/v1/auth/logout"}, a.requests[len(a.requests)-3:])
	require.Equal(t, 0, cli(t, env, "", "incidents").code)

	other := newAPI(t)
	env[envURL] = other.URL
	require.Equal(t, exitSignedOut, cli(t, env, "", "incidents").code)
	require.Empty(t, other.requests, "the token went to another host")
	env[envToken] = goodToken
	require.Equal(t, 0, cli(t, env, "", "incidents").code)
}

// TestLoginWithMoreThanAPassword: with a code, or with a token that was made on the page.
func TestLoginWithMoreThanAPassword(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.second = "123456"
	env := map[string]string{"XDG_CONFIG_HOME": t.TempDir()}
	got := cli(t, env, "pass word", "login", a.URL, "-u", "admin", "--password-stdin")
	require.NotEqual(t, 0, got.code, "the terminal gives another code")
	require.Contains(t, got.err, "the code is wrong")
	a.second = "pass word" // which is what the terminal gives
	got = cli(t, env, "pass word", "login", a.URL, "-u", "admin", "--password-stdin")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "Code of your authenticator app")
	require.Equal(t, 0, cli(t, env, "", "incidents").code)

	env["XDG_CONFIG_HOME"] = t.TempDir()
	got = cli(t, env, "wrong", "login", a.URL, "-u", "olga", "--password-stdin")
	require.Equal(t, exitSignedOut, got.code)
	require.Contains(t, got.err, "--token-stdin")
	require.Equal(t, exitSignedOut, cli(t, env, "akm_wrong\n", "login", a.URL, "--token-stdin").code)
	require.Equal(t, exitSignedOut, cli(t, env, "", "incidents").code, "nothing was stored")
	got = cli(t, env, goodToken+"\n", "login", a.URL, "--token-stdin")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "as olga")
	require.NotContains(t, got.out+got.err, goodToken)
	require.Equal(t, 0, cli(t, env, "", "incidents").code)
}

func TestIncidentsPage(t *testing.T) {
	t.Parallel()
	a := investigated(t)
	got := cli(t, a.env(), "", "incidents", "--status", "triggered,acknowledged", "--severity", "critical", "-q", "disk", "--limit", "3")
	require.Equal(t, 0, got.code, got.err)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `^NUMBER\s+SEVERITY\s+STATUS\s+INVESTIGATION\s+ALERTS\s+OPENED\s+TITLE$`, lines[0])
	require.Regexp(t, `^5\s+critical\s+triggered\s+running\s+1\s+2026-11-2`, lines[1])
	require.NotContains(t, got.out, "\x1b")
	require.Contains(t, got.out, "web-1␛]0;pwned␇")
	require.Contains(t, a.requests[0], "limit=3&q=disk&severity=critical&status=triggered%2Cacknowledged")

	got = cli(t, a.env(), "", "--json", "incidents", "--limit", "0")
	var items []ops.Incident
	require.NoError(t, json.Unmarshal([]byte(got.out), &items))
	require.Len(t, items, 5)
}

func TestIncident(t *testing.T) {
	t.Parallel()
	a := investigated(t)
	exit := 0
	a.store(ops.EventTextDelta, ops.TextDelta{Turn: 1, Text: "I look at"})
	a.store(ops.EventMessage, ops.Message{Turn: 1, Text: "I look at the disk."})
	a.store(ops.EventToolCall, ops.ToolCallStarted{ID: "c1", Name: "ssh_execute", Arguments: json.RawMessage(`{"target":"web-1","command":"df -h"}`)})
	a.store(ops.EventToolOutput, ops.ToolOutput{ID: "c1", Text: "Filesystem"})
	a.store(ops.EventToolResult, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: "Filesystem\n/dev/sda 100%\x1b[2J\n", ExitCode: &exit, Duration: 12 * time.Millisecond})
	a.store("future.kind", "x")
	a.store(ops.EventRunEnded, ops.RunChange{State: ops.RunConcluded})
	a.findings = []finding{{RunID: a.incident.RunID, Finding: ops.Finding{Summary: "full", RootCause: "logs", Confidence: 0.9, Conclusive: true,
		Evidence: []ops.Citation{{Call: "c1", Excerpt: "100%"}}, Actions: []ops.Action{{Title: "rotate", Command: "logrotate"}}}}}
	got := cli(t, a.env(), "", "incident", "7")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, 1, strings.Count(got.out, "I look at the disk."))
	for _, want := range []string{"#7  disk full on web-1␛]0;pwned␇", "Root cause (confidence 90 %):\n    logs", "evidence c1: 100%", "$ logrotate",
		"c1 → ssh_execute web-1 $ df -h", "    c1 │ Filesystem\n    c1 │ /dev/sda 100%␛[2J", "c1 done, exit 0, 12ms", "investigation concluded", "future.kind"} {
		require.Contains(t, got.out, want)
	}
	require.NotContains(t, got.out, "\x1b")

	got = cli(t, a.env(), "", "incident", "7", "--json")
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(got.out), &all))
	require.Len(t, all, 3)

	got = cli(t, a.env(), "", "incident", "8")
	require.Equal(t, 1, got.code)
	require.Equal(t, "akmatori: there is no such incident (404)\n", got.err)
}

func TestFollowResumesAndEndsWithTheInvestigation(t *testing.T) {
	t.Parallel()
	for state, code := range map[ops.RunState]int{ops.RunConcluded: 0, ops.RunFailed: exitInconclusive} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			a := investigated(t)
			a.live, a.breakAfter = make(chan liveEvent), 3
			a.findings = []finding{{RunID: a.incident.RunID, Finding: ops.Finding{Summary: "done"}}}
			go func() {
				exit := 1
				for _, e := range []liveEvent{
					{ops.EventTextDelta, ops.TextDelta{Turn: 1, Text: "I look "}},
					{ops.EventTextDelta, ops.TextDelta{Turn: 1, Text: "at it."}},
					{ops.EventMessage, ops.Message{Turn: 1, Text: "I look at it."}},
					{ops.EventToolCall, ops.ToolCallStarted{ID: "c1", Name: "zabbix_problems", Arguments: json.RawMessage(`{ "host": "a" }`)}},
					{ops.EventToolOutput, ops.ToolOutput{ID: "c1", Text: "one\ntw"}},
					{ops.EventToolOutput, ops.ToolOutput{ID: "c1", Text: "o\n"}},
					{ops.EventToolResult, ops.ToolResult{ID: "c1", State: ops.CallFailed, Text: "one\ntwo\n", ExitCode: &exit}},
					{ops.EventMessage, ops.Message{Turn: 2, Text: "Not streamed."}},
					{ops.EventRunEnded, ops.RunChange{State: state, Reason: "because"}},
				} {
					a.live <- e
				}
			}()
			got := cli(t, a.env(), "", "incident", "7", "--follow")
			require.Equal(t, code, got.code, got.err)
			_, timeline, ok := strings.Cut(got.out, "Timeline\n")
			require.True(t, ok)
			var lines []string
			for _, l := range strings.Split(timeline, "\n") {
				if len(l) > 8 && l[2] == ':' && l[5] == ':' {
					l = "TIME" + l[8:]
				}
				lines = append(lines, l)
			}
			require.Equal(t, strings.Join([]string{
				"TIME  incident opened · triggered · disk full",
				"TIME  investigation running · w1",
				"  I look at it.",
				`TIME  c1 → zabbix_problems {"host":"a"}`,
				"    c1 │ one",
				"    c1 │ two",
				"TIME  c1 failed, exit 1, 0s",
				"  Not streamed.",
				"TIME  investigation " + string(state) + " · because",
				"", "Findings (inconclusive)", "  done", "",
			}, "\n"), strings.Join(lines, "\n"))
		})
	}
}

func TestFollowAsJSONEndsAtOnceForAnEndedRun(t *testing.T) {
	t.Parallel()
	a := investigated(t)
	a.store(ops.EventRunEnded, ops.RunChange{State: ops.RunConcluded})
	a.store(ops.EventIncidentResolved, ops.IncidentChange{Status: ops.IncidentResolved})
	got := cli(t, a.env(), "", "--json", "incident", "7", "-f")
	require.Equal(t, 0, got.code, got.err)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 4)
	for n, l := range lines {
		var e ops.Event
		require.NoError(t, json.Unmarshal([]byte(l), &e))
		require.Equal(t, int64(n+1), e.Seq)
	}
}

func TestFollowIsInterrupted(t *testing.T) {
	t.Parallel()
	a := investigated(t)
	a.live = make(chan liveEvent)
	ctx, cancel := context.WithCancel(t.Context())
	seen, out := io.Pipe()
	w := &world{stdout: out, stderr: io.Discard, getenv: func(k string) string { return a.env()[k] }}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, w, []string{"incident", "7", "-f"})
		_ = out.Close()
	}()
	buf := make([]byte, 1)
	_, err := seen.Read(buf)
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, seen) }()
	cancel()
	require.Equal(t, exitInterrupted, <-code)
}

func TestInventory(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, tt := range []struct{ command, want string }{
		{"sources", `web␛\[31m\s+alertmanager\s+yes\s+9\s+0\s+0\s+http://h/w`},
		{"credentials", `web␛\[31m\s+alertmanager\s+a,b\s+2`},
		{"targets", `web␛\[31m\s+alertmanager\s+10\.0\.0\.1:22\s+2`},
	} {
		got := cli(t, a.env(), "", tt.command)
		require.Equal(t, 0, got.code, got.err)
		require.Regexp(t, tt.want, got.out)
		got = cli(t, a.env(), "", tt.command, "--json")
		var items []map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.out), &items))
	}

	got := cli(t, a.env(), "", "sources", "add", "prod", "alertmanager")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "webhook  http://h/webhook/alert/1\nsecret   akmh_once\n", got.out)

	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("PEM\n"), 0o600))
	got = cli(t, a.env(), "hunter22\n", "credentials", "add", "root", "--kind", "ssh_password", "--target", "web-*", "--target", "a,b")
	require.Equal(t, 0, got.code, got.err)
	require.NotContains(t, got.out+got.err, "hunter22")
	require.Equal(t, 0, cli(t, a.env(), "", "credentials", "add", "key", "--kind", "ssh_key", "--target", "*", "--file", file).code)
	require.Equal(t, 1, cli(t, a.env(), "", "credentials", "add", "none", "--kind", "llm_key", "--target", "*").code)
	got = cli(t, a.env(), "x", "credentials", "add", "taken", "--kind", "llm_key", "--target", "*")
	require.Equal(t, 1, got.code)
	require.Equal(t, "akmatori: that name is taken (409)\n", got.err)
	require.Equal(t, map[string]any{"name": "prod", "kind": "alertmanager", "enabled": true, "webhook_url": "http://h/webhook/alert/1", "secret": nil}, a.posted[0])
	require.Equal(t, map[string]any{"name": "root", "kind": "ssh_password", "targets": []any{"web-*", "a,b"}, "secret": "hunter22"}, a.posted[1])
	require.Equal(t, "PEM\n", a.posted[2]["secret"])

	known := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(known, []byte("# web-1:22 SSH-2.0\nweb-1 ssh-ed25519 AAAA\n[web-1]:22 ssh-rsa BBBB comment\n"), 0o600))
	got = cli(t, a.env(), "", "targets", "add", "web-1", "--address", "10.0.0.1", "--user", "ops", "--credential", "root", "--host-key", known, "--jump", "bastion", "--label", "env=prod")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, map[string]any{"name": "web-1", "kind": "ssh", "address": "10.0.0.1", "user": "ops", "credential": "root",
		"host_key": "ssh-ed25519 AAAA\nssh-rsa BBBB", "jump": "bastion", "labels": map[string]any{"env": "prod"}, "secret": nil}, a.posted[len(a.posted)-1])
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"ssh-ed25519 AAAA":                           "ssh-ed25519 AAAA",
		" ssh-ed25519 AAAA me@here\n":                "ssh-ed25519 AAAA",
		"ssh-ed25519 AAAA\necdsa-sha2-nistp256 BBBB": "ssh-ed25519 AAAA\necdsa-sha2-nistp256 BBBB",
	} {
		got, err := hostKeys(arg)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, arg := range []string{"", "/no/such/file", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA\n@cert-authority *.x ssh-rsa BBBB"} {
		_, err := hostKeys(arg)
		require.Error(t, err, arg)
	}
}

func TestAuditVerify(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	dir := t.TempDir()
	var anchors []byte
	for _, chain := range []string{"api", "gateway"} {
		key := ops.NewAuditKey(chain)
		a.auditKeys = a.auditKeys.With(key.Public())
		var prev []byte
		for n := range int64(7) {
			r := ops.AuditRecord{Chain: chain, At: time.Now(), Actor: "system", Action: "x", Outcome: "ok"}
			r.Link(n+1, prev)
			key.Sign(&r, n+1)
			prev = r.Hash
			a.audit[chain] = append(a.audit[chain], r)
		}
		line, err := json.Marshal(map[string]any{"msg": "audit head", "audit_head": a.audit[chain][5].Head()})
		require.NoError(t, err)
		anchors = append(append(append(anchors, "mcp-gateway-1  | "...), line...), "\nnot JSON \"audit_head\"\n{\"audit_head\":{\n"...)
	}
	keys := filepath.Join(dir, "keys")
	require.NoError(t, os.WriteFile(keys, []byte(a.auditKeys.String()), 0o600))
	kept := filepath.Join(dir, "anchors")
	require.NoError(t, os.WriteFile(kept, anchors, 0o600))

	got := cli(t, a.env(), "", "audit", "verify")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "Give --keys to be sure")
	require.Regexp(t, `^api: 7 records, unbroken, head [0-9a-f]{64}; whether it was cut at its end is not known without anchors
gateway: 7 records, unbroken, head [0-9a-f]{64}; whether it was cut at its end is not known without anchors
proxy: 0 records, unbroken, head none\n$`, got.out)
	got = cli(t, a.env(), "", "audit", "verify", "--keys", keys, "--anchors", kept)
	require.Equal(t, 0, got.code, got.err)
	require.Empty(t, got.err)
	require.Regexp(t, `(?m)^gateway: 7 records, unbroken, head [0-9a-f]{64}; anchored to record 6$`, got.out)

	foreign := filepath.Join(dir, "foreign")
	require.NoError(t, os.WriteFile(foreign, []byte(ops.NewAuditKey("api").Public().String()), 0o600))
	got = cli(t, a.env(), "", "audit", "verify", "--keys", foreign)
	require.Equal(t, exitBroken, got.code)
	require.Contains(t, got.err, "not trusted")
	got = cli(t, a.env(), "", "audit", "verify", "--keys", foreign, "--anchors", kept)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.err, "signed by none of the keys")
	require.Equal(t, 1, cli(t, a.env(), "", "audit", "verify", "--keys", keys, "--anchors", keys).code, "there is none in it")

	for name, tt := range map[string]struct {
		change func([]ops.AuditRecord) []ops.AuditRecord
		want   string
	}{
		"edited":        {func(r []ops.AuditRecord) []ops.AuditRecord { r[4].Actor = "me"; return r }, "record 5: its content"},
		"removed":       {func(r []ops.AuditRecord) []ops.AuditRecord { return append(r[:2], r[3:]...) }, "record 3: the next record has number 4"},
		"another chain": {func(r []ops.AuditRecord) []ops.AuditRecord { r[1].Chain = "api"; return r }, "record 2: it belongs to another chain"},
		"cut off":       {func(r []ops.AuditRecord) []ops.AuditRecord { return r[:5] }, "record 6: it is missing"},
		"not signed": {func(r []ops.AuditRecord) []ops.AuditRecord {
			r[2].First, r[2].Key, r[2].Signature = 0, "", nil
			return r
		}, "record 3: nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newAPI(t)
			b.audit["api"], b.auditKeys = a.audit["api"], a.auditKeys
			b.audit["gateway"] = tt.change(append([]ops.AuditRecord{}, a.audit["gateway"]...))
			got := cli(t, b.env(), "", "audit", "verify", "--anchors", kept)
			require.Equal(t, exitBroken, got.code)
			require.Contains(t, got.err, "audit chain gateway is broken at "+tt.want)
			require.Contains(t, got.out, "api: 7 records, unbroken")
			got = cli(t, b.env(), "", "audit", "verify", "--json", "--chain", "gateway", "--anchors", kept)
			require.Equal(t, exitBroken, got.code)
			var results []verified
			require.NoError(t, json.Unmarshal([]byte(got.out), &results))
			require.NotEmpty(t, results[0].Error)
			require.Contains(t, tt.want, fmt.Sprintf("record %d:", results[0].BrokenAt))
		})
	}
}

func TestServersThatAreNoAPI(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		code   int
		want   string
	}{
		"a page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 1, "not the Akmatori API"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		}, 1, "Found (302)"},
		"a proxy":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, 1, "Bad Gateway (502)"},
		"hostile":    {func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, "no\x1b[2J\nno") }, 1, "no␛[2J; no (403)"},
		"signed out": {func(w http.ResponseWriter, _ *http.Request) { problem(w, 401, "sign in first") }, exitSignedOut, "sign in first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(tt.answer)
			t.Cleanup(s.Close)
			got := cli(t, map[string]string{envURL: s.URL, envToken: goodToken}, "", "sources")
			require.Equal(t, tt.code, got.code)
			require.Contains(t, got.err, tt.want)
		})
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.StartTLS()
	t.Cleanup(s.Close)
	got := cli(t, map[string]string{envURL: s.URL, envToken: goodToken}, "", "sources")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.err, "certificate")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		code int
	}{
		{nil, 0},
		{[]string{"--help"}, 0},
		{[]string{"incident", "--help"}, 0},
		{[]string{"nonsense"}, exitUsage},
		{[]string{"incident"}, exitUsage},
		{[]string{"incidents", "--severity", "bad"}, exitUsage},
		{[]string{"incidents", "--limit", "-1"}, exitUsage},
		{[]string{"login", "ftp://x", "-u", "a"}, exitUsage},
		{[]string{"login", "http://127.0.0.1:1", "--password-stdin"}, exitUsage},
	} {
		require.Equal(t, tt.code, cli(t, nil, "", tt.args...).code, tt.args)
	}
}

func FuzzInert(f *testing.F) {
	f.Add("a\x1b[31mb\r\n\u202ec\u200bd\x9be\xff")
	f.Fuzz(func(t *testing.T, s string) {
		out := inert(s)
		require.NotContains(t, out, "\x1b")
		require.False(t, strings.ContainsFunc(out, dangerous))
		require.NotContains(t, inertLine(s), "\n")
	})
}

func FuzzReadEvents(f *testing.F) {
	f.Add("id: 1\ndata: {}\n\n: c\n\ndata:a\ndata: b\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		err := readEvents(strings.NewReader(s), func() {}, func(data []byte) error {
			if len(data) == 0 {
				return errors.New("an empty event")
			}
			return nil
		})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
}

func TestCase(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	got := cli(t, a.env(), "", "case", "7")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "name: incident-7-newest\n")
	require.NotContains(t, got.out, "\x1b")
	file := filepath.Join(t.TempDir(), "case.yaml")
	for _, want := range []int{0, 1} { // nothing is written over
		got = cli(t, a.env(), "", "case", "7", "--run", "r1", "-o", file)
		require.Equal(t, want, got.code, got.err)
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), "name: incident-7-r1\n")
}

// eval hands everything on to the program beside it, whose exit code it has.
func TestEval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want []string }{
		{[]string{"eval", "--only", "disk*", "cases"}, []string{"eval", "--only", "disk*", "cases"}},
		{[]string{"eval", "cases", "--json"}, []string{"eval", "cases", "--json"}},
		{[]string{"--json", "eval", "cases"}, []string{"eval", "cases", "--json"}},
		{[]string{"eval"}, []string{"eval"}},
	} {
		var handed []string
		w := &world{stdout: io.Discard, stderr: io.Discard, dev: func(_ context.Context, args ...string) error {
			handed = args
			return &exitError{1, errors.New("not all passed")}
		}}
		require.Equal(t, 1, run(t.Context(), w, c.args))
		require.Equal(t, c.want, handed)
	}
	require.ErrorContains(t, runDeveloper(t.Context(), "eval"), "make build") // there is none beside a test
}
