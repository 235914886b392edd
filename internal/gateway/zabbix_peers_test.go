//go:build peers

package gateway_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/mark3labs/mcp-go/client"
	"github.com/stretchr/testify/require"
)

// zabbixPeer is a real Zabbix.
type zabbixPeer struct {
	t     *testing.T
	dir   string
	facts map[string]string
}

// run runs the script that handles it and gives what it prints as NAME=VALUE.
func (z *zabbixPeer) run(args ...string) map[string]string {
	z.t.Helper()
	cmd := exec.Command("../../deploy/peers/zabbix.sh", append([]string{args[0], z.dir}, args[1:]...)...)
	var progress strings.Builder
	cmd.Stderr = &progress
	out, err := cmd.Output()
	require.NoError(z.t, err, "zabbix.sh %v: %s", args, progress.String())
	facts := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			facts[name] = value
		}
	}
	return facts
}

func startZabbix(t *testing.T) *zabbixPeer {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "akz") // short, and where other users get to
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	z := &zabbixPeer{t: t, dir: filepath.Join(dir, "z")}
	t.Cleanup(func() {
		z.run("stop")
		_ = os.RemoveAll(dir)
	})
	z.facts = z.run("start")
	return z
}

// put makes it a target of the inventory.
func (z *zabbixPeer) put(w *world, name, kind, secret string) {
	w.t.Helper()
	target := ops.Target{ID: ops.NewID(), Name: name, Kind: "zabbix", User: z.facts["ZABBIX_USER"], Credential: name + "-reader"}
	require.NoError(w.t, target.Complete(z.facts["ZABBIX_URL"]))
	require.NoError(w.t, w.api.PutCredential(w.t.Context(), ops.Credential{Name: target.Credential, Kind: kind, Targets: []string{name}},
		func(c ops.Credential) ([]byte, error) { return w.public.Seal(c, ops.NewSecret(secret)) }))
	require.NoError(w.t, w.api.PutTarget(w.t.Context(), target))
}

