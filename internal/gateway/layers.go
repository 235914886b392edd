package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool"
)

// barred says why a run or token may call nothing: its agent is disabled, or
// whoever it acts for may not start that agent, any more or at all. The actor is
// fixed when the run starts; what the actor may is looked up at each call.
func barred(g postgres.Grant) string {
	switch {
	case g.AgentDisabled:
		return fmt.Sprintf("agent %s is disabled", g.Agent)
	case g.Agent != "" && !g.Roles.Powers.MayStart(g.Agent):
		return fmt.Sprintf("%s may not use agent %s", visible(g.Requester), g.Agent)
	}
	return ""
}

// visible names an actor, also nobody.
func visible(actor string) string {
	if actor == "" {
		return "whoever started this"
	}
	return actor
}

// layers are the rules that count for a grant. A service has no agent: only what
// its token is for can allow.
func (g *Gateway) layers(grant postgres.Grant) (p policy.Policy, err error) {
	p.Platform = g.platform
	if p.Role, err = g.rules.role(grant.Roles.Deny, grant.Roles.Allow); err != nil {
		return p, fmt.Errorf("roles %s: %w", strings.Join(grant.Roles.Roles, " "), err)
	}
	if grant.TokenID != "" {
		lines := make([]string, 0, len(grant.Tools)+1)
		for _, t := range grant.Tools {
			lines = append(lines, "allow:"+t)
		}
		if p.Scope, err = g.rules.get(append(lines, "deny:*")); err != nil {
			return p, fmt.Errorf("token: %w", err)
		}
		if grant.Agent == "" {
			p.Agent = p.Scope
			return p, nil
		}
	}
	if p.Tools, err = policy.Builtin().LoadTools(grant.AgentTools); err != nil {
		return p, fmt.Errorf("tools of agent %s: %w", grant.Agent, err)
	}
	p.Agent, err = g.rules.get(grant.Rules)
	return p, err
}

// hidden says whether the grant can do nothing with a tool, so that it is as one
// that does not exist.
func hidden(p policy.Policy, name string) bool {
	return p.Role.Hides(name) || p.Tools.Hides(name) || p.Agent.Hides(name) || p.Scope.Hides(name)
}

// policyVersion names all that decides about the calls of a grant, by its
// content: another answer of any layer has another version.
func (g *Gateway) policyVersion(grant postgres.Grant) string {
	all, err := json.Marshal([]any{g.platform.Lines(), grant.Roles.Deny, grant.Roles.Allow, grant.AgentTools, grant.Rules, grant.Tools, grant.Targets,
		grant.AgentTargets, grant.AgentCredentials})
	if err != nil {
		return "unknown: " + err.Error() // texts always can be marshalled
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:6])
}

// shellOf is what was declared about the commands of a configured tool.
func shellOf(t tool.Tool) string {
	if t.Plain {
		return policy.NoShell
	}
	return t.Command
}

// impactOf is what an asked call would do. What a configured tool does, the
// tables of package policy do not know; that it changes nothing, its
// configuration says.
func impactOf(t tool.Tool, call policy.Call) policy.Impact {
	i := policy.Builtin().Impact(call)
	if i.Effect == policy.Unknown && t.Command == "" && !t.Mutates && !slices.ContainsFunc(policy.Builtin(), func(known policy.Tool) bool { return known.Name == t.Name }) {
		return policy.Impact{Effect: policy.Reads, Risk: "medium", Why: "it is configured as one that only reads"}
	}
	return i
}
