package api

import (
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

// listing is what a sender has, all of it.
type listing struct {
	at     time.Time // when it was asked
	alerts []ingest.Listed
	// key says what makes two the same: the identity where a sender has one
	// occurrence of it at a time, else the episode.
	key func(ops.Alert) string
	// judged says whether the sender would know of the alert if it went on: an
	// instance that has just started may not know of any.
	judged func(ops.Alert) bool
}

// again separates an episode that was ended here and goes on there from the
// moment at which that was found: what has ended stays ended, so it goes on as
// another one.
const again = "~"

// episodeThere is the sender's episode of an alert.
func episodeThere(a ops.Alert) string {
	there, _, _ := strings.Cut(a.Episode, again)
	return there
}

// difference is what a sender has and we do not, and the other way around.
type difference struct {
	missed []ingest.Listed
	acked  []ops.Alert // known, and taken by somebody there
	ended  []ops.Alert // as they are to be stored
	// absent has the alerts that fire here and not there, or are acknowledged
	// there and not here, with when that was first seen. waiting counts them and
	// those that are too young to be missed: what is on its way gets the time of
	// patience.
	absent  map[string]time.Time
	waiting int
}

// compare finds what differs between a listing and the open alerts of its
// source. absent is the one of the comparison before.
//
// An alert that fires here and is not listed has ended if it was not listed
// before either, patience ago or longer, and nobody has told of it meanwhile;
// or if another occurrence has begun since we last heard of it. Clocks differ,
// and so do the starts that the instances of a cluster have: patience covers both.
func compare(l listing, open []ops.Alert, absent map[string]time.Time, patience time.Duration) difference {
	d := difference{absent: map[string]time.Time{}}
	there := map[string]*ingest.Listed{}
	for i := range l.alerts {
		there[l.key(l.alerts[i].Alert)] = &l.alerts[i]
	}
	here := map[string]bool{}
	newest := map[string]time.Time{}
	for _, a := range open {
		newest[l.key(a)] = later(newest[l.key(a)], a.StartsAt)
	}
	for _, a := range open {
		k := l.key(a)
		listed := there[k]
		if listed != nil {
			newest[k] = later(newest[k], listed.StartsAt)
		}
		switch {
		case listed != nil && newest[k].After(a.StartsAt.Add(time.Millisecond)) && newest[k].After(a.LastSeen.Add(patience)):
			d.ended = append(d.ended, endedAt(a, newest[k]))
		case listed != nil:
			here[k] = true
			if listed.Status == ops.AlertAcknowledged && a.Status == ops.AlertFiring && d.lasts(a, "acknowledged "+a.ID, absent, l.at, patience) {
				a.Status, a.At = ops.AlertAcknowledged, later(a.At, l.at)
				d.acked = append(d.acked, a)
			}
		case !l.judged(a):
		case d.lasts(a, a.ID, absent, l.at, patience):
			d.ended = append(d.ended, endedAt(a, absent[a.ID]))
		}
	}
	for _, listed := range l.alerts {
		switch {
		case listed.Quiet || here[l.key(listed.Alert)]:
		case l.at.Sub(listed.StartsAt) < patience:
			d.waiting++
		default:
			d.missed = append(d.missed, listed)
		}
	}
	return d
}

// lasts says whether a difference of an open alert was there patience ago, and
// no delivery has told of the alert meanwhile. If not, it is remembered.
func (d *difference) lasts(a ops.Alert, name string, before map[string]time.Time, at time.Time, patience time.Duration) bool {
	since, known := before[name]
	if !known || a.LastSeen.After(since) {
		since = at
	}
	if at.Sub(since) >= patience {
		return true
	}
	d.absent[name] = since
	d.waiting++
	return false
}

// endedAt gives the end of an alert. Its sender's last word stays what it was:
// one that is mentioned again has not ended.
func endedAt(a ops.Alert, at time.Time) ops.Alert {
	a.Status, a.EndsAt = ops.AlertResolved, later(a.StartsAt, at)
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// renewed gives the missed alerts as they are to be stored, knowing what was
// stored of their episodes before: one that has ended here goes on as another
// episode, unless it ended so recently that its end may still come from there.
func (d *difference) renewed(known []ops.Alert, at time.Time, patience time.Duration) []ops.Alert {
	last := map[string]ops.Alert{}
	for _, a := range known {
		k := a.Identity + "\x00" + episodeThere(a)
		if before, ok := last[k]; !ok || a.LastSeen.After(before.LastSeen) {
			last[k] = a
		}
	}
	var out []ops.Alert
	for _, m := range d.missed {
		a := m.Alert
		if before, ok := last[a.Identity+"\x00"+a.Episode]; ok {
			if before.Status != ops.AlertResolved { // a delivery was faster
				continue
			}
			if at.Sub(before.LastSeen) < patience {
				d.waiting++
				continue
			}
			a.Episode += again + at.UTC().Format(time.RFC3339)
			a.At = later(a.At, at)
		}
		out = append(out, a)
	}
	return out
}
