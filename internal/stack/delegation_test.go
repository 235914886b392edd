package stack_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// family is a cluster whose investigator asks the reviewer, which has a model of
// its own.
type family struct {
	*cluster
	mu     sync.Mutex
	bodies []string // of the requests to the reviewer's model
}

func newFamily(t *testing.T, rules ...string) *family {
	t.Helper()
	return newFamilyOf(t, "asked.yaml", rules...)
}

// newFamilyOf is a family whose reviewer does what the scenario says.
func newFamilyOf(t *testing.T, asked string, rules ...string) *family {
	t.Helper()
	f := &family{cluster: newCluster(t, "asks.yaml")}
	text, err := os.ReadFile(filepath.Join("testdata", asked))
	require.NoError(t, err)
	sc, err := fake.LoadScenario(bytes.NewReader(text))
	require.NoError(t, err)
	key := ops.NewToken("sk-test-")
	model := fake.NewVendor(sc, fake.Config{Key: key})
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.bodies = append(f.bodies, string(body))
		f.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		model.ServeHTTP(w, r)
	}))
	t.Cleanup(vendor.Close)
	f.configure(config.File{
		Credentials: []config.Credential{{Name: "second", Kind: "llm_key", Secret: key, Targets: []string{"second"}}},
		Providers:   []config.Provider{{Name: "second", Kind: "openai", BaseURL: vendor.URL + "/v1", Model: "scripted", Credential: "second", AllowPrivate: true}},
		Agents: []config.Agent{
			{ID: postgres.DefaultAgent, Rules: []string{"allow:ssh_execute(df *)", "deny:*"}, SubAgents: []string{"reviewer"}},
			{ID: "reviewer", Provider: "second", Rules: rules},
		},
	})
	return f
}

// runs gives the run of the incident and the one that it has asked for.
func (f *family) runs() (parent, child ops.Run) {
	f.t.Helper()
	all, err := f.db.Runs(f.t.Context(), f.incident().ID)
	require.NoError(f.t, err)
	for _, r := range all {
		if r.AskedBy == "" {
			parent = r
		} else {
			child = r
		}
	}
	require.LessOrEqual(f.t, len(all), 2)
	return parent, child
}

// checkFamily says that both have ended well, each thing was done once, and what
// the one said to the other was data.
func (f *family) checkFamily(execs map[string]int) (parent, child ops.Run) {
	t := f.t
	t.Helper()
	i := f.concluded()
	parent, child = f.runs()
	require.Equal(t, []any{parent.ID, "c2", parent.ID, 1, "reviewer", ops.RunConcluded, parent.Actor},
		[]any{child.AskedBy, child.AskedIn, child.Root, child.Depth, child.Agent, child.State, child.Actor})
	require.Equal(t, "Does df show that the disk is full?", child.Task)
	require.Equal(t, []int{3, 2}, []int{parent.Turns, child.Turns})
	events, err := f.db.Events(t.Context(), i.ID, 0, 10_000)
	require.NoError(t, err)
	next, seen := map[string]int64{}, map[string]int{}
	for n, e := range events {
		require.Equal(t, int64(n+1), e.Seq)
		if e.RunSeq != 0 {
			next[e.RunID]++
			require.Equal(t, next[e.RunID], e.RunSeq, "events of run %s", e.RunID)
		}
		whose := map[string]string{parent.ID: "parent", child.ID: "child"}[e.RunID]
		switch e.Kind {
		case ops.EventMessage, ops.EventFindings, ops.EventRunEnded, ops.EventAgentAsked, ops.EventBriefing:
			seen[whose+" "+string(e.Kind)]++
		case ops.EventToolResult:
			var r ops.ToolResult
			require.NoError(t, json.Unmarshal(e.Data, &r))
			seen[whose+" "+r.ID+" "+string(r.State)]++
			if r.Child != nil {
				require.Equal(t, ops.ChildRun{Run: child.ID, Agent: "reviewer", State: ops.RunConcluded, Turns: 2, InputTokens: child.InputTokens,
					OutputTokens: child.OutputTokens, USD: child.USD}, *r.Child)
				require.Contains(t, r.Text, "It holds.")
				require.Equal(t, 1, strings.Count(r.Text, "</answer>"), "nothing that it says ends the data: %s", r.Text)
			}
		}
	}
	require.Equal(t, map[string]int{"parent message": 3, "child message": 2, "parent findings": 1, "parent run.ended": 1, "child run.ended": 1,
		"parent agent.asked": 1, "parent briefing": 1, "child briefing": 1, "parent c1 done": 1, "parent c2 done": 1, "child c1 done": 1}, seen)
	f.cluster.mu.Lock()
	require.Equal(t, execs, f.execs)
	f.cluster.mu.Unlock()
	findings, err := f.db.Findings(t.Context(), i.ID)
	require.NoError(t, err)
	require.Len(t, findings, 1, "what the other agent says is no finding of the incident")
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Contains(t, f.bodies[0], "Does df show that the disk is full?")
	require.Contains(t, f.bodies[0], "Filesystem", "it reads the call that it is shown")
	require.NotContains(t, f.bodies[0], `"name":"ask_agent"`, "it may ask nobody")
	usage, err := f.db.Usage(t.Context(), time.Now().Add(-24*time.Hour))
	require.NoError(t, err)
	require.Equal(t, []int64{1, parent.InputTokens + child.InputTokens}, []int64{usage[0].Runs, usage[0].InputTokens}, "both count in the day, as one investigation")
	records, err := f.db.Audit(t.Context(), "api", 0, 1000)
	require.NoError(t, err)
	asked := 0
	for _, r := range records {
		if r.Action == "agent.asked" {
			asked++
			require.Equal(t, []string{"ok", "agent:reviewer", child.ID, parent.Actor}, []string{r.Outcome, r.Object, r.Detail["child"], r.Detail["requester"]})
		}
	}
	require.Equal(t, 1, asked)
	return parent, child
}

