package tool

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"golang.org/x/crypto/ssh"
)

// Limits of a pool.
const (
	maxChannels = 8 // per connection; OpenSSH allows 10
	maxConns    = 4 // per chain of hops
	maxTries    = 5 // connections that end while they open a channel
)

// Times of a pool; fields of Pool so that tests need not wait.
const (
	idleTimeout      = time.Minute
	keepaliveEvery   = 10 * time.Second
	keepaliveTimeout = 10 * time.Second
	killTimeout      = 1400 * time.Millisecond
	killGrace        = 300 * time.Millisecond
)

// Pool keeps SSH connections. Its methods are safe for concurrent use.
type Pool struct {
	log                                     *slog.Logger
	dial                                    dialer
	idle, keepalive, answer, killing, grace time.Duration

	ctx  context.Context //nolint:containedctx // ends with Close: connections outlive the call that opened them
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  map[string][]*conn
	freed  chan struct{} // closed and replaced when a channel becomes free
	closed bool
}

// conn is one connection to a target. Fields below mu are Pool.mu's.
type conn struct {
	ready chan struct{} // closed when clients or err are set
	err   error
	// clients are the hops' clients, the target's last.
	clients  []*ssh.Client
	redactor *Redactor
	end      chan struct{} // closed to close it
	kills    chan struct{} // holds one: who may run killCommand

	key     string
	opened  []string // ids of the credentials that it logs in with
	hops    []ops.Target
	used    int
	limit   int  // of used: maxChannels, or what the host allows but for one, which is for killCommand
	dropped bool // takes no new command and closes after the last one
	since   time.Time
}

// NewPool makes an empty pool. [Pool.Close] must be called.
func NewPool(log *slog.Logger) *Pool {
	ctx, stop := context.WithCancel(context.Background())
	d := &net.Dialer{Timeout: loginTimeout, KeepAlive: 15 * time.Second}
	return &Pool{log: log, dial: d.DialContext, idle: idleTimeout, keepalive: keepaliveEvery, answer: keepaliveTimeout, killing: killTimeout, grace: killGrace,
		ctx: ctx, stop: stop, conns: map[string][]*conn{}, freed: make(chan struct{})}
}

// Close closes all connections, under their commands too, and waits.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.wg.Wait()
}

// errNotOpened is a channel that was refused or could not be opened: the
// command was not sent.
var errNotOpened = errors.New("the channel was not opened")

// Ahead is a channel that was opened before it was known whether there will be
// something to run in it. The zero value and nil have none.
type Ahead struct {
	pool   *Pool
	conn   *conn
	opened chan opening // has one
}

type opening struct {
	session *ssh.Session
	err     error
}

// Ahead starts to open a channel to the last of hops, if there is a connection
// already: without one there is a login to do, with a credential to open, and
// that is not done ahead of anything. What it gives may be nil, is for one
// [Pool.Run], and must be closed.
func (p *Pool) Ahead(hops []Hop) *Ahead {
	key := chainKey(hops)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns[key] {
		if p.closed || c.used >= c.limit {
			continue
		}
		select {
		case <-c.ready:
		default:
			continue // it is being made
		}
		if c.err != nil {
			continue
		}
		c.used++
		p.wg.Add(1)
		a := &Ahead{pool: p, conn: c, opened: make(chan opening, 1)}
		p.wg.Go(func() {
			s, err := c.last().NewSession()
			a.opened <- opening{s, err}
		})
		return a
	}
	return nil
}

// Close gives the channel back if it was not used.
func (a *Ahead) Close() {
	if a == nil || a.conn == nil {
		return
	}
	c, opened, p := a.conn, a.opened, a.pool
	a.conn = nil
	p.wg.Go(func() { // the host may take its time
		defer p.release(c)
		if o := <-opened; o.err == nil {
			_ = o.session.Close()
		}
	})
}

// take gives the connection and what opens a channel on it: the one that was
// opened ahead, or a new one on a connection that is acquired for it.
func (p *Pool) take(ctx context.Context, key string, hops []Hop, a *Ahead) (*conn, func() (*ssh.Session, error), error) {
	if a != nil && a.conn != nil {
		c, opened := a.conn, a.opened
		a.conn = nil
		return c, func() (*ssh.Session, error) { o := <-opened; return o.session, o.err }, nil
	}
	c, err := p.acquire(ctx, key, hops)
	if err != nil {
		return nil, nil, err
	}
	return c, c.last().NewSession, nil
}

