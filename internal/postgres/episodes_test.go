package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/stretchr/testify/require"
)

func TestANewEpisodeEndsTheOldOne(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.send(0, an("a#1"))
	s.send(10, an("a#2")) // its sender never said that the first one ended
	i := s.one()
	require.Equal(t, []int{2, 1}, []int{i.AlertCount, i.FiringCount})
	require.Equal(t, ops.IncidentTriggered, i.Status)
	alerts := s.alertsOf(i.ID)
	require.Equal(t, []ops.AlertStatus{ops.AlertResolved, ops.AlertFiring}, []ops.AlertStatus{alerts[0].Status, alerts[1].Status})
	require.WithinDuration(t, s.at(10), alerts[0].EndsAt, 0)
	s.says(i.ID, "alert.firing", "alert.firing", "alert.resolved a new episode of it fires, and its sender has never said that this one ended")

	s.send(12, an("-a#1")) // what it says now is nothing new
	require.Equal(t, 1, s.one().FiringCount)
	s.send(20, an("-a#2"))
	require.Equal(t, ops.IncidentResolved, s.one().Status)
	s.counts()
}

// TestSeveralEpisodesAtOnce: a trigger of Zabbix may have several open problems,
// and each of them has an end of its own.
func TestSeveralEpisodesAtOnce(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{ResolveTimeoutSeconds: 1800})
	s.several = true
	s.send(0, an("a#1"))
	s.send(2, an("a#3"), an("a#2", s.sentAt(1)))
	require.Equal(t, []int{3, 3}, []int{s.one().AlertCount, s.one().FiringCount}, "one that has come late is one, too")
	s.send(3, an("-a#2"))
	s.send(4, an("-a#3"), an("-a#4"))
	require.Equal(t, 1, s.one().FiringCount)
	s.send(50, an("a#5"))
	require.NoError(t, s.Settle(t.Context()))
	require.Equal(t, 1, s.one().FiringCount)
	s.send(61, an("a#1", s.sentAt(0)))
	require.Equal(t, 2, s.one().FiringCount, "the resolve timeout was wrong, and the other one goes on")
	s.send(62, an("-a#1"), an("-a#5"))
	require.Equal(t, ops.IncidentResolved, s.one().Status)
	s.counts()
}

// TestPagerDutyAlertsAreFoundWithoutTheirService puts alerts of the release before
// under the migration that takes the service out of their identities. Incidents of
// two services may have one key: their ids keep these apart.
func TestPagerDutyAlertsAreFoundWithoutTheirService(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.exec(`UPDATE sources SET kind = 'pagerduty'`)
	s.several = true
	of := func(service string) func(*ops.Alert) {
		return func(a *ops.Alert) { a.Labels = map[string]string{"pagerduty_service": service} }
	}
	s.send(0, an("A/key#1", of("A"), group("1")))
	s.send(1, an("B/key#2", of("B"), group("2")))
	s.send(2, an("A/k/y#3", of("A"), group("3")))
	s.send(3, an("B/k/y#3", of("B"), group("3"))) // was given to B
	s.send(4, an("/none#4", group("4")))
	s.exec(postgres.PagerDutyIdentities())
	s.send(10, an("-key#1", of("B"), group("1"))) // as well
	require.Equal(t, []ops.IncidentStatus{"resolved", "triggered"}, []ops.IncidentStatus{s.all()[0].Status, s.all()[1].Status})
	s.send(11, an("-key#2", of("B"), group("2")), an("-k/y#3", of("B"), group("3")), an("-none#4", group("4")))
	all := s.all()
	require.Len(t, all, 4)
	require.Equal(t, []ops.IncidentStatus{"resolved", "triggered", "resolved"}, []ops.IncidentStatus{all[1].Status, all[2].Status, all[3].Status})
	require.Equal(t, 1, s.query(`SELECT count(*) FROM alerts WHERE identity = 'A/k/y' AND status = 'firing'`), "nobody will ever end it")
	require.Equal(t, 5, s.query(`SELECT count(*) FROM alerts`))
	s.counts()
}

