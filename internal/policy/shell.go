package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// MaxCommand is the length in bytes above which a command is refused unread.
const MaxCommand = 10_000

// A word of a command; unknown if its value depends on the run.
type word struct {
	text    string
	unknown bool
}

// argv is one simple command.
type argv []word

// refused says why text is not even parsed; "" if it is.
func refused(text string) string {
	switch {
	case len(text) > MaxCommand:
		return fmt.Sprintf("it is longer than %d bytes", MaxCommand)
	case !utf8.ValidString(text):
		return "it is not valid UTF-8"
	case strings.Contains(text, "\\\n"):
		return "it continues a line with a backslash"
	}
	for _, r := range text {
		switch {
		case r == '\n', r == '\t':
		case r == utf8.RuneError:
			return "it contains the replacement character U+FFFD"
		case unicode.IsControl(r):
			return fmt.Sprintf("it contains the control character %U", r)
		case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point), r == '\u00ad':
			return fmt.Sprintf("it contains the invisible character %U", r)
		case r != ' ' && unicode.IsSpace(r):
			return fmt.Sprintf("it contains the blank %U, which a shell takes for a letter", r)
		}
	}
	return ""
}

// command is what could be read of a command text.
type command struct {
	// commands are all simple commands in it, nested ones included.
	commands []argv
	// doubt says why the text is not of the plain form; then canonical is empty.
	doubt     string
	canonical string
}

// maxNesting bounds the characters that can open something: the parser's time
// grows with the square of the depth.
const maxNesting = 1000

func parse(text string) command {
	if strings.Count(text, "(")+strings.Count(text, "{")+strings.Count(text, "[")+strings.Count(text, "`") > maxNesting {
		return command{doubt: "it is nested too deeply"}
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return command{doubt: "it is not a command that a shell understands"}
	}
	var c command
	// Everything that runs, however deep.
	syntax.Walk(file, func(node syntax.Node) bool {
		if call, ok := node.(*syntax.CallExpr); ok && len(call.Args) > 0 {
			words, _ := static(call.Args)
			c.commands = append(c.commands, words)
		}
		return true
	})
	plain, doubt := flatten(file)
	if doubt == "" && strings.Contains(strings.TrimSpace(text), "\n") {
		doubt = "it has more than one line"
	}
	if doubt != "" {
		c.doubt = doubt
		return c
	}
	c.canonical = plain.String()
	if !same(plain, c.canonical) {
		c.canonical, c.doubt = "", "it does not survive being written again"
	}
	return c
}

// plain is a command of the understood form: simple commands, and what joins
// each to the one before (empty for the first).
type plain []struct {
	join string
	argv []string
}

// String is the canonical text.
func (p plain) String() string {
	var b strings.Builder
	for i, one := range p {
		if i > 0 {
			if one.join != ";" {
				b.WriteByte(' ')
			}
			b.WriteString(one.join + " ")
		}
		for j, w := range one.argv {
			if j > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(quote(w, j == 0))
		}
	}
	return b.String()
}

// same says whether text, parsed again, is exactly p.
func same(p plain, text string) bool {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return false
	}
	again, doubt := flatten(file)
	if doubt != "" || len(again) != len(p) {
		return false
	}
	for i := range p {
		if again[i].join != p[i].join || !slices.Equal(again[i].argv, p[i].argv) {
			return false
		}
	}
	return true
}

func flatten(file *syntax.File) (plain, string) {
	var p plain
	for i, stmt := range file.Stmts {
		join := ""
		if i > 0 {
			join = ";"
		}
		if doubt := flattenStmt(stmt, join, &p); doubt != "" {
			return nil, doubt
		}
	}
	return p, ""
}

