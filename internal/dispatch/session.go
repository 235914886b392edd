package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
)

var (
	errReplaced = errors.New("the worker has opened another connection")
	errDrained  = errors.New("the api is stopping")
	errSilent   = errors.New("the worker has not said hello in time")
)

// session is one worker's connection. Its reader (receive, called by wire)
// answers what the worker says; its sender (send) claims runs and passes on
// cancels. They share what is under mu.
type session struct {
	d    *Dispatcher
	conn *wire.Conn
	log  *slog.Logger
	wake chan struct{} // something to do for send

	hello  chan struct{} // closed when the fields below are set
	worker string
	build  string
	slots  int

	mu       sync.Mutex
	end      context.CancelCauseFunc
	free     int // as the worker said last, less what it was given since
	held     map[string]hold
	news     []wire.Frame        // to be sent
	asks     map[string]wire.Ask // that wait for people, by approval
	due      []wire.Ask          // that they have decided
	draining bool
	sending  bool // a task waits for a place in the queue
}

// hold is a run that the worker has, as far as we know.
type hold struct {
	epoch     int
	since     time.Time
	cancelled bool
	child     bool  // another run has asked for it: it takes no slot
	told      bool  // to conclude
	said      int64 // the number of the newest message that it was sent
}

func newSession(d *Dispatcher, conn *wire.Conn, log *slog.Logger) *session {
	return &session{d: d, conn: conn, log: log, wake: make(chan struct{}, 1), hello: make(chan struct{}), held: map[string]hold{}, asks: map[string]wire.Ask{}}
}

func (s *session) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s.mu.Lock()
	s.end = end
	s.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.conn.Run(ctx, s.receive) })
	g.Go(func() error { return s.send(ctx) })
	return g.Wait()
}

// stop ends the connection.
func (s *session) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(why)
}

func (s *session) greeted() bool {
	select {
	case <-s.hello:
		return true
	default:
		return false
	}
}

// receive answers one frame. An error ends the connection.
func (s *session) receive(ctx context.Context, f wire.Frame) error {
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	if f.Hello != nil {
		return s.welcome(ctx, *f.Hello)
	}
	if !s.greeted() {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "hello comes first"}
	}
	switch {
	case f.Ready != nil:
		s.ready(f.Ready.Free)
		return nil
	case f.Events != nil:
		return s.store(ctx, *f.Events)
	case f.Heartbeat != nil:
		return s.renew(ctx, f.Heartbeat.Runs)
	case f.Ask != nil:
		return s.ask(ctx, *f.Ask)
	case f.Delegate != nil:
		return s.delegate(ctx, *f.Delegate)
	case f.Fetch != nil:
		return s.bundle(ctx, *f.Fetch)
	}
	return &wire.CloseError{Code: wire.CloseProtocol, Reason: "not a frame that a worker sends"}
}

func (s *session) welcome(ctx context.Context, h wire.Hello) error {
	if h.Version != wire.Version {
		s.d.metrics.rejected.WithLabelValues("version").Inc()
		s.log.Warn("a worker was refused: it speaks another version of the protocol", "worker", clip(h.Worker),
			"build", clip(h.Build), "version", h.Version, "want", wire.Version)
		return &wire.CloseError{Code: wire.CloseVersion,
			Reason: fmt.Sprintf("the api speaks version %d and the worker %d: update both together", wire.Version, h.Version)}
	}
	if s.greeted() || h.Worker == "" || len(h.Worker) > 128 || strings.ContainsRune(h.Worker, 0) ||
		h.Slots < 1 || h.Slots > maxSlots || !validRuns(h.Runs) {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "malformed hello"}
	}
	stored, err := s.d.db.Renew(ctx, claims(h.Worker, h.Runs), s.d.lease)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	w := wire.Welcome{Version: wire.Version, Lease: s.d.lease}
	var lost []wire.RunRef
	for _, r := range h.Runs {
		if one, ok := stored[r.Run]; ok {
			w.Acked = append(w.Acked, wire.Ack{RunRef: r, Seq: one.Acked})
			s.held[r.Run] = hold{epoch: r.Epoch, since: time.Now(), child: one.Child}
		} else {
			lost = append(lost, r)
		}
	}
	s.worker, s.build, s.slots = h.Worker, h.Build[:min(len(h.Build), 100)], h.Slots
	s.log = s.log.With("worker", clip(h.Worker))
	close(s.hello)
	s.d.greet(s)
	s.log.Info("a worker is connected", "build", clip(h.Build), "slots", h.Slots, "runs", len(w.Acked), "lost", len(lost))
	if err := s.conn.Send(ctx, wire.Frame{Welcome: &w}); err != nil {
		return err
	}
	return s.lost(ctx, lost)
}

