package ops

import (
	"encoding/json"
	"time"
)

// EventKind says what happened. Each kind has its data type below.
type EventKind string

// Kinds written by the api.
const (
	EventIncidentOpened   EventKind = "incident.opened"    // IncidentChange
	EventIncidentResolved EventKind = "incident.resolved"  // IncidentChange
	EventIncidentReopened EventKind = "incident.reopened"  // IncidentChange: its group fires again
	EventIncidentChanged  EventKind = "incident.changed"   // IncidentChange
	EventIncidentMerged   EventKind = "incident.merged"    // IncidentChange: into Other, or Other into it
	EventIncidentSplit    EventKind = "incident.split"     // IncidentChange: alerts went to Other, or came from it
	EventAlertFiring      EventKind = "alert.firing"       // AlertChange
	EventAlertAcked       EventKind = "alert.acknowledged" // AlertChange
	EventAlertUpdated     EventKind = "alert.updated"      // AlertChange: it fires on, and is another
	EventAlertResolved    EventKind = "alert.resolved"     // AlertChange
	EventRunQueued        EventKind = "run.queued"         // RunChange
	EventRunStarted       EventKind = "run.started"        // RunChange: a worker has claimed it
	EventRunRequeued      EventKind = "run.requeued"       // RunChange: its worker is gone, or it waits no more
	EventApprovalAsked    EventKind = "approval.requested" // ApprovalChange
	EventApprovalDecided  EventKind = "approval.decided"   // ApprovalChange
	EventPersonSaid       EventKind = "person.said"        // PersonSaid: to the run, which answers with EventApplied
	EventFeedback         EventKind = "feedback"           // Feedback: what a person thinks of findings
	EventAgentAsked       EventKind = "agent.asked"        // AgentAsked: a run has asked for another one, which follows
)

// Kinds sent by an agent. [TranscriptKinds] together are the transcript of a run:
// what another worker needs to go on.
const (
	EventTextDelta  EventKind = "text.delta"  // TextDelta
	EventReasoning  EventKind = "reasoning"   // TextDelta: a piece of the model's thinking, live
	EventMessage    EventKind = "message"     // Message: one whole turn of the model
	EventToolCall   EventKind = "tool.call"   // ToolCallStarted
	EventToolOutput EventKind = "tool.output" // ToolOutput: live, not part of the transcript
	EventToolResult EventKind = "tool.result" // ToolResult
	EventNotice     EventKind = "notice"      // Notice: a retry, a refused repetition
	EventFindings   EventKind = "findings"    // Finding
	EventBriefing   EventKind = "briefing"    // Briefing: what the model was told of the incident, the first of a run
	EventApplied    EventKind = "applied"     // Applied: the model reads what a person said, from here on
	EventCompaction EventKind = "compaction"  // Compaction: the model is shown less of what was, from here on
	EventRunParked  EventKind = "run.parked"  // RunChange: it waits for people, the last of this worker
	EventRunEnded   EventKind = "run.ended"   // RunChange, always the last of a run
)

// TranscriptKinds are those that the conversation with the model is made of.
var TranscriptKinds = []EventKind{EventBriefing, EventMessage, EventToolResult, EventApplied, EventCompaction, EventFindings}

// Event is one entry of an incident's timeline. Seq counts per incident, from
// 1 and without holes.
type Event struct {
	IncidentID string    `json:"incident_id"`
	Seq        int64     `json:"seq"`
	At         time.Time `json:"at"`
	Kind       EventKind `json:"kind"`
	RunID      string    `json:"run_id,omitempty"`
	// RunSeq counts the events that an agent sent for a run, from 1. It is 0
	// for events of the api.
	RunSeq int64           `json:"run_seq,omitempty"`
	Actor  string          `json:"actor,omitempty"`
	Data   json.RawMessage `json:"data"`
}

// NewEvent makes an event of the given kind. It panics if data cannot be
// marshalled, which for the types of this package cannot happen.
func NewEvent(kind EventKind, data any) Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic("ops: event data: " + err.Error())
	}
	return Event{At: time.Now().UTC(), Kind: kind, Data: raw}
}

// IncidentChange is the data of incident.* events.
type IncidentChange struct {
	Status   IncidentStatus `json:"status,omitempty"`
	Severity Severity       `json:"severity,omitempty"`
	Title    string         `json:"title,omitempty"`
	Assignee string         `json:"assignee,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	// Other is the incident at the other end of a merge or split, Alerts how many went over.
	Other       string `json:"other,omitempty"`
	OtherNumber int64  `json:"other_number,omitempty"`
	Alerts      int    `json:"alerts,omitempty"`
}

// AlertChange is the data of alert.* events.
type AlertChange struct {
	AlertID  string   `json:"alert_id"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	Host     string   `json:"host,omitempty"`
	Summary  string   `json:"summary,omitempty"`
	Reason   string   `json:"reason,omitempty"`
}

// RunChange is the data of run.* events.
type RunChange struct {
	State  RunState `json:"state"`
	Worker string   `json:"worker,omitempty"`
	Epoch  int      `json:"epoch,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// TextDelta is a piece of what the model is writing in turn Turn.
type TextDelta struct {
	Turn int    `json:"turn"`
	Text string `json:"text"`
}

// Message is one whole turn of the model.
type Message struct {
	Turn  int       `json:"turn"` // from 1
	Text  string    `json:"text,omitempty"`
	Calls []ToolUse `json:"calls,omitempty"`
	Usage Usage     `json:"usage"`
	// Reasoning is what the model showed of its thinking, for people alone.
	Reasoning string `json:"reasoning,omitempty"`
	// Vendor is what a vendor wants to have back of its own with the next turns,
	// such as signed reasoning. It means nothing to anybody else.
	Vendor json.RawMessage `json:"vendor,omitempty"`
	// Cut says that the turn reached the limit on output and is not whole.
	Cut bool `json:"cut,omitempty"`
}

// ToolUse is a model's wish to call a tool.
type ToolUse struct {
	// ID is the call's key in this run: c1, c2, … in the order of the
	// transcript, so that it is the same after a restart. Evidence is cited by it.
	ID string `json:"id"`
	// ModelID is what the model's vendor called it.
	ModelID   string          `json:"model_id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// Usage is what one turn cost, as the vendor counts it.
type Usage struct {
	// Provider is the name of the configured one that answered.
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
	// InputTokens is all that the model read, OutputTokens all that it wrote;
	// the three below them are parts of these.
	InputTokens      int64 `json:"input_tokens"`
	OutputTokens     int64 `json:"output_tokens"`
	CachedTokens     int64 `json:"cached_tokens,omitempty"`      // of the input: had from the vendor's cache
	CacheWriteTokens int64 `json:"cache_write_tokens,omitempty"` // of the input: put there, where that costs more
	ReasoningTokens  int64 `json:"reasoning_tokens,omitempty"`   // of the output
	// CostUSD is in US dollars: what the vendor says, else by the provider's own
	// prices, else by the vendor's list. nil means that nobody knows.
	CostUSD *float64 `json:"cost_usd,omitempty"`
}

// ToolCallStarted is the data of tool.call.
type ToolCallStarted struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// ToolOutput is a piece of a running call's output.
type ToolOutput struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Notice is something that a reader of the timeline should know.
type Notice struct {
	Text string `json:"text"`
}
