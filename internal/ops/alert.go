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
	// Why says in plain words why it is in its incident, or in none.
	Why string `json:"why,omitempty"`

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

	Severity Severity `json:"severity"`
	// SenderSeverity is the word that Severity was read from, as the sender
	// wrote it; empty if it gave none. [SourceOptions.Severities] goes by it.
	SenderSeverity string `json:"sender_severity,omitempty"`

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
	Options  SourceOptions   `json:"options"`
	// VerifyUntil is when set-up mode ends: until then a request that does not
	// prove itself is kept and answered as if it did, but nothing is read from it.
	VerifyUntil time.Time    `json:"verify_until,omitzero"`
	Secret      SourceSecret `json:"-"`
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
	Deliveries int64 `json:"deliveries"`
	Duplicates int64 `json:"duplicates"` // of these: sent again by the sender, and stored once
	Unparsable int64 `json:"unparsable"`
	Rejected   int64 `json:"rejected"` // wrong or missing secret or signature
	// RejectedSince counts the requests refused since the last that was not.
	RejectedSince  int       `json:"rejected_since"`
	LastDeliveryAt time.Time `json:"last_delivery_at,omitzero"`
	LastRejectedAt time.Time `json:"last_rejected_at,omitzero"`
	// LastError describes the newest unparsable body.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Errors are what went wrong, one a kind.
	Errors []SourceError `json:"errors,omitempty"`
	// Warnings are what somebody should see to although nothing was refused.
	Warnings []SourceWarning `json:"warnings,omitempty"`
}

// Sum fills in what follows from Errors.
func (h *SourceHealth) Sum() {
	for _, e := range h.Errors {
		switch e.Kind {
		case ErrorUnparsable:
			h.Unparsable, h.LastError, h.LastErrorAt = e.Count, e.Text, e.At
		case ErrorUnauthenticated, ErrorSignature:
			h.Rejected += e.Count
			if e.At.After(h.LastRejectedAt) {
				h.LastRejectedAt = e.At
			}
		}
	}
}

// Kinds of error of a source.
const (
	ErrorUnparsable      = "unparsable"      // a body that could not be read, or not all of it
	ErrorUnauthenticated = "unauthenticated" // a wrong or missing secret; refused
	ErrorSignature       = "signature"       // a wrong or missing signature; refused
	ErrorUnproven        = "unproven"        // either of them, kept in set-up mode
	ErrorTruncated       = "truncated"       // the sender left alerts out
	ErrorDatabase        = "database"        // it could not be stored, or not with its alerts
	ErrorOverload        = "overload"        // more at once than could be taken; the sender was told to come again
	ErrorTooLarge        = "too_large"       // a body over the limit; refused
)

// SourceError counts what went wrong with a source's deliveries in one way.
type SourceError struct {
	Kind  string    `json:"kind"`
	Count int64     `json:"count"`
	At    time.Time `json:"at"`             // the last time
	Text  string    `json:"text,omitempty"` // and what it said
}

// SourceRate is what a source sent within a minute or an hour that begins at At.
type SourceRate struct {
	At         time.Time `json:"at"`
	Deliveries int64     `json:"deliveries"`
	Alerts     int64     `json:"alerts"`
	Errors     int64     `json:"errors"`
}

// SourceWarning is something about a source's deliveries that loses alerts or
// soon will. Code says which, Text what to do.
type SourceWarning struct {
	Code  string    `json:"code"`
	Text  string    `json:"text"`
	Count int64     `json:"count,omitempty"` // how often
	At    time.Time `json:"at,omitzero"`     // the last time
}

// Delivery is one webhook request, kept as it came. It has proved itself unless
// it is Unproven.
type Delivery struct {
	ID       string
	SourceID string
	// SenderID is the sender's own name for this delivery, the same when it sends
	// it again; empty if it has none. Digest identifies what was sent: an id that
	// comes with something else is no repetition.
	SenderID string
	Digest   []byte
	// DuplicateOf is set by storing: the delivery that this one repeats. Nothing
	// is stored of a repetition.
	DuplicateOf string
	// Replay says that the delivery is stored already and that its alerts are
	// read again; storing them marks it.
	Replay bool
	// Unproven says that its secret or signature was wrong (set-up mode). It has
	// no alerts until somebody replays it.
	Unproven bool
	// Reason says in plain words why we made it ourselves ([OwnDelivery]); it is
	// empty for what a sender sent. The events of its alerts carry it.
	Reason string
	// Several says that an identity may have several episodes open at once: a new
	// one does not end the others, as their sender ends each of them.
	Several     bool
	ReceivedAt  time.Time
	ContentType string
	Body        []byte
	// Alerts is what was read from it; Problem says why there is nothing, or not
	// everything, and ProblemKind in which way: ErrorUnparsable unless given.
	Alerts      []Alert
	Problem     string
	ProblemKind string
	// Truncated counts alerts that the sender says it left out.
	Truncated int
	Warnings  []SourceWarning
}

// SourceOptions say how the alerts of a source are treated. Zero values mean the
// default.
type SourceOptions struct {
	// Severities overrides what the sender's words mean. A word is in lower case;
	// the empty one stands for alerts without any.
	Severities map[string]Severity `json:"severities,omitempty"`
	// FlapHoldSeconds is how long an alert must stay resolved before its incident is.
	FlapHoldSeconds int `json:"flap_hold_seconds,omitempty"`
	// ReopenWindowSeconds is how long after its end an incident is opened again
	// by its group rather than followed by another one. 0 means 600.
	ReopenWindowSeconds int `json:"reopen_window_seconds,omitempty"`
	// ResolveTimeoutSeconds ends alerts that the sender no longer mentions. 0
	// means never.
	ResolveTimeoutSeconds int `json:"resolve_timeout_seconds,omitempty"`
	// SilentAfterSeconds raises an alert when nothing was delivered for so long.
	// 0 means never.
	SilentAfterSeconds int `json:"silent_after_seconds,omitempty"`
	// StormIncidentsPerMinute is the rate of new incidents above which they are
	// collapsed into one. 0 means 30, -1 never.
	StormIncidentsPerMinute int `json:"storm_incidents_per_minute,omitempty"`
	// StormQuietSeconds is how long the rate must stay below it for the storm to
	// be over. 0 means 300.
	StormQuietSeconds int `json:"storm_quiet_seconds,omitempty"`
	// Reconcile asks the sender itself what is firing.
	Reconcile Reconcile `json:"reconcile,omitzero"`
}

// Reconcile says where a sender can be asked for its open alerts, and how often.
type Reconcile struct {
	// URL is of Alertmanager; of several that form one cluster, with commas between.
	URL          string `json:"url,omitempty"`
	EverySeconds int    `json:"every_seconds,omitempty"` // 0 means never
	// Target is the name of Zabbix's target in the inventory. For Alertmanager it
	// is the name of the receiver that sends to us: it need not be given if there
	// is one alone, or one that has sent already.
	Target string `json:"target,omitempty"`
}
