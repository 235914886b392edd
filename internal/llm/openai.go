package llm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/packages/respjson"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/shared"
)

// openOpenAI speaks chat completions with streaming, as OpenRouter, vLLM, Ollama
// and most others do; OpenAI's own models are better asked through
// [openResponses]. Most cache prompts by themselves, and none of them shows its reasoning or wants it back but
// OpenRouter (openrouter.ai/docs/guides/best-practices/reasoning-tokens) and
// servers that stream it as reasoning_content.
//
// The service is made directly and not through openai.NewClient, which would
// read keys and base URLs from the environment.
func openOpenAI(cfg Config) Turn {
	return func(ctx context.Context, req Request, say func(Delta)) (Reply, error) {
		w := &wire{next: cfg.Transport, alive: func() { say(Delta{}) }}
		chat := openai.NewChatCompletionService(
			option.WithBaseURL(cfg.BaseURL),
			option.WithAPIKey(cfg.Key.Reveal()),
			option.WithMaxRetries(0), // Model.Stream retries
			option.WithHTTPClient(w.client()),
		)
		stream := chat.NewStreaming(ctx, openAIRequest(cfg.Kind, req))
		r := openAIReply{Reply: Reply{Usage: ops.Usage{Model: req.Model}}}
		if err := follow(stream, r.add, say, func(err error) error { return openAIError(w, err) }); err != nil {
			return Reply{}, err
		}
		return r.finish(cfg.Kind, req.Model)
	}
}

const openRouter = "openrouter"

func openAIRequest(kind string, req Request) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:         req.Model,
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)},
	}
	if req.MaxOutput > 0 {
		p.MaxCompletionTokens = param.NewOpt(req.MaxOutput)
	}
	if req.Effort != "" {
		p.ReasoningEffort = shared.ReasoningEffort(req.Effort)
	}
	if kind == openRouter {
		extra := map[string]any{"usage": map[string]bool{"include": true}} // with what it cost
		if req.Effort != "" {
			p.ReasoningEffort = ""
			extra["reasoning"] = map[string]string{"effort": req.Effort}
		}
		p.SetExtraFields(extra)
	}
	if req.System != "" {
		p.Messages = append(p.Messages, openai.SystemMessage(req.System))
	}
	for _, m := range req.Messages {
		switch m.Role {
		case Assistant:
			p.Messages = append(p.Messages, openai.ChatCompletionMessageParamUnion{OfAssistant: openAIAssistant(kind, req.Model, m)})
		case ToolRole:
			p.Messages = append(p.Messages, openai.ToolMessage(m.Text, m.CallID))
		default:
			p.Messages = append(p.Messages, openai.UserMessage(m.Text))
		}
	}
	for _, t := range req.Tools {
		var schema shared.FunctionParameters
		if json.Unmarshal(t.Schema, &schema) != nil {
			schema = shared.FunctionParameters{"type": "object"}
		}
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: t.Name, Description: param.NewOpt(t.Description), Parameters: schema,
		}))
	}
	return p
}

func openAIAssistant(kind, model string, m Message) *openai.ChatCompletionAssistantMessageParam {
	a := &openai.ChatCompletionAssistantMessageParam{}
	if m.Text != "" || len(m.Calls) == 0 {
		a.Content.OfString = param.NewOpt(m.Text)
	}
	for _, c := range m.Calls {
		a.ToolCalls = append(a.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
			OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID:       c.ID,
				Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: c.Name, Arguments: c.Arguments},
			},
		})
	}
	var details []reasoningDetail
	if vendorOf(m, kind, model, &details) {
		a.SetExtraFields(map[string]any{"reasoning_details": details})
	}
	return a
}

// reasoningDetail is an element of OpenRouter's reasoning_details: text, a summary
// or something encrypted, with a signature. It goes back as it came, but whole.
type reasoningDetail map[string]any

// openAIReply puts the chunks of a stream together.
type openAIReply struct {
	Reply
	building
	indexes      []int64 // of calls, as the vendor numbers them
	refusal      strings.Builder
	details      []reasoningDetail
	detailBytes  int
	finishReason string
}

// add takes one chunk and gives what is to be shown of it.
func (r *openAIReply) add(chunk openai.ChatCompletionChunk) (Delta, error) {
	if chunk.Model != "" {
		r.Usage.Model = chunk.Model
	}
	r.usage(chunk.Usage)
	if len(chunk.Choices) == 0 {
		return Delta{}, nil // the chunk that carries the usage
	}
	choice := chunk.Choices[0]
	if choice.FinishReason != "" {
		r.finishReason = choice.FinishReason
	}
	if r.refusal.WriteString(choice.Delta.Refusal); r.refusal.Len() > maxText {
		return Delta{}, &Error{Kind: Malformed, Detail: "the answer is too long"}
	}
	for _, d := range choice.Delta.ToolCalls {
		c, err := r.callOf(d.Index, d.ID)
		if err != nil {
			return Delta{}, err
		}
		if d.ID != "" {
			c.id = d.ID
		}
		if d.Function.Name != c.name { // some repeat the whole name in each chunk
			c.name += d.Function.Name
		}
		if err := c.add(d.Function.Arguments); err != nil {
			return Delta{}, err
		}
	}
	piece := Delta{Text: choice.Delta.Content, Reasoning: r.reasoned(choice.Delta.JSON.ExtraFields)}
	return piece, r.building.add(piece)
}

