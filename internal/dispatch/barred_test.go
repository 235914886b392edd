package dispatch

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
)

// TestRightsAreLookedAtWhenARunStarts: what waits for somebody who may not start
// its agent any more is given to no worker. It ends, says why, and holds nobody up.
func TestRightsAreLookedAtWhenARunStarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2*time.Second)
	person := func(name string) string {
		u := postgres.User{ID: ops.NewID(), Username: name, PasswordHash: "x", Roles: []string{"responder"}}
		require.NoError(t, r.db.CreateUser(t.Context(), u))
		return u.ID
	}
	ask := func(title, agent, actor string) ops.Incident {
		i, err := r.db.CreateIncident(t.Context(), postgres.NewIncident{Title: title, Severity: ops.SeverityHigh, Agent: agent, Actor: actor})
		require.NoError(t, err)
		return i
	}
	require.NoError(t, r.db.CreateUser(t.Context(), postgres.User{ID: ops.NewID(), Username: "root", PasswordHash: "x", Roles: []string{"admin"}}))
	bob := person("bob")
	person("cid")
	require.NoError(t, r.db.PutAgent(t.Context(), ops.AgentDef{ID: "dba"}))
	src := ops.Source{ID: ops.NewID(), Name: "am", Kind: "alertmanager", Enabled: true, Secret: ops.SourceSecret{Hash: []byte{1}}}
	require.NoError(t, r.db.CreateSource(t.Context(), src))

	want := map[string]string{
		ask("removed", postgres.DefaultAgent, "user:ann").ID:         "ann, who asked for this, may no longer use agent investigator: the account is disabled or removed",
		ask("demoted", postgres.DefaultAgent, "user:bob").ID:         "bob, who asked for this, may no longer use agent investigator",
		ask("no agent", "dba", "user:cid").ID:                        "agent dba is disabled: enable it",
		ask("alerts", "dba", "alert:"+src.ID).ID:                     "agent dba is disabled: enable it",
		ask("service", postgres.DefaultAgent, "service:x").ID:        "service:x, for whom this is, may not use agent investigator",
		ask("alerts too", postgres.DefaultAgent, "alert:"+src.ID).ID: "the alerts of its source may no longer use agent investigator",
	}
	stands := ask("stands", postgres.DefaultAgent, "user:cid")
	yes, viewer := true, []string{"viewer"}
	require.NoError(t, r.db.ChangeUser(t.Context(), bob, postgres.UserChange{Roles: viewer}))
	require.NoError(t, r.db.ChangeAgent(t.Context(), ops.AgentDef{ID: "dba"}, &yes))
	require.NoError(t, r.db.PutServiceActor(t.Context(), ops.ServiceActor{Actor: "service:x", Roles: viewer}))
	require.NoError(t, r.db.PutServiceActor(t.Context(), ops.ServiceActor{Actor: "alert:" + src.ID, Roles: nil}))

	w, got := r.working("w")
	require.Equal(t, stands.ID, got.Incident.ID)
	for id, reason := range want {
		run := r.run(id)
		require.Equal(t, ops.RunFailed, run.State, reason)
		require.Contains(t, run.Reason, reason)
		require.Zero(t, run.Epoch, "no worker had it")
		events, err := r.db.Events(t.Context(), id, 0, 100)
		require.NoError(t, err)
		last := events[len(events)-1]
		var change ops.RunChange
		require.NoError(t, json.Unmarshal(last.Data, &change))
		require.Equal(t, []any{ops.EventRunEnded, run.Reason}, []any{last.Kind, change.Reason})
		i, err := r.db.Incident(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, []any{ops.RunFailed, run.Reason}, []any{i.Investigation, i.InvestigationReason})
	}

	// One that had a worker is not given to the next one.
	require.NoError(t, r.db.ChangeAgent(t.Context(), ops.AgentDef{ID: "dba"}, new(bool)))
	w.send(wire.Frame{Events: &wire.Events{RunRef: got.RunRef, Events: []ops.Event{
		event(1, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed, Reason: "it is done"})}}})
	next(w, ack)
	again := ask("again", "dba", "user:cid")
	w.send(wire.Frame{Ready: &wire.Ready{Free: 1}})
	require.Equal(t, again.ID, next(w, task).Incident.ID)
	require.NoError(t, r.db.ChangeAgent(t.Context(), ops.AgentDef{ID: "dba"}, &yes))
	w.hangUp()
	r.dial("v", 1).send(wire.Frame{Ready: &wire.Ready{Free: 1}})
	require.Eventually(t, func() bool { return r.run(again.ID).State == ops.RunFailed }, 2*soon, soon/1000)
	require.Equal(t, 1, r.run(again.ID).Epoch)
}
