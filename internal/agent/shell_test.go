package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

// workspace gives a worker one; commands of an agent that is root must be able to
// pass through.
func workspace(t *testing.T) func(*Config) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-workspace")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return func(c *Config) { c.Workspace = filepath.Join(dir, "workspace") }
}

func rules(lines ...string) func(*wire.Task) {
	return func(t *wire.Task) { t.Agent.Rules = lines }
}

// folders gives the names of those that are there.
func folders(t *testing.T, change func(*Config)) (names []string) {
	t.Helper()
	var c Config
	change(&c)
	entries, err := os.ReadDir(c.Workspace)
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestShell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
turns:
  - calls: [{tool: ssh_execute, arguments: {target: demo-host, command: df}}]
  - calls:
      - {tool: Bash, arguments: {command: "printf 'a\\nb\\n' | tee list"}}
  - calls:
      - {tool: Bash, arguments: {command: wc -l list}}
      - {tool: Bash, arguments: {command: env}}
      - {tool: Bash, arguments: {command: rm list}}
      - {tool: Bash, arguments: {command: uname -a}}
      - {tool: Bash, arguments: {command: 'wc -l < list'}}
      - {tool: Bash, arguments: {command: wc list, cwd: /}}
      - {tool: Bash, arguments: {Command: wc list}}
      - {tool: Bash, arguments: {command: wc list, timeout_seconds: 0}}
      - {tool: Bash, arguments: {command: sleep 60, timeout_seconds: 1}}
      - {tool: Bash, arguments: {command: wc nothing}}
      - {tool: Bash, arguments: {command: 'grep DiskFull ../incident.json'}}
      - {tool: Bash, arguments: {command: 'cp list ../incident.json'}}
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c3}]}}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c1}, {call: c3}]}}]
`)
	run := w.task(rules("allow:ssh_execute(df)", "allow:Bash(printf *)", "allow:Bash(tee list)", "allow:Bash(wc *)", "allow:Bash(env)", "allow:Bash(sleep *)",
		"allow:Bash(grep *)", "allow:Bash(cp *)", "deny:Bash(rm *)"))
	space := workspace(t)
	w.set(func(a *testAPI) {
		a.decide = func(wire.Ask) []wire.Decision {
			return []wire.Decision{{State: wire.DecisionDenied, Reason: "not now"}}
		}
	})
	w.worker(space)
	require.Equal(t, ops.RunConcluded, w.end(run).State)
	events := w.stored(run)
	results := map[string]ops.ToolResult{}
	for _, r := range all[ops.ToolResult](t, events, ops.EventToolResult) {
		results[r.ID] = r
	}
	for id, want := range map[string]struct {
		state ops.CallState
		text  string
	}{
		"c2":  {ops.CallDone, "a\nb\n"},
		"c3":  {ops.CallDone, "2 list\n"},
		"c4":  {ops.CallDone, "PATH=/usr/local/bin:/usr/bin:/bin"},
		"c5":  {ops.CallDenied, "The call was denied by the rules of this agent: the first rule that matches rm list is deny:Bash(rm *)."},
		"c6":  {ops.CallDenied, "A person has denied the call: not now"},
		"c7":  {ops.CallDone, "2\n"},
		"c8":  {ops.CallDenied, `there is no argument "cwd"`},
		"c9":  {ops.CallDenied, `there is no argument "Command"`},
		"c10": {ops.CallDenied, "timeout_seconds must be a whole number from 1 to 600"},
		"c11": {ops.CallFailed, "[stopped: it did not end within 1s]\n"},
		"c12": {ops.CallDone, "No such file"},
		"c13": {ops.CallDone, `"title": "DiskFull"`},
		"c14": {ops.CallDone, "cannot create regular file '../incident.json'"},
	} {
		require.Equal(t, want.state, results[id].State, "%s %s", id, results[id].Text)
		require.Contains(t, results[id].Text, want.text, id)
	}
	require.Equal(t, 0, *results["c3"].ExitCode)
	require.Equal(t, 1, *results["c12"].ExitCode)
	require.Equal(t, 1, *results["c14"].ExitCode)
	require.Nil(t, results["c11"].ExitCode)
	require.NotContains(t, results["c4"].Text, "akm")
	require.Contains(t, all[ops.ToolCallStarted](t, events, ops.EventToolCall),
		ops.ToolCallStarted{ID: "c3", Name: "Bash", Arguments: []byte(`{"command":"wc -l list"}`)})
	require.Contains(t, all[ops.ToolOutput](t, events, ops.EventToolOutput), ops.ToolOutput{ID: "c3", Text: "2 list\n"})
	require.Contains(t, results["c15"].Text, "calls of Bash are no evidence")
	require.Equal(t, []string{"c1"}, w.gateway.ran(), "the gateway sees nothing of the shell")
	require.Eventually(t, func() bool { return len(folders(t, space)) == 0 }, 5*time.Second, 5*time.Millisecond)

	// Findings that only the shell backs are no conclusion.
	w = newWorld(t, `
