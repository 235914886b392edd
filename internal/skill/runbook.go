package skill

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/goccy/go-yaml"
)

// MaxRunbook is how many bytes the text of a runbook may have: the texts of those
// that fit an incident go to its worker with the task.
const MaxRunbook = 64 << 10

const (
	maxTitle    = 200
	maxRunbooks = 200 // in a folder
)

// CheckRunbook refuses, with code invalid, a runbook that is not to be stored.
func CheckRunbook(r ops.Runbook) error {
	switch {
	case !ops.ValidGuideName(r.Slug):
		return CheckName(r.Slug)
	case strings.TrimSpace(r.Title) == "" || utf8.RuneCountInString(r.Title) > maxTitle || !printable(r.Title) || strings.Contains(r.Title, "\n"):
		return ops.Errorf(ops.CodeInvalid, "the title is one line of at most %d characters", maxTitle)
	case strings.TrimSpace(r.Text) == "":
		return ops.Errorf(ops.CodeInvalid, "the text is empty")
	case len(r.Text) > MaxRunbook:
		return ops.Errorf(ops.CodeInvalid, "the text has more than %d bytes", MaxRunbook)
	case !utf8.ValidString(r.Text) || strings.ContainsRune(r.Text, 0):
		return ops.Errorf(ops.CodeInvalid, "the text is not in UTF-8")
	}
	return CheckMatch(r.Match)
}

// Slug makes a name of a title; "" if nothing of it can be in one.
func Slug(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == 64 {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

// ParseRunbook reads a runbook from a file: Markdown, with frontmatter that has
// title and, if need be, match. Without it the title is the first heading.
func ParseRunbook(slug string, file []byte) (ops.Runbook, error) {
	r := ops.Runbook{Slug: slug}
	if len(file) > MaxRunbook+maxFrontmatter || !utf8.Valid(file) {
		return r, ops.Errorf(ops.CodeInvalid, "it is not text in UTF-8 of at most %d bytes", MaxRunbook)
	}
	r.Text = string(file)
	if strings.HasPrefix(r.Text, "---\n") || strings.HasPrefix(r.Text, "---\r\n") {
		head, body, err := split(file)
		if err != nil {
			return r, ops.Errorf(ops.CodeInvalid, "%v", err)
		}
		if err := plain(head); err != nil {
			return r, ops.Errorf(ops.CodeInvalid, "the frontmatter: %v", err)
		}
		var f struct {
			Title string `yaml:"title"`
			Match lines  `yaml:"match"`
		}
		if err := yaml.NewDecoder(strings.NewReader(head), yaml.Strict()).Decode(&f); err != nil && !errors.Is(err, io.EOF) {
			return r, ops.Errorf(ops.CodeInvalid, "the frontmatter: %s. It has title and match", firstLine(yaml.FormatError(err, false, false)))
		}
		r.Title, r.Match, r.Text = f.Title, f.Match, body
	}
	r.Text = strings.TrimLeft(r.Text, "\n")
	if heading, rest, _ := strings.Cut(r.Text, "\n"); r.Title == "" && strings.HasPrefix(heading, "# ") {
		r.Title, r.Text = strings.TrimSpace(heading[2:]), strings.TrimLeft(rest, "\n")
	}
	return r, CheckRunbook(r)
}

// Runbooks reads the *.md files of a folder; each is called as its file.
func Runbooks(dir fs.FS, author string) ([]ops.Runbook, error) {
	names, err := fs.Glob(dir, "*.md")
	if err != nil {
		return nil, fmt.Errorf("runbooks: %w", err)
	}
	if len(names) > maxRunbooks {
		return nil, ops.Errorf(ops.CodeTooLarge, "there are more than %d runbooks in the folder", maxRunbooks)
	}
	out := make([]ops.Runbook, 0, len(names))
	for _, name := range names {
		f, err := dir.Open(name)
		if err != nil {
			return nil, fmt.Errorf("runbooks: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(f, MaxRunbook+maxFrontmatter+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("runbook %s: %w", name, err)
		}
		r, err := ParseRunbook(strings.TrimSuffix(path.Base(name), ".md"), data)
		if err != nil {
			return nil, forPeople("runbook "+name, err)
		}
		r.Author = author
		out = append(out, r)
	}
	return out, nil
}
