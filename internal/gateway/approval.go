package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
)

const (
	// runWaits is how long a run's call is held for them; then the run is
	// parked, and calls again when they have decided. A client, which cannot be
	// parked, is held for clientWaits.
	runWaits, clientWaits = 2 * time.Minute, 10 * time.Minute
	// parkBefore is left of a run's time when its call stops waiting, so that
	// the worker can still park it.
	parkBefore = 150 * time.Second
	// lookEvery is how often the gateway looks for decisions.
	lookEvery = 250 * time.Millisecond
)

// approved has people decide on a call that the rules neither allow nor deny.
// It gives the verdict to go on with, which is a refusal if they said no, and
// the approval that the start of the call uses up; or, in waiting, the answer
// that nobody has decided yet.
//
// What they approve is the digest of the call, its holder, the tool as it is
// described, the canonical arguments, the target with its pinned host keys and
// credential version on every hop, whom it acts for and all layers of rules. When
// they have, the call is judged once more from the inventory, the roles and the
// rules as they are then: if the digest is another, nothing runs.
func (g *Gateway) approved(ctx context.Context, r *request, v verdict) (_ verdict, approval string, waiting *ops.ToolResult, err error) {
	refuse := func(format string, args ...any) (verdict, string, *ops.ToolResult, error) {
		v.refusal = fmt.Sprintf(format, args...)
		return v, "", nil, nil
	}
	a, err := g.request(*r, v)
	if err != nil {
		return v, "", nil, err
	}
	grant, err := g.db.Granted(ctx, r.grant.IncidentID, a.Subject)
	if err != nil {
		return v, "", nil, err
	}
	if grant != "" {
		v.call.Rule, v.reasons = "grant:"+grant, append([]string{"granted for this incident"}, v.reasons...)
		return v, "", nil, nil
	}
	audit := g.audit(*r, v, "approval.requested", "intent")
	audit.Detail["approval"], audit.Detail["risk"], audit.Detail["why"] = a.ID, string(a.Risk), strings.Join(v.reasons, "; ")
	mine := a.Digest
	a, err = g.db.AskApproval(ctx, a, audit)
	if ops.CodeOf(err) == ops.CodeForbidden {
		v.reasons = append([]string{"asks too often"}, v.reasons...)
		return refuse("The call needs a person's approval, and was not made: %s.", ops.MessageOf(err))
	}
	if err != nil {
		return v, "", nil, err
	}
	if a, err = g.decided(ctx, *r, a); err != nil {
		return v, "", nil, err
	}
	v.reasons = append([]string{"approval " + string(a.State)}, v.reasons...)
	switch a.State {
	case ops.ApprovalPending:
		return v, "", &ops.ToolResult{ID: r.id, State: ops.CallWaiting, Target: v.call.Target,
			Text: "People are asked for their approval (" + a.ID + ") and have not decided yet. Make the same call again under the same id.\n"}, nil
	case ops.ApprovalApproved:
	case ops.ApprovalDenied:
		return refuse("A person has denied the call%s.", said(a))
	case ops.ApprovalExpired:
		if a.Late() {
			return refuse("The call was approved, but came too late for that, and was not made. If it is still needed, make it as a new call: people are asked again.")
		}
		return refuse("The call needs a person's approval, and nobody gave it in time.")
	default:
		return refuse("The request for approval has ended: %s.", a.State)
	}
	// Roles and rules may have changed while people thought about it.
	if r.grant, err = g.db.GrantByHolder(ctx, r.grant.Holder()); err != nil {
		return v, "", nil, err
	}
	// So may the tool: it is the one of that name that there is now.
	set := g.set.Load()
	if !set.has(r.grant, r.tool.Name) {
		return refuse("The call was approved, but the tool is not there any more, or not as it was: it was not made.")
	}
	r.set, r.tool = set, set.tools[r.tool.Name]
	now, err := g.decide(ctx, *r, found{})
	if err != nil || now.refusal != "" || !now.asks {
		return now, "", nil, err
	}
	again, err := g.request(*r, now)
	if err != nil {
		return now, "", nil, err
	}
	if !slices.Equal(again.Digest, mine) {
		v = now
		return refuse("The call was approved, but its target, credential, host key or the rules have changed since: it was not made.")
	}
	now.call.Rule = "approval:" + a.ID
	return now, a.ID, nil, nil
}

// said quotes who denied a call.
func said(a ops.Approval) string {
	for _, d := range a.Decisions {
		if !d.Approve && d.Reason != "" {
			return ": " + d.Reason
		}
	}
	return ""
}