// ready takes the worker's word for what it would take, up to its slots.
func (s *session) ready(free int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = max(0, min(free, s.slots))
	poke(s.wake)
}

func (s *session) store(ctx context.Context, e wire.Events) error {
	if !validRuns([]wire.RunRef{e.RunRef}) || len(e.Events) == 0 || len(e.Events) > wire.MaxBatch {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "malformed events"}
	}
	ended, spent := false, false
	for i := range e.Events {
		if y := e.Events[i].At.Year(); y < 2000 || y > 9999 { // a worker without a clock
			e.Events[i].At = time.Now().UTC()
		}
		ended = ended || e.Events[i].Kind == ops.EventRunEnded || e.Events[i].Kind == ops.EventRunParked
		spent = spent || e.Events[i].Kind == ops.EventMessage || e.Events[i].Kind == ops.EventCompaction
	}
	acked, err := s.d.db.StoreEvents(ctx, postgres.RunClaim{Run: e.Run, Worker: s.worker, Epoch: e.Epoch}, e.Events)
	switch ops.CodeOf(err) {
	case "":
	case ops.CodeConflict, ops.CodeNotFound:
		return s.lost(ctx, []wire.RunRef{e.RunRef})
	case ops.CodeUnavailable:
		return fmt.Errorf("store events of run %s: %w", e.Run, err)
	default:
		if ctx.Err() != nil {
			return fmt.Errorf("store events of run %s: %w", e.Run, err)
		}
		// Sent again, they would be refused again: the run cannot go on here.
		// Other runs of the worker can.
		s.log.Error("events of a run were refused", "run", e.Run, "err", err)
		return s.lost(ctx, []wire.RunRef{e.RunRef})
	}
	s.d.metrics.events.Add(float64(len(e.Events)))
	if ended {
		s.forget(e.RunRef)
	}
	err = s.conn.Send(ctx, wire.Frame{Ack: &wire.Ack{RunRef: e.RunRef, Seq: acked}})
	if spent && !ended {
		s.budget(ctx, e.Run)
	}
	return err
}

// bundle sends the files of a skill that the agent of a run was given, for a run
// that the worker holds. A problem is the answer: the run goes on without the skill.
func (s *session) bundle(ctx context.Context, f wire.Fetch) error {
	if !validRuns([]wire.RunRef{f.RunRef}) || !ops.ValidGuideName(f.Skill) || f.Version < 1 || f.Version > 1<<30 || len(f.Digest) > 100 || strings.ContainsRune(f.Digest, 0) {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "malformed fetch"}
	}
	answer := &wire.Bundle{RunRef: f.RunRef, Digest: f.Digest}
	s.mu.Lock()
	h, ok := s.held[f.Run]
	s.mu.Unlock()
	if !ok || h.epoch != f.Epoch {
		answer.Problem = "the run is not this worker's"
		return s.conn.Send(ctx, wire.Frame{Bundle: answer})
	}
	files, err := s.d.db.SkillBundle(ctx, f.Run, f.Skill, f.Version, f.Digest)
	switch {
	case err == nil:
		answer.Files = files
	case ops.CodeOf(err) == ops.CodeNotFound, ops.CodeOf(err) == ops.CodeForbidden:
		answer.Problem = ops.MessageOf(err)
	default:
		s.log.Warn("a skill was not read", "skill", f.Skill, "version", f.Version, "err", err)
		answer.Problem = "the api could not read it"
	}
	return s.conn.Send(ctx, wire.Frame{Bundle: answer})
}

