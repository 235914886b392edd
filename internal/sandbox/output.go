package sandbox

import "github.com/akmatori/akmatori/internal/plain"

// output keeps a command's output: plain, its head and its tail. Its memory is bounded.
type output struct {
	strip   plain.Stripper
	buf     []byte // of the newest write, reused
	excerpt plain.Excerpt
}

// Write implements [io.Writer]. It never fails.
func (o *output) Write(p []byte) (int, error) {
	o.buf = o.strip.AppendTo(o.buf[:0], p)
	o.excerpt.Add(o.buf)
	return len(p), nil
}

// close ends the stream and gives the text and how many bytes it leaves out.
func (o *output) close() (text string, truncated int64) {
	o.excerpt.Add(o.strip.Flush(nil))
	return o.excerpt.Text()
}