func flattenStmt(s *syntax.Stmt, join string, p *plain) string {
	switch {
	case len(s.Redirs) > 0:
		return "it redirects input or output"
	case s.Background || s.Coprocess || s.Disown:
		return "it runs something in the background"
	case s.Negated:
		return "it negates a result"
	}
	switch c := s.Cmd.(type) {
	case *syntax.BinaryCmd:
		op := c.Op.String()
		switch c.Op {
		case syntax.AndStmt, syntax.OrStmt, syntax.Pipe:
		default:
			return "it joins commands with " + op
		}
		if doubt := flattenStmt(c.X, join, p); doubt != "" {
			return doubt
		}
		return flattenStmt(c.Y, op, p)
	case *syntax.CallExpr:
		if len(c.Assigns) > 0 {
			return "it sets a variable"
		}
		words, doubt := static(c.Args)
		if doubt != "" {
			return doubt
		}
		texts := make([]string, len(words))
		for i, w := range words {
			texts[i] = w.text
		}
		*p = append(*p, struct {
			join string
			argv []string
		}{join, texts})
		return ""
	}
	return "it is more than simple commands joined by |, &&, || and ;"
}

// static resolves the quoting of words. Doubt is the reason of the first word
// that depends on the run.
func static(args []*syntax.Word) (words argv, doubt string) {
	words = make(argv, len(args))
	for i, w := range args {
		text, reason := staticWord(w)
		if reason != "" {
			words[i] = word{unknown: true}
			if doubt == "" {
				doubt = reason
			}
			continue
		}
		words[i] = word{text: text}
	}
	return words, doubt
}

func staticWord(w *syntax.Word) (string, string) {
	var b strings.Builder
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if doubt := unquoted(p.Value, &b); doubt != "" {
				return "", doubt
			}
		case *syntax.SglQuoted:
			if p.Dollar {
				return "", "it uses $'…'"
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			if p.Dollar {
				return "", "it uses $\"…\""
			}
			for _, in := range p.Parts {
				lit, ok := in.(*syntax.Lit)
				if !ok {
					return "", "it has an expansion"
				}
				doubleQuoted(lit.Value, &b)
			}
		default:
			return "", "it has an expansion"
		}
	}
	return b.String(), ""
}

func unquoted(s string, b *strings.Builder) string {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*', '?', '[', ']':
			return "it has a file name pattern without quotes"
		case '{', '}', '~', '$', '`':
			return "it has an expansion"
		case '\\':
			if i++; i == len(s) {
				return "it ends with a backslash"
			}
		}
		b.WriteByte(s[i])
	}
	return ""
}

// doubleQuoted: only these four are escaped by a backslash inside of "".
func doubleQuoted(s string, b *strings.Builder) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("$`\"\\", s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
}

// reserved words of any shell that a login could have.
var reserved = []string{"!", "[[", "]]", "and", "begin", "breaksw", "case", "coproc", "declare", "default",
	"do", "done", "elif", "else", "end", "endif", "endsw", "esac", "export", "fi", "for", "foreach", "function",
	"goto", "if", "in", "integer", "let", "local", "nameref", "nocorrect", "noglob", "not", "onintr", "or", "readonly", "repeat",
	"return", "select", "switch", "then", "time", "typeset", "until", "while", "{", "}"}

// quote writes one word so that every common login shell (sh, bash, zsh, ksh,
// fish, csh) reads it as exactly that word: bare if nothing in it could mean
// anything, else in single quotes, with backslash and single quote outside of
// them, since fish gives both a meaning inside.
func quote(w string, first bool) string {
	if bare(w) && !(first && (strings.Contains(w, "=") || slices.Contains(reserved, w))) {
		return w
	}
	var b strings.Builder
	open := false
	set := func(to bool) {
		if open != to {
			b.WriteByte('\'')
			open = to
		}
	}
	for i := 0; i < len(w); i++ {
		if c := w[i]; c == '\'' || c == '\\' {
			set(false)
			b.WriteByte('\\')
			b.WriteByte(c)
			continue
		}
		set(true)
		b.WriteByte(w[i])
	}
	set(false)
	if b.Len() == 0 {
		return "''"
	}
	return b.String()
}

func bare(w string) bool {
	if w == "" || w[0] == '=' {
		return false
	}
	for _, c := range []byte(w) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-./:,+=@", c) >= 0) {
			return false
		}
	}
	return true
}
