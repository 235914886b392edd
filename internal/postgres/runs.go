package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// MaxClaims is how often a run is claimed before it is given up: a run that
// takes its worker down each time must not do so for ever.
const MaxClaims = 20

// ClaimRun says for whom a run is claimed and what its tokens are.
type ClaimRun struct {
	Worker string
	Lease  time.Duration
	// Timeout bounds the attempt if the agent's limits name no duration.
	Timeout                          time.Duration
	GatewayTokenHash, ProxyTokenHash []byte
}

// ClaimedRun is what a worker needs to know of the run it was given.
type ClaimedRun struct {
	Run      ops.Run
	Incident ops.Incident
	Alerts   []ops.Alert
	Agent    ops.AgentDef
	// Roles are those of whoever the run acts for, at the claim.
	Roles    ActorRoles
	Provider ops.Provider
	// Fallbacks are the providers to turn to when Provider cannot be had, in
	// order. WaitUntil is how long the run may wait for one of them all; zero means
	// that it does not wait.
	Fallbacks []ops.Provider
	WaitUntil time.Time
	Deadline  time.Time
	// Transcript holds the stored events of [ops.TranscriptKinds], Messages what
	// people said to this run so far.
	Transcript []ops.Event
	Messages   []ops.RunMessage
	// History are the runs whose conversation this one goes on with, oldest first.
	History []PastRun
	// Waiting are calls of the run's own tools that people are asked about, or have
	// allowed, and that nobody has started.
	Waiting []string
	// Assigned is what another run has asked this one for; nil for others.
	Assigned *ops.Assignment
	// SubAgents are those that it may ask.
	SubAgents []ops.SubAgent
	chain     []string
	// Context is what is known of the past; nil once the model was told.
	Context *ops.Context
	// Conclude says why the run may do nothing more but conclude, if it may not.
	Conclude string
	// Skills are those of the agent, Runbooks those for the incident ([DB.Guidance]).
	Skills   []ops.SkillRef
	Runbooks []ops.RunbookRef
}

// PastRun is the conversation of a run that has ended.
type PastRun struct {
	Run        string
	Transcript []ops.Event
	Messages   []ops.RunMessage
}

// maxHistory bounds how many runs another one goes on with.
const maxHistory = 8

// maxEnded is how many runs that cannot start one claim ends.
const maxEnded = 100

// Claim gives the first waiting run to a worker. It returns nil if none waits.
// The tokens are valid from now on, those of an earlier claim are dead. A run that
// cannot start, since its agent is disabled, or whoever it acts for may not use
// that agent any more, or it has no model, ends with the reason on the timeline.
func (db *DB) Claim(ctx context.Context, c ClaimRun) (*ClaimedRun, error) {
	for range maxEnded {
		out, ended, err := db.claimNext(ctx, c)
		if err != nil || out == nil && !ended {
			return nil, err
		}
		if out != nil {
			return out, db.fill(ctx, out)
		}
	}
	return nil, nil
}

// claimNext gives the first waiting run, or ends it.
func (db *DB) claimNext(ctx context.Context, c ClaimRun) (out *ClaimedRun, ended bool, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		out, ended = nil, false
		got := ClaimedRun{}
		var limits []byte
		// Both rows are locked, or the run is left for the next try: a claim
		// never waits, so it cannot be part of a deadlock.
		var parked int
		err := tx.QueryRow(ctx, `SELECT r.id, r.incident_id, r.epoch, r.parked, r.acked_seq, r.created_at, r.actor, coalesce(r.parent::text, ''),
				a.id, a.prompt, a.provider, a.rules, a.tools, a.skills, a.sub_agents, a.limits
			FROM runs r JOIN incidents i ON i.id = r.incident_id JOIN agents a ON a.id = r.agent_id
			WHERE r.state = 'queued' AND r.parent_run IS NULL AND r.available_at <= now()
			ORDER BY r.priority, r.created_at
			LIMIT 1 FOR UPDATE OF r, i SKIP LOCKED`).
			Scan(&got.Run.ID, &got.Run.IncidentID, &got.Run.Epoch, &parked, &got.Run.AckedSeq, &got.Run.CreatedAt, &got.Run.Actor, &got.Run.Parent,
				&got.Agent.ID, &got.Agent.Prompt, &got.Agent.Provider, &got.Agent.Rules, &got.Agent.Tools,
				&got.Agent.Skills, &got.Agent.SubAgents, &limits)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(limits, &got.Agent.Limits); err != nil {
			return fmt.Errorf("limits of agent %s: %w", got.Agent.ID, err)
		}
		got.chain = []string{got.Agent.ID}
		given, err := assign(ctx, tx, &got, parked, c)
		if given {
			out = &got
		}
		ended = !given
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return out, ended, nil
}

