package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// anthropicProtocol is the Messages API (platform.claude.com/docs/en/api/messages
// and /docs/en/build-with-claude/streaming).
func anthropicProtocol() *protocol {
	return &protocol{
		key:    func(r *http.Request) string { return r.Header.Get("X-Api-Key") },
		read:   readAnthropic,
		fail:   anthropicFail,
		frames: anthropicFrames,
		failure: func(status int, code, message string) string {
			_, body := anthropicFail(status, code, message, nil)
			return "event: error\ndata: " + toJSON(body) + "\n\n"
		},
		garbage: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"del\n\n",
	}
}

type anthropicBlock struct {
	Type         string          `json:"type"`
	Text         string          `json:"text"`
	Thinking     string          `json:"thinking"`
	Signature    string          `json:"signature"`
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Input        json.RawMessage `json:"input"`
	ToolUseID    string          `json:"tool_use_id"`
	Content      json.RawMessage `json:"content"`
	CacheControl *struct {
		Type string `json:"type"`
	} `json:"cache_control"`
}

type anthropicTool struct {
	Name         string          `json:"name"`
	InputSchema  json.RawMessage `json:"input_schema"`
	CacheControl *struct{}       `json:"cache_control"`
}

type anthropicRequest struct {
	Model     string           `json:"model"`
	MaxTokens int              `json:"max_tokens"`
	Stream    bool             `json:"stream"`
	System    []anthropicBlock `json:"system"`
	Thinking  struct {
		Type         string `json:"type"`
		BudgetTokens int    `json:"budget_tokens"`
	} `json:"thinking"`
	Tools      []anthropicTool `json:"tools"`
	ToolChoice struct {
		Type string `json:"type"`
	} `json:"tool_choice"`
	Messages []struct {
		Role    string           `json:"role"`
		Content []anthropicBlock `json:"content"`
	} `json:"messages"`
}

// readAnthropic refuses what the vendor would.
func readAnthropic(_ *Vendor, r *http.Request, body []byte) (request, string) {
	var m anthropicRequest
	req := request{in: conversation{outputs: map[string]string{}}, marked: map[int]bool{}, usage: true}
	if r.Header.Get("Anthropic-Version") == "" {
		return req, "anthropic-version: header is required"
	}
	if json.Unmarshal(body, &m) != nil {
		return req, "We could not parse the JSON body of your request."
	}
	req.model, req.stream = m.Model, m.Stream
	switch {
	case m.Model == "":
		return req, ""
	case m.MaxTokens <= 0:
		return req, "max_tokens: Field required"
	case len(m.Messages) == 0:
		return req, "messages: at least one message is required"
	case m.Thinking.Type == "enabled" && (m.Thinking.BudgetTokens < 1024 || m.Thinking.BudgetTokens >= m.MaxTokens):
		return req, "`max_tokens` must be greater than `thinking.budget_tokens`."
	}
	put := func(v any, marked bool) {
		req.marked[len(req.prompt)] = marked
		req.prompt = append(req.prompt, toJSON(v))
	}
	for i, t := range m.Tools {
		if t.Name == "" || len(t.Name) > 128 || !strings.Contains(string(t.InputSchema), `"object"`) {
			return req, fmt.Sprintf("tools.%d: Invalid tool.", i)
		}
		if slices.Contains(req.tools, t.Name) {
			return req, "tools: Tool names must be unique."
		}
		req.tools = append(req.tools, t.Name)
		put([]any{t.Name, t.InputSchema}, t.CacheControl != nil)
	}
	for _, s := range m.System {
		put(s.Text, s.CacheControl != nil)
	}
	if problem := req.hearAnthropic(m, put); problem != "" {
		return req, problem
	}
	marks := 0
	for _, marked := range req.marked {
		if marked {
			marks++
		}
	}
	if marks > 4 {
		return req, fmt.Sprintf("A maximum of 4 blocks with cache_control may be provided. Found %d.", marks)
	}
	if m.ToolChoice.Type == "none" {
		req.tools = nil
	}
	return req, ""
}

