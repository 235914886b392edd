package policy

import (
	"slices"
	"strings"
)

// Verdict is what is decided about a call.
type Verdict string

// The verdicts, strictest last.
const (
	Allow Verdict = "allow"
	Ask   Verdict = "ask"
	Deny  Verdict = "deny"
)

func (v Verdict) rank() int { return slices.Index([]Verdict{Allow, Ask, Deny}, v) }

// Decision is a verdict with its reasons.
type Decision struct {
	Verdict Verdict
	// Rule is the rule that decided, as it was written; empty if none did.
	Rule string
	// Layer is whose rule that is; empty if none decided.
	Layer Layer
	// Canonical is the command rebuilt from its words. It is empty unless the
	// whole command was understood, which Allow implies.
	Canonical string
	// Reasons explain the verdict to a person, most important first.
	Reasons []string
}

// Decide judges a call by one list. The zero Rules, and a nil one, allow nothing.
func (r *Rules) Decide(c Call) Decision { return Policy{Agent: r}.Decide(c) }

// unit is one thing that a call does: a command in it, a file that it touches,
// or the call itself.
type unit struct {
	tool  Tool
	words argv           // Command
	path  place          // Path
	text  string         // Name
	args  map[string]any // Arguments, and those beside a command
	// root: it runs as somebody else than who logged in.
	root bool
	// silent: its input is empty, or one line end.
	silent bool
}

func (u unit) String() string {
	switch u.tool.Subject {
	case Command:
		return quoted(u.words)
	case Path:
		return u.tool.Name + " " + quote(u.path.written, false)
	case Name:
		return u.tool.Name + " " + quote(u.text, false)
	}
	return u.tool.Name
}

// reading is what a call was understood to be.
type reading struct {
	units     []unit
	canonical string
	doubt     string // why it is ask at best
	refused   string // why it is denied unread
}

func (ts Tools) read(c Call) reading {
	tool, known := ts.find(c.Tool)
	if !known {
		return reading{refused: "there is no such tool"}
	}
	tool = tool.told(c.Shell)
	u := unit{tool: tool, args: c.Arguments}
	if tool.Subject == Nothing || tool.Subject == Arguments {
		return reading{units: []unit{u}}
	}
	text, err := c.subject(tool)
	if err != nil {
		return reading{refused: err.Error()}
	}
	if reason := refused(text); reason != "" {
		return reading{refused: reason}
	}
	switch tool.Subject {
	case Command:
		return ts.readCommand(u, text, c.Place)
	case Path:
		var r reading
		if u.path, r.doubt, r.refused = locate(text, tool.Local, c.Place); r.refused == "" {
			r.units = []unit{u}
		}
		return r
	default:
		if u.text = text; !isName(text) {
			return reading{refused: quote(text, false) + " is not a name"}
		}
		return reading{units: []unit{u}}
	}
}

func (ts Tools) readCommand(whole unit, text string, at *Place) reading {
	tool, parsed := whole.tool, parse(text)
	r := reading{doubt: parsed.doubt, canonical: parsed.canonical}
	for i, words := range parsed.commands {
		r.units = append(r.units, unit{tool: tool, words: words, args: whole.args, silent: slices.Contains(parsed.silent, i)})
	}
	if len(r.units) == 0 {
		// Nothing is visible: only a rule for the whole tool can speak.
		r.units = []unit{whole}
		if r.doubt == "" {
			r.doubt = "there is no command in it"
		}
	}
	for _, f := range parsed.files {
		name := tool.Reads
		if f.writes {
			name = tool.Writes
		}
		of, ok := ts.find(name)
		if !ok || f.name.unknown {
			r.doubt = "it redirects input or output to a file that no rule can name"
			continue
		}
		p, doubt, no := locate(f.name.text, of.Local, at)
		if no != "" {
			return reading{refused: no}
		}
		if doubt != "" && r.doubt == "" {
			r.doubt = "it redirects input or output: " + doubt
		}
		r.units = append(r.units, unit{tool: of, path: p})
	}
	return r
}

// ruling is what one list says about one unit.
type ruling struct {
	verdict Verdict
	matched bool   // a rule is about it
	rule    string // the rule whose verdict this is; "" if it is none's
	reason  string
}

const noRule = "no rule matches "

// maxDepth bounds shells inside shells.
const maxDepth = 4

