package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// openGoogle speaks the Gemini API's streamGenerateContent
// (ai.google.dev/api/generate-content). The package comment says why it does so
// without Google's library.
func openGoogle(cfg Config) Turn {
	return func(ctx context.Context, req Request, say func(Delta)) (Reply, error) {
		body, err := json.Marshal(googleRequestOf(req))
		if err != nil {
			return Reply{}, &Error{Kind: Invalid, err: err}
		}
		target := strings.TrimRight(cfg.BaseURL, "/") + "/v1beta/models/" +
			url.PathEscape(strings.TrimPrefix(req.Model, "models/")) + ":streamGenerateContent?alt=sse"
		post, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			return Reply{}, &Error{Kind: Invalid, err: err}
		}
		post.Header.Set("Content-Type", "application/json")
		post.Header.Set("Accept", "text/event-stream")
		post.Header.Set("X-Goog-Api-Key", cfg.Key.Reveal())
		w := &wire{next: cfg.Transport, alive: func() { say(Delta{}) }}
		resp, err := w.client().Do(post)
		if err != nil {
			return Reply{}, w.broken(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			return Reply{}, googleError(resp.StatusCode, resp.Header, raw)
		}
		r := googleReply{Reply: Reply{Usage: ops.Usage{Model: req.Model}}}
		for data, err := range events(resp.Body) {
			if err != nil {
				return Reply{}, w.broken(err)
			}
			pieces, err := r.add(data)
			if err != nil {
				return Reply{}, w.broken(err)
			}
			for _, piece := range pieces {
				say(piece)
			}
		}
		return r.finish(req.Model)
	}
}

const googleKind = "google"

// unsigned stands for the signature that a call of another model has not: the
// API takes this one for "do not check" (ai.google.dev/gemini-api/docs/thought-signatures).
const unsigned = "skip_thought_signature_validator"

type googleRequest struct {
	System     *googleContent    `json:"systemInstruction,omitempty"`
	Contents   []googleContent   `json:"contents"`
	Tools      []googleTools     `json:"tools,omitempty"`
	Generation *googleGeneration `json:"generationConfig,omitempty"`
}

type googleContent struct {
	Role  string       `json:"role,omitempty"` // user or model
	Parts []googlePart `json:"parts"`
}

type googlePart struct {
	Text      string          `json:"text,omitempty"`
	Thought   bool            `json:"thought,omitempty"`
	Signature string          `json:"thoughtSignature,omitempty"`
	Call      *googleCall     `json:"functionCall,omitempty"`
	Response  *googleResponse `json:"functionResponse,omitempty"`
}

type googleCall struct {
	ID   string          `json:"id,omitempty"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args,omitempty"`
}

type googleResponse struct {
	ID       string            `json:"id,omitempty"`
	Name     string            `json:"name"`
	Response map[string]string `json:"response"`
}

type googleTools struct {
	Functions []googleFunction `json:"functionDeclarations"`
}

type googleFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parametersJsonSchema,omitempty"`
}

type googleGeneration struct {
	MaxOutputTokens int64           `json:"maxOutputTokens,omitempty"`
	Thinking        *googleThinking `json:"thinkingConfig,omitempty"`
}

type googleThinking struct {
	IncludeThoughts bool   `json:"includeThoughts"`
	Level           string `json:"thinkingLevel,omitempty"`
	Budget          int    `json:"thinkingBudget,omitempty"`
}

// googleBudgets is how many tokens models before Gemini 3 may think; later ones
// take a level.
var googleBudgets = map[string]int{"low": 2_048, "medium": 8_192, "high": 24_576}

func googleRequestOf(req Request) googleRequest {
	g := googleRequest{Contents: googleContents(req)}
	if req.System != "" {
		g.System = &googleContent{Parts: []googlePart{{Text: req.System}}}
	}
	var functions []googleFunction
	for _, t := range req.Tools {
		f := googleFunction{Name: t.Name, Description: t.Description}
		if json.Valid(t.Schema) {
			f.Parameters = t.Schema
		}
		functions = append(functions, f)
	}
	if functions != nil {
		g.Tools = []googleTools{{functions}}
	}
	if req.MaxOutput > 0 || req.Effort != "" {
		g.Generation = &googleGeneration{MaxOutputTokens: req.MaxOutput}
	}
	if budget := googleBudgets[req.Effort]; budget > 0 {
		g.Generation.Thinking = &googleThinking{IncludeThoughts: true, Level: req.Effort}
		if strings.HasPrefix(strings.TrimPrefix(req.Model, "models/"), "gemini-2") {
			g.Generation.Thinking = &googleThinking{IncludeThoughts: true, Budget: budget}
		}
	}
	return g
}

