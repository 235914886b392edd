package ingest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
)

const (
	maxDay  = 24 * 60 * 60
	maxWeek = 7 * maxDay
	// A sender is asked for all of its alerts: not more often than this.
	minReconcile = 15
)

// CheckOptions refuses options that make no sense for the kind. Words of
// severities must be as they are looked up: in lower case.
func (s Source) CheckOptions(o ops.SourceOptions) error {
	if len(o.Severities) > maxWords {
		return fmt.Errorf("severities: at most %d words", maxWords)
	}
	for _, word := range slices.Sorted(maps.Keys(o.Severities)) {
		if o.Severities[word].Rank() == 0 {
			return fmt.Errorf("severities: %q: it is critical, high, warning or info", word)
		}
		if word != strings.ToLower(line(word, maxShort)) || !utf8.ValidString(word) || strings.Contains(word, "\x00") {
			return fmt.Errorf("severities: %q: a word is on one line, in lower case and without blanks around it", word)
		}
	}
	for _, f := range []struct {
		name       string
		value      int
		least, max int
	}{
		{"flap_hold_seconds", o.FlapHoldSeconds, 0, maxDay / 24},
		{"reopen_window_seconds", o.ReopenWindowSeconds, 0, maxWeek},
		{"resolve_timeout_seconds", o.ResolveTimeoutSeconds, 60, 4 * maxWeek},
		{"silent_after_seconds", o.SilentAfterSeconds, 60, 4 * maxWeek},
		{"storm_incidents_per_minute", o.StormIncidentsPerMinute, -1, 100_000},
		{"storm_quiet_seconds", o.StormQuietSeconds, 10, maxDay},
		{"reconcile.every_seconds", o.Reconcile.EverySeconds, minReconcile, maxDay},
	} {
		if f.value != 0 && (f.value < f.least || f.value > f.max) {
			return fmt.Errorf("%s: it is 0 for the default, or from %d to %d", f.name, f.least, f.max)
		}
	}
	return s.checkReconcile(o.Reconcile)
}

func (s Source) checkReconcile(r ops.Reconcile) error {
	if r == (ops.Reconcile{}) {
		return nil
	}
	switch s.Kind {
	case "alertmanager":
		if _, err := AlertmanagerURLs(r.URL); err != nil {
			return fmt.Errorf("reconcile.url: %w", err)
		}
		if r.Target != line(r.Target, maxShort) {
			return fmt.Errorf("reconcile.target: it is the name of the receiver that sends to this source, or empty")
		}
	case "zabbix":
		if r.URL != "" {
			return fmt.Errorf("reconcile.url: a source of kind %s is asked by its target", s.Kind)
		}
		if r.Target == "" || len(r.Target) > maxShort || r.Target != line(r.Target, maxShort) {
			return fmt.Errorf("reconcile.target: it is the name of a target of kind zabbix")
		}
	default:
		return fmt.Errorf("reconcile: a source of kind %s cannot be asked", s.Kind)
	}
	return nil
}
