package fake

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// responsesProtocol is OpenAI's Responses API
// (platform.openai.com/docs/api-reference/responses and /responses-streaming).
func responsesProtocol() *protocol {
	return &protocol{
		key:     bearerKey,
		read:    readResponses,
		fail:    responsesFail,
		frames:  responsesFrames,
		failure: responsesFailure,
		garbage: "event: response.output_text.delta\ndata: {\"type\": \"response.output_te\n\n",
		whole:   func(a *answer) any { return a.response("completed", a.output()) },
	}
}

// responsesInput is what we read of a request. It is as strict as the vendor.
type responsesInput struct {
	Model        string          `json:"model"`
	Instructions string          `json:"instructions"`
	Input        json.RawMessage `json:"input"`
	Stream       bool            `json:"stream"`
	Store        *bool           `json:"store"`
	Include      []string        `json:"include"`
	MaxOutput    *int            `json:"max_output_tokens"`
	CacheKey     string          `json:"prompt_cache_key"`
	Reasoning    struct {
		Effort  string `json:"effort"`
		Summary string `json:"summary"`
	} `json:"reasoning"`
	Tools []struct {
		Type       string          `json:"type"`
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	} `json:"tools"`
}

type responsesItem struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments *string         `json:"arguments"`
	Output    json.RawMessage `json:"output"`
	Encrypted string          `json:"encrypted_content"`
	Summary   []struct{ Text string }
}

// readResponses refuses what the vendor would.
func readResponses(_ *Vendor, _ *http.Request, body []byte) (request, string) {
	var in responsesInput
	req := request{in: conversation{outputs: map[string]string{}}}
	if json.Unmarshal(body, &in) != nil {
		return req, "We could not parse the JSON body of your request."
	}
	req.model, req.stream, req.usage = in.Model, in.Stream, true
	req.encrypted, req.summary = slices.Contains(in.Include, "reasoning.encrypted_content"), in.Reasoning.Summary != ""
	plain := strings.HasPrefix(in.Model, "gpt-4")
	switch {
	case in.Model == "":
		return req, ""
	case plain && req.encrypted:
		return req, "Encrypted content is not supported with this model."
	case plain && (req.summary || in.Reasoning.Effort != ""):
		return req, "Unsupported parameter: 'reasoning.effort' is not supported with this model."
	case in.MaxOutput != nil && *in.MaxOutput < 16:
		return req, fmt.Sprintf("Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got %d instead.", *in.MaxOutput)
	case len(in.CacheKey) > 64:
		return req, "Invalid 'prompt_cache_key': string too long. Expected a string with maximum length 64."
	}
	req.prompt = append(req.prompt, in.Instructions)
	for i, t := range in.Tools {
		if t.Type != "function" || t.Name == "" || len(t.Name) > 64 || slices.Contains(req.tools, t.Name) {
			return req, fmt.Sprintf("Invalid 'tools[%d].name'.", i)
		}
		req.tools, req.prompt = append(req.tools, t.Name), append(req.prompt, toJSON(t))
	}
	var items []responsesItem
	var text string
	switch {
	case json.Unmarshal(in.Input, &text) == nil:
		req.in.user, req.prompt = text, append(req.prompt, text)
		return req, ""
	case json.Unmarshal(in.Input, &items) != nil || len(items) == 0:
		return req, "Invalid 'input': expected a string or a non-empty array."
	}
	return req, req.items(items, in.Store == nil || *in.Store)
}

