package tool

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
)

// What is kept of one output, from its start; the rest is counted.
const (
	chunkSize = 2 * plain.Half // bytes of text in a chunk at most: no more than a result holds
	maxKept   = 128 << 20      // bytes of text
	maxStored = 16 << 20       // bytes of chunks, which are compressed
)

// Kept is what of an output is kept as evidence. The zero value is that nothing
// is, because the result holds everything.
type Kept struct {
	Size  int64 // bytes of text, from the start
	Whole int64 // bytes that there were
	Lines int64 // that end in what is kept
	// Err says why it is not more, if it could not be stored.
	Err error
}

// Note tells the reader of the result of that call where the rest is; "" if
// there is no rest.
func (k Kept) Note(call string) string {
	switch {
	case k.Size == 0 && k.Err == nil:
		return ""
	case k.Size == 0:
		return fmt.Sprintf("[What is left out of these %d bytes could not be stored.]\n", k.Whole)
	case k.Size == k.Whole:
		return fmt.Sprintf("[All %d bytes in %d lines are kept: evidence_read and evidence_search read them as call %s.]\n", k.Whole, k.Lines, call)
	}
	why := "an output may not be longer"
	if k.Err != nil {
		why = "storing them failed"
	}
	return fmt.Sprintf("[The first %d of %d bytes, %d lines, are kept: evidence_read and evidence_search read them as call %s. What follows is not kept: %s.]\n",
		k.Size, k.Whole, k.Lines, call, why)
}

// recorder makes chunks of an output that becomes longer than a result. It
// holds one chunk at a time.
type recorder struct {
	keep func(ops.EvidenceChunk) error
	kept Kept

	text   []byte // that is in no chunk yet
	n      int
	stored int64
	over   bool // no more is kept
	flate  *flate.Writer
}

func (r *recorder) add(p []byte) {
	if r.keep == nil {
		return
	}
	r.kept.Whole += int64(len(p))
	for len(p) > 0 && !r.over {
		if len(r.text) == chunkSize {
			r.flush()
			continue
		}
		n := min(len(p), chunkSize-len(r.text))
		r.text = append(r.text, p[:n]...)
		p = p[n:]
	}
}

// close keeps the last chunk, if there was one before: else the result has all.
func (r *recorder) close() {
	for r.n > 0 && len(r.text) > 0 && !r.over {
		r.flush()
	}
	r.text, r.flate = nil, nil
}

// flush makes a chunk of what there is: up to the last end of a line or, in a
// line that is longer, the last whole character.
func (r *recorder) flush() {
	cut := bytes.LastIndexByte(r.text, '\n') + 1
	if cut == 0 {
		cut = len(r.text)
		if last := lastRune(r.text); last > 0 && !utf8.FullRune(r.text[last:]) {
			cut = last
		}
	}
	c := ops.EvidenceChunk{N: r.n, Start: r.kept.Size, Size: cut, Line: r.kept.Lines + 1, Lines: bytes.Count(r.text[:cut], []byte("\n"))}
	c.Data = r.deflate(r.text[:cut])
	if r.over = r.stored+int64(len(c.Data)) > maxStored || c.Start+int64(c.Size) > maxKept; r.over {
		r.text = nil
		return
	}
	if r.kept.Err = r.keep(c); r.kept.Err != nil {
		r.over, r.text = true, nil
		return
	}
	r.n++
	r.stored += int64(len(c.Data))
	r.kept.Size += int64(c.Size)
	r.kept.Lines += int64(c.Lines)
	r.text = append(r.text[:0], r.text[cut:]...)
}

// lastRune is where the last character of b starts.
func lastRune(b []byte) int {
	i := len(b) - 1
	for i > 0 && len(b)-i < utf8.UTFMax && !utf8.RuneStart(b[i]) {
		i--
	}
	return max(i, 0)
}

func (r *recorder) deflate(text []byte) []byte {
	var b bytes.Buffer
	if r.flate == nil {
		r.flate, _ = flate.NewWriter(&b, flate.BestSpeed) // the level exists
	} else {
		r.flate.Reset(&b)
	}
	_, _ = r.flate.Write(text) // a buffer takes everything
	_ = r.flate.Close()
	return b.Bytes()
}

// Past is what the calls of the caller have printed before: of its own run, or
// of its own token, and of nobody else.
type Past struct {
	// Calls lists those that have ended, oldest first, with ID, Tool, Target and State.
	Calls func(context.Context) ([]ops.ToolCall, error)
	// Text is the text of a call's result. There is an error of
	// [ops.CodeNotFound] if there is no such call, or if it has no result yet.
	Text func(ctx context.Context, call string) (string, error)
	// Chunks lists what is kept of a call's output, in order and without data;
	// it is empty if the text is everything. Data gives the data of one of them.
	Chunks func(ctx context.Context, call string) ([]ops.EvidenceChunk, error)
	Data   func(ctx context.Context, call string, n int) ([]byte, error)
}

// record is the whole output of a call as far as it is kept.
type record struct {
	chunks []ops.EvidenceChunk
	// text gives the text of a chunk.
	text func(ctx context.Context, i int) (string, error)
}

// of finds the output of a call: what is kept of it, or else its result's text.
func (p Past) of(ctx context.Context, call string) (record, error) {
	chunks, err := p.Chunks(ctx, call)
	if err != nil {
		return record{}, err
	}
	if len(chunks) > 0 {
		return record{chunks, func(ctx context.Context, i int) (string, error) {
			c := chunks[i]
			var err error
			if c.Data, err = p.Data(ctx, call, c.N); err != nil {
				return "", err
			}
			return c.Text()
		}}, nil
	}
	text, err := p.Text(ctx, call)
	if err != nil {
		return record{}, err
	}
	all := ops.EvidenceChunk{Size: len(text), Line: 1, Lines: bytes.Count([]byte(text), []byte("\n"))}
	return record{[]ops.EvidenceChunk{all}, func(context.Context, int) (string, error) { return text, nil }}, nil
}

// end is where the output ends, as far as it is kept.
func (r record) end() (size, lines int64) {
	last := r.chunks[len(r.chunks)-1]
	return last.Start + int64(last.Size), last.Line - 1 + int64(last.Lines)
}
