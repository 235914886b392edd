package ops

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// maxTogether is how many records one signature may be for: more without one
// were written by nobody.
const maxTogether = 1000

// AuditVerifier checks one chain, record by record, in bounded memory:
//
//   - that each record follows the one before and has not changed;
//   - that each was signed by a key that is trusted. Records from before records
//     were signed are let through at the start of a chain, and nowhere else;
//   - that the heads that were kept outside ([ReadAuditHeads]) are in it, so that
//     one that was rewritten by somebody with a key, or cut off, shows as well.
type AuditVerifier struct {
	chain   string
	keys    AuditKeys
	anchors []AuditHead // still to come, by number

	last     *AuditRecord
	next     int64 // the first record that no signature stands for yet
	unsigned int64
	signed   bool
	anchored int64 // the last record that an anchor stands for
}

// NewAuditVerifier makes one for a chain. heads of other chains are left out.
func NewAuditVerifier(chain string, keys AuditKeys, heads []AuditHead) *AuditVerifier {
	v := &AuditVerifier{chain: chain, keys: keys, next: 1}
	for _, h := range heads {
		if h.Chain == chain {
			v.anchors = append(v.anchors, h)
		}
	}
	slices.SortStableFunc(v.anchors, func(a, b AuditHead) int { return int(min(1, max(-1, a.Seq-b.Seq))) })
	return v
}

// Records is how many were good so far.
func (v *AuditVerifier) Records() int64 {
	if v.last == nil {
		return 0
	}
	return v.last.Seq
}

// Unsigned is how many of them are from before records were signed.
func (v *AuditVerifier) Unsigned() int64 { return v.unsigned }

// Anchored is the number of the last record that was compared with a head kept
// outside: what is behind it could have been cut off.
func (v *AuditVerifier) Anchored() int64 { return v.anchored }

// Head is the hash of the last good record.
func (v *AuditVerifier) Head() []byte {
	if v.last == nil {
		return nil
	}
	return v.last.Hash
}

// Next takes records in the order of the chain. The error is a [ChainError];
// after one the verifier is of no more use.
func (v *AuditVerifier) Next(records ...AuditRecord) error {
	for i := range records {
		if err := v.step(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (v *AuditVerifier) step(r *AuditRecord) error {
	if r.Chain != v.chain {
		return v.broken(v.Records()+1, "it belongs to another chain")
	}
	last, err := VerifyChain(v.last, []AuditRecord{*r})
	if err != nil {
		return err
	}
	for ; len(v.anchors) > 0 && v.anchors[0].Seq <= r.Seq; v.anchors = v.anchors[1:] {
		a := v.anchors[0]
		if !bytes.Equal(a.Hash, r.Hash) || a.Seq != r.Seq {
			return v.broken(a.Seq, fmt.Sprintf("it is not the one whose head was kept outside: this record, or one behind record %d, was written anew", v.anchored))
		}
		v.anchored = a.Seq
	}
	if err := v.signature(r); err != nil {
		return err
	}
	v.last = last
	return nil
}

func (v *AuditVerifier) signature(r *AuditRecord) error {
	h := r.Head()
	switch {
	case h.Key == "" && len(r.Signature) > 0:
		return v.broken(r.Seq, "it has a signature without a key")
	case h.Key == "" && v.signed && r.Seq-v.next >= maxTogether:
		return v.broken(v.next, "nobody has signed it")
	case h.Key == "":
		return nil
	case h.First < 1 || h.First > h.Seq || h.Seq-h.First >= maxTogether:
		return v.broken(r.Seq, "its signature is for records that it cannot be for")
	case !v.signed:
		v.unsigned = h.First - 1
	case h.First > v.next:
		return v.broken(v.next, "nobody has signed it")
	case h.First < v.next:
		return v.broken(r.Seq, "its signature is for records that another one was for")
	}
	if !v.keys.Verify(h) {
		if !slices.ContainsFunc(v.keys, func(k AuditPublicKey) bool { return k.chain == h.Chain && k.id == h.Key }) {
			return v.broken(h.First, fmt.Sprintf("it is signed with the key %.32q, which is not trusted", h.Key))
		}
		return v.broken(h.First, fmt.Sprintf("the signature for records %d to %d is wrong", h.First, h.Seq))
	}
	v.signed, v.next = true, r.Seq+1
	return nil
}

// End says whether the chain may end here.
func (v *AuditVerifier) End() error {
	switch {
	case len(v.anchors) > 0:
		a := v.anchors[len(v.anchors)-1]
		return v.broken(v.Records()+1, fmt.Sprintf("it is missing: the head of record %d was kept outside", a.Seq))
	case v.last != nil && !v.signed:
		return v.broken(1, "no record of the chain is signed")
	case v.last != nil && v.next <= v.last.Seq:
		return v.broken(v.next, "nobody has signed it")
	}
	return nil
}

func (v *AuditVerifier) broken(seq int64, reason string) error {
	return &ChainError{Chain: v.chain, Seq: seq, Reason: reason}
}

// AnchoredHead is a line of a file of anchors.
type AnchoredHead struct {
	Head AuditHead `json:"audit_head"`
}

// maxAnchorLine bounds a line of a log that may be anything.
const maxAnchorLine = 1 << 20

// ReadAuditHeads reads the heads that a process has kept: its file of anchors,
// or its log as JSON lines (also behind what docker compose puts in front of each
// line). Lines without a whole head are skipped. A head that none of the keys has
// signed is an error.
func ReadAuditHeads(r io.Reader, keys AuditKeys) ([]AuditHead, error) {
	var heads []AuditHead
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxAnchorLine)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if !bytes.Contains(line, []byte(`"audit_head"`)) {
			continue
		}
		var a AnchoredHead
		if json.Unmarshal(line[max(0, bytes.IndexByte(line, '{')):], &a) != nil || a.Head.Seq < 1 {
			continue // half a line, from when the power went
		}
		if !keys.Verify(a.Head) {
			return nil, fmt.Errorf("line %d: the head of record %d of chain %.32q is signed by none of the keys", n, a.Head.Seq, a.Head.Chain)
		}
		heads = append(heads, a.Head)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return heads, nil
}

// AuditExportFormat is what [AuditExport] says of the lines behind it.
const AuditExportFormat = 1

// AuditExport is the first line of an export; the records follow, one a line,
// those of a complete one by chain and number.
type AuditExport struct {
	Format   int       `json:"akmatori_audit"`
	At       time.Time `json:"exported_at"`
	Chains   []string  `json:"chains"`
	Complete bool      `json:"complete"` // all records of these chains
	Keys     []string  `json:"keys"`     // public ones; compare them with those of the deployment
}

// AuditExportEnd is the last line of an export that was not cut off.
type AuditExportEnd struct {
	End     bool  `json:"end"`
	Records int64 `json:"records"`
}
