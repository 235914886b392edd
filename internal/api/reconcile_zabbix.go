package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	zabbixProblems = "zabbix_problems" // the gateway's tool
	zabbixPage     = 500               // problems, which is what the tool gives at most
	zabbixPages    = 20
	tokenLife      = 5 * time.Minute
)

// askZabbix reads the open problems of a Zabbix, all pages of them, by a tool of
// the gateway: the api neither has Zabbix's credential nor reaches it. What the
// credential's user may not see is not in the list; nor are internal events.
func (s *API) askZabbix(ctx context.Context, src ops.Source, _ ops.Secret) (listing, error) {
	at := time.Now().UTC()
	target := src.Options.Reconcile.Target
	token, err := s.db.MintServiceToken(ctx, postgres.ServiceToken{Service: "reconcile", Tools: []string{zabbixProblems}, Targets: []string{target}, Life: tokenLife})
	if err != nil {
		return listing{}, err
	}
	l := listing{at: at, key: episodeThere, judged: func(ops.Alert) bool { return true }}
	arguments := map[string]any{"target": target, "limit": zabbixPage}
	for range zabbixPages {
		data, err := s.callTool(ctx, token, zabbixProblems, arguments)
		if err != nil {
			return listing{}, err
		}
		page, last, err := ingest.ListedByZabbix(ingest.Request{Body: data, ReceivedAt: at, Options: src.Options})
		if err != nil {
			return listing{}, ops.Errorf(ops.CodeUnavailable, "%s: %s", target, err)
		}
		l.alerts = append(l.alerts, page...)
		if last == "" {
			return l, nil
		}
		arguments["before_event"] = last
	}
	return listing{}, ops.Errorf(ops.CodeTooLarge, "%s has more than %d open problems: too many to compare", target, zabbixPages*zabbixPage)
}

// callTool calls a tool of the gateway, which is a server of MCP without
// sessions: one request, one answer (modelcontextprotocol.io, streamable HTTP).
// It gives the data of a call that is done.
func (s *API) callTool(ctx context.Context, token ops.Secret, name string, arguments map[string]any) (json.RawMessage, error) {
	result, err := s.toolResult(ctx, token, name, arguments)
	switch {
	case err != nil:
		return nil, err
	case result.State != ops.CallDone:
		return nil, ops.Errorf(ops.CodeUnavailable, "%s: %s", name, result.Text)
	}
	return result.Data, nil
}

// toolResult is the same, whatever became of the call.
func (s *API) toolResult(ctx context.Context, token ops.Secret, name string, arguments any) (none ops.ToolResult, err error) {
	if s.gatewayURL == "" {
		return none, ops.Errorf(ops.CodeInvalid, "this api does not know its gateway (AKMATORI_GATEWAY_URL), by which tools are used")
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": name, "arguments": arguments}})
	if err != nil {
		return none, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.gatewayURL, bytes.NewReader(body))
	if err != nil {
		return none, fmt.Errorf("the gateway's address: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	raw, err := s.fetch.do(req)
	if err != nil {
		return none, err
	}
	var answer struct {
		Result struct {
			Structured ops.ToolResult `json:"structuredContent"`
		} `json:"result"`
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(raw, &answer); {
	case err != nil:
		return none, ops.Errorf(ops.CodeUnavailable, "the gateway's answer cannot be read")
	case answer.Error != nil:
		return none, ops.Errorf(ops.CodeUnavailable, "the gateway: %s", answer.Error.Message)
	}
	return answer.Result.Structured, nil
}
