package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

type memoryPage struct {
	Items      []ops.Memory
	NextCursor string `json:"next_cursor"`
}

func TestMemories(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	const path = "/api/v1/memories"
	i := r.found("Disk is full on web-1", "old logs", ops.Action{Title: "clean", Target: "web-1", Command: "journalctl --vacuum-size=1G"})
	r.exec(`UPDATE incidents SET service = 'shop' WHERE id = $1`, i.ID)
	viewer := r.guest("vic", "viewer")
	require.Equal(t, 403, r.send(viewer, "POST", path, map[string]any{"incident": i.ID}).status)
	require.Equal(t, 404, r.call("POST", path, map[string]any{"incident": "999"}).status)
	require.Equal(t, 409, r.call("POST", path, map[string]any{"incident": i.ID, "run_id": ops.NewID()}).status)
	require.Equal(t, 422, r.call("POST", path, map[string]any{"incident": i.ID, "cause": "\u200b "}).status)
	require.Equal(t, 422, r.call("POST", path, map[string]any{"incident": i.ID, "pattern": strings.Repeat("x", 1001)}).status)
	require.Equal(t, 422, r.call("POST", path, map[string]any{"incident": i.ID, "evidence": []string{"c9"}}).status, "evidence is the findings', not the caller's")

	// What is left out comes from the findings, what is said counts.
	a := r.call("POST", path, map[string]any{"incident": fmt.Sprint(i.Number), "pattern": "The root\u202e disk is full\x1b"})
	require.Equal(t, 201, a.status, a.body)
	var m ops.Memory
	a.into(t, &m)
	require.Equal(t, []string{"shop", "The root disk is full", "old logs", "clean: journalctl --vacuum-size=1G (on web-1)", "user:ann"},
		[]string{m.Service, m.Pattern, m.Cause, m.Fix, m.ConfirmedBy})
	require.Equal(t, []string{"c1"}, m.Evidence)
	require.Equal(t, i.ID, m.IncidentID)
	require.Equal(t, 180*24, int(m.ExpiresAt.Sub(m.ConfirmedAt).Hours()))
	require.Equal(t, 409, r.call("POST", path, map[string]any{"incident": i.ID}).status, "once for each investigation")
	second := r.found("Queue is long", "a consumer hangs")
	require.Equal(t, 201, r.call("POST", path, map[string]any{"incident": second.ID, "days": 0, "labels": []string{"cluster:prod"}}).status)

	var page memoryPage
	for query, want := range map[string]int{"": 2, "q=disk": 1, "q=nothing": 0, "service=shop": 1, "incident=" + i.ID: 1, "state=current": 2, "state=old": 0} {
		got := r.send(viewer, "GET", path+"?"+query, nil)
		require.Equal(t, 200, got.status, got.body)
		got.into(t, &page)
		require.Len(t, page.Items, want, query)
	}
	r.call("GET", path+"?limit=1", nil).into(t, &page)
	require.Equal(t, "a consumer hangs", page.Items[0].Cause)
	r.call("GET", path+"?limit=1&cursor="+page.NextCursor, nil).into(t, &page)
	require.Equal(t, m.ID, page.Items[0].ID)
	for _, bad := range []string{"cursor=x", "limit=0", "limit=201", "state=x"} {
		require.Equal(t, 422, r.call("GET", path+"?"+bad, nil).status, bad)
	}

	one := path + "/" + m.ID
	require.Equal(t, 403, r.send(viewer, "PATCH", one, map[string]any{"stale": true}).status)
	require.Equal(t, 422, r.call("PATCH", one, map[string]any{"cause": " "}).status)
	require.Equal(t, 422, r.call("PATCH", one, map[string]any{"labels": []string{"x"}}).status)
	a = r.call("PATCH", one, map[string]any{"fix": "rotate\ndaily", "stale": true, "days": 0, "service": ""})
	require.Equal(t, 200, a.status, a.body)
	m = ops.Memory{ID: m.ID}
	a.into(t, &m)
	require.Equal(t, []any{"rotate\ndaily", true, "", "old logs"}, []any{m.Fix, m.Stale, m.Service, m.Cause})
	require.Zero(t, m.ExpiresAt)
	r.call("GET", path+"?state=old", nil).into(t, &page)
	require.Len(t, page.Items, 1)
	for _, id := range []string{"x", ops.NewID()} {
		for method, body := range map[string]any{"GET": nil, "PATCH": map[string]any{"stale": true}, "DELETE": nil} {
			require.Equal(t, 404, r.call(method, path+"/"+id, body).status, method)
		}
	}
	require.Equal(t, 403, r.send(viewer, "DELETE", one, nil).status)
	require.Equal(t, 204, r.call("DELETE", one, nil).status)
	require.Equal(t, 404, r.call("GET", one, nil).status)
	for _, action := range []string{"memory.created", "memory.changed", "memory.deleted"} {
		require.Contains(t, r.audit(), `"`+action+`"`)
	}
	require.NotContains(t, r.audit(), "rotate", "the record says who and what, not the text")
}