// barred says why a run of an actor may not start, if it may not: the gateway
// and the proxy would refuse all that it asks for.
func barred(ctx context.Context, tx pgx.Tx, actor, agent string) (string, error) {
	var disabled bool
	if err := tx.QueryRow(ctx, `SELECT disabled_at IS NOT NULL FROM agents WHERE id = $1`, agent).Scan(&disabled); err != nil {
		return "", err
	}
	if disabled {
		return fmt.Sprintf("agent %s is disabled: enable it, or investigate with another one", agent), nil
	}
	roles, err := rolesOf(ctx, tx, actor)
	if err != nil || roles.Powers.MayStart(agent) {
		return "", err
	}
	kind, name, _ := strings.Cut(actor, ":")
	switch kind {
	case "user":
		return fmt.Sprintf("%s, who asked for this, may no longer use agent %s: the account is disabled or removed, or its roles have changed", name, agent), nil
	case "alert":
		return fmt.Sprintf("the alerts of its source may no longer use agent %s: the roles of alerts have changed", agent), nil
	}
	return fmt.Sprintf("%s, for whom this is, may not use agent %s: its roles do not allow that", cmp.Or(actor, "nobody"), agent), nil
}

// assign gives a run that the transaction has locked to a worker. If the run cannot
// start it has ended instead.
func assign(ctx context.Context, tx pgx.Tx, got *ClaimedRun, parked int, c ClaimRun) (given bool, err error) {
	if lost := got.Run.Epoch - parked; lost >= MaxClaims {
		return false, endRun(ctx, tx, &got.Run, ops.RunFailed, fmt.Sprintf("given up after %d workers lost it", lost))
	}
	why, err := barred(ctx, tx, got.Run.Actor, got.Agent.ID)
	if err != nil {
		return false, err
	}
	if why != "" {
		return false, endRun(ctx, tx, &got.Run, ops.RunFailed, why)
	}
	got.Provider, err = provider(ctx, tx, got.Agent.Provider)
	if ops.CodeOf(mapError(err)) == ops.CodeNotFound {
		return false, endRun(ctx, tx, &got.Run, ops.RunFailed, "no LLM provider is configured for the agent")
	}
	if err != nil {
		return false, err
	}
	if got.Fallbacks, err = fallbacks(ctx, tx, got.Provider); err != nil {
		return false, err
	}
	behind, models := []string{}, map[string]string{got.Provider.ID: got.Provider.Model}
	for _, f := range got.Fallbacks {
		behind, models[f.ID] = append(behind, f.ID), f.Model
	}
	// A run that another has asked for is no investigation of its own in the budget.
	asked := got.Assigned != nil
	if got.Conclude, err = overBudget(ctx, tx, got.Run.ID, asked || got.Run.Epoch > 0); err != nil {
		return false, err
	}
	if got.Conclude != "" && got.Run.Epoch == 0 {
		return false, endRun(ctx, tx, &got.Run, ops.RunFailed, "not started: "+got.Conclude)
	}
	timeout := c.Timeout
	if got.Agent.Limits.Duration > 0 {
		timeout = got.Agent.Limits.Duration + time.Minute // to conclude in
	}
	got.Run.Epoch++
	got.Run.State, got.Run.Worker, got.Run.Agent = ops.RunRunning, c.Worker, got.Agent.ID
	if err := tx.QueryRow(ctx, `UPDATE runs SET state = 'running', epoch = $2, worker = $3, provider_id = $4,
			lease_until = now() + $5, deadline = now() + $6, started_at = coalesce(started_at, now()),
			gateway_token_hash = $7, proxy_token_hash = $8, fallback_ids = $9, models = $10
		WHERE id = $1 RETURNING deadline, lease_until, started_at, coalesce(waiting_since, now())`,
		got.Run.ID, got.Run.Epoch, c.Worker, got.Provider.ID, c.Lease, timeout, c.GatewayTokenHash, c.ProxyTokenHash, behind, models).
		Scan(&got.Deadline, &got.Run.LeaseUntil, &got.Run.StartedAt, &got.WaitUntil); err != nil {
		return false, err
	}
	// A run that another has asked for does not wait for a model: the other one may.
	if got.WaitUntil = got.WaitUntil.Add(time.Duration(got.Provider.Wait) * time.Minute); got.Provider.Wait == 0 || asked {
		got.WaitUntil = time.Time{}
	}
	e := ops.NewEvent(ops.EventRunStarted, ops.RunChange{State: ops.RunRunning, Worker: c.Worker, Epoch: got.Run.Epoch})
	e.RunID = got.Run.ID
	if _, err := appendEvents(ctx, tx, got.Run.IncidentID, e); err != nil {
		return false, err
	}
	if err := setInvestigation(ctx, tx, got.Run.IncidentID, got.Run.ID, ops.RunRunning, ""); err != nil {
		return false, err
	}
	if got.Run.Epoch > 1 {
		return true, nil
	}
	if !asked {
		if err := tally(ctx, tx, got.Run.IncidentID, 1, 0, 0, 0, 0); err != nil {
			return false, err
		}
	}
	return true, (&usagePart{kind: "agent", name: got.Run.Agent, n: 1}).store(ctx, tx)
}

