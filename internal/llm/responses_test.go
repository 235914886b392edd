package llm_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// recorded keeps the bodies of requests on their way to next.
type recorded struct {
	mu     sync.Mutex
	bodies []string
	next   func(n int, body string, w http.ResponseWriter, r *http.Request)
}

func (h *recorded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	h.mu.Lock()
	h.bodies = append(h.bodies, string(body))
	n := len(h.bodies)
	h.mu.Unlock()
	h.next(n, string(body), w, r)
}

func responsesVendor(t *testing.T, scenario string) *fake.Vendor {
	t.Helper()
	s, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	return fake.NewVendor(s, fake.Config{Key: ops.NewSecret(key)})
}

// stored gives a reply as it is after a restart: through the database's JSON.
func stored(t *testing.T, r llm.Reply) llm.Reply {
	t.Helper()
	raw, err := json.Marshal(r.Vendor)
	require.NoError(t, err)
	r.Vendor = nil
	require.NoError(t, json.Unmarshal(raw, &r.Vendor))
	return r
}

// TestReasoningGoesBackEncrypted: nothing is stored at the vendor; what the model
// thought goes back in its place, by a client that has only what was stored.
func TestReasoningGoesBackEncrypted(t *testing.T) {
	t.Parallel()
	vendor := responsesVendor(t, `
turns:
  - {reasoning: it may be the disk, text: I look., calls: [{tool: look, arguments: {at: a}}, {tool: look, arguments: {at: b}}]}
  - {reasoning: or not, calls: [{tool: look}]}
  - {text: Done.}
`)
	h := &recorded{next: func(_ int, _ string, w http.ResponseWriter, r *http.Request) { vendor.ServeHTTP(w, r) }}
	req := request
	req.Effort, req.MaxOutput = "low", 3
	for n := range 3 {
		m := openAt(t, "openai", h, key) // a worker of its own each time
		reply, err := m.Stream(t.Context(), req, func(llm.Delta) {})
		require.NoError(t, err)
		if n < 2 {
			require.NotEmpty(t, reply.Vendor)
			results := []string{"[c1]\nx", "[c2]\ny"}
			req = goOn(req, stored(t, reply), results[:len(reply.Calls)]...)
		}
	}
	var keys []string
	for _, body := range h.bodies {
		var sent struct {
			Store    *bool
			Include  []string
			CacheKey string `json:"prompt_cache_key"`
			Previous string `json:"previous_response_id"`
			Parallel bool   `json:"parallel_tool_calls"`
			Max      int    `json:"max_output_tokens"`
			Tools    []struct {
				Strict *bool
			}
			Reasoning map[string]string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &sent))
		require.False(t, *sent.Store)
		require.Equal(t, []string{"reasoning.encrypted_content"}, sent.Include)
		require.Equal(t, map[string]string{"effort": "low", "summary": "auto"}, sent.Reasoning)
		require.Empty(t, sent.Previous)
		require.True(t, sent.Parallel)
		require.False(t, *sent.Tools[0].Strict, "our schemas are not in the vendor's strict form")
		require.Equal(t, 16, sent.Max, "the least that the vendor takes")
		keys = append(keys, sent.CacheKey)
	}
	require.Len(t, keys[0], 32)
	require.Equal(t, []string{keys[0], keys[0], keys[0]}, keys, "turns of a conversation find each other's cache")
	var kinds []string
	var last struct {
		Input []struct{ Type, Role string }
	}
	require.NoError(t, json.Unmarshal([]byte(h.bodies[2]), &last))
	for _, i := range last.Input {
		kinds = append(kinds, i.Type+i.Role)
	}
	require.Equal(t, []string{"user", "reasoning", "assistant", "function_call", "function_call", "function_call_output", "function_call_output",
		"reasoning", "function_call", "function_call_output"}, kinds)
}

// TestReasoningThatLedToNothing is not sent back: the vendor refuses it.
func TestReasoningThatLedToNothing(t *testing.T) {
	t.Parallel()
	vendor := responsesVendor(t, "turns: [{reasoning: hm, text: ''}, {text: fine}]")
	h := &recorded{next: func(_ int, _ string, w http.ResponseWriter, r *http.Request) { vendor.ServeHTTP(w, r) }}
	m := openAt(t, "openai", h, key)
	reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
	require.NoError(t, err)
	require.NotEmpty(t, reply.Vendor)
	reply.Text = "(nothing)" // as the agent says it
	next := goOn(request, reply)
	next.Messages = append(next.Messages, llm.Message{Role: llm.User, Text: "go on"})
	reply, err = m.Stream(t.Context(), next, func(llm.Delta) {})
	require.NoError(t, err)
	require.Equal(t, "fine", reply.Text)
	require.NotContains(t, h.bodies[1], `"type":"reasoning"`)
}

