package api

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// IncidentFilter selects incidents, for the list and for its facets alike.
type IncidentFilter struct {
	Status        string    `query:"status" maxLength:"100" doc:"One or several, separated by commas."`
	Severity      string    `query:"severity" maxLength:"100" doc:"One or several, separated by commas."`
	Investigation string    `query:"investigation" maxLength:"200" doc:"States of a run, separated by commas; none is never investigated."`
	Source        string    `query:"source" maxLength:"1000" doc:"Ids of sources, separated by commas; none is opened by hand."`
	Service       []string  `query:"service,explode" maxItems:"50"`
	Assignee      []string  `query:"assignee,explode" maxItems:"50"`
	Label         []string  `query:"label,explode" maxItems:"20" doc:"key:value. All keys must match, each with one of its values."`
	Text          string    `query:"q" maxLength:"200" doc:"Words of the title, the service, and the alerts' titles, hosts, summaries and labels; all of them, the last one may be unfinished. #42 is the incident of that number."`
	OpenedAfter   time.Time `query:"opened_after" doc:"Opened at this time or later."`
	OpenedBefore  time.Time `query:"opened_before" doc:"Opened before this time."`
}

type incidentQuery struct {
	IncidentFilter
	Cursor string `query:"cursor" maxLength:"32"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type alertsQuery struct {
	ID     string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Cursor string `query:"cursor" maxLength:"64"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

var (
	statuses   = []string{"triggered", "acknowledged", "resolved", "closed", "merged"}
	severities = []string{"critical", "high", "warning", "info"}
	outcomes   = []string{postgres.None, "queued", "running", "waiting_approval", "concluded", "inconclusive", "failed", "cancelled"}
)

// read checks the values. What can be of nobody is dropped, and false says that
// then nothing can be found.
func (in IncidentFilter) read() (f postgres.IncidentFilter, some bool, err error) {
	for _, list := range []struct {
		name, given string
		known       []string
		to          func(string)
	}{
		{"status", in.Status, statuses, func(v string) { f.Statuses = append(f.Statuses, ops.IncidentStatus(v)) }},
		{"severity", in.Severity, severities, func(v string) { f.Severities = append(f.Severities, ops.Severity(v)) }},
		{"investigation", in.Investigation, outcomes, func(v string) { f.Investigations = append(f.Investigations, v) }},
	} {
		for _, v := range commas(list.given) {
			if !slices.Contains(list.known, v) {
				return f, false, ops.Errorf(ops.CodeInvalid, "%s is one of %s", list.name, strings.Join(list.known, ", "))
			}
			list.to(v)
		}
	}
	some = true
	for _, id := range commas(in.Source) {
		if id == postgres.None || ops.ValidID(id) {
			f.Sources = append(f.Sources, id)
		}
	}
	if in.Source != "" && len(f.Sources) == 0 {
		some = false
	}
	for _, label := range in.Label {
		if key, _, ok := strings.Cut(label, ":"); !ok || key == "" {
			return f, false, ops.Errorf(ops.CodeInvalid, "label is of the form key:value")
		}
	}
	f.Services, f.Assignees, f.Labels = storableAll(in.Service), storableAll(in.Assignee), storableAll(in.Label)
	f.Text, f.OpenedAfter, f.OpenedBefore = storable(strings.TrimLeft(in.Text, " ")), in.OpenedAfter, in.OpenedBefore
	return f, some, nil
}

func commas(list string) (all []string) {
	for v := range strings.SplitSeq(list, ",") {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

func storableAll(all []string) (out []string) {
	for _, s := range all {
		out = append(out, storable(s))
	}
	return out
}

func (s *API) listIncidents(ctx context.Context, _ caller, in *incidentQuery) (*answer[list[ops.Incident]], error) {
	f, some, err := in.read()
	if err != nil || !some {
		return items[ops.Incident](nil, err)
	}
	f.Limit = in.Limit
	if in.Cursor != "" {
		n, err := strconv.ParseInt(in.Cursor, 10, 64)
		if err != nil || n < 1 {
			return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
		}
		f.Before = n
	}
	found, err := s.db.Incidents(ctx, f)
	page, err := items(found, err)
	if err == nil && len(found) == in.Limit {
		page.Body.NextCursor = strconv.FormatInt(found[len(found)-1].Number, 10)
	}
	return page, err
}

func (s *API) incidentFacets(ctx context.Context, _ caller, in *IncidentFilter) (*answer[postgres.Facets], error) {
	f, some, err := in.read()
	if err != nil {
		return nil, err
	}
	if !some { // counted as for a source that sent nothing
		f.Sources = []string{"00000000-0000-0000-0000-000000000000"}
	}
	facets, err := s.db.Facets(ctx, f)
	return &answer[postgres.Facets]{facets}, err
}

func (s *API) listAlerts(ctx context.Context, _ caller, in *alertsQuery) (*answer[list[ops.Alert]], error) {
	i, err := s.incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Cursor != "" && !ops.ValidID(in.Cursor) {
		return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
	}
	found, err := s.db.AlertPage(ctx, i.ID, in.Cursor, in.Limit)
	page, err := items(found, err)
	if err == nil && len(found) == in.Limit {
		page.Body.NextCursor = found[len(found)-1].ID
	}
	return page, err
}