// googleTurn is what a turn of the model had of its own: the lengths of its text
// that are signed, and the id and signature of each call.
type googleTurn struct {
	Text  []googleSigned `json:"text,omitempty"`
	Calls []googleSigned `json:"calls,omitempty"`
}

type googleSigned struct {
	Bytes     int    `json:"bytes,omitempty"`
	ID        string `json:"id,omitempty"`
	Signature string `json:"signature,omitempty"`
}

func googleContents(req Request) []googleContent {
	var out []googleContent
	put := func(role string, parts ...googlePart) {
		switch {
		case len(parts) == 0:
		case len(out) > 0 && out[len(out)-1].Role == role:
			out[len(out)-1].Parts = append(out[len(out)-1].Parts, parts...)
		default:
			out = append(out, googleContent{role, parts})
		}
	}
	var asked map[string]googleCall // calls of the last turn, by our id
	for _, m := range req.Messages {
		switch m.Role {
		case Assistant:
			var turn googleTurn
			own := vendorOf(m, googleKind, req.Model, &turn)
			var parts []googlePart
			parts, asked = googleParts(m, turn, own)
			put("model", parts...)
		case ToolRole:
			call := asked[m.CallID]
			put("user", googlePart{Response: &googleResponse{call.ID, call.Name, map[string]string{"output": m.Text}}})
		default:
			if m.Text != "" {
				put("user", googlePart{Text: m.Text})
			}
		}
	}
	return out
}

// googleParts gives the parts of a turn of the model, and its calls by our ids.
func googleParts(m Message, turn googleTurn, own bool) ([]googlePart, map[string]googleCall) {
	var parts []googlePart
	text := m.Text
	for _, s := range turn.Text {
		n := min(s.Bytes, len(text))
		if n > 0 || s.Signature != "" {
			parts = append(parts, googlePart{Text: text[:n], Signature: s.Signature})
		}
		text = text[n:]
	}
	if text != "" {
		parts = append(parts, googlePart{Text: text})
	}
	asked := make(map[string]googleCall, len(m.Calls))
	for i, c := range m.Calls {
		call := googleCall{Name: c.Name, Args: json.RawMessage(`{}`)}
		if json.Valid([]byte(c.Arguments)) && strings.HasPrefix(strings.TrimSpace(c.Arguments), "{") {
			call.Args = json.RawMessage(c.Arguments)
		}
		part := googlePart{Call: &call}
		switch {
		case own && i < len(turn.Calls):
			call.ID, part.Signature = turn.Calls[i].ID, turn.Calls[i].Signature
		case !own && i == 0: // only the first of a turn's calls is signed
			part.Signature = unsigned
		}
		asked[c.ID] = call
		parts = append(parts, part)
	}
	return parts, asked
}

// googleChunk is one event of a stream.
type googleChunk struct {
	Candidates []struct {
		Content       googleContent `json:"content"`
		FinishReason  string        `json:"finishReason"`
		FinishMessage string        `json:"finishMessage"`
	} `json:"candidates"`
	PromptFeedback struct {
		BlockReason string `json:"blockReason"`
	} `json:"promptFeedback"`
	Usage struct {
		Prompt     int64 `json:"promptTokenCount"`
		Cached     int64 `json:"cachedContentTokenCount"`
		Candidates int64 `json:"candidatesTokenCount"`
		ToolUse    int64 `json:"toolUsePromptTokenCount"`
		Thoughts   int64 `json:"thoughtsTokenCount"`
	} `json:"usageMetadata"`
	ModelVersion string          `json:"modelVersion"`
	Error        json.RawMessage `json:"error"`
}

// googleReply puts the events of a stream together.
type googleReply struct {
	Reply
	building
	turn   googleTurn
	signed bool
	ending string
	why    string
}

