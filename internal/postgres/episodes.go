package postgres

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
)

// apply changes the loaded part by one alert.
func (in *intake) apply(d *ops.Delivery, a ops.Alert, decision grouping.Decision) {
	a.SourceID = d.SourceID
	in.actor, in.because, in.several = "source:"+d.SourceID, d.Reason, d.Several
	named := a.Episode != "" && d.Reason == ""
	if a.Episode == "" {
		a.Episode = in.episode(a)
	}
	if s := in.alerts[alertKey{a.SourceID, a.Identity, a.Episode}]; s != nil {
		in.again(d, s, a, decision, named)
		return
	}
	in.appear(d, a, decision)
}

// episode says which occurrence an alert is of whose sender does not: the
// newest one as long as it goes on, or if the alert is not from after its end.
func (in *intake) episode(a ops.Alert) string {
	n := in.newest[identityKey{a.SourceID, a.Identity}]
	if n == nil || n.Status == ops.AlertResolved && a.Status != ops.AlertResolved && a.At.After(n.At) {
		return a.At.Format(time.RFC3339Nano)
	}
	return n.Episode
}

// appear takes an episode that was not known.
func (in *intake) appear(d *ops.Delivery, a ops.Alert, decision grouping.Decision) {
	identity := identityKey{a.SourceID, a.Identity}
	newest := in.newest[identity]
	a.ID, a.Count, a.FirstSeen, a.LastSeen = ops.NewID(), 1, d.ReceivedAt, d.ReceivedAt
	s := &storedAlert{Alert: a, delivery: d.ID, fresh: true}
	in.alertOrder = append(in.alertOrder, s)
	switch {
	case a.Status == ops.AlertResolved:
		s.Why = "Its end was the first that was heard of it, so there was nothing to open."
		in.remember(s)
		in.supersede(s, "its sender says that it has ended, under another start")
		return
	case !in.several && newest != nil && newest.At.After(a.At) && newest.StartsAt.After(a.StartsAt):
		// Of two Alertmanagers one may know an earlier start than the other. One that
		// has begun earlier and was still ending is none: clocks count whole seconds.
		s.Status, s.EndsAt = ops.AlertResolved, newest.StartsAt
		s.Why = "A later episode of the same was known already, so this one opens nothing."
		in.remember(s)
		in.alive(s)
		return
	}
	in.remember(s)
	in.join(s, decision)
	in.supersede(s, "a new episode of it fires, and its sender has never said that this one ended")
	if a.Status == ops.AlertAcknowledged {
		in.acknowledge(s)
	}
}

// supersede ends the other episodes of an identity that still fire and are not
// newer than s, where there is only one at a time.
func (in *intake) supersede(s *storedAlert, why string) {
	if in.several {
		return
	}
	for _, o := range in.firing[identityKey{s.SourceID, s.Identity}] {
		if o == s || o.Status == ops.AlertResolved || o.At.After(s.At) {
			continue
		}
		in.touchAlert(o)
		o.Status, o.At, o.EndsAt = ops.AlertResolved, s.At, s.At
		in.leave(o, s.LastSeen, why)
	}
}

// alive counts a sign of an older episode for the ones that fire.
func (in *intake) alive(s *storedAlert) {
	for _, o := range in.firing[identityKey{s.SourceID, s.Identity}] {
		if o != s && o.Status != ops.AlertResolved {
			in.touchAlert(o)
			o.LastSeen = later(o.LastSeen, s.LastSeen)
		}
	}
}

