package ops

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// AuditRecord is one decision or act. Records of one chain (one writer's kind:
// api, gateway, proxy) are numbered from 1 and each holds the hash of the one
// before, so that an edit, a removal or a reordering shows.
type AuditRecord struct {
	Chain string    `json:"chain"`
	Seq   int64     `json:"seq"`
	At    time.Time `json:"at"`
	// Actor is who, as a chain: "run:ID", "user:name", "token:name", "system".
	Actor string `json:"actor"`
	// Action is what: tool.intent, tool.outcome, tool.denied, credential.created, …
	Action string `json:"action"`
	// Object is on what: a call, a credential, a target.
	Object  string `json:"object"`
	RunID   string `json:"run_id,omitempty"`
	Outcome string `json:"outcome"` // ok, denied, failed, unknown, intent
	// Detail holds facts, never secrets or output: rule, digest, latency.
	Detail map[string]string `json:"detail,omitempty"`
	Prev   []byte            `json:"prev"`
	Hash   []byte            `json:"hash"`

	// First, Key and Signature are set in the last of the records that were
	// written together: the writer signs for all from First to this one.
	First     int64  `json:"first,omitempty"`
	Key       string `json:"key,omitempty"`
	Signature []byte `json:"signature,omitempty"`
}

// Link sets r's place behind a predecessor (zero for the first of a chain) and
// computes its hash. At is cut to microseconds, which is what Postgres keeps;
// bytes that it does not keep in a text (NUL, what is not UTF-8) are replaced, so
// that nobody is left out of the audit by a name.
func (r *AuditRecord) Link(seq int64, prev []byte) {
	for _, s := range []*string{&r.Actor, &r.Action, &r.Object, &r.RunID, &r.Outcome} {
		*s = Storable(*s)
	}
	detail := make(map[string]string, len(r.Detail))
	for k, v := range r.Detail {
		detail[Storable(k)] = Storable(v)
	}
	r.Detail = detail
	r.Seq, r.Prev = seq, prev
	r.At = r.At.UTC().Truncate(time.Microsecond)
	r.Hash = r.digest()
}

// Storable is text of anybody as Postgres takes it: each NUL, and each run of bytes
// that is no UTF-8, is U+FFFD.
func Storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func (r *AuditRecord) digest() []byte {
	detail := r.Detail
	if detail == nil {
		detail = map[string]string{}
	}
	// JSON of a fixed list: unambiguous, and maps are marshalled in key order.
	b, _ := json.Marshal([]any{"akmatori audit", 1, r.Chain, r.Seq, r.At.UTC().Format(time.RFC3339Nano),
		r.Actor, r.Action, r.Object, r.RunID, r.Outcome, detail, hex.EncodeToString(r.Prev)})
	sum := sha256.Sum256(b)
	return sum[:]
}

// ChainError names the first record that does not fit its chain.
type ChainError struct {
	Chain  string
	Seq    int64
	Reason string
}

// Error implements error.
func (e *ChainError) Error() string {
	return fmt.Sprintf("audit chain %s is broken at record %d: %s", e.Chain, e.Seq, e.Reason)
}

// VerifyChain checks records, in order and of one chain, against the
// predecessor last (nil at the start of a chain). It returns the last record,
// to be handed to the next call, or a [ChainError].
func VerifyChain(last *AuditRecord, records []AuditRecord) (*AuditRecord, error) {
	for i := range records {
		r := &records[i]
		seq, prev := int64(1), []byte(nil)
		if last != nil {
			seq, prev = last.Seq+1, last.Hash
		}
		switch {
		case r.Seq != seq:
			return last, &ChainError{r.Chain, seq, fmt.Sprintf("the next record has number %d", r.Seq)}
		case !bytes.Equal(r.Prev, prev):
			return last, &ChainError{r.Chain, seq, "it does not follow the record before"}
		case !bytes.Equal(r.Hash, r.digest()):
			return last, &ChainError{r.Chain, seq, "its content does not match its hash"}
		}
		last = r
	}
	return last, nil
}
