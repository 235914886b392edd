package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// What people change of incidents. The answer is the incident as it is then.

type incidentEdit struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Body struct {
		Title       *string `json:"title,omitempty" nullable:"false" minLength:"1" maxLength:"300"`
		Severity    *string `json:"severity,omitempty" nullable:"false" enum:"critical,high,warning,info"`
		Description *string `json:"description,omitempty" nullable:"false" maxLength:"16384"`
	}
}

type assignment struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Body struct {
		Assignee string `json:"assignee" maxLength:"100" doc:"A user's name; empty for nobody."`
	}
}

type merge struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident that goes: its id or its number."`
	Body struct {
		Into string `json:"into" minLength:"1" maxLength:"64" doc:"The incident that stays: its id or its number."`
	}
}

type split struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Body struct {
		AlertIDs []string `json:"alert_ids" minItems:"1" maxItems:"1000" nullable:"false"`
		Title    string   `json:"title,omitempty" maxLength:"300" doc:"Of the new incident; its first alert's if it is left out."`
	}
}

type alertMove struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Body struct {
		AlertIDs []string `json:"alert_ids" minItems:"1" maxItems:"1000" nullable:"false"`
		To       string   `json:"to" minLength:"1" maxLength:"64" doc:"The incident that gets them: its id or its number."`
	}
}

func (s *API) editOperations(api huma.API) {
	const tag = "incidents"
	handle(s, api, operation{id: "edit-incident", method: http.MethodPatch, path: "/incidents/{id}", tag: tag,
		summary: "Change its title, severity or description; alerts change what was set by hand no more"}, s.editIncident)
	handle(s, api, operation{id: "assign-incident", method: http.MethodPost, path: "/incidents/{id}/assign", tag: tag,
		summary: "Say whose it is"}, s.assignIncident)
	handle(s, api, operation{id: "merge-incident", method: http.MethodPost, path: "/incidents/{id}/merge", tag: tag,
		summary: "Make it a part of another incident: its alerts and what comes new of its groups. The answer is that other incident"}, s.mergeIncident)
	handle(s, api, operation{id: "split-incident", method: http.MethodPost, path: "/incidents/{id}/split", tag: tag, status: http.StatusCreated,
		summary: "Take alerts out of it into a new incident, which is the answer"}, s.splitIncident)
	handle(s, api, operation{id: "move-alerts", method: http.MethodPost, path: "/incidents/{id}/move", tag: tag,
		summary: "Take alerts out of it into another incident, which is the answer"}, s.moveAlerts)
}

// changed does something to an incident, with a record of it, and answers with
// the incident that after gives.
func (s *API) changed(ctx context.Context, who caller, ref, action string, detail map[string]string, do func(ops.Incident) (after string, err error)) (*answer[ops.Incident], error) {
	i, err := s.incident(ctx, ref)
	if err != nil {
		return nil, err
	}
	if detail == nil {
		detail = map[string]string{}
	}
	detail["number"] = strconv.FormatInt(i.Number, 10)
	var after string
	if err := s.audited(ctx, who, action, i.ID, detail, func() (err error) { after, err = do(i); return err }); err != nil {
		return nil, err
	}
	i, err = s.db.Incident(ctx, after)
	return &answer[ops.Incident]{i}, err
}

func (s *API) editIncident(ctx context.Context, who caller, in *incidentEdit) (*answer[ops.Incident], error) {
	var e postgres.IncidentEdit
	detail := map[string]string{}
	if t := in.Body.Title; t != nil {
		title := strings.TrimSpace(storable(*t))
		if title == "" {
			return nil, ops.Errorf(ops.CodeInvalid, "the title is empty")
		}
		e.Title, detail["title"] = &title, title
	}
	if d := in.Body.Description; d != nil {
		description := storable(*d)
		e.Description, detail["description"] = &description, "changed"
	}
	if v := in.Body.Severity; v != nil {
		severity := ops.Severity(*v)
		e.Severity, detail["severity"] = &severity, *v
	}
	return s.changed(ctx, who, in.ID, "incident.edit", detail, func(i ops.Incident) (string, error) {
		return i.ID, s.db.EditIncident(ctx, i.ID, e, who.actor())
	})
}

func (s *API) assignIncident(ctx context.Context, who caller, in *assignment) (*answer[ops.Incident], error) {
	assignee := strings.TrimSpace(storable(in.Body.Assignee))
	return s.changed(ctx, who, in.ID, "incident.assign", map[string]string{"assignee": assignee}, func(i ops.Incident) (string, error) {
		return i.ID, s.db.EditIncident(ctx, i.ID, postgres.IncidentEdit{Assignee: &assignee}, who.actor())
	})
}

func (s *API) mergeIncident(ctx context.Context, who caller, in *merge) (*answer[ops.Incident], error) {
	into, err := s.incident(ctx, in.Body.Into)
	if err != nil {
		return nil, err
	}
	return s.changed(ctx, who, in.ID, "incident.merge", map[string]string{"into": into.ID}, func(i ops.Incident) (string, error) {
		return into.ID, s.db.MergeIncident(ctx, i.ID, into.ID, who.actor())
	})
}

func (s *API) splitIncident(ctx context.Context, who caller, in *split) (*answer[ops.Incident], error) {
	if err := validIDs(in.Body.AlertIDs); err != nil {
		return nil, err
	}
	title := strings.TrimSpace(storable(in.Body.Title))
	return s.changed(ctx, who, in.ID, "incident.split", map[string]string{"alerts": strconv.Itoa(len(in.Body.AlertIDs))}, func(i ops.Incident) (string, error) {
		return s.db.SplitIncident(ctx, i.ID, in.Body.AlertIDs, title, who.actor())
	})
}

func (s *API) moveAlerts(ctx context.Context, who caller, in *alertMove) (*answer[ops.Incident], error) {
	if err := validIDs(in.Body.AlertIDs); err != nil {
		return nil, err
	}
	to, err := s.incident(ctx, in.Body.To)
	if err != nil {
		return nil, err
	}
	return s.changed(ctx, who, in.ID, "incident.move", map[string]string{"to": to.ID, "alerts": strconv.Itoa(len(in.Body.AlertIDs))}, func(i ops.Incident) (string, error) {
		return to.ID, s.db.MoveAlerts(ctx, i.ID, to.ID, in.Body.AlertIDs, who.actor())
	})
}

func validIDs(ids []string) error {
	for _, id := range ids {
		if !ops.ValidID(id) {
			return ops.Errorf(ops.CodeInvalid, "alert_ids holds what is not the id of an alert")
		}
	}
	return nil
}