// again takes a notification of an episode that is known; named says that its
// sender calls it by its own name.
func (in *intake) again(d *ops.Delivery, s *storedAlert, a ops.Alert, decision grouping.Decision, named bool) {
	in.touchAlert(s)
	s.Count++
	s.LastSeen = later(s.LastSeen, d.ReceivedAt) // a dead letter that is read again is an old one
	switch {
	case s.endedByUs() && d.Reason == "" && a.Status == ops.AlertResolved: // now its sender has said so, too
		s.At, s.EndsAt, s.delivery = later(s.At, a.EndsAt), a.EndsAt, d.ID
	case s.endedByUs() && d.Reason == "" && d.ReceivedAt.After(s.EndsAt) && (in.several || !in.fires(s)):
		in.goOn(d, s, a, decision)
	case s.Status == ops.AlertResolved && a.Status == ops.AlertResolved:
		// One that was in no incident stood for the one that fires; the end of one
		// that was superseded says nothing of what has followed it.
		if a.At.After(s.At) && s.IncidentID == "" {
			s.At, s.EndsAt, s.delivery = a.At, a.EndsAt, d.ID
			in.supersede(s, "its sender says that it has ended, under another start")
		}
	case s.Status == ops.AlertResolved: // late: an episode that has ended stays ended
		in.alive(s)
	case a.At.Before(s.At) && !(named && a.Status == ops.AlertResolved):
		// Late. The end of an episode that its sender names is its end all the same:
		// Zabbix dates a recovery before the acknowledgement that came meanwhile.
	case a.Status == ops.AlertResolved:
		s.Status, s.At, s.EndsAt, s.delivery = a.Status, later(s.At, a.At), a.EndsAt, d.ID
		in.leave(s, s.LastSeen, "")
	case a.Status == s.Status:
		s.At = a.At
		in.update(d, s, a, decision)
	default:
		s.Status, s.At, s.EndsAt, s.delivery = a.Status, a.At, a.EndsAt, d.ID
		in.update(d, s, a, decision)
		if a.Status == ops.AlertAcknowledged {
			in.acknowledge(s)
		} else if i := in.incidents[s.IncidentID]; i != nil { // no longer acknowledged; its incident is left to people
			in.event(i, ops.EventAlertFiring, change(s, "it is no longer acknowledged at its source"))
		}
	}
}

// endedByUs says that an alert has ended because its sender mentioned it no more
// or no longer had it. Such an end leaves At as it was, at the sender's last word;
// a sender's own end is its last word.
func (s *storedAlert) endedByUs() bool {
	return s.Status == ops.AlertResolved && s.IncidentID != "" && s.EndsAt.After(s.At)
}

// fires says whether another episode of the identity of s does.
func (in *intake) fires(s *storedAlert) bool {
	return slices.ContainsFunc(in.firing[identityKey{s.SourceID, s.Identity}], func(o *storedAlert) bool {
		return o != s && o.Status != ops.AlertResolved
	})
}

// goOn takes back an end of ours: the sender mentions the episode again. It was
// never over, so its incident goes on as well, unless a person has ended that.
func (in *intake) goOn(d *ops.Delivery, s *storedAlert, a ops.Alert, decision grouping.Decision) {
	s.Status, s.At, s.EndsAt, s.delivery = a.Status, later(s.At, a.At), time.Time{}, d.ID
	in.firing[identityKey{s.SourceID, s.Identity}] = append(in.firing[identityKey{s.SourceID, s.Identity}], s)
	if i := in.incidents[s.IncidentID]; i != nil {
		const why = "its sender mentions it again, so it has not ended"
		again := i.Status == ops.IncidentResolved && i.ResolvedBy == ops.BySystem
		if again {
			in.reopen(i, why)
		}
		in.begin(i, s, decision, again, why)
	}
	in.update(d, s, a, decision)
	if a.Status == ops.AlertAcknowledged {
		in.acknowledge(s)
	}
}

// update makes a firing alert what its sender calls it now. What the sender left
// out this time stays.
func (in *intake) update(d *ops.Delivery, s *storedAlert, a ops.Alert, decision grouping.Decision) {
	before := s.Alert
	if a.Severity.Rank() > 0 {
		s.Severity, s.SenderSeverity = a.Severity, a.SenderSeverity
	}
	for _, f := range []struct{ to, from *string }{{&s.Title, &a.Title}, {&s.Summary, &a.Summary}, {&s.Description, &a.Description},
		{&s.Service, &a.Service}, {&s.Host, &a.Host}} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	if len(a.Labels) > 0 {
		s.Labels = a.Labels
	}
	if len(a.Annotations) > 0 {
		s.Annotations = a.Annotations
	}
	if len(a.Links) > 0 {
		s.Links = a.Links
	}
	if s.Severity == before.Severity && s.SenderSeverity == before.SenderSeverity && s.Title == before.Title && s.Summary == before.Summary &&
		s.Description == before.Description && s.Service == before.Service && s.Host == before.Host && maps.Equal(s.Labels, before.Labels) &&
		maps.Equal(s.Annotations, before.Annotations) && slices.Equal(s.Links, before.Links) {
		return
	}
	s.changed, s.delivery = true, d.ID
	i := in.incidents[s.IncidentID]
	if i == nil {
		return
	}
	if s.Severity != before.Severity {
		in.event(i, ops.EventAlertUpdated, change(s, fmt.Sprintf("its severity was %s and is %s", before.Severity, s.Severity)))
	}
	if s.Title != before.Title {
		in.event(i, ops.EventAlertUpdated, change(s, fmt.Sprintf("it was called %q", before.Title)))
	}
	in.escalate(i, s)
	if i.AlertCount == 1 && !i.Storm {
		in.rename(i, before, s)
	}
	if i.Status.Open() {
		in.investigate(i, decision, "")
	}
}

