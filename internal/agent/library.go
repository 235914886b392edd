package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

const (
	// maxLibrary bounds the bytes of all skills on a worker. Those that no run uses
	// go first, the longest unused one before the others; when all are used, a skill
	// too many is left out of its run.
	maxLibrary = 64 << 20
	// fetchWithin is how long a run waits for skills before it begins without them.
	fetchWithin = 15 * time.Second
)

// library has the skills that this worker was given, by their digest, in memory and
// (if there is a workspace, whose commands may read it) in a folder of their own.
// Nothing writes to what is there: another version has another digest.
type library struct {
	dir  string // empty: in memory alone
	most int64
	wake func() // there is something to ask for

	mu      sync.Mutex
	shelves map[string]*shelf
	wanted  map[wantKey]*want
	bytes   int64
	clock   int64 // counts uses
}

// shelf is one version of one skill.
type shelf struct {
	files  []ops.SkillFile
	bytes  int64
	used   int   // runs
	last   int64 // use, by the clock
	onDisk bool
}

type wantKey struct{ run, digest string }

// want is a skill that a run waits for.
type want struct {
	ref   wire.RunRef
	skill ops.SkillRef
	asked any // the connection on which it was asked for
	done  chan struct{}
	// One of these is set before done is closed, under the library's mutex.
	shelf *shelf
	err   error
}

// newLibrary empties the folder, which belongs to this worker alone.
func newLibrary(dir string, wake func()) (*library, error) {
	l := &library{dir: dir, most: maxLibrary, wake: wake, shelves: map[string]*shelf{}, wanted: map[wantKey]*want{}}
	if dir == "" {
		return l, nil
	}
	err := removeShelf(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("agent: the folder for skills: %w", err)
	}
	return l, nil
}

// close empties the folder. No run uses it any more.
func (l *library) close() error {
	if l.dir == "" {
		return nil
	}
	if err := removeShelf(l.dir); err != nil {
		return fmt.Errorf("agent: the folder for skills: %w", err)
	}
	return nil
}

// borrow gives what a run has of its task's skills, asking the api for what is
// missing here. problems says which skills there are none of, and why; the run
// gives back what it has borrowed.
func (l *library) borrow(ctx context.Context, ref wire.RunRef, skills []ops.SkillRef) (got *guides, problems []string) {
	got = &guides{library: l}
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	wants := make([]*want, len(skills))
	l.mu.Lock()
	for i, s := range skills {
		wants[i] = &want{ref: ref, skill: s, done: make(chan struct{})}
		if b := l.shelves[s.Digest]; b != nil {
			l.lend(wants[i], b)
			continue
		}
		l.wanted[wantKey{ref.Run, s.Digest}] = wants[i]
	}
	l.mu.Unlock()
	l.wake()
	for _, w := range wants {
		select {
		case <-w.done:
		case <-ctx.Done():
		}
		l.mu.Lock()
		switch {
		case w.shelf != nil:
			got.skills = append(got.skills, heldSkill{w.skill, w.shelf})
		case w.err != nil:
			problems = append(problems, fmt.Sprintf("skill %s: %v", w.skill, w.err))
		default:
			if key := (wantKey{ref.Run, w.skill.Digest}); l.wanted[key] == w { // and not a later claim's
				delete(l.wanted, key)
			}
			problems = append(problems, fmt.Sprintf("skill %s: the api did not answer in time", w.skill))
		}
		l.mu.Unlock()
	}
	return got, problems
}

// lend fulfils a want.
func (l *library) lend(w *want, b *shelf) {
	l.clock++
	b.used, b.last = b.used+1, l.clock
	w.shelf = b
	close(w.done)
}

// unasked gives what was not asked for on this connection yet, and notes that it is.
func (l *library) unasked(conn any) (frames []*wire.Fetch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wanted {
		if w.asked != conn {
			w.asked = conn
			frames = append(frames, &wire.Fetch{RunRef: w.ref, Skill: w.skill.Name, Version: w.skill.Version, Digest: w.skill.Digest})
		}
	}
	return frames
}

