package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	plaintext "github.com/akmatori/akmatori/internal/plain"
	"github.com/akmatori/akmatori/internal/sandbox"
)

// Bounds of the tools for files.
const (
	someLines, maxLines     = 500, 2000 // that Read shows
	maxLine                 = 2000      // bytes of one line
	someMatches, maxMatches = 100, 500
	maxContext              = 10
	maxListed               = 500       // files that Glob names
	maxShown                = 128 << 10 // bytes of a result
	maxWalked               = 20_000    // files and folders that are looked at
	maxScanned              = 128 << 20 // bytes that are read for one call
	maxEdited               = 1 << 20   // bytes of a file that Edit changes
	maxFiles, maxFilesBytes = 2000, 64 << 20
	filesTimeout            = 20 * time.Second
)

// refused is why a tool for files did not do what it was asked; the model reads it.
type refused string

func (r refused) Error() string { return string(r) }

// where gives the absolute path that a call names, without . and .. in it.
func (s *shell) where(text string) string {
	switch {
	case text == "~":
		text = s.place.Home
	case strings.HasPrefix(text, "~/"):
		text = filepath.Join(s.place.Home, text[2:])
	case strings.HasPrefix(text, "~"), text == "":
		return text // which the rules refuse
	case !filepath.IsAbs(text):
		text = filepath.Join(s.place.Dir, text)
	}
	return filepath.Clean(text)
}

// inside gives the name in the folder of an absolute path.
func (s *shell) inside(abs string) (string, error) {
	name, err := filepath.Rel(s.place.Workspace, abs)
	if err != nil || !filepath.IsLocal(name) {
		return "", refused("it is outside of the workspace")
	}
	return name, nil
}

// shown is a name in the folder as commands, which start in work/, would write it.
func shown(name string) string {
	if rest, ok := strings.CutPrefix(name, "work/"); ok {
		return printable(rest)
	}
	return printable("../" + name)
}

// printable is text of a file, or the name of one, fit for one line.
func printable(text string) string {
	var strip plaintext.Stripper
	b := strip.Flush(strip.AppendTo(nil, []byte(strings.TrimSuffix(text, "\r"))))
	return strings.ReplaceAll(string(b), "\n", " ")
}

// files does one call of a tool for files. path is absolute and clean.
func (s *shell) files(ctx context.Context, tool, path string, args given) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, filesTimeout)
	defer cancel()
	name, err := s.inside(path)
	if err != nil {
		return "", err
	}
	switch tool {
	case toolRead:
		return s.readFile(ctx, name, args.number("offset"), args.number("limit"))
	case toolGrep:
		return s.grep(ctx, name, args)
	case toolGlob:
		return s.glob(ctx, name, args.text("pattern"))
	}
	s.writing.Lock() // an edit is of what the one before has left
	defer s.writing.Unlock()
	switch tool {
	case toolWrite:
		return s.writeFile(name, args.text("content"))
	default:
		return s.editFile(name, args.text("old_string"), args.text("new_string"))
	}
}

// lines reads a file line by line. What is too long of a line is counted and
// not kept.
type lines struct {
	from   *bufio.Reader
	number int    // of the newest line
	text   []byte // of it, at most keep bytes
	more   int    // bytes of it that are left out
	keep   int
	bytes  int64
}

func newLines(r io.Reader, keep int) *lines {
	return &lines{from: bufio.NewReaderSize(r, 64<<10), keep: keep}
}

// next reads another line; false is the end.
func (l *lines) next() (bool, error) {
	l.text, l.more = l.text[:0], 0
	for begun := false; ; begun = true {
		piece, err := l.from.ReadSlice('\n')
		l.bytes += int64(len(piece))
		whole := err == nil
		if whole {
			piece = piece[:len(piece)-1]
		}
		room := min(len(piece), l.keep-len(l.text))
		l.text, l.more = append(l.text, piece[:room]...), l.more+len(piece)-room
		switch {
		case whole:
			l.number++
			return true, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			if !begun && len(piece) == 0 {
				return false, nil
			}
			l.number++
			return true, nil
		default:
			return false, err
		}
	}
}

// shown is the newest line, cut to so many bytes.
func (l *lines) shown(most int) string {
	text, more := l.text, l.more
	if len(text) > most {
		text, more = text[:most], more+len(text)-most
	}
	out := printable(string(text))
	if more > 0 {
		out += fmt.Sprintf(" [… %d bytes left out]", more)
	}
	return out
}

func (s *shell) readFile(ctx context.Context, name string, offset, limit int) (string, error) {
	file, err := s.folder.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	var out strings.Builder
	l := newLines(io.LimitReader(file, maxScanned), maxLine)
	for {
		more, err := l.next()
		switch {
		case err != nil:
			return "", err
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case !more && l.number == 0:
			return "(the file is empty)\n", nil
		case !more && l.number < offset:
			return "", refused(fmt.Sprintf("it has only %d lines", l.number))
		case !more:
			return out.String(), nil
		case l.number < offset:
		case l.number >= offset+limit, out.Len() > maxShown:
			fmt.Fprintf(&out, "[there is more: go on with offset %d]\n", l.number)
			return out.String(), nil
		default:
			fmt.Fprintf(&out, "%6d\t%s\n", l.number, l.shown(maxLine))
		}
	}
}

// walk gives the names of the files below one that is a folder, or itself.
func (s *shell) walk(ctx context.Context, name string, visit func(name, below string) bool) error {
	if file, err := s.folder.Open(name); err == nil {
		_ = file.Close()
		visit(name, path.Base(name))
		return nil
	}
	return s.folder.Walk(name, maxWalked, func(found string, _ int64) bool {
		below, err := filepath.Rel(name, found)
		return err == nil && visit(found, below) && ctx.Err() == nil
	})
}

