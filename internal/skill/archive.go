package skill

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Bounds of an archive or a folder of skills.
const (
	// MaxArchive is how many bytes an archive may have, packed.
	MaxArchive   = 8 << 20
	maxUnpacked  = 32 << 20
	maxEntries   = 2000
	maxInArchive = 50 // skills
)

// These end the reading of an archive that unpacks to more than it may.
var (
	errTooMuch = ops.Errorf(ops.CodeTooLarge, "it unpacks to more than %d MiB", maxUnpacked>>20)
	errTooMany = ops.Errorf(ops.CodeTooLarge, "there are more than %d files and folders in it", maxEntries)
)

// Import reads the skills in a zip or a tar.gz: every folder with a SKILL.md is
// one, be it the root, which then has no name to agree with. What stands outside of them,
// such as the README of a repository, is left out. Its errors are for people.
func Import(archive []byte) ([]Skill, error) {
	if len(archive) > MaxArchive {
		return nil, ops.Errorf(ops.CodeTooLarge, "an archive has at most %d MiB", MaxArchive>>20)
	}
	var c collector
	var err error
	switch {
	case bytes.HasPrefix(archive, []byte("PK\x03\x04")):
		err = c.zip(archive)
	case bytes.HasPrefix(archive, []byte{0x1f, 0x8b}):
		err = c.tarGz(archive)
	default:
		return nil, ops.Errorf(ops.CodeInvalid, "this is neither a zip nor a tar.gz")
	}
	if err != nil {
		return nil, forPeople("the archive cannot be read", err)
	}
	return c.skills()
}

// Folder reads the skills in a folder, as [Import] does. Symbolic links in it
// are refused.
func Folder(dir fs.FS) ([]Skill, error) {
	var c collector
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if junk(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return c.count(name)
		}
		if !d.Type().IsRegular() {
			return notPlain(name)
		}
		f, err := dir.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(c.add(name, f), f.Close())
	})
	if err != nil {
		return nil, forPeople("the folder cannot be read", err)
	}
	return c.skills()
}

// collector takes files as they come, within the bounds.
type collector struct {
	files   []ops.SkillFile
	seen    map[string]bool
	entries int
	bytes   int64
}

// count refuses an entry too many, and one whose name is no path below the root.
func (c *collector) count(name string) error {
	if c.entries++; c.entries > maxEntries {
		return errTooMany
	}
	name = strings.TrimSuffix(name, "/")
	if !fs.ValidPath(name) || strings.ContainsRune(name, '\\') || len(name) > 1000 {
		return ops.Errorf(ops.CodeInvalid, "it has %.60q in it, which is not a path below its root", name)
	}
	return nil
}