// TestEpisodesOutOfOrder: of two Alertmanagers one knows an earlier start than
// the other, and a retried delivery comes late.
func TestEpisodesOutOfOrder(t *testing.T) {
	t.Parallel()
	t.Run("an earlier start of what fires", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		s.send(5, an("a#5"))
		s.send(6, an("a#3", s.sentAt(3)))
		s.send(11, an("a#3", s.sentAt(3)))
		i := s.one()
		require.Equal(t, []int{1, 1}, []int{i.AlertCount, i.FiringCount})
		require.WithinDuration(t, s.at(11), s.alertsOf(i.ID)[0].LastSeen, 0, "a sign of life")
		s.send(20, an("-a#3")) // it ends under its earlier start
		i = s.one()
		require.Equal(t, ops.IncidentResolved, i.Status)
		s.says(i.ID, "alert.resolved its sender says that it has ended, under another start")
		s.counts()
	})
	t.Run("an episode that is over", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		s.send(5, an("a#5"))
		s.send(6, an("-a#5"))
		s.send(7, an("a#3", s.sentAt(3)))
		require.Equal(t, ops.IncidentResolved, s.one().Status)
		require.Equal(t, 2, s.query(`SELECT count(*) FROM alerts`), "it is kept")
		require.Equal(t, 1, s.query(`SELECT count(*) FROM alerts WHERE incident_id IS NULL AND why LIKE 'A later episode%'`))
	})
	t.Run("one that begins while the last one ends", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		s.send(5, an("a#5"))
		s.send(6, an("-a#5", s.sentAt(6.02))) // the clock of its sender counts whole seconds, and rounds up
		s.send(7, an("a#6", s.sentAt(6.01)))
		i := s.one()
		require.Equal(t, ops.IncidentTriggered, i.Status, "it is news, and opened again")
		require.Equal(t, 1, i.FiringCount)
		s.counts()
	})
	t.Run("an end that comes late", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		s.send(0, an("a#0"))
		s.send(10, an("a#10"))
		s.send(11, an("-a#0", s.sentAt(9)))
		require.Equal(t, 1, s.one().FiringCount)
	})
	t.Run("an end that is dated before an acknowledgement", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		s.send(0, an("a"))
		s.send(3, an("+a"))
		s.send(4, an("-a", s.sentAt(1))) // as Zabbix does, whose messages of one problem are in order
		i := s.one()
		require.Equal(t, []any{ops.IncidentResolved, 0}, []any{i.Status, i.FiringCount})
		require.WithinDuration(t, s.at(1), s.alertsOf(i.ID)[0].EndsAt, 0)
		s.send(5, an("a", s.sentAt(2)))
		require.Equal(t, ops.IncidentResolved, s.one().Status, "a late one")
		s.counts()
	})
	t.Run("an old end from a sender that names no episodes", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		unnamed := func(a *ops.Alert) { a.Episode = "" }
		s.send(0, an("a", unnamed))
		s.send(3, an("+a", unnamed))
		s.send(4, an("-a", unnamed, s.sentAt(1)))
		require.Equal(t, 1, s.one().FiringCount, "it may be of an earlier one")
	})
	t.Run("an end of another episode", func(t *testing.T) {
		t.Parallel()
		s := tell(t, 60, ops.SourceOptions{})
		s.send(0, an("a#0"))
		s.send(20, an("-a#15")) // neither the end of the first nor the start of the second came
		require.Equal(t, ops.IncidentResolved, s.one().Status)
		s.counts()
	})
}

func TestAnAlertMayChange(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.send(0, an("a"))
	s.send(1, an("a", severity(ops.SeverityCritical), s.sentAt(0), func(a *ops.Alert) {
		a.Title, a.Summary, a.Labels = "worse", "90 %", map[string]string{"x": "y"}
	}))
	i := s.one()
	require.Equal(t, []any{ops.SeverityCritical, "worse"}, []any{i.Severity, i.Title})
	a := s.alertsOf(i.ID)[0]
	require.Equal(t, []any{ops.SeverityCritical, "worse", "90 %", "y"}, []any{a.Severity, a.Title, a.Summary, a.Labels["x"]})
	s.says(i.ID, "alert.updated its severity was warning and is critical", `alert.updated it was called "alert a"`, `incident.changed its alert "worse" is critical`)
	require.Equal(t, 1, s.query(`SELECT count(*) FROM runs WHERE priority = 0`), "its run is more urgent")

	n := len(s.timeline(i.ID))
	s.send(2, an("a", severity(ops.SeverityCritical), s.sentAt(0), func(a *ops.Alert) { a.Title, a.Summary = "worse", "91 %" }))
	require.Len(t, s.timeline(i.ID), n, "a value that moves is not news")
	require.Equal(t, "91 %", s.alertsOf(i.ID)[0].Summary)
	s.send(3, an("a", severity(ops.SeverityInfo), s.sentAt(-5), func(a *ops.Alert) { a.Title = "old" }))
	require.Equal(t, "worse", s.alertsOf(i.ID)[0].Title, "late")
	s.send(4, an("a", severity(ops.SeverityInfo), func(a *ops.Alert) { a.Title = "worse" }))
	require.Equal(t, ops.SeverityCritical, s.one().Severity, "an incident is as bad as it ever was")
	s.send(5, an("b"))
	s.send(6, an("a", severity(ops.SeverityInfo), func(a *ops.Alert) { a.Title = "other" }))
	require.Equal(t, "worse", s.one().Title, "it is about two alerts now")
}

