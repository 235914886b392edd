package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// How much guidance a task brings.
const (
	maxTaskSkills   = 64
	maxTaskRunbooks = 5
	maxMatched      = 40 // alerts of an incident that matchers are tried on
	likelyRunbooks  = 20 // by words, that are looked at more closely
)

// Guidance gives the skills that an agent has, and the runbooks for
// the incident: those that fit by labels first, then by words, then the rest of
// the skills. Text of alerts picks among what people wrote; it adds nothing to it.
func (db *DB) Guidance(ctx context.Context, agent ops.AgentDef, incident ops.Incident, alerts []ops.Alert) ([]ops.SkillRef, []ops.RunbookRef, error) {
	about := subject{words: incidentWords(incident, alerts)}
	kind := ""
	if incident.SourceID != "" {
		if err := db.pool.QueryRow(ctx, `SELECT coalesce((SELECT kind FROM sources WHERE id = $1), '')`, incident.SourceID).Scan(&kind); err != nil {
			return nil, nil, mapError(err)
		}
	}
	for i := range alerts[:min(len(alerts), maxMatched)] {
		about.alerts = append(about.alerts, grouping.Subject{Alert: &alerts[i], SourceID: incident.SourceID, Source: incident.SourceName, SourceKind: kind})
	}
	skills, err := db.skillsFor(ctx, agent, about)
	if err != nil {
		return nil, nil, err
	}
	runbooks, err := db.runbooksFor(ctx, about)
	return skills, runbooks, err
}

// subject is what guidance is looked for.
type subject struct {
	alerts []grouping.Subject
	words  []string
}

// matches says whether one of the alerts fulfils one of the sets of matchers. A
// set that a release before understood and this one does not fits nothing.
func (s subject) matches(sets []string) bool {
	return slices.ContainsFunc(sets, func(set string) bool {
		ms, err := grouping.ParseMatchers(set)
		return err == nil && len(ms) > 0 && slices.ContainsFunc(s.alerts, ms.Match)
	})
}

func (s subject) shares(text string) bool {
	return slices.ContainsFunc(searchWords(text), func(w string) bool { return slices.Contains(s.words, w) })
}

// everyAlert are words that say nothing of what an alert is about.
var everyAlert = []string{"high", "low", "too", "many", "above", "below", "over", "under", "alert", "warning", "critical", "problem", "error", "errors", "issue",
	"is", "status", "state", "level", "usage", "test", "detected", "exceeded", "threshold", "minutes", "seconds", "last", "more", "host", "server", "service", "instance"}

func incidentWords(incident ops.Incident, alerts []ops.Alert) []string {
	texts := []string{incident.Title, incident.Service}
	for _, a := range alerts[:min(len(alerts), 5)] {
		texts = append(texts, a.Title)
	}
	return slices.DeleteFunc(alike(texts...), func(w string) bool { return slices.Contains(everyAlert, w) })
}

func (db *DB) skillsFor(ctx context.Context, agent ops.AgentDef, about subject) ([]ops.SkillRef, error) {
	if len(agent.Skills) == 0 {
		return nil, nil
	}
	rows, err := db.pool.Query(ctx, selectSkills+` WHERE v.version = s.current AND s.enabled ORDER BY s.name LIMIT $1`, maxSkills)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanSkill)
	if err != nil {
		return nil, mapError(err)
	}
	var out []ops.SkillRef
	for _, s := range all {
		if !agent.HasSkill(s.Name) {
			continue
		}
		ref := ops.SkillRef{Name: s.Name, Version: s.Version, Digest: s.Digest, Description: s.Description}
		switch {
		case about.matches(s.Match):
			ref.Fit = ops.FitLabels
		case about.shares(s.Name):
			ref.Fit = ops.FitWords
		}
		out = append(out, ref)
	}
	slices.SortStableFunc(out, func(a, b ops.SkillRef) int { return rank(a.Fit) - rank(b.Fit) })
	return out[:min(len(out), maxTaskSkills)], nil
}

func rank(f ops.Fit) int {
	return slices.Index([]ops.Fit{ops.FitLabels, ops.FitWords, ops.FitNone}, f)
}

// runbooksFor gives the runbooks whose matchers fit, then those that share a word
// of their title with the incident, or most of its words with their text.
func (db *DB) runbooksFor(ctx context.Context, about subject) ([]ops.RunbookRef, error) {
	rows, err := db.pool.Query(ctx, `SELECT r.slug, v.match FROM runbooks r JOIN runbook_versions v ON v.slug = r.slug AND v.version = r.current
		WHERE v.match <> '{}' ORDER BY r.slug LIMIT $1`, maxRunbooks)
	if err != nil {
		return nil, mapError(err)
	}
	fits := map[string]ops.Fit{}
	var order []string
	var slug string
	var match []string
	if _, err := pgx.ForEachRow(rows, []any{&slug, &match}, func() error {
		if len(order) < maxTaskRunbooks && about.matches(match) {
			fits[slug], order = ops.FitLabels, append(order, slug)
		}
		return nil
	}); err != nil {
		return nil, mapError(err)
	}
	likely, err := db.likelyRunbooks(ctx, about.words)
	if err != nil {
		return nil, err
	}
	for _, slug := range likely {
		if len(order) < maxTaskRunbooks && fits[slug] == "" {
			fits[slug], order = ops.FitWords, append(order, slug)
		}
	}
	if len(order) == 0 {
		return nil, nil
	}
	rows, err = db.pool.Query(ctx, selectRunbooks+` WHERE v.version = r.current AND r.slug = ANY($1) ORDER BY array_position($1, r.slug)`, order)
	if err != nil {
		return nil, mapError(err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ops.RunbookRef, error) {
		r, err := scanRunbook(row)
		return ops.RunbookRef{Slug: r.Slug, Title: r.Title, Version: r.Version, Text: r.Text, Fit: fits[r.Slug]}, err
	})
	return out, mapError(err)
}

func (db *DB) likelyRunbooks(ctx context.Context, words []string) ([]string, error) {
	if len(words) == 0 {
		return nil, nil
	}
	either := make([]string, len(words))
	for i, w := range words {
		either[i] = lexeme(w, false)
	}
	rows, err := db.pool.Query(ctx, `WITH found AS (
			SELECT slug, cardinality(ARRAY(SELECT unnest(tsvector_to_array(heading)) INTERSECT SELECT unnest($2::text[]))) AS heading,
				cardinality(ARRAY(SELECT unnest(tsvector_to_array(words)) INTERSECT SELECT unnest($2::text[]))) AS text
			FROM runbooks WHERE words @@ $1::text::tsquery)
		SELECT slug FROM found WHERE heading > 0 OR text > 1 AND 2 * text >= cardinality($2::text[])
		ORDER BY 3 * heading + text DESC, slug LIMIT $3`, strings.Join(either, " | "), words, likelyRunbooks)
	if err != nil {
		return nil, mapError(err)
	}
	slugs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return slugs, mapError(err)
}
