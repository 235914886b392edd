package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
)

// Bounds of what a worker asks for.
const (
	maxAskBytes  = 64 << 10 // of arguments
	maxReasons   = 20
	maxReasonLen = 2000
	maxAsks      = 1000 // that wait, of one worker
)

// chain is the audit chain of the api, which this is a part of.
const chain = "api"

var callID = regexp.MustCompile(`^c[1-9][0-9]{0,5}$`)

// ask answers a worker that wants to make a call which its rules leave open. The
// worker says which call; who asks, what it risks and what the rules say is
// found out here. An answer that is not final is given again when people have
// decided.
func (s *session) ask(ctx context.Context, a wire.Ask) error {
	if !validRuns([]wire.RunRef{a.RunRef}) || !callID.MatchString(a.Call) || !policy.Local(a.Tool) || len(a.Arguments) > maxAskBytes {
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "malformed ask"}
	}
	claim := postgres.RunClaim{Run: a.Run, Worker: s.worker, Epoch: a.Epoch}
	mine, err := s.d.db.Holds(ctx, claim)
	if err != nil {
		return fmt.Errorf("ask of run %s: %w", a.Run, err)
	}
	if !mine {
		return nil // a cancel is on its way, or the next heartbeat says so
	}
	d, approval, err := s.d.judge(ctx, claim, a)
	switch {
	case ops.CodeOf(err) == ops.CodeUnavailable || err != nil && ctx.Err() != nil:
		return fmt.Errorf("ask of run %s: %w", a.Run, err) // the worker asks again
	case ops.CodeOf(err) == ops.CodeUnauthenticated:
		return nil // it has ended meanwhile
	case ops.CodeOf(err) == ops.CodeForbidden:
		d = wire.Decision{State: wire.DecisionRefused, Reason: ops.MessageOf(err)}
	case err != nil:
		s.log.Error("people could not be asked", "run", a.Run, "call", a.Call, "err", err)
		d = wire.Decision{State: wire.DecisionRefused, Reason: "people could not be asked"}
	}
	if d.State == wire.DecisionPending && !s.wait(approval, a) {
		d = wire.Decision{State: wire.DecisionRefused, Reason: "too many calls wait for people"}
	}
	d.RunRef, d.Call = a.RunRef, a.Call
	return s.conn.Send(ctx, wire.Frame{Decision: &d})
}

// wait has an ask answered again when people have decided.
func (s *session) wait(approval string, a wire.Ask) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asks) >= maxAsks {
		return false
	}
	s.asks[approval] = a
	return true
}

// pushDecisions lets sessions answer the asks that are decided.
func (d *Dispatcher) pushDecisions(ctx context.Context) {
	sessions := d.all()
	var waiting []string
	for _, s := range sessions {
		s.mu.Lock()
		for id := range s.asks {
			waiting = append(waiting, id)
		}
		s.mu.Unlock()
	}
	if len(waiting) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	decided, err := d.db.DecidedApprovals(ctx, waiting)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("whether calls are decided was not looked at", "err", err)
		}
		return
	}
	for _, s := range sessions {
		s.mu.Lock()
		for _, id := range decided {
			if a, ok := s.asks[id]; ok {
				delete(s.asks, id)
				s.due = append(s.due, a)
				poke(s.wake)
			}
		}
		s.mu.Unlock()
	}
}

// judge gives the answer to an ask, and the approval that it waits for. It is
// judged anew each time: what the rules deny by now people cannot allow, and an
// approval is of one digest.
func (d *Dispatcher) judge(ctx context.Context, claim postgres.RunClaim, a wire.Ask) (wire.Decision, string, error) {
	var none wire.Decision
	g, err := d.db.GrantByHolder(ctx, claim.Run)
	if err != nil {
		return none, "", err
	}
	if g.AgentDisabled || !g.Roles.Powers.MayStart(g.Agent) {
		return none, "", ops.Errorf(ops.CodeForbidden, "%s may not use agent %s", g.Requester, g.Agent)
	}
	call, err := policy.ReadCall(a.Tool, a.Arguments)
	if err != nil {
		return none, "", ops.Errorf(ops.CodeForbidden, "the arguments are not an object")
	}
	call.Place = policy.Workspace()
	rules, err := layers(g)
	if err != nil {
		return none, "", err
	}
	v := rules.Decide(call)
	if v.Verdict == policy.Deny {
		return none, "", ops.Errorf(ops.CodeForbidden, "the rules deny it: %s", strings.Join(v.Reasons, "; "))
	}
	asked := request(g, a, call, v)
	record := func(action, outcome string) ops.AuditRecord {
		r := ops.AuditRecord{Chain: chain, At: time.Now().UTC(), Actor: g.Actor, Action: action, Object: "call:" + a.Call, RunID: g.RunID, Outcome: outcome,
			Detail: map[string]string{"agent": g.Agent, "incident": g.IncidentID, "requester": g.Requester, "roles": strings.Join(g.Roles.Roles, " "), "tool": a.Tool,
				"digest": asked.Facts["digest"], "policy": asked.Facts["policy"], "risk": string(asked.Risk), "worker": clip(claim.Worker), "why": strings.Join(asked.Reasons, "; ")}}
		if of := asked.Facts["chain"]; of != "" {
			r.Detail["chain"] = of
		}
		return r
	}
	// A call that was asked about stands or falls with what was said to that: it
	// must be known whether somebody has had the right to make it.
	before, err := d.db.WasAsked(ctx, g.RunID, a.Call)
	if err != nil {
		return none, "", err
	}
	if !before {
		grant, err := d.db.Granted(ctx, g.IncidentID, asked.Subject)
		if err != nil {
			return none, "", err
		}
		if grant != "" {
			r := record("workspace.intent", "intent")
			r.Detail["rule"] = "grant:" + grant
			return wire.Decision{State: wire.DecisionApproved}, "", d.db.AppendAudit(ctx, r)
		}
	}
	r := record("approval.requested", "intent")
	r.Detail["approval"] = asked.ID
	known, err := d.db.AskApproval(ctx, asked, r)
	if err != nil {
		return none, "", err
	}
	if known, err = d.db.ApprovalInFull(ctx, known.ID); err != nil {
		return none, "", err
	}
	switch known.State {
	case ops.ApprovalPending:
		return wire.Decision{State: wire.DecisionPending}, known.ID, nil
	case ops.ApprovalDenied:
		return wire.Decision{State: wire.DecisionDenied, Reason: said(known)}, "", nil
	case ops.ApprovalExpired:
		if known.Late() {
			return wire.Decision{State: wire.DecisionRefused, Reason: "it was approved, but came too late for that; if it is still needed, make it as a new call: people are asked again"}, "", nil
		}
		return wire.Decision{State: wire.DecisionExpired}, "", nil
	case ops.ApprovalApproved:
	default:
		return wire.Decision{State: wire.DecisionRefused, Reason: "the request for approval has ended: " + string(known.State)}, "", nil
	}
	r = record("workspace.intent", "intent")
	r.Detail["rule"] = "approval:" + known.ID
	used, err := d.db.TakeApproval(ctx, claim, known.ID, asked.Digest, r)
	switch {
	case err != nil:
		return none, "", err
	case used:
		return wire.Decision{State: wire.DecisionUsed}, "", nil
	}
	return wire.Decision{State: wire.DecisionApproved}, "", nil
}