func (s *shell) glob(ctx context.Context, name, pattern string) (string, error) {
	match, err := newGlob(pattern)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	n := 0
	err = s.walk(ctx, name, func(found, below string) bool {
		if match.matches(below) {
			if n++; n <= maxListed {
				out.WriteString(shown(found) + "\n")
			}
		}
		return n <= maxListed
	})
	switch {
	case err != nil:
		return "", err
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case n == 0:
		return "(no file matches)\n", nil
	case n > maxListed:
		fmt.Fprintf(&out, "[there are more than %d files: be more precise]\n", maxListed)
	}
	return out.String(), nil
}

// search is one Grep under way.
type search struct {
	pattern        *regexp.Regexp
	context, limit int
	out            strings.Builder
	found, binary  int
	scanned        int64
	full           string // why it stops
}

func (s *shell) grep(ctx context.Context, name string, args given) (string, error) {
	text := args.text("pattern")
	if args.yes("ignore_case") {
		text = "(?i)" + text
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		return "", refused("the pattern is no regular expression in the syntax of RE2: " + strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	match, err := newGlob(args.text("glob"))
	if err != nil {
		return "", err
	}
	g := &search{pattern: pattern, context: args.number("context"), limit: args.number("limit")}
	err = s.walk(ctx, name, func(found, below string) bool {
		if !match.matches(below) {
			return true
		}
		file, err := s.folder.Open(found)
		if err != nil {
			return true // gone, or closed
		}
		defer func() { _ = file.Close() }()
		g.file(ctx, file, shown(found))
		return g.full == ""
	})
	switch {
	case err != nil:
		return "", err
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	if g.found == 0 {
		g.out.WriteString("(no line matches)\n")
	}
	if g.full != "" {
		g.out.WriteString("[" + g.full + ": be more precise]\n")
	}
	if g.binary > 0 {
		fmt.Fprintf(&g.out, "[%d binary files were passed over]\n", g.binary)
	}
	return g.out.String(), nil
}

// file searches one file. Lines are searched, and shown, up to their bounds.
func (g *search) file(ctx context.Context, file *os.File, name string) {
	head := make([]byte, 8<<10)
	n, _ := io.ReadFull(file, head)
	if bytes.IndexByte(head[:n], 0) >= 0 {
		g.binary++
		return
	}
	l := newLines(io.MultiReader(bytes.NewReader(head[:n]), io.LimitReader(file, maxScanned-g.scanned)), 64<<10)
	defer func() { g.scanned += l.bytes }()
	var before []string // of context
	behind, last := 0, 0
	for {
		more, err := l.next()
		if err != nil || !more || ctx.Err() != nil {
			return
		}
		hit := g.pattern.Match(l.text)
		switch {
		case hit && g.found == g.limit:
			g.full = fmt.Sprintf("there are more than %d matches", g.limit)
			return
		case g.out.Len() > maxShown, g.scanned+l.bytes >= maxScanned:
			g.full = "there is too much to search or to show"
			return
		case hit:
			g.found++
			if first := l.number - len(before); g.context > 0 && g.out.Len() > 0 && first > last+1 {
				g.out.WriteString("--\n")
			}
			for i, line := range before {
				fmt.Fprintf(&g.out, "%s-%d-%s\n", name, l.number-len(before)+i, line)
			}
			fmt.Fprintf(&g.out, "%s:%d:%s\n", name, l.number, l.shown(maxLine))
			before, behind, last = before[:0], g.context, l.number
		case behind > 0:
			fmt.Fprintf(&g.out, "%s-%d-%s\n", name, l.number, l.shown(maxLine))
			behind, last = behind-1, l.number
		case g.context > 0:
			if len(before) == g.context {
				before = slices.Delete(before, 0, 1)
			}
			before = append(before, l.shown(maxLine))
		}
	}
}

func (s *shell) writeFile(name, content string) (string, error) {
	used, files := int64(0), 0
	err := s.folder.Walk("work", maxWalked, func(found string, size int64) bool {
		if found != name {
			used, files = used+size, files+1
		}
		return true
	})
	switch {
	case err != nil:
		return "", err
	case files >= maxFiles:
		return "", refused(fmt.Sprintf("there are %d files in work/ already", files))
	case used+int64(len(content)) > maxFilesBytes:
		return "", refused(fmt.Sprintf("work/ would have more than %d MiB", maxFilesBytes>>20))
	}
	if err := s.folder.Write(name, []byte(content)); err != nil {
		return "", err
	}
	return fmt.Sprintf("Wrote %d bytes to %s.\n", len(content), shown(name)), nil
}

func (s *shell) editFile(name, old, fresh string) (string, error) {
	if old == fresh {
		return "", refused("old_string and new_string are the same")
	}
	file, err := s.folder.Open(name)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxEdited+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	was := string(content)
	switch n := strings.Count(was, old); {
	case len(content) > maxEdited:
		return "", refused("the file is larger than 1 MiB")
	case n == 0:
		return "", refused("old_string is not in the file")
	case n > 1:
		return "", refused(fmt.Sprintf("old_string is in the file %d times: take more of what is around it", n))
	}
	if _, err := s.writeFile(name, strings.Replace(was, old, fresh, 1)); err != nil {
		return "", err
	}
	before, _, _ := strings.Cut(was, old)
	line := 1 + strings.Count(before, "\n")
	return fmt.Sprintf("Replaced it in %s at line %d.\n", shown(name), line), nil
}

// because is what the model reads of an error, and whether it is one of its own.
func because(err error) (string, bool) {
	if r, ok := errors.AsType[refused](err); ok {
		return string(r), true
	}
	f, ok := errors.AsType[sandbox.FileError](err)
	return string(f), ok
}
