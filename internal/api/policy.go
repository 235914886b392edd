package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

// Limits of a dry run.
const (
	maxPastCalls   = 5000
	maxChanges     = 200
	maxExample     = 8 << 10 // bytes of arguments that are an example
	dryRunPatience = 20 * time.Second
)

type explainInput struct {
	Body struct {
		Agent     string          `json:"agent" minLength:"1" maxLength:"100" doc:"The agent that would make the call."`
		Tool      string          `json:"tool" minLength:"1" maxLength:"128"`
		Arguments json.RawMessage `json:"arguments,omitempty" doc:"An object, as the agent would send it."`
		Rules     *[]string       `json:"rules,omitempty" maxItems:"1000" doc:"Judge by these rules instead of the agent's own."`
		Tools     *[]string       `json:"tools,omitempty" maxItems:"200" doc:"The agent has these tools instead of its own; none is all."`
		Actor     string          `json:"actor,omitempty" maxLength:"80" doc:"Also by the roles of who starts the run: user:NAME, alert:SOURCE or service:NAME."`
	}
}

// explanation is a decision with all that led to it.
type explanation struct {
	Verdict    policy.Verdict `json:"verdict" enum:"allow,ask,deny"`
	Rule       string         `json:"rule" doc:"The rule that decided; empty if none did."`
	Layer      policy.Layer   `json:"layer" doc:"Whose rule that is: platform, role, agent, run, or workspace for what holds for the files of each."`
	Canonical  string         `json:"canonical" doc:"The command as it would be shown, approved and sent."`
	Reasons    []string       `json:"reasons" nullable:"false" doc:"Most important first."`
	Effect     policy.Effect  `json:"effect" enum:"reads,changes,exposure,privilege,destroys,unknown" doc:"What the call does at worst, as far as its text says."`
	Risk       ops.Risk       `json:"risk" enum:"low,medium,high,critical" doc:"Who may approve it, if it is asked."`
	Impact     string         `json:"impact" doc:"What makes it of that effect."`
	Roles      []string       `json:"roles" nullable:"false" doc:"Of the actor, if one was given."`
	Warnings   []string       `json:"warnings" nullable:"false" doc:"Rules that can never decide."`
	WouldAllow []string       `json:"would_allow" nullable:"false" doc:"The narrowest rules that would allow an asked call, in order; empty where no rule can."`
}

type dryRunInput struct {
	Body struct {
		Agent string   `json:"agent" minLength:"1" maxLength:"100"`
		Actor string   `json:"actor,omitempty" maxLength:"80" doc:"Also by the roles of this actor, both times: user:NAME, alert:SOURCE or service:NAME."`
		Rules []string `json:"rules" maxItems:"1000" nullable:"false" doc:"The whole list that would replace the agent's own."`
		Days  int      `json:"days,omitempty" minimum:"1" maximum:"30" default:"7"`
	}
}

// dryRun says what other rules would have decided.
type dryRun struct {
	Calls int `json:"calls" doc:"How many calls were looked at."`
	// Partial: there were more calls, or too little time.
	Partial     bool         `json:"partial" doc:"There are older calls that were not looked at."`
	Changed     []changeSum  `json:"changed" nullable:"false"`
	Examples    []pastChange `json:"examples" nullable:"false" doc:"The newest of each call that changes, at most 200."`
	Unreachable []string     `json:"unreachable" nullable:"false" doc:"Rules that can never decide."`
}

type changeSum struct {
	Before policy.Verdict `json:"before"`
	After  policy.Verdict `json:"after"`
	Calls  int            `json:"calls"`
}

type pastChange struct {
	Tool       string          `json:"tool"`
	Arguments  json.RawMessage `json:"arguments"`
	Before     policy.Verdict  `json:"before"`
	After      policy.Verdict  `json:"after"`
	Rule       string          `json:"rule" doc:"The rule that would decide."`
	Reason     string          `json:"reason"`
	Calls      int             `json:"calls"`
	IncidentID string          `json:"incident_id"`
	RunID      string          `json:"run_id"`
	CallID     string          `json:"call_id"`
	At         time.Time       `json:"at"`
}

