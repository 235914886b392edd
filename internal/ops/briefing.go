package ops

import "time"

// Context is what is known beside an incident's own alerts, gathered before the
// first turn of a run. All of it is what somebody once said or concluded:
// something to look at, never evidence.
type Context struct {
	// Episodes are earlier times that the very same things were broken, newest first.
	Episodes []Episode `json:"episodes,omitempty"`
	// Similar are other incidents with a conclusion, the most similar first.
	Similar []SimilarIncident `json:"similar,omitempty"`
	// Changes are what was done lately to what the incident is about, newest first.
	Changes []Change `json:"changes,omitempty"`
	// Memories are what was confirmed of other investigations, the likeliest first.
	Memories []RecalledMemory `json:"memories,omitempty"`
}

// Episode is an earlier alert of the same identity.
type Episode struct {
	Number     int64          `json:"number"` // of its incident
	Title      string         `json:"title"`
	Status     IncidentStatus `json:"status"`
	StartsAt   time.Time      `json:"starts_at"`
	EndsAt     time.Time      `json:"ends_at,omitzero"`
	ResolvedBy string         `json:"resolved_by,omitempty"`
	// RootCause is what its newest conclusive investigation came to, if any.
	RootCause string `json:"root_cause,omitempty"`
	// Feedback is what people said of that.
	Feedback FeedbackVerdict `json:"feedback,omitempty"`
}

// SimilarIncident is a past incident with a root cause that may be the same.
type SimilarIncident struct {
	Number     int64           `json:"number"`
	Title      string          `json:"title"`
	Service    string          `json:"service,omitempty"`
	Status     IncidentStatus  `json:"status"`
	OpenedAt   time.Time       `json:"opened_at"`
	RootCause  string          `json:"root_cause"`
	Confidence float64         `json:"confidence"`
	Actions    []Action        `json:"actions,omitempty"`
	Feedback   FeedbackVerdict `json:"feedback,omitempty"`
}

// Change is something that was done to a service: a deployment, a migration.
type Change struct {
	ID      string    `json:"id"`
	Service string    `json:"service"`
	At      time.Time `json:"at"`
	Text    string    `json:"text"`
	Link    string    `json:"link,omitempty"`
	NotedBy string    `json:"noted_by"`
}

// FeedbackVerdict is what a person thinks of findings.
type FeedbackVerdict string

// What people may think.
const (
	FeedbackRight  FeedbackVerdict = "right"
	FeedbackWrong  FeedbackVerdict = "wrong"
	FeedbackPartly FeedbackVerdict = "partly"
)

// Feedback is what one person thinks of what one run found.
type Feedback struct {
	RunID   string          `json:"run_id"`
	By      string          `json:"by"`
	Verdict FeedbackVerdict `json:"verdict"`
	Comment string          `json:"comment,omitempty"`
	At      time.Time       `json:"at"`
}

// PersonSaid is the data of person.said.
type PersonSaid struct {
	Text string `json:"text"`
}

// RunMessage is what a person said to a run. Seq is the number of its event in
// the timeline, by which it is applied once.
type RunMessage struct {
	Seq   int64     `json:"seq"`
	Actor string    `json:"actor"`
	Text  string    `json:"text"`
	At    time.Time `json:"at"`
}

// Briefing is the data of briefing: what the model read first, word for word.
type Briefing struct {
	Text string `json:"text"`
}

// Applied is the data of applied: the number of what a person said.
type Applied struct {
	Seq int64 `json:"seq"`
}

// Compaction is the data of compaction. It holds for the conversation that is
// shown from then on; the newest one counts. Nothing is lost by it: outputs are
// stored, and named by their call's id where they are not shown.
type Compaction struct {
	// Turns says up to which turn of this run outputs are named in place of
	// shown; those of earlier runs all are.
	Turns int `json:"turns"`
	// Output bounds what is shown of each other output, in bytes.
	Output int `json:"output"`
	// Summary stands for all turns up to Summarised, and for those of earlier
	// runs, if it is not empty. The model wrote it, for Usage.
	Summary    string `json:"summary,omitempty"`
	Summarised int    `json:"summarised,omitempty"`
	Usage      *Usage `json:"usage,omitempty"`
	// Briefing bounds what is shown of what the model was told first, in bytes; 0
	// is all of it.
	Briefing int `json:"briefing,omitempty"`
	// Last says that nothing more can be left out: the model must conclude.
	Last bool `json:"last,omitempty"`
	// Before and After are about how many tokens the conversation had and has.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Budget bounds what is spent in a day, which begins at midnight UTC: of all
// runs, or of those for one source. 0 is no bound.
type Budget struct {
	Scope     string    `json:"scope"` // BudgetAll, or a source's id
	Runs      int64     `json:"runs"`
	Tokens    int64     `json:"tokens"`
	USD       float64   `json:"usd"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	UpdatedBy string    `json:"updated_by,omitempty"`
}

// BudgetAll is the scope of the budget for all runs together.
const BudgetAll = "all"

// UsagePart is what an agent or a model has spent in a day.
type UsagePart struct {
	Day  string `json:"day"` // YYYY-MM-DD, in UTC
	Kind string `json:"kind" enum:"agent,model"`
	// Name is an agent's id, or "PROVIDER / MODEL".
	Name string `json:"name"`
	// Count is an agent's investigations, or a model's turns.
	Count        int64   `json:"count"`
	InputTokens  int64   `json:"input_tokens"`
	OutputTokens int64   `json:"output_tokens"`
	USD          float64 `json:"usd"`
	Unpriced     int64   `json:"unpriced,omitempty"` // turns whose price nobody knows; USD leaves them out
}

// DayUsage is what was spent in a day for one source; none for incidents that
// people opened.
type DayUsage struct {
	Day          string  `json:"day"` // YYYY-MM-DD, in UTC
	SourceID     string  `json:"source_id,omitempty"`
	Source       string  `json:"source,omitempty"` // its name
	Runs         int64   `json:"runs"`
	InputTokens  int64   `json:"input_tokens"`
	OutputTokens int64   `json:"output_tokens"`
	USD          float64 `json:"usd"`
	// Unpriced counts turns whose price nobody knows; USD leaves them out.
	Unpriced int64 `json:"unpriced,omitempty"`
}
