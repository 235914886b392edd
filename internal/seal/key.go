package seal

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// The first words of a key's text form: word, zone, key id, base64.
const (
	publicWord  = "akmatori-public-key"
	privateWord = "akmatori-private-key"
)

// keyID is a digest of zone and public key, so it cannot be put on another key.
type keyID [8]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

func newKeyID(zone ops.Zone, public hpke.PublicKey) keyID {
	sum := sha256.Sum256(fmt.Appendf(nil, "akmatori key %s %s", zone, public.Bytes()))
	return keyID(sum[:8])
}

// PublicKey seals to one zone. The zero value seals nothing.
type PublicKey struct {
	zone ops.Zone
	id   keyID
	key  hpke.PublicKey
}

// PrivateKey opens what its [PublicKey] sealed. No verb prints it.
type PrivateKey struct {
	zone ops.Zone
	id   keyID
	key  hpke.PrivateKey
}

// Ring is the private keys of one zone, newest first. The zero value opens nothing.
type Ring struct {
	zone ops.Zone
	keys []PrivateKey
}

// GenerateKey makes a key pair for a zone.
func GenerateKey(zone ops.Zone) (PrivateKey, PublicKey, error) {
	if err := knownZone(zone); err != nil {
		return PrivateKey{}, PublicKey{}, err
	}
	kem, _, _ := suite()
	key, err := kem.GenerateKey()
	if err != nil {
		return PrivateKey{}, PublicKey{}, fmt.Errorf("generate a key of zone %s: %w", zone, err)
	}
	k := newPrivate(zone, key)
	return k, k.Public(), nil
}

func newPrivate(zone ops.Zone, key hpke.PrivateKey) PrivateKey {
	return PrivateKey{zone: zone, id: newKeyID(zone, key.PublicKey()), key: key}
}

// Public gives the key that seals to k.
func (k PrivateKey) Public() PublicKey {
	return PublicKey{zone: k.zone, id: k.id, key: k.key.PublicKey()}
}

// Text is k's one-line form, for a file that its zone's process alone can read.
func (k PrivateKey) Text() (ops.Secret, error) {
	seed, err := k.key.Bytes()
	if err != nil {
		return ops.Secret{}, fmt.Errorf("private key %s: %w", k.id, err)
	}
	return ops.NewSecret(line(privateWord, k.zone, k.id, seed)), nil
}

// Format implements [fmt.Formatter].
func (k PrivateKey) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%s %s %s %s", privateWord, k.zone, k.id, ops.Redacted)
}

// ID names k in logs and in what its public key sealed.
func (k PrivateKey) ID() string { return k.id.String() }

// Zone says who can open what k seals.
func (k PublicKey) Zone() ops.Zone { return k.zone }

// ID names k in logs and in what it seals.
func (k PublicKey) ID() string { return k.id.String() }

// String is k's one-line form.
func (k PublicKey) String() string { return line(publicWord, k.zone, k.id, k.key.Bytes()) }

// ParsePublic reads the form that [PublicKey.String] writes. White space around
// it does not matter.
func ParsePublic(text string) (PublicKey, error) {
	zone, id, raw, err := parseLine(publicWord, text)
	if err != nil {
		return PublicKey{}, err
	}
	kem, _, _ := suite()
	key, err := kem.NewPublicKey(raw)
	if err != nil || newKeyID(zone, key) != id {
		return PublicKey{}, errors.New("public key: the key does not match its id")
	}
	return PublicKey{zone: zone, id: id, key: key}, nil
}

// NewRing makes a ring of keys of one zone, newest first.
func NewRing(keys ...PrivateKey) (Ring, error) {
	if len(keys) == 0 {
		return Ring{}, errors.New("key ring: there is no key in it")
	}
	r := Ring{zone: keys[0].zone, keys: keys}
	for _, k := range keys {
		if k.zone != r.zone {
			return Ring{}, fmt.Errorf("key ring: keys of zones %s and %s do not mix", r.zone, k.zone)
		}
	}
	return r, nil
}

// ParseRing reads the private keys of zone, one a line, newest first; empty
// lines and lines that start with # are skipped. Its errors name the line and
// never its content.
func ParseRing(zone ops.Zone, text ops.Secret) (Ring, error) {
	if err := knownZone(zone); err != nil {
		return Ring{}, err
	}
	kem, _, _ := suite()
	var keys []PrivateKey
	n := 0
	for l := range strings.Lines(text.Reveal()) {
		n++
		if l = strings.TrimSpace(l); l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		of, id, seed, err := parseLine(privateWord, l)
		if err != nil {
			return Ring{}, fmt.Errorf("key ring, line %d: %w", n, err)
		}
		if of != zone {
			return Ring{}, fmt.Errorf("key ring, line %d: a key of zone %s, but this is the ring of zone %s", n, of, zone)
		}
		key, err := kem.NewPrivateKey(seed)
		if err != nil || newKeyID(zone, key.PublicKey()) != id {
			return Ring{}, fmt.Errorf("key ring, line %d: the key does not match its id", n)
		}
		keys = append(keys, newPrivate(zone, key))
	}
	return NewRing(keys...)
}

// Zone says whose ring it is; empty for the zero Ring.
func (r Ring) Zone() ops.Zone { return r.zone }

// Public is the key to seal with: that of the ring's newest one. A ring must
// not be empty for this.
func (r Ring) Public() PublicKey { return r.keys[0].Public() }

// Keys gives the keys of the ring, newest first.
func (r Ring) Keys() []PrivateKey { return slices.Clone(r.keys) }

// Text is the form of r that [ParseRing] reads.
func (r Ring) Text() (ops.Secret, error) {
	var lines []string
	for _, k := range r.keys {
		text, err := k.Text()
		if err != nil {
			return ops.Secret{}, err
		}
		lines = append(lines, text.Reveal())
	}
	return ops.NewSecret(strings.Join(lines, "\n")), nil
}

// Format implements [fmt.Formatter]: the zone and the number of keys.
func (r Ring) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, fmt.Sprintf("key ring of zone %q with %d keys", string(r.zone), len(r.keys)))
}

func line(word string, zone ops.Zone, id keyID, raw []byte) string {
	return fmt.Sprintf("%s %s %s %s", word, zone, id, base64.StdEncoding.EncodeToString(raw))
}

// parseLine never puts a part of text into its error: a private key in a wrong
// place must not reach a log.
func parseLine(word, text string) (zone ops.Zone, id keyID, raw []byte, err error) {
	fields := strings.Fields(text)
	if len(fields) != 4 || fields[0] != word {
		return "", id, nil, fmt.Errorf("not of the form %q", word+" ZONE ID BASE64")
	}
	zone = ops.Zone(fields[1])
	if err := knownZone(zone); err != nil {
		return "", id, nil, err
	}
	rawID, err := hex.DecodeString(fields[2])
	if err != nil || len(rawID) != len(id) {
		return "", id, nil, errors.New("the key id is malformed")
	}
	raw, err = base64.StdEncoding.Strict().DecodeString(fields[3])
	if err != nil {
		return "", id, nil, errors.New("the key is not base64")
	}
	return zone, keyID(rawID), raw, nil
}

func knownZone(zone ops.Zone) error {
	switch zone {
	case ops.ZoneTools, ops.ZoneEgress, ops.ZoneAPI:
		return nil
	}
	return errors.New("unknown zone: there are tools, egress and api")
}