turns:
  - calls: [{tool: Bash, arguments: {command: echo full}}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: full, confidence: 1, evidence: [{call: c1, excerpt: full}]}}]
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: full, confidence: 1, evidence: [{call: c1}]}}]
`)
	run = w.task(rules("allow:Bash(echo *)"))
	w.worker(workspace(t))
	require.Equal(t, ops.RunInconclusive, w.end(run).State)
}

func TestShellIsOfferedOnlyWhereItCanBeUsed(t *testing.T) {
	t.Parallel()
	const scenario = "turns: [{calls: [{tool: Bash, arguments: {command: echo}}], repeat: true}]"
	for name, tt := range map[string]struct {
		rules  []string
		change []func(*Config)
	}{
		"no workspace":    {rules: []string{"allow:*"}},
		"denied anyway":   {rules: []string{"deny:Bash", "allow:*"}, change: []func(*Config){workspace(t)}},
		"rules are wrong": {rules: []string{"allow:*", "alow:Bash"}, change: []func(*Config){workspace(t)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scenario)
			run := w.task(rules(tt.rules...))
			w.worker(tt.change...)
			w.end(run)
			require.Contains(t, show(w.stored(run)), `there is no tool \"Bash\"`)
		})
	}
}

// A worker dies while a command runs, or before it: nobody knows, and nobody
// tries again.
func TestShellCallWithoutAResultIsUnknown(t *testing.T) {
	t.Parallel()
	scenario := "turns:\n  - calls: [{tool: Bash, arguments: {command: sleep 60}}, {tool: ssh_execute, arguments: {target: h, command: df}}]\n" +
		"  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: '', confidence: 0, evidence: []}}]\n"
	w := newWorld(t, scenario)
	run := w.task(rules("allow:*"))
	_, stop := w.worker(workspace(t))
	w.until(run, func(e ops.Event) bool {
		return e.Kind == ops.EventToolResult && strings.Contains(string(e.Data), `"c2"`)
	})
	w.until(run, kind(ops.EventToolCall))
	asked := time.Now()
	stop()
	require.Less(t, time.Since(asked), stopRuns, "a command does not hold up the end of its worker")
	before := w.stored(run)
	require.Len(t, all[ops.ToolResult](t, before, ops.EventToolResult), 1)

	transcript := slices.DeleteFunc(slices.Clone(before), func(e ops.Event) bool {
		return e.Kind != ops.EventMessage && e.Kind != ops.EventToolResult
	})
	w.task(rules("allow:*"), func(task *wire.Task) {
		task.RunRef = wire.RunRef{Run: run, Epoch: 2}
		task.Transcript, task.NextSeq = transcript, int64(len(before)+1)
	})
	w.worker(workspace(t))
	require.Equal(t, ops.RunInconclusive, w.end(run).State)
	after := w.stored(run)[len(before):]
	results := all[ops.ToolResult](t, after, ops.EventToolResult)
	require.Len(t, results, 1)
	require.Equal(t, ops.ToolResult{ID: "c1", State: ops.CallUnknown, Text: unsure}, results[0])
	require.Empty(t, all[ops.ToolCallStarted](t, after, ops.EventToolCall))
}

func TestShellStopsWithTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "turns: [{calls: [{tool: Bash, arguments: {command: 'echo there ; sleep 60', timeout_seconds: 600}}]}]")
	run := w.task(rules("allow:*"))
	space := workspace(t)
	w.worker(space)
	w.until(run, kind(ops.EventToolOutput))
	require.Equal(t, []string{run + "-1"}, folders(t, space))
	asked := time.Now()
	w.send(wire.Frame{Cancel: &wire.Cancel{RunRef: wire.RunRef{Run: run, Epoch: 1}, Reason: "ada stopped it"}})
	require.Equal(t, ops.RunChange{State: ops.RunCancelled, Reason: "ada stopped it"}, w.end(run))
	require.Less(t, time.Since(asked), time.Second)
	require.Empty(t, folders(t, space))
}

func TestShellStopsInTimeForTheLastTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "turns:\n  - calls: [{tool: Bash, arguments: {command: 'echo there ; sleep 60'}}]\n"+
		"  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: '', confidence: 0, evidence: []}}]\n")
	run := w.task(rules("allow:*"), func(task *wire.Task) { task.Deadline = time.Now().Add(margin + 8*time.Second) })
	w.worker(workspace(t))
	require.Equal(t, "no root cause is backed by evidence", w.end(run).Reason)
	res := all[ops.ToolResult](t, w.stored(run), ops.EventToolResult)[0]
	require.Equal(t, ops.CallFailed, res.State)
	require.Equal(t, "there\n[stopped: the run's time is nearly up]\n", res.Text)
}

func TestWorkspaceThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{APIURL: "ws://a/agents", WorkerToken: ops.NewSecret("x"), Log: slog.New(slog.DiscardHandler), Workspace: "/proc/none"})
	require.ErrorContains(t, err, "the workspace cannot be made")
}

// A link that a command has made in the workspace leads where it leads there: no
// denial is got around by it, and nothing outside is reached.
func TestThreatsLinksOfTheWorkspace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownCalls(t,
		"ssh_execute", o{"target": "h", "command": "df"},
		"Bash", o{"command": "mkdir secret open"},
		"Write", o{"path": "open/kept", "content": "kept"},
		"Bash", o{"command": "ln -s secret lnk; ln -s ../secret open/up; ln -s /etc out; ln -s lnk again"},
		"+Write", o{"path": "open/a", "content": "x"},
		"Write", o{"path": "lnk/a", "content": "x"},
		"+Write", o{"path": "open/up/a", "content": "x"},
		"+Write", o{"path": "again/../secret/a", "content": "x"},
		"+Read", o{"path": "out/hostname"},
		"+Write", o{"path": "out/a", "content": "x"},
		"+Bash", o{"command": "wc -l < lnk/a"},
		"+Bash", o{"command": "echo x > again/a"},
		"+Bash", o{"command": "ls secret"},
	))
	run := w.task(rules("allow:ssh_execute", "deny:Write(./secret/**)", "deny:Read(./secret/**)", "allow:Bash(mkdir *)", "allow:Bash(ln *)", "allow:Bash(wc *)", "allow:Bash(echo *)", "allow:Bash(ls *)"),
		func(task *wire.Task) { task.Agent.Limits.Steps, task.Agent.Limits.ToolCalls = 60, 60 })
	w.worker(workspace(t))
	w.end(run)
	got := results(t, w.stored(run))
	for id, want := range map[string]ops.CallState{"c2": ops.CallDone, "c3": ops.CallDone, "c4": ops.CallDone, "c5": ops.CallDone} {
		require.Equal(t, want, got[id].State, "%s: %s", id, got[id].Text)
	}
	t.Run("C13", func(t *testing.T) {
		for _, id := range []string{"c6", "c7", "c8", "c9", "c10", "c11", "c12"} {
			require.Equal(t, ops.CallDenied, got[id].State, "%s: %s", id, got[id].Text)
		}
		require.Empty(t, strings.TrimSpace(got["c13"].Text), "nothing was written there")
	})
}
