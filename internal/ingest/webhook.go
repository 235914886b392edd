package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Mapping says where the fields of an alert are in a body of any shape. It is
// the settings of a source of kind webhook.
type Mapping struct {
	// Alerts is the path of the list of alerts. Without it the body is one alert,
	// or a list of them.
	Alerts string `json:"alerts,omitempty"`
	// Fields of the alert by name ([mappingFields]).
	Fields map[string]Expressions `json:"fields,omitempty"`
	// Statuses and Severities translate the sender's words; case does not matter.
	Statuses   map[string]ops.AlertStatus `json:"statuses,omitempty"`
	Severities map[string]ops.Severity    `json:"severities,omitempty"`
	// Labels are more labels by name. The field "labels" takes a whole object.
	Labels map[string]Expressions `json:"labels,omitempty"`
}

// Expressions give the first value that is not blank. One that starts with @ is
// a path in the alert, one that starts with $ a path in the body, any other is
// a text as it stands. In JSON one may stand without its list.
type Expressions []string

// UnmarshalJSON implements [json.Unmarshaler].
func (e *Expressions) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*e = Expressions{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(e))
}

// mappingFields are the fields that a mapping may name, with where they are
// looked for unless it does. A source without settings has these.
var mappingFields = map[string]Expressions{
	"identity":    {"@.identity", "@.fingerprint", "@.id"},
	"episode":     {"@.episode"},
	"group":       {"@.group", "@.group_key"},
	"status":      {"@.status", "@.state"},
	"severity":    {"@.severity", "@.priority", "@.level"},
	"title":       {"@.title", "@.name", "@.alertname"},
	"summary":     {"@.summary", "@.message"},
	"description": {"@.description"},
	"service":     {"@.service", "@.labels.service"},
	"host":        {"@.host", "@.hostname", "@.labels.host"},
	"starts_at":   {"@.starts_at", "@.startsAt"},
	"ends_at":     {"@.ends_at", "@.endsAt"},
	"at":          {"@.at", "@.timestamp"},
	"labels":      {"@.labels"},
	"annotations": {"@.annotations"},
	"runbook":     {"@.runbook_url", "@.runbook"},
	"dashboard":   {"@.dashboard_url", "@.dashboard"},
	"link":        {"@.link", "@.url"},
}

// Limits of a mapping: people write it, so it is small.
const (
	maxExpressions = 16
	maxWords       = 200
)

func readMapping(settings json.RawMessage) (Mapping, error) {
	var m Mapping
	if len(settings) == 0 {
		return m, nil
	}
	dec := json.NewDecoder(bytes.NewReader(settings))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, errors.New("the settings do not fit: they have alerts, fields, labels, statuses and severities")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return m, errors.New("the settings are more than one JSON value")
	}
	return m, nil
}