// fill reads what a worker needs to know of the run that it was given.
func (db *DB) fill(ctx context.Context, out *ClaimedRun) (err error) {
	if out.Roles, err = db.RolesOfActor(ctx, out.Run.Actor); err != nil {
		return err
	}
	if out.SubAgents, err = db.subAgents(ctx, out); err != nil {
		return err
	}
	if out.Incident, err = db.Incident(ctx, out.Run.IncidentID); err != nil {
		return err
	}
	if out.Alerts, err = db.IncidentAlerts(ctx, out.Run.IncidentID); err != nil {
		return err
	}
	if out.Skills, out.Runbooks, err = db.Guidance(ctx, out.Agent, out.Incident, out.Alerts); err != nil {
		return err
	}
	if err := db.giveSkills(ctx, out.Run.ID, out.Skills); err != nil {
		return err
	}
	if out.Transcript, err = db.transcript(ctx, out.Run.ID); err != nil {
		return err
	}
	if out.Messages, err = db.messagesOf(ctx, out.Run.ID); err != nil {
		return err
	}
	if out.Waiting, err = db.waitingCalls(ctx, out.Run.ID); err != nil {
		return err
	}
	if out.History, err = db.history(ctx, out.Run.Parent); err != nil {
		return err
	}
	if out.Assigned == nil && !slices.ContainsFunc(out.Transcript, func(e ops.Event) bool { return e.Kind == ops.EventBriefing }) {
		known, err := db.Context(ctx, out.Incident, out.Alerts)
		if err != nil {
			return err
		}
		if err := db.offer(ctx, out.Run.ID, known.Memories); err != nil {
			return err
		}
		out.Context = &known
	}
	return nil
}

// history gives the conversation that begins with the first of the runs before
// and ends with this one, at most maxHistory of them.
func (db *DB) history(ctx context.Context, run string) ([]PastRun, error) {
	var all []PastRun
	for run != "" && len(all) < maxHistory {
		past := PastRun{Run: run}
		var err error
		if past.Transcript, err = db.transcript(ctx, run); err != nil {
			return nil, err
		}
		if past.Messages, err = db.messagesOf(ctx, run); err != nil {
			return nil, err
		}
		if err := db.pool.QueryRow(ctx, `SELECT coalesce(parent::text, '') FROM runs WHERE id = $1`, run).Scan(&run); err != nil {
			return nil, mapError(err)
		}
		all = append(all, past)
	}
	slices.Reverse(all)
	return all, nil
}

// Transcript gives the stored events of a run that its conversation is made of, in order.
func (db *DB) Transcript(ctx context.Context, run string) ([]ops.Event, error) {
	return db.transcript(ctx, run)
}

