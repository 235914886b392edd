package plain

import (
	"fmt"
	"strings"
)

// Half is how much of the start of an output an [Excerpt] keeps, and of its end.
const Half = 128 << 10

// Excerpt keeps the head and the tail of an output of any length; its memory is
// bounded. The zero value is empty.
type Excerpt struct {
	// Live, if set, gets the text as it comes, up to twice [Half].
	Live func(string)

	head []byte
	tail []byte // a ring once it is full
	next int    // where the ring goes on
	size int64  // of everything
}

// Add takes the next piece.
func (e *Excerpt) Add(p []byte) {
	if left := 2*Half - e.size; e.Live != nil && left > 0 && len(p) > 0 {
		e.Live(strings.ToValidUTF8(string(p[:min(int64(len(p)), left)]), "\uFFFD"))
	}
	e.size += int64(len(p))
	n := min(len(p), Half-len(e.head))
	e.head = append(e.head, p[:n]...)
	p = p[n:]
	if len(p) > Half {
		p = p[len(p)-Half:]
		e.tail, e.next = e.tail[:0], 0 // all of it is overwritten
	}
	n = min(len(p), Half-len(e.tail))
	e.tail = append(e.tail, p[:n]...)
	for p = p[n:]; len(p) > 0; p = p[n:] {
		n = copy(e.tail[e.next:], p)
		e.next = (e.next + n) % Half
	}
}

// Text gives what was kept, with a note in the gap, and how many bytes are not in it.
func (e *Excerpt) Text() (text string, truncated int64) {
	truncated = e.size - int64(len(e.head)+len(e.tail))
	var b strings.Builder
	b.Write(e.head)
	if truncated > 0 {
		fmt.Fprintf(&b, "\n[… %d bytes are left out here …]\n", truncated)
	}
	b.Write(e.tail[e.next:])
	b.Write(e.tail[:e.next])
	return strings.ToValidUTF8(b.String(), "\uFFFD"), truncated
}
