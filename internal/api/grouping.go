package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
)

// ruleBody is a grouping rule as people write it.
type ruleBody struct {
	Name          string `json:"name" minLength:"1" maxLength:"100"`
	Position      int    `json:"position,omitempty" minimum:"0" maximum:"1000000" default:"100" doc:"Rules are tried from the lowest on; the first match decides."`
	Enabled       *bool  `json:"enabled,omitempty" nullable:"false" doc:"true if it is left out"`
	Match         string `json:"match,omitempty" maxLength:"4096" doc:"Matchers in Alertmanager's syntax, as source=\"prod\", severity=~\"critical|high\", labels.cluster!=\"dev\". Fields: source, source_kind, kind, severity, service, host, title, labels.NAME. Empty matches every alert."`
	Key           string `json:"key,omitempty" maxLength:"512" doc:"Alerts with the same key are one incident, as {{service}}/{{labels.cluster}}. Empty leaves them in their sender's group."`
	Window        string `json:"window,omitempty" enum:",rolling,fixed" doc:"rolling: from the newest alert of the group; fixed: from its first. Empty: as long as the incident is open."`
	WindowSeconds int    `json:"window_seconds,omitempty" minimum:"0" maximum:"7776000"`
	MinSeverity   string `json:"min_severity,omitempty" enum:",critical,high,warning,info" doc:"Incidents below it are made and not investigated."`
	Investigate   *bool  `json:"investigate,omitempty" nullable:"false" doc:"true if it is left out"`
	Agent         string `json:"agent,omitempty" maxLength:"100" doc:"The id of the agent that investigates; empty: the default one."`
}

type newRule struct{ Body ruleBody }

type changedRule struct {
	ID   string `path:"id" maxLength:"36"`
	Body ruleBody
}

type previewedRule struct {
	Replaces string `query:"replaces" maxLength:"36" doc:"The id of the stored rule that this one would replace; empty for a new one."`
	Body     ruleBody
}

type configPath struct {
	ID string `path:"id" maxLength:"36"`
}

func (s *API) groupingOperations(api huma.API) {
	const tag = "configuration"
	handle(s, api, operation{id: "list-grouping-rules", method: http.MethodGet, path: "/grouping-rules",
		summary: "Which alerts become one incident: rules, in the order in which they are tried", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.GroupingRule]], error) {
			return items(s.db.GroupingRules(ctx))
		})
	handle(s, api, operation{id: "create-grouping-rule", method: http.MethodPost, path: "/grouping-rules", summary: "Add a grouping rule",
		tag: tag, status: http.StatusCreated},
		func(ctx context.Context, who caller, in *newRule) (*answer[ops.GroupingRule], error) {
			return s.putRule(ctx, who, "grouping_rule.created", in.Body.rule(ops.NewID()), true)
		})
	handle(s, api, operation{id: "replace-grouping-rule", method: http.MethodPut, path: "/grouping-rules/{id}", summary: "Change a grouping rule; incidents that are there stay as they are",
		tag: tag},
		func(ctx context.Context, who caller, in *changedRule) (*answer[ops.GroupingRule], error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoRule
			}
			return s.putRule(ctx, who, "grouping_rule.changed", in.Body.rule(in.ID), false)
		})
	handle(s, api, operation{id: "delete-grouping-rule", method: http.MethodDelete, path: "/grouping-rules/{id}", summary: "Remove a grouping rule",
		tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *configPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoRule
			}
			return nil, s.audited(ctx, who, "grouping_rule.deleted", in.ID, nil, func() error { return s.db.DeleteGroupingRule(ctx, in.ID) })
		})
	handle(s, api, operation{id: "preview-grouping-rule", method: http.MethodPost, path: "/grouping-rules/preview",
		summary: "What a rule would have made of the alerts of the last 90 days; nothing is stored", tag: tag},
		func(ctx context.Context, _ caller, in *previewedRule) (*answer[ops.GroupingPreview], error) {
			r := in.Body.rule(in.Replaces)
			if err := grouping.CheckRule(r); err != nil {
				return nil, err
			}
			if r.ID != "" && !ops.ValidID(r.ID) {
				return nil, errNoRule
			}
			if r.ID == "" {
				r.ID = ops.NewID()
			}
			p, err := s.db.PreviewGrouping(ctx, r)
			return &answer[ops.GroupingPreview]{p}, err
		})
}

var errNoRule = ops.Errorf(ops.CodeNotFound, "there is no such grouping rule")

func (b ruleBody) rule(id string) ops.GroupingRule {
	return ops.GroupingRule{ID: id, Name: strings.TrimSpace(storable(b.Name)), Position: b.Position, Enabled: b.Enabled == nil || *b.Enabled,
		Match: storable(b.Match), Key: storable(b.Key), Window: ops.GroupingWindow(b.Window), WindowSeconds: b.WindowSeconds,
		MinSeverity: ops.Severity(b.MinSeverity), Investigate: b.Investigate == nil || *b.Investigate, Agent: storable(b.Agent)}
}

func (s *API) putRule(ctx context.Context, who caller, action string, r ops.GroupingRule, isNew bool) (*answer[ops.GroupingRule], error) {
	if err := grouping.CheckRule(r); err != nil {
		return nil, err
	}
	// A rule starts the agent for whatever alert comes.
	if r.Agent != "" {
		if err := mayStart(who, r.Agent); err != nil {
			return nil, err
		}
	}
	err := s.audited(ctx, who, action, r.ID, map[string]string{"name": r.Name, "match": r.Match, "key": r.Key, "agent": r.Agent}, func() (err error) {
		r, err = s.db.PutGroupingRule(ctx, r, isNew)
		return err
	})
	if ops.CodeOf(err) == ops.CodeNotFound {
		err = errNoRule
	}
	return &answer[ops.GroupingRule]{r}, err
}
