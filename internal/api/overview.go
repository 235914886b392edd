package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

type dashboardQuery struct {
	Window string `query:"window" enum:"day,week" default:"day" doc:"Of what came in."`
}

// systemReport is how the deployment is. It names no address and no secret.
type systemReport struct {
	At        time.Time     `json:"at"`
	Processes []ops.Process `json:"processes" nullable:"false" doc:"That live, and those that have just gone. Of a kind that has none the one that was there last."`
	postgres.System
}

type setupChange struct {
	Body struct {
		Dismissed bool `json:"dismissed" doc:"Whether nobody is to be reminded of it."`
	}
}

// AlertQuery selects alerts of all incidents.
type AlertQuery struct {
	Source   string   `query:"source" maxLength:"1000" doc:"Ids of sources, separated by commas."`
	Status   string   `query:"status" maxLength:"100" doc:"firing, acknowledged or resolved; one or several, separated by commas."`
	Severity string   `query:"severity" maxLength:"100" doc:"One or several, separated by commas."`
	Label    []string `query:"label,explode" maxItems:"10" doc:"key:value; all of them."`
	Text     string   `query:"q" maxLength:"200" doc:"Parts of its texts, its host, its identity or its labels; all of the words."`
	Cursor   string   `query:"cursor" maxLength:"64"`
	Limit    int      `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *API) overviewOperations(api huma.API) {
	handle(s, api, operation{id: "get-dashboard", method: http.MethodGet, path: "/dashboard", tag: "incidents",
		summary: "What is on fire, who works on it, what came in and what was spent"},
		func(ctx context.Context, _ caller, in *dashboardQuery) (*answer[postgres.Dashboard], error) {
			d, err := s.db.Dashboard(ctx, time.Now(), map[string]int{"day": 24, "week": 7 * 24}[in.Window])
			return &answer[postgres.Dashboard]{d}, err
		})
	handle(s, api, operation{id: "list-all-alerts", method: http.MethodGet, path: "/alerts", tag: "incidents",
		summary: "Alerts of all incidents, newest first. For a page at most 10,000 are looked through: it may hold few or none while there is a next cursor"}, s.alertFeed)
	handle(s, api, operation{id: "get-system", method: http.MethodGet, path: "/system", summary: "Processes, queues and versions", tag: "configuration"}, s.system)
	handle(s, api, operation{id: "list-usage-parts", method: http.MethodGet, path: "/usage/parts", summary: "What was spent, by day and agent and by day and model, newest first", tag: "configuration"},
		func(ctx context.Context, _ caller, in *usageQuery) (*answer[list[ops.UsagePart]], error) {
			return items(s.db.UsageParts(ctx, time.Now().AddDate(0, 0, 1-in.Days)))
		})
	handle(s, api, operation{id: "get-setup", method: http.MethodGet, path: "/setup", summary: "How far the set-up has come", tag: "configuration"},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[postgres.SetupState], error) {
			state, err := s.db.SetupState(ctx)
			return &answer[postgres.SetupState]{state}, err
		})
	handle(s, api, operation{id: "change-setup", method: http.MethodPatch, path: "/setup", summary: "Remind of the set-up, or not", tag: "configuration"},
		func(ctx context.Context, who caller, in *setupChange) (*answer[postgres.SetupState], error) {
			err := s.audited(ctx, who, "setup.changed", "installation", map[string]string{"dismissed": strconv.FormatBool(in.Body.Dismissed)},
				func() error { return s.db.DismissSetup(ctx, who.actor(), in.Body.Dismissed) })
			if err != nil {
				return nil, err
			}
			state, err := s.db.SetupState(ctx)
			return &answer[postgres.SetupState]{state}, err
		})
}

// detail is what this api says of itself.
func (s *API) detail() ops.ProcessDetail {
	d := ops.ProcessDetail{Workers: s.dispatch.Workers(), Deliveries: len(s.intake.queue), Room: cap(s.intake.queue)}
	if s.configuration != nil {
		c := s.configuration()
		d.Configuration = &c
	}
	return d
}

func (s *API) system(ctx context.Context, who caller, _ *nothing) (*answer[systemReport], error) {
	out := systemReport{At: time.Now().UTC()}
	var err error
	if out.Processes, err = s.db.Processes(ctx); err != nil {
		return nil, err
	}
	if out.System, err = s.db.System(ctx); err != nil {
		return nil, err
	}
	for _, c := range s.chores() {
		if n := slices.IndexFunc(out.Chores, func(w postgres.Work) bool { return w.Name == c.name }); n >= 0 {
			out.Chores[n].Does = c.does
		}
	}
	if !who.User.Powers.May(ops.CanManageInventory) { // an error may quote an address
		for _, p := range out.Processes {
			if p.Configuration != nil && p.Configuration.Problem != "" {
				p.Configuration.Problem = "somebody who manages the inventory sees what is wrong"
			}
		}
		for n := range out.Chores {
			out.Chores[n].Error = ""
		}
	}
	return &answer[systemReport]{out}, nil
}

func (s *API) alertFeed(ctx context.Context, _ caller, in *AlertQuery) (*answer[list[postgres.FeedAlert]], error) {
	f := postgres.AlertFilter{Text: storable(in.Text), Labels: storableAll(in.Label), Before: in.Cursor, Limit: in.Limit}
	for _, v := range commas(in.Status) {
		if !slices.Contains([]ops.AlertStatus{ops.AlertFiring, ops.AlertAcknowledged, ops.AlertResolved}, ops.AlertStatus(v)) {
			return nil, ops.Errorf(ops.CodeInvalid, "status is one of firing, acknowledged, resolved")
		}
		f.Statuses = append(f.Statuses, ops.AlertStatus(v))
	}
	for _, v := range commas(in.Severity) {
		if !slices.Contains(severities, v) {
			return nil, ops.Errorf(ops.CodeInvalid, "severity is one of %s", strings.Join(severities, ", "))
		}
		f.Severities = append(f.Severities, ops.Severity(v))
	}
	for _, label := range f.Labels {
		if key, _, ok := strings.Cut(label, ":"); !ok || key == "" {
			return nil, ops.Errorf(ops.CodeInvalid, "label is of the form key:value")
		}
	}
	if in.Cursor != "" && !ops.ValidID(in.Cursor) {
		return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
	}
	for _, id := range commas(in.Source) {
		if ops.ValidID(id) {
			f.Sources = append(f.Sources, id)
		}
	}
	if in.Source != "" && len(f.Sources) == 0 { // of nobody
		return items[postgres.FeedAlert](nil, nil)
	}
	feed, err := s.db.AlertFeed(ctx, f)
	page, err := items(feed.Alerts, err)
	if err == nil {
		page.Body.NextCursor = feed.Next
	}
	return page, err
}
