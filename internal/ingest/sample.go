package ingest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Test is an alert that nobody has: somebody tries the way to us. Two with the
// same ID are the beginning and the end of one.
type Test struct {
	ID       string // of letters and digits
	Began    time.Time
	At       time.Time // of this state
	Resolved bool
}

// testTitle is what the incident of a test is called.
const testTitle = "Test alert: nothing is broken"

const testText = "Somebody pressed the test button of this source in Akmatori. Nothing is broken."

// Request makes the delivery that the sender would post about t, without what
// proves it.
func (s Source) Request(t Test, settings json.RawMessage) (Request, error) {
	r := Request{Header: http.Header{}, ReceivedAt: t.At, Settings: settings}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Akmatori test event")
	body, err := json.Marshal(s.Sample(t, &r))
	if err != nil {
		return Request{}, fmt.Errorf("the test's body: %w", err)
	}
	r.Body = body
	return r, nil
}

// Mark keeps what was read of a test apart from all that is real: it has a kind
// of its own, and is never one with, or in the group of, something that is broken.
func (t Test) Mark(alerts []ops.Alert) {
	for i := range alerts {
		a := &alerts[i]
		a.Kind, a.Severity = ops.AlertTest, ops.SeverityInfo
		a.Identity, a.GroupKey = key("test:"+t.ID+"/"+a.Identity), "test:"+t.ID
	}
}

const millis = "2006-01-02T15:04:05.000Z07:00"

func (t Test) stamp() string { return t.At.UTC().Format(millis) }

func (t Test) began() string { return t.Began.UTC().Format(millis) }

// word is the sender's for the state.
func (t Test) word(firing, resolved string) string {
	if t.Resolved {
		return resolved
	}
	return firing
}

func (t Test) group(labels map[string]string) map[string]any {
	fingerprint := stringMap(labels).hash()
	ends := "0001-01-01T00:00:00Z"
	if t.Resolved {
		ends = t.stamp()
	}
	annotations := map[string]string{"summary": testTitle, "description": testText}
	return map[string]any{
		"version": "4", "receiver": "akmatori", "status": t.word("firing", "resolved"), "truncatedAlerts": 0,
		"groupKey":    fmt.Sprintf("{}:{alertname=%q, instance=%q}", labels["alertname"], labels["instance"]),
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": annotations, "externalURL": "",
		"alerts": []any{map[string]any{
			"status": t.word("firing", "resolved"), "labels": labels, "annotations": annotations,
			"startsAt": t.began(), "endsAt": ends, "generatorURL": "", "fingerprint": fingerprint,
		}},
	}
}

func sampleAlertmanager(t Test, r *Request) any {
	r.Header.Set("User-Agent", "Alertmanager/0.28.0")
	return t.group(map[string]string{"alertname": "AkmatoriTest", "severity": "info", "instance": "akmatori-test-" + t.ID})
}

func sampleGrafana(t Test, r *Request) any {
	r.Header.Set("User-Agent", "Grafana")
	msg := t.group(map[string]string{"alertname": "TestAlert", "instance": "akmatori-test-" + t.ID})
	msg["version"], msg["orgId"], msg["title"], msg["state"], msg["message"] = "1", 1, "[FIRING:1] TestAlert", t.word("alerting", "ok"), testText
	alert := msg["alerts"].([]any)[0].(map[string]any)
	alert["values"], alert["valueString"] = nil, ""
	alert["silenceURL"], alert["dashboardURL"], alert["panelURL"], alert["orgId"], alert["ruleUID"] = "", "", "", 1, "akmatori-test"
	return msg
}

func samplePagerDuty(t Test, r *Request) any {
	r.Header.Set("User-Agent", "PagerDuty-Webhook/V3.0")
	r.Header.Set(pagerDutyDelivery, "akmatori-test-"+t.ID+t.word("", "-resolved"))
	return map[string]any{"event": map[string]any{
		"id": "akmatori-test-" + t.ID + t.word("", "-resolved"), "event_type": "incident." + t.word("triggered", "resolved"),
		"resource_type": "incident", "occurred_at": t.stamp(), "agent": nil, "client": nil,
		"data": map[string]any{
			"id": "AKMTEST" + t.ID, "type": "incident", "self": nil, "html_url": nil, "number": 1, "status": t.word("triggered", "resolved"),
			"incident_key": "akmatori-test-" + t.ID, "created_at": t.began(), "title": testTitle,
			"service":   map[string]any{"id": "AKMTEST", "type": "service_reference", "summary": "Akmatori test"},
			"assignees": []any{}, "escalation_policy": nil, "teams": []any{}, "priority": nil, "urgency": "low",
			"conference_bridge": nil, "resolve_reason": nil, "incident_type": map[string]any{"name": "incident_default"},
		},
	}}
}

