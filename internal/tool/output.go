package tool

import (
	"sync"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
)

// Sink is where output goes while it comes, stripped and redacted.
type Sink struct {
	// Live is called with pieces of the first 256 KiB, one at a time, and must
	// not block. It may be nil.
	Live func(text string)
	// Keep stores the chunks of an output that is longer than what a result
	// holds, one at a time. While it does, no more output is read. nil: what the
	// result leaves out is dropped.
	Keep func(ops.EvidenceChunk) error
}

// Output collects what a command prints on both of its streams, in the order
// of arrival: stripped, redacted, capped. Its memory is bounded.
type Output struct {
	mu      sync.Mutex
	streams [2]plain.Stripper
	redact  *redaction
	buf     []byte // of the newest write, reused
	excerpt plain.Excerpt
	record  recorder
	closed  bool
}

// NewOutput makes an Output.
func NewOutput(r *Redactor, to Sink) *Output {
	o := &Output{excerpt: plain.Excerpt{Live: to.Live}, record: recorder{keep: to.Keep}}
	o.redact = r.stream(func(p []byte) {
		o.excerpt.Add(p)
		o.record.add(p)
	})
	return o
}

// stream is one of the two streams of a command.
type stream struct {
	o *Output
	n int
}

func (s stream) Write(p []byte) (int, error) {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	if s.o.closed {
		return len(p), nil
	}
	s.o.buf = s.o.streams[s.n].AppendTo(s.o.buf[:0], p)
	s.o.redact.write(s.o.buf)
	return len(p), nil
}

func (o *Output) stdout() stream { return stream{o, 0} }
func (o *Output) stderr() stream { return stream{o, 1} }

// Close ends both streams: what is written later is dropped. It gives the text,
// how many bytes are left out of it, and what of the whole is kept.
func (o *Output) Close() Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		for i := range o.streams {
			o.redact.write(o.streams[i].Flush(nil))
		}
		o.redact.flush()
		o.record.close()
	}
	text, truncated := o.excerpt.Text()
	return Outcome{Text: text, Truncated: truncated, Kept: o.record.kept}
}
