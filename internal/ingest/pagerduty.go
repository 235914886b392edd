package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// pagerDutyEvent is the "event" of a V3 webhook. Its data has the shape that
// its own type says.
type pagerDutyEvent struct {
	EventType  text            `json:"event_type"`
	OccurredAt text            `json:"occurred_at"`
	Data       json.RawMessage `json:"data"`
}

type pagerDutyIncident struct {
	ID            text          `json:"id"`
	HTMLURL       text          `json:"html_url"`
	Number        text          `json:"number"`
	Status        text          `json:"status"`
	IncidentKey   text          `json:"incident_key"`
	CreatedAt     text          `json:"created_at"`
	ReopenedAt    text          `json:"reopened_at"`
	Title         text          `json:"title"`
	Service       *pagerDutyRef `json:"service"`
	Priority      *pagerDutyRef `json:"priority"` // often null
	Urgency       text          `json:"urgency"`
	ResolveReason *pagerDutyWhy `json:"resolve_reason"`
	IncidentType  *pagerDutyRef `json:"incident_type"`
}

type pagerDutyRef struct {
	ID      text `json:"id"`
	Summary text `json:"summary"`
	Name    text `json:"name"`
}

type pagerDutyWhy struct {
	Type     text          `json:"type"`
	Incident *pagerDutyRef `json:"incident"`
}

// parsePagerDuty reads V3 webhooks. What is about something else than an
// incident (notes, responders, a service, pagey.ping, types of next year) is
// taken and has no alerts.
func parsePagerDuty(r Request) (Parsed, error) {
	var msg struct {
		Event *pagerDutyEvent `json:"event"`
	}
	if err := json.Unmarshal(r.Body, &msg); err != nil {
		return Parsed{}, jsonProblem(err)
	}
	if msg.Event == nil {
		return Parsed{}, errors.New(`the body has no "event": is it a V3 webhook subscription?`)
	}
	var data struct {
		Type text `json:"type"`
	}
	if len(msg.Event.Data) > 0 {
		if err := json.Unmarshal(msg.Event.Data, &data); err != nil {
			return Parsed{}, jsonProblem(err)
		}
	}
	if data.Type != "incident" {
		return Parsed{}, nil
	}
	var i pagerDutyIncident
	if err := json.Unmarshal(msg.Event.Data, &i); err != nil {
		return Parsed{}, jsonProblem(err)
	}
	if i.ID == "" {
		return Parsed{}, errors.New("the incident has no id")
	}
	status, err := pagerDutyStatus(i.Status, msg.Event.EventType)
	if err != nil {
		return Parsed{}, err
	}
	return Parsed{Alerts: []ops.Alert{i.alert(status, msg.Event, r)}}, nil
}

// pagerDutyStatus reads the state that the incident has after the event. Events
// that do not change it (escalated, reassigned, …) carry it as well.
func pagerDutyStatus(status, event text) (ops.AlertStatus, error) {
	word := string(status)
	if word == "" {
		word = strings.TrimPrefix(string(event), "incident.")
	}
	switch word {
	case "triggered", "unacknowledged", "reopened":
		return ops.AlertFiring, nil
	case "acknowledged":
		return ops.AlertAcknowledged, nil
	case "resolved":
		return ops.AlertResolved, nil
	}
	return "", errors.New("the incident has no status that is known")
}

func (i pagerDutyIncident) alert(status ops.AlertStatus, event *pagerDutyEvent, r Request) ops.Alert {
	at := known(event.OccurredAt.time(), r.ReceivedAt)
	starts := i.CreatedAt.time()
	episode := string(i.ID)
	if reopened := i.ReopenedAt.time(); !reopened.IsZero() { // the same incident, broken again
		starts = reopened
		episode += "@" + string(i.ReopenedAt)
	}
	if starts.IsZero() || starts.After(at) {
		starts = at
	}
	labels := stringMap{"pagerduty_number": string(i.Number), "urgency": string(i.Urgency)}
	service := ""
	if i.Service != nil {
		service = string(i.Service.Summary)
		labels["pagerduty_service"] = string(i.Service.ID)
	}
	if i.Priority != nil {
		labels["priority"] = string(i.Priority.Summary)
	}
	if i.IncidentType != nil {
		labels["incident_type"] = string(i.IncidentType.Name)
	}
	for name, v := range labels {
		if v == "" {
			delete(labels, name)
		}
	}
	// Without the service: an incident may be given to another one. Where two have
	// incidents of one key, their ids tell these apart.
	identity := string(i.IncidentKey)
	if identity == "" {
		identity = string(i.ID)
	}
	alert := ops.Alert{
		Identity: key(identity),
		Episode:  key(episode),
		GroupKey: key("incident:" + episode), // it has been grouped over there
		Status:   status,
		At:       at,
		StartsAt: starts,
		Title:    line(string(i.Title), maxTitle),
		Service:  line(service, maxShort),
		Labels:   labels.limited(maxLabels, maxLabel),
		Links:    link(nil, "source", string(i.HTMLURL)),
	}
	alert.Severity, alert.SenderSeverity = i.severity()
	if alert.Title == "" {
		alert.Title = line(fmt.Sprintf("PagerDuty incident %s", i.ID), maxTitle)
	}
	if status == ops.AlertResolved {
		alert.EndsAt = ended(at, starts, r.ReceivedAt)
		alert.At = alert.EndsAt
		if why := i.ResolveReason; why != nil {
			reason := string(why.Type)
			if why.Incident != nil {
				reason = strings.TrimSpace(reason + " " + string(why.Incident.ID))
			}
			alert.Annotations = map[string]string{"resolve_reason": cut(reason, maxText)}
		}
	}
	return alert
}

// severity is the priority's if there is one with a name of the usual kind.
// Urgency says how loud to be and not how bad it is, but there is nothing else.
// The word is the priority's even if it says nothing to us: it may to the source's options.
func (i pagerDutyIncident) severity() (s ops.Severity, word string) {
	s, word = ops.SeverityWarning, line(string(i.Urgency), maxShort)
	if i.Urgency == "high" {
		s = ops.SeverityHigh
	}
	if i.Priority == nil || strings.TrimSpace(string(i.Priority.Summary)) == "" {
		return s, word
	}
	name := line(string(i.Priority.Summary), maxShort)
	short, _, _ := strings.Cut(name, " ")
	if known, ok := priority(short); ok {
		return known, short
	}
	return s, name
}
