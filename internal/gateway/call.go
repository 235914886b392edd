package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// maxArguments bounds the arguments of a call, in their canonical form.
const maxArguments = 64 << 10

// request is a call as it came, from whoever holds the token of grant.
type request struct {
	grant postgres.Grant
	found found
	guess *guess
	id    string
	set   *toolSet
	tool  tool.Tool
	raw   json.RawMessage
	// asked is the request that may cancel the call: the one that made it, if it
	// gave the call no id of its own, under which it could be asked for again.
	asked string
}

// verdict is a call that was judged: one that may start, or one with a refusal.
type verdict struct {
	call    ops.ToolCall
	refusal string        // for the model; empty: it may start, or people are asked
	asks    bool          // nobody has allowed it yet: people must
	impact  policy.Impact // of what is asked
	reasons []string
	policy  string // its version
	args    tool.Args
	hops    []tool.Hop   // all that are logged in to
	ways    [][]tool.Hop // the same, for each host, if the call is about several
	targets []ops.Target
	remote  *tool.Remote // a configured server
}

// perform is everything that happens to a call that is the first of its id
// here, in order. The token, and that its run still runs, were checked for this
// very request by the middleware in front ([Gateway.authenticate]), or are
// remembered, and checked by the statement that records the intent. Any error
// means no.
func (g *Gateway) perform(ctx context.Context, r request, live func(string)) (ops.ToolResult, error) {
	began := time.Now()

	// Schema, target, who it acts for, the layers of rules.
	v, err := g.decide(ctx, r, r.found)
	if err != nil {
		return ops.ToolResult{}, err
	}

	// From memory, only what is allowed goes on: the rest is judged by what is so now.
	if r.guess != nil && (v.asks || v.refusal != "") {
		return ops.ToolResult{}, postgres.ErrStale
	}

	// What the rules leave open, people decide.
	var approval string
	if v.asks && v.refusal == "" {
		// Not about a call that was made: it has its result, or is another one.
		known, err := g.db.Call(ctx, r.grant.Holder(), r.id)
		switch {
		case err == nil && !bytes.Equal(known.Digest, v.call.Digest):
			return ops.ToolResult{}, ops.Errorf(ops.CodeConflict, "call %s was made before with other arguments", r.id)
		case err == nil:
			return g.settled(ctx, r, known)
		case ops.CodeOf(err) != ops.CodeNotFound:
			return ops.ToolResult{}, err
		}
		var waiting *ops.ToolResult
		if v, approval, waiting, err = g.approved(ctx, &r, v); err != nil {
			return ops.ToolResult{}, err
		}
		if waiting != nil {
			return *waiting, nil
		}
	}

	// A channel to the host may open while the intent is recorded; nothing is sent
	// in it before.
	var ahead *tool.Ahead
	if v.refusal == "" && r.tool.Ahead != nil {
		ahead = r.tool.Ahead(v.hops)
		defer ahead.Close()
	}

	// Audit the intent, and take the right to start: it is given once, and only if
	// all that was judged by is still so.
	start := postgres.StartCall{Call: v.call, Instance: g.instance, Approval: approval, Audit: g.audit(r, v, "tool.intent", "intent")}
	if r.guess != nil {
		start.Ground = &r.guess.ground
	}
	if approval != "" {
		start.Audit.Detail["approval"] = approval
	}
	if v.refusal != "" {
		start.Denied = &ops.ToolResult{ID: r.id, State: ops.CallDenied, Text: plain.Text(v.refusal), Target: v.call.Target, Duration: time.Since(began)}
		start.Audit.Action, start.Audit.Outcome = "tool.denied", "denied"
		start.Audit.Detail["why"] = strings.Join(v.reasons, "; ")
	}
	start.Audit.Detail["latency_us"] = strconv.FormatInt(time.Since(began).Microseconds(), 10)
	known, err := g.db.StartCall(ctx, start)
	if err != nil {
		return ops.ToolResult{}, err
	}
	judgedBy := "lookup"
	if r.guess != nil {
		r.guess.proven.Store(true)
		judgedBy = "memory"
	}
	if known != nil {
		return g.settled(ctx, r, known)
	}
	if start.Denied != nil {
		g.metrics.calls.WithLabelValues(r.tool.Name, string(ops.CallDenied)).Inc()
		return *start.Denied, nil
	}
	g.metrics.judged.WithLabelValues(judgedBy).Inc()

	// Open the credential, act, redact; then the outcome and its audit record.
	result, outcome := g.act(ctx, r, v, ahead, live)
	result.Duration = time.Since(began)
	outcome.Detail["duration_us"] = strconv.FormatInt(result.Duration.Microseconds(), 10)
	g.metrics.calls.WithLabelValues(r.tool.Name, string(result.State)).Inc()
	g.metrics.seconds.WithLabelValues(r.tool.Name).Observe(result.Duration.Seconds())
	return g.finish(ctx, r, result, outcome)
}

