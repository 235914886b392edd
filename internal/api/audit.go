package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// Chain is the audit chain of this process.
const Chain = "api"

// AuditFilter is what a search and an export select by. It is exported for huma,
// which looks into no other embedded struct.
type AuditFilter struct {
	Chain    string    `query:"chain" enum:"api,gateway,proxy"`
	Actor    string    `query:"actor" maxLength:"200" doc:"Such as user:ann or run:ID; with the tokens that they act through."`
	Action   string    `query:"action" maxLength:"100" doc:"An action or what it begins with, such as tool. or credential."`
	Object   string    `query:"object" maxLength:"300" doc:"What was acted on: an id, or call:ID."`
	Run      string    `query:"run" maxLength:"64" doc:"A run's id."`
	Incident string    `query:"incident" maxLength:"64" doc:"An incident's id or number: what was done to it and by its runs."`
	Outcome  string    `query:"outcome" enum:"ok,denied,failed,unknown,intent"`
	From     time.Time `query:"from" doc:"From this time on."`
	To       time.Time `query:"to" doc:"Before this time."`
}

type auditSearch struct {
	AuditFilter
	Cursor string `query:"cursor" maxLength:"200"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// auditPage is a page of a search. A search that finds little in much stops now
// and then, to be gone on with.
type auditPage struct {
	Items      []ops.AuditRecord `json:"items" nullable:"false"`
	NextCursor string            `json:"next_cursor" doc:"Give it as cursor to get the next page; empty on the last one."`
	SearchedTo time.Time         `json:"searched_to,omitzero" doc:"If there is a next_cursor and the page is not full: how far back this search has looked."`
}

type auditChainQuery struct {
	Chain string `path:"chain" enum:"api,gateway,proxy"`
	After int64  `query:"after" minimum:"0" doc:"Records behind this number."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}

func (s *API) auditOperations(api huma.API) {
	const tag = "audit"
	handle(s, api, operation{id: "list-audit", method: http.MethodGet, path: "/audit", summary: "Search the audit log, newest first", tag: tag}, s.searchAudit)
	handle(s, api, operation{id: "list-audit-chains", method: http.MethodGet, path: "/audit/chains", summary: "The chains of the audit log, and whether they are unbroken", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[auditChain]], error) {
			return items(s.verifier.state(ctx))
		})
	handle(s, api, operation{id: "get-audit-chain", method: http.MethodGet, path: "/audit/chains/{chain}", summary: "The records of one chain, in its order, as they are verified", tag: tag},
		func(ctx context.Context, _ caller, in *auditChainQuery) (*answer[list[ops.AuditRecord]], error) {
			records, err := s.db.Audit(ctx, in.Chain, in.After, in.Limit)
			page, err := items(records, err)
			if err == nil && len(records) == in.Limit {
				page.Body.NextCursor = strconv.FormatInt(records[len(records)-1].Seq, 10)
			}
			return page, err
		})
	handle(s, api, operation{id: "export-audit", method: http.MethodGet, path: "/audit/export", tag: tag,
		summary: "The audit log as JSON lines: a header with the public keys, the records, a line that says how many they were", lines: true}, s.exportAudit)
}

func (f AuditFilter) filter(ctx context.Context, s *API) (postgres.AuditFilter, error) {
	out := postgres.AuditFilter{Chain: f.Chain, Actor: f.Actor, Action: f.Action, Object: f.Object, Run: f.Run, Outcome: f.Outcome, From: f.From, To: f.To}
	if f.Incident != "" {
		i, err := s.incident(ctx, f.Incident)
		if err != nil {
			return out, err
		}
		out.Incident = i.ID
	}
	return out, nil
}

func (s *API) searchAudit(ctx context.Context, _ caller, in *auditSearch) (*answer[auditPage], error) {
	f, err := in.filter(ctx, s)
	if err != nil {
		return nil, err
	}
	f.Limit = in.Limit
	if in.Cursor != "" {
		var ok bool
		if f.Before, ok = readAuditCursor(in.Cursor); !ok {
			return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
		}
	}
	found, next, err := s.db.SearchAudit(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &answer[auditPage]{}
	if page.Body.Items = found; found == nil {
		page.Body.Items = []ops.AuditRecord{}
	}
	if next != nil {
		page.Body.NextCursor = writeAuditCursor(*next)
		if len(found) < in.Limit {
			page.Body.SearchedTo = next.At
		}
	}
	return page, nil
}

func writeAuditCursor(p postgres.AuditPlace) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.At.UnixMicro(), 10) + " " + p.Chain + " " + strconv.FormatInt(p.Seq, 10)))
}

func readAuditCursor(cursor string) (p postgres.AuditPlace, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	words := strings.Split(string(text), " ")
	if err != nil || len(words) != 3 || strings.ContainsRune(words[1], 0) {
		return p, false
	}
	micros, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || micros < 1 || micros > maxMicros {
		return p, false
	}
	seq, err := strconv.ParseInt(words[2], 10, 64)
	return postgres.AuditPlace{At: time.UnixMicro(micros).UTC(), Chain: words[1], Seq: seq}, err == nil
}

