package grouping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the images have no time zones of their own

	"github.com/akmatori/akmatori/internal/ops"
)

const maxWeekly = 7 * 24 * 60 // minutes

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // by time.Weekday

type window struct {
	ops.MaintenanceWindow
	match        Matchers
	zone         *time.Location
	hour, minute int
}

// CheckWindow refuses a maintenance window that is not understood. The error is
// for the person who wrote it.
func CheckWindow(w ops.MaintenanceWindow) error {
	_, err := compileWindow(w)
	if err != nil {
		return ops.Errorf(ops.CodeInvalid, "%s", err)
	}
	return nil
}

func compileWindow(w ops.MaintenanceWindow) (window, error) {
	out := window{MaintenanceWindow: w, zone: time.UTC}
	var err error
	if strings.TrimSpace(w.Name) == "" || len(w.Name) > maxRuleName {
		return out, fmt.Errorf("the name has 1 to %d characters", maxRuleName)
	}
	if out.match, err = ParseMatchers(w.Match); err != nil {
		return out, fmt.Errorf("match: %w", err)
	}
	if !w.StartsAt.IsZero() && !w.EndsAt.IsZero() && !w.EndsAt.After(w.StartsAt) {
		return out, errors.New("ends_at is not after starts_at")
	}
	if len(w.Days) == 0 {
		if w.StartTime != "" || w.Minutes != 0 || w.TimeZone != "" {
			return out, errors.New("start_time, minutes and time_zone belong to a weekly window: give its days as well")
		}
		if w.StartsAt.IsZero() || w.EndsAt.IsZero() {
			return out, errors.New("a window that is once needs starts_at and ends_at; a weekly one needs days, start_time and minutes")
		}
		return out, nil
	}
	for i, d := range w.Days {
		if !slices.Contains(weekdays, d) {
			return out, fmt.Errorf("%q is not a day: days are mon tue wed thu fri sat sun", d)
		}
		if slices.Contains(w.Days[:i], d) {
			return out, fmt.Errorf("%s is there twice", d)
		}
	}
	at, err := time.Parse("15:04", w.StartTime)
	if err != nil || len(w.StartTime) != len("15:04") {
		return out, errors.New("start_time of a weekly window is of the form HH:MM, from 00:00 to 23:59")
	}
	out.hour, out.minute = at.Hour(), at.Minute()
	if w.Minutes < 1 || w.Minutes > maxWeekly {
		return out, fmt.Errorf("minutes of a weekly window is a number from 1 to %d (a week)", maxWeekly)
	}
	// "Local" would be whatever the machine thinks.
	if out.zone, err = time.LoadLocation(w.TimeZone); err != nil || w.TimeZone == "Local" {
		return out, fmt.Errorf("there is no time zone %q: it is a name such as Europe/Berlin, or UTC", w.TimeZone)
	}
	return out, nil
}

// active says until when the window is on, if it is at that time.
func (w window) active(at time.Time) (until time.Time, ok bool) {
	if !w.StartsAt.IsZero() && at.Before(w.StartsAt) || !w.EndsAt.IsZero() && !at.Before(w.EndsAt) {
		return time.Time{}, false
	}
	if len(w.Days) == 0 {
		return w.EndsAt, true
	}
	local := at.In(w.zone)
	length := time.Duration(w.Minutes) * time.Minute
	// One that began up to a week ago may still be on; of several the last one to end counts.
	for back := range 9 {
		start := time.Date(local.Year(), local.Month(), local.Day()-back, w.hour, w.minute, 0, 0, w.zone)
		day := time.Date(local.Year(), local.Month(), local.Day()-back, 12, 0, 0, 0, w.zone).Weekday()
		end := start.Add(length)
		if slices.Contains(w.Days, weekdays[day]) && !at.Before(start) && at.Before(end) {
			if !w.EndsAt.IsZero() && end.After(w.EndsAt) {
				end = w.EndsAt
			}
			return end.UTC(), true
		}
	}
	return time.Time{}, false
}

// Maintenance is planned work that covers an alert.
type Maintenance struct {
	ID, Name string
	Until    time.Time
}

// Maintenance gives the window that covers an alert at that time, if there is
// one; of several the one that ends last.
func (c *Config) Maintenance(s Subject, at time.Time) (m Maintenance, ok bool) {
	for _, w := range c.windows {
		until, on := w.active(at)
		if !on || ok && !until.After(m.Until) || !w.match.Match(s) {
			continue
		}
		m, ok = Maintenance{w.ID, w.Name, until}, true
	}
	return m, ok
}

// Until says until when a window is on, if it is at that time.
func (c *Config) Until(id string, at time.Time) (until time.Time, ok bool) {
	i := slices.IndexFunc(c.windows, func(w window) bool { return w.ID == id })
	if i < 0 {
		return until, false
	}
	return c.windows[i].active(at)
}
