package stack_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// newWorkspace is a cluster whose worker has a workspace, and whose agent may run
// anything on the host, and asks about commands in its own folder.
func newWorkspace(t *testing.T, command string, env ...string) *cluster {
	t.Helper()
	scenario, err := json.Marshal(map[string]any{"name": "workspace", "model": "scripted", "turns": []any{
		map[string]any{"calls": []any{map[string]any{"tool": "ssh_execute", "arguments": map[string]any{"target": "demo-host", "command": "df -h"}}}},
		map[string]any{"calls": []any{map[string]any{"tool": "Bash", "arguments": map[string]any{"command": command}}}},
		map[string]any{"calls": []any{map[string]any{"tool": "submit_findings", "arguments": map[string]any{"summary": "It is full.", "root_cause": "The disk.", "confidence": 0.7,
			"evidence": []any{map[string]any{"call": "c1"}}}}}},
	}})
	require.NoError(t, err)
	c := prepare(t, string(scenario))
	c.demoHost()
	require.NoError(t, c.db.PutAgent(t.Context(), ops.AgentDef{ID: postgres.DefaultAgent, Rules: []string{"allow:ssh_execute"}}))
	c.procs["agent"].env = append(c.procs["agent"].env, append(env, workspace(t)...)...)
	c.startAll()
	c.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	return c
}

// workspace is the environment of a worker that has a folder for its runs.
func workspace(t *testing.T) []string {
	t.Helper()
	dir, err := os.MkdirTemp("", "workspace")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o711)) // commands of an agent that is root are nobody's
	return []string{"AKMATORI_WORKSPACE=" + dir + "/runs", "AKMATORI_WORKSPACE_WITHOUT_LANDLOCK=true"}
}

func (c *cluster) decide(a ops.Approval, decision, reason string) {
	c.t.Helper()
	status, body := c.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": decision, "reason": reason, "digest": a.Facts["digest"]})
	require.Equal(c.t, 200, status, string(body))
}

// done waits for the end of the investigation.
func (c *cluster) done() (i ops.Incident) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { i = c.incident(); return i.Investigation.Final() }, 60*time.Second, 50*time.Millisecond)
	return i
}

// results are those of calls by id, and how often each kind of event is there.
func (c *cluster) results(i ops.Incident) (map[string]ops.ToolResult, map[ops.EventKind]int) {
	c.t.Helper()
	events, err := c.db.Events(c.t.Context(), i.ID, 0, 10_000)
	require.NoError(c.t, err)
	out := map[string]ops.ToolResult{}
	for _, e := range events {
		if e.Kind == ops.EventToolResult {
			var r ops.ToolResult
			require.NoError(c.t, json.Unmarshal(e.Data, &r))
			require.NotContains(c.t, out, r.ID, "a call has one result")
			out[r.ID] = r
		}
	}
	return out, c.counts()
}

// A call in a workspace waits for a person longer than its worker does, and while
// the worker and the api are killed. Then it is made, once, and the gateway has
// nothing to do with it.
func TestWorkspaceApprovalOutlivesEverything(t *testing.T) {
	t.Parallel()
	c := newWorkspace(t, "grep -c Filesystem ../evidence/c1.txt", "AKMATORI_APPROVAL_WAIT=500ms")
	a := c.pending()
	require.Equal(t, "Bash", a.Tool)
	require.Equal(t, "grep -c Filesystem ../evidence/c1.txt", a.Command)
	require.True(t, a.Workspace)
	require.Equal(t, "c2", a.CallID)
	require.Equal(t, []string{"no rule matches grep -c Filesystem ../evidence/c1.txt"}, a.Reasons)
	c.parked()
	for _, name := range []string{"agent", "api"} {
		c.procs[name].kill()
		c.procs[name].start()
	}
	require.Equal(t, a.ID, c.pending().ID)

	// The gateway cannot see it, and can use it for nothing.
	gateway, err := pgx.Connect(t.Context(), c.pg.Gateway.Reveal())
	require.NoError(t, err)
	defer func() { _ = gateway.Close(context.Background()) }()
	var seen int
	require.NoError(t, gateway.QueryRow(t.Context(), `SELECT count(*) FROM approvals`).Scan(&seen))
	require.Zero(t, seen)
	_, err = gateway.Exec(t.Context(), `INSERT INTO approval_uses (approval_id, at) VALUES ($1, now())`, a.ID)
	require.ErrorContains(t, err, "row-level security")

	c.decide(a, "approve", "")
	i := c.done()
	require.Equal(t, ops.RunConcluded, i.Investigation)
	results, events := c.results(i)
	require.Equal(t, ops.CallDone, results["c2"].State)
	require.Equal(t, "1\n", results["c2"].Text)
	require.Equal(t, 1, events[ops.EventRunParked])
	require.Equal(t, 1, events[ops.EventApprovalAsked])
	require.Equal(t, 1, events[ops.EventApprovalDecided])
	calls, err := c.db.Calls(t.Context(), i.ID)
	require.NoError(t, err)
	require.Len(t, calls, 1, "the gateway knows its own call alone")
	known, err := c.db.Approval(t.Context(), a.ID)
	require.NoError(t, err)
	require.False(t, known.UsedAt.IsZero())
	for _, action := range []string{"approval.requested", "approval.approve", "workspace.intent"} {
		found, _, err := c.db.SearchAudit(t.Context(), postgres.AuditFilter{Action: action, Limit: 10})
		require.NoError(t, err)
		require.NotEmpty(t, found, action)
	}
}

