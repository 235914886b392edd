package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Limits of a path.
const (
	maxPath     = 4096
	maxSegments = 256
	maxLinks    = 40
)

// Place is where the paths of a call are: absolute folders, and what is a
// symbolic link there. Without it only absolute paths without .. can be allowed.
//
// What is judged here may be another file when it is opened. Whoever opens it
// must not follow links that have appeared since: os.Root does not.
type Place struct {
	Workspace, Home, Dir string
	// Bounded: it is the workspace of a run. The tools for files reach nothing
	// else, and write below its work/ alone, whatever rules say; that much they
	// may where rules say nothing.
	Bounded bool
	// Link gives what a symbolic link holds, and "" for everything that is none
	// or does not exist. An error denies the call. Without it there are no links.
	Link func(path string) (string, error)
}

// place is a path that was understood.
type place struct {
	written string
	root    byte     // / if it is absolute; ~ or . for a home or working folder that is not known
	segs    []string // as written, without . and ..
	// real is where it leads: as the kernel goes and, since programs do that too,
	// with .. taken away before links are followed.
	real [][]string
	at   *Place
}

// locate understands a path. It is in doubt if where it leads cannot be known
// from here.
func locate(text string, local bool, at *Place) (p place, doubt, refusal string) {
	p = place{written: text, root: '/', at: at}
	user, rest, _ := strings.Cut(text, "/")
	switch {
	case text == "":
		return p, "", "the path is empty"
	case len(text) > maxPath, strings.Count(text, "/") > maxSegments:
		return p, "", fmt.Sprintf("the path is longer than %d bytes or %d folders", maxPath, maxSegments)
	case strings.HasPrefix(user, "~") && user != "~":
		return p, "", "the path is in another user's home"
	case strings.ContainsAny(text, "\n\t"):
		return p, "", "the path has a line break or a tab in it"
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Mn, unicode.Me) }):
		return p, "", "the path has a combining character in it: the same name can be written in more than one way"
	}
	base, from := "", text
	if !local {
		at, p.at = nil, nil
	}
	switch {
	case user == "~":
		p.root, from = '~', rest
		if at != nil {
			base = at.Home
		}
	case text[0] != '/':
		p.root = '.'
		if at != nil {
			base = at.Dir
		}
	}
	if base != "" {
		p.root = '/'
	} else if p.root != '/' {
		doubt = "the path is in a folder that is only known when it is opened"
	}
	raw := segments(base + "/" + from)
	p.segs = segments(path.Clean("/" + strings.Join(raw, "/")))
	p.real = [][]string{p.segs}
	if at == nil || at.Link == nil || p.root != '/' {
		if doubt == "" && slices.Contains(raw, "..") {
			doubt = "the path goes up through .."
		}
		return p, doubt, ""
	}
	p.real = nil
	for _, names := range [][]string{raw, p.segs} {
		real, err := follow(names, at.Link)
		if err != nil {
			return p, "", "where the path leads cannot be found out: " + err.Error()
		}
		p.real = append(p.real, real)
	}
	return p, doubt, ""
}

// segments are the names in a path, without empty ones and single dots.
func segments(text string) []string {
	var all []string
	for s := range strings.SplitSeq(text, "/") {
		if s != "" && s != "." {
			all = append(all, s)
		}
	}
	return all
}

// follow gives where an absolute path leads as the kernel would: link by link,
// and .. from there.
func follow(raw []string, link func(string) (string, error)) ([]string, error) {
	todo := slices.Clone(raw)
	var done []string
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			done = done[:max(0, len(done)-1)]
			continue
		}
		target, err := link("/" + strings.Join(append(slices.Clone(done), name), "/"))
		if err != nil {
			return nil, err
		}
		if target == "" {
			done = append(done, name)
			continue
		}
		if links++; links > maxLinks || len(todo) > maxSegments {
			return nil, fmt.Errorf("there are more than %d links in it", maxLinks)
		}
		if strings.HasPrefix(target, "/") {
			done = nil
		}
		todo = append(segments(target), todo...)
	}
	return done, nil
}

// pathGlob matches paths: globs that match inside one name, and ** for any
// number of names, none included. So /a/** is /a and all below it.
type pathGlob struct {
	root byte // / absolute, w workspace, ~ home, . working folder
	segs []segment
}

// segment is one name of a path glob.
type segment struct {
	any    bool // **
	text   string
	g      glob
	folded glob
}

