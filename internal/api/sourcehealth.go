package api

import (
	"context"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/deploy/zabbix"
	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

// sourceReport is what a source sent, and what went wrong.
type sourceReport struct {
	ops.SourceHealth
	Minutes []ops.SourceRate `json:"minutes" doc:"The last 60, oldest first; the last one is still going on."`
	Hours   []ops.SourceRate `json:"hours" doc:"The last 24, oldest first; the last one is still going on."`
	// DeadLetters counts up to maxLetters.
	DeadLetters    int                `json:"dead_letters" doc:"Deliveries with a problem that were not replayed; counted up to 1000."`
	VerifyUntil    time.Time          `json:"verify_until,omitzero"`
	Banner         string             `json:"banner,omitempty"`
	Enabled        bool               `json:"enabled"`
	LastHour       int64              `json:"last_hour" doc:"Deliveries within the last 60 minutes."`
	AlertsLastHour int64              `json:"alerts_last_hour"`
	PerMinute      float64            `json:"per_minute" doc:"Deliveries a minute, on average of the last hour."`
	PerHour        float64            `json:"per_hour" doc:"Deliveries an hour, on average of the last day."`
	ErrorsLastHour int64              `json:"errors_last_hour"`
	ErrorsLastDay  int64              `json:"errors_last_day"`
	LastDay        int64              `json:"last_day" doc:"Deliveries within the last 24 hours."`
	Reconciliation ops.Reconciliation `json:"reconciliation" doc:"What asking the sender for its open alerts has come to."`
}

const maxLetters = 1000

func (s *API) sourceHealth(ctx context.Context, _ caller, in *sourcePath) (*answer[sourceReport], error) {
	s.intake.flush(ctx) // whoever has just sent something looks for it here
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	shown := s.shown(src)
	out := sourceReport{SourceHealth: shown.Health, VerifyUntil: shown.VerifyUntil, Banner: shown.Banner, Enabled: src.Enabled}
	if out.Minutes, out.Hours, err = s.db.SourceRates(ctx, src.ID, time.Now()); err != nil {
		return nil, err
	}
	for _, m := range out.Minutes {
		out.LastHour += m.Deliveries
		out.AlertsLastHour += m.Alerts
		out.ErrorsLastHour += m.Errors
	}
	for _, h := range out.Hours {
		out.LastDay += h.Deliveries
		out.ErrorsLastDay += h.Errors
	}
	out.PerMinute, out.PerHour = float64(out.LastHour)/float64(len(out.Minutes)), float64(out.LastDay)/float64(len(out.Hours))
	if out.Reconciliation, err = s.db.Reconciliation(ctx, src.ID); err != nil {
		return nil, err
	}
	out.DeadLetters, err = s.db.OpenLetters(ctx, src.ID, maxLetters)
	return &answer[sourceReport]{out}, err
}

// disablesAfter is how many refused deliveries in a row make PagerDuty disable a
// subscription, for how long (docs/webhooks/02-Behavior.md).
const (
	disablesAfter = 3
	disabledFor   = 24 * time.Hour
)

// warningsNow are the warnings that depend on the time. That of set-up mode comes first.
func warningsNow(src ops.Source, now time.Time) []ops.SourceWarning {
	var all []ops.SourceWarning
	if now.Before(src.VerifyUntil) {
		what := "secret"
		if src.Auth == ops.AuthSignature {
			what = "signature"
		}
		w := ops.SourceWarning{Code: "set_up_mode", Text: fmt.Sprintf("set-up mode until %s: a request whose %s is wrong or missing is answered 202 and kept as a dead letter, "+
			"at most %d an hour; nothing is read from it. End it when the first delivery has been read.", src.VerifyUntil.UTC().Format("2006-01-02 15:04 MST"), what, maxUnproven)}
		for _, e := range src.Health.Errors {
			if e.Kind == ops.ErrorUnproven {
				w.Count, w.At = e.Count, e.At
			}
		}
		all = append(all, w)
	}
	h := src.Health
	if src.Kind == "pagerduty" && h.RejectedSince > 0 && now.Sub(h.LastRejectedAt) < disabledFor {
		w := ops.SourceWarning{Code: "pagerduty_refused", Count: int64(h.RejectedSince), At: h.LastRejectedAt, Text: fmt.Sprintf(
			"%d deliveries in a row were refused for their signature. At %d PagerDuty disables the subscription for 24 hours and drops what waits: "+
				"give this source the subscription's secret now, or turn on set-up mode.", h.RejectedSince, disablesAfter)}
		if h.RejectedSince >= disablesAfter {
			w.Code, w.Text = "pagerduty_disabled", fmt.Sprintf("%d deliveries in a row were refused for their signature: PagerDuty has disabled the subscription, "+
				"by itself until %s at the latest, and has dropped what waited. Give this source the subscription's secret, then enable the subscription again in PagerDuty.",
				h.RejectedSince, h.LastRejectedAt.Add(disabledFor).UTC().Format("2006-01-02 15:04 MST"))
		}
		all = append(all, w)
	}
	return all
}

// setup is what a sender is configured with.
type setup struct {
	Items []ingest.Step `json:"items" nullable:"false"`
	// SecretPlaceholder stands in Items for the secret, which is known only when it is made.
	SecretPlaceholder string `json:"secret_placeholder" doc:"Stands for the secret wherever it belongs in the texts."`
}

const secretPlaceholder = "THE-SECRET-OF-THIS-SOURCE"

func (s *API) sourceSetup(ctx context.Context, _ caller, in *sourcePath) (*answer[setup], error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	kind, err := checkedKind(src.Kind, nil)
	if err != nil {
		return nil, err
	}
	return &answer[setup]{setup{SecretPlaceholder: secretPlaceholder, Items: kind.Steps(ingest.Endpoint{URL: s.webhookURL(src.ID), Auth: src.Auth,
		Secret: secretPlaceholder, MediaType: zabbix.MediaType})}}, nil
}