func (s *API) policyOperations(api huma.API) {
	const tag = "configuration"
	handle(s, api, operation{id: "explain-policy", method: http.MethodPost, path: "/policy/explain", summary: "What would be decided about a call, and why", tag: tag}, s.explainPolicy)
	handle(s, api, operation{id: "dry-run-policy", method: http.MethodPost, path: "/policy/dry-run", summary: "What other rules would have changed about past calls", tag: tag}, s.dryRunPolicy)
}

// draft is what may be judged by instead of what is stored; nil is what is stored.
type draft struct {
	rules, tools *[]string
	actor        string
}

// policyOf is what judges the calls of an agent's runs, as the gateway does. A
// fault in a draft is the caller's to know.
func (s *API) policyOf(ctx context.Context, agent string, d draft) (p policy.Policy, roles postgres.ActorRoles, err error) {
	a, err := s.db.Agent(ctx, storable(agent))
	if err != nil {
		return p, roles, err
	}
	if d.rules != nil {
		a.Rules = *d.rules
	}
	if d.tools != nil {
		a.Tools = *d.tools
	}
	p.Platform = policy.Platform()
	if p.Agent, err = policy.Load(a.Rules); err != nil {
		return p, roles, ruleProblem("rules", err)
	}
	if p.Tools, err = policy.Builtin().LoadTools(a.Tools); err != nil {
		return p, roles, ruleProblem("tools", err)
	}
	if d.actor == "" {
		return p, roles, nil
	}
	if roles, err = s.db.RolesOfActor(ctx, storable(d.actor)); err != nil {
		return p, roles, err
	}
	if len(roles.Roles) == 0 {
		return p, roles, ops.Errorf(ops.CodeInvalid, "actor does not name one with a role: write user:NAME, alert:SOURCE or service:NAME")
	}
	if !roles.Powers.MayStart(a.ID) {
		return p, roles, ops.Errorf(ops.CodeInvalid, "the roles of %s do not let it use agent %s: each of its calls is refused", d.actor, a.ID)
	}
	if p.Role, err = policy.Builtin().LoadRole(roles.Deny, roles.Allow); err != nil {
		return p, roles, fmt.Errorf("roles of %s: %w", d.actor, err)
	}
	return p, roles, nil
}

// ruleProblem says which rule of a request's list is wrong, and where in it.
func ruleProblem(list string, err error) error {
	wrong, ok := errors.AsType[*policy.RuleError](err)
	if !ok {
		return ops.Errorf(ops.CodeInvalid, "%s: %v", list, err)
	}
	p := newProblem(http.StatusUnprocessableEntity, wrong.Error())
	p.Errors = []problemAt{{Message: fmt.Sprintf("column %d", wrong.Column+1), Location: fmt.Sprintf("body.%s[%d]", list, wrong.Index)}}
	return p
}

// unreachable are the warnings about a list.
func unreachable(r *policy.Rules) []string {
	out := []string{}
	for _, dead := range r.Unreachable() {
		out = append(out, dead.Error())
	}
	return out
}

