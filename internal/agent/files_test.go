package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

// ownCalls is a scenario with one call a turn; one whose tool begins with + is in
// the turn of the one before.
func ownCalls(t *testing.T, calls ...any) string {
	t.Helper()
	type turn struct {
		Calls []any `json:"calls"`
	}
	var turns []turn
	for i := 0; i < len(calls); i += 2 {
		name, same := strings.CutPrefix(calls[i].(string), "+")
		if !same {
			turns = append(turns, turn{})
		}
		last := &turns[len(turns)-1]
		last.Calls = append(last.Calls, o{"tool": name, "arguments": calls[i+1]})
	}
	turns = append(turns, turn{[]any{o{"tool": submitFindings, "arguments": o{"summary": "s", "root_cause": "", "confidence": 0, "evidence": []any{}}}}})
	text, err := json.Marshal(o{"turns": turns})
	require.NoError(t, err)
	return string(text)
}

type o map[string]any

func results(t *testing.T, events []ops.Event) map[string]ops.ToolResult {
	t.Helper()
	all := all[ops.ToolResult](t, events, ops.EventToolResult)
	out := map[string]ops.ToolResult{}
	for _, r := range all {
		out[r.ID] = r
	}
	return out
}

func TestFilesOfTheWorkspace(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3000)
	calls := []any{
		"ssh_execute", o{"target": "h", "command": "df"},
		"Read", o{"path": "../evidence/c1.txt"},
		"Read", o{"path": "../AGENTS.md", "limit": 1},
		"Grep", o{"pattern": `"title": "(\w+)`, "path": ".."},
		"Write", o{"path": "notes/a.md", "content": "one\ntwo\x1b[31m\u202e three\nfour " + long + "\n\ttwo"},
		"Read", o{"path": "notes/a.md", "offset": 2, "limit": 2},
		"Edit", o{"path": "notes/a.md", "old_string": "one\ntwo", "new_string": "ONE"},
		"Read", o{"path": "notes/a.md", "offset": 2, "limit": 2}, // the file is another now
		"Edit", o{"path": "notes/a.md", "old_string": "four", "new_string": ""},
		"Edit", o{"path": "notes/a.md", "old_string": "x", "new_string": "y"},
		"Edit", o{"path": "notes/a.md", "old_string": "absent", "new_string": "y"},
		"Grep", o{"pattern": "ONE|TWO", "ignore_case": true, "context": 1, "glob": "*.md"},
		"Grep", o{"pattern": "(", "path": "."},
		"Glob", o{"pattern": "**/*", "path": ".."},
		"Glob", o{"pattern": "*.md"},
		"Glob", o{"pattern": "../*"},
		"+Write", o{"path": "../incident.json", "content": "x"},
		"+Write", o{"path": "/etc/akmatori", "content": "x"},
		"+Edit", o{"path": "../AGENTS.md", "old_string": "# This", "new_string": "x"},
		"+Read", o{"path": "/etc/hostname"},
		"+Read", o{"path": "../../../etc/hostname"},
		"+Read", o{"path": "~/notes/a.md", "limit": 1},
		"+Read", o{"path": "notes"},
		"+Read", o{"path": "notes/a.md", "offset": 99},
		"+Read", o{"path": "none"},
		"+Read", o{"path": ""},
		"+Read", o{"path": "notes/a.md", "limit": 0},
		"+Read", o{"path": "notes/a.md", "Limit": 1},
		"+Write", o{"path": "big", "content": strings.Repeat("x", maxContent+1)},
		"+Write", o{"path": "secret", "content": "x"},
		"+Grep", o{"pattern": "nothing like it"},
		"+Read", o{"path": "notes/a.md", "limit": nil},
	}
	w := newWorld(t, ownCalls(t, calls...))
	run := w.task(rules("allow:ssh_execute", "deny:Write(./secret)"), func(task *wire.Task) {
		task.Agent.Limits.Steps, task.Agent.Limits.ToolCalls = 60, 60
	})
	w.worker(workspace(t))
	require.Equal(t, "no root cause is backed by evidence", w.end(run).Reason)
	got := results(t, w.stored(run))
	for id, want := range map[string]struct {
		state ops.CallState
		text  string
	}{
		"c2":  {ops.CallDone, "     1\tran df\n"},
		"c3":  {ops.CallDone, "     1\t# This folder\n[there is more: go on with offset 2]\n"},
		"c4":  {ops.CallDone, `../incident.json:`},
		"c5":  {ops.CallDone, "Wrote 3032 bytes to notes/a.md.\n"},
		"c6":  {ops.CallDone, "     2\ttwo three\n     3\tfour " + strings.Repeat("x", 1995) + " [… 1005 bytes left out]\n[there is more: go on with offset 4]\n"},
		"c7":  {ops.CallDone, "Replaced it in notes/a.md at line 1.\n"},
		"c8":  {ops.CallDone, "     2\tfour xxx"},
		"c9":  {ops.CallDone, "Replaced it in notes/a.md at line 2.\n"},
		"c10": {ops.CallFailed, "The call failed: old_string is in the file 3000 times: take more of what is around it.\n"},
		"c11": {ops.CallFailed, "old_string is not in the file"},
		"c12": {ops.CallDone, "notes/a.md:1:ONE three\nnotes/a.md-2- xxx"},
		"c13": {ops.CallFailed, "no regular expression in the syntax of RE2: missing closing )"},
		"c14": {ops.CallDone, "../AGENTS.md\n../evidence/c1.txt\n../incident.json\nnotes/a.md\n"},
		"c15": {ops.CallDone, "notes/a.md\n"},
		"c16": {ops.CallFailed, "name the folder in path"},
		"c17": {ops.CallDenied, "Write writes below work/ of the workspace and nowhere else"},
		"c18": {ops.CallDenied, "Write writes below work/"},
		"c19": {ops.CallDenied, "Edit writes below work/"},
		"c20": {ops.CallDenied, "Read reads files of the workspace and no others"},
		"c21": {ops.CallDenied, "Read reads files of the workspace and no others"},
		"c22": {ops.CallDone, "     1\tONE three\n"},
		"c23": {ops.CallFailed, "it is not a regular file"},
		"c24": {ops.CallFailed, "it has only 3 lines"},
		"c25": {ops.CallFailed, "there is no such file or folder"},
		"c26": {ops.CallDenied, "path is missing"},
		"c27": {ops.CallDenied, "limit must be a whole number from 1 to 2000"},
		"c28": {ops.CallDenied, `there is no argument "Limit"`},
		"c29": {ops.CallDenied, "content is longer than 32768 bytes"},
		"c30": {ops.CallDenied, "deny:Write(./secret)"},
		"c31": {ops.CallDone, "(no line matches)\n"},
		"c32": {ops.CallDenied, "limit must be a whole number"},
	} {
		require.Equal(t, want.state, got[id].State, "%s %s", id, got[id].Text)
		require.Contains(t, got[id].Text, want.text, id)
	}
	require.Contains(t, got["c12"].Text, "notes/a.md:3:\ttwo\n")
	started := all[ops.ToolCallStarted](t, w.stored(run), ops.EventToolCall)
	require.Contains(t, started, ops.ToolCallStarted{ID: "c2", Name: "Read", Arguments: []byte(`{"path":"../evidence/c1.txt"}`)}, "it is on the timeline")
}

