package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/stretchr/testify/require"
)

const robot = "service:robot"

// tree is a database with agents a1 → a2 → … → a5, each of which may ask the next
// one and leaf, and a run of a1 that the worker w has.
func tree(t *testing.T, limits ops.Limits) (*postgres.DB, *script, ops.Incident) {
	t.Helper()
	db, _, i := opened(t)
	_, s := take(t, db)
	s.end(ops.RunFailed)
	agents := []ops.AgentDef{{ID: "leaf"}, {ID: "other"}}
	for n := 1; n <= 5; n++ {
		a := ops.AgentDef{ID: fmt.Sprintf("a%d", n), SubAgents: []string{"leaf"}, Limits: limits}
		if n < 5 {
			a.SubAgents = append(a.SubAgents, fmt.Sprintf("a%d", n+1))
		}
		agents = append(agents, a)
	}
	require.NoError(t, db.PutAgents(t.Context(), agents...))
	robots(t, db, "a1", "a2", "a3", "a4", "leaf")
	require.NoError(t, db.PutServiceActor(t.Context(), ops.ServiceActor{Actor: robot, Roles: []string{"robots"}}))
	require.NoError(t, db.Investigate(t.Context(), i.ID, "a1", robot))
	got, s := take(t, db)
	require.Equal(t, []ops.SubAgent{{ID: "a2"}, {ID: "leaf"}}, got.SubAgents)
	return db, s, i
}

// robots says which agents the robot may start.
func robots(t *testing.T, db *postgres.DB, agents ...string) {
	t.Helper()
	_, err := db.Pool().Exec(t.Context(), `INSERT INTO roles (id, description, actions, agents) VALUES ('robots', '', '{incidents.respond}', $1)
		ON CONFLICT (id) DO UPDATE SET agents = $1`, agents)
	require.NoError(t, err)
}

// delegate has the run of s ask for an agent.
func (s *script) delegate(call, agent string, change ...func(*postgres.Delegate)) postgres.Delegated {
	s.t.Helper()
	d := postgres.Delegate{Parent: s.c, Call: call, Agent: agent, Task: "look", Claim: postgres.ClaimRun{Worker: s.c.Worker, Lease: time.Minute, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(ops.NewToken(ops.GatewayTokenPrefix)), ProxyTokenHash: ops.HashToken(ops.NewToken(ops.ProxyTokenPrefix))}}
	for _, c := range change {
		c(&d)
	}
	got, err := s.db.Delegate(s.t.Context(), d)
	require.NoError(s.t, err)
	return got
}

// child is the run that was started.
func (s *script) child(d postgres.Delegated) (*postgres.ClaimedRun, *script) {
	s.t.Helper()
	require.Nil(s.t, d.Result, "%v", d.Result)
	require.NotNil(s.t, d.Claimed)
	r := d.Claimed.Run
	return d.Claimed, &script{s.t, s.db, postgres.RunClaim{Run: r.ID, Worker: r.Worker, Epoch: r.Epoch}, r.AckedSeq}
}

func (s *script) denied(d postgres.Delegated, says string) {
	s.t.Helper()
	require.NotNil(s.t, d.Result)
	require.Equal(s.t, ops.CallDenied, d.Result.State)
	require.Contains(s.t, d.Result.Text, says)
}

func (s *script) spends(tokens int64, usd float64) {
	s.send(ops.EventMessage, ops.Message{Turn: 1, Text: "words", Usage: ops.Usage{InputTokens: tokens, CostUSD: &usd}})
}

