package ops

import (
	"slices"
	"time"
)

// Permission is something that a role lets its users do. Every operation of the
// API names one, or says that it needs none.
type Permission string

// The permissions.
const (
	CanRead            Permission = "read"              // see all that holds no secret
	CanRespond         Permission = "incidents.respond" // work on incidents, start and stop investigations
	CanApprove         Permission = "approvals.decide"
	CanManageSources   Permission = "sources.manage"   // sources, grouping rules, maintenance windows
	CanManageInventory Permission = "inventory.manage" // targets, credentials, LLM providers
	CanManageAgents    Permission = "agents.manage"    // agents, their rules, tokens for the gateway
	CanManageAccounts  Permission = "accounts.manage"  // users and roles
	CanReadAudit       Permission = "audit.read"
)

// Permissions are all of them.
var Permissions = []Permission{CanRead, CanRespond, CanApprove, CanManageSources, CanManageInventory, CanManageAgents, CanManageAccounts, CanReadAudit}

// Role is a named set of powers. A user has those of all their roles together.
type Role struct {
	ID          string       `json:"id"`
	Description string       `json:"description,omitempty"`
	Actions     []Permission `json:"actions"`
	// Agents names those that may be started; * is all of them.
	Agents []string `json:"agents"`
	// Deny and Allow are about tools: tool:NAME, tool:prefix*, tool:* or
	// tool:NAME:PATTERN, as in package policy. What any role of somebody denies
	// falls only to an exception that is strictly narrower; nothing is allowed by it.
	Deny  []string `json:"deny"`
	Allow []string `json:"allow"`
	// BuiltIn roles cannot be changed or removed.
	BuiltIn   bool      `json:"built_in"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// ServiceActor is the roles of who is no user: alert:SOURCE, by the source's id,
// or service:NAME. With * for the name they are of all that have none of their own.
type ServiceActor struct {
	Actor     string    `json:"actor"`
	Roles     []string  `json:"roles"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// Powers are what somebody may do. The zero value may do nothing.
type Powers struct {
	Actions []Permission `json:"actions"`
	Agents  []string     `json:"agents"`
}

// May says whether the action is among them.
func (p Powers) May(a Permission) bool { return slices.Contains(p.Actions, a) }

// MayStart says whether the agent may be started.
func (p Powers) MayStart(agent string) bool {
	return p.May(CanRespond) && (slices.Contains(p.Agents, "*") || slices.Contains(p.Agents, agent))
}

// Only gives the powers that are also among actions; nil is no restriction.
func (p Powers) Only(actions []Permission) Powers {
	if actions == nil {
		return p
	}
	p.Actions = slices.DeleteFunc(slices.Clone(p.Actions), func(a Permission) bool { return !slices.Contains(actions, a) })
	return p
}
