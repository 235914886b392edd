// Package seal encrypts credentials to a zone, so that the process that stores
// them cannot read them back.
//
// Each zone (the gateway's tools, the proxy's egress) has HPKE key pairs (RFC
// 9180; X-Wing, HKDF-SHA256, AES-256-GCM). The api holds public keys alone and
// seals with them ([PublicKey.Seal]); the zone's process holds the private keys
// as a ring and opens at the moment of use ([Ring.Open]). The zone api is the
// api's own, for what it must know in clear itself: the secrets that its
// senders sign with.
//
// # What a seal is bound to
//
// The format's magic, the zone, the key and [ops.Credential.Info] (id, kind, targets,
// version) are the info of the HPKE context. A row that was moved to another id,
// widened to another target, rolled back to an old version or flipped in one bit
// does not open, and neither does a row copied into the other zone: every
// mismatch is the same [ErrNotOpened], because the cipher cannot tell which it
// was and the caller must not care. A key that is missing is told apart
// ([ErrUnknownKey]): an operator who rotated too early has to know.
//
// What it does not promise: freshness of a whole row (an old row with its old
// version put back opens) and the length of the plaintext.
//
// # Rotation
//
// The first line of a ring is the newest key. Old keys stay behind it until
// every row that names them is sealed anew, by whoever knows the plaintext. A
// process that runs meanwhile opens with an [Opener], which looks for the new
// key when it meets it.
//
// This package does no I/O; where keys are kept is its callers' matter.
package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/akmatori/akmatori/internal/ops"
)

// MaxPlaintext bounds what is sealed: keys and tokens, not documents.
const MaxPlaintext = 64 << 10

var (
	// ErrUnknownKey means that the ring has no key of the id in the seal.
	ErrUnknownKey = errors.New("sealed with a key that is not in the ring")
	// ErrNotOpened means that the sealed bytes and the credential's id, kind,
	// targets, version and zone do not belong together, or were changed.
	ErrNotOpened = errors.New("the sealed credential does not open")
)

// A sealed value is magic, key id, encapsulated key, ciphertext. The magic
// ends in the version; another suite is another version.
var magic = []byte("AKS\x01")

func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// Seal encrypts plaintext for cred, whose other fields must be final: the seal
// is bound to them. cred.Sealed is not read.
func (k PublicKey) Seal(cred ops.Credential, plaintext ops.Secret) ([]byte, error) {
	if err := checkZone(cred, k.zone); err != nil {
		return nil, err
	}
	if n := len(plaintext.Reveal()); n == 0 || n > MaxPlaintext {
		return nil, fmt.Errorf("seal: a secret has 1 to %d bytes, not %d", MaxPlaintext, n)
	}
	_, kdf, aead := suite()
	box, err := hpke.Seal(k.key, kdf, aead, info(k.zone, k.id, cred), []byte(plaintext.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return bytes.Join([][]byte{magic, k.id[:], box}, nil), nil
}

// Open decrypts cred.Sealed. Its error is [ErrUnknownKey] or [ErrNotOpened].
func (r Ring) Open(cred ops.Credential) (ops.Secret, error) {
	if err := checkZone(cred, r.zone); err != nil {
		return ops.Secret{}, fmt.Errorf("%w: %w", ErrNotOpened, err)
	}
	id, rest, ok := cut(cred.Sealed)
	if !ok {
		return ops.Secret{}, fmt.Errorf("%w: not a sealed value of a known version", ErrNotOpened)
	}
	for _, k := range r.keys {
		if k.id != id {
			continue
		}
		_, kdf, aead := suite()
		plaintext, err := hpke.Open(k.key, kdf, aead, info(r.zone, id, cred), rest)
		if err != nil {
			return ops.Secret{}, ErrNotOpened // the reason of a cipher helps attackers alone
		}
		return ops.NewSecret(string(plaintext)), nil
	}
	return ops.Secret{}, fmt.Errorf("%w: zone %s, key %s", ErrUnknownKey, r.zone, id)
}

// Mark is by what the holder of a ring knows a plaintext again that it has sealed to
// a zone whose seals it cannot open. It is bound to what a seal is bound to. To who
// has no key of the ring it says nothing, not even of a plaintext that is easy to
// guess. A ring without keys gives none.
func (r Ring) Mark(cred ops.Credential, plaintext ops.Secret) ([]byte, error) {
	if len(r.keys) == 0 {
		return nil, nil
	}
	return r.keys[0].mark(cred, plaintext)
}

// Marked says whether mark is that of cred and plaintext, by any key of the ring.
func (r Ring) Marked(mark []byte, cred ops.Credential, plaintext ops.Secret) bool {
	return slices.ContainsFunc(r.keys, func(k PrivateKey) bool {
		want, err := k.mark(cred, plaintext)
		return err == nil && hmac.Equal(mark, want)
	})
}

func (k PrivateKey) mark(cred ops.Credential, plaintext ops.Secret) ([]byte, error) {
	raw, err := k.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w", k.id, err)
	}
	key, err := hkdf.Key(sha256.New, raw, nil, "akmatori mark of a secret", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w", k.id, err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s\x00%s", info(k.zone, k.id, cred), plaintext.Reveal())
	return mac.Sum(nil), nil
}

// KeyID names the key that sealed was sealed with, as [PublicKey.ID] does. It
// is empty for what is not a sealed value of a known version.
func KeyID(sealed []byte) string {
	id, _, ok := cut(sealed)
	if !ok {
		return ""
	}
	return id.String()
}

// cut gives the key id of a sealed value, and what follows it.
func cut(sealed []byte) (id keyID, rest []byte, ok bool) {
	rest, ok = bytes.CutPrefix(sealed, magic)
	if !ok || len(rest) < len(id) {
		return id, nil, false
	}
	return id, rest[copy(id[:], rest):], true
}

func info(zone ops.Zone, id keyID, cred ops.Credential) []byte {
	if cred.Targets == nil {
		cred.Targets = []string{} // a database gives none as an empty list
	}
	return fmt.Appendf(nil, "%s %s %s %s", magic, zone, id, cred.Info())
}

func checkZone(cred ops.Credential, zone ops.Zone) error {
	if of, ok := ops.CredentialKinds[cred.Kind]; !ok || of != zone {
		return fmt.Errorf("seal: a credential of kind %q is not of zone %q", cred.Kind, zone)
	}
	return nil
}