// judge decides about one unit.
func (r *Rules) judge(u unit, depth int) ruling {
	d := r.seen(u, depth)
	if depth >= maxDepth || d.verdict == Deny || u.tool.Subject != Command {
		return d
	}
	// What a command runs in its turn cannot make it more allowed, only denied.
	// A tail's own tails are tails of this command too, so they are not followed.
	tails, texts := carried(u.words)
	inside := func(in ruling) ruling {
		in.reason = program(u.words) + " may run what its arguments say, and " + in.reason
		return in
	}
	for _, words := range tails {
		if in, _ := r.first(unit{tool: u.tool, words: words, args: u.args}); in.verdict == Deny {
			return inside(in)
		}
	}
	for _, words := range texts {
		if in := r.judge(unit{tool: u.tool, words: words, args: u.args}, depth+1); in.verdict == Deny {
			return inside(in)
		}
	}
	return d
}

// seen decides about a command by what can be seen of it: a wrapper whose command
// can be read is judged as that command, unless a rule spells the wrapper out,
// asks about it or denies it.
func (r *Rules) seen(u unit, depth int) ruling {
	d, spelled := r.first(u)
	if spelled || depth >= maxDepth || u.tool.Subject != Command {
		return d
	}
	inner, ok := unwrap(u)
	if !ok {
		return d
	}
	d = ruling{verdict: Allow}
	for _, in := range inner {
		if one := r.seen(in, depth+1); d.reason == "" || one.verdict.rank() > d.verdict.rank() {
			d = one
		}
	}
	return d
}

// first gives what the first rule says that matches. It is spelled out if the
// rule means this very command: then nothing looks behind it but denials.
func (r *Rules) first(u unit) (d ruling, spelled bool) {
	nearest := ""
	for _, rule := range r.list() {
		if f := fieldsOf(rule.match); f != nil && rule.names(u.tool.Name) {
			if name := f.mistyped(u); name != "" {
				return ruling{verdict: Deny, matched: true, rule: rule.text, reason: name + " is not of the type that " + rule.text + " is about"}, true
			}
		}
		if !rule.about(u) {
			if rule.verdict == Allow && rule.names(u.tool.Name) {
				if why := nearly(u, rule.match); why != "" {
					nearest = " (" + why + ")"
				}
			}
			continue
		}
		d = ruling{verdict: rule.verdict, matched: true, rule: rule.text, reason: "the first rule that matches " + u.String() + " is " + rule.text}
		if rule.verdict != Allow {
			return d, true
		}
		if odd := beyond(u, rule.match); odd != "" {
			return ruling{verdict: Ask, matched: true, reason: odd + ", which " + rule.text + " does not spell out"}, false
		}
		return d, true
	}
	d = ruling{verdict: Ask, reason: noRule + u.String()}
	d.reason += nearest
	return d, false
}

// nearly says why an allowing rule does not match where its text does not show it.
func nearly(u unit, m matcher) string {
	switch m := m.(type) {
	case class:
		return "@" + diagnosticsClass + ": " + m.why(u)
	case shellPattern:
		if u.tool.Subject != Command {
			return "nobody has declared which of its arguments is a command"
		}
		if m.about(u, false) {
			return "its argument " + besides(u, m.args) + " may change what the command does"
		}
		if c, ok := m.command.(class); ok {
			return nearly(u, c)
		}
	}
	return ""
}

// beyond says what about u an allowing rule does not cover although it matches.
func beyond(u unit, m matcher) string {
	if odd := beside(u, m); odd != "" {
		return odd
	}
	if s, ok := m.(shellPattern); ok {
		m = s.command
	}
	switch m := m.(type) {
	case class: // has looked at everything
		return ""
	case *pattern:
		return beyondWords(u, m)
	}
	if u.tool.Subject == Command {
		return beyondWords(u, nil)
	}
	return ""
}

func beyondWords(u unit, p *pattern) string {
	for _, w := range u.words {
		if w.glob {
			return "a file name pattern without quotes is in it"
		}
		if w.unknown {
			return "a word of it is only known when it runs"
		}
	}
	if odd := danger(u.words, p); odd != "" {
		return odd
	}
	if u.root {
		return "it runs as another user"
	}
	return ""
}

func quoted(words argv) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case w.glob:
			b.WriteString(w.text)
		case w.unknown:
			b.WriteString("…")
		default:
			b.WriteString(quote(w.text, i == 0))
		}
		if b.Len() > 200 {
			b.WriteString(" …")
			break
		}
	}
	if b.Len() == 0 {
		return "it"
	}
	return b.String()
}
