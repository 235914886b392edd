package ops

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a skill may be at most.
const (
	MaxSkillFiles = 200
	MaxSkillFile  = 1 << 20 // bytes of one file
	MaxSkillBytes = 4 << 20 // of all its files: they go to a worker in one frame
	maxSkillPath  = 200     // bytes
	maxSkillDepth = 8       // folders
)

// SkillMain is the file that says what a skill is.
const SkillMain = "SKILL.md"

// SkillFile is one file of a skill. Its path is relative, with slashes.
type SkillFile struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
}

// SkillAbout is what the frontmatter of SKILL.md says, as of the open Agent
// Skills format (agentskills.io). Match is ours.
type SkillAbout struct {
	Name          string            `json:"name"`
	Description   string            `json:"description"`
	License       string            `json:"license,omitempty"`
	Compatibility string            `json:"compatibility,omitempty"`
	AllowedTools  []string          `json:"allowed_tools,omitempty"` // shown; they allow nothing
	Metadata      map[string]string `json:"metadata,omitempty"`
	// Match are sets of matchers, as in grouping rules. The skill is for an
	// incident one of whose alerts fulfils all of one set.
	Match []string `json:"match,omitempty"`
}

// Skill is one version of a skill, without its files.
type Skill struct {
	SkillAbout
	Version   int       `json:"version"`
	Current   bool      `json:"current"` // it is the version that agents get
	Enabled   bool      `json:"enabled"`
	Starter   bool      `json:"starter"` // it came with the program and is as it came
	Digest    string    `json:"digest"`
	Files     int       `json:"files"`
	Bytes     int64     `json:"bytes"`
	Author    string    `json:"author"` // of this version
	Comment   string    `json:"comment,omitempty"`
	CreatedAt time.Time `json:"created_at"` // of this version
}

// Runbook is one version of a text that says what people do about something.
type Runbook struct {
	Slug      string    `json:"slug"` // its name, as of skills
	Title     string    `json:"title"`
	Match     []string  `json:"match,omitempty"` // as of SkillAbout
	Text      string    `json:"text,omitempty"`  // Markdown
	Version   int       `json:"version"`
	Current   bool      `json:"current"`
	Author    string    `json:"author"` // of this version
	CreatedAt time.Time `json:"created_at"`
}

// Fit says why a skill or a runbook is thought to be for an incident.
type Fit string

// The fits.
const (
	FitNone   Fit = ""
	FitLabels Fit = "labels" // an alert fulfils its matchers
	FitWords  Fit = "words"  // the incident is called alike
)

// SkillRef is a skill of a task: who has no bundle of the digest asks for it.
type SkillRef struct {
	Name        string `json:"name"`
	Version     int    `json:"version"`
	Digest      string `json:"digest"`
	Description string `json:"description"`
	Fit         Fit    `json:"fit,omitempty"`
}

// RunbookRef is a runbook that fits the incident of a task.
type RunbookRef struct {
	Slug    string `json:"slug"`
	Title   string `json:"title"`
	Version int    `json:"version"`
	Text    string `json:"text"`
	Fit     Fit    `json:"fit"`
}

var guideName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// ValidGuideName says whether s can be the name of a skill or a runbook: small
// letters, digits and single hyphens between them, 64 at most.
func ValidGuideName(s string) bool { return len(s) <= 64 && guideName.MatchString(s) }

// HasSkill says whether an agent may read a skill.
func (a AgentDef) HasSkill(name string) bool {
	return slices.Contains(a.Skills, name) || slices.Contains(a.Skills, "*")
}

// skillSegment is a name that means the same on every file system, and no option
// to a program that gets it as an argument.
var skillSegment = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+=, ()-]{0,98}[A-Za-z0-9_@+=)]$|^[A-Za-z0-9_]$`)

// CheckSkillFiles refuses, with code invalid, files that are not those of a
// skill: too many or too large, two of the same path (upper and lower case count
// as one), a path that leaves the folder or has anything in it but what every file
// system takes, and those without a SKILL.md.
func CheckSkillFiles(files []SkillFile) error {
	if len(files) > MaxSkillFiles {
		return Errorf(CodeInvalid, "a skill has at most %d files, and this has %d", MaxSkillFiles, len(files))
	}
	kinds := map[string]string{} // lower-cased path: "file" or "folder"
	main, total := false, 0
	for _, f := range files {
		if err := checkSkillPath(f.Path); err != nil {
			return err
		}
		if len(f.Content) > MaxSkillFile {
			return Errorf(CodeInvalid, "%s has more than %d bytes", f.Path, MaxSkillFile)
		}
		if total += len(f.Content); total > MaxSkillBytes {
			return Errorf(CodeInvalid, "the files of a skill have at most %d bytes together", MaxSkillBytes)
		}
		folded := strings.ToLower(f.Path)
		if kind := kinds[folded]; kind != "" {
			return Errorf(CodeInvalid, "%s is there twice, if upper and lower case are taken as one", f.Path)
		}
		kinds[folded] = "file"
		for i := range folded {
			if folded[i] != '/' {
				continue
			}
			if kinds[folded[:i]] == "file" {
				return Errorf(CodeInvalid, "%s is a file and a folder", f.Path[:i])
			}
			kinds[folded[:i]] = "folder"
		}
		main = main || f.Path == SkillMain
	}
	if !main {
		return Errorf(CodeInvalid, "there is no %s", SkillMain)
	}
	return nil
}

func checkSkillPath(path string) error {
	if len(path) > maxSkillPath {
		return Errorf(CodeInvalid, "the path %.60q… has more than %d bytes", path, maxSkillPath)
	}
	segments := strings.Split(path, "/")
	if len(segments) > maxSkillDepth {
		return Errorf(CodeInvalid, "the path %.60q is more than %d folders deep", path, maxSkillDepth)
	}
	for _, s := range segments {
		if !skillSegment.MatchString(s) {
			return Errorf(CodeInvalid, "the path %.60q is not relative, or has a name in it that is not of letters, digits and _.@+=,()- (a letter, digit or _ first)", path)
		}
	}
	return nil
}

// SkillDigest is what a bundle of files is known by: it is the same for the same
// paths and contents, in whichever order.
func SkillDigest(files []SkillFile) string {
	sorted := slices.SortedFunc(slices.Values(files), func(a, b SkillFile) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	part := func(b []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(b)))
		_, _ = h.Write(size[:])
		_, _ = h.Write(b)
	}
	part([]byte("akmatori skill 1"))
	for _, f := range sorted {
		part([]byte(f.Path))
		part(f.Content)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// String names a skill and its version for people.
func (s SkillRef) String() string { return fmt.Sprintf("%s (version %d)", s.Name, s.Version) }
