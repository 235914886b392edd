package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/gateway"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/testlog"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

// world is a gateway with its database, and the api's view of it.
type world struct {
	t    testing.TB
	urls *pgtest.DB
	api  *postgres.DB
	keys ops.Secret
	// auditKey is of the chain of this gateway, and of all that are started.
	auditKey ops.AuditKey
	public   seal.PublicKey
	gateway  *gateway.Gateway
	stop     func() // ends the gateway and waits
	log      *testlog.Log
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, pgtest.New(t))
}

// newWorldOn is newWorld on a database of the caller's.
func newWorldOn(t testing.TB, db *pgtest.DB) *world {
	t.Helper()
	w := &world{t: t, urls: db, log: &testlog.Log{}, auditKey: ops.NewAuditKey("gateway")}
	api, err := postgres.Open(t.Context(), postgres.Config{URL: w.urls.API, App: "test"})
	require.NoError(t, err)
	t.Cleanup(api.Close)
	w.api = api
	private, public, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	w.public = public
	w.keys, err = private.Text()
	require.NoError(t, err)
	require.NoError(t, api.PutProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: "p", Kind: "openai", BaseURL: "http://127.0.0.1:1", Model: "m", Default: true}))
	w.gateway, w.stop = w.start()
	return w
}

// start runs one more gateway on the same database.
func (w *world) start(change ...func(*gateway.Config)) (*gateway.Gateway, func()) {
	w.t.Helper()
	conf := gateway.Config{
		Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", DatabaseURL: w.urls.Gateway, Keys: w.keys, AuditKey: w.auditKey.Text(),
		Log: slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	for _, c := range change {
		c(&conf)
	}
	g, err := gateway.New(w.t.Context(), conf)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the gateway ended: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return g, stop
}

// owner is the database as its owner.
func (w *world) owner() *postgres.DB {
	w.t.Helper()
	db, err := postgres.Open(w.t.Context(), postgres.Config{URL: w.urls.Owner})
	require.NoError(w.t, err)
	w.t.Cleanup(db.Close)
	return db
}

// host puts an SSH server into the inventory.
func (w *world) host(name string, s *sshtest.Server, change ...func(*ops.Target, *ops.Credential)) {
	w.t.Helper()
	target := s.Target(name)
	target.Credential = name + "-key"
	cred := ops.Credential{Name: target.Credential, Kind: "ssh_key", Targets: []string{name}}
	for _, c := range change {
		c(&target, &cred)
	}
	require.NoError(w.t, w.api.PutCredential(w.t.Context(), cred, func(c ops.Credential) ([]byte, error) { return w.public.Seal(c, s.Key) }))
	require.NoError(w.t, w.api.PutTarget(w.t.Context(), target))
}

// run is a running run with these rules.
type run struct {
	w     *world
	id    string
	token ops.Secret
}

func (w *world) run(rules ...string) run {
	w.t.Helper()
	agent := "a" + ops.NewID()
	require.NoError(w.t, w.api.PutAgent(w.t.Context(), ops.AgentDef{ID: agent, Rules: rules}))
	_, err := w.api.CreateIncident(w.t.Context(), postgres.NewIncident{Title: "x", Severity: ops.SeverityHigh, Agent: agent, Actor: "service:test"})
	require.NoError(w.t, err)
	token := ops.NewToken(ops.GatewayTokenPrefix)
	claimed, err := w.api.Claim(w.t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Hour, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(token), ProxyTokenHash: ops.HashToken(ops.NewToken(ops.ProxyTokenPrefix))})
	require.NoError(w.t, err)
	require.NotNil(w.t, claimed)
	return run{w, claimed.Run.ID, token}
}

// end ends the run as the api would.
func (r run) end() {
	r.w.t.Helper()
	_, err := r.w.api.Pool().Exec(r.w.t.Context(), `UPDATE runs SET state = 'cancelled', gateway_token_hash = NULL, ended_at = now() WHERE id = $1`, r.id)
	require.NoError(r.w.t, err)
}

