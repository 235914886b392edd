package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-canary-0123456789"

// kinds are all protocols, each with the path of its base URL.
var kinds = map[string]string{"openai": "/llm/1/v1", "openai-compatible": "/llm/1/v1", "openrouter": "/llm/1/api/v1", "anthropic": "/llm/1", "google": "/llm/1"}

// open serves a scenario and gives a model that is patient for milliseconds only.
func open(t *testing.T, scenario string) (*llm.Model, *fake.Vendor) {
	t.Helper()
	return openKind(t, "openai-compatible", scenario)
}

func openKind(t *testing.T, kind, scenario string) (*llm.Model, *fake.Vendor) {
	t.Helper()
	s, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	vendor := fake.NewVendor(s, fake.Config{Key: ops.NewSecret(key)})
	return openAt(t, kind, vendor, key), vendor
}

func openURL(t *testing.T, h http.Handler, key string) *llm.Model {
	t.Helper()
	return openAt(t, "openai-compatible", h, key)
}

func openAt(t *testing.T, kind string, h http.Handler, key string) *llm.Model {
	t.Helper()
	m, err := llm.Open(llm.Config{Kind: kind, BaseURL: serve(t, h) + kinds[kind], Key: ops.NewSecret(key),
		Backoff: time.Millisecond, Attempts: 4, Silence: time.Second})
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

var request = llm.Request{
	Model:    "m",
	System:   "be brief",
	Messages: []llm.Message{{Role: llm.User, Text: "hi"}},
	Tools: []llm.Tool{{Name: "look", Description: "looks", Schema: json.RawMessage(`{"type":"object",
		"properties":{"at":{"type":"string"},"n":{"type":"integer","minimum":1,"maximum":9},"a":{},"b":{}},"additionalProperties":false,"required":["at"],"title":"look"}`)}},
}

func TestRetryAfterBeyondTheDeadline(t *testing.T) {
	t.Parallel()
	m, vendor := open(t, `turns: [{text: a, faults: [{status: 429, headers: {Retry-After: "3600"}, times: 9}]}]`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := m.Stream(ctx, request, func(llm.Delta) {})
	require.Equal(t, llm.RateLimited, llm.KindOf(err))
	require.Equal(t, 1, vendor.Requests(1))
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	m, err := llm.Open(llm.Config{Kind: "openai", BaseURL: "http://127.0.0.1:1/v1", Key: ops.NewSecret(key), Backoff: time.Millisecond, Attempts: 3})
	require.NoError(t, err)
	defer m.Close()
	_, err = m.Stream(t.Context(), request, func(llm.Delta) {})
	require.Equal(t, llm.Unavailable, llm.KindOf(err))
}

func TestCancelEndsTheStream(t *testing.T) {
	t.Parallel()
	m, _ := open(t, "chunk: 1\ndelay: 5ms\nturns: [{text: a long and winding answer, faults: [{hang: 4, times: 9}]}]")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	_, err := m.Stream(ctx, request, func(llm.Delta) { cancel(stop) })
	require.ErrorIs(t, err, stop)
}

func TestServersThatBendTheProtocol(t *testing.T) {
	t.Parallel()
	data := func(lines ...string) string {
		return "data: " + strings.Join(lines, "\n\ndata: ") + "\n\n"
	}
	for name, tt := range map[string]struct {
		stream string
		calls  []llm.Call
		text   string
		kind   llm.Kind
	}{
		"all calls numbered 0": {
			stream: data(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"x","arguments":"{}"}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"y","arguments":"{}"}}]}}]}`,
				`{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`, `[DONE]`),
			calls: []llm.Call{{ID: "a", Name: "x", Arguments: "{}"}, {ID: "b", Name: "y", Arguments: "{}"}},
		},
		"name in each chunk": {
			stream: data(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"x","arguments":"{"}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"x","arguments":"}"}}]}}]}`,
				`{"choices":[{"delta":{},"finish_reason":"stop"}]}`),
			calls: []llm.Call{{ID: "a", Name: "x", Arguments: "{}"}},
		},
		"no ids": {
			stream: data(`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"x","arguments":"{}"}}]}}]}`,
				`{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`),
			calls: []llm.Call{{ID: "call_1", Name: "x", Arguments: "{}"}},
		},
		"comments and no DONE": {
			stream: ": keep alive\n\n" + data(`{"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}]}`),
			text:   "yes",
		},
		"an error inside":       {stream: data(`{"error":{"message":"slow down","type":"rate_limit_error"}}`), kind: llm.RateLimited},
		"refusal":               {stream: data(`{"choices":[{"delta":{"refusal":"I will not"},"finish_reason":"stop"}]}`), kind: llm.Refused},
		"an end without reason": {stream: data(`{"choices":[{"delta":{"content":"half"}}]}`), kind: llm.Interrupted},
		"a page of HTML":        {stream: "<html>hello</html>\n", kind: llm.Interrupted},
		"text without end":      {stream: data(`{"choices":[{"delta":{"content":"` + strings.Repeat("x", 300<<10) + `"}}]}`), kind: llm.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := openURL(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = w.Write([]byte(tt.stream))
			}), key)
			reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
			require.Equal(t, tt.kind, llm.KindOf(err), "%v", err)
			require.Equal(t, tt.calls, reply.Calls)
			require.Equal(t, tt.text, reply.Text)
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer other.Close()
	m := openURL(t, http.RedirectHandler(other.URL, http.StatusTemporaryRedirect), key)
	_, err := m.Stream(t.Context(), request, func(llm.Delta) {})
	require.Equal(t, llm.Interrupted, llm.KindOf(err), "%v", err)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	_, err := llm.Open(llm.Config{Kind: "oracle", BaseURL: "http://x"})
	require.ErrorContains(t, err, "oracle")
	_, err = llm.Open(llm.Config{Kind: "openai"})
	require.Error(t, err)
}

// TestStreamsAreReadToTheirEnd: the server sees each request end by itself, and
// one connection serves all of them.
func TestStreamsAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	const turns = 3
	peers, gone := map[string]bool{}, make(chan error, turns)
	m := openURL(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peers[r.RemoteAddr] = true
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done(): // the client has closed
			gone <- r.Context().Err()
		case <-time.After(20 * time.Millisecond):
			gone <- nil
		}
	}), "k")
	for range turns {
		_, err := m.Stream(t.Context(), llm.Request{Model: "m", Messages: []llm.Message{{Role: llm.User, Text: "x"}}}, func(llm.Delta) {})
		require.NoError(t, err)
		require.NoError(t, <-gone)
	}
	require.Len(t, peers, 1)
}
