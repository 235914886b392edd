package skill

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

const main = "---\nname: pdf-tools\ndescription: Reads PDFs.\n---\n# PDF\n"

func TestParse(t *testing.T) {
	t.Parallel()
	about, body, err := Parse([]byte("---\nname: pdf-tools\ndescription: >-\n  Reads PDFs\n  and more.\nlicense: MIT\ncompatibility: Needs network\n" +
		"allowed-tools: Bash(git log:*) Read\nmetadata:\n  author: ann\n  version: \"1.0\"\nmatch:\n  - severity=high, title=~\"(?i).*pdf.*\"\n---\n\n# PDF\n---\nmore\n"))
	require.NoError(t, err)
	require.Equal(t, ops.SkillAbout{Name: "pdf-tools", Description: "Reads PDFs and more.", License: "MIT", Compatibility: "Needs network",
		AllowedTools: []string{"Bash(git log:*)", "Read"}, Metadata: map[string]string{"author": "ann", "version": "1.0"},
		Match: []string{`severity=high, title=~"(?i).*pdf.*"`}}, about)
	require.Equal(t, "\n# PDF\n---\nmore\n", body)

	about, _, err = Parse([]byte("\ufeff---\r\nname: a\r\ndescription: b\r\nmatch: service=x\r\nallowed-tools: [Read, Grep]\r\n---\r\ntext"))
	require.NoError(t, err)
	require.Equal(t, []string{"service=x"}, about.Match)
	require.Equal(t, []string{"Read", "Grep"}, about.AllowedTools)

	front := func(lines string) string { return "---\n" + lines + "\n---\ntext\n" }
	named := func(lines string) string { return front("name: a\ndescription: b\n" + lines) }
	for what, c := range map[string]struct{ text, want string }{
		"none":             {"# PDF", "does not begin with frontmatter"},
		"no end":           {"---\nname: a\n", "does not end"},
		"empty":            {"---\n---\nx", "is empty"},
		"nothing behind":   {"---\nname: a\ndescription: b\n---\n \n", "nothing behind the frontmatter"},
		"no name":          {front("description: b"), "the name is missing"},
		"no description":   {front("name: a"), "the description is missing"},
		"capitals":         {front("name: PDF\ndescription: b"), "not of small letters"},
		"hyphens":          {front("name: a--b\ndescription: b"), "not of small letters"},
		"hyphen first":     {front("name: -a\ndescription: b"), "not of small letters"},
		"long name":        {front("name: " + strings.Repeat("a", 65) + "\ndescription: b"), "more than 64 characters"},
		"long description": {front("name: a\ndescription: " + strings.Repeat("é", 1025)), "more than 1024 characters"},
		"unknown key":      {named("model: gpt"), `unknown field "model"`},
		"twice":            {named("name: c"), "already defined"},
		"wrong type":       {named("metadata: [a]"), "frontmatter"},
		"anchor":           {named("license: &a x\ncompatibility: *a"), "is not understood here"},
		"merge":            {named("metadata:\n  <<: {a: b}"), "is not"},
		"tag":              {named("license: !!binary aGk="), "is not understood here"},
		"deep":             {named("metadata: " + strings.Repeat("[", 5000)), "nested too deeply"},
		"two documents":    {"---\nname: a\n...\n---\ndescription: b\n---\nx", "missing"},
		"a list":           {front("- a"), "not a list of key: value"},
		"a text":           {front("a"), "not a list of key: value"},
		"control":          {front("name: a\ndescription: \"b\\u0007\""), "control characters"},
		"turned text":      {front("name: a\ndescription: \"b\\u202e\""), "control characters"},
		"matcher":          {named("match: title=~\"(\""), "match 1: at character"},
		"matcher of all":   {named("match: [\"\"]"), "is empty"},
		"not UTF-8":        {named("license: \xff"), "not text in UTF-8"},
		"NUL":              {named("license: \x00"), "not text in UTF-8"},
		"large head":       {named("license: " + strings.Repeat("x", 17<<10)), "frontmatter has more than"},
		"large":            {main + strings.Repeat("x", 129<<10), "more than 131072 bytes"},
	} {
		_, _, err := Parse([]byte(c.text))
		require.ErrorContains(t, err, c.want, what)
		require.Equal(t, ops.CodeInvalid, ops.CodeOf(err), what)
	}
}

// entry is a file of an archive that is made by hand.
type entry struct {
	name, content string
	mode          fs.FileMode
}

func zipOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode | 0o644)
		w, err := z.CreateHeader(h)
		require.NoError(t, err)
		_, err = w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		switch {
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname, h.Size, e.content = tar.TypeSymlink, e.content, 0, ""
		case e.mode&fs.ModeDevice != 0:
			h.Typeflag = tar.TypeChar
		case e.mode.IsDir():
			h.Typeflag = tar.TypeDir
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestImport(t *testing.T) {
	t.Parallel()
	other := strings.Replace(main, "pdf-tools", "other", 1)
	for how, pack := range map[string]func(testing.TB, ...entry) []byte{"zip": zipOf, "tar.gz": tarOf} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			got, err := Import(pack(t, entry{name: "README.md", content: "x"}, entry{name: "repo/skills/pdf-tools/", mode: fs.ModeDir},
				entry{name: "repo/skills/pdf-tools/SKILL.md", content: main}, entry{name: "repo/skills/pdf-tools/scripts/a.sh", content: "echo"},
				entry{name: "__MACOSX/repo/._x", content: "x"}, entry{name: "repo/.DS_Store", content: "x"}, entry{name: "repo/skills/other/SKILL.md", content: other}))
			require.NoError(t, err)
			require.Len(t, got, 2)
			require.Equal(t, "other", got[0].About.Name)
			require.Equal(t, "# PDF\n", got[1].Body)
			require.Len(t, got[1].Files, 2)
			require.Equal(t, "scripts/a.sh", got[1].Files[1].Path)

			root, err := Import(pack(t, entry{name: "./SKILL.md", content: main}))
			require.NoError(t, err)
			require.Equal(t, "pdf-tools", root[0].About.Name)
			again, err := Zip("pdf-tools", got[1].Files)
			require.NoError(t, err)
			back, err := Import(again)
			require.NoError(t, err)
			require.Equal(t, got[1].Digest, back[0].Digest)

			many := []entry{{name: "SKILL.md", content: main}}
			for i := range 2001 {
				many = append(many, entry{name: fmt.Sprint("x", i)})
			}
			for what, c := range map[string]struct {
				entries []entry
				want    string
			}{
				"nothing":      {[]entry{{name: "a", content: "x"}}, "there is no SKILL.md"},
				"above":        {[]entry{{name: "../SKILL.md", content: main}}, "not a path below its root"},
				"inside above": {[]entry{{name: "a/../../SKILL.md", content: main}}, "not a path below its root"},
				"absolute":     {[]entry{{name: "/etc/SKILL.md", content: main}}, "not a path below its root"},
				"backslash":    {[]entry{{name: `a\..\SKILL.md`, content: main}}, "not a path below its root"},
				"link":         {[]entry{{name: "SKILL.md", content: main}, {name: "x", content: "/etc/passwd", mode: fs.ModeSymlink}}, "is a link"},
				"control":      {[]entry{{name: "SKILL.md", content: main}, {name: "a\nb", content: "x"}}, "is not relative, or has a name"},
				"an option":    {[]entry{{name: "SKILL.md", content: main}, {name: "-rf", content: "x"}}, "a letter, digit or _ first"},
				"same":         {[]entry{{name: "SKILL.md", content: main}, {name: "a", content: "x"}, {name: "a", content: "y"}}, "in it twice"},
				"case":         {[]entry{{name: "SKILL.md", content: main}, {name: "a", content: "x"}, {name: "A", content: "y"}}, "is there twice"},
				"file, folder": {[]entry{{name: "SKILL.md", content: main}, {name: "a", content: "x"}, {name: "a/b", content: "y"}}, "a file and a folder"},
				"one in other": {[]entry{{name: "SKILL.md", content: main}, {name: "other/SKILL.md", content: other}}, "stands in another one"},
				"folder name":  {[]entry{{name: "x/SKILL.md", content: main}}, "the folder of a skill is called as the skill"},
				"two alike":    {[]entry{{name: "a/pdf-tools/SKILL.md", content: main}, {name: "b/pdf-tools/SKILL.md", content: main}}, "two skills in it"},
				"large file":   {[]entry{{name: "SKILL.md", content: main}, {name: "a", content: strings.Repeat("x", 1<<20+1)}}, "more than 1048576 bytes"},
				"many":         {many, "more than 2000 files"},
				"bomb":         {[]entry{{name: "SKILL.md", content: main}, {name: "a", content: strings.Repeat("x", 33<<20)}}, "unpacks to more than 32 MiB"},
			} {
				_, err := Import(pack(t, c.entries...))
				require.ErrorContains(t, err, c.want, what)
				require.NotEqual(t, ops.CodeInternal, ops.CodeOf(err), what)
			}
		})
	}
	for what, data := range map[string][]byte{"nothing": nil, "a text": []byte("hello"), "zip's start": []byte("PK\x03\x04"), "gzip's start": {0x1f, 0x8b}, "large": make([]byte, MaxArchive+1)} {
		_, err := Import(data)
		require.Error(t, err, what)
		require.NotEqual(t, ops.CodeInternal, ops.CodeOf(err), what)
	}
	_, err := Import(tarOf(t, entry{name: "SKILL.md", content: main}, entry{name: "x", mode: fs.ModeDevice}))
	require.ErrorContains(t, err, "no plain file")
}