// decide judges a call, with what of the inventory is known already. What is
// wrong with the call itself is a refusal, which is recorded; an error is that it
// could not be judged. So is a panic: it would end the process and all its calls.
func (g *Gateway) decide(ctx context.Context, r request, known found) (v verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = verdict{}, fmt.Errorf("judge a call of %s: panic: %v\n%s", r.tool.Name, p, debug.Stack())
		}
	}()
	v = verdict{call: ops.ToolCall{RunID: r.grant.RunID, TokenID: r.grant.TokenID, ID: r.id, Tool: r.tool.Name, Arguments: json.RawMessage(`{}`),
		Verdict: string(policy.Deny)}, policy: g.policyVersion(r.grant)}
	refuse := func(reason, format string, args ...any) (verdict, error) {
		v.refusal, v.reasons = fmt.Sprintf(format, args...), append([]string{reason}, v.reasons...)
		return v, nil
	}

	// Schema.
	args, err := r.tool.Parse(r.raw)
	if err == nil {
		err = r.tool.CheckTargets(args)
	}
	if err != nil {
		v.call.Arguments = legible(r.raw)
		v.call.Digest = rawDigest(r.tool, r.raw)
		return refuse("schema", "The call was refused: %s.", ops.MessageOf(err))
	}
	canonical := args.Canonical()
	v.call.Digest = r.tool.Digest(args)
	if len(canonical) > maxArguments {
		// What is too long to be shown and recorded whole is not done either.
		return refuse("schema", "The call was refused: its arguments have more than %d bytes.", maxArguments)
	}
	v.args, v.call.Arguments = args, canonical

	// Target, from the inventory alone.
	if r.tool.Remote != nil || r.tool.Service && r.tool.Kind == ops.ToolServerMCP {
		v.remote = r.set.remote(r.tool, args)
		hop, problem, err := g.serverHop(ctx, r.grant, v.remote, r.tool.Kind)
		if err != nil {
			return v, err
		}
		if problem != "" {
			return refuse("target", "The call was refused: %s.", problem)
		}
		v.call.Target, v.hops = hop.Target.Name, []tool.Hop{hop}
	} else if r.tool.Target == "" {
		all, err := g.db.Targets(ctx)
		if err != nil {
			return v, err
		}
		v.targets = slices.DeleteFunc(all, func(t ops.Target) bool { return !reaches(r.grant, t.Name) })
	} else if several := args.Strings(r.tool.Targets); len(several) > 0 {
		for _, name := range several {
			way, reason, problem, err := g.hops(ctx, r, name, known)
			if err != nil {
				return v, err
			}
			if problem != "" {
				return refuse(reason, "The call was refused: %s.", problem)
			}
			v.ways, v.hops = append(v.ways, way), append(v.hops, way...)
		}
		v.call.Target = strings.Join(several, ", ")
	} else {
		way, reason, problem, err := g.hops(ctx, r, args.String(r.tool.Target), known)
		if err != nil {
			return v, err
		}
		if problem != "" {
			return refuse(reason, "The call was refused: %s.", problem)
		}
		v.hops, v.call.Target = way, way[len(way)-1].Target.Name
		// One that was left out is judged and shown as if it had been named.
		if args.String(r.tool.Target) != v.call.Target {
			args = maps.Clone(args)
			args[r.tool.Target] = v.call.Target
			canonical = args.Canonical()
			v.args, v.call.Arguments = args, canonical
		}
	}

	// Whoever it acts for must be somebody who may use this agent, still.
	if why := barred(r.grant); why != "" {
		return refuse("actor", "The call was refused: %s.", why)
	}

	// What the platform forbids, what the roles of whoever it acts for deny, which
	// tools the agent has, its rules, and what the token is for, if it was issued
	// for itself.
	ask, err := policy.ReadCall(r.tool.Name, canonical)
	if err != nil {
		return v, err
	}
	ask.Shell = shellOf(r.tool)
	layers, err := g.layers(r.grant)
	if err != nil {
		g.log.Error("the rules of an agent or a role cannot be read", "agent", r.grant.Agent, "requester", r.grant.Requester, "err", err)
		return refuse("rules", "The call was refused: the rules of agent %s, or of the roles of %s, are not valid; a person must correct them.", r.grant.Agent, r.grant.Requester)
	}
	d := layers.Decide(ask)
	v.call.Verdict, v.call.Rule, v.call.Command, v.reasons = string(d.Verdict), d.Rule, d.Canonical, d.Reasons
	switch {
	case d.Verdict == policy.Allow:
		return v, nil
	case d.Verdict == policy.Deny && d.Layer == policy.LayerPlatform:
		return refuse("platform", "The call was refused: the platform forbids it (%s).", d.Reasons[0])
	case d.Verdict == policy.Deny && d.Layer == policy.LayerRole:
		return refuse("role", "The call was denied: %s has a role that does not allow it (%s).", r.grant.Requester, d.Rule)
	case d.Layer == policy.LayerRun && d.Verdict == policy.Deny, r.grant.Agent == "":
		// A service has no rules but what its token is for, and asks nobody.
		v.call.Verdict = string(policy.Deny)
		return refuse("token", "The call was refused: it is not what this token is for.")
	case d.Verdict == policy.Deny:
		return refuse("rules", "The call was denied by the rules of this agent: %s.", strings.Join(d.Reasons, "; "))
	default:
		v.asks, v.impact = true, impactOf(r.tool, ask)
		if v.call.Command == "" && r.tool.Command != "" {
			// It could not be rebuilt from its words: people see, and the host gets,
			// what was written, byte for byte.
			v.call.Command = args.String(r.tool.Command)
		}
		return v, nil
	}
}

