package api

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

// agentLimits bound one run of an agent; 0 is the program's own limit.
type agentLimits struct {
	Steps        int     `json:"steps,omitempty" minimum:"0" maximum:"1000" doc:"Turns of the model."`
	ToolCalls    int     `json:"tool_calls,omitempty" minimum:"0" maximum:"10000"`
	Seconds      int     `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"How long a run may take."`
	OutputChars  int     `json:"output_chars,omitempty" minimum:"0" maximum:"1000000" doc:"Of one tool result, as the model sees it."`
	OutputTokens int     `json:"output_tokens,omitempty" minimum:"0" maximum:"1000000" doc:"Of one turn of the model, reasoning included."`
	Tokens       int64   `json:"tokens,omitempty" minimum:"0" maximum:"1000000000" doc:"Read and written, over the whole run."`
	USD          float64 `json:"usd,omitempty" minimum:"0" maximum:"10000" doc:"Over the whole run, as far as prices are known."`
}

// AgentBody is what an agent is, as people write it. It is exported for huma, which
// passes over what it embeds otherwise.
type AgentBody struct {
	Description string      `json:"description,omitempty" maxLength:"500"`
	Prompt      string      `json:"prompt,omitempty" maxLength:"50000" doc:"The system prompt; empty is the built-in one."`
	Provider    string      `json:"provider,omitempty" maxLength:"100" doc:"The name of an LLM provider; empty is the default one."`
	Rules       []string    `json:"rules,omitempty" maxItems:"1000" doc:"The first that matches decides; what none matches is asked."`
	Tools       []string    `json:"tools,omitempty" maxItems:"200" doc:"Names of the tools that it has, or prefix*; none is all. It does not allow what the rules do not."`
	Skills      []string    `json:"skills,omitempty" maxItems:"200" doc:"Names of the skills that it may read; * is all, and so is no list."`
	SubAgents   []string    `json:"sub_agents,omitempty" maxItems:"20" doc:"Ids of the agents that it may ask, if who has started it may; never in a circle."`
	Targets     []string    `json:"targets,omitempty" maxItems:"200" doc:"Names or globs of what its tools may work on; none is all."`
	Credentials []string    `json:"credentials,omitempty" maxItems:"200" doc:"Names or globs of the credentials that its tools may use, on the way to a target too; none is all."`
	Limits      agentLimits `json:"limits,omitempty"`
}

// agentView is an agent as it is stored.
type agentView struct {
	ID string `json:"id"`
	AgentBody
	BuiltIn    bool      `json:"built_in" doc:"The default agent: it can be edited and reset, not disabled or removed."`
	Starter    bool      `json:"starter" doc:"It came with the program, and can be reset."`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	DisabledAt time.Time `json:"disabled_at,omitzero" doc:"Nobody starts it, and its runs may call nothing."`
	// Warnings are about rules that can never decide.
	Warnings []string `json:"warnings" nullable:"false" doc:"Rules that can never decide, and why."`
}

func viewOf(a postgres.StoredAgent) agentView {
	v := agentView{ID: a.ID, BuiltIn: a.BuiltIn, Starter: a.Starter, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, DisabledAt: a.DisabledAt,
		AgentBody: AgentBody{Description: a.Description, Prompt: a.Prompt, Provider: a.Provider, Rules: a.Rules, Tools: a.Tools,
			Skills: a.Skills, SubAgents: a.SubAgents, Targets: a.Targets, Credentials: a.Credentials,
			Limits: agentLimits{Steps: a.Limits.Steps, ToolCalls: a.Limits.ToolCalls, Seconds: int(a.Limits.Duration / time.Second),
				OutputChars: a.Limits.OutputChars, OutputTokens: a.Limits.OutputTokens, Tokens: a.Limits.Tokens, USD: a.Limits.USD}}}
	rules, err := policy.Load(a.Rules)
	if err != nil { // a release that knows fewer tools than the one before
		v.Warnings = []string{"the rules are not valid, so every call is refused: " + err.Error()}
		return v
	}
	v.Warnings = unreachable(rules)
	return v
}

type newAgent struct {
	Body struct {
		ID string `json:"id" minLength:"1" maxLength:"63" pattern:"^[a-z][a-z0-9_-]*$" patternDescription:"small letters, digits, - and _, a letter first"`
		AgentBody
	}
}

type agentPath struct {
	ID string `path:"id" maxLength:"100"`
}

type changedAgent struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		AgentBody
		Disabled *bool `json:"disabled,omitempty" doc:"Whether nobody may start it; left out, it stays as it is."`
	}
}

// removedAgent says what became of an agent.
type removedAgent struct {
	Removed  bool `json:"removed"`
	Disabled bool `json:"disabled" doc:"It has runs, or something names it: it stays and does nothing."`
}

