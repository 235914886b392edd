package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/akmatori/akmatori/internal/ops"
)

// bulkAtOnce is how many of a call's changes are under way at the same time.
const bulkAtOnce = 4

type bulkChange struct {
	Body struct {
		Action   string   `json:"action" enum:"acknowledge,assign,resolve,close"`
		IDs      []string `json:"ids" minItems:"1" maxItems:"200" nullable:"false" doc:"Ids or numbers of incidents."`
		Assignee string   `json:"assignee,omitempty" maxLength:"100" doc:"For assign: a user's name; empty for nobody."`
	}
}

// bulkItem is what came of one of them: the incident as it is then, or a problem.
type bulkItem struct {
	ID       string        `json:"id" doc:"As it was asked for."`
	Incident *ops.Incident `json:"incident,omitempty"`
	Status   int           `json:"status" doc:"What the call for this one incident would have been answered with."`
	Problem  string        `json:"problem,omitempty" doc:"Why nothing was done to it."`
}

func (s *API) bulkOperations(api huma.API) {
	handle(s, api, operation{id: "change-incidents", method: http.MethodPost, path: "/incidents/bulk", tag: "incidents",
		summary: "Do the same to several incidents. Each is changed by itself, as if it were the only one: some may fail and others not"}, s.changeIncidents)
}

// changeIncidents answers in the order asked for. An incident that is named
// twice is changed once.
func (s *API) changeIncidents(ctx context.Context, who caller, in *bulkChange) (*answer[list[bulkItem]], error) {
	change, err := s.bulkChange(who, in)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(in.Body.IDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	done := make([]bulkItem, len(ids))
	var g errgroup.Group
	g.SetLimit(bulkAtOnce)
	for n, id := range ids {
		g.Go(func() error {
			done[n] = bulkItem{ID: id, Status: http.StatusOK}
			changed, err := change(ctx, id)
			if err != nil {
				p := s.problemOf(ctx, "change-incidents", err)
				done[n].Status, done[n].Problem = p.Status, p.Detail
				return nil // the others go on
			}
			done[n].Incident = &changed.Body
			return nil
		})
	}
	_ = g.Wait()
	slices.SortStableFunc(done, func(a, b bulkItem) int { return slices.Index(in.Body.IDs, a.ID) - slices.Index(in.Body.IDs, b.ID) })
	return items(done, nil)
}

// bulkChange gives what is done to each: the very thing that the call for one does.
func (s *API) bulkChange(who caller, in *bulkChange) (func(context.Context, string) (*answer[ops.Incident], error), error) {
	assignee := strings.TrimSpace(storable(in.Body.Assignee))
	if in.Body.Action == "assign" {
		return func(ctx context.Context, id string) (*answer[ops.Incident], error) {
			one := assignment{ID: id}
			one.Body.Assignee = assignee
			return s.assignIncident(ctx, who, &one)
		}, nil
	}
	if assignee != "" {
		return nil, ops.Errorf(ops.CodeInvalid, "assignee is for assign alone")
	}
	to := map[string]ops.IncidentStatus{"acknowledge": ops.IncidentAcknowledged, "resolve": ops.IncidentResolved, "close": ops.IncidentClosed}[in.Body.Action]
	return func(ctx context.Context, id string) (*answer[ops.Incident], error) {
		return s.changed(ctx, who, id, "incident."+in.Body.Action, nil, func(i ops.Incident) (string, error) {
			return i.ID, s.db.SetIncidentStatus(ctx, i.ID, to, who.actor())
		})
	}, nil
}
