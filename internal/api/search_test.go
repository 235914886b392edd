package api

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

type incidentPage struct {
	Items []ops.Incident
	Next  string `json:"next_cursor"`
}

func TestIncidentsAreFoundByTheirAlerts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	for n := range 5 {
		require.Equal(t, 202, r.post(src, firing(fmt.Sprint("DiskFull", n))).status)
	}
	find := func(query string) incidentPage {
		t.Helper()
		var page incidentPage
		a := r.call("GET", "/api/v1/incidents?"+query, nil)
		require.Equal(t, http.StatusOK, a.status, a.body)
		a.into(t, &page)
		return page
	}
	all := find("")
	require.Len(t, all.Items, 5)
	one := all.Items[2]
	var alerts struct{ Items []ops.Alert }
	r.call("GET", "/api/v1/incidents/"+one.ID+"/alerts", nil).into(t, &alerts)
	require.Len(t, alerts.Items, 1)
	name := alerts.Items[0].Labels["alertname"]

	require.Len(t, find("q="+alerts.Items[0].Host).Items, 5, "the host of all")
	require.Len(t, find("q=disk").Items, 5, "a part of a word")
	require.Equal(t, one.ID, find("q=" + name).Items[0].ID)
	require.Len(t, find("q="+name).Items, 1)
	require.Len(t, find("q="+url.QueryEscape(fmt.Sprint("#", one.Number))).Items, 1)
	require.Empty(t, find("q="+url.QueryEscape("' | \\ & !:* ( )")).Items, "nothing in it is a word")
	require.Empty(t, find("q=%00%ff").Items)
	require.Len(t, find("label=alertname:"+name).Items, 1)
	require.Len(t, find("label=alertname:DiskFull0&label=alertname:DiskFull4&source="+src.ID).Items, 2)
	require.Len(t, find("source="+src.ID+",none&status=triggered&severity="+string(one.Severity)).Items, 5)
	require.Empty(t, find("source=none").Items)
	require.Empty(t, find("source=nonsense").Items)
	require.Empty(t, find("opened_before=2020-01-01T00:00:00Z").Items)
	require.Len(t, find("opened_after=2020-01-01T00:00:00Z&limit=2").Items, 2)

	for _, wrong := range []string{"status=open", "severity=bad", "investigation=odd", "label=x", "label=:x", "cursor=x", "opened_after=yesterday", "limit=0"} {
		status := r.call("GET", "/api/v1/incidents?"+wrong, nil).status
		require.Contains(t, []int{400, 422}, status, wrong)
	}

	var facets postgres.Facets
	r.call("GET", "/api/v1/incidents/facets?status=triggered", nil).into(t, &facets)
	require.Equal(t, 5, facets.Total)
	require.True(t, facets.Exact)
	require.Equal(t, []postgres.FacetValue{{Value: src.ID, Name: "am", Count: 5}}, facets.Source)
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/"+one.ID+"/acknowledge", nil).status)
	r.call("GET", "/api/v1/incidents/facets?q=disk", nil).into(t, &facets)
	require.Equal(t, []postgres.FacetValue{{Value: "triggered", Count: 4}, {Value: "acknowledged", Count: 1}}, facets.Status)
	r.call("GET", "/api/v1/incidents/facets?source=nonsense", nil).into(t, &facets)
	require.Zero(t, facets.Total)

	require.Equal(t, 200, r.call("PATCH", "/api/v1/incidents/"+one.ID, map[string]string{"title": "Renamed by a person"}).status)
	require.Equal(t, one.ID, find("q=renamed").Items[0].ID)
	var made ops.Incident
	r.call("POST", "/api/v1/incidents", map[string]string{"title": "Opened by hand"}).into(t, &made)
	require.Equal(t, made.ID, find("q=hand&source=none").Items[0].ID)
}
