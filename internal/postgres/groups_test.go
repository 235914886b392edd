package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestRulesGroup(t *testing.T) {
	t.Parallel()
	s := tell(t, 600, ops.SourceOptions{})
	other := s.source("zbx", ops.SourceOptions{})
	rule := s.rule(ops.GroupingRule{Name: "shop", Match: `service=shop`, Key: `{{service}}`, Investigate: true, Window: ops.WindowFixed, WindowSeconds: 3600})
	s.send(0, an("a", service("shop")))
	s.sendFrom(other, 10, an("b", service("shop"), group("h")))
	s.send(20, an("c", service("else")))
	all := s.all()
	require.Len(t, all, 2)
	require.Equal(t, []any{2, rule.ID, "shop"}, []any{all[0].AlertCount, all[0].RuleID, all[0].GroupKey}, "a rule groups across sources")
	require.Equal(t, `Rule "shop" groups it by {{service}}: shop`, s.alertsOf(all[0].ID)[1].Why)
	require.Contains(t, s.alertsOf(all[1].ID)[0].Why, "No rule: Alertmanager sends it in this group")

	s.send(60, an("d", service("shop"))) // an hour after the first one
	all = s.all()
	require.Len(t, all, 3)
	s.says(all[2].ID, `incident.opened the 1h0m0s of rule "shop" is over for incident 1 of the group`)
	s.send(61, an("-a", service("shop")), an("e", service("shop")))
	all = s.all()
	require.Equal(t, []int{1, 1, 2}, []int{all[0].FiringCount, all[1].FiringCount, all[2].FiringCount}, "an alert ends where it is; a new one goes to the newest")

	// A change of the rules counts at once, in every process.
	rule.Key, rule.Window, rule.WindowSeconds = "all/{{service}}", ops.WindowRolling, 600
	_, err := open(t, s.pg.API).PutGroupingRule(t.Context(), rule, false)
	require.NoError(t, err)
	s.send(100, an("f", service("shop")))
	s.send(109, an("g", service("shop")))
	s.send(118, an("h", service("shop")))
	s.send(128, an("i", service("shop")))
	all = s.all()
	require.Equal(t, []int{3, 1}, []int{all[3].AlertCount, all[4].AlertCount})
	require.NoError(t, s.DeleteGroupingRule(t.Context(), rule.ID))
	s.send(130, an("j", service("shop")))
	require.Equal(t, 2, s.all()[1].AlertCount)
	s.counts()
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(s.DeleteGroupingRule(t.Context(), rule.ID)))
	_, err = s.PutGroupingRule(t.Context(), rule, false)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))
	rule.Agent = "nobody"
	_, err = s.PutGroupingRule(t.Context(), rule, true)
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
}

func TestRulesInvestigate(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	require.NoError(t, s.PutAgent(t.Context(), ops.AgentDef{ID: "shopper"}))
	s.rule(ops.GroupingRule{Name: "quiet", Match: `service=dev`})
	s.rule(ops.GroupingRule{Name: "shop", Match: `service=shop`, Investigate: true, Agent: "shopper", MinSeverity: ops.SeverityHigh})
	runs := func() int { return s.query(`SELECT count(*) FROM runs`) }
	s.send(0, an("a", service("dev"), group("dev"), severity(ops.SeverityCritical)))
	i := s.one()
	require.Equal(t, []any{ops.RunState(""), `not investigated: rule "quiet" does not investigate`}, []any{i.Investigation, i.InvestigationReason})
	s.send(1, an("b", service("dev"), group("dev")))
	require.Len(t, s.timeline(i.ID), 4, "it is said once")

	s.send(2, an("c", service("shop"), group("shop")))
	require.Equal(t, 0, runs())
	s.send(3, an("d", service("shop"), group("shop"), severity(ops.SeverityHigh)))
	require.Equal(t, 1, runs(), "the group has reached the floor")
	s.send(4, an("e", service("shop"), group("shop2")))
	s.send(5, an("e", service("shop"), group("shop2"), severity(ops.SeverityCritical)))
	require.Equal(t, 2, runs(), "an alert has become worse")
	require.Equal(t, 2, s.query(`SELECT count(*) FROM runs WHERE agent_id = 'shopper'`))

	// An agent that is gone keeps no alert from being stored.
	s.exec(`UPDATE grouping_rules SET agent = 'gone'`)
	s.exec(`UPDATE grouping_version SET version = version + 1`)
	s.send(6, an("f", service("shop"), group("shop3"), severity(ops.SeverityHigh)))
	require.Equal(t, 1, s.query(`SELECT count(*) FROM runs WHERE agent_id = $1`, postgres.DefaultAgent))
	s.counts()
}

