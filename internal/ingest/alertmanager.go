package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// alertmanagerMessage is the webhook payload, version "4". Fields that are not
// here are ignored: newer versions add some, and none of theirs is needed.
type alertmanagerMessage struct {
	Receiver        text               `json:"receiver"`
	GroupKey        text               `json:"groupKey"`
	GroupLabels     stringMap          `json:"groupLabels"`
	ExternalURL     text               `json:"externalURL"`
	TruncatedAlerts text               `json:"truncatedAlerts"`
	Alerts          *[]json.RawMessage `json:"alerts"`

	OrgID text `json:"orgId"` // of Grafana
}

type alertmanagerAlert struct {
	Status       text      `json:"status"`
	Labels       stringMap `json:"labels"`
	Annotations  stringMap `json:"annotations"`
	StartsAt     text      `json:"startsAt"`
	EndsAt       text      `json:"endsAt"`
	GeneratorURL text      `json:"generatorURL"`
	Fingerprint  text      `json:"fingerprint"`

	// Of Grafana.
	DashboardURL text `json:"dashboardURL"`
	PanelURL     text `json:"panelURL"`
	SilenceURL   text `json:"silenceURL"`
	RuleUID      text `json:"ruleUID"`
	ValueString  text `json:"valueString"`
	OrgID        text `json:"orgId"`
}

func parseAlertmanager(r Request) (Parsed, error) {
	return parseGroup(r, alertmanagerMessage.alert)
}

// parseGroup reads the format that Alertmanager and Grafana share. Each alert
// goes by its own status: the group's is "firing" as long as one of them fires.
func parseGroup(r Request, convert func(alertmanagerMessage, alertmanagerAlert, time.Time) ops.Alert) (Parsed, error) {
	msg, raws, ok := scanGroup(r.Body)
	if !ok {
		var err error
		if msg, raws, err = decodeGroup(r.Body); err != nil {
			return Parsed{}, err
		}
	}
	parsed := Parsed{Truncated: msg.TruncatedAlerts.count()}
	if raws == nil { // null
		return parsed, nil
	}
	if len(raws) > MaxAlerts {
		parsed.Truncated += len(raws) - MaxAlerts
		raws = raws[:MaxAlerts]
	}
	parsed.Alerts = make([]ops.Alert, 0, len(raws))
	unread := 0
	for _, raw := range raws {
		a, ok := scanAlert(raw)
		if !ok {
			a = alertmanagerAlert{}
			if json.Unmarshal(raw, &a) != nil {
				unread++
				continue
			}
		}
		if len(a.Labels) == 0 && a.Fingerprint == "" {
			unread++
			continue
		}
		parsed.Alerts = append(parsed.Alerts, convert(msg, a, r.ReceivedAt))
	}
	if unread > 0 {
		return parsed, fmt.Errorf("%d of %d alerts are not objects with labels", unread, len(raws))
	}
	return parsed, nil
}

// decodeGroup reads a message, its alerts apart: nil if they are null.
func decodeGroup(body []byte) (msg alertmanagerMessage, alerts []json.RawMessage, err error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return msg, nil, jsonProblem(err)
	}
	if _, ok := keys["alerts"]; !ok {
		return msg, nil, errors.New(`the body has no "alerts": is the payload customized?`)
	}
	if err := json.Unmarshal(body, &msg); err != nil {
		return msg, nil, jsonProblem(err)
	}
	if msg.Alerts != nil {
		alerts = *msg.Alerts
	}
	return msg, alerts, nil
}

// scanGroup does the same for a message as senders write them, in a single pass
// and without copies. It is not ok with any other, which may be right or wrong.
func scanGroup(body []byte) (msg alertmanagerMessage, alerts []json.RawMessage, ok bool) {
	if !json.Valid(body) { // the only look at the syntax
		return msg, nil, false
	}
	fields := fields{{"receiver", &msg.Receiver}, {"groupKey", &msg.GroupKey}, {"groupLabels", &msg.GroupLabels},
		{"externalURL", &msg.ExternalURL}, {"truncatedAlerts", &msg.TruncatedAlerts}, {"orgId", &msg.OrgID}}
	plain := true
	isObject := eachField(body, func(key string, value []byte) {
		if key == "alerts" {
			plain = plain && alerts == nil && eachItem(value, func(item []byte) { alerts = append(alerts, item) }) && alerts != nil
			return
		}
		plain = plain && fields.set(key, value) && !strings.EqualFold(key, "alerts")
	})
	return msg, alerts, isObject && plain && alerts != nil
}

