package policy

import (
	"fmt"
	"slices"
)

// Role is what the roles of a user, taken together, deny. An entry is
// tool:NAME, tool:prefix*, tool:* or tool:NAME:PATTERN. What is denied falls
// only to an allow that is strictly narrower; nothing that a role allows is
// allowed by that, since the agent's rules decide.
type Role struct{ deny, allow []rule }

// LoadRole reads the entries of all roles of a user.
func (ts Tools) LoadRole(deny, allow []string) (*Role, error) {
	if len(deny)+len(allow) > maxRules {
		return nil, fmt.Errorf("%d entries: at most %d are allowed", len(deny)+len(allow), maxRules)
	}
	r := &Role{}
	for i, text := range append(append([]string{}, deny...), allow...) {
		v, to := Deny, &r.deny
		if i >= len(deny) {
			i, v, to = i-len(deny), Allow, &r.allow
		}
		one, column, reason := ts.parseEntry(text, v)
		if reason != "" {
			return nil, &RuleError{Index: i, Column: column, Rule: string(v) + " " + text, Reason: reason}
		}
		*to = append(*to, one)
	}
	return r, nil
}

func (ts Tools) parseEntry(text string, v Verdict) (r rule, column int, reason string) {
	const start = "tool:"
	switch {
	case len(text) > maxRuleLength:
		return r, maxRuleLength, fmt.Sprintf("longer than %d bytes", maxRuleLength)
	case refused(text) != "":
		return r, 0, "it has characters that cannot be seen"
	case len(text) < len(start) || text[:len(start)] != start:
		return r, 0, "it does not start with " + start
	}
	r.text, r.verdict = string(v)+" "+text, v
	column, reason = ts.about(&r, text[len(start):], ":", "")
	return r, len(start) + column, reason
}

// denies gives the entry that denies u, or "". If the whole call is in doubt, no
// exception counts.
func (r *Role) denies(u unit, doubt bool) string {
	if r == nil {
		return ""
	}
	for _, d := range r.deny {
		list := &Rules{rules: []rule{d}}
		if list.judge(u, 0).verdict != Deny {
			continue
		}
		lifted := false
		for _, a := range r.allow {
			lifted = lifted || !doubt && narrower(a, d) && (&Rules{rules: []rule{a}}).judge(u, 0).verdict == Allow
		}
		if !lifted {
			return d.text
		}
	}
	return ""
}

// Hides says whether no call of the tool can be anything but denied.
func (r *Role) Hides(tool string) bool {
	if r == nil {
		return false
	}
	for _, d := range r.deny {
		if d.match != nil || !d.names(tool) {
			continue
		}
		if !slices.ContainsFunc(r.allow, func(a rule) bool { return a.names(tool) && narrower(a, d) }) {
			return true
		}
	}
	return false
}

// narrower says whether a is about less than d, and about nothing else.
func narrower(a, d rule) bool { return within(a, d) && !within(d, a) }

func within(a, b rule) bool { return b.namesAll(a) && covers(b.match, a.match) }