func (s *session) renew(ctx context.Context, runs []wire.RunRef) error {
	if !validRuns(runs) {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "malformed heartbeat"}
	}
	stored, err := s.d.db.Renew(ctx, claims(s.worker, runs), s.d.lease)
	if err != nil {
		return fmt.Errorf("renew leases: %w", err)
	}
	named := make(map[string]bool, len(runs))
	var lost []wire.RunRef
	for _, r := range runs {
		named[r.Run] = true
		if _, ok := stored[r.Run]; !ok {
			lost = append(lost, r)
		}
	}
	s.mu.Lock()
	for run, h := range s.held { // given, but the worker knows nothing of it: its lease ends
		if !named[run] && time.Since(h.since) > s.d.lease {
			delete(s.held, run)
		}
	}
	s.mu.Unlock()
	return s.lost(ctx, lost)
}

// lost tells the worker to forget runs.
func (s *session) lost(ctx context.Context, runs []wire.RunRef) error {
	for _, r := range runs {
		s.forget(r)
		s.d.metrics.lost.Inc()
		s.log.Warn("a worker has lost a run", "run", r.Run, "epoch", r.Epoch)
		err := s.conn.Send(ctx, wire.Frame{Cancel: &wire.Cancel{RunRef: r, Lost: true, Reason: "the run belongs to another worker or has ended"}})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget drops a claim. The worker may have a newer one of the same run, which
// stays.
func (s *session) forget(claim wire.RunRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[claim.Run].epoch == claim.Epoch {
		delete(s.held, claim.Run)
	}
	s.dropAsks(claim)
	poke(s.wake)
}

// room says whether the worker would take a run now.
func (s *session) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := 0
	for _, h := range s.held {
		if !h.child {
			taken++
		}
	}
	return !s.draining && !s.sending && s.free > 0 && taken < s.slots
}

func (s *session) runs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := make([]string, 0, len(s.held))
	for run := range s.held {
		runs = append(runs, run)
	}
	return runs
}

// cancel queues cancels for those of the runs that are here, once each.
func (s *session) cancel(reasons map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for run, h := range s.held {
		if reason, ok := reasons[run]; ok && !h.cancelled {
			h.cancelled = true
			s.held[run] = h
			s.news = append(s.news, wire.Frame{Cancel: &wire.Cancel{RunRef: wire.RunRef{Run: run, Epoch: h.epoch}, Reason: reason}})
			poke(s.wake)
		}
	}
}

// say queues what was said to runs that are here, once each a connection.
func (s *session) say(unread map[string][]ops.RunMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for run, h := range s.held {
		for _, m := range unread[run] {
			if m.Seq > h.said {
				h.said = m.Seq
				s.news = append(s.news, wire.Frame{Message: &wire.Message{RunRef: wire.RunRef{Run: run, Epoch: h.epoch}, Message: m}})
				poke(s.wake)
			}
		}
		s.held[run] = h
	}
}

// budget tells a run to conclude, once, if the budget of the day is used up.
func (s *session) budget(ctx context.Context, run string) {
	reason, err := s.d.db.OverBudget(ctx, run, true)
	if err != nil {
		s.log.Warn("the budget was not looked at", "run", run, "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.held[run]; ok && reason != "" && !h.told {
		h.told = true
		s.held[run] = h
		s.news = append(s.news, wire.Frame{Conclude: &wire.Conclude{RunRef: wire.RunRef{Run: run, Epoch: h.epoch}, Reason: reason}})
		poke(s.wake)
	}
}

func (s *session) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	poke(s.wake)
}

// send claims runs when woken and passes on what others queued.
func (s *session) send(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.hello:
	case <-time.After(helloWithin):
		return errSilent
	}
	drained := false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.wake:
		}
		s.mu.Lock()
		news, due, draining := s.news, s.due, s.draining
		s.news, s.due = nil, nil
		s.mu.Unlock()
		for _, f := range news {
			if err := s.conn.Send(ctx, f); err != nil {
				return err
			}
		}
		for _, a := range due {
			dbctx, cancel := context.WithTimeout(ctx, dbTimeout)
			err := s.ask(dbctx, a)
			cancel()
			if err != nil {
				return err
			}
		}
		if draining && !drained {
			drained = true
			if err := s.conn.Send(ctx, wire.Frame{Drain: &wire.Drain{Reason: errDrained.Error()}}); err != nil {
				return err
			}
		}
		if !s.room() {
			continue
		}
		if err := s.claim(ctx); err != nil {
			return err
		}
	}
}

