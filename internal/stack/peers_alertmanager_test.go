//go:build peers

package stack_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/stretchr/testify/require"
)

// front is what stands between senders and us. In maintenance it answers 200 by
// itself, as a page for people would: to a sender everything is delivered.
type front struct {
	url         string
	maintenance atomic.Bool
	passed      atomic.Int64
	swallowed   atomic.Int64
	unavailable atomic.Int64 // answers with 503
}

func newFront(t *testing.T, to string) *front {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	f := &front{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusServiceUnavailable {
			f.unavailable.Add(1)
		}
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.maintenance.Load() {
			f.swallowed.Add(1)
			return
		}
		f.passed.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// admitted makes the admin, for a cluster of which not everything runs.
func (c *cluster) admitted() {
	c.t.Helper()
	var err error
	c.admin, err = stack.MakeAdmin(c.t.Context(), c.url, c.db, c.state)
	require.NoError(c.t, err)
}

// idle is a model that nobody asks: no agent runs.
const idle = "name: idle\nmodel: scripted\nturns:\n  - text: Nothing.\n    repeat: true\n"

// patch changes a resource as the admin.
func (c *cluster) patch(path string, body any) {
	c.t.Helper()
	data, err := json.Marshal(body)
	require.NoError(c.t, err)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPatch, c.url+path, bytes.NewReader(data))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.admin.Token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(c.t, http.StatusOK, resp.StatusCode)
}

// named gives the incidents whose title is that, newest first.
func (c *cluster) named(title string) ([]ops.Incident, error) {
	all, err := c.db.Incidents(c.t.Context(), postgres.IncidentFilter{Limit: 200})
	return slices.DeleteFunc(all, func(i ops.Incident) bool { return i.Title != title }), err
}

// becomes waits until there is one incident of that title, in that status.
func (c *cluster) becomes(title string, status ops.IncidentStatus, within time.Duration) ops.Incident {
	c.t.Helper()
	var found []ops.Incident
	var err error
	if !eventually(within, func() bool {
		found, err = c.named(title) // the database may be away
		return err == nil && len(found) == 1 && found[0].Status == status
	}) {
		c.dumpLogs()
		require.Failf(c.t, "no such incident", "%q is not %s within %s: %+v %v", title, status, within, found, err)
	}
	return found[0]
}

func eventually(within time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			return ok()
		case <-tick.C:
		}
	}
	return true
}

// said tells whether the incident's timeline contains the text.
func (c *cluster) said(i ops.Incident, text string) bool {
	c.t.Helper()
	events, err := c.db.Events(c.t.Context(), i.ID, 0, 1000)
	require.NoError(c.t, err)
	for _, e := range events {
		if strings.Contains(string(e.Data), text) {
			return true
		}
	}
	return false
}

// alerts gives those of an incident by the value of their label "instance".
func (c *cluster) alerts(i ops.Incident) map[string]ops.Alert {
	c.t.Helper()
	all, err := c.db.IncidentAlerts(c.t.Context(), i.ID)
	require.NoError(c.t, err)
	out := map[string]ops.Alert{}
	for _, a := range all {
		require.NotContains(c.t, out, a.Labels["instance"], "two episodes of one alert")
		out[a.Labels["instance"]] = a
	}
	return out
}

