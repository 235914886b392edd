package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// auditEnd writes what became of a request. A request without a live token has
// no run to write it to and is only counted and logged: whoever can reach the
// port must not be able to fill the audit.
func (p *Proxy) auditEnd(ctx context.Context, x *exchange, no *refusal, took time.Duration) error {
	if x.grant.ProviderID == "" {
		return nil
	}
	detail := map[string]string{"status": strconv.Itoa(x.status), "latency_ms": strconv.FormatInt(took.Milliseconds(), 10)}
	action, outcome := "llm.outcome", "ok"
	switch {
	case no != nil && !x.intended:
		action, outcome = "llm.denied", "denied"
	case no != nil && no.status == http.StatusForbidden:
		outcome = "denied"
	case no != nil || x.status >= 400:
		outcome = "failed"
	}
	if no != nil {
		detail["reason"] = no.reason
	}
	if x.intended {
		detail["bytes"] = strconv.FormatInt(x.received, 10)
	}
	if x.upstream != 0 {
		detail["upstream_status"] = strconv.Itoa(x.upstream)
	}
	return p.db.AppendAudit(ctx, x.record(action, outcome, detail))
}

func (x *exchange) record(action, outcome string, detail map[string]string) ops.AuditRecord {
	if detail == nil {
		detail = map[string]string{"bytes": strconv.Itoa(x.sent)}
	}
	detail["path"] = visible(x.path)
	if x.credential.ID != "" {
		detail["credential"] = x.credential.ID
		detail["credential_version"] = strconv.Itoa(x.credential.Version)
	}
	object := "provider"
	if x.provider.ID != "" {
		object = "provider:" + x.provider.ID
	}
	return ops.AuditRecord{Chain: chain, At: time.Now(), Actor: x.grant.Actor, Action: action,
		Object: object, RunID: x.grant.RunID, Outcome: outcome, Detail: detail}
}

// visible makes a piece of a refused request fit to be shown: short and plain.
func visible(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
