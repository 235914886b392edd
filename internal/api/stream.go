package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/akmatori/akmatori/internal/ops"
)

const (
	maxStreams     = 1000
	maxUserStreams = 32
	streamPoll     = 2 * time.Second  // for events whose notification was lost
	streamCheck    = time.Second      // whether the caller may still read
	streamBeat     = 15 * time.Second // a comment, so that proxies keep the connection
	streamBatch    = 200
	writeWait      = 10 * time.Second
)

// hub wakes streams when their incident's timeline has grown.
type hub struct {
	open prometheus.Gauge

	mu    sync.Mutex
	total int
	users map[string]int
	wakes map[string]map[chan struct{}]bool // by incident
}

func newHub(open prometheus.Gauge) *hub {
	return &hub{open: open, users: map[string]int{}, wakes: map[string]map[chan struct{}]bool{}}
}

// join gives a channel that is poked when the incident has news, and a function
// that gives the place back.
func (h *hub) join(user, incident string) (woken <-chan struct{}, leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= maxStreams || h.users[user] >= maxUserStreams {
		p := newProblem(http.StatusTooManyRequests, "too many streams are open")
		p.retryAfter = 10
		return nil, nil, p
	}
	wake := make(chan struct{}, 1)
	h.total++
	h.users[user]++
	if h.wakes[incident] == nil {
		h.wakes[incident] = map[chan struct{}]bool{}
	}
	h.wakes[incident][wake] = true
	h.open.Set(float64(h.total))
	return wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.total--
		if h.users[user]--; h.users[user] == 0 {
			delete(h.users, user)
		}
		if delete(h.wakes[incident], wake); len(h.wakes[incident]) == 0 {
			delete(h.wakes, incident)
		}
		h.open.Set(float64(h.total))
	}, nil
}

// wake is called with the incident of each notification, and with "" when some
// may have been missed.
func (h *hub) wake(_, incident string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if incident != "" {
		for c := range h.wakes[incident] {
			poke(c)
		}
		return
	}
	for _, cs := range h.wakes {
		for c := range cs {
			poke(c)
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

type streamQuery struct {
	ID          string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	After       int64  `query:"after" minimum:"0" doc:"Start behind this number."`
	LastEventID string `header:"Last-Event-ID" maxLength:"32" doc:"What a browser sends when it connects again; it counts more than after."`
}

// stream answers with the timeline behind a number, and with what is added to
// it, until the reader leaves or may no longer read.
func (s *API) stream(ctx context.Context, who caller, in *streamQuery) (*huma.StreamResponse, error) {
	qctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	i, err := s.incident(qctx, in.ID)
	if err != nil {
		return nil, err
	}
	after := in.After
	if in.LastEventID != "" {
		if after, err = strconv.ParseInt(in.LastEventID, 10, 64); err != nil || after < 0 {
			return nil, ops.Errorf(ops.CodeInvalid, "Last-Event-ID is not one of ours")
		}
	}
	woken, leave, err := s.hub.join(who.User.ID, i.ID)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer leave()
		r, w := humachi.Unwrap(hctx)
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		out := eventWriter{w: w, rc: http.NewResponseController(w)}
		// The server's timeouts are for requests that end. A read deadline
		// that passes would cancel the request, too.
		_ = out.rc.SetReadDeadline(time.Time{})
		if out.comment("open") != nil {
			return
		}
		s.follow(r, &out, i.ID, after, woken)
	}}, nil
}

// follow writes events until something ends it. Whether the caller may still
// read is asked in the midst of a long backlog, too.
func (s *API) follow(r *http.Request, out *eventWriter, incident string, after int64, woken <-chan struct{}) {
	ctx := r.Context()
	poll, check, beat := time.NewTicker(streamPoll), time.NewTicker(streamCheck), time.NewTicker(streamBeat)
	defer poll.Stop()
	defer check.Stop()
	defer beat.Stop()
	for {
		for more := true; more; {
			select {
			case <-check.C:
				if !s.mayStillRead(r) {
					return
				}
			default:
			}
			events, err := s.eventsBehind(ctx, incident, after)
			if err != nil {
				return // the reader connects again and goes on where it was
			}
			if len(events) > 0 {
				if out.events(events) != nil {
					return
				}
				after = events[len(events)-1].Seq
			}
			more = len(events) == streamBatch
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-woken:
				waiting = false
			case <-poll.C:
				waiting = false
			case <-beat.C:
				if out.comment("beat") != nil {
					return
				}
			case <-check.C:
				if !s.mayStillRead(r) {
					return
				}
			}
		}
	}
}

func (s *API) eventsBehind(ctx context.Context, incident string, after int64) ([]ops.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	return shown(s.db.Events(ctx, incident, after, streamBatch))
}

func (s *API) mayStillRead(r *http.Request) bool {
	ctx, cancel := context.WithTimeout(r.Context(), queryWithin)
	defer cancel()
	who, err := s.identify(r.WithContext(ctx), true)
	return err == nil && permit(who, ops.CanRead) == nil
}

// eventWriter writes server-sent events. A reader that takes nothing for
// writeWait is given up.
type eventWriter struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf bytes.Buffer
}

func (e *eventWriter) comment(text string) error {
	_, _ = fmt.Fprintf(&e.buf, ": %s\n\n", text)
	return e.flush()
}

func (e *eventWriter) events(events []ops.Event) error {
	for _, ev := range events {
		data, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(&e.buf, "id: %d\nevent: timeline\ndata: %s\n\n", ev.Seq, data)
	}
	return e.flush()
}

func (e *eventWriter) flush() error {
	defer e.buf.Reset()
	if err := e.rc.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	if _, err := e.w.Write(e.buf.Bytes()); err != nil {
		return err
	}
	return e.rc.Flush()
}