func (r *openAIReply) usage(u openai.CompletionUsage) {
	if u.TotalTokens <= 0 && u.PromptTokens <= 0 {
		return
	}
	r.Usage.InputTokens, r.Usage.OutputTokens = u.PromptTokens, u.CompletionTokens
	r.Usage.CachedTokens = u.PromptTokensDetails.CachedTokens
	r.Usage.ReasoningTokens = u.CompletionTokensDetails.ReasoningTokens
	if f, ok := u.JSON.ExtraFields["cost"]; ok {
		if usd, err := strconv.ParseFloat(f.Raw(), 64); err == nil && usd >= 0 {
			r.Usage.CostUSD = &usd
		}
	}
}

// reasoned keeps what is to be given back of a delta's reasoning, and gives its text.
func (r *openAIReply) reasoned(extra map[string]respjson.Field) string {
	if f, ok := extra["reasoning_details"]; ok {
		var details []reasoningDetail
		if json.Unmarshal([]byte(f.Raw()), &details) == nil {
			r.detailBytes += len(f.Raw())
			if r.detailBytes <= maxVendor {
				for _, d := range details {
					r.detail(d)
				}
			}
		}
	}
	for _, name := range []string{"reasoning", "reasoning_content"} {
		var s string
		if f, ok := extra[name]; ok && json.Unmarshal([]byte(f.Raw()), &s) == nil && s != "" {
			return s
		}
	}
	return ""
}

// detail joins a piece to the detail that it continues, if it does.
func (r *openAIReply) detail(d reasoningDetail) {
	if n := len(r.details); n > 0 && r.details[n-1]["type"] == d["type"] && r.details[n-1]["index"] == d["index"] && d["index"] != nil {
		last := r.details[n-1]
		for k, v := range d {
			old, isText := last[k].(string)
			piece, ok := v.(string)
			switch {
			case isText && ok && (k == "text" || k == "summary" || k == "data"):
				last[k] = old + piece
			case v != nil:
				last[k] = v
			}
		}
		return
	}
	r.details = append(r.details, d)
}

// callOf finds the call that a delta continues. Some servers number all calls 0
// and tell them apart by their ids.
func (r *openAIReply) callOf(index int64, id string) (*callBuilding, error) {
	for i := len(r.calls) - 1; i >= 0; i-- {
		if r.indexes[i] != index {
			continue
		}
		if c := r.calls[i]; id == "" || c.id == "" || c.id == id {
			return c, nil
		}
		break
	}
	r.indexes = append(r.indexes, index)
	return r.call("", "")
}

// finish judges what has come. Without a finish reason the stream broke off:
// the library takes the end of the body for the end of the reply.
func (r *openAIReply) finish(kind, model string) (Reply, error) {
	switch {
	case r.finishReason == "", r.finishReason == "error":
		return Reply{}, &Error{Kind: Interrupted}
	case r.finishReason == "content_filter":
		return Reply{}, &Error{Kind: Refused, Detail: "content filter"}
	case r.refusal.Len() > 0 && r.text.Len() == 0 && len(r.calls) == 0:
		return Reply{}, &Error{Kind: Refused, Detail: cut(r.refusal.String())}
	}
	r.into(&r.Reply, r.finishReason == "length")
	if len(r.details) > 0 && r.detailBytes <= maxVendor {
		r.Vendor = vendor(kind, model, r.details)
	}
	return r.Reply, nil
}

// openAIError maps what the library returns to a kind.
func openAIError(w *wire, err error) error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		out := Error{Kind: openAIKind(e.StatusCode, e.Code, e.Type, e.Message), Status: e.StatusCode, err: err}
		if e.Type == proxyType {
			out.Kind = proxyKind(e.StatusCode, e.Code)
		}
		if e.Response != nil {
			out.RetryAfter = retryAfter(e.Response.Header)
		}
		return failed(out, e.Message)
	}
	if e, ok := errors.AsType[*ssestream.StreamError](err); ok { // an error object inside the stream
		var body struct {
			Error struct {
				Message, Type string
				Code          any // a number is a status, as OpenRouter writes it
			}
		}
		_ = json.Unmarshal(e.Event.Data, &body)
		code, _ := body.Error.Code.(string)
		status, _ := body.Error.Code.(float64)
		return failed(Error{Kind: openAIKind(int(status), code, body.Error.Type, body.Error.Message), err: err}, body.Error.Message)
	}
	return w.broken(err)
}

func openAIKind(status int, code, typ, message string) Kind {
	message = strings.ToLower(message)
	switch {
	case code == "insufficient_quota" || typ == "insufficient_quota":
		return Quota
	case code == "context_length_exceeded", status == http.StatusRequestEntityTooLarge,
		strings.Contains(message, "context length"), strings.Contains(message, "context window"):
		return TooLong
	case code == "content_filter", code == "content_policy_violation", code == "invalid_prompt", code == "bio_policy", code == "misalignment_policy_violation", status == http.StatusForbidden && strings.Contains(message, "moderation"):
		return Refused
	case code == "invalid_api_key":
		return Auth
	case code == "rate_limit_exceeded", typ == "rate_limit_error":
		return RateLimited
	case typ == "overloaded_error", code == "overloaded":
		return Overloaded
	}
	return statusKind(status)
}