// give posts alerts to Alertmanagers as a Prometheus does: to each of them.
// ends is zero for those that fire.
func give(t *testing.T, to []string, name string, starts, ends time.Time, instances ...string) {
	t.Helper()
	var alerts []map[string]any
	for _, instance := range instances {
		alert := map[string]any{"labels": map[string]string{"alertname": name, "service": "shop", "instance": instance, "severity": "critical"},
			"annotations": map[string]string{"summary": name}, "startsAt": starts}
		if !ends.IsZero() {
			alert["endsAt"] = ends
		}
		alerts = append(alerts, alert)
	}
	body, err := json.Marshal(alerts)
	require.NoError(t, err)
	for _, u := range to {
		resp, err := http.Post(u+"/api/v2/alerts", "application/json", bytes.NewReader(body))
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
}

// TestPeerAlertmanager has two real Alertmanagers that do not hear of each
// other, as a cluster that has split, so that both report everything. Then groups
// change under open alerts, and the database goes away.
func TestPeerAlertmanager(t *testing.T) {
	t.Parallel()
	dir := peerDir(t)
	pg := pgtest.NewDurable(t)
	c := prepareOn(t, pg.DB, idle)
	c.procs["api"].start()
	c.admitted()
	f := newFront(t, c.url)

	common := []string{"AM_WEBHOOK_URL=" + f.url + "/webhook/alert/" + c.source, "AM_BEARER=" + c.webhook.Reveal(), "AM_GROUP_BY=alertname"}
	var am []string
	for _, name := range []string{"a", "b"} {
		at := filepath.Join(dir, name)
		facts := peer(t, common, "alertmanager.sh", "start", at)
		t.Cleanup(func() { peer(t, nil, "alertmanager.sh", "stop", at) })
		am = append(am, facts["ALERTMANAGER_URL"])
	}

	// Everything comes twice, and a group is told of as a whole.
	began := time.Now().UTC().Truncate(time.Millisecond)
	give(t, am, "Twice", began, time.Time{}, "one", "two")
	i := c.becomes("Twice", ops.IncidentTriggered, 30*time.Second)
	require.True(t, eventually(30*time.Second, func() bool { return c.alerts(i)["one"].Count >= 2 }), "only one of the two has reported")
	require.Len(t, c.alerts(i), 2)
	give(t, am, "Twice", began, time.Now(), "one")
	require.True(t, eventually(30*time.Second, func() bool { return c.alerts(i)["one"].Status == ops.AlertResolved }))
	require.Equal(t, ops.AlertFiring, c.alerts(i)["two"].Status, "the group fires, one of it has ended")
	i = c.becomes("Twice", ops.IncidentTriggered, time.Second)
	require.Equal(t, 1, i.FiringCount)

	// Another group_by: the group gets another key, and its alert is reported again.
	reported := c.alerts(i)["two"].Count
	for _, name := range []string{"a", "b"} {
		peer(t, []string{"AM_GROUP_BY=alertname, instance"}, "alertmanager.sh", "webhook", filepath.Join(dir, name),
			f.url+"/webhook/alert/"+c.source, "--bearer", c.webhook.Reveal())
	}
	require.True(t, eventually(30*time.Second, func() bool { return c.alerts(i)["two"].Count > reported }), "it is not reported again")
	c.becomes("Twice", ops.IncidentTriggered, time.Second)
	require.Len(t, c.alerts(i), 2)

	// The database is gone for a while: senders are told to come again, and do.
	pg.Crash()
	give(t, am, "Storage", began, time.Time{}, "one")
	require.True(t, eventually(30*time.Second, func() bool { return f.unavailable.Load() >= 2 }), "nobody was told to come again")
	pg.Restart()
	i = c.becomes("Storage", ops.IncidentTriggered, 60*time.Second)
	require.Len(t, c.alerts(i), 1)
	give(t, am, "Twice", began, time.Now(), "two")
	give(t, am, "Storage", began, time.Now(), "one")
	c.becomes("Twice", ops.IncidentResolved, 60*time.Second)
	c.becomes("Storage", ops.IncidentResolved, 60*time.Second)
}

// TestPeerAlertmanagerIsReconciled: what a real Alertmanager has delivered to
// somebody else while we were down is found, and so is its end.
func TestPeerAlertmanagerIsReconciled(t *testing.T) {
	t.Parallel()
	dir := peerDir(t)
	c := prepare(t, idle)
	c.procs["api"].start()
	c.admitted()
	f := newFront(t, c.url)
	facts := peer(t, []string{"AM_WEBHOOK_URL=" + f.url + "/webhook/alert/" + c.source, "AM_BEARER=" + c.webhook.Reveal(), "AM_GROUP_BY=alertname"},
		"alertmanager.sh", "start", filepath.Join(dir, "am"))
	t.Cleanup(func() { peer(t, nil, "alertmanager.sh", "stop", filepath.Join(dir, "am")) })
	am := []string{facts["ALERTMANAGER_URL"]}
	c.patch("/api/v1/sources/"+c.source, map[string]any{"options": ops.SourceOptions{Reconcile: ops.Reconcile{URL: am[0], EverySeconds: 15}}})

	f.maintenance.Store(true)
	c.procs["api"].kill()
	began := time.Now().UTC().Truncate(time.Millisecond)
	give(t, am, "Lost", began, time.Time{}, "one", "two")
	require.True(t, eventually(30*time.Second, func() bool { return f.swallowed.Load() > 0 }))
	c.procs["api"].start()
	i := c.becomes("Lost", ops.IncidentTriggered, 90*time.Second)
	require.Len(t, c.alerts(i), 2)
	require.True(t, c.said(i, "found by reconciliation"))
	require.Equal(t, `peers/{}:{alertname="Lost"}`, c.alerts(i)["one"].GroupKey, "the group that its webhook has")
	for _, a := range c.alerts(i) {
		require.True(t, began.Equal(a.StartsAt), a.StartsAt)
	}

	// One that joins the group by a webhook joins the incident, and what is
	// reported again is no other episode.
	f.maintenance.Store(false)
	give(t, am, "Lost", began, time.Time{}, "three")
	require.True(t, eventually(30*time.Second, func() bool { return len(c.alerts(i)) == 3 && c.alerts(i)["one"].Count == 2 }))
	c.becomes("Lost", ops.IncidentTriggered, time.Second)

	f.maintenance.Store(true)
	swallowed := f.swallowed.Load()
	give(t, am, "Lost", began, time.Now(), "one", "two", "three")
	require.True(t, eventually(30*time.Second, func() bool { return f.swallowed.Load() > swallowed }))
	i = c.becomes("Lost", ops.IncidentResolved, 120*time.Second)
	require.True(t, c.said(i, "its sender no longer has it"))

	var state ops.Reconciliation
	require.NoError(t, json.Unmarshal(c.get("/api/v1/sources/"+c.source+"/reconcile"), &state))
	require.Equal(t, []int64{2, 3}, []int64{state.Missed, state.Resolved})
	require.Empty(t, state.Error)
}
