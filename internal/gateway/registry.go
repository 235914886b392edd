package gateway

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
)

// Limits of what runs at a time.
const (
	maxRunning   = 256
	maxPerHolder = 16
)

// registry is the calls that this process works on. The zero value is ready.
type registry struct {
	mu       sync.Mutex
	calls    map[callKey]*entry
	stopping chan struct{} // closed when the process waits for nothing any more
	ending   chan struct{} // closed when it begins to stop
	stopped  bool
	wg       sync.WaitGroup
}

type callKey struct{ holder, call string }

// entry is one call under way, with whoever waits for it.
type entry struct {
	digest []byte
	asked  string // the request that may cancel it, if any
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when result and err are set
	result ops.ToolResult
	err    error

	mu      sync.Mutex
	readers []*reader
}

// enter gives the entry of a call, and whether it is new. If it is, work is started for it, with a
// context that ends with stop and not with that of any request. An entry of
// another digest is a conflict.
func (r *registry) enter(key callKey, asked string, digest []byte, work func(context.Context, *entry) (ops.ToolResult, error)) (_ *entry, first bool, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.calls[key]; ok {
		if !bytes.Equal(e.digest, digest) {
			return nil, false, ops.Errorf(ops.CodeConflict, "call %s was made before with other arguments", key.call)
		}
		return e, false, nil
	}
	mine := 0
	for k := range r.calls {
		if k.holder == key.holder {
			mine++
		}
	}
	switch {
	case r.stopped:
		return nil, false, ops.Errorf(ops.CodeUnavailable, "the gateway is stopping")
	case mine >= maxPerHolder || len(r.calls) >= maxRunning:
		return nil, false, &ops.Error{Code: ops.CodeUnavailable, Message: "too many calls at a time; wait for some to end", RetryAfter: time.Second}
	}
	if r.calls == nil {
		r.calls = map[callKey]*entry{}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	e := &entry{digest: digest, asked: asked, cancel: cancel, done: make(chan struct{})}
	r.calls[key] = e
	r.wg.Go(func() {
		defer cancel(nil)
		e.result, e.err = work(ctx, e)
		if e.err != nil && ctx.Err() != nil {
			e.err = context.Cause(ctx)
		}
		r.mu.Lock()
		delete(r.calls, key)
		r.mu.Unlock()
		close(e.done)
	})
	return e, true, nil
}

// cancelAsked stops the call of a holder that this request made. Several of a
// holder's clients may number their requests alike: then it is nobody's.
func (r *registry) cancelAsked(holder, request string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*entry
	for key, e := range r.calls {
		if key.holder == holder && e.asked == request {
			found = append(found, e)
		}
	}
	if len(found) == 1 {
		found[0].cancel(cause)
	}
}

// holders are those that calls are under way for.
func (r *registry) holders() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for key := range r.calls {
		seen[key.holder] = true
	}
	return slices.Collect(maps.Keys(seen))
}

// stopOthers stops the calls of those asked holders that are not alive.
func (r *registry) stopOthers(asked, alive []string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, e := range r.calls {
		if slices.Contains(asked, key.holder) && !slices.Contains(alive, key.holder) {
			e.cancel(cause)
		}
	}
}

// stop refuses new calls, waits for those under way for grace, stops the rest
// and waits for them.
func (r *registry) stop(grace time.Duration, cause error) {
	r.mu.Lock()
	r.stopped = true
	hurry := r.hurryLocked()
	if r.ending == nil {
		r.ending = make(chan struct{})
	}
	close(r.ending)
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(done)
	}()
	late := time.AfterFunc(grace, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range r.calls {
			e.cancel(cause)
		}
		close(hurry)
	})
	<-done
	late.Stop()
}

// stops is closed when the process begins to stop: calls may end, nobody is
// waited for who may take long.
func (r *registry) stops() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending == nil {
		r.ending = make(chan struct{})
	}
	return r.ending
}

// hurry is closed when waiting has no sense any more.
func (r *registry) hurry() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hurryLocked()
}

func (r *registry) hurryLocked() chan struct{} {
	if r.stopping == nil {
		r.stopping = make(chan struct{})
	}
	return r.stopping
}

// maxUnread is how much live output waits for a reader.
const maxUnread = 64 << 10

// reader is one connection's share of live output.
type reader struct {
	mu   sync.Mutex
	text []byte
	lost bool
	wake chan struct{} // holds one
}

// follow adds a reader. It sees what comes from now on.
func (e *entry) follow() *reader {
	r := &reader{wake: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readers = append(e.readers, r)
	return r
}

func (e *entry) unfollow(r *reader) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.readers {
		if e.readers[i] == r {
			e.readers = append(e.readers[:i:i], e.readers[i+1:]...)
			return
		}
	}
}

// live gives text to all readers and never blocks.
func (e *entry) live(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.readers {
		r.add(text)
	}
}

func (r *reader) add(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost || len(r.text)+len(text) > maxUnread {
		r.lost = true
	} else {
		r.text = append(r.text, text...)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take gives what has come since.
func (r *reader) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := string(r.text)
	if r.lost {
		text += "\n[… some live output is left out; the result has it]\n"
	}
	r.text, r.lost = nil, false
	return text
}

// ruleCache keeps parsed rule lists and roles by their content. It is emptied when full:
// there are few agents.
type ruleCache struct {
	warn  func(agentRules error) // about rules that can never decide
	mu    sync.Mutex
	known map[string]*policy.Rules
	roles map[string]*policy.Role
}

// role reads what the roles of somebody say.
func (c *ruleCache) role(deny, allow []string) (*policy.Role, error) {
	key := strings.Join(deny, "\n") + "\n\n" + strings.Join(allow, "\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.roles[key]; ok {
		return r, nil
	}
	r, err := policy.Builtin().LoadRole(deny, allow)
	if err != nil {
		return nil, err
	}
	if c.roles == nil || len(c.roles) >= 64 {
		c.roles = map[string]*policy.Role{}
	}
	c.roles[key] = r
	return r, nil
}

func (c *ruleCache) get(lines []string) (*policy.Rules, error) {
	key := strings.Join(lines, "\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.known[key]; ok {
		return r, nil
	}
	r, err := policy.Load(lines)
	if err != nil {
		return nil, err
	}
	for _, dead := range r.Unreachable() {
		c.warn(&dead)
	}
	if c.known == nil || len(c.known) >= 64 {
		c.known = map[string]*policy.Rules{}
	}
	c.known[key] = r
	return r, nil
}
