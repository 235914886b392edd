package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

const (
	// flushEvery is the shortest time between two looks at the outboxes: an event
	// after a pause goes out at once, a stream of them in batches.
	flushEvery = 5 * time.Millisecond
	// welcomeWait is how long the api may take to answer hello.
	welcomeWait = 10 * time.Second
)

// session is one connection to the api: one goroutine handles what comes, one
// sends what the outboxes hold.
type session struct {
	agent    *Agent
	conn     *wire.Conn
	start    func(wire.Task) error
	welcomed chan struct{}
	lease    time.Duration // set before welcomed is closed
	draining atomic.Bool
	taken    atomic.Bool // a task has come since the last ready
}

// converse dials and talks until the connection ends, which is always an error.
func (a *Agent) converse(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, welcomeWait)
	conn, err := wire.Dial(dial, a.cfg.APIURL, a.cfg.WorkerToken)
	cancel()
	if err != nil {
		return err
	}
	// Runs live on when the connection ends.
	s := &session{agent: a, conn: conn, welcomed: make(chan struct{}),
		start: func(t wire.Task) error { return a.start(ctx, t) }}
	talking, stop := context.WithCancelCause(ctx)
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		stop(s.talk(talking))
	}()
	err = conn.Run(talking, s.handle)
	stop(err)
	<-talked
	a.welcome(false)
	return err
}

// talk says hello and, once welcome, sends until the connection ends.
func (s *session) talk(ctx context.Context) error {
	runs, _ := s.agent.held()
	hello := &wire.Hello{Version: wire.Version, Worker: s.agent.id, Build: ops.Version(), Slots: s.agent.cfg.Slots}
	for _, r := range runs {
		hello.Runs = append(hello.Runs, r.ref)
	}
	if err := s.conn.Send(ctx, wire.Frame{Hello: hello}); err != nil {
		return err
	}
	timer := time.NewTimer(welcomeWait)
	defer timer.Stop()
	select {
	case <-s.welcomed:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errors.New("the api did not answer hello")
	}
	s.agent.cfg.Log.Info("connected to the api", "api", s.agent.cfg.APIURL, "worker", s.agent.id, "held", len(runs))
	s.agent.welcome(true)
	return s.send(ctx)
}

