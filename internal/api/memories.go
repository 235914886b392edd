package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// memoryDays is how long a memory is offered if nobody says for how long.
const memoryDays = 180

type memoryQuery struct {
	Text     string `query:"q" maxLength:"200" doc:"Words of the service, the texts and the labels; all of them, the last one may be unfinished."`
	Service  string `query:"service" maxLength:"100"`
	Incident string `query:"incident" maxLength:"64" doc:"The id or the number of the incident that it comes from."`
	State    string `query:"state" enum:"current,old" doc:"current is offered; old is stale or expired."`
	Cursor   string `query:"cursor" maxLength:"36"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type newMemory struct {
	Body struct {
		Incident string   `json:"incident" minLength:"1" maxLength:"64" doc:"The incident's id or its number."`
		RunID    string   `json:"run_id,omitempty" maxLength:"36" doc:"The investigation whose findings are confirmed; the newest that has any if it is left out."`
		Service  *string  `json:"service,omitempty" nullable:"false" maxLength:"100" doc:"The only service that it is offered for; empty is any. The incident's if it is left out."`
		Labels   []string `json:"labels,omitempty" nullable:"false" maxItems:"10" doc:"key:value; it is offered where alerts have all of them."`
		Pattern  *string  `json:"pattern,omitempty" nullable:"false" maxLength:"1000" doc:"How it shows. What the findings say if it is left out, as for cause and fix."`
		Cause    *string  `json:"cause,omitempty" nullable:"false" maxLength:"1000"`
		Fix      *string  `json:"fix,omitempty" nullable:"false" maxLength:"1500" doc:"What ended it."`
		Days     *int     `json:"days,omitempty" nullable:"false" minimum:"0" maximum:"3650" doc:"How long it is offered; 0 is for ever, and 180 if it is left out."`
	}
}

type memoryPath struct {
	ID string `path:"id" maxLength:"36"`
}

type changedMemory struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Service *string   `json:"service,omitempty" nullable:"false" maxLength:"100"`
		Labels  *[]string `json:"labels,omitempty" nullable:"false" maxItems:"10"`
		Pattern *string   `json:"pattern,omitempty" nullable:"false" maxLength:"1000"`
		Cause   *string   `json:"cause,omitempty" nullable:"false" maxLength:"1000"`
		Fix     *string   `json:"fix,omitempty" nullable:"false" maxLength:"1500"`
		Days    *int      `json:"days,omitempty" nullable:"false" minimum:"0" maximum:"3650" doc:"How long it is offered from now on; 0 is for ever."`
		Stale   *bool     `json:"stale,omitempty" nullable:"false" doc:"It holds no more, and is not offered."`
	}
}

// memoryRuleBody is a rule as people write it.
type memoryRuleBody struct {
	Name          string  `json:"name" minLength:"1" maxLength:"100"`
	Enabled       bool    `json:"enabled,omitempty" doc:"false if it is left out"`
	SourceID      string  `json:"source_id,omitempty" maxLength:"36" doc:"Of incidents of this source; empty: of all."`
	Service       string  `json:"service,omitempty" maxLength:"100" doc:"Of this service, or of those that begin with it if it ends in *; empty: of all."`
	MinConfidence float64 `json:"min_confidence,omitempty" minimum:"0.5" maximum:"1" default:"0.9"`
	NeedsFeedback *bool   `json:"needs_feedback,omitempty" nullable:"false" doc:"A person has called the findings right; true if it is left out."`
}

type newMemoryRule struct{ Body memoryRuleBody }

type changedMemoryRule struct {
	ID   string `path:"id" maxLength:"36"`
	Body memoryRuleBody
}

var (
	errNoMemory     = ops.Errorf(ops.CodeNotFound, "there is no such memory")
	errNoMemoryRule = ops.Errorf(ops.CodeNotFound, "there is no such rule")
)

func (s *API) memoryOperations(api huma.API) {
	const tag, rules = "incidents", "configuration"
	handle(s, api, operation{id: "list-memories", method: http.MethodGet, path: "/memories", tag: tag,
		summary: "What was confirmed of findings, newest first: investigations are offered it as hypotheses"}, s.listMemories)
	handle(s, api, operation{id: "create-memory", method: http.MethodPost, path: "/memories", tag: tag, status: http.StatusCreated,
		summary: "Confirm findings and have them remembered, as they are or as you put them"}, s.createMemory)
	handle(s, api, operation{id: "get-memory", method: http.MethodGet, path: "/memories/{id}", summary: "One memory", tag: tag},
		func(ctx context.Context, _ caller, in *memoryPath) (*answer[ops.Memory], error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoMemory
			}
			m, err := s.db.Memory(ctx, in.ID)
			return &answer[ops.Memory]{m}, err
		})
	handle(s, api, operation{id: "edit-memory", method: http.MethodPatch, path: "/memories/{id}", summary: "Change a memory, or say that it holds no more", tag: tag}, s.editMemory)
	handle(s, api, operation{id: "delete-memory", method: http.MethodDelete, path: "/memories/{id}", summary: "Forget it", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *memoryPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoMemory
			}
			return nil, s.audited(ctx, who, "memory.deleted", in.ID, nil, func() error { return s.db.DeleteMemory(ctx, in.ID) })
		})

	handle(s, api, operation{id: "list-memory-rules", method: http.MethodGet, path: "/memory-rules", summary: "Which findings are remembered without a person", tag: rules},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.MemoryRule]], error) {
			return items(s.db.MemoryRules(ctx))
		})
	handle(s, api, operation{id: "create-memory-rule", method: http.MethodPost, path: "/memory-rules", tag: rules, status: http.StatusCreated,
		summary: "Have findings remembered that nobody has called wrong, from now on"},
		func(ctx context.Context, who caller, in *newMemoryRule) (*answer[ops.MemoryRule], error) {
			return s.putMemoryRule(ctx, who, "memory_rule.created", ops.NewID(), in.Body, true)
		})
	handle(s, api, operation{id: "replace-memory-rule", method: http.MethodPut, path: "/memory-rules/{id}", summary: "Change such a rule; it counts for findings from now on", tag: rules},
		func(ctx context.Context, who caller, in *changedMemoryRule) (*answer[ops.MemoryRule], error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoMemoryRule
			}
			return s.putMemoryRule(ctx, who, "memory_rule.changed", in.ID, in.Body, false)
		})
	handle(s, api, operation{id: "delete-memory-rule", method: http.MethodDelete, path: "/memory-rules/{id}", tag: rules, status: http.StatusNoContent,
		summary: "Remove such a rule; what it had remembered stays"},
		func(ctx context.Context, who caller, in *memoryPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoMemoryRule
			}
			return nil, s.audited(ctx, who, "memory_rule.deleted", in.ID, nil, func() error { return s.db.DeleteMemoryRule(ctx, in.ID) })
		})
}

func (s *API) listMemories(ctx context.Context, _ caller, in *memoryQuery) (*answer[list[ops.Memory]], error) {
	f := postgres.MemoryFilter{Text: storable(strings.TrimLeft(in.Text, " ")), Service: storable(in.Service), Before: in.Cursor, Limit: in.Limit}
	if in.Cursor != "" && !ops.ValidID(in.Cursor) {
		return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
	}
	if in.State != "" {
		old := in.State == "old"
		f.Old = &old
	}
	if in.Incident != "" {
		i, err := s.incident(ctx, in.Incident)
		if err != nil {
			return nil, err
		}
		f.Incident = i.ID
	}
	found, err := s.db.Memories(ctx, f)
	page, err := items(found, err)
	if err == nil && len(found) == in.Limit {
		page.Body.NextCursor = found[len(found)-1].ID
	}
	return page, err
}

// createMemory takes what the body leaves out from the stored findings, and
// their evidence in any case.
func (s *API) createMemory(ctx context.Context, who caller, in *newMemory) (*answer[ops.Memory], error) {
	i, err := s.incident(ctx, in.Body.Incident)
	if err != nil {
		return nil, err
	}
	found, err := s.db.Findings(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	var of *postgres.StoredFinding
	for n := range found {
		if in.Body.RunID == "" || found[n].RunID == in.Body.RunID {
			of = &found[n]
			break
		}
	}
	if of == nil {
		return nil, ops.Errorf(ops.CodeConflict, "there are no findings to remember")
	}
	m := ops.MemoryOf(of.Finding, i.Service)
	m.RunID, m.Labels = of.RunID, in.Body.Labels
	for _, field := range []struct {
		to   *string
		said *string
	}{{&m.Service, in.Body.Service}, {&m.Pattern, in.Body.Pattern}, {&m.Cause, in.Body.Cause}, {&m.Fix, in.Body.Fix}} {
		if field.said != nil {
			*field.to = *field.said
		}
	}
	days := memoryDays
	if in.Body.Days != nil {
		days = *in.Body.Days
	}
	m, err = s.remember(ctx, who.actor(), who.actor(), i, m, days)
	return &answer[ops.Memory]{m}, err
}

// remember stores a memory of an incident, on the record.
func (s *API) remember(ctx context.Context, actor, confirmedBy string, i ops.Incident, m ops.Memory, days int) (ops.Memory, error) {
	m, err := m.Tidied()
	if err != nil {
		return m, err
	}
	now := time.Now().UTC()
	m.ID, m.IncidentID, m.IncidentNumber = ops.NewID(), i.ID, i.Number
	m.ConfirmedBy, m.ConfirmedAt, m.UpdatedBy, m.UpdatedAt, m.ExpiresAt = confirmedBy, now, confirmedBy, now, inDays(now, days)
	err = s.auditedAs(ctx, actor, "memory.created", m.ID, map[string]string{"incident": i.ID, "run": m.RunID, "confirmed_by": confirmedBy},
		func() error { return s.db.Remember(ctx, m) })
	return m, err
}

func inDays(now time.Time, days int) time.Time {
	if days == 0 {
		return time.Time{}
	}
	return now.AddDate(0, 0, days)
}

func (s *API) editMemory(ctx context.Context, who caller, in *changedMemory) (*answer[ops.Memory], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoMemory
	}
	detail := map[string]string{}
	edit := func(m *ops.Memory) (err error) {
		for _, field := range []struct {
			to   *string
			said *string
		}{{&m.Service, in.Body.Service}, {&m.Pattern, in.Body.Pattern}, {&m.Cause, in.Body.Cause}, {&m.Fix, in.Body.Fix}} {
			if field.said != nil {
				*field.to = *field.said
			}
		}
		if in.Body.Labels != nil {
			m.Labels = *in.Body.Labels
		}
		if in.Body.Days != nil {
			m.ExpiresAt = inDays(time.Now().UTC(), *in.Body.Days)
		}
		if in.Body.Stale != nil {
			m.Stale = *in.Body.Stale
		}
		*m, err = m.Tidied()
		return err
	}
	if in.Body.Stale != nil && *in.Body.Stale {
		detail["stale"] = "true"
	}
	var m ops.Memory
	err := s.audited(ctx, who, "memory.changed", in.ID, detail, func() (err error) {
		m, err = s.db.EditMemory(ctx, in.ID, who.actor(), edit)
		return err
	})
	return &answer[ops.Memory]{m}, err
}

func (s *API) putMemoryRule(ctx context.Context, who caller, action, id string, b memoryRuleBody, isNew bool) (*answer[ops.MemoryRule], error) {
	r := ops.MemoryRule{ID: id, Name: strings.TrimSpace(storable(b.Name)), Enabled: b.Enabled, SourceID: b.SourceID, Service: strings.TrimSpace(storable(b.Service)),
		MinConfidence: b.MinConfidence, NeedsFeedback: b.NeedsFeedback == nil || *b.NeedsFeedback, UpdatedBy: who.actor()}
	if r.Name == "" {
		return nil, ops.Errorf(ops.CodeInvalid, "the name is empty")
	}
	if strings.Contains(strings.TrimSuffix(r.Service, "*"), "*") {
		return nil, ops.Errorf(ops.CodeInvalid, "service may have a * at its end alone")
	}
	if r.SourceID != "" {
		if _, err := s.db.Source(ctx, r.SourceID); err != nil {
			return nil, err
		}
	}
	detail := map[string]string{"name": r.Name, "source": r.SourceID, "service": r.Service}
	if r.Enabled {
		detail["enabled"] = "true"
	}
	err := s.audited(ctx, who, action, r.ID, detail, func() (err error) {
		r, err = s.db.PutMemoryRule(ctx, r, isNew)
		return err
	})
	if ops.CodeOf(err) == ops.CodeNotFound {
		err = errNoMemoryRule
	}
	return &answer[ops.MemoryRule]{r}, err
}

// rememberByRules makes memories of the findings that an admin's rule names.
// What cannot be one is passed over, so that it is not tried for ever.
func (s *API) rememberByRules(ctx context.Context) error {
	due, err := s.db.DueMemories(ctx)
	if err != nil {
		return err
	}
	for _, d := range due {
		i, err := s.db.Incident(ctx, d.IncidentID)
		if err != nil {
			return err
		}
		m := ops.MemoryOf(d.Finding, d.Service)
		m.RunID = d.RunID
		_, err = s.remember(ctx, "service:memory-rules", "rule:"+d.Rule, i, m, memoryDays)
		if ops.CodeOf(err) == ops.CodeInvalid {
			err = s.db.PassOver(ctx, d.RunID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