// Run runs a command on the last of hops, in the channel ahead if there is one. It ends when the command does, or
// when ctx does: then the command is killed and [Outcome.Stopped] says so. An
// error means that the command did not start, or that nobody knows how it ended.
func (p *Pool) Run(ctx context.Context, hops []Hop, ahead *Ahead, command string, to Sink) (Outcome, error) {
	return p.start(ctx, hops, ahead, execution{command: command, to: to})
}

// execution is one command and where its streams go.
type execution struct {
	command string
	to      Sink
	// talk, if it is set, is given standard input and gets what the command
	// prints; it may write a reply. Without it there is no input.
	talk *fileRead
}

func (p *Pool) start(ctx context.Context, hops []Hop, ahead *Ahead, e execution) (Outcome, error) {
	key := chainKey(hops)
	for lost := 0; ; {
		c, open, err := p.take(ctx, key, hops, ahead)
		if err != nil {
			return Outcome{}, err
		}
		out, err := p.run(ctx, c, open, hops[len(hops)-1].Target.Name, e)
		// One that was refused is tried again as long as that makes the connection
		// take fewer at a time: sshd counts those that have just ended, too.
		again := errors.Is(err, errNotOpened) && ctx.Err() == nil
		if again && p.shrink(c, err) {
			lost++
			again = lost < maxTries
		}
		p.release(c)
		if !again {
			return out, err
		}
	}
}

// shrink makes less of a connection that could not open a channel: a host that
// refuses one too many gets fewer at a time, and anything else ends it.
func (p *Pool) shrink(c *conn, err error) (ended bool) {
	p.mu.Lock()
	_, refused := errors.AsType[*ssh.OpenChannelError](err)
	if refused && c.used > 1 {
		c.limit = min(c.limit, max(c.used-2, 1))
		p.mu.Unlock()
		return false
	}
	p.mu.Unlock()
	p.drop(c)
	return true
}

// chainKey is everything that makes a connection this one and no other.
func chainKey(hops []Hop) string {
	var parts []any
	for _, h := range hops {
		parts = append(parts, place(h.Target), h.Credential.ID, h.Credential.Kind, h.Credential.Version)
	}
	b, _ := json.Marshal(parts) // strings and integers always marshal
	return string(b)
}

// place is everything of a target that a connection to it depends on.
func place(t ops.Target) []any {
	return []any{t.ID, t.Scheme, t.Address, t.Port, t.Path, t.CA, t.User, t.HostKey, t.Jump}
}

// Place is where a target is and what it is known by: a connection that was made
// for another place of it is not one to this target.
func Place(t ops.Target) string {
	b, _ := json.Marshal(place(t)) // strings and integers always marshal
	return string(b)
}

func targets(hops []Hop) []ops.Target {
	all := make([]ops.Target, len(hops))
	for i, h := range hops {
		all[i] = h.Target
	}
	return all
}

// credentials are the ids of those that hops are logged in to with.
func credentials(hops []Hop) []string {
	ids := make([]string, 0, len(hops))
	for _, h := range hops {
		if h.Credential.ID != "" {
			ids = append(ids, h.Credential.ID)
		}
	}
	return ids
}

// Credentials are the ids of those that connections are logged in with.
func (p *Pool) Credentials() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for _, list := range p.conns {
		for _, c := range list {
			ids = append(ids, c.opened...)
		}
	}
	return ids
}

// Withdraw ends the use of credentials: connections that were logged in with
// one of them take no new command, and close when the last one has ended. It is
// for the caller to stop those.
func (p *Pool) Withdraw(ids []string) {
	p.dropAll(func(c *conn) bool {
		return slices.ContainsFunc(c.opened, func(id string) bool { return slices.Contains(ids, id) })
	})
}

// Targets are the ids of those that connections lead to or through.
func (p *Pool) Targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for _, list := range p.conns {
		for _, c := range list {
			for _, t := range c.hops {
				ids = append(ids, t.ID)
			}
		}
	}
	return ids
}

