package ops

import (
	"log/slog"
	"time"
)

// IncidentStatus is what people have to do with an incident.
type IncidentStatus string

// The statuses of an incident.
const (
	IncidentTriggered    IncidentStatus = "triggered"
	IncidentAcknowledged IncidentStatus = "acknowledged"
	IncidentResolved     IncidentStatus = "resolved"
	IncidentClosed       IncidentStatus = "closed"
	IncidentMerged       IncidentStatus = "merged"
)

// RunState is the state of a run and, as the state of its newest run, of an
// incident's investigation.
type RunState string

// The states of a run. The last four are final.
const (
	RunQueued          RunState = "queued"
	RunRunning         RunState = "running"
	RunWaitingApproval RunState = "waiting_approval"
	RunConcluded       RunState = "concluded"
	RunInconclusive    RunState = "inconclusive"
	RunFailed          RunState = "failed"
	RunCancelled       RunState = "cancelled"
)

// Final says whether a run in this state will never act again.
func (s RunState) Final() bool {
	switch s {
	case RunConcluded, RunInconclusive, RunFailed, RunCancelled:
		return true
	}
	return false
}

// Incident is what is wrong, with all alerts that say so.
type Incident struct {
	ID            string         `json:"id"`
	Number        int64          `json:"number"`
	Title         string         `json:"title"`
	Description   string         `json:"description,omitempty"`
	Severity      Severity       `json:"severity"`
	Status        IncidentStatus `json:"status"`
	Investigation RunState       `json:"investigation,omitempty"` // empty if never investigated
	// InvestigationReason says why the newest run ended as it did.
	InvestigationReason string    `json:"investigation_reason,omitempty"`
	SourceID            string    `json:"source_id,omitempty"`
	SourceName          string    `json:"source,omitempty"`
	Service             string    `json:"service,omitempty"`
	GroupKey            string    `json:"group_key,omitempty"`
	AlertCount          int       `json:"alert_count"`
	FiringCount         int       `json:"firing_count"`
	Assignee            string    `json:"assignee,omitempty"`
	OpenedAt            time.Time `json:"opened_at"`
	UpdatedAt           time.Time `json:"updated_at"`
	ResolvedAt          time.Time `json:"resolved_at,omitzero"`
	// ResolvedBy is the person who resolved it, [BySystem], or empty.
	ResolvedBy string `json:"resolved_by,omitempty"`
	// ResolveAt is set while all its alerts are resolved and its flap hold is not over.
	ResolveAt time.Time `json:"resolve_at,omitzero"`
	// Edited names the fields that a person has set: alerts change them no more.
	Edited     []string `json:"edited,omitempty"`
	MergedInto string   `json:"merged_into,omitempty"` // an incident's id
	// Reopened counts how often its group opened it again, Transitions how often
	// it began or ceased to fire. Flapping says that it did so [FlapTransitions]
	// times within an hour.
	Reopened    int  `json:"reopened,omitempty"`
	Transitions int  `json:"transitions,omitempty"`
	Flapping    bool `json:"flapping,omitempty"`
	// RuleID is the grouping rule that opened it; empty if its sender's group did.
	RuleID string `json:"rule_id,omitempty"`
	// Storm says that it collects what a source sends beyond its rate of new incidents.
	Storm bool `json:"storm,omitempty"`
	// Maintenance names the window that covers all its alerts, until when it is
	// not investigated.
	Maintenance      string    `json:"maintenance,omitempty"`
	MaintenanceUntil time.Time `json:"maintenance_until,omitzero"`
	// RunID is the newest run; LastSeq the newest event of the timeline.
	RunID   string `json:"run_id,omitempty"`
	LastSeq int64  `json:"last_seq"`
}

// BySystem is who resolves an incident that no person does.
const BySystem = "system"

// FlapTransitions within an hour make an incident a flapping one.
const FlapTransitions = 5

// The names of fields in [Incident.Edited].
const (
	EditedTitle       = "title"
	EditedDescription = "description"
	EditedSeverity    = "severity"
	EditedStatus      = "status"
	EditedAssignee    = "assignee"
)

// Open says whether an incident in this status is still to be seen to.
func (s IncidentStatus) Open() bool { return s == IncidentTriggered || s == IncidentAcknowledged }

// LogValue implements [slog.LogValuer].
func (i Incident) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", i.ID), slog.Int64("number", i.Number))
}

// Run is one investigation of an incident by an agent.
type Run struct {
	ID         string   `json:"id"`
	IncidentID string   `json:"incident_id"`
	Agent      string   `json:"agent"`
	State      RunState `json:"state"`
	// Reason says why it ended as it did.
	Reason string `json:"reason,omitempty"`
	// Epoch counts claims. Whoever speaks of a run names the epoch, and one
	// that is not the newest is refused: a worker that lost its lease cannot write.
	Epoch      int       `json:"epoch"`
	Worker     string    `json:"worker,omitempty"`
	AckedSeq   int64     `json:"acked_seq"`
	CreatedAt  time.Time `json:"created_at"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	LeaseUntil time.Time `json:"lease_until,omitzero"`
	// Actor is who it acts for: alert:SOURCE, user:NAME, service:NAME. It never changes.
	Actor string `json:"actor"`
	// Parent is the run whose conversation it goes on with.
	Parent string `json:"parent,omitempty"`
	// AskedBy is the run that has asked for this one, with its call AskedIn and in
	// the words of Task: it ends with it. Root is the first of them, Depth how far that is.
	AskedBy      string `json:"asked_by,omitempty"`
	AskedIn      string `json:"asked_in,omitempty"`
	Task         string `json:"task,omitempty"`
	Root         string `json:"root,omitempty"`
	Depth        int    `json:"depth,omitempty"`
	Turns        int    `json:"turns,omitempty"` // of the model
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	// USD is what it has cost so far. With Unpriced set there are turns whose
	// price nobody knows, and USD leaves them out.
	USD      float64 `json:"usd"`
	Unpriced bool    `json:"unpriced,omitempty"`
}