func (db *DB) transcript(ctx context.Context, run string) ([]ops.Event, error) {
	rows, err := db.pool.Query(ctx, selectEvents+` WHERE run_id = $1 AND run_seq IS NOT NULL AND kind = ANY($2) ORDER BY run_seq`,
		run, ops.TranscriptKinds)
	if err != nil {
		return nil, mapError(err)
	}
	events, err := pgx.CollectRows(rows, scanEvent)
	return events, mapError(err)
}

// RunClaim names a claim: the run, its worker and the claim's epoch.
type RunClaim struct {
	Run    string
	Worker string
	Epoch  int
}

// errLost answers who speaks of a claim that is not the newest, or of a run
// that has ended.
var errLost = ops.Errorf(ops.CodeConflict, "the run belongs to another worker or has ended")

// StoreEvents stores what a worker says of its run and returns the number up
// to which all of it is stored. Events that are stored already are passed over.
// A hole in the numbers is refused with code invalid, a claim that is not the
// newest with code conflict. Findings are checked against the stored calls of
// the run before they are stored; run.ended ends the run and its tokens, and
// run.parked ends this claim: the run waits until people have decided or, with
// the state queued, for a model that can be had. What a
// turn cost is added to the run and to the day. A run that has ended without
// reading what somebody said to it is followed by one that does.
func (db *DB) StoreEvents(ctx context.Context, c RunClaim, events []ops.Event) (acked int64, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		run, err := lockClaim(ctx, tx, c)
		if err != nil {
			return err
		}
		acked = run.AckedSeq
		fresh := make([]ops.Event, 0, len(events))
		var end *ops.RunChange
		var spent []ops.Usage
		parked, away, turns := false, false, 0
		for _, e := range events {
			if e.RunSeq <= acked {
				continue
			}
			if e.RunSeq != acked+1 {
				return ops.Errorf(ops.CodeInvalid, "event %d follows %d: there is a hole", e.RunSeq, acked)
			}
			if end != nil || parked || away {
				return ops.Errorf(ops.CodeInvalid, "there are events behind the end of the run")
			}
			acked++
			e.RunID, e.Actor = c.Run, "agent:"+run.Agent
			switch e.Kind {
			case ops.EventTextDelta, ops.EventReasoning, ops.EventToolCall, ops.EventToolOutput, ops.EventToolResult, ops.EventNotice, ops.EventBriefing:
			case ops.EventMessage, ops.EventCompaction:
				if spent, err = addUsage(spent, e); err != nil {
					return err
				}
				if e.Kind == ops.EventMessage {
					turns++
				}
			case ops.EventApplied:
				if err := applyMessage(ctx, tx, run, e); err != nil {
					return err
				}
			case ops.EventRunParked:
				var change ops.RunChange
				_ = json.Unmarshal(e.Data, &change)
				away = change.State == ops.RunQueued // it waits for its model, and not for people
				parked = !away
			case ops.EventFindings:
				if e.Data, err = storeFindings(ctx, tx, run, e); err != nil {
					return err
				}
			case ops.EventRunEnded:
				end = &ops.RunChange{}
				if err := json.Unmarshal(e.Data, end); err != nil || !end.State.Final() {
					return ops.Errorf(ops.CodeInvalid, "run.ended with state %q", end.State)
				}
				if end.State == ops.RunConcluded && run.AskedBy == "" { // else it is an answer, and no conclusion
					if err := downgrade(ctx, tx, c.Run, end); err != nil {
						return err
					}
					e.Data = ops.NewEvent(e.Kind, end).Data
				}
			default:
				return ops.Errorf(ops.CodeInvalid, "a worker may not send events of kind %q", e.Kind)
			}
			fresh = append(fresh, e)
		}
		if len(fresh) == 0 {
			return nil
		}
		if _, err := appendEvents(ctx, tx, run.IncidentID, fresh...); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE runs SET acked_seq = $2, turns = turns + $4, waiting_since = CASE WHEN $3 THEN NULL ELSE waiting_since END WHERE id = $1`,
			c.Run, acked, len(spent) > 0, turns); err != nil {
			return err
		}
		switch {
		case end != nil:
			err = finishRun(ctx, tx, run, end.State, end.Reason)
		case parked:
			err = rest(ctx, tx, run, parkRun)
		case away:
			err = rest(ctx, tx, run, waitForModel)
		}
		if err != nil || len(spent) == 0 {
			return err
		}
		return spend(ctx, tx, run, spent)
	})
	return acked, err
}

// rest has a run wait, unless people have stopped it before its worker heard of
// that: then it ends.
func rest(ctx context.Context, tx pgx.Tx, run *ops.Run, wait func(context.Context, pgx.Tx, *ops.Run) error) error {
	why, err := stopping(ctx, tx, run.ID)
	if err != nil {
		return err
	}
	if why != "" {
		return endRun(ctx, tx, run, ops.RunCancelled, why)
	}
	return wait(ctx, tx, run)
}

// stopping says why people have stopped a run, if they have; its worker may not
// have heard of it yet.
func stopping(ctx context.Context, tx pgx.Tx, run string) (why string, err error) {
	err = tx.QueryRow(ctx, `SELECT cancel_requested FROM runs WHERE id = $1`, run).Scan(&why)
	return why, err
}

// addUsage adds what the model's turn of e cost.
func addUsage(spent []ops.Usage, e ops.Event) ([]ops.Usage, error) {
	var data struct {
		Usage *ops.Usage `json:"usage"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return nil, ops.Errorf(ops.CodeInvalid, "%s: malformed", e.Kind)
	}
	if data.Usage == nil {
		return spent, nil
	}
	return append(spent, *data.Usage), nil
}

