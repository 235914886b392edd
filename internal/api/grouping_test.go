package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// said gives the reasons on an incident's timeline.
func (r *rig) said(incident string) string {
	r.t.Helper()
	a := r.call("GET", "/api/v1/incidents/"+incident+"/events", nil)
	require.Equal(r.t, 200, a.status, a.body)
	return a.body
}

func (r *rig) incidentsNow() []ops.Incident {
	r.t.Helper()
	var all struct{ Items []ops.Incident }
	r.call("GET", "/api/v1/incidents?limit=100", nil).into(r.t, &all)
	return all.Items
}

func TestGroupingRules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	for _, name := range []string{"One", "Two"} {
		require.Equal(t, 202, r.post(src, firing(name)).status)
	}
	body := map[string]any{"name": "by host", "match": `source="am", labels.instance=~"db.*"`, "key": "{{host}}"}

	// First what it would have done.
	var p ops.GroupingPreview
	a := r.call("POST", "/api/v1/grouping-rules/preview", body)
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &p)
	require.Equal(t, []int{2, 2, 2, 1}, []int{p.Alerts, p.Matched, p.Incidents, p.Would})
	require.Equal(t, "db1", p.Largest[0].Key)

	var rule ops.GroupingRule
	a = r.call("POST", "/api/v1/grouping-rules", body)
	require.Equal(t, 201, a.status, a.body)
	a.into(t, &rule)
	require.Equal(t, []any{true, true, 100}, []any{rule.Enabled, rule.Investigate, rule.Position})
	require.Equal(t, 409, r.call("POST", "/api/v1/grouping-rules", body).status, "the name is taken")
	require.Equal(t, 202, r.post(src, firing("Three")).status)
	require.Equal(t, 202, r.post(src, firing("Four")).status)
	newest := r.incidentsNow()[0]
	require.Equal(t, []any{2, rule.ID}, []any{newest.AlertCount, newest.RuleID})
	var alerts struct{ Items []ops.Alert }
	r.call("GET", "/api/v1/incidents/"+newest.ID+"/alerts", nil).into(t, &alerts)
	require.Equal(t, `Rule "by host" groups it by {{host}}: db1`, alerts.Items[1].Why)

	body["investigate"], body["enabled"] = false, true
	a = r.call("PUT", "/api/v1/grouping-rules/"+rule.ID, body)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, `"investigate":false`)
	a = r.call("GET", "/api/v1/grouping-rules", nil)
	require.Contains(t, a.body, `"name":"by host"`)

	for _, tc := range []struct {
		method, path string
		body         map[string]any
		status       int
		detail       string
	}{
		{"POST", "", map[string]any{"name": "x", "match": `cluster="eu"`}, 422, `match: at character 1: there is no field \"cluster\": it is one of`},
		{"POST", "", map[string]any{"name": "x", "key": "{{"}, 422, "key: the key opens a placeholder"},
		{"POST", "", map[string]any{"name": "x", "window": "weekly"}, 422, ""},
		{"POST", "", map[string]any{"name": "x", "agent": "nobody"}, 422, "there is no agent"},
		{"POST", "", map[string]any{"match": "a=b"}, 422, ""},
		{"POST", "", map[string]any{"name": "x", "colour": "red"}, 422, ""},
		{"POST", "/preview", map[string]any{"name": "x", "match": "("}, 422, "match: at character 2"},
		{"POST", "/preview?replaces=1", map[string]any{"name": "x"}, 404, "no such grouping rule"},
		{"PUT", "/" + ops.NewID(), map[string]any{"name": "x"}, 404, "no such grouping rule"},
		{"PUT", "/1", map[string]any{"name": "x"}, 404, "no such grouping rule"},
		{"DELETE", "/1", nil, 404, "no such grouping rule"},
	} {
		var in any
		if tc.body != nil {
			in = tc.body
		}
		a := r.call(tc.method, "/api/v1/grouping-rules"+tc.path, in)
		require.Equal(t, tc.status, a.status, a.body)
		require.Contains(t, a.body, tc.detail)
	}
	require.Equal(t, 204, r.call("DELETE", "/api/v1/grouping-rules/"+rule.ID, nil).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/grouping-rules/"+rule.ID, nil).status)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM audit WHERE action = 'grouping_rule.created' AND outcome = 'ok' AND detail->>'key' = '{{host}}'`))
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM audit WHERE action = 'grouping_rule.deleted' AND outcome = 'ok'`))
}

func TestMaintenanceWindows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	body := map[string]any{"name": "upgrade", "match": `host="db1"`, "starts_at": time.Now().Add(-time.Hour), "ends_at": time.Now().Add(time.Hour)}
	a := r.call("POST", "/api/v1/maintenance-windows", body)
	require.Equal(t, 201, a.status, a.body)
	var w ops.MaintenanceWindow
	a.into(t, &w)
	require.Equal(t, 202, r.post(src, firing("Down")).status)
	i := r.incidentsNow()[0]
	require.Equal(t, []any{"upgrade", ops.RunState("")}, []any{i.Maintenance, i.Investigation})
	require.Contains(t, r.said(i.ID), `not investigated: maintenance \"upgrade\" covers it`)
	require.Equal(t, 202, r.post(src, resolved("Down")).status)
	require.Equal(t, ops.IncidentResolved, r.incidentsNow()[0].Status)
	require.Equal(t, 202, r.post(src, firing("Other")).status)

	// It is over: what still fires is investigated, by the chore.
	require.Equal(t, 204, r.call("DELETE", "/api/v1/maintenance-windows/"+w.ID, nil).status)
	require.Eventually(t, func() bool { return r.incidentsNow()[0].Investigation == ops.RunQueued }, 3*soon, 100*time.Millisecond)

	a = r.call("POST", "/api/v1/maintenance-windows", map[string]any{"name": "weekly", "days": []string{"sun", "wed"}, "start_time": "02:00", "minutes": 90, "time_zone": "Europe/Berlin"})
	require.Equal(t, 201, a.status, a.body)
	a.into(t, &w)
	a = r.call("PUT", "/api/v1/maintenance-windows/"+w.ID, map[string]any{"name": "weekly", "days": []string{"mon"}, "start_time": "03:00", "minutes": 30})
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, r.call("GET", "/api/v1/maintenance-windows", nil).body, `"days":["mon"]`)
	for detail, body := range map[string]map[string]any{
		"needs starts_at and ends_at":    {"name": "x"},
		"of the form HH:MM":              {"name": "x", "days": []string{"mon"}, "start_time": "3:00", "minutes": 5},
		`there is no time zone \"Mars\"`: {"name": "x", "days": []string{"mon"}, "start_time": "03:00", "minutes": 5, "time_zone": "Mars"},
		"match: at character":            {"name": "x", "match": "x", "starts_at": time.Now(), "ends_at": time.Now().Add(time.Hour)},
	} {
		a := r.call("POST", "/api/v1/maintenance-windows", body)
		require.Equal(t, 422, a.status, a.body)
		require.Contains(t, a.body, detail)
	}
	require.Equal(t, 404, r.call("PUT", "/api/v1/maintenance-windows/"+ops.NewID(), map[string]any{"name": "x", "days": []string{"mon"}, "start_time": "03:00", "minutes": 5}).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/maintenance-windows/x", nil).status)
}

