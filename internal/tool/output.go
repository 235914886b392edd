package tool

import (
	"fmt"
	"strings"
	"sync"
)

// Output is kept up to this much of its start and as much of its end.
const keepHalf = 128 << 10

// Output collects what a command prints on both of its streams, in the order
// of arrival: stripped, redacted, capped. Its memory is bounded.
type Output struct {
	mu      sync.Mutex
	streams [2]stripper
	redact  *redaction
	buf     []byte // of the newest write, reused
	live    func(string)
	closed  bool

	head []byte
	tail []byte // a ring once it is full
	next int    // where the ring goes on
	size int64  // of everything
}

// NewOutput makes an Output. live may be nil; see [Call].
func NewOutput(r *Redactor, live func(string)) *Output {
	o := &Output{live: live}
	o.redact = r.stream(o.keep)
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
	s.o.buf = s.o.streams[s.n].appendTo(s.o.buf[:0], p)
	s.o.redact.write(s.o.buf)
	return len(p), nil
}

func (o *Output) stdout() stream { return stream{o, 0} }
func (o *Output) stderr() stream { return stream{o, 1} }

// keep is called with clean bytes, under mu.
func (o *Output) keep(p []byte) {
	if o.live != nil {
		if left := 2*keepHalf - o.size; left > 0 {
			o.live(strings.ToValidUTF8(string(p[:min(int64(len(p)), left)]), "\uFFFD"))
		}
	}
	o.size += int64(len(p))
	n := min(len(p), keepHalf-len(o.head))
	o.head = append(o.head, p[:n]...)
	p = p[n:]
	if len(p) > keepHalf {
		p = p[len(p)-keepHalf:]
		o.next = 0 // all of it is overwritten
		o.tail = o.tail[:0]
	}
	n = min(len(p), keepHalf-len(o.tail))
	o.tail = append(o.tail, p[:n]...)
	for p = p[n:]; len(p) > 0; p = p[n:] {
		n = copy(o.tail[o.next:], p)
		o.next = (o.next + n) % keepHalf
	}
}

// Close ends both streams: what is written later is dropped. It gives the text
// and how many bytes are left out of it.
func (o *Output) Close() (text string, truncated int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		for i := range o.streams {
			o.redact.write(o.streams[i].flush(nil))
		}
		o.redact.flush()
	}
	truncated = o.size - int64(len(o.head)+len(o.tail))
	var b strings.Builder
	b.Write(o.head)
	if truncated > 0 {
		fmt.Fprintf(&b, "\n[… %d bytes are left out here …]\n", truncated)
	}
	b.Write(o.tail[o.next:])
	b.Write(o.tail[:o.next])
	return strings.ToValidUTF8(b.String(), "\uFFFD"), truncated
}
