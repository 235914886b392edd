package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

const (
	// maxMemories bounds the table: what nobody can look through any more helps nobody.
	maxMemories = 5000
	maxRecalled = 3 // memories that an investigation is offered
	// A memory that has only words in common with an incident has at least so many.
	leastWords     = 2
	maxCandidates  = 300 // of each way to find one, the newest
	maxMemoryAlert = 20  // alerts of an incident that its memory is known by
	rulesLookBack  = 30 * 24 * time.Hour
	maxDue         = 50
)

// identityDigest is what is kept of what is broken: enough to compare it.
const identityDigest = `encode(sha256(convert_to(source_id::text || E'\n' || identity, 'UTF8')), 'hex')`

const memoryColumns = `id, coalesce(incident_id::text, ''), incident_number, coalesce(run_id::text, ''), service, labels, pattern, cause, fix, evidence,
	confirmed_by, confirmed_at, updated_by, updated_at, stale, expires_at, offered, offered_at`

func scanMemory(row pgx.CollectableRow) (m ops.Memory, err error) {
	var expires, offered *time.Time
	err = row.Scan(&m.ID, &m.IncidentID, &m.IncidentNumber, &m.RunID, &m.Service, &m.Labels, &m.Pattern, &m.Cause, &m.Fix, &m.Evidence,
		&m.ConfirmedBy, &m.ConfirmedAt, &m.UpdatedBy, &m.UpdatedAt, &m.Stale, &expires, &m.Offered, &offered)
	m.ExpiresAt, m.OfferedAt = orZero(expires), orZero(offered)
	return m, err
}

func memoryWords(m ops.Memory) []string {
	return searchWords(append([]string{m.Service, m.Pattern, m.Cause, m.Fix}, m.Labels...)...)
}

// Remember stores what was confirmed of the findings of a run, once for each
// run. Findings that are not of the incident are code not found, those that are
// remembered already code conflict.
func (db *DB) Remember(ctx context.Context, m ops.Memory) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM incidents WHERE id = $1 FOR KEY SHARE`, m.IncidentID); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE findings SET remembered_at = now() WHERE run_id = $1 AND incident_id = $2`, m.RunID, m.IncidentID)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ops.Errorf(ops.CodeNotFound, "that investigation of this incident has found nothing to remember")
		}
		var full bool
		if err := tx.QueryRow(ctx, `SELECT count(*) >= $1 FROM memories`, maxMemories).Scan(&full); err != nil {
			return err
		}
		if full {
			return ops.Errorf(ops.CodeConflict, "there are %d memories, and that is the most: delete some that hold no more", maxMemories)
		}
		tag, err = tx.Exec(ctx, `INSERT INTO memories (id, incident_id, incident_number, run_id, service, labels, pattern, cause, fix, evidence, identities, words,
				confirmed_by, confirmed_at, updated_by, updated_at, expires_at)
			SELECT $1, i.id, i.number, $3, $4, $5, $6, $7, $8, $9,
				ARRAY(SELECT DISTINCT `+identityDigest+` FROM (SELECT source_id, identity FROM alerts WHERE incident_id = $2 ORDER BY first_seen, id LIMIT $10) AS a),
				array_to_tsvector($11::text[]), $12, $13, $12, $13, $14
			FROM incidents i WHERE i.id = $2 ON CONFLICT (run_id) WHERE run_id IS NOT NULL DO NOTHING`,
			m.ID, m.IncidentID, m.RunID, m.Service, orNone(m.Labels), m.Pattern, m.Cause, m.Fix, orNone(m.Evidence), maxMemoryAlert,
			memoryWords(m), m.ConfirmedBy, m.ConfirmedAt, orNull(m.ExpiresAt))
		if err == nil && tag.RowsAffected() == 0 {
			return ops.Errorf(ops.CodeConflict, "these findings are remembered already")
		}
		return err
	})
}

