package ops

import (
	"encoding/json"
	"fmt"
	"time"
)

// OwnContentType marks a delivery that we made ourselves, of alerts that no
// sender has sent: found by asking it, or about the source itself. Its body is
// an [OwnBody].
const OwnContentType = "application/vnd.akmatori+json"

// OwnBody is what such a delivery holds: the alerts in our own words.
type OwnBody struct {
	Reason string  `json:"reason"`
	Alerts []Alert `json:"alerts"`
}

// OwnDelivery makes a delivery of alerts, to be stored as any other. Reason says
// why in plain words; the timelines show it. It panics if an alert cannot be
// marshalled, which a time outside of the years 0 to 9999 alone can cause.
func OwnDelivery(source, reason string, alerts []Alert) Delivery {
	body, err := json.Marshal(OwnBody{reason, alerts})
	if err != nil {
		panic("ops: own delivery: " + err.Error())
	}
	return Delivery{ID: NewID(), SourceID: source, Reason: reason, ReceivedAt: time.Now().UTC(), ContentType: OwnContentType, Body: body, Alerts: alerts}
}

// ReadOwn reads the body of such a delivery back.
func ReadOwn(body []byte) (OwnBody, error) {
	var own OwnBody
	if err := json.Unmarshal(body, &own); err != nil {
		return OwnBody{}, fmt.Errorf("a delivery of our own: %w", err)
	}
	return own, nil
}

// SilentIdentity is the identity of the alert that a source sends no more.
const SilentIdentity = "akmatori:silent"

// ReconcileSecret is the kind of what proves us to a sender that is asked for
// its open alerts: the value of an Authorization header. It is not in the table
// of credentials ([Source.ReconcileCredential]).
const ReconcileSecret = "reconcile_secret"

// ReconcileCredential is what the sealed secret is bound to that proves us to
// the sender of s: to the source, and to where it is sent. A row whose address
// was changed does not open, so that nobody who can only write rows has the
// secret sent elsewhere.
func (s Source) ReconcileCredential(sealed []byte) Credential {
	return Credential{ID: s.ID, Name: "source " + s.Name, Kind: ReconcileSecret, Targets: []string{s.Options.Reconcile.URL}, Version: 1, Sealed: sealed}
}

// Reconciliation is what asking a sender for its open alerts has come to.
type Reconciliation struct {
	StartedAt time.Time `json:"started_at,omitzero"` // of the newest one
	EndedAt   time.Time `json:"ended_at,omitzero"`   // of the newest that has ended
	OKAt      time.Time `json:"ok_at,omitzero"`      // of the newest that got everything
	Error     string    `json:"error,omitempty"`     // why the newest did not
	// Missed and Resolved count what was found so far: alerts that no delivery
	// had told of, and ends.
	Missed   int64 `json:"missed"`
	Resolved int64 `json:"resolved"`
	// Waiting counts differences of the newest one that a delivery on its way may still settle.
	Waiting int `json:"waiting"`
	// HasSecret says that the sender is shown a secret.
	HasSecret bool `json:"has_secret"`
}