// client is an MCP client with the run's token.
func (r run) client(g *gateway.Gateway) *client.Client {
	r.w.t.Helper()
	c, err := client.NewStreamableHttpClient(g.URL()+"/mcp", transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + r.token.Reveal()}))
	require.NoError(r.w.t, err)
	require.NoError(r.w.t, c.Start(r.w.t.Context()))
	r.w.t.Cleanup(func() { _ = c.Close() })
	_, err = c.Initialize(r.w.t.Context(), mcp.InitializeRequest{})
	require.NoError(r.w.t, err)
	return c
}

type args = map[string]any

func request(id, name string, a any, token any) mcp.CallToolRequest {
	meta := &mcp.Meta{AdditionalFields: map[string]any{}, ProgressToken: token}
	if id != "" {
		meta.AdditionalFields[gateway.CallIDKey] = id
	}
	return mcp.CallToolRequest{Params: mcp.CallToolParams{Name: name, Arguments: a, Meta: meta}}
}

// call makes one call and gives the result as the agent reads it.
func call(t testing.TB, c *client.Client, id, name string, a any) ops.ToolResult {
	t.Helper()
	res, err := c.CallTool(t.Context(), request(id, name, a, nil))
	require.NoError(t, err)
	return result(t, res)
}

func result(t testing.TB, res *mcp.CallToolResult) ops.ToolResult {
	t.Helper()
	raw, err := json.Marshal(res.StructuredContent)
	require.NoError(t, err)
	var r ops.ToolResult
	require.NoError(t, json.Unmarshal(raw, &r))
	require.Len(t, res.Content, 1)
	text, ok := res.Content[0].(mcp.TextContent)
	require.True(t, ok)
	require.Equal(t, r.Text, text.Text)
	require.Equal(t, r.State != ops.CallDone, res.IsError)
	return r
}

// script is the rule that allows a shell script of the test's.
func script(s *sshtest.Server, name string) string {
	return "allow:ssh_execute(/bin/sh " + s.Dir + "/" + name + " *)"
}

// receive is for channels that a failure elsewhere would leave empty.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// audits gives the gateway's audit records of a run, after checking the chain.
func (r run) audits() (mine []ops.AuditRecord) {
	r.w.t.Helper()
	for _, a := range r.w.audits() {
		if a.RunID == r.id {
			mine = append(mine, a)
		}
	}
	return mine
}

func actions(records []ops.AuditRecord) (all []string) {
	for _, r := range records {
		all = append(all, r.Action+" "+r.Outcome)
	}
	return all
}

func TestCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	r := w.run("deny:ssh_execute(rm *)", "allow:ssh_execute(echo *)", "allow:ssh_execute(sh *)", "allow:ssh_execute(cat *)", "allow:ssh_execute(exit *)", "allow:ssh_hosts")
	c := r.client(w.gateway)

	require.Subset(t, tools(t, c), []string{"ssh_execute", "ssh_hosts", "zabbix_problems"})

	require.Equal(t, "demo env=test\n", call(t, c, "c1", "ssh_hosts", args{}).Text)
	got := call(t, c, "c2", "ssh_execute", args{"target": "demo", "command": "echo  'a b'   # comment"})
	require.Equal(t, ops.CallDone, got.State)
	require.Equal(t, "a b\n", got.Text)
	require.Equal(t, 0, *got.ExitCode)
	require.Equal(t, "demo", got.Target)
	require.Positive(t, got.Duration)
	got = call(t, c, "c3", "ssh_execute", args{"target": "demo", "command": "exit 3"})
	require.Equal(t, ops.CallDone, got.State)
	require.Equal(t, 3, *got.ExitCode)

	for i, refused := range []struct {
		args any
		want string
	}{
		{args{"target": "demo", "command": "rm -rf /tmp/x"}, "denied by the rules of this agent"},
		{args{"target": "demo", "command": "echo x; rm x"}, "deny:ssh_execute(rm *)"},
		{args{"target": "demo", "command": "shutdown -h now"}, "the platform forbids it"},
		{args{"target": "demo", "command": "sh -c reboot"}, "the platform forbids it"},
		{args{"target": "demo", "command": "echo \x00"}, "control character"},
		{args{"target": "nope", "command": "echo x"}, "no ssh target"},
		{args{"target": "127.0.0.1", "command": "echo x"}, "no ssh target"},
		{args{"target": "demo"}, "command is missing"},
		{args{"target": "demo", "command": "echo x", "user": "root"}, `no argument "user"`},
		{args{"target": "demo", "command": 5}, "must be a string"},
		{json.RawMessage(`{"target":"demo","target":"demo","command":"echo x"}`), "given twice"},
	} {
		id := fmt.Sprintf("r%d", i)
		req := request(id, "ssh_execute", refused.args, nil)
		if raw, ok := refused.args.(json.RawMessage); ok {
			req.Params.RawArguments = raw
		}
		res, err := c.CallTool(t.Context(), req)
		require.NoError(t, err)
		got := result(t, res)
		require.Equal(t, ops.CallDenied, got.State, "%v", refused.args)
		require.Contains(t, got.Text, refused.want)
		stored, err := w.api.Call(t.Context(), r.id, id)
		require.NoError(t, err)
		require.Equal(t, ops.CallDenied, stored.State)
		require.NotEqual(t, "allow", stored.Verdict)
	}
	// Unknown tools, and ids that are none.
	for _, name := range []string{"nope", "ssh_execute\u200b", "SSH_Execute"} {
		_, err := c.CallTool(t.Context(), request("x1", name, args{}, nil))
		require.Error(t, err, name)
	}
	for _, id := range []string{"a b", strings.Repeat("x", 65), "a;b", "../x"} {
		require.Contains(t, call(t, c, id, "ssh_hosts", args{}).Text, "must match")
	}

	stored, err := w.api.Call(t.Context(), r.id, "c2")
	require.NoError(t, err)
	require.Equal(t, ops.CallDone, stored.State)
	require.Equal(t, "echo 'a b'", stored.Command)
	require.Equal(t, "allow:ssh_execute(echo *)", stored.Rule)
	require.Equal(t, "allow", stored.Verdict)
	require.Equal(t, "a b\n", stored.Result.Text)

	audits := r.audits()
	require.Equal(t, []string{"tool.intent intent", "tool.outcome ok", "tool.intent intent", "tool.outcome ok", "tool.intent intent", "tool.outcome ok", "tool.denied denied"}, actions(audits)[:7])
	require.Len(t, audits, 6+11+3)
	require.Equal(t, "demo-key version 1", audits[2].Detail["credential"])
	require.Equal(t, "demo", audits[2].Detail["target"])
	require.NotEmpty(t, audits[2].Detail["policy"])
	require.Equal(t, "3", audits[5].Detail["exit_code"])

	// The secret is nowhere: not in results, the database or the log.
	leak := call(t, c, "c4", "ssh_execute", args{"target": "demo", "command": "cat " + s.KeyFile})
	require.Contains(t, leak.Text, ops.Redacted)
	line := strings.Split(s.Key.Reveal(), "\n")[2]
	require.NotContains(t, leak.Text, line)
	stored, err = w.api.Call(t.Context(), r.id, "c4")
	require.NoError(t, err)
	require.NotContains(t, stored.Result.Text, line)
	require.NotContains(t, w.log.String(), line)
	require.NotContains(t, w.log.String(), r.token.Reveal())
}

