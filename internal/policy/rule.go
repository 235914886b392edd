package policy

import (
	"fmt"
	"strings"
)

// Limits of a rule list. They bound what one decision can cost.
const (
	maxRules      = 1000
	maxRuleLength = 1000
)

// Rules is an agent's rule list, checked.
type Rules struct{ rules []rule }

// A rule matches tools and, with a pattern, commands.
type rule struct {
	text    string
	verdict Verdict
	tools   []string
	pattern *pattern // nil: whatever the arguments
}

func (r rule) tool(name string) bool {
	for _, t := range r.tools {
		if t == name {
			return true
		}
	}
	return false
}

func (r rule) command(words argv) bool {
	return r.pattern == nil || r.pattern.match(words, r.verdict != Allow)
}

// RuleError names the rule that is wrong.
type RuleError struct {
	Index  int // from 0
	Rule   string
	Reason string
}

// Error implements error.
func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d, %q: %s", e.Index+1, e.Rule, e.Reason)
}

// Load reads a rule list in the grammar of the package comment. Any fault in
// any rule is a [RuleError]. No rules at all are fine: everything is asked.
func Load(lines []string) (*Rules, error) {
	if len(lines) > maxRules {
		return nil, fmt.Errorf("%d rules: at most %d are allowed", len(lines), maxRules)
	}
	r := &Rules{rules: make([]rule, 0, len(lines))}
	for i, line := range lines {
		one, reason := parseRule(line)
		if reason != "" {
			return nil, &RuleError{Index: i, Rule: line, Reason: reason}
		}
		r.rules = append(r.rules, one)
	}
	return r, nil
}

func parseRule(line string) (r rule, reason string) {
	if len(line) > maxRuleLength {
		return r, fmt.Sprintf("longer than %d bytes", maxRuleLength)
	}
	if reason := refused(line); reason != "" || strings.ContainsAny(line, "\n\t") {
		return r, "it has characters that cannot be seen"
	}
	verb, subject, ok := strings.Cut(line, ":")
	switch v := Verdict(verb); {
	case !ok:
		return r, "it has no colon; a rule is allow:, deny: or ask: and what it is about"
	case v != Allow && v != Deny && v != Ask:
		return r, fmt.Sprintf("it starts with %q instead of allow, deny or ask", verb)
	default:
		r.text, r.verdict = line, v
	}
	name, rest, hasPattern := strings.Cut(subject, "(")
	if name != strings.TrimSpace(name) {
		return r, "no blank may stand around the tool's name"
	}
	prefix, isPrefix := strings.CutSuffix(name, "*")
	if !wellFormed(prefix) || prefix == "" && !isPrefix {
		return r, fmt.Sprintf("%q is not the name of a tool", name)
	}
	for _, t := range tools {
		if t.name == name || isPrefix && strings.HasPrefix(t.name, prefix) {
			r.tools = append(r.tools, t.name)
		}
	}
	if len(r.tools) == 0 {
		return r, fmt.Sprintf("there is no tool %q", name)
	}
	if !hasPattern {
		return r, ""
	}
	text, closed := strings.CutSuffix(rest, ")")
	if isPrefix || !closed {
		return r, "a pattern is written Tool(pattern), with one whole tool name"
	}
	if _, command := Knows(name); !command {
		return r, fmt.Sprintf("calls of %s have nothing that a pattern could match", name)
	}
	r.pattern, reason = parsePattern(text)
	return r, reason
}

// wellFormed says whether s can be a tool's name or the start of one.
func wellFormed(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return len(s) <= 128
}

// Unreachable reports the rules that can never decide, because rules before
// them cover all that they match.
func (r *Rules) Unreachable() []RuleError {
	var found []RuleError
	list := r.list()
	for i, later := range list {
		covered := 0
		by := ""
		for _, t := range later.tools {
			for _, earlier := range list[:i] {
				if earlier.tool(t) && earlier.pattern.covers(later.pattern) {
					covered++
					by = earlier.text
					break
				}
			}
		}
		if covered == len(later.tools) {
			found = append(found, RuleError{Index: i, Rule: later.text, Reason: "unreachable: " + by + " comes first"})
		}
	}
	return found
}
