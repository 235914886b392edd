// Package agent is the worker: it pulls runs from the api over one WebSocket
// (package wire), and for each drives a model and tools until the model submits
// findings or a limit is met. It holds no credential: the model is reached
// through the credential proxy and tools through the gateway, each with a token
// of the one run, in memory.
//
// # What survives what
//
//   - The api restarts: runs go on. Events wait in the run's outbox and are sent
//     again, from what the api says it has stored, once a connection is back.
//   - The worker dies: another one gets the run with its transcript and goes on
//     behind it. A turn of the model is stored by the api before any of its calls is
//     made, so call ids are the same after a restart, and the gateway answers
//     a call id that it has seen with the stored result: no call is done twice.
//   - The gateway dies: the same call id is sent again, with growing pauses,
//     until the run's time is up. A refused token (401) means that the run is no
//     longer this worker's: it is dropped without a word.
//   - The model or the proxy dies: package llm tries again, for a bounded number
//     of times or as long as the provider's patience. Then the run turns to the
//     provider's fallbacks, one after the other, and stays there. If none can be
//     had it goes back into the queue for as long as the provider lets runs wait,
//     and frees its place meanwhile; else it ends as failed with the reason.
//   - What is done in the run's own folder is not stored by anybody but the worker.
//     If it dies meanwhile, the result of a call that writes there is unknown, and
//     it is not made again; one that waited for people and was not started waits on.
//   - SIGTERM: no more runs are asked for. Those under way are left at a point
//     from which another worker goes on, and are said to be.
//
// # Bounds
//
// An outbox holds at most [outboxEvents] events and [outboxBytes] bytes that are
// not acked; when it is full, the run's next event blocks, and with it the model's
// stream and the tools, until the api acks or the run is cancelled. Live text is
// coalesced to ten events a second a source. One tool result is kept up to
// [maxResult] bytes, a run makes at most [ops.Limits.ToolCalls] calls.
//
// # The workspace
//
// With [Config.Workspace] set, a run has a folder, which package sandbox makes and
// confines commands to: incident.json, AGENTS.md, evidence/ with what calls that
// can be cited printed (64 MiB of it), skills/, runbooks/, and work/, the only
// place that is written, with the tools Bash, Read, Write, Edit, Grep and Glob for
// it (own.go). Their calls are judged by the agent's rules as those at the gateway
// are, and shown in the timeline like them. The gateway keeps no record of them, so
// they are no evidence: findings cannot cite them. The folder is gone when the run
// ends here, be it that another worker goes on.
//
// What the rules leave open the api asks people about (asks.go). A call waits for
// [Config.ApprovalWait], then the run is parked and frees its place; whoever takes
// it up asks about the call again, under the same id, and is given the right to
// make it once. While the api is away nothing is decided and the call waits on, but
// not beyond the time for work: then it was not made.
//
// # The conversation
//
// What the model reads is a function of the transcript alone: the briefing, which
// is told once and stored word for word; the turns; what people said, at the place
// where it was read; and what is left out. So another worker asks what the first
// one would have asked, and the vendor's cache holds. What is known of the past
// (earlier episodes, similar incidents, changes) is in the briefing as data, and
// is never evidence: only calls of this run can be cited.
//
// A conversation that is about to fill the model's window, or that the vendor
// finds too long, is made shorter in steps that are stored: outputs of all turns
// but the last are named by their call in place of shown, then what is shown of the
// last is cut, then, once in the life of a run, the model writes down what it needs.
// Calls with their ids, the model's own words and what people said stay.
//
// # People
//
// What the person says that the run acts for is read before the next turn, each
// message once, by its number; findings of a turn that had not read it are not
// accepted yet. What somebody else says does not steer the run: it ends between
// two turns, and the api queues one for that person that goes on with the whole
// conversation. So tools are always used with the rights of who spoke last, and
// these never widen in a run. The same holds behind the end: a question starts a
// run that goes on with what was found, and pays for none of it again. Ids of
// earlier calls are marked, and an answer in words alone ends such a run.
//
// # Guidance
//
// The briefing names the skills and runbooks that the agent has, those that fit the
// alerts first; the text is read with guidance_read, from a library that the worker
// fills over the WebSocket, by digest. It is bounded, and guidance is no evidence.
//
// # Other agents
//
// An agent that may ask others has ask_agent. The worker says to the api whom it
// wants and what for; the api decides, stores the child under the call's id, and
// gives it to the same worker as a task of its own, without a slot, so that full
// workers cannot wait for each other. The result comes from the database, be it that
// the child ended here or at a worker before. A child ends with its parent.
//
// # A run always ends
//
// Turns, calls, time, tokens and money are limited, the last two so that the
// concluding turn is within them; the api adds the budgets of the day. At a limit
// the model gets one last turn with nothing but submit_findings. A call that was
// made before, with the same arguments, is refused. Three turns in a row that bring
// nothing new end the run as inconclusive.
package agent
