package api

import (
	"context"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// catchUp is how long senders have, after this process has started, to come
// back before their silence counts: they may have been told to try again.
const catchUp = 10 * time.Minute

// watchSilence raises an alert of each source that has sent nothing for longer
// than its options allow, and ends it when the source is heard of again, or
// nobody minds any more. The alert's episode is what was heard last, or when the
// alert before it ended if that was later, so that one silence is one alert,
// whoever notices it and how often, and is another one when it is minded again.
func (s *API) watchSilence(ctx context.Context) error {
	all, err := s.db.Silences(ctx)
	if err != nil {
		return err
	}
	for _, silence := range all {
		if alert, reason, ok := silenceAlert(silence, time.Now().UTC(), s.began); ok {
			if _, err := s.raise(ops.Source{ID: silence.SourceID}, reason, []ops.Alert{alert}); err != nil {
				return err
			}
		}
	}
	return nil
}

// silenceAlert gives what is to be said of a source at now, if anything is.
func silenceAlert(s postgres.Silence, now, began time.Time) (a ops.Alert, reason string, ok bool) {
	silent := s.After > 0 && now.Sub(s.Heard) > s.After
	switch {
	case s.Alert.ID == "" && silent && now.Sub(began) >= min(catchUp, s.After):
		title := fmt.Sprintf("Source %s went silent", s.Name)
		return ops.Alert{
			Identity: ops.SilentIdentity, Episode: later(s.Heard, s.Ended).UTC().Format(time.RFC3339Nano), GroupKey: ops.SilentIdentity,
			Kind: ops.AlertInternal, Status: ops.AlertFiring, At: now, StartsAt: now, Severity: ops.SeverityHigh, Title: title,
			Summary: fmt.Sprintf("Nothing was delivered since %s, for longer than %s. Alerts of this source may be lost: look at its sender and the way to here.",
				s.Heard.UTC().Format(time.RFC3339), s.After),
		}, fmt.Sprintf("the source sent nothing for longer than %s", s.After), true
	case s.Alert.ID != "" && !silent:
		a = s.Alert
		a.Identity, a.Kind, a.Status, a.At, a.EndsAt = ops.SilentIdentity, ops.AlertInternal, ops.AlertResolved, now, now
		begin, _ := time.Parse(time.RFC3339Nano, a.Episode)
		switch {
		case s.After == 0:
			return a, "the source is no longer watched for silence", true
		case !s.Heard.After(begin):
			return a, fmt.Sprintf("the source may be silent for %s now", s.After), true
		}
		return a, fmt.Sprintf("the source was heard of again at %s", s.Heard.UTC().Format(time.RFC3339)), true
	}
	return ops.Alert{}, "", false
}
