package ingest

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// What Zabbix calls the things that events come from ({EVENT.SOURCE}).
const (
	zabbixDiscovery        = "1"
	zabbixAutoregistration = "2"
	zabbixInternal         = "3"
)

// parseZabbix reads what our media type sends (deploy/zabbix). Other scripts
// that use the usual names are read as well, with what they have.
//
// Times: Zabbix has local ones without a zone. Our script sends seconds since
// 1970. Without these a state is dated by its arrival, which keeps the order,
// as Zabbix sends the messages of one trigger one after the other.
func parseZabbix(r Request) (Parsed, error) {
	var f stringMap
	if err := json.Unmarshal(r.Body, &f); err != nil {
		return Parsed{}, jsonProblem(err)
	}
	for name, v := range f {
		f[name] = expanded(v)
	}
	switch f["event_source"] {
	case zabbixDiscovery, zabbixAutoregistration:
		return Parsed{Warnings: []ops.SourceWarning{{Code: "zabbix_discovery",
			Text: "discovery and autoregistration events are no problems and never recover: they are not taken as alerts. Send trigger and internal events to this source."}}}, nil
	}
	if f.first("event_id") == "" {
		return Parsed{}, errors.New(`the body has no "event_id": is it sent by the media type for this source?`)
	}
	value := f.first("event_value")
	if value == "" {
		value = map[string]string{"PROBLEM": "1", "RESOLVED": "0", "OK": "0"}[strings.ToUpper(f.first("event_status"))]
	}
	if value != "0" && value != "1" {
		return Parsed{}, errors.New(`"event_value" is neither 0 nor 1`)
	}
	parsed := Parsed{Alerts: []ops.Alert{zabbixAlert(f, value == "0", r.ReceivedAt)}}
	if strings.HasPrefix(f["message"], "NOTE: Escalation canceled") {
		parsed.Warnings = []ops.SourceWarning{{Code: "zabbix_escalation_canceled",
			Text: "Zabbix canceled the escalation of a problem (its action, trigger or host was disabled), so no recovery will come. Resolve its incident by hand."}}
	}
	return parsed, nil
}

func zabbixAlert(f stringMap, resolved bool, receivedAt time.Time) ops.Alert {
	hostID := f.first("host_host", "host", "host_name", "hardware")
	object := f.first("trigger_id")
	kind := ""
	if f["event_source"] == zabbixInternal {
		kind = ops.AlertInternal
		object = "internal:" + f.first("event_object") + ":" + f.first("trigger_id", "item_id", "event_name", "subject")
	} else if object == "" {
		object = "name:" + f.first("event_name", "alert_name", "subject")
	}
	identity := key(object + "@" + f.first("host_id", "host_host", "host"))

	starts, updated, ends := text(f["event_unix"]).unix(), text(f["event_update_unix"]).unix(), text(f["event_recovery_unix"]).unix()
	dated := !starts.IsZero() && !starts.After(receivedAt.Add(maxAhead))
	if !dated {
		starts, updated, ends = receivedAt, receivedAt, receivedAt
	}
	alert := ops.Alert{
		Identity:    identity,
		Episode:     key(f.first("event_id")),
		GroupKey:    identity,
		Kind:        kind,
		Status:      ops.AlertFiring,
		At:          starts,
		StartsAt:    starts,
		Title:       line(f.first("event_name", "alert_name", "trigger_name", "subject"), maxTitle),
		Summary:     cut(f.first("event_opdata", "opdata"), maxText),
		Description: cut(f.first("trigger_description"), maxText),
		Host:        line(hostID, maxShort),
	}
	alert.Severity, alert.SenderSeverity = zabbixSeverity(f.first("event_nseverity", "priority"), f.first("event_severity", "severity"))
	if item := f.first("item_name"); kind != "" && item != "" && alert.Title != "" {
		alert.Title = line(item+": "+alert.Title, maxTitle) // the name of such an event is what went wrong
	}
	if alert.Title == "" {
		alert.Title = line("Zabbix event "+f.first("event_id"), maxTitle)
	}
	tags := zabbixTags(f["event_tags"])
	alert.Service = line(tags.first("service", "application", "component"), maxShort)
	for label, names := range map[string][]string{
		"zabbix_event_id": {"event_id"}, "zabbix_trigger_id": {"trigger_id"}, "zabbix_host_id": {"host_id"},
		"zabbix_host_groups": {"host_groups"}, "host_name": {"host_name", "hardware"}, "host_ip": {"host_ip"},
	} {
		if v := f.first(names...); v != "" {
			tags[label] = v
		}
	}
	alert.Labels = tags.limited(maxLabels, maxLabel)
	notes := stringMap{}
	for note, names := range map[string][]string{
		"expression": {"trigger_expression"}, "item": {"item_name", "metric_name"}, "value": {"item_value", "metric_value"},
		"update": {"event_update_action", "update_action"}, "comment": {"event_update_message", "update_message"},
		"updated_by": {"event_update_user", "update_user"}, "message": {"message"},
	} {
		if v := f.first(names...); v != "" {
			notes[note] = v
		}
	}
	alert.Annotations = notes.limited(maxAnnotations, maxText)
	alert.Links = link(alert.Links, "runbook", f.first("trigger_url", "runbook_url"))
	if base, trigger := strings.TrimRight(f.first("zabbix_url"), "/"), f.first("trigger_id"); base != "" && digits(trigger) && digits(f.first("event_id")) {
		alert.Links = link(alert.Links, "source", base+"/tr_events.php?triggerid="+trigger+"&eventid="+f.first("event_id"))
	}

	switch {
	case resolved: // also a manual close, which is an update with value 0
		alert.Status = ops.AlertResolved
		if ends.IsZero() {
			ends = updated
		}
		alert.EndsAt = ended(ends, starts, receivedAt)
		alert.At = alert.EndsAt
	case f.first("event_ack", "ack_status") == "Yes":
		alert.Status = ops.AlertAcknowledged
		fallthrough
	case f["event_update_status"] == "1":
		if updated.After(starts) && !updated.After(receivedAt.Add(maxAhead)) {
			alert.At = updated
		}
	}
	return alert
}

