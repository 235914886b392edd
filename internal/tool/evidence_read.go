package tool

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of evidence_read.
const (
	readLines = 200      // if not said
	maxLines  = 2000     // in one call
	maxPage   = 64 << 10 // bytes in one call
)

// callName is how holders name their calls.
var callName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

func evidenceRead() Tool {
	return Tool{
		Name:        "evidence_read",
		Description: description("evidence_read"),
		Fields: []Field{
			{Name: "call", Type: String, Required: true, MaxLength: 64, Pattern: callName, Description: "id of the call"},
			{Name: "from_line", Type: Integer, Min: 1, Max: 1 << 40, Default: 1, Description: "the first line to show; the first line has number 1"},
			{Name: "from_byte", Type: Integer, Min: 0, Max: 1 << 40, Description: "where to begin instead, inside of a very long line"},
			{Name: "lines", Type: Integer, Min: 1, Max: maxLines, Default: readLines, Description: "how many lines"},
		},
		Limit: func(Args) time.Duration { return 30 * time.Second },
		Run: func(ctx context.Context, c Call) (Outcome, error) {
			call, line, at := c.Args.String("call"), c.Args.Integer("from_line", 1), c.Args.Integer("from_byte", -1)
			if at >= 0 && c.Args["from_line"] != nil {
				return Outcome{}, invalid("give from_line or from_byte, and not both")
			}
			r, err := c.Past.of(ctx, call)
			if err != nil {
				return Outcome{}, err
			}
			page, err := r.page(ctx, line, at, int(c.Args.Integer("lines", readLines)))
			if err != nil {
				return Outcome{}, err
			}
			out := NewOutput(nil, Sink{Live: c.Sink.Live}) // it is a part of what is kept already
			_, _ = out.stdout().Write([]byte(page.String(call, r)))
			return out.Close(), nil
		},
	}
}

// page is a part of a record.
type page struct {
	text  string
	line  int64 // that its first byte is in
	start int64 // of its first byte
}

// page gives at most lines lines and [maxPage] bytes, from the start of a line
// or, if at is not negative, from that byte. It is empty behind the end.
func (r record) page(ctx context.Context, line, at int64, lines int) (page, error) {
	i := slices.IndexFunc(r.chunks, func(c ops.EvidenceChunk) bool {
		if at >= 0 {
			return at < c.Start+int64(c.Size)
		}
		return line <= c.Line+int64(c.Lines)
	})
	if i < 0 {
		return page{}, nil
	}
	text, err := r.text(ctx, i)
	if err != nil {
		return page{}, err
	}
	from := 0
	if at >= 0 {
		from = int(at - r.chunks[i].Start)
	} else {
		for range line - r.chunks[i].Line {
			from += strings.IndexByte(text[from:], '\n') + 1
		}
	}
	p := page{line: r.chunks[i].Line + int64(strings.Count(text[:from], "\n")), start: r.chunks[i].Start + int64(from)}
	text = text[from:]
	for {
		for l := range strings.Lines(text) {
			if left := maxPage - len(p.text); len(l) > left {
				if p.text == "" { // it alone is too long: the rest is for the next call
					p.text = l[:lastRune([]byte(l[:left+1]))]
				}
				return p, nil
			}
			p.text += l
			if strings.HasSuffix(l, "\n") {
				if lines--; lines == 0 {
					return p, nil
				}
			}
		}
		if i++; i == len(r.chunks) {
			return p, nil
		}
		if text, err = r.text(ctx, i); err != nil {
			return page{}, err
		}
	}
}

// String shows the page, with where it is and how to go on.
func (p page) String(call string, r record) string {
	size, lines := r.end()
	if p.text == "" {
		return fmt.Sprintf("[call %s: there is nothing from there on; it has %d bytes in %d lines]\n", call, size, lines)
	}
	end, next := p.start+int64(len(p.text)), p.line+int64(strings.Count(p.text, "\n"))
	last := next
	if strings.HasSuffix(p.text, "\n") {
		last--
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[call %s: lines %d to %d of %d, bytes %d to %d of %d]\n", call, p.line, last, max(lines, last), p.start, end, size)
	b.WriteString(p.text)
	if !strings.HasSuffix(p.text, "\n") {
		b.WriteByte('\n')
	}
	switch {
	case end >= size:
		b.WriteString("[this is the end]\n")
	case strings.HasSuffix(p.text, "\n"):
		fmt.Fprintf(&b, "[there is more: from_line %d]\n", next)
	default:
		fmt.Fprintf(&b, "[the line goes on: from_byte %d]\n", end)
	}
	return b.String()
}