// Keep drops connections to or through one of the targets asked about that is
// not at one of the places any more, as [Pool.Withdraw] does.
func (p *Pool) Keep(asked, places []string) {
	p.dropAll(func(c *conn) bool {
		return slices.ContainsFunc(c.hops, func(t ops.Target) bool { return slices.Contains(asked, t.ID) && !slices.Contains(places, Place(t)) })
	})
}

func (p *Pool) dropAll(ended func(*conn) bool) {
	p.mu.Lock()
	var gone []*conn
	for _, list := range p.conns {
		for _, c := range list {
			if ended(c) {
				gone = append(gone, c)
			}
		}
	}
	p.mu.Unlock()
	for _, c := range gone {
		p.drop(c)
	}
}

// acquire gives a connection with a free channel, which is the caller's until release.
func (p *Pool) acquire(ctx context.Context, key string, hops []Hop) (*conn, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, ops.Errorf(ops.CodeUnavailable, "the gateway is stopping")
		}
		var c *conn
		for _, have := range p.conns[key] {
			if have.used < have.limit && (c == nil || have.used < c.used) {
				c = have
			}
		}
		if c == nil && len(p.conns[key]) < maxConns {
			c = &conn{key: key, opened: credentials(hops), hops: targets(hops), limit: maxChannels,
				ready: make(chan struct{}), end: make(chan struct{}), kills: make(chan struct{}, 1)}
			p.conns[key] = append(p.conns[key], c)
			p.wg.Go(func() { p.serve(c, hops) })
		}
		freed := p.freed
		if c != nil {
			c.used++
			p.wg.Add(1)
		}
		p.mu.Unlock()
		if c == nil {
			select {
			case <-freed:
				continue
			case <-ctx.Done():
				return nil, stopped(ctx)
			}
		}
		select {
		case <-c.ready:
			if c.err != nil {
				p.release(c)
				return nil, c.err
			}
			return c, nil
		case <-ctx.Done():
			p.release(c)
			return nil, stopped(ctx)
		}
	}
}

func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "stopped before the command was started: %s", why(cause)), cause)
}

func why(cause error) string {
	if errors.Is(cause, context.DeadlineExceeded) && ops.CodeOf(cause) == ops.CodeInternal {
		return "the time is over"
	}
	return ops.MessageOf(cause)
}