func TestIncidentEdits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	for _, name := range []string{"One", "Two", "Three"} {
		require.Equal(t, 202, r.post(src, firing(name)).status)
	}
	edit := func(status int, method, path string, body any) (i ops.Incident) {
		t.Helper()
		a := r.call(method, "/api/v1/incidents/"+path, body)
		require.Equal(t, status, a.status, a.body)
		if status < 300 {
			a.into(t, &i)
		}
		return i
	}
	i := edit(200, "PATCH", "1", map[string]any{"title": " Mine ", "severity": "info", "description": "so"})
	require.Equal(t, []any{"Mine", ops.SeverityInfo, "so"}, []any{i.Title, i.Severity, i.Description})
	require.Equal(t, []string{"description", "severity", "title"}, i.Edited)
	require.Equal(t, 202, r.post(src, strings.Replace(firing("One"), "It is One", "It is worse", 1)).status)
	require.Equal(t, "Mine", edit(200, "PATCH", "1", map[string]any{}).Title)
	require.Equal(t, "bob", edit(200, "POST", "1/assign", map[string]any{"assignee": "bob"}).Assignee)
	require.Contains(t, r.said("1"), "assigned by hand")
	edit(422, "PATCH", "1", map[string]any{"title": "  "})
	edit(422, "PATCH", "1", map[string]any{"severity": "awful"})
	edit(404, "PATCH", "99", map[string]any{"title": "x"})

	into := edit(200, "POST", "2/merge", map[string]any{"into": "1"})
	require.Equal(t, []any{int64(1), 2, 2}, []any{into.Number, into.AlertCount, into.FiringCount})
	gone := edit(200, "GET", "2", nil)
	require.Equal(t, []any{ops.IncidentMerged, into.ID}, []any{gone.Status, gone.MergedInto})
	require.Contains(t, r.said("2"), "merged into incident 1 by hand")
	require.Contains(t, r.said("1"), "incident 2 was merged into this one by hand")
	edit(409, "POST", "2/merge", map[string]any{"into": "3"})
	edit(422, "POST", "1/merge", map[string]any{"into": "1"})
	edit(404, "POST", "1/merge", map[string]any{"into": "77"})

	var alerts struct{ Items []ops.Alert }
	r.call("GET", "/api/v1/incidents/1/alerts", nil).into(t, &alerts)
	part := edit(201, "POST", "1/split", map[string]any{"alert_ids": []string{alerts.Items[1].ID}, "title": "Apart"})
	require.Equal(t, []any{int64(4), "Apart", 1, ops.SeverityCritical}, []any{part.Number, part.Title, part.AlertCount, part.Severity})
	to := edit(200, "POST", "4/move", map[string]any{"alert_ids": []string{alerts.Items[1].ID}, "to": "3"})
	require.Equal(t, []any{int64(3), 2}, []any{to.Number, to.AlertCount})
	require.Equal(t, ops.IncidentResolved, edit(200, "GET", "4", nil).Status, "nothing is left of it")
	edit(422, "POST", "3/split", map[string]any{"alert_ids": []string{"x"}})
	edit(422, "POST", "3/split", map[string]any{"alert_ids": []string{}})
	edit(422, "POST", "3/move", map[string]any{"alert_ids": []string{ops.NewID()}, "to": "1"})

	for _, action := range []string{"edit", "assign", "merge", "split", "move"} {
		require.NotZero(t, count(t, r.pg, fmt.Sprintf(`SELECT count(*) FROM audit WHERE action = 'incident.%s' AND outcome = 'ok' AND actor = 'user:ann'`, action)), action)
	}
	require.Equal(t, 401, r.send(http.DefaultClient, "POST", "/api/v1/incidents/1/merge", map[string]any{"into": "3"}).status)
}

