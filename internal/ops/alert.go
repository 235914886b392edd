package ops

import (
	"encoding/json"
	"time"
)

// AlertStatus is the state of one alert at its sender.
type AlertStatus string

// The states of an alert.
const (
	AlertFiring       AlertStatus = "firing"
	AlertAcknowledged AlertStatus = "acknowledged"
	AlertResolved     AlertStatus = "resolved"
)

// Severity is how bad it is, worst first: critical, high, warning, info.
type Severity string

// The severities.
const (
	SeverityCritical Severity = "critical"
	SeverityHigh     Severity = "high"
	SeverityWarning  Severity = "warning"
	SeverityInfo     Severity = "info"
)

// Rank orders severities: 4 for critical down to 1 for info, 0 for anything else.
func (s Severity) Rank() int {
	switch s {
	case SeverityCritical:
		return 4
	case SeverityHigh:
		return 3
	case SeverityWarning:
		return 2
	case SeverityInfo:
		return 1
	}
	return 0
}

// Link is a place that an alert points to. Kind is runbook, dashboard,
// generator or source.
type Link struct {
	Kind string `json:"kind"`
	URL  string `json:"url"`
}

// Kinds of alert that are not about the thing watched but about the watching.
const (
	AlertNoData   = "no_data"  // the rule had nothing to judge
	AlertError    = "error"    // the rule could not be evaluated
	AlertInternal = "internal" // the monitoring system about itself
	AlertTest     = "test"     // somebody tries the way to us
)

// Alert is one alert, normalized from whatever its sender calls it.
type Alert struct {
	// ID, IncidentID and the times of storage are empty until it is stored.
	ID         string `json:"id,omitempty"`
	SourceID   string `json:"source_id,omitempty"`
	IncidentID string `json:"incident_id,omitempty"`

	// Identity says what is broken, Episode which occurrence of it this is.
	// Together with the source they are the key of the alert. Senders that do
	// not tell occurrences apart leave Episode empty; storing the alert fills
	// it: the one that goes on, or a new one.
	Identity string `json:"identity"`
	Episode  string `json:"episode"`
	// GroupKey says which alerts belong into one incident.
	GroupKey string `json:"group_key"`

	// Kind is empty for an alert about the thing watched, else one of the above.
	Kind string `json:"kind,omitempty"`

	Status AlertStatus `json:"status"`
	// At is the sender's time of this state: when it started firing, was
	// acknowledged or ended. States are ordered by it and not by arrival.
	At       time.Time `json:"at"`
	StartsAt time.Time `json:"starts_at"`
	// EndsAt is zero while it fires.
	EndsAt time.Time `json:"ends_at,omitzero"`

	Severity    Severity          `json:"severity"`
	Title       string            `json:"title"`
	Summary     string            `json:"summary,omitempty"`
	Description string            `json:"description,omitempty"`
	Service     string            `json:"service,omitempty"`
	Host        string            `json:"host,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Links       []Link            `json:"links,omitempty"`

	// Count is how often the sender reported this episode.
	Count     int64     `json:"count,omitempty"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
}

// Source is a configured sender of alerts.
type Source struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Enabled   bool      `json:"enabled"`
	CreatedAt time.Time `json:"created_at"`
	// Auth is how a request proves itself: AuthSecret or AuthSignature.
	Auth string `json:"auth"`
	// Settings are those of the kind, as JSON; empty for the defaults.
	Settings json.RawMessage `json:"settings,omitempty"`
	Secret   SourceSecret    `json:"-"`
	// Old is the secret before this one. It counts until OldUntil.
	Old      SourceSecret `json:"-"`
	OldUntil time.Time    `json:"-"`
	Health   SourceHealth `json:"health"`
}

// How the requests of a source prove themselves.
const (
	AuthSecret    = "secret"    // they carry the secret
	AuthSignature = "signature" // they are signed with it
)

// SourceSecret is a webhook secret as it is stored.
type SourceSecret struct {
	Hash []byte // SHA-256 ([HashToken]); what AuthSecret needs
	// Sealed is the secret itself, which AuthSignature cannot do without, for
	// the zone api. It is bound to the source ([Source.SecretCredential]).
	Sealed []byte
}

// SecretCredential is what a sealed secret of s is bound to: a row that was
// given another source's secret does not open.
func (s Source) SecretCredential(sealed []byte) Credential {
	return Credential{ID: s.ID, Kind: WebhookSecret, Targets: []string{s.Kind}, Version: 1, Sealed: sealed}
}

// SourceHealth is what became of a source's deliveries.
type SourceHealth struct {
	Deliveries     int64     `json:"deliveries"`
	Unparsable     int64     `json:"unparsable"`
	Rejected       int64     `json:"rejected"` // wrong or missing secret
	LastDeliveryAt time.Time `json:"last_delivery_at,omitzero"`
	LastRejectedAt time.Time `json:"last_rejected_at,omitzero"`
	// LastError describes the newest unparsable body.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Warnings are what somebody should see to although nothing was refused.
	Warnings []SourceWarning `json:"warnings,omitempty"`
}

// SourceWarning is something about a source's deliveries that loses alerts or
// soon will. Code says which, Text what to do.
type SourceWarning struct {
	Code  string    `json:"code"`
	Text  string    `json:"text"`
	Count int64     `json:"count,omitempty"` // how often
	At    time.Time `json:"at,omitzero"`     // the last time
}

// Delivery is one authenticated webhook request, kept as it came.
type Delivery struct {
	ID          string
	SourceID    string
	ReceivedAt  time.Time
	ContentType string
	Body        []byte
	// Alerts is what was read from it; Problem says why there is nothing.
	Alerts  []Alert
	Problem string
	// Truncated counts alerts that the sender says it left out.
	Truncated int
	Warnings  []SourceWarning
}