// items takes a conversation, or says what is wrong with it.
func (req *request) items(items []responsesItem, stored bool) string {
	open := map[string]bool{} // calls that wait for their output
	thought, speaks := "", false
	for i, item := range items {
		req.prompt = append(req.prompt, toJSON(item))
		model := item.Type == "reasoning" || item.Type == "function_call" || item.Role == "assistant"
		if model && !speaks {
			req.turns++
		}
		speaks = model
		if thought != "" && !model {
			return fmt.Sprintf("Item '%s' of type 'reasoning' was provided without its required following item.", thought)
		}
		switch {
		case item.Type == "reasoning":
			switch summary, ok := opened(item.Encrypted); {
			case item.Encrypted == "" && !stored:
				return fmt.Sprintf("Item with id '%s' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.", item.ID)
			case !ok || !strings.HasPrefix(item.ID, "rs_") || len(item.Summary) > 0 && item.Summary[0].Text != summary:
				return fmt.Sprintf("The encrypted content for item %s could not be verified.", item.ID)
			}
			thought = item.ID
			continue
		case item.Type == "function_call":
			if item.CallID == "" || len(item.CallID) > 64 || item.Name == "" || item.Arguments == nil || open[item.CallID] {
				return fmt.Sprintf("Invalid 'input[%d].call_id'.", i)
			}
			open[item.CallID] = true
		case item.Type == "function_call_output":
			if !open[item.CallID] {
				return fmt.Sprintf("No tool call found for function call output with call_id %s.", item.CallID)
			}
			delete(open, item.CallID)
			req.in.heard(content(item.Output))
		case item.Type != "" && item.Type != "message":
			return fmt.Sprintf("Invalid value: '%s'.", item.Type)
		case item.Role == "user" && req.in.user == "":
			req.in.user = content(item.Content)
		case item.Role != "user" && item.Role != "assistant" && item.Role != "system" && item.Role != "developer":
			return fmt.Sprintf("Invalid value: '%s'. Supported values are: 'assistant', 'system', 'developer', and 'user'.", item.Role)
		}
		thought = ""
	}
	for id := range open {
		return "No tool output found for function call " + id + "."
	}
	if thought != "" {
		return fmt.Sprintf("Item '%s' of type 'reasoning' was provided without its required following item.", thought)
	}
	return ""
}

// encrypted hides what a model thought from its client; opened reads it again.
func encrypted(text string) string {
	return "gAAAAAB" + base64.URLEncoding.EncodeToString([]byte(signature(text)+" "+text))
}

func opened(content string) (text string, ok bool) {
	raw, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(content, "gAAAAAB"))
	sum, text, found := strings.Cut(string(raw), " ")
	return text, err == nil && found && sum == signature(text)
}

// output are the items of an answer once they are whole.
func (a *answer) output() []map[string]any {
	items := []map[string]any{}
	if a.reasoning != "" {
		summary := []any{}
		if a.summary {
			summary = append(summary, map[string]any{"type": "summary_text", "text": a.reasoning})
		}
		item := map[string]any{"id": "rs_" + a.id, "type": "reasoning", "summary": summary}
		if a.encrypted {
			item["encrypted_content"] = encrypted(a.reasoning)
		}
		items = append(items, item)
	}
	var parts []any
	if a.text != "" {
		parts = append(parts, map[string]any{"type": "output_text", "text": a.text, "annotations": []any{}, "logprobs": []any{}})
	}
	if a.refusal != "" {
		parts = append(parts, map[string]any{"type": "refusal", "refusal": a.refusal})
	}
	if len(parts) > 0 {
		items = append(items, map[string]any{"id": "msg_" + a.id, "type": "message", "status": "completed", "role": "assistant", "content": parts})
	}
	for i, c := range a.calls {
		items = append(items, map[string]any{"id": fmt.Sprintf("fc_%d_%s", i, a.id), "type": "function_call", "status": "completed",
			"call_id": c.id, "name": c.name, "arguments": c.arguments})
	}
	return items
}

// response is the object that the stream begins and ends with.
func (a *answer) response(status string, output []map[string]any) map[string]any {
	r := map[string]any{"id": "resp_" + a.id, "object": "response", "created_at": time.Now().Unix(), "status": status, "model": a.model,
		"error": nil, "incomplete_details": nil, "output": output, "parallel_tool_calls": true, "store": false, "usage": nil}
	if status == "in_progress" {
		return r
	}
	out, reasoning := a.tokens()
	r["usage"] = map[string]any{"input_tokens": a.input, "output_tokens": out, "total_tokens": a.input + out,
		"input_tokens_details": map[string]any{"cached_tokens": a.read}, "output_tokens_details": map[string]any{"reasoning_tokens": reasoning}}
	if status == "incomplete" {
		reason := "max_output_tokens"
		if a.finish == "content_filter" {
			reason = a.finish
		}
		r["incomplete_details"] = map[string]any{"reason": reason}
	}
	return r
}

