package api

import (
	"context"
	"crypto/rand"
	"math/big"
	"time"

	"golang.org/x/sync/errgroup"
)

// chore is something that the api does by itself from time to time. Of several
// replicas one does it, whichever comes first.
type chore struct {
	name  string
	does  string // for people
	every time.Duration
	// do has a batch of bounded size to do, and is called again when it is due
	// again. It has choreWithin at most.
	do func(context.Context) error
}

// choreWithin is how long a chore may take, so that one that hangs is tried anew.
const choreWithin = time.Minute

// runChores does all chores of the table, each on its own, until ctx ends.
func (s *API) runChores(ctx context.Context, table []chore) error {
	var g errgroup.Group
	for _, c := range table {
		g.Go(func() error { return s.runChore(ctx, c) })
	}
	return g.Wait()
}

func (s *API) runChore(ctx context.Context, c chore) error {
	for {
		// A fifth of jitter: replicas that were started together do not stay so.
		next := time.NewTimer(c.every - jitter(c.every/5))
		select {
		case <-ctx.Done():
			next.Stop()
			return ctx.Err()
		case <-next.C:
		}
		s.doChore(ctx, c)
	}
}

// doChore does a chore once. A failure is logged and counted, and what is due is
// done next time.
func (s *API) doChore(ctx context.Context, c chore) {
	within, cancel := context.WithTimeout(ctx, choreWithin)
	defer cancel()
	began := time.Now()
	// Due is what lies half an interval back: the jitter must not skip a turn.
	done, err := s.db.Chore(within, c.name, c.every/2, c.do)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		s.metrics.chores.WithLabelValues(c.name, "failed").Inc()
		s.log.Warn("a chore failed", "chore", c.name, "err", err)
	case done:
		s.metrics.chores.WithLabelValues(c.name, "done").Inc()
	default:
		return
	}
	s.metrics.choreSeconds.WithLabelValues(c.name).Observe(time.Since(began).Seconds())
}

// jitter gives a random time below most.
func jitter(most time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(max(most, 1))))
	if err != nil {
		return 0
	}
	return time.Duration(n.Int64())
}
