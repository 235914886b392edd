package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// StoredAgent is an agent with what the database knows of it.
type StoredAgent struct {
	ops.AgentDef
	// BuiltIn: it is the default agent, which can be edited and reset but not removed.
	BuiltIn bool
	// Starter: it came with the database, and can be reset ([Starters]).
	Starter    bool
	CreatedAt  time.Time
	UpdatedAt  time.Time
	DisabledAt time.Time // nobody starts it, and its runs may call nothing; zero if it works
}

// reads are rules of agents that look and change nothing.
var reads = []string{
	"allow:ssh_hosts",
	"allow:ssh_execute(@diagnostics)",
	"allow:ssh_read_file(@diagnostics)",
	"allow:zabbix_problems",
	"allow:zabbix_hosts",
	"allow:zabbix_items",
	"allow:zabbix_history",
	"allow:zabbix_triggers",
	"allow:zabbix_events",
	"allow:evidence_read",
	"allow:evidence_search",
}

// Starters are the agents that a new database has, the default one first. They
// can be edited, and made again what they were.
func Starters() []ops.AgentDef {
	return []ops.AgentDef{
		DefaultAgentDef(),
		{ID: "reviewer", Description: "Checks findings against the evidence before they are submitted. It reads and changes nothing.",
			Rules: append(slices.Clone(reads), "deny:*"), Skills: []string{"*"}, Limits: ops.Limits{Steps: 8, ToolCalls: 12, Duration: 4 * time.Minute}},
		{ID: "summarizer", Description: "Writes a short summary for people of what it is told. It has no tools.",
			Rules: []string{"deny:*"}, Skills: []string{"*"}, Limits: ops.Limits{Steps: 3, Duration: 2 * time.Minute}},
	}
}

// Starter gives one of the agents of [Starters].
func Starter(id string) (ops.AgentDef, bool) {
	all := Starters()
	i := slices.IndexFunc(all, func(a ops.AgentDef) bool { return a.ID == id })
	if i < 0 {
		return ops.AgentDef{}, false
	}
	return all[i], true
}

// DefaultAgentDef is the default agent as a new database has it.
func DefaultAgentDef() ops.AgentDef {
	i := slices.Index(reads, "allow:evidence_read")
	return ops.AgentDef{ID: DefaultAgent, Description: "Finds out what is wrong when alerts open an incident. It changes nothing.", Rules: slices.Concat(reads[:i], []string{
		"ask:zabbix_api(mediatype.*)",
		"ask:zabbix_api(usermacro.*)",
		"ask:zabbix_api(token.*)",
		"ask:zabbix_api(script.*)",
		"ask:zabbix_api(userdirectory.*)",
		"ask:zabbix_api(connector.*)",
		"ask:zabbix_api(httptest.*)",
		"allow:zabbix_api(*.get)",
	}, reads[i:]), Skills: []string{"*"}, SubAgents: []string{"reviewer"}}
}

const selectAgents = `SELECT id, description, prompt, provider, rules, tools, skills, sub_agents, targets, credentials, limits, created_at, updated_at, disabled_at FROM agents`

func scanAgent(row pgx.CollectableRow) (a StoredAgent, err error) {
	var limits []byte
	var disabled *time.Time
	if err = row.Scan(&a.ID, &a.Description, &a.Prompt, &a.Provider, &a.Rules, &a.Tools, &a.Skills, &a.SubAgents, &a.Targets, &a.Credentials,
		&limits, &a.CreatedAt, &a.UpdatedAt, &disabled); err != nil {
		return a, err
	}
	a.DisabledAt, a.BuiltIn = orZero(disabled), a.ID == DefaultAgent
	_, a.Starter = Starter(a.ID)
	return a, json.Unmarshal(limits, &a.Limits)
}

// maxAgents bounds how many there are.
const maxAgents = 200

