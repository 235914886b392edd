package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/akmatori/akmatori/internal/ops"
)

// operation describes one call of /api/v1.
type operation struct {
	id, method, path, summary string
	tag                       string
	status                    int // of success; 0 means 200
	// anonymous opens the operation to callers without an account.
	anonymous bool
	stream    bool // an event stream
	lines     bool // JSON lines
	markdown  bool
	asks      bool  // somebody else than the database
	maxBody   int64 // bytes; 0 means huma's MiB
}

// answer is a JSON body.
type answer[T any] struct{ Body T }

// list is a page of items.
type list[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor" doc:"Give it as cursor to get the next page; empty on the last one."`
}

func items[T any](all []T, err error) (*answer[list[T]], error) {
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = []T{}
	}
	return &answer[list[T]]{list[T]{Items: all}}, nil
}

// nothing is the input or output of operations without one.
type nothing struct{}

// handle registers an operation. Its handler gets the caller as a parameter; an
// operation that is not anonymous is never called without one.
func handle[I, O any](s *API, api huma.API, o operation, h func(context.Context, caller, *I) (*O, error)) {
	op := huma.Operation{OperationID: o.id, Method: o.method, Path: "/api/v1" + o.path, Summary: o.summary, DefaultStatus: o.status, MaxBodyBytes: o.maxBody,
		Tags: []string{o.tag}, Security: []map[string][]string{{"token": {}}, {"session": {}}}}
	if o.anonymous {
		op.Security = []map[string][]string{}
	} else {
		op.Middlewares = huma.Middlewares{s.authenticated(o)}
	}
	needed := neededFor(o)
	if needed != own {
		op.Description = fmt.Sprintf("Needs the permission %q.", needed)
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		who, ok := ctx.Value(callerKey{}).(caller)
		if !ok && !o.anonymous {
			return nil, newProblem(http.StatusUnauthorized, "sign in first")
		}
		out, err := h(ctx, who, in)
		if err != nil {
			return nil, s.problemOf(ctx, o.id, err)
		}
		return out, nil
	})
	if o.asks {
		s.asking[op.Method+" "+op.Path] = true
	}
	if o.stream {
		responses := api.OpenAPI().Paths["/api/v1"+o.path].Get.Responses
		responses["200"].Content = map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	if o.markdown {
		responses := api.OpenAPI().Paths["/api/v1"+o.path].Get.Responses
		responses["200"].Content = map[string]*huma.MediaType{"text/markdown": {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	if o.lines {
		responses := api.OpenAPI().Paths["/api/v1"+o.path].Get.Responses
		responses["200"].Content = map[string]*huma.MediaType{"application/jsonl": {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
}

// callerKey finds the caller in the context of a huma operation, which has no
// other way from a middleware to a handler. Only handle reads it.
type callerKey struct{}

// authenticated refuses requests without a caller, or whose caller lacks the
// permission, before their body is read.
func (s *API) authenticated(o operation) func(huma.Context, func(huma.Context)) {
	needed := neededFor(o)
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(ctx)
		who, err := s.identify(r, o.stream)
		if err == nil {
			err = permit(who, needed)
		}
		if err != nil {
			writeProblem(w, s.problemOf(r.Context(), "authentication", err))
			return
		}
		next(huma.WithValue(ctx, callerKey{}, who))
	}
}

// operations registers all of them.
func (s *API) operations(r chi.Router) huma.API {
	config := huma.DefaultConfig("Akmatori", "1")
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.Transformers = []huma.Transformer{hideValues}
	config.Info.Description = "Alerts become investigated incidents. Times are RFC 3339 in UTC, errors are problem documents (RFC 9457)."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "An API token, akm_…"},
		"session": {Type: "apiKey", In: "cookie", Name: sessionCookie},
	}
	api := humachi.New(r, config)
	s.accountOperations(api)
	s.sessionOperations(api)
	s.userOperations(api)
	s.factorOperations(api)
	s.oidcOperations(api)
	s.signInOperations(api)
	s.actorOperations(api)
	s.agentOperations(api)
	s.skillOperations(api)
	s.runbookOperations(api)
	s.gatekeeperOperations(api)
	s.incidentOperations(api)
	s.editOperations(api)
	s.bulkOperations(api)
	s.viewOperations(api)
	s.postmortemOperations(api)
	s.outputOperations(api)
	s.messageOperations(api)
	s.feedbackOperations(api)
	s.caseOperations(api)
	s.memoryOperations(api)
	s.budgetOperations(api)
	s.groupingOperations(api)
	s.windowOperations(api)
	s.senderOperations(api)
	s.reconcileOperations(api)
	s.inventoryOperations(api)
	s.gatewayTokenOperations(api)
	s.toolOperations(api)
	s.policyOperations(api)
	s.auditOperations(api)
	s.approvalOperations(api)
	s.overviewOperations(api)
	describe(api)
	return api
}

// describe makes the document say what the types cannot: which texts are of a
// fixed set, and that lists are never null.
func describe(api huma.API) {
	enums := map[string]map[string][]any{
		"Incident": {
			"severity":      {ops.SeverityCritical, ops.SeverityHigh, ops.SeverityWarning, ops.SeverityInfo},
			"status":        {ops.IncidentTriggered, ops.IncidentAcknowledged, ops.IncidentResolved, ops.IncidentClosed, ops.IncidentMerged},
			"investigation": {ops.RunQueued, ops.RunRunning, ops.RunWaitingApproval, ops.RunConcluded, ops.RunInconclusive, ops.RunFailed, ops.RunCancelled},
		},
		"Alert": {
			"severity": {ops.SeverityCritical, ops.SeverityHigh, ops.SeverityWarning, ops.SeverityInfo},
			"status":   {ops.AlertFiring, ops.AlertAcknowledged, ops.AlertResolved},
			"kind":     {"", ops.AlertNoData, ops.AlertError, ops.AlertInternal, ops.AlertTest},
		},
		"SourceError": {"kind": {ops.ErrorUnparsable, ops.ErrorUnauthenticated, ops.ErrorSignature, ops.ErrorUnproven, ops.ErrorTruncated,
			ops.ErrorDatabase, ops.ErrorOverload, ops.ErrorTooLarge}},
		"Run":             {"state": {ops.RunQueued, ops.RunRunning, ops.RunWaitingApproval, ops.RunConcluded, ops.RunInconclusive, ops.RunFailed, ops.RunCancelled}},
		"ToolCall":        {"state": {ops.CallReceived, ops.CallDecided, ops.CallIntent, ops.CallExecuting, ops.CallDone, ops.CallFailed, ops.CallDenied, ops.CallUnknown}},
		"ToolResult":      {"state": {ops.CallDone, ops.CallFailed, ops.CallDenied, ops.CallUnknown}},
		"Episode":         {"feedback": {"", ops.FeedbackRight, ops.FeedbackWrong, ops.FeedbackPartly}},
		"SimilarIncident": {"feedback": {"", ops.FeedbackRight, ops.FeedbackPartly}, "status": {ops.IncidentTriggered, ops.IncidentAcknowledged, ops.IncidentResolved, ops.IncidentClosed, ops.IncidentMerged}},
		"Feedback":        {"verdict": {ops.FeedbackRight, ops.FeedbackWrong, ops.FeedbackPartly}},
		"ActionCheck":     {"verdict": {"allow", "ask", "deny"}},
		"Hypothesis":      {"verdict": {ops.VerdictConfirmed, ops.VerdictRefuted, ops.VerdictOpen}},
	}
	enums["FeedAlert"] = enums["Alert"]
	schemas := api.OpenAPI().Components.Schemas.Map()
	for name, schema := range schemas {
		for prop, p := range schema.Properties {
			if p.Type == huma.TypeArray {
				p.Nullable = false
			}
			if values, ok := enums[name][prop]; ok {
				p.Enum = values
			}
		}
	}
	if e := schemas["ErrorDetail"]; e != nil {
		delete(e.Properties, "value")
	}
	if e := schemas["ErrorModel"]; e != nil {
		delete(e.Properties, "type")
		delete(e.Properties, "instance")
	}
}

// Document gives the OpenAPI description of the public API.
func Document() ([]byte, error) {
	s := newServer(slog.New(slog.NewJSONHandler(io.Discard, nil)))
	doc, err := json.MarshalIndent(s.operations(chi.NewRouter()).OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return append(doc, '\n'), nil
}
