package llm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/shared"
)

// openOpenAI speaks chat completions with streaming, as OpenAI, OpenRouter,
// vLLM, Ollama and most others do.
//
// The service is made directly and not through openai.NewClient, which would
// read keys and base URLs from the environment.
func openOpenAI(cfg Config) Turn {
	chat := openai.NewChatCompletionService(
		option.WithBaseURL(cfg.BaseURL),
		option.WithAPIKey(cfg.Key.Reveal()),
		option.WithMaxRetries(0), // Model.Stream retries
		option.WithHTTPClient(&http.Client{
			Transport:     limitBody{cfg.Transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	)
	return func(ctx context.Context, req Request, text func(string)) (Reply, error) {
		stream := chat.NewStreaming(ctx, openAIRequest(req))
		defer func() { _ = stream.Close() }()
		acc := openAIReply{reply: Reply{Usage: ops.Usage{Model: req.Model}}}
		for stream.Next() {
			piece, err := acc.add(stream.Current())
			if err != nil {
				return Reply{}, err
			}
			text(piece) // also when empty: it shows life
		}
		if err := stream.Err(); err != nil {
			return Reply{}, openAIError(err)
		}
		return acc.finish()
	}
}

func openAIRequest(req Request) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:         req.Model,
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)},
	}
	if req.MaxOutput > 0 {
		p.MaxCompletionTokens = param.NewOpt(req.MaxOutput)
	}
	if req.System != "" {
		p.Messages = append(p.Messages, openai.SystemMessage(req.System))
	}
	for _, m := range req.Messages {
		switch m.Role {
		case Assistant:
			a := openai.ChatCompletionAssistantMessageParam{}
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
			p.Messages = append(p.Messages, openai.ChatCompletionMessageParamUnion{OfAssistant: &a})
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

// openAIReply puts the chunks of a stream together.
type openAIReply struct {
	reply        Reply
	text         strings.Builder
	refusal      strings.Builder
	calls        []openAICall
	finishReason string
}

type openAICall struct {
	index     int64
	id, name  string
	arguments strings.Builder
}

// add takes one chunk and gives the text in it.
func (a *openAIReply) add(chunk openai.ChatCompletionChunk) (string, error) {
	if chunk.Model != "" {
		a.reply.Usage.Model = chunk.Model
	}
	if chunk.Usage.TotalTokens > 0 || chunk.Usage.PromptTokens > 0 {
		a.reply.Usage.InputTokens = chunk.Usage.PromptTokens
		a.reply.Usage.OutputTokens = chunk.Usage.CompletionTokens
	}
	if len(chunk.Choices) == 0 {
		return "", nil // the chunk that carries the usage
	}
	choice := chunk.Choices[0]
	if choice.FinishReason != "" {
		a.finishReason = choice.FinishReason
	}
	a.refusal.WriteString(choice.Delta.Refusal)
	a.text.WriteString(choice.Delta.Content)
	for _, d := range choice.Delta.ToolCalls {
		c := a.call(d.Index, d.ID)
		if c == nil {
			return "", &Error{Kind: Malformed, Detail: "too many tool calls in one answer"}
		}
		if d.ID != "" {
			c.id = d.ID
		}
		if d.Function.Name != c.name { // some repeat the whole name in each chunk
			c.name += d.Function.Name
		}
		c.arguments.WriteString(d.Function.Arguments)
		if c.arguments.Len() > maxArguments || len(c.name) > maxArguments {
			return "", &Error{Kind: Malformed, Detail: "the arguments of a tool call are too long"}
		}
	}
	if a.text.Len() > maxText || a.refusal.Len() > maxText {
		return "", &Error{Kind: Malformed, Detail: "the answer is too long"}
	}
	return choice.Delta.Content, nil
}

// call finds the call that a delta continues. Some servers number all calls 0
// and tell them apart by their ids.
func (a *openAIReply) call(index int64, id string) *openAICall {
	for i := len(a.calls) - 1; i >= 0; i-- {
		c := &a.calls[i]
		if c.index == index {
			if id == "" || c.id == "" || c.id == id {
				return c
			}
			break
		}
	}
	if len(a.calls) == maxCalls {
		return nil
	}
	if a.calls == nil {
		a.calls = make([]openAICall, 0, maxCalls) // Builders must not move
	}
	a.calls = append(a.calls, openAICall{index: index})
	return &a.calls[len(a.calls)-1]
}

// finish judges what has come. Without a finish reason the stream broke off:
// the SDK takes the end of the body for the end of the reply.
func (a *openAIReply) finish() (Reply, error) {
	a.reply.Text = a.text.String()
	switch {
	case a.finishReason == "":
		return Reply{}, &Error{Kind: Interrupted}
	case a.finishReason == "content_filter":
		return Reply{}, &Error{Kind: Refused, Detail: "content filter"}
	case a.refusal.Len() > 0 && a.reply.Text == "" && len(a.calls) == 0:
		return Reply{}, &Error{Kind: Refused, Detail: cut(a.refusal.String())}
	}
	for i := range a.calls {
		c := &a.calls[i]
		if c.id == "" {
			c.id = "call_" + strconv.Itoa(i+1)
		}
		a.reply.Calls = append(a.reply.Calls, Call{ID: c.id, Name: c.name, Arguments: c.arguments.String()})
	}
	switch {
	case a.finishReason == "length":
		a.reply.Stop = StopLength
	case len(a.reply.Calls) > 0:
		a.reply.Stop = StopCalls
	default:
		a.reply.Stop = StopEnd
	}
	return a.reply, nil
}

// openAIError maps what the SDK returns to a kind.
func openAIError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[*openai.Error](err); ok {
		out := &Error{Kind: openAIKind(e.StatusCode, e.Code, e.Type, e.Message), Status: e.StatusCode, err: err}
		if out.Kind != Auth { // "Incorrect API key provided: sk-…"
			out.Detail = cut(e.Message)
		}
		if e.Response != nil {
			out.RetryAfter = retryAfter(e.Response.Header)
		}
		return out
	}
	if e, ok := errors.AsType[*ssestream.StreamError](err); ok { // an error object inside the stream
		var body struct {
			Error struct {
				Message, Type string
				Code          any
			}
		}
		_ = json.Unmarshal(e.Event.Data, &body)
		code, _ := body.Error.Code.(string)
		out := &Error{Kind: openAIKind(0, code, body.Error.Type, body.Error.Message), err: err}
		if out.Kind != Auth {
			out.Detail = cut(body.Error.Message)
		}
		return out
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return &Error{Kind: Malformed, err: err}
	}
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &Error{Kind: Malformed, err: err}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{Kind: Malformed, Detail: "the answer is too long", err: err}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Kind: Interrupted, err: err}
	}
	return &Error{Kind: Unavailable, err: err}
}

