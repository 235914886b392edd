package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/anthropics/anthropic-sdk-go/packages/param"
)

// openAnthropic speaks the Messages API (platform.claude.com/docs/en/api/messages).
//
// The service is made directly and not through anthropic.NewClient, which would
// read keys, profiles and base URLs from the environment.
func openAnthropic(cfg Config) Turn {
	return func(ctx context.Context, req Request, say func(Delta)) (Reply, error) {
		w := &wire{next: cfg.Transport, alive: func() { say(Delta{}) }}
		messages := anthropic.NewMessageService(
			option.WithBaseURL(strings.TrimRight(cfg.BaseURL, "/")+"/"),
			option.WithAPIKey(cfg.Key.Reveal()),
			option.WithMaxRetries(0), // Model.Stream retries
			option.WithHTTPClient(w.client()),
			option.WithoutOpenTelemetry(),
		)
		stream := messages.NewStreaming(ctx, anthropicRequest(req))
		r := anthropicReply{Reply: Reply{Usage: ops.Usage{Model: req.Model}}, blocks: map[int64]*anthropicBlock{}}
		if err := follow(stream, r.add, say, func(err error) error { return anthropicError(w, err) }); err != nil {
			return Reply{}, err
		}
		return r.finish(req.Model)
	}
}

const anthropicKind = "anthropic"

// anthropicOutput is the bound on output where none is asked for: the API has no
// default. Old models take less.
func anthropicOutput(model string) int64 {
	switch {
	case strings.HasPrefix(model, "claude-3-5"):
		return 8_192
	case strings.HasPrefix(model, "claude-3-") && !strings.HasPrefix(model, "claude-3-7"), strings.HasPrefix(model, "claude-2"):
		return 4_096
	}
	return 16_384
}

// anthropicBudgets is how many tokens a model may think where it takes a budget
// for it.
var anthropicBudgets = map[string]int64{"low": 2_048, "medium": 8_192, "high": 24_576}

// Models that take a budget; those behind them decide for themselves how much
// an effort needs (platform.claude.com/docs/en/build-with-claude/adaptive-thinking).
var anthropicBudgeted = regexp.MustCompile(`^claude-(3-7-|(opus|sonnet)-4-[0125](-|$)|(opus|sonnet)-4-20|haiku-4-5)`)

func anthropicRequest(req Request) anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{Model: req.Model, MaxTokens: req.MaxOutput}
	if p.MaxTokens <= 0 {
		p.MaxTokens = anthropicOutput(req.Model)
	}
	if req.System != "" {
		p.System = []anthropic.TextBlockParam{{Text: req.System}}
	}
	signed := anthropicMessages(&p, req)
	anthropicTools(&p, req)
	if budget := anthropicBudgets[req.Effort]; budget > 0 {
		switch {
		case !anthropicBudgeted.MatchString(req.Model):
			p.Thinking.OfAdaptive = &anthropic.ThinkingConfigAdaptiveParam{Display: anthropic.ThinkingConfigAdaptiveDisplaySummarized}
			p.OutputConfig.Effort = anthropic.OutputConfigEffort(req.Effort)
		case signed:
			// The tokens to think with are part of those to write with.
			p.Thinking.OfEnabled = &anthropic.ThinkingConfigEnabledParam{BudgetTokens: budget}
			p.MaxTokens += budget
		}
	}
	anthropicCache(&p)
	return p
}

// anthropicMessages puts the conversation in. It reports false if the calls that
// the model is to go on from were made without its signed thinking, by another
// model, say: such a turn cannot be continued with a budget to think.
func anthropicMessages(p *anthropic.MessageNewParams, req Request) (signed bool) {
	signed = true
	ids, used := map[string]string{}, map[string]bool{} // vendors' ids to ones of this request
	var said []anthropic.ContentBlockParamUnion         // by us, since the model's last turn
	flush := func() {
		if len(said) > 0 {
			p.Messages, said = append(p.Messages, anthropic.NewUserMessage(said...)), nil
		}
	}
	for _, m := range req.Messages {
		switch m.Role {
		case Assistant:
			flush()
			clear(ids)
			for _, c := range m.Calls {
				ids[c.ID] = uniqueID(c.ID, used)
			}
			blocks, own := anthropicTurn(m, req.Model, ids)
			signed = len(m.Calls) == 0 || own
			if len(blocks) > 0 {
				p.Messages = append(p.Messages, anthropic.NewAssistantMessage(blocks...))
			}
		case ToolRole:
			said = append(said, anthropicResult(ids[m.CallID], m.Text))
		default:
			if strings.TrimSpace(m.Text) != "" {
				said = append(said, anthropic.NewTextBlock(m.Text))
			}
		}
	}
	flush()
	return signed
}