func TestWhatPeopleSetStays(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{})
	s.send(0, an("a"))
	i := s.one()
	title, severe, nobody := "mine", ops.SeverityInfo, "bob"
	require.NoError(t, s.EditIncident(t.Context(), i.ID, postgres.IncidentEdit{Title: &title, Severity: &severe, Assignee: &nobody}, "user:ann"))
	require.NoError(t, s.SetIncidentStatus(t.Context(), i.ID, ops.IncidentAcknowledged, "user:ann"))
	s.send(1, an("a", severity(ops.SeverityCritical), func(a *ops.Alert) { a.Title = "theirs" }), an("b", severity(ops.SeverityCritical)))
	i = s.one()
	require.Equal(t, []any{"mine", ops.SeverityInfo, "bob", ops.IncidentAcknowledged}, []any{i.Title, i.Severity, i.Assignee, i.Status})
	require.Equal(t, []string{"assignee", "severity", "status", "title"}, i.Edited)
	require.Equal(t, ops.SeverityCritical, s.alertsOf(i.ID)[0].Severity, "the alert is its sender's")

	require.NoError(t, s.SetIncidentStatus(t.Context(), i.ID, ops.IncidentResolved, "user:ann"))
	require.Equal(t, "user:ann", s.one().ResolvedBy)
	s.send(2, an("a"), an("+b"), an("-a"))
	require.Equal(t, ops.IncidentResolved, s.one().Status)
	s.send(3, an("a#2"))
	all := s.all()
	require.Len(t, all, 2, "what a person has resolved is not opened again")
	require.Equal(t, ops.IncidentResolved, all[0].Status)
	s.says(all[1].ID, "incident.opened incident 1 of its group was resolved by hand, and stays so")
	s.counts()
}

func TestFlapHold(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{FlapHoldSeconds: 300})
	s.send(0, an("a"))
	s.send(1, an("-a"))
	i := s.one()
	require.Equal(t, ops.IncidentTriggered, i.Status)
	require.Equal(t, s.at(6), i.ResolveAt)
	s.send(3, an("a#2"))
	i = s.one()
	require.True(t, i.ResolveAt.IsZero())
	require.Equal(t, 2, i.Transitions)
	require.NoError(t, s.Settle(t.Context()))
	require.Equal(t, ops.IncidentTriggered, s.one().Status)
	s.send(4, an("-a#2"))
	require.NoError(t, s.Settle(t.Context()))
	i = s.one()
	require.Equal(t, []any{ops.IncidentResolved, ops.BySystem}, []any{i.Status, i.ResolvedBy})
	s.says(i.ID, "resolved in 5m0s unless one fires again (flap hold)", "it fires again before its flap hold is over, so it stays open",
		"(flap hold)", "incident.resolved its flap hold is over")
	require.Len(t, s.all(), 1)
	require.Equal(t, 1, s.query(`SELECT count(*) FROM runs`))

	held := tell(t, 0, ops.SourceOptions{FlapHoldSeconds: 300})
	held.send(0, an("a"), an("-a"))
	require.NoError(t, held.Settle(t.Context()))
	require.Equal(t, ops.IncidentTriggered, held.one().Status, "its hold is not over")
	require.NoError(t, held.SetIncidentStatus(t.Context(), held.one().ID, ops.IncidentClosed, "user:ann"))
	require.True(t, held.one().ResolveAt.IsZero())

	taken := tell(t, 60, ops.SourceOptions{FlapHoldSeconds: 300})
	taken.send(0, an("a"))
	taken.send(1, an("-a"))
	require.NoError(t, taken.SetIncidentStatus(t.Context(), taken.one().ID, ops.IncidentAcknowledged, "user:ann"))
	require.NoError(t, taken.Settle(t.Context()))
	require.Equal(t, ops.IncidentResolved, taken.one().Status, "whoever has taken it waits for its end, too")
}

