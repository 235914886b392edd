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
	// glob: it is a file name pattern without quotes whose text begins with a
	// slash. So it is unknown, but not where it is.
	glob bool
}

// argv is one simple command.
type argv []word

// known gives the words of a text each.
func known(words ...string) argv {
	a := make(argv, len(words))
	for i, w := range words {
		a[i] = word{text: w}
	}
	return a
}

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
	// silent are those (by index) whose input is empty, or one line end.
	silent []int
	// files are what its redirections open, nested ones included.
	files []file
	// doubt says why the text is not of the plain form; then canonical is empty.
	doubt     string
	canonical string
}

// file is what a redirection opens.
type file struct {
	name   word
	writes bool
}

// maxNesting bounds the characters that can open something: the parser's time
// grows with the square of the depth.
const maxNesting = 1000

func parse(text string) command {
	if strings.Count(text, "(")+strings.Count(text, "{")+strings.Count(text, "[")+strings.Count(text, "`") > maxNesting {
		return command{doubt: "it is nested too deeply"}
	}
	parsed, err := parser().Parse(strings.NewReader(text), "")
	if err != nil {
		return command{doubt: "it is not a command that a shell understands"}
	}
	var c command
	// Everything that runs or is opened, however deep.
	silent := map[syntax.Command]bool{}
	syntax.Walk(parsed, func(node syntax.Node) bool {
		switch node := node.(type) {
		case *syntax.BinaryCmd:
			silent[node.Y.Cmd] = node.Op == syntax.Pipe && bareEcho(node.X.Cmd)
		case *syntax.Stmt:
			inputs := slices.DeleteFunc(slices.Clone(node.Redirs), func(r *syntax.Redirect) bool { return r.Op != syntax.RdrIn })
			if len(inputs) > 0 {
				silent[node.Cmd] = !slices.ContainsFunc(inputs, func(r *syntax.Redirect) bool { return r.N != nil || r.Word.Lit() != nowhere })
			}
		case *syntax.CallExpr:
			if len(node.Args) > 0 {
				words, _ := static(node.Args)
				if silent[node] {
					c.silent = append(c.silent, len(c.commands))
				}
				c.commands = append(c.commands, words)
			}
		case *syntax.Redirect:
			if f, ok := opened(node); ok {
				c.files = append(c.files, f)
			}
		}
		return true
	})
	plain, doubt := flatten(parsed, 0)
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

// bareEcho says whether all that a command prints is one line end.
func bareEcho(c syntax.Command) bool {
	call, ok := c.(*syntax.CallExpr)
	return ok && len(call.Args) == 1 && call.Args[0].Lit() == "echo"
}

// nowhere is the one device that redirections may open without a rule.
const nowhere = "/dev/null"

// opened gives what a redirection opens, if that is more than nowhere.
func opened(r *syntax.Redirect) (file, bool) {
	var f file
	switch r.Op.String() {
	case "<":
	case ">", ">>", ">|", "&>", "&>>", "<>":
		f.writes = true
	case ">&": // a copy of a descriptor if a number is behind it, else as &>
		f.writes = true
		if n := r.Word.Lit(); n == "-" || n != "" && strings.Trim(n, "0123456789") == "" {
			return f, false
		}
	default: // a copy of a descriptor, or text
		return f, false
	}
	words, _ := static([]*syntax.Word{r.Word})
	f.name = words[0]
	return f, f.name.unknown || f.name.text != nowhere
}

// plain is a command of the understood form.
type plain []simple

// simple is one simple command.
type simple struct {
	join   string   // what joins it to the one before; empty for the first
	set    []string // NAME=value, harmless and without characters to quote
	argv   argv
	redirs []redirect
}

// redirect is one of its redirections.
type redirect struct {
	op string // > >> < 2> 2>> 2>&1 >&2
	to string // a file; empty for the last two
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
		for _, s := range one.set {
			b.WriteString(s + " ")
		}
		for j, w := range one.argv {
			if j > 0 {
				b.WriteByte(' ')
			}
			if w.glob {
				b.WriteString(w.text)
			} else {
				b.WriteString(quote(w.text, j == 0))
			}
		}
		for _, r := range one.redirs {
			b.WriteString(" " + r.op)
			if r.to != "" {
				b.WriteString(quote(r.to, false))
			}
		}
	}
	return b.String()
}

// same says whether text, parsed again, is exactly p.
func same(p plain, text string) bool {
	parsed, err := parser().Parse(strings.NewReader(text), "")
	if err != nil {
		return false
	}
	again, doubt := flatten(parsed, 0)
	return doubt == "" && slices.EqualFunc(again, p, func(a, b simple) bool {
		return a.join == b.join && slices.Equal(a.set, b.set) && slices.Equal(a.argv, b.argv) && slices.Equal(a.redirs, b.redirs)
	})
}

func flatten(file *syntax.File, depth int) (plain, string) {
	var p plain
	for i, stmt := range file.Stmts {
		join := ""
		if i > 0 {
			join = ";"
		}
		if doubt := flattenStmt(stmt, join, &p, depth); doubt != "" {
			return nil, doubt
		}
	}
	return p, ""
}

