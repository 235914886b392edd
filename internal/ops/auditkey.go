package ops

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// AuditChains are the chains that there are, each of one kind of process.
var AuditChains = []string{"api", "gateway", "proxy"}

// The first words of a key's text form: word, chain, key id, base64.
const (
	auditPrivateWord = "akmatori-audit-private-key"
	auditPublicWord  = "akmatori-audit-public-key"
)

// AuditKey signs the records of one chain (Ed25519, RFC 8032). The zero value
// signs nothing; no verb prints it.
type AuditKey struct {
	public  AuditPublicKey
	private ed25519.PrivateKey
}

// AuditPublicKey tells what an [AuditKey] has signed.
type AuditPublicKey struct {
	chain, id string
	key       ed25519.PublicKey
}

// NewAuditKey makes a key for a chain.
func NewAuditKey(chain string) AuditKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand.Reader never fails
	}
	return auditKey(chain, private)
}

func auditKey(chain string, private ed25519.PrivateKey) AuditKey {
	return AuditKey{auditPublic(chain, private.Public().(ed25519.PublicKey)), private}
}

// auditPublic derives the id from chain and key, so that it cannot be put on another.
func auditPublic(chain string, key ed25519.PublicKey) AuditPublicKey {
	sum := sha256.Sum256(fmt.Appendf(nil, "akmatori audit key %s %s", chain, key))
	return AuditPublicKey{chain, hex.EncodeToString(sum[:8]), key}
}

// ParseAuditKey reads the form that [AuditKey.Text] writes, of a key for chain.
// Its errors do not quote it.
func ParseAuditKey(chain string, text Secret) (AuditKey, error) {
	of, id, seed, err := parseAuditLine(auditPrivateWord, text.Reveal())
	if err != nil {
		return AuditKey{}, err
	}
	if of != chain || len(seed) != ed25519.SeedSize {
		return AuditKey{}, fmt.Errorf("audit key: it is no key of chain %s", chain)
	}
	k := auditKey(chain, ed25519.NewKeyFromSeed(seed))
	if k.public.id != id {
		return AuditKey{}, errors.New("audit key: the key does not match its id")
	}
	return k, nil
}

// Text is k's one-line form, for a file that its process alone can read.
func (k AuditKey) Text() Secret {
	return NewSecret(auditLine(auditPrivateWord, k.public.chain, k.public.id, k.private.Seed()))
}

// Format implements [fmt.Formatter].
func (k AuditKey) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%s %s %s %s", auditPrivateWord, k.public.chain, k.public.id, Redacted)
}

// Public gives the key that verifies what k signs.
func (k AuditKey) Public() AuditPublicKey { return k.public }

// Chain says which chain k signs; it is empty for the zero value.
func (k AuditKey) Chain() string { return k.public.chain }

// Sign signs for the records from number first to r, which is linked and the
// last of those that are written together. The zero key leaves r as it is.
func (k AuditKey) Sign(r *AuditRecord, first int64) {
	if k.private == nil {
		return
	}
	r.First, r.Key = first, k.public.id
	r.Signature = ed25519.Sign(k.private, r.Head().statement())
}

// AuditHead is where a chain was at some moment, signed by who wrote it. As
// each record holds the hash of the one before, it stands for all of them. It is
// what is kept outside of the database.
type AuditHead struct {
	Chain     string `json:"chain"`
	First     int64  `json:"first"` // of the records that were written with it
	Seq       int64  `json:"seq"`
	Hash      []byte `json:"hash"`
	Key       string `json:"key"`
	Signature []byte `json:"signature"`
}

// LogValue implements [slog.LogValuer]: as JSON it is what [ReadAuditHeads] reads.
func (h AuditHead) LogValue() slog.Value {
	return slog.GroupValue(slog.String("chain", h.Chain), slog.Int64("first", h.First), slog.Int64("seq", h.Seq),
		slog.String("hash", base64.StdEncoding.EncodeToString(h.Hash)), slog.String("key", h.Key),
		slog.String("signature", base64.StdEncoding.EncodeToString(h.Signature)))
}

// Head is what r's signature is of. It is empty of a record that has none.
func (r *AuditRecord) Head() AuditHead {
	if r.Key == "" {
		return AuditHead{}
	}
	return AuditHead{r.Chain, r.First, r.Seq, r.Hash, r.Key, r.Signature}
}

// statement is what is signed: JSON of a fixed list, which is unambiguous.
func (h AuditHead) statement() []byte {
	b, _ := json.Marshal([]any{"akmatori audit head", 1, h.Chain, h.First, h.Seq, hex.EncodeToString(h.Hash)})
	return b
}

// AuditKeys are the public keys that are trusted: of each chain those that sign
// now and those that did before a rotation.
type AuditKeys []AuditPublicKey

// ParseAuditKeys reads public keys, one a line; empty lines and lines that start
// with # are skipped.
func ParseAuditKeys(text string) (AuditKeys, error) {
	var keys AuditKeys
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		chain, id, raw, err := parseAuditLine(auditPublicWord, line)
		if err != nil || len(raw) != ed25519.PublicKeySize || auditPublic(chain, raw).id != id {
			return nil, fmt.Errorf("audit keys, line %d: it is no public key of the audit", n)
		}
		keys = keys.With(auditPublic(chain, raw))
	}
	return keys, nil
}

// Chain says which chain k verifies.
func (k AuditPublicKey) Chain() string { return k.chain }

// ID names k in what it signed.
func (k AuditPublicKey) ID() string { return k.id }

// String is k's one-line form.
func (k AuditPublicKey) String() string { return auditLine(auditPublicWord, k.chain, k.id, k.key) }

// String is the form that [ParseAuditKeys] reads.
func (all AuditKeys) String() string {
	lines := make([]string, len(all))
	for i, k := range all {
		lines[i] = k.String()
	}
	return strings.Join(lines, "\n")
}

// With gives the keys with those that are not among them.
func (all AuditKeys) With(more ...AuditPublicKey) AuditKeys {
	all = slices.Clone(all)
	for _, k := range more {
		if !slices.ContainsFunc(all, func(have AuditPublicKey) bool { return have.chain == k.chain && have.id == k.id }) {
			all = append(all, k)
		}
	}
	return all
}

// Verify says whether one of the keys has signed h.
func (all AuditKeys) Verify(h AuditHead) bool {
	return slices.ContainsFunc(all, func(k AuditPublicKey) bool {
		return k.chain == h.Chain && k.id == h.Key && ed25519.Verify(k.key, h.statement(), h.Signature)
	})
}

func auditLine(word, chain, id string, raw []byte) string {
	return word + " " + chain + " " + id + " " + base64.StdEncoding.EncodeToString(raw)
}

func parseAuditLine(word, text string) (chain, id string, raw []byte, err error) {
	fields := strings.Fields(text)
	if len(fields) != 4 || fields[0] != word || !slices.Contains(AuditChains, fields[1]) {
		return "", "", nil, fmt.Errorf("audit key: it is not of the form %q", word+" CHAIN ID BASE64")
	}
	if raw, err = base64.StdEncoding.Strict().DecodeString(fields[3]); err != nil {
		return "", "", nil, errors.New("audit key: its last word is no base64")
	}
	return fields[1], fields[2], raw, nil
}
