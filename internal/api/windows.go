package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
)

// windowBody is a maintenance window as people write it.
type windowBody struct {
	Name      string    `json:"name" minLength:"1" maxLength:"100"`
	Enabled   *bool     `json:"enabled,omitempty" nullable:"false" doc:"true if it is left out"`
	Match     string    `json:"match,omitempty" maxLength:"4096" doc:"Matchers as in grouping rules. Empty covers every alert."`
	StartsAt  time.Time `json:"starts_at,omitzero" doc:"When it begins; of a weekly one, not before this."`
	EndsAt    time.Time `json:"ends_at,omitzero" doc:"When it ends; of a weekly one, not after this."`
	Days      []string  `json:"days,omitempty" maxItems:"7" nullable:"false" enum:"mon,tue,wed,thu,fri,sat,sun" doc:"Makes it weekly."`
	StartTime string    `json:"start_time,omitempty" maxLength:"5" doc:"HH:MM on these days."`
	Minutes   int       `json:"minutes,omitempty" minimum:"0" maximum:"10080" doc:"How long it is on each time."`
	TimeZone  string    `json:"time_zone,omitempty" maxLength:"64" doc:"Of start_time, as Europe/Berlin; UTC if it is left out."`
}

type newWindow struct{ Body windowBody }

type changedWindow struct {
	ID   string `path:"id" maxLength:"36"`
	Body windowBody
}

func (s *API) windowOperations(api huma.API) {
	const tag = "configuration"
	handle(s, api, operation{id: "list-maintenance-windows", method: http.MethodGet, path: "/maintenance-windows",
		summary: "Planned work, during which nothing is investigated", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.MaintenanceWindow]], error) {
			return items(s.db.MaintenanceWindows(ctx))
		})
	handle(s, api, operation{id: "create-maintenance-window", method: http.MethodPost, path: "/maintenance-windows", summary: "Add a maintenance window",
		tag: tag, status: http.StatusCreated},
		func(ctx context.Context, who caller, in *newWindow) (*answer[ops.MaintenanceWindow], error) {
			return s.putWindow(ctx, who, "maintenance_window.created", in.Body.window(ops.NewID()), true)
		})
	handle(s, api, operation{id: "replace-maintenance-window", method: http.MethodPut, path: "/maintenance-windows/{id}", summary: "Change a maintenance window",
		tag: tag},
		func(ctx context.Context, who caller, in *changedWindow) (*answer[ops.MaintenanceWindow], error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoWindow
			}
			return s.putWindow(ctx, who, "maintenance_window.changed", in.Body.window(in.ID), false)
		})
	handle(s, api, operation{id: "delete-maintenance-window", method: http.MethodDelete, path: "/maintenance-windows/{id}", summary: "Remove a maintenance window, which ends it",
		tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *configPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoWindow
			}
			return nil, s.audited(ctx, who, "maintenance_window.deleted", in.ID, nil, func() error { return s.db.DeleteMaintenanceWindow(ctx, in.ID) })
		})
}

var errNoWindow = ops.Errorf(ops.CodeNotFound, "there is no such maintenance window")

func (b windowBody) window(id string) ops.MaintenanceWindow {
	return ops.MaintenanceWindow{ID: id, Name: strings.TrimSpace(storable(b.Name)), Enabled: b.Enabled == nil || *b.Enabled, Match: storable(b.Match),
		StartsAt: b.StartsAt.UTC(), EndsAt: b.EndsAt.UTC(), Days: b.Days, StartTime: storable(b.StartTime), Minutes: b.Minutes, TimeZone: storable(b.TimeZone)}
}

func (s *API) putWindow(ctx context.Context, who caller, action string, w ops.MaintenanceWindow, isNew bool) (*answer[ops.MaintenanceWindow], error) {
	if err := grouping.CheckWindow(w); err != nil {
		return nil, err
	}
	err := s.audited(ctx, who, action, w.ID, map[string]string{"name": w.Name, "match": w.Match}, func() (err error) {
		w, err = s.db.PutMaintenanceWindow(ctx, w, isNew)
		return err
	})
	if ops.CodeOf(err) == ops.CodeNotFound {
		err = errNoWindow
	}
	return &answer[ops.MaintenanceWindow]{w}, err
}
