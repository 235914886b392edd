package stack_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/stretchr/testify/require"
)

// send makes a change through the API as the admin.
func (c *cluster) send(method, path string, body any) (int, []byte) {
	c.t.Helper()
	data, err := json.Marshal(body)
	require.NoError(c.t, err)
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, bytes.NewReader(data))
	require.NoError(c.t, err)
	req.Header.Set("Authorization", "Bearer "+c.admin.Token.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, out
}

// newAsked is a cluster whose agent may do all that the scenario wants but one thing.
func newAsked(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, "approval.yaml")
	require.NoError(t, c.db.PutAgent(t.Context(), ops.AgentDef{ID: postgres.DefaultAgent, Rules: []string{
		"allow:ssh_hosts", "allow:ssh_execute(df *)", "allow:ssh_execute(uptime)"}}))
	return c
}

// pending waits for the one request for approval.
func (c *cluster) pending() ops.Approval {
	c.t.Helper()
	var page struct{ Items []ops.Approval }
	require.Eventually(c.t, func() bool {
		require.NoError(c.t, json.Unmarshal(c.get("/api/v1/approvals?state=pending"), &page))
		return len(page.Items) == 1
	}, 30*time.Second, 50*time.Millisecond, "nobody is asked")
	return page.Items[0]
}

// parked waits until the run waits for people without a worker.
func (c *cluster) parked() {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		runs, err := c.db.Runs(c.t.Context(), c.incident().ID)
		require.NoError(c.t, err)
		return runs[0].State == ops.RunWaitingApproval && runs[0].Worker == ""
	}, 30*time.Second, 50*time.Millisecond, "the run is not parked")
	require.Equal(c.t, ops.RunWaitingApproval, c.incident().Investigation)
}

// A call waits for a person longer than its worker does, and while every process
// is killed and started again. Then it runs, once.
func TestApprovalOutlivesEverything(t *testing.T) {
	t.Parallel()
	c := newAsked(t)
	c.procs["mcp"].env = append(c.procs["mcp"].env, "AKMATORI_APPROVAL_WAIT=500ms")
	c.startAll()
	c.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	a := c.pending()
	require.Equal(t, "nproc --all", a.Command)
	require.Equal(t, "c2", a.CallID)
	c.parked()
	for _, name := range []string{"agent", "mcp", "api"} {
		c.procs[name].kill()
		c.procs[name].start()
	}
	require.Equal(t, a.ID, c.pending().ID)
	status, body := c.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": "approve", "digest": a.Facts["digest"]})
	require.Equal(t, 200, status, string(body))
	status, _ = c.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": "deny"})
	require.Equal(t, 409, status)
	i := c.concluded()

	c.mu.Lock()
	require.Equal(t, map[string]int{"df -h": 1, "nproc --all": 1, "uptime": 1}, c.execs)
	c.mu.Unlock()
	events, err := c.db.Events(t.Context(), i.ID, 0, 10_000)
	require.NoError(t, err)
	seen := map[ops.EventKind]int{}
	for n, e := range events {
		require.Equal(t, int64(n+1), e.Seq)
		seen[e.Kind]++
	}
	for _, kind := range []ops.EventKind{ops.EventApprovalAsked, ops.EventApprovalDecided, ops.EventRunParked, ops.EventRunEnded, ops.EventFindings} {
		require.Equal(t, 1, seen[kind], kind)
	}
	require.Equal(t, 3, seen[ops.EventMessage])
	require.Equal(t, 3, seen[ops.EventToolResult])
	for _, chain := range []string{"api", "gateway"} {
		records, err := c.db.Audit(t.Context(), chain, 0, 1000)
		require.NoError(t, err)
		_, err = ops.VerifyChain(nil, records)
		require.NoError(t, err)
	}
}

// While the worker waits the incident says so; a denial is read by the model,
// and cancelling a run makes what it has asked for void.
func TestApprovalDeniedAndVoid(t *testing.T) {
	t.Parallel()
	c := newAsked(t)
	c.startAll()
	c.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	a := c.pending()
	require.Eventually(t, func() bool { return c.incident().Investigation == ops.RunWaitingApproval }, 20*time.Second, 20*time.Millisecond)
	status, body := c.send("POST", "/api/v1/approvals/"+a.ID+"/decision", map[string]string{"decision": "deny", "reason": "not on a Friday"})
	require.Equal(t, 200, status, string(body))
	var i ops.Incident
	require.Eventually(t, func() bool { i = c.incident(); return i.Investigation.Final() }, 60*time.Second, 50*time.Millisecond)
	require.NotEqual(t, ops.RunConcluded, i.Investigation, "its evidence was never there")
	calls, err := c.db.Calls(t.Context(), i.ID)
	require.NoError(t, err)
	require.Len(t, calls, 3)
	for _, call := range calls {
		if call.ID == "c2" {
			require.Equal(t, ops.CallDenied, call.State)
			require.Contains(t, call.Result.Text, "not on a Friday")
		}
	}
	c.mu.Lock()
	require.Zero(t, c.execs["nproc --all"])
	c.mu.Unlock()

	status, _ = c.send("POST", "/api/v1/incidents/1/investigate", nil)
	require.Equal(t, 200, status)
	b := c.pending()
	require.Equal(t, "user:admin", b.Requester)
	require.Equal(t, ops.RiskLow, b.Risk, "it is one of the diagnostics")
	status, _ = c.send("POST", "/api/v1/incidents/1/cancel", nil)
	require.Equal(t, 200, status)
	require.Eventually(t, func() bool {
		all, err := c.db.Approvals(t.Context(), postgres.ApprovalFilter{State: ops.ApprovalVoid})
		require.NoError(t, err)
		return len(all) == 1 && all[0].ID == b.ID
	}, 30*time.Second, 50*time.Millisecond)
	status, _ = c.send("POST", "/api/v1/approvals/"+b.ID+"/decision", map[string]string{"decision": "approve"})
	require.NotEqual(t, 200, status)
}