func TestMaintenanceWindows(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	w := s.window(ops.MaintenanceWindow{Name: "upgrade", Match: "service=shop", StartsAt: s.at(-1), EndsAt: s.at(30)})
	s.send(0, an("a", service("shop"), group("1")))
	i := s.one()
	require.Equal(t, []any{"upgrade", ops.RunState("")}, []any{i.Maintenance, i.Investigation})
	require.WithinDuration(t, s.at(30), i.MaintenanceUntil, 0)
	require.Contains(t, i.InvestigationReason, `not investigated: maintenance "upgrade" covers it until `)
	s.send(1, an("-a", service("shop"), group("1")))
	require.Equal(t, ops.IncidentResolved, s.one().Status, "ends go through")

	// An alert that no window covers is worth an investigation.
	s.send(2, an("b", service("shop"), group("2")))
	s.send(3, an("c", service("else"), group("2")))
	all := s.all()
	require.Equal(t, []any{"", ops.RunQueued}, []any{all[1].Maintenance, all[1].Investigation})
	s.says(all[1].ID, "it is not investigated: maintenance", "it is no longer under maintenance", "run.queued")

	// What still fires when it is over is investigated then.
	s.send(4, an("d", service("shop"), group("3")))
	require.NoError(t, s.Settle(t.Context()))
	all = s.all()
	require.Equal(t, ops.RunQueued, all[2].Investigation)
	require.True(t, all[2].MaintenanceUntil.IsZero())
	s.says(all[2].ID, "it is not investigated", `maintenance "upgrade" is over, and it still fires`, "run.queued")
	require.Equal(t, 2, s.query(`SELECT count(*) FROM runs`))

	// Longer than it was, shorter than it was.
	w.EndsAt = time.Now().Add(time.Hour)
	_, err := s.PutMaintenanceWindow(t.Context(), w, false)
	require.NoError(t, err)
	s.send(59, an("e", service("shop"), group("4")))
	require.NoError(t, s.Settle(t.Context()))
	require.Equal(t, ops.RunState(""), s.all()[3].Investigation)
	w.EndsAt = time.Now().Add(2 * time.Hour)
	_, err = s.PutMaintenanceWindow(t.Context(), w, false)
	require.NoError(t, err)
	require.NoError(t, s.Settle(t.Context()))
	require.WithinDuration(t, w.EndsAt, s.all()[3].MaintenanceUntil, time.Millisecond)
	require.NoError(t, s.DeleteMaintenanceWindow(t.Context(), w.ID))
	require.NoError(t, s.Settle(t.Context()))
	require.Equal(t, ops.RunQueued, s.all()[3].Investigation)

	// For other alerts than it was.
	every := s.window(ops.MaintenanceWindow{Name: "all", StartsAt: s.at(-1), EndsAt: s.at(90)})
	s.send(59, an("f", service("shop"), group("5")), an("g", service("pay"), group("6")))
	every.Match = "service=shop"
	_, err = s.PutMaintenanceWindow(t.Context(), every, false)
	require.NoError(t, err)
	require.NoError(t, s.Settle(t.Context()))
	all = s.all()
	require.Equal(t, []any{ops.RunState(""), ops.RunQueued}, []any{all[4].Investigation, all[5].Investigation})
	require.Equal(t, []bool{false, true}, []bool{all[4].MaintenanceUntil.IsZero(), all[5].MaintenanceUntil.IsZero()})
	s.says(all[5].ID, `maintenance "all" has changed, and it still fires`)
	s.counts()
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(s.DeleteMaintenanceWindow(t.Context(), w.ID)))
}