// maxMicros is in the year 9999: later times are none for Postgres and JSON.
const maxMicros = 253_000_000_000_000_000

// Exports go on for long, so there are few at a time.
const (
	maxExports  = 4
	exportPage  = 500
	exportWrite = 30 * time.Second // a reader that takes nothing for so long is given up
)

// exportAudit streams whole chains, which can be verified from the file alone,
// or what a filter selects, which cannot. An export that ends early lacks its
// last line.
func (s *API) exportAudit(ctx context.Context, who caller, in *AuditFilter) (*huma.StreamResponse, error) {
	f, err := in.filter(ctx, s)
	if err != nil {
		return nil, err
	}
	select {
	case s.exports <- struct{}{}:
	default:
		return nil, &ops.Error{Code: ops.CodeUnavailable, Message: "too many exports are under way", RetryAfter: 10 * time.Second}
	}
	whole := f
	whole.Chain = ""
	chains := ops.AuditChains
	if f.Chain != "" {
		chains = []string{f.Chain}
	}
	e := &export{s: s, header: ops.AuditExport{Format: ops.AuditExportFormat, At: time.Now().UTC(), Chains: chains, Complete: whole == postgres.AuditFilter{}, Keys: s.verifier.keyLines()}}
	detail := map[string]string{"complete": strconv.FormatBool(e.header.Complete), "chains": strings.Join(chains, " ")}
	if err := s.audited(ctx, who, "audit.exported", "audit", detail, func() error { return nil }); err != nil {
		<-s.exports
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer func() { <-s.exports }()
		r, w := humachi.Unwrap(hctx)
		w.Header().Set("Content-Type", "application/jsonl")
		w.Header().Set("Content-Disposition", `attachment; filename="akmatori-audit.jsonl"`)
		e.w, e.rc = w, http.NewResponseController(w)
		_ = e.rc.SetReadDeadline(time.Time{})
		if err := e.run(r.Context(), f); err != nil && r.Context().Err() == nil {
			s.log.Warn("an export of the audit ended early", "err", err)
		}
	}}, nil
}

// export is one that is being written.
type export struct {
	s       *API
	header  ops.AuditExport
	w       http.ResponseWriter
	rc      *http.ResponseController
	records int64
}

func (e *export) run(ctx context.Context, f postgres.AuditFilter) error {
	if err := e.write(e.header); err != nil {
		return err
	}
	var err error
	if e.header.Complete {
		err = e.chains(ctx)
	} else {
		err = e.found(ctx, f)
	}
	if err != nil {
		return err
	}
	return e.write(ops.AuditExportEnd{End: true, Records: e.records})
}

// chains writes each chain to where it ends now.
func (e *export) chains(ctx context.Context) error {
	for _, chain := range e.header.Chains {
		tail, err := e.s.db.AuditTail(ctx, chain)
		if ops.CodeOf(err) == ops.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		for after := int64(0); after < tail.Seq; {
			page, err := e.s.db.Audit(ctx, chain, after, int(min(exportPage, tail.Seq-after)))
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].Seq
			if err := e.write(anys(page)...); err != nil {
				return err
			}
			e.records += int64(len(page))
		}
	}
	return nil
}

// found writes what the filter selects, newest first.
func (e *export) found(ctx context.Context, f postgres.AuditFilter) error {
	f.Limit = 200
	for {
		page, next, err := e.s.db.SearchAudit(ctx, f)
		if err != nil {
			return err
		}
		if err := e.write(anys(page)...); err != nil {
			return err
		}
		e.records += int64(len(page))
		if next == nil {
			return nil
		}
		f.Before = *next
	}
}

func anys(records []ops.AuditRecord) []any {
	out := make([]any, len(records))
	for i := range records {
		out[i] = records[i]
	}
	return out
}

func (e *export) write(lines ...any) error {
	_ = e.rc.SetWriteDeadline(time.Now().Add(exportWrite))
	out := json.NewEncoder(e.w) // which writes a line for each
	for _, l := range lines {
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return e.rc.Flush()
}

// audited records that who is about to do something, does it, and records what
// came of it. If the first record cannot be written, nothing is done.
func (s *API) audited(ctx context.Context, who caller, action, object string, detail map[string]string, do func() error) error {
	return s.auditedAs(ctx, who.actor(), action, object, detail, do)
}

// auditedAs is audited for who is no caller. do may add to detail what the
// outcome is to say.
func (s *API) auditedAs(ctx context.Context, actor, action, object string, detail map[string]string, do func() error) error {
	r := ops.AuditRecord{Chain: Chain, At: time.Now(), Actor: actor, Action: action, Object: object, Outcome: "intent", Detail: detail}
	if err := s.db.AppendAudit(ctx, r); err != nil {
		return err
	}
	err := do()
	r.At, r.Outcome = time.Now(), "ok"
	if err != nil {
		r.Outcome = "failed"
	}
	// The act has happened: its record must not depend on who waits for the answer.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if aerr := s.db.AppendAudit(end, r); aerr != nil {
		s.log.Error("the outcome of an audited act was not recorded", "action", action, "object", object, "err", aerr)
	}
	return err
}