func parsePathGlob(text string, local bool) (matcher, string) {
	p := &pathGlob{root: '.'}
	rest := text
	switch {
	case text == "":
		return nil, "the pattern is empty; write the rule without parentheses to match every path"
	case strings.HasPrefix(text, "//"):
		p.root, rest = '/', text[2:]
	case strings.HasPrefix(text, "/"):
		if p.root, rest = 'w', text[1:]; !local {
			p.root = '/'
		}
	case text == "~", strings.HasPrefix(text, "~/"):
		p.root, rest = '~', text[1:]
	case strings.HasPrefix(text, "~"):
		return nil, "a pattern cannot be in another user's home"
	case text != "." && !strings.HasPrefix(text, "./"):
		return nil, "a path begins with // (absolute), / (workspace), ~/ (home) or ./ (working folder)"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Mn, unicode.Me) }) {
		return nil, "it has a combining character in it: write the name with composed characters"
	}
	for _, name := range segments(rest) {
		switch {
		case name == "..":
			return nil, "a pattern cannot go up through .."
		case name == "**":
			if n := len(p.segs); n == 0 || !p.segs[n-1].any {
				p.segs = append(p.segs, segment{any: true, text: name})
			}
			continue
		case strings.Contains(name, "**"):
			return nil, "** stands alone between slashes"
		}
		g, reason := parsePlainGlob(name)
		if reason != "" {
			return nil, reason
		}
		folded, reason := parsePlainGlob(fold(name))
		if reason != "" {
			return nil, reason
		}
		p.segs = append(p.segs, segment{text: name, g: g, folded: folded})
	}
	return p, ""
}

// fold is a name as a file system sees it that does not care for case, and
// drops dots and blanks at the end.
func fold(name string) string {
	if short := strings.TrimRight(name, ". "); short != "" {
		name = short
	}
	return strings.ToLower(name)
}

func (p *pathGlob) matches(u unit, restricts bool) bool {
	if len(p.segs) == 1 && p.segs[0].any && p.root == '/' {
		return true
	}
	prefix, same := p.prefix(u.path)
	if !same {
		return false
	}
	whole := append(literals(prefix), p.segs...)
	behind := p.behindLinks(whole, u.path.at)
	if restricts {
		return p.is(whole, u.path.segs, true, u.tool.Below) || slices.ContainsFunc(u.path.real, func(names []string) bool {
			return p.is(whole, names, true, u.tool.Below) || p.is(behind, names, true, u.tool.Below)
		})
	}
	return (!u.tool.Below || len(whole) > 0 && whole[len(whole)-1].any) &&
		!slices.ContainsFunc(u.path.real, func(names []string) bool { return !p.is(behind, names, false, false) })
}

// prefix gives the folder that p begins in, if that and the path's can be compared.
func (p *pathGlob) prefix(at place) ([]string, bool) {
	base := ""
	switch {
	case p.root == '/':
		return nil, at.root == '/'
	case at.at == nil:
		// Nobody has said where the workspace is: it is all there is.
		return nil, p.root == at.root || p.root == 'w' && at.root == '/'
	case p.root == 'w':
		base = at.at.Workspace
	case p.root == '~':
		base = at.at.Home
	default:
		base = at.at.Dir
	}
	if base == "" {
		return nil, p.root == at.root
	}
	return segments(base), at.root == '/'
}

func literals(names []string) []segment {
	all := make([]segment, 0, len(names)+4)
	for _, n := range names {
		all = append(all, segment{text: n, g: literal(n), folded: literal(fold(n))})
	}
	return all
}

// behindLinks resolves the part of a glob that has no wildcards.
func (p *pathGlob) behindLinks(whole []segment, at *Place) []segment {
	if at == nil || at.Link == nil {
		return whole
	}
	var names []string
	for _, s := range whole {
		if s.any || !s.g.literal() {
			break
		}
		names = append(names, s.g.text())
	}
	real, err := follow(names, at.Link)
	if err != nil {
		return whole
	}
	return append(literals(real), whole[len(names):]...)
}

// is says whether a path matches. With below, it also does if something below
// it could. Cost: names times segments.
func (p *pathGlob) is(whole []segment, names []string, folded, below bool) bool {
	// at[i]: the names so far match the first i segments.
	at := make([]bool, len(whole)+1)
	at[0] = true
	spread := func() {
		for i, s := range whole {
			if s.any && at[i] {
				at[i+1] = true
			}
		}
	}
	spread()
	for _, name := range names {
		for i := len(whole); i > 0; i-- {
			s := whole[i-1]
			switch {
			case s.any:
				at[i] = at[i] || at[i-1]
			case folded:
				at[i] = at[i-1] && (s.g.match(name) || s.folded.match(fold(name)))
			default:
				at[i] = at[i-1] && s.g.match(name)
			}
		}
		at[0] = false
		spread()
	}
	return at[len(whole)] || below && slices.Contains(at, true)
}

func (p *pathGlob) covers(other matcher) bool {
	q, ok := other.(*pathGlob)
	everything := len(p.segs) == 1 && p.segs[0].any && p.root == '/'
	switch {
	case everything:
		return true
	case !ok || p.root != q.root:
		return false
	}
	n := len(p.segs)
	for i, s := range p.segs {
		if s.any && i == n-1 {
			return true
		}
		if i >= len(q.segs) || s.any != q.segs[i].any || !s.any && !s.g.everything() && s.text != q.segs[i].text {
			return false
		}
		if s.g.everything() && q.segs[i].any {
			return false
		}
	}
	return n == len(q.segs)
}