// TestZabbix has an agent with the rules that are shipped look at a real Zabbix
// through the gateway, with a token and with a password.
func TestZabbix(t *testing.T) {
	z := startZabbix(t)
	w := newWorld(t)
	z.put(w, "zbx", "zabbix_token", z.facts["ZABBIX_API_TOKEN"])
	shipped, err := w.api.Agent(t.Context(), "investigator")
	require.NoError(t, err)
	r := w.run(shipped.Rules...)
	c := r.client(w.gateway)

	data := func(c *client.Client, tool string, a args) (d struct {
		Items []map[string]any
		More  bool
		Total int
	}) {
		t.Helper()
		got := call(t, c, "", tool, a)
		require.Equal(t, ops.CallDone, got.State, "%s %v: %s", tool, a, got.Text)
		require.NoError(t, json.Unmarshal(got.Data, &d))
		return d
	}

	require.Equal(t, "no problem matches\n", call(t, c, "", "zabbix_problems", args{}).Text)
	tripped := z.run("trip")
	z.run("trip", "1", "peer.trap2")
	found := data(c, "zabbix_problems", args{"target": "zbx"})
	require.Len(t, found.Items, 2)
	p := data(c, "zabbix_problems", args{"host": "peer-host", "min_severity": "high", "tag": "service=checkout", "since": "1h", "acknowledged": false, "suppressed": false, "name": "Checkout"}).Items
	require.Len(t, p, 1)
	require.Equal(t, tripped["EVENTID"], p[0]["event_id"])
	require.Equal(t, "high", p[0]["severity"])
	require.Equal(t, "peer-host", p[0]["hosts"].([]any)[0].(map[string]any)["host"])
	require.Equal(t, true, p[0]["monitored"])
	since, err := time.Parse(time.RFC3339, p[0]["since"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), since, time.Minute)
	text := call(t, c, "", "zabbix_problems", args{"group": "Peer*", "recent": true}).Text
	require.Contains(t, text, "[high] Checkout fails on Peer host on peer-host (Peer host); since ")
	require.Contains(t, text, "not acknowledged; event "+tripped["EVENTID"]+" trigger "+z.facts["ZABBIX_TRIGGERID"])
	require.Contains(t, text, "tags: ")
	first := data(c, "zabbix_problems", args{"limit": 1})
	require.True(t, first.More)
	second := data(c, "zabbix_problems", args{"limit": 1, "before_event": first.Items[0]["event_id"]})
	require.False(t, second.More)
	require.Equal(t, tripped["EVENTID"], second.Items[0]["event_id"])
	for _, none := range []args{{"min_severity": "disaster"}, {"tag": "nothing"}, {"until": "1d"}, {"name": "nothing"}} {
		require.Empty(t, data(c, "zabbix_problems", none).Items, none)
	}
	missing := call(t, c, "", "zabbix_problems", args{"host": "nobody"})
	require.Equal(t, ops.CallFailed, missing.State)
	require.Contains(t, missing.Text, `no host "nobody"`)

	hosts := data(c, "zabbix_hosts", args{"name": "peer", "group": "Peers", "tag": "env=test", "address": "127.0.0.1"})
	require.Equal(t, 1, hosts.Total)
	require.Equal(t, z.facts["ZABBIX_HOSTID"], hosts.Items[0]["host_id"])
	require.Equal(t, []any{"Peers"}, hosts.Items[0]["groups"])
	require.Equal(t, 1, data(c, "zabbix_hosts", args{}).Total)
	require.Equal(t, 2, data(c, "zabbix_hosts", args{"with_disabled": true, "limit": 1}).Total)
	require.Len(t, data(c, "zabbix_hosts", args{"with_disabled": true, "limit": 1, "page": 2}).Items, 1)
	require.Empty(t, data(c, "zabbix_hosts", args{"page": 9}).Items)

	items := data(c, "zabbix_items", args{"host": "Peer host", "key": "peer.trap*", "name": "checkouts"})
	require.Len(t, items.Items, 1)
	require.Equal(t, z.facts["ZABBIX_ITEMID"], items.Items[0]["item_id"])
	require.Equal(t, "1", items.Items[0]["last_value"])
	require.Equal(t, 7, data(c, "zabbix_items", args{"host": "peer-host"}).Total)
	require.Empty(t, data(c, "zabbix_items", args{"broken": true}).Items)

	triggers := data(c, "zabbix_triggers", args{"host": "peer-host", "in_problem": true, "min_severity": "average"})
	require.Len(t, triggers.Items, 2)
	one := data(c, "zabbix_triggers", args{"trigger_ids": []string{z.facts["ZABBIX_TRIGGERID"]}})
	require.Equal(t, "last(/peer-host/peer.trap)>0", one.Items[0]["expression"])
	require.Equal(t, "Made to fire by zabbix_sender.", one.Items[0]["comments"])

	history := call(t, c, "", "zabbix_history", args{"host": "peer-host", "key": "peer.trap", "since": "1h"})
	require.Equal(t, ops.CallDone, history.State, history.Text)
	require.Contains(t, history.Text, "2 values: min 0, avg 0.5, max 1; first 0, last 1")
	names := call(t, c, "", "zabbix_history", args{"host": "peer-host", "key": "agent.hostname", "since": "1h"})
	require.Equal(t, ops.CallDone, names.State, names.Text)
	trends := call(t, c, "", "zabbix_history", args{"host": "peer-host", "key": "vm.memory.size[pavailable]", "source": "trends"})
	require.Equal(t, ops.CallFailed, trends.State)
	require.Contains(t, trends.Text, "keeps no trends")
	require.Equal(t, ops.CallDone, call(t, c, "", "zabbix_history", args{"host": "peer-host", "key": "system.cpu.load[all,avg1]", "since": "1d"}).State)

	// Acknowledging is asked for, so it takes other rules here.
	hands := w.run("allow:zabbix_*").client(w.gateway)
	done := call(t, hands, "", "zabbix_acknowledge", args{"event_ids": []string{tripped["EVENTID"]}, "message": "looking into it", "severity": "disaster"})
	require.Equal(t, ops.CallDone, done.State, done.Text)
	require.Equal(t, "acknowledged, commented, made disaster: event "+tripped["EVENTID"]+"\n", done.Text)
	require.Len(t, data(c, "zabbix_problems", args{"acknowledged": true, "min_severity": "disaster"}).Items, 1)
	z.run("recover")
	events := data(c, "zabbix_events", args{"trigger_ids": []string{z.facts["ZABBIX_TRIGGERID"]}, "since": "1h"})
	require.Len(t, events.Items, 2)
	require.Equal(t, "ok", events.Items[0]["kind"])
	require.Equal(t, events.Items[0]["event_id"], events.Items[1]["resolved_event_id"])
	require.Equal(t, "looking into it", events.Items[1]["updates"].([]any)[0].(map[string]any)["message"])
	require.Len(t, data(c, "zabbix_events", args{"kind": "ok", "host": "peer-host", "tag": "service"}).Items, 1)
	refused := call(t, hands, "", "zabbix_acknowledge", args{"event_ids": []string{"999999"}, "message": "x"})
	require.Equal(t, ops.CallFailed, refused.State)
	require.Contains(t, refused.Text, "zbx refuses event.acknowledge")

	// Any method, by policy.
	got := call(t, c, "", "zabbix_api", args{"method": "maintenance.get", "params": args{"output": "extend", "limit": 5}})
	require.Equal(t, ops.CallDone, got.State, got.Text)
	require.Contains(t, call(t, c, "", "zabbix_api", args{"method": "host.get", "params": args{"output": []string{"host"}}}).Text, `"host":"peer-host"`)
	wrong := call(t, hands, "", "zabbix_api", args{"method": "hostgroup.create", "params": args{"nonsense": 1}})
	require.Equal(t, ops.CallFailed, wrong.State)
	require.Contains(t, wrong.Text, "zbx refuses hostgroup.create: ")
	require.Equal(t, ops.CallFailed, call(t, c, "", "zabbix_api", args{"method": "nothing.get"}).State)
	made := call(t, hands, "", "zabbix_api", args{"method": "hostgroup.create", "params": args{"name": "made here"}})
	require.Equal(t, ops.CallDone, made.State, made.Text)
	var ids struct {
		Result struct{ Groupids []string }
	}
	require.NoError(t, json.Unmarshal(made.Data, &ids))
	require.Equal(t, ops.CallDone, call(t, hands, "", "zabbix_api", args{"method": "hostgroup.delete", "ids": ids.Result.Groupids}).State)

	// Several instances, and a password, whose session is shared, expires and is given back.
	z.put(w, "zbx2", "zabbix_password", z.facts["ZABBIX_PASSWORD"])
	unnamed := call(t, c, "", "zabbix_problems", args{})
	require.Equal(t, ops.CallDenied, unnamed.State)
	require.Contains(t, unnamed.Text, "one must be named: zbx, zbx2")
	z.expire() // those that setting it up has left
	sessions := func() int { return len(data(c, "zabbix_problems", args{"target": "zbx2"}).Items) }
	require.Equal(t, 1, sessions())
	require.Equal(t, 1, sessions())
	count := z.sessions()
	require.Equal(t, 1, count, "one session for all calls")
	z.expire()
	require.Equal(t, 1, sessions())
	require.Equal(t, 1, z.sessions())
	w.stop()
	require.Zero(t, z.sessions(), "the session was given back")
	require.NotContains(t, w.log.String(), z.facts["ZABBIX_API_TOKEN"])
}

// sessions counts the living sessions of Zabbix that ours could be: those that
// the script's own login has made are gone by then.
func (z *zabbixPeer) sessions() int {
	z.t.Helper()
	return len(strings.Fields(z.sql("SELECT sessionid FROM sessions WHERE status = 0 AND lastaccess > 0")))
}

// expire ends all sessions in the database, as their time would.
func (z *zabbixPeer) expire() {
	z.t.Helper()
	z.sql("DELETE FROM sessions")
}

func (z *zabbixPeer) sql(query string) string {
	z.t.Helper()
	out, err := exec.Command("../../deploy/peers/postgres.sh", "psql", filepath.Join(z.dir, "pg"), "-qAtc", query).CombinedOutput()
	require.NoError(z.t, err, "%s", out)
	return string(out)
}
