package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

type incidentPath struct {
	ID string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
}

type eventsQuery struct {
	ID    string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	After int64  `query:"after" minimum:"0" doc:"Events behind this number."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"500"`
}

type newIncident struct {
	Body struct {
		Title       string `json:"title" minLength:"1" maxLength:"300"`
		Description string `json:"description,omitempty" maxLength:"16384"`
		Severity    string `json:"severity,omitempty" enum:"critical,high,warning,info" default:"warning"`
		Agent       string `json:"agent,omitempty" maxLength:"100" default:"investigator" doc:"The id of the agent that investigates."`
	}
}

func (s *API) incidentOperations(api huma.API) {
	const tag = "incidents"
	handle(s, api, operation{id: "list-incidents", method: http.MethodGet, path: "/incidents", summary: "Incidents, newest first", tag: tag}, s.listIncidents)
	handle(s, api, operation{id: "count-incidents", method: http.MethodGet, path: "/incidents/facets", summary: "How many incidents there are of each kind", tag: tag}, s.incidentFacets)
	handle(s, api, operation{id: "create-incident", method: http.MethodPost, path: "/incidents", summary: "Open an incident and have it investigated", tag: tag, status: http.StatusCreated}, s.createIncident)
	handle(s, api, operation{id: "get-incident", method: http.MethodGet, path: "/incidents/{id}", summary: "One incident", tag: tag},
		func(ctx context.Context, _ caller, in *incidentPath) (*answer[ops.Incident], error) {
			i, err := s.incident(ctx, in.ID)
			return &answer[ops.Incident]{i}, err
		})
	handle(s, api, operation{id: "list-incident-alerts", method: http.MethodGet, path: "/incidents/{id}/alerts", summary: "Its alerts, oldest first", tag: tag}, s.listAlerts)
	part(s, api, "calls", "The tool calls of its runs, oldest first", s.callsOf)
	part(s, api, "findings", "What its runs found, newest first", s.findingsOf)
	part(s, api, "runs", "Its investigations, newest first", s.runsOf)
	handle(s, api, operation{id: "list-incident-events", method: http.MethodGet, path: "/incidents/{id}/events", summary: "Its timeline, in order", tag: tag},
		func(ctx context.Context, _ caller, in *eventsQuery) (*answer[list[ops.Event]], error) {
			i, err := s.incident(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			events, err := shown(s.db.Events(ctx, i.ID, in.After, in.Limit))
			page, err := items(events, err)
			if err == nil && len(events) == in.Limit {
				page.Body.NextCursor = strconv.FormatInt(events[len(events)-1].Seq, 10)
			}
			return page, err
		})
	handle(s, api, operation{id: "stream-incident", method: http.MethodGet, path: "/incidents/{id}/stream", summary: "Its timeline as server-sent events", tag: tag, stream: true}, s.stream)

	act(s, api, "acknowledge", "Say that somebody is on it", func(ctx context.Context, who caller, id string) error {
		return s.db.SetIncidentStatus(ctx, id, ops.IncidentAcknowledged, who.actor())
	})
	act(s, api, "resolve", "Say that it is over", func(ctx context.Context, who caller, id string) error {
		return s.db.SetIncidentStatus(ctx, id, ops.IncidentResolved, who.actor())
	})
	act(s, api, "close", "Put it away", func(ctx context.Context, who caller, id string) error {
		return s.db.SetIncidentStatus(ctx, id, ops.IncidentClosed, who.actor())
	})
	act(s, api, "investigate", "Investigate it again", func(ctx context.Context, who caller, id string) error {
		if err := mayStart(who, postgres.DefaultAgent); err != nil {
			return err
		}
		return s.db.Investigate(ctx, id, postgres.DefaultAgent, who.actor())
	})
	act(s, api, "cancel", "Stop the investigation", func(ctx context.Context, who caller, id string) error {
		return s.db.CancelRun(ctx, id, "cancelled by "+who.User.Username)
	})
}

// shown leaves out of events what is a vendor's own and means nothing to anybody
// else: what it signed or encrypted of a model's thinking stays with the
// transcript, and goes to workers alone.
func shown(events []ops.Event, err error) ([]ops.Event, error) {
	for i, e := range events {
		if e.Kind != ops.EventMessage {
			continue
		}
		var data map[string]json.RawMessage
		if json.Unmarshal(e.Data, &data) != nil {
			continue
		}
		if _, ok := data["vendor"]; !ok {
			continue
		}
		delete(data, "vendor")
		raw, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		events[i].Data = raw
	}
	return events, err
}

// part registers a list that belongs to an incident.
func part[T any](s *API, api huma.API, name, summary string, get func(context.Context, string) ([]T, error)) {
	handle(s, api, operation{id: "list-incident-" + name, method: http.MethodGet, path: "/incidents/{id}/" + name, summary: summary, tag: "incidents"},
		func(ctx context.Context, _ caller, in *incidentPath) (*answer[list[T]], error) {
			i, err := s.incident(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return items(get(ctx, i.ID))
		})
}

func (s *API) callsOf(ctx context.Context, id string) ([]ops.ToolCall, error) {
	return s.db.Calls(ctx, id)
}

func (s *API) runsOf(ctx context.Context, id string) ([]ops.Run, error) {
	return s.db.Runs(ctx, id)
}

// act registers something that a person does to an incident. The answer is the
// incident as it is then.
func act(s *API, api huma.API, name, summary string, do func(context.Context, caller, string) error) {
	handle(s, api, operation{id: name + "-incident", method: http.MethodPost, path: "/incidents/{id}/" + name, summary: summary, tag: "incidents"},
		func(ctx context.Context, who caller, in *incidentPath) (*answer[ops.Incident], error) {
			i, err := s.incident(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			err = s.audited(ctx, who, "incident."+name, i.ID, map[string]string{"number": strconv.FormatInt(i.Number, 10)},
				func() error { return do(ctx, who, i.ID) })
			if err != nil {
				return nil, err
			}
			i, err = s.db.Incident(ctx, i.ID)
			return &answer[ops.Incident]{i}, err
		})
}

// incident finds an incident by id or number.
func (s *API) incident(ctx context.Context, ref string) (ops.Incident, error) {
	if ops.ValidID(ref) {
		return s.db.Incident(ctx, ref)
	}
	if n, err := strconv.ParseInt(ref, 10, 64); err == nil && n > 0 {
		return s.db.IncidentByNumber(ctx, n)
	}
	return ops.Incident{}, ops.Errorf(ops.CodeNotFound, "there is no such incident")
}

func (s *API) createIncident(ctx context.Context, who caller, in *newIncident) (*answer[ops.Incident], error) {
	var i ops.Incident
	title := strings.TrimSpace(storable(in.Body.Title))
	if title == "" {
		return nil, ops.Errorf(ops.CodeInvalid, "the title is empty")
	}
	if in.Body.Agent != "" {
		if err := mayStart(who, in.Body.Agent); err != nil {
			return nil, err
		}
	}
	id := ops.NewID()
	err := s.audited(ctx, who, "incident.created", id, nil, func() (err error) {
		i, err = s.db.CreateIncident(ctx, postgres.NewIncident{ID: id, Title: title, Description: storable(in.Body.Description),
			Severity: ops.Severity(in.Body.Severity), Agent: storable(in.Body.Agent), Actor: who.actor()})
		return err
	})
	return &answer[ops.Incident]{i}, err
}

// storable drops NUL, which Postgres keeps in no text, and marks bytes that are no
// UTF-8, which headers and addresses may have.
func storable(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}
