// Package llm asks a language model for one turn: a conversation and tools in,
// a stream of text and reasoning and one [Reply] out. It is the only place that
// knows a vendor's protocol; each is one file and a line in the table of providers.
//
// OpenAI (its Responses API) and Anthropic are spoken with their official
// libraries, OpenRouter and what is compatible to OpenAI in chat completions with OpenAI's. Google's is in a file of our own:
// its library drops the headers of an error, in which the vendor says how long to
// wait, configures itself from the environment, and brings gRPC and the look-up of
// cloud credentials into the one process that must not have any.
//
// # What a vendor wants back
//
// Some vendors sign or encrypt what their model thought and want it back with
// the results of its calls. [Reply].Vendor is that, and [Message].Vendor gives
// it back. It names the kind and the model that it came from; any other is
// spoken to as if it were not there.
//
// # Failures
//
// Every failure is an [Error] with a kind. Those that may pass by themselves (rate
// limit, overload, a broken connection or stream, garbage) are tried again
// inside [Model.Stream], with growing jittered pauses, at most
// [Config.Attempts] times, and never beyond the context's deadline; a pause that
// the vendor asks for is kept. The rest is returned at once.
//
// A stream that breaks has already delivered text. The turn is asked again from
// its beginning, and the caller is told by a [Delta] with Retry set that
// what it has seen of the turn is void.
//
// Arguments of a tool call are handed over as the model wrote them. Whether
// they are JSON is not this package's concern: a model that writes bad ones
// must be told so, and that is the caller's conversation.
//
// # Limits
//
// A reply is read as it comes and is bounded: [maxText] bytes of text and as
// much of reasoning, [maxCalls] calls, [maxArguments] bytes of arguments each and
// [maxAllArguments] together, [maxBody] bytes on the wire. Over a limit it is malformed. A stream that says nothing for
// [Config.Silence] is broken.
package llm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of one reply.
const (
	maxText      = 256 << 10
	maxCalls     = 64
	maxArguments = 64 << 10
	// maxAllArguments is of all calls together. A turn is stored, and sent to the
	// api, in one piece, in which a byte may take six: see wire.MaxFrame.
	maxAllArguments = 256 << 10
	maxBody         = 32 << 20
)

// Role is who speaks in a [Message].
type Role string

// The roles of a conversation. The system prompt is [Request.System].
const (
	User      Role = "user"
	Assistant Role = "assistant"
	ToolRole  Role = "tool"
)

// Message is one entry of a conversation.
type Message struct {
	Role Role
	Text string
	// Calls are what an assistant wants to call.
	Calls []Call
	// CallID says which call a tool's message answers, as the vendor named it.
	CallID string
	// Vendor is what a reply had of the vendor's own ([Reply]).
	Vendor json.RawMessage
}

// Call is a model's wish to call a tool.
type Call struct {
	ID        string // the vendor's
	Name      string
	Arguments string // as the model wrote them; JSON if all is well
}

// Tool is what a model may call. Schema is the JSON Schema of its arguments.
type Tool struct {
	Name        string
	Description string
	Schema      json.RawMessage
}

// Request is one turn to be had.
type Request struct {
	Model    string
	System   string
	Messages []Message
	Tools    []Tool
	// MaxOutput bounds the reply's tokens; 0 leaves it to the vendor.
	MaxOutput int64
	// Effort is how much the model is to reason: low, medium or high; empty
	// leaves it to the vendor. Models that cannot reason refuse it.
	Effort string
}

// Delta is one step of a stream: a piece of text or of reasoning, or the news
// that the attempt has failed and all of it is void.
type Delta struct {
	Text      string
	Reasoning string
	Retry     *Retry
}

// Retry says that another attempt follows after a pause.
type Retry struct {
	After   time.Duration
	Because *Error
	// Void says that text of the failed attempt was delivered.
	Void bool
}

// Stop says why a reply ended.
type Stop string

// The reasons to stop.
const (
	StopEnd    Stop = "end"
	StopCalls  Stop = "calls"
	StopLength Stop = "length" // cut off by a limit on tokens
)

// Reply is a whole turn.
type Reply struct {
	Text  string
	Calls []Call
	Usage ops.Usage
	Stop  Stop
	// Reasoning is what the model showed of its thinking: for people, never
	// sent back.
	Reasoning string
	// Vendor is to be given back with [Message], if it is not empty.
	Vendor json.RawMessage
}

// Config says where a model is and how to treat it.
type Config struct {
	Kind    string     // a key of the table of providers
	BaseURL string     // where the protocol's paths start
	Key     ops.Secret // sent as the vendor wants it

	// Attempts bounds the tries of one turn; 0 means 8. Patience, if it is set,
	// bounds their time instead.
	Attempts int
	Patience time.Duration
	// Backoff is the first pause between them, doubled up to 30 times of it;
	// 0 means half a second.
	Backoff time.Duration
	// Silence is how long a stream may say nothing; 0 means three minutes.
	Silence time.Duration
	// Transport is for tests; nil means one of the model's own.
	Transport http.RoundTripper
}

// Provider is one vendor's protocol.
type Provider struct {
	// Open makes a turn out of a configuration. It does no I/O.
	Open func(Config) Turn
}

// Turn is one attempt at a turn. It calls say for each piece, in order, also for
// an empty one, which shows that the stream lives. It returns an [Error] of this
// package or the context's.
type Turn func(ctx context.Context, req Request, say func(Delta)) (Reply, error)

// Providers is the table of protocols by the kind of [ops.Provider].
func Providers() map[string]Provider {
	return map[string]Provider{
		"anthropic":         {Open: openAnthropic},
		"google":            {Open: openGoogle},
		"openai":            {Open: openResponses},
		"openai-compatible": {Open: openOpenAI},
		"openrouter":        {Open: openOpenAI},
	}
}

// Model is a model that can be asked. Its methods may be called concurrently.
type Model struct {
	ask       Turn
	cfg       Config
	transport http.RoundTripper
}

// Open makes a model ready. It does no I/O.
func Open(cfg Config) (*Model, error) {
	p, ok := Providers()[cfg.Kind]
	if !ok {
		return nil, ops.Errorf(ops.CodeInvalid, "there is no LLM protocol %q", cfg.Kind)
	}
	if cfg.BaseURL == "" {
		return nil, fmt.Errorf("llm: no base URL")
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 8
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = 500 * time.Millisecond
	}
	if cfg.Silence == 0 {
		cfg.Silence = 3 * time.Minute
	}
	if cfg.Transport == nil {
		// The base URL is all that it may reach: no proxy from the environment.
		cfg.Transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 4,
			IdleConnTimeout:     90 * time.Second,
		}
	}
	return &Model{ask: p.Open(cfg), cfg: cfg, transport: cfg.Transport}, nil
}

// Close lets go of idle connections.
func (m *Model) Close() {
	if t, ok := m.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}