// reaches says whether a grant covers the target of that name: the agent works
// there, and the token, if it was issued for itself, is for it.
func reaches(grant postgres.Grant, name string) bool {
	return (grant.TokenID == "" || matches(grant.Targets, name)) && (len(grant.AgentTargets) == 0 || matches(grant.AgentTargets, name))
}

// uses says whether the agent of a grant may use the credential of that name.
func uses(grant postgres.Grant, name string) bool {
	return len(grant.AgentCredentials) == 0 || matches(grant.AgentCredentials, name)
}

// matches says whether one of the globs is for name.
func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

// hops gives the way to a target with the credentials for it. A problem comes
// with its reason: target or credential.
func (g *Gateway) hops(ctx context.Context, r request, name string, known found) (hops []tool.Hop, reason, problem string, err error) {
	way, problem, err := g.way(ctx, r.grant, name, r.tool.Kind, known)
	if err != nil || problem != "" {
		return nil, "target", problem, err
	}
	for i, stop := range way {
		if r.tool.Keyless && i == len(way)-1 {
			return append(hops, tool.Hop{Target: stop.Target}), "", "", nil
		}
		hop, problem := g.hop(r.grant, stop)
		if problem != "" {
			return nil, "credential", problem, nil
		}
		hops = append(hops, hop)
	}
	return hops, "", "", nil
}

