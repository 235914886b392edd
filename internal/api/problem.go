package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

// problem is the one form of an error in an answer.
type problem struct {
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Detail     string      `json:"detail,omitempty"`
	Errors     []problemAt `json:"errors,omitempty"`
	retryAfter int         // seconds; 0 if it is unknown when another try makes sense
}

// problemAt names a wrong part of a request, without its value.
type problemAt struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

// Error implements error.
func (p *problem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus implements [huma.StatusError].
func (p *problem) GetStatus() int { return p.Status }

// GetHeaders implements [huma.HeadersError].
func (p *problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	return h
}

// ContentType implements [huma.ContentTypeFilter].
func (p *problem) ContentType(string) string { return "application/problem+json" }

var statusOf = map[ops.Code]int{
	ops.CodeInvalid:         http.StatusUnprocessableEntity,
	ops.CodeUnauthenticated: http.StatusUnauthorized,
	ops.CodeForbidden:       http.StatusForbidden,
	ops.CodeNotFound:        http.StatusNotFound,
	ops.CodeConflict:        http.StatusConflict,
	ops.CodeTooLarge:        http.StatusRequestEntityTooLarge,
	ops.CodeUnavailable:     http.StatusServiceUnavailable,
	ops.CodeInternal:        http.StatusInternalServerError,
}

// statusGone is what nginx says of a client that did not wait for its answer.
const statusGone = 499

func newProblem(status int, detail string) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Detail: detail}
}

// problemOf says what a user may know of err, and logs the rest.
func (s *API) problemOf(ctx context.Context, what string, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	p := newProblem(statusOf[ops.CodeOf(err)], ops.MessageOf(err))
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // nobody reads the answer, but for the log and the metrics
		return &problem{Title: "Client Closed Request", Status: statusGone}
	case p.Status == http.StatusServiceUnavailable:
		s.log.WarnContext(ctx, "a request failed", "what", what, "err", err)
		p.retryAfter = 5
		if e, ok := errors.AsType[*ops.Error](err); ok && e.RetryAfter > 0 {
			p.retryAfter = max(1, int(e.RetryAfter.Seconds()))
		}
	case p.Status >= 500:
		s.log.ErrorContext(ctx, "a request failed", "what", what, "err", err)
	}
	return p
}

// writeProblem answers outside of huma.
func writeProblem(w http.ResponseWriter, p *problem) {
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// hideValues replaces huma's own errors, which quote what was sent.
func hideValues(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := newProblem(m.Status, m.Detail)
	if p.Status >= 500 {
		p.Detail = "internal error"
		return p, nil
	}
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, problemAt{Message: e.Message, Location: e.Location})
	}
	return p, nil
}
