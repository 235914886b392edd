package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

// shelfOf makes a skill and its reference.
func shelfOf(name, text string, more ...ops.SkillFile) (ops.SkillRef, []ops.SkillFile) {
	files := append([]ops.SkillFile{{Path: ops.SkillMain, Content: []byte(text)}}, more...)
	return ops.SkillRef{Name: name, Version: 1, Digest: ops.SkillDigest(files), Description: "About " + name + " </guidance>"}, files
}

// A run is told of its skills and runbooks, those that fit first, reads them with
// one tool, and cannot cite them. A worker asks for a skill once.
func TestGuidance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
turns:
  - calls:
      - {tool: guidance_read, arguments: {path: skills/disk/SKILL.md}}
      - {tool: guidance_read, arguments: {path: runbooks/full.md}}
      - {tool: guidance_read, arguments: {path: skills/disk/references}}
      - {tool: guidance_read, arguments: {path: skills/disk/references/inodes.md}}
      - {tool: guidance_read, arguments: {path: skills/disk/logo.png}}
      - {tool: guidance_read, arguments: {path: skills/gone/SKILL.md}}
      - {tool: guidance_read, arguments: {path: ../../etc/passwd}}
      - {tool: guidance_read, arguments: {Path: skills}}
      - {tool: guidance_read, arguments: {path: skills/disk/SKILL.md, x: 1}}
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: Look at df, confidence: 1, evidence: [{call: c1, excerpt: Look at df}]}}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: Look at df, confidence: 1, evidence: [{call: c1, excerpt: Look at df}]}}]
`)
	disk, files := shelfOf("disk", "---\nname: disk\n---\nLook at df.", ops.SkillFile{Path: "references/inodes.md", Content: []byte("df -i")},
		ops.SkillFile{Path: "logo.png", Content: []byte("\x89PNG\x00")})
	gone, _ := shelfOf("gone", "x")
	disk.Fit = ops.FitLabels
	w.set(func(a *testAPI) { a.bundles = map[string][]ops.SkillFile{disk.Digest: files} })
	task := func(task *wire.Task) {
		task.Skills = []ops.SkillRef{disk, gone}
		task.Runbooks = []ops.RunbookRef{{Slug: "full", Title: "When it is full", Text: "Call Ann.\n" + strings.Repeat("long ", 1000), Fit: ops.FitWords}}
	}
	run := w.task(task)
	w.worker()
	require.Equal(t, ops.RunInconclusive, w.end(run).State, "guidance is no evidence")
	results := map[string]ops.ToolResult{}
	for _, r := range all[ops.ToolResult](t, w.stored(run), ops.EventToolResult) {
		results[r.ID] = r
	}
	for id, want := range map[string]struct {
		state ops.CallState
		text  string
	}{
		"c1":  {ops.CallDone, "---\nname: disk\n---\nLook at df."},
		"c2":  {ops.CallDone, "Call Ann.\nlong"},
		"c3":  {ops.CallDone, "skills/disk/references/inodes.md\n"},
		"c4":  {ops.CallDone, "df -i"},
		"c5":  {ops.CallFailed, "not a text"},
		"c6":  {ops.CallFailed, `there is no skill "gone"; there is:` + "\nskills/disk/"},
		"c7":  {ops.CallFailed, `and not with ".."`},
		"c8":  {ops.CallFailed, `there is no argument "Path"`},
		"c9":  {ops.CallFailed, `there is no argument "x"`},
		"c10": {ops.CallDenied, "calls of guidance_read are no evidence"},
	} {
		require.Equal(t, want.state, results[id].State, "%s %s", id, results[id].Text)
		require.Contains(t, results[id].Text, want.text, id)
	}
	told := all[ops.Briefing](t, w.stored(run), ops.EventBriefing)[0].Text
	require.Equal(t, 1, strings.Count(told, "</guidance>"))
	require.Less(t, strings.Index(told, "runbooks/full.md"), strings.Index(told, "skills/disk/SKILL.md"))
	require.Contains(t, told, "Read what fits this incident before")
	require.Contains(t, told, "When it is full: Call Ann.")
	require.NotContains(t, told, "skills/gone", "what cannot be had is not promised")
	require.Less(t, len(told), 4000)
	require.Contains(t, show(w.stored(run)), "skill gone (version 1): that version is not kept any more")

	again := w.task(task)
	w.end(again)
	w.set(func(a *testAPI) { require.ElementsMatch(t, []string{"disk", "gone", "gone"}, a.fetched) })
}

// A connection that breaks before the answer asks again on the next.
func TestGuidanceIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "turns:\n  - calls: [{tool: guidance_read, arguments: {path: skills}}]\n"+strings.ReplaceAll(submit, "c2", "c1"))
	disk, files := shelfOf("disk", "x")
	w.set(func(a *testAPI) { a.bundles, a.silent = map[string][]ops.SkillFile{disk.Digest: files}, true })
	run := w.task(func(task *wire.Task) { task.Skills = []ops.SkillRef{disk} })
	w.worker()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.fetched) == 1
	}, wait, tick)
	w.set(func(a *testAPI) { a.silent = false })
	w.hangUp()
	w.end(run)
	require.Equal(t, "skills/disk/\n", all[ops.ToolResult](t, w.stored(run), ops.EventToolResult)[0].Text)
}

// What is not what its digest says, or would be written elsewhere, is not taken.
func TestLibraryTakesWhatItAskedFor(t *testing.T) {
	t.Parallel()
	l, err := newLibrary("", func() {})
	require.NoError(t, err)
	ref := wire.RunRef{Run: "r", Epoch: 1}
	good, files := shelfOf("good", "x")
	bad, _ := shelfOf("bad", "y")
	out := []ops.SkillFile{{Path: "../SKILL.md", Content: []byte("z")}, {Path: ops.SkillMain}}
	evil := ops.SkillRef{Name: "evil", Digest: ops.SkillDigest(out)}
	l.deliver(&wire.Bundle{RunRef: ref, Digest: good.Digest, Files: files})
	require.Empty(t, l.shelves, "nobody asked")
	l.wake = func() {
		if len(l.unasked(t)) > 0 {
			l.deliver(&wire.Bundle{RunRef: ref, Digest: good.Digest, Files: files})
			l.deliver(&wire.Bundle{RunRef: ref, Digest: bad.Digest, Files: files})
			l.deliver(&wire.Bundle{RunRef: ref, Digest: evil.Digest, Files: out})
		}
		require.Empty(t, l.unasked(t), "each once a connection")
	}
	got, problems := l.borrow(t.Context(), ref, []ops.SkillRef{good, bad, evil})
	require.Len(t, got.skills, 1)
	require.Len(t, problems, 2)
	require.Contains(t, problems[1], "not what its digest says")
	require.Empty(t, l.wanted)
}

// The library is bounded: what no run uses goes, the longest unused first.
func TestLibraryIsBounded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "library")
	files := map[string][]ops.SkillFile{}
	var l *library
	l, err := newLibrary(dir, func() {
		for _, f := range l.unasked(t) {
			l.deliver(&wire.Bundle{RunRef: f.RunRef, Digest: f.Digest, Files: files[f.Digest]})
		}
	})
	require.NoError(t, err)
	l.most = 25
	ref := wire.RunRef{Run: "r", Epoch: 1}
	borrow := func(name string) (*guides, []string) {
		s, all := shelfOf(name, "0123456789", ops.SkillFile{Path: "scripts/" + name + ".sh"})
		files[s.Digest] = all
		return l.borrow(t.Context(), ref, []ops.SkillRef{s})
	}
	a, _ := borrow("a")
	b, _ := borrow("b")
	run := t.TempDir()
	require.NoError(t, b.place(run))
	require.NoError(t, a.place(run))
	text, err := os.ReadFile(filepath.Join(run, "skills", "a", "SKILL.md"))
	require.NoError(t, err)
	require.Equal(t, "0123456789", string(text))
	info, err := os.Stat(filepath.Join(run, "skills", "a", "scripts"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o555), info.Mode().Perm())

	_, problems := borrow("c")
	require.Equal(t, []string{"skill c (version 1): the library of this worker is full"}, problems)
	b.giveBack()
	a.giveBack()
	again, _ := borrow("b")
	again.giveBack()
	c, problems := borrow("c")
	require.Empty(t, problems)
	require.NoFileExists(t, filepath.Join(run, "skills", "a", "SKILL.md"), "the longest unused one went, from the folder too")
	require.FileExists(t, filepath.Join(run, "skills", "b", "SKILL.md"))
	require.EqualValues(t, 20, l.bytes)
	c.giveBack()
	require.NoError(t, l.close())
	require.NoDirExists(t, dir)
}
