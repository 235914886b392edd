package gateway_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/stretchr/testify/require"
)

// zabbix puts an instance into the inventory that has one problem of that name. It
// counts its open connections.
func (w *world) zabbix(name, problem string) *atomic.Int32 {
	w.t.Helper()
	var open atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var req struct{ Method, Auth string }
		_ = json.NewDecoder(r.Body).Decode(&req)
		answer := map[string]any{"jsonrpc": "2.0", "id": 1}
		switch {
		case req.Method == "apiinfo.version":
			answer["result"] = "6.0.14"
		case req.Auth != "canary-token-of-"+name:
			answer["error"] = map[string]any{"code": -32602, "message": "Invalid params.", "data": "Not authorised."}
		case req.Method == "problem.get":
			answer["result"] = []any{map[string]any{"eventid": "5", "objectid": "7", "clock": "1700000000", "name": problem + " " + req.Auth, "severity": "4"}}
		default:
			answer["result"] = []any{}
		}
		_ = json.NewEncoder(rw).Encode(answer)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	w.t.Cleanup(s.Close)
	target := ops.Target{ID: ops.NewID(), Name: name, Kind: "zabbix", Credential: name + "-token"}
	require.NoError(w.t, target.Complete(s.URL))
	require.NoError(w.t, w.api.PutCredential(w.t.Context(), ops.Credential{Name: target.Credential, Kind: "zabbix_token", Targets: []string{name}},
		func(c ops.Credential) ([]byte, error) {
			return w.public.Seal(c, ops.NewSecret("canary-token-of-"+name))
		}))
	require.NoError(w.t, w.api.PutTarget(w.t.Context(), target))
	return &open
}

// TestZabbixTargets: which instance a call is for, and what it gives.
func TestZabbixTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run("allow:zabbix_problems", "allow:zabbix_api(host.get)", "deny:zabbix_api(host.*)")
	c := r.client(w.gateway)
	require.Contains(t, call(t, c, "", "zabbix_problems", args{}).Text, "there is no zabbix target in the inventory")
	w.zabbix("east", "a disk is full")
	got := call(t, c, "c1", "zabbix_problems", args{})
	require.Equal(t, ops.CallDone, got.State, got.Text)
	require.Equal(t, "east", got.Target)
	require.Contains(t, got.Text, "[high] a disk is full [redacted] on a host that cannot be seen")
	var data struct{ Items []map[string]any }
	require.NoError(t, json.Unmarshal(got.Data, &data))
	require.Equal(t, "5", data.Items[0]["event_id"])
	// The same again is the stored one, with its data.
	require.Equal(t, got, call(t, c, "c1", "zabbix_problems", args{}))
	stored, err := w.api.Call(t.Context(), r.id, "c1")
	require.NoError(t, err)
	require.JSONEq(t, `{"target":"east"}`, string(stored.Arguments), "what was left out is shown")
	require.NotContains(t, string(stored.Result.Data)+stored.Result.Text+w.log.String(), "canary-token")
	require.Equal(t, "east-token version 1", r.audits()[1].Detail["credential"])

	w.zabbix("west", "a fan is loud")
	require.Contains(t, call(t, c, "", "zabbix_problems", args{}).Text, "one must be named: east, west")
	require.Contains(t, call(t, c, "", "zabbix_problems", args{"target": "north"}).Text, `no zabbix target "north" in the inventory; there are: east, west`)
	require.Contains(t, call(t, c, "", "zabbix_problems", args{"target": "west"}).Text, "a fan is loud")
	require.Equal(t, ops.CallDone, call(t, c, "", "zabbix_api", args{"target": "west", "method": "host.get"}).State)
	for _, method := range []string{"host.delete", "Host.Delete"} {
		denied := call(t, c, "", "zabbix_api", args{"target": "west", "method": method})
		require.Equal(t, ops.CallDenied, denied.State, method)
		require.Contains(t, denied.Text, "deny:zabbix_api(host.*)")
	}

	// A token that reaches one of them means that one, and knows of no other.
	_, _, only := w.issue([]string{"allow:zabbix_*"}, []string{"zabbix_problems"}, []string{"we*"})
	require.Equal(t, []string{"zabbix_problems"}, tools(t, only))
	require.Contains(t, call(t, only, "", "zabbix_problems", args{}).Text, "a fan is loud")
	require.Contains(t, call(t, only, "", "zabbix_problems", args{"target": "east"}).Text, `no zabbix target "east" in the inventory; there are: west`)

	// Reading is said to be that, and the rest is not.
	list, err := only.ListTools(t.Context(), mcp.ListToolsRequest{})
	require.NoError(t, err)
	require.True(t, *list.Tools[0].Annotations.ReadOnlyHint)
}

// TestShippedZabbixRules: looking is free, changing is asked.
func TestShippedZabbixRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shipped, err := w.api.Agent(t.Context(), "investigator")
	require.NoError(t, err)
	rules, err := policy.Load(shipped.Rules)
	require.NoError(t, err)
	require.Empty(t, rules.Unreachable())
	for raw, want := range map[string]policy.Verdict{
		`zabbix_problems {}`: policy.Allow, `zabbix_hosts {}`: policy.Allow, `zabbix_items {}`: policy.Allow, `zabbix_history {}`: policy.Allow,
		`zabbix_triggers {}`: policy.Allow, `zabbix_events {}`: policy.Allow, `zabbix_acknowledge {"event_ids":["1"],"close":true}`: policy.Ask,
		`zabbix_api {"method":"maintenance.get"}`: policy.Allow, `zabbix_api {"method":"Maintenance.Create"}`: policy.Ask,
		`zabbix_api {"method":"maintenance.create"}`: policy.Ask, `zabbix_api {"method":"script.execute"}`: policy.Ask,
		`zabbix_api {"method":"host.getx"}`: policy.Ask, `zabbix_api {}`: policy.Ask,
	} {
		name, arguments, _ := strings.Cut(raw, " ")
		ask, err := policy.ReadCall(name, json.RawMessage(arguments))
		require.NoError(t, err)
		got := rules.Decide(ask).Verdict
		if want == policy.Ask {
			require.NotEqual(t, policy.Allow, got, raw)
		} else {
			require.Equal(t, want, got, raw)
		}
	}
}
