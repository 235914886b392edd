package postgres

import (
	"cmp"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// SourceCount is what a source has sent since its health was last written. It is
// kept apart from the transactions that store deliveries: they would wait for
// each other at the source's row, each until the one before is on the disk.
type SourceCount struct {
	Source                          string
	deliveries, duplicates, refused int // refused: after the last delivery that was stored
	last                            time.Time
	minutes                         map[time.Time]minuteCount
	errors                          map[string]ops.SourceError   // by kind
	warnings                        map[string]ops.SourceWarning // by code
}

type minuteCount struct{ deliveries, alerts, errors int }

// maxMinutes bounds a count that cannot be written for long: later minutes are
// added to the last one.
const maxMinutes = 60

// NewSourceCount counts for one source.
func NewSourceCount(source string) *SourceCount {
	return &SourceCount{Source: source, minutes: map[time.Time]minuteCount{}, errors: map[string]ops.SourceError{}, warnings: map[string]ops.SourceWarning{}}
}

// Stored counts a delivery as it was stored. A replayed one was counted when it
// came, and one that we made ourselves says nothing of its source.
func (c *SourceCount) Stored(d ops.Delivery) {
	if d.Replay || d.Reason != "" || d.ContentType == ops.OwnContentType {
		return
	}
	c.deliveries, c.refused, c.last = c.deliveries+1, 0, later(c.last, d.ReceivedAt)
	if d.DuplicateOf != "" { // it has failed and warned before
		c.duplicates++
		c.minute(d.ReceivedAt, minuteCount{deliveries: 1})
		return
	}
	c.minute(d.ReceivedAt, minuteCount{deliveries: 1, alerts: len(d.Alerts)})
	if d.Problem != "" {
		c.failed(cmp.Or(d.ProblemKind, ops.ErrorUnparsable), d.Problem, d.ReceivedAt)
	}
	if d.Truncated > 0 {
		c.failed(ops.ErrorTruncated, "", d.ReceivedAt)
	}
	for _, w := range d.Warnings {
		w.Count, w.At = c.warnings[w.Code].Count+1, d.ReceivedAt
		c.warnings[w.Code] = w
	}
}

// Failed counts what went wrong outside of a stored delivery: a refused request,
// or what could not be stored. text is not the sender's.
func (c *SourceCount) Failed(kind, text string, at time.Time) {
	if kind == ops.ErrorUnauthenticated || kind == ops.ErrorSignature {
		c.refused++
	}
	c.failed(kind, text, at)
}

func (c *SourceCount) failed(kind, text string, at time.Time) {
	c.errors[kind] = ops.SourceError{Kind: kind, Count: c.errors[kind].Count + 1, At: at, Text: text}
	c.minute(at, minuteCount{errors: 1})
}

func (c *SourceCount) minute(at time.Time, m minuteCount) {
	at = at.UTC().Truncate(time.Minute)
	if _, ok := c.minutes[at]; !ok && len(c.minutes) >= maxMinutes {
		for known := range c.minutes {
			at = later(at, known)
		}
	}
	have := c.minutes[at]
	c.minutes[at] = minuteCount{have.deliveries + m.deliveries, have.alerts + m.alerts, have.errors + m.errors}
}

// Add adds what was counted after c.
func (c *SourceCount) Add(news *SourceCount) {
	if news.deliveries > 0 {
		c.refused = 0
	}
	c.deliveries, c.duplicates, c.refused = c.deliveries+news.deliveries, c.duplicates+news.duplicates, c.refused+news.refused
	c.last = later(c.last, news.last)
	for at, m := range news.minutes {
		c.minute(at, m)
	}
	for kind, e := range news.errors {
		e.Count += c.errors[kind].Count
		c.errors[kind] = e
	}
	for code, w := range news.warnings {
		w.Count += c.warnings[code].Count
		c.warnings[code] = w
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
