//go:build peers

package stack_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// TestPeerZabbix has a real Zabbix 6.0 with our media type, imported as people
// do, tell us of a problem, of who has taken it and of its end. Then we are gone
// for longer than it tries, at the beginning of another problem and at its end,
// and find both by asking it through the gateway.
func TestPeerZabbix(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(peerDir(t), "z")
	facts := peer(t, nil, "zabbix.sh", "start", dir)
	t.Cleanup(func() { peer(t, nil, "zabbix.sh", "stop", dir) })

	c := prepare(t, idle)
	source, secret, token := ops.NewID(), ops.NewToken(ops.WebhookTokenPrefix), ops.NewSecret(facts["ZABBIX_API_TOKEN"])
	c.configure(config.File{
		Sources:     []config.Source{{ID: source, Name: "zabbix", Kind: "zabbix", Secret: secret}},
		Credentials: []config.Credential{{Name: "zabbix", Kind: "zabbix_token", Secret: token, Targets: []string{"zabbix"}}},
		Targets:     []config.Target{{Name: "zabbix", Kind: "zabbix", URL: facts["ZABBIX_URL"], Credential: "zabbix"}},
	})
	c.procs["mcp"].start()
	c.procs["api"].start()
	c.admitted()
	c.patch("/api/v1/sources/"+source, map[string]any{"options": ops.SourceOptions{Reconcile: ops.Reconcile{Target: "zabbix", EverySeconds: 15}}})
	webhook := c.url + "/webhook/alert/" + source
	peer(t, []string{"ZBX_ATTEMPTS=2", "ZBX_ATTEMPT_INTERVAL=1s"}, "zabbix.sh", "webhook", dir, webhook, secret.Reveal())
	c.runScript(webhook, secret)

	identity := func(i ops.Incident) string {
		alerts, err := c.db.IncidentAlerts(t.Context(), i.ID)
		require.NoError(t, err)
		require.Len(t, alerts, 1)
		return alerts[0].Identity
	}
	trip := peer(t, nil, "zabbix.sh", "trip", dir)
	checkout := "Checkout fails on Peer host"
	i := c.becomes(checkout, ops.IncidentTriggered, 60*time.Second)
	require.Equal(t, ops.SeverityHigh, i.Severity)
	require.Equal(t, "checkout", i.Service)
	require.Equal(t, trip["TRIGGERID"]+"@"+facts["ZABBIX_HOSTID"], identity(i))
	peer(t, nil, "zabbix.sh", "ack", dir, "taking over")
	c.becomes(checkout, ops.IncidentAcknowledged, 60*time.Second)
	peer(t, nil, "zabbix.sh", "recover", dir)
	i = c.becomes(checkout, ops.IncidentResolved, 60*time.Second)
	require.False(t, c.said(i, "reconciliation"), "everything came by itself")

	// failed waits until Zabbix has given up on that many messages.
	failed := func(want int) {
		t.Helper()
		require.True(t, eventually(90*time.Second, func() bool {
			out, err := exec.Command(scripts+"zabbix.sh", "api", dir, "alert.get", `{"filter":{"status":2},"countOutput":true}`).Output()
			var n string
			return err == nil && json.Unmarshal(out, &n) == nil && n >= string(rune('0'+want))
		}), "Zabbix does not give up")
	}
	queue := "Queue grows on Peer host"
	c.procs["api"].kill()
	trip = peer(t, nil, "zabbix.sh", "trip", dir, "1", "peer.trap2")
	failed(1)
	c.procs["api"].start()
	i = c.becomes(queue, ops.IncidentTriggered, 90*time.Second)
	require.True(t, c.said(i, "found by reconciliation"))
	require.Equal(t, trip["TRIGGERID"]+"@"+facts["ZABBIX_HOSTID"], identity(i), "the identity that its webhook has")
	require.Equal(t, ops.SeverityWarning, i.Severity)

	c.procs["api"].kill()
	peer(t, nil, "zabbix.sh", "recover", dir, "peer.trap2")
	failed(2)
	c.procs["api"].start()
	i = c.becomes(queue, ops.IncidentResolved, 120*time.Second)
	require.True(t, c.said(i, "its sender no longer has it"))
	c.becomes(checkout, ops.IncidentResolved, time.Second)

	var state ops.Reconciliation
	require.NoError(t, json.Unmarshal(c.get("/api/v1/sources/"+source+"/reconcile"), &state))
	require.Equal(t, []int64{1, 1}, []int64{state.Missed, state.Resolved})
	require.Empty(t, state.Error)
	records, err := c.db.Audit(t.Context(), "gateway", 0, 1000)
	require.NoError(t, err)
	asked := false
	for _, r := range records {
		require.Equal(t, "service:reconcile token:reconcile", r.Actor, "nobody else has used the gateway")
		asked = asked || r.Detail["tool"] == "zabbix_problems" && r.Detail["target"] == "zabbix"
	}
	require.True(t, asked, "what was asked is in the audit")
	for name, p := range c.procs {
		if log, err := os.ReadFile(p.log); err == nil {
			require.NotContains(t, string(log), token.Reveal(), "log of %s", name)
			require.NotContains(t, string(log), secret.Reveal(), "log of %s", name)
		}
	}
}

// runScript runs the media type's script in Zabbix's own engine, outside of the
// server: a problem and its end.
func (c *cluster) runScript(webhook string, secret ops.Secret) {
	t := c.t
	t.Helper()
	data, err := os.ReadFile("../../deploy/zabbix/media_akmatori.yaml")
	require.NoError(t, err)
	var file struct {
		Export struct {
			MediaTypes []struct{ Script string } `yaml:"media_types"`
		} `yaml:"zabbix_export"`
	}
	require.NoError(t, yaml.Unmarshal(data, &file))
	script := filepath.Join(t.TempDir(), "akmatori.js")
	require.NoError(t, os.WriteFile(script, []byte(file.Export.MediaTypes[0].Script), 0o600))
	run := func(value, recovered string) {
		t.Helper()
		input, err := json.Marshal(map[string]string{
			"akmatori_url": webhook, "akmatori_secret": secret.Reveal(), "HTTPProxy": "", "event_id": "900001", "event_source": "0",
			"event_value": value, "event_update_status": "0", "event_name": "Only a script", "event_nseverity": "2", "event_tags": "[]",
			"event_date": "2026.11.21", "event_time": "10:00:00", "event_recovery_date": recovered, "event_recovery_time": "10:05:00",
			"trigger_id": "900", "host_id": "901", "host_host": "nowhere",
		})
		require.NoError(t, err)
		params := filepath.Join(t.TempDir(), "params.json")
		require.NoError(t, os.WriteFile(params, input, 0o600))
		out, err := exec.CommandContext(t.Context(), "zabbix_js", "-s", script, "-i", params).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "OK")
		require.NotContains(t, string(out), secret.Reveal())
	}
	run("1", "{EVENT.RECOVERY.DATE}")
	c.becomes("Only a script", ops.IncidentTriggered, 10*time.Second)
	run("0", "2026.11.21")
	c.becomes("Only a script", ops.IncidentResolved, 10*time.Second)
}
