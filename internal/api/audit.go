package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

// Chain is the audit chain of this process.
const Chain = "api"

type auditQuery struct {
	Chain string `query:"chain" enum:"api,gateway,proxy" default:"api"`
	After int64  `query:"after" minimum:"0" doc:"Records behind this number."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}

func (s *API) auditOperations(api huma.API) {
	handle(s, api, operation{id: "list-audit", method: http.MethodGet, path: "/audit", summary: "The records of one audit chain, in order", tag: "audit"},
		func(ctx context.Context, _ caller, in *auditQuery) (*answer[list[ops.AuditRecord]], error) {
			records, err := s.db.Audit(ctx, in.Chain, in.After, in.Limit)
			page, err := items(records, err)
			if err == nil && len(records) == in.Limit {
				page.Body.NextCursor = strconv.FormatInt(records[len(records)-1].Seq, 10)
			}
			return page, err
		})
}

// audited records that who is about to do something, does it, and records what
// came of it. If the first record cannot be written, nothing is done.
func (s *API) audited(ctx context.Context, who caller, action, object string, detail map[string]string, do func() error) error {
	r := ops.AuditRecord{Chain: Chain, At: time.Now(), Actor: who.actor(), Action: action, Object: object, Outcome: "intent", Detail: detail}
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