// send looks at the outboxes whenever something has changed, at most every
// flushEvery, and keeps the leases.
func (s *session) send(ctx context.Context) error {
	beat := time.NewTicker(max(s.lease/3, 100*time.Millisecond))
	defer beat.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	asked := -1 // what the last ready said
	for {
		taken := s.taken.Swap(false)
		runs, free := s.agent.held()
		for _, r := range runs {
			asks := r.asks.unsent() // behind the events that were there
			for {
				events := r.out.batch()
				if len(events) == 0 {
					break
				}
				if err := s.conn.Send(ctx, wire.Frame{Events: &wire.Events{RunRef: r.ref, Events: events}}); err != nil {
					return err
				}
			}
			for _, ask := range asks {
				if err := s.conn.Send(ctx, wire.Frame{Ask: &ask}); err != nil {
					return err
				}
			}
		}
		for _, r := range runs {
			for _, f := range r.errands.due() {
				if err := s.conn.Send(ctx, wire.Frame{Delegate: &f}); err != nil {
					return err
				}
			}
		}
		for _, f := range s.agent.library.unasked(s) {
			if err := s.conn.Send(ctx, wire.Frame{Fetch: f}); err != nil {
				return err
			}
		}
		if s.draining.Load() {
			free = 0
		}
		if taken || free != asked { // also when as many are free as before
			if err := s.conn.Send(ctx, wire.Frame{Ready: &wire.Ready{Free: free}}); err != nil {
				return err
			}
			asked = free
		}
		pause.Reset(flushEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-s.agent.changed:
		case <-beat.C:
			if err := s.heartbeat(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session) heartbeat(ctx context.Context) error {
	runs, _ := s.agent.held()
	if len(runs) == 0 {
		return nil
	}
	var beat wire.Heartbeat
	for _, r := range runs {
		beat.Runs = append(beat.Runs, r.ref)
	}
	return s.conn.Send(ctx, wire.Frame{Heartbeat: &beat})
}

// handle takes one frame of the api. It never blocks.
func (s *session) handle(_ context.Context, f wire.Frame) error {
	select {
	case <-s.welcomed:
	default:
		if f.Welcome == nil {
			return &wire.CloseError{Code: wire.CloseProtocol, Reason: "welcome expected"}
		}
	}
	switch {
	case f.Welcome != nil:
		return s.welcome(f.Welcome)
	case f.Task != nil:
		if f.Task.Asked == nil {
			s.taken.Store(true)
		}
		defer s.agent.wake()
		return s.start(*f.Task)
	case f.Ack != nil:
		return s.ack(*f.Ack)
	case f.Cancel != nil:
		r := s.agent.find(f.Cancel.RunRef)
		switch {
		case r == nil:
		case f.Cancel.Lost:
			r.log.Warn("the run is lost", "reason", f.Cancel.Reason)
			s.agent.forget(r, errLost)
		default:
			r.cancel(cancelled{f.Cancel.Reason})
		}
		return nil
	case f.Message != nil:
		if r := s.agent.find(f.Message.RunRef); r != nil {
			r.inbox.add(f.Message.Message)
		}
		return nil
	case f.Conclude != nil:
		if r := s.agent.find(f.Conclude.RunRef); r != nil {
			r.inbox.conclude(f.Conclude.Reason)
		}
		return nil
	case f.Decision != nil:
		if r := s.agent.find(f.Decision.RunRef); r != nil {
			r.asks.decide(*f.Decision)
		}
		return nil
	case f.Delegated != nil:
		if r := s.agent.find(f.Delegated.RunRef); r != nil {
			r.errands.done(f.Delegated.Call, f.Delegated.Result)
		}
		return nil
	case f.Bundle != nil:
		s.agent.library.deliver(f.Bundle)
		return nil
	case f.Drain != nil:
		s.agent.cfg.Log.Info("the api drains", "reason", f.Drain.Reason)
		s.draining.Store(true)
		s.agent.wake()
		return nil
	}
	return &wire.CloseError{Code: wire.CloseProtocol, Reason: "a frame that only workers send"}
}

// welcome goes on with the runs that are still ours, from what the api has
// stored, and drops the others.
func (s *session) welcome(w *wire.Welcome) error {
	select {
	case <-s.welcomed:
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "second welcome"}
	default:
	}
	if w.Version != wire.Version {
		return &wire.CloseError{Code: wire.CloseVersion, Reason: fmt.Sprintf("version %d, want %d", w.Version, wire.Version)}
	}
	ours := map[wire.RunRef]int64{}
	for _, ack := range w.Acked {
		ours[ack.RunRef] = ack.Seq
	}
	runs, _ := s.agent.held()
	for _, r := range runs {
		seq, ok := ours[r.ref]
		if !ok {
			r.log.Warn("the run was given to another worker")
			s.agent.forget(r, errLost)
			continue
		}
		r.out.rewind()
		r.asks.rewind()
		r.errands.again()
		if err := s.ack(wire.Ack{RunRef: r.ref, Seq: seq}); err != nil {
			return err
		}
	}
	s.lease = w.Lease
	close(s.welcomed)
	return nil
}

// ack forgets what is stored, and the run itself when that was its end.
func (s *session) ack(ack wire.Ack) error {
	r := s.agent.find(ack.RunRef)
	if r == nil {
		return nil // forgotten meanwhile
	}
	over, ok := r.out.ack(ack.Seq)
	if !ok {
		r.log.Error("the api acks events that were never sent", "seq", ack.Seq)
		s.agent.forget(r, errLost)
		return nil
	}
	if over {
		s.agent.forget(r, nil)
	}
	return nil
}
