package ingest

import (
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// datadogDefault is the payload that a new webhook of Datadog has. It says
// neither which monitor it is about nor what has become of it, but for the title.
var datadogDefault = ops.SourceWarning{
	Code: "datadog_default_payload",
	Text: "the webhook in Datadog still has the default payload: monitors are told apart by title alone. Replace it by the template for this source.",
}

// A variable that Datadog had nothing for arrives as it was written.
var datadogUnset = regexp.MustCompile(`^\$[A-Z][A-Z0-9_]*(\[[^\]]*\])?$`)

// The tag that starts a monitor's title, such as "[Triggered on {host:web-1}] …".
var datadogTag = regexp.MustCompile(`\[(Triggered|Re-Triggered|Warn|Re-Warn|No Data|Re-No Data|Renotify|Recovered)(?: on \{([^}]*)\})?\]\s*`)

var datadogPriority = regexp.MustCompile(`^\s*\[(P[1-5])\]\s*`)

// parseDatadog reads the template that the page recommends, and as much of any
// other as has the same names: a template is text that somebody edits.
func parseDatadog(r Request) (Parsed, error) {
	f, err := datadogFields(r)
	if err != nil {
		return Parsed{}, err
	}
	if len(f) == 0 {
		return Parsed{}, errors.New("the body has no fields")
	}
	transition := f.first("alert_transition")
	title := f.first("event_title", "title", "alert_title")
	tag := datadogTag.FindStringSubmatch(title)
	var parsed Parsed
	_, hasBody := f["body"]
	if _, hasID := f["alert_id"]; hasBody && !hasID && transition == "" {
		parsed.Warnings = []ops.SourceWarning{datadogDefault}
	}
	scope := f.first("alert_scope")
	if transition == "" && tag != nil {
		transition = tag[1]
		if scope == "" {
			scope = tag[2]
		}
	}
	parsed.Alerts = []ops.Alert{datadogAlert(f, transition, scope, title, r)}
	return parsed, nil
}

func datadogAlert(f stringMap, transition, scope, title string, r Request) ops.Alert {
	// The bare name is the same from the trigger to the recovery.
	name := f.first("alert_title")
	if name == "" {
		name = datadogPriority.ReplaceAllString(datadogTag.ReplaceAllString(title, ""), "")
	}
	monitor := f.first("alert_id")
	if monitor == "" {
		monitor = f.first("org_id", "org.id") + "/" + line(name, maxTitle)
	}
	at := known(text(f.first("date", "last_updated")).unix(), r.ReceivedAt)
	alert := ops.Alert{
		Identity:    key("monitor:" + monitor + "{" + sortedScope(scope) + "}"),
		Episode:     key(f.first("alert_cycle_key")),
		GroupKey:    key("monitor:" + monitor),
		Status:      ops.AlertFiring,
		At:          at,
		StartsAt:    at,
		Title:       line(name, maxTitle),
		Summary:     cut(f.first("alert_status"), maxText),
		Description: cut(f.first("text_only_msg", "body", "event_msg"), maxText),
		Host:        line(f.first("hostname", "host"), maxShort),
		Labels:      datadogLabels(f, scope).limited(maxLabels, maxLabel),
	}
	alert.Severity, alert.SenderSeverity = datadogSeverity(f, title)
	alert.Service = line(alert.Labels["service"], maxShort)
	if alert.Host == "" {
		alert.Host = line(alert.Labels["host"], maxShort)
	}
	if alert.Title == "" {
		alert.Title = line("Datadog "+alert.Identity, maxTitle)
	}
	for field, note := range map[string]string{"alert_query": "query", "alert_metric": "metric"} {
		if v := f.first(field); v != "" {
			if alert.Annotations == nil {
				alert.Annotations = map[string]string{}
			}
			alert.Annotations[note] = cut(v, maxText)
		}
	}
	alert.Links = link(alert.Links, "source", f.first("link"))
	alert.Links = link(alert.Links, "dashboard", f.first("snapshot"))

	switch transition {
	case "Recovered":
		alert.Status, alert.EndsAt = ops.AlertResolved, at
	case "Warn", "Re-Warn":
		alert.Severity, alert.SenderSeverity = ops.SeverityWarning, "Warn"
	case "No Data", "Re-No Data":
		alert.Kind = ops.AlertNoData
	case "":
		if f.first("alert_type") == "success" { // an event that is no monitor's says no more
			alert.Status, alert.EndsAt = ops.AlertResolved, at
		}
	}
	if strings.HasPrefix(strings.TrimSpace(title), "[TEST]") {
		alert.Kind, alert.Severity = ops.AlertTest, ops.SeverityInfo
		alert.Identity, alert.GroupKey = key("test:"+alert.Identity), key("test:"+alert.GroupKey)
	}
	return alert
}

func datadogSeverity(f stringMap, title string) (s ops.Severity, word string) {
	word = line(f.first("alert_priority"), maxShort)
	if m := datadogPriority.FindStringSubmatch(title); word == "" && m != nil {
		word = m[1]
	}
	if s, ok := priority(word); ok {
		return s, word
	}
	kind := line(f.first("alert_type", "event_type"), maxShort)
	if word == "" {
		word = kind
	}
	switch kind {
	case "error":
		return ops.SeverityHigh, word
	case "info", "success":
		return ops.SeverityInfo, word
	}
	return ops.SeverityWarning, word
}

// datadogLabels are the tags, "key:value" with commas between. Of a key that is
// there more than once the last one stays.
func datadogLabels(f stringMap, scope string) stringMap {
	labels := stringMap{}
	for tag := range strings.SplitSeq(f.first("tags")+","+scope, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(tag), ":")
		if name != "" && name != "*" {
			labels[name] = value
		}
	}
	if id := f.first("alert_id"); id != "" {
		labels["monitor_id"] = id
	}
	if p := f.first("alert_priority"); p != "" {
		labels["priority"] = p
	}
	return labels
}

