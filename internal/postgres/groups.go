package postgres

import (
	"cmp"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
)

// join puts a firing alert that is new into an incident.
func (in *intake) join(s *storedAlert, d grouping.Decision) {
	at := s.FirstSeen
	i, again := in.place(s, d, at)
	s.IncidentID, s.Why = i.ID, s.Why+d.Why
	i.AlertCount++
	in.begin(i, s, d, again, "")
}

// begin counts an alert of an incident that fires now. again says that the
// incident was opened again for it.
func (in *intake) begin(i *storedIncident, s *storedAlert, d grouping.Decision, again bool, why string) {
	at := s.LastSeen
	i.FiringCount++
	worse := in.escalate(i, s)
	in.event(i, ops.EventAlertFiring, change(s, why))
	in.mark(i, s, at)
	if i.FiringCount == 1 && !i.fresh {
		in.transition(i, at)
		if !i.ResolveAt.IsZero() {
			i.ResolveAt = time.Time{}
			in.say(i, "it fires again before its flap hold is over, so it stays open")
		}
	}
	if again && i.Investigation.Final() && (worse || i.Investigation != ops.RunConcluded) {
		why := fmt.Sprintf("it was opened again, and the last investigation ended as %s", i.Investigation)
		if worse {
			why = "it was opened again and is worse than before"
		}
		i.Investigation = ""
		in.investigate(i, d, why)
		return
	}
	if again && i.Investigation == ops.RunConcluded {
		in.say(i, "it is not investigated again: the last investigation has concluded, and it is no worse than then")
	}
	in.investigate(i, d, "")
}

// place gives the incident that a firing alert belongs into, and whether it was
// opened again for it. What it adds to why the alert is there is in s.Why.
func (in *intake) place(s *storedAlert, d grouping.Decision, at time.Time) (i *storedIncident, again bool) {
	i, again, why := in.find(s, d.Key, d, at)
	if i == nil {
		if storm, again := in.collapse(s, d, at); storm != nil {
			return storm, again
		}
		i = in.open(s, d, at, why)
	}
	in.note(d.Key, i, at)
	return i, again
}

// find gives the newest incident of a group if it still takes alerts: it is
// open, or it is opened again. Otherwise it says why not.
func (in *intake) find(s *storedAlert, key string, d grouping.Decision, at time.Time) (i *storedIncident, again bool, why string) {
	g := in.groups[key]
	if g == nil {
		return nil, false, "first alert of its group"
	}
	i = in.incidents[g.incident]
	if i == nil {
		return nil, false, "first alert of its group"
	}
	if !grouping.InWindow(d.Window, d.Fixed, g.openedAt, g.last, at) {
		return nil, false, fmt.Sprintf("the %s of rule %q is over for incident %d of the group", d.Window, d.RuleName, i.Number)
	}
	if i.Status.Open() {
		return i, false, ""
	}
	ended := at.Sub(i.ResolvedAt)
	reopen := in.reopenWindow(s.SourceID)
	switch {
	case i.Status != ops.IncidentResolved:
		return nil, false, fmt.Sprintf("incident %d of its group is %s", i.Number, i.Status)
	case i.ResolvedBy != ops.BySystem:
		return nil, false, fmt.Sprintf("incident %d of its group was resolved by hand, and stays so", i.Number)
	case ended > reopen:
		return nil, false, fmt.Sprintf("incident %d of its group ended %s ago: longer than its source's re-open window", i.Number, rounded(ended))
	}
	in.reopen(i, fmt.Sprintf("its group fires again, %s after its end; it was opened again %s", rounded(max(ended, 0)), times(i.Reopened+1)))
	return i, true, ""
}

func (in *intake) reopen(i *storedIncident, why string) {
	i.Status, i.ResolvedAt, i.ResolvedBy = ops.IncidentTriggered, time.Time{}, ""
	i.Reopened++
	in.event(i, ops.EventIncidentReopened, ops.IncidentChange{Status: i.Status, Reason: why})
}

func (in *intake) reopenWindow(source string) time.Duration {
	if src := in.sources[source]; src != nil {
		return reopenWindow(src.Options)
	}
	return grouping.DefaultReopen
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Second) }

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// open makes an incident for the first alert of a group.
func (in *intake) open(s *storedAlert, d grouping.Decision, at time.Time, why string) *storedIncident {
	i := &storedIncident{fresh: true, agent: d.Agent, Incident: ops.Incident{
		ID: ops.NewID(), Title: s.Title, Description: s.Description, Severity: s.Severity, Status: ops.IncidentTriggered,
		SourceID: s.SourceID, Service: s.Service, GroupKey: d.Group, OpenedAt: at, RuleID: d.RuleID,
	}}
	if src := in.sources[s.SourceID]; src != nil {
		src.count(at)
	}
	in.add(i, why)
	return i
}

func (in *intake) add(i *storedIncident, why string) {
	in.incidents[i.ID] = i
	in.incidentOrder = append(in.incidentOrder, i)
	in.event(i, ops.EventIncidentOpened, ops.IncidentChange{Status: i.Status, Severity: i.Severity, Title: i.Title, Reason: why})
}

// note makes i the newest incident of a group.
func (in *intake) note(key string, i *storedIncident, at time.Time) {
	g := in.groups[key]
	if g == nil {
		g = &storedGroup{key: key}
		in.groups[key] = g
	}
	if g.incident != i.ID {
		g.incident, g.openedAt, g.last = i.ID, at, at
	}
	if at.After(g.last) {
		g.last = at
	}
	in.touchGroup(g)
}

