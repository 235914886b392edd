package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// SecretHeader carries the secret of senders that cannot set Authorization.
const SecretHeader = "X-Akmatori-Secret"

// The headers of signatures. Grafana lets people name its own; these are the
// names that the page tells them to use.
const (
	pagerDutySignature = "X-PagerDuty-Signature"
	pagerDutyDelivery  = "X-Webhook-Id"
	grafanaSignature   = "X-Grafana-Alerting-Signature"
	grafanaTimestamp   = "X-Grafana-Alerting-Timestamp"
)

const (
	// A signed request may be this old or this far ahead.
	maxSkew = 300 * time.Second
	// During its rotation of a secret a sender signs with each of them.
	maxSignatures = 16
)

// Secrets are those that a request may prove itself by: more than one while a
// secret is being replaced.
type Secrets struct {
	Hashes [][]byte     // of secrets that requests carry ([ops.HashToken])
	Keys   []ops.Secret // that requests are signed with
}

// Authenticate says whether a request knows one of the secrets. If there are
// keys it must be signed: a secret that it carries then counts for nothing.
func (s Source) Authenticate(r Request, secrets Secrets) bool {
	ok := false
	if len(secrets.Keys) > 0 {
		for _, key := range secrets.Keys {
			ok = s.Signed != nil && !key.Empty() && s.Signed(r, key) || ok
		}
		return ok
	}
	given := sharedSecret(r.Header)
	hash := ops.HashToken(ops.NewSecret(given))
	for _, want := range secrets.Hashes {
		ok = subtle.ConstantTimeCompare(hash, want) == 1 || ok
	}
	return ok && given != ""
}

// sharedSecret finds the secret that a request carries: as a bearer token, as
// the password of basic authentication (with any user name) or in [SecretHeader].
func sharedSecret(header http.Header) string {
	given := header.Get(SecretHeader)
	if scheme, rest, ok := strings.Cut(header.Get("Authorization"), " "); ok {
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			given = strings.TrimSpace(rest)
		case strings.EqualFold(scheme, "Basic"):
			r := http.Request{Header: header}
			_, given, _ = r.BasicAuth()
		}
	}
	return given
}

// signedByPagerDuty reads "v1=<hex>[,v1=<hex>…]": one that fits is enough.
func signedByPagerDuty(r Request, key ops.Secret) bool {
	want := digest(key, r.Body)
	ok := false
	for i, signature := range strings.SplitN(strings.Join(r.Header.Values(pagerDutySignature), ","), ",", maxSignatures+1) {
		if v1, found := strings.CutPrefix(strings.TrimSpace(signature), "v1="); found && i < maxSignatures {
			ok = same(want, v1) || ok
		}
	}
	return ok
}

// signedByGrafana takes a signature of the body or, if there is a timestamp, of
// "<timestamp>:<body>" within maxSkew. A signature of the second kind never
// passes as one of the first: the body it then signs is no JSON.
func signedByGrafana(r Request, key ops.Secret) bool {
	signed := r.Body
	if stamp := r.Header.Get(grafanaTimestamp); stamp != "" {
		seconds, err := strconv.ParseInt(stamp, 10, 64)
		// Compared as numbers: the difference to the year 292277026596 has no Duration.
		now, skew := r.ReceivedAt.Unix(), int64(maxSkew/time.Second)
		if err != nil || seconds < now-skew || seconds > now+skew {
			return false
		}
		signed = append([]byte(stamp+":"), r.Body...)
	}
	return same(digest(key, signed), r.Header.Get(grafanaSignature))
}

// signAsPagerDuty and signAsGrafana do what those two check.
func signAsPagerDuty(r Request, key ops.Secret) {
	r.Header.Set(pagerDutySignature, "v1="+hex.EncodeToString(digest(key, r.Body)))
}

func signAsGrafana(r Request, key ops.Secret) {
	stamp := strconv.FormatInt(r.ReceivedAt.Unix(), 10)
	r.Header.Set(grafanaTimestamp, stamp)
	r.Header.Set(grafanaSignature, hex.EncodeToString(digest(key, append([]byte(stamp+":"), r.Body...))))
}

func digest(key ops.Secret, message []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = mac.Write(message)
	return mac.Sum(nil)
}

func same(want []byte, given string) bool {
	raw, err := hex.DecodeString(given)
	return err == nil && hmac.Equal(want, raw)
}
