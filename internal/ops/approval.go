package ops

import (
	"encoding/json"
	"time"
)

// ApprovalState is what became of a request for approval; all but the first are final.
type ApprovalState string

// The states of an approval.
const (
	ApprovalPending  ApprovalState = "pending"
	ApprovalApproved ApprovalState = "approved"
	ApprovalDenied   ApprovalState = "denied"
	ApprovalExpired  ApprovalState = "expired" // nobody decided in time, or its call came too late (Approval.Late)
	ApprovalVoid     ApprovalState = "void"    // its run or token has ended
)

// Risk is how much harm an asked call may do; it says who may approve it. Above
// RiskLow that is never who asks, and RiskCritical takes two.
type Risk string

// The risks, least first.
const (
	RiskLow      Risk = "low"
	RiskMedium   Risk = "medium"
	RiskHigh     Risk = "high"
	RiskCritical Risk = "critical"
)

// ApprovalLife is how long people have to decide.
const ApprovalLife = time.Hour

// Needed says how many people must approve.
func (r Risk) Needed() int {
	if r == RiskCritical {
		return 2
	}
	return 1
}

// Approval is a call that people are asked about. It is for one call of one run
// or token, as its digest was, once.
type Approval struct {
	ID         string `json:"id"`
	RunID      string `json:"run_id,omitempty"`
	TokenID    string `json:"token_id,omitempty"`
	CallID     string `json:"call_id"`
	IncidentID string `json:"incident_id,omitempty"`
	Agent      string `json:"agent,omitempty"`
	// Workspace: the call is of the agent's own, in the folder of its run, and of
	// no use at the gateway.
	Workspace bool `json:"workspace,omitempty"`
	// Requester is who the run or token acts for: who may not approve above RiskLow.
	Requester string `json:"requester"`
	Tool      string `json:"tool"`
	Target    string `json:"target,omitempty"`
	// Command is the whole canonical command, which is what will run.
	Command   string          `json:"command,omitempty"`
	Arguments json.RawMessage `json:"arguments"`
	// Subject is a digest of what is done, where and with which credential and
	// host keys. Digest binds it to the call, its holder and the rules.
	Subject []byte `json:"-"`
	Digest  []byte `json:"-"`
	Risk    Risk   `json:"risk"`
	// Effect is what the call does, as far as its text says: policy.Effect.
	Effect  string   `json:"effect"`
	Reasons []string `json:"reasons"`
	// Facts are what else the digest holds, for people: host key, credential, policy.
	Facts     map[string]string  `json:"facts"`
	Needed    int                `json:"needed"`
	State     ApprovalState      `json:"state"`
	CreatedAt time.Time          `json:"created_at"`
	ExpiresAt time.Time          `json:"expires_at"`
	DecidedAt time.Time          `json:"decided_at,omitzero"`
	UsedAt    time.Time          `json:"used_at,omitzero"` // when the call was started with it
	Decisions []ApprovalDecision `json:"decisions"`
	// Review is what the gatekeeper made of it, if it was asked.
	Review *Review `json:"review,omitempty"`
}

// Late says of an expired approval that it was given in time, and its call came
// too late for it.
func (a Approval) Late() bool {
	return a.State == ApprovalExpired && !a.DecidedAt.IsZero() && a.DecidedAt.Before(a.ExpiresAt)
}

// Review is what a model said of an asked call. Only a rating can approve, and
// only what an admin has opted in to ([Gatekeeper]).
type Review struct {
	State     ReviewState `json:"state"`
	Risk      Risk        `json:"risk,omitempty"`
	Reasoning string      `json:"reasoning,omitempty"` // the model's, or why there is no rating
	Model     string      `json:"model"`
	Approved  bool        `json:"approved"` // the rating has approved the call
	At        time.Time   `json:"at"`
}

// ReviewState is how far a review is.
type ReviewState string

// The states of a review.
const (
	ReviewAsked  ReviewState = "asked"
	ReviewRated  ReviewState = "rated"
	ReviewFailed ReviewState = "failed" // there is no rating: people decide
)

// GatekeeperActor is who approves what a rating lets pass.
const GatekeeperActor = "service:gatekeeper"

// Gatekeeper is the settings of the review of asked calls by a model.
type Gatekeeper struct {
	Enabled bool `json:"enabled"`
	// Provider names the LLM provider; empty means the default one.
	Provider string `json:"provider,omitempty"`
	// Threshold is the highest rating that approves: not RiskCritical.
	Threshold Risk `json:"threshold"`
	// Effects (policy.Effect, but not unknown) and Tools (names or prefix*) are
	// what may be approved so at all. None is none.
	Effects []string `json:"effects"`
	Tools   []string `json:"tools"`
	// Hourly is how many calls are reviewed within an hour at most.
	Hourly    int       `json:"hourly"`
	Version   int64     `json:"version"` // counts changes
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// ApprovalDecision is what one person said.
type ApprovalDecision struct {
	Username string    `json:"username"`
	Approve  bool      `json:"approve"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// ApprovalGrant lets the agent do one thing in one incident, without asking
// again, until it expires or is revoked.
type ApprovalGrant struct {
	ID         string    `json:"id"`
	ApprovalID string    `json:"approval_id"`
	IncidentID string    `json:"incident_id"`
	Tool       string    `json:"tool"`
	Target     string    `json:"target,omitempty"`
	Command    string    `json:"command,omitempty"`
	GrantedBy  string    `json:"granted_by"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
	RevokedBy  string    `json:"revoked_by,omitempty"`
}

// ApprovalChange is the data of approval.* events.
type ApprovalChange struct {
	ApprovalID string        `json:"approval_id"`
	CallID     string        `json:"call_id"`
	Tool       string        `json:"tool"`
	Target     string        `json:"target,omitempty"`
	Command    string        `json:"command,omitempty"`
	Risk       Risk          `json:"risk,omitempty"`
	State      ApprovalState `json:"state"`
	By         string        `json:"by,omitempty"`
	Reason     string        `json:"reason,omitempty"`
}