// investigate queues the one investigation of an incident, unless there is one
// or was one, or something speaks against it. That is said once.
func (in *intake) investigate(i *storedIncident, d grouping.Decision, why string) {
	if i.Investigation != "" {
		return
	}
	against := d.NotInvestigated
	if against == "" && !i.MaintenanceUntil.IsZero() {
		against = fmt.Sprintf("maintenance %q covers it until %s", i.Maintenance, i.MaintenanceUntil.Format(clock))
	}
	if against != "" {
		if i.InvestigationReason != "not investigated: "+against {
			i.InvestigationReason = "not investigated: " + against
			in.say(i, "it is %s", i.InvestigationReason)
		}
		return
	}
	if !i.Storm {
		i.agent = cmp.Or(d.Agent, i.agent)
	}
	in.queue(i, why)
}

// clock is how a time is written on the timeline.
const clock = "2006-01-02 15:04 MST"

func (in *intake) queue(i *storedIncident, why string) {
	i.run, i.Investigation, i.InvestigationReason = ops.NewID(), ops.RunQueued, ""
	in.event(i, ops.EventRunQueued, ops.RunChange{State: ops.RunQueued, Reason: why})
	in.events[len(in.events)-1].RunID = i.run
}

// mark notes whether planned work covers all that fires of an incident, now that
// it has one alert more.
func (in *intake) mark(i *storedIncident, s *storedAlert, at time.Time) {
	if s.Kind == ops.AlertTest {
		return // it is not investigated afterwards either
	}
	m, covered := in.config.Maintenance(in.subject(s.SourceID, &s.Alert), at)
	marked := !i.MaintenanceUntil.IsZero()
	switch {
	case !covered && marked:
		i.Maintenance, i.maintenanceID, i.MaintenanceUntil = "", "", time.Time{}
		in.say(i, "it is no longer under maintenance: no window covers its alert %q", s.Title)
	case covered && (i.FiringCount == 1 || marked && m.Until.After(i.MaintenanceUntil)):
		in.touch(i)
		i.Maintenance, i.maintenanceID, i.MaintenanceUntil = m.Name, m.ID, m.Until
		if i.Investigation != "" {
			in.say(i, "maintenance %q covers it until %s", m.Name, m.Until.Format(clock))
		}
	}
}

// Storms.

const (
	stormRate   = 30 // new incidents a minute
	stormQuiet  = 5 * time.Minute
	stormMinute = time.Minute
)

// limit is the rate above which new incidents are collapsed; below 0 there is none.
func (s *storedSource) limit() int { return cmp.Or(s.Options.StormIncidentsPerMinute, stormRate) }

func (s *storedSource) quiet() time.Duration {
	return cmp.Or(time.Duration(s.Options.StormQuietSeconds)*time.Second, stormQuiet)
}

// recent is how many incidents it has opened within the minute.
func (s *storedSource) recent(at time.Time) int {
	if at.Sub(s.storm.since) >= stormMinute {
		return 0
	}
	return s.storm.opened
}

// count counts an incident that it has opened.
func (s *storedSource) count(at time.Time) {
	if at.Sub(s.storm.since) >= stormMinute {
		s.storm.since, s.storm.opened, s.counted = at, 0, 0
	}
	s.storm.opened++
	s.counted++
}

// mayStorm says whether a batch with so many groups could need the storm's own
// group, which must then be locked like any other. What is read here without a
// lock may be a little old; then a few incidents more are opened.
func (s *storedSource) mayStorm(groups int, now time.Time) bool {
	return s.limit() >= 0 && (s.storm.incident != "" || s.recent(now)+groups > s.limit())
}

// collapse puts an alert that would open an incident into the storm of its
// source, if there is one or it begins now.
func (in *intake) collapse(s *storedAlert, d grouping.Decision, at time.Time) (i *storedIncident, again bool) {
	src := in.sources[s.SourceID]
	key := grouping.StormKey(s.SourceID)
	if src == nil || src.limit() < 0 || !in.locked[key] {
		return nil, false
	}
	on := src.storm.incident != "" && at.Before(src.storm.quietAt)
	if !on && src.recent(at) < src.limit() {
		return nil, false
	}
	// The storm's incident is found as any group's: one that a person has put
	// away is left alone.
	i, again, _ = in.find(s, key, grouping.Decision{}, at)
	switch {
	case i == nil:
		i = &storedIncident{fresh: true, Incident: ops.Incident{
			ID: ops.NewID(), Title: fmt.Sprintf("Alert storm from %s: more than %d new incidents a minute", src.Name, src.limit()),
			Description: fmt.Sprintf("While the storm lasts, each new group of alerts from %s becomes a part of this incident. It is over when there was none for %s.",
				src.Name, src.quiet()),
			Severity: s.Severity, Status: ops.IncidentTriggered, SourceID: s.SourceID, GroupKey: "storm", OpenedAt: at, Storm: true,
		}}
		in.add(i, fmt.Sprintf("a storm: %s opened more than %d incidents within a minute, so new groups are collected here until there is none for %s",
			src.Name, src.limit(), src.quiet()))
	case !on:
		in.say(i, "the storm goes on: %s opened more than %d incidents within a minute again", src.Name, src.limit())
	}
	src.storm.incident, src.storm.lastAt, src.storm.quietAt, src.collected = i.ID, at, at.Add(src.quiet()), true
	s.Why = fmt.Sprintf("Storm: %s opened more than %d incidents within a minute, so new groups are collected in this one. By itself: ", src.Name, src.limit())
	in.note(key, i, at)
	in.note(d.Key, i, at)
	return i, again
}
