package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// How many skills and runbooks there may be, and versions of each that are kept
// beside the current one.
const (
	maxSkills    = 200
	maxRunbooks  = 500
	keepVersions = 20
)

// SkillContent is a skill to be stored, which was read and checked (package skill).
type SkillContent struct {
	About   ops.SkillAbout
	Files   []ops.SkillFile
	Digest  string
	Author  string
	Comment string
}

// What must be there for a new version to be stored; any number above is the
// version that must be the current one, else it is code conflict.
const (
	Whatever = 0
	NotThere = -1
)

const selectSkills = `SELECT v.about, v.version, v.version = s.current, s.enabled, coalesce(t.digest = v.digest, false), v.digest, v.files, v.bytes, v.author, v.comment, v.created_at
	FROM skills s JOIN skill_versions v ON v.name = s.name LEFT JOIN starters t ON t.kind = 'skill' AND t.name = s.name`

func scanSkill(row pgx.CollectableRow) (s ops.Skill, err error) {
	var about []byte
	if err = row.Scan(&about, &s.Version, &s.Current, &s.Enabled, &s.Starter, &s.Digest, &s.Files, &s.Bytes, &s.Author, &s.Comment, &s.CreatedAt); err != nil {
		return s, err
	}
	return s, json.Unmarshal(about, &s.SkillAbout)
}

// Skills gives the current version of each skill, by name.
func (db *DB) Skills(ctx context.Context) ([]ops.Skill, error) {
	rows, err := db.pool.Query(ctx, selectSkills+` WHERE v.version = s.current ORDER BY s.name LIMIT $1`, maxSkills)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanSkill)
	return all, mapError(err)
}