// responsesFrames are the events of an answer: each item is added, filled in
// pieces, and done.
func responsesFrames(a *answer, size int) (frames []frame) {
	seq := 0
	event := func(kind string, piece bool, fields map[string]any) {
		fields["type"], fields["sequence_number"] = kind, seq
		seq++
		frames = append(frames, frame{"event: " + kind + "\ndata: " + toJSON(fields) + "\n\n", piece})
	}
	event("response.created", false, map[string]any{"response": a.response("in_progress", nil)})
	event("response.in_progress", false, map[string]any{"response": a.response("in_progress", nil)})
	for at, item := range a.output() {
		of := func(more map[string]any) map[string]any {
			more["item_id"], more["output_index"] = item["id"], at
			return more
		}
		begun := map[string]any{"id": item["id"], "type": item["type"], "status": "in_progress"}
		switch item["type"] {
		case "reasoning":
			begun["summary"] = []any{}
			event("response.output_item.added", false, map[string]any{"output_index": at, "item": begun})
			if a.summary {
				event("response.reasoning_summary_part.added", false, of(map[string]any{"summary_index": 0, "part": map[string]any{"type": "summary_text", "text": ""}}))
				for _, p := range pieces(a.reasoning, size) {
					event("response.reasoning_summary_text.delta", true, of(map[string]any{"summary_index": 0, "delta": p}))
				}
				event("response.reasoning_summary_text.done", false, of(map[string]any{"summary_index": 0, "text": a.reasoning}))
				event("response.reasoning_summary_part.done", false, of(map[string]any{"summary_index": 0, "part": map[string]any{"type": "summary_text", "text": a.reasoning}}))
			}
		case "message":
			begun["role"], begun["content"] = "assistant", []any{}
			event("response.output_item.added", false, map[string]any{"output_index": at, "item": begun})
			parts, _ := item["content"].([]any)
			for n, part := range parts {
				part, _ := part.(map[string]any)
				kind, field := "response.output_text", "text"
				if part["type"] == "refusal" {
					kind, field = "response.refusal", "refusal"
				}
				whole, _ := part[field].(string)
				event("response.content_part.added", false, of(map[string]any{"content_index": n, "part": map[string]any{"type": part["type"], field: ""}}))
				for _, p := range pieces(whole, size) {
					event(kind+".delta", true, of(map[string]any{"content_index": n, "delta": p, "logprobs": []any{}}))
				}
				event(kind+".done", false, of(map[string]any{"content_index": n, field: whole, "logprobs": []any{}}))
				event("response.content_part.done", false, of(map[string]any{"content_index": n, "part": part}))
			}
		case "function_call":
			begun["call_id"], begun["name"], begun["arguments"] = item["call_id"], item["name"], ""
			event("response.output_item.added", true, map[string]any{"output_index": at, "item": begun})
			arguments, _ := item["arguments"].(string)
			for _, p := range pieces(arguments, size) {
				event("response.function_call_arguments.delta", true, of(map[string]any{"delta": p}))
			}
			event("response.function_call_arguments.done", false, of(map[string]any{"arguments": arguments, "name": item["name"]}))
		}
		event("response.output_item.done", false, map[string]any{"output_index": at, "item": item})
	}
	status := "completed"
	if a.finish == "length" || a.finish == "content_filter" {
		status = "incomplete"
	}
	event("response."+status, true, map[string]any{"response": a.response(status, a.output())})
	return frames
}

func responsesFail(status int, code, message string, h http.Header) (int, any) {
	status, body := openAIFail(status, code, message, h)
	if e, ok := body.(map[string]any)["error"].(map[string]any); ok {
		switch {
		case code == "context_length_exceeded":
			e["message"], e["param"] = "Your input exceeds the context window of this model. Please adjust your input and try again.", "input"
		case strings.HasPrefix(message, "Encrypted content"):
			e["param"] = "include"
		case strings.Contains(message, "'reasoning."):
			e["param"], e["code"] = "reasoning.effort", "unsupported_parameter"
		}
	}
	return status, body
}

// responsesFailure is what the vendor sends in the stream: an error event of its
// own, or the response that has failed.
func responsesFailure(status int, code, message string) string {
	if status != http.StatusTooManyRequests && code == "" {
		return "event: error\ndata: " + toJSON(map[string]any{"type": "error", "code": "server_error", "message": message, "param": nil, "sequence_number": 7}) + "\n\n"
	}
	if code == "" {
		code = "rate_limit_exceeded"
	}
	a := &answer{id: nonce(), model: "fake"}
	r := a.response("failed", nil)
	r["error"] = map[string]any{"code": code, "message": message}
	return "event: response.failed\ndata: " + toJSON(map[string]any{"type": "response.failed", "sequence_number": 7, "response": r}) + "\n\n"
}
