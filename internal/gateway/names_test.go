package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
)

// A target is one of the inventory, letter by letter: no name that is built with
// care is another one than it says, and none that a token is not for.
func TestThreatsNamesOfTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.host("prod-1", s)
	w.host("stage-1", s)
	_, _, c := w.issue([]string{"allow:*"}, []string{"*"}, []string{"prod-*"})
	require.Equal(t, "x\n", call(t, c, "", "ssh_execute", args{"target": "prod-1", "command": "echo x"}).Text)
	sessions := strings.Count(s.Log(), "Starting session")
	for _, one := range []struct{ id, name string }{
		{"J5 a second command", "prod-1;id"}, {"J5 a substitution", "prod-$(id)"}, {"J5 a pipe", "prod-1|id"}, {"J5 an option", "-oProxyCommand=id"},
		{"J6 up", "../prod-1"}, {"J6 encoded", "prod-1%2f..%2fstage-1"}, {"J6 a dot", "."}, {"J6 long", "prod-" + strings.Repeat("1", 4096)},
		{"J6 a look-alike", "prоd-1"}, {"J6 a zero", "prod-1\x00"}, {"J6 a blank", "prod-1 "}, {"J6 upper case", "PROD-1"}, {"J6 its address", "127.0.0.1"}, {"J6 somebody at it", "root@prod-1"},
		{"J7 through the glob", "prod-/../stage-1"}, {"J7 with a dot", "prod-./stage-1"}, {"J7 a glob itself", "prod-*"}, {"J7 outside", "stage-1"},
	} {
		got := call(t, c, "", "ssh_execute", args{"target": one.name, "command": "echo x"})
		require.Equal(t, ops.CallDenied, got.State, one.id)
		require.NotContains(t, got.Text, "stage-1,", one.id)
	}
	empty := call(t, c, "", "ssh_execute", args{"target": "", "command": "echo x"})
	require.Equal(t, ops.CallDenied, empty.State, "J6 empty")
	require.Equal(t, sessions, strings.Count(s.Log(), "Starting session"), "nothing ran")
}

// Nobody guesses a token: it has 256 bits, and one that is wrong in its last one
// is no more than none at all.
func TestThreatsTokensAreNotGuessed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run("allow:ssh_hosts")
	status := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.gateway.URL()+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	token := r.token.Reveal()
	require.Equal(t, 200, status(token))
	last := "A"
	if strings.HasSuffix(token, last) {
		last = "Q"
	}
	var stored int
	require.NoError(t, w.owner().Pool().QueryRow(t.Context(), `SELECT count(*) FROM runs WHERE gateway_token_hash = $1 OR gateway_token_hash = $2`,
		ops.HashToken(r.token), []byte(token)).Scan(&stored))
	for _, one := range []struct{ id, token string }{
		{"J11 its end", token[:len(token)-1]}, {"J11 the last letter", token[:len(token)-1] + last}, {"J11 what is stored of it", string(ops.HashToken(ops.NewSecret("x")))[:0] + strings.Repeat("0", 64)},
		{"J11 more", token + "A"}, {"J11 its kind alone", ops.GatewayTokenPrefix}, {"J11 another case", strings.ToUpper(token)},
	} {
		require.Equal(t, 401, status(one.token), one.id)
	}
	require.Equal(t, 1, stored, "only its hash is stored")
	require.Len(t, strings.TrimPrefix(token, ops.GatewayTokenPrefix), 43, "256 bits")
}