// way gives the targets on the way to name, outermost first. No name means the
// only target of the kind.
func (g *Gateway) way(ctx context.Context, grant postgres.Grant, name, kind string, known found) (way []postgres.Stop, problem string, err error) {
	missing := func() ([]postgres.Stop, string, error) {
		names, err := g.reachable(ctx, grant, kind)
		switch {
		case err != nil:
			return nil, "", err
		case len(names) == 0:
			return nil, fmt.Sprintf("there is no %s target in the inventory", kind), nil
		case name == "":
			return nil, fmt.Sprintf("there are several %s targets, so one must be named: %s", kind, strings.Join(names, ", ")), nil
		}
		return nil, fmt.Sprintf("there is no %s target %q in the inventory; there are: %s", kind, name, strings.Join(names, ", ")), nil
	}
	if name == "" {
		names, err := g.reachable(ctx, grant, kind)
		if err != nil {
			return nil, "", err
		}
		if len(names) != 1 {
			return missing()
		}
		name = names[0]
	}
	if way = slices.Clone(known.way); name != known.name {
		if way, err = g.db.Way(ctx, name, maxHops+1); err != nil {
			return nil, "", err
		}
	}
	for i, t := range way {
		if slices.ContainsFunc(way[:i], func(earlier postgres.Stop) bool { return earlier.Name == t.Name }) {
			return nil, fmt.Sprintf("the jump hosts of %q lead in a circle; a person must correct the inventory", name), nil
		}
		// One that the token does not reach is as one that is not there.
		if t.Kind != kind || i == 0 && !reaches(grant, name) {
			return missing()
		}
	}
	switch {
	case len(way) == 0:
		return missing()
	case len(way) > maxHops:
		return nil, fmt.Sprintf("there are more than %d jump hosts before %q", maxHops-1, name), nil
	}
	slices.Reverse(way)
	return way, "", nil
}

// reachable names the targets of a kind that a grant covers: those of the
// inventory's first 30, so that a refusal stays short.
func (g *Gateway) reachable(ctx context.Context, grant postgres.Grant, kind string) (names []string, err error) {
	all, err := g.db.Targets(ctx)
	for _, t := range all {
		if t.Kind == kind && reaches(grant, t.Name) && len(names) < 30 {
			names = append(names, t.Name)
		}
	}
	return names, err
}

// maxHops bounds a chain, the target included.
const maxHops = 4

// hop finds the credential of a target and checks that it may be used there.
// The seal says the same: it does not open for other targets than it was made for.
func (g *Gateway) hop(grant postgres.Grant, s postgres.Stop) (h tool.Hop, problem string) {
	switch {
	case s.Target.Credential == "":
		return h, fmt.Sprintf("host %s has no credential", s.Name)
	case s.Key == nil:
		return h, fmt.Sprintf("the credential of host %s is disabled, or is not one for tools", s.Name)
	case !matches(s.Key.Targets, s.Name):
		return h, fmt.Sprintf("credential %s may not be used for host %s", s.Key.Name, s.Name)
	case !uses(grant, s.Key.Name):
		return h, fmt.Sprintf("agent %s may not use credential %s", grant.Agent, s.Key.Name)
	}
	c := *s.Key
	return tool.Hop{Target: s.Target, Credential: c, Open: func() (ops.Secret, error) { return g.keys.Open(c) }}, ""
}

