package ingest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// path is the part of JSONPath (RFC 9535) that names one place: a root, then
// members ($.a.b, $["a b"]) and elements ($.a[0], $.a[-1]). There are no
// wildcards, slices and filters: a field of an alert is one value, and what a
// sender posts decides on no amount of work.
//
// The root is $, the body, or @, the alert.
type path struct {
	relative bool
	steps    []step
}

type step struct {
	name  string
	index int
	array bool // index counts, not name
}

const (
	maxPath  = 300 // bytes
	maxSteps = 32
)

func isPath(expression string) bool {
	return expression == "$" || expression == "@" || len(expression) > 1 &&
		(expression[0] == '$' || expression[0] == '@') && (expression[1] == '.' || expression[1] == '[')
}

func parsePath(s string) (path, error) {
	if len(s) > maxPath {
		return path{}, fmt.Errorf("a path has at most %d bytes", maxPath)
	}
	if !isPath(s) {
		return path{}, errors.New("a path starts with $ or @, then .name or [")
	}
	p := path{relative: s[0] == '@'}
	rest := s[1:]
	for rest != "" {
		if len(p.steps) == maxSteps {
			return path{}, fmt.Errorf("a path has at most %d steps", maxSteps)
		}
		st, after, err := nextStep(rest)
		if err != nil {
			return path{}, fmt.Errorf("path %s: %w", s, err)
		}
		p.steps = append(p.steps, st)
		rest = after
	}
	return p, nil
}

func nextStep(s string) (st step, rest string, err error) {
	if name, ok := strings.CutPrefix(s, "."); ok {
		end := strings.IndexAny(name, ".[")
		if end < 0 {
			end = len(name)
		}
		if end == 0 || strings.ContainsAny(name[:end], "*?@$()'\"] ,:") {
			return step{}, "", errors.New(`a name behind a dot has none of * ? @ $ ( ) ' " ] , : and no blank; write ["…"]`)
		}
		return step{name: name[:end]}, name[end:], nil
	}
	inner, ok := strings.CutPrefix(s, "[")
	if !ok || inner == "" {
		return step{}, "", errors.New("expected .name or [")
	}
	if quote := inner[0]; quote == '"' || quote == '\'' {
		end := strings.IndexByte(inner[1:], quote)
		if end < 0 || !strings.HasPrefix(inner[end+2:], "]") {
			return step{}, "", errors.New("a name in brackets ends in its quote and ]")
		}
		return step{name: inner[1 : end+1]}, inner[end+3:], nil
	}
	number, rest, ok := strings.Cut(inner, "]")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return step{}, "", errors.New(`in brackets is a number or a name in quotes`)
	}
	return step{index: n, array: true}, rest, nil
}

// in gives what is at p, or nil.
func (p path) in(v any) any {
	for _, st := range p.steps {
		switch at := v.(type) {
		case map[string]any:
			if st.array {
				return nil
			}
			v = at[st.name]
		case []any:
			i := st.index
			if i < 0 {
				i += len(at)
			}
			if !st.array || i < 0 || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}
