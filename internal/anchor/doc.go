// Package anchor keeps heads of the audit outside of the database, so that
// somebody who can change all of it cannot change the past unseen.
//
// # How it hangs together
//
// Each kind of process (api, gateway, proxy) writes a chain of its own and holds
// an Ed25519 key for it that no other process has; akmatori-init makes it into the
// volume of its owner, where a new one replaces it at each rotation. Every
// transaction of the audit ends with a record that is signed for all records of it
// ([ops.AuditKey]). So no record is without a signature, and each signature stands,
// by the hashes, for everything before it. The newest signed record, the head, is
// written to two places that the database does not reach: a file in a volume of the
// process (one line for each head, flushed to the disk), and its log, which an
// operator can send to another machine. This happens every ten seconds if there is
// something new, or after a thousand records, and when the process stops. It is
// also at /audit/heads of the operations listener.
//
// The public keys are in one file beside the api's keys, all that ever were. `akmatori
// audit verify` takes them and the anchors as files, and needs to trust nobody who
// runs: not the database, not the api that it reads the records from.
//
// # Who can do what
//
// The administrator of the database, or who stole a backup and can write it back,
// can edit, delete, insert and reorder rows and compute all hashes anew. They have
// no key: the first record that is not as it was is named. They can cut the end
// off, because what is left is as it was; a head in the anchors is then missing.
// What they can cut unseen is what no process has anchored yet: ten seconds.
// They cannot use a record of one deployment or chain in another, as the signature
// is of chain, place and content and by a key of that deployment.
//
// Who has taken over the api has its key and its role, which may insert into the
// chain api and change nothing. They can lie in that chain from then on, or write
// nothing, and sign it. They cannot sign or even insert into the chains gateway and
// proxy, so what was executed and which model was asked stays on record. With the
// database in addition they can write the chain api anew from its start, with good
// signatures; the anchors in the log that was sent away tell, those in the api's own
// volume may be forged with it.
//
// Who has taken over the gateway can lie in the chain gateway from then on. What
// they did before, who approved it and what was changed through the api stands. A
// proxy that was taken over is the same for its chain.
//
// Who controls the machine controls all of it, up to the last head that has left it.
//
// # When something is wrong
//
// A process that starts looks whether its last anchor is still in the database,
// and does so again before each new one. If it is not, that is logged as an error,
// recorded in the chain (audit.broken) and shown by the metric
// akmatori_audit_broken. It goes on: after a restore, or a switch to a replica that
// was behind, the database is rightly an older one, and an operator says which it
// was. A key that is missing or does not fit, or a folder that cannot be written,
// keeps the process from starting. An anchor that cannot be written later is an
// error in the log and in akmatori_audit_anchor_failures_total, and tried again.
package anchor
