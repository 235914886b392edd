package gateway_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/jackc/pgx/v5"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/stretchr/testify/require"
)

// credential gives one by its name, as the api sees it.
func (w *world) credential(name string) ops.Credential {
	w.t.Helper()
	c, err := w.api.CredentialByName(w.t.Context(), name)
	require.NoError(w.t, err)
	return c
}

// TestCredentialDisabled: within a second nothing runs with it any more, no
// connection is kept, and no call begins; of the jump host's credential the same.
func TestCredentialDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, jump := sshtest.New(t), sshtest.New(t)
	w.host("gate", jump)
	w.host("demo", s, func(target *ops.Target, _ *ops.Credential) { target.Jump = "gate" })
	w.host("other", jump)
	s.Script(s.Dir+"/wait.sh", "echo begun; sleep $1; echo survived")
	jump.Script(jump.Dir+"/wait.sh", "sleep $1; echo mine is another credential")
	r := w.run("allow:ssh_execute(echo *)", script(s, "wait.sh"), script(jump, "wait.sh"))
	c := r.client(w.gateway)
	require.Equal(t, "idle\n", call(t, c, "c0", "ssh_execute", args{"target": "demo", "command": "echo idle"}).Text)

	for i, name := range []string{"demo-key", "gate-key"} {
		id, sessions := w.credential(name).ID, strings.Count(s.Log(), "Starting session")
		running := r.began(w.gateway, "r"+name, args{"target": "demo", "command": "/bin/sh " + s.Dir + "/wait.sh 60"})
		apart := r.began(w.gateway, "a"+name, args{"target": "other", "command": "/bin/sh " + jump.Dir + "/wait.sh 3"})
		require.Eventually(t, func() bool {
			select {
			case got := <-running:
				t.Fatalf("it ended: %+v", got)
			default:
			}
			return strings.Count(s.Log(), "Starting session") > sessions
		}, 10*time.Second, 10*time.Millisecond)
		began := time.Now()
		_, err := w.api.DisableCredential(t.Context(), id, true)
		require.NoError(t, err)
		got := receive(t, running)
		// The promise is a second; what a machine that does other things adds is no part of it.
		require.Less(t, time.Since(began), 5*time.Second, name)
		require.Equal(t, ops.CallFailed, got.State)
		require.Contains(t, got.Text, "[stopped: its credential was disabled")
		require.NotContains(t, got.Text, "survived")
		refused := call(t, c, "n"+name, "ssh_execute", args{"target": "demo", "command": "echo again"})
		require.Equal(t, ops.CallDenied, refused.State)
		require.Contains(t, refused.Text, "is disabled")
		require.Equal(t, "mine is another credential\n", receive(t, apart).Text)

		enabled, err := w.api.DisableCredential(t.Context(), id, false)
		require.NoError(t, err)
		require.Nil(t, enabled.DisabledAt)
		logins := strings.Count(s.Log(), "Accepted publickey")
		require.Equal(t, "again\n", call(t, c, "e"+name, "ssh_execute", args{"target": "demo", "command": "echo again"}).Text)
		require.Greater(t, strings.Count(s.Log(), "Accepted publickey"), logins, "%d: the connection from before was used", i)
	}

	// The next version is another connection, and what it seals is what logs in.
	private, public := sshtest.Key(t, "")
	rotate := func(secret ops.Secret) {
		rotated, err := w.api.RotateCredential(t.Context(), w.credential("demo-key").ID, func(c ops.Credential) ([]byte, error) { return w.public.Seal(c, secret) })
		require.NoError(t, err)
		require.NotNil(t, rotated.RotatedAt)
	}
	rotate(private)
	require.Contains(t, call(t, c, "v2", "ssh_execute", args{"target": "demo", "command": "echo x"}).Text, "refuses the login")
	s.Authorize(public)
	require.Equal(t, "x\n", call(t, c, "v3", "ssh_execute", args{"target": "demo", "command": "echo x"}).Text)
	require.Equal(t, 2, w.credential("demo-key").Version)

	// One that is removed, once no target names it any more, is withdrawn in the same way.
	sessions := strings.Count(s.Log(), "Starting session")
	running := r.began(w.gateway, "removed", args{"target": "demo", "command": "/bin/sh " + s.Dir + "/wait.sh 60"})
	require.Eventually(t, func() bool { return strings.Count(s.Log(), "Starting session") > sessions }, 10*time.Second, 10*time.Millisecond)
	way, err := w.api.Way(t.Context(), "demo", 1)
	require.NoError(t, err)
	bare := way[0].Target
	bare.Credential = ""
	require.NoError(t, w.api.UpdateTarget(t.Context(), way[0].Target, bare))
	require.NoError(t, w.api.DeleteCredential(t.Context(), w.credential("demo-key").ID))
	got := receive(t, running)
	require.Equal(t, ops.CallFailed, got.State)
	require.Contains(t, got.Text, "[stopped: its credential was disabled or removed")
	require.NotContains(t, got.Text, "survived")
	require.Contains(t, call(t, c, "bare", "ssh_execute", args{"target": "demo", "command": "echo again"}).Text, "has no credential")
}

