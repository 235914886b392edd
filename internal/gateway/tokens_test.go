package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/stretchr/testify/require"
)

// issue makes a token as the api would, for a client with these rules, and
// connects with it.
func (w *world) issue(rules, tools, targets []string) (postgres.GatewayToken, ops.Secret, *client.Client) {
	w.t.Helper()
	agent := "a" + ops.NewID()
	require.NoError(w.t, w.api.PutAgent(w.t.Context(), ops.AgentDef{ID: agent, Rules: rules}))
	if _, err := w.api.UserByName(w.t.Context(), "ann"); err != nil {
		w.person("ann")
	}
	secret, now := ops.NewToken(ops.ClientTokenPrefix), time.Now()
	token := postgres.GatewayToken{ID: ops.NewID(), Name: "ide", Actor: "user:ann", Agent: agent, Tools: tools, Targets: targets,
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), Hash: ops.HashToken(secret)}
	require.NoError(w.t, w.api.CreateGatewayToken(w.t.Context(), token))
	return token, secret, run{w: w, token: secret}.client(w.gateway)
}

// audits gives the gateway's audit records, after checking the chain.
func (w *world) audits() []ops.AuditRecord {
	w.t.Helper()
	all, err := w.api.Audit(w.t.Context(), "gateway", 0, 1000)
	require.NoError(w.t, err)
	_, err = ops.VerifyChain(nil, all)
	require.NoError(w.t, err)
	return all
}

// tokenAudits gives the gateway's audit records of a token's calls.
func (w *world) tokenAudits(id string) (mine []ops.AuditRecord) {
	w.t.Helper()
	for _, a := range w.audits() {
		if a.Detail["token"] == id {
			mine = append(mine, a)
		}
	}
	return mine
}

func tools(t testing.TB, c *client.Client) (names []string) {
	t.Helper()
	list, err := c.ListTools(t.Context(), mcp.ListToolsRequest{})
	require.NoError(t, err)
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// TestIssuedTokens: a client with a token of its own, under an agent's rules
// and what the token is for.
//
// threats: J2
func TestIssuedTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("db-1", s)
	w.host("web-1", s)
	rules := []string{"deny:ssh_execute(rm *)", "allow:ssh_execute(echo *)", "allow:ssh_execute(id)", "allow:ssh_hosts"}
	token, _, c := w.issue(rules, []string{"ssh_execute(echo *)", "ssh_execute(rm *)", "ssh_hosts"}, []string{"db-*"})

	require.Equal(t, []string{"ssh_execute", "ssh_hosts"}, tools(t, c))
	require.Equal(t, "db-1 env=test\n", call(t, c, "", "ssh_hosts", args{}).Text)
	got := call(t, c, "c1", "ssh_execute", args{"target": "db-1", "command": "echo a"})
	require.Equal(t, "a\n", got.Text)
	// Once, as for a run.
	require.Equal(t, got, call(t, c, "c1", "ssh_execute", args{"target": "db-1", "command": "echo a"}))
	require.Contains(t, call(t, c, "c1", "ssh_execute", args{"target": "db-1", "command": "echo b"}).Text, "other arguments")
	for _, refused := range []struct{ target, command, want string }{
		{"db-1", "id", "not what this token is for"},
		{"db-1", "echo a; id", "not what this token is for"},
		{"db-1", "echo $(id)", "not what this token is for"},
		{"db-1", "rm x", "denied by the rules of this agent"},
		{"db-1", "reboot", "the platform forbids it"},
	} {
		got := call(t, c, "", "ssh_execute", args{"target": refused.target, "command": refused.command})
		require.Equal(t, ops.CallDenied, got.State, refused.command)
		require.Contains(t, got.Text, refused.want)
	}
	// A target that it does not reach is as one that is not there.
	hidden := call(t, c, "", "ssh_execute", args{"target": "web-1", "command": "echo a"})
	missing := call(t, c, "", "ssh_execute", args{"target": "web-9", "command": "echo a"})
	require.Equal(t, strings.ReplaceAll(missing.Text, "web-9", "web-1"), hidden.Text)

	calls, err := w.api.TokenCalls(t.Context(), token.ID)
	require.NoError(t, err)
	require.Len(t, calls, 9)
	first := calls[len(calls)-2]
	require.Equal(t, "c1", first.ID)
	require.Equal(t, token.ID, first.TokenID)
	require.Empty(t, first.RunID)
	require.Equal(t, "allow:ssh_execute(echo *)", first.Rule)
	require.Equal(t, "a\n", first.Result.Text)
	audits := w.tokenAudits(token.ID)
	require.Equal(t, "user:ann token:ide", audits[0].Actor)
	require.Equal(t, []string{"tool.intent intent", "tool.outcome ok", "tool.intent intent", "tool.outcome ok", "tool.denied denied"}, actions(audits)[:5])
	listed, err := w.api.GatewayTokens(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), listed[0].LastCallAt, time.Minute)

	// Another token's call of the same id is another call, and what it is not for is hidden.
	_, _, other := w.issue(rules, []string{"ssh_hosts"}, []string{"*"})
	require.Equal(t, []string{"ssh_hosts"}, tools(t, other))
	require.Equal(t, "db-1 env=test\nweb-1 env=test\n", call(t, other, "c1", "ssh_hosts", args{}).Text)
	_, err = other.CallTool(t.Context(), request("", "ssh_execute", args{"target": "db-1", "command": "echo a"}, nil))
	require.Error(t, err)
}

