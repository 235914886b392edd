package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

func TestViews(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	vic, rob := r.guest("vic", "viewer"), r.guest("rob", "responder")
	origin := []string{"Origin", r.PublicURL()}

	filter := map[string]any{"severity": "critical,high", "status": "triggered", "label": []string{"env:prod"}, "q": "disk"}
	a := r.call("POST", "/api/v1/views", map[string]any{"name": " Fires ", "filter": filter})
	require.Equal(t, 201, a.status, a.body)
	var mine ops.View
	a.into(t, &mine)
	require.Equal(t, "Fires", mine.Name)
	require.Equal(t, ops.ViewFilter{Status: "triggered", Severity: "critical,high", Label: []string{"env:prod"}, Text: "disk"}, mine.Filter)
	require.True(t, mine.Mine)
	require.Equal(t, 409, r.call("POST", "/api/v1/views", map[string]any{"name": "Fires", "filter": filter}).status)

	// What the list would refuse is not kept.
	for _, bad := range []map[string]any{{"severity": "awful"}, {"label": []string{"nocolon"}}, {"status": strings.Repeat("x", 101)}, {"page": "2"}} {
		require.Equal(t, 422, r.call("POST", "/api/v1/views", map[string]any{"name": "bad", "filter": bad}).status, bad)
	}
	require.Equal(t, 422, r.call("POST", "/api/v1/views", map[string]any{"name": "  ", "filter": filter}).status)

	// Nobody else sees it before it is shared, and then nobody else changes it.
	seen := func(who string) (names []string) {
		var all struct{ Items []ops.View }
		switch who {
		case "vic":
			r.send(vic, "GET", "/api/v1/views", nil).into(t, &all)
		case "rob":
			r.send(rob, "GET", "/api/v1/views", nil).into(t, &all)
		default:
			r.call("GET", "/api/v1/views", nil).into(t, &all)
		}
		for _, v := range all.Items {
			names = append(names, fmt.Sprintf("%s of %s %t", v.Name, v.Owner, v.Mine))
		}
		return names
	}
	path := "/api/v1/views/" + mine.ID
	change := map[string]any{"name": "Big fires", "filter": map[string]any{"severity": "critical"}, "shared": true}
	require.Empty(t, seen("vic"))
	require.Equal(t, 404, r.send(vic, "PUT", path, change, origin...).status)
	require.Equal(t, 404, r.send(vic, "DELETE", path, nil, origin...).status)
	a = r.call("PUT", path, change)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, []string{"Big fires of ann false"}, seen("vic"))
	require.Equal(t, 403, r.send(rob, "PUT", path, change, origin...).status)
	require.Equal(t, 403, r.send(rob, "DELETE", path, nil, origin...).status)

	// A viewer keeps views, and shares none.
	a = r.send(vic, "POST", "/api/v1/views", map[string]any{"name": "Mine", "filter": map[string]any{}}, origin...)
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, 403, r.send(vic, "POST", "/api/v1/views", map[string]any{"name": "Ours", "filter": map[string]any{}, "shared": true}, origin...).status)
	require.Equal(t, []string{"Mine of vic true", "Big fires of ann false"}, seen("vic"), "one's own come first")
	a = r.send(rob, "POST", "/api/v1/views", map[string]any{"name": "Rob's", "filter": map[string]any{}, "shared": true}, origin...)
	require.Equal(t, 201, a.status, a.body)
	var robs ops.View
	a.into(t, &robs)

	// Two of one name cannot be, an admin removes what somebody has left shared.
	a = r.call("POST", "/api/v1/views", map[string]any{"name": "Other", "filter": map[string]any{}})
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, 409, r.call("PUT", path, map[string]any{"name": "Other", "filter": map[string]any{}}).status)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/views/"+robs.ID, nil).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/views/"+robs.ID, nil).status)
	require.Equal(t, []string{"Big fires of ann true", "Other of ann true"}, seen("ann"))

	// There is an end to them.
	var answer reply
	for n := 0; n < 120 && answer.status != 409; n++ {
		answer = r.call("POST", "/api/v1/views", map[string]any{"name": fmt.Sprint("v", n), "filter": map[string]any{}})
	}
	require.Equal(t, 409, answer.status)
	require.Contains(t, answer.body, "you have 100 views")
	for _, action := range []string{"view.created", "view.changed", "view.removed"} {
		require.Contains(t, r.audit(), action)
	}
}

func TestBulkChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	open := func(title string) ops.Incident {
		a := r.call("POST", "/api/v1/incidents", map[string]any{"title": title})
		require.Equal(t, 201, a.status, a.body)
		var i ops.Incident
		a.into(t, &i)
		return i
	}
	first, second, third := open("first"), open("second"), open("third")
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/"+second.ID+"/close", nil).status)

	type item struct {
		ID       string
		Incident *ops.Incident
		Status   int
		Problem  string
	}
	bulk := func(body map[string]any) (out []item) {
		a := r.call("POST", "/api/v1/incidents/bulk", body)
		require.Equal(t, 200, a.status, a.body)
		var got struct{ Items []item }
		a.into(t, &got)
		return got.Items
	}

	// Each for itself: what is closed cannot be acknowledged, what is not there
	// neither, and the others are.
	number := fmt.Sprint(third.Number)
	got := bulk(map[string]any{"action": "acknowledge", "ids": []string{first.ID, second.ID, number, "99999", first.ID}})
	require.Len(t, got, 4, "what is named twice is changed once")
	require.Equal(t, []string{first.ID, second.ID, number, "99999"}, []string{got[0].ID, got[1].ID, got[2].ID, got[3].ID})
	require.Equal(t, []int{200, 409, 200, 404}, []int{got[0].Status, got[1].Status, got[2].Status, got[3].Status})
	require.Equal(t, ops.IncidentAcknowledged, got[0].Incident.Status)
	require.Equal(t, third.ID, got[2].Incident.ID)
	require.Contains(t, got[1].Problem, "closed")
	require.Nil(t, got[1].Incident)

	got = bulk(map[string]any{"action": "assign", "ids": []string{first.ID, second.ID}, "assignee": "ann"})
	require.Equal(t, "ann", got[0].Incident.Assignee)
	require.Equal(t, "ann", got[1].Incident.Assignee)
	got = bulk(map[string]any{"action": "resolve", "ids": []string{first.ID, third.ID}})
	require.Equal(t, ops.IncidentResolved, got[0].Incident.Status)
	got = bulk(map[string]any{"action": "close", "ids": []string{first.ID, second.ID, third.ID}})
	require.Equal(t, ops.IncidentClosed, got[2].Incident.Status)

	// As if done one by one: on each timeline, and in the audit by number and name.
	timeline := r.timeline(int(first.Number))
	for _, word := range []string{"acknowledged", "assigned by hand", "incident.resolved", "closed"} {
		require.Contains(t, timeline, word)
	}
	var records struct{ Items []ops.AuditRecord }
	r.call("GET", "/api/v1/audit?limit=200&action=incident.&object="+first.ID, nil).into(t, &records)
	outcomes := map[string]int{}
	for _, rec := range records.Items {
		outcomes[rec.Action+" "+rec.Outcome]++
		require.Equal(t, "user:ann", rec.Actor)
	}
	for _, action := range []string{"incident.acknowledge", "incident.assign", "incident.resolve", "incident.close"} {
		require.Equal(t, 1, outcomes[action+" intent"], outcomes)
		require.Equal(t, 1, outcomes[action+" ok"], outcomes)
	}
	r.call("GET", "/api/v1/audit?limit=200&action=incident.acknowledge&object="+second.ID, nil).into(t, &records)
	require.Len(t, records.Items, 2)
	require.Equal(t, "failed", records.Items[0].Outcome)

	// Bounded, and for those who may.
	many := make([]string, 201)
	for n := range many {
		many[n] = fmt.Sprint(n + 1)
	}
	require.Equal(t, 422, r.call("POST", "/api/v1/incidents/bulk", map[string]any{"action": "close", "ids": many}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/incidents/bulk", map[string]any{"action": "close", "ids": []string{}}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/incidents/bulk", map[string]any{"action": "delete", "ids": []string{"1"}}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/incidents/bulk", map[string]any{"action": "close", "ids": []string{"1"}, "assignee": "ann"}).status)
	a := r.send(r.guest("vic", "viewer"), "POST", "/api/v1/incidents/bulk", map[string]any{"action": "close", "ids": []string{"1"}}, "Origin", r.PublicURL())
	require.Equal(t, 403, a.status)
}