// Skill gives one version of a skill with its files; version 0 is the current one.
func (db *DB) Skill(ctx context.Context, name string, version int) (ops.Skill, []ops.SkillFile, error) {
	rows, err := db.pool.Query(ctx, selectSkills+` WHERE s.name = $1 AND v.version = CASE WHEN $2 = 0 THEN s.current ELSE $2 END`, name, version)
	if err != nil {
		return ops.Skill{}, nil, mapError(err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, scanSkill)
	if err != nil {
		return s, nil, mapError(err)
	}
	files, err := db.skillFiles(ctx, name, s.Version)
	return s, files, err
}

// SkillBundle gives the files of a version that has the digest: else it is code
// not_found. One that the run's agent was not given is code forbidden.
func (db *DB) SkillBundle(ctx context.Context, run, name string, version int, digest string) ([]ops.SkillFile, error) {
	var given, there bool
	if err := db.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM runs WHERE id = $1 AND $2 = ANY(skills)),
			EXISTS (SELECT FROM skill_versions WHERE name = $3 AND version = $4 AND digest = $5)`,
		run, givenSkill(name, version), name, version, digest).Scan(&given, &there); err != nil {
		return nil, mapError(err)
	}
	switch {
	case !given:
		return nil, ops.Errorf(ops.CodeForbidden, "the run's agent was not given that skill")
	case !there:
		return nil, ops.Errorf(ops.CodeNotFound, "that version is not kept any more")
	}
	return db.skillFiles(ctx, name, version)
}

// givenSkill is how runs.skills names a version.
func givenSkill(name string, version int) string { return name + " " + strconv.Itoa(version) }

// giveSkills notes what a run's agent has at this claim.
func (db *DB) giveSkills(ctx context.Context, run string, skills []ops.SkillRef) error {
	given := make([]string, len(skills))
	for i, s := range skills {
		given[i] = givenSkill(s.Name, s.Version)
	}
	_, err := db.pool.Exec(ctx, `UPDATE runs SET skills = $2 WHERE id = $1 AND skills <> $2`, run, given)
	return mapError(err)
}

func (db *DB) skillFiles(ctx context.Context, name string, version int) ([]ops.SkillFile, error) {
	rows, err := db.pool.Query(ctx, `SELECT path, content FROM skill_files WHERE name = $1 AND version = $2 ORDER BY path COLLATE "C"`, name, version)
	if err != nil {
		return nil, mapError(err)
	}
	files, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f ops.SkillFile, err error) {
		return f, row.Scan(&f.Path, &f.Content)
	})
	return files, mapError(err)
}

// SkillVersions gives what is kept of a skill, newest first.
func (db *DB) SkillVersions(ctx context.Context, name string) ([]ops.Skill, error) {
	rows, err := db.pool.Query(ctx, selectSkills+` WHERE s.name = $1 ORDER BY v.version DESC LIMIT $2`, name, keepVersions+1)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanSkill)
	if err == nil && len(all) == 0 {
		err = pgx.ErrNoRows
	}
	return all, mapError(err)
}

// PutSkill stores a skill as its newest version, which becomes the current one,
// if what is stored now is as base says. Files that are those of the current
// version make none: stored is false then.
func (db *DB) PutSkill(ctx context.Context, c SkillContent, base int) (stored bool, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) (err error) {
		if err := oneAtATime(ctx, tx, "skills"); err != nil {
			return err
		}
		stored, err = putSkill(ctx, tx, c, base)
		return err
	})
	return stored, err
}

// oneAtATime makes counts, numbers and versions hold until the end of tx.
func oneAtATime(ctx context.Context, tx pgx.Tx, what string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, what)
	return err
}

func putSkill(ctx context.Context, tx pgx.Tx, c SkillContent, base int) (stored bool, err error) {
	var current, total int
	var digest string
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(s.current) FILTER (WHERE s.name = $1), 0), coalesce(max(v.digest) FILTER (WHERE s.name = $1), ''), count(*)
		FROM skills s JOIN skill_versions v ON v.name = s.name AND v.version = s.current`, c.About.Name).Scan(&current, &digest, &total); err != nil {
		return false, err
	}
	switch {
	case base == NotThere && current != 0:
		return false, ops.Errorf(ops.CodeConflict, "there is a skill %s already", c.About.Name)
	case base > 0 && current == 0:
		return false, pgx.ErrNoRows
	case base > 0 && current != base:
		return false, ops.Errorf(ops.CodeConflict, "somebody has changed the skill meanwhile: version %d is the current one now, look at it first", current)
	case digest == c.Digest:
		return false, nil
	case current == 0 && total >= maxSkills:
		return false, ops.Errorf(ops.CodeConflict, "there are %d skills, and there can be no more: remove one first", total)
	}
	about, err := json.Marshal(c.About)
	if err != nil {
		return false, fmt.Errorf("skill %s: %w", c.About.Name, err)
	}
	var version int
	if err := tx.QueryRow(ctx, `INSERT INTO skills (name, current, newest) VALUES ($1, 1, 1)
		ON CONFLICT (name) DO UPDATE SET current = skills.newest + 1, newest = skills.newest + 1 RETURNING newest`, c.About.Name).Scan(&version); err != nil {
		return false, err
	}
	var size int64
	for _, f := range c.Files {
		size += int64(len(f.Content))
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO skill_versions (name, version, digest, about, files, bytes, author, comment) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		c.About.Name, version, c.Digest, json.RawMessage(about), len(c.Files), size, c.Author, c.Comment)
	for _, f := range c.Files {
		b.Queue(`INSERT INTO skill_files (name, version, path, content) VALUES ($1, $2, $3, $4)`, c.About.Name, version, f.Path, append([]byte{}, f.Content...))
	}
	b.Queue(`DELETE FROM skill_versions WHERE name = $1 AND version <= (SELECT version FROM skill_versions WHERE name = $1 ORDER BY version DESC OFFSET $2 LIMIT 1)`,
		c.About.Name, keepVersions)
	return true, tx.SendBatch(ctx, b).Close()
}