// Who may speak, and how.
//
// threats: J3 J4
func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run("allow:ssh_hosts")
	post := func(change func(*http.Request), body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.gateway.URL()+"/mcp", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Authorization", "Bearer "+r.token.Reveal())
		change(req)
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	nothing := func(*http.Request) {}
	header := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	require.Equal(t, 200, post(nothing, ping))
	for name, c := range map[string]struct {
		change func(*http.Request)
		body   string
		status int
	}{
		"no token":              {func(r *http.Request) { r.Header.Del("Authorization") }, ping, 401},
		"another token":         {header("Authorization", "Bearer "+ops.NewToken(ops.GatewayTokenPrefix).Reveal()), ping, 401},
		"J3 a proxy's token":    {header("Authorization", "Bearer "+ops.NewToken(ops.ProxyTokenPrefix).Reveal()), ping, 401},
		"basic":                 {header("Authorization", "Basic eDp5"), ping, 401},
		"a scheme has no case":  {header("Authorization", "bearer "+r.token.Reveal()), ping, 200},
		"another scheme":        {header("Authorization", "Token "+r.token.Reveal()), ping, 401},
		"two tokens":            {func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }, ping, 401},
		"another origin":        {header("Origin", "https://evil.example"), ping, 403},
		"null origin":           {header("Origin", "null"), ping, 403},
		"another host":          {func(r *http.Request) { r.Host = "evil.example" }, ping, 403},
		"too large":             {nothing, `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
		"D6 batch":              {nothing, `[` + ping + `]`, 400},
		"not JSON":              {nothing, `{`, 400},
		"a response":            {nothing, `{"jsonrpc":"2.0","id":1,"result":{}}`, 400},
		"a method twice":        {nothing, `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}`, 400},
		"twice, spelled apart":  {nothing, `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/list"}`, 400},
		"an id twice":           {nothing, `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, 400},
		"a tool twice":          {nothing, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ssh_hosts","Name":"ssh_execute","arguments":{}}}`, 400},
		"a call's id twice":     {nothing, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ssh_hosts","_meta":{"akmatori/call":"a","akmatori/call":"b"}}}`, 400},
		"params twice":          {nothing, `{"jsonrpc":"2.0","id":1,"method":"tools/call","Params":{"name":"ssh_hosts"},"params":{"name":"ssh_execute"}}`, 400},
		"get":                   {func(r *http.Request) { r.Method = http.MethodGet }, "", 405},
		"delete":                {func(r *http.Request) { r.Method = http.MethodDelete }, "", 405},
		"cancel":                {nothing, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, 202},
		"not a method of ours":  {nothing, `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}`, 200},
		"somebody's session id": {header("Mcp-Session-Id", "x"), ping, 200},
	} {
		require.Equal(t, c.status, post(c.change, c.body), name)
	}
	r.end()
	require.Equal(t, 401, post(nothing, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ssh_hosts"}}`), "at once, what acts")
	require.Equal(t, 401, post(nothing, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), "and what shows something")
	require.Eventually(t, func() bool { return post(nothing, ping) == 401 }, 900*time.Millisecond, 20*time.Millisecond, "and soon a ping")
}

// TestHidden is D7: a tool that the rules deny is as one that is not there.
func TestHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.run("deny:ssh_execute", "deny:ssh_read_file", "deny:evidence_*", "deny:zabbix_*", "allow:*").client(w.gateway)
	require.Equal(t, []string{"ssh_hosts"}, tools(t, c))
	_, hidden := c.CallTool(t.Context(), request("c1", "ssh_execute", args{"target": "x", "command": "id"}, nil))
	_, missing := c.CallTool(t.Context(), request("c2", "ssh_nothing", args{}, nil))
	require.Equal(t, strings.ReplaceAll(missing.Error(), "ssh_nothing", "ssh_execute"), hidden.Error())

	// Rules that cannot be read allow nothing.
	broken := call(t, w.run("allow: ssh_hosts").client(w.gateway), "c1", "ssh_hosts", args{})
	require.Equal(t, ops.CallDenied, broken.State)
	require.Contains(t, broken.Text, "not valid")
}

func TestOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	file := s.Dir + "/count"
	r := w.run("allow:ssh_execute(bash "+file+".sh *)", "allow:ssh_hosts")
	s.Script(file+".sh", "echo x >> "+file+"; echo begun; sleep $1; wc -l < "+file)
	command := args{"target": "demo", "command": "bash " + file + ".sh 0.5"}
	c := r.client(w.gateway)

	// Many at once, over several connections: one act, one outcome.
	var wg sync.WaitGroup
	results := make([]ops.ToolResult, 8)
	for i := range results {
		c := r.client(w.gateway)
		wg.Go(func() {
			res, err := c.CallTool(t.Context(), request("c1", "ssh_execute", command, nil))
			if err != nil {
				t.Error(err)
				return
			}
			results[i] = result(t, res)
		})
	}
	wg.Wait()
	for _, res := range results {
		require.Equal(t, results[0], res)
		require.Equal(t, "begun\n1\n", res.Text)
	}
	// Later: the stored one.
	require.Equal(t, results[0], call(t, c, "c1", "ssh_execute", command))
	// Other arguments under the id: refused.
	other := call(t, c, "c1", "ssh_execute", args{"target": "demo", "command": "bash " + file + ".sh 0"})
	require.Equal(t, ops.CallFailed, other.State)
	require.Contains(t, other.Text, "other arguments")
	require.Contains(t, call(t, c, "c1", "ssh_hosts", args{}).Text, "other arguments")
	// Another run's call of the same id is another call.
	require.Equal(t, "begun\n2\n", call(t, w.run("allow:ssh_execute(bash "+file+".sh *)").client(w.gateway), "c1", "ssh_execute", command).Text)
	require.Equal(t, []string{"tool.intent intent", "tool.outcome ok"}, actions(r.audits()))

	// Who asks and goes away finds the result.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	begun := make(chan struct{}, 1)
	impatient := r.client(w.gateway)
	impatient.OnNotification(func(mcp.JSONRPCNotification) {
		select {
		case begun <- struct{}{}:
		default:
		}
	})
	go func() {
		defer close(gone)
		_, _ = impatient.CallTool(ctx, request("c2", "ssh_execute", command, "p"))
	}()
	receive(t, begun)
	cancel()
	receive(t, gone)
	require.Equal(t, "begun\n3\n", call(t, c, "c2", "ssh_execute", command).Text)
}

func TestLiveOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	r := w.run(script(s, "go.sh"))
	c := r.client(w.gateway)
	var mu sync.Mutex
	var live strings.Builder
	first := make(chan struct{})
	c.OnNotification(func(n mcp.JSONRPCNotification) {
		mu.Lock()
		defer mu.Unlock()
		if n.Method != "notifications/progress" || n.Params.AdditionalFields["progressToken"] != "tok" {
			t.Errorf("unexpected notification %v", n)
		}
		if live.Len() == 0 {
			close(first)
		}
		text, _ := n.Params.AdditionalFields["message"].(string)
		live.WriteString(text)
	})
	s.Script(s.Dir+"/go.sh", "echo first; while ! [ -e "+s.Dir+"/go ]; do sleep 0.02; done; for i in $(seq 500); do echo $i; done")
	done := make(chan ops.ToolResult, 1)
	go func() {
		res, err := c.CallTool(t.Context(), request("c1", "ssh_execute", args{"target": "demo", "command": "/bin/sh " + s.Dir + "/go.sh"}, "tok"))
		if err != nil {
			t.Error(err)
			close(done)
			return
		}
		done <- result(t, res)
	}()
	receive(t, first)
	require.Empty(t, done, "output comes before the result")
	s.Script(s.Dir+"/go", "")
	got := receive(t, done)
	require.True(t, strings.HasSuffix(got.Text, "\n500\n"))
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return live.String() == got.Text
	}, 5*time.Second, 10*time.Millisecond)
}

