package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// sharedWithin bounds one statement that is shared: it ends with none of those
// who wait for it.
const sharedWithin = 10 * time.Second

// shared answers questions of one kind, by key, for callers that ask at the same
// time: while one statement runs, those who come wait for the next one, together.
// An answer is never older than its question. A single caller pays for nothing
// but its own statement; one that leads a round does its work, so there is no
// goroutine. The zero value is ready.
type shared[V any] struct {
	mu   sync.Mutex
	next *round[V] // is joined; nil if nobody waits
	last *round[V] // the newest that has begun
}

// round is one statement.
type round[V any] struct {
	keys []string
	seen map[string]bool
	done chan struct{} // closed when the rest is set
	all  map[string]V
	err  error
}

// get gives the value of key as find finds it, and whether there is one.
func (s *shared[V]) get(ctx context.Context, key string, find func(ctx context.Context, keys []string) (map[string]V, error)) (v V, ok bool, err error) {
	s.mu.Lock()
	r, before := s.next, s.last
	leads := r == nil
	if leads {
		r = &round[V]{seen: map[string]bool{}, done: make(chan struct{})}
		s.next = r
	}
	if !r.seen[key] {
		r.seen[key] = true
		r.keys = append(r.keys, key)
	}
	s.mu.Unlock()
	if leads {
		s.lead(ctx, r, before, find)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return v, false, ops.Errorf(ops.CodeUnavailable, "nobody waits for the answer any more")
	}
	v, ok = r.all[key]
	return v, ok, r.err
}

// lead runs a round when the one before is over. It does so for the others, too,
// whatever becomes of the caller.
func (s *shared[V]) lead(ctx context.Context, r, before *round[V], find func(ctx context.Context, keys []string) (map[string]V, error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sharedWithin)
	defer cancel()
	if before != nil {
		<-before.done // its statement is bounded as ours is
	}
	s.mu.Lock()
	s.next, s.last = nil, r // who comes now waits for the next one
	s.mu.Unlock()
	defer close(r.done)
	r.all, r.err = find(ctx, r.keys)
}
