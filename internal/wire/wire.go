// Package wire is the conversation between the api and its workers: JSON frames
// over one WebSocket that the worker opens to the api's agent listener.
//
// # Conversation
//
// The worker authenticates the upgrade request with the worker token as bearer,
// so nobody without it gets a socket. Then:
//
//	worker → api   hello      version, worker id, slots, the runs it still holds
//	api → worker   welcome    lease, and for each of those runs what is stored,
//	                          or that it is lost
//	worker → api   ready      how many runs it would take now (a pull, not a promise)
//	api → worker   task       one claimed run, self-contained, with its tokens
//	worker → api   events     a batch for one run, numbered from 1 without holes
//	api → worker   ack        all of a run up to a number is in Postgres
//	worker → api   heartbeat  the runs it works on; renews their leases
//	api → worker   cancel     stop this run (people, or the lease is lost)
//	api → worker   message    somebody has said something to this run
//	api → worker   conclude   one last turn without tools: the day's budget is used up
//	worker → api   ask        people are to decide on a call in the run's own folder
//	api → worker   decision   they are asked, or what they said
//	worker → api   delegate   a run asks for another agent, under the key of its call
//	api → worker   delegated  the result of that call; while there is none, a task
//	worker → api   fetch      the files of a skill of a run that it has not yet
//	api → worker   bundle     these files, or that there are none any more
//	api → worker   drain      take no more; sent before the api stops
//
// A run ends with an event of kind run.ended; once that is acked both sides
// forget the run.
//
// # Delivery
//
// What people say is stored before it is sent, numbered, and sent again on each
// new connection and with each task until the worker's event "applied" with
// that number is stored: at least once on the wire, once in the conversation.
//
// Events are at least once on the wire and exactly once in the table: the
// worker keeps what is not acked and sends it again after a reconnect, the api
// drops numbers that it has. Every frame about a run names the epoch of its
// claim; another worker's claim raises it, and a frame of an older one is
// answered with cancel.
//
// An ask is sent again on each new connection until it is decided; the api knows
// it by run, call and what it says. That people are asked is answered at once,
// what they say when they have. "approved" is the right to make the call, which
// is written down before it is sent: once for a call, and again only for the
// claim that has it.
//
// # Delegation
//
// A delegate is answered with the task of the child run, which takes no slot, or
// with the result of the call. The worker sends it again when the child has
// ended or is lost, and on each new connection: the api does each key once, and
// answers with what is stored. So the result always comes out of the database.
//
// # Buffers
//
// [Conn] queues at most [SendQueue] frames. When the queue is full, [Conn.Send]
// blocks until its context ends: a worker that produces faster than the api
// stores is slowed down, nothing is dropped. A frame over [MaxFrame] bytes is not
// sent ([ErrTooLarge]): who makes one ends the run that it is of. A peer that
// sends one all the same is disconnected.
package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Version is the protocol's version. Both sides must speak the same: they are
// released together, and a mismatch means a half-done upgrade.
const Version = 3

// Limits of one connection.
const (
	MaxFrame  = 8 << 20
	SendQueue = 64
	MaxBatch  = 256 // events in one frame
)

// Path is where the agent listener accepts workers.
const Path = "/agents"

// Frame is one message. Exactly one field is set; its JSON name is the type.
type Frame struct {
	Hello     *Hello     `json:"hello,omitempty"`
	Welcome   *Welcome   `json:"welcome,omitempty"`
	Ready     *Ready     `json:"ready,omitempty"`
	Task      *Task      `json:"task,omitempty"`
	Events    *Events    `json:"events,omitempty"`
	Ack       *Ack       `json:"ack,omitempty"`
	Heartbeat *Heartbeat `json:"heartbeat,omitempty"`
	Cancel    *Cancel    `json:"cancel,omitempty"`
	Message   *Message   `json:"message,omitempty"`
	Conclude  *Conclude  `json:"conclude,omitempty"`
	Ask       *Ask       `json:"ask,omitempty"`
	Decision  *Decision  `json:"decision,omitempty"`
	Delegate  *Delegate  `json:"delegate,omitempty"`
	Delegated *Delegated `json:"delegated,omitempty"`
	Fetch     *Fetch     `json:"fetch,omitempty"`
	Bundle    *Bundle    `json:"bundle,omitempty"`
	Drain     *Drain     `json:"drain,omitempty"`
}

// RunRef names one claim of one run.
type RunRef struct {
	Run   string `json:"run"`
	Epoch int    `json:"epoch"`
}