// lockClaim locks the incident and then the run, and checks that the claim is
// the newest.
func lockClaim(ctx context.Context, tx pgx.Tx, c RunClaim) (*ops.Run, error) {
	run, err := lockRun(ctx, tx, c.Run)
	if err != nil {
		return nil, err
	}
	if run.State != ops.RunRunning || run.Epoch != c.Epoch || run.Worker != c.Worker {
		return nil, errLost
	}
	return run, nil
}

func lockRun(ctx context.Context, tx pgx.Tx, id string) (*ops.Run, error) {
	if _, err := tx.Exec(ctx, `SELECT 1 FROM incidents WHERE id = (SELECT incident_id FROM runs WHERE id = $1) FOR UPDATE`, id); err != nil {
		return nil, err
	}
	r := &ops.Run{}
	err := tx.QueryRow(ctx, `SELECT id, incident_id, agent_id, state, epoch, worker, acked_seq, actor, coalesce(parent_run::text, '') FROM runs WHERE id = $1 FOR UPDATE`, id).
		Scan(&r.ID, &r.IncidentID, &r.Agent, &r.State, &r.Epoch, &r.Worker, &r.AckedSeq, &r.Actor, &r.AskedBy)
	return r, err
}

// storeFindings checks the findings of e and gives its new data. Those of a run
// that another has asked for are an answer to that one, and not the incident's.
func storeFindings(ctx context.Context, tx pgx.Tx, run *ops.Run, e ops.Event) (json.RawMessage, error) {
	var f ops.Finding
	if err := json.Unmarshal(e.Data, &f); err != nil {
		return nil, ops.Errorf(ops.CodeInvalid, "findings: malformed")
	}
	rows, err := tx.Query(ctx, `SELECT call_id, data->>'text' FROM tool_steps WHERE run_id = $1 AND state = 'done'`, run.ID)
	if err != nil {
		return nil, err
	}
	outputs := map[string]string{}
	var call, text string
	if _, err := pgx.ForEachRow(rows, []any{&call, &text}, func() error { outputs[call] = text; return nil }); err != nil {
		return nil, err
	}
	f = ops.CheckFindings(f, outputs)
	if run.AskedBy != "" {
		return json.Marshal(f)
	}
	if err := storeFinding(ctx, tx, run, e.At, f); err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

// downgrade turns concluded into inconclusive where no root cause stands on
// evidence: in the findings of this run or, for one that goes on with another
// and has none of its own, in the newest of the incident.
func downgrade(ctx context.Context, tx pgx.Tx, run string, end *ops.RunChange) error {
	var conclusive bool
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT conclusive FROM findings WHERE run_id = r.id),
			r.parent IS NOT NULL AND (SELECT conclusive FROM findings WHERE incident_id = r.incident_id ORDER BY at DESC LIMIT 1), false)
		FROM runs r WHERE r.id = $1`, run).Scan(&conclusive)
	if err != nil {
		return err
	}
	if !conclusive {
		end.State = ops.RunInconclusive
		end.Reason = "no root cause is backed by evidence"
	}
	return nil
}

// finishRun sets the final state and makes the run's tokens useless. What it has
// asked for ends with it.
func finishRun(ctx context.Context, tx pgx.Tx, run *ops.Run, state ops.RunState, reason string) error {
	if _, err := tx.Exec(ctx, `UPDATE runs SET state = $2, reason = $3, ended_at = now(), lease_until = NULL,
			gateway_token_hash = NULL, proxy_token_hash = NULL WHERE id = $1`, run.ID, state, reason); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE approvals SET state = 'void', decided_at = now() WHERE holder = $1 AND state IN ('pending', 'approved')
			AND NOT EXISTS (SELECT FROM approval_uses WHERE approval_id = id)`, run.ID); err != nil {
		return err
	}
	if err := setInvestigation(ctx, tx, run.IncidentID, run.ID, state, reason); err != nil {
		return err
	}
	run.State = state
	if err := endChildren(ctx, tx, run); err != nil {
		return err
	}
	return handOn(ctx, tx, run)
}

