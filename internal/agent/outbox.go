package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

// Bounds of one outbox, and of one frame out of it.
const (
	outboxEvents = 2048
	outboxBytes  = 8 << 20
	frameBytes   = 4 << 20
	// maxEvent is of the data of one event, which has a frame of its own if it must.
	maxEvent = wire.MaxFrame - 4<<10
)

var errOutboxClosed = errors.New("the run's events are no longer wanted")

// outbox numbers a run's events and keeps them until the api has stored them.
type outbox struct {
	wake func() // something is there to be sent

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every ack and at the end
	events  []ops.Event   // not acked, in order
	bytes   int
	next    int64 // number of the next event
	sent    int   // how many of events are sent on this connection
	final   bool  // the run's end or its parking is in it, or was
	closed  bool
}

func newOutbox(next int64, wake func()) *outbox {
	return &outbox{wake: wake, changed: make(chan struct{}), next: max(1, next)}
}

// add numbers e and queues it. It blocks while the outbox is full. last is put
// in even so: a run must be able to end. An event that no frame can hold is
// refused, which ends the run: it would end each connection that it is sent on,
// and with it all other runs of the worker.
func (o *outbox) add(ctx context.Context, e ops.Event, last bool) (int64, error) {
	if len(e.Data) > maxEvent {
		return 0, ops.Errorf(ops.CodeInvalid, "the run has made an event (%s) of %d bytes, more than the api takes", e.Kind, len(e.Data))
	}
	for {
		o.mu.Lock()
		if o.closed {
			o.mu.Unlock()
			return 0, errOutboxClosed
		}
		if last || (len(o.events) < outboxEvents && o.bytes < outboxBytes) {
			e.RunSeq = o.next
			o.next++
			o.events = append(o.events, e)
			o.bytes += len(e.Data)
			o.final = o.final || e.Kind == ops.EventRunEnded || e.Kind == ops.EventRunParked
			o.mu.Unlock()
			o.wake()
			return e.RunSeq, nil
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// stored waits until the api has everything up to seq.
func (o *outbox) stored(ctx context.Context, seq int64) error {
	for {
		o.mu.Lock()
		done, closed, changed := o.next-int64(len(o.events)) > seq, o.closed, o.changed
		o.mu.Unlock()
		if done {
			return nil
		}
		if closed {
			return errOutboxClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ack forgets what is stored. over says that this was the run's end; ok is false
// if the api claims more than there was.
func (o *outbox) ack(seq int64) (over, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq >= o.next {
		return false, false
	}
	n := int(seq - (o.next - int64(len(o.events))) + 1)
	if n <= 0 {
		return o.final && len(o.events) == 0, true // an old ack
	}
	for _, e := range o.events[:n] {
		o.bytes -= len(e.Data)
	}
	rest := make([]ops.Event, len(o.events)-n)
	copy(rest, o.events[n:])
	o.events = rest
	o.sent = max(0, o.sent-n)
	close(o.changed)
	o.changed = make(chan struct{})
	return o.final && len(o.events) == 0, true
}

// rewind makes everything that is not acked be sent again.
func (o *outbox) rewind() {
	o.mu.Lock()
	o.sent = 0
	o.mu.Unlock()
}

// batch takes the next events to be sent, as many as fit a frame.
func (o *outbox) batch() []ops.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []ops.Event
	size := 0
	for _, e := range o.events[o.sent:] {
		if len(out) == wire.MaxBatch || (len(out) > 0 && size+len(e.Data) > frameBytes) {
			break
		}
		size += len(e.Data)
		out = append(out, e)
	}
	o.sent += len(out)
	return out
}

// close ends all waiting; what is left is dropped.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.events, o.bytes, o.sent = true, nil, 0, 0
		close(o.changed)
		o.changed = make(chan struct{})
	}
}

// storedAll waits until nothing is left.
func (o *outbox) storedAll(ctx context.Context) error {
	o.mu.Lock()
	last := o.next - 1
	o.mu.Unlock()
	return o.stored(ctx, last)
}
