package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// openAIProtocol is chat completions
// (platform.openai.com/docs/api-reference/chat). Reasoning is streamed as
// compatible servers do that show it, in reasoning_content.
func openAIProtocol() *protocol {
	return &protocol{
		key:  bearerKey,
		read: readOpenAI,
		fail: openAIFail,
		frames: func(a *answer, size int) []frame {
			return openAIFrames(a, size, func(piece string, _ bool) map[string]any { return map[string]any{"reasoning_content": piece} })
		},
		failure: func(status int, code, message string) string {
			_, body := openAIFail(status, code, message, nil)
			return "data: " + toJSON(body) + "\n\n"
		},
		garbage: "data: {\"id\": \"chatcmpl-\n\n",
		whole:   openAIWhole,
	}
}

// openRouterProtocol is what OpenRouter adds: comments that keep a stream open,
// reasoning_details, what an answer cost, and errors with a number for a code
// (openrouter.ai/docs/api/reference/streaming and /errors).
func openRouterProtocol() *protocol {
	p := openAIProtocol()
	p.read = func(v *Vendor, r *http.Request, body []byte) (request, string) {
		req, problem := readOpenAI(v, r, body)
		if problem == "" {
			problem = judgeDetails(body)
		}
		return req, problem
	}
	p.frames = func(a *answer, size int) []frame {
		a.charged = true
		frames := openAIFrames(a, size, func(piece string, last bool) map[string]any {
			detail := map[string]any{"type": "reasoning.text", "text": piece, "format": "anthropic-claude-v1", "index": 0}
			if last {
				detail["signature"] = signature(a.reasoning)
			}
			return map[string]any{"reasoning": piece, "reasoning_details": []any{detail}}
		})
		return append([]frame{{text: ": OPENROUTER PROCESSING\n\n"}, {text: ": OPENROUTER PROCESSING\n\n"}}, frames...)
	}
	p.fail = func(status int, code, message string, _ http.Header) (int, any) {
		switch code {
		case "insufficient_quota":
			status, message = http.StatusPaymentRequired, "Insufficient credits. Add more using https://openrouter.ai/settings/credits"
		case "context_length_exceeded":
			message = "This endpoint's maximum context length is 128000 tokens. However, you requested about 210000 tokens."
		}
		return status, map[string]any{"error": map[string]any{"code": status, "message": message}}
	}
	p.failure = func(status int, _, message string) string {
		return "data: " + toJSON(map[string]any{"id": "gen-" + nonce(), "object": "chat.completion.chunk", "model": "fake", "provider": "Fake",
			"error":   map[string]any{"code": status, "message": message},
			"choices": []any{map[string]any{"index": 0, "delta": map[string]any{"content": ""}, "finish_reason": "error"}}}) + "\n\n"
	}
	return p
}

