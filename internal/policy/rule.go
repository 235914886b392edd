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

// Rules is a rule list, checked.
type Rules struct {
	tools Tools
	rules []rule
}

// A rule matches tools and, with a pattern, some of their calls.
type rule struct {
	text    string
	verdict Verdict
	tools   []string
	// open: it is about all configured tools whose names begin with prefix.
	open   bool
	prefix string
	match  matcher // nil: whatever the arguments
	// shells: it is also about the commands of configured tools.
	shells bool
}

// matcher is the pattern of a rule: one of *pattern, class, *pathGlob, nameGlob,
// fields, shellPattern and, of the platform, ending.
type matcher interface {
	// matches says whether the pattern is about u. Rules that restrict match
	// more than rules that allow: they also look through what a name hides.
	matches(u unit, restricts bool) bool
	// covers says whether everything that other matches is certainly matched.
	covers(other matcher) bool
}

func (r rule) about(u unit) bool {
	named := r.names(u.tool.Name) || r.shells && u.tool.Subject == Command && configured(u.tool.Name)
	return named && (r.match == nil || r.match.matches(u, r.verdict != Allow))
}

// RuleError names the rule that is wrong.
type RuleError struct {
	Index  int // from 0
	Column int // in bytes from 0, where the fault begins
	Rule   string
	Reason string
}

// Error implements error.
func (e *RuleError) Error() string {
	at := ""
	if e.Column > 0 {
		at = fmt.Sprintf(" at column %d", e.Column+1)
	}
	return fmt.Sprintf("rule %d, %q%s: %s", e.Index+1, e.Rule, at, e.Reason)
}

// Load reads a list of rules about the built-in tools. See [Tools.Load].
func Load(lines []string) (*Rules, error) { return builtin.Load(lines) }

// Load reads a rule list in the grammar of the package comment. Any fault in
// any rule is a [RuleError]. No rules at all are fine: everything is asked.
func (ts Tools) Load(lines []string) (*Rules, error) {
	if len(lines) > maxRules {
		return nil, fmt.Errorf("%d rules: at most %d are allowed", len(lines), maxRules)
	}
	r := &Rules{tools: ts, rules: make([]rule, 0, len(lines))}
	for i, line := range lines {
		one, column, reason := ts.parse(line)
		if reason != "" {
			return nil, &RuleError{Index: i, Column: column, Rule: line, Reason: reason}
		}
		r.rules = append(r.rules, one)
	}
	return r, nil
}

func (ts Tools) parse(line string) (r rule, column int, reason string) {
	if len(line) > maxRuleLength {
		return r, maxRuleLength, fmt.Sprintf("longer than %d bytes", maxRuleLength)
	}
	if at := strings.IndexFunc(line, func(c rune) bool { return c == '\n' || c == '\t' || refused(string(c)) != "" }); at >= 0 {
		return r, at, "it has characters that cannot be seen"
	}
	verb, subject, ok := strings.Cut(line, ":")
	switch v := Verdict(verb); {
	case !ok:
		return r, 0, "it has no colon; a rule is allow:, deny: or ask: and what it is about"
	case v != Allow && v != Deny && v != Ask:
		return r, 0, fmt.Sprintf("it starts with %q instead of allow, deny or ask", verb)
	default:
		r.text, r.verdict = line, v
	}
	column, reason = ts.about(&r, subject, "(", ")")
	return r, len(verb) + 1 + column, reason
}

// about reads what a rule is about: *, Tool, prefix* or a tool with a pattern
// between open and closed.
func (ts Tools) about(r *rule, subject, open, closed string) (column int, reason string) {
	name, rest, hasPattern := strings.Cut(subject, open)
	if name != strings.TrimSpace(name) {
		return 0, "no blank may stand around the tool's name"
	}
	prefix, isPrefix := strings.CutSuffix(name, "*")
	if !wellFormed(prefix) || prefix == "" && !isPrefix {
		return 0, fmt.Sprintf("%q is not the name of a tool", name)
	}
	for _, t := range ts {
		if t.Name == name || isPrefix && strings.HasPrefix(t.Name, prefix) {
			r.tools = append(r.tools, t.Name)
		}
	}
	switch {
	case isPrefix:
		r.prefix, r.open = prefix, opens(prefix)
	case len(r.tools) == 0 && configured(name):
		r.tools = []string{name}
	}
	if len(r.tools) == 0 && !(r.open && strings.Contains(prefix, "_")) {
		return 0, fmt.Sprintf("there is no tool %q", name)
	}
	if !hasPattern {
		return 0, ""
	}
	column = len(name) + 1
	text, whole := strings.CutSuffix(rest, closed)
	if isPrefix || !whole {
		return column, "a pattern is written Tool(pattern), with one whole tool name"
	}
	tool, _ := ts.find(name)
	if called, ok := strings.CutPrefix(text, "@"); ok && (tool.Subject == Command || tool.Subject == Path && tool.ReadOnly) {
		if called != diagnosticsClass {
			return column, fmt.Sprintf("there is no class @%s; there is @%s", called, diagnosticsClass)
		}
		r.match = class{tool.Subject}
		return column, ""
	}
	switch tool.Subject {
	case Command:
		r.match, reason = parsePattern(text)
	case Path:
		r.match, reason = parsePathGlob(text, tool.Local)
	case Name:
		r.match, reason = parseNameGlob(text, tool.Fold)
	case Arguments:
		if configured(name) {
			r.match, reason = parseConfigured(text)
			break
		}
		r.match, reason = parseFields(text)
	default:
		reason = fmt.Sprintf("calls of %s have nothing that a pattern could match", name)
	}
	return column, reason
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
		parts := make([]rule, 0, len(later.tools)+1)
		for _, t := range later.tools {
			parts = append(parts, rule{tools: []string{t}})
		}
		if later.open {
			parts = append(parts, rule{open: true, prefix: later.prefix})
		}
		covered := 0
		by := ""
		for _, part := range parts {
			for _, earlier := range list[:i] {
				if earlier.namesAll(part) && covers(earlier.match, later.match) {
					covered++
					by = earlier.text
					break
				}
			}
		}
		if covered == len(parts) {
			found = append(found, RuleError{Index: i, Rule: later.text, Reason: "unreachable: " + by + " comes first"})
		}
	}
	return found
}

// covers is matcher.covers, where nil matches everything.
func covers(a, b matcher) bool {
	if a == nil {
		return true
	}
	return a.covers(b)
}

// Lines gives the rules as they were written.
func (r *Rules) Lines() []string {
	lines := make([]string, len(r.list()))
	for i, one := range r.list() {
		lines[i] = one.text
	}
	return lines
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
		if !rule.names(tool) {
			continue
		}
		if rule.verdict != Deny {
			return false
		}
		if rule.match == nil {
			return true
		}
	}
	return false
}
