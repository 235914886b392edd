package llm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

// openResponses speaks OpenAI's Responses API with streaming
// (platform.openai.com/docs/api-reference/responses). Nothing is stored at the
// vendor: what the model thought comes encrypted, and goes back with its turn.
//
// The service is made directly and not through openai.NewClient, which would
// read keys and base URLs from the environment.
func openResponses(cfg Config) Turn {
	var asks wishes
	return func(ctx context.Context, req Request, say func(Delta)) (Reply, error) {
		w := &wire{next: cfg.Transport, alive: func() { say(Delta{}) }}
		service := responses.NewResponseService(
			option.WithBaseURL(cfg.BaseURL),
			option.WithAPIKey(cfg.Key.Reveal()),
			option.WithMaxRetries(0), // Model.Stream retries
			option.WithHTTPClient(w.client()),
		)
		for {
			reply, err := responsesTurn(ctx, &service, w, responsesRequest(req, &asks), say)
			if err == nil || !asks.fewer(err) {
				return reply, err
			}
		}
	}
}

func responsesTurn(ctx context.Context, service *responses.ResponseService, w *wire, p responses.ResponseNewParams, say func(Delta)) (Reply, error) {
	stream := service.NewStreaming(ctx, p)
	r := responsesReply{Reply: Reply{Usage: ops.Usage{Model: p.Model}}, items: map[int64]*responsesItem{}}
	if err := follow(stream, r.add, say, func(err error) error { return openAIError(w, err) }); err != nil {
		return Reply{}, err
	}
	return r.finish(p.Model)
}

const openAIKindName = "openai"

// wishes are what not every model or account gives, and what a request is
// refused for that has them: summaries of reasoning, which only a verified
// organisation is shown, and encrypted reasoning, which only models have that reason.
type wishes struct{ noSummary, noEncrypted atomic.Bool }

// responsesPlain are models that do not reason.
var responsesPlain = regexp.MustCompile(`^(gpt-3|gpt-4|chatgpt-)`)

// fewer says whether the request was refused for a wish, which it gives up then.
func (a *wishes) fewer(err error) bool {
	e, ok := errors.AsType[*openai.Error](err)
	if !ok || e.StatusCode != http.StatusBadRequest {
		return false
	}
	switch {
	case e.Param == "reasoning.summary":
		return a.noSummary.CompareAndSwap(false, true)
	case e.Param == "include", strings.Contains(e.Message, "Encrypted content is not supported"):
		return a.noEncrypted.CompareAndSwap(false, true)
	}
	return false
}

// leastOutputTokens is the smallest bound that the API takes.
const leastOutputTokens = 16

func responsesRequest(req Request, asks *wishes) responses.ResponseNewParams {
	p := responses.ResponseNewParams{Model: req.Model, Store: param.NewOpt(false), PromptCacheKey: param.NewOpt(cacheKey(req))}
	if req.System != "" {
		p.Instructions = param.NewOpt(req.System)
	}
	if req.MaxOutput > 0 {
		p.MaxOutputTokens = param.NewOpt(max(req.MaxOutput, leastOutputTokens))
	}
	plain := responsesPlain.MatchString(req.Model)
	if !plain && !asks.noEncrypted.Load() {
		p.Include = []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent}
	}
	p.Reasoning.Effort = shared.ReasoningEffort(req.Effort)
	if !plain && !asks.noSummary.Load() {
		p.Reasoning.Summary = shared.ReasoningSummaryAuto
	}
	p.Input.OfInputItemList = responsesInput(req)
	for _, t := range req.Tools {
		var schema map[string]any
		if json.Unmarshal(t.Schema, &schema) != nil || schema == nil {
			schema = map[string]any{"type": "object"}
		}
		p.Tools = append(p.Tools, responses.ToolUnionParam{OfFunction: &responses.FunctionToolParam{
			Name: t.Name, Description: param.NewOpt(t.Description), Parameters: schema, Strict: param.NewOpt(false),
		}})
	}
	if len(p.Tools) > 0 {
		p.ParallelToolCalls = param.NewOpt(true)
	}
	return p
}

