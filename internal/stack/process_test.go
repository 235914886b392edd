package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// binaries builds the four processes once a test binary; TestMain removes them.
var binaries = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "build", "-o", binDir+"/", "../../cmd/api", "../../cmd/agent", "../../cmd/mcp", "../../cmd/proxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binDir, nil
})

// binDir is set by TestMain alone.
var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "akmatori-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// cluster is the product as it runs in production, one operating system process
// for each part, with a scripted model and a host that counts what it executes.
type cluster struct {
	t        testing.TB
	bin, dir string
	url      string // of the api
	db       *postgres.DB
	pg       *pgtest.DB
	state    *stack.State
	admin    stack.Admin
	procs    map[string]*proc
	secrets  []ops.Secret // that must show up nowhere

	mu       sync.Mutex
	execs    map[string]int              // command to how often the host ran it
	turns    map[int]int                 // turn to how often the model was asked for it
	onExec   map[string]func()           // called once, before the command runs
	onTurn   map[int]func()              // called once, before the model answers
	onAsked  func(turn int, body []byte) // called before each answer of the model, if it is set
	source   string
	webhook  ops.Secret
	modelKey ops.Secret // of the vendor
}

// proc is one process that can be killed and started again.
type proc struct {
	c    *cluster
	name string
	env  []string
	ops  string // address of the operations listener
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// newCluster prepares a cluster with a host that counts what it executes.
func newCluster(t *testing.T, scenario string) *cluster {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", scenario))
	require.NoError(t, err)
	c := prepare(t, string(data))
	c.demoHost()
	return c
}

// prepare makes a cluster without managed hosts. Nothing runs yet.
func prepare(t testing.TB, scenario string) *cluster {
	t.Helper()
	return prepareOn(t, pgtest.New(t), scenario)
}

// prepareOn is prepare with a given database.
func prepareOn(t testing.TB, pg *pgtest.DB, scenario string) *cluster {
	t.Helper()
	bin, err := binaries()
	require.NoError(t, err)
	c := &cluster{t: t, bin: bin, dir: t.TempDir(), pg: pg, procs: map[string]*proc{},
		execs: map[string]int{}, turns: map[int]int{}, onExec: map[string]func(){}, onTurn: map[int]func(){},
		webhook: ops.NewToken(ops.WebhookTokenPrefix)}
	c.state, err = stack.LoadState(filepath.Join(c.dir, "state"))
	require.NoError(t, err)
	c.db, err = postgres.Open(t.Context(), postgres.Config{URL: c.pg.API, App: "test"})
	require.NoError(t, err)
	t.Cleanup(c.db.Close)
	c.vendor(scenario)

	public, agents := freePort(t), freePort(t)
	gateway, proxy := freePort(t), freePort(t)
	c.url = "http://" + public
	c.add("api", "AKMATORI_PUBLIC_LISTEN="+public, "AKMATORI_AGENT_LISTEN="+agents, "AKMATORI_PUBLIC_URL="+c.url,
		"AKMATORI_DATABASE_URL="+c.pg.API.Reveal(), "AKMATORI_WORKER_TOKEN="+c.state.WorkerToken.Reveal(),
		"AKMATORI_TOOLS_PUBLIC_KEY="+c.state.ToolsPublic, "AKMATORI_EGRESS_PUBLIC_KEY="+c.state.EgressPublic, "AKMATORI_API_KEY="+c.state.APIKey.Reveal(),
		"AKMATORI_AUDIT_KEY="+c.state.AuditKeys["api"].Reveal(), "AKMATORI_AUDIT_PUBLIC_KEYS="+c.state.AuditPublic.Reveal(), "AKMATORI_AUDIT_ANCHORS="+c.state.Anchors,
		"AKMATORI_GATEWAY_URL=http://"+gateway+"/mcp", "AKMATORI_PROXY_URL=http://"+proxy, "AKMATORI_LEASE=5s")
	c.add("mcp", "AKMATORI_LISTEN="+gateway, "AKMATORI_DATABASE_URL="+c.pg.Gateway.Reveal(), "AKMATORI_TOOLS_KEY="+c.state.ToolsKey.Reveal(),
		"AKMATORI_AUDIT_KEY="+c.state.AuditKeys["gateway"].Reveal(), "AKMATORI_AUDIT_ANCHORS="+c.state.Anchors)
	c.add("proxy", "AKMATORI_LISTEN="+proxy, "AKMATORI_DATABASE_URL="+c.pg.Proxy.Reveal(), "AKMATORI_EGRESS_KEY="+c.state.EgressKey.Reveal(),
		"AKMATORI_AUDIT_KEY="+c.state.AuditKeys["proxy"].Reveal(), "AKMATORI_AUDIT_ANCHORS="+c.state.Anchors)
	c.add("agent", "AKMATORI_API_URL=ws://"+agents+"/agents", "AKMATORI_WORKER_TOKEN="+c.state.WorkerToken.Reveal())
	c.secrets = append(c.secrets, c.state.WorkerToken, c.state.ToolsKey, c.state.EgressKey, c.state.APIKey, c.webhook,
		c.state.AuditKeys["api"], c.state.AuditKeys["gateway"], c.state.AuditKeys["proxy"])
	return c
}

// nextPort counts the ports that freePort has tried.
var nextPort atomic.Int64

// freePort gives an address that a process may take, lose and take again: its
// port is below those that the system hands out by itself, so that no listener
// or connection of another test gets it meanwhile.
func freePort(t testing.TB) string {
	t.Helper()
	const lowest, highest = 20_000, 32_768 // Linux hands out 32,768 and above (ip_local_port_range)
	for range highest - lowest {
		// Another run of these tests at the same time starts elsewhere.
		port := lowest + (int64(os.Getpid())*64+nextPort.Add(1))%(highest-lowest)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// vendor starts the scripted model and configures it and a source.
func (c *cluster) vendor(scenario string) {
	t := c.t
	sc, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	key := ops.NewToken("sk-test-")
	model := fake.NewVendor(sc, fake.Config{Key: key})
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c.asked(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		model.ServeHTTP(w, r)
	}))
	t.Cleanup(vendor.Close)
	c.secrets, c.modelKey = append(c.secrets, key), key
	c.source = ops.NewID()
	c.configure(config.File{
		Sources:     []config.Source{{ID: c.source, Name: "am", Kind: "alertmanager", Secret: c.webhook}},
		Credentials: []config.Credential{{Name: "model", Kind: "llm_key", Secret: key, Targets: []string{"model"}}},
		Providers: []config.Provider{{Name: "model", Kind: "openai-compatible", BaseURL: vendor.URL + "/v1", Model: "scripted", Credential: "model",
			Default: true, AllowPrivate: true}},
	})
}

func (c *cluster) configure(f config.File) {
	c.t.Helper()
	require.NoError(c.t, f.Apply(c.t.Context(), c.db, c.state.Keys()))
}

// demoHost starts a managed host that counts what it executes.
func (c *cluster) demoHost() { c.host(nil) }

// host is demoHost with what it prints, if it is not to run anything.
func (c *cluster) host(answer fake.Answer) {
	t := c.t
	hostKey, hostPublic, err := fake.NewSSHKey()
	require.NoError(t, err)
	login, loginPublic, err := fake.NewSSHKey()
	require.NoError(t, err)
	host, err := fake.NewSSHHost(t.Context(), fake.SSHHostConfig{Listen: "127.0.0.1:0", HostKey: hostKey, AuthorizedKey: loginPublic,
		OnExec: c.executed, Answer: answer, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = host.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	c.secrets = append(c.secrets, login)
	c.configure(config.File{
		Credentials: []config.Credential{{Name: "login", Kind: "ssh_key", Secret: login, Targets: []string{"demo-host"}}},
		Targets: []config.Target{{Name: "demo-host", Address: host.Addr().IP.String(), Port: host.Addr().Port, User: "ops",
			HostKey: hostPublic, Credential: "login"}},
	})
}

// atTurn and atExec have f called once, before the model answers that turn or
// the host runs that command.
func (c *cluster) atTurn(turn int, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onTurn[turn] = f
}

func (c *cluster) atExec(command string, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onExec[command] = f
}

// asked counts a request to the model; its turn is one more than it has had.
func (c *cluster) asked(body []byte) {
	var r struct{ Messages []struct{ Role string } }
	_ = json.Unmarshal(body, &r)
	turn := 1
	for _, m := range r.Messages {
		if m.Role == "assistant" {
			turn++
		}
	}
	c.mu.Lock()
	c.turns[turn]++
	hook := c.onTurn[turn]
	delete(c.onTurn, turn)
	c.mu.Unlock()
	if hook != nil {
		hook()
	}
	if c.onAsked != nil {
		c.onAsked(turn, body)
	}
}

// executed counts a command of the host.
func (c *cluster) executed(command string) {
	c.mu.Lock()
	c.execs[command]++
	hook := c.onExec[command]
	delete(c.onExec, command)
	c.mu.Unlock()
	if hook != nil {
		hook()
	}
}

func (c *cluster) add(name string, env ...string) {
	p := &proc{c: c, name: name, ops: freePort(c.t), log: filepath.Join(c.dir, name+".log")}
	p.env = append(env, "AKMATORI_OPS_LISTEN="+p.ops, "AKMATORI_LOG_LEVEL=debug")
	c.procs[name] = p
}

// start starts the process and waits until it is ready.
func (p *proc) start() {
	t := p.c.t
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	program, _, _ := strings.Cut(p.name, "-") // agent-2 is another agent
	p.cmd = exec.Command(filepath.Join(p.c.bin, program))
	p.cmd.Env, p.cmd.Stderr, p.cmd.Stdout = p.env, log, log
	require.NoError(t, p.cmd.Start())
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { defer close(done); _ = cmd.Wait() }(p.cmd, p.done)
	t.Cleanup(p.kill)
	if program != "agent" { // an agent is ready when it has reached the api
		p.ready()
	}
}

func (p *proc) ready() {
	p.c.t.Helper()
	require.Eventually(p.c.t, func() bool {
		resp, err := http.Get("http://" + p.ops + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "%s is not ready", p.name)
}

// kill is kill -9.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, name := range []string{"mcp", "proxy", "api", "agent"} {
		c.procs[name].start()
	}
	var err error
	c.admin, err = stack.MakeAdmin(c.t.Context(), c.url, c.db, c.state)
	require.NoError(c.t, err)
	c.secrets = append(c.secrets, c.admin.Password, c.admin.Token)
}

// alert posts one alert of the kind Alertmanager sends, and wants a 202.
func (c *cluster) alert(name, status string, startsAt time.Time) {
	c.t.Helper()
	require.Equal(c.t, http.StatusAccepted, c.post(name, status, startsAt, c.webhook))
}

func (c *cluster) post(name, status string, startsAt time.Time, secret ops.Secret) int {
	c.t.Helper()
	ends := "0001-01-01T00:00:00Z"
	if status == "resolved" {
		ends = time.Now().UTC().Format(time.RFC3339Nano)
	}
	labels := map[string]string{"alertname": name, "instance": "demo-host", "severity": "critical"}
	body, err := json.Marshal(map[string]any{"version": "4", "status": status, "receiver": "akmatori", "groupKey": "{}:{alertname=\"" + name + "\"}",
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": map[string]string{}, "externalURL": "http://127.0.0.1:9093",
		"alerts": []any{map[string]any{"status": status, "labels": labels, "annotations": map[string]string{"summary": name + " on demo-host"},
			"startsAt": startsAt.Format(time.RFC3339Nano), "endsAt": ends, "fingerprint": fmt.Sprintf("%016x", len(name))}}})
	require.NoError(c.t, err)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/webhook/alert/"+c.source, bytes.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+secret.Reveal())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// get reads a path of the API as the admin.
func (c *cluster) get(path string) []byte {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url+path, nil)
	require.NoError(c.t, err)
	req.Header.Set("Authorization", "Bearer "+c.admin.Token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, resp.StatusCode, "%s: %s", path, body)
	return body
}

// incident gives the only incident.
func (c *cluster) incident() ops.Incident {
	c.t.Helper()
	incidents, err := c.db.Incidents(c.t.Context(), postgres.IncidentFilter{})
	require.NoError(c.t, err)
	require.Len(c.t, incidents, 1)
	return incidents[0]
}

// concluded waits until the only incident's investigation has ended, well.
func (c *cluster) concluded() ops.Incident {
	c.t.Helper()
	var i ops.Incident
	require.Eventually(c.t, func() bool {
		i = c.incident()
		return i.Investigation.Final()
	}, 90*time.Second, 50*time.Millisecond, "the investigation does not end")
	if i.Investigation != ops.RunConcluded {
		c.t.Errorf("the investigation ended %s: %s", i.Investigation, i.InvestigationReason)
		c.dumpLogs()
	}
	return i
}

func (c *cluster) dumpLogs() {
	for name, p := range c.procs {
		data, _ := os.ReadFile(p.log)
		if len(data) > 8<<10 {
			data = data[len(data)-8<<10:]
		}
		c.t.Logf("%s:\n%s", name, data)
	}
}

// timeline counts what is in the timeline of an incident, turns and results each
// by themselves, and checks that its numbers have no holes.
func (c *cluster) timeline(i ops.Incident) (seen map[string]int, events []ops.Event) {
	t := c.t
	t.Helper()
	events, err := c.db.Events(t.Context(), i.ID, 0, 10_000)
	require.NoError(t, err)
	seen = map[string]int{}
	runSeq := int64(0)
	for n, e := range events {
		require.Equal(t, int64(n+1), e.Seq)
		if e.RunSeq != 0 {
			runSeq++
			require.Equal(t, runSeq, e.RunSeq, "events of the run of %s", i.Title)
		}
		what := string(e.Kind)
		switch e.Kind {
		case ops.EventMessage:
			var m ops.Message
			require.NoError(t, json.Unmarshal(e.Data, &m))
			what = fmt.Sprint("turn ", m.Turn)
		case ops.EventToolResult:
			var r ops.ToolResult
			require.NoError(t, json.Unmarshal(e.Data, &r))
			what = "result " + r.ID
		}
		seen[what]++
	}
	return seen, events
}

// checkOnce says that nothing was lost and nothing doubled: timeline numbers
// without holes, each turn and each result once, each command executed once.
func (c *cluster) checkOnce(i ops.Incident) {
	t := c.t
	t.Helper()
	seen, _ := c.timeline(i)
	want := []string{"turn 1", "turn 2", "turn 3", "result c1", "result c2", "findings", "run.ended", "incident.opened", "run.queued"}
	for _, w := range want {
		require.Equal(t, 1, seen[w], "%s in the timeline", w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Equal(t, map[string]int{"df -h": 1, "uptime": 1}, c.execs, "commands that the host executed")
	for turn, n := range c.turns {
		require.LessOrEqual(t, n, 2, "turn %d was paid for too often", turn)
	}
}

// places gives everything that can be read from outside a process, by where it is.
func (c *cluster) places() map[string]string {
	t := c.t
	t.Helper()
	places := map[string]string{}
	for name, p := range c.procs {
		data, err := os.ReadFile(p.log)
		require.NoError(t, err)
		places["log of "+name] = string(data)
	}
	for table, rows := range dump(t, c.pg.Owner) {
		places["table "+table] = rows
	}
	id := c.incident().ID
	for _, path := range []string{"/api/v1/incidents", "/api/v1/incidents/" + id, "/api/v1/incidents/" + id + "/alerts", "/api/v1/incidents/" + id + "/events",
		"/api/v1/incidents/" + id + "/calls", "/api/v1/incidents/" + id + "/findings", "/api/v1/incidents/" + id + "/runs", "/api/v1/sources",
		"/api/v1/credentials", "/api/v1/targets", "/api/v1/llm-providers", "/api/v1/tokens", "/api/v1/audit/chains/api?limit=1000", "/api/v1/audit/chains/gateway?limit=1000",
		"/api/v1/audit/chains/proxy?limit=1000", "/api/v1/audit/chains", "/api/v1/audit/export", "/openapi.json"} {
		places["answer to "+path] = string(c.get(path))
	}
	for name, p := range c.procs {
		resp, err := http.Get("http://" + p.ops + "/metrics")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		places["metrics of "+name] = string(data)
	}
	return places
}

// pieces gives the lines of a secret that are long enough to be one.
func pieces(s ops.Secret) []string {
	var out []string
	for _, line := range strings.Split(s.Reveal(), "\n") {
		if len(line) >= 20 && !strings.HasPrefix(line, "-----") {
			out = append(out, line)
		}
	}
	return out
}

// calm switches the storm mode of all sources off: each group has its own incident.
func (c *cluster) calm() {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.pg.Owner.Reveal())
	require.NoError(c.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(c.t.Context(), `UPDATE sources SET options = options || '{"storm_incidents_per_minute": -1}'`)
	require.NoError(c.t, err)
}
