package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// TestWhoAsksOthersHasTime: on routes that ask somebody else a request lives longer
// than what is asked there may take, and on no other ones.
func TestWhoAsksOthersHasTime(t *testing.T) {
	t.Parallel()
	s := newServer(slog.New(slog.DiscardHandler))
	s.operations(chi.NewRouter())
	var left time.Duration
	r := chi.NewRouter()
	r.Group(func(r chi.Router) {
		r.Use(s.limited)
		for route := range s.asking {
			method, path, _ := strings.Cut(route, " ")
			r.MethodFunc(method, path, func(_ http.ResponseWriter, r *http.Request) {
				deadline, _ := r.Context().Deadline()
				left = time.Until(deadline)
			})
		}
		r.Get("/api/v1/incidents/{id}", func(_ http.ResponseWriter, r *http.Request) {
			deadline, _ := r.Context().Deadline()
			left = time.Until(deadline)
		})
	})
	for route, longest := range map[string]time.Duration{
		"POST /llm-providers/{id}/test":      postgres.ProviderTestLife - 5*time.Second,
		"POST /sources/{id}/reconcile":       reconcileWithin,
		"POST /targets/{id}/host-key/scan":   fetchWithin,
		"POST /targets/{id}/host-key/accept": fetchWithin,
		"POST /targets/{id}/test":            fetchWithin,
		"POST /tools/servers/{id}/discover":  fetchWithin,
		"POST /tools/test":                   fetchWithin,
		"POST /oidc-provider/check":          oidcWithin,
	} {
		method, path, _ := strings.Cut(route, " ")
		left = 0
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/api/v1"+strings.ReplaceAll(path, "{id}", ops.NewID()), nil))
		require.Greater(t, left, longest, route)
		require.Less(t, left, time.Minute, "the server has no more for an answer")
	}
	require.Len(t, s.asking, 8)
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/incidents/1", nil))
	require.LessOrEqual(t, left, queryWithin)
}

// TestOddAddresses: whatever is in a path or a query, it is no error of ours.
func TestOddAddresses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	doc, err := Document()
	require.NoError(t, err)
	var spec struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	require.NoError(t, json.Unmarshal(doc, &spec))
	odd := []string{"\xff", "a\x00b", "%", "'", "\\", "*", "../..", "-1", "0", "9223372036854775807", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}
	tried := 0
	for path, methods := range spec.Paths {
		for method, op := range methods {
			if strings.HasSuffix(path, "/stream") {
				continue
			}
			for _, text := range odd {
				names := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, url.PathEscape(text))
				var all []string
				if names != path {
					all = append(all, names)
				}
				known := parameter.ReplaceAllString(path, ops.NewID())
				for _, p := range op.Parameters {
					if p.In == "query" {
						all = append(all, known+"?"+url.Values{p.Name: {text}}.Encode(), known+"?x=%&"+url.Values{p.Name: {text}}.Encode())
					}
				}
				for _, address := range all {
					tried++
					a := r.call(strings.ToUpper(method), address, nil)
					require.Less(t, a.status, 500, "%s %s: %s", method, address, a.body)
				}
			}
		}
	}
	require.Greater(t, tried, 1000)
	require.NotContains(t, r.log.String(), `"level":"ERROR"`)
}