// cacheKey names what the turns of a conversation begin with, so that they find
// their prefix in the vendor's cache; it is the same after a restart.
func cacheKey(req Request) string {
	sum := sha256.New()
	_ = json.NewEncoder(sum).Encode([]any{req.Model, req.System})
	if len(req.Messages) > 0 {
		_ = json.NewEncoder(sum).Encode(req.Messages[0].Text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// responsesInput is the conversation as items.
func responsesInput(req Request) responses.ResponseInputParam {
	items := responses.ResponseInputParam{}
	ids, used := map[string]string{}, map[string]bool{} // vendors' ids to ones of this request
	for _, m := range req.Messages {
		switch m.Role {
		case Assistant:
			clear(ids)
			for _, c := range m.Calls {
				ids[c.ID] = uniqueID(c.ID[:min(len(c.ID), 56)], used) // 64 characters at most
			}
			items = append(items, responsesTurnItems(m, req.Model, ids)...)
		case ToolRole:
			output := responses.ResponseInputItemFunctionCallOutputParam{CallID: param.NewOpt(ids[m.CallID])}
			output.Output.OfString = param.NewOpt(m.Text)
			items = append(items, responses.ResponseInputItemUnionParam{OfFunctionCallOutput: &output})
		default:
			items = append(items, responses.ResponseInputItemParamOfMessage(m.Text, responses.EasyInputMessageRoleUser))
		}
	}
	return items
}

// responsesPart is a part of a turn as the model ordered them: its reasoning,
// which goes back as it came, a length of its text, or its next call.
type responsesPart struct {
	ID        string   `json:"id,omitempty"`
	Encrypted string   `json:"encrypted,omitempty"`
	Summary   []string `json:"summary,omitempty"`
	Text      int      `json:"text,omitempty"` // bytes
	Phase     string   `json:"phase,omitempty"`
	Call      bool     `json:"call,omitempty"`
}

// responsesTurnItems gives the items of a turn of the model, in its order if we
// know it. Reasoning is refused where nothing follows that it led to.
func responsesTurnItems(m Message, model string, ids map[string]string) (items []responses.ResponseInputItemUnionParam) {
	var parts []responsesPart
	vendorOf(m, openAIKindName, model, &parts)
	text, calls := m.Text, m.Calls
	var thought []responses.ResponseInputItemUnionParam
	put := func(i responses.ResponseInputItemUnionParam) {
		items = append(append(items, thought...), i)
		thought = nil
	}
	say := func(s, phase string) {
		if s == "" {
			return
		}
		i := responses.ResponseInputItemParamOfMessage(s, responses.EasyInputMessageRoleAssistant)
		i.OfMessage.Phase = responses.EasyInputMessagePhase(phase)
		put(i)
	}
	call := func(c Call) { put(responses.ResponseInputItemParamOfFunctionCall(c.Arguments, ids[c.ID], c.Name)) }
	for _, part := range parts {
		switch {
		case part.Encrypted != "":
			summary := []responses.ResponseReasoningItemSummaryParam{}
			for _, s := range part.Summary {
				summary = append(summary, responses.ResponseReasoningItemSummaryParam{Text: s})
			}
			i := responses.ResponseInputItemParamOfReasoning(part.ID, summary)
			i.OfReasoning.EncryptedContent = param.NewOpt(part.Encrypted)
			thought = append(thought, i)
		case part.Text > 0:
			n := min(part.Text, len(text))
			say(text[:n], part.Phase)
			text = text[n:]
		case part.Call && len(calls) > 0:
			say(text, "") // of a text that is not what it was
			text = ""
			call(calls[0])
			calls = calls[1:]
		}
	}
	thought = nil
	say(text, "")
	for _, c := range calls {
		call(c)
	}
	return items
}

// responsesReply puts the events of a stream together.
type responsesReply struct {
	Reply
	building
	items   map[int64]*responsesItem // by their place in the output
	order   []*responsesItem
	bytes   int // of what goes back
	refusal strings.Builder
	status  responses.ResponseStatus // of the end
	why     string                   // it is incomplete
}

type responsesItem struct {
	responsesPart
	call *callBuilding
}

// add takes one event and gives what is to be shown of it. Kinds of event and of
// item that are not known are passed over, as the vendor asks for.
func (r *responsesReply) add(e responses.ResponseStreamEventUnion) (Delta, error) {
	piece := Delta{}
	switch e.Type {
	case "response.created", "response.in_progress":
		r.model(e.Response)
	case "response.output_item.added":
		return Delta{}, r.begin(e.OutputIndex, e.Item)
	case "response.output_text.delta":
		piece.Text = e.Delta
		if i := r.items[e.OutputIndex]; i != nil {
			i.Text += len(e.Delta)
		}
	case "response.refusal.delta":
		if r.refusal.WriteString(e.Delta); r.refusal.Len() > maxText {
			return Delta{}, &Error{Kind: Malformed, Detail: "the answer is too long"}
		}
	case "response.reasoning_summary_part.added":
		if e.SummaryIndex > 0 {
			piece.Reasoning = "\n\n"
		}
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		piece.Reasoning = e.Delta
	case "response.function_call_arguments.delta":
		i := r.items[e.OutputIndex]
		if i == nil || i.call == nil {
			return Delta{}, &Error{Kind: Malformed, Detail: "arguments of no call"}
		}
		return Delta{}, i.call.add(e.Delta)
	case "response.output_item.done":
		return Delta{}, r.end(e.OutputIndex, e.Item)
	case "response.completed", "response.incomplete":
		r.model(e.Response)
		r.status, r.why = e.Response.Status, e.Response.IncompleteDetails.Reason
		r.usage(e.Response.Usage)
	case "response.failed":
		f := e.Response.Error
		return Delta{}, failed(Error{Kind: openAIKind(0, string(f.Code), "", f.Message)}, f.Message)
	case "error":
		return Delta{}, failed(Error{Kind: openAIKind(0, e.Code, "", e.Message)}, e.Message)
	}
	return piece, r.building.add(piece)
}

func (r *responsesReply) model(x responses.Response) {
	if x.Model != "" {
		r.Usage.Model = x.Model
	}
}

func (r *responsesReply) usage(u responses.ResponseUsage) {
	r.Usage.InputTokens, r.Usage.OutputTokens = u.InputTokens, u.OutputTokens
	r.Usage.CachedTokens, r.Usage.CacheWriteTokens = u.InputTokensDetails.CachedTokens, u.InputTokensDetails.CacheWriteTokens
	r.Usage.ReasoningTokens = u.OutputTokensDetails.ReasoningTokens
}

func (r *responsesReply) begin(at int64, item responses.ResponseOutputItemUnion) error {
	if len(r.order) == maxBlocks {
		return &Error{Kind: Malformed, Detail: "too many parts in one answer"}
	}
	i := &responsesItem{}
	r.items[at], r.order = i, append(r.order, i)
	if item.Type != "function_call" {
		return nil
	}
	call, err := r.call(item.CallID, item.Name)
	i.Call, i.call = true, call
	return err
}

// end takes what is known of an item once it is whole: the encrypted reasoning
// that came before that may not be.
func (r *responsesReply) end(at int64, item responses.ResponseOutputItemUnion) error {
	i := r.items[at]
	if i == nil {
		return nil
	}
	switch item.Type {
	case "message":
		i.Phase = string(item.Phase)
	case "reasoning":
		size := len(item.ID) + len(item.EncryptedContent)
		var summary []string
		for _, s := range item.Summary {
			summary, size = append(summary, s.Text), size+len(s.Text)
		}
		if r.bytes += size; r.bytes <= maxVendor {
			i.ID, i.Encrypted, i.Summary = item.ID, item.EncryptedContent, summary
		}
	case "function_call":
		if i.call != nil && i.call.arguments.Len() == 0 {
			return i.call.add(item.Arguments.OfString)
		}
	}
	return nil
}

// finish judges what has come.
func (r *responsesReply) finish(model string) (Reply, error) {
	switch {
	case r.status == responses.ResponseStatusIncomplete && r.why == "content_filter":
		return Reply{}, &Error{Kind: Refused, Detail: "content filter"}
	case r.status != responses.ResponseStatusCompleted && r.status != responses.ResponseStatusIncomplete:
		return Reply{}, &Error{Kind: Interrupted}
	case r.refusal.Len() > 0 && r.text.Len() == 0 && len(r.calls) == 0:
		return Reply{}, &Error{Kind: Refused, Detail: cut(r.refusal.String())}
	}
	for _, c := range r.calls {
		if c.arguments.Len() == 0 {
			c.arguments.WriteString("{}")
		}
	}
	r.into(&r.Reply, r.status == responses.ResponseStatusIncomplete)
	if r.bytes > 0 && r.bytes <= maxVendor {
		parts := make([]responsesPart, len(r.order))
		for n, i := range r.order {
			parts[n] = i.responsesPart
		}
		r.Vendor = vendor(openAIKindName, model, parts)
	}
	return r.Reply, nil
}