// sortedScope makes one of "a:1,b:2" and "b:2, a:1".
func sortedScope(scope string) string {
	parts := strings.Split(scope, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// datadogFields reads the body as JSON or, if Datadog was told to, as a form:
// of the fields themselves, or of one that holds the JSON.
func datadogFields(r Request) (stringMap, error) {
	body := r.Body
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, errors.New("the body is not a form, although it says so")
		}
		if !form.Has("payload") {
			f := stringMap{}
			for name, values := range form {
				f[clean(name)] = clean(values[0])
			}
			return f.set(), nil
		}
		body = []byte(form.Get("payload"))
	}
	var f stringMap
	if err := json.Unmarshal(escapeControls(body), &f); err != nil {
		return nil, jsonProblem(err)
	}
	var org stringMap
	if json.Unmarshal([]byte(f["org"]), &org) == nil {
		f["org.id"] = org["id"]
	}
	return f.set(), nil
}

// set leaves out what Datadog had no value for.
func (m stringMap) set() stringMap {
	for name, v := range m {
		v = strings.TrimSpace(v)
		if v == "null" || datadogUnset.MatchString(v) {
			m[name] = ""
		}
	}
	return m
}

// escapeControls makes JSON of a body whose strings have raw line breaks and
// other control characters in them, as templates give that paste text. Valid
// JSON comes back as it is.
func escapeControls(body []byte) []byte {
	if json.Valid(body) {
		return body
	}
	const hexDigits = "0123456789abcdef"
	out := make([]byte, 0, len(body)+len(body)/8)
	inside, escaped := false, false
	for _, c := range body {
		switch {
		case inside && c < 0x20:
			if escaped { // a backslash before the line break is the text's own
				out = append(out, '\\')
			}
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			escaped = false
			continue
		case escaped:
			escaped = false
		case inside && c == '\\':
			escaped = true
		case c == '"':
			inside = !inside
		}
		out = append(out, c)
	}
	return out
}