func anthropicResult(id, text string) anthropic.ContentBlockParamUnion {
	result := &anthropic.ToolResultBlockParam{ToolUseID: id}
	if strings.TrimSpace(text) != "" { // an empty text is refused, no text is not
		result.Content = []anthropic.ToolResultBlockParamContentUnion{{OfText: &anthropic.TextBlockParam{Text: text}}}
	}
	return anthropic.ContentBlockParamUnion{OfToolResult: result}
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// uniqueID makes an id that the API takes: others' have other characters, and
// may come again in a later turn.
func uniqueID(id string, used map[string]bool) string {
	id = notInID.ReplaceAllString(id, "_")
	if id == "" {
		id = "call"
	}
	unique := id
	for n := 2; used[unique]; n++ {
		unique = fmt.Sprintf("%s_%d", id, n)
	}
	used[unique] = true
	return unique
}

// anthropicPart is a part of a turn as the model ordered them: its thinking,
// which goes back as it came, a length of its text, or its next call.
type anthropicPart struct {
	Thinking  string `json:"thinking,omitempty"`
	Signature string `json:"signature,omitempty"`
	Redacted  string `json:"redacted,omitempty"`
	Text      int    `json:"text,omitempty"` // bytes
	Call      bool   `json:"call,omitempty"`
}

// anthropicTurn gives the blocks of a turn of the model, in its order if we know
// it. own says that it has its signed thinking.
func anthropicTurn(m Message, model string, ids map[string]string) (blocks []anthropic.ContentBlockParamUnion, own bool) {
	var parts []anthropicPart
	vendorOf(m, anthropicKind, model, &parts)
	text, calls := m.Text, m.Calls
	say := func(s string) {
		if strings.TrimSpace(s) != "" {
			blocks = append(blocks, anthropic.NewTextBlock(s))
		}
	}
	call := func(c Call) {
		blocks = append(blocks, anthropic.NewToolUseBlock(ids[c.ID], anthropicInput(c.Arguments), c.Name))
	}
	for _, part := range parts {
		switch {
		case part.Signature != "":
			blocks, own = append(blocks, anthropic.NewThinkingBlock(part.Signature, part.Thinking)), true
		case part.Redacted != "":
			blocks, own = append(blocks, anthropic.NewRedactedThinkingBlock(part.Redacted)), true
		case part.Text > 0:
			n := min(part.Text, len(text))
			say(text[:n])
			text = text[n:]
		case part.Call && len(calls) > 0:
			say(text) // of a text that is not what it was
			text = ""
			call(calls[0])
			calls = calls[1:]
		}
	}
	say(text)
	for _, c := range calls {
		call(c)
	}
	return blocks, own
}

// anthropicInput gives arguments as the object that the API wants.
func anthropicInput(arguments string) any {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(arguments), &object) != nil || object == nil {
		return map[string]string{"malformed_arguments": arguments}
	}
	return json.RawMessage(arguments)
}

func anthropicTools(p *anthropic.MessageNewParams, req Request) {
	named := map[string]bool{}
	for _, t := range req.Tools {
		named[t.Name] = true
		schema := t.Schema
		if !json.Valid(schema) || !strings.HasPrefix(strings.TrimSpace(string(schema)), "{") {
			schema = json.RawMessage(`{"type":"object"}`)
		}
		p.Tools = append(p.Tools, anthropic.ToolUnionParam{OfTool: &anthropic.ToolParam{
			Name: t.Name, Description: param.NewOpt(t.Description),
			// As it is: the library would write its fields in another order each
			// time, and nothing behind them could be had from the cache.
			InputSchema: param.Override[anthropic.ToolInputSchemaParam](schema),
		}})
	}
	if len(p.Tools) > 0 {
		return
	}
	// A conversation with calls in it is refused without tools.
	for _, m := range req.Messages {
		for _, c := range m.Calls {
			if !named[c.Name] {
				named[c.Name] = true
				p.Tools = append(p.Tools, anthropic.ToolUnionParam{OfTool: &anthropic.ToolParam{Name: c.Name, InputSchema: anthropic.ToolInputSchemaParam{Properties: map[string]any{}}}})
			}
		}
	}
	if len(p.Tools) > 0 {
		p.ToolChoice.OfNone = &anthropic.ToolChoiceNoneParam{}
	}
}