func openAIKind(status int, code, typ, message string) Kind {
	message = strings.ToLower(message)
	switch {
	case code == "insufficient_quota" || typ == "insufficient_quota":
		return Quota
	case code == "context_length_exceeded", status == http.StatusRequestEntityTooLarge,
		strings.Contains(message, "context length"), strings.Contains(message, "context window"):
		return TooLong
	case code == "content_filter", code == "content_policy_violation":
		return Refused
	case status == http.StatusUnauthorized, status == http.StatusForbidden, code == "invalid_api_key":
		return Auth
	case status == http.StatusTooManyRequests, code == "rate_limit_exceeded", typ == "rate_limit_error":
		return RateLimited
	case status == http.StatusServiceUnavailable, status == 529, typ == "overloaded_error", code == "overloaded":
		return Overloaded
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict:
		return Unavailable
	case status == 0:
		return Interrupted
	case status < 400:
		return Malformed
	}
	return Invalid
}

// retryAfter reads the pause that a vendor asks for, in seconds or as a date.
func retryAfter(h http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 && ms < 1e9 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// cut bounds a vendor's message: it may be a whole page.
func cut(s string) string {
	const limit = 300
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) <= limit {
		return s
	}
	end := limit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// limitBody bounds what one response may bring, and reads it to its end.
type limitBody struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (l limitBody) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err == nil {
		resp.Body = drained{http.MaxBytesReader(nil, resp.Body, maxBody)}
	}
	return resp, err
}

// drained reads what is left before it closes: after the last event of a stream
// nothing but the end of the body. Without that the connection could not be
// used again, and the proxy would take every turn for one that was given up.
type drained struct{ io.ReadCloser }

// Close implements [io.Closer]. It waits a quarter of a second at most.
func (d drained) Close() error {
	late := time.AfterFunc(250*time.Millisecond, func() { _ = d.ReadCloser.Close() })
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, d.ReadCloser, 4<<10)
	return d.ReadCloser.Close()
}
