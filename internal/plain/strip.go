// Package plain turns what programs write for terminals into plain text that
// can be stored, shown and given to a model. It is pure.
package plain

import (
	"unicode"
	"unicode/utf8"
)

// Stripper turns what a program wrote for a terminal into plain text, as a
// stream; the zero value starts one. Escape sequences, control characters (but
// newline and tab) and invisible characters (bidirectional controls, zero widths,
// tags) are dropped, a carriage return becomes a newline, and invalid UTF-8 U+FFFD.
// An escape sequence that does not end is given up after [maxSequence] bytes or,
// for the kinds that carry text, at a newline: it must not hide what follows.
type Stripper struct {
	state   stripState
	length  int    // of the sequence so far
	partial []byte // an incomplete character
	cr      bool   // the last byte was a carriage return
}

type stripState int

const (
	text stripState = iota
	escape
	csi       // ESC [
	str       // ESC ], P, X, ^, _: until BEL or ESC \
	strEscape // ESC inside of str
)

const maxSequence = 256

// AppendTo appends the plain text of p to dst.
func (s *Stripper) AppendTo(dst, p []byte) []byte {
	if len(s.partial) > 0 {
		p = append(s.partial, p...)
		s.partial = nil
	}
	for i := 0; i < len(p); {
		if s.state == text { // the common case
			plain := i
			for i < len(p) && p[i] >= ' ' && p[i] < 0x7f {
				i++
			}
			if i > plain {
				s.cr = false
				dst = append(dst, p[plain:i]...)
				continue
			}
		}
		if !utf8.FullRune(p[i:]) {
			s.partial = append([]byte(nil), p[i:]...)
			break
		}
		r, size := utf8.DecodeRune(p[i:])
		i += size
		dst = s.step(dst, r)
	}
	return dst
}

// Flush ends the stream.
func (s *Stripper) Flush(dst []byte) []byte {
	if len(s.partial) > 0 {
		dst = append(dst, "\uFFFD"...)
	}
	s.partial = nil
	return dst
}

// Text is the plain text of a whole text.
func Text(s string) string {
	var p Stripper
	return string(p.Flush(p.AppendTo(nil, []byte(s))))
}

func (s *Stripper) step(dst []byte, r rune) []byte {
	if s.state != text {
		s.length++
		if s.length > maxSequence {
			s.state = text
		}
	}
	switch s.state {
	case escape:
		switch {
		case r == '[':
			s.state = csi
		case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
			s.state = str
		case r >= 0x20 && r <= 0x2f: // intermediate bytes: one more follows
		case r == 0x1b:
		default:
			s.state = text
			if r < 0x20 {
				return s.step(dst, r)
			}
		}
		return dst
	case csi:
		switch {
		case r >= 0x40 && r <= 0x7e:
			s.state = text
		case r == 0x1b:
			s.state = escape
		case r < 0x20 || r > 0x7e:
			s.state = text
			return s.step(dst, r)
		}
		return dst
	case str:
		switch r {
		case 0x07, 0x9c:
			s.state = text
		case 0x1b:
			s.state = strEscape
		case '\n':
			s.state = text
			return s.step(dst, r)
		}
		return dst
	case strEscape:
		s.state = text
		if r != '\\' {
			s.state = escape
			return s.step(dst, r)
		}
		return dst
	}
	cr := s.cr
	s.cr = false
	switch {
	case r == '\n':
		if !cr { // \r\n is one newline
			dst = append(dst, '\n')
		}
	case r == '\t':
		dst = append(dst, '\t')
	case r == '\r':
		s.cr = true
		if !cr {
			dst = append(dst, '\n')
		}
	case r == 0x1b, r == 0x9b, r == 0x9d, r == 0x90, r == 0x98, r == 0x9e, r == 0x9f:
		s.length = 0
		switch r {
		case 0x1b:
			s.state = escape
		case 0x9b:
			s.state = csi
		default:
			s.state = str
		}
	case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
	default:
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
