package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// A pattern matches the words of one simple command.
type pattern struct {
	words []glob
	rest  bool // any number of further words may follow
}

func parsePattern(text string) (*pattern, string) {
	p := &pattern{}
	var fields []string
	for field := range strings.SplitSeq(text, " ") {
		if field != "" {
			fields = append(fields, field)
		}
	}
	if len(fields) == 0 {
		return nil, "the pattern is empty; write the rule without parentheses to match every command"
	}
	for i, field := range fields {
		if field == "*" && i == len(fields)-1 {
			p.rest = true
			break
		}
		g, reason := parseGlob(field)
		if reason != "" {
			return nil, reason
		}
		p.words = append(p.words, g)
	}
	return p, ""
}

func (p *pattern) matches(u unit, restricts bool) bool { return p.match(u.words, restricts) }

// match says whether p matches. With anyPath, a first word without a slash also
// matches the last element of a path: for rules that restrict.
func (p *pattern) match(words argv, anyPath bool) bool {
	if len(words) == 0 || len(words) < len(p.words) || len(words) > len(p.words) && !p.rest {
		return false
	}
	for i, g := range p.words {
		w := words[i]
		if w.unknown {
			if !g.everything() {
				return false
			}
			continue
		}
		if g.match(w.text) {
			continue
		}
		if i == 0 && anyPath && g.match(path.Base(w.text)) {
			continue
		}
		return false
	}
	return true
}

// covers implements matcher. What another kind of pattern matches is not known,
// so that only a * is sure to match it.
func (p *pattern) covers(other matcher) bool {
	q, ok := other.(*pattern)
	switch {
	case len(p.words) == 0 && p.rest:
		return true
	case !ok, len(q.words) < len(p.words), q.rest && !p.rest, len(q.words) > len(p.words) && !p.rest:
		return false
	}
	for i, g := range p.words {
		if !g.everything() && !slices.Equal(g, q.words[i]) {
			return false
		}
	}
	return true
}

// spells says whether word i of the pattern is written without wildcards.
func (p *pattern) spells(i int) bool {
	return p != nil && i < len(p.words) && p.words[i].literal()
}

// A glob matches inside one word.
type glob []piece

// A piece matches one character, or with star any number of them.
type piece struct {
	star   bool
	any    bool // one character, whichever
	char   rune
	ranges string // pairs of first and last; empty: char
	not    bool
}

func (g glob) everything() bool { return len(g) == 1 && g[0].star }

func (g glob) literal() bool {
	for _, p := range g {
		if p.star || p.any || p.ranges != "" {
			return false
		}
	}
	return true
}

func (p piece) match(r rune) bool {
	if p.any {
		return true
	}
	if p.ranges == "" {
		return p.char == r
	}
	in, low, odd := false, rune(0), false
	for _, c := range p.ranges {
		if odd {
			in = in || low <= r && r <= c
		}
		low, odd = c, !odd
	}
	return in != p.not
}

func (g glob) match(word string) bool {
	ok, _ := g.run(word)
	return ok
}

// maxAfterStar bounds what stands behind the first star of a glob, and with it
// the cost of a match.
const maxAfterStar = 128

// run matches and counts the steps that it takes: at most those characters of
// the word times maxAfterStar, since only the last star seen is ever taken back.
func (g glob) run(word string) (ok bool, steps int) {
	i, star, mark := 0, -1, 0
	for pos := 0; pos < len(word); {
		steps++
		r, size := utf8.DecodeRuneInString(word[pos:])
		switch {
		case i < len(g) && g[i].star:
			star, mark = i, pos
			i++
		case i < len(g) && g[i].match(r):
			i++
			pos += size
		case star >= 0:
			_, back := utf8.DecodeRuneInString(word[mark:])
			mark += back
			pos, i = mark, star+1
		default:
			return false, steps
		}
	}
	for i < len(g) && g[i].star {
		i++
	}
	return i == len(g), steps
}

// text is what a literal glob matches.
func (g glob) text() string {
	var b strings.Builder
	for _, p := range g {
		b.WriteRune(p.char)
	}
	return b.String()
}

// literal is the glob of a text.
func literal(text string) glob {
	g := make(glob, 0, len(text))
	for _, r := range text {
		g = append(g, piece{char: r})
	}
	return g
}

// shellOnly means something to a shell and nothing in a pattern.
const shellOnly = "|&;<>()$`\"'"

// parseGlob reads a glob in a pattern for commands.
func parseGlob(text string) (glob, string) { return readGlob(text, shellOnly) }

// parsePlainGlob reads one where no shell is near.
func parsePlainGlob(text string) (glob, string) { return readGlob(text, "") }

func readGlob(text, reserved string) (glob, string) {
	var g glob
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; {
		case c == '*':
			if len(g) == 0 || !g[len(g)-1].star {
				g = append(g, piece{star: true})
			}
		case c == '?':
			g = append(g, piece{any: true})
		case c == '\\':
			if i++; i == len(runes) {
				return nil, "a backslash at the end of a word escapes nothing"
			}
			g = append(g, piece{char: runes[i]})
		case c == '[':
			p, next, reason := parseClass(runes, i+1)
			if reason != "" {
				return nil, reason
			}
			g, i = append(g, p), next
		case strings.ContainsRune(reserved, c):
			return nil, fmt.Sprintf("%q: a pattern is the words of one simple command, without quotes and operators (write \\%c for the character)", text, c)
		default:
			g = append(g, piece{char: c})
		}
	}
	if star := slices.IndexFunc(g, func(p piece) bool { return p.star }); star >= 0 && len(g)-star > maxAfterStar {
		return nil, fmt.Sprintf("more than %d characters stand behind a *", maxAfterStar)
	}
	return g, ""
}

// parseClass reads behind "[" and gives the index of "]".
func parseClass(runes []rune, i int) (p piece, end int, reason string) {
	const unfinished = "a [ is not closed"
	if i < len(runes) && (runes[i] == '!' || runes[i] == '^') {
		p.not = true
		i++
	}
	next := func() (rune, bool) {
		if i < len(runes) && runes[i] == '\\' {
			i++
		}
		if i >= len(runes) {
			return 0, false
		}
		i++
		return runes[i-1], true
	}
	var b strings.Builder
	for i < len(runes) && runes[i] != ']' {
		low, ok := next()
		if !ok {
			return p, 0, unfinished
		}
		high := low
		if i+1 < len(runes) && runes[i] == '-' && runes[i+1] != ']' {
			i++
			if high, ok = next(); !ok {
				return p, 0, unfinished
			}
		}
		if high < low {
			return p, 0, fmt.Sprintf("[%c-%c] is empty", low, high)
		}
		b.WriteRune(low)
		b.WriteRune(high)
	}
	if i >= len(runes) {
		return p, 0, unfinished
	}
	if b.Len() == 0 {
		return p, 0, "[] matches nothing"
	}
	p.ranges = b.String()
	return p, i, ""
}