// TestRunEnds is J4 for what is under way.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	r, other := w.run(script(s, "wait.sh")), w.run(script(s, "wait.sh"))
	s.Script(s.Dir+"/wait.sh", "echo begun; exec sleep $1")
	begun := make(chan struct{}, 100)
	start := func(r run, seconds string) chan ops.ToolResult {
		done := make(chan ops.ToolResult, 1)
		c := r.client(w.gateway)
		c.OnNotification(func(mcp.JSONRPCNotification) { begun <- struct{}{} })
		go func() {
			res, err := c.CallTool(t.Context(), request("c1", "ssh_execute", args{"target": "demo", "command": "/bin/sh " + s.Dir + "/wait.sh " + seconds}, "p"))
			if err != nil {
				t.Error(err)
				close(done)
				return
			}
			done <- result(t, res)
		}()
		receive(t, begun)
		return done
	}
	mine, theirs := start(r, "60"), start(other, "3")
	r.end()
	ended := time.Now()
	got := receive(t, mine)
	require.Less(t, time.Since(ended), 2*time.Second)
	require.Equal(t, ops.CallFailed, got.State)
	require.True(t, strings.HasPrefix(got.Text, "begun\n[stopped: its run or token has ended"), got.Text)
	require.Equal(t, []string{"tool.intent intent", "tool.outcome failed"}, actions(r.audits()))
	require.Equal(t, ops.CallDone, receive(t, theirs).State)
}

