package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a [Secret] shows in place of itself.
const Redacted = "[redacted]"

// Secret is a credential, key, password or token in clear. Formatting it with
// any verb, marshalling it or logging it gives [Redacted]. Unmarshalling works,
// so that a request body can carry one.
type Secret struct{ value string }

// NewSecret wraps a plaintext. Wrap at the first byte that is read.
func NewSecret(plaintext string) Secret { return Secret{plaintext} }

// Reveal gives the plaintext, for the one statement that must have it.
func (s Secret) Reveal() string { return s.value }

// Empty says whether there is nothing inside.
func (s Secret) Empty() bool { return s.value == "" }

// Equal compares in constant time, independent of length.
func (s Secret) Equal(other Secret) bool {
	a, b := sha256.Sum256([]byte(s.value)), sha256.Sum256([]byte(other.value))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format implements [fmt.Formatter], so no verb prints the plaintext.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// String implements [fmt.Stringer].
func (s Secret) String() string { return Redacted }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements [encoding.TextMarshaler], which JSON, YAML and XML use.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Secret) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}

// UnmarshalJSON accepts a JSON string.
func (s *Secret) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &s.value) }