// TestMaintenanceGoesOn: a window ends, and others cover what still fires.
func TestMaintenanceGoesOn(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.window(ops.MaintenanceWindow{Name: "first", StartsAt: s.at(-60), EndsAt: s.at(30)})
	s.send(0, an("a", service("shop"), group("1")), an("b", service("pay"), group("1")), an("c", service("shop"), group("2")))
	shop := s.window(ops.MaintenanceWindow{Name: "shop", Match: "service=shop, source=prod", StartsAt: s.at(30), EndsAt: s.at(180)})
	require.NoError(t, s.Settle(t.Context()))
	all := s.all()
	require.Equal(t, ops.RunQueued, all[0].Investigation, "one of its alerts is not covered")
	require.Equal(t, []any{ops.RunState(""), "shop"}, []any{all[1].Investigation, all[1].Maintenance})
	require.WithinDuration(t, shop.EndsAt, all[1].MaintenanceUntil, time.Millisecond)
	s.says(all[1].ID, `maintenance "first" is over, and "shop" covers it until `)
	require.NoError(t, s.DeleteMaintenanceWindow(t.Context(), shop.ID))
	require.NoError(t, s.Settle(t.Context()))
	require.Equal(t, ops.RunQueued, s.all()[1].Investigation)
	s.says(all[1].ID, `maintenance "shop" is over, and it still fires`)
}

func TestStorm(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{StormIncidentsPerMinute: 3, StormQuietSeconds: 120})
	var alerts []ops.Alert
	for n := range 10 {
		alerts = append(alerts, an(fmt.Sprint("a", n), group(fmt.Sprint("g", n))))
	}
	s.send(0, alerts...)
	all := s.all()
	require.Len(t, all, 4)
	storm := all[3]
	require.True(t, storm.Storm)
	require.Equal(t, "Alert storm from prod: more than 3 new incidents a minute", storm.Title)
	require.Equal(t, []int{7, 7}, []int{storm.AlertCount, storm.FiringCount})
	require.Equal(t, 4, s.query(`SELECT count(*) FROM runs`), "one investigation of the storm")
	require.Contains(t, s.alertsOf(storm.ID)[0].Why, "Storm: prod opened more than 3 incidents within a minute")

	// It lasts until no new group came for two minutes.
	s.send(1.5, an("b", group("new")))
	s.send(3, an("c", group("newer")))
	s.send(3.5, an("a1", group("g1")), an("d", group("g1"))) // a group that has an incident
	require.Equal(t, 9, s.all()[3].AlertCount)
	require.Len(t, s.all(), 4)
	require.NoError(t, s.Settle(t.Context()))
	s.says(storm.ID, "incident.opened a storm: prod opened more than 3 incidents within a minute", "the storm is over: no new group of alerts came for a while. It collected 9 alerts")
	require.Zero(t, s.query(`SELECT count(*) FROM storms WHERE incident_id IS NOT NULL`))
	s.send(10, an("e", group("after")))
	require.Len(t, s.all(), 5)
	s.send(11, an("f", group("newer"))) // its group began in the storm
	require.Equal(t, 10, s.all()[3].AlertCount)

	// Another one, while the first is still open, is the same incident.
	for n := range 6 {
		s.send(20, an(fmt.Sprint("h", n), group(fmt.Sprint("h", n))))
	}
	require.Len(t, s.all(), 8)
	require.Equal(t, 13, s.all()[3].AlertCount)
	s.says(storm.ID, "the storm goes on")
	s.counts()

	calm := tell(t, 60, ops.SourceOptions{StormIncidentsPerMinute: -1})
	calm.send(0, alerts...)
	require.Len(t, calm.all(), 10)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.send(0, an("a", group("1")))
	s.send(1, an("b", group("2"), severity(ops.SeverityCritical)), an("c", group("2")), an("-c", group("2")))
	all := s.all()
	into, from := all[0].ID, all[1].ID
	require.NoError(t, s.MergeIncident(t.Context(), from, into, "user:ann"))
	all = s.all()
	require.Equal(t, []any{3, 2, ops.SeverityCritical}, []any{all[0].AlertCount, all[0].FiringCount, all[0].Severity})
	require.Equal(t, []any{0, 0, ops.IncidentMerged, into, ops.RunCancelled}, []any{all[1].AlertCount, all[1].FiringCount, all[1].Status, all[1].MergedInto, all[1].Investigation})
	s.says(from, "incident.merged merged into incident 1 by hand", "run.ended its incident was merged into incident 1")
	s.says(into, "incident.merged incident 2 was merged into this one by hand, with 2 alerts")
	require.Equal(t, "Incident 2, which it was in, was merged into this one by user:ann.", s.alertsOf(into)[1].Why)
	s.send(2, an("-b", group("2"))) // ends count there
	s.send(3, an("d", group("2")))  // and so does what comes new of the group
	all = s.all()
	require.Len(t, all, 2)
	require.Equal(t, []int{4, 2}, []int{all[0].AlertCount, all[0].FiringCount})
	s.counts()

	refused := func(code ops.Code, from, into string) {
		t.Helper()
		require.Equal(t, code, ops.CodeOf(s.MergeIncident(t.Context(), from, into, "user:ann")))
	}
	refused(ops.CodeInvalid, into, into)
	refused(ops.CodeConflict, from, into)
	refused(ops.CodeConflict, into, from)
	refused(ops.CodeNotFound, into, ops.NewID())
	s.send(4, an("e", group("3")))
	third := s.all()[2].ID
	require.NoError(t, s.SetIncidentStatus(t.Context(), third, ops.IncidentResolved, "user:ann"))
	refused(ops.CodeConflict, into, third) // its alerts would fire on unseen
	require.Equal(t, ops.CodeConflict, ops.CodeOf(s.EditIncident(t.Context(), from, postgres.IncidentEdit{Title: new(string)}, "user:ann")))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(s.SetIncidentStatus(t.Context(), from, ops.IncidentClosed, "user:ann")))
	s.counts()
}