// claim gives the worker one run, if one waits. An error ends the connection.
func (s *session) claim(ctx context.Context) error {
	gateway, proxy := ops.NewToken(ops.GatewayTokenPrefix), ops.NewToken(ops.ProxyTokenPrefix)
	dbctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	run, err := s.d.db.Claim(dbctx, postgres.ClaimRun{Worker: s.worker, Lease: s.d.lease, Timeout: runTimeout(),
		GatewayTokenHash: ops.HashToken(gateway), ProxyTokenHash: ops.HashToken(proxy)})
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("no run was claimed", "err", err)
		}
		return nil // the next second, or another worker
	}
	if run == nil {
		return nil
	}
	s.mu.Lock()
	s.free--
	h := hold{epoch: run.Run.Epoch, since: time.Now(), told: run.Conclude != ""}
	if n := len(run.Messages); n > 0 {
		h.said = run.Messages[n-1].Seq // with the task
	}
	s.held[run.Run.ID] = h
	s.sending = true
	s.mu.Unlock()
	s.d.wakeOne() // where one waits there may be more
	s.d.metrics.wait.Observe(time.Since(run.Run.CreatedAt).Seconds())
	s.log.Info("a run was given to a worker", "run", run.Run.ID, "epoch", run.Run.Epoch, "incident", run.Incident.Number)
	given, err := s.give(ctx, run, s.d.task(run, gateway, proxy))
	s.mu.Lock()
	s.sending = false
	if !given {
		s.free++
	}
	poke(s.wake)
	s.mu.Unlock()
	return err
}

// give sends a task. A run that no frame can hold ends here: no worker could be
// given it, now or later. An error ends the connection.
func (s *session) give(ctx context.Context, c *postgres.ClaimedRun, t *wire.Task) (given bool, err error) {
	if err = s.conn.Send(ctx, wire.Frame{Task: t}); !errors.Is(err, wire.ErrTooLarge) {
		return err == nil, err
	}
	s.log.Error("a run has failed: no frame can hold what a worker needs for it", "run", t.Run, "err", err)
	defer s.forget(t.RunRef)
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	end := ops.NewEvent(ops.EventRunEnded, ops.RunChange{State: ops.RunFailed, Reason: "what the run has done so far is too large for a worker to go on with"})
	end.RunSeq = t.NextSeq
	_, err = s.d.db.StoreEvents(ctx, postgres.RunClaim{Run: t.Run, Worker: s.worker, Epoch: t.Epoch}, []ops.Event{end})
	if code := ops.CodeOf(err); code == ops.CodeConflict || code == ops.CodeNotFound {
		return false, nil // it has ended meanwhile
	}
	return false, err
}

// shorten lets the worker's runs go to others soon.
func (s *session) shorten() {
	ctx, cancel := context.WithTimeout(context.Background(), dbTimeout)
	defer cancel()
	if err := s.d.db.Shorten(ctx, s.worker, s.d.grace); err != nil {
		s.log.Warn("leases were not cut; they end by themselves", "err", err)
	}
}

func claims(worker string, runs []wire.RunRef) []postgres.RunClaim {
	out := make([]postgres.RunClaim, len(runs))
	for i, r := range runs {
		out[i] = postgres.RunClaim{Run: r.Run, Worker: worker, Epoch: r.Epoch}
	}
	return out
}

func validRuns(runs []wire.RunRef) bool {
	return len(runs) <= 2*maxSlots*(1+ops.MaxTree) && !slices.ContainsFunc(runs, func(r wire.RunRef) bool {
		return !ops.ValidID(r.Run) || r.Epoch < 1 || r.Epoch > 1<<30
	})
}

// clip bounds what a stranger may write into the log.
func clip(s string) string { return s[:min(len(s), 128)] }
