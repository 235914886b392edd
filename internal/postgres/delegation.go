package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// Least that a run must be able to give to another that it asks for.
const (
	leastSteps  = 2
	leastTokens = 1000
	leastTime   = 10 * time.Second
)

// Delegate is one run's wish for another agent. Parent and Call are its key.
type Delegate struct {
	Parent RunClaim
	Call   string
	Agent  string
	Task   string
	// Show names calls of the parent that the other agent is to read.
	Show []string
	// Has is the epoch of the child that the worker works on; 0 if it has none.
	Has int
	// May refuses an agent that the roles of whoever the run acts for, or the rules of
	// the agent that asks, deny. Nil refuses none.
	May func(roles ActorRoles, rules []string) error
	// Claim is how the child is claimed, for the parent's worker.
	Claim ClaimRun
}

// Delegated says what became of it: the child is claimed now, or the call has its
// result. If neither is set, the worker has the child already.
type Delegated struct {
	Claimed *ClaimedRun
	Result  *ops.ToolResult
}

// Delegate starts the run that a call asks for, goes on with it, or gives its
// result; it does so once for each key, whoever asks and how often. What is not
// allowed is a result too, which says why. In this order: the parent's claim is
// the newest and nobody has stopped it; its agent may ask that agent; no more
// than [ops.MaxDepth] below the first one, no circle, no crowd; whoever the first
// run acts for is still somebody who may start that agent; and there is
// something left to give: the child has at most half of the turns, tokens and
// money that its parent has left, and ends before it. Code conflict or not found: the
// claim is lost.
func (db *DB) Delegate(ctx context.Context, d Delegate) (Delegated, error) {
	shown, err := db.shown(ctx, d.Parent.Run, d.Show)
	if err != nil {
		return Delegated{}, err
	}
	var out Delegated
	err = db.tx(ctx, func(tx pgx.Tx) error {
		out = Delegated{}
		run, err := lockClaim(ctx, tx, d.Parent)
		if err != nil {
			return err
		}
		parent, err := asking(ctx, tx, run)
		if err != nil {
			return err
		}
		if parent.cancelled {
			return nil // the worker is about to hear of it
		}
		child, err := childOf(ctx, tx, run.ID, d.Call)
		if err != nil {
			return err
		}
		records := []ops.AuditRecord{}
		if child == nil {
			why, refused, err := parent.refuses(ctx, tx, d)
			if err != nil {
				return err
			}
			if refused {
				out.Result = &ops.ToolResult{ID: d.Call, State: ops.CallDenied, Text: "The agent was not asked: " + why + "."}
				return db.appendAudit(ctx, tx, parent.audit(d, "agent.denied", "denied", map[string]string{"why": why}))
			}
			if child, err = parent.ask(ctx, tx, d, ops.Assignment{From: run.Agent, Text: d.Task, Shown: shown}); err != nil {
				return err
			}
			limits := child.limits
			records = append(records, parent.audit(d, "agent.asked", "ok", map[string]string{"child": child.ID, "depth": strconv.Itoa(child.Depth),
				"steps": strconv.Itoa(limits.Steps), "tokens": strconv.FormatInt(limits.Tokens, 10), "usd": strconv.FormatFloat(limits.USD, 'f', 4, 64)}))
		}
		switch {
		case child.Agent != d.Agent || child.assigned.Text != d.Task:
			out.Result = &ops.ToolResult{ID: d.Call, State: ops.CallDenied, Text: "The agent was not asked: the call was made before with another agent or task."}
		case child.State.Final():
			out.Result, err = childResult(ctx, tx, child, d.Call)
		case child.State == ops.RunWaitingApproval:
			out.Result = &ops.ToolResult{ID: d.Call, State: ops.CallWaiting, Text: "Agent " + child.Agent + " waits for people.\n"}
		case child.State == ops.RunRunning && child.Worker == run.Worker && child.Epoch == d.Has:
		default:
			err = parent.claim(ctx, tx, d, child, &out)
		}
		if err != nil {
			return err
		}
		return db.appendAudit(ctx, tx, records...)
	})
	if err != nil || out.Claimed == nil {
		return out, err
	}
	return out, db.fill(ctx, out.Claimed)
}