// threats: J15
func TestTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	c := w.run("allow:ssh_execute").client(w.gateway)
	got := call(t, c, "c1", "ssh_execute", args{"target": "demo", "command": "sleep 60", "timeout_seconds": 1})
	require.Equal(t, ops.CallFailed, got.State)
	require.Contains(t, got.Text, "[stopped: the time is over")
	require.Nil(t, got.ExitCode)
}

// TestInventory is J12, and what else is wrong with an inventory.
//
// threats: J13
func TestInventory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	_, wrong := sshtest.Key(t, "")
	w.host("moved", s, func(t *ops.Target, _ *ops.Credential) { t.HostKey = wrong })
	w.host("other", s, func(_ *ops.Target, c *ops.Credential) { c.Targets = []string{"prod-*"} })
	w.host("bare", s, func(t *ops.Target, _ *ops.Credential) { t.Credential = "" })
	w.host("loop1", s)
	w.host("loop2", s, func(t *ops.Target, _ *ops.Credential) { t.Jump = "loop1" })
	w.host("loop1", s, func(t *ops.Target, _ *ops.Credential) { t.Jump = "loop2" })
	w.host("db-1", s, func(_ *ops.Target, c *ops.Credential) { c.Targets = []string{"db-*"} })
	w.host("behind", s, func(t *ops.Target, _ *ops.Credential) { t.Jump = "db-1" })
	// A row that was moved to another target does not open.
	_, err := w.api.Pool().Exec(t.Context(), `INSERT INTO credentials (id, name, kind, zone, targets, version, sealed)
		SELECT gen_random_uuid(), 'stolen', kind, zone, '{stolen}', version, sealed FROM credentials WHERE name = 'db-1-key'`)
	require.NoError(t, err)
	stolen := s.Target("stolen")
	stolen.Credential = "stolen"
	require.NoError(t, w.api.PutTarget(t.Context(), stolen))

	r := w.run("allow:ssh_execute")
	c := r.client(w.gateway)
	for i, tt := range []struct {
		target string
		state  ops.CallState
		text   string
	}{
		{"db-1", ops.CallDone, "x\n"},
		{"behind", ops.CallDone, "x\n"},
		{"moved", ops.CallFailed, sshtest.Fingerprint(t, wrong)},
		{"other", ops.CallDenied, "may not be used for host other"},
		{"bare", ops.CallDenied, "has no credential"},
		{"loop1", ops.CallDenied, "in a circle"},
		{"stolen", ops.CallFailed, "internal error"},
		{"127.0.0.1", ops.CallDenied, "there is no ssh target"}, // where they all are
	} {
		got := call(t, c, fmt.Sprintf("c%d", i), "ssh_execute", args{"target": tt.target, "command": "echo x"})
		require.Equal(t, tt.state, got.State, tt.target)
		require.Contains(t, got.Text, tt.text, tt.target)
	}
	moved := r.audits()[5]
	require.Equal(t, "tool.host_key_refused", moved.Action)
	require.Equal(t, sshtest.Fingerprint(t, wrong), moved.Detail["pinned"])
	require.Equal(t, sshtest.Fingerprint(t, s.HostKey), moved.Detail["offered"])
}

