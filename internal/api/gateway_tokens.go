package api

import (
	"context"
	"net/http"
	"path"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

// maxGatewayTokens bounds the tokens that live at a time.
const maxGatewayTokens = 200

type newGatewayToken struct {
	Body struct {
		Name    string   `json:"name" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$"`
		Agent   string   `json:"agent" minLength:"1" maxLength:"100" doc:"Whose rules count."`
		Tools   []string `json:"tools,omitempty" maxItems:"100" nullable:"false" doc:"What it may be used for, each as behind allow: in a rule: zabbix_*, ssh_execute(uptime). Nothing means all that the agent's rules allow."`
		Targets []string `json:"targets,omitempty" maxItems:"100" nullable:"false" doc:"Names or globs of the targets that it reaches; nothing means all."`
		Days    int      `json:"days,omitempty" minimum:"1" maximum:"90" default:"30" doc:"How long it lives."`
	}
}

type createdGatewayToken struct {
	postgres.GatewayToken
	Token string `json:"token" doc:"Shown this one time."`
}

func (s *API) gatewayTokenOperations(api huma.API) {
	const tag, root = "configuration", "/gateway-tokens"
	handle(s, api, operation{id: "list-gateway-tokens", method: http.MethodGet, path: root, summary: "Tokens with which MCP clients use the gateway", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[postgres.GatewayToken]], error) {
			return items(s.db.GatewayTokens(ctx))
		})
	handle(s, api, operation{id: "create-gateway-token", method: http.MethodPost, path: root, summary: "Let an MCP client use the gateway, under an agent's rules", tag: tag,
		status: http.StatusCreated}, s.createGatewayToken)
	handle(s, api, operation{id: "delete-gateway-token", method: http.MethodDelete, path: root + "/{id}", summary: "Revoke a gateway token; what runs with it is stopped", tag: tag,
		status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *tokenPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, ops.Errorf(ops.CodeNotFound, "there is no such token")
			}
			return nil, s.audited(ctx, who, "gateway_token.revoked", in.ID, nil, func() error { return s.db.RevokeGatewayToken(ctx, in.ID) })
		})
	handle(s, api, operation{id: "list-gateway-token-calls", method: http.MethodGet, path: root + "/{id}/calls", summary: "The newest tool calls with a gateway token", tag: tag},
		func(ctx context.Context, _ caller, in *tokenPath) (*answer[list[ops.ToolCall]], error) {
			if !ops.ValidID(in.ID) {
				return nil, ops.Errorf(ops.CodeNotFound, "there is no such token")
			}
			return items(s.db.TokenCalls(ctx, in.ID))
		})
}

// createGatewayToken makes a token whose actor is the caller, for an agent that they may start.
func (s *API) createGatewayToken(ctx context.Context, who caller, in *newGatewayToken) (*answer[createdGatewayToken], error) {
	b := in.Body
	// The gateway looks at what its user may, so this is where an API token with
	// actions of its own is kept from one that may more.
	if err := mayStart(who, b.Agent); err != nil {
		return nil, err
	}
	if len(b.Tools) == 0 {
		b.Tools = []string{"*"}
	}
	rules := make([]string, len(b.Tools))
	for i, t := range b.Tools {
		rules[i] = "allow:" + t
	}
	if _, err := policy.Load(rules); err != nil {
		return nil, ops.Errorf(ops.CodeInvalid, "tools: %s", err)
	}
	if len(b.Targets) == 0 {
		b.Targets = []string{"*"}
	}
	for _, t := range b.Targets {
		if _, err := path.Match(t, ""); err != nil || t == "" || len(t) > 100 || t != storable(t) {
			return nil, ops.Errorf(ops.CodeInvalid, "targets are names or globs with * and ?")
		}
	}
	known, err := s.db.GatewayTokens(ctx)
	if err != nil {
		return nil, err
	}
	now, live := time.Now().UTC().Truncate(time.Microsecond), 0
	for _, t := range known {
		if t.RevokedAt.IsZero() && t.ExpiresAt.After(now) {
			live++
		}
	}
	if live >= maxGatewayTokens {
		return nil, ops.Errorf(ops.CodeConflict, "there are %d gateway tokens: revoke one first", live)
	}
	token := ops.NewToken(ops.ClientTokenPrefix)
	t := postgres.GatewayToken{ID: ops.NewID(), Name: b.Name, Actor: who.actor(), Agent: storable(b.Agent), Tools: b.Tools, Targets: b.Targets,
		CreatedAt: now, ExpiresAt: now.Add(time.Duration(b.Days) * 24 * time.Hour), Hash: ops.HashToken(token)}
	if end := who.token.ExpiresAt; !end.IsZero() && end.Before(t.ExpiresAt) {
		t.ExpiresAt = end // an API token makes none that lasts longer than itself
	}
	err = s.audited(ctx, who, "gateway_token.created", t.ID, map[string]string{"name": t.Name, "agent": t.Agent, "expires_at": t.ExpiresAt.Format(time.RFC3339)},
		func() error { return s.db.CreateGatewayToken(ctx, t) })
	if err != nil {
		return nil, err
	}
	return &answer[createdGatewayToken]{createdGatewayToken{t, token.Reveal()}}, nil
}
