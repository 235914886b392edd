package skill

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Bounds of SKILL.md. Name, description and compatibility are as the format says.
const (
	maxMain          = 128 << 10
	maxFrontmatter   = 16 << 10
	maxDescription   = 1024
	maxCompatibility = 500
	maxLicense       = 500
	maxTools         = 100
	maxMetadata      = 32
	maxValue         = 500
	maxMatch         = 16
	maxDepth         = 4 // of the YAML; the format needs 2
)

// Skill is a skill that was read and checked.
type Skill struct {
	About  ops.SkillAbout
	Body   string // what SKILL.md says behind the frontmatter
	Files  []ops.SkillFile
	Digest string
}

// Of checks the files of a skill and reads its SKILL.md. Errors are for people.
func Of(files []ops.SkillFile) (Skill, error) {
	if err := ops.CheckSkillFiles(files); err != nil {
		return Skill{}, err
	}
	s := Skill{Files: files, Digest: ops.SkillDigest(files)}
	for _, f := range files {
		if f.Path != ops.SkillMain {
			continue
		}
		var err error
		if s.About, s.Body, err = Parse(f.Content); err != nil {
			return Skill{}, err
		}
	}
	return s, nil
}

// frontmatter is SKILL.md's, letter by letter.
type frontmatter struct {
	Name          string            `yaml:"name"`
	Description   string            `yaml:"description"`
	License       string            `yaml:"license"`
	Compatibility string            `yaml:"compatibility"`
	AllowedTools  words             `yaml:"allowed-tools"`
	Metadata      map[string]string `yaml:"metadata"`
	Match         lines             `yaml:"match"`
}

// words are a list, or one text of words between spaces or commas.
type words []string

// UnmarshalYAML implements [yaml.InterfaceUnmarshaler].
func (w *words) UnmarshalYAML(unmarshal func(any) error) error {
	var list []string
	if err := unmarshal(&list); err == nil {
		*w = list
		return nil
	}
	var text string
	if err := unmarshal(&text); err != nil {
		return errors.New("allowed-tools is neither a text nor a list of texts")
	}
	depth := 0 // a pattern in parentheses may have spaces: Bash(git log:*)
	*w = strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return depth <= 0 && (unicode.IsSpace(r) || r == ',')
	})
	return nil
}

// lines are a list, or one text.
type lines []string

// UnmarshalYAML implements [yaml.InterfaceUnmarshaler].
func (l *lines) UnmarshalYAML(unmarshal func(any) error) error {
	var list []string
	if err := unmarshal(&list); err == nil {
		*l = list
		return nil
	}
	var text string
	if err := unmarshal(&text); err != nil {
		return errors.New("match is neither a text nor a list of texts")
	}
	*l = lines{text}
	return nil
}

// Parse reads a SKILL.md: its frontmatter and what stands behind it. The errors
// say what is wrong and have code invalid.
func Parse(main []byte) (ops.SkillAbout, string, error) {
	head, body, err := split(main)
	if err != nil {
		return ops.SkillAbout{}, "", wrong(err)
	}
	if err := plain(head); err != nil {
		return ops.SkillAbout{}, "", wrong(fmt.Errorf("the frontmatter: %w", err))
	}
	var f frontmatter
	if err := yaml.NewDecoder(strings.NewReader(head), yaml.Strict()).Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return ops.SkillAbout{}, "", wrong(fmt.Errorf("the frontmatter: %s. It has name, description and, if need be, license, compatibility, allowed-tools, metadata and match",
			firstLine(yaml.FormatError(err, false, false))))
	}
	about := ops.SkillAbout{Name: f.Name, Description: strings.TrimSpace(f.Description), License: f.License, Compatibility: f.Compatibility,
		AllowedTools: f.AllowedTools, Metadata: f.Metadata, Match: f.Match}
	if err := check(about); err != nil {
		return ops.SkillAbout{}, "", wrong(err)
	}
	if strings.TrimSpace(body) == "" {
		return ops.SkillAbout{}, "", wrong(errors.New("there is nothing behind the frontmatter: say there what to do"))
	}
	return about, body, nil
}

// split takes the text between the first line, which is ---, and the next such line.
func split(main []byte) (head, body string, err error) {
	if len(main) > maxMain {
		return "", "", fmt.Errorf("it has more than %d bytes: move what is not always needed into files of references/", maxMain)
	}
	if !utf8.Valid(main) || bytes.IndexByte(main, 0) >= 0 {
		return "", "", errors.New("it is not text in UTF-8")
	}
	text := strings.ReplaceAll(strings.TrimPrefix(string(main), "\ufeff"), "\r\n", "\n")
	rest, ok := strings.CutPrefix(text, "---\n")
	if !ok {
		return "", "", errors.New("it does not begin with frontmatter: the first line must be ---, then name: and description:, then --- again")
	}
	if strings.HasPrefix(rest, "---\n") || rest == "---" {
		return "", "", errors.New("its frontmatter is empty: name and description are required")
	}
	end := strings.Index(rest, "\n---\n")
	if end < 0 {
		if strings.HasSuffix(rest, "\n---") {
			end = len(rest) - len("\n---")
		} else {
			return "", "", errors.New("its frontmatter does not end: a line with --- is missing")
		}
	}
	if end > maxFrontmatter {
		return "", "", fmt.Errorf("its frontmatter has more than %d bytes", maxFrontmatter)
	}
	return rest[:end+1], strings.TrimPrefix(rest[min(end+len("\n---"), len(rest)):], "\n"), nil
}