// threats:K7
func TestDelegation(t *testing.T) {
	t.Parallel()
	f := newFamily(t, "allow:ssh_execute(uptime)", "deny:*")
	f.procs["agent"].env = append(f.procs["agent"].env, "AKMATORI_SLOTS=1") // both on one slot
	f.startAll()
	f.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	f.checkFamily(map[string]int{"df -h": 1, "uptime": 1})
	calls, err := f.db.Calls(t.Context(), f.incident().ID)
	require.NoError(t, err)
	require.Len(t, calls, 2, "ask_agent is no call of the gateway")
}

// A worker dies while the agent that was asked works: both go on at the next
// start, and nothing is done or paid twice.
func TestDelegationOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	f := newFamily(t, "allow:ssh_execute(uptime)", "deny:*")
	f.startAll()
	killed := make(chan struct{})
	f.atExec("uptime", func() {
		f.procs["agent"].kill()
		close(killed)
	})
	f.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	select {
	case <-killed:
	case <-time.After(time.Minute):
		f.dumpLogs()
		t.Fatal("the other agent does nothing")
	}
	f.procs["agent"].start()
	parent, child := f.checkFamily(map[string]int{"df -h": 1, "uptime": 1})
	require.Equal(t, []int{2, 2}, []int{parent.Epoch, child.Epoch})
	f.cluster.mu.Lock()
	require.Equal(t, map[int]int{1: 1, 2: 1, 3: 1}, f.turns, "no turn was paid twice")
	f.cluster.mu.Unlock()
	f.mu.Lock()
	require.Len(t, f.bodies, 2)
	f.mu.Unlock()
}

// Whoever stops an investigation stops all that it has asked for, and what runs
// on hosts for it. Their tokens are dead.
//
// threats:K4
func TestDelegationIsCancelledWhole(t *testing.T) {
	t.Parallel()
	f := newFamily(t, "allow:ssh_execute(uptime)", "deny:*")
	f.startAll()
	began, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	f.atExec("uptime", func() {
		close(began)
		<-release
	})
	f.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	select {
	case <-began:
	case <-time.After(time.Minute):
		f.dumpLogs()
		t.Fatal("the other agent does nothing")
	}
	status, body := f.send("POST", "/api/v1/incidents/"+f.incident().ID+"/cancel", struct{}{})
	require.Less(t, status, 300, string(body))
	var live int
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM runs WHERE gateway_token_hash IS NOT NULL OR proxy_token_hash IS NOT NULL`).Scan(&live))
	require.Zero(t, live, "tokens of all depths die at once")
	require.Eventually(t, func() bool {
		parent, child := f.runs()
		return parent.State == ops.RunCancelled && child.State == ops.RunCancelled
	}, 30*time.Second, 20*time.Millisecond)
	parent, child := f.runs()
	require.Contains(t, parent.Reason, "cancelled by")
	require.NotEmpty(t, child.Reason)
}

// What the other agent needs people for parks both, and the decision resumes both.
//
// threats:K8
func TestDelegationWaitsForPeople(t *testing.T) {
	t.Parallel()
	f := newFamily(t, "ask:ssh_execute(uptime)", "deny:*")
	f.procs["mcp"].env = append(f.procs["mcp"].env, "AKMATORI_APPROVAL_WAIT=500ms")
	f.startAll()
	f.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	a := f.pending()
	parent, child := f.runs()
	require.Equal(t, []string{"uptime", child.ID, "reviewer", parent.Actor, postgres.DefaultAgent + " → reviewer", f.incident().ID},
		[]string{a.Command, a.RunID, a.Agent, a.Requester, a.Facts["chain"], a.IncidentID})
	require.Eventually(t, func() bool {
		parent, child = f.runs()
		return parent.State == ops.RunWaitingApproval && child.State == ops.RunWaitingApproval && parent.Worker+child.Worker == ""
	}, 30*time.Second, 50*time.Millisecond, "they are not parked")
	require.Equal(t, ops.RunWaitingApproval, f.incident().Investigation)
	f.procs["agent"].kill()
	f.procs["agent"].start()
	status, body := f.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": "approve", "digest": a.Facts["digest"]})
	require.Equal(t, 200, status, string(body))
	f.checkFamily(map[string]int{"df -h": 1, "uptime": 1})
}

// threats:K8
func TestDelegationAsksAboutItsWorkspace(t *testing.T) {
	t.Parallel()
	f := newFamilyOf(t, "asked-bash.yaml", "ask:*")
	f.procs["agent"].env = append(f.procs["agent"].env, workspace(t)...)
	f.startAll()
	f.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	a := f.pending()
	parent, child := f.runs()
	chain := postgres.DefaultAgent + " → reviewer"
	require.Equal(t, []any{"date", true, child.ID, "reviewer", parent.Actor, chain, f.incident().ID},
		[]any{a.Command, a.Workspace, a.RunID, a.Agent, a.Requester, a.Facts["chain"], a.IncidentID})
	status, body := f.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": "approve", "digest": a.Facts["digest"]})
	require.Equal(t, 200, status, string(body))
	f.concluded()
	for _, action := range []string{"approval.requested", "workspace.intent"} {
		found, _, err := f.db.SearchAudit(t.Context(), postgres.AuditFilter{Action: action, Limit: 10})
		require.NoError(t, err)
		require.NotEmpty(t, found, action)
		require.Equal(t, chain, found[0].Detail["chain"], action)
	}
}