// shown gives calls of a run as they are shown to another agent. Those that are
// not there, or have not ended, are left out.
func (db *DB) shown(ctx context.Context, run string, ids []string) ([]ops.ShownCall, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	records, err := db.calls(ctx, `WHERE c.run_id = $1 AND c.call_id = ANY($2) ORDER BY c.created_at LIMIT $3`, run, ids, ops.MaxShownCalls)
	if err != nil {
		return nil, err
	}
	var shown []ops.ShownCall
	for _, r := range records {
		if r.Result != nil {
			shown = append(shown, ops.ShownCall{ID: r.ID, Tool: r.Tool, Target: r.Target, Arguments: r.Arguments, State: r.State, Text: clip(r.Result.Text, ops.MaxShown)})
		}
	}
	return shown, nil
}

// asker is a run that asks for another one.
type asker struct {
	*ops.Run
	cancelled bool
	disabled  bool // its agent is
	chain     []string
	root      string
	edges     []string
	rules     []string
	limits    ops.Limits
	spent     spending
	left      time.Duration // before it must conclude
}

// spending is what a run has used up, or promised to runs that it has asked for.
type spending struct {
	steps  int
	tokens int64
	usd    float64
}

// asking reads what a locked run may ask for.
func asking(ctx context.Context, tx pgx.Tx, run *ops.Run) (*asker, error) {
	a := &asker{Run: run}
	var own, allotted []byte
	var deadline float64
	if err := tx.QueryRow(ctx, `SELECT r.cancel_requested <> '', a.disabled_at IS NOT NULL, r.chain, coalesce(r.root_run, r.id)::text, r.depth, a.sub_agents, a.rules,
			a.limits, r.allotted, extract(epoch FROM r.deadline - now())::float8, r.turns, r.input_tokens + r.output_tokens, r.usd
		FROM runs r JOIN agents a ON a.id = r.agent_id WHERE r.id = $1`, run.ID).
		Scan(&a.cancelled, &a.disabled, &a.chain, &a.root, &a.Depth, &a.edges, &a.rules, &own, &allotted, &deadline, &a.spent.steps, &a.spent.tokens, &a.spent.usd); err != nil {
		return nil, err
	}
	if len(a.chain) == 0 {
		a.chain = []string{run.Agent}
	}
	if allotted == nil {
		allotted = own
	}
	if err := json.Unmarshal(allotted, &a.limits); err != nil {
		return nil, fmt.Errorf("limits of run %s: %w", run.ID, err)
	}
	a.limits = a.limits.OrDefault()
	// The claim's deadline is a minute behind the time for work, of whose end the
	// worker keeps a part to conclude in.
	a.left = time.Duration(deadline*float64(time.Second)) - time.Minute - min(time.Minute, a.limits.Duration/5)
	var below spending
	if err := tx.QueryRow(ctx, `WITH RECURSIVE below AS (
			SELECT id, state, allotted, turns, input_tokens + output_tokens AS tokens, usd FROM runs WHERE parent_run = $1
			UNION ALL SELECT r.id, r.state, r.allotted, r.turns, r.input_tokens + r.output_tokens, r.usd FROM runs r JOIN below b ON r.parent_run = b.id
			WHERE b.state NOT IN ('queued', 'running', 'waiting_approval')
		) SELECT coalesce(sum(CASE WHEN live THEN (allotted->>'steps')::int ELSE turns END), 0)::int,
			coalesce(sum(CASE WHEN live THEN (allotted->>'tokens')::bigint ELSE tokens END), 0)::bigint,
			coalesce(sum(CASE WHEN live THEN (allotted->>'usd')::float8 ELSE usd END), 0)::float8
		FROM (SELECT *, state IN ('queued', 'running', 'waiting_approval') AS live FROM below) b`, run.ID).
		Scan(&below.steps, &below.tokens, &below.usd); err != nil {
		return nil, err
	}
	a.spent.steps, a.spent.tokens, a.spent.usd = a.spent.steps+below.steps, a.spent.tokens+below.tokens, a.spent.usd+below.usd
	return a, nil
}

