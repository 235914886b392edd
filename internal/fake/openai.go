package fake

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxRequest bounds a request of the model's client.
const maxRequest = 16 << 20

// Config says how the vendor treats its clients.
type Config struct {
	// Key is what a client must present as bearer. Required.
	Key ops.Secret
}

// OpenAI is a vendor that speaks chat completions, streaming and not, and says
// what a [Scenario] says. It serves POST {anything}/chat/completions and, to the
// same key, GET {anything}/models. It is stateless but for counters.
type OpenAI struct {
	scenario Scenario
	key      ops.Secret

	mu       sync.Mutex
	requests []int // by turn; the last is conclude
	refused  int
}

// NewOpenAI makes the vendor; it is an [http.Handler].
func NewOpenAI(s Scenario, cfg Config) *OpenAI {
	return &OpenAI{scenario: s, key: cfg.Key, requests: make([]int, len(s.Turns)+1)}
}

// Requests gives how many requests came for a turn, counted from 1; 0 stands
// for conclude.
func (o *OpenAI) Requests(turn int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if turn == 0 {
		turn = len(o.requests)
	}
	return o.requests[turn-1]
}

// Refused gives how many requests had no or a wrong key.
func (o *OpenAI) Refused() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused
}

// chatRequest is what we read of a request. It is as tolerant as the vendor.
type chatRequest struct {
	Model         string        `json:"model"`
	Messages      []chatMessage `json:"messages"`
	Stream        bool          `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Tools []struct {
		Type     string `json:"type"`
		Function struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	} `json:"tools"`
}

type chatMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	ToolCallID string          `json:"tool_call_id"`
	ToolCalls  []chatCall      `json:"tool_calls"`
}

type chatCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// ServeHTTP implements [http.Handler].
func (o *OpenAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || o.key.Empty() || !o.key.Equal(ops.NewSecret(key)) {
		o.mu.Lock()
		o.refused++
		o.mu.Unlock()
		chatError(w, http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")
		return
	}
	switch {
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/models"):
		writeJSON(w, http.StatusOK, map[string]any{"object": "list",
			"data": []any{map[string]any{"id": o.model(""), "object": "model", "created": 0, "owned_by": "fake"}}})
	case !strings.HasSuffix(r.URL.Path, "/chat/completions"):
		chatError(w, http.StatusNotFound, "invalid_request_error", "", "Invalid URL ("+r.Method+" "+r.URL.Path+")")
	case r.Method != http.MethodPost:
		chatError(w, http.StatusMethodNotAllowed, "invalid_request_error", "", "Not allowed to "+r.Method+" on "+r.URL.Path)
	default:
		o.complete(w, r)
	}
}

func (o *OpenAI) model(asked string) string {
	if o.scenario.Model != "" {
		return o.scenario.Model
	}
	if asked != "" {
		return asked
	}
	return "scripted"
}

func (o *OpenAI) complete(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		chatError(w, http.StatusRequestEntityTooLarge, "invalid_request_error", "", "The request is too large.")
		return
	}
	var req chatRequest
	if err := json.Unmarshal(body, &req); err != nil {
		chatError(w, http.StatusBadRequest, "invalid_request_error", "", "We could not parse the JSON body of your request.")
		return
	}
	in, problem := o.judge(req)
	if problem != "" {
		chatError(w, http.StatusBadRequest, "invalid_request_error", "", problem)
		return
	}
	turn, n, seen := o.pick(req)
	if turn == nil {
		chatError(w, http.StatusBadRequest, "invalid_request_error", "", fmt.Sprintf("The scenario has no turn %d.", n))
		return
	}
	fault := turn.fault(seen)
	if fault != nil && fault.Status != 0 {
		for k, v := range fault.Headers {
			w.Header().Set(k, v)
		}
		message := fault.Message
		if message == "" {
			message = http.StatusText(fault.Status)
		}
		chatError(w, fault.Status, "server_error", fault.Code, message)
		return
	}
	answer, err := o.answer(turn, n, in)
	if err != nil {
		chatError(w, http.StatusInternalServerError, "server_error", "", "scenario: "+err.Error())
		return
	}
	answer.model = o.model(req.Model)
	answer.input = len(body)/4 + 1
	if !req.Stream {
		answer.whole(w)
		return
	}
	answer.stream(r.Context(), w, o.scenario, req.StreamOptions.IncludeUsage, fault)
}

// judge refuses what the vendor would, and gives what templates can see.
func (o *OpenAI) judge(req chatRequest) (in conversation, problem string) {
	in.outputs = map[string]string{}
	if req.Model == "" {
		return in, "you must provide a model parameter"
	}
	if o.scenario.Model != "" && req.Model != o.scenario.Model {
		return in, "The model `" + req.Model + "` does not exist or you do not have access to it."
	}
	if len(req.Messages) == 0 {
		return in, "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
	}
	names := map[string]bool{}
	for i, t := range req.Tools {
		if t.Type != "function" || t.Function.Name == "" || len(t.Function.Name) > 64 {
			return in, fmt.Sprintf("Invalid 'tools[%d].function.name'.", i)
		}
		if names[t.Function.Name] {
			return in, "Tool names must be unique."
		}
		names[t.Function.Name] = true
	}
	open := map[string]bool{} // calls that wait for their result
	for i, m := range req.Messages {
		text := content(m.Content)
		if m.Role != "tool" && len(open) > 0 {
			return in, "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
		}
		switch m.Role {
		case "system", "developer":
		case "user":
			if in.user == "" {
				in.user = text
			}
		case "assistant":
			if text == "" && len(m.ToolCalls) == 0 {
				return in, fmt.Sprintf("Invalid 'messages[%d]': an assistant message needs content or tool_calls.", i)
			}
			for _, c := range m.ToolCalls {
				if c.ID == "" || c.Function.Name == "" || open[c.ID] {
					return in, fmt.Sprintf("Invalid 'messages[%d].tool_calls'.", i)
				}
				if !json.Valid([]byte(c.Function.Arguments)) {
					return in, fmt.Sprintf("Invalid 'messages[%d].tool_calls': arguments are not JSON.", i)
				}
				open[c.ID] = true
			}
		case "tool":
			if !open[m.ToolCallID] {
				return in, "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
			}
			delete(open, m.ToolCallID)
			first, rest, _ := strings.Cut(text, "\n")
			if id, ok := strings.CutPrefix(first, "["); ok {
				in.outputs[strings.TrimSuffix(strings.TrimSpace(id), "]")] = rest
			}
		default:
			return in, fmt.Sprintf("Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', and 'tool'.", m.Role)
		}
	}
	if len(open) > 0 {
		return in, "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
	}
	return in, ""
}

// content reads a message's content: a string, or parts with text.
func content(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(raw, &parts)
	for _, p := range parts {
		s += p.Text
	}
	return s
}

// pick gives the turn that is due, its number, and how many requests for it came before.
func (o *OpenAI) pick(req chatRequest) (turn *Turn, n, seen int) {
	n = 1
	for _, m := range req.Messages {
		if m.Role == "assistant" {
			n++
		}
	}
	last := true
	for _, t := range req.Tools {
		last = last && t.Function.Name == "submit_findings"
	}
	turns := o.scenario.Turns
	at := n - 1
	switch {
	case last && o.scenario.Conclude != nil:
		turn, at = o.scenario.Conclude, len(turns)
	case at < len(turns):
		turn = &turns[at]
	case turns[len(turns)-1].Repeat:
		at = len(turns) - 1
		turn = &turns[at]
	default:
		return nil, n, 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	seen = o.requests[at]
	o.requests[at]++
	return turn, n, seen
}

// answer is a turn with its templates filled in.
type answer struct {
	id     string
	model  string
	text   string
	calls  []chatCall
	finish string
	input  int // tokens, about
}

func (o *OpenAI) answer(t *Turn, n int, in conversation) (*answer, error) {
	a := &answer{id: "chatcmpl-" + nonce(), finish: t.Finish}
	var err error
	if a.text, err = in.render(t.Text); err != nil {
		return nil, err
	}
	for i, c := range t.Calls {
		call := chatCall{ID: fmt.Sprintf("call_%d_%d_%s", n, i+1, nonce()[:8]), Type: "function"}
		call.Function.Name = c.Tool
		if call.Function.Arguments, err = c.arguments(in); err != nil {
			return nil, err
		}
		a.calls = append(a.calls, call)
	}
	if a.finish == "" {
		a.finish = "stop"
		if len(a.calls) > 0 {
			a.finish = "tool_calls"
		}
	}
	return a, nil
}

func (a *answer) usage() map[string]any {
	out := len(a.text)/4 + 1
	for _, c := range a.calls {
		out += len(c.Function.Arguments)/4 + 8
	}
	return map[string]any{"prompt_tokens": a.input, "completion_tokens": out, "total_tokens": a.input + out}
}

func (a *answer) whole(w http.ResponseWriter) {
	message := map[string]any{"role": "assistant", "content": a.text, "refusal": nil}
	if len(a.calls) > 0 {
		message["tool_calls"] = a.calls
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": a.id, "object": "chat.completion", "created": time.Now().Unix(), "model": a.model,
		"choices": []any{map[string]any{"index": 0, "message": message, "logprobs": nil, "finish_reason": a.finish}},
		"usage":   a.usage(),
	})
}

// deltas are the pieces of the answer as the vendor streams them: the role,
// text, then each call with its name first and its arguments in pieces.
func (a *answer) deltas(size int) []map[string]any {
	out := []map[string]any{{"role": "assistant", "content": "", "refusal": nil}}
	for _, piece := range pieces(a.text, size) {
		out = append(out, map[string]any{"content": piece})
	}
	for i, c := range a.calls {
		head := c
		head.Index, head.Function.Arguments = &i, ""
		out = append(out, map[string]any{"tool_calls": []chatCall{head}})
		for _, piece := range pieces(c.Function.Arguments, size) {
			tail := chatCall{Index: &i}
			tail.Function.Arguments = piece
			out = append(out, map[string]any{"tool_calls": []chatCall{tail}})
		}
	}
	return out
}

// stream sends the answer as server-sent events, spoilt by fault if there is one.
func (a *answer) stream(ctx context.Context, w http.ResponseWriter, s Scenario, usage bool, fault *Fault) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	created := time.Now().Unix()
	chunk := func(choices []any, usage any) []byte {
		c := map[string]any{"id": a.id, "object": "chat.completion.chunk", "created": created, "model": a.model,
			"service_tier": "default", "system_fingerprint": "fp_scripted", "choices": choices}
		if usage != nil {
			c["usage"] = usage
		}
		b, _ := json.Marshal(c)
		return b
	}
	var events [][]byte
	for _, d := range a.deltas(s.Chunk) {
		events = append(events, chunk([]any{map[string]any{"index": 0, "delta": d, "logprobs": nil, "finish_reason": nil}}, nil))
	}
	events = append(events, chunk([]any{map[string]any{"index": 0, "delta": map[string]any{}, "logprobs": nil, "finish_reason": a.finish}}, nil))
	if usage {
		events = append(events, chunk([]any{}, a.usage()))
	}
	events = append(events, []byte("[DONE]"))
	for i, e := range events {
		if !wait(ctx, s.Delay) {
			return
		}
		switch {
		case fault == nil:
		case fault.Cut != nil && *fault.Cut == i:
			_ = rc.Flush()
			panic(http.ErrAbortHandler) // closes the connection without an end
		case fault.Garbage != nil && *fault.Garbage == i:
			e = []byte(`{"id": "chatcmpl-`)
		case fault.Hang != nil && *fault.Hang == i:
			_ = rc.Flush()
			<-ctx.Done()
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", e); err != nil {
			return
		}
		if rc.Flush() != nil {
			return
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pieces cuts s into pieces of size characters.
func pieces(s string, size int) []string {
	var out []string
	n, start := 0, 0
	for i := range s {
		if n == size {
			out = append(out, s[start:i])
			n, start = 0, i
		}
		n++
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

func chatError(w http.ResponseWriter, status int, typ, code, message string) {
	e := map[string]any{"message": message, "type": typ, "param": nil, "code": nil}
	if code != "" {
		e["code"] = code
	}
	writeJSON(w, status, map[string]any{"error": e})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func nonce() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
