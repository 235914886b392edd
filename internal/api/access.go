package api

import (
	"net/http"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// access is what the operations below one path need: to see (GET), and for all else.
type access struct{ see, change ops.Permission }

// own marks what everybody who is signed in may do: it is about themselves.
const own ops.Permission = "own"

// accessOf has a row for the first segment of each path. What is not here
// cannot be registered, so an operation that nobody has thought about ends the
// process when it starts, and the test that makes the OpenAPI document.
var accessOf = map[string]access{
	"auth":                {own, own},
	"tokens":              {own, own},
	"users":               {ops.CanManageAccounts, ops.CanManageAccounts},
	"roles":               {ops.CanManageAccounts, ops.CanManageAccounts},
	"actors":              {ops.CanManageAccounts, ops.CanManageAccounts},
	"oidc-provider":       {ops.CanManageAccounts, ops.CanManageAccounts},
	"audit":               {ops.CanReadAudit, ops.CanReadAudit},
	"incidents":           {ops.CanRead, ops.CanRespond},
	"alerts":              {ops.CanRead, ops.CanRespond},
	"views":               {ops.CanRead, ops.CanRead}, // of the list of incidents; to share one needs more
	"approvals":           {ops.CanRead, ops.CanApprove},
	"grants":              {ops.CanRead, ops.CanApprove},
	"sources":             {ops.CanRead, ops.CanManageSources},
	"deliveries":          {ops.CanManageSources, ops.CanManageSources}, // raw bodies hold what senders put there
	"grouping-rules":      {ops.CanRead, ops.CanManageSources},
	"maintenance-windows": {ops.CanRead, ops.CanManageSources},
	"targets":             {ops.CanRead, ops.CanManageInventory},
	"credentials":         {ops.CanManageInventory, ops.CanManageInventory},
	"llm-providers":       {ops.CanRead, ops.CanManageInventory},
	"agents":              {ops.CanRead, ops.CanManageAgents},
	"skills":              {ops.CanRead, ops.CanManageAgents},
	"runbooks":            {ops.CanRead, ops.CanManageAgents},
	"changes":             {ops.CanRead, ops.CanRespond},
	"memories":            {ops.CanRead, ops.CanRespond},
	"memory-rules":        {ops.CanRead, ops.CanManageAgents},
	"budgets":             {ops.CanRead, ops.CanManageAgents},
	"usage":               {ops.CanRead, ops.CanManageAgents},
	"dashboard":           {ops.CanRead, ops.CanRespond},
	"system":              {ops.CanRead, ops.CanManageInventory},
	"setup":               {ops.CanRead, ops.CanManageInventory},
	"gatekeeper":          {ops.CanRead, ops.CanManageAgents},
	"tools":               {ops.CanRead, ops.CanManageInventory},
	"policy":              {ops.CanManageAgents, ops.CanManageAgents},
	"gateway-tokens":      {ops.CanManageAgents, ops.CanManageAgents},
}

// neededFor gives the permission that an operation needs. It panics where
// accessOf has no row.
func neededFor(o operation) ops.Permission {
	segment, _, _ := strings.Cut(strings.TrimPrefix(o.path, "/"), "/")
	a, ok := accessOf[segment]
	switch {
	case !ok:
		panic("api: operation " + o.id + " has no row in accessOf")
	case o.method == http.MethodGet:
		return a.see
	default:
		return a.change
	}
}

// permit refuses a caller without the permission. It says which one is
// missing: what exists here is no secret, the source is public.
func permit(who caller, needed ops.Permission) error {
	if needed == own || who.User.Powers.May(needed) {
		return nil
	}
	return ops.Errorf(ops.CodeForbidden, "your roles do not allow this: it needs %q", needed)
}

// mayStart refuses a caller whose roles do not name the agent.
func mayStart(who caller, agent string) error {
	if who.User.Powers.MayStart(agent) {
		return nil
	}
	return ops.Errorf(ops.CodeForbidden, "your roles do not allow you to start agent %q", agent)
}