func TestReopening(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options  ops.SourceOptions
		ended    ops.RunState // of the first investigation
		byHand   ops.IncidentStatus
		again    ops.Alert
		minute   float64
		statuses []ops.IncidentStatus
		runs     int
		says     []string // of the last incident
	}{
		"concluded": {ended: ops.RunConcluded, again: an("a#2"), minute: 5, statuses: []ops.IncidentStatus{"triggered"}, runs: 1,
			says: []string{"incident.reopened its group fires again, 4m0s after its end; it was opened again once", "not investigated again: the last investigation has concluded"}},
		"not concluded": {ended: ops.RunInconclusive, again: an("a#2"), minute: 5, statuses: []ops.IncidentStatus{"triggered"}, runs: 2,
			says: []string{"incident.reopened", "run.queued it was opened again, and the last investigation ended as inconclusive"}},
		"worse": {ended: ops.RunConcluded, again: an("a#2", severity(ops.SeverityHigh)), minute: 5, statuses: []ops.IncidentStatus{"triggered"}, runs: 2,
			says: []string{"incident.reopened", "run.queued it was opened again and is worse than before"}},
		"still investigated": {again: an("a#2"), minute: 5, statuses: []ops.IncidentStatus{"triggered"}, runs: 1,
			says: []string{"incident.reopened"}},
		"another alert of the group": {ended: ops.RunConcluded, again: an("b"), minute: 5, statuses: []ops.IncidentStatus{"triggered"}, runs: 1,
			says: []string{"incident.reopened"}},
		"another group": {ended: ops.RunConcluded, again: an("b", group("h")), minute: 5, statuses: []ops.IncidentStatus{"resolved", "triggered"}, runs: 2,
			says: []string{"incident.opened first alert of its group"}},
		"too late": {ended: ops.RunConcluded, again: an("a#2"), minute: 12, statuses: []ops.IncidentStatus{"resolved", "triggered"}, runs: 2,
			says: []string{"incident.opened incident 1 of its group ended 11m0s ago: longer than its source's re-open window"}},
		"a longer window": {options: ops.SourceOptions{ReopenWindowSeconds: 3600}, ended: ops.RunConcluded, again: an("a#2"), minute: 12,
			statuses: []ops.IncidentStatus{"triggered"}, runs: 1},
		"never": {options: ops.SourceOptions{ReopenWindowSeconds: -1}, ended: ops.RunConcluded, again: an("a#2"), minute: 1.1,
			statuses: []ops.IncidentStatus{"resolved", "triggered"}, runs: 2},
		"closed by hand": {ended: ops.RunConcluded, byHand: ops.IncidentClosed, again: an("a#2"), minute: 5,
			statuses: []ops.IncidentStatus{"closed", "triggered"}, runs: 2, says: []string{"incident.opened incident 1 of its group is closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell(t, 60, tt.options)
			s.send(0, an("a"))
			if tt.ended != "" {
				s.conclude(tt.ended)
			}
			s.send(1, an("-a"))
			if tt.byHand != "" {
				require.NoError(t, s.SetIncidentStatus(t.Context(), s.one().ID, tt.byHand, "user:ann"))
			}
			s.send(tt.minute, tt.again)
			all := s.all()
			var statuses []ops.IncidentStatus
			for _, i := range all {
				statuses = append(statuses, i.Status)
			}
			require.Equal(t, tt.statuses, statuses)
			require.Equal(t, tt.runs, s.query(`SELECT count(*) FROM runs`))
			last := all[len(all)-1]
			require.Equal(t, 2-len(all), last.Reopened)
			require.True(t, last.ResolvedAt.IsZero())
			require.Empty(t, last.ResolvedBy)
			s.says(last.ID, tt.says...)
			s.counts()
		})
	}
}

