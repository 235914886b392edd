package policy

import (
	"slices"
	"strings"
)

// WouldAllow gives the narrowest rules of an agent that would let an asked call
// pass, in the order of what the call does. It is empty if the call is allowed
// already, denied, or in doubt: then no rule can help.
func (p Policy) WouldAllow(c Call) []string {
	if d := p.Decide(c); d.Verdict != Ask {
		return nil
	}
	tools := p.tools()
	var lines []string
	for _, u := range tools.read(c).units {
		if one, _ := p.Agent.agent(u); one.verdict == Allow {
			continue
		}
		line, ok := exactRule(u)
		if !ok {
			return nil
		}
		lines = append(lines, line)
	}
	// Whether it is so is for the rules to say.
	with, err := tools.Load(lines)
	if err != nil || len(lines) == 0 {
		return nil
	}
	if p.Agent != nil {
		with.rules = append(with.rules, p.Agent.rules...)
	}
	p.Agent = with
	if p.Decide(c).Verdict != Allow {
		return nil
	}
	return lines
}

// exactRule is a rule for one thing alone.
func exactRule(u unit) (string, bool) {
	subject := ""
	switch u.tool.Subject {
	case Command:
		words := make([]string, len(u.words))
		for i, w := range u.words {
			if w.unknown || w.text == "" || strings.ContainsAny(w.text, "\n\t") {
				return "", false
			}
			// A pattern cannot write a blank: any one character stands for it.
			words[i] = strings.ReplaceAll(escape(w.text), " ", "?")
		}
		subject = "(" + strings.Join(words, " ") + ")"
	case Path:
		if u.path.root != '/' {
			return "", false
		}
		real := u.path.real[0]
		subject = "(//" + escape(strings.Join(real, "/")) + ")"
		if at := u.path.at; inWorkspace(u) {
			if root := segments(at.Workspace); len(real) >= len(root) && slices.Equal(real[:len(root)], root) {
				subject = "(/" + escape(strings.Join(real[len(root):], "/")) + ")"
			}
		}
	case Name:
		subject = "(" + escape(u.text) + ")"
	}
	line := string(Allow) + ":" + u.tool.Name + subject
	return line, len(line) <= maxRuleLength
}

// escape writes a text as a glob that matches it alone.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(`*?[]\`+shellOnly, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Change is a call that other rules judge otherwise.
type Change struct {
	Before, After Decision
}

// Compare judges a call by two policies. It gives nil if the verdict is the same.
func Compare(before, after Policy, c Call) *Change {
	b, a := before.Decide(c), after.Decide(c)
	if b.Verdict == a.Verdict {
		return nil
	}
	return &Change{Before: b, After: a}
}