// request is what people are asked, with its digest.
func (g *Gateway) request(r request, v verdict) (ops.Approval, error) {
	now := time.Now().UTC()
	a := ops.Approval{ID: ops.NewID(), RunID: r.grant.RunID, TokenID: r.grant.TokenID, CallID: r.id, IncidentID: r.grant.IncidentID,
		Agent: r.grant.Agent, Requester: r.grant.Requester, Tool: r.tool.Name, Target: v.call.Target, Command: v.call.Command,
		Arguments: v.call.Arguments, Risk: ops.Risk(v.impact.Risk), Effect: string(v.impact.Effect), Reasons: v.reasons,
		Facts:     map[string]string{"policy": g.policyVersion(r.grant), "effect": v.impact.Why},
		CreatedAt: now, ExpiresAt: now.Add(ops.ApprovalLife)}
	a.Needed = a.Risk.Needed()
	if len(r.grant.Chain) > 0 {
		a.Facts["chain"] = strings.Join(r.grant.Chain, " → ")
	}
	type hop struct{ Target, Address, User, HostKey, Credential string }
	var way []hop
	for _, h := range v.hops {
		credential := fmt.Sprintf("%s version %d", h.Credential.Name, h.Credential.Version)
		way = append(way, hop{h.Target.ID, fmt.Sprintf("%s:%d", h.Target.Address, h.Target.Port), h.Target.User, h.Target.HostKey, credential})
		a.Facts["credential"], a.Facts["address"] = credential, fmt.Sprintf("%s:%d", h.Target.Address, h.Target.Port)
		if keys := tool.Pinned(h.Target); len(keys) > 0 {
			a.Facts["host_key"] = strings.Join(keys, ", ")
		}
	}
	if len(v.ways) > 0 { // people see all of them
		a.Facts["credential"] = strings.Join(each(v.ways, credentialOf), ", ")
		a.Facts["address"] = strings.Join(each(v.ways, func(hops []tool.Hop) string {
			t := hops[len(hops)-1].Target
			return fmt.Sprintf("%s:%d", t.Address, t.Port)
		}), ", ")
		a.Facts["host_key"] = strings.Join(each(v.ways, func(hops []tool.Hop) string {
			return strings.Join(tool.Pinned(hops[len(hops)-1].Target), ", ")
		}), ", ")
	}
	subject, err := json.Marshal([]any{"akmatori approval", 1, r.tool.Definition(), v.call.Digest, v.call.Command, way})
	if err != nil {
		return a, fmt.Errorf("digest of an approval: %w", err)
	}
	sum := sha256.Sum256(subject)
	a.Subject = sum[:]
	bound := sha256.Sum256(fmt.Appendf(nil, "%x\n%s\n%s\n%s\n%s", sum, r.grant.Holder(), r.grant.Requester, r.id, g.policyVersion(r.grant)))
	a.Digest = bound[:]
	a.Facts["digest"] = hex.EncodeToString(a.Digest[:8])
	return a, nil
}

// decided waits until people have decided, or for as long as the holder may be held.
func (g *Gateway) decided(ctx context.Context, r request, a ops.Approval) (ops.Approval, error) {
	if a.State != ops.ApprovalPending {
		return g.db.ApprovalInFull(ctx, a.ID)
	}
	until := time.Now().Add(clientWaits)
	if r.grant.RunID != "" {
		until = time.Now().Add(g.runWaits)
		if last := r.grant.Deadline.Add(-parkBefore); last.Before(until) {
			until = last
		}
	}
	changed, stop := g.waits.enter(a.ID)
	defer stop()
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	select {
	case <-ctx.Done():
		return a, context.Cause(ctx)
	case <-g.running.stops():
	case <-late.C:
	case <-changed:
	}
	return g.db.ApprovalInFull(ctx, a.ID)
}

// waits are the approvals that calls wait for here.
type waits struct {
	mu  sync.Mutex
	all map[string]*wait
}

type wait struct {
	n       int
	changed chan struct{} // closed when there is something to see
}

func (w *waits) enter(id string) (changed <-chan struct{}, stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]*wait{}
	}
	one := w.all[id]
	if one == nil {
		one = &wait{changed: make(chan struct{})}
		w.all[id] = one
	}
	one.n++
	return one.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if one.n--; one.n == 0 && w.all[id] == one {
			delete(w.all, id)
		}
	}
}

func (w *waits) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.all))
	for id := range w.all {
		ids = append(ids, id)
	}
	return ids
}

func (w *waits) wake(ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if one := w.all[id]; one != nil {
			close(one.changed)
			delete(w.all, id)
		}
	}
}

// look wakes calls whose approval is decided.
func (g *Gateway) look(ctx context.Context) {
	g.poll(ctx, lookEvery, "whether approvals are decided", g.waits.ids, g.db.DecidedApprovals, func(_, decided []string) { g.waits.wake(decided) })
}