func TestFlappingIsNoted(t *testing.T) {
	t.Parallel()
	s := tell(t, 50, ops.SourceOptions{})
	for n := range 4 {
		require.False(t, len(s.all()) > 0 && s.one().Flapping && n < 3)
		s.send(float64(2*n), an(fmt.Sprint("a#", n)))
		s.send(float64(2*n+1), an(fmt.Sprint("-a#", n)))
	}
	i := s.one()
	require.True(t, i.Flapping)
	require.Equal(t, []int{7, 3}, []int{i.Transitions, i.Reopened})
	s.says(i.ID, "it is flapping: it began or ceased to fire 5 times within an hour")
	s.exec(`UPDATE incidents SET flap_since = flap_since - interval '1 hour'`)
	require.False(t, s.one().Flapping)
}

func TestResolveTimeout(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{ResolveTimeoutSeconds: 1800})
	other := s.source("other", ops.SourceOptions{})
	s.send(0, an("a"), an("b"))
	s.sendFrom(other, 0, an("c"))
	s.send(45, an("b"))
	require.NoError(t, s.Settle(t.Context()))
	all := s.all()
	require.Equal(t, 1, all[0].FiringCount)
	require.Equal(t, ops.AlertFiring, s.alertsOf(all[1].ID)[0].Status, "a source without a timeout")
	s.says(all[0].ID, "alert.resolved its sender has not mentioned it for 30m0s (resolve timeout)")
	s.exec(`UPDATE alerts SET last_seen = last_seen - interval '1 hour'`)
	require.NoError(t, s.Settle(t.Context()))
	all = s.all()
	require.Equal(t, []ops.IncidentStatus{ops.IncidentResolved, ops.IncidentTriggered}, []ops.IncidentStatus{all[0].Status, all[1].Status})
	s.counts()
	require.NoError(t, s.Settle(t.Context()))
	s.send(61, an("a#2")) // its sender is back
	require.Equal(t, 1, s.all()[0].Reopened)
}

// TestAnEndOfOursIsTakenBack: what the resolve timeout has ended goes on when its
// sender mentions it again, and what its sender has ended does not.
func TestAnEndOfOursIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		then   func(*story)
		status ops.IncidentStatus
		firing int
		says   []string
	}{
		"it is mentioned again": {then: func(s *story) {
			for minute := range 5 {
				s.send(61+float64(minute), an("a", s.sentAt(0)))
			}
		}, status: ops.IncidentTriggered, firing: 1, says: []string{"alert.resolved its sender has not mentioned it", "incident.resolved",
			"incident.reopened its sender mentions it again, so it has not ended", "alert.firing its sender mentions it again"}},
		"and acknowledged": {then: func(s *story) { s.send(61, an("+a")) }, status: ops.IncidentAcknowledged, firing: 1,
			says: []string{"incident.reopened", "alert.acknowledged"}},
		"and worse": {then: func(s *story) { s.send(61, an("a", s.sentAt(0), severity(ops.SeverityCritical))) }, status: ops.IncidentTriggered, firing: 1,
			says: []string{"incident.reopened", "alert.updated its severity was warning and is critical"}},
		"it has ended meanwhile": {then: func(s *story) {
			s.send(61, an("-a"))
			s.send(62, an("a", s.sentAt(0))) // of another Alertmanager
		}, status: ops.IncidentResolved},
		"a dead letter from before": {then: func(s *story) { s.send(2, an("a", s.sentAt(0))) }, status: ops.IncidentResolved},
		"another episode goes on": {then: func(s *story) {
			s.send(61, an("a#2"))
			s.send(62, an("a", s.sentAt(0)))
		}, status: ops.IncidentTriggered, firing: 1},
		"a person has closed it": {then: func(s *story) {
			require.NoError(s.t, s.SetIncidentStatus(s.t.Context(), s.one().ID, ops.IncidentClosed, "user:ann"))
			s.send(61, an("a", s.sentAt(0)))
		}, status: ops.IncidentClosed, firing: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell(t, 60, ops.SourceOptions{ResolveTimeoutSeconds: 1800})
			s.send(0, an("a"))
			require.NoError(t, s.Settle(t.Context()))
			require.Equal(t, ops.IncidentResolved, s.one().Status)
			tt.then(s)
			i := s.one()
			require.Equal(t, []any{tt.status, tt.firing}, []any{i.Status, i.FiringCount})
			require.LessOrEqual(t, i.Reopened, 1)
			require.Equal(t, 1, s.query(`SELECT count(*) FROM runs`))
			s.says(i.ID, tt.says...)
			s.counts()
		})
	}
}