// PassOver has no rule make a memory of findings.
func (db *DB) PassOver(ctx context.Context, run string) error {
	_, err := db.pool.Exec(ctx, `UPDATE findings SET remembered_at = now() WHERE run_id = $1`, run)
	return mapError(err)
}

// EditMemory changes a memory as edit says, in one transaction; the id, where it
// comes from and who confirmed it stay.
func (db *DB) EditMemory(ctx context.Context, id, actor string, edit func(*ops.Memory) error) (m ops.Memory, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+memoryColumns+` FROM memories WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		if m, err = pgx.CollectExactlyOneRow(rows, scanMemory); err != nil {
			return noMemory(err)
		}
		if err := edit(&m); err != nil {
			return err
		}
		m.UpdatedBy = actor
		return tx.QueryRow(ctx, `UPDATE memories SET service = $2, labels = $3, pattern = $4, cause = $5, fix = $6, words = array_to_tsvector($7::text[]),
			stale = $8, expires_at = $9, updated_by = $10, updated_at = now() WHERE id = $1 RETURNING updated_at`,
			id, m.Service, orNone(m.Labels), m.Pattern, m.Cause, m.Fix, memoryWords(m), m.Stale, orNull(m.ExpiresAt), actor).Scan(&m.UpdatedAt)
	})
	m.UpdatedAt = m.UpdatedAt.UTC()
	return m, err
}

// DeleteMemory forgets one; none is code not found.
func (db *DB) DeleteMemory(ctx context.Context, id string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM memories WHERE id = $1`, id)
	if err == nil && tag.RowsAffected() == 0 {
		return noMemory(pgx.ErrNoRows)
	}
	return mapError(err)
}

// Memory gives one; none is code not found.
func (db *DB) Memory(ctx context.Context, id string) (ops.Memory, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+memoryColumns+` FROM memories WHERE id = $1`, id)
	if err != nil {
		return ops.Memory{}, mapError(err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMemory)
	return m, mapError(noMemory(err))
}

func noMemory(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ops.Errorf(ops.CodeNotFound, "there is no such memory")
	}
	return err
}

// MemoryFilter selects memories; empty fields select all.
type MemoryFilter struct {
	Text     string // words of the service, the texts and the labels; the last one may be unfinished
	Service  string
	Incident string // its id
	Old      *bool  // stale or expired, or neither
	Before   string // ids below it: older ones
	Limit    int    // at most 200; 0 means 50
}

// Memories gives a page of memories, newest first.
func (db *DB) Memories(ctx context.Context, f MemoryFilter) ([]ops.Memory, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	var where []string
	var args []any
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if f.Text != "" {
		q := searchQuery(f.Text)
		if q == "" {
			return nil, nil
		}
		add(`words @@ $%d::text::tsquery`, q)
	}
	if f.Service != "" {
		add(`service = $%d`, f.Service)
	}
	if f.Incident != "" {
		add(`incident_id = $%d`, f.Incident)
	}
	if f.Old != nil {
		add(`(stale OR coalesce(expires_at <= now(), false)) = $%d`, *f.Old)
	}
	if f.Before != "" {
		add(`id < $%d`, f.Before)
	}
	condition := ""
	if len(where) > 0 {
		condition = ` WHERE ` + strings.Join(where, ` AND `)
	}
	args = append(args, f.Limit)
	rows, err := db.pool.Query(ctx, `SELECT `+memoryColumns+` FROM memories`+condition+fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args)), args...)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanMemory)
	return all, mapError(err)
}