// scanAlert reads an alert of a valid message in the same way.
func scanAlert(raw []byte) (a alertmanagerAlert, ok bool) {
	fields := fields{{"status", &a.Status}, {"labels", &a.Labels}, {"annotations", &a.Annotations}, {"startsAt", &a.StartsAt}, {"endsAt", &a.EndsAt},
		{"generatorURL", &a.GeneratorURL}, {"fingerprint", &a.Fingerprint}, {"dashboardURL", &a.DashboardURL}, {"panelURL", &a.PanelURL},
		{"silenceURL", &a.SilenceURL}, {"ruleUID", &a.RuleUID}, {"valueString", &a.ValueString}, {"orgId", &a.OrgID}}
	plain := true
	isObject := eachField(raw, func(key string, value []byte) { plain = plain && fields.set(key, value) })
	return a, isObject && plain
}

func (msg alertmanagerMessage) alert(a alertmanagerAlert, receivedAt time.Time) ops.Alert {
	identity := string(a.Fingerprint)
	if identity == "" {
		identity = "labels:" + a.Labels.hash()
	}
	identity = key(identity)
	starts, ends := a.StartsAt.time(), a.EndsAt.time()
	episode := ""
	if !starts.IsZero() {
		// To the millisecond, which is what Alertmanager's API has of it.
		episode = key(identity + "@" + starts.Truncate(time.Millisecond).Format(time.RFC3339Nano))
	}
	starts = known(starts, receivedAt)
	group := string(msg.GroupKey)
	switch {
	case group != "":
	case len(msg.GroupLabels) > 0:
		group = "labels:" + msg.GroupLabels.hash()
	default: // alone, for want of anything that would tie it to others
		group = identity
	}

	alert := ops.Alert{
		Identity: identity,
		Episode:  episode,
		GroupKey: key(string(msg.Receiver) + "/" + group),
		Status:   ops.AlertFiring,
		At:       starts,
		StartsAt: starts,
		Severity: severity(a.Labels["severity"]),

		SenderSeverity: line(a.Labels["severity"], maxShort),

		Summary:     cut(a.Annotations.first("summary", "message"), maxText),
		Description: cut(a.Annotations.first("description"), maxText),
		Service:     line(a.Labels.first("service", "service_name", "app", "job"), maxShort),
		Host:        line(host(a.Labels.first("host", "hostname", "node", "instance")), maxShort),
		Labels:      a.Labels.limited(maxLabels, maxLabel),
		Annotations: a.Annotations.limited(maxAnnotations, maxText),
	}
	if strings.EqualFold(string(a.Status), "resolved") {
		ends = ended(ends, starts, receivedAt)
		alert.Status, alert.At, alert.EndsAt = ops.AlertResolved, ends, ends
	}
	if alert.Title = line(a.Annotations.first("summary"), maxTitle); alert.Title == "" {
		alert.Title = line(a.Labels.first("alertname"), maxTitle)
	}
	if alert.Title == "" {
		alert.Title = line("Alert "+identity, maxTitle)
	}
	alert.Links = link(alert.Links, "runbook", a.Annotations.first("runbook_url", "runbook"))
	alert.Links = link(alert.Links, "dashboard", a.Annotations.first("dashboard_url", "dashboard"))
	alert.Links = link(alert.Links, "generator", string(a.GeneratorURL))
	alert.Links = link(alert.Links, "source", string(msg.ExternalURL))
	return alert
}

// jsonProblem says what is wrong without quoting the body.
func jsonProblem(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the body is not JSON: error at byte %d", e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fmt.Errorf("the JSON does not fit: %q is of another type", e.Field)
	}
	return errors.New("the JSON does not fit: it is no object of version 4 of the webhook payload")
}