func (s *API) agentOperations(api huma.API) {
	const tag, root = "configuration", "/agents"
	handle(s, api, operation{id: "list-agents", method: http.MethodGet, path: root, summary: "All agents", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[agentView]], error) {
			agents, err := s.db.Agents(ctx)
			views := make([]agentView, len(agents))
			for i, a := range agents {
				views[i] = viewOf(a)
			}
			return items(views, err)
		})
	handle(s, api, operation{id: "get-agent", method: http.MethodGet, path: root + "/{id}", summary: "One agent", tag: tag},
		func(ctx context.Context, _ caller, in *agentPath) (*answer[agentView], error) {
			return s.agentView(ctx, in.ID)
		})
	handle(s, api, operation{id: "create-agent", method: http.MethodPost, path: root, summary: "Make an agent", tag: tag, status: http.StatusCreated},
		func(ctx context.Context, who caller, in *newAgent) (*answer[agentView], error) {
			return s.putAgent(ctx, who, "agent.created", in.Body.ID, in.Body.AgentBody, nil, s.db.CreateAgent)
		})
	handle(s, api, operation{id: "replace-agent", method: http.MethodPut, path: root + "/{id}", summary: "Change all of an agent; it counts from the next call on", tag: tag},
		func(ctx context.Context, who caller, in *changedAgent) (*answer[agentView], error) {
			if _, err := s.db.StoredAgent(ctx, storable(in.ID)); err != nil {
				return nil, err
			}
			return s.putAgent(ctx, who, "agent.changed", in.ID, in.Body.AgentBody, in.Body.Disabled,
				func(ctx context.Context, a ops.AgentDef) error { return s.db.ChangeAgent(ctx, a, in.Body.Disabled) })
		})
	handle(s, api, operation{id: "reset-agent", method: http.MethodPost, path: root + "/{id}/reset", summary: "Make an agent that came with the program what it was at first", tag: tag},
		func(ctx context.Context, who caller, in *agentPath) (*answer[agentView], error) {
			if _, err := s.db.StoredAgent(ctx, storable(in.ID)); err != nil {
				return nil, err
			}
			def, ok := postgres.Starter(in.ID)
			if !ok {
				return nil, ops.Errorf(ops.CodeConflict, "only agents that came with the program have something to be reset to")
			}
			err := s.audited(ctx, who, "agent.reset", def.ID, agentDetail(def, nil), func() error { return s.db.ChangeAgent(ctx, def, nil) })
			if err != nil {
				return nil, err
			}
			return s.agentView(ctx, def.ID)
		})
	handle(s, api, operation{id: "delete-agent", method: http.MethodDelete, path: root + "/{id}", summary: "Remove an agent, or disable one that has run", tag: tag},
		func(ctx context.Context, who caller, in *agentPath) (*answer[removedAgent], error) {
			var disabled bool
			err := s.audited(ctx, who, "agent.removed", storable(in.ID), nil, func() (err error) {
				disabled, err = s.db.RemoveAgent(ctx, storable(in.ID))
				return err
			})
			return &answer[removedAgent]{removedAgent{Removed: !disabled, Disabled: disabled}}, err
		})
}

func (s *API) agentView(ctx context.Context, id string) (*answer[agentView], error) {
	a, err := s.db.StoredAgent(ctx, storable(id))
	return &answer[agentView]{viewOf(a)}, err
}

// putAgent checks what people wrote and stores it.
func (s *API) putAgent(ctx context.Context, who caller, action, id string, b AgentBody, disabled *bool, put func(context.Context, ops.AgentDef) error) (*answer[agentView], error) {
	if _, err := policy.Load(b.Rules); err != nil {
		return nil, ruleProblem("rules", err)
	}
	if _, err := policy.Builtin().LoadTools(b.Tools); err != nil {
		return nil, ruleProblem("tools", err)
	}
	if b.Skills == nil {
		b.Skills = []string{"*"}
	}
	a := ops.AgentDef{ID: id, Description: storable(b.Description), Prompt: storable(b.Prompt), Provider: storable(b.Provider), Rules: b.Rules, Tools: b.Tools,
		Skills: b.Skills, SubAgents: b.SubAgents, Targets: b.Targets, Credentials: b.Credentials,
		Limits: ops.Limits{Steps: b.Limits.Steps, ToolCalls: b.Limits.ToolCalls, Duration: time.Duration(b.Limits.Seconds) * time.Second,
			OutputChars: b.Limits.OutputChars, OutputTokens: b.Limits.OutputTokens, Tokens: b.Limits.Tokens, USD: b.Limits.USD}}
	if err := a.Check(); err != nil {
		return nil, err
	}
	if err := s.audited(ctx, who, action, id, agentDetail(a, disabled), func() error { return put(ctx, a) }); err != nil {
		return nil, err
	}
	return s.agentView(ctx, id)
}

// maxAuditText bounds what one fact of an audit record quotes.
const maxAuditText = 8 << 10

// agentDetail is an agent in an audit record: its rules as they are, all else in short.
func agentDetail(a ops.AgentDef, disabled *bool) map[string]string {
	rules := strings.Join(a.Rules, "\n")
	if len(rules) > maxAuditText {
		rules = rules[:maxAuditText] + "…"
	}
	detail := map[string]string{"rules": storable(rules), "tools": strings.Join(a.Tools, " "), "provider": a.Provider,
		"skills": strings.Join(a.Skills, " "), "sub_agents": strings.Join(a.SubAgents, " "), "targets": strings.Join(a.Targets, " "), "credentials": strings.Join(a.Credentials, " "),
		"prompt_bytes": strconv.Itoa(len(a.Prompt)), "limits": fmt.Sprintf("%+v", a.Limits)}
	if disabled != nil {
		detail["disabled"] = strconv.FormatBool(*disabled)
	}
	return detail
}

var toolName = regexp.MustCompile(`^(\*|[A-Za-z0-9_.-]{1,127}\*?)$`)
