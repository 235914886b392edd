package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/sync/semaphore"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

const (
	maxBody    = 10 << 20
	maxBodies  = 256 << 20 // of all webhooks under way
	bodyWithin = 15 * time.Second
)

// accepted is the answer to a webhook.
type accepted struct {
	Delivery string `json:"delivery"`
	Alerts   int    `json:"alerts"`
	// Problem says what could not be read; the delivery is kept all the same.
	Problem string `json:"problem,omitempty"`
}

// webhook takes a sender's delivery. What is refused is refused before it is
// read where that is possible; what cannot be understood is kept, since to every
// sender a 4xx is final.
func (s *API) webhook() http.HandlerFunc {
	bodies := semaphore.NewWeighted(maxBodies)
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := s.deliver(w, r, bodies)
		if err != nil {
			p := s.problemOf(r.Context(), "webhook", err)
			s.metrics.webhooks.WithLabelValues(http.StatusText(p.Status)).Inc()
			if p.Status == http.StatusRequestEntityTooLarge {
				w.Header().Set("Connection", "close") // else net/http first waits for more of it
			}
			writeProblem(w, p)
			return
		}
		s.metrics.webhooks.WithLabelValues("Accepted").Inc()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(out)
	}
}

func (s *API) deliver(w http.ResponseWriter, r *http.Request, bodies *semaphore.Weighted) (accepted, error) {
	receivedAt := time.Now().UTC()
	id := chi.URLParam(r, "source_id")
	if !ops.ValidID(id) {
		return accepted{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	src, err := s.sources.get(r.Context(), id)
	if err != nil {
		return accepted{}, err
	}
	kind, ok := ingest.Lookup(src.Kind)
	if !ok {
		return accepted{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	body, release, err := readBody(w, r, bodies)
	if err != nil {
		return accepted{}, err
	}
	defer release()
	request := ingest.Request{Header: r.Header, Body: body, ReceivedAt: receivedAt, Settings: src.Settings}
	if !kind.Authenticate(request, src.secrets) {
		s.intake.reject(src.ID)
		s.metrics.rejected.WithLabelValues(src.ID).Inc()
		if src.Auth == ops.AuthSignature {
			return accepted{}, ops.Errorf(ops.CodeUnauthenticated, "wrong or missing signature")
		}
		return accepted{}, ops.Errorf(ops.CodeUnauthenticated, "wrong or missing secret")
	}
	d := ops.Delivery{ID: ops.NewID(), SourceID: src.ID, ReceivedAt: receivedAt, ContentType: contentType(r), Body: body}
	parsed, err := kind.Parse(request)
	d.Alerts, d.Truncated, d.Warnings = parsed.Alerts, parsed.Truncated, parsed.Warnings
	if d.Truncated > 0 {
		d.Warnings = append(d.Warnings, ops.SourceWarning{Code: "truncated", Text: fmt.Sprintf(
			"the sender left %d alerts out of its message: nothing is known of them. Raise its limit (max_alerts) or split its groups.", d.Truncated)})
	}
	if err != nil {
		d.Problem = err.Error()
	}
	if err := s.intake.store(d); err != nil {
		return accepted{}, err
	}
	return accepted{Delivery: d.ID, Alerts: len(d.Alerts), Problem: d.Problem}, nil
}

// readBody reads a body within its limits. Its place among the bodies under way
// is taken until release.
func readBody(w http.ResponseWriter, r *http.Request, bodies *semaphore.Weighted) (body []byte, release func(), err error) {
	tooLarge := ops.Errorf(ops.CodeTooLarge, "a body has at most %d bytes", maxBody)
	size := r.ContentLength
	if size > maxBody {
		return nil, nil, tooLarge
	}
	if size < 0 {
		size = maxBody
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if bodies.Acquire(ctx, size) != nil {
		return nil, nil, &ops.Error{Code: ops.CodeUnavailable, Message: "too many alerts at once", RetryAfter: time.Second}
	}
	release = func() { bodies.Release(size) }
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin))
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, release, nil
	}
	release()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, nil, tooLarge
	}
	return nil, nil, newProblem(http.StatusBadRequest, "the body ended early")
}

func contentType(r *http.Request) string {
	ct := storable(r.Header.Get("Content-Type"))
	return ct[:min(len(ct), 200)]
}