// act does what was allowed and recorded. It gives the result with its audit record.
func (g *Gateway) act(ctx context.Context, r request, v verdict, ahead *tool.Ahead, live func(string)) (ops.ToolResult, ops.AuditRecord) {
	deadline := time.Now().Add(r.tool.Limit(v.args))
	if r.grant.Deadline.Before(deadline) {
		deadline = r.grant.Deadline
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	ctx, end := g.leases.take(ctx, v.hops)
	defer end()
	out, err := r.tool.Run(ctx, tool.Call{Args: v.args, Hops: v.hops, Ways: v.ways, Ahead: ahead, Command: v.call.Command, Inventory: v.targets, Remote: v.remote,
		Leads: g.leads(ctx, r, v), Past: g.past(r), Sink: tool.Sink{Live: live, Keep: g.keep(ctx, r)}})

	result := ops.ToolResult{ID: r.id, State: ops.CallDone, Text: out.Text, Data: out.Data, Truncated: out.Truncated, ExitCode: out.ExitCode, Target: v.call.Target}
	audit := g.audit(r, v, "tool.outcome", "ok")
	why := plain.Text(ops.MessageOf(err)) // what went wrong may quote the arguments
	var refused *tool.HostKeyError
	switch {
	case errors.As(err, &refused):
		result.State, result.Text = ops.CallFailed, out.Text+why
		audit.Action, audit.Outcome = "tool.host_key_refused", "failed"
		audit.Detail["host"] = refused.Target
		audit.Detail["pinned"] = strings.Join(refused.Pinned, ", ")
		audit.Detail["offered"] = refused.Offered
		g.log.Warn("a host has another key than the pinned one", "target", refused.Target, "pinned", refused.Pinned, "offered", refused.Offered, "holder", r.grant.Holder())
	case errors.Is(err, tool.ErrChanged):
		r.set.hide(r.tool.Name)
		result.State, result.Text = ops.CallFailed, why
		audit.Action, audit.Outcome = "tool.definition_changed", "failed"
		g.log.Warn("a server says something else of its tool than was accepted", "tool", r.tool.Name, "holder", r.grant.Holder())
	case err != nil:
		result.State, result.Text = ops.CallFailed, why
		audit.Outcome = "failed"
		audit.Detail["why"] = why
		g.log.Warn("a tool call failed", "tool", r.tool.Name, "target", v.call.Target, "holder", r.grant.Holder(), "call", r.id, "err", err)
	case out.Stopped != "":
		result.State = ops.CallFailed
		if result.Text != "" && !strings.HasSuffix(result.Text, "\n") {
			result.Text += "\n"
		}
		result.Text += "[stopped: " + out.Stopped + "]\n"
		audit.Outcome = "failed"
		audit.Detail["why"] = out.Stopped
	case out.ExitCode != nil:
		audit.Detail["exit_code"] = strconv.Itoa(*out.ExitCode)
	}
	result.Text += out.Kept.Note(r.id)
	if out.Truncated > 0 {
		audit.Detail["truncated"] = strconv.FormatInt(out.Truncated, 10)
	}
	return result, audit
}

// outcomePatience is how long the outcome of a call is kept for a database that is away.
const outcomePatience = 2 * time.Minute

// finish stores an outcome, whatever has ended meanwhile but this process.
func (g *Gateway) finish(ctx context.Context, r request, result ops.ToolResult, audit ops.AuditRecord) (ops.ToolResult, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomePatience)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		try, done := context.WithTimeout(ctx, 10*time.Second)
		stored, err := g.db.FinishCall(try, r.grant.Holder(), result, audit)
		done()
		if err == nil {
			return stored, nil
		}
		g.log.Error("the outcome of a call is not stored yet", "holder", r.grant.Holder(), "call", r.id, "err", err)
		select {
		case <-ctx.Done():
			return ops.ToolResult{}, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "the outcome of the call could not be recorded"), err)
		case <-g.running.hurry(): // the process is stopping: one more try and no waiting
			stored, err := g.db.FinishCall(ctx, r.grant.Holder(), result, audit)
			return stored, err
		case <-time.After(wait):
		}
	}
}

// pollEvery is how often a call of another gateway is looked at.
const pollEvery = 100 * time.Millisecond