// TestZabbixCredential: a session ends with its credential, whoever does not call
// any more.
func TestZabbixCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var logins, logouts atomic.Int32
	z := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var req struct{ Method string }
		_ = json.NewDecoder(r.Body).Decode(&req)
		var result any = []any{}
		switch req.Method {
		case "apiinfo.version":
			result = "7.0.0"
		case "user.login":
			result = fmt.Sprintf("session%d", logins.Add(1))
		case "user.logout":
			if r.Header.Get("Authorization") == fmt.Sprintf("Bearer session%d", logins.Load()) {
				logouts.Add(1)
			}
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{"jsonrpc": "2.0", "id": 1, "result": result})
	}))
	t.Cleanup(z.Close)
	seal := func(c ops.Credential) ([]byte, error) { return w.public.Seal(c, ops.NewSecret("password")) }
	target := ops.Target{ID: ops.NewID(), Name: "z", Kind: "zabbix", Credential: "z-password", User: "u"}
	require.NoError(t, target.Complete(z.URL))
	require.NoError(t, w.api.PutCredential(t.Context(), ops.Credential{Name: target.Credential, Kind: "zabbix_password", Targets: []string{"z"}}, seal))
	require.NoError(t, w.api.PutTarget(t.Context(), target))
	c, id := w.run("allow:*").client(w.gateway), w.credential(target.Credential).ID
	for i, end := range []func() error{
		func() error { _, err := w.api.DisableCredential(t.Context(), id, true); return err },
		func() error { _, err := w.api.RotateCredential(t.Context(), id, seal); return err },
		func() error {
			bare := target
			bare.Credential = ""
			require.NoError(t, w.api.UpdateTarget(t.Context(), target, bare))
			return w.api.DeleteCredential(t.Context(), id)
		},
	} {
		_, err := w.api.DisableCredential(t.Context(), id, false)
		require.NoError(t, err)
		got := call(t, c, fmt.Sprintf("c%d", i), "zabbix_problems", args{})
		require.Equal(t, ops.CallDone, got.State, got.Text)
		require.Equal(t, int32(i+1), logins.Load())
		require.Equal(t, int32(i), logouts.Load())
		began := time.Now()
		require.NoError(t, end())
		require.Eventually(t, func() bool { return logouts.Load() == int32(i+1) }, 10*time.Second, 10*time.Millisecond)
		// The promise is a second; what a machine that does other things adds is no part of it.
		require.Less(t, time.Since(began), 5*time.Second)
	}
}

// service is a client with the token of a part of the program.
func (w *world) service(tools, targets []string) *client.Client {
	w.t.Helper()
	token, err := w.api.MintServiceToken(w.t.Context(), postgres.ServiceToken{Service: "enrolment", Tools: tools, Targets: targets, Life: time.Minute})
	require.NoError(w.t, err)
	return run{w: w, token: token}.client(w.gateway)
}

// TestEnrolmentTools: the api's tools for new hosts are nobody else's, and need
// nothing of a host that nobody knows yet.
func TestEnrolmentTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, jump := sshtest.New(t), sshtest.New(t)
	w.host("gate", jump)
	w.host("new", s, func(target *ops.Target, _ *ops.Credential) { target.Jump, target.HostKey = "gate", "" })
	r := w.run("allow:*")
	require.NotContains(t, tools(t, r.client(w.gateway)), "ssh_host_keys")
	require.NotContains(t, tools(t, r.client(w.gateway)), "ssh_login")
	_, err := r.client(w.gateway).CallTool(t.Context(), request("c1", "ssh_host_keys", args{"target": "new"}, nil))
	require.Error(t, err)

	c := w.service([]string{"ssh_host_keys", "ssh_login"}, []string{"new"})
	got := call(t, c, "k1", "ssh_host_keys", args{"target": "new"})
	require.Equal(t, ops.CallDone, got.State, got.Text)
	var keys []ops.HostKey
	require.NoError(t, json.Unmarshal(got.Data, &keys))
	require.Equal(t, s.HostKey, keys[0].Key)
	require.Contains(t, jump.Log(), "Accepted publickey")
	require.NotContains(t, s.Log(), "Accepted publickey")

	login := call(t, c, "l1", "ssh_login", args{"target": "new"})
	require.Equal(t, ops.CallFailed, login.State)
	require.Contains(t, login.Text, "no host key is pinned for new")
	way, err := w.api.Way(t.Context(), "new", 1)
	require.NoError(t, err)
	target := way[0].Target
	other, elsewhere := target, target
	other.HostKey, elsewhere.Port = "ssh-ed25519 AAAA", 1
	require.Equal(t, ops.CodeConflict, ops.CodeOf(w.api.PinHostKey(t.Context(), other, keys[0].Key)))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(w.api.PinHostKey(t.Context(), elsewhere, keys[0].Key)))
	require.NoError(t, w.api.PinHostKey(t.Context(), target, keys[0].Key))
	login = call(t, c, "l2", "ssh_login", args{"target": "new"})
	require.Equal(t, ops.CallDone, login.State, login.Text)
	require.Contains(t, call(t, c, "l3", "ssh_login", args{"target": "gate"}).Text, "no ssh target")
}