// Agents gives all agents by id.
func (db *DB) Agents(ctx context.Context) ([]StoredAgent, error) {
	rows, err := db.pool.Query(ctx, selectAgents+` ORDER BY id LIMIT $1`, maxAgents)
	if err != nil {
		return nil, mapError(err)
	}
	agents, err := pgx.CollectRows(rows, scanAgent)
	return agents, mapError(err)
}

// StoredAgent gives one agent by id.
func (db *DB) StoredAgent(ctx context.Context, id string) (StoredAgent, error) {
	rows, err := db.pool.Query(ctx, selectAgents+` WHERE id = $1`, id)
	if err != nil {
		return StoredAgent{}, mapError(err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAgent)
	return a, mapError(err)
}

// Agent gives what one agent is, by id.
func (db *DB) Agent(ctx context.Context, id string) (ops.AgentDef, error) {
	a, err := db.StoredAgent(ctx, id)
	return a.AgentDef, err
}

// CreateAgent stores an agent under an id that is not taken: else code conflict.
// Its rules must have been checked.
func (db *DB) CreateAgent(ctx context.Context, a ops.AgentDef) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAgents(ctx, tx); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM agents`).Scan(&n); err != nil {
			return err
		}
		if n >= maxAgents {
			return ops.Errorf(ops.CodeConflict, "there are %d agents, and there can be no more: remove one first", n)
		}
		tag, err := putAgent(ctx, tx, a, ` ON CONFLICT (id) DO NOTHING`)
		if err == nil && tag == 0 {
			err = ops.Errorf(ops.CodeConflict, "there is an agent %q already", a.ID)
		}
		if err != nil {
			return err
		}
		return checkEdges(ctx, tx)
	})
}

// lockAgents makes changes of agents wait for each other: how many there are, and
// who may ask whom, holds until the commit.
func lockAgents(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('agents', 0))`)
	return err
}