// UseSkillVersion makes a version that is kept the current one.
func (db *DB) UseSkillVersion(ctx context.Context, name string, version int) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := oneAtATime(ctx, tx, "skills"); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE skills SET current = $2 WHERE name = $1 AND EXISTS (SELECT FROM skill_versions WHERE name = $1 AND version = $2)`, name, version)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		return err
	})
}

// EnableSkill says whether agents get a skill.
func (db *DB) EnableSkill(ctx context.Context, name string, enabled bool) error {
	return db.one(ctx, `UPDATE skills SET enabled = $2 WHERE name = $1`, name, enabled)
}

// DeleteSkill removes a skill that no agent names, with all its versions.
func (db *DB) DeleteSkill(ctx context.Context, name string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		var agents []string
		if err := tx.QueryRow(ctx, `SELECT array(SELECT id FROM agents WHERE $1 = ANY (skills) ORDER BY id LIMIT 10)`, name).Scan(&agents); err != nil {
			return err
		}
		if len(agents) > 0 {
			return ops.Errorf(ops.CodeConflict, "agents name it: take it from %s first, or disable it", strings.Join(agents, ", "))
		}
		tag, err := tx.Exec(ctx, `DELETE FROM skills WHERE name = $1`, name)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		return err
	})
}

// one runs a statement that changes one row, or none, which is code not_found.
func (db *DB) one(ctx context.Context, sql string, args ...any) error {
	tag, err := db.pool.Exec(ctx, sql, args...)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return mapError(err)
}

// checkSkills refuses an agent's list of skills that names one which is not there.
func checkSkills(ctx context.Context, tx pgx.Tx, list []string) error {
	names := slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "*" })
	if len(names) == 0 {
		return nil
	}
	var unknown string
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT w FROM unnest($1::text[]) AS w WHERE NOT EXISTS (SELECT FROM skills WHERE name = w) LIMIT 1), '')`, names).Scan(&unknown)
	if err == nil && unknown != "" {
		err = ops.Errorf(ops.CodeInvalid, "there is no skill %q", unknown)
	}
	return err
}

// InstallStarters puts in what comes with the program: what is new, and what has
// changed in it since and was not edited here. What somebody has edited or removed
// stays so, and what there is no room for waits for that. It gives the names of what it has put in.
func (db *DB) InstallStarters(ctx context.Context, skills []SkillContent, runbooks []ops.Runbook) (installed []string, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		installed = nil
		if err := oneAtATime(ctx, tx, "skills"); err != nil {
			return err
		}
		if err := oneAtATime(ctx, tx, "runbooks"); err != nil {
			return err
		}
		for _, c := range skills {
			fresh, err := starterIsNew(ctx, tx, "skill", c.About.Name, c.Digest,
				`SELECT v.digest FROM skills s JOIN skill_versions v ON v.name = s.name AND v.version = s.current WHERE s.name = $1`)
			if err != nil {
				return err
			}
			if !fresh {
				continue
			}
			switch _, err := putSkill(ctx, tx, c, Whatever); {
			case ops.CodeOf(err) == ops.CodeConflict:
				if err := noRoom(ctx, tx, "skill", c.About.Name); err != nil {
					return err
				}
				continue
			case err != nil:
				return err
			}
			installed = append(installed, "skill "+c.About.Name)
		}
		for _, r := range runbooks {
			fresh, err := starterIsNew(ctx, tx, "runbook", r.Slug, runbookDigest(r),
				`SELECT `+storedRunbookDigest+` FROM runbooks r JOIN runbook_versions v ON v.slug = r.slug AND v.version = r.current WHERE r.slug = $1`)
			if err != nil {
				return err
			}
			if !fresh {
				continue
			}
			switch _, err := putRunbook(ctx, tx, r, Whatever); {
			case ops.CodeOf(err) == ops.CodeConflict:
				if err := noRoom(ctx, tx, "runbook", r.Slug); err != nil {
					return err
				}
				continue
			case err != nil:
				return err
			}
			installed = append(installed, "runbook "+r.Slug)
		}
		return nil
	})
	return installed, err
}

// starterIsNew says whether to put a starter in, and notes that it is. now reads
// the digest of what is there under its name.
func starterIsNew(ctx context.Context, tx pgx.Tx, kind, name, digest, now string) (bool, error) {
	var before, current string
	if err := tx.QueryRow(ctx, `SELECT coalesce((SELECT digest FROM starters WHERE kind = $1 AND name = $2), '')`, kind, name).Scan(&before); err != nil {
		return false, err
	}
	if before == digest {
		return false, nil
	}
	if err := tx.QueryRow(ctx, `SELECT coalesce((`+now+`), '')`, name).Scan(&current); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO starters (kind, name, digest) VALUES ($1, $2, $3) ON CONFLICT (kind, name) DO UPDATE SET digest = $3`, kind, name, digest); err != nil {
		return false, err
	}
	return current == before, nil // both are empty for what was never here
}

// noRoom takes back that a starter is in, which there are too many others for: the
// next start tries again.
func noRoom(ctx context.Context, tx pgx.Tx, kind, name string) error {
	_, err := tx.Exec(ctx, `DELETE FROM starters WHERE kind = $1 AND name = $2`, kind, name)
	return err
}