func bearerKey(r *http.Request) string {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return key
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
	Role             string          `json:"role"`
	Content          json.RawMessage `json:"content"`
	ToolCallID       string          `json:"tool_call_id"`
	ToolCalls        []chatCall      `json:"tool_calls"`
	ReasoningDetails []struct {
		Text      string `json:"text"`
		Signature string `json:"signature"`
	} `json:"reasoning_details"`
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

// readOpenAI refuses what the vendor would.
func readOpenAI(_ *Vendor, _ *http.Request, body []byte) (request, string) {
	var chat chatRequest
	req := request{in: conversation{outputs: map[string]string{}}}
	if json.Unmarshal(body, &chat) != nil {
		return req, "We could not parse the JSON body of your request."
	}
	req.model, req.stream, req.usage = chat.Model, chat.Stream, chat.StreamOptions.IncludeUsage
	if req.model == "" {
		return req, ""
	}
	if len(chat.Messages) == 0 {
		return req, "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
	}
	names := map[string]bool{}
	for i, t := range chat.Tools {
		if t.Type != "function" || t.Function.Name == "" || len(t.Function.Name) > 64 {
			return req, fmt.Sprintf("Invalid 'tools[%d].function.name'.", i)
		}
		if names[t.Function.Name] {
			return req, "Tool names must be unique."
		}
		names[t.Function.Name] = true
		req.tools = append(req.tools, t.Function.Name)
		req.prompt = append(req.prompt, toJSON(t))
	}
	open := map[string]bool{} // calls that wait for their result
	for i, m := range chat.Messages {
		if problem := req.hear(i, m, open); problem != "" {
			return req, problem
		}
	}
	if len(open) > 0 {
		return req, "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
	}
	return req, ""
}

// hear takes one message of a conversation, or says what is wrong with it.
func (req *request) hear(i int, m chatMessage, open map[string]bool) string {
	req.prompt = append(req.prompt, toJSON(m))
	text := content(m.Content)
	if m.Role != "tool" && len(open) > 0 {
		return "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
	}
	switch m.Role {
	case "system", "developer":
	case "user":
		if req.in.user == "" {
			req.in.user = text
		}
	case "assistant":
		req.turns++
		if text == "" && len(m.ToolCalls) == 0 {
			return fmt.Sprintf("Invalid 'messages[%d]': an assistant message needs content or tool_calls.", i)
		}
		for _, c := range m.ToolCalls {
			if c.ID == "" || c.Function.Name == "" || open[c.ID] {
				return fmt.Sprintf("Invalid 'messages[%d].tool_calls'.", i)
			}
			if !json.Valid([]byte(c.Function.Arguments)) {
				return fmt.Sprintf("Invalid 'messages[%d].tool_calls': arguments are not JSON.", i)
			}
			open[c.ID] = true
		}
	case "tool":
		if !open[m.ToolCallID] {
			return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
		}
		delete(open, m.ToolCallID)
		req.in.heard(text)
	default:
		return fmt.Sprintf("Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', and 'tool'.", m.Role)
	}
	return ""
}

// judgeDetails refuses reasoning that comes back as something else.
func judgeDetails(body []byte) string {
	var chat chatRequest
	_ = json.Unmarshal(body, &chat)
	for i, m := range chat.Messages {
		for _, d := range m.ReasoningDetails {
			if d.Signature != signature(d.Text) {
				return fmt.Sprintf("messages.%d: Invalid `signature` in `thinking` block", i)
			}
		}
	}
	return ""
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

func (a *answer) chatUsage() map[string]any {
	out, reasoning := a.tokens()
	usage := map[string]any{"prompt_tokens": a.input, "completion_tokens": out, "total_tokens": a.input + out,
		"prompt_tokens_details":     map[string]any{"cached_tokens": a.read, "audio_tokens": 0},
		"completion_tokens_details": map[string]any{"reasoning_tokens": reasoning, "audio_tokens": 0}}
	if a.charged {
		usage["cost"] = float64(a.input+out) / 1e6
	}
	return usage
}

func (a *answer) chatCalls() []chatCall {
	var out []chatCall
	for _, c := range a.calls {
		call := chatCall{ID: c.id, Type: "function"}
		call.Function.Name, call.Function.Arguments = c.name, c.arguments
		out = append(out, call)
	}
	return out
}

func openAIWhole(a *answer) any {
	message := map[string]any{"role": "assistant", "content": a.text, "refusal": nil}
	if a.refusal != "" {
		message["content"], message["refusal"] = nil, a.refusal
	}
	if len(a.calls) > 0 {
		message["tool_calls"] = a.chatCalls()
	}
	return map[string]any{
		"id": "chatcmpl-" + a.id, "object": "chat.completion", "created": time.Now().Unix(), "model": a.model,
		"choices": []any{map[string]any{"index": 0, "message": message, "logprobs": nil, "finish_reason": a.finish}},
		"usage":   a.chatUsage(),
	}
}

// openAIFrames are the pieces of the answer as the vendor streams them: the role,
// reasoning as thought writes it, text, then each call with its name first and
// its arguments in pieces.
func openAIFrames(a *answer, size int, thought func(piece string, last bool) map[string]any) []frame {
	created := time.Now().Unix()
	chunk := func(choices []any, usage any) string {
		c := map[string]any{"id": "chatcmpl-" + a.id, "object": "chat.completion.chunk", "created": created, "model": a.model,
			"service_tier": "default", "system_fingerprint": "fp_scripted", "choices": choices}
		if usage != nil {
			c["usage"] = usage
		}
		return "data: " + toJSON(c) + "\n\n"
	}
	delta := func(d map[string]any) string {
		return chunk([]any{map[string]any{"index": 0, "delta": d, "logprobs": nil, "finish_reason": nil}}, nil)
	}
	frames := []frame{{text: delta(map[string]any{"role": "assistant", "content": "", "refusal": nil})}}
	put := func(d map[string]any) { frames = append(frames, frame{delta(d), true}) }
	thoughts := pieces(a.reasoning, size)
	for i, piece := range thoughts {
		put(thought(piece, i == len(thoughts)-1))
	}
	for _, piece := range pieces(a.text, size) {
		put(map[string]any{"content": piece})
	}
	for _, piece := range pieces(a.refusal, size) {
		put(map[string]any{"refusal": piece})
	}
	for i, c := range a.chatCalls() {
		arguments := c.Function.Arguments
		c.Index, c.Function.Arguments = &i, ""
		put(map[string]any{"tool_calls": []chatCall{c}})
		for _, piece := range pieces(arguments, size) {
			tail := chatCall{Index: &i}
			tail.Function.Arguments = piece
			put(map[string]any{"tool_calls": []chatCall{tail}})
		}
	}
	frames = append(frames, frame{chunk([]any{map[string]any{"index": 0, "delta": map[string]any{}, "logprobs": nil, "finish_reason": a.finish}}, nil), true})
	if a.usage {
		frames = append(frames, frame{chunk([]any{}, a.chatUsage()), true})
	}
	return append(frames, frame{"data: [DONE]\n\n", true})
}

func openAIFail(status int, code, message string, _ http.Header) (int, any) {
	typ := "server_error"
	switch {
	case code == "invalid_api_key", status == http.StatusBadRequest, status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status == http.StatusRequestEntityTooLarge:
		typ = "invalid_request_error"
	case code == "insufficient_quota":
		typ = code
		message = "You exceeded your current quota, please check your plan and billing details."
	}
	if code == "context_length_exceeded" {
		message = "This model's maximum context length is 128000 tokens. However, your messages resulted in 210000 tokens. Please reduce the length of the messages."
	}
	e := map[string]any{"message": message, "type": typ, "param": nil, "code": nil}
	if code != "" {
		e["code"] = code
	}
	return status, map[string]any{"error": e}
}
