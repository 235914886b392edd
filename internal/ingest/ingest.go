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
//   - An alert's episode is empty if its sender does not tell occurrences
//     apart; nothing is made up here that a resolve could not find again.
//
// A new kind of sender is one file and one line of [Sources].
package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
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
	Parse func(Request) (Parsed, error)
	// Signed says whether a request is signed with the secret, in constant time.
	// It is nil for kinds that cannot sign.
	Signed func(Request, ops.Secret) bool
	// Auth is how requests prove themselves unless somebody says otherwise.
	Auth string
	// Several says that an identity may have several episodes open at once, and
	// that the sender ends each of them: the next one says nothing of the last.
	Several bool
	// CheckSettings refuses settings that Parse cannot work with. It is nil for
	// kinds that have none.
	CheckSettings func(json.RawMessage) error
	// DeliveryID gives the sender's own name for a delivery, which is the same
	// when it sends it again; empty if this one has none. It is nil for kinds that
	// name none: theirs are told apart by their alerts' episodes.
	DeliveryID func(Request) string
	// Sample is the body that this kind of sender would post about a test, and
	// Sign proves a request the way it does; nil for kinds that cannot sign.
	Sample func(Test, *Request) any
	Sign   func(Request, ops.Secret)
	// Steps say how the sender is configured ([Source.Setup]).
	Steps func(Endpoint) []Step
}

// Request is one delivery as it came.
type Request struct {
	Header     http.Header
	Body       []byte
	ReceivedAt time.Time
	Settings   json.RawMessage // of the source; checked by [Source.CheckSettings]
	Options    ops.SourceOptions
}

// Parsed is what a body said.
type Parsed struct {
	Alerts []ops.Alert
	// Truncated counts alerts that are missing: left out by the sender, as it
	// says itself, or over [MaxAlerts].
	Truncated int
	// Warnings say what is wrong with the sender's configuration.
	Warnings []ops.SourceWarning `json:",omitempty"`
}

// Sources lists the kinds of senders.
var Sources = []Source{
	{Kind: "alertmanager", Name: "Prometheus Alertmanager", Parse: parseAlertmanager, Auth: ops.AuthSecret,
		Sample: sampleAlertmanager, Steps: stepsAlertmanager},
	{Kind: "grafana", Name: "Grafana", Parse: parseGrafana, Auth: ops.AuthSecret, Signed: signedByGrafana, Sign: signAsGrafana,
		Sample: sampleGrafana, Steps: stepsGrafana},
	{Kind: "pagerduty", Name: "PagerDuty", Parse: parsePagerDuty, Auth: ops.AuthSignature, Signed: signedByPagerDuty, Sign: signAsPagerDuty,
		Several: true, DeliveryID: deliveryOfPagerDuty, Sample: samplePagerDuty, Steps: stepsPagerDuty},
	{Kind: "datadog", Name: "Datadog", Parse: parseDatadog, Auth: ops.AuthSecret,
		DeliveryID: deliveryOfDatadog, Sample: sampleDatadog, Steps: stepsDatadog},
	{Kind: "zabbix", Name: "Zabbix", Parse: parseZabbix, Auth: ops.AuthSecret, Several: true, Sample: sampleZabbix, Steps: stepsZabbix},
	{Kind: "webhook", Name: "Other webhook", Parse: parseWebhook, Auth: ops.AuthSecret, CheckSettings: checkMapping,
		DeliveryID: deliveryOfWebhook, Sample: sampleWebhook, Steps: stepsWebhook},
}

// Read parses a delivery and applies the source's options to its alerts. What
// is only a test keeps the severity of a test.
func (s Source) Read(r Request) (Parsed, error) {
	parsed, err := s.Parse(r)
	for i := range parsed.Alerts {
		a := &parsed.Alerts[i]
		if own, ok := r.Options.Severities[strings.ToLower(a.SenderSeverity)]; ok && a.Kind != ops.AlertTest {
			a.Severity = own
		}
	}
	return parsed, err
}

// Lookup finds a kind in [Sources].
func Lookup(kind string) (Source, bool) {
	i := slices.IndexFunc(Sources, func(s Source) bool { return s.Kind == kind })
	if i < 0 {
		return Source{}, false
	}
	return Sources[i], true
}

// stringMap is a JSON object whose values become text, whatever they are. A
// null map is empty, a null value is left out.
type stringMap map[string]string

// UnmarshalJSON implements [json.Unmarshaler].
func (m *stringMap) UnmarshalJSON(data []byte) error {
	out := stringMap{}
	if !eachField(data, func(key string, value []byte) {
		if key = clean(key); string(value) != "null" {
			out[key] = looseText(value)
		} else {
			delete(out, key) // the last of several counts
		}
	}) {
		var none map[string]json.RawMessage
		if err := json.Unmarshal(data, &none); err != nil { // null is no error
			return err
		}
	}
	*m = out
	return nil
}

// looseText gives a JSON string's content and any other value's source text.
func looseText(raw json.RawMessage) string {
	// Nearly all are strings without escapes: these stand there as they are.
	if n := len(raw); n >= 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : n-1])
	}
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
	within := len(m) <= entries
	for k, v := range m {
		within = within && len(k) <= maxLabelName && len(v) <= size
	}
	if within && m != nil {
		return maps.Clone(m)
	}
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

// ended gives the time of an end: what the sender says if that can be, and
// receivedAt if not. An end cannot come before its beginning; if it does, the
// clocks differ.
func ended(ends, starts, receivedAt time.Time) time.Time {
	if ends.IsZero() || ends.After(receivedAt.Add(maxAhead)) {
		ends = receivedAt
	}
	if ends.Before(starts) {
		ends = starts
	}
	return ends
}

// known gives at unless it is unknown or too far ahead.
func known(at, receivedAt time.Time) time.Time {
	if at.IsZero() || at.After(receivedAt.Add(maxAhead)) {
		return receivedAt
	}
	return at
}

// unix reads seconds or milliseconds since 1970; anything else is zero.
func (t text) unix() time.Time {
	n, err := strconv.ParseFloat(string(t), 64)
	if err != nil || !(n > 0) {
		return time.Time{}
	}
	if n >= 1e11 { // the year 5138 in seconds: these are milliseconds
		n /= 1000
	}
	if n >= 1e11 {
		return time.Time{}
	}
	return time.UnixMilli(int64(math.Round(n * 1000))).UTC()
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

// priority reads P1 to P5 and the like.
func priority(word string) (ops.Severity, bool) {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "p0", "p1", "sev0", "sev1", "sev-1":
		return ops.SeverityCritical, true
	case "p2", "sev2", "sev-2":
		return ops.SeverityHigh, true
	case "p3", "sev3", "sev-3":
		return ops.SeverityWarning, true
	case "p4", "p5", "sev4", "sev5", "sev-4", "sev-5":
		return ops.SeverityInfo, true
	}
	return "", false
}