// TestInstances: two gateways on one database.
func TestInstances(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	second, stopSecond := w.start()
	r := w.run(script(s, "wait.sh"))
	s.Script(s.Dir+"/wait.sh", "echo begun; sleep $1")
	command := args{"target": "demo", "command": "/bin/sh " + s.Dir + "/wait.sh 1"}

	// One that works, one that waits for it.
	begun := make(chan struct{}, 10)
	c2 := r.client(second)
	c2.OnNotification(func(mcp.JSONRPCNotification) { begun <- struct{}{} })
	done := make(chan ops.ToolResult, 1)
	go func() {
		if res, err := c2.CallTool(t.Context(), request("c1", "ssh_execute", command, "p")); err == nil {
			done <- result(t, res)
		}
	}()
	receive(t, begun)
	c1 := r.client(w.gateway)
	got := call(t, c1, "c1", "ssh_execute", command)
	require.Equal(t, ops.CallDone, got.State)
	require.Equal(t, got, receive(t, done))
	stopSecond()

	// One that is gone: its call is unknown, stays so, and is not run again.
	digest := w.digest(r, "c1")
	for _, instance := range []int32{12345, 0} {
		id := fmt.Sprintf("dead%d", instance)
		gw, err := postgres.Open(t.Context(), postgres.Config{URL: w.urls.Gateway})
		require.NoError(t, err)
		raw, err := json.Marshal(command)
		require.NoError(t, err)
		_, err = gw.StartCall(t.Context(), postgres.StartCall{Instance: instance,
			Call:  ops.ToolCall{RunID: r.id, ID: id, Tool: "ssh_execute", Arguments: raw, Digest: digest, Target: "demo", Verdict: "allow"},
			Audit: ops.AuditRecord{Chain: "gateway", At: time.Now(), Actor: "run:" + r.id, Action: "tool.intent", Object: "call:" + id, RunID: r.id, Outcome: "intent"}})
		require.NoError(t, err)
		gw.Close()
		for range 2 {
			got := call(t, c1, id, "ssh_execute", command)
			require.Equal(t, ops.CallUnknown, got.State)
			require.Contains(t, got.Text, "not known")
		}
	}
	require.Equal(t, []string{"tool.intent intent", "tool.outcome ok", "tool.intent intent", "tool.outcome unknown", "tool.intent intent", "tool.outcome unknown"}, actions(r.audits()))
}

func (w *world) digest(r run, id string) []byte {
	w.t.Helper()
	c, err := w.api.Call(w.t.Context(), r.id, id)
	require.NoError(w.t, err)
	return c.Digest
}

