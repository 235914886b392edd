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

func stricter(a, b Verdict) Verdict {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// Tools are the tools that rules can name, and whether they take a command that
// patterns can match.
var tools = []struct {
	name    string
	command bool
}{
	{"ssh_execute", true},
	{"ssh_hosts", false},
	{"Bash", true}, // the workspace shell of the agent
}

// Knows says whether rules can name the tool, and whether its calls carry a command.
func Knows(tool string) (known, command bool) {
	for _, t := range tools {
		if t.name == tool {
			return true, t.command
		}
	}
	return false, false
}

// Call is what is to be judged.
type Call struct {
	Tool string
	// Command is the shell command of tools that have one, as the caller wrote it.
	Command string
}

// Decision is a verdict with its reasons.
type Decision struct {
	Verdict Verdict
	// Rule is the rule that decided, as it was written; empty if none did.
	Rule string
	// Canonical is the command rebuilt from its words. It is empty unless the
	// whole command was understood, which Allow implies.
	Canonical string
	// Reasons explain the verdict to a person, most important first.
	Reasons []string
}

// Decide judges a call. The zero Rules, and a nil one, allow nothing.
func (r *Rules) Decide(c Call) Decision {
	known, command := Knows(c.Tool)
	switch {
	case !known:
		return Decision{Verdict: Deny, Reasons: []string{"there is no such tool"}}
	case command:
		return r.decideCommand(c.Tool, c.Command)
	}
	for _, rule := range r.list() {
		if rule.tool(c.Tool) {
			return Decision{Verdict: rule.verdict, Rule: rule.text, Reasons: []string{"the first rule that matches is " + rule.text}}
		}
	}
	return Decision{Verdict: Ask, Reasons: []string{noRule}}
}

const noRule = "no rule matches"

func (r *Rules) decideCommand(tool, command string) Decision {
	if reason := refused(command); reason != "" {
		return Decision{Verdict: Deny, Reasons: []string{reason}}
	}
	parsed := parse(command)
	d := Decision{Verdict: Allow}
	if len(parsed.commands) == 0 {
		// Nothing is visible: only a rule for the whole tool can speak.
		parsed.commands = []argv{nil}
		if parsed.doubt == "" {
			parsed.doubt = "there is no command in it"
		}
	}
	for _, words := range parsed.commands {
		one := r.judge(tool, words, 0)
		if one.Verdict.rank() > d.Verdict.rank() || d.Rule == "" && len(d.Reasons) == 0 {
			d.Rule, d.Reasons = one.Rule, append(one.Reasons, d.Reasons...)
		} else if one.Verdict != Allow {
			d.Reasons = append(d.Reasons, one.Reasons...)
		}
		d.Verdict = stricter(d.Verdict, one.Verdict)
	}
	if parsed.doubt != "" {
		if d.Verdict == Allow {
			d.Rule = ""
		}
		d.Verdict = stricter(d.Verdict, Ask)
		d.Reasons = append(d.Reasons, parsed.doubt)
		return d
	}
	d.Canonical = parsed.canonical
	return d
}

// maxDepth bounds shells inside shells.
const maxDepth = 4

// judge decides about one simple command. Words that are only known at run time
// match nothing but a pattern that covers every word.
func (r *Rules) judge(tool string, words argv, depth int) Decision {
	d := Decision{Verdict: Ask, Reasons: []string{noRule + quoted(words)}}
	for _, rule := range r.list() {
		if !rule.tool(tool) || !rule.command(words) {
			continue
		}
		d = Decision{Verdict: rule.verdict, Rule: rule.text, Reasons: []string{"the first rule that matches" + quoted(words) + " is " + rule.text}}
		if rule.verdict == Allow {
			if danger := danger(words, rule.pattern); danger != "" {
				d = Decision{Verdict: Ask, Reasons: []string{danger + ", which " + rule.text + " does not spell out"}}
			}
		}
		break
	}
	if depth >= maxDepth || d.Verdict == Deny {
		return d
	}
	// What a command runs in its turn cannot make it more allowed, only denied.
	// A tail's own tails are tails of this command too, so they are not followed.
	tails, texts := carried(words)
	for _, inner := range tails {
		if in := r.judge(tool, inner, maxDepth); in.Verdict == Deny {
			return in
		}
	}
	for _, inner := range texts {
		if in := r.judge(tool, inner, depth+1); in.Verdict == Deny {
			return in
		}
	}
	return d
}

func quoted(words argv) string {
	if len(words) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(" ")
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if w.unknown {
			b.WriteString("…")
		} else {
			b.WriteString(quote(w.text, i == 0))
		}
		if b.Len() > 200 {
			b.WriteString(" …")
			break
		}
	}
	return b.String()
}

func (r *Rules) list() []rule {
	if r == nil {
		return nil
	}
	return r.rules
}

// Hides says whether no call of the tool can be anything but denied, so that
// there is no point in showing it.
func (r *Rules) Hides(tool string) bool {
	for _, rule := range r.list() {
		if !rule.tool(tool) {
			continue
		}
		if rule.verdict != Deny {
			return false
		}
		if rule.pattern == nil {
			return true
		}
	}
	return false
}
