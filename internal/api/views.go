package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

// viewInput is a view as its owner writes it.
type viewInput struct {
	Name   string         `json:"name" minLength:"1" maxLength:"80"`
	Filter ops.ViewFilter `json:"filter"`
	Shared bool           `json:"shared,omitempty" doc:"Whether others see it, too. Needs the permission \"incidents.respond\"."`
}

type newView struct{ Body viewInput }

type changedView struct {
	ID   string `path:"id" maxLength:"36"`
	Body viewInput
}

type viewPath struct {
	ID string `path:"id" maxLength:"36"`
}

func (s *API) viewOperations(api huma.API) {
	const tag = "incidents"
	handle(s, api, operation{id: "list-views", method: http.MethodGet, path: "/views", summary: "Your views of the list of incidents, and those that others share", tag: tag},
		func(ctx context.Context, who caller, _ *nothing) (*answer[list[ops.View]], error) {
			return items(s.db.Views(ctx, who.User.ID))
		})
	handle(s, api, operation{id: "create-view", method: http.MethodPost, path: "/views", summary: "Keep a filter under a name", tag: tag, status: http.StatusCreated}, s.createView)
	handle(s, api, operation{id: "replace-view", method: http.MethodPut, path: "/views/{id}", summary: "Change a view of yours", tag: tag}, s.replaceView)
	handle(s, api, operation{id: "remove-view", method: http.MethodDelete, path: "/views/{id}", tag: tag, status: http.StatusNoContent,
		summary: "Remove a view of yours, or, if you manage accounts, one that anybody shares"}, s.removeView)
}

// read checks what is to be stored: the same filter must work in the list.
func (in viewInput) read(who caller) (ops.View, error) {
	f := in.Filter
	v := ops.View{Name: strings.TrimSpace(storable(in.Name)), Shared: in.Shared, Filter: ops.ViewFilter{Status: storable(f.Status), Severity: storable(f.Severity),
		Investigation: storable(f.Investigation), Source: storable(f.Source), Service: storableAll(f.Service), Assignee: storableAll(f.Assignee),
		Label: storableAll(f.Label), Text: storable(f.Text)}}
	if v.Name == "" {
		return v, ops.Errorf(ops.CodeInvalid, "the name is empty")
	}
	f = v.Filter
	if _, _, err := (IncidentFilter{Status: f.Status, Severity: f.Severity, Investigation: f.Investigation, Source: f.Source, Service: f.Service,
		Assignee: f.Assignee, Label: f.Label, Text: f.Text}).read(); err != nil {
		return v, err
	}
	if v.Shared {
		return v, permit(who, ops.CanRespond) // what others are to look at is for those who work here
	}
	return v, nil
}

func (s *API) createView(ctx context.Context, who caller, in *newView) (*answer[ops.View], error) {
	v, err := in.Body.read(who)
	if err != nil {
		return nil, err
	}
	v.ID = ops.NewID()
	if err := s.audited(ctx, who, "view.created", v.ID, viewDetail(v), func() error { return s.db.CreateView(ctx, who.User.ID, v) }); err != nil {
		return nil, err
	}
	v, err = s.db.View(ctx, who.User.ID, v.ID)
	return &answer[ops.View]{v}, err
}

func (s *API) replaceView(ctx context.Context, who caller, in *changedView) (*answer[ops.View], error) {
	now, err := s.view(ctx, who, in.ID)
	if err != nil {
		return nil, err
	}
	if !now.Mine {
		return nil, ops.Errorf(ops.CodeForbidden, "the view is %s's: save one of your own", now.Owner)
	}
	v, err := in.Body.read(who)
	if err != nil {
		return nil, err
	}
	v.ID = now.ID
	if err := s.audited(ctx, who, "view.changed", v.ID, viewDetail(v), func() error { return s.db.ReplaceView(ctx, v) }); err != nil {
		return nil, err
	}
	v, err = s.db.View(ctx, who.User.ID, v.ID)
	return &answer[ops.View]{v}, err
}

func (s *API) removeView(ctx context.Context, who caller, in *viewPath) (*nothing, error) {
	v, err := s.view(ctx, who, in.ID)
	if err != nil {
		return nil, err
	}
	if !v.Mine && !who.User.Powers.May(ops.CanManageAccounts) {
		return nil, ops.Errorf(ops.CodeForbidden, "the view is %s's: only they, or who manages accounts, can remove it", v.Owner)
	}
	return nil, s.audited(ctx, who, "view.removed", v.ID, viewDetail(v), func() error { return s.db.RemoveView(ctx, v.ID) })
}

func (s *API) view(ctx context.Context, who caller, id string) (ops.View, error) {
	if !ops.ValidID(id) {
		return ops.View{}, ops.Errorf(ops.CodeNotFound, "there is no such view")
	}
	return s.db.View(ctx, who.User.ID, id)
}

func viewDetail(v ops.View) map[string]string {
	return map[string]string{"name": v.Name, "shared": strconv.FormatBool(v.Shared)}
}
