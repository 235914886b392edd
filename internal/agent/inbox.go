package agent

import (
	"cmp"
	"slices"
	"sync"

	"github.com/akmatori/akmatori/internal/ops"
)

// inbox is what the api has sent to a run since its task: the session puts in,
// the run looks before each turn. The api bounds how much that can be.
type inbox struct {
	mu   sync.Mutex
	said []ops.RunMessage // each number once, in order
	why  string           // the run is to conclude; empty if it is not
}

func (b *inbox) add(all ...ops.RunMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range all {
		at, known := slices.BinarySearchFunc(b.said, m.Seq, func(x ops.RunMessage, seq int64) int { return cmp.Compare(x.Seq, seq) })
		if !known {
			b.said = slices.Insert(b.said, at, m)
		}
	}
}

func (b *inbox) messages() []ops.RunMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.said)
}

func (b *inbox) conclude(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if why != "" {
		b.why = why
	}
}

func (b *inbox) concluding() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}