// deliver takes an answer of the api. Files that are not those of the digest are
// not taken.
func (l *library) deliver(b *wire.Bundle) {
	var err error
	switch {
	case b.Problem != "":
		err = errors.New(b.Problem)
	case ops.CheckSkillFiles(b.Files) != nil || ops.SkillDigest(b.Files) != b.Digest:
		err = errors.New("what came is not what its digest says")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wanted[wantKey{b.Run, b.Digest}]
	if w == nil {
		return // nobody waits any more
	}
	delete(l.wanted, wantKey{b.Run, b.Digest})
	if err == nil {
		err = l.keep(b.Digest, b.Files)
	}
	if err == nil {
		l.lend(w, l.shelves[b.Digest])
		return
	}
	w.err = err
	close(w.done)
}

// keep puts files on a shelf, for which others may have to go.
func (l *library) keep(digest string, files []ops.SkillFile) error {
	if l.shelves[digest] != nil {
		return nil
	}
	b := &shelf{files: files, last: l.clock}
	for _, f := range files {
		b.bytes += int64(len(f.Content))
	}
	for l.bytes+b.bytes > l.most {
		oldest := ""
		for d, s := range l.shelves {
			if s.used == 0 && (oldest == "" || s.last < l.shelves[oldest].last) {
				oldest = d
			}
		}
		if oldest == "" {
			return errors.New("the library of this worker is full")
		}
		l.drop(oldest)
	}
	l.shelves[digest] = b
	l.bytes += b.bytes
	return nil
}

func (l *library) drop(digest string) {
	b := l.shelves[digest]
	l.bytes -= b.bytes
	delete(l.shelves, digest)
	if b.onDisk {
		_ = removeShelf(l.path(digest)) // if it stays, it is taken for the same again
	}
}

func (l *library) path(digest string) string {
	return filepath.Join(l.dir, strings.TrimPrefix(digest, "sha256:"))
}

// shelve writes a skill to the folder, once, all of it or nothing.
func (l *library) shelve(g heldSkill) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.path(g.ref.Digest)
	if g.shelf.onDisk {
		return at, nil
	}
	fresh := at + ".new"
	if err := errors.Join(removeShelf(fresh), removeShelf(at)); err != nil {
		return "", err
	}
	for _, f := range g.shelf.files {
		name := filepath.Join(fresh, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(name, f.Content, 0o444); err != nil {
			return "", err
		}
	}
	if err := os.Rename(fresh, at); err != nil {
		return "", err
	}
	g.shelf.onDisk = true
	return at, filepath.WalkDir(at, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o555)
		}
		return err
	})
}

// removeShelf removes a folder whose folders are read-only.
func removeShelf(dir string) error {
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o755)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// guides are the skills and runbooks that a run reads.
type guides struct {
	library  *library
	skills   []heldSkill
	runbooks []ops.RunbookRef
}

type heldSkill struct {
	ref   ops.SkillRef
	shelf *shelf
}

func (g *guides) refs() (all []ops.SkillRef) {
	for _, s := range g.skills {
		all = append(all, s.ref)
	}
	return all
}

// giveBack lets the library forget what no other run uses.
func (g *guides) giveBack() {
	g.library.mu.Lock()
	defer g.library.mu.Unlock()
	for _, s := range g.skills {
		s.shelf.used--
	}
}

// place puts what the run has into its folder: skills/NAME is a link into the
// library, runbooks/SLUG.md a file.
func (g *guides) place(dir string) error {
	if g.library.dir == "" {
		return nil
	}
	for _, sub := range []string{"skills", "runbooks"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("agent: %w", err)
		}
	}
	for _, s := range g.skills {
		at, err := g.library.shelve(s)
		if err == nil {
			err = os.Symlink(at, filepath.Join(dir, "skills", s.ref.Name))
		}
		if err != nil {
			return fmt.Errorf("agent: skill %s: %w", s.ref.Name, err)
		}
	}
	for _, r := range g.runbooks {
		if !ops.ValidGuideName(r.Slug) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "runbooks", r.Slug+".md"), []byte(r.Text), 0o444); err != nil {
			return fmt.Errorf("agent: runbook %s: %w", r.Slug, err)
		}
	}
	return nil
}

// read gives a file by its path in the run's folder, or what is in one.
func (g *guides) read(path string) (string, error) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "./"), "/")
	kind, rest, _ := strings.Cut(path, "/")
	name, inside, _ := strings.Cut(rest, "/")
	switch kind {
	case "", ".":
		return "skills/\nrunbooks/\n", nil
	case "runbooks":
		if rest == "" {
			return g.listRunbooks(), nil
		}
		for _, r := range g.runbooks {
			if rest == r.Slug+".md" {
				return r.Text, nil
			}
		}
		return "", fmt.Errorf("there is no %q; there is:\n%s", short(path), g.listRunbooks())
	case "skills":
		var names strings.Builder
		for _, s := range g.skills {
			if s.ref.Name == name {
				return s.read(inside)
			}
			names.WriteString("skills/" + s.ref.Name + "/\n")
		}
		if name == "" {
			return names.String(), nil
		}
		return "", fmt.Errorf("there is no skill %q; there is:\n%s", short(name), names.String())
	}
	return "", fmt.Errorf("paths begin with skills/ or runbooks/, and not with %q", short(kind))
}

func (g *guides) listRunbooks() string {
	var b strings.Builder
	for _, r := range g.runbooks {
		b.WriteString("runbooks/" + r.Slug + ".md\n")
	}
	return b.String()
}

func (s heldSkill) read(path string) (string, error) {
	i := slices.IndexFunc(s.shelf.files, func(f ops.SkillFile) bool { return f.Path == path })
	if i >= 0 {
		content := string(s.shelf.files[i].Content)
		if strings.ContainsRune(content, 0) || strings.ToValidUTF8(content, "") != content {
			return "", fmt.Errorf("%s is not a text", path)
		}
		return content, nil
	}
	var b strings.Builder
	for _, f := range s.shelf.files {
		if path == "" || strings.HasPrefix(f.Path, path+"/") {
			b.WriteString("skills/" + s.ref.Name + "/" + f.Path + "\n")
		}
	}
	if b.Len() == 0 {
		all, _ := s.read("")
		return "", fmt.Errorf("the skill has no %q; it has:\n%s", short(path), all)
	}
	return b.String(), nil
}