// add takes one event and gives what is to be shown of it.
func (r *googleReply) add(data []byte) ([]Delta, error) {
	var c googleChunk
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		return nil, googleError(0, nil, data)
	}
	if c.ModelVersion != "" {
		r.Usage.Model = c.ModelVersion
	}
	if u := c.Usage; u.Prompt > 0 {
		r.Usage.InputTokens, r.Usage.CachedTokens = u.Prompt+u.ToolUse, u.Cached
		r.Usage.OutputTokens, r.Usage.ReasoningTokens = u.Candidates+u.Thoughts, u.Thoughts
	}
	if c.PromptFeedback.BlockReason != "" {
		return nil, &Error{Kind: Refused, Detail: "the prompt was blocked: " + cut(c.PromptFeedback.BlockReason)}
	}
	if len(c.Candidates) == 0 {
		return nil, nil
	}
	first := c.Candidates[0]
	if first.FinishReason != "" {
		r.ending, r.why = first.FinishReason, first.FinishMessage
	}
	var pieces []Delta
	for _, p := range first.Content.Parts {
		piece, err := r.part(p)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

func (r *googleReply) part(p googlePart) (Delta, error) {
	if len(p.Signature) > maxVendor {
		return Delta{}, &Error{Kind: Malformed, Detail: "the answer is too long"}
	}
	r.signed = r.signed || p.Signature != ""
	switch {
	case p.Call != nil:
		c, err := r.call(p.Call.ID, p.Call.Name)
		if err != nil {
			return Delta{}, err
		}
		r.turn.Calls = append(r.turn.Calls, googleSigned{ID: p.Call.ID, Signature: p.Signature})
		args := string(p.Call.Args)
		if args == "" || args == "null" {
			args = "{}"
		}
		return Delta{}, c.add(args)
	case p.Thought:
		piece := Delta{Reasoning: p.Text}
		return piece, r.building.add(piece)
	}
	if n := len(r.turn.Text); n > 0 && r.turn.Text[n-1].Signature == "" && p.Signature == "" {
		r.turn.Text[n-1].Bytes += len(p.Text)
	} else if n >= maxBlocks {
		return Delta{}, &Error{Kind: Malformed, Detail: "too many parts in one answer"}
	} else {
		r.turn.Text = append(r.turn.Text, googleSigned{Bytes: len(p.Text), Signature: p.Signature})
	}
	piece := Delta{Text: p.Text}
	return piece, r.building.add(piece)
}

// finish judges what has come.
func (r *googleReply) finish(model string) (Reply, error) {
	switch r.ending {
	case "":
		return Reply{}, &Error{Kind: Interrupted}
	case "STOP", "MAX_TOKENS":
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE":
		return Reply{}, failed(Error{Kind: Malformed}, r.ending+": "+r.why)
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII":
		return Reply{}, failed(Error{Kind: Refused}, r.ending+" "+r.why)
	default: // OTHER, and what is new
		return Reply{}, failed(Error{Kind: Interrupted}, r.ending+" "+r.why)
	}
	r.into(&r.Reply, r.ending == "MAX_TOKENS")
	if r.signed || len(r.calls) > 0 {
		r.Vendor = vendor(googleKind, model, r.turn)
	}
	return r.Reply, nil
}

// googleError maps an error object, of an answer or inside of a stream (status 0).
// https://google.aip.dev/193, https://ai.google.dev/gemini-api/docs/troubleshooting
func googleError(status int, h http.Header, raw []byte) error {
	var body struct {
		Error struct {
			Code    any    `json:"code"` // a number, or the proxy's text
			Type    string `json:"type"` // of the proxy alone
			Message string `json:"message"`
			Status  string `json:"status"`
			Details []struct {
				Reason     string `json:"reason"`
				RetryDelay string `json:"retryDelay"`
				Violations []struct {
					QuotaID string `json:"quotaId"`
				} `json:"violations"`
			} `json:"details"`
		} `json:"error"`
	}
	if list := bytes.TrimSpace(raw); len(list) > 0 && list[0] == '[' { // without alt=sse an array
		var all []json.RawMessage
		if json.Unmarshal(list, &all) == nil && len(all) > 0 {
			raw = all[0]
		}
	}
	_ = json.Unmarshal(raw, &body)
	e := body.Error
	out := Error{Status: status, RetryAfter: retryAfter(h)}
	inStream := status == 0
	if n, ok := e.Code.(float64); ok && inStream {
		status = int(n)
	}
	reason, daily := "", false
	for _, d := range e.Details {
		if d.Reason != "" {
			reason = d.Reason
		}
		if delay, err := time.ParseDuration(d.RetryDelay); err == nil && delay > 0 {
			out.RetryAfter = max(out.RetryAfter, delay)
		}
		for _, v := range d.Violations {
			daily = daily || strings.Contains(v.QuotaID, "PerDay")
		}
	}
	message := strings.ToLower(e.Message)
	switch {
	case e.Type == proxyType:
		code, _ := e.Code.(string)
		out.Kind = proxyKind(status, code)
	case reason == "API_KEY_INVALID", e.Status == "UNAUTHENTICATED", e.Status == "PERMISSION_DENIED":
		out.Kind = Auth
	case strings.Contains(message, "token count") && strings.Contains(message, "exceeds"):
		out.Kind = TooLong
	case e.Status == "RESOURCE_EXHAUSTED" && daily:
		out.Kind = Quota
	case e.Status == "RESOURCE_EXHAUSTED":
		out.Kind = RateLimited
	case e.Status == "UNAVAILABLE":
		out.Kind = Overloaded
	default:
		out.Kind = statusKind(status)
	}
	return failed(out, e.Message)
}
