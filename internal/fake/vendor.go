package fake

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxRequest bounds a request of the model's client.
const maxRequest = 16 << 20

// Config says how the vendor treats its clients.
type Config struct {
	// Key is what a client must present, in the way of the protocol. Required.
	Key ops.Secret
}

// Vendor sells a model that says what a [Scenario] says. It speaks the protocols
// of all kinds of provider, each where that vendor has it, below any path:
//
//	OpenAI          POST /responses, streaming and not, and GET /models
//	compatible      POST /chat/completions, streaming and not, and GET /models
//	OpenRouter      the same below /api/v1, with its reasoning and its comments
//	Anthropic       POST /v1/messages
//	Google          POST /v1beta/models/{model}:streamGenerateContent?alt=sse
//
// It refuses what the vendor refuses. It is stateless but for counters and for
// the prompts that it has in its cache.
type Vendor struct {
	scenario Scenario
	key      ops.Secret

	mu       sync.Mutex
	requests []int // by turn; the last is conclude
	refused  int
	cached   map[[32]byte]bool // prefixes of prompts
}

// NewVendor makes the vendor; it is an [http.Handler].
func NewVendor(s Scenario, cfg Config) *Vendor {
	return &Vendor{scenario: s, key: cfg.Key, requests: make([]int, len(s.Turns)+1), cached: map[[32]byte]bool{}}
}

// Requests gives how many requests came for a turn, counted from 1; 0 stands
// for conclude.
func (v *Vendor) Requests(turn int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if turn == 0 {
		turn = len(v.requests)
	}
	return v.requests[turn-1]
}

// Refused gives how many requests had no or a wrong key.
func (v *Vendor) Refused() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refused
}

// protocol is how a vendor speaks.
type protocol struct {
	// key gives what a request presents.
	key func(*http.Request) string
	// read understands a request, or says what the vendor finds wrong with it.
	read func(v *Vendor, r *http.Request, body []byte) (request, string)
	// fail gives an error as the vendor tells it, which may be with another status.
	fail func(status int, code, message string, h http.Header) (int, any)
	// frames gives the events of a streamed answer.
	frames func(a *answer, size int) []frame
	// failure is an error inside of a stream, garbage an event that is not one.
	failure func(status int, code, message string) string
	garbage string
	// whole gives an answer that is not streamed; nil: there is none.
	whole func(a *answer) any
}

// frame is one event as it goes over the wire. A piece counts for faults.
type frame struct {
	text  string
	piece bool
}

// request is what of a request is the same in all protocols.
type request struct {
	model string
	tools []string
	turns int // that the model has had
	in    conversation
	// prompt is what the model reads, in pieces that can be cached each with all
	// before it. marked says which of them the client asks to be cached; nil
	// means that the vendor caches by itself.
	prompt []string
	marked map[int]bool
	stream bool
	usage  bool // is to be told in the stream
	// Whether reasoning is to come encrypted, and a summary of it.
	encrypted, summary bool
}

// answer is a turn with its templates filled in.
type answer struct {
	id        string
	model     string
	reasoning string
	text      string
	refusal   string
	calls     []answerCall
	finish    string // in OpenAI's words
	usage     bool
	encrypted bool // the reasoning comes so
	summary   bool // of the reasoning is shown
	charged   bool // the usage says what it cost
	input     int  // tokens, about, the next two included
	read      int  // from the cache
	written   int  // to it
}

type answerCall struct{ id, name, arguments string }

