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

// TestWhoMayNotApproveAnyMoreHasNotApproved: of two who must, one is left to come
// when the first has been disabled, or has lost the role, meanwhile.
func TestWhoMayNotApproveAnyMoreHasNotApproved(t *testing.T) {
	t.Parallel()
	g := newKeeper(t)
	eve, abe, kim := g.guest("eve", "approver"), g.guest("abe", "approver"), g.guest("kim", "approver")
	a := g.ask("systemctl restart a", func(a *ops.Approval) { a.Requester, a.Risk, a.Needed = "user:ann", ops.RiskCritical, 2 })
	approve := func(b *http.Client) ops.Approval {
		answer := g.send(b, "POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": "approve"}, "Origin", g.PublicURL())
		require.Equal(t, 200, answer.status, answer.body)
		return g.still(a)
	}
	require.Equal(t, ops.ApprovalPending, approve(eve).State)
	for _, change := range []map[string]any{{"disabled": true}, {"disabled": false, "roles": []string{"viewer"}}} {
		require.Equal(t, 200, g.call("PATCH", "/api/v1/users/"+g.accountID("eve"), change).status)
		require.Empty(t, g.still(a).Decisions)
	}
	out := approve(abe)
	require.Equal(t, ops.ApprovalPending, out.State)
	require.Len(t, out.Decisions, 1)
	out = approve(kim)
	require.Equal(t, ops.ApprovalApproved, out.State)
	require.Len(t, out.Decisions, 3, "what was said stays said")
}
