package dispatch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
)

// delegate answers a run that asks for another agent: with the task of the other
// run, or with the result of the call. It says nothing if the worker has that run
// already. An error ends the connection; the worker asks again on the next.
func (s *session) delegate(ctx context.Context, d wire.Delegate) error {
	if !validRuns([]wire.RunRef{d.RunRef}) || !callID.MatchString(d.Call) || len(d.Agent) > 128 || len(d.Task) > ops.MaxTask || len(d.Show) > ops.MaxShownCalls {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "malformed delegate"}
	}
	gateway, proxy := ops.NewToken(ops.GatewayTokenPrefix), ops.NewToken(ops.ProxyTokenPrefix)
	got, err := s.d.db.Delegate(ctx, postgres.Delegate{
		Parent: postgres.RunClaim{Run: d.Run, Worker: s.worker, Epoch: d.Epoch},
		Call:   d.Call, Agent: d.Agent, Task: d.Task, Show: d.Show, Has: d.Has,
		May: func(roles postgres.ActorRoles, rules []string) error { return mayAsk(roles, rules, d.Agent) },
		Claim: postgres.ClaimRun{Worker: s.worker, Lease: s.d.lease, Timeout: runTimeout(),
			GatewayTokenHash: ops.HashToken(gateway), ProxyTokenHash: ops.HashToken(proxy)},
	})
	switch ops.CodeOf(err) {
	case "":
	case ops.CodeConflict, ops.CodeNotFound:
		return s.lost(ctx, []wire.RunRef{d.RunRef})
	default:
		return fmt.Errorf("delegate for run %s: %w", d.Run, err)
	}
	if got.Result != nil {
		return s.conn.Send(ctx, wire.Frame{Delegated: &wire.Delegated{RunRef: d.RunRef, Call: d.Call, Result: *got.Result}})
	}
	if got.Claimed == nil {
		return nil
	}
	c := got.Claimed.Run
	s.mu.Lock()
	s.held[c.ID] = hold{epoch: c.Epoch, since: time.Now(), child: true, told: got.Claimed.Conclude != ""}
	s.mu.Unlock()
	s.log.Info("a run was given to the worker of the run that asked for it", "run", c.ID, "epoch", c.Epoch, "asked_by", c.AskedBy, "agent", c.Agent, "depth", c.Depth)
	given, err := s.give(ctx, got.Claimed, s.d.task(got.Claimed, gateway, proxy))
	if err != nil || given {
		return err
	}
	return s.delegate(ctx, d) // it has ended, and has a result
}

// mayAsk refuses what a role denies, as for every tool, and what a rule of the
// agent that asks denies by the name of this tool. Which agents it may ask at all
// its definition says, so neither deny:* nor the want of a rule counts.
func mayAsk(roles postgres.ActorRoles, rules []string, agent string) error {
	call := policy.Call{Tool: ops.AskAgent, Command: agent}
	all, err := policy.Load([]string{"allow:" + ops.AskAgent})
	if err != nil {
		return err
	}
	role, err := policy.Builtin().LoadRole(roles.Deny, roles.Allow)
	if err != nil {
		return ops.Errorf(ops.CodeForbidden, "the roles of who started this are not valid")
	}
	if d := (policy.Policy{Role: role, Agent: all}).Decide(call); d.Verdict != policy.Allow {
		return ops.Errorf(ops.CodeForbidden, "a role of who started this does not allow it (%s)", d.Rule)
	}
	own, err := policy.Load(rules)
	if err != nil {
		return ops.Errorf(ops.CodeForbidden, "the rules of the agent that asks are not valid")
	}
	if d := own.Decide(call); d.Verdict == policy.Deny && strings.HasPrefix(d.Rule, "deny:"+ops.AskAgent) {
		return ops.Errorf(ops.CodeForbidden, "a rule of the agent that asks does not allow it (%s)", d.Rule)
	}
	return nil
}

// asked says what a run is asked by another one; nil for the others.
func asked(c *postgres.ClaimedRun) *wire.Asked {
	if c.Assigned == nil {
		return nil
	}
	return &wire.Asked{By: c.Run.AskedBy, Call: c.Run.AskedIn, Assignment: *c.Assigned}
}
