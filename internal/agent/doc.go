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
//   - The model or the proxy dies: package llm tries again, a bounded number of
//     times; then the run ends as failed with the reason.
//   - A command in the workspace shell is not stored by anybody but the worker. If
//     it dies meanwhile, the call's result is unknown, and it is not run again.
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
// # The workspace shell
//
// With [Config.Workspace] set, a run has a folder and the tool Bash, which package
// sandbox confines to it. Its calls are judged by the agent's rules as those at the
// gateway are, and shown in the timeline like them. The gateway keeps no record of
// them, so they are no evidence: findings cannot cite them. The folder is gone when
// the run ends here, be it that another worker goes on.
//
// # A run always ends
//
// Turns, calls and time are limited; at a limit the model gets one last turn with
// nothing but submit_findings. A call that was made before, with the same
// arguments, is refused. Three turns in a row that bring nothing new end the run as
// inconclusive.
package agent
