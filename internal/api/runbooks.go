package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/skill"
)

// RunbookBody is a runbook as people write it. It is exported for huma, which
// passes over what it embeds otherwise.
type RunbookBody struct {
	Title string   `json:"title" minLength:"1" maxLength:"200"`
	Match []string `json:"match,omitempty" maxItems:"16" doc:"Sets of matchers, as in grouping rules: it is for an incident one of whose alerts fulfils all of one set. Words of title and text count besides."`
	Text  string   `json:"text" minLength:"1" maxLength:"65536" doc:"Markdown."`
}

type runbookQuery struct {
	Q string `query:"q" maxLength:"200" doc:"Words that are all in it."`
}

type newRunbook struct {
	Body struct {
		Slug string `json:"slug,omitempty" maxLength:"64" doc:"Its name; one is made of the title if it is left out."`
		RunbookBody
	}
}

type runbookPath struct {
	Slug string `path:"slug" maxLength:"64"`
}

type runbookVersionPath struct {
	Slug    string `path:"slug" maxLength:"64"`
	Version int    `path:"version" minimum:"1" maximum:"1000000000"`
}

type runbookEdit struct {
	Slug string `path:"slug" maxLength:"64"`
	Body struct {
		Base int `json:"base" minimum:"1" maximum:"1000000000" doc:"The version that the edit was made on: it must still be the current one."`
		RunbookBody
	}
}

func (s *API) runbookOperations(api huma.API) {
	const tag, root = "configuration", "/runbooks"
	handle(s, api, operation{id: "list-runbooks", method: http.MethodGet, path: root, summary: "Runbooks without their texts", tag: tag},
		func(ctx context.Context, _ caller, in *runbookQuery) (*answer[list[ops.Runbook]], error) {
			return items(s.db.Runbooks(ctx, storable(in.Q)))
		})
	handle(s, api, operation{id: "create-runbook", method: http.MethodPost, path: root, summary: "Write a runbook", tag: tag, status: http.StatusCreated},
		func(ctx context.Context, who caller, in *newRunbook) (*answer[ops.Runbook], error) {
			slug := in.Body.Slug
			if slug == "" {
				slug = skill.Slug(in.Body.Title)
			}
			return s.putRunbook(ctx, who, "runbook.created", slug, in.Body.RunbookBody, postgres.NotThere)
		})
	handle(s, api, operation{id: "get-runbook", method: http.MethodGet, path: root + "/{slug}", summary: "One runbook", tag: tag},
		func(ctx context.Context, _ caller, in *runbookPath) (*answer[ops.Runbook], error) {
			return s.runbook(ctx, in.Slug, 0)
		})
	handle(s, api, operation{id: "edit-runbook", method: http.MethodPut, path: root + "/{slug}", summary: "Make a new version of a runbook", tag: tag},
		func(ctx context.Context, who caller, in *runbookEdit) (*answer[ops.Runbook], error) {
			return s.putRunbook(ctx, who, "runbook.edited", in.Slug, in.Body.RunbookBody, in.Body.Base)
		})
	handle(s, api, operation{id: "delete-runbook", method: http.MethodDelete, path: root + "/{slug}", summary: "Remove a runbook with all its versions", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *runbookPath) (*nothing, error) {
			return nil, s.audited(ctx, who, "runbook.removed", storable(in.Slug), nil, func() error { return s.db.DeleteRunbook(ctx, storable(in.Slug)) })
		})
	handle(s, api, operation{id: "list-runbook-versions", method: http.MethodGet, path: root + "/{slug}/versions", summary: "What is kept of a runbook, newest first, without texts", tag: tag},
		func(ctx context.Context, _ caller, in *runbookPath) (*answer[list[ops.Runbook]], error) {
			return items(s.db.RunbookVersions(ctx, storable(in.Slug)))
		})
	handle(s, api, operation{id: "get-runbook-version", method: http.MethodGet, path: root + "/{slug}/versions/{version}", summary: "One version of a runbook", tag: tag},
		func(ctx context.Context, _ caller, in *runbookVersionPath) (*answer[ops.Runbook], error) {
			return s.runbook(ctx, in.Slug, in.Version)
		})
	handle(s, api, operation{id: "use-runbook-version", method: http.MethodPost, path: root + "/{slug}/versions/{version}/use", summary: "Make a version that is kept the current one", tag: tag},
		func(ctx context.Context, who caller, in *runbookVersionPath) (*answer[ops.Runbook], error) {
			detail := map[string]string{"version": strconv.Itoa(in.Version)}
			if err := s.audited(ctx, who, "runbook.version", storable(in.Slug), detail, func() error { return s.db.UseRunbookVersion(ctx, storable(in.Slug), in.Version) }); err != nil {
				return nil, err
			}
			return s.runbook(ctx, in.Slug, 0)
		})
}

func (s *API) runbook(ctx context.Context, slug string, version int) (*answer[ops.Runbook], error) {
	r, err := s.db.Runbook(ctx, storable(slug), version)
	return &answer[ops.Runbook]{r}, err
}

func (s *API) putRunbook(ctx context.Context, who caller, action, slug string, b RunbookBody, base int) (*answer[ops.Runbook], error) {
	r := ops.Runbook{Slug: slug, Title: storable(b.Title), Match: b.Match, Text: storable(b.Text), Author: who.actor()}
	if err := skill.CheckRunbook(r); err != nil {
		return nil, err
	}
	detail := map[string]string{"title": r.Title, "bytes": strconv.Itoa(len(r.Text))}
	if err := s.audited(ctx, who, action, slug, detail, func() error { _, err := s.db.PutRunbook(ctx, r, base); return err }); err != nil {
		return nil, err
	}
	return s.runbook(ctx, slug, 0)
}
