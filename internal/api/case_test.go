package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// What an exported case holds is tested where cases are run, in internal/eval.
func TestOnlyEndedInvestigationsAreExported(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]any{"title": "disk full"}).status)
	require.Equal(t, 409, r.call("GET", "/api/v1/incidents/1/runs/newest/case", nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/incidents/1/runs/"+ops.NewID()+"/case", nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/incidents/9/runs/newest/case", nil).status)
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/1/cancel", nil).status)
	a := r.call("GET", "/api/v1/incidents/1/runs/newest/case", nil)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, "outcome: inconclusive")
	require.Contains(t, a.body, "title: disk full")
}

func TestTheNewestInvestigationIsNotThatOfAnAgentThatItAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	i := r.found("disk full", "old logs")
	r.exec(`INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at, actor, parent_run, parent_call, root_run, depth, task, allotted)
		SELECT $1, incident_id, agent_id, 'concluded', priority, now(), now(), actor, id, 'c1', id, 1, '{}', '{}' FROM runs WHERE incident_id = $2`, ops.NewID(), i.ID)
	a := r.call("GET", "/api/v1/incidents/1/runs/newest/case", nil)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, "outcome: cause")
}