func (c *collector) add(name string, content io.Reader) error {
	if err := c.count(name); err != nil {
		return err
	}
	if c.seen[name] {
		return ops.Errorf(ops.CodeInvalid, "%.60q is in it twice", name)
	}
	// One byte more than it may have, to know that it has.
	data, err := io.ReadAll(io.LimitReader(content, maxUnpacked-c.bytes+1))
	if c.bytes += int64(len(data)); c.bytes > maxUnpacked {
		return errTooMuch
	}
	if err != nil {
		return err
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[name] = true
	c.files = append(c.files, ops.SkillFile{Path: name, Content: data})
	return nil
}

func (c *collector) zip(archive []byte) error {
	// The directory is read as a whole: it is within the archive's bound, and says
	// of each file how large it is, which nothing here believes.
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // paths are judged by count
		return err
	}
	if len(r.File) > maxEntries {
		return errTooMany
	}
	for _, f := range r.File {
		name := strings.TrimPrefix(f.Name, "./")
		if name == "" || junk(name) {
			continue
		}
		mode := f.Mode()
		switch {
		case mode.IsDir():
			err = c.count(name)
		case !mode.IsRegular():
			err = notPlain(name)
		case f.Flags&1 != 0:
			err = ops.Errorf(ops.CodeInvalid, "%.60q in it is encrypted", name)
		default:
			var content io.ReadCloser
			if content, err = f.Open(); err == nil {
				err = errors.Join(c.add(name, content), content.Close())
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) tarGz(archive []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	// Headers and padding count, too: a tar of nothing but those is no way around.
	all := &io.LimitedReader{R: z, N: maxUnpacked + maxEntries*1536}
	t := tar.NewReader(all)
	for {
		h, err := t.Next()
		if err == io.EOF { //nolint:errorlint // as the reader's documentation says
			return nil
		}
		if all.N <= 0 {
			return errTooMuch
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		name := strings.TrimPrefix(h.Name, "./")
		if name == "" || name == "." || junk(name) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = c.count(name)
		case tar.TypeReg:
			err = c.add(name, t)
		case tar.TypeXGlobalHeader: // of git archive
			continue
		default:
			err = notPlain(name)
		}
		if err != nil {
			return err
		}
	}
}

// skills makes one of each folder that has a SKILL.md.
func (c *collector) skills() ([]Skill, error) {
	var roots []string
	for _, f := range c.files {
		if path.Base(f.Path) == ops.SkillMain {
			roots = append(roots, path.Dir(f.Path))
		}
	}
	slices.Sort(roots)
	switch {
	case len(roots) == 0:
		return nil, ops.Errorf(ops.CodeInvalid, "there is no %s in it", ops.SkillMain)
	case len(roots) > maxInArchive:
		return nil, ops.Errorf(ops.CodeTooLarge, "there are more than %d skills in it", maxInArchive)
	}
	var out []Skill
	for i, root := range roots {
		for _, outer := range roots[:i] {
			if outer == "." || strings.HasPrefix(root, outer+"/") {
				return nil, ops.Errorf(ops.CodeInvalid, "a skill stands in another one: there is a %s in %s and in %s", ops.SkillMain, outer, root)
			}
		}
		var files []ops.SkillFile
		for _, f := range c.files {
			if rel, ok := strings.CutPrefix(f.Path, root+"/"); ok || root == "." {
				if !ok {
					rel = f.Path
				}
				files = append(files, ops.SkillFile{Path: rel, Content: f.Content})
			}
		}
		s, err := Of(files)
		if err != nil && root != "." {
			return nil, forPeople(root, err)
		}
		if err != nil {
			return nil, err
		}
		if root != "." && path.Base(root) != s.About.Name {
			return nil, ops.Errorf(ops.CodeInvalid, "the folder of a skill is called as the skill: this is %s, and its name is %s", root, s.About.Name)
		}
		if slices.ContainsFunc(out, func(o Skill) bool { return o.About.Name == s.About.Name }) {
			return nil, ops.Errorf(ops.CodeInvalid, "two skills in it are called %s", s.About.Name)
		}
		out = append(out, s)
	}
	return out, nil
}

// Zip packs a skill, so that [Import] reads it: the same files give the same bytes.
func Zip(name string, files []ops.SkillFile) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	sorted := slices.SortedFunc(slices.Values(files), func(x, y ops.SkillFile) int { return strings.Compare(x.Path, y.Path) })
	for _, f := range sorted {
		h := &zip.FileHeader{Name: name + "/" + f.Path, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(0o644)
		w, err := z.CreateHeader(h)
		if err != nil {
			return nil, fmt.Errorf("skill: pack %s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, fmt.Errorf("skill: pack %s: %w", f.Path, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("skill: pack %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// junk is what systems put into archives and folders by themselves.
func junk(name string) bool {
	base := path.Base(name)
	first, _, _ := strings.Cut(name, "/")
	return first == "__MACOSX" || base == ".DS_Store" || base == ".git" || strings.Contains(name, "/.git/") || first == ".git"
}

func notPlain(name string) error {
	return ops.Errorf(ops.CodeInvalid, "%.60q in it is a link or something else that is no plain file", name)
}

// forPeople says where an error is. What the readers of archives say, people may read.
func forPeople(where string, err error) error {
	if e, ok := errors.AsType[*ops.Error](err); ok {
		return ops.Errorf(e.Code, "%s: %s", where, e.Message)
	}
	return ops.Errorf(ops.CodeInvalid, "%s: %s", where, err.Error())
}