// Hello is the worker's first frame.
type Hello struct {
	Version int      `json:"version"`
	Worker  string   `json:"worker"` // unique per process start
	Build   string   `json:"build"`  // for people
	Slots   int      `json:"slots"`
	Runs    []RunRef `json:"runs,omitempty"` // still held, after a reconnect
}

// Welcome answers Hello.
type Welcome struct {
	Version int `json:"version"`
	// Lease is how long a run stays with a worker that is not heard of; the
	// worker sends a heartbeat every third of it.
	Lease time.Duration `json:"lease"`
	// Acked has the stored number of each run of Hello that is still the
	// worker's. A run that is missing is lost: the worker stops it.
	Acked []Ack `json:"acked,omitempty"`
}

// Ready says how many more runs the worker would take. The newest one counts.
type Ready struct {
	Free int `json:"free"`
}

// Task is everything that a worker needs for one run.
type Task struct {
	RunRef
	Incident ops.Incident `json:"incident"`
	Alerts   []ops.Alert  `json:"alerts"`
	Agent    ops.AgentDef `json:"agent"`
	// Actor is who the run acts for. RoleDeny and RoleAllow are what its roles say
	// of tools ([ops.Role]), for those that the worker has itself.
	Actor     string   `json:"actor"`
	RoleDeny  []string `json:"role_deny,omitempty"`
	RoleAllow []string `json:"role_allow,omitempty"`
	// Transcript is what the run has done so far, in order: events of
	// [ops.TranscriptKinds]. Empty for a first attempt.
	Transcript []ops.Event `json:"transcript,omitempty"`
	// Messages are what people said to the run, those included that it has read.
	Messages []ops.RunMessage `json:"messages,omitempty"`
	// History are runs that have ended, oldest first, whose conversation this one goes on with.
	History []PastRun `json:"history,omitempty"`
	// Asked is set for a run that another run of this worker has asked for.
	Asked *Asked `json:"asked,omitempty"`
	// SubAgents are those that this run may ask.
	SubAgents []ops.SubAgent `json:"sub_agents,omitempty"`
	// Context is what is known of the past of the incident. It is for the
	// briefing and missing when Transcript has one.
	Context *ops.Context `json:"context,omitempty"`
	// Waiting are calls of the run's own tools that people are asked about, or have
	// allowed, and that nobody has started.
	Waiting []string `json:"waiting,omitempty"`
	// Skills are those of the agent, without their files: see Fetch. Runbooks are
	// those that fit the incident.
	Skills   []ops.SkillRef   `json:"skills,omitempty"`
	Runbooks []ops.RunbookRef `json:"runbooks,omitempty"`
	// Conclude says why the run may do nothing more but conclude; empty if it may.
	Conclude string `json:"conclude,omitempty"`
	// NextSeq is the number of the next event of this run.
	NextSeq  int64      `json:"next_seq"`
	Deadline time.Time  `json:"deadline"`
	Model    ModelLease `json:"model"`
	// Fallback are the models to turn to, in this order, when Model cannot be had.
	Fallback []ModelLease `json:"fallback,omitempty"`
	// WaitUntil is how long the run may wait for one of them; zero means that it
	// does not wait.
	WaitUntil time.Time `json:"wait_until,omitzero"`
	// GatewayURL is the MCP endpoint; GatewayToken opens it for this run alone.
	GatewayURL   string `json:"gateway_url"`
	GatewayToken string `json:"gateway_token"`
}

// Asked says which call a run is to answer, and what it was asked.
type Asked struct {
	By   string `json:"by"` // the run that asks
	Call string `json:"call"`
	ops.Assignment
}

// PastRun is the conversation of a run that has ended.
type PastRun struct {
	Run        string           `json:"run"`
	Transcript []ops.Event      `json:"transcript,omitempty"`
	Messages   []ops.RunMessage `json:"messages,omitempty"`
}

// ModelLease is how the run reaches its model: through the proxy, which swaps
// Token for the vendor's key.
type ModelLease struct {
	Provider string `json:"provider,omitempty"` // its name, for people
	Kind     string `json:"kind"`               // as in ops.Provider
	BaseURL  string `json:"base_url"`
	Model    string `json:"model"`
	Token    string `json:"token"`
	Effort   string `json:"effort,omitempty"`
	// PriceInput, PriceOutput and Window go before the catalogue, as in ops.Provider.
	PriceInput  *float64 `json:"price_input,omitempty"`
	PriceOutput *float64 `json:"price_output,omitempty"`
	Window      int      `json:"window,omitempty"`
	// Patience is how long the model is asked again before the run turns to the
	// next one; zero where there is none.
	Patience          time.Duration `json:"patience,omitempty"`
	FallbackOnAccount bool          `json:"fallback_on_account,omitempty"`
}

