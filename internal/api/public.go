package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/unrolled/secure"
)

// publicHandler is the public listener: the webhooks, the API, its description
// and the page.
func (s *API) publicHandler() http.Handler {
	headers := secure.New(secure.Options{
		FrameDeny:               true,
		ContentTypeNosniff:      true,
		ReferrerPolicy:          "no-referrer",
		ContentSecurityPolicy:   contentPolicy(""),
		CrossOriginOpenerPolicy: "same-origin",
		PermissionsPolicy:       "camera=(), geolocation=(), microphone=()",
		STSSeconds:              map[bool]int64{true: 31536000}[s.publicURL.Scheme == "https"],
		ForceSTSHeader:          true, // TLS ends before us
	})
	csrf := http.NewCrossOriginProtection()
	_ = csrf.AddTrustedOrigin(s.publicURL.Scheme + "://" + s.publicURL.Host) // New has checked it
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, newProblem(http.StatusForbidden, "the request comes from another site"))
	}))
	compress := middleware.Compress(5, "application/json", "application/problem+json", "text/html", "text/css", "text/javascript",
		"application/javascript", "image/svg+xml")

	r := chi.NewRouter()
	r.Use(s.clientAddress(), s.observe, s.recovered, headers.Handler)
	hook := s.webhook()
	r.Post("/webhook/alert/{source_id}", hook)
	r.Post("/webhook/alert/{source_id}/", hook)
	r.Group(func(r chi.Router) {
		r.Use(csrf.Handler, unless(isStream, compress), unless(isStream, s.limited), noStore, readable)
		doc, _ := json.Marshal(s.operations(r).OpenAPI())
		r.Get("/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(doc)
		})
	})
	page := unless(isAsset, compress)(s.page) // those it has packed already
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		closed := strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/webhook/")
		if closed || r.Method != http.MethodGet && r.Method != http.MethodHead {
			writeProblem(w, newProblem(http.StatusNotFound, "there is nothing here"))
			return
		}
		page.ServeHTTP(w, r)
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, "another method is wanted here"))
	})
	return r
}

// clientAddress finds out where a request comes from: who has connected, or, if
// that is a proxy that is trusted, the last in its X-Forwarded-For that is none.
func (s *API) clientAddress() func(http.Handler) http.Handler {
	if len(s.trusted) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	prefixes := make([]string, len(s.trusted))
	for i, p := range s.trusted {
		prefixes[i] = p.String()
	}
	return middleware.ClientIPFromXFF(prefixes...)
}

// queryWithin is how long the database may take for a request: a database that
// hangs must not keep all who ask. What we ask others has a limit of its own, and
// askWithin for all of it: a little less than the server has for an answer.
const (
	queryWithin = 10 * time.Second
	askWithin   = 58 * time.Second
)

func (s *API) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		within := queryWithin
		if s.asking[r.Method+" "+chi.RouteContext(r.Context()).RoutePattern()] {
			within = askWithin
		}
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// readable makes what is looked for in the database text as that keeps it: of a
// query what is none is left out, and a path of that kind names nothing.
func readable(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != storable(r.URL.Path) {
			writeProblem(w, newProblem(http.StatusNotFound, "there is no such thing"))
			return
		}
		query, odd := r.URL.Query(), false
		for _, values := range query {
			for i, v := range values {
				values[i] = storable(v)
				odd = odd || values[i] != v
			}
		}
		if odd {
			r.URL.RawQuery = query.Encode()
		}
		next.ServeHTTP(w, r)
	})
}

// isStream says whether a response is written piece by piece.
func isStream(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/stream") || strings.HasSuffix(r.URL.Path, "/audit/export") || strings.HasSuffix(r.URL.Path, "/output")
}

// unless leaves a middleware out for some requests.
func unless(cond func(*http.Request) bool, middleware func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		with := middleware(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if cond(r) {
				next.ServeHTTP(w, r)
				return
			}
			with.ServeHTTP(w, r)
		})
	}
}

func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// observe counts and logs requests by their route: paths and queries may hold
// what should not be in a log, and would make a metric of each incident.
func (s *API) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(ww, r)
		route := "page"
		if rc := chi.RouteContext(r.Context()); rc != nil && rc.RoutePattern() != "" && rc.RoutePattern() != "/*" {
			route = rc.RoutePattern()
		}
		status := ww.Status()
		if status == 0 {
			status = http.StatusOK
		}
		took := time.Since(began)
		s.metrics.requests.WithLabelValues(route, method(r), strconv.Itoa(status)).Inc()
		if !isStream(r) {
			s.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
		}
		log := s.log.DebugContext
		if status >= 400 || r.Method != http.MethodGet && !strings.HasPrefix(route, "/webhook/") {
			log = s.log.InfoContext
		}
		log(context.WithoutCancel(r.Context()), "request", "method", method(r), "route", route, "status", status, "took", took,
			"bytes", ww.BytesWritten(), "remote", r.RemoteAddr, "client", middleware.GetClientIP(r.Context()))
	})
}

// method keeps made-up methods out of labels.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

// recovered turns a panic into an answer and a log line.
func (s *API) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.log.ErrorContext(r.Context(), "a request panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				writeProblem(w, newProblem(http.StatusInternalServerError, "internal error"))
			}
		}()
		next.ServeHTTP(w, r)
	})
}