func sampleDatadog(t Test, r *Request) any {
	r.Header.Set("User-Agent", "Datadog/Webhooks")
	at := strconv.FormatInt(t.At.UnixMilli(), 10)
	return map[string]string{
		"alert_id": "akmatori-test-" + t.ID, "alert_cycle_key": t.ID, "alert_transition": t.word("Triggered", "Recovered"),
		"alert_type": t.word("info", "success"), "alert_priority": "P5", "alert_title": testTitle, "alert_status": "", "alert_query": "",
		"alert_scope": "", "alert_metric": "", "aggreg_key": t.ID, "event_title": t.word("[Triggered] ", "[Recovered] ") + testTitle,
		"event_type": "query_alert_monitor", "text_only_msg": testText, "hostname": "", "tags": "monitor,test:akmatori", "link": "", "snapshot": "",
		"id": t.ID + t.word("", "-resolved"), "date": at, "last_updated": at, "org_id": "0", "org_name": "Akmatori test", "priority": "low",
	}
}

func sampleZabbix(t Test, r *Request) any {
	r.Header.Set("User-Agent", "Zabbix")
	body := map[string]any{
		"event_id": t.ID, "event_source": "0", "event_object": "0", "event_value": t.word("1", "0"), "event_update_status": "0",
		"event_name": testTitle, "event_nseverity": "1", "event_severity": "Information", "event_ack": "No", "event_opdata": "",
		"event_tags": []any{map[string]string{"tag": "test", "value": "akmatori"}}, "event_unix": t.Began.Unix(),
		"trigger_id": "akmatori-test-" + t.ID, "trigger_name": testTitle, "trigger_description": testText, "host_host": "akmatori-test",
		"subject": t.word("Problem: ", "Resolved: ") + testTitle, "message": testText, "event_recovery_id": "{EVENT.RECOVERY.ID}",
	}
	if t.Resolved {
		body["event_recovery_id"], body["event_recovery_unix"] = "1"+t.ID, t.At.Unix()
	}
	return body
}

// sampleWebhook fills the places that the source's mapping names, the first of
// each field.
func sampleWebhook(t Test, r *Request) any {
	r.Header.Set("Idempotency-Key", "akmatori-test-"+t.ID+t.word("", "-resolved"))
	m, err := readMapping(r.Settings)
	if err != nil {
		return nil
	}
	c := m.compile()
	values := map[string]string{
		"identity": "akmatori-test-" + t.ID, "episode": t.ID, "group": "akmatori-test-" + t.ID, "title": testTitle, "summary": testText,
		"description": testText, "service": "akmatori-test", "host": "akmatori-test", "starts_at": t.began(), "at": t.stamp(),
		"status":   wordFor(t.word("firing", "resolved"), m.Statuses, func(w string) string { return string(c.status(w)) }),
		"severity": wordFor("info", m.Severities, func(w string) string { return string(c.severity(w)) }),
	}
	if t.Resolved {
		values["ends_at"] = t.stamp()
	}
	var item any = map[string]any{}
	var inBody []string // fields whose place is in the body and not in the alert
	for _, field := range slices.Sorted(maps.Keys(values)) {
		if p := firstPath(c.fields[field]); p != nil && p.relative {
			item = put(item, p.steps, values[field])
		} else if p != nil {
			inBody = append(inBody, field)
		}
	}
	body := item
	if m.Alerts != "" {
		p, err := parsePath(m.Alerts)
		if err != nil {
			return nil
		}
		body = put(nil, p.steps, []any{item})
	}
	for _, field := range inBody {
		body = put(body, firstPath(c.fields[field]).steps, values[field])
	}
	return body
}

// wordFor finds a word that read takes for what is wanted.
func wordFor[T ~string](want string, own map[string]T, read func(string) string) string {
	for _, word := range append([]string{want}, slices.Sorted(maps.Keys(own))...) {
		if read(strings.ToLower(word)) == want {
			return word
		}
	}
	return want
}

func firstPath(terms []term) *path {
	for _, t := range terms {
		if t.path != nil {
			return t.path
		}
	}
	return nil
}

// maxSampleIndex bounds the list that a path such as $.a[1000000] makes.
const maxSampleIndex = 100

// put gives at with v at the place of steps. What is there already stays, and
// so does what is of another shape.
func put(at any, steps []step, v any) any {
	if len(steps) == 0 {
		if at == nil {
			return v
		}
		return at
	}
	st := steps[0]
	if !st.array {
		object, ok := at.(map[string]any)
		if at == nil {
			object = map[string]any{}
		} else if !ok {
			return at
		}
		object[st.name] = put(object[st.name], steps[1:], v)
		return object
	}
	list, ok := at.([]any)
	if at != nil && !ok {
		return at
	}
	i := st.index
	if i < 0 {
		i = max(0, len(list)+i)
	}
	if i > maxSampleIndex {
		return at
	}
	for len(list) <= i {
		list = append(list, nil)
	}
	list[i] = put(list[i], steps[1:], v)
	return list
}