// recallMemories finds candidates in three ways, each by an index, and ranks
// them: of the very same alerts, of the service, and with words in common, which
// a memory that names another service is not found by.
const recallMemories = `WITH candidates AS MATERIALIZED (
		(SELECT id FROM memories WHERE identities && $1 ORDER BY id DESC LIMIT $8)
		UNION (SELECT id FROM memories WHERE service = $2 AND $2 <> '' ORDER BY id DESC LIMIT $8)
		UNION (SELECT id FROM memories WHERE words @@ $3::text::tsquery AND (service = '' OR $2 = '') ORDER BY id DESC LIMIT $8)
	), ranked AS (
		SELECT m.*, m.identities && $1 AS same, m.service = $2 AND $2 <> '' AS ours,
			(SELECT count(*) FROM unnest($4::text[]) AS w WHERE m.words @@ w::tsquery) AS shared, ts_rank(m.words, $3::text::tsquery, 1) AS rank
		FROM candidates c JOIN memories m ON m.id = c.id
		WHERE NOT m.stale AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.labels <@ $5
	)
	SELECT id, service, pattern, cause, fix, incident_number, confirmed_by, confirmed_at FROM ranked
	WHERE same OR ours OR shared >= least($6, cardinality($4))
	ORDER BY same DESC, ours DESC, rank DESC, id DESC LIMIT $7`

// recall gives what is remembered of what an incident may be.
func (db *DB) recall(ctx context.Context, incident ops.Incident, alerts []ops.Alert) ([]ops.RecalledMemory, error) {
	labels, digests := map[string]bool{}, []string{}
	for _, a := range alerts[:min(len(alerts), maxSearchAlerts)] {
		for key, value := range a.Labels {
			if len(labels) < maxSearchLabels {
				labels[searchLabel(key, value)] = true
			}
		}
	}
	rows, err := db.pool.Query(ctx, `SELECT DISTINCT `+identityDigest+` FROM (SELECT source_id, identity FROM alerts WHERE incident_id = $1
		ORDER BY first_seen, id LIMIT $2) AS a`, incident.ID, maxMemoryAlert)
	if err != nil {
		return nil, mapError(err)
	}
	if digests, err = pgx.AppendRows(digests, rows, pgx.RowTo[string]); err != nil {
		return nil, mapError(err)
	}
	terms := []string{}
	for _, w := range alike(incident.Title, incident.Service) {
		terms = append(terms, lexeme(w, false))
	}
	rows, err = db.pool.Query(ctx, recallMemories, digests, incident.Service, strings.Join(terms, " | "), terms, sortedKeys(labels), leastWords, maxRecalled, maxCandidates)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m ops.RecalledMemory, err error) {
		err = row.Scan(&m.ID, &m.Service, &m.Pattern, &m.Cause, &m.Fix, &m.Incident, &m.ConfirmedBy, &m.ConfirmedAt)
		m.ConfirmedAt = m.ConfirmedAt.UTC()
		return m, err
	})
	return all, mapError(err)
}

// offer counts the memories that a run is offered, each once.
func (db *DB) offer(ctx context.Context, run string, all []ops.RecalledMemory) error {
	if len(all) == 0 {
		return nil
	}
	ids := make([]string, len(all))
	for i, m := range all {
		ids[i] = m.ID
	}
	_, err := db.pool.Exec(ctx, `WITH known AS (SELECT id FROM memories WHERE id = ANY($2::uuid[]) ORDER BY id FOR UPDATE),
			fresh AS (INSERT INTO memory_offers (memory_id, run_id) SELECT id, $1 FROM known ON CONFLICT DO NOTHING RETURNING memory_id)
		UPDATE memories SET offered = offered + 1, offered_at = now() WHERE id IN (SELECT memory_id FROM fresh)`, run, ids)
	return mapError(err)
}

// DueMemory is what a rule wants to have remembered.
type DueMemory struct {
	Rule              string // its name
	RunID, IncidentID string
	Service           string // of the incident
	Finding           ops.Finding
}