// expanded is a macro's value: one that stayed as it was written, or that
// Zabbix could not resolve, has none.
func expanded(v string) string {
	v = strings.TrimSpace(v)
	if v == "*UNKNOWN*" {
		return ""
	}
	for word := range strings.FieldsSeq(v) { // "{EVENT.RECOVERY.DATE} {EVENT.RECOVERY.TIME}" as well
		if !isMacro(word) {
			return v
		}
	}
	return ""
}

// isMacro knows {EVENT.ID}, {ITEM.NAME1} and {$ZABBIX.URL}; a value such as
// {"a":1} or {} is none.
func isMacro(word string) bool {
	inner, ok := strings.CutPrefix(word, "{")
	inner, end := strings.CutSuffix(inner, "}")
	if !ok || !end || inner == "" {
		return false
	}
	for i, c := range inner {
		upper := c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_'
		if !upper && (i != 0 || c != '$') {
			return false
		}
	}
	return true
}

// zabbixTags reads [{"tag":…,"value":…}], as JSON or as text that is JSON. Of a
// tag that is there more than once all values stay.
func zabbixTags(list string) stringMap {
	var items []struct {
		Tag   text `json:"tag"`
		Value text `json:"value"`
	}
	tags := stringMap{}
	if json.Unmarshal([]byte(list), &items) != nil {
		return tags
	}
	for _, item := range items {
		name, value := string(item.Tag), string(item.Value)
		if name == "" {
			continue
		}
		if have := tags[name]; have != "" && have != value && len(have) < maxLabel {
			value = have + "," + value
		}
		tags[name] = value
	}
	return tags
}

// zabbixSeverities are the names that the numbers have unless somebody renamed them.
var zabbixSeverities = []struct {
	name     string
	severity ops.Severity
}{
	{"Not classified", ops.SeverityInfo}, {"Information", ops.SeverityInfo}, {"Warning", ops.SeverityWarning},
	{"Average", ops.SeverityWarning}, {"High", ops.SeverityHigh}, {"Disaster", ops.SeverityCritical},
}

// zabbixSeverity goes by the number, which nobody can rename. The word is the
// sender's name for it.
func zabbixSeverity(number, word string) (ops.Severity, string) {
	word = line(word, maxShort)
	if number == "" { // some scripts give it under the name of the word
		number = word
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(zabbixSeverities) {
		return severity(word), word
	}
	if word == "" || word == number {
		word = zabbixSeverities[n].name
	}
	return zabbixSeverities[n].severity, word
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