// checkEdges refuses, with code invalid, agents that may ask one that is not
// there, and circles.
func checkEdges(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, sub_agents FROM agents`)
	if err != nil {
		return err
	}
	asks := map[string][]string{}
	var id string
	var subs []string
	if _, err := pgx.ForEachRow(rows, []any{&id, &subs}, func() error { asks[id] = slices.Clone(subs); return nil }); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(asks)) {
		for _, sub := range asks[id] {
			if _, ok := asks[sub]; !ok {
				return ops.Errorf(ops.CodeInvalid, "sub_agents of %s: there is no agent %q", id, sub)
			}
		}
	}
	if circle := ops.DelegationCircle(asks); circle != nil {
		return ops.Errorf(ops.CodeInvalid, "sub_agents lead in a circle: %s", strings.Join(circle, " → "))
	}
	return nil
}

// PutAgents stores agents by id, whether they are new or not, all or none.
// Whether one is disabled stays as it is. Rules and tools must have been checked; one
// that names an agent that is not there, and a circle, is code invalid.
func (db *DB) PutAgents(ctx context.Context, agents ...ops.AgentDef) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAgents(ctx, tx); err != nil {
			return err
		}
		for _, a := range agents {
			if _, err := putAgent(ctx, tx, a, orReplace); err != nil {
				return err
			}
		}
		return checkEdges(ctx, tx)
	})
}

// PutAgent stores one agent as [DB.PutAgents] does.
func (db *DB) PutAgent(ctx context.Context, a ops.AgentDef) error { return db.PutAgents(ctx, a) }

// ChangeAgent replaces what an agent is and, unless disabled is nil, says
// whether it may work. The default agent cannot be disabled: code conflict.
func (db *DB) ChangeAgent(ctx context.Context, a ops.AgentDef, disabled *bool) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAgents(ctx, tx); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, `SELECT true FROM agents WHERE id = $1 FOR UPDATE`, a.ID).Scan(&there); err != nil {
			return err
		}
		if disabled != nil {
			if err := disableAgent(ctx, tx, a.ID, *disabled); err != nil {
				return err
			}
		}
		if _, err := putAgent(ctx, tx, a, orReplace); err != nil {
			return err
		}
		return checkEdges(ctx, tx)
	})
}

func disableAgent(ctx context.Context, tx pgx.Tx, id string, disabled bool) error {
	if disabled && id == DefaultAgent {
		return ops.Errorf(ops.CodeConflict, "%s is the default agent: it can be edited and reset, not disabled or removed", id)
	}
	_, err := tx.Exec(ctx, `UPDATE agents SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END, updated_at = now() WHERE id = $1`, id, disabled)
	return err
}

const orReplace = ` ON CONFLICT (id) DO UPDATE SET description = $2, prompt = $3, provider = $4, rules = $5, tools = $6, limits = $7,
	skills = $8, sub_agents = $9, targets = $10, credentials = $11, updated_at = now()
	WHERE (agents.description, agents.prompt, agents.provider, agents.rules, agents.tools, agents.limits, agents.skills, agents.sub_agents, agents.targets, agents.credentials)
		IS DISTINCT FROM (excluded.description, excluded.prompt, excluded.provider, excluded.rules, excluded.tools, excluded.limits, excluded.skills, excluded.sub_agents,
			excluded.targets, excluded.credentials)`

func putAgent(ctx context.Context, tx pgx.Tx, a ops.AgentDef, onConflict string) (int64, error) {
	if err := a.Check(); err != nil {
		return 0, err
	}
	limits, err := json.Marshal(a.Limits)
	if err != nil {
		return 0, err
	}
	if a.Provider != "" {
		var known bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM providers WHERE name = $1)`, a.Provider).Scan(&known); err != nil {
			return 0, err
		}
		if !known {
			return 0, ops.Errorf(ops.CodeInvalid, "there is no LLM provider %q", a.Provider)
		}
	}
	if err := checkSkills(ctx, tx, a.Skills); err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO agents (id, description, prompt, provider, rules, tools, limits, skills, sub_agents, targets, credentials)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`+onConflict,
		a.ID, a.Description, a.Prompt, a.Provider, orNone(a.Rules), orNone(a.Tools), json.RawMessage(limits),
		orNone(a.Skills), orNone(a.SubAgents), orNone(a.Targets), orNone(a.Credentials))
	return tag.RowsAffected(), err
}

// RemoveAgent removes an agent that has never run and that nothing names. One
// that has, or is, is disabled instead: its runs, and the tokens and grouping
// rules that are for it, keep what they name.
func (db *DB) RemoveAgent(ctx context.Context, id string) (disabled bool, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAgents(ctx, tx); err != nil {
			return err
		}
		// Locked first: a run that is just being queued holds the row, and is seen by
		// none but the next statement.
		var there, used bool
		if err := tx.QueryRow(ctx, `SELECT true FROM agents WHERE id = $1 FOR UPDATE`, id).Scan(&there); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM runs WHERE agent_id = $1) OR EXISTS (SELECT FROM gateway_tokens WHERE agent_id = $1)
				OR EXISTS (SELECT FROM grouping_rules WHERE agent = $1) OR EXISTS (SELECT FROM agents WHERE $1 = ANY(sub_agents))`, id).Scan(&used); err != nil {
			return err
		}
		if disabled = used || id == DefaultAgent; disabled {
			return disableAgent(ctx, tx, id, true)
		}
		_, err := tx.Exec(ctx, `DELETE FROM agents WHERE id = $1`, id)
		return err
	})
	return disabled, err
}

// startable refuses an agent that does not exist or is disabled.
func startable(ctx context.Context, tx pgx.Tx, agent string) error {
	var disabled bool
	err := tx.QueryRow(ctx, `SELECT disabled_at IS NOT NULL FROM agents WHERE id = $1`, agent).Scan(&disabled)
	if errors.Is(err, pgx.ErrNoRows) {
		return ops.Errorf(ops.CodeInvalid, "there is no agent %q", agent)
	}
	if err == nil && disabled {
		err = ops.Errorf(ops.CodeConflict, "agent %q is disabled", agent)
	}
	return err
}
