package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// How much of the past an investigation begins with.
const (
	maxEpisodes     = 8
	maxSimilar      = 5
	maxNoted        = 10
	maxIdentities   = 10  // alerts whose past is looked at
	newestFindings  = 300 // that are ranked, beside those that share the title's words
	alikeFindings   = 200 // that share the title's words, of those that are ranked
	maxPastText     = 600 // bytes of one text of the past
	changesLookBack = 24 * time.Hour
	keepChanges     = 90 * 24 * time.Hour
)

// Context gives what is known of the past of an incident: earlier episodes of
// its alerts, similar incidents that were explained, recent changes of its
// services and hosts, and what was remembered. Every part is bounded and found by an index.
func (db *DB) Context(ctx context.Context, incident ops.Incident, alerts []ops.Alert) (ops.Context, error) {
	var out ops.Context
	var err error
	if out.Episodes, err = db.episodesOf(ctx, incident.ID, alerts); err != nil {
		return out, err
	}
	if out.Similar, err = db.Similar(ctx, incident); err != nil {
		return out, err
	}
	out.Similar = slices.DeleteFunc(out.Similar, func(s ops.SimilarIncident) bool { // said above
		return slices.ContainsFunc(out.Episodes, func(e ops.Episode) bool { return e.Number == s.Number })
	})
	about := map[string]bool{incident.Service: true}
	for _, a := range alerts[:min(len(alerts), 40)] {
		about[a.Service], about[a.Host] = true, true
	}
	delete(about, "")
	out.Changes, err = db.changes(ctx, `WHERE service = ANY($1) AND at > $2 AND at <= now() ORDER BY at DESC, id DESC LIMIT $3`,
		sortedKeys(about), incident.OpenedAt.Add(-changesLookBack), maxNoted)
	if err != nil {
		return out, err
	}
	out.Memories, err = db.recall(ctx, incident, alerts)
	return out, err
}

// episodesOf gives earlier alerts of the same identities that are in other incidents.
func (db *DB) episodesOf(ctx context.Context, incident string, alerts []ops.Alert) ([]ops.Episode, error) {
	var sources, identities []string
	for _, a := range alerts {
		if len(identities) < maxIdentities && !slices.Contains(identities, a.Identity) {
			sources, identities = append(sources, a.SourceID), append(identities, a.Identity)
		}
	}
	rows, err := db.pool.Query(ctx, `SELECT i.number, a.title, i.status, a.starts_at, a.ends_at, i.resolved_by, coalesce(f.finding->>'root_cause', ''), coalesce(`+newestVerdict+`, '')
		FROM unnest($2::uuid[], $3::text[]) AS w (source_id, identity)
		CROSS JOIN LATERAL (SELECT title, starts_at, ends_at, incident_id, at FROM alerts
			WHERE source_id = w.source_id AND identity = w.identity AND incident_id <> $1 ORDER BY at DESC, id DESC LIMIT $4) a
		JOIN incidents i ON i.id = a.incident_id
		LEFT JOIN LATERAL (SELECT run_id, finding FROM findings WHERE incident_id = i.id AND conclusive ORDER BY at DESC LIMIT 1) f ON true
		ORDER BY a.at DESC LIMIT $4`, incident, sources, identities, maxEpisodes)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e ops.Episode, err error) {
		var ends *time.Time
		err = row.Scan(&e.Number, &e.Title, &e.Status, &e.StartsAt, &ends, &e.ResolvedBy, &e.RootCause, &e.Feedback)
		e.EndsAt, e.Title, e.RootCause = orZero(ends), clip(e.Title, maxPastText), clip(e.RootCause, maxPastText)
		return e, err
	})
	return all, mapError(err)
}

// newestVerdict is what people said last of the findings f.
const newestVerdict = `(SELECT b.verdict FROM finding_feedback b WHERE b.run_id = f.run_id ORDER BY b.at DESC LIMIT 1)`

