package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Why a stream was cut.
var (
	errRunEnded = errors.New("the run has ended")
	errBlind    = errors.New("the database is away, so nobody knows whether the run goes on")
)

// tokenHash is a run's token as the database knows it.
type tokenHash [32]byte

// live is the requests under way, by the token that they came with. A run that
// another worker has claimed has another token, so the old worker's streams end.
type live struct {
	mu      sync.Mutex
	streams map[tokenHash]map[*stream]struct{}
	n       int
	bodies  map[tokenHash]int64 // bytes
}

type stream struct{ cancel context.CancelCauseFunc }

func newLive() *live {
	return &live{streams: map[tokenHash]map[*stream]struct{}{}, bodies: map[tokenHash]int64{}}
}

// enter registers a request. It reports false if its run has too many. The
// context ends when the run does; leave must be called.
func (l *live) enter(ctx context.Context, token tokenHash) (_ context.Context, leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.streams[token]
	if len(of) >= runStreams {
		return nil, nil, false
	}
	if of == nil {
		of = map[*stream]struct{}{}
		l.streams[token] = of
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{cancel: cancel}
	of[s] = struct{}{}
	l.n++
	return ctx, func() {
		cancel(nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.n--
		if delete(of, s); len(of) == 0 {
			delete(l.streams, token)
		}
	}, true
}

// reserve counts the body of a request under way. It reports false if those of its
// run are too large together; else release must be called.
func (l *live) reserve(token tokenHash, size int64) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bodies[token]+size > runBodies {
		return nil, false
	}
	l.bodies[token] += size
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.bodies[token] -= size; l.bodies[token] == 0 {
			delete(l.bodies, token)
		}
	}, true
}

func (l *live) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *live) tokens() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := make([][]byte, 0, len(l.streams))
	for t := range l.streams {
		tokens = append(tokens, t[:])
	}
	return tokens
}

func (l *live) cut(token []byte, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.streams[tokenHash(token)] {
		s.cancel(why)
	}
}

// watch cuts streams of ended runs until ctx ends. alive gives those of the
// tokens that still are.
func (l *live) watch(ctx context.Context, alive func(context.Context, [][]byte) ([][]byte, error), log *slog.Logger) {
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	seen := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		tokens := l.tokens()
		if len(tokens) == 0 {
			seen = time.Now()
			continue
		}
		asked, cancel := context.WithTimeout(ctx, blindTime)
		living, err := alive(asked, tokens)
		cancel()
		switch {
		case err == nil:
			seen = time.Now()
			for _, t := range ended(tokens, living) {
				l.cut(t, errRunEnded)
			}
		case ctx.Err() == nil && time.Since(seen) >= blindTime:
			log.Error("streams are cut", "streams", l.len(), "err", err)
			for _, t := range tokens {
				l.cut(t, errBlind)
			}
		}
	}
}

// ended gives the tokens that are not among the living.
func ended(tokens, living [][]byte) [][]byte {
	set := make(map[tokenHash]bool, len(living))
	for _, t := range living {
		set[tokenHash(t)] = true
	}
	var out [][]byte
	for _, t := range tokens {
		if !set[tokenHash(t)] {
			out = append(out, t)
		}
	}
	return out
}