// said quotes who denied a call.
func said(a ops.Approval) string {
	for _, d := range a.Decisions {
		if !d.Approve {
			return d.Reason
		}
	}
	return ""
}

// layers are the rules that count for a run.
func layers(g postgres.Grant) (p policy.Policy, err error) {
	p.Platform = policy.Platform()
	if p.Role, err = policy.Builtin().LoadRole(g.Roles.Deny, g.Roles.Allow); err != nil {
		return p, fmt.Errorf("roles %s: %w", strings.Join(g.Roles.Roles, " "), err)
	}
	if p.Tools, err = policy.Builtin().LoadTools(g.AgentTools); err != nil {
		return p, fmt.Errorf("tools of agent %s: %w", g.Agent, err)
	}
	p.Agent, err = policy.Load(g.Rules)
	return p, err
}

// request is what people are asked. Its digest is of the kind "workspace": that
// of a call at the gateway is made of other things and is never the same.
func request(g postgres.Grant, a wire.Ask, call policy.Call, v policy.Decision) ops.Approval {
	now := time.Now().UTC()
	impact := policy.Builtin().Impact(call)
	reasons := v.Reasons
	if v.Verdict != policy.Ask { // the worker sees more of the folder, such as links
		reasons = nil
		for _, r := range a.Reasons[:min(len(a.Reasons), maxReasons)] {
			reasons = append(reasons, storable(r[:min(len(r), maxReasonLen)]))
		}
	}
	out := ops.Approval{ID: ops.NewID(), Workspace: true, RunID: g.RunID, CallID: a.Call, IncidentID: g.IncidentID, Agent: g.Agent, Requester: g.Requester,
		Tool: a.Tool, Arguments: json.RawMessage(storable(string(a.Arguments))), Risk: ops.Risk(impact.Risk), Effect: string(impact.Effect), Reasons: reasons,
		CreatedAt: now, ExpiresAt: now.Add(ops.ApprovalLife)}
	if command, ok := call.Arguments["command"].(string); ok {
		if out.Command = v.Canonical; out.Command == "" {
			out.Command = storable(command) // as written: so it runs
		}
	}
	out.Needed = out.Risk.Needed()
	version := digest(policy.Platform().Lines(), g.Roles.Deny, g.Roles.Allow, g.AgentTools, g.Rules)
	out.Subject = digest("akmatori approval", "workspace", 1, a.Tool, a.Arguments, out.Command)
	out.Digest = digest("akmatori approval", "workspace", 1, out.Subject, g.RunID, g.Requester, a.Call, version)
	out.Facts = map[string]string{"policy": hex.EncodeToString(version[:6]), "effect": impact.Why, "digest": hex.EncodeToString(out.Digest[:8])}
	if len(g.Chain) > 0 {
		out.Facts["chain"] = strings.Join(g.Chain, " → ")
	}
	return out
}

// digest is of JSON, which tells where each part ends.
func digest(parts ...any) []byte {
	text, err := json.Marshal(parts)
	if err != nil {
		text = fmt.Appendf(nil, "%q", err) // arguments were read before: they are JSON
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

// storable is text, also of JSON, as Postgres takes it.
func storable(s string) string {
	return strings.ReplaceAll(ops.Storable(s), `\u0000`, `\ufffd`)
}

// dropAsks forgets what a claim waits for; s.mu is held.
func (s *session) dropAsks(claim wire.RunRef) {
	for id, a := range s.asks {
		if a.RunRef == claim {
			delete(s.asks, id)
		}
	}
	s.due = slices.DeleteFunc(s.due, func(a wire.Ask) bool { return a.RunRef == claim })
}