// checkMapping refuses a mapping that has a mistake in it. Its errors quote the
// settings, which are no secret.
func checkMapping(settings json.RawMessage) error {
	m, err := readMapping(settings)
	if err != nil {
		return err
	}
	if m.Alerts != "" {
		if p, err := parsePath(m.Alerts); err != nil {
			return fmt.Errorf("alerts: %w", err)
		} else if p.relative {
			return errors.New("alerts: the path starts with $: it is in the body")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		if _, ok := mappingFields[name]; !ok {
			return fmt.Errorf("fields: there is no %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(mappingFields)), ", "))
		}
		if err := m.Fields[name].check(); err != nil {
			return fmt.Errorf("fields: %s: %w", name, err)
		}
	}
	if len(m.Labels) > maxLabels {
		return fmt.Errorf("labels: at most %d", maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Labels)) {
		if err := m.Labels[name].check(); err != nil {
			return fmt.Errorf("labels: %s: %w", name, err)
		}
	}
	if len(m.Statuses) > maxWords || len(m.Severities) > maxWords {
		return fmt.Errorf("statuses and severities: at most %d words each", maxWords)
	}
	for _, word := range slices.Sorted(maps.Keys(m.Statuses)) {
		switch m.Statuses[word] {
		case ops.AlertFiring, ops.AlertAcknowledged, ops.AlertResolved:
		default:
			return fmt.Errorf("statuses: %s: it is firing, acknowledged or resolved", word)
		}
	}
	for _, word := range slices.Sorted(maps.Keys(m.Severities)) {
		if m.Severities[word].Rank() == 0 {
			return fmt.Errorf("severities: %s: it is critical, high, warning or info", word)
		}
	}
	return nil
}

func (e Expressions) check() error {
	if len(e) > maxExpressions {
		return fmt.Errorf("at most %d expressions", maxExpressions)
	}
	for _, x := range e {
		if isPath(x) {
			if _, err := parsePath(x); err != nil {
				return err
			}
		} else if len(x) > maxShort {
			return fmt.Errorf("a text has at most %d bytes", maxShort)
		}
	}
	return nil
}

// parseWebhook reads a body by the source's mapping.
func parseWebhook(r Request) (Parsed, error) {
	m, err := readMapping(r.Settings)
	if err != nil {
		return Parsed{}, err
	}
	body, err := decode(r.Body)
	if err != nil {
		return Parsed{}, err
	}
	items, err := m.items(body)
	if err != nil {
		return Parsed{}, err
	}
	var parsed Parsed
	if len(items) > MaxAlerts {
		parsed.Truncated = len(items) - MaxAlerts
		items = items[:MaxAlerts]
	}
	c := m.compile()
	unread := 0
	for _, item := range items {
		alert, ok := c.alert(item, body, r.ReceivedAt)
		if !ok {
			unread++
			continue
		}
		parsed.Alerts = append(parsed.Alerts, alert)
	}
	if unread > 0 {
		return parsed, fmt.Errorf("%d of %d alerts have neither a title nor an identity: does the mapping fit?", unread, len(items))
	}
	return parsed, nil
}

func decode(body []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, jsonProblem(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the body is not JSON: something follows its end")
	}
	return v, nil
}

func (m Mapping) items(body any) ([]any, error) {
	if m.Alerts == "" {
		if list, ok := body.([]any); ok {
			return list, nil
		}
		if object, ok := body.(map[string]any); ok && len(m.Fields) == 0 {
			if list, ok := object["alerts"].([]any); ok {
				return list, nil
			}
		}
		return []any{body}, nil
	}
	p, err := parsePath(m.Alerts)
	if err != nil {
		return nil, err
	}
	switch v := p.in(body).(type) {
	case []any:
		return v, nil
	case map[string]any:
		return []any{v}, nil
	}
	return nil, fmt.Errorf("there is no list of alerts at %s", m.Alerts)
}

// compiled is a mapping whose paths have been read.
type compiled struct {
	fields               map[string][]term
	labels               map[string][]term
	statuses, severities map[string]string
}

// term is a path, or a text if it has none.
type term struct {
	path *path
	text string
}

func (m Mapping) compile() compiled {
	c := compiled{fields: map[string][]term{}, labels: map[string][]term{}, statuses: map[string]string{}, severities: map[string]string{}}
	for name, e := range mappingFields {
		if own, ok := m.Fields[name]; ok {
			e = own
		}
		c.fields[name] = e.terms()
	}
	for name, e := range m.Labels {
		c.labels[clean(name)] = e.terms()
	}
	for word, s := range m.Statuses {
		c.statuses[strings.ToLower(word)] = string(s)
	}
	for word, s := range m.Severities {
		c.severities[strings.ToLower(word)] = string(s)
	}
	return c
}

func (e Expressions) terms() []term {
	terms := make([]term, 0, len(e))
	for _, x := range e {
		if !isPath(x) {
			terms = append(terms, term{text: x})
		} else if p, err := parsePath(x); err == nil { // checked when it was saved
			terms = append(terms, term{path: &p})
		}
	}
	return terms
}

// value gives the first of terms that is there and not blank.
func value(terms []term, item, body any) any {
	for _, t := range terms {
		if t.path == nil {
			return t.text
		}
		from := body
		if t.path.relative {
			from = item
		}
		if v := t.path.in(from); v != nil && v != "" {
			return v
		}
	}
	return nil
}

// plain writes a value as text: a string without its quotes, all else as JSON.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return strings.TrimSpace(clean(v))
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return clean(string(b))
}

// object gives the entries of an object as text. Anything else has none.
func object(v any) stringMap {
	m := stringMap{}
	entries, _ := v.(map[string]any)
	for k, v := range entries {
		if v != nil {
			m[clean(k)] = plain(v)
		}
	}
	return m
}

func (c compiled) alert(item, body any, receivedAt time.Time) (ops.Alert, bool) {
	get := func(field string) string { return plain(value(c.fields[field], item, body)) }
	labels := object(value(c.fields["labels"], item, body))
	for name, terms := range c.labels {
		if v := plain(value(terms, item, body)); v != "" {
			labels[name] = v
		}
	}
	title := line(get("title"), maxTitle)
	if title == "" {
		title = line(get("summary"), maxTitle)
	}
	host := line(get("host"), maxShort)
	identity := get("identity")
	if identity == "" && title == "" {
		return ops.Alert{}, false
	}
	if identity == "" { // what is broken is said by its name and place
		identity = "title:" + title + "@" + host
	}
	if title == "" {
		title = line("Alert "+identity, maxTitle)
	}
	group := get("group")
	if group == "" {
		group = identity
	}
	stamp := func(field string) time.Time {
		t := text(get(field))
		if at := t.time(); !at.IsZero() {
			return at
		}
		return t.unix()
	}
	starts, ends, at := stamp("starts_at"), stamp("ends_at"), stamp("at")
	episode := get("episode")
	if episode == "" && !starts.IsZero() {
		episode = identity + "@" + starts.Format(time.RFC3339Nano)
	}
	at = known(at, receivedAt)
	if starts.IsZero() || starts.After(receivedAt.Add(maxAhead)) {
		starts = at
	}
	alert := ops.Alert{
		Identity: key(identity),
		Episode:  key(episode),
		GroupKey: key(group),
		Status:   c.status(get("status")),
		At:       starts,
		StartsAt: starts,
		Severity: c.severity(get("severity")),
		Title:    title,

		SenderSeverity: line(get("severity"), maxShort),

		Summary:     cut(get("summary"), maxText),
		Description: cut(get("description"), maxText),
		Service:     line(get("service"), maxShort),
		Host:        host,
		Labels:      labels.limited(maxLabels, maxLabel),
		Annotations: object(value(c.fields["annotations"], item, body)).limited(maxAnnotations, maxText),
	}
	switch alert.Status {
	case ops.AlertResolved:
		if ends.IsZero() {
			ends = at
		}
		alert.EndsAt = ended(ends, starts, receivedAt)
		alert.At = alert.EndsAt
	case ops.AlertAcknowledged:
		alert.At = ended(at, starts, receivedAt)
	case ops.AlertFiring:
	}
	alert.Links = link(alert.Links, "runbook", get("runbook"))
	alert.Links = link(alert.Links, "dashboard", get("dashboard"))
	alert.Links = link(alert.Links, "source", get("link"))
	return alert, true
}

func (c compiled) status(word string) ops.AlertStatus {
	word = strings.ToLower(word)
	if s, ok := c.statuses[word]; ok {
		return ops.AlertStatus(s)
	}
	switch word {
	case "resolved", "ok", "recovered", "recovery", "closed", "cleared", "normal", "up", "success", "inactive":
		return ops.AlertResolved
	case "acknowledged", "acked", "ack":
		return ops.AlertAcknowledged
	}
	return ops.AlertFiring
}

func (c compiled) severity(word string) ops.Severity {
	if s, ok := c.severities[strings.ToLower(word)]; ok {
		return ops.Severity(s)
	}
	if s, ok := priority(word); ok {
		return s
	}
	return severity(word)
}