// plain refuses what frontmatter has no need of and readers differ about: anchors,
// aliases, merges, tags, several documents, deep nesting. An alias can stand for
// more than there is memory.
func plain(head string) error {
	depth := 0
	for _, r := range head { // before the parser, which goes down as deep as it is told
		switch r {
		case '[', '{':
			if depth++; depth > 32 {
				return errors.New("it is nested too deeply")
			}
		case ']', '}':
			depth--
		}
	}
	file, err := parser.ParseBytes([]byte(head), 0)
	if err != nil {
		return errors.New(firstLine(yaml.FormatError(err, false, false)))
	}
	if len(file.Docs) != 1 {
		return errors.New("it is not one document of YAML")
	}
	if _, ok := file.Docs[0].Body.(*ast.MappingNode); !ok {
		return errors.New("it is not a list of key: value")
	}
	return walk(file.Docs[0].Body, 0)
}

func walk(n ast.Node, depth int) error {
	if depth > maxDepth {
		return errors.New("it is nested too deeply")
	}
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		for _, v := range n.Values {
			if err := walk(v, depth+1); err != nil {
				return err
			}
		}
	case *ast.MappingValueNode:
		if _, ok := n.Key.(*ast.StringNode); !ok {
			return fmt.Errorf("the key %.40q is not plain text", n.Key.String())
		}
		return walk(n.Value, depth)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			if err := walk(v, depth+1); err != nil {
				return err
			}
		}
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
	default:
		return fmt.Errorf("%s is not understood here: write plain texts and lists", n.Type())
	}
	return nil
}

// CheckName refuses what is not the name of a skill or a runbook.
func CheckName(name string) error {
	switch {
	case name == "":
		return ops.Errorf(ops.CodeInvalid, "the name is missing")
	case len(name) > 64:
		return ops.Errorf(ops.CodeInvalid, "the name has more than 64 characters")
	case !ops.ValidGuideName(name):
		return ops.Errorf(ops.CodeInvalid, "the name %.80q is not of small letters, digits and single hyphens between them", name)
	}
	return nil
}

func check(a ops.SkillAbout) error {
	if err := CheckName(a.Name); err != nil {
		return err
	}
	if a.Description == "" {
		return errors.New("the description is missing: it says what the skill does and when to use it")
	}
	for _, one := range []struct {
		what, text string
		most       int
	}{{"description", a.Description, maxDescription}, {"compatibility", a.Compatibility, maxCompatibility}, {"license", a.License, maxLicense}} {
		if utf8.RuneCountInString(one.text) > one.most {
			return fmt.Errorf("the %s has more than %d characters", one.what, one.most)
		}
		if !printable(one.text) {
			return fmt.Errorf("the %s has control characters in it", one.what)
		}
	}
	if len(a.AllowedTools) > maxTools {
		return fmt.Errorf("allowed-tools names more than %d", maxTools)
	}
	for _, t := range a.AllowedTools {
		if t == "" || len(t) > maxValue || !printable(t) {
			return fmt.Errorf("allowed-tools has %.40q", t)
		}
	}
	if len(a.Metadata) > maxMetadata {
		return fmt.Errorf("metadata has more than %d keys", maxMetadata)
	}
	for k, v := range a.Metadata {
		if len(k) > maxValue || len(v) > maxValue || !printable(k) || !printable(v) {
			return fmt.Errorf("metadata: %.40q is longer than %d bytes or has control characters in it", k, maxValue)
		}
	}
	return CheckMatch(a.Match)
}

// CheckMatch refuses what are no sets of matchers, in the grammar of grouping rules.
func CheckMatch(sets []string) error {
	if len(sets) > maxMatch {
		return ops.Errorf(ops.CodeInvalid, "match has more than %d sets of matchers", maxMatch)
	}
	for i, set := range sets {
		ms, err := grouping.ParseMatchers(set)
		if err != nil {
			return ops.Errorf(ops.CodeInvalid, "match %d: %v", i+1, err)
		}
		if len(ms) == 0 {
			return ops.Errorf(ops.CodeInvalid, "match %d is empty, which is true for everything: leave it out", i+1)
		}
	}
	return nil
}

// printable refuses control characters and what hides or turns text.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
	})
}

// wrong is an error in SKILL.md, for people.
func wrong(err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*ops.Error](err); ok {
		text = e.Message
	}
	return ops.Errorf(ops.CodeInvalid, "%s: %s", ops.SkillMain, text)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