// endRun ends a run that no worker has: it writes the event that a worker would have sent.
func endRun(ctx context.Context, tx pgx.Tx, run *ops.Run, state ops.RunState, reason string) error {
	e := ops.NewEvent(ops.EventRunEnded, ops.RunChange{State: state, Reason: reason})
	e.RunID = run.ID
	if _, err := appendEvents(ctx, tx, run.IncidentID, e); err != nil {
		return err
	}
	return finishRun(ctx, tx, run, state, reason)
}

func setInvestigation(ctx context.Context, tx pgx.Tx, incident, run string, state ops.RunState, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE incidents SET investigation = $3, investigation_reason = $4, updated_at = now()
		WHERE id = $1 AND run_id = $2`, incident, run, state, reason)
	return err
}

// Held is a claim that still holds.
type Held struct {
	Acked int64 // the number up to which its events are stored
	Child bool  // another run has asked for it
}

// Renew extends the leases of the claims that are still the newest, and returns
// those. A claim that is not in the answer is lost.
func (db *DB) Renew(ctx context.Context, claims []RunClaim, lease time.Duration) (map[string]Held, error) {
	runs, workers, epochs := make([]string, len(claims)), make([]string, len(claims)), make([]int, len(claims))
	for i, c := range claims {
		runs[i], workers[i], epochs[i] = c.Run, c.Worker, c.Epoch
	}
	// A run that is to end gets no more time: a worker that ignores it loses it.
	rows, err := db.pool.Query(ctx, `UPDATE runs r SET lease_until = CASE WHEN cancel_requested = '' THEN now() + $4 ELSE lease_until END
		FROM unnest($1::uuid[], $2::text[], $3::int[]) AS c (run, worker, epoch)
		WHERE r.id = c.run AND r.worker = c.worker AND r.epoch = c.epoch AND r.state = 'running'
		RETURNING r.id, r.acked_seq, r.parent_run IS NOT NULL`, runs, workers, epochs, lease)
	if err != nil {
		return nil, mapError(err)
	}
	held := make(map[string]Held, len(claims))
	var id string
	var one Held
	_, err = pgx.ForEachRow(rows, []any{&id, &one.Acked, &one.Child}, func() error { held[id] = one; return nil })
	return held, mapError(err)
}

// Shorten lets the leases of a worker end within grace: its connection is lost.
// If it comes back in time it renews them.
func (db *DB) Shorten(ctx context.Context, worker string, grace time.Duration) error {
	_, err := db.pool.Exec(ctx, `UPDATE runs SET lease_until = least(lease_until, now() + $2)
		WHERE state = 'running' AND worker = $1`, worker, grace)
	return mapError(err)
}

// RequeueExpired puts runs whose lease has ended back into the queue, or ends
// them if somebody asked for that. A run that is past its deadline for longer
// than it takes to say so has failed, whatever its worker does. It returns how
// many there were.
func (db *DB) RequeueExpired(ctx context.Context) (int, error) {
	rows, err := db.pool.Query(ctx, `SELECT id FROM runs WHERE state = 'running'
		AND (lease_until < now() OR deadline < now() - interval '1 minute') LIMIT 100`)
	if err != nil {
		return 0, mapError(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, mapError(err)
	}
	n := 0
	for _, id := range ids {
		err := db.tx(ctx, func(tx pgx.Tx) error {
			run, err := lockRun(ctx, tx, id)
			if err != nil {
				return err
			}
			var cancel string
			var overdue bool
			err = tx.QueryRow(ctx, `SELECT cancel_requested, deadline < now() - interval '1 minute' FROM runs WHERE id = $1 AND state = 'running'
				AND (lease_until < now() OR deadline < now() - interval '1 minute')`, id).Scan(&cancel, &overdue)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // renewed meanwhile
			}
			if err != nil {
				return err
			}
			n++
			if cancel != "" {
				return endRun(ctx, tx, run, ops.RunCancelled, cancel)
			}
			if overdue {
				return endRun(ctx, tx, run, ops.RunFailed, "its time was up and its worker did not end it")
			}
			return requeue(ctx, tx, run)
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// requeue takes a run from its worker, and what it has asked for with it: those go
// on when whoever gets the run asks for them again.
func requeue(ctx context.Context, tx pgx.Tx, run *ops.Run) error {
	if _, err := tx.Exec(ctx, `UPDATE runs SET state = 'queued', worker = '', lease_until = NULL, available_at = now(),
			gateway_token_hash = NULL, proxy_token_hash = NULL WHERE id = $1`, run.ID); err != nil {
		return err
	}
	e := ops.NewEvent(ops.EventRunRequeued, ops.RunChange{State: ops.RunQueued, Worker: run.Worker, Epoch: run.Epoch,
		Reason: "its worker was not heard of in time"})
	e.RunID = run.ID
	if _, err := appendEvents(ctx, tx, run.IncidentID, e); err != nil {
		return err
	}
	if err := eachChild(ctx, tx, run, []ops.RunState{ops.RunRunning}, func(c *ops.Run) error { return requeue(ctx, tx, c) }); err != nil {
		return err
	}
	if err := setInvestigation(ctx, tx, run.IncidentID, run.ID, ops.RunQueued, ""); err != nil {
		return err
	}
	return notify(ctx, tx, ChannelRuns, run.ID)
}

// Investigate queues a new run for an incident. A live run is a conflict.
func (db *DB) Investigate(ctx context.Context, incident, agent, actor string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		var severity ops.Severity
		if err := tx.QueryRow(ctx, `SELECT severity FROM incidents WHERE id = $1 FOR UPDATE`, incident).Scan(&severity); err != nil {
			return err
		}
		var live bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM runs WHERE incident_id = $1
			AND state IN ('queued', 'running', 'waiting_approval'))`, incident).Scan(&live); err != nil {
			return err
		}
		if live {
			return ops.Errorf(ops.CodeConflict, "the incident is being investigated")
		}
		return queueRun(ctx, tx, incident, agent, severity, actor)
	})
}

