// Package dispatch is the api's side of its workers: who is connected, who gets
// the next run, and what becomes of a run whose worker is gone. All state that
// matters is in Postgres; a dispatcher may be killed at any moment, and several
// replicas work on one database without knowing of each other.
//
// # Invariants
//
//   - A run has at most one worker: it is claimed by one statement, and every
//     later word about it names the epoch of the claim. An older epoch is
//     answered with "lost", whatever it says.
//   - An ack is sent after the commit that it speaks of.
//   - Run tokens are made at the claim; only their hashes are stored.
//   - A call in a run's own folder that people have allowed is given to one claim,
//     which is written down first (asks.go). The worker only says which call: who
//     asks, the risk and the rules are found out here, and what the rules deny is
//     not asked.
//   - A worker is never given more runs than it has slots, however often it
//     says that it is ready. A run that one of its runs asks for takes no slot, so
//     that workers whose slots are all taken do not wait for each other; how many
//     these can be is bounded by [ops.MaxChildren] and [ops.MaxTree].
//
// # Wake-ups
//
// NOTIFY is a hint, and once a second everything is looked at anyway: waiting
// runs, expired leases, requests to cancel, what people said to runs. A hint wakes one worker with a free
// slot; when it has claimed, it wakes the next. So a waiting run costs about
// one query, not one for each worker.
//
// # Failure and limits
//
// Each connection has its own goroutines and its own queue (wire.SendQueue
// frames). A worker that does not read is skipped while a frame waits for it
// and is dropped after wire's write timeout; nobody else waits for it. A worker
// that sends faster than Postgres stores is slowed down by not being read.
//
// When a connection ends, the leases of its worker are cut to a grace of 5/12
// of the lease: longer than the time between two heartbeats, so that a cut that
// comes late, after the worker has found another replica, is repaired by it in
// time. When Postgres is away, connections that need it are closed and the
// workers, which keep what was not acked, dial again; expired leases are left
// alone for one grace after Postgres is back and after a start, so that workers
// that live can say so first.
package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
)

// DefaultLease is how long a run stays with a worker that is silent.
const DefaultLease = 12 * time.Second

const (
	pollEvery   = time.Second
	drainFor    = time.Second      // between the drain frame and the end of a connection
	helloWithin = 10 * time.Second // of the upgrade
	dbTimeout   = 10 * time.Second
	maxWorkers  = 1000
	maxSlots    = 256 // of one worker
)

// runTimeout bounds an attempt whose agent names no duration.
func runTimeout() time.Duration { return ops.Limits{}.OrDefault().Duration + time.Minute }

// Config says what a dispatcher needs; all fields but Lease are required.
type Config struct {
	DB          *postgres.DB
	WorkerToken ops.Secret
	// GatewayURL and ProxyURL are what agents reach those processes by.
	GatewayURL, ProxyURL string
	Lease                time.Duration // 0 means DefaultLease
	Metrics              prometheus.Registerer
	Log                  *slog.Logger
}

// Dispatcher hands runs to workers.
type Dispatcher struct {
	db                   *postgres.DB
	token                ops.Secret
	gatewayURL, proxyURL string
	lease, grace         time.Duration
	metrics              *metrics
	log                  *slog.Logger
	cancels              chan struct{} // somebody asked for the end of a run
	said                 chan struct{} // somebody said something to one
	decided              chan struct{} // an approval may be

	mu       sync.Mutex
	closed   bool
	pending  int        // connections that have not said hello
	sessions []*session // that have
	next     int        // where wakeOne looks first
	ended    sync.WaitGroup
}

// New checks c.
func New(c Config) (*Dispatcher, error) {
	var errs []error
	if c.WorkerToken.Empty() {
		errs = append(errs, errors.New("dispatch: the worker token is empty"))
	}
	if c.GatewayURL == "" || c.ProxyURL == "" {
		errs = append(errs, errors.New("dispatch: the gateway's and the proxy's URL are required"))
	}
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.Lease < 100*time.Millisecond {
		errs = append(errs, errors.New("dispatch: the lease is too short"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Dispatcher{
		db: c.DB, token: c.WorkerToken, gatewayURL: c.GatewayURL, proxyURL: strings.TrimSuffix(c.ProxyURL, "/"),
		lease: c.Lease, grace: c.Lease * 5 / 12, metrics: newMetrics(c.Metrics), log: c.Log,
		cancels: make(chan struct{}, 1), said: make(chan struct{}, 1), decided: make(chan struct{}, 1),
	}, nil
}

// Run works until ctx ends; then it sends every worker a drain, closes the
// connections and waits for their handlers.
func (d *Dispatcher) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return d.db.Listen(gctx, []string{postgres.ChannelRuns, postgres.ChannelCancel, postgres.ChannelSaid, postgres.ChannelApprovals}, func(channel, _ string) {
			switch channel {
			case postgres.ChannelCancel:
				poke(d.cancels)
			case postgres.ChannelSaid:
				poke(d.said)
			case postgres.ChannelApprovals:
				poke(d.decided)
			default:
				d.wakeOne()
			}
		})
	})
	g.Go(func() error { return d.poll(gctx) })
	g.Go(func() error { return d.requeue(gctx) })
	err := g.Wait()
	d.drain()
	return err
}

// poll looks once a second, or when poked, for what a hint may have missed.
func (d *Dispatcher) poll(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.cancels:
			d.pushCancels(ctx)
		case <-d.said:
			d.pushMessages(ctx)
		case <-d.decided:
			d.pushDecisions(ctx)
		case <-tick.C:
			d.wakeOne()
			d.depth(ctx)
			d.pushCancels(ctx)
			d.pushMessages(ctx)
			d.pushDecisions(ctx)
		}
	}
}

