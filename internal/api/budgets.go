package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

type budgetPath struct {
	Scope string `path:"scope" maxLength:"36" doc:"all, or a source's id."`
}

type newBudget struct {
	Scope string `path:"scope" maxLength:"36" doc:"all, or a source's id."`
	Body  struct {
		Runs   int64   `json:"runs,omitempty" minimum:"0" maximum:"1000000" doc:"Investigations a day; 0 is no bound."`
		Tokens int64   `json:"tokens,omitempty" minimum:"0" maximum:"1000000000000" doc:"Tokens a day, read and written; 0 is no bound."`
		USD    float64 `json:"usd,omitempty" minimum:"0" maximum:"1000000" doc:"US dollars a day, as far as prices are known; 0 is no bound."`
	}
}

type usageQuery struct {
	Days int `query:"days" minimum:"1" maximum:"366" default:"30"`
}

type newChange struct {
	Body struct {
		Service string    `json:"service" minLength:"1" maxLength:"200" doc:"The service or host, as alerts name it."`
		At      time.Time `json:"at,omitempty" doc:"When it was; now if it is left out."`
		Text    string    `json:"text" minLength:"1" maxLength:"2000"`
		Link    string    `json:"link,omitempty" maxLength:"2000"`
	}
}

type changeQuery struct {
	Service string `query:"service" maxLength:"200"`
}

func (s *API) budgetOperations(api huma.API) {
	const tag = "configuration"
	handle(s, api, operation{id: "list-budgets", method: http.MethodGet, path: "/budgets", summary: "What may be spent in a day, which begins at midnight UTC", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.Budget]], error) {
			return items(s.db.Budgets(ctx))
		})
	handle(s, api, operation{id: "set-budget", method: http.MethodPut, path: "/budgets/{scope}", tag: tag,
		summary: "Bound what is spent in a day. An investigation above it is not started; one that is under way concludes"}, s.setBudget)
	handle(s, api, operation{id: "remove-budget", method: http.MethodDelete, path: "/budgets/{scope}", summary: "Remove a bound", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *budgetPath) (*nothing, error) {
			return nil, s.audited(ctx, who, "budget.removed", in.Scope, nil, func() error { return s.db.RemoveBudget(ctx, in.Scope) })
		})
	handle(s, api, operation{id: "get-usage", method: http.MethodGet, path: "/usage", summary: "What was spent, by day and source, newest first", tag: tag},
		func(ctx context.Context, _ caller, in *usageQuery) (*answer[list[ops.DayUsage]], error) {
			return items(s.db.Usage(ctx, time.Now().AddDate(0, 0, 1-in.Days)))
		})
	handle(s, api, operation{id: "list-changes", method: http.MethodGet, path: "/changes", summary: "What was done to services, newest first", tag: "incidents"},
		func(ctx context.Context, _ caller, in *changeQuery) (*answer[list[ops.Change]], error) {
			return items(s.db.Changes(ctx, storable(in.Service)))
		})
	handle(s, api, operation{id: "note-change", method: http.MethodPost, path: "/changes", tag: "incidents", status: http.StatusCreated,
		summary: "Note that something was done to a service, such as a deployment: investigations within a day begin with it. It is kept for 90 days"}, s.noteChange)
}

func (s *API) setBudget(ctx context.Context, who caller, in *newBudget) (*answer[ops.Budget], error) {
	if in.Scope != ops.BudgetAll {
		if !ops.ValidID(in.Scope) {
			return nil, ops.Errorf(ops.CodeNotFound, "there is no such source; the scope is %q or a source's id", ops.BudgetAll)
		}
		if _, err := s.db.Source(ctx, in.Scope); err != nil {
			return nil, err
		}
	}
	b := ops.Budget{Scope: in.Scope, Runs: in.Body.Runs, Tokens: in.Body.Tokens, USD: in.Body.USD, UpdatedAt: time.Now().UTC(), UpdatedBy: who.actor()}
	err := s.audited(ctx, who, "budget.set", b.Scope, map[string]string{"runs": strconv.FormatInt(b.Runs, 10), "tokens": strconv.FormatInt(b.Tokens, 10),
		"usd": strconv.FormatFloat(b.USD, 'f', -1, 64)}, func() error { return s.db.SetBudget(ctx, b) })
	return &answer[ops.Budget]{b}, err
}

func (s *API) noteChange(ctx context.Context, who caller, in *newChange) (*answer[ops.Change], error) {
	c := ops.Change{ID: ops.NewID(), Service: strings.TrimSpace(storable(in.Body.Service)), At: in.Body.At.UTC(), Text: strings.TrimSpace(storable(in.Body.Text)),
		Link: storable(in.Body.Link), NotedBy: who.actor()}
	now := time.Now().UTC()
	if in.Body.At.IsZero() {
		c.At = now
	}
	switch u, err := url.Parse(c.Link); {
	case c.Service == "" || c.Text == "":
		return nil, ops.Errorf(ops.CodeInvalid, "service and text must not be empty")
	case c.At.Before(now.AddDate(0, 0, -90)) || c.At.After(now.Add(time.Hour)):
		return nil, ops.Errorf(ops.CodeInvalid, "a change is noted for a time in the last 90 days")
	case c.Link != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == ""):
		return nil, ops.Errorf(ops.CodeInvalid, "the link is not of the form https://HOST/PATH")
	}
	err := s.audited(ctx, who, "change.noted", c.ID, map[string]string{"service": c.Service}, func() error { return s.db.NoteChange(ctx, c) })
	return &answer[ops.Change]{c}, err
}
