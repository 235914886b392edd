package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/ops"
)

type runPath struct {
	ID  string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Run string `path:"run" maxLength:"36" doc:"The id of one of its investigations, or newest."`
}

// caseText is a case as a file.
type caseText struct {
	ContentType        string `header:"Content-Type"`
	ContentDisposition string `header:"Content-Disposition"`
	Body               []byte
}

func (s *API) caseOperations(api huma.API) {
	const path = "/incidents/{id}/runs/{run}/case"
	handle(s, api, operation{id: "export-case", method: http.MethodGet, path: path, tag: "incidents",
		summary: "An investigation that has ended as a case for akmatori eval, without what looks like a secret"}, s.exportCase)
	api.OpenAPI().Paths["/api/v1"+path].Get.Responses["200"].Content = map[string]*huma.MediaType{
		"application/yaml": {Schema: &huma.Schema{Type: huma.TypeString}}}
}

// exportCase writes what was called and said down as scripts. The outputs were
// redacted of the credentials in use before they were stored; what else looks like
// a secret is taken out here.
func (s *API) exportCase(ctx context.Context, _ caller, in *runPath) (*caseText, error) {
	i, err := s.incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	past := casefile.Past{Incident: i}
	runs, err := s.db.Runs(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(runs, func(r ops.Run) bool { return r.ID == in.Run || in.Run == "newest" && r.AskedBy == "" })
	if at < 0 {
		return nil, ops.Errorf(ops.CodeNotFound, "there is no such investigation")
	}
	past.Run = runs[at]
	if past.Alerts, err = s.db.IncidentAlerts(ctx, i.ID); err != nil {
		return nil, err
	}
	if past.Events, err = s.db.Transcript(ctx, past.Run.ID); err != nil {
		return nil, err
	}
	calls, err := s.db.Calls(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	past.Calls = slices.DeleteFunc(calls, func(c ops.ToolCall) bool { return c.RunID != past.Run.ID })
	found, err := s.db.Findings(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.RunID == past.Run.ID {
			past.Finding = &f.Finding
		}
	}
	c, err := casefile.FromRun(past)
	if err != nil {
		return nil, err
	}
	text, err := c.Text()
	if err != nil {
		return nil, err
	}
	return &caseText{"application/yaml; charset=utf-8", fmt.Sprintf(`attachment; filename="%s.yaml"`, c.Name), text}, nil
}
