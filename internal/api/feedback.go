package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

type newFeedback struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Body struct {
		Verdict string `json:"verdict" enum:"right,wrong,partly"`
		Comment string `json:"comment,omitempty" maxLength:"4000"`
		RunID   string `json:"run_id,omitempty" maxLength:"36" doc:"The investigation whose findings are meant; the newest that has any if it is left out."`
	}
}

func (s *API) feedbackOperations(api huma.API) {
	handle(s, api, operation{id: "give-feedback", method: http.MethodPost, path: "/incidents/{id}/feedback", tag: "incidents",
		summary: "Say whether findings are right; what you said before of the same is replaced"}, s.giveFeedback)
	part(s, api, "feedback", "What people think of its findings, newest first", s.feedbackOf)
	part(s, api, "similar", "Other incidents whose cause was found, the most similar first", s.similarTo)
}

func (s *API) feedbackOf(ctx context.Context, id string) ([]ops.Feedback, error) {
	return s.db.Feedback(ctx, id)
}

func (s *API) similarTo(ctx context.Context, id string) ([]ops.SimilarIncident, error) {
	i, err := s.db.Incident(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.db.Similar(ctx, i)
}

func (s *API) giveFeedback(ctx context.Context, who caller, in *newFeedback) (*answer[ops.Feedback], error) {
	i, err := s.incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	f := ops.Feedback{RunID: in.Body.RunID, By: who.actor(), Verdict: ops.FeedbackVerdict(in.Body.Verdict),
		Comment: strings.TrimSpace(storable(in.Body.Comment)), At: time.Now().UTC()}
	if f.RunID == "" {
		found, err := s.db.Findings(ctx, i.ID)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, ops.Errorf(ops.CodeConflict, "there are no findings to judge")
		}
		f.RunID = found[0].RunID
	}
	if !ops.ValidID(f.RunID) {
		return nil, ops.Errorf(ops.CodeNotFound, "there is no such investigation")
	}
	err = s.audited(ctx, who, "incident.feedback", i.ID, map[string]string{"run": f.RunID, "verdict": in.Body.Verdict},
		func() error { return s.db.GiveFeedback(ctx, i.ID, f) })
	return &answer[ops.Feedback]{f}, err
}

// findingsOf gives findings, and of each recommended command what would be
// decided if the agent that recommends it called it now.
func (s *API) findingsOf(ctx context.Context, id string) ([]postgres.StoredFinding, error) {
	found, err := s.db.Findings(ctx, id)
	if err != nil || len(found) == 0 {
		return found, err
	}
	runs, err := s.db.Runs(ctx, id)
	if err != nil {
		return nil, err
	}
	runOf := map[string]ops.Run{}
	for _, r := range runs {
		runOf[r.ID] = r
	}
	policies := map[[2]string]*policy.Policy{}
	for i := range found {
		run := runOf[found[i].RunID]
		key := [2]string{run.Agent, run.Actor}
		p, known := policies[key]
		if !known {
			if of, _, err := s.policyOf(ctx, run.Agent, draft{actor: run.Actor}); err == nil {
				p = &of
			}
			policies[key] = p // nil: agent or actor are gone, or may do nothing
		}
		if p == nil {
			continue
		}
		for n := range found[i].Finding.Actions {
			checkAction(*p, &found[i].Finding.Actions[n])
		}
	}
	return found, nil
}

// checkAction judges the command of an action, if it has one.
func checkAction(p policy.Policy, a *ops.Action) {
	if a.Command == "" || a.Target == "" {
		return
	}
	arguments, err := json.Marshal(map[string]string{"target": a.Target, "command": a.Command})
	if err != nil {
		return
	}
	call, err := policy.ReadCall("ssh_execute", arguments)
	if err != nil {
		return
	}
	d := p.Decide(call)
	a.Check = &ops.ActionCheck{Verdict: string(d.Verdict), Rule: d.Rule}
	if len(d.Reasons) > 0 {
		a.Check.Reason = d.Reasons[0]
	}
}
