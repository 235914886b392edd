package tool

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
)

// A Redactor finds known secrets in a stream of bytes, as they are and in
// base64 (at each of the three offsets), hex, URL and JSON encoding. It is
// immutable; the zero value and nil find nothing.
//
// Long secrets, such as keys, are looked for in pieces of [pieceLength] bytes
// of one line, so that a part, or an encoding broken into lines, is still
// found. Secrets shorter than [minSecret] are not looked for: what they would
// hide is chance. A host that wants to smuggle a secret out can invent an
// encoding of its own; this is against accidents, and the deeper defence is
// that the agent's side has nowhere to use it.
type Redactor struct {
	// pairs has a bit for the first two bytes of each pattern; most positions
	// of a text are dismissed by it.
	pairs    [1 << 10]uint64
	patterns map[uint16][][]byte // by first two bytes, longest first
	longest  int
}

const (
	minSecret   = 4
	pieceLength = 32
)

// NewRedactor prepares to find secrets.
func NewRedactor(secrets ...ops.Secret) *Redactor {
	r := &Redactor{patterns: map[uint16][][]byte{}}
	for _, s := range secrets {
		for _, piece := range pieces(s.Reveal()) {
			for _, form := range forms([]byte(piece)) {
				r.add(form)
			}
		}
	}
	for _, list := range r.patterns {
		slices.SortFunc(list, func(a, b []byte) int { return len(b) - len(a) })
	}
	return r
}

func pieces(secret string) []string {
	var all []string
	for line := range strings.Lines(secret) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----") || len(line) < minSecret {
			continue
		}
		// Up to half as long again a line stays whole.
		for len(line) > pieceLength*3/2 {
			all = append(all, line[:pieceLength])
			line = line[pieceLength:]
		}
		all = append(all, line)
	}
	return all
}

func forms(s []byte) [][]byte {
	quoted, _ := json.Marshal(string(s)) // a string always marshals
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(string(s))
	all := [][]byte{
		s,
		[]byte(hex.EncodeToString(s)),
		[]byte(strings.ToUpper(hex.EncodeToString(s))),
		[]byte(url.QueryEscape(string(s))),
		[]byte(url.PathEscape(string(s))),
		quoted[1 : len(quoted)-1],
		bytes.Trim(bytes.TrimSpace(plain.Bytes()), `"`),
	}
	for offset := range 3 {
		// Characters that also depend on what stands before or behind are cut off.
		padded := append(make([]byte, offset), s...)
		first, last := (offset*8+5)/6, len(padded)*8/6
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all = append(all, []byte(e.EncodeToString(padded))[first:last])
		}
	}
	return all
}

func (r *Redactor) add(p []byte) {
	if len(p) < minSecret {
		return
	}
	k := pair(p)
	for _, known := range r.patterns[k] {
		if bytes.Equal(known, p) {
			return
		}
	}
	r.pairs[k>>6] |= 1 << (k & 63)
	r.patterns[k] = append(r.patterns[k], p)
	r.longest = max(r.longest, len(p))
}

func pair(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// at says how long the secret at the start of b is, 0 if none starts there, and
// whether more bytes are needed to know.
func (r *Redactor) at(b []byte) (length int, more bool) {
	if len(b) == 1 {
		for k := range r.patterns {
			if byte(k>>8) == b[0] {
				return 0, true
			}
		}
		return 0, false
	}
	k := pair(b)
	if r.pairs[k>>6]&(1<<(k&63)) == 0 {
		return 0, false
	}
	for _, p := range r.patterns[k] {
		if len(p) > len(b) {
			more = more || bytes.HasPrefix(p, b)
		} else if bytes.HasPrefix(b, p) {
			return len(p), more
		}
	}
	return 0, more
}

// String redacts a whole text.
func (r *Redactor) String(s string) string {
	var b strings.Builder
	w := r.stream(func(p []byte) { b.Write(p) })
	w.write([]byte(s))
	w.flush()
	return b.String()
}

// Error strips and redacts what a user may read of an error that quotes the other
// side. The error as it was goes no further: it is logged, too.
func (r *Redactor) Error(err error) error {
	e, ok := errors.AsType[*ops.Error](err)
	if !ok {
		return err
	}
	clean := *e
	clean.Message = r.String(plain.Text(e.Message))
	return &clean
}

// redaction is the state of one stream: what may be the start of a secret is
// held back until it is known.
type redaction struct {
	r    *Redactor
	held []byte
	emit func([]byte) // must not keep its argument
}

func (r *Redactor) stream(emit func([]byte)) *redaction { return &redaction{r: r, emit: emit} }

func (w *redaction) write(p []byte) { w.scan(p, false) }

// flush gives what was held back; nothing can follow it.
func (w *redaction) flush() { w.scan(nil, true) }

func (w *redaction) scan(p []byte, last bool) {
	if w.r == nil || len(w.r.patterns) == 0 {
		if len(p) > 0 {
			w.emit(p)
		}
		return
	}
	b := p
	if len(w.held) > 0 {
		b = append(w.held, p...)
		w.held = nil
	}
	clean := 0 // b[clean:i] is to be emitted
	for i := 0; i < len(b); {
		n, more := w.r.at(b[i:])
		if more && !last {
			if i > clean {
				w.emit(b[clean:i])
			}
			w.held = bytes.Clone(b[i:])
			return
		}
		if n == 0 {
			i++
			continue
		}
		if i > clean {
			w.emit(b[clean:i])
		}
		w.emit([]byte(ops.Redacted))
		i += n
		clean = i
	}
	if len(b) > clean {
		w.emit(b[clean:])
	}
}