func TestSplitAndMove(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.send(0, an("a"), an("b", severity(ops.SeverityHigh)), an("c"))
	first := s.one()
	alerts := s.alertsOf(first.ID)
	ids := map[string]string{}
	for _, a := range alerts {
		ids[a.Identity] = a.ID
	}
	second, err := s.SplitIncident(t.Context(), first.ID, []string{ids["b"]}, "", "user:ann")
	require.NoError(t, err)
	all := s.all()
	require.Equal(t, []any{2, 2, ops.SeverityHigh}, []any{all[0].AlertCount, all[0].FiringCount, all[0].Severity})
	require.Equal(t, []any{second, 1, 1, ops.SeverityHigh, "alert b", ops.IncidentTriggered, ops.RunState("")},
		[]any{all[1].ID, all[1].AlertCount, all[1].FiringCount, all[1].Severity, all[1].Title, all[1].Status, all[1].Investigation})
	s.says(first.ID, "incident.split 1 alert moved to incident 2 by hand")
	s.says(second, "incident.opened split from incident 1 by hand", "incident.split 1 alert moved here from incident 1 by hand")
	require.Equal(t, "Moved here from incident 1 by user:ann.", s.alertsOf(second)[0].Why)

	s.send(1, an("b#2"), an("-b#2")) // the group has stayed
	require.Equal(t, ops.IncidentResolved, s.all()[1].Status, "superseded")
	require.Equal(t, 3, s.all()[0].AlertCount)

	third, err := s.SplitIncident(t.Context(), first.ID, []string{ids["c"]}, "mine", "user:ann")
	require.NoError(t, err)
	require.NoError(t, s.MoveAlerts(t.Context(), first.ID, third, []string{ids["a"]}, "user:ann"))
	all = s.all()
	require.Equal(t, []any{ops.IncidentResolved, 0, 1}, []any{all[0].Status, all[0].FiringCount, all[0].AlertCount})
	require.Equal(t, []any{"mine", 2, 2}, []any{all[2].Title, all[2].AlertCount, all[2].FiringCount})
	s.says(first.ID, "1 alert moved to incident 3 by hand", "incident.resolved all its firing alerts were moved to other incidents")
	s.counts()

	for want, err := range map[ops.Code]error{
		ops.CodeInvalid:  s.MoveAlerts(t.Context(), third, third, []string{ids["a"]}, "u"),
		ops.CodeConflict: s.MoveAlerts(t.Context(), third, first.ID, []string{ids["a"]}, "u"),
		ops.CodeNotFound: s.MoveAlerts(t.Context(), third, ops.NewID(), []string{ids["a"]}, "u"),
	} {
		require.Equal(t, want, ops.CodeOf(err))
	}
	_, err = s.SplitIncident(t.Context(), third, []string{ids["a"], ids["c"]}, "", "u")
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err), "nothing would be left")
	_, err = s.SplitIncident(t.Context(), third, []string{ids["a"], ids["b"]}, "", "u")
	require.ErrorContains(t, err, "names 2 alerts, of which 1 are in the incident")
	s.counts()
}

