package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what RFC 6238 and the apps use; HMAC does not need collisions to be hard
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Time-based one-time passwords (RFC 6238) as every app makes them: SHA-1, six
// digits, steps of 30 seconds. A code of the step before or after counts, since
// clocks differ and people type (section 5.2).
const (
	totpStep   = 30 * time.Second
	totpDigits = 6
	totpSkew   = 1
	totpBytes  = 20 // of the secret: as long as the hash (RFC 4226, section 4)
)

var totpText = base32.StdEncoding.WithPadding(base32.NoPadding)

// newTOTPSecret makes a secret, in the form that people type into an app.
func newTOTPSecret() ops.Secret {
	raw := make([]byte, totpBytes)
	_, _ = rand.Read(raw) // which never fails
	return ops.NewSecret(totpText.EncodeToString(raw))
}

// totpURI is what is in the QR code, in the form that apps agree on
// (Key URI Format of Google Authenticator).
func totpURI(secret ops.Secret, issuer, account string) string {
	q := url.Values{"secret": {secret.Reveal()}, "issuer": {issuer}}
	return (&url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + account, RawQuery: strings.ReplaceAll(q.Encode(), "+", "%20")}).String()
}

// totpCode is the code of a step (RFC 4226, section 5.3).
func totpCode(key []byte, step int64, digits int) string {
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	n := uint64(binary.BigEndian.Uint32(sum[at:at+4]) & 0x7fffffff)
	mod := uint64(1)
	for range digits {
		mod *= 10
	}
	return fmt.Sprintf("%0*d", digits, n%mod)
}

// totpMatch gives the step that a code is of, among those that count now. It
// compares with all of them, so that time tells nothing.
func totpMatch(secret ops.Secret, code string, now time.Time) (step int64, ok bool, err error) {
	key, err := totpText.DecodeString(secret.Reveal())
	if err != nil {
		return 0, false, fmt.Errorf("the secret of a second factor is damaged")
	}
	at := now.Unix() / int64(totpStep/time.Second)
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		if subtle.ConstantTimeCompare([]byte(totpCode(key, s, totpDigits)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok, nil
}

// recoveryCodes is how many there are of them.
const recoveryCodes = 10

// newRecoveryCode makes one: 80 random bits, so that its hash can be stored
// without salt, in four groups that can be read out.
func newRecoveryCode() ops.Secret {
	raw := make([]byte, 10)
	_, _ = rand.Read(raw)
	t := strings.ToLower(totpText.EncodeToString(raw))
	return ops.NewSecret(t[:4] + "-" + t[4:8] + "-" + t[8:12] + "-" + t[12:])
}

// givenCode reads a code as people write it: digits with spaces, or a recovery
// code in any case, with or without its dashes. What is neither is "".
func givenCode(text ops.Secret) (code string, recovery bool) {
	t := strings.ToLower(strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, text.Reveal()))
	switch {
	case len(t) == totpDigits && strings.Trim(t, "0123456789") == "":
		return t, false
	case len(t) == 16 && strings.Trim(t, "abcdefghijklmnopqrstuvwxyz234567") == "":
		return t[:4] + "-" + t[4:8] + "-" + t[8:12] + "-" + t[12:], true
	}
	return "", false
}
