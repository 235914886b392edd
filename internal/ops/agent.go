package ops

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"time"
)

// AgentDef is what an agent is: its model, what it is told and what it may do.
type AgentDef struct {
	ID          string `json:"id"`
	Description string `json:"description,omitempty"` // for people
	Prompt      string `json:"prompt"`                // system prompt; empty means the built-in one
	// Tools are the names, or prefix*, of those that it has; none is all.
	Tools []string `json:"tools,omitempty"`
	// Skills are the names of those that it may read; * is all, none is none.
	Skills []string `json:"skills,omitempty"`
	// SubAgents are the ids of those that it may ask, if who started it may.
	SubAgents []string `json:"sub_agents,omitempty"`
	// Targets and Credentials bound where and with what its tools work, on the way
	// to a target too. Each is a name or a glob; none is all.
	Targets     []string `json:"targets,omitempty"`
	Credentials []string `json:"credentials,omitempty"`
	// Provider names the LLM provider; empty means the default one.
	Provider string `json:"provider,omitempty"`
	// Rules are in the grammar of package policy, first match wins.
	Rules  []string `json:"rules"`
	Limits Limits   `json:"limits"`
}

// Limits bound one run. Zero means the default of [Limits.OrDefault].
type Limits struct {
	Steps       int           `json:"steps,omitempty"`        // model turns
	ToolCalls   int           `json:"tool_calls,omitempty"`   // over the whole run
	Duration    time.Duration `json:"duration,omitempty"`     // nanoseconds in JSON
	OutputChars int           `json:"output_chars,omitempty"` // of one tool result, as the model sees it
	// OutputTokens bounds one turn of the model, reasoning included.
	OutputTokens int     `json:"output_tokens,omitempty"`
	Tokens       int64   `json:"tokens,omitempty"` // read and written, over the whole run
	USD          float64 `json:"usd,omitempty"`    // over the whole run, as far as prices are known
}

// OrDefault gives the limits with the program's own where none is set.
func (l Limits) OrDefault() Limits {
	return Limits{
		Steps: cmp.Or(max(0, l.Steps), 25), ToolCalls: cmp.Or(max(0, l.ToolCalls), 40), Duration: cmp.Or(max(0, l.Duration), 10*time.Minute),
		OutputChars: cmp.Or(max(0, l.OutputChars), 30_000), OutputTokens: cmp.Or(max(0, l.OutputTokens), 8192),
		Tokens: cmp.Or(max(0, l.Tokens), 1_500_000), USD: cmp.Or(max(0, l.USD), 2),
	}
}

// MaxSubAgents bounds whom one agent may ask, MaxScope the names in each of the
// lists that say where and with what it works.
const (
	MaxSubAgents = 20
	MaxScope     = 200
)

var (
	agentID = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	// scopeName is a name of the inventory in which * ? and [] match.
	scopeName = regexp.MustCompile(`^[][A-Za-z0-9_.:@*?^-]{1,128}$`)
	skillName = regexp.MustCompile(`^([*]|[a-z0-9][a-z0-9-]{0,63})$`)
)

// ValidAgentID says whether id is of small letters, digits, - and _, a letter first.
func ValidAgentID(id string) bool { return agentID.MatchString(id) }

// Check refuses, with code invalid, a definition that cannot be meant: names that
// none can have, and an agent that asks itself. Rules and tools are for package
// policy, and whom and what the names are about for who stores it.
func (a AgentDef) Check() error {
	if !ValidAgentID(a.ID) {
		return Errorf(CodeInvalid, "the id %q is not of small letters, digits, - and _, a letter first", a.ID)
	}
	if l := a.Limits; min(l.Steps, l.ToolCalls, l.OutputChars, l.OutputTokens) < 0 || l.Duration < 0 || l.Tokens < 0 || l.USD < 0 {
		return Errorf(CodeInvalid, "limits: they are not negative; 0 is the program's own")
	}
	if len(a.SubAgents) > MaxSubAgents {
		return Errorf(CodeInvalid, "sub_agents: there are more than %d", MaxSubAgents)
	}
	for i, id := range a.SubAgents {
		switch {
		case !ValidAgentID(id):
			return Errorf(CodeInvalid, "sub_agents: %q is no name of an agent", id)
		case id == a.ID:
			return Errorf(CodeInvalid, "sub_agents: %s cannot ask itself", id)
		case slices.Contains(a.SubAgents[:i], id):
			return Errorf(CodeInvalid, "sub_agents: %s is there twice", id)
		}
	}
	for field, names := range map[string][]string{"targets": a.Targets, "credentials": a.Credentials} {
		if len(names) > MaxScope {
			return Errorf(CodeInvalid, "%s: there are more than %d", field, MaxScope)
		}
		for _, name := range names {
			if _, err := path.Match(name, ""); err != nil || !scopeName.MatchString(name) {
				return Errorf(CodeInvalid, "%s: %q is no name and no glob", field, name)
			}
		}
	}
	for _, name := range a.Skills {
		if len(a.Skills) > MaxScope || !skillName.MatchString(name) {
			return Errorf(CodeInvalid, "skills: %q is no name of a skill, or there are more than %d", name, MaxScope)
		}
	}
	return nil
}

// DelegationCircle gives a circle in who may ask whom, the first agent once more
// at its end; none if there is none.
func DelegationCircle(asks map[string][]string) []string {
	done := map[string]bool{}
	var way []string
	var walk func(string) []string
	walk = func(id string) []string {
		if at := slices.Index(way, id); at >= 0 {
			return append(slices.Clone(way[at:]), id)
		}
		if done[id] {
			return nil
		}
		way = append(way, id)
		for _, next := range asks[id] {
			if circle := walk(next); circle != nil {
				return circle
			}
		}
		way, done[id] = way[:len(way)-1], true
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(asks)) {
		if circle := walk(id); circle != nil {
			return circle
		}
	}
	return nil
}