func flattenStmt(s *syntax.Stmt, join string, p *plain, depth int) string {
	switch {
	case s.Background || s.Coprocess || s.Disown:
		return "it runs something in the background"
	case s.Negated:
		return "it negates a result"
	}
	switch c := s.Cmd.(type) {
	case *syntax.BinaryCmd:
		if len(s.Redirs) > 0 {
			return "it redirects more than a simple command"
		}
		op := c.Op.String()
		switch c.Op {
		case syntax.AndStmt, syntax.OrStmt, syntax.Pipe:
		default:
			return "it joins commands with " + op
		}
		if doubt := flattenStmt(c.X, join, p, depth); doubt != "" {
			return doubt
		}
		return flattenStmt(c.Y, op, p, depth)
	case *syntax.CallExpr:
		one := simple{join: join}
		for _, a := range c.Assigns {
			text, ok := harmless(a)
			if !ok || len(c.Args) == 0 {
				return "it sets a variable"
			}
			one.set = append(one.set, text)
		}
		words, doubt := static(c.Args)
		if slices.ContainsFunc(words, func(w word) bool { return w.unknown && !w.glob }) {
			return doubt
		}
		one.argv = rewritten(words, depth)
		for _, r := range s.Redirs {
			if doubt := one.redirect(r); doubt != "" {
				return doubt
			}
		}
		*p = append(*p, one)
		return ""
	}
	if s.Cmd == nil {
		return "it redirects without a command"
	}
	return "it is more than simple commands joined by |, &&, || and ;"
}

// redirect adds a redirection in a form that every shell reads the same way.
func (s *simple) redirect(r *syntax.Redirect) string {
	const odd = "it redirects in an unusual way"
	op, fd := r.Op.String(), ""
	if r.N != nil {
		if fd = r.N.Value; fd == "1" && op != "<" {
			fd = ""
		}
		if fd == "0" && op == "<" {
			fd = ""
		}
	}
	words, doubt := static([]*syntax.Word{r.Word})
	to := words[0]
	if doubt != "" {
		return doubt
	}
	switch {
	case to.text == "":
		return odd
	case op == ">&" && fd == "2" && to.text == "1":
		s.redirs = append(s.redirs, redirect{op: "2>&1"})
	case op == ">&" && fd == "" && to.text == "2":
		s.redirs = append(s.redirs, redirect{op: ">&2"})
	case strings.HasPrefix(to.text, "/dev/") && to.text != nowhere:
		return "it redirects to or from a device"
	case op == ">|" && (fd == "" || fd == "2"):
		s.redirs = append(s.redirs, redirect{fd + ">", to.text})
	case (op == ">" || op == ">>") && (fd == "" || fd == "2"), op == "<" && fd == "":
		s.redirs = append(s.redirs, redirect{fd + op, to.text})
	case (op == "&>" || op == "&>>") && fd == "":
		s.redirs = append(s.redirs, redirect{op[1:], to.text}, redirect{op: "2>&1"})
	default:
		return odd
	}
	return ""
}

// harmless gives an assignment before a command that changes nothing but how
// its output looks.
func harmless(a *syntax.Assign) (string, bool) {
	if a.Append || a.Naked || a.Index != nil || a.Array != nil || a.Name == nil {
		return "", false
	}
	value := ""
	if a.Value != nil {
		words, doubt := static([]*syntax.Word{a.Value})
		if doubt != "" {
			return "", false
		}
		value = words[0].text
	}
	return a.Name.Value + "=" + value, harmlessSetting(a.Name.Value, value)
}

func harmlessSetting(name, value string) bool {
	switch name {
	case "LANG", "LANGUAGE", "TZ", "COLUMNS", "LINES", "NO_COLOR":
	case "PAGER", "SYSTEMD_PAGER", "GIT_PAGER":
		return value == "" || value == "cat"
	default:
		if !strings.HasPrefix(name, "LC_") {
			return false
		}
	}
	for _, c := range []byte(value) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.@+-", c) >= 0) &&
			!(c == '/' && name == "TZ" && value[0] != '/') {
			return false
		}
	}
	return !strings.Contains(value, "..")
}

// static resolves the quoting of words. Doubt is the reason of the first word
// that depends on the run.
func static(args []*syntax.Word) (words argv, doubt string) {
	words = make(argv, len(args))
	for i, w := range args {
		text, reason := staticWord(w)
		if reason != "" {
			words[i] = word{unknown: true}
			if text, ok := fileGlob(w); ok && i > 0 {
				words[i] = word{text: text, unknown: true, glob: true}
			}
			if doubt == "" {
				doubt = reason
			}
			continue
		}
		words[i] = word{text: text}
	}
	return words, doubt
}

// fileGlob gives a word that is a file name pattern under a known folder, made of
// characters alone that need no quotes.
func fileGlob(w *syntax.Word) (string, bool) {
	if len(w.Parts) != 1 {
		return "", false
	}
	lit, ok := w.Parts[0].(*syntax.Lit)
	if !ok || !strings.HasPrefix(lit.Value, "/") || !strings.ContainsAny(lit.Value, "*?[") {
		return "", false
	}
	return lit.Value, bare(strings.NewReplacer("*", "", "?", "", "[", "", "]", "").Replace(lit.Value))
}

func staticWord(w *syntax.Word) (string, string) {
	if w.Lit() == "{}" { // means nothing to a shell, and much to find
		return "{}", ""
	}
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

func parser() *syntax.Parser { return syntax.NewParser(syntax.Variant(syntax.LangBash)) }
