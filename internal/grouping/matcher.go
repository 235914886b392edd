package grouping

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what people write.
const (
	MaxMatch    = 4096 // bytes of all matchers of a rule
	maxMatchers = 32
	maxPattern  = 512  // bytes of one regular expression
	maxProgram  = 5000 // instructions that it compiles to
)

// Matchers are conditions on an alert that must all hold.
type Matchers []matcher

type matcher struct {
	field
	op      string
	value   string
	pattern *regexp.Regexp // of =~ and !~
}

// Match says whether all of them hold.
func (ms Matchers) Match(s Subject) bool {
	for _, m := range ms {
		value, is := m.get(s), false
		if m.pattern != nil {
			is = m.pattern.MatchString(value)
		} else {
			is = value == m.value
		}
		if is == (m.op[0] == '!') {
			return false
		}
	}
	return true
}

// ParseMatchers reads matchers. The error says where it does not understand them.
func ParseMatchers(text string) (Matchers, error) {
	if len(text) > MaxMatch {
		return nil, fmt.Errorf("the matchers have more than %d bytes", MaxMatch)
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("the matchers are not valid UTF-8")
	}
	p := &parser{text: text}
	ms, err := p.matchers()
	if err != nil {
		return nil, fmt.Errorf("at character %d: %w", utf8.RuneCountInString(text[:p.at])+1, err)
	}
	return ms, nil
}

// parser is at a byte of text; after an error that is where the error is.
type parser struct {
	text string
	at   int
}

func (p *parser) matchers() (Matchers, error) {
	braces := p.take("{")
	var ms Matchers
	for p.space(); p.at < len(p.text) && p.text[p.at] != '}'; p.space() {
		if len(ms) == maxMatchers {
			return nil, fmt.Errorf("there are more than %d matchers", maxMatchers)
		}
		m, err := p.matcher()
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
		if !p.take(",") {
			break
		}
	}
	if braces && !p.take("}") {
		return nil, errors.New(`"," or "}" is wanted here`)
	}
	p.space()
	if p.at < len(p.text) {
		return nil, fmt.Errorf(`"," is wanted here, and not %q`, p.next())
	}
	return ms, nil
}

func (p *parser) matcher() (m matcher, err error) {
	start := p.at
	name, err := p.name()
	if err != nil {
		return m, err
	}
	p.space()
	operator := p.at
	for _, op := range []string{"=~", "!~", "!=", "="} {
		if p.take(op) {
			m.op = op
			break
		}
	}
	if m.op == "" || p.at < len(p.text) && p.text[p.at] == '=' {
		p.at = operator
		return m, fmt.Errorf("one of = != =~ !~ is wanted behind %q", name)
	}
	if m.field, err = lookup(name); err != nil {
		p.at = start
		return m, err
	}
	p.space()
	at := p.at
	if m.value, err = p.value(); err != nil {
		return m, err
	}
	if m.op[len(m.op)-1] == '~' {
		if m.pattern, err = compile(m.value); err != nil {
			p.at = at
			return m, err
		}
	}
	return m, nil
}

// name reads a field's name: bare, in quotes, or labels. followed by quotes.
func (p *parser) name() (string, error) {
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n=!~,{}\"'`", rune(p.text[p.at])) {
		p.at++
	}
	name := p.text[start:p.at]
	if p.at < len(p.text) && p.text[p.at] == '"' && (name == "" || name == labelPrefix) {
		quoted, err := p.quoted()
		return name + quoted, err
	}
	if name == "" {
		return "", errors.New("the name of a field is wanted here")
	}
	return name, nil
}

// value reads a value: in quotes, or bare up to a space, comma or brace.
func (p *parser) value() (string, error) {
	if p.at < len(p.text) && p.text[p.at] == '"' {
		return p.quoted()
	}
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n,{}\"'`", rune(p.text[p.at])) {
		p.at++
	}
	if p.at == start {
		return "", errors.New(`a value is wanted here; an empty one is ""`)
	}
	if p.at < len(p.text) && strings.ContainsRune("{\"'`", rune(p.text[p.at])) {
		return "", fmt.Errorf("a value with %q in it must be in double quotes", p.next())
	}
	return p.text[start:p.at], nil
}

// quoted reads text in double quotes. As in Alertmanager \" \\ and \n stand for
// a quote, a backslash and a line break, and any other backslash for itself, so
// that "\d+" needs no second one.
func (p *parser) quoted() (string, error) {
	start := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text) && strings.IndexByte(`"\n`, p.text[p.at+1]) >= 0:
			p.at++
			if p.text[p.at] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(p.text[p.at])
			}
		default:
			b.WriteByte(c)
		}
	}
	p.at = start
	return "", errors.New("a quote is opened here and not closed")
}

func (p *parser) space() {
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}

// take passes over token, and spaces before it, if it is next.
func (p *parser) take(token string) bool {
	at := p.at
	p.space()
	if !strings.HasPrefix(p.text[p.at:], token) {
		p.at = at
		return false
	}
	p.at += len(token)
	return true
}

func (p *parser) next() string {
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return string(r)
}

// compile makes an anchored regular expression. RE2 takes time in proportion to
// the size of its program, so that is bounded.
func compile(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("the regular expression has more than %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the regular expression is malformed: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the regular expression is malformed: %w", err)
	}
	if len(program.Inst) > maxProgram {
		return nil, errors.New("the regular expression is too large: use smaller counts in {…}")
	}
	re, err := regexp.Compile("^(?s:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("the regular expression is malformed: %w", err)
	}
	return re, nil
}
