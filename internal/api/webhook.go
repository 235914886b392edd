package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/sync/semaphore"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

const (
	maxBody   = 10 << 20
	maxBodies = 256 << 20 // of all webhooks under way
	// What may be under way of one source before it has proved itself: who knows
	// its address alone does not keep the others from being heard.
	maxStrangers = maxBodies / 4
	bodyWithin   = 15 * time.Second
)

// accepted is the answer to a webhook.
type accepted struct {
	// Delivery is the id of the delivery; of the first one if this repeats it.
	Delivery  string `json:"delivery"`
	Duplicate bool   `json:"duplicate,omitempty"`
	Alerts    int    `json:"alerts"`
	// Problem says what could not be read; the delivery is kept all the same.
	Problem string `json:"problem,omitempty"`

	read []ops.Alert
}

// webhook takes a sender's delivery. What is refused is refused before it is
// read where that is possible; what cannot be understood is kept, since to every
// sender a 4xx is final.
func (s *API) webhook() http.HandlerFunc {
	bodies := &underWay{all: semaphore.NewWeighted(maxBodies), strangers: map[string]*semaphore.Weighted{}}
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := s.deliver(w, r, bodies)
		if err != nil {
			p := s.problemOf(r.Context(), "webhook", err)
			s.metrics.webhooks.WithLabelValues(p.Title).Inc()
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

func (s *API) deliver(w http.ResponseWriter, r *http.Request, bodies *underWay) (accepted, error) {
	receivedAt := time.Now().UTC()
	id := chi.URLParam(r, "source_id")
	if !ops.ValidID(id) {
		return accepted{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	src, err := s.sources.get(r.Context(), id)
	if err != nil {
		if src.ID != "" {
			s.intake.fail(src.ID, ops.ErrorDatabase, ops.MessageOf(err))
		}
		return accepted{}, err
	}
	kind, ok := ingest.Lookup(src.Kind)
	if !ok {
		return accepted{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	// A secret is in the header, and judged before anything is read; a signature is
	// of the body, and set-up mode keeps what is wrong.
	head := ingest.Request{Header: r.Header, ReceivedAt: receivedAt}
	stranger := src.Auth == ops.AuthSignature || !kind.Authenticate(head, src.secrets)
	if stranger && src.Auth != ops.AuthSignature && !receivedAt.Before(src.VerifyUntil) {
		return s.unproven(r.Context(), src, head)
	}
	places := []*semaphore.Weighted{bodies.all}
	if stranger {
		places = []*semaphore.Weighted{bodies.of(src.ID), bodies.all}
	}
	body, release, err := readBody(w, r, places)
	if err != nil {
		if ops.CodeOf(err) == ops.CodeTooLarge {
			s.intake.fail(src.ID, ops.ErrorTooLarge, ops.MessageOf(err))
		}
		return accepted{}, err
	}
	defer release()
	return s.receive(r.Context(), src, kind, ingest.Request{Header: r.Header, Body: body, ReceivedAt: receivedAt}, nil)
}

// receive judges, reads and stores a delivery. What is read of a test is marked
// as such.
func (s *API) receive(ctx context.Context, src sender, kind ingest.Source, r ingest.Request, test *ingest.Test) (accepted, error) {
	if !kind.Authenticate(r, src.secrets) {
		return s.unproven(ctx, src, r)
	}
	d := s.read(src, kind, r)
	if test != nil {
		test.Mark(d.Alerts)
	}
	d, err := s.intake.store(d)
	if err != nil {
		return accepted{}, err
	}
	out := accepted{Delivery: d.ID, Alerts: len(d.Alerts), Problem: d.Problem, read: d.Alerts}
	if d.DuplicateOf != "" {
		out.Delivery, out.Duplicate = d.DuplicateOf, true
	}
	return out, nil
}

// read makes a delivery of a request, with the source's settings and options as
// they are now.
func (s *API) read(src sender, kind ingest.Source, r ingest.Request) ops.Delivery {
	r.Settings, r.Options = src.Settings, src.Options
	d := ops.Delivery{ID: ops.NewID(), SourceID: src.ID, ReceivedAt: r.ReceivedAt, ContentType: contentType(r.Header), Body: r.Body}
	parsed, err := s.parse(kind, r)
	d.SenderID, d.Digest = kind.ID(r)
	d.Several = kind.Several
	d.Alerts, d.Truncated, d.Warnings = parsed.Alerts, parsed.Truncated, parsed.Warnings
	if d.Truncated > 0 {
		d.Warnings = append(d.Warnings, ops.SourceWarning{Code: "truncated", Text: fmt.Sprintf(
			"the sender left %d alerts out of its message: nothing is known of them. Raise its limit (max_alerts) or split its groups.", d.Truncated)})
	}
	if err != nil {
		d.Problem = err.Error()
	}
	return d
}

// parse makes a dead letter of what an adapter cannot cope with: a body that
// ends in a 500 would come again and again.
func (s *API) parse(kind ingest.Source, r ingest.Request) (parsed ingest.Parsed, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("the adapter of a source panicked", "kind", kind.Kind, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			parsed, err = ingest.Parsed{}, errors.New("the body could not be read because of a mistake in Akmatori (see the log of the api)")
		}
	}()
	return kind.Read(r)
}

const (
	// In set-up mode this many deliveries that have not proved themselves are kept
	// of a source in an hour, and of each so many bytes at most.
	maxUnproven     = 100
	maxUnprovenBody = 1 << 20
	// unprovenAtOnce bounds the connections to the database that strangers hold.
	unprovenAtOnce = 1
)

// unproven refuses a delivery with a wrong secret or signature. In set-up mode
// it is kept as a dead letter, and answered so that the sender goes on.
func (s *API) unproven(ctx context.Context, src sender, r ingest.Request) (accepted, error) {
	if src.closed {
		return accepted{}, errClosed
	}
	why, kind := "wrong or missing secret", ops.ErrorUnauthenticated
	problem := "the secret did not match; set-up mode"
	if src.Auth == ops.AuthSignature {
		why, kind = "wrong or missing signature", ops.ErrorSignature
		problem = "the signature did not match; set-up mode"
	}
	if time.Now().Before(src.VerifyUntil) && len(r.Body) <= maxUnprovenBody {
		d := ops.Delivery{ID: ops.NewID(), SourceID: src.ID, ReceivedAt: r.ReceivedAt, ContentType: contentType(r.Header), Body: r.Body, Problem: problem}
		kept, err := s.keepUnproven(ctx, d)
		if err != nil {
			return accepted{}, err
		}
		if kept {
			s.metrics.unproven.WithLabelValues(src.ID).Inc()
			s.log.Warn("set-up mode: a delivery that did not prove itself was kept and not read", "source", src.ID, "name", src.Name,
				"delivery", d.ID, "until", src.VerifyUntil)
			return accepted{Delivery: d.ID, Problem: problem}, nil
		}
	}
	s.intake.fail(src.ID, kind, "")
	s.metrics.rejected.WithLabelValues(src.ID).Inc()
	return accepted{}, ops.Errorf(ops.CodeUnauthenticated, "%s", why)
}

func (s *API) keepUnproven(ctx context.Context, d ops.Delivery) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if s.intake.strangers.Acquire(ctx, 1) != nil {
		return false, &ops.Error{Code: ops.CodeUnavailable, Message: "too many alerts at once", RetryAfter: time.Second}
	}
	defer s.intake.strangers.Release(1)
	return s.db.KeepUnproven(ctx, d, maxUnproven)
}

// underWay has the places of the bodies under way.
type underWay struct {
	all *semaphore.Weighted

	mu        sync.Mutex
	strangers map[string]*semaphore.Weighted // by source; a few words for each that there ever was
}

// of gives those for bodies of a source that have not proved themselves.
func (b *underWay) of(source string) *semaphore.Weighted {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.strangers[source] == nil {
		b.strangers[source] = semaphore.NewWeighted(maxStrangers)
	}
	return b.strangers[source]
}

// readBody reads a body within its limits. Its places among the bodies under way
// are taken until release.
func readBody(w http.ResponseWriter, r *http.Request, places []*semaphore.Weighted) (body []byte, release func(), err error) {
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
	taken := 0
	release = func() {
		for _, p := range places[:taken] {
			p.Release(size)
		}
	}
	for _, p := range places {
		if p.Acquire(ctx, size) != nil {
			release()
			return nil, nil, &ops.Error{Code: ops.CodeUnavailable, Message: "too many alerts at once", RetryAfter: time.Second}
		}
		taken++
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin))
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, release, nil
	}
	release()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, nil, tooLarge
	}
	early := newProblem(http.StatusServiceUnavailable, "the body ended early: send it again") // a 4xx would be final
	early.retryAfter = 1
	return nil, nil, early
}

func contentType(h http.Header) string {
	ct := h.Get("Content-Type")
	if strings.Contains(strings.ToLower(ct), ops.OwnContentType) { // no sender is us
		return ""
	}
	return strings.ToValidUTF8(storable(ct[:min(len(ct), 200)]), "")
}
