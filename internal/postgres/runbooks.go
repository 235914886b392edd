package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

const selectRunbooks = `SELECT r.slug, v.title, v.match, v.text, v.version, v.version = r.current, v.author, v.created_at
	FROM runbooks r JOIN runbook_versions v ON v.slug = r.slug`

func scanRunbook(row pgx.CollectableRow) (r ops.Runbook, err error) {
	return r, row.Scan(&r.Slug, &r.Title, &r.Match, &r.Text, &r.Version, &r.Current, &r.Author, &r.CreatedAt)
}

// Runbooks gives the current version of each runbook by title, without its text.
// With words it gives those that have all of them.
func (db *DB) Runbooks(ctx context.Context, words string) ([]ops.Runbook, error) {
	query := searchQuery(words)
	rows, err := db.pool.Query(ctx, `SELECT r.slug, v.title, v.match, ''::text, v.version, true, v.author, v.created_at
		FROM runbooks r JOIN runbook_versions v ON v.slug = r.slug AND v.version = r.current
		WHERE $1 = '' OR r.words @@ $1::tsquery ORDER BY v.title, r.slug LIMIT $2`, query, maxRunbooks)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanRunbook)
	return all, mapError(err)
}

// Runbook gives one version of a runbook; version 0 is the current one.
func (db *DB) Runbook(ctx context.Context, slug string, version int) (ops.Runbook, error) {
	rows, err := db.pool.Query(ctx, selectRunbooks+` WHERE r.slug = $1 AND v.version = CASE WHEN $2 = 0 THEN r.current ELSE $2 END`, slug, version)
	if err != nil {
		return ops.Runbook{}, mapError(err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRunbook)
	return r, mapError(err)
}

// RunbookVersions gives what is kept of a runbook, newest first, without texts.
func (db *DB) RunbookVersions(ctx context.Context, slug string) ([]ops.Runbook, error) {
	rows, err := db.pool.Query(ctx, `SELECT r.slug, v.title, v.match, ''::text, v.version, v.version = r.current, v.author, v.created_at
		FROM runbooks r JOIN runbook_versions v ON v.slug = r.slug WHERE r.slug = $1 ORDER BY v.version DESC LIMIT $2`, slug, keepVersions+1)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanRunbook)
	if err == nil && len(all) == 0 {
		err = pgx.ErrNoRows
	}
	return all, mapError(err)
}

// PutRunbook stores a runbook, which must have been checked, as its newest version,
// if what is stored now is as base says ([DB.PutSkill]).
func (db *DB) PutRunbook(ctx context.Context, r ops.Runbook, base int) (stored bool, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) (err error) {
		if err := oneAtATime(ctx, tx, "runbooks"); err != nil {
			return err
		}
		stored, err = putRunbook(ctx, tx, r, base)
		return err
	})
	return stored, err
}

func putRunbook(ctx context.Context, tx pgx.Tx, r ops.Runbook, base int) (stored bool, err error) {
	var current, total int
	var digest string
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(r.current) FILTER (WHERE r.slug = $1), 0),
			coalesce(max(`+storedRunbookDigest+`) FILTER (WHERE r.slug = $1), ''), count(*)
		FROM runbooks r JOIN runbook_versions v ON v.slug = r.slug AND v.version = r.current`, r.Slug).Scan(&current, &digest, &total); err != nil {
		return false, err
	}
	switch {
	case base == NotThere && current != 0:
		return false, ops.Errorf(ops.CodeConflict, "there is a runbook %s already", r.Slug)
	case base > 0 && current == 0:
		return false, pgx.ErrNoRows
	case base > 0 && current != base:
		return false, ops.Errorf(ops.CodeConflict, "somebody has changed the runbook meanwhile: version %d is the current one now, look at it first", current)
	case digest == runbookDigest(r):
		return false, nil
	case current == 0 && total >= maxRunbooks:
		return false, ops.Errorf(ops.CodeConflict, "there are %d runbooks, and there can be no more: remove one first", total)
	}
	var version int
	heading, words := searchWords(r.Title), wordsOf(maxRunbookWords, r.Title, r.Text)
	if err := tx.QueryRow(ctx, `INSERT INTO runbooks (slug, current, newest, heading, words) VALUES ($1, 1, 1, array_to_tsvector($2::text[]), array_to_tsvector($3::text[]))
		ON CONFLICT (slug) DO UPDATE SET current = runbooks.newest + 1, newest = runbooks.newest + 1, heading = excluded.heading, words = excluded.words RETURNING newest`,
		r.Slug, heading, words).Scan(&version); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO runbook_versions (slug, version, title, match, text, author) VALUES ($1, $2, $3, $4, $5, $6)`,
		r.Slug, version, r.Title, orNone(r.Match), r.Text, r.Author); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM runbook_versions WHERE slug = $1 AND version <= (SELECT version FROM runbook_versions WHERE slug = $1 ORDER BY version DESC OFFSET $2 LIMIT 1)`,
		r.Slug, keepVersions)
	return true, err
}

// storedRunbookDigest is runbookDigest of a stored version v.
const storedRunbookDigest = `encode(sha256(convert_to(v.title || E'\n' || array_to_string(v.match, E'\n') || E'\n' || v.text, 'UTF8')), 'hex')`

// runbookDigest tells whether a runbook was changed.
func runbookDigest(r ops.Runbook) string {
	sum := sha256.Sum256([]byte(r.Title + "\n" + strings.Join(r.Match, "\n") + "\n" + r.Text))
	return hex.EncodeToString(sum[:])
}

// UseRunbookVersion makes a version that is kept the current one.
func (db *DB) UseRunbookVersion(ctx context.Context, slug string, version int) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := oneAtATime(ctx, tx, "runbooks"); err != nil {
			return err
		}
		var title, text string
		if err := tx.QueryRow(ctx, `SELECT title, text FROM runbook_versions WHERE slug = $1 AND version = $2`, slug, version).Scan(&title, &text); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE runbooks SET current = $2, heading = array_to_tsvector($3::text[]), words = array_to_tsvector($4::text[]) WHERE slug = $1`,
			slug, version, searchWords(title), wordsOf(maxRunbookWords, title, text))
		return err
	})
}

// DeleteRunbook removes a runbook with all its versions.
func (db *DB) DeleteRunbook(ctx context.Context, slug string) error {
	return db.one(ctx, `DELETE FROM runbooks WHERE slug = $1`, slug)
}
