// Package ingest turns what a sender posted into alerts in the platform's
// words. It is pure: bytes in, [ops.Alert] out, no I/O and no clock of its own.
// It decides neither what an alert does to an incident nor whether a delivery
// is kept; a body that it cannot read is an error with a text for the people
// who look after the source, and the caller stores the body all the same.
//
// # Invariants
//
//   - Every text of an alert is valid UTF-8 without NUL (Postgres keeps neither
//     in text nor in jsonb), and is cut to the limits below. A cut text ends in
//     an ellipsis.
//   - Keys (identity, episode, group) are never cut: one over [maxKey] is
//     replaced by its hash, so that two long ones stay two.
//   - Links are absolute http or https addresses and nothing else.
//
// A new kind of sender is one file and one line of [Sources].
package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of one alert and of one delivery, in bytes unless they count something.
const (
	MaxAlerts = 10_000 // in one delivery; the rest counts as truncated

	maxKey         = 512 // well below what fits into an index row
	maxTitle       = 300
	maxShort       = 300 // service, host
	maxText        = 16 << 10
	maxURL         = 2 << 10
	maxLabels      = 128
	maxLabelName   = 256
	maxLabel       = 4 << 10
	maxAnnotations = 64
)

// A sender's clock may be off by this much before its times are replaced by
// ours: a state dated far ahead would make every later one look old.
const maxAhead = 24 * time.Hour

// Source is one kind of sender.
type Source struct {
	Kind string // as in [ops.Source]
	Name string // for people
	// Parse reads one body. It may return alerts and an error: the error then
	// says what else was there and could not be read.
	Parse func(body []byte, contentType string, receivedAt time.Time) (Parsed, error)
	// Authenticate says whether a request knows the secret whose hash
	// ([ops.HashToken]) is given. It compares in constant time.
	Authenticate func(header http.Header, body []byte, secretHash []byte) bool
}

// Parsed is what a body said.
type Parsed struct {
	Alerts []ops.Alert
	// Truncated counts alerts that are missing: left out by the sender, as it
	// says itself, or over [MaxAlerts].
	Truncated int
}

// Sources lists the kinds of senders.
var Sources = []Source{
	{Kind: "alertmanager", Name: "Prometheus Alertmanager", Parse: parseAlertmanager, Authenticate: sharedSecret},
}

// Lookup finds a kind in [Sources].
func Lookup(kind string) (Source, bool) {
	i := slices.IndexFunc(Sources, func(s Source) bool { return s.Kind == kind })
	if i < 0 {
		return Source{}, false
	}
	return Sources[i], true
}

// SecretHeader carries the secret of senders that cannot set Authorization.
const SecretHeader = "X-Akmatori-Secret"

// sharedSecret takes the secret as a bearer token, as the password of basic
// authentication (with any user name) or in [SecretHeader].
func sharedSecret(header http.Header, _ []byte, secretHash []byte) bool {
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
	ok := subtle.ConstantTimeCompare(ops.HashToken(ops.NewSecret(given)), secretHash) == 1
	return ok && given != ""
}

// stringMap is a JSON object whose values become text, whatever they are. A
// null map is empty, a null value is left out.
type stringMap map[string]string

// UnmarshalJSON implements [json.Unmarshaler].
func (m *stringMap) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*m = make(stringMap, len(raw))
	for k, v := range raw {
		if string(v) != "null" {
			(*m)[clean(k)] = looseText(v)
		}
	}
	return nil
}

// looseText gives a JSON string's content and any other value's source text.
func looseText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = string(raw)
	}
	return clean(s)
}

// text is a JSON value that is wanted as a string and never an error.
type text string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(data []byte) error {
	if string(data) != "null" {
		*t = text(looseText(data))
	}
	return nil
}

// time reads RFC 3339. Anything else, and the year 1 that stands for "not yet", is zero.
func (t text) time() time.Time {
	at, err := time.Parse(time.RFC3339Nano, string(t))
	if err != nil || at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}
	}
	return at.UTC()
}

// count reads a number that is not negative. Anything else is 0.
func (t text) count() int {
	n, err := strconv.ParseFloat(string(t), 64)
	if err != nil || !(n > 0) {
		return 0
	}
	return int(min(n, 1e9))
}

// first gives the first of the named entries that is not blank.
func (m stringMap) first(names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(m[name]); v != "" {
			return v
		}
	}
	return ""
}

// limited gives m with at most entries values, each cut to size. Which ones
// are kept depends on their names alone.
func (m stringMap) limited(entries, size int) map[string]string {
	out := make(map[string]string, min(len(m), entries))
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i == entries {
			break
		}
		out[cut(k, maxLabelName)] = cut(m[k], size)
	}
	return out
}

// hash identifies the content of m.
func (m stringMap) hash() string {
	b, _ := json.Marshal(map[string]string(m)) // keys in order
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// clean makes s storable: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// cut shortens s to limit bytes, at a rune's border and with an ellipsis.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// line is s on one line: runs of white space and control characters become one space.
func line(s string, limit int) string {
	s = cut(s, 4*limit) // before the work, which is linear in it
	return cut(strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " "), limit)
}

// key keeps s if it is short and replaces it by its hash if not.
func key(s string) string {
	if len(s) <= maxKey {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// host drops the port of an instance.
func host(instance string) string {
	if h, _, err := net.SplitHostPort(instance); err == nil && h != "" {
		return h
	}
	return instance
}

// link appends address if it is one that a browser may be sent to.
func link(links []ops.Link, kind, address string) []ops.Link {
	address = strings.TrimSpace(address)
	u, err := url.Parse(address)
	if err != nil || len(address) > maxURL || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return links
	}
	return append(links, ops.Link{Kind: kind, URL: u.String()})
}

// severity reads the words that rules use. An unknown word is a warning: it is
// neither worth waking somebody nor safe to ignore.
func severity(word string) ops.Severity {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "critical", "crit", "page", "emergency", "fatal", "disaster", "p1":
		return ops.SeverityCritical
	case "error", "err", "high", "major", "p2":
		return ops.SeverityHigh
	case "info", "informational", "information", "notice", "none", "low", "debug", "ok", "p4", "p5":
		return ops.SeverityInfo
	}
	return ops.SeverityWarning
}