func TestPreviewGrouping(t *testing.T) {
	t.Parallel()
	s := tell(t, 600, ops.SourceOptions{})
	for n := range 6 {
		s.send(float64(n), an(fmt.Sprint("a", n), group(fmt.Sprint(n)), service([]string{"shop", "pay"}[n%2])))
	}
	s.send(8, an("-a5", group("5"), service("pay")))
	rule := ops.GroupingRule{ID: ops.NewID(), Name: "by service", Match: `source=prod`, Key: "{{service}}", Investigate: true}
	p, err := s.PreviewGrouping(t.Context(), rule)
	require.NoError(t, err)
	require.Equal(t, []any{6, 6, 6, 2, false}, []any{p.Alerts, p.Matched, p.Incidents, p.Would, p.Truncated})
	require.WithinDuration(t, s.at(0), p.Since, 0)
	require.Equal(t, []ops.PreviewGroup{{Key: "pay", Alerts: 3, Incidents: 1, Titles: []string{"alert a5", "alert a3", "alert a1"}},
		{Key: "shop", Alerts: 3, Incidents: 1, Titles: []string{"alert a4", "alert a2", "alert a0"}}}, p.Largest)

	// A stored rule is replaced by the one that is tried.
	stored := s.rule(ops.GroupingRule{Name: "all", Key: "all", Investigate: true})
	for _, position := range []int{0, 5} {
		rule.Position = position
		p, err = s.PreviewGrouping(t.Context(), rule)
		require.NoError(t, err)
		require.Equal(t, []int{0, 1}, []int{p.Matched, p.Would}, "the stored one comes first, at the same position too")
	}
	rule.ID = stored.ID
	p, err = s.PreviewGrouping(t.Context(), rule)
	require.NoError(t, err)
	require.Equal(t, []int{6, 2}, []int{p.Matched, p.Would})
	require.Equal(t, 6, s.query(`SELECT count(*) FROM incidents`), "nothing is stored")
}

// TestOldIncidentsKeepTheirGroups puts an incident of the release before under
// the migration that makes the groups.
func TestOldIncidentsKeepTheirGroups(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	db := open(t, pg.API)
	src := source(t, db)
	for n, status := range []string{"triggered", "resolved", "resolved"} {
		_, err = conn.Exec(t.Context(), `INSERT INTO incidents (id, title, severity, status, source_id, group_key, alert_count, firing_count, opened_at, updated_at)
			VALUES ($1, 'old', 'info', $2, $3, $4, 0, 0, now(), now())`, ops.NewID(), status, src, []string{"group", "group", "other"}[n])
		require.NoError(t, err)
	}
	_, err = conn.Exec(t.Context(), postgres.FillGroups())
	require.NoError(t, err)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, 0, "a")}))
	all, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, 1, all[2].AlertCount, "the open one of the group")
}