// settled gives the result of a call that was started before, by this instance
// or another: it waits while the other one lives.
func (g *Gateway) settled(ctx context.Context, r request, known *postgres.CallRecord) (ops.ToolResult, error) {
	for {
		if known.Result != nil {
			return *known.Result, nil
		}
		alive := false
		if known.Instance != g.instance && known.Instance != 0 {
			var err error
			if alive, err = g.db.InstanceAlive(ctx, known.Instance); err != nil {
				return ops.ToolResult{}, err
			}
		}
		if !alive {
			// It is not in our registry either, so nobody works on it.
			v := verdict{call: known.ToolCall, policy: g.policyVersion(r.grant)}
			result := ops.ToolResult{ID: r.id, State: ops.CallUnknown, Target: known.Target,
				Text: "The gateway ended while this call was running. Whether the command ran, and what it printed, is not known. It will not be run again under this id.\n"}
			audit := g.audit(r, v, "tool.outcome", "unknown")
			audit.Detail["why"] = "the gateway that started it is gone"
			g.metrics.calls.WithLabelValues(r.tool.Name, string(ops.CallUnknown)).Inc()
			return g.finish(ctx, r, result, audit)
		}
		select {
		case <-ctx.Done():
			return ops.ToolResult{}, context.Cause(ctx)
		case <-time.After(pollEvery):
		}
		var err error
		if known, err = g.db.Call(ctx, r.grant.Holder(), r.id); err != nil {
			return ops.ToolResult{}, err
		}
	}
}

// audit is a record of this call. Arguments are in it by digest alone.
func (g *Gateway) audit(r request, v verdict, action, outcome string) ops.AuditRecord {
	a := ops.AuditRecord{
		Chain: "gateway", At: time.Now().UTC(), Actor: r.grant.Actor, Action: action, Object: "call:" + r.id,
		RunID: r.grant.RunID, Outcome: outcome,
		Detail: map[string]string{
			"agent": r.grant.Agent, "incident": r.grant.IncidentID, "tool": r.tool.Name, "digest": hex.EncodeToString(v.call.Digest),
			"verdict": v.call.Verdict, "policy": v.policy,
			"requester": r.grant.Requester, "roles": strings.Join(r.grant.Roles.Roles, " "),
		},
	}
	if len(r.grant.Chain) > 0 {
		a.Detail["chain"] = strings.Join(r.grant.Chain, " → ")
	}
	if r.grant.TokenID != "" {
		a.Detail["token"] = r.grant.TokenID
	}
	if v.call.Target != "" {
		a.Detail["target"] = v.call.Target
	}
	if v.call.Rule != "" {
		a.Detail["rule"] = v.call.Rule
	}
	if r.tool.Remote != nil {
		a.Detail["definition"] = hex.EncodeToString(r.tool.Definition()[:8])
	}
	if len(v.ways) > 0 {
		a.Detail["credential"] = strings.Join(each(v.ways, credentialOf), ", ")
	} else if n := len(v.hops); n > 0 && v.hops[n-1].Open != nil {
		a.Detail["credential"] = credentialOf(v.hops)
	}
	return a
}

// credentialOf names what the last of hops is logged in to with.
func credentialOf(hops []tool.Hop) string {
	c := hops[len(hops)-1].Credential
	return fmt.Sprintf("%s version %d", c.Name, c.Version)
}

func each(ways [][]tool.Hop, say func([]tool.Hop) string) []string {
	all := make([]string, len(ways))
	for i, way := range ways {
		all[i] = say(way)
	}
	return all
}

func rawDigest(t tool.Tool, raw json.RawMessage) []byte {
	sum := sha256.Sum256(append([]byte(t.Name+"\nraw\n"), raw...))
	return sum[:]
}

// legible is what is recorded of arguments that were refused: nothing, if people
// could not read them as one thing. The digest is of what was sent.
func legible(raw json.RawMessage) json.RawMessage {
	v, err := toolspec.Decode(raw)
	if err != nil || toolspec.Plain(v) != nil || len(raw) > maxArguments {
		return json.RawMessage(`{}`)
	}
	canonical, _ := json.Marshal(v) // what was read from JSON always marshals
	return canonical
}
