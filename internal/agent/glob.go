package agent

import (
	"path"
	"slices"
	"strings"
)

// maxGlobNames bounds the names in a pattern.
const maxGlobNames = 32

// glob matches paths: globs of [path.Match] inside a name, and ** for any number
// of names, none included. One without a slash is about the last name. The zero
// glob matches everything.
type glob []string

func newGlob(pattern string) (glob, error) {
	if pattern == "" {
		return nil, nil
	}
	if !strings.Contains(pattern, "/") && pattern != "**" {
		pattern = "**/" + pattern
	}
	var g glob
	for name := range strings.SplitSeq(pattern, "/") {
		_, err := path.Match(name, "")
		switch {
		case err != nil:
			return nil, refused("the glob has a [ that is not closed, or a backslash at its end")
		case name == "..":
			return nil, refused("a glob cannot go up through ..: name the folder in path")
		case name == "", name == ".", name == "**" && len(g) > 0 && g[len(g)-1] == "**":
			continue
		case len(g) == maxGlobNames:
			return nil, refused("the glob has too many names")
		}
		g = append(g, name)
	}
	return g, nil
}

// matches costs at most names times names.
func (g glob) matches(name string) bool {
	if g == nil {
		return true
	}
	at := make([]bool, len(g)+1) // the names so far match the first i of g
	at[0] = true
	spread := func() {
		for i, one := range g {
			at[i+1] = at[i+1] || one == "**" && at[i]
		}
	}
	spread()
	for part := range strings.SplitSeq(name, "/") {
		for i, one := range slices.Backward(g) {
			if one == "**" {
				at[i+1] = at[i+1] || at[i]
				continue
			}
			ok, err := path.Match(one, part)
			at[i+1] = at[i] && ok && err == nil
		}
		at[0] = false
		spread()
	}
	return at[len(g)]
}
