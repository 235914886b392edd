package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

func TestGatewayTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const root = "/api/v1/gateway-tokens"
	type body = map[string]any
	for name, in := range map[string]body{
		"no name":            {"agent": "investigator"},
		"no agent":           {"name": "ide"},
		"an unknown agent":   {"name": "ide", "agent": "nobody"},
		"an unknown tool":    {"name": "ide", "agent": "investigator", "tools": []string{"ssh_nothing"}},
		"a malformed tool":   {"name": "ide", "agent": "investigator", "tools": []string{"ssh_execute(uptime"}},
		"a rule":             {"name": "ide", "agent": "investigator", "tools": []string{"deny:ssh_execute"}},
		"a malformed target": {"name": "ide", "agent": "investigator", "targets": []string{"[a"}},
		"an empty target":    {"name": "ide", "agent": "investigator", "targets": []string{""}},
		"too long a life":    {"name": "ide", "agent": "investigator", "days": 91},
	} {
		require.Equal(t, 422, r.call("POST", root, in).status, name)
	}
	a := r.call("POST", root, body{"name": "ide", "agent": "investigator", "tools": []string{"ssh_hosts", "ssh_execute(uptime)"}, "targets": []string{"db-*"}})
	require.Equal(t, 201, a.status, a.body)
	var made struct {
		postgres.GatewayToken
		Token ops.Secret `json:"token"`
	}
	a.into(t, &made)
	require.Equal(t, "user:ann", made.Actor)
	require.WithinDuration(t, time.Now().Add(30*24*time.Hour), made.ExpiresAt, time.Minute)

	grant, err := r.db.GrantByToken(t.Context(), ops.HashToken(made.Token))
	require.NoError(t, err)
	require.Equal(t, made.ID, grant.TokenID)
	require.Equal(t, []string{"ssh_hosts", "ssh_execute(uptime)"}, grant.Tools)
	require.Contains(t, grant.Rules, "allow:ssh_hosts")

	// An API token that ends makes none that outlives it.
	short, end := ops.NewToken(ops.APITokenPrefix), time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	require.NoError(t, r.db.CreateToken(t.Context(), postgres.APIToken{ID: ops.NewID(), UserID: r.accountID("ann"), Name: "short", Hash: ops.HashToken(short), ExpiresAt: end}))
	var brief postgres.GatewayToken
	a = r.send(http.DefaultClient, "POST", root, body{"name": "brief", "agent": "investigator"}, "Authorization", "Bearer "+short.Reveal())
	require.Equal(t, 201, a.status, a.body)
	a.into(t, &brief)
	require.Equal(t, end, brief.ExpiresAt.UTC())

	// Nor does one that may not start the agent make one that uses its tools.
	var less createdToken
	r.call("POST", "/api/v1/tokens", body{"name": "less", "actions": []string{"agents.manage"}}).into(t, &less)
	a = r.send(http.DefaultClient, "POST", root, body{"name": "more", "agent": "investigator"}, "Authorization", "Bearer "+less.Token)
	require.Equal(t, 403, a.status, a.body)

	listed := r.call("GET", root, nil)
	require.Equal(t, 200, listed.status)
	require.Contains(t, listed.body, made.ID)
	require.NotContains(t, listed.body, made.Token.Reveal())
	require.NotContains(t, r.log.String(), made.Token.Reveal())
	calls := r.call("GET", root+"/"+made.ID+"/calls", nil)
	require.Contains(t, calls.body, `"items":[]`)

	require.Equal(t, 204, r.call("DELETE", root+"/"+made.ID, nil).status)
	for _, id := range []string{made.ID, ops.NewID(), "x"} {
		require.Equal(t, 404, r.call("DELETE", root+"/"+id, nil).status, id)
	}
	_, err = r.db.GrantByToken(t.Context(), ops.HashToken(made.Token))
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
	records, err := r.db.Audit(t.Context(), Chain, 0, 100)
	require.NoError(t, err)
	var seen []string
	for _, rec := range records {
		if rec.Object == made.ID {
			seen = append(seen, rec.Action+" "+rec.Outcome)
		}
	}
	require.Equal(t, []string{"gateway_token.created intent", "gateway_token.created ok", "gateway_token.revoked intent", "gateway_token.revoked ok",
		"gateway_token.revoked intent", "gateway_token.revoked failed"}, seen)

	// The tokens of a user who is disabled end with them.
	bob := postgres.User{ID: ops.NewID(), Username: "bob", Roles: []string{"viewer"}}
	require.NoError(t, r.db.CreateUser(t.Context(), bob))
	secret := ops.NewToken(ops.ClientTokenPrefix)
	require.NoError(t, r.db.CreateGatewayToken(t.Context(), postgres.GatewayToken{ID: ops.NewID(), Name: "bobs", Actor: "user:bob", Agent: "investigator",
		Tools: []string{"*"}, Targets: []string{"*"}, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Hash: ops.HashToken(secret)}))
	_, err = r.db.GrantByToken(t.Context(), ops.HashToken(secret))
	require.NoError(t, err)
	disabled := true
	require.NoError(t, r.db.ChangeUser(t.Context(), bob.ID, postgres.UserChange{Disabled: &disabled}))
	_, err = r.db.GrantByToken(t.Context(), ops.HashToken(secret))
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
}

// TestAGatewayTokenThatLivesIsSeen, however many newer ones have ended.
func TestAGatewayTokenThatLivesIsSeen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/gateway-tokens", map[string]any{"name": "old", "agent": "investigator"}).status)
	r.exec(`INSERT INTO gateway_tokens (id, name, hash, actor, agent_id, tools, targets, created_at, expires_at, revoked_at)
		SELECT gen_random_uuid(), 'job', int4send(n), 'user:ann', 'investigator', '{*}', '{*}', now(), now() + interval '1 hour', now() FROM generate_series(1, 500) AS n`)
	tokens, err := r.db.GatewayTokens(t.Context())
	require.NoError(t, err)
	require.Len(t, tokens, 500)
	require.Equal(t, "old", tokens[0].Name)
}