// queueRun inserts a run for an incident that the transaction has locked or made.
func queueRun(ctx context.Context, tx pgx.Tx, incident, agent string, severity ops.Severity, actor string) error {
	if err := startable(ctx, tx, agent); err != nil {
		return err
	}
	return queueRunAfter(ctx, tx, ops.NewID(), "", incident, agent, severity, actor)
}

// queueRunAfter inserts a run under a given id that goes on with the
// conversation of another one, if parent is not empty.
func queueRunAfter(ctx context.Context, tx pgx.Tx, id, parent, incident, agent string, severity ops.Severity, actor string) error {
	if _, err := tx.Exec(ctx, `INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at, actor, parent)
		VALUES ($1, $2, $3, 'queued', $4, now(), now(), $5, $6)`, id, incident, agent, priority(severity), actor, orNullText(parent)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE incidents SET run_id = $2, investigation = 'queued', investigation_reason = '' WHERE id = $1`, incident, id); err != nil {
		return err
	}
	e := ops.NewEvent(ops.EventRunQueued, ops.RunChange{State: ops.RunQueued})
	e.RunID, e.Actor = id, actor
	if _, err := appendEvents(ctx, tx, incident, e); err != nil {
		return err
	}
	return notify(ctx, tx, ChannelRuns, id)
}

// priority orders the queue: the worst first.
func priority(s ops.Severity) int { return 4 - s.Rank() }

// CancelRun asks for the end of an incident's live run: at once if it waits,
// through its worker if it runs. No live run is a conflict.
func (db *DB) CancelRun(ctx context.Context, incident, reason string) error {
	return db.tx(ctx, func(tx pgx.Tx) error { return cancelRun(ctx, tx, incident, reason) })
}

func cancelRun(ctx context.Context, tx pgx.Tx, incident, reason string) error {
	var id string
	err := tx.QueryRow(ctx, `SELECT id FROM runs WHERE incident_id = $1 AND state IN ('queued', 'running', 'waiting_approval') AND parent_run IS NULL`, incident).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return ops.Errorf(ops.CodeConflict, "nothing investigates the incident now")
	}
	if err != nil {
		return err
	}
	run, err := lockRun(ctx, tx, id)
	if err != nil {
		return err
	}
	switch {
	case run.State.Final():
		return nil
	case run.State != ops.RunRunning:
		if _, err := tx.Exec(ctx, `UPDATE runs SET cancel_requested = $2 WHERE id = $1`, id, reason); err != nil {
			return err
		}
		return endRun(ctx, tx, run, ops.RunCancelled, reason)
	}
	// The tokens die now, whatever the worker does, and those of all that it has asked for.
	if _, err := tx.Exec(ctx, `UPDATE runs SET cancel_requested = $2, gateway_token_hash = NULL, proxy_token_hash = NULL,
		lease_until = least(lease_until, now() + interval '10 seconds')
		WHERE (id = $1 OR root_run = $1) AND state IN ('queued', 'running', 'waiting_approval')`, id, reason); err != nil {
		return err
	}
	return notify(ctx, tx, ChannelCancel, id)
}

// Cancelled gives, of the claims, those whose end was asked for, with the reason.
func (db *DB) Cancelled(ctx context.Context, runs []string) (map[string]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, cancel_requested FROM runs WHERE id = ANY($1::uuid[]) AND state = 'running' AND cancel_requested <> ''`, runs)
	if err != nil {
		return nil, mapError(err)
	}
	out := map[string]string{}
	var id, reason string
	_, err = pgx.ForEachRow(rows, []any{&id, &reason}, func() error { out[id] = reason; return nil })
	return out, mapError(err)
}