func TestThreatsDelegation(t *testing.T) {
	t.Parallel()
	db, s, _ := tree(t, ops.Limits{})
	t.Run("K1", func(t *testing.T) {
		s.denied(s.delegate("c1", "other"), `a1 may not ask an agent "other"`)
		s.denied(s.delegate("c1", "a3"), "may not ask")
		s.denied(s.delegate("c1", "nobody"), "may not ask")
		s.denied(s.delegate("c1", "a1"), "may not ask")
	})
	_, second := s.child(s.delegate("c2", "a2"))
	claimed, third := second.child(second.delegate("c1", "a3"))
	require.Equal(t, []ops.SubAgent{{ID: "a4"}, {ID: "leaf"}}, claimed.SubAgents)
	_, fourth := third.child(third.delegate("c1", "a4"))
	t.Run("K3 depth", func(t *testing.T) {
		fourth.denied(fourth.delegate("c1", "leaf"), "more than 3 agents below")
	})
	t.Run("K3 a circle that was made meanwhile", func(t *testing.T) {
		require.ErrorContains(t, db.PutAgent(t.Context(), ops.AgentDef{ID: "a3", SubAgents: []string{"a1"}}), "a1 → a2 → a3 → a1")
		require.NoError(t, db.PutAgents(t.Context(), ops.AgentDef{ID: "a1"}, ops.AgentDef{ID: "a3", SubAgents: []string{"a1", "leaf"}}))
		third.denied(third.delegate("c2", "a1"), "a circle: a1 → a2 → a3 → a1")
		s.denied(s.delegate("c3", "a2"), "may not ask")
		require.NoError(t, db.PutAgents(t.Context(), ops.AgentDef{ID: "a3", SubAgents: []string{"leaf", "a4"}}, ops.AgentDef{ID: "a1", SubAgents: []string{"leaf", "a2"}}))
	})
	t.Run("K2", func(t *testing.T) {
		robots(t, db, "a1", "a2", "a3", "a4")
		third.denied(third.delegate("c3", "leaf"), robot+", whom this investigation acts for, may not use agent leaf")
	})
	t.Run("K9", func(t *testing.T) {
		grant, err := db.GrantByHolder(t.Context(), fourth.c.Run)
		require.NoError(t, err)
		require.True(t, grant.Roles.Powers.MayStart("a4"))
		require.Equal(t, []string{"a1", "a2", "a3", "a4"}, grant.Chain)
		require.NoError(t, db.PutServiceActor(t.Context(), ops.ServiceActor{Actor: robot, Roles: nil}))
		grant, err = db.GrantByHolder(t.Context(), fourth.c.Run)
		require.NoError(t, err)
		require.False(t, grant.Roles.Powers.MayStart("a4"), "the gateway refuses its next call")
		second.denied(second.delegate("c9", "leaf"), "may not use agent leaf")
		require.NoError(t, db.PutServiceActor(t.Context(), ops.ServiceActor{Actor: robot, Roles: []string{"robots"}}))
	})
	t.Run("K4", func(t *testing.T) {
		robots(t, db, "*")
		for n := range ops.MaxChildren - 1 {
			s.child(s.delegate(fmt.Sprintf("c%d", 20+n), "leaf"))
		}
		s.denied(s.delegate("c30", "leaf"), "at the same time already")
		s.end(ops.RunFailed)
		for _, c := range []*script{second, third, fourth} {
			require.Equal(t, ops.CodeConflict, ops.CodeOf(c.try(ops.EventNotice, ops.Notice{Text: "x"})), "it has ended with the one that asked for it")
			_, err := db.GrantByHolder(t.Context(), c.c.Run)
			require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
		}
		queued, running, err := db.QueueDepth(t.Context())
		require.NoError(t, err)
		require.Zero(t, queued+running)
	})
}

// What a run has left is shared out, and never promised twice.
func TestDelegationBudget(t *testing.T) {
	t.Parallel()
	_, s, _ := tree(t, ops.Limits{Steps: 40, Tokens: 100_000, USD: 4})
	s.spends(20_000, 1)
	first, one := s.child(s.delegate("c1", "a2"))
	require.Equal(t, []any{19, int64(40_000), 1.5}, []any{first.Agent.Limits.Steps, first.Agent.Limits.Tokens, first.Agent.Limits.USD})
	second, two := s.child(s.delegate("c2", "a2"))
	require.Equal(t, []any{10, int64(20_000), 0.75}, []any{second.Agent.Limits.Steps, second.Agent.Limits.Tokens, second.Agent.Limits.USD}, "what the first may spend is not there")
	below, three := one.child(one.delegate("c1", "leaf"))
	require.Equal(t, int64(20_000), below.Agent.Limits.Tokens, "half of what its parent was given")
	three.spends(5_000, 0.5)
	three.end(ops.RunConcluded)
	one.spends(1_000, 0.25)
	one.end(ops.RunConcluded)
	two.end(ops.RunConcluded)
	res := s.delegate("c1", "a2").Result
	require.Equal(t, ops.CallDone, res.State)
	require.Equal(t, ops.ChildRun{Run: first.Run.ID, Agent: "a2", State: ops.RunConcluded, Turns: 2, InputTokens: 6_000, USD: 0.75}, *res.Child)
	third, last := s.child(s.delegate("c3", "a2"))
	require.Equal(t, []any{18, int64(37_000), 1.125}, []any{third.Agent.Limits.Steps, third.Agent.Limits.Tokens, third.Agent.Limits.USD}, "what was not spent is back")
	last.end(ops.RunFailed)
	require.Equal(t, ops.CallFailed, s.delegate("c3", "a2").Result.State)
	s.spends(78_000, 0)
	s.denied(s.delegate("c4", "leaf"), "too little")
}

