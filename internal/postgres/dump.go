package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// versionTable says which schema a database has; goose keeps it.
const versionTable = "goose_db_version"

// untouched are the tables that may have rows before anybody has used the
// database: what a migration made, what the api brings, and the link for the first admin.
var untouched = []string{"agents", "roles", "grouping_version", "tools_version", "chores", "setup_tokens", "actor_roles", "gatekeeper", "installation",
	"skills", "skill_versions", "skill_files", "starters", "runbooks", "runbook_versions"}

// Contents says what a dump holds, beside the rows.
type Contents struct {
	Schema    int64      `json:"schema"`
	Tables    []Table    `json:"tables"` // each behind those that it refers to
	Sequences []Sequence `json:"sequences"`
}

// Table is a table of a dump.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}

// Sequence is where the numbers of an identity column go on.
type Sequence struct {
	Name   string `json:"name"`
	Last   int64  `json:"last"`
	Called bool   `json:"called"`
}

// Dump reads every table in one snapshot. open is told what comes, then write
// gives where the rows of each table go, in COPY's text format, and is closed
// behind them. Dump gives the
// number of rows of each table. The role must be the owner.
func (db *DB) Dump(ctx context.Context, open func(Contents) error, write func(Table) io.WriteCloser) (map[string]int64, error) {
	rows := map[string]int64{}
	err := pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL row_security = off; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'`); err != nil {
			return err
		}
		c, err := contents(ctx, tx)
		if err != nil {
			return err
		}
		if err := open(c); err != nil {
			return err
		}
		for _, t := range c.Tables {
			to := write(t)
			tag, err := tx.Conn().PgConn().CopyTo(ctx, to, `COPY `+t.columns()+` TO STDOUT`)
			if err = errors.Join(err, to.Close()); err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
			rows[t.Name] = tag.RowsAffected()
		}
		return nil
	})
	return rows, mapError(err)
}