// rename lets an incident of one alert be called as that is now.
func (in *intake) rename(i *storedIncident, before ops.Alert, s *storedAlert) {
	if i.Title == before.Title && i.Title != s.Title && !slices.Contains(i.Edited, ops.EditedTitle) {
		in.touch(i)
		i.Title = s.Title
	}
	if i.Description == before.Description && i.Description != s.Description && !slices.Contains(i.Edited, ops.EditedDescription) {
		in.touch(i)
		i.Description = s.Description
	}
}

// escalate raises an incident to the severity of its worst alert, unless a
// person has set it.
func (in *intake) escalate(i *storedIncident, s *storedAlert) (worse bool) {
	if s.Severity.Rank() <= i.Severity.Rank() || slices.Contains(i.Edited, ops.EditedSeverity) {
		return false
	}
	i.Severity, i.escalated = s.Severity, true
	in.event(i, ops.EventIncidentChanged, ops.IncidentChange{Severity: i.Severity, Reason: fmt.Sprintf("its alert %q is %s", s.Title, s.Severity)})
	return true
}

// acknowledge notes that somebody has taken an alert at its sender.
func (in *intake) acknowledge(s *storedAlert) {
	i := in.incidents[s.IncidentID]
	if i == nil {
		return
	}
	in.event(i, ops.EventAlertAcked, change(s, ""))
	if i.Status == ops.IncidentTriggered {
		i.Status = ops.IncidentAcknowledged
		in.event(i, ops.EventIncidentChanged, ops.IncidentChange{Status: i.Status, Reason: "acknowledged at its source"})
	}
}

// leave takes a resolved alert out of its incident's firing ones.
func (in *intake) leave(s *storedAlert, at time.Time, why string) {
	i := in.incidents[s.IncidentID]
	if i == nil {
		return
	}
	i.FiringCount = max(0, i.FiringCount-1)
	in.event(i, ops.EventAlertResolved, change(s, why))
	if i.FiringCount > 0 || !i.Status.Open() {
		return
	}
	in.transition(i, at)
	var hold time.Duration
	if src := in.sources[s.SourceID]; src != nil {
		hold = time.Duration(src.Options.FlapHoldSeconds) * time.Second
	}
	if hold > 0 {
		i.ResolveAt = at.Add(hold)
		in.say(i, "none of its alerts fires any more; it is resolved in %s unless one fires again (flap hold)", hold)
		return
	}
	in.resolve(i, at, "its last firing alert was resolved")
}

func (in *intake) resolve(i *storedIncident, at time.Time, why string) {
	i.Status, i.ResolvedAt, i.ResolvedBy, i.ResolveAt, i.MaintenanceUntil = ops.IncidentResolved, at, ops.BySystem, time.Time{}, time.Time{}
	in.event(i, ops.EventIncidentResolved, ops.IncidentChange{Status: i.Status, Reason: why})
}

// transition counts that an incident began or ceased to fire.
func (in *intake) transition(i *storedIncident, at time.Time) {
	in.touch(i)
	i.Transitions++
	if i.flapSince.IsZero() || at.Sub(i.flapSince) >= time.Hour {
		i.flapSince, i.flapCount = at, 0
	}
	if i.flapCount++; i.flapCount == ops.FlapTransitions {
		in.say(i, "it is flapping: it began or ceased to fire %d times within an hour", i.flapCount)
	}
}

func change(s *storedAlert, why string) ops.AlertChange {
	return ops.AlertChange{AlertID: s.ID, Title: s.Title, Severity: s.Severity, Host: s.Host, Summary: s.Summary, Reason: why}
}