// TestDatabaseAway: an outcome waits for the database, and nothing starts without it.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	r := w.run(script(s, "wait.sh"), "allow:ssh_execute(touch *)")
	c := r.client(w.gateway)
	s.Script(s.Dir+"/wait.sh", "echo begun; while ! [ -e "+s.Dir+"/go ]; do sleep 0.02; done; echo end")
	begun := make(chan struct{}, 10)
	c.OnNotification(func(mcp.JSONRPCNotification) { begun <- struct{}{} })
	done := make(chan ops.ToolResult, 1)
	go func() {
		res, err := c.CallTool(t.Context(), request("c1", "ssh_execute", args{"target": "demo", "command": "/bin/sh " + s.Dir + "/wait.sh"}, "p"))
		if err != nil {
			t.Error(err)
			close(done)
			return
		}
		done <- result(t, res)
	}()
	receive(t, begun)
	// The gateway's role may not write for a while: every statement of it fails.
	owner := w.owner()
	_, err := owner.Pool().Exec(t.Context(), `REVOKE INSERT ON audit FROM akmatori_gateway`)
	require.NoError(t, err)
	s.Script(s.Dir+"/go", "")
	require.Eventually(t, func() bool { return strings.Contains(w.log.String(), "not stored yet") }, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, done, "a result left before it was stored")
	// N4: no audit, no act.
	_, err = r.client(w.gateway).CallTool(t.Context(), request("c2", "ssh_execute", args{"target": "demo", "command": "touch " + s.Dir + "/acted"}, nil))
	require.Error(t, err)
	require.NoFileExists(t, s.Dir+"/acted")
	_, err = owner.Pool().Exec(t.Context(), `GRANT INSERT ON audit TO akmatori_gateway`)
	require.NoError(t, err)
	require.Equal(t, "begun\nend\n", receive(t, done).Text)
	// The same id may be tried again, and acts then.
	require.Equal(t, ops.CallDone, call(t, r.client(w.gateway), "c2", "ssh_execute", args{"target": "demo", "command": "touch " + s.Dir + "/acted"}).State)
	require.FileExists(t, s.Dir+"/acted")
}

// TestStop: what runs may end, and its outcome is stored.
func TestStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	r := w.run(script(s, "wait.sh"))
	c := r.client(w.gateway)
	begun := make(chan struct{}, 10)
	c.OnNotification(func(mcp.JSONRPCNotification) { begun <- struct{}{} })
	s.Script(s.Dir+"/wait.sh", "echo begun; sleep 1; echo end")
	go func() {
		_, _ = c.CallTool(t.Context(), request("c1", "ssh_execute", args{"target": "demo", "command": "/bin/sh " + s.Dir + "/wait.sh"}, "p"))
	}()
	receive(t, begun)
	w.stop()
	stored, err := w.api.Call(t.Context(), r.id, "c1")
	require.NoError(t, err)
	require.Equal(t, "begun\nend\n", stored.Result.Text)
	require.Equal(t, ops.CallDone, stored.State)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := gateway.Config{Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", DatabaseURL: w.urls.Gateway, Keys: w.keys, AuditKey: w.auditKey.Text(), Log: slog.New(slog.DiscardHandler)}
	_, public, err := seal.GenerateKey(ops.ZoneEgress)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*gateway.Config)
		want   string
	}{
		"no key":            {func(c *gateway.Config) { c.Keys = ops.Secret{} }, "tools key"},
		"no audit key":      {func(c *gateway.Config) { c.AuditKey = ops.Secret{} }, "no key to sign the audit of the gateway"},
		"audit key of api":  {func(c *gateway.Config) { c.AuditKey = ops.NewAuditKey("api").Text() }, "no key of chain gateway"},
		"anchors nowhere":   {func(c *gateway.Config) { c.AuditAnchors = "/nowhere" }, "heads cannot be kept"},
		"a public key":      {func(c *gateway.Config) { c.Keys = ops.NewSecret(public.String()) }, "tools key"},
		"no database":       {func(c *gateway.Config) { c.DatabaseURL = ops.NewSecret("://") }, "malformed"},
		"an occupied port":  {func(c *gateway.Config) { c.Listen = strings.TrimPrefix(w.gateway.URL(), "http://") }, "gateway listener"},
		"an occupied port2": {func(c *gateway.Config) { c.OpsListen = strings.TrimPrefix(w.gateway.URL(), "http://") }, "gateway operations listener"},
	} {
		conf := good
		c.change(&conf)
		_, err := gateway.New(t.Context(), conf)
		require.ErrorContains(t, err, c.want, name)
	}
	require.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.gateway.OpsURL()+"/readyz", nil)
		require.NoError(t, err)
		res, err := http.DefaultTransport.RoundTrip(req)
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}, 5*time.Second, 10*time.Millisecond)
}
