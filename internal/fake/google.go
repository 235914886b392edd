package fake

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// googleProtocol is the Gemini API's streamGenerateContent
// (ai.google.dev/api/generate-content), with the lines of its streams ended as
// it ends them.
func googleProtocol() *protocol {
	return &protocol{
		key:    func(r *http.Request) string { return r.Header.Get("X-Goog-Api-Key") },
		read:   readGoogle,
		fail:   googleFail,
		frames: googleFrames,
		failure: func(status int, code, message string) string {
			_, body := googleFail(status, code, message, nil)
			return "data: " + toJSON(body) + "\r\n\r\n"
		},
		garbage: "data: {\"candidates\": [{\"content\r\n\r\n",
	}
}

type googlePart struct {
	Text      string `json:"text"`
	Thought   bool   `json:"thought"`
	Signature string `json:"thoughtSignature"`
	Call      *struct {
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	} `json:"functionCall"`
	Response *struct {
		Name     string            `json:"name"`
		Response map[string]string `json:"response"`
	} `json:"functionResponse"`
}

type googleRequest struct {
	System struct {
		Parts []googlePart `json:"parts"`
	} `json:"systemInstruction"`
	Contents []struct {
		Role  string       `json:"role"`
		Parts []googlePart `json:"parts"`
	} `json:"contents"`
	Tools []struct {
		Functions []struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parametersJsonSchema"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
}

// readGoogle refuses what the vendor would.
func readGoogle(_ *Vendor, r *http.Request, body []byte) (request, string) {
	var g googleRequest
	req := request{in: conversation{outputs: map[string]string{}}, stream: r.URL.RawQuery == "alt=sse", usage: true}
	if json.Unmarshal(body, &g) != nil {
		return req, "Invalid JSON payload received."
	}
	_, name, _ := strings.Cut(r.URL.Path, "/v1beta/models/")
	req.model = strings.TrimSuffix(name, ":streamGenerateContent")
	if len(g.Contents) == 0 {
		return req, "* GenerateContentRequest.contents: contents is not specified"
	}
	for _, t := range g.Tools {
		for i, f := range t.Functions {
			if f.Name == "" || len(f.Name) > 64 {
				return req, fmt.Sprintf("* GenerateContentRequest.tools[0].function_declarations[%d].name: Invalid function name.", i)
			}
			req.tools = append(req.tools, f.Name)
			req.prompt = append(req.prompt, toJSON(f))
		}
	}
	req.prompt = append(req.prompt, toJSON(g.System))
	var open []string // names of calls that wait for their response
	for i, c := range g.Contents {
		req.prompt = append(req.prompt, toJSON(c))
		if len(c.Parts) == 0 {
			return req, fmt.Sprintf("* GenerateContentRequest.contents[%d].parts: contents.parts must not be empty.", i)
		}
		var calls, answers []string
		for j, p := range c.Parts {
			switch {
			case p.Call != nil && c.Role == "model":
				if !strings.HasPrefix(strings.TrimSpace(string(p.Call.Args)), "{") {
					return req, fmt.Sprintf("Invalid value at 'contents[%d].parts[%d].function_call.args'", i, j)
				}
				if len(calls) == 0 && p.Signature != googleSignature("call:"+p.Call.Name) && p.Signature != "skip_thought_signature_validator" {
					return req, "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly."
				}
				calls = append(calls, p.Call.Name)
			case p.Response != nil && c.Role == "user":
				answers = append(answers, p.Response.Name)
				req.in.heard(p.Response.Response["output"])
			case c.Role == "user" && req.in.user == "":
				req.in.user = p.Text
			case c.Role != "user" && c.Role != "model":
				return req, "Please use a valid role: user, model."
			}
		}
		if len(open) > 0 && strings.Join(open, " ") != strings.Join(answers, " ") {
			return req, "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
		}
		if open = calls; c.Role == "model" {
			req.turns++
		}
	}
	if len(open) > 0 {
		return req, "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
	}
	return req, ""
}

// googleSignature is what the vendor writes as bytes.
func googleSignature(of string) string {
	return base64.StdEncoding.EncodeToString([]byte(signature(of)))
}

// googleFrames are chunks of text, first of thought; then all calls, whole; then
// an empty part with the signature of the text; then the end.
func googleFrames(a *answer, size int) []frame {
	var frames []frame
	output, reasoning := a.tokens()
	chunk := func(piece bool, finish string, parts ...map[string]any) {
		candidate := map[string]any{"index": 0}
		if len(parts) > 0 {
			candidate["content"] = map[string]any{"role": "model", "parts": parts}
		}
		c := map[string]any{"candidates": []any{candidate}, "modelVersion": a.model, "responseId": a.id,
			"usageMetadata": map[string]any{"promptTokenCount": a.input, "totalTokenCount": a.input}}
		if finish != "" {
			candidate["finishReason"] = finish
			c["usageMetadata"] = map[string]any{"promptTokenCount": a.input, "cachedContentTokenCount": a.read, "candidatesTokenCount": output - reasoning,
				"thoughtsTokenCount": reasoning, "totalTokenCount": a.input + output}
		}
		frames = append(frames, frame{"data: " + toJSON(c) + "\r\n\r\n", piece})
	}
	for _, piece := range pieces(a.reasoning, size) {
		chunk(true, "", map[string]any{"text": piece, "thought": true})
	}
	for _, piece := range pieces(a.text, size) {
		chunk(true, "", map[string]any{"text": piece})
	}
	finish, ok := map[string]string{"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[a.finish]
	if !ok {
		finish = a.finish
	}
	var calls []map[string]any
	for i, c := range a.calls {
		if !json.Valid([]byte(c.arguments)) {
			calls, finish = nil, "MALFORMED_FUNCTION_CALL"
			break
		}
		part := map[string]any{"functionCall": map[string]any{"id": c.id, "name": c.name, "args": json.RawMessage(c.arguments)}}
		if i == 0 {
			part["thoughtSignature"] = googleSignature("call:" + c.name)
		}
		calls = append(calls, part)
	}
	if len(calls) > 0 {
		chunk(true, "", calls...)
	} else if a.reasoning != "" {
		chunk(false, "", map[string]any{"text": "", "thoughtSignature": googleSignature("text")})
	}
	if a.refusal != "" {
		finish = "PROHIBITED_CONTENT"
	}
	chunk(true, finish)
	return frames
}

// googleFail is an error (google.aip.dev/193).
func googleFail(status int, code, message string, h http.Header) (int, any) {
	switch {
	case status == 529:
		status, message = http.StatusServiceUnavailable, "The model is overloaded. Please try again later."
	case code == "invalid_api_key":
		status = http.StatusBadRequest
	}
	name := map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
		500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}[status]
	if name == "" {
		name = "UNKNOWN"
	}
	details := []any{}
	const rpc = "type.googleapis.com/google.rpc."
	switch code {
	case "context_length_exceeded":
		message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
	case "insufficient_quota":
		message = "You exceeded your current quota, please check your plan and billing details."
		details = append(details, map[string]any{"@type": rpc + "QuotaFailure", "violations": []any{map[string]any{
			"quotaId": "GenerateRequestsPerDayPerProjectPerModel", "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests"}}})
	case "invalid_api_key":
		message = "API key not valid. Please pass a valid API key."
		details = append(details, map[string]any{"@type": rpc + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
	}
	if after := h.Get("Retry-After"); after != "" { // the vendor has no such header
		h.Del("Retry-After")
		details = append(details, map[string]any{"@type": rpc + "RetryInfo", "retryDelay": after + "s"})
	}
	return status, map[string]any{"error": map[string]any{"code": status, "message": message, "status": name, "details": details}}
}