// DueMemories gives findings that an enabled rule makes a memory of, oldest
// first and at most 50.
func (db *DB) DueMemories(ctx context.Context) ([]DueMemory, error) {
	rows, err := db.pool.Query(ctx, `SELECT DISTINCT ON (f.at, f.run_id) r.name, f.run_id, f.incident_id, i.service, f.finding
		FROM memory_rules r CROSS JOIN LATERAL (SELECT run_id, incident_id, at, finding FROM findings
			WHERE conclusive AND at > greatest(r.updated_at, now() - $1::interval) AND remembered_at IS NULL ORDER BY at DESC LIMIT $3) f
		JOIN incidents i ON i.id = f.incident_id
		WHERE r.enabled AND (r.source_id IS NULL OR i.source_id = r.source_id)
			AND (r.service IN ('', i.service) OR right(r.service, 1) = '*' AND starts_with(i.service, left(r.service, -1)))
			AND (f.finding->>'confidence')::double precision >= r.min_confidence
			AND NOT EXISTS (SELECT FROM finding_feedback b WHERE b.run_id = f.run_id AND b.verdict = 'wrong')
			AND (NOT r.needs_feedback OR EXISTS (SELECT FROM finding_feedback b WHERE b.run_id = f.run_id AND b.verdict = 'right' AND b.actor LIKE 'user:%'))
		ORDER BY f.at, f.run_id, r.name LIMIT $2`, rulesLookBack, maxDue, newestFindings)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d DueMemory, err error) {
		err = row.Scan(&d.Rule, &d.RunID, &d.IncidentID, &d.Service, &d.Finding)
		return d, err
	})
	return all, mapError(err)
}

// MemoryRules gives all of them by name.
func (db *DB) MemoryRules(ctx context.Context) ([]ops.MemoryRule, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, name, enabled, coalesce(source_id::text, ''), service, min_confidence, needs_feedback, created_at, updated_at, updated_by
		FROM memory_rules ORDER BY name LIMIT $1`, maxMemoryRules)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ops.MemoryRule, err error) {
		err = row.Scan(&r.ID, &r.Name, &r.Enabled, &r.SourceID, &r.Service, &r.MinConfidence, &r.NeedsFeedback, &r.CreatedAt, &r.UpdatedAt, &r.UpdatedBy)
		return r, err
	})
	return all, mapError(err)
}

// maxMemoryRules bounds them.
const maxMemoryRules = 100

// PutMemoryRule stores a new rule, or another one in place of the one of its id.
func (db *DB) PutMemoryRule(ctx context.Context, r ops.MemoryRule, isNew bool) (ops.MemoryRule, error) {
	err := db.tx(ctx, func(tx pgx.Tx) error {
		if !isNew {
			return tx.QueryRow(ctx, `UPDATE memory_rules SET name = $2, enabled = $3, source_id = $4, service = $5, min_confidence = $6, needs_feedback = $7,
				updated_at = now(), updated_by = $8 WHERE id = $1 RETURNING created_at, updated_at`,
				r.ID, r.Name, r.Enabled, orNullText(r.SourceID), r.Service, r.MinConfidence, r.NeedsFeedback, r.UpdatedBy).Scan(&r.CreatedAt, &r.UpdatedAt)
		}
		var full bool
		if err := tx.QueryRow(ctx, `SELECT count(*) >= $1 FROM memory_rules`, maxMemoryRules).Scan(&full); err != nil {
			return err
		}
		if full {
			return ops.Errorf(ops.CodeConflict, "there are %d rules, and that is the most", maxMemoryRules)
		}
		return tx.QueryRow(ctx, `INSERT INTO memory_rules (id, name, enabled, source_id, service, min_confidence, needs_feedback, updated_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING created_at, updated_at`,
			r.ID, r.Name, r.Enabled, orNullText(r.SourceID), r.Service, r.MinConfidence, r.NeedsFeedback, r.UpdatedBy).Scan(&r.CreatedAt, &r.UpdatedAt)
	})
	return r, err
}

// DeleteMemoryRule removes a rule; what it has made stays.
func (db *DB) DeleteMemoryRule(ctx context.Context, id string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM memory_rules WHERE id = $1`, id)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeNotFound, "there is no such rule")
	}
	return mapError(err)
}