var anthropicID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// hearAnthropic goes over the conversation.
func (req *request) hearAnthropic(m anthropicRequest, put func(any, bool)) string {
	var open []string // calls of the turn before, which wait for their results
	ids := map[string]bool{}
	thought := true // the newest turn of the model
	for i, msg := range m.Messages {
		at := func(j int, problem string) string { return fmt.Sprintf("messages.%d.content.%d: %s", i, j, problem) }
		if len(msg.Content) == 0 {
			return fmt.Sprintf("messages.%d: all messages must have non-empty content", i)
		}
		answered := map[string]bool{}
		begins := true
		switch msg.Role {
		case "assistant":
			req.turns++
			thought = strings.HasSuffix(msg.Content[0].Type, "thinking")
		case "user":
		default:
			return fmt.Sprintf("messages.%d.role: Input should be 'user' or 'assistant'", i)
		}
		var calls []string
		for j, b := range msg.Content {
			unmarked := b
			unmarked.CacheControl = nil
			put([]any{msg.Role, unmarked}, b.CacheControl != nil)
			switch {
			case b.Type == "text":
				begins = false
				if strings.TrimSpace(b.Text) == "" {
					return at(j, "text content blocks must contain non-whitespace text")
				}
				if msg.Role == "user" && req.in.user == "" {
					req.in.user = b.Text
				}
			case b.Type == "thinking" && msg.Role == "assistant":
				if b.Signature != signature(b.Thinking) {
					return at(j, "Invalid `signature` in `thinking` block")
				}
				if b.CacheControl != nil {
					return at(j, "thinking blocks cannot have cache_control")
				}
			case b.Type == "redacted_thinking" && msg.Role == "assistant":
			case b.Type == "tool_use" && msg.Role == "assistant":
				switch {
				case !anthropicID.MatchString(b.ID):
					return at(j, "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
				case ids[b.ID]:
					return at(j, "`tool_use` ids must be unique")
				case !strings.HasPrefix(strings.TrimSpace(string(b.Input)), "{"):
					return at(j, "tool_use.input: Input should be a valid dictionary")
				}
				ids[b.ID] = true
				calls = append(calls, b.ID)
			case b.Type == "tool_result" && msg.Role == "user":
				if !begins || !slices.Contains(open, b.ToolUseID) {
					return at(j, "unexpected `tool_use_id` found in `tool_result` blocks: "+b.ToolUseID)
				}
				answered[b.ToolUseID] = true
				req.in.heard(content(b.Content))
			default:
				return at(j, "Input tag '"+b.Type+"' found using 'type' does not match any of the expected tags")
			}
		}
		for _, id := range open {
			if !answered[id] {
				return fmt.Sprintf("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s.", i-1, id)
			}
		}
		open = calls
	}
	switch {
	case len(open) > 0:
		return "`tool_use` ids were found without `tool_result` blocks immediately after."
	case len(ids) > 0 && len(m.Tools) == 0:
		return "Requests which include `tool_use` or `tool_result` blocks must define tools."
	case m.Thinking.Type == "enabled" && len(ids) > 0 && !thought:
		return "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block."
	}
	return ""
}

func (a *answer) anthropicUsage(output int) map[string]any {
	_, reasoning := a.tokens()
	return map[string]any{"input_tokens": a.input - a.read - a.written, "cache_read_input_tokens": a.read, "cache_creation_input_tokens": a.written,
		"output_tokens": output, "output_tokens_details": map[string]any{"thinking_tokens": reasoning}}
}

// anthropicFrames are message_start, each block with its start, deltas and stop,
// message_delta with the reason to stop and the usage, and message_stop.
func anthropicFrames(a *answer, size int) []frame {
	var frames []frame
	put := func(piece bool, name string, data map[string]any) {
		data["type"] = name
		frames = append(frames, frame{"event: " + name + "\ndata: " + toJSON(data) + "\n\n", piece})
	}
	put(false, "message_start", map[string]any{"message": map[string]any{"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.model,
		"content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": a.anthropicUsage(1)}})
	put(false, "ping", map[string]any{})
	index := 0
	block := func(start map[string]any, kind, field string, parts []string) {
		put(false, "content_block_start", map[string]any{"index": index, "content_block": start})
		for _, piece := range parts {
			put(true, "content_block_delta", map[string]any{"index": index, "delta": map[string]any{"type": kind, field: piece}})
		}
	}
	stop := func() {
		put(false, "content_block_stop", map[string]any{"index": index})
		index++
	}
	if a.reasoning != "" {
		block(map[string]any{"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking", pieces(a.reasoning, size))
		put(false, "content_block_delta", map[string]any{"index": index, "delta": map[string]any{"type": "signature_delta", "signature": signature(a.reasoning)}})
		stop()
	}
	text := a.text + a.refusal
	if text != "" {
		block(map[string]any{"type": "text", "text": ""}, "text_delta", "text", pieces(text, size))
		stop()
	}
	for _, c := range a.calls {
		put(true, "content_block_start", map[string]any{"index": index,
			"content_block": map[string]any{"type": "tool_use", "id": "toolu_" + c.id, "name": c.name, "input": map[string]any{}}})
		put(false, "content_block_delta", map[string]any{"index": index, "delta": map[string]any{"type": "input_json_delta", "partial_json": ""}})
		if c.arguments != "{}" {
			for _, piece := range pieces(c.arguments, size) {
				put(true, "content_block_delta", map[string]any{"index": index, "delta": map[string]any{"type": "input_json_delta", "partial_json": piece}})
			}
		}
		stop()
	}
	reason, ok := map[string]string{"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}[a.finish]
	if !ok {
		reason = a.finish
	}
	delta := map[string]any{"stop_reason": reason, "stop_sequence": nil}
	if a.refusal != "" {
		delta["stop_reason"] = "refusal"
		delta["stop_details"] = map[string]any{"type": "refusal", "category": "cyber", "explanation": a.refusal}
	}
	output, _ := a.tokens()
	put(true, "message_delta", map[string]any{"delta": delta, "usage": a.anthropicUsage(output)})
	put(true, "message_stop", map[string]any{})
	return frames
}

// anthropicFail is an error (platform.claude.com/docs/en/api/errors).
func anthropicFail(status int, code, message string, _ http.Header) (int, any) {
	if code == "insufficient_quota" {
		status = http.StatusBadRequest
	}
	typ := map[int]string{400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
		413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}[status]
	if typ == "" {
		typ = "api_error"
	}
	switch code {
	case "context_length_exceeded":
		typ, message = "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"
	case "insufficient_quota":
		message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
	case "invalid_api_key":
		message = "invalid x-api-key"
	}
	return status, map[string]any{"type": "error", "error": map[string]any{"type": typ, "message": message}, "request_id": "req_" + nonce()}
}