func TestMemoryRules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	src := r.source("am")
	const path = "/api/v1/memory-rules"
	require.Equal(t, 403, r.send(r.guest("rob", "responder"), "POST", path, map[string]any{"name": "x"}).status)
	for name, bad := range map[string]map[string]any{
		"empty name": {"name": " "}, "unsure": {"name": "x", "min_confidence": 0.4}, "middle": {"name": "x", "service": "a*b"},
	} {
		require.Equal(t, 422, r.call("POST", path, bad).status, name)
	}
	require.Equal(t, 404, r.call("POST", path, map[string]any{"name": "x", "source_id": ops.NewID()}).status)
	a := r.call("POST", path, map[string]any{"name": "sure", "source_id": src.ID})
	require.Equal(t, 201, a.status, a.body)
	var rule ops.MemoryRule
	a.into(t, &rule)
	require.Equal(t, []any{false, true, 0.9}, []any{rule.Enabled, rule.NeedsFeedback, rule.MinConfidence}, "off, and careful, unless somebody says otherwise")
	require.Equal(t, 409, r.call("POST", path, map[string]any{"name": "sure"}).status)

	r.found("before", "early")
	a = r.call("PUT", path+"/"+rule.ID, map[string]any{"name": "sure", "enabled": true, "min_confidence": 0.5, "needs_feedback": false})
	require.Equal(t, 200, a.status, a.body)
	found := r.found("Disk is full", "old logs")
	r.exec(`UPDATE findings SET finding = jsonb_set(finding::jsonb, '{confidence}', '0.9')`) // it confirms no hypothesis
	odd := r.found("Odd", "\u200b\u2028")
	r.exec(`UPDATE findings SET finding = jsonb_set(finding::jsonb, '{confidence}', '0.9'), at = at + interval '1 second' WHERE incident_id = $1`, odd.ID)
	require.NoError(t, r.rememberByRules(t.Context()))
	require.NoError(t, r.rememberByRules(t.Context()))
	var page memoryPage
	r.call("GET", "/api/v1/memories", nil).into(t, &page)
	require.Len(t, page.Items, 1)
	require.Equal(t, []string{found.ID, "old logs", "rule:sure"}, []string{page.Items[0].IncidentID, page.Items[0].Cause, page.Items[0].ConfirmedBy})
	require.Contains(t, r.audit(), `"service:memory-rules"`)

	require.Equal(t, 404, r.call("PUT", path+"/x", map[string]any{"name": "y"}).status)
	require.Equal(t, 404, r.call("PUT", path+"/"+ops.NewID(), map[string]any{"name": "y"}).status)
	require.Equal(t, 204, r.call("DELETE", path+"/"+rule.ID, nil).status)
	require.Equal(t, 404, r.call("DELETE", path+"/"+rule.ID, nil).status)
}
