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
