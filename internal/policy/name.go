package policy

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// nameGlob matches a name as a whole.
type nameGlob struct {
	text      string
	g, folded glob
	fold      bool // case does not matter to whoever gets the name
}

func parseNameGlob(text string, folds bool) (matcher, string) {
	if text == "" {
		return nil, "the pattern is empty; write the rule without parentheses to match every call"
	}
	n := nameGlob{text: text, fold: folds}
	var reason string
	if n.g, reason = parsePlainGlob(text); reason == "" {
		n.folded, reason = parsePlainGlob(strings.ToLower(text))
	}
	if reason == "" && strings.ContainsAny(text, " \t") {
		reason = "a name has no blanks"
	}
	return n, reason
}

func (n nameGlob) matches(u unit, _ bool) bool {
	return n.g.match(u.text) || n.fold && n.folded.match(strings.ToLower(u.text))
}

func (n nameGlob) covers(other matcher) bool {
	m, ok := other.(nameGlob)
	return n.g.everything() || ok && (n.text == m.text || m.g.literal() && n.g.match(m.g.text()))
}

// isName says whether text can be a name at all.
func isName(text string) bool {
	for _, c := range []byte(text) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.:/-", c) >= 0) {
			return false
		}
	}
	return text != "" && len(text) <= 200
}

// fields matches arguments by name. All of them must match. A value is typed: a
// number matches a number that is the same, true and false a bool, everything
// else is a glob for a text.
type fields []field

type field struct {
	name, text string
	number     *big.Rat
	truth      *bool
	g          glob
}

func parseFields(text string) (matcher, string) {
	var all fields
	for word := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" || !wellFormed(name) {
			return nil, fmt.Sprintf("%q is not of the form argument=value", word)
		}
		f := field{name: name, text: value}
		switch number, isNumber := exact(value); {
		case slices.ContainsFunc(all, func(o field) bool { return o.name == name }):
			return nil, "it names " + name + " twice"
		case isNumber:
			f.number = number
		case value == "true" || value == "false":
			truth := value == "true"
			f.truth = &truth
		default:
			var reason string
			if f.g, reason = parsePlainGlob(value); reason != "" {
				return nil, reason
			}
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, "the pattern is empty; write the rule without parentheses to match every call"
	}
	return all, ""
}

// exact reads a JSON number of moderate size.
func exact(text string) (*big.Rat, bool) {
	if len(text) > 40 || strings.ContainsAny(text, "/_xXbBoOpP") {
		return nil, false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 && len(text)-i > 4 {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

func (fs fields) matches(u unit, restricts bool) bool {
	if u.tool.Subject == Command && !restricts {
		return false // what the command does, they do not say
	}
	return fs.match(u)
}

func (fs fields) match(u unit) bool {
	for _, f := range fs {
		value, given := u.args[f.name]
		if same, _ := f.is(value); !given || !same {
			return false
		}
	}
	return true
}

// is says whether a value is what f wants, and whether it is of its type.
func (f field) is(value any) (same, typed bool) {
	switch v := value.(type) {
	case json.Number:
		n, ok := exact(v.String())
		return ok && f.number != nil && n.Cmp(f.number) == 0, ok && f.number != nil
	case bool:
		return f.truth != nil && *f.truth == v, f.truth != nil
	case string:
		text := f.number == nil && f.truth == nil
		return text && f.g.match(v), text
	}
	return false, false
}

// mistyped names an argument whose type is not the one that a rule wants. Such a
// call is denied: the rule was not got around by writing 1000 as "1e3".
func (fs fields) mistyped(u unit) string {
	for _, f := range fs {
		if value, given := u.args[f.name]; given {
			if _, typed := f.is(value); !typed {
				return f.name
			}
		}
	}
	return ""
}

func (fs fields) covers(other matcher) bool {
	more, ok := other.(fields)
	if !ok {
		return false
	}
	for _, f := range fs {
		if !slices.ContainsFunc(more, func(o field) bool {
			return o.name == f.name && (o.text == f.text || f.g.everything() && o.g != nil)
		}) {
			return false
		}
	}
	return true
}
