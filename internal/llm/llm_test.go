package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// open serves a scenario and gives a model that is patient for milliseconds only.
func open(t *testing.T, scenario string) (*llm.Model, *fake.OpenAI) {
	t.Helper()
	s, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	vendor := fake.NewOpenAI(s, fake.Config{Key: ops.NewSecret(key)})
	return openURL(t, vendor, key), vendor
}

func openURL(t *testing.T, h http.Handler, key string) *llm.Model {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	m, err := llm.Open(llm.Config{Kind: "openai", BaseURL: srv.URL + "/llm/1/v1", Key: ops.NewSecret(key),
		Backoff: time.Millisecond, Attempts: 4, Silence: 200 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

var request = llm.Request{
	Model:    "m",
	System:   "be brief",
	Messages: []llm.Message{{Role: llm.User, Text: "hi"}},
	Tools:    []llm.Tool{{Name: "look", Description: "looks", Schema: json.RawMessage(`{"type":"object"}`)}},
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, chunk := range []int{1, 3, 1000} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			t.Parallel()
			m, _ := open(t, fmt.Sprintf(`
chunk: %d
turns:
  - text: "I lóok twice."
    calls:
      - {tool: look, arguments: {at: "a {b} \"c\"", n: 7}}
      - {tool: look, arguments: {}}
  - text: '{{grep "c1" "seen"}}'
`, chunk))
			var text strings.Builder
			reply, err := m.Stream(t.Context(), request, func(d llm.Delta) { text.WriteString(d.Text) })
			require.NoError(t, err)
			require.Equal(t, "I lóok twice.", reply.Text)
			require.Equal(t, reply.Text, text.String())
			require.Equal(t, llm.StopCalls, reply.Stop)
			require.Len(t, reply.Calls, 2)
			require.JSONEq(t, `{"at":"a {b} \"c\"","n":7}`, reply.Calls[0].Arguments)
			require.Equal(t, "{}", reply.Calls[1].Arguments)
			require.Positive(t, reply.Usage.InputTokens)
			require.Positive(t, reply.Usage.OutputTokens)
			require.Equal(t, "m", reply.Usage.Model)

			next := request
			next.Messages = append(next.Messages,
				llm.Message{Role: llm.Assistant, Text: reply.Text, Calls: reply.Calls},
				llm.Message{Role: llm.ToolRole, CallID: reply.Calls[0].ID, Text: "[c1]\nI have seen it"},
				llm.Message{Role: llm.ToolRole, CallID: reply.Calls[1].ID, Text: "[c2]\nnothing"})
			reply, err = m.Stream(t.Context(), next, func(llm.Delta) {})
			require.NoError(t, err)
			require.Equal(t, "I have seen it", reply.Text)
			require.Equal(t, llm.StopEnd, reply.Stop)
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		turn     string
		kind     llm.Kind // empty: it succeeds in the end
		requests int
		void     bool
	}{
		"rate limited, then fine": {turn: `faults: [{status: 429, times: 2, headers: {Retry-After: "0.01"}}]`, requests: 3},
		"500s, then fine":         {turn: `faults: [{status: 500, times: 3}]`, requests: 4},
		"500s for ever":           {turn: `faults: [{status: 500, times: 9}]`, kind: llm.Unavailable, requests: 4},
		"overloaded for ever":     {turn: `faults: [{status: 503, times: 9}]`, kind: llm.Overloaded, requests: 4},
		"cut at once":             {turn: `faults: [{cut: 0}]`, requests: 2},
		"cut in the text":         {turn: `faults: [{cut: 3}]`, requests: 2, void: true},
		"cut in the arguments":    {turn: `faults: [{cut: 8}]`, requests: 2, void: true},
		"cut for ever":            {turn: `faults: [{cut: 3, times: 9}]`, kind: llm.Interrupted, requests: 4, void: true},
		"garbage, then fine":      {turn: `faults: [{garbage: 2}]`, requests: 2, void: true},
		"garbage for ever":        {turn: `faults: [{garbage: 2, times: 9}]`, kind: llm.Malformed, requests: 3, void: true},
		"hangs, then fine":        {turn: `faults: [{hang: 2}]`, requests: 2, void: true},
		"no such model":           {turn: `faults: [{status: 404, times: 9}]`, kind: llm.Invalid, requests: 1},
		"too long":                {turn: `faults: [{status: 400, times: 9, code: context_length_exceeded}]`, kind: llm.TooLong, requests: 1},
		"used up":                 {turn: `faults: [{status: 429, times: 9, code: insufficient_quota}]`, kind: llm.Quota, requests: 1},
		"filtered":                {turn: `finish: content_filter`, kind: llm.Refused, requests: 1},
		"forbidden":               {turn: `faults: [{status: 403, times: 9}]`, kind: llm.Auth, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, vendor := open(t, "chunk: 4\nturns:\n  - text: some words\n    calls: [{tool: look, arguments: {a: 1, b: 2}}]\n    "+tt.turn+"\n")
			retries, void := 0, false
			var text string
			reply, err := m.Stream(t.Context(), request, func(d llm.Delta) {
				if text += d.Text; d.Retry != nil {
					retries++
					void = void || d.Retry.Void
					text = ""
				}
			})
			require.Equal(t, tt.kind, llm.KindOf(err), "%v", err)
			require.Equal(t, tt.requests, vendor.Requests(1))
			require.Equal(t, tt.requests-1, retries)
			require.Equal(t, tt.void, void)
			if err == nil {
				require.Equal(t, "some words", reply.Text)
				require.Equal(t, "some words", text)
				require.Len(t, reply.Calls, 1)
				return
			}
			require.NotContains(t, err.Error(), key)
			e, ok := errors.AsType[*llm.Error](err)
			require.True(t, ok)
			require.Equal(t, tt.requests, e.Attempts)
		})
	}
}

func TestMalformedArgumentsAreHandedOver(t *testing.T) {
	t.Parallel()
	m, _ := open(t, `turns: [{calls: [{tool: look, raw: '{"at": '}]}]`)
	reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
	require.NoError(t, err)
	require.Equal(t, `{"at": `, reply.Calls[0].Arguments)
}

func TestWrongKeyIsNotRepeatedNorShown(t *testing.T) {
	t.Parallel()
	s, err := fake.LoadScenario(strings.NewReader("turns: [{text: a}]"))
	require.NoError(t, err)
	m := openURL(t, fake.NewOpenAI(s, fake.Config{Key: ops.NewSecret("sk-right")}), key)
	_, err = m.Stream(t.Context(), request, func(llm.Delta) { t.Error("no delta expected") })
	require.Equal(t, llm.Auth, llm.KindOf(err))
	require.NotContains(t, fmt.Sprintf("%v %+v", err, err), key)
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
