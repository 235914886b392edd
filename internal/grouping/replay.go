package grouping

import (
	"cmp"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// DefaultReopen is how long after its end an incident is opened again by its
// group, unless its source says otherwise.
const DefaultReopen = 10 * time.Minute

const (
	previewGroups = 10 // the largest that are shown
	previewTitles = 3  // of each
)

// Replay goes through alerts of the past as if a configuration had been there.
// It keeps a few words for each alert, so the caller bounds their number.
// Storms and what people did by hand are not replayed.
type Replay struct {
	config    *Config
	rule      string // the one that is looked at
	groups    map[string]int
	list      []*replayed
	past      []pastAlert // newest first
	incidents map[string]bool
	matched   int
}

// replayed is a group.
type replayed struct {
	key    string
	rule   string
	window time.Duration
	fixed  bool
	titles []string
	alerts int

	incidents           int
	opened, last, until time.Time // of its newest incident
}

type pastAlert struct {
	group    int
	from, to time.Time
	reopen   time.Duration
}

// NewReplay begins one. rule is the id of the rule that is looked at.
func NewReplay(c *Config, rule string) *Replay {
	return &Replay{config: c, rule: rule, groups: map[string]int{}, incidents: map[string]bool{}}
}

// Add takes an alert, newest first. It fired from from until to, or still does
// if to is zero; incident is the one that it is in, and reopen is the window of
// its source.
func (r *Replay) Add(s Subject, from, to time.Time, reopen time.Duration, incident string) {
	d := r.config.Decide(s)
	i, known := r.groups[d.Key]
	if !known {
		i = len(r.list)
		r.groups[d.Key] = i
		r.list = append(r.list, &replayed{key: d.Group, rule: d.RuleID, window: d.Window, fixed: d.Fixed})
	}
	g := r.list[i]
	g.alerts++
	if len(g.titles) < previewTitles && !slices.Contains(g.titles, s.Alert.Title) {
		g.titles = append(g.titles, s.Alert.Title)
	}
	if d.RuleID == r.rule {
		r.matched++
	}
	r.incidents[incident] = true
	r.past = append(r.past, pastAlert{group: i, from: from, to: to, reopen: reopen})
}

// Result says what would have become of the alerts.
func (r *Replay) Result() ops.GroupingPreview {
	p := ops.GroupingPreview{Alerts: len(r.past), Matched: r.matched, Incidents: len(r.incidents), Largest: []ops.PreviewGroup{}}
	slices.SortStableFunc(r.past, func(a, b pastAlert) int { return a.from.Compare(b.from) })
	for _, a := range r.past {
		if p.Since.IsZero() {
			p.Since = a.from
		}
		r.list[a.group].take(a)
	}
	var ours []*replayed
	for _, g := range r.list {
		p.Would += g.incidents
		if g.rule == r.rule {
			ours = append(ours, g)
		}
	}
	slices.SortStableFunc(ours, func(a, b *replayed) int {
		return cmp.Or(b.alerts-a.alerts, cmp.Compare(a.key, b.key))
	})
	for _, g := range ours[:min(len(ours), previewGroups)] {
		p.Largest = append(p.Largest, ops.PreviewGroup{Key: g.key, Alerts: g.alerts, Incidents: g.incidents, Titles: g.titles})
	}
	return p
}

// take puts an alert into the group's newest incident, or into another one.
func (g *replayed) take(a pastAlert) {
	joins := g.incidents > 0 && !a.from.After(g.until.Add(a.reopen)) && InWindow(g.window, g.fixed, g.opened, g.last, a.from)
	if !joins {
		g.incidents++
		g.opened, g.until = a.from, time.Time{}
	}
	g.last = a.from
	to := a.to
	if to.IsZero() {
		to = a.from.AddDate(100, 0, 0) // it still fires
	}
	if to.After(g.until) {
		g.until = to
	}
}

// InWindow says whether a group still takes an alert into its incident: opened
// is when its first alert in it came, last its newest one.
func InWindow(window time.Duration, fixed bool, opened, last, at time.Time) bool {
	if window == 0 {
		return true
	}
	if fixed {
		return at.Before(opened.Add(window))
	}
	return at.Before(last.Add(window))
}