// anthropicCache marks what the vendor is to cache: tools and system prompt, and
// the conversation up to the newest two messages of ours, so that a turn finds
// what the one before it has written. Four marks are allowed.
func anthropicCache(p *anthropic.MessageNewParams) {
	mark := anthropic.NewCacheControlEphemeralParam()
	if n := len(p.System); n > 0 {
		p.System[n-1].CacheControl = mark
	}
	if n := len(p.Tools); n > 0 {
		p.Tools[n-1].OfTool.CacheControl = mark
	}
	marks := 0
	for _, m := range slices.Backward(p.Messages) {
		if m.Role != anthropic.MessageParamRoleUser || len(m.Content) == 0 {
			continue
		}
		switch last := m.Content[len(m.Content)-1]; {
		case last.OfText != nil:
			last.OfText.CacheControl = mark
		case last.OfToolResult != nil:
			last.OfToolResult.CacheControl = mark
		}
		if marks++; marks == 2 {
			return
		}
	}
}

// anthropicReply puts the events of a stream together.
type anthropicReply struct {
	Reply
	building
	blocks  map[int64]*anthropicBlock // by their index
	parts   []*anthropicBlock         // in their order
	stop    anthropic.StopReason
	why     string // of a refusal
	stopped bool   // message_stop has come
}

type anthropicBlock struct {
	anthropicPart
	call *callBuilding
}

// maxBlocks bounds the blocks of one reply.
const maxBlocks = 1024

// add takes one event and gives what is to be shown of it.
func (r *anthropicReply) add(e anthropic.MessageStreamEventUnion) (Delta, error) {
	switch e.Type {
	case "message_start":
		if e.Message.Model != "" {
			r.Usage.Model = e.Message.Model
		}
		u := e.Message.Usage
		r.count(u.InputTokens, u.CacheReadInputTokens, u.CacheCreationInputTokens, u.OutputTokens, u.OutputTokensDetails.ThinkingTokens)
	case "content_block_start":
		return r.start(e)
	case "content_block_delta":
		return r.delta(e)
	case "message_delta":
		r.stop, r.why = e.Delta.StopReason, e.Delta.StopDetails.Explanation
		u := e.Usage
		r.count(u.InputTokens, u.CacheReadInputTokens, u.CacheCreationInputTokens, u.OutputTokens, u.OutputTokensDetails.ThinkingTokens)
	case "message_stop":
		r.stopped = true
	}
	return Delta{}, nil
}

// count takes counters, which are totals, and zero where an event has none. The
// input that this API counts is what no cache was used for.
func (r *anthropicReply) count(plain, read, written, output, thinking int64) {
	if plain+read+written > 0 {
		r.Usage.InputTokens, r.Usage.CachedTokens, r.Usage.CacheWriteTokens = plain+read+written, read, written
	}
	r.Usage.OutputTokens = max(r.Usage.OutputTokens, output)
	r.Usage.ReasoningTokens = max(r.Usage.ReasoningTokens, thinking)
}

func (r *anthropicReply) start(e anthropic.MessageStreamEventUnion) (Delta, error) {
	if len(r.parts) == maxBlocks {
		return Delta{}, &Error{Kind: Malformed, Detail: "too many parts in one answer"}
	}
	b := &anthropicBlock{}
	r.blocks[e.Index], r.parts = b, append(r.parts, b)
	switch c := e.ContentBlock; c.Type {
	case "text":
		b.Text = len(c.Text)
		piece := Delta{Text: c.Text}
		return piece, r.building.add(piece)
	case "thinking":
		b.Thinking, b.Signature = c.Thinking, c.Signature
		piece := Delta{Reasoning: c.Thinking}
		return piece, r.building.add(piece)
	case "redacted_thinking":
		b.Redacted = c.Data
	case "tool_use":
		call, err := r.call(c.ID, c.Name)
		b.Call, b.call = true, call
		return Delta{}, err
	}
	return Delta{}, nil
}

