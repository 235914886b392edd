package gateway_test

import (
	"bufio"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/stretchr/testify/require"
)

// started says how many calls the gateway has started by what it remembered.
func (w *world) started() int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.gateway.OpsURL()+"/metrics", nil)
	require.NoError(w.t, err)
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(w.t, err)
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), `akmatori_gateway_judged_calls_total{by="memory"} `); ok {
			n, err := strconv.Atoi(n)
			require.NoError(w.t, err)
			return n
		}
	}
	return 0
}

// TestRemembered: a call like one before starts by what is remembered, until
// anything of that is another thing. Then the very next call sees it, whichever
// it is and whoever has changed it.
//
// threats: E4 J4 K9
func TestRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := sshtest.New(t)
	w.somebody("root", "admin") // somebody must manage accounts
	_, wrong := sshtest.Key(t, "")
	over := errors.New("the token is refused")
	for _, row := range []struct {
		name string
		// change is done as the owner of the database; %s in it is the id of the run or token.
		change string
		token  bool // of an issued token, not of a run
		want   string
		err    error
	}{
		{name: "user disabled", change: `UPDATE users SET disabled_at = now() WHERE username = 'bob'`, err: over},
		{name: "user gone", change: `DELETE FROM users WHERE username = 'bob'`, want: "may not use agent"},
		{name: "roles taken", change: `UPDATE users SET roles = '{}' WHERE username = 'bob'`, want: "may not use agent"},
		{name: "role changed", change: `UPDATE roles SET deny = '{tool:ssh_execute:echo *}' WHERE id = 'helper'`, want: "has a role that does not allow it"},
		{name: "role gone", change: `DELETE FROM roles WHERE id = 'helper'`, want: "may not use agent"},
		{name: "agent disabled", change: `UPDATE agents SET disabled_at = now()`, want: "is disabled"},
		{name: "agent's rules", change: `UPDATE agents SET rules = '{deny:ssh_execute(echo *)}'`, want: "denied by the rules"},
		{name: "agent's targets", change: `UPDATE agents SET targets = '{other}'`, want: "there is no ssh target"},
		{name: "agent's credentials", change: `UPDATE agents SET credentials = '{other}'`, want: "may not use credential"},
		{name: "target gone", change: `DELETE FROM targets WHERE name = 'demo'`, want: "there is no ssh target"},
		{name: "target moved", change: `UPDATE targets SET port = 1 WHERE name = 'demo'`, want: "cannot be reached"},
		{name: "host key", change: `UPDATE targets SET host_key = '` + wrong + `' WHERE name = 'demo'`, want: "host key"},
		{name: "jump host's credential", change: `UPDATE targets SET credential = NULL WHERE name = 'jump'`, want: "has no credential"},
		{name: "credential disabled", change: `UPDATE credentials SET disabled_at = now() WHERE name = 'demo-key'`, want: "is disabled"},
		{name: "credential's targets", change: `UPDATE credentials SET targets = '{other}' WHERE name = 'demo-key'`, want: "may not be used for host"},
		{name: "credential's version", change: `UPDATE credentials SET version = version + 1 WHERE name = 'demo-key'`, want: "internal error"}, // its seal is of the one before
		{name: "inventory truncated", change: `TRUNCATE targets CASCADE`, want: "there is no ssh target"},
		{name: "run ended", change: `UPDATE runs SET state = 'cancelled', ended_at = now() WHERE id = '%s'`, err: over},
		{name: "run's token", change: `UPDATE runs SET gateway_token_hash = '\x00' WHERE id = '%s'`, err: over},
		{name: "run overdue", change: `UPDATE runs SET deadline = now() WHERE id = '%s'`, err: over},
		{name: "run's actor", change: `UPDATE runs SET actor = 'user:nobody' WHERE id = '%s'`, want: "may not use agent"},
		{name: "token revoked", token: true, change: `UPDATE gateway_tokens SET revoked_at = now() WHERE id = '%s'`, err: over},
		{name: "token over", token: true, change: `UPDATE gateway_tokens SET expires_at = now() WHERE id = '%s'`, err: over},
		{name: "token's tools", token: true, change: `UPDATE gateway_tokens SET tools = '{ssh_hosts,ssh_execute(id)}' WHERE id = '%s'`, want: "not what this token is for"},
		{name: "token's targets", token: true, change: `UPDATE gateway_tokens SET targets = '{other}' WHERE id = '%s'`, want: "there is no ssh target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := *w
			w.t = t
			// What a row before has broken is made anew.
			owned(t, &w, `DELETE FROM targets; DELETE FROM credentials`)
			w.host("jump", s)
			w.host("demo", s, func(target *ops.Target, _ *ops.Credential) { target.Jump = "jump" })
			w.role("helper", nil, nil)
			bob, err := w.api.UserByName(t.Context(), "bob")
			if err != nil {
				bob = w.somebody("bob", "helper")
			}
			on := false
			require.NoError(t, w.api.ChangeUser(t.Context(), bob.ID, postgres.UserChange{Roles: []string{"helper"}, Disabled: &on}))

			var c *client.Client
			var holder string
			rules := []string{"allow:ssh_execute(echo *)"}
			if row.token {
				token, _, issued := w.issue(rules, []string{"ssh_execute(echo *)"}, []string{"demo"})
				c, holder = issued, token.ID
			} else {
				r := w.run(rules...)
				owned(t, &w, `UPDATE runs SET actor = 'user:bob' WHERE id = '`+r.id+`'`)
				c, holder = r.client(w.gateway), r.id
			}
			echo := args{"target": "demo", "command": "echo x"}
			require.Equal(t, "x\n", call(t, c, "c1", "ssh_execute", echo).Text)
			before := w.started()
			require.Equal(t, "x\n", call(t, c, "c2", "ssh_execute", echo).Text)
			require.Equal(t, before+1, w.started(), "it was looked up")
			// What is not allowed is asked for, and is not remembered as anything.
			require.Equal(t, ops.CallDenied, call(t, c, "c3", "ssh_execute", args{"target": "demo", "command": "reboot"}).State)

			owned(t, &w, strings.ReplaceAll(row.change, "%s", holder))
			res, err := c.CallTool(t.Context(), request("c4", "ssh_execute", echo, nil))
			require.Equal(t, before+1, w.started())
			if row.err != nil {
				require.ErrorIs(t, err, transport.ErrAuthorizationRequired)
				// Not of a call that was made, either.
				_, err = c.CallTool(t.Context(), request("c2", "ssh_execute", echo, nil))
				require.ErrorIs(t, err, transport.ErrAuthorizationRequired)
				return
			}
			require.NoError(t, err)
			got := result(t, res)
			require.NotEqual(t, ops.CallDone, got.State)
			require.Contains(t, got.Text, row.want)
		})
	}
	w.audits() // whole
}

// owned changes the database as its owner.
func owned(t *testing.T, w *world, sql string) {
	t.Helper()
	_, err := w.owner().Pool().Exec(t.Context(), sql)
	require.NoError(t, err)
}
