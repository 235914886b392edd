package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// MaxToolServers bounds the servers that an admin can add, and maxToolsText the
// definitions of each.
const (
	MaxToolServers = 100
	maxToolsText   = 2 << 20
)

// CreateToolServer stores a server, which must have been checked.
func (db *DB) CreateToolServer(ctx context.Context, s ops.ToolServer) error {
	tools, err := toolsOf(s)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx pgx.Tx) error {
		// The lock makes the count that is checked the one that counts.
		if err := toolsChanged(ctx, tx); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM tool_servers`).Scan(&n); err != nil {
			return err
		}
		if n >= MaxToolServers {
			return ops.Errorf(ops.CodeConflict, "there are %d tool servers: remove one first", n)
		}
		_, err := tx.Exec(ctx, `INSERT INTO tool_servers (id, name, kind, url, ca, credential, header, allow_http, allow_private, enabled, tools, revision, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, $12)`,
			s.ID, s.Name, s.Kind, s.URL, s.CA, orNullText(s.Credential), s.Header, s.AllowHTTP, s.AllowPrivate, s.Enabled, tools, s.CreatedAt)
		return err
	})
}

func toolsOf(s ops.ToolServer) ([]byte, error) {
	if s.Tools == nil {
		return []byte("[]"), nil
	}
	tools, err := json.Marshal(s.Tools)
	if err != nil {
		return nil, fmt.Errorf("tools of %s: %w", s.Name, err)
	}
	if len(tools) > maxToolsText {
		return nil, ops.Errorf(ops.CodeTooLarge, "the tools of %s have more than %d MiB of definitions", s.Name, maxToolsText>>20)
	}
	return tools, nil
}

// ChangeToolServer changes a server in one transaction: change is given it as it
// is stored, and what it leaves is stored, with the next revision. Name and kind
// stay. A revision that is not 0 must be the stored one; else it is code conflict.
func (db *DB) ChangeToolServer(ctx context.Context, id string, revision int, change func(*ops.ToolServer) error) (s ops.ToolServer, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		if err := toolsChanged(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectToolServers+` WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		if s, err = pgx.CollectExactlyOneRow(rows, scanToolServer); err != nil {
			return err
		}
		if revision != 0 && revision != s.Revision {
			return ops.Errorf(ops.CodeConflict, "somebody has changed %s meanwhile: look at it again", s.Name)
		}
		if err := change(&s); err != nil {
			return err
		}
		s.Revision, s.UpdatedAt = s.Revision+1, time.Now().UTC().Truncate(time.Microsecond)
		tools, err := toolsOf(s)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE tool_servers SET url = $2, ca = $3, credential = $4, header = $5, allow_http = $6, allow_private = $7, enabled = $8, tools = $9,
				revision = $10, updated_at = $11 WHERE id = $1`,
			id, s.URL, s.CA, orNullText(s.Credential), s.Header, s.AllowHTTP, s.AllowPrivate, s.Enabled, tools, s.Revision, s.UpdatedAt)
		return err
	})
	return s, err
}

// NoteToolServer stores when a server was asked what it has, and what went wrong.
// It is no change of the server.
func (db *DB) NoteToolServer(ctx context.Context, id string, at time.Time, problem string) error {
	_, err := db.pool.Exec(ctx, `UPDATE tool_servers SET checked_at = $2, problem = $3 WHERE id = $1`, id, at, problem)
	return mapError(err)
}

// DeleteToolServer removes a server with its tools.
func (db *DB) DeleteToolServer(ctx context.Context, id string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := toolsChanged(ctx, tx); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM tool_servers WHERE id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		return err
	})
}

// toolsChanged makes gateways read the servers again when tx is committed. It is
// the first thing that a change does: the row's lock puts changes in a line.
func toolsChanged(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE tools_version SET version = version + 1`)
	return err
}

// ToolServers gives all servers by name, and the version of what it gives.
func (db *DB) ToolServers(ctx context.Context) (all []ops.ToolServer, version int64, err error) {
	err = pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, selectToolsVersion).Scan(&version); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectToolServers+` ORDER BY name LIMIT $1`, MaxToolServers)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scanToolServer)
		return err
	})
	return all, version, mapError(err)
}

// ToolsVersion changes with each change of a server.
func (db *DB) ToolsVersion(ctx context.Context) (version int64, err error) {
	err = db.pool.QueryRow(ctx, selectToolsVersion).Scan(&version)
	return version, mapError(err)
}

const selectToolsVersion = `SELECT version FROM tools_version WHERE singleton`

// ToolServer gives one server.
func (db *DB) ToolServer(ctx context.Context, id string) (ops.ToolServer, error) {
	rows, err := db.pool.Query(ctx, selectToolServers+` WHERE id = $1`, id)
	if err != nil {
		return ops.ToolServer{}, mapError(err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, scanToolServer)
	return s, mapError(err)
}

const selectToolServers = `SELECT id, name, kind, url, ca, coalesce(credential, ''), header, allow_http, allow_private, enabled, tools, revision,
	created_at, updated_at, checked_at, problem FROM tool_servers`

func scanToolServer(row pgx.CollectableRow) (s ops.ToolServer, err error) {
	var tools []byte
	var checked *time.Time
	if err := row.Scan(&s.ID, &s.Name, &s.Kind, &s.URL, &s.CA, &s.Credential, &s.Header, &s.AllowHTTP, &s.AllowPrivate, &s.Enabled, &tools, &s.Revision,
		&s.CreatedAt, &s.UpdatedAt, &checked, &s.Problem); err != nil {
		return s, err
	}
	s.CreatedAt, s.UpdatedAt, s.CheckedAt = s.CreatedAt.UTC(), s.UpdatedAt.UTC(), orZero(checked)
	return s, json.Unmarshal(tools, &s.Tools)
}