// TestTokenEnds: a token that is revoked or over is useless at once, and what
// runs with it is stopped.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	s.Script(s.Dir+"/wait.sh", "echo begun; exec sleep 60")
	for name, end := range map[string]func(id string){
		"revoked": func(id string) { require.NoError(t, w.api.RevokeGatewayToken(t.Context(), id)) },
		"over": func(id string) {
			_, err := w.owner().Pool().Exec(t.Context(), `UPDATE gateway_tokens SET expires_at = now() WHERE id = $1`, id)
			require.NoError(t, err)
		},
	} {
		token, _, c := w.issue([]string{script(s, "wait.sh"), "allow:ssh_hosts"}, []string{"*"}, []string{"*"})
		begun := make(chan struct{}, 100)
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
		end(token.ID)
		ended := time.Now()
		_, err := c.CallTool(t.Context(), request("", "ssh_hosts", args{}, nil))
		require.ErrorIs(t, err, transport.ErrAuthorizationRequired, name)
		got := receive(t, done)
		require.Less(t, time.Since(ended), 2*time.Second, name)
		require.Equal(t, ops.CallFailed, got.State, name)
		require.Contains(t, got.Text, "its run or token has ended", name)
		require.Equal(t, ops.CodeNotFound, ops.CodeOf(w.api.RevokeGatewayToken(t.Context(), token.ID)), name)
	}
}

// TestCancel: a client that cancels its request stops the command, and nobody else's.
//
// threats: K6
func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("demo", s)
	s.Script(s.Dir+"/wait.sh", "echo begun; exec sleep $1")
	rules := []string{script(s, "wait.sh")}
	_, mine, _ := w.issue(rules, []string{"*"}, []string{"*"})
	_, other, _ := w.issue(rules, []string{"*"}, []string{"*"})
	post := func(token ops.Secret, body string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.gateway.URL()+"/mcp", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		out, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return string(out)
	}
	start := func(token ops.Secret, id, seconds, meta string) chan string {
		done := make(chan string, 1)
		go func() {
			done <- post(token, `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"ssh_execute","arguments":{"target":"demo","command":"/bin/sh `+
				s.Dir+`/wait.sh `+seconds+`"}`+meta+`}}`)
		}()
		return done
	}
	cancelled, theirs := start(mine, `7`, "60", ""), start(other, `7`, "2", "")
	named := start(mine, `"8"`, "2", `,"_meta":{"akmatori/call":"c1"}`)
	require.Eventually(t, func() bool {
		n := 0
		for _, a := range w.audits() {
			if a.Action == "tool.intent" {
				n++
			}
		}
		return n == 3
	}, 20*time.Second, 10*time.Millisecond)
	for _, id := range []string{`"7"`, `9`, `"8"`, `null`, `7`} {
		require.Empty(t, post(mine, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+id+`}}`))
	}
	require.Contains(t, receive(t, cancelled), "the client cancelled it")
	require.Contains(t, receive(t, theirs), `"state":"done"`)
	require.Contains(t, receive(t, named), `"state":"done"`)
}

// TestServiceTokens: a part of the api that uses one tool on one target.
func TestServiceTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host("demo", sshtest.New(t))
	secret, err := w.api.MintServiceToken(t.Context(), postgres.ServiceToken{Service: "reconcile", Tools: []string{"ssh_execute(uptime)"},
		Targets: []string{"demo"}, Life: time.Minute})
	require.NoError(t, err)
	c := run{w: w, token: secret}.client(w.gateway)
	require.Equal(t, []string{"ssh_execute"}, tools(t, c))
	require.Equal(t, ops.CallDone, call(t, c, "", "ssh_execute", args{"target": "demo", "command": "uptime"}).State)
	require.Equal(t, ops.CallDenied, call(t, c, "", "ssh_execute", args{"target": "demo", "command": "id"}).State)
	listed, err := w.api.GatewayTokens(t.Context())
	require.NoError(t, err)
	require.Len(t, listed, 1)
	audits := w.tokenAudits(listed[0].ID)
	require.Equal(t, "service:reconcile token:reconcile", audits[0].Actor)
	require.Equal(t, "allow:ssh_execute(uptime)", audits[0].Detail["rule"])
	minted, err := w.api.Audit(t.Context(), "api", 0, 10)
	require.NoError(t, err)
	require.Equal(t, "gateway_token.created", minted[0].Action)

	// The table knows the limits, whoever writes.
	_, err = w.api.MintServiceToken(t.Context(), postgres.ServiceToken{Service: "reconcile", Tools: []string{"*"}, Targets: []string{"*"}, Life: 2 * time.Hour})
	require.Error(t, err)
	require.Error(t, w.api.CreateGatewayToken(t.Context(), postgres.GatewayToken{ID: ops.NewID(), Actor: "user:ann", Tools: []string{"*"}, Targets: []string{"*"},
		CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Hash: []byte("x")}), "a user's token without an agent")

	// Old ones go, with their calls.
	_, err = w.owner().Pool().Exec(t.Context(), `UPDATE gateway_tokens SET created_at = now() - interval '9 days', expires_at = now() - interval '9 days' + interval '1 minute'`)
	require.NoError(t, err)
	_, err = w.api.MintServiceToken(t.Context(), postgres.ServiceToken{Service: "reconcile", Tools: []string{"*"}, Targets: []string{"*"}, Life: time.Hour})
	require.NoError(t, err)
	calls, err := w.api.TokenCalls(t.Context(), listed[0].ID)
	require.NoError(t, err)
	require.Empty(t, calls)
}