// Events carries a batch for one run, in order of RunSeq.
type Events struct {
	RunRef
	Events []ops.Event `json:"events"`
}

// Ack says that all events of a run up to Seq are stored.
type Ack struct {
	RunRef
	Seq int64 `json:"seq"`
}

// Heartbeat renews the leases of the runs it names.
type Heartbeat struct {
	Runs []RunRef `json:"runs"`
}

// Cancel stops a run. With Lost set the run belongs to somebody else or has
// ended: the worker forgets it and sends nothing more of it.
type Cancel struct {
	RunRef
	Reason string `json:"reason"`
	Lost   bool   `json:"lost"`
}

// Message hands over what somebody has said. It may come more than once; Seq
// tells. If its actor is another one than the run's, the run makes way.
type Message struct {
	RunRef
	Message ops.RunMessage `json:"message"`
}

// Conclude asks for one last turn without tools.
type Conclude struct {
	RunRef
	Reason string `json:"reason"`
}

// Ask has people decide on a call of one of the worker's own tools that the
// agent's rules leave open. The api finds the rest of what is asked by itself:
// whom the run acts for, the risk, the rules as they are now.
type Ask struct {
	RunRef
	Call string `json:"call"`
	Tool string `json:"tool"`
	// Arguments are canonical, with paths relative to work/.
	Arguments json.RawMessage `json:"arguments"`
	// Reasons say why the rules leave it open.
	Reasons []string `json:"reasons"`
}

// DecisionState is what became of an ask.
type DecisionState string

// The states of a decision; all but the first are final.
const (
	DecisionPending  DecisionState = "pending"  // people are asked
	DecisionApproved DecisionState = "approved" // make the call now
	DecisionDenied   DecisionState = "denied"   // by people
	DecisionExpired  DecisionState = "expired"
	DecisionRefused  DecisionState = "refused" // nobody is asked, or no longer
	DecisionUsed     DecisionState = "used"    // another claim may have made the call
)

// Decision answers Ask.
type Decision struct {
	RunRef
	Call   string        `json:"call"`
	State  DecisionState `json:"state"`
	Reason string        `json:"reason,omitempty"` // in words, for the model
}

// Delegate asks for another agent on behalf of a run. (Run, Call) is its key: the
// same key with another agent or task is refused.
type Delegate struct {
	RunRef
	Call  string `json:"call"`
	Agent string `json:"agent"`
	Task  string `json:"task"`
	// Show names calls of the run that the other agent is to read.
	Show []string `json:"show,omitempty"`
	// Has is the epoch of the child that the worker has; 0 if it has none.
	Has int `json:"has,omitempty"`
}

// Delegated is the result of a call that asked for another agent. A state of
// waiting_approval says that the child waits for people: so must the run.
type Delegated struct {
	RunRef
	Call   string         `json:"call"`
	Result ops.ToolResult `json:"result"`
}

// Fetch asks for the files of a skill, on behalf of a run that the worker has.
type Fetch struct {
	RunRef
	Skill   string `json:"skill"`
	Version int    `json:"version"`
	Digest  string `json:"digest"`
}

// Bundle answers Fetch, once each. Whoever gets it checks the digest.
type Bundle struct {
	RunRef
	Digest string `json:"digest"`
	// Files are missing where Problem says why.
	Files   []ops.SkillFile `json:"files,omitempty"`
	Problem string          `json:"problem,omitempty"`
}

// Drain asks the worker to ask for no more runs on this connection.
type Drain struct {
	Reason string `json:"reason"`
}

// Decode reads one frame. It refuses unknown fields, trailing bytes and
// anything but exactly one set field.
func Decode(data []byte) (Frame, error) {
	var f Frame
	if err := strictUnmarshal(data, &f); err != nil {
		return Frame{}, fmt.Errorf("frame: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || len(fields) != 1 {
		return Frame{}, fmt.Errorf("frame has %d types, want 1", len(fields))
	}
	for name, raw := range fields {
		if string(raw) == "null" {
			return Frame{}, fmt.Errorf("frame %s is null", name)
		}
	}
	return f, nil
}