// Similar gives other incidents whose cause was found, the most similar first:
// by full-text rank among the newest ones and those that share all words of the
// title. What people called wrong is not among them.
func (db *DB) Similar(ctx context.Context, incident ops.Incident) ([]ops.SimilarIncident, error) {
	words := alike(incident.Title, incident.Service)
	if len(words) == 0 {
		return []ops.SimilarIncident{}, nil
	}
	either, all := make([]string, len(words)), []string{}
	for i, w := range words {
		either[i] = lexeme(w, false)
	}
	for _, w := range alike(incident.Title) {
		all = append(all, lexeme(w, false))
	}
	if len(all) == 0 {
		all = either
	}
	// A candidate more than once does not matter: DISTINCT ON leaves one an incident.
	rows, err := db.pool.Query(ctx, `WITH candidates AS MATERIALIZED (
			(SELECT run_id, incident_id, at, finding, words FROM findings WHERE conclusive ORDER BY at DESC LIMIT $4)
			UNION ALL (SELECT run_id, incident_id, at, finding, words FROM findings WHERE conclusive AND words @@ $3::text::tsquery LIMIT $5)
		), ranked AS (
			SELECT DISTINCT ON (incident_id) run_id, incident_id, at, finding, ts_rank(words, $2::text::tsquery, 1) AS rank
			FROM candidates WHERE incident_id <> $1 AND words @@ $2::text::tsquery ORDER BY incident_id, at DESC
		), best AS (
			SELECT f.*, i.number, i.title, i.service, i.status, i.opened_at, coalesce(`+newestVerdict+`, '') AS verdict
			FROM ranked f JOIN incidents i ON i.id = f.incident_id
		)
		SELECT number, title, service, status, opened_at, finding, verdict FROM best WHERE verdict <> 'wrong'
		ORDER BY rank * CASE WHEN service = $6 AND service <> '' THEN 1.5 ELSE 1 END * CASE verdict WHEN 'right' THEN 1.2 ELSE 1 END DESC, at DESC LIMIT $7`,
		incident.ID, strings.Join(either, " | "), strings.Join(all, " & "), newestFindings, alikeFindings, incident.Service, maxSimilar)
	if err != nil {
		return nil, mapError(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s ops.SimilarIncident, err error) {
		var f ops.Finding
		err = row.Scan(&s.Number, &s.Title, &s.Service, &s.Status, &s.OpenedAt, &f, &s.Feedback)
		s.Title, s.RootCause, s.Confidence = clip(s.Title, maxPastText), clip(f.RootCause, maxPastText), f.Confidence
		for _, a := range f.Actions[:min(len(f.Actions), 3)] {
			s.Actions = append(s.Actions, ops.Action{Title: clip(a.Title, 200), Target: clip(a.Target, 100), Command: clip(a.Command, 300)})
		}
		return s, err
	})
	return found, mapError(err)
}

// plainWords say nothing about what is wrong.
var plainWords = map[string]bool{"a": true, "an": true, "and": true, "are": true, "at": true, "by": true, "for": true, "from": true, "has": true,
	"in": true, "is": true, "it": true, "not": true, "of": true, "on": true, "or": true, "than": true, "the": true, "to": true, "was": true, "with": true}

// alike gives the words by which incidents resemble each other: no numbers, no
// single letters, none that are in every sentence; at most 24.
func alike(texts ...string) []string {
	words := slices.DeleteFunc(searchWords(texts...), func(w string) bool {
		return plainWords[w] || len([]rune(w)) < 2 || strings.Trim(w, "0123456789.-_") == ""
	})
	return words[:min(len(words), 24)]
}

func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// NoteChange stores that something was done to a service, and forgets what was
// noted 90 days ago and before.
func (db *DB) NoteChange(ctx context.Context, c ops.Change) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO changes (id, service, at, text, link, noted_by) VALUES ($1, $2, $3, $4, $5, $6)`,
			c.ID, c.Service, c.At, c.Text, c.Link, c.NotedBy); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE at < $1 ORDER BY at LIMIT 100)`, time.Now().Add(-keepChanges))
		return err
	})
}

// Changes gives what was noted, of one service if it is not empty, newest
// first, at most 200.
func (db *DB) Changes(ctx context.Context, service string) ([]ops.Change, error) {
	if service == "" {
		return db.changes(ctx, `ORDER BY at DESC, id DESC LIMIT 200`)
	}
	return db.changes(ctx, `WHERE service = $1 ORDER BY at DESC, id DESC LIMIT 200`, service)
}

func (db *DB) changes(ctx context.Context, which string, args ...any) ([]ops.Change, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, service, at, text, link, noted_by FROM changes `+which, args...)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c ops.Change, err error) {
		err = row.Scan(&c.ID, &c.Service, &c.At, &c.Text, &c.Link, &c.NotedBy)
		return c, err
	})
	return all, mapError(err)
}

// storeFinding inserts a checked finding with the words that it is found by.
func storeFinding(ctx context.Context, tx pgx.Tx, run *ops.Run, at time.Time, f ops.Finding) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO findings (run_id, incident_id, at, conclusive, finding, words)
		SELECT $1, i.id, $3, $4, $5, array_to_tsvector($6::text[]) || coalesce(s.words, '')
		FROM incidents i LEFT JOIN incident_search s ON s.number = i.number WHERE i.id = $2 ON CONFLICT DO NOTHING`,
		run.ID, run.IncidentID, at, f.Conclusive, json.RawMessage(raw), searchWords(cmp.Or(f.RootCause, f.Summary)))
	return err
}