// refuses says why a new child is not started.
func (a *asker) refuses(ctx context.Context, tx pgx.Tx, d Delegate) (why string, refused bool, err error) {
	no := func(format string, args ...any) (string, bool, error) { return fmt.Sprintf(format, args...), true, nil }
	switch {
	case a.disabled:
		return no("agent %s is disabled", a.Agent)
	case !slices.Contains(a.edges, d.Agent):
		return no("agent %s may not ask an agent %q", a.Agent, clip(d.Agent, 100))
	case a.Depth >= ops.MaxDepth:
		return no("it would be more than %d agents below the first one", ops.MaxDepth)
	case slices.Contains(a.chain, d.Agent):
		return no("that is a circle: %s → %s", strings.Join(a.chain, " → "), d.Agent)
	}
	if err := startable(ctx, tx, d.Agent); err != nil {
		if code := ops.CodeOf(err); code == ops.CodeInvalid || code == ops.CodeConflict {
			return no("%s", ops.MessageOf(err))
		}
		return "", false, err
	}
	var live, all int
	if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM runs WHERE parent_run = $1 AND state IN ('queued', 'running', 'waiting_approval')),
		(SELECT count(*) FROM runs WHERE root_run = $2)`, a.ID, a.root).Scan(&live, &all); err != nil {
		return "", false, err
	}
	switch {
	case live >= ops.MaxChildren:
		return no("it has asked for %d at the same time already", live)
	case all >= ops.MaxTree:
		return no("%d agents were asked in this investigation already", all)
	}
	roles, err := rolesOf(ctx, tx, a.Actor)
	if err != nil {
		return "", false, err
	}
	if !roles.Powers.MayStart(d.Agent) {
		return no("%s, whom this investigation acts for, may not use agent %s", a.Actor, d.Agent)
	}
	if d.May != nil {
		if err := d.May(roles, a.rules); err != nil {
			return no("%s", ops.MessageOf(err))
		}
	}
	if a.limits.Steps-a.spent.steps < 2*leastSteps || a.limits.Tokens-a.spent.tokens < 2*leastTokens || a.limits.USD-a.spent.usd <= 0 || a.left < leastTime {
		return no("what is left of the budget and time of this run is too little")
	}
	return "", false, nil
}

// child is a run that another one has asked for.
type child struct {
	ops.Run
	parked   int
	chain    []string
	limits   ops.Limits
	assigned ops.Assignment
}

// ask inserts the run that d asks for. Nobody has it yet.
func (a *asker) ask(ctx context.Context, tx pgx.Tx, d Delegate, task ops.Assignment) (*child, error) {
	c := &child{Run: ops.Run{ID: ops.NewID(), IncidentID: a.IncidentID, Agent: d.Agent, State: ops.RunQueued, Actor: a.Actor,
		AskedBy: a.ID, AskedIn: d.Call, Root: a.root, Depth: a.Depth + 1}, chain: append(slices.Clone(a.chain), d.Agent), assigned: task}
	var raw []byte
	if err := tx.QueryRow(ctx, `SELECT limits FROM agents WHERE id = $1`, d.Agent).Scan(&raw); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &c.limits); err != nil {
		return nil, fmt.Errorf("limits of agent %s: %w", d.Agent, err)
	}
	c.limits = c.limits.OrDefault()
	c.limits.Steps = min(c.limits.Steps, (a.limits.Steps-a.spent.steps)/2)
	c.limits.Tokens = min(c.limits.Tokens, (a.limits.Tokens-a.spent.tokens)/2)
	c.limits.USD = min(c.limits.USD, (a.limits.USD-a.spent.usd)/2)
	limits, err := json.Marshal(c.limits)
	if err != nil {
		return nil, err
	}
	assigned, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	if err := tx.QueryRow(ctx, `INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at, actor,
			parent_run, parent_call, root_run, depth, chain, task, allotted)
		SELECT $1, incident_id, $2, 'queued', priority, now(), now(), actor, id, $4, $5, $6, $7, $8, $9 FROM runs WHERE id = $3 RETURNING created_at`,
		c.ID, d.Agent, a.ID, d.Call, a.root, c.Depth, c.chain, json.RawMessage(assigned), json.RawMessage(limits)).Scan(&c.CreatedAt); err != nil {
		return nil, err
	}
	e := ops.NewEvent(ops.EventAgentAsked, ops.AgentAsked{CallID: d.Call, Run: c.ID, Agent: d.Agent, Task: clip(d.Task, ops.MaxTask), Depth: c.Depth})
	e.RunID, e.Actor = a.ID, "agent:"+a.Agent
	_, err = appendEvents(ctx, tx, a.IncidentID, e)
	return c, err
}

// claim gives the child to the parent's worker. If it cannot start it has ended,
// and that is the result.
func (a *asker) claim(ctx context.Context, tx pgx.Tx, d Delegate, c *child, out *Delegated) error {
	got := ClaimedRun{Run: c.Run, Assigned: &c.assigned, chain: c.chain}
	if err := tx.QueryRow(ctx, `SELECT id, prompt, provider, rules, tools, skills, sub_agents FROM agents WHERE id = $1`, c.Agent).
		Scan(&got.Agent.ID, &got.Agent.Prompt, &got.Agent.Provider, &got.Agent.Rules, &got.Agent.Tools, &got.Agent.Skills, &got.Agent.SubAgents); err != nil {
		return err
	}
	got.Agent.Limits = c.limits
	got.Agent.Limits.Duration = min(c.limits.Duration, max(a.left, leastTime))
	given, err := assign(ctx, tx, &got, c.parked, d.Claim)
	if err != nil {
		return err
	}
	if given {
		out.Claimed = &got
		return nil
	}
	if c, err = childOf(ctx, tx, a.ID, d.Call); err != nil {
		return err
	}
	out.Result, err = childResult(ctx, tx, c, d.Call)
	return err
}

// childOf locks the run that a call has asked for; nil if there is none.
func childOf(ctx context.Context, tx pgx.Tx, parent, call string) (*child, error) {
	c := &child{}
	var task, limits []byte
	var started, ended *time.Time
	err := tx.QueryRow(ctx, `SELECT id, incident_id, agent_id, state, reason, epoch, parked, worker, acked_seq, actor, parent_run, parent_call, root_run, depth, chain, task, allotted,
			created_at, started_at, ended_at
		FROM runs WHERE parent_run = $1 AND parent_call = $2 FOR UPDATE`, parent, call).
		Scan(&c.ID, &c.IncidentID, &c.Agent, &c.State, &c.Reason, &c.Epoch, &c.parked, &c.Worker, &c.AckedSeq, &c.Actor, &c.AskedBy, &c.AskedIn, &c.Root, &c.Depth, &c.chain,
			&task, &limits, &c.CreatedAt, &started, &ended)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.StartedAt, c.EndedAt = orZero(started), orZero(ended)
	return c, errors.Join(json.Unmarshal(task, &c.assigned), json.Unmarshal(limits, &c.limits))
}

// childResult is the result of the call that a child has answered: what it has
// submitted, else its last words, and what it has cost with all below it.
func childResult(ctx context.Context, tx pgx.Tx, c *child, call string) (*ops.ToolResult, error) {
	r := &ops.ToolResult{ID: call, State: ops.CallDone, Child: &ops.ChildRun{Run: c.ID, Agent: c.Agent, State: c.State}}
	if c.State == ops.RunFailed || c.State == ops.RunCancelled {
		r.State = ops.CallFailed
	}
	if !c.StartedAt.IsZero() && c.EndedAt.After(c.StartedAt) {
		r.Duration = c.EndedAt.Sub(c.StartedAt)
	}
	if err := tx.QueryRow(ctx, `WITH RECURSIVE tree AS (
			SELECT id, turns, input_tokens, output_tokens, usd FROM runs WHERE id = $1
			UNION ALL SELECT r.id, r.turns, r.input_tokens, r.output_tokens, r.usd FROM runs r JOIN tree t ON r.parent_run = t.id
		) SELECT sum(turns)::int, sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(usd)::float8 FROM tree`, c.ID).
		Scan(&r.Child.Turns, &r.Child.InputTokens, &r.Child.OutputTokens, &r.Child.USD); err != nil {
		return nil, err
	}
	answer := ops.Answer{Agent: c.Agent, State: c.State, Reason: c.Reason}
	var kind ops.EventKind
	var data []byte
	err := tx.QueryRow(ctx, `SELECT kind, data FROM events WHERE run_id = $1 AND run_seq IS NOT NULL AND kind IN ('findings', 'message')
		ORDER BY kind = 'findings' DESC, run_seq DESC LIMIT 1`, c.ID).Scan(&kind, &data)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // it has said nothing
		err = nil
	case err != nil:
	case kind == ops.EventFindings:
		answer.Found = &ops.Finding{}
		err = json.Unmarshal(data, answer.Found)
	default:
		var m ops.Message
		err = json.Unmarshal(data, &m)
		answer.Text = m.Text
	}
	if err != nil {
		return nil, err
	}
	r.Text = answer.Envelope()
	return r, nil
}

// endChildren ends what a run has asked for that has not ended: it does not
// outlive the run. Their tokens die with them.
func endChildren(ctx context.Context, tx pgx.Tx, run *ops.Run) error {
	return eachChild(ctx, tx, run, []ops.RunState{ops.RunQueued, ops.RunRunning, ops.RunWaitingApproval}, func(c *ops.Run) error {
		return endRun(ctx, tx, c, ops.RunCancelled, "the run that asked for it has ended")
	})
}

// eachChild does f with the runs in these states that a run has asked for.
func eachChild(ctx context.Context, tx pgx.Tx, run *ops.Run, states []ops.RunState, f func(*ops.Run) error) error {
	rows, err := tx.Query(ctx, `SELECT id FROM runs WHERE parent_run = $1 AND state = ANY($2) ORDER BY id`, run.ID, states)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

// subAgents are those that a run may ask, as things are now.
func (db *DB) subAgents(ctx context.Context, c *ClaimedRun) ([]ops.SubAgent, error) {
	if len(c.Agent.SubAgents) == 0 || c.Run.Depth >= ops.MaxDepth {
		return nil, nil
	}
	rows, err := db.pool.Query(ctx, `SELECT id, description FROM agents WHERE id = ANY($1) AND disabled_at IS NULL ORDER BY id`, c.Agent.SubAgents)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ops.SubAgent])
	return slices.DeleteFunc(all, func(s ops.SubAgent) bool { return slices.Contains(c.chain, s.ID) || !c.Roles.Powers.MayStart(s.ID) }), mapError(err)
}

// audit is a record of what a run asked for. The task is in it by digest alone.
func (a *asker) audit(d Delegate, action, outcome string, more map[string]string) ops.AuditRecord {
	sum := sha256.Sum256([]byte(d.Task))
	r := ops.AuditRecord{Chain: "api", At: time.Now().UTC(), Actor: "run:" + a.ID, Action: action, Object: "agent:" + clip(d.Agent, 100), RunID: a.ID, Outcome: outcome,
		Detail: map[string]string{"agent": a.Agent, "chain": strings.Join(a.chain, " → "), "requester": a.Actor, "incident": a.IncidentID, "call": d.Call,
			"task": hex.EncodeToString(sum[:])}}
	for k, v := range more {
		r.Detail[k] = v
	}
	return r
}