// TestCanary: a host that prints the key it is logged in to with, its passphrase
// and its password, in any form that programs use, gives them to nobody: not as
// result, live, as evidence, in the audit log, in any other row, or in the log.
//
// threats: J18
func TestCanary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	private, public := sshtest.Key(t, "canary-passphrase-0001")
	s.Authorize(public)
	packed, err := json.Marshal(map[string]string{"key": private.Reveal(), "passphrase": "canary-passphrase-0001"})
	require.NoError(t, err)
	w.host("demo", s)
	_, err = w.api.RotateCredential(t.Context(), w.credential("demo-key").ID, func(c ops.Credential) ([]byte, error) {
		return w.public.Seal(c, ops.NewSecret(string(packed)))
	})
	require.NoError(t, err)
	var printed, canaries []string // as a whole, and what must not be left of it
	for _, secret := range append(strings.Split(private.Reveal(), "\n")[1:4], "canary-passphrase-0001") {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret))} {
			printed, canaries = append(printed, form), append(canaries, form[:20])
		}
	}
	// The file has it all, far behind the start so that it is evidence, and at the end.
	leak := private.Reveal() + strings.Join(printed, "\n") + "\n" + "\x1b[1m" + printed[0] + "\x1b[0m\n"
	filler := strings.Repeat("nothing happens here, and it takes its time\n", 5000)
	path := filepath.Join(s.Dir, "leak")
	require.NoError(t, os.WriteFile(path, []byte(leak+filler+leak+filler+leak), 0o600))
	r := w.run("allow:ssh_execute(cat *)", "allow:ssh_read_file", "allow:evidence_*")
	c := r.client(w.gateway)
	var mu sync.Mutex
	var live strings.Builder
	c.OnNotification(func(n mcp.JSONRPCNotification) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&live, n.Params.AdditionalFields)
	})
	var results strings.Builder
	for i, one := range []struct {
		tool string
		args args
	}{
		{"ssh_execute", args{"target": "demo", "command": "cat " + path}},
		{"ssh_execute", args{"hosts": []string{"demo"}, "command": "cat " + path}},
		{"ssh_read_file", args{"target": "demo", "path": path}},
		{"ssh_read_file", args{"target": "demo", "path": path, "last_lines": 5}},
		{"evidence_search", args{"pattern": "canary|[A-Za-z0-9+/]{40}|redacted", "context": 2}},
		{"evidence_read", args{"call": "c0", "from_line": 5000, "lines": 100}},
	} {
		res, err := c.CallTool(t.Context(), request(fmt.Sprintf("c%d", i), one.tool, one.args, "p"))
		require.NoError(t, err)
		got := result(t, res)
		require.Equal(t, ops.CallDone, got.State, got.Text)
		require.Contains(t, got.Text, ops.Redacted, one.tool)
		results.WriteString(got.Text)
	}
	places := map[string]string{"results": results.String(), "log": w.log.String()}
	mu.Lock()
	places["live"] = live.String()
	mu.Unlock()
	require.Contains(t, places["live"], ops.Redacted)
	owner := w.owner()
	rows, err := owner.Pool().Query(t.Context(), `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Contains(t, tables, "audit")
	for _, table := range tables {
		var all *string
		require.NoError(t, owner.Pool().QueryRow(t.Context(), `SELECT string_agg(t::text, ' ') FROM `+table+` t`).Scan(&all))
		if all != nil {
			places["table "+table] = *all
		}
	}
	chunks, err := owner.Evidence(t.Context(), r.id, "c0")
	require.NoError(t, err)
	require.NotEmpty(t, chunks)
	for _, chunk := range chunks {
		data, err := owner.EvidenceData(t.Context(), r.id, "c0", chunk.N)
		require.NoError(t, err)
		text, err := io.ReadAll(flate.NewReader(bytes.NewReader(data)))
		require.NoError(t, err)
		places["evidence"] += string(text)
	}
	require.Contains(t, places["evidence"], ops.Redacted)
	for place, text := range places {
		for _, canary := range canaries {
			require.NotContains(t, text, canary, place)
		}
	}
}
