// Package api is the process that people, senders and workers talk to. It takes
// alerts in, keeps accounts and configuration, shows incidents while they are
// worked on, serves the page, and hands runs to workers (package dispatch). It
// seals credentials with the public keys of the zones and can open none; its
// own zone holds nothing but the secrets that its senders sign with and those
// that prove us to a sender that is asked.
//
// # Listeners
//
//   - public: the page, /api/v1, /webhook. Anonymous are the page's files and
//     /openapi.json (the same for everybody), a sender's webhook (which has its
//     own secret), the setup link and the login. An operation of /api/v1 is
//     closed unless it says otherwise where it is registered.
//   - agents: the WebSocket of the workers and nothing else.
//   - ops: health and metrics.
//
// # Intake
//
// A delivery is answered 202 after its transaction has committed and never
// before. One goroutine commits: it takes what has come in while the last
// transaction was under way (at most maxBatch deliveries) and stores it in the
// next one, so an idle api adds no delay and a busy one shares its commits.
// When the queue is full, the bodies under way are more than maxBodies bytes,
// or the database is away, the answer is 503 with Retry-After.
//
// # Reconciliation
//
// Deliveries get lost: in an outage that is longer than a sender's tries, in a
// proxy that answers in our place. So senders that can be asked are asked for
// their open alerts, and what differs for longer than a delivery may take is
// stored as a delivery of our own, through the same intake. A wrong resolve is
// worse than a late one: a list counts as a whole or not at all, and an
// Alertmanager that has just started, which knows of nothing, resolves nothing.
// What was resolved wrongly all the same goes on when a delivery tells of it, and
// as another episode if the list alone does.
//
// Alertmanager is asked directly. Zabbix is asked by the gateway, with a token
// for the one tool and the one target: its credential opens there alone.
//
// # Streams
//
// A stream reads the timeline table behind its cursor. NOTIFY wakes it and it
// looks every two seconds anyway, so nothing is lost with a notification. It
// holds no events: a reader that is slow is a connection that is slow, and one
// that takes nothing for writeWait is closed. At most maxUserStreams of a user
// and maxStreams in all are open; the next one is refused.
//
// # Errors
//
// They are problem documents (RFC 9457) made in one place (problem.go). What is
// no ops.Error is logged and shown as "internal error"; a rejected value is
// never part of an answer.
//
// # Audit
//
// Logins and every change by a person are records of the chain "api". A change
// is recorded as an intent first: if that fails, nothing is done.
package api
