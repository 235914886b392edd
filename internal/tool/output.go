package tool

import (
	"sync"

	"github.com/akmatori/akmatori/internal/plain"
)

// Output collects what a command prints on both of its streams, in the order
// of arrival: stripped, redacted, capped. Its memory is bounded.
type Output struct {
	mu      sync.Mutex
	streams [2]plain.Stripper
	redact  *redaction
	buf     []byte // of the newest write, reused
	excerpt plain.Excerpt
	closed  bool
}

// NewOutput makes an Output. live may be nil; see [Call].
func NewOutput(r *Redactor, live func(string)) *Output {
	o := &Output{excerpt: plain.Excerpt{Live: live}}
	o.redact = r.stream(o.excerpt.Add)
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

// Close ends both streams: what is written later is dropped. It gives the text
// and how many bytes are left out of it.
func (o *Output) Close() (text string, truncated int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		for i := range o.streams {
			o.redact.write(o.streams[i].Flush(nil))
		}
		o.redact.flush()
	}
	return o.excerpt.Text()
}