// The worker waits, the api dies and comes back, a person approves: the call is
// made where it waited.
func TestWorkspaceApprovalWhileTheAPIIsKilled(t *testing.T) {
	t.Parallel()
	c := newWorkspace(t, "wc -l ../evidence/c1.txt")
	a := c.pending()
	c.procs["api"].kill()
	c.procs["api"].start()
	c.decide(a, "approve", "")
	i := c.done()
	require.Equal(t, ops.RunConcluded, i.Investigation)
	results, events := c.results(i)
	require.Equal(t, ops.CallDone, results["c2"].State)
	require.Zero(t, events[ops.EventRunParked])
	require.Equal(t, 1, events[ops.EventApprovalAsked])
}

// A worker that dies while it makes a call that people have allowed: nobody knows
// what it did, and nobody does it again.
func TestWorkspaceApprovalIsUsedOnce(t *testing.T) {
	t.Parallel()
	c := newWorkspace(t, "echo started ; sleep 300")
	c.decide(c.pending(), "approve", "")
	require.Eventually(t, func() bool { // it prints
		return strings.Contains(c.newest(ops.EventToolOutput), "started")
	}, 60*time.Second, 50*time.Millisecond)
	c.procs["agent"].kill()
	c.procs["agent"].start()
	i := c.done()
	results, events := c.results(i)
	require.Equal(t, ops.CallUnknown, results["c2"].State)
	require.Equal(t, 1, events[ops.EventApprovalAsked])
	require.Equal(t, ops.RunConcluded, i.Investigation)
}

func TestWorkspaceApprovalDeniedExpiredAndVoid(t *testing.T) {
	t.Parallel()
	c := newWorkspace(t, "date") // of low risk: who asks may approve
	c.decide(c.pending(), "deny", "not on a Friday")
	results, _ := c.results(c.done())
	require.Equal(t, ops.CallDenied, results["c2"].State)
	require.Equal(t, "A person has denied the call: not on a Friday.", results["c2"].Text)

	again := func() ops.Approval {
		status, body := c.send("POST", "/api/v1/incidents/1/investigate", nil)
		require.Equal(t, 200, status, string(body))
		return c.pending()
	}
	a := again()
	owner, err := pgx.Connect(t.Context(), c.pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = owner.Close(context.Background()) }()
	_, err = owner.Exec(t.Context(), `UPDATE approvals SET expires_at = now() - interval '1 second' WHERE id = $1`, a.ID)
	require.NoError(t, err)
	c.done()
	require.Contains(t, c.newest(ops.EventToolResult), "nobody gave it in time")

	a = again()
	_, err = owner.Exec(t.Context(), `UPDATE approvals SET state = 'approved', decided_at = now() - interval '16 minutes', expires_at = now() - interval '1 minute' WHERE id = $1`, a.ID)
	require.NoError(t, err)
	c.done()
	require.Contains(t, c.newest(ops.EventToolResult), "it was approved, but came too late")

	a = again()
	status, _ := c.send("POST", "/api/v1/incidents/1/cancel", nil)
	require.Equal(t, 200, status)
	require.Eventually(t, func() bool {
		known, err := c.db.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		return known.State == ops.ApprovalVoid
	}, 30*time.Second, 50*time.Millisecond)

	// What may be done again in the incident is not asked about again.
	a = again()
	status, body := c.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]any{"decision": "approve", "minutes": 15})
	require.Equal(t, 200, status, string(body))
	c.done()
	status, _ = c.send("POST", "/api/v1/incidents/1/investigate", nil)
	require.Equal(t, 200, status)
	require.Equal(t, ops.RunConcluded, c.done().Investigation)
	var page struct{ Items []ops.Approval }
	require.NoError(t, json.Unmarshal(c.get("/api/v1/approvals"), &page))
	require.Len(t, page.Items, 5)
}

// newest is the last event of a kind about the call c2.
func (c *cluster) newest(kind ops.EventKind) string {
	c.t.Helper()
	events, err := c.db.Events(c.t.Context(), c.incident().ID, 0, 10_000)
	require.NoError(c.t, err)
	text := ""
	for _, e := range events {
		if e.Kind == kind && strings.Contains(string(e.Data), `"c2"`) {
			text = string(e.Data)
		}
	}
	return text
}

// What somebody says to a run that waits for people is on the timeline at once,
// and read when it goes on: by the run itself if it acts for them, else by one
// that goes on with its conversation.
func TestSayingSomethingToAParkedRun(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		t.Run(map[bool]string{true: "whom it acts for", false: "somebody else"}[own], func(t *testing.T) {
			t.Parallel()
			c := newWorkspace(t, "date", "AKMATORI_APPROVAL_WAIT=200ms")
			if own {
				c.decide(c.pending(), "deny", "")
				c.done()
				status, body := c.send("POST", "/api/v1/incidents/1/investigate", nil)
				require.Equal(t, 200, status, string(body))
			}
			a := c.pending()
			c.parked()
			status, body := c.send("POST", "/api/v1/incidents/1/message", map[string]string{"text": "Look at the inodes, too."})
			require.Equal(t, 202, status, string(body))
			events := c.counts()
			require.Equal(t, 1, events[ops.EventPersonSaid], "it shows while the run waits")
			require.Zero(t, events[ops.EventApplied])
			if own {
				require.Equal(t, a.ID, c.pending().ID, "it waits on")
				c.decide(a, "approve", "")
			}
			require.Eventually(t, func() bool {
				return c.counts()[ops.EventApplied] == 1
			}, 60*time.Second, 50*time.Millisecond, "it is read, once")
			c.done()
		})
	}
}

// counts says how many events of each kind the incident has.
func (c *cluster) counts() map[ops.EventKind]int {
	c.t.Helper()
	events, err := c.db.Events(c.t.Context(), c.incident().ID, 0, 10_000)
	require.NoError(c.t, err)
	seen := map[ops.EventKind]int{}
	for _, e := range events {
		seen[e.Kind]++
	}
	return seen
}