// A key is one run, whoever asks for it and how often.
func TestDelegationIsDoneOnce(t *testing.T) {
	t.Parallel()
	db, s, i := tree(t, ops.Limits{})
	got, child := s.child(s.delegate("c1", "leaf"))
	require.Equal(t, ops.Assignment{From: "a1", Text: "look"}, *got.Assigned)
	require.Nil(t, got.Context)
	has := func(epoch int) func(*postgres.Delegate) { return func(d *postgres.Delegate) { d.Has = epoch } }
	require.Equal(t, postgres.Delegated{}, s.delegate("c1", "leaf", has(1)), "the worker has it")
	s.denied(s.delegate("c1", "leaf", func(d *postgres.Delegate) { d.Task = "something else" }), "another agent or task")
	s.denied(s.delegate("c1", "a2"), "another agent or task")
	child.send(ops.EventMessage, ops.Message{Turn: 1, Text: "so far"})

	// The task was lost on its way: the same run, claimed anew.
	again, anew := s.child(s.delegate("c1", "leaf"))
	require.Equal(t, []any{got.Run.ID, 2}, []any{again.Run.ID, again.Run.Epoch})
	require.Len(t, again.Transcript, 1)
	require.Equal(t, ops.CodeConflict, ops.CodeOf(child.try(ops.EventNotice, ops.Notice{Text: "x"})))

	// The worker dies: both wait, one of them in the queue.
	require.NoError(t, db.Shorten(t.Context(), "w", -time.Minute))
	_, err := db.RequeueExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, ops.CodeConflict, ops.CodeOf(anew.try(ops.EventNotice, ops.Notice{Text: "x"})))
	queued, running, err := db.QueueDepth(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{1, 0}, []int{queued, running})
	old := s.c
	_, s = take(t, db)
	require.Nil(t, claim(t, db, "w2"), "nobody takes it from the queue")
	lost, err := db.Delegate(t.Context(), postgres.Delegate{Parent: old, Call: "c1", Agent: "leaf", Task: "look"})
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err), "%v", lost)
	_, child = s.child(s.delegate("c1", "leaf"))
	require.Equal(t, 3, child.c.Epoch)
	require.Equal(t, int64(1), child.seq)
	finding := ops.Finding{Summary: "s", RootCause: "nobody has seen it", Confidence: 1, Evidence: []ops.Citation{{Call: "c1"}}}
	child.send(ops.EventFindings, finding)
	child.end(ops.RunConcluded)
	for range 2 {
		res := s.delegate("c1", "leaf").Result
		require.Equal(t, ops.CallDone, res.State)
		require.Contains(t, res.Text, `"summary": "s"`)
		require.NotContains(t, res.Text, "nobody has seen it", "what is not backed is not said")
	}
	found, err := db.Findings(t.Context(), i.ID)
	require.NoError(t, err)
	require.Empty(t, found)

	// Somebody stops it all while a worker has it.
	_, child = s.child(s.delegate("c2", "a2"))
	_, deep := child.child(child.delegate("c1", "leaf"))
	require.NoError(t, db.CancelRun(t.Context(), i.ID, "enough"))
	stopped, err := db.Cancelled(t.Context(), []string{s.c.Run, child.c.Run, deep.c.Run})
	require.NoError(t, err)
	require.Equal(t, map[string]string{s.c.Run: "enough", child.c.Run: "enough", deep.c.Run: "enough"}, stopped)
	require.Equal(t, postgres.Delegated{}, s.delegate("c3", "leaf"), "nothing starts any more")
	runs, err := db.Runs(t.Context(), i.ID)
	require.NoError(t, err)
	for _, r := range runs {
		if r.ID == deep.c.Run {
			require.Equal(t, []any{child.c.Run, "c1", s.c.Run, 2, "look", robot}, []any{r.AskedBy, r.AskedIn, r.Root, r.Depth, r.Task, r.Actor})
		}
	}
}
