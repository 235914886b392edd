package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// minScrubbed is the length below which a key is no secret but a placeholder
// ("EMPTY", "none"), and replacing it would only garble text.
const minScrubbed = 8

// scrubber replaces a secret and its encodings by [ops.Redacted] in what is
// written through it. It passes everything on at once but a tail that could be
// the start of a match, so a match across any border of writes is found.
type scrubber struct {
	w        io.Writer
	patterns [][]byte // longest first
	held     []byte   // shorter than the longest pattern
}

func newScrubber(w io.Writer, secret ops.Secret) *scrubber {
	return &scrubber{w: w, patterns: encodings(secret.Reveal())}
}

// Write implements [io.Writer]. It claims to have written all of p even where
// a tail is held.
func (s *scrubber) Write(p []byte) (int, error) {
	if len(s.patterns) == 0 {
		return s.w.Write(p)
	}
	buf := slices.Concat(s.held, p)
	out := make([]byte, 0, len(buf))
	// next is where each pattern comes next: every one goes over buf once,
	// however often it matches.
	next := make([]int, len(s.patterns))
	for i, pattern := range s.patterns {
		next[i] = index(buf, pattern, 0)
	}
	done := 0
	for {
		first := 0
		for i := range next {
			if next[i] < next[first] { // at one place the longest wins: it is earlier in the list
				first = i
			}
		}
		at := next[first]
		if at == len(buf) {
			break
		}
		out = append(append(out, buf[done:at]...), ops.Redacted...)
		done = at + len(s.patterns[first])
		for i, pattern := range s.patterns {
			if next[i] < done {
				next[i] = index(buf, pattern, done)
			}
		}
	}
	rest := buf[done:]
	keep := s.tail(rest)
	out = append(out, rest[:len(rest)-keep]...)
	s.held = rest[len(rest)-keep:]
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := s.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes the held tail, which is no match now that nothing follows.
func (s *scrubber) Close() error {
	held := s.held
	s.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := s.w.Write(held)
	return err
}

// String scrubs a whole value, such as a header's.
func (s *scrubber) String(value string) string {
	for _, p := range s.patterns {
		value = strings.ReplaceAll(value, string(p), ops.Redacted)
	}
	return value
}

// index is where pattern comes in buf at from or behind it, len(buf) if nowhere.
func index(buf, pattern []byte, from int) int {
	if i := bytes.Index(buf[from:], pattern); i >= 0 {
		return from + i
	}
	return len(buf)
}

// tail is the length of the longest end of buf that begins a pattern.
func (s *scrubber) tail(buf []byte) int {
	longest := 0
	for _, p := range s.patterns {
		for n := min(len(p)-1, len(buf)); n > longest; n-- {
			if bytes.HasSuffix(buf, p[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// encodings gives the forms in which a service is likely to echo a secret:
// plain, JSON, URL, hex, and base64 in both alphabets at each of the three
// positions that it can have inside of a larger value.
func encodings(secret string) [][]byte {
	if len(secret) < minScrubbed {
		return nil
	}
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for _, escapeHTML := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escapeHTML)
		if e.Encode(secret) == nil {
			forms = append(forms, strings.TrimSuffix(b.String(), "\n")[1:b.Len()-2])
		}
	}
	for shift := range 3 {
		// Characters that share bits with a neighbour are left out.
		from, to := (shift*8+5)/6, (shift+len(secret))*8/6
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, alphabet.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))[from:to])
		}
	}
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var patterns [][]byte
	for _, f := range slices.Compact(forms) {
		patterns = append(patterns, []byte(f))
	}
	return patterns
}