func (s *API) explainPolicy(ctx context.Context, _ caller, in *explainInput) (*answer[explanation], error) {
	p, roles, err := s.policyOf(ctx, in.Body.Agent, draft{in.Body.Rules, in.Body.Tools, in.Body.Actor})
	if err != nil {
		return nil, err
	}
	call, err := policy.ReadCall(in.Body.Tool, in.Body.Arguments)
	if err != nil {
		return nil, ops.Errorf(ops.CodeInvalid, "arguments must be a JSON object")
	}
	if policy.Local(call.Tool) {
		call.Place = policy.Workspace()
	}
	shells, err := s.shells(ctx)
	if err != nil {
		return nil, err
	}
	call.Shell = shells[call.Tool]
	d, impact := p.Decide(call), policy.Builtin().Impact(call)
	e := explanation{Verdict: d.Verdict, Rule: d.Rule, Layer: d.Layer, Canonical: d.Canonical, Reasons: d.Reasons, WouldAllow: p.WouldAllow(call),
		Effect: impact.Effect, Risk: ops.Risk(impact.Risk), Impact: impact.Why, Roles: roles.Roles, Warnings: unreachable(p.Agent)}
	if e.WouldAllow == nil {
		e.WouldAllow = []string{}
	}
	if e.Roles == nil {
		e.Roles = []string{}
	}
	return &answer[explanation]{e}, nil
}

// shells are what was declared about the commands of configured tools, by the
// names that agents know them by.
func (s *API) shells(ctx context.Context) (map[string]string, error) {
	servers, _, err := s.db.ToolServers(ctx)
	if err != nil {
		return nil, err
	}
	of := map[string]string{}
	for _, server := range servers {
		for _, t := range server.Tools {
			if name, err := policy.ConfiguredName(server.Name, t.Name); err == nil {
				of[name] = t.Command
			}
		}
	}
	return of, nil
}

// errEnough ends a dry run that has seen what it may.
var errEnough = errors.New("enough calls")

func (s *API) dryRunPolicy(ctx context.Context, _ caller, in *dryRunInput) (*answer[dryRun], error) {
	before, _, err := s.policyOf(ctx, in.Body.Agent, draft{actor: in.Body.Actor})
	if err != nil {
		return nil, err
	}
	after, _, err := s.policyOf(ctx, in.Body.Agent, draft{rules: &in.Body.Rules, actor: in.Body.Actor})
	if err != nil {
		return nil, err
	}
	shells, err := s.shells(ctx)
	if err != nil {
		return nil, err
	}
	out := dryRun{Changed: []changeSum{}, Examples: []pastChange{}, Unreachable: unreachable(after.Agent)}
	sums := map[[2]policy.Verdict]int{}
	known := map[string]int{} // index in Examples
	end := time.Now().Add(dryRunPatience)
	since := time.Now().AddDate(0, 0, -in.Body.Days)
	err = s.db.PastCalls(ctx, in.Body.Agent, since, maxPastCalls+1, func(c postgres.PastCall) error {
		if out.Calls == maxPastCalls || time.Now().After(end) || ctx.Err() != nil {
			out.Partial = true
			return errEnough
		}
		out.Calls++
		call, err := policy.ReadCall(c.Tool, c.Arguments)
		if err != nil {
			return nil //nolint:nilerr // what was refused as no object then would be refused now
		}
		call.Shell = shells[call.Tool]
		change := policy.Compare(before, after, call)
		if change == nil {
			return nil
		}
		sums[[2]policy.Verdict{change.Before.Verdict, change.After.Verdict}]++
		key := c.Tool + "\n" + string(c.Arguments)
		if i, ok := known[key]; ok {
			out.Examples[i].Calls++
		} else if len(out.Examples) < maxChanges && len(c.Arguments) <= maxExample {
			known[key] = len(out.Examples)
			out.Examples = append(out.Examples, pastChange{Tool: c.Tool, Arguments: c.Arguments, Before: change.Before.Verdict, After: change.After.Verdict,
				Rule: change.After.Rule, Reason: change.After.Reasons[0], Calls: 1, IncidentID: c.IncidentID, RunID: c.RunID, CallID: c.CallID, At: c.At})
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	verdicts := []policy.Verdict{policy.Allow, policy.Ask, policy.Deny}
	for _, b := range verdicts {
		for _, a := range verdicts {
			if n := sums[[2]policy.Verdict{b, a}]; n > 0 {
				out.Changed = append(out.Changed, changeSum{b, a, n})
			}
		}
	}
	return &answer[dryRun]{out}, nil
}
