package ops

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// NewID gives a UUID version 7 (RFC 9562 section 5.7): time-ordered, so that
// rows inserted together lie together in an index.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // crypto/rand.Read never fails (Go 1.24)
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(b[:6], ms[2:])
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ValidID says whether s has the form of [NewID]'s values. Identifiers from
// outside are checked before they reach SQL, so that a malformed one is "not
// found" and not a database error.
func ValidID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	_, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	return err == nil
}

// Token prefixes tell a leaked token's kind to a secret scanner and keep one
// audience's token from looking like another's.
const (
	APITokenPrefix     = "akm_"  // public API
	SetupTokenPrefix   = "akms_" // one-time link for the first admin
	InviteTokenPrefix  = "akmi_" // one-time link of any other user
	GatewayTokenPrefix = "akmg_" // one run, audience gateway
	ClientTokenPrefix  = "akmc_" // a client or service, audience gateway
	ProxyTokenPrefix   = "akmp_" // one run, audience proxy
	WorkerTokenPrefix  = "akmw_" // workers of one deployment
	WebhookTokenPrefix = "akmh_" // generated webhook secrets
)

// NewToken gives prefix followed by 256 random bits in base64url.
func NewToken(prefix string) Secret {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return NewSecret(prefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// Bearer gives the token of an Authorization header of that scheme, which has no
// case (RFC 9110, section 11.1).
func Bearer(header string) (token string, ok bool) {
	scheme, token, ok := strings.Cut(header, " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// HashToken is what is stored of a token: SHA-256, which suffices for 256
// random bits. It is not for passwords.
func HashToken(t Secret) []byte {
	sum := sha256.Sum256([]byte(t.value))
	return sum[:]
}