// TestAnOldDeliveryIsNoSilence: a dead letter that is read again does not make
// its alert look forgotten.
func TestAnOldDeliveryIsNoSilence(t *testing.T) {
	t.Parallel()
	s := tell(t, 60, ops.SourceOptions{ResolveTimeoutSeconds: 1800})
	s.send(0, an("a"))
	s.send(59, an("a", s.sentAt(0)))
	s.send(1, an("a", s.sentAt(0)), an("a#-1", s.sentAt(-1)))
	require.NoError(t, s.Settle(t.Context()))
	require.Equal(t, 1, s.one().FiringCount)
}

// TestTwoProcesses has two connections take in the same groups in opposite
// orders, with people changing the same incidents meanwhile.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	s := tell(t, 10, ops.SourceOptions{StormIncidentsPerMinute: -1})
	dbs := []*postgres.DB{s.DB, open(t, s.pg.API)}
	const rounds, identities = 15, 12
	var wg sync.WaitGroup
	for p, db := range dbs {
		for w := range 2 {
			wg.Go(func() {
				for n := range rounds {
					d := ops.Delivery{ID: ops.NewID(), SourceID: s.src, ReceivedAt: time.Now().UTC(), Body: []byte("{}")}
					for k := range identities {
						id := k
						if (p+w)%2 == 1 {
							id = identities - 1 - k
						}
						text := fmt.Sprintf("x%d#%d", id, n)
						if (n+k)%3 == 0 {
							text = "-" + text
						}
						a := an(text, group(fmt.Sprint("g", (id+n)%5)))
						a.At = s.at(float64(n)).Add(time.Duration(k) * time.Second)
						a.StartsAt = a.At
						d.Alerts = append(d.Alerts, a)
					}
					if err := db.Ingest(context.Background(), []ops.Delivery{d}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Go(func() {
		for range rounds {
			if err := dbs[1].Settle(context.Background()); err != nil {
				t.Error(err)
			}
			all, err := dbs[0].Incidents(context.Background(), postgres.IncidentFilter{})
			if err != nil {
				t.Error(err)
			}
			if len(all) > 2 {
				err := dbs[0].MergeIncident(context.Background(), all[0].ID, all[1].ID, "user:ann")
				if err != nil && ops.CodeOf(err) != ops.CodeConflict {
					t.Error(err)
				}
			}
		}
	})
	wg.Wait()
	s.counts()
	require.Zero(t, s.query(`SELECT count(*) FROM (SELECT identity FROM alerts WHERE status <> 'resolved' GROUP BY identity HAVING count(*) > 1) AS twice`),
		"two episodes of one identity fire")
	require.Zero(t, s.query(`SELECT count(*) FROM (SELECT incident_id FROM runs WHERE state = 'queued' GROUP BY 1 HAVING count(*) > 1) AS twice`))
	for _, i := range s.all() {
		s.timeline(i.ID)
	}
}

// TestManyAlertsInOneDelivery: a thousand alerts, of one group and of a thousand.
func TestManyAlertsInOneDelivery(t *testing.T) {
	t.Parallel()
	for name, groups := range map[string]int{"one group": 1, "a group each": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tell(t, 0, ops.SourceOptions{StormIncidentsPerMinute: -1})
			d := ops.Delivery{ID: ops.NewID(), SourceID: s.src, ReceivedAt: time.Now().UTC(), Body: []byte("{}")}
			for n := range 1000 {
				a := an(fmt.Sprint("a", n), group(fmt.Sprint(n%groups)))
				a.At, a.StartsAt = s.start, s.start
				d.Alerts = append(d.Alerts, a)
			}
			d.Alerts = slices.Clip(d.Alerts)
			began := time.Now()
			require.NoError(t, s.Ingest(t.Context(), []ops.Delivery{d}))
			t.Log(time.Since(began))
			require.Equal(t, groups, s.query(`SELECT count(*) FROM incidents`))
			require.Equal(t, 1000, s.query(`SELECT count(*) FROM alerts WHERE incident_id IS NOT NULL`))
			require.Equal(t, groups, s.query(`SELECT count(*) FROM runs`))
			s.counts()
		})
	}
}