// TestWishesThatAreRefused: accounts that may not see summaries, and models that
// do not reason, are asked without.
func TestWishesThatAreRefused(t *testing.T) {
	t.Parallel()
	vendor := responsesVendor(t, "turns: [{text: fine, repeat: true}]")
	refuse := func(w http.ResponseWriter, param, code, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error", "param": param, "code": code}})
	}
	h := &recorded{next: func(_ int, body string, w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(body, `"summary":"auto"`):
			refuse(w, "reasoning.summary", "unsupported_value", "Your organization must be verified to generate reasoning summaries.")
		case strings.Contains(body, "encrypted_content"):
			refuse(w, "include", "", "Encrypted content is not supported with this model.")
		default:
			vendor.ServeHTTP(w, r)
		}
	}}
	m := openAt(t, "openai", h, key)
	for range 2 {
		reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
		require.NoError(t, err)
		require.Equal(t, "fine", reply.Text)
	}
	require.Len(t, h.bodies, 4, "each wish is refused once")
	plain, _ := openKind(t, "openai", "turns: [{text: fine}]")
	req := request
	req.Model = "gpt-4.1-mini"
	_, err := plain.Stream(t.Context(), req, func(llm.Delta) {})
	require.NoError(t, err)
}

// TestResponsesStreams is what the vendor may send besides.
func TestResponsesStreams(t *testing.T) {
	t.Parallel()
	event := func(data string) string { return "event: x\ndata: " + data + "\n\n" }
	call := event(`{"type":"response.output_item.added","output_index":3,"item":{"type":"function_call","id":"fc","call_id":"c","name":"look","arguments":""}}`)
	done := event(`{"type":"response.completed","response":{"status":"completed","model":"m-1","usage":{"input_tokens":9,"output_tokens":5,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"output_tokens_details":{"reasoning_tokens":3}}}}`)
	incomplete := func(why string) string {
		return event(`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"` + why + `"}}}`)
	}
	failed := func(code string) string {
		return event(`{"type":"response.failed","response":{"status":"failed","error":{"code":"` + code + `","message":"m"}}}`)
	}
	for name, tt := range map[string]struct {
		stream string
		kind   llm.Kind
		stop   llm.Stop
		check  func(*testing.T, llm.Reply)
	}{
		"unknown events and items": {stream: event(`{"type":"response.new_thing","x":{"y":[1]}}`) + event(`{"type":"response.output_item.added","output_index":0,"item":{"type":"web_search_call","id":"ws"}}`) +
			event(`{"type":"response.output_text.delta","output_index":1,"delta":"a"}`) + done, stop: llm.StopEnd,
			check: func(t *testing.T, r llm.Reply) {
				require.Equal(t, "a", r.Text)
				require.Equal(t, ops.Usage{Model: "m-1", InputTokens: 9, OutputTokens: 5, CachedTokens: 4, CacheWriteTokens: 2, ReasoningTokens: 3}, r.Usage)
			}},
		"arguments at the end alone": {stream: call + event(`{"type":"response.output_item.done","output_index":3,"item":{"type":"function_call","call_id":"c","name":"look","arguments":"{\"at\":1}"}}`) + done,
			stop: llm.StopCalls, check: func(t *testing.T, r llm.Reply) {
				require.Equal(t, []llm.Call{{ID: "c", Name: "look", Arguments: `{"at":1}`}}, r.Calls)
			}},
		"no arguments":          {stream: call + done, stop: llm.StopCalls, check: func(t *testing.T, r llm.Reply) { require.Equal(t, "{}", r.Calls[0].Arguments) }},
		"two summaries":         {stream: event(`{"type":"response.reasoning_summary_text.delta","delta":"a"}`) + event(`{"type":"response.reasoning_summary_part.added","summary_index":1}`) + event(`{"type":"response.reasoning_summary_text.delta","delta":"b"}`) + done, stop: llm.StopEnd, check: func(t *testing.T, r llm.Reply) { require.Equal(t, "a\n\nb", r.Reasoning) }},
		"cut by a limit":        {stream: call + incomplete("max_output_tokens"), stop: llm.StopLength},
		"filtered":              {stream: incomplete("content_filter"), kind: llm.Refused},
		"no end":                {stream: call, kind: llm.Interrupted},
		"arguments of no call":  {stream: event(`{"type":"response.function_call_arguments.delta","output_index":7,"delta":"{"}`) + done, kind: llm.Malformed},
		"server error":          {stream: failed("server_error"), kind: llm.Interrupted},
		"rate limit inside":     {stream: failed("rate_limit_exceeded"), kind: llm.RateLimited},
		"against the rules":     {stream: failed("invalid_prompt"), kind: llm.Refused},
		"too long inside":       {stream: failed("context_length_exceeded"), kind: llm.TooLong},
		"an error event":        {stream: event(`{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":1}`), kind: llm.Interrupted},
		"a nested error":        {stream: event(`{"type":"error","error":{"type":"insufficient_quota","code":"insufficient_quota","message":"m"}}`), kind: llm.Quota},
		"an endless answer":     {stream: strings.Repeat(event(`{"type":"response.output_text.delta","delta":"`+strings.Repeat("x", 64<<10)+`"}`), 5), kind: llm.Malformed},
		"very many items":       {stream: strings.Repeat(event(`{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"r"}}`), 1100), kind: llm.Malformed},
		"too much to give back": {stream: event(`{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"r"}}`) + event(`{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"r","encrypted_content":"`+strings.Repeat("x", 300<<10)+`"}}`) + done, stop: llm.StopEnd, check: func(t *testing.T, r llm.Reply) { require.Empty(t, r.Vendor) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := openAt(t, "openai", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, "/llm/1/v1/responses", r.URL.Path)
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, tt.stream)
			}), key)
			reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
			if tt.kind != "" {
				require.Equal(t, tt.kind, llm.KindOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.stop, reply.Stop)
			if tt.check != nil {
				tt.check(t, reply)
			}
		})
	}
}
