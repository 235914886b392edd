package agent

import (
	"strings"
	"sync"
	"time"
)

// trickleEvery is the shortest time between two live events of one source.
const trickleEvery = 100 * time.Millisecond

// maxTrickle is how much text may wait for that time.
const maxTrickle = 32 << 10

// trickle turns many small pieces of text into few events. The first piece goes
// out at once, what follows at most every trickleEvery or as soon as it is much.
// It blocks where emit does.
type trickle struct {
	emit func(string)

	mu      sync.Mutex
	pending strings.Builder
	last    time.Time
	timer   *time.Timer // set while a flush is due
	closed  bool
}

func (t *trickle) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || s == "" {
		return
	}
	t.pending.WriteString(s)
	since := time.Since(t.last)
	switch {
	case since >= trickleEvery || t.pending.Len() >= maxTrickle:
		t.flush()
	case t.timer == nil:
		t.timer = time.AfterFunc(trickleEvery-since, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.flush()
		})
	}
}

// flush is called with the lock held.
func (t *trickle) flush() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if t.closed || t.pending.Len() == 0 {
		return
	}
	s := t.pending.String()
	t.pending.Reset()
	t.last = time.Now()
	t.emit(s)
}

// close emits what waits. After it nothing is emitted.
func (t *trickle) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	t.closed = true
}