// protocolOf finds how a request speaks, nil for a path that no vendor has.
func protocolOf(path string) *protocol {
	switch {
	case strings.HasSuffix(path, "/v1/messages"):
		return anthropicProtocol()
	case strings.Contains(path, "/v1beta/models/") && strings.HasSuffix(path, ":streamGenerateContent"):
		return googleProtocol()
	case strings.HasSuffix(path, "/responses"):
		return responsesProtocol()
	case strings.HasSuffix(path, "/api/v1/chat/completions"):
		return openRouterProtocol()
	case strings.HasSuffix(path, "/chat/completions"), strings.HasSuffix(path, "/models"):
		return openAIProtocol()
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := protocolOf(r.URL.Path)
	if p == nil {
		writeError(w, openAIProtocol(), http.StatusNotFound, "", "Invalid URL ("+r.Method+" "+r.URL.Path+")")
		return
	}
	if key := p.key(r); key == "" || v.key.Empty() || !v.key.Equal(ops.NewSecret(key)) {
		v.mu.Lock()
		v.refused++
		v.mu.Unlock()
		writeError(w, p, http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided.")
		return
	}
	switch {
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/models"):
		writeJSON(w, http.StatusOK, map[string]any{"object": "list",
			"data": []any{map[string]any{"id": v.model(""), "object": "model", "created": 0, "owned_by": "fake"}}})
	case r.Method != http.MethodPost:
		writeError(w, p, http.StatusMethodNotAllowed, "", "Not allowed to "+r.Method+" on "+r.URL.Path)
	default:
		v.complete(w, r, p)
	}
}

func (v *Vendor) model(asked string) string {
	if v.scenario.Model != "" {
		return v.scenario.Model
	}
	if asked != "" {
		return asked
	}
	return "scripted"
}

// complete answers a request: with an error of the vendor's or of the scenario,
// or with the turn that is due.
func (v *Vendor) complete(w http.ResponseWriter, r *http.Request, p *protocol) {
	fail := func(status int, code, message string) { writeError(w, p, status, code, message) }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		fail(http.StatusRequestEntityTooLarge, "", "The request is too large.")
		return
	}
	if !json.Valid(body) {
		fail(http.StatusBadRequest, "", "We could not parse the JSON body of your request.")
		return
	}
	req, problem := p.read(v, r, body)
	switch {
	case problem != "":
	case req.model == "":
		problem = "you must provide a model parameter"
	case v.scenario.Model != "" && req.model != v.scenario.Model:
		problem = "The model `" + req.model + "` does not exist or you do not have access to it."
	}
	if problem != "" {
		fail(http.StatusBadRequest, "", problem)
		return
	}
	turn, n, seen := v.pick(req)
	if turn == nil {
		fail(http.StatusBadRequest, "", fmt.Sprintf("The scenario has no turn %d.", n))
		return
	}
	fault := turn.fault(seen)
	if fault != nil && fault.Status != 0 && fault.After == nil {
		for k, value := range fault.Headers {
			w.Header().Set(k, value)
		}
		fail(fault.Status, fault.Code, fault.message())
		return
	}
	a, err := answerOf(turn, n, req.in)
	if err != nil {
		fail(http.StatusInternalServerError, "", "scenario: "+err.Error())
		return
	}
	a.model, a.usage, a.encrypted, a.summary = v.model(req.model), req.usage, req.encrypted, req.summary
	v.count(a, req)
	switch {
	case req.stream:
		v.stream(r.Context(), w, p, a, fault)
	case p.whole != nil:
		writeJSON(w, http.StatusOK, p.whole(a))
	default:
		fail(http.StatusBadRequest, "", "The scripted model answers this protocol in streams alone.")
	}
}

func (f *Fault) message() string {
	if f.Message != "" {
		return f.Message
	}
	if f.Status == 529 {
		return "Overloaded"
	}
	return http.StatusText(f.Status)
}

// pick gives the turn that is due, its number, and how many requests for it came before.
func (v *Vendor) pick(req request) (turn *Turn, n, seen int) {
	n = req.turns + 1
	last := true
	for _, t := range req.tools {
		last = last && t == "submit_findings"
	}
	turns := v.scenario.Turns
	at := n - 1
	switch {
	case last && v.scenario.Conclude != nil:
		turn, at = v.scenario.Conclude, len(turns)
	case at < len(turns):
		turn = &turns[at]
	case turns[len(turns)-1].Repeat:
		at = len(turns) - 1
		turn = &turns[at]
	default:
		return nil, n, 0
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	seen = v.requests[at]
	v.requests[at]++
	return turn, n, seen
}

// count fills in the tokens of a prompt: about four bytes each. What is in the
// cache from an earlier request is read from it.
func (v *Vendor) count(a *answer, req request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.cached) > 1<<16 {
		clear(v.cached)
	}
	sum := sha256.New()
	for i, piece := range req.prompt {
		_, _ = fmt.Fprintf(sum, "%d:%s", len(piece), piece)
		a.input += len(piece)/4 + 1
		if req.marked != nil && !req.marked[i] {
			continue
		}
		prefix := [32]byte(sum.Sum(nil))
		if v.cached[prefix] {
			a.read = a.input
		}
		v.cached[prefix] = true
		if req.marked != nil {
			a.written = a.input
		}
	}
	a.written = max(0, a.written-a.read)
}

func answerOf(t *Turn, n int, in conversation) (*answer, error) {
	a := &answer{id: nonce(), finish: t.Finish, reasoning: t.Reasoning, refusal: t.Refusal}
	var err error
	if a.text, err = in.render(t.Text); err != nil {
		return nil, err
	}
	for i, c := range t.Calls {
		call := answerCall{id: fmt.Sprintf("call_%d_%d_%s", n, i+1, nonce()[:8]), name: c.Tool}
		if call.arguments, err = c.arguments(in); err != nil {
			return nil, err
		}
		a.calls = append(a.calls, call)
	}
	if a.finish == "" {
		a.finish = "stop"
		if len(a.calls) > 0 {
			a.finish = "tool_calls"
		}
	}
	return a, nil
}

// tokens are those of the answer, about, and those of them that are reasoning.
func (a *answer) tokens() (output, reasoning int) {
	if a.reasoning != "" {
		reasoning = len(a.reasoning)/4 + 1
	}
	output = reasoning + len(a.text)/4 + 1
	for _, c := range a.calls {
		output += len(c.arguments)/4 + 8
	}
	return output, reasoning
}

// signature signs what a model thought, as vendors do so that it comes back as
// it was.
func signature(text string) string {
	mac := hmac.New(sha256.New, []byte("of the fake vendor"))
	_, _ = mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// stream sends the answer as server-sent events, spoilt by fault if there is one.
func (v *Vendor) stream(ctx context.Context, w http.ResponseWriter, p *protocol, a *answer, fault *Fault) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	piece := 0
	for _, f := range p.frames(a, v.scenario.Chunk) {
		if f.piece {
			if !wait(ctx, v.scenario.Delay) {
				return
			}
			spoilt := func(at *int) bool { return at != nil && *at == piece }
			switch {
			case fault == nil:
			case spoilt(fault.Cut):
				_ = rc.Flush()
				panic(http.ErrAbortHandler) // closes the connection without an end
			case spoilt(fault.Garbage):
				f.text = p.garbage
			case spoilt(fault.Hang):
				_ = rc.Flush()
				<-ctx.Done()
				return
			case spoilt(fault.After):
				_ = v.send(w, rc, p.failure(fault.Status, fault.Code, fault.message()))
				return
			}
			piece++
		}
		if v.send(w, rc, f.text) != nil {
			return
		}
	}
}

// send writes what goes over the wire, in one packet or in many.
func (v *Vendor) send(w io.Writer, rc *http.ResponseController, text string) error {
	for text != "" {
		n := len(text)
		if v.scenario.Split > 0 {
			n = min(n, v.scenario.Split)
		}
		if _, err := io.WriteString(w, text[:n]); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pieces cuts s into pieces of size characters.
func pieces(s string, size int) []string {
	var out []string
	n, start := 0, 0
	for i := range s {
		if n == size {
			out = append(out, s[start:i])
			n, start = 0, i
		}
		n++
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// toJSON is for what cannot fail.
func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return string(b)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, p *protocol, status int, code, message string) {
	status, body := p.fail(status, code, message, w.Header())
	writeJSON(w, status, body)
}

func nonce() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// heard adds what a tool said, by the id in its first line, to what templates see.
func (c conversation) heard(text string) {
	first, rest, _ := strings.Cut(text, "\n")
	if id, ok := strings.CutPrefix(first, "["); ok {
		c.outputs[strings.TrimSuffix(strings.TrimSpace(id), "]")] = rest
	}
}