// requeue takes runs from workers that are gone.
func (d *Dispatcher) requeue(ctx context.Context) error {
	wait := d.grace
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(pollEvery, d.grace)
		n, err := d.db.RequeueExpired(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.Warn("expired leases were not looked at", "err", err)
			wait = d.grace
		}
		if n > 0 {
			d.metrics.requeued.Add(float64(n))
			d.log.Info("runs were taken from workers that are gone", "runs", n)
		}
	}
}

func (d *Dispatcher) depth(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	if queued, running, err := d.db.QueueDepth(ctx); err == nil {
		d.metrics.queued.Set(float64(queued))
		d.metrics.running.Set(float64(running))
	}
}

// pushCancels tells workers which of their runs somebody wants to end.
func (d *Dispatcher) pushCancels(ctx context.Context) {
	push(ctx, d, "requests to cancel were not looked at", d.db.Cancelled, (*session).cancel)
}

// pushMessages hands workers what people have said to their runs.
func (d *Dispatcher) pushMessages(ctx context.Context) {
	push(ctx, d, "what people said to runs was not looked at", d.db.Unread, (*session).say)
}

// push asks the database about all runs of connected workers and gives each
// worker the answers. What could not be asked is asked again at the next tick.
func push[T any](ctx context.Context, d *Dispatcher, failed string, ask func(context.Context, []string) (map[string]T, error), tell func(*session, map[string]T)) {
	var runs []string
	sessions := d.all()
	for _, s := range sessions {
		runs = append(runs, s.runs()...)
	}
	if len(runs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	answers, err := ask(ctx, runs)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn(failed, "err", err)
		}
		return
	}
	for _, s := range sessions {
		tell(s, answers)
	}
}

func (d *Dispatcher) all() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sessions)
}

// Workers are those that are connected, by their names.
func (d *Dispatcher) Workers() []ops.WorkerState {
	var all []ops.WorkerState
	for _, s := range d.all() {
		all = append(all, ops.WorkerState{Name: strings.ToValidUTF8(s.worker, "?"), Build: strings.ToValidUTF8(strings.ReplaceAll(s.build, "\x00", ""), "?"),
			Slots: s.slots, Runs: len(s.runs())})
	}
	slices.SortFunc(all, func(a, b ops.WorkerState) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// wakeOne lets one worker with a free slot look for a run.
func (d *Dispatcher) wakeOne() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.sessions {
		at := (d.next + i) % len(d.sessions)
		if d.sessions[at].room() {
			d.next = at + 1
			poke(d.sessions[at].wake)
			return
		}
	}
}

// ServeHTTP accepts a worker, and returns when its connection has ended.
func (d *Dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !d.token.Equal(ops.NewSecret(bearer)) {
		d.metrics.rejected.WithLabelValues("token").Inc()
		d.log.Warn("a worker was refused: wrong worker token", "remote", r.RemoteAddr)
		http.Error(w, "wrong worker token", http.StatusUnauthorized)
		return
	}
	if !d.enter() {
		d.metrics.rejected.WithLabelValues("full").Inc()
		w.Header().Set("Retry-After", "1")
		http.Error(w, "no more workers now", http.StatusServiceUnavailable)
		return
	}
	defer d.ended.Done()
	conn, err := wire.Accept(w, r)
	if err != nil {
		d.leave(nil)
		d.log.Info("a worker's connection was not upgraded", "remote", r.RemoteAddr, "err", err)
		return
	}
	s := newSession(d, conn, d.log.With("remote", r.RemoteAddr))
	// The request ends with the server, but the connection ends with a drain.
	err = s.run(context.WithoutCancel(r.Context()))
	if d.leave(s) {
		s.shorten()
	}
	s.log.Info("a worker's connection has ended", "err", err)
}

func (d *Dispatcher) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.sessions)+d.pending >= maxWorkers {
		return false
	}
	d.pending++
	d.ended.Add(1)
	return true
}

// greet makes s one of those that get runs. An older connection of the same
// worker is dead, even if nobody noticed yet.
func (d *Dispatcher) greet(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending--
	for i, old := range d.sessions {
		if old.worker == s.worker {
			d.sessions = slices.Delete(d.sessions, i, i+1)
			old.stop(errReplaced)
			break
		}
	}
	d.sessions = append(d.sessions, s)
	d.metrics.workers.Set(float64(len(d.sessions)))
	if d.closed {
		s.drain()
	}
}

// leave forgets s. It says whether the leases of its worker are to be cut: not
// if it never said hello, has another connection, or was sent away by us.
func (d *Dispatcher) leave(s *session) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s == nil || !s.greeted() {
		d.pending--
		return false
	}
	i := slices.Index(d.sessions, s)
	if i < 0 {
		return false
	}
	d.sessions = slices.Delete(d.sessions, i, i+1)
	d.metrics.workers.Set(float64(len(d.sessions)))
	return !d.closed
}

func (d *Dispatcher) drain() {
	d.mu.Lock()
	d.closed = true
	for _, s := range d.sessions {
		s.drain()
	}
	d.mu.Unlock()
	done := make(chan struct{})
	go func() { d.ended.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-time.After(drainFor):
	}
	for _, s := range d.all() {
		s.stop(errDrained)
	}
	<-done
}

// poke wakes whoever waits on c, now or when it next looks.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
