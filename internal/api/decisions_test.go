package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// TestThreatsDecisions: who may not decide, decides nothing, however they ask;
// and nobody is somebody else by saying so.
func TestThreatsDecisions(t *testing.T) {
	t.Parallel()
	g := newKeeper(t)
	viewer, approver := g.guest("vic", "viewer"), g.guest("abe", "approver")
	token := []string{"Authorization", "Bearer " + g.token}
	a := g.ask("systemctl restart a", func(a *ops.Approval) { a.Requester = "user:ann" })
	path, yes := "/api/v1/approvals/"+a.ID+"/decision", map[string]any{"decision": "approve"}
	for _, c := range []struct {
		id     string
		client *http.Client
		body   any
		header []string
		want   int
	}{
		{"F8 nobody", browser(t), yes, []string{"Origin", g.PublicURL()}, 401},
		{"F8 a forged token", http.DefaultClient, yes, []string{"Authorization", "Bearer akm_" + ops.NewID()}, 401},
		{"F8 a token of a run", http.DefaultClient, yes, []string{"Authorization", "Bearer " + ops.NewToken(ops.GatewayTokenPrefix).Reveal()}, 401},
		{"F8 a viewer", viewer, yes, []string{"Origin", g.PublicURL()}, 403},
		{"F8 another site", approver, yes, []string{"Origin", "https://evil.example.com"}, 403},
		{"F7", http.DefaultClient, yes, token, 403},
		{"F1 another digest", approver, map[string]any{"decision": "approve", "digest": "other"}, []string{"Origin", g.PublicURL()}, 409},
		{"F13", approver, map[string]any{"decision": "approve", "command": "rm -rf /"}, []string{"Origin", g.PublicURL()}, 422},
		{"F13 arguments", approver, map[string]any{"decision": "approve", "arguments": map[string]string{"command": "x"}}, []string{"Origin", g.PublicURL()}, 422},
		{"E8", http.DefaultClient, map[string]any{"decision": "approve", "username": "abe"}, token, 422},
		{"F8 no such decision", approver, map[string]any{"decision": "yes"}, []string{"Origin", g.PublicURL()}, 422},
	} {
		t.Run(c.id, func(t *testing.T) {
			require.Equal(t, c.want, g.send(c.client, "POST", path, c.body, c.header...).status)
			out := g.still(a)
			require.Equal(t, ops.ApprovalPending, out.State)
			require.Empty(t, out.Decisions)
		})
	}
	require.Equal(t, 200, g.send(approver, "POST", path, yes, "Origin", g.PublicURL()).status)
	require.Equal(t, 409, g.send(approver, "POST", path, map[string]any{"decision": "deny"}, "Origin", g.PublicURL()).status, "it is decided")
	out := g.still(a)
	require.Equal(t, ops.ApprovalApproved, out.State)
	require.Equal(t, "abe", out.Decisions[0].Username)

	t.Run("E8 an incident", func(t *testing.T) {
		for _, field := range []string{"actor", "user", "user_id", "requester", "opened_by"} {
			require.Equal(t, 422, g.call("POST", "/api/v1/incidents", map[string]any{"title": "x", field: "user:root"}).status, field)
		}
		a := g.call("POST", "/api/v1/incidents", map[string]any{"title": "mine"})
		require.Equal(t, 201, a.status, a.body)
		var i ops.Incident
		a.into(t, &i)
		runs, err := g.db.Runs(t.Context(), i.ID)
		require.NoError(t, err)
		require.Equal(t, "user:ann", runs[0].Actor)
	})
}