// Runs gives the runs of an incident, newest first.
func (db *DB) Runs(ctx context.Context, incident string) ([]ops.Run, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, incident_id, agent_id, state, reason, epoch, worker, acked_seq, created_at,
		started_at, ended_at, lease_until, actor, coalesce(parent::text, ''), input_tokens, output_tokens, usd, unpriced,
		coalesce(parent_run::text, ''), coalesce(parent_call, ''), coalesce(root_run::text, ''), depth, turns, task FROM runs WHERE incident_id = $1 ORDER BY created_at DESC LIMIT 100`, incident)
	if err != nil {
		return nil, mapError(err)
	}
	runs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ops.Run, err error) {
		var started, ended, lease *time.Time
		var task []byte
		err = row.Scan(&r.ID, &r.IncidentID, &r.Agent, &r.State, &r.Reason, &r.Epoch, &r.Worker, &r.AckedSeq, &r.CreatedAt,
			&started, &ended, &lease, &r.Actor, &r.Parent, &r.InputTokens, &r.OutputTokens, &r.USD, &r.Unpriced,
			&r.AskedBy, &r.AskedIn, &r.Root, &r.Depth, &r.Turns, &task)
		if err == nil && task != nil {
			var a ops.Assignment
			err = json.Unmarshal(task, &a)
			r.Task = a.Text
		}
		r.StartedAt, r.EndedAt, r.LeaseUntil = orZero(started), orZero(ended), orZero(lease)
		return r, err
	})
	return runs, mapError(err)
}

// QueueDepth counts runs by state: how many wait and how many run.
func (db *DB) QueueDepth(ctx context.Context) (queued, running int, err error) {
	err = db.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM runs WHERE state = 'queued' AND parent_run IS NULL), (SELECT count(*) FROM runs WHERE state = 'running')`).
		Scan(&queued, &running)
	return queued, running, mapError(err)
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