// Load fills an empty database of the same schema, all of it or nothing. read
// gives the rows of each table; then last, as the last thing before the commit,
// is told how many they were and gives a record for the audit. What last did
// must not matter if the commit fails. The role must be the owner.
func (db *DB) Load(ctx context.Context, c Contents, read func(Table) io.Reader, last func(rows map[string]int64) (ops.AuditRecord, error)) error {
	return mapError(pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL row_security = off; SET LOCAL DateStyle = 'ISO'; SET LOCAL lock_timeout = '10s'`); err != nil {
			return err
		}
		have, err := contents(ctx, tx)
		if err != nil {
			return err
		}
		if err := have.matches(c); err != nil {
			return err
		}
		if err := empty(ctx, tx, have.Tables); err != nil {
			return err
		}
		rows := map[string]int64{}
		for _, t := range c.Tables {
			tag, err := tx.Conn().PgConn().CopyFrom(ctx, read(t), `COPY `+t.columns()+` FROM STDIN`)
			if err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
			rows[t.Name] = tag.RowsAffected()
		}
		for _, s := range c.Sequences {
			if _, err := tx.Exec(ctx, `SELECT setval($1::regclass, $2, $3)`, pgx.Identifier{s.Name}.Sanitize(), s.Last, s.Called); err != nil {
				return fmt.Errorf("sequence %s: %w", s.Name, err)
			}
		}
		record, err := last(rows)
		if err != nil {
			return err
		}
		return db.appendAudit(ctx, tx, record)
	}))
}

// empty locks all tables and leaves them empty, or refuses.
func empty(ctx context.Context, tx pgx.Tx, tables []Table) error {
	var names []string
	for _, t := range tables {
		names = append(names, pgx.Identifier{t.Name}.Sanitize())
	}
	if _, err := tx.Exec(ctx, `LOCK TABLE `+strings.Join(names, ", ")+` IN ACCESS EXCLUSIVE MODE`); err != nil {
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "55P03" { // lock_not_available
			return ops.Errorf(ops.CodeConflict, "somebody uses the database: stop the other services first")
		}
		return err
	}
	for i, t := range tables {
		if slices.Contains(untouched, t.Name) {
			if _, err := tx.Exec(ctx, `DELETE FROM `+names[i]); err != nil {
				return err
			}
			continue
		}
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+names[i]+`)`).Scan(&used); err != nil {
			return err
		}
		if used {
			return ops.Errorf(ops.CodeConflict, "the database is not empty (there are rows in %s): restore into a new deployment", t.Name)
		}
	}
	return nil
}

// matches says whether a dump of contents c fits into a database of contents have.
func (have Contents) matches(c Contents) error {
	if c.Schema != have.Schema {
		return ops.Errorf(ops.CodeConflict, "the backup has schema %d and the database %d: restore with the release that made the backup, then upgrade", c.Schema, have.Schema)
	}
	// Their names become part of statements: they are those of the database.
	shape := func(c Contents) []string {
		var out []string
		for _, t := range c.Tables {
			columns := slices.Clone(t.Columns)
			slices.Sort(columns)
			out = append(out, t.Name+" "+strings.Join(columns, " "))
		}
		for _, s := range c.Sequences {
			out = append(out, "sequence "+s.Name)
		}
		slices.Sort(out)
		return out
	}
	if !slices.Equal(shape(c), shape(have)) {
		return ops.Errorf(ops.CodeConflict, "the backup's tables are not those of the database")
	}
	return nil
}

// columns is the table with its columns, as COPY takes them.
func (t Table) columns() string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, pgx.Identifier{c}.Sanitize())
	}
	return pgx.Identifier{t.Name}.Sanitize() + " (" + strings.Join(names, ", ") + ")"
}

// contents reads the catalogue, so that a new table is in the next backup
// without anybody thinking of it.
func contents(ctx context.Context, tx pgx.Tx) (c Contents, err error) {
	if err := tx.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&c.Schema); err != nil {
		return c, err
	}
	rows, err := tx.Query(ctx, `SELECT c.relname,
			array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
				AND a.attgenerated = '' ORDER BY a.attnum),
			array(SELECT DISTINCT f.relname::text FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
				WHERE k.conrelid = c.oid AND k.contype = 'f' AND f.oid <> c.oid)
		FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> $1 ORDER BY c.relname`, versionTable)
	if err != nil {
		return c, err
	}
	refers := map[string][]string{}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		var to []string
		err = row.Scan(&t.Name, &t.Columns, &to)
		refers[t.Name] = to
		return t, err
	})
	if err != nil {
		return c, err
	}
	if c.Tables, err = inOrder(tables, refers); err != nil {
		return c, err
	}
	rows, err = tx.Query(ctx, `SELECT s.relname FROM pg_class s
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass
		JOIN pg_class t ON t.oid = d.refobjid
		WHERE s.relnamespace = 'public'::regnamespace AND s.relkind = 'S' AND t.relname <> $1 ORDER BY s.relname`, versionTable)
	if err != nil {
		return c, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return c, err
	}
	for _, name := range names {
		// A sequence is in no snapshot: it is read after the snapshot was taken,
		// so it is at least as far as the rows.
		s := Sequence{Name: name}
		if err := tx.QueryRow(ctx, `SELECT last_value, is_called FROM `+pgx.Identifier{name}.Sanitize()).Scan(&s.Last, &s.Called); err != nil {
			return c, err
		}
		c.Sequences = append(c.Sequences, s)
	}
	return c, nil
}

// inOrder puts each table behind those that it refers to.
func inOrder(tables []Table, refers map[string][]string) ([]Table, error) {
	var ordered []Table
	placed := map[string]bool{}
	for len(ordered) < len(tables) {
		before := len(ordered)
		for _, t := range tables {
			if placed[t.Name] || slices.ContainsFunc(refers[t.Name], func(to string) bool { return !placed[to] }) {
				continue
			}
			ordered, placed[t.Name] = append(ordered, t), true
		}
		if len(ordered) == before {
			return nil, errors.New("tables refer to each other in a circle")
		}
	}
	return ordered, nil
}