// What the tools for files show is no evidence: the call is whose output it was.
func TestFilesAreNoEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
turns:
  - calls: [{tool: ssh_execute, arguments: {target: h, command: df}}]
  - calls: [{tool: Read, arguments: {path: ../evidence/c1.txt}}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c2, excerpt: ran df}]}}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c1, excerpt: ran df}]}}]
`)
	run := w.task(rules("allow:ssh_execute"))
	w.worker(workspace(t))
	require.Equal(t, ops.RunConcluded, w.end(run).State)
	require.Contains(t, results(t, w.stored(run))["c3"].Text, "calls of Read are no evidence")
}

// A command that puts a link where a file was does not lead the tools anywhere.
func TestFilesDoNotFollowLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownCalls(t,
		"Bash", o{"command": "ln -s /etc etc && ln -s ../incident.json i && ln -s . d && mkfifo f"},
		"Read", o{"path": "etc/hostname"},
		"Read", o{"path": "i"},
		"Write", o{"path": "i", "content": "x"},
		"Write", o{"path": "etc/x", "content": "x"},
		"Read", o{"path": "f"},
		"Grep", o{"pattern": "."},
		"Read", o{"path": "d/d/d/../i"},
	))
	run := w.task(rules("allow:Bash", "allow:*"))
	w.worker(workspace(t))
	w.end(run)
	got := results(t, w.stored(run))
	require.Equal(t, ops.CallDone, got["c1"].State, got["c1"].Text)
	for id, want := range map[string]string{
		"c2": "Read reads files of the workspace and no others", // the rules see where the link leads
		"c3": "symbolic link", "c4": "Write writes below work/", "c5": "Write writes below work/", "c6": "not a regular file", "c7": "(no line matches)", "c8": "symbolic link",
	} {
		require.Contains(t, got[id].Text, want, id)
	}
}

func TestQuotaOfTheWorkspace(t *testing.T) {
	t.Parallel()
	calls := []any{"Bash", o{"command": fmt.Sprintf("head -c %d /dev/zero > full", maxFilesBytes)}, "Write", o{"path": "more", "content": "x"},
		"Bash", o{"command": "rm full"}, "Write", o{"path": "more", "content": "xy"}}
	w := newWorld(t, ownCalls(t, calls...))
	run := w.task(rules("allow:*"))
	w.worker(workspace(t))
	w.end(run)
	got := results(t, w.stored(run))
	require.Contains(t, got["c2"].Text, "work/ would have more than 64 MiB")
	require.Equal(t, ops.CallDone, got["c4"].State, got["c4"].Text)
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for pattern, names := range map[string]map[string]bool{
		"":           {"a": true, "a/b": true},
		"*.md":       {"a.md": true, "x/y/a.md": true, "a.txt": false},
		"x/*":        {"x/a": true, "x/y/a": false, "y/x/a": false},
		"**":         {"a": true, "x/y/a": true},
		"x/**":       {"x/a": true, "x/y/a": true, "y": false},
		"x/**/*.log": {"x/a.log": true, "x/y/z/a.log": true, "a.log": false},
		"**/y/*":     {"y/a": true, "x/y/a": true, "x/a": false},
		"[a-c]?":     {"b1": true, "d1": false},
	} {
		g, err := newGlob(pattern)
		require.NoError(t, err)
		for name, want := range names {
			require.Equal(t, want, g.matches(name), "%q %s", pattern, name)
		}
	}
	for _, bad := range []string{"[a", "a/../b", `a\`, strings.Repeat("a/", 40)} {
		_, err := newGlob(bad)
		require.ErrorAs(t, err, new(refused), bad)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("**/*.md", "a/b.md")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > maxPatternBytes || len(name) > maxPathBytes {
			return
		}
		if g, err := newGlob(pattern); err == nil {
			g.matches(name)
		}
	})
}

// What a model is told of the tools is what is accepted.
func TestOwnToolsSayWhatTheyTake(t *testing.T) {
	t.Parallel()
	for _, tool := range ownTools() {
		var schema struct {
			Properties map[string]struct {
				Type             string
				Minimum, Maximum int
				Default          any
			}
			Required             []string
			AdditionalProperties *bool
		}
		m := tool.toModel()
		require.NoError(t, json.Unmarshal(m.Schema, &schema), tool.name)
		require.False(t, *schema.AdditionalProperties)
		require.NotEmpty(t, m.Description)
		args := map[string]any{}
		for _, name := range schema.Required {
			args[name] = "x"
		}
		for name, p := range schema.Properties {
			if p.Type == "integer" {
				args[name] = p.Maximum
			}
		}
		raw, err := json.Marshal(args)
		require.NoError(t, err)
		_, err = tool.read(raw)
		require.NoError(t, err, tool.name)
		for name, p := range schema.Properties {
			if p.Type != "integer" {
				continue
			}
			args[name] = p.Minimum - 1
			raw, err := json.Marshal(args)
			require.NoError(t, err)
			_, err = tool.read(raw)
			require.Error(t, err, "%s %s", tool.name, name)
			args[name] = p.Maximum
		}
	}
}

// A worker that takes a run up has its evidence in the folder, and says that
// what was in work/ is gone.
func TestFolderOfARunThatIsTakenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownCalls(t, "ssh_execute", o{"target": "h", "command": "df"}, "Write", o{"path": "notes", "content": "x"},
		"ssh_execute", o{"target": "h", "command": "hold"}, "Read", o{"path": "notes"}, "Read", o{"path": "../evidence/c1.txt"}))
	run := w.task(rules("allow:*"))
	_, stop := w.worker(workspace(t))
	w.until(run, func(e ops.Event) bool {
		return e.Kind == ops.EventToolResult && strings.Contains(string(e.Data), `"c2"`)
	})
	stop()
	before := w.stored(run)
	w.task(rules("allow:*"), func(task *wire.Task) {
		task.RunRef = wire.RunRef{Run: run, Epoch: 2}
		task.NextSeq = int64(len(before) + 1)
		for _, e := range before {
			switch e.Kind {
			case ops.EventBriefing, ops.EventMessage, ops.EventToolResult:
				task.Transcript = append(task.Transcript, e)
			}
		}
	})
	w.worker(workspace(t))
	w.end(run)
	got := results(t, w.stored(run))
	require.Equal(t, moved+"The call failed: there is no such file or folder.\n", got["c4"].Text)
	require.Equal(t, "     1\tran df\n", got["c5"].Text)
}

// Nothing below a run's folder but work/ and tmp/ can be written by its commands,
// whatever they are.
func TestEvidenceIsReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownCalls(t, "ssh_execute", o{"target": "h", "command": "df"},
		"Bash", o{"command": "rm -f ../evidence/c1.txt ; mv ../evidence x ; touch ../evidence/c9.txt ../skills/x ../runbooks/x ; chmod 777 ../evidence ; tee ../evidence/c1.txt < ../incident.json"},
		"Read", o{"path": "../evidence/c1.txt"}, "Glob", o{"pattern": "**", "path": ".."}))
	run := w.task(rules("allow:*"))
	space := workspace(t)
	w.worker(space)
	w.end(run)
	got := results(t, w.stored(run))
	require.Equal(t, "     1\tran df\n", got["c3"].Text)
	require.Equal(t, "../AGENTS.md\n../evidence/c1.txt\n../incident.json\n", got["c4"].Text)
	require.NoFileExists(t, filepath.Join(os.TempDir(), "x"))
}