func (r *anthropicReply) delta(e anthropic.MessageStreamEventUnion) (Delta, error) {
	b := r.blocks[e.Index]
	if b == nil {
		return Delta{}, &Error{Kind: Malformed, Detail: "a piece of a part that has not begun"}
	}
	switch e.Delta.Type {
	case "text_delta":
		b.Text += len(e.Delta.Text)
		piece := Delta{Text: e.Delta.Text}
		return piece, r.building.add(piece)
	case "thinking_delta":
		b.Thinking += e.Delta.Thinking
		piece := Delta{Reasoning: e.Delta.Thinking}
		return piece, r.building.add(piece)
	case "signature_delta":
		if b.Signature += e.Delta.Signature; len(b.Signature) > maxVendor {
			return Delta{}, &Error{Kind: Malformed, Detail: "the answer is too long"}
		}
	case "input_json_delta":
		if b.call == nil {
			return Delta{}, &Error{Kind: Malformed, Detail: "arguments of no call"}
		}
		return Delta{}, b.call.add(e.Delta.PartialJSON)
	}
	return Delta{}, nil
}

// finish judges what has come.
func (r *anthropicReply) finish(model string) (Reply, error) {
	switch {
	case !r.stopped || r.stop == "":
		return Reply{}, &Error{Kind: Interrupted}
	case r.stop == anthropic.StopReasonRefusal:
		return Reply{}, &Error{Kind: Refused, Detail: cut(r.why)}
	case r.stop == anthropic.StopReasonModelContextWindowExceeded:
		return Reply{}, &Error{Kind: TooLong}
	}
	for _, c := range r.calls {
		if c.arguments.Len() == 0 { // a call without arguments streams none
			c.arguments.WriteString("{}")
		}
	}
	r.into(&r.Reply, r.stop == anthropic.StopReasonMaxTokens)
	signed := func(b *anthropicBlock) bool { return b.Signature != "" || b.Redacted != "" }
	if slices.ContainsFunc(r.parts, signed) {
		parts := make([]anthropicPart, len(r.parts))
		for i, b := range r.parts {
			parts[i] = b.anthropicPart
		}
		r.Vendor = vendor(anthropicKind, model, parts)
	}
	return r.Reply, nil
}

// anthropicError maps what the library returns to a kind.
func anthropicError(w *wire, err error) error {
	e, ok := errors.AsType[*anthropic.Error](err)
	if !ok {
		return w.broken(err)
	}
	var body struct {
		Error struct{ Type, Message, Code string }
	}
	if json.Unmarshal([]byte(e.RawJSON()), &body) != nil || body.Error.Type == "" {
		return w.broken(err)
	}
	out := Error{Status: e.StatusCode, err: err}
	if out.Status == 200 { // inside of the stream
		out.Status = 0
	}
	if e.Response != nil {
		out.RetryAfter = retryAfter(e.Response.Header)
	}
	out.Kind = anthropicKindOf(out.Status, body.Error.Type, strings.ToLower(body.Error.Message))
	if body.Error.Type == proxyType {
		out.Kind = proxyKind(e.StatusCode, body.Error.Code)
	}
	return failed(out, body.Error.Message)
}

func anthropicKindOf(status int, typ, message string) Kind {
	switch typ {
	case "overloaded_error":
		return Overloaded
	case "rate_limit_error":
		return RateLimited
	case "authentication_error", "permission_error":
		return Auth
	case "billing_error":
		return Quota
	case "api_error", "timeout_error":
		if status == 0 {
			return Interrupted
		}
	case "invalid_request_error":
		switch {
		case strings.Contains(message, "prompt is too long"), strings.Contains(message, "exceed context limit"):
			return TooLong
		case strings.Contains(message, "credit balance"):
			return Quota
		}
	}
	return statusKind(status)
}