// release gives a channel back.
func (p *Pool) release(c *conn) {
	defer p.wg.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	c.used--
	c.since = time.Now()
	if c.dropped && c.used == 0 {
		close(c.end)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}

// drop takes c out of the pool; it closes when its last command has ended.
func (p *Pool) drop(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.dropped {
		return
	}
	c.dropped = true
	p.conns[c.key] = slices.DeleteFunc(p.conns[c.key], func(have *conn) bool { return have == c })
	if len(p.conns[c.key]) == 0 {
		delete(p.conns, c.key)
	}
	if c.used == 0 {
		close(c.end)
	}
}

// serve opens c and looks after it until it is closed.
func (p *Pool) serve(c *conn, hops []Hop) {
	c.err = p.open(c, hops)
	if c.err != nil {
		p.drop(c)
		close(c.ready)
		return
	}
	p.mu.Lock()
	c.since = time.Now()
	p.mu.Unlock()
	close(c.ready)
	dead := make(chan struct{})
	p.wg.Go(func() {
		_ = c.last().Wait()
		close(dead)
	})
	tick := time.NewTicker(p.keepalive)
	defer tick.Stop()
	defer func() {
		p.drop(c)
		c.close()
		<-dead
	}()
	for {
		select {
		case <-dead:
			return
		case <-c.end:
			return
		case <-p.ctx.Done():
			return
		case <-tick.C:
			p.mu.Lock()
			idle := c.used == 0 && time.Since(c.since) >= p.idle
			p.mu.Unlock()
			if idle {
				return
			}
			if !p.alive(c) {
				p.log.Warn("an SSH connection does not answer", "target", hops[len(hops)-1].Target.Name)
				return
			}
		}
	}
}

// open connects through all hops.
func (p *Pool) open(c *conn, hops []Hop) (err error) {
	var secrets []ops.Secret
	if c.clients, secrets, err = logins(p.ctx, p.dial, hops); err != nil {
		return err
	}
	c.redactor = NewRedactor(secrets...)
	return nil
}

// logins logs in to all hops, each through the one before, and gives the
// secrets that were opened for it. After an error nothing is open.
func logins(ctx context.Context, dial dialer, hops []Hop) (clients []*ssh.Client, secrets []ops.Secret, err error) {
	for _, hop := range hops {
		client, opened, err := login(ctx, dial, hop)
		if err != nil {
			closeAll(clients)
			return nil, nil, err
		}
		clients, secrets, dial = append(clients, client), append(secrets, opened...), client.DialContext
	}
	return clients, secrets, nil
}

func closeAll(clients []*ssh.Client) {
	for _, client := range slices.Backward(clients) {
		_ = client.Close()
	}
}

func (c *conn) last() *ssh.Client { return c.clients[len(c.clients)-1] }

func (c *conn) close() { closeAll(c.clients) }

// alive asks the host for any answer. A host that is stuck blocks the request
// itself, so the connection is closed under it.
func (p *Pool) alive(c *conn) bool {
	late := time.AfterFunc(p.answer, c.close)
	_, _, err := c.last().SendRequest("keepalive@openssh.com", true, nil)
	return late.Stop() && err == nil
}

// run runs a command on c, in a channel that open opens.
func (p *Pool) run(ctx context.Context, c *conn, open func() (*ssh.Session, error), target string, e execution) (Outcome, error) {
	out := NewOutput(c.redactor, e.to)
	var mu sync.Mutex // over session
	var session *ssh.Session
	marked := rand.Text()
	done := make(chan error, 1)
	p.wg.Go(func() {
		s, err := open()
		if err != nil {
			done <- fmt.Errorf("%w: %w", errNotOpened, err)
			return
		}
		defer func() { _ = s.Close() }()
		// Without Stdin it is at its end from the start.
		s.Stdout, s.Stderr = out.stdout(), out.stderr()
		if e.talk != nil {
			in, err := s.StdinPipe()
			if err != nil {
				done <- fmt.Errorf("%w: %w", errNotOpened, err)
				return
			}
			s.Stdout = e.talk.begin(in, c.redactor)
		}
		if err := mark(s, marked); err != nil {
			done <- fmt.Errorf("%w: %w", errNotOpened, err)
			return
		}
		// Under mu, so that no signal overtakes the start.
		mu.Lock()
		if ctx.Err() != nil {
			mu.Unlock()
			done <- errNotOpened
			return
		}
		session, err = s, s.Start(e.command)
		mu.Unlock()
		if err != nil {
			done <- fmt.Errorf("start: %w", err)
			return
		}
		if e.talk != nil {
			e.talk.ask()
		}
		done <- s.Wait()
	})
	select {
	case err := <-done:
		return outcome(out, target, err)
	case <-ctx.Done():
	}
	// Kill, signal, then hang up, then leave it to the keepalive to find out.
	reason := why(context.Cause(ctx))
	says := p.kill(c, marked)
	var end error
	act := func(do func(*ssh.Session)) bool {
		p.wg.Go(func() {
			mu.Lock()
			s := session
			mu.Unlock()
			if s != nil {
				do(s)
			}
		})
		select {
		case end = <-done:
			return true
		case <-time.After(p.grace):
			return false
		}
	}
	ended := act(func(s *ssh.Session) { _ = s.Signal(ssh.SIGKILL) })
	if !ended && !act(func(s *ssh.Session) { _ = s.Close() }) {
		p.drop(c)
	}
	switch {
	case errors.Is(end, errNotOpened):
		reason += "; it had not been started"
	case says == saysKilled, says == saysNone && ended:
	default:
		// That the command's shell ended, or the channel, says nothing of the rest.
		reason += "; the host did not confirm that it was killed"
	}
	o := out.Close()
	o.Stopped = reason
	return o, nil
}

func outcome(out *Output, target string, err error) (Outcome, error) {
	o := out.Close()
	code := 0
	exit, ended := errors.AsType[*ssh.ExitError](err)
	switch {
	case err == nil:
	case ended:
		code = exit.ExitStatus()
		if exit.Signal() != "" {
			o.Text += fmt.Sprintf("\n[ended by signal %.16q]\n", exit.Signal())
		}
	case errors.Is(err, errNotOpened):
		return Outcome{}, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s opens no channel for a command", target), err)
	default:
		// It may have run, in part or whole: what came is kept and said.
		o.Stopped = "the connection to " + target + " was lost; whether the command ended is not known"
		return o, nil
	}
	o.ExitCode = &code
	return o, nil
}