// TestChores: what is due is done by one of several replicas, and what fails is
// done again.
func TestChores(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r2 := start(t, r.pg, nil)
	var did, failed atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, s := range []*API{r.API, r2.API} {
		go func() {
			ended <- s.runChores(ctx, []chore{
				{"often", "", 50 * time.Millisecond, func(context.Context) error { did.Add(1); return nil }},
				{"once", "", time.Hour, func(context.Context) error { did.Add(1000); return nil }},
				{"fails", "", 50 * time.Millisecond, func(context.Context) error { failed.Add(1); return errors.New("no") }},
			})
		}()
	}
	require.Eventually(t, func() bool { return did.Load() >= 5 && failed.Load() >= 3 }, soon, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Less(t, did.Load(), int32(1000), "it is not due")
	outcome := func(chore, outcome string) float64 {
		return testutil.ToFloat64(r.metrics.chores.WithLabelValues(chore, outcome)) + testutil.ToFloat64(r2.metrics.chores.WithLabelValues(chore, outcome))
	}
	require.GreaterOrEqual(t, outcome("often", "done"), 4.0)
	require.GreaterOrEqual(t, outcome("fails", "failed"), 2.0)
	require.Contains(t, r.log.String()+r2.log.String(), `a chore failed`)

	// While one replica is at it, another one is not.
	begun, end := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		done, err := r.db.Chore(t.Context(), "slow", time.Nanosecond, func(context.Context) error { close(begun); <-end; return nil })
		if err == nil && !done {
			err = errors.New("it was not done")
		}
		first <- err
	}()
	<-begun
	done, err := r2.db.Chore(t.Context(), "slow", time.Nanosecond, func(context.Context) error { return errors.New("two at once") })
	require.NoError(t, err)
	require.False(t, done)
	close(end)
	require.NoError(t, <-first)
	done, err = r2.db.Chore(t.Context(), "slow", time.Hour, func(context.Context) error { return errors.New("too soon") })
	require.NoError(t, err)
	require.False(t, done)
}
