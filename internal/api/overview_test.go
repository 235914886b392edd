package api

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

func TestOverview(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("lab")
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "the disk is full", "severity": "critical"}).status)
	require.Equal(t, 200, r.call("POST", "/api/v1/sources/"+src.ID+"/test", map[string]any{"resolve": false}).status)

	var d postgres.Dashboard
	r.call("GET", "/api/v1/dashboard?window=week", nil).into(t, &d)
	require.Len(t, d.Hours, 168)
	require.Equal(t, "the disk is full", d.Oldest.Title)
	require.Equal(t, d.Oldest.ID, d.Hottest[0].ID)
	require.Equal(t, 1, d.Open[0].Triggered)
	require.Equal(t, 1, d.Queued)
	require.Equal(t, 422, r.call("GET", "/api/v1/dashboard?window=month", nil).status)

	var feed struct {
		Items      []postgres.FeedAlert `json:"items"`
		NextCursor string               `json:"next_cursor"`
	}
	r.call("GET", "/api/v1/alerts", nil).into(t, &feed)
	require.Len(t, feed.Items, 1)
	require.Equal(t, "lab", feed.Items[0].Source)
	require.EqualValues(t, 2, feed.Items[0].Incident)
	for query, want := range map[string]int{
		"status=firing": 1, "status=resolved": 0, "status=firing,resolved&source=" + src.ID: 1, "source=" + ops.NewID(): 0, "source=x": 0,
		"q=no+such+word": 0, "q=%00": 1, "label=a:b": 0, "q=100%25": 0, "cursor=" + feed.Items[0].ID: 0,
	} {
		a := r.call("GET", "/api/v1/alerts?"+query, nil)
		require.Equal(t, 200, a.status, a.body)
		a.into(t, &feed)
		require.Len(t, feed.Items, want, query)
	}
	for _, query := range []string{"status=open", "severity=bad", "label=x", "cursor=x", "limit=0", "limit=201"} {
		require.Equal(t, 422, r.call("GET", "/api/v1/alerts?"+query, nil).status, query)
	}
}

// threats: A7
func TestSystemKeepsErrorsFromViewers(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) {
		c.Configuration = func() ops.Configuration {
			return ops.Configuration{Version: "abc123", LoadedAt: time.Now().Add(-time.Hour), FailedAt: time.Now(), Problem: "line 3: 10.0.0.2 is wrong"}
		}
	})
	r.makeUser()
	_, err := r.db.Chore(t.Context(), "sweep", time.Minute, func(context.Context) error { return errors.New("http://10.0.0.1/ is away") })
	require.Error(t, err)
	require.Eventually(t, func() bool {
		var s systemReport
		r.call("GET", "/api/v1/system", nil).into(t, &s)
		return len(s.Processes) == 1 && s.Processes[0].Kind == "api" && s.Processes[0].Alive && s.Processes[0].Room == maxQueue
	}, 10*time.Second, 20*time.Millisecond)
	require.Contains(t, r.call("GET", "/api/v1/system", nil).body, "10.0.0.1")
	require.Contains(t, r.call("GET", "/api/v1/system", nil).body, "line 3: 10.0.0.2 is wrong")
	res, err := http.Get(r.OpsURL() + "/metrics")
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Contains(t, readAll(t, res), "akmatori_config_last_reload_successful 0")

	u := postgres.User{ID: ops.NewID(), Username: "vic", PasswordHash: "x", Roles: []string{"viewer"}}
	require.NoError(t, r.db.CreateUser(t.Context(), u))
	token := ops.NewToken(ops.APITokenPrefix)
	require.NoError(t, r.db.CreateToken(t.Context(), postgres.APIToken{ID: ops.NewID(), UserID: u.ID, Name: "v", Hash: ops.HashToken(token)}))
	as := func(method, path string, body any) reply {
		return r.send(http.DefaultClient, method, "/api/v1"+path, body, "Authorization", "Bearer "+token.Reveal())
	}
	a := as("GET", "/system", nil)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, `"failing":true`)
	require.NotContains(t, a.body, "10.0.0.1")
	require.NotContains(t, a.body, "10.0.0.2")
	require.Contains(t, a.body, `"version":"abc123"`)
	require.NotContains(t, a.body, "127.0.0.1")
	for _, path := range []string{"/dashboard", "/alerts", "/usage/parts", "/setup"} {
		require.Equal(t, 200, as("GET", path, nil).status, path)
	}
	require.Equal(t, 403, as("PATCH", "/setup", map[string]bool{"dismissed": true}).status)

	var state postgres.SetupState
	r.call("PATCH", "/api/v1/setup", map[string]bool{"dismissed": true}).into(t, &state)
	require.Equal(t, "user:ann", state.DismissedBy)
	require.False(t, state.DismissedAt.IsZero())
}
