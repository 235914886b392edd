// Package ops is the vocabulary of the platform: alerts, incidents, runs,
// timeline events, tool calls, findings, audit records, secrets, tokens and
// errors. Every other package speaks it, and it speaks nothing: it imports the
// standard library alone, does no I/O, starts nothing and holds no state.
//
// # Invariants kept here
//
//   - A [Secret] never prints, marshals or logs itself; only [Secret.Reveal]
//     gives the plaintext, so a search for that name finds every use.
//   - An [Error] carries a message that a user may read. Every other error is
//     internal by definition: it is logged, never shown.
//   - A [Finding] keeps only claims that cite a stored tool call of the same
//     run ([CheckFindings]); code decides that, never the model.
//   - An [AuditRecord] is chained to its predecessor by hash
//     ([AuditRecord.Chain]); [VerifyChain] names the first record that is not.
package ops