// What the directory of a zip says of sizes is not believed.
func TestImportCountsWhatComes(t *testing.T) {
	t.Parallel()
	data := zipOf(t, entry{name: "SKILL.md", content: main}, entry{name: "a", content: strings.Repeat("x", 33<<20)})
	lied := bytes.ReplaceAll(data, []byte{0, 0, 0x10, 2}, []byte{1, 0, 0, 0}) // 33 MiB, in the directory and behind the file
	require.NotEqual(t, data, lied)
	_, err := Import(lied)
	require.Error(t, err)
}

func TestFolder(t *testing.T) {
	t.Parallel()
	got, err := Folder(fstest.MapFS{"pdf-tools/SKILL.md": {Data: []byte(main)}, ".git/config": {Data: []byte("x")}, "README.md": {Data: []byte("x")}})
	require.NoError(t, err)
	require.Len(t, got, 1)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/SKILL.md", []byte(main), 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", dir+"/x"))
	_, err = Folder(os.DirFS(dir))
	require.ErrorContains(t, err, "is a link")
}

func TestRunbookFiles(t *testing.T) {
	t.Parallel()
	r, err := ParseRunbook("full", []byte("# Disk is full\n\nCall Ann.\n"))
	require.NoError(t, err)
	require.Equal(t, ops.Runbook{Slug: "full", Title: "Disk is full", Text: "Call Ann.\n"}, r)
	r, err = ParseRunbook("full", []byte("---\ntitle: Full\nmatch: severity=high\n---\nCall Ann.\n"))
	require.NoError(t, err)
	require.Equal(t, ops.Runbook{Slug: "full", Title: "Full", Match: []string{"severity=high"}, Text: "Call Ann.\n"}, r)
	for text, want := range map[string]string{"": "title", "Call Ann.": "title", "# T\n": "the text is empty", "---\ntitle: x\n---\n": "the text is empty",
		"---\ntitle: x\nowner: y\n---\nz": "It has title and match", "---\ntitle: x\nmatch: y\n---\nz": "match 1", "# a\n" + strings.Repeat("x", 65<<10): "more than"} {
		_, err := ParseRunbook("full", []byte(text))
		require.ErrorContains(t, err, want, "%.40q", text)
	}
	_, err = ParseRunbook("Full", []byte("# a\nb"))
	require.ErrorContains(t, err, "not of small letters")
	for title, want := range map[string]string{"Disk is full!": "disk-is-full", "  --": "", "Größe": "gr-e", strings.Repeat("ab ", 40): strings.Trim(strings.Repeat("ab-", 40)[:64], "-")} {
		require.Equal(t, want, Slug(title))
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	a := []ops.SkillFile{{Path: "a", Content: []byte("bc")}, {Path: "d"}}
	require.Equal(t, ops.SkillDigest(a), ops.SkillDigest([]ops.SkillFile{a[1], a[0]}))
	require.NotEqual(t, ops.SkillDigest(a), ops.SkillDigest([]ops.SkillFile{{Path: "ab", Content: []byte("c")}, {Path: "d"}}))
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, ops.SkillDigest(nil))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(main))
	f.Add([]byte("---\nname: a\ndescription: |\n  b\nmetadata: {a: b}\nmatch: [severity=high]\nallowed-tools: Read(x y) Grep\n---\nx"))
	f.Add([]byte("---\na: &x [*x]\n? b\n: c\n---\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		about, _, err := Parse(data)
		if err != nil {
			if ops.CodeOf(err) != ops.CodeInvalid {
				t.Fatalf("%v", err)
			}
			return
		}
		if !ops.ValidGuideName(about.Name) || about.Description == "" || len(about.Metadata) > maxMetadata || CheckMatch(about.Match) != nil {
			t.Fatalf("%+v", about)
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add(zipOf(f, entry{name: "SKILL.md", content: main}, entry{name: "../x", content: "y"}))
	f.Add(tarOf(f, entry{name: "SKILL.md", content: main}, entry{name: "scripts/x", content: "y"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		skills, err := Import(data)
		if err != nil {
			if ops.CodeOf(err) == ops.CodeInternal {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, s := range skills {
			packed, err := Zip(s.About.Name, s.Files)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Import(packed)
			if err != nil || len(again) != 1 || again[0].Digest != s.Digest {
				t.Fatalf("%s does not come back: %v", s.About.Name, err)
			}
		}
	})
}
