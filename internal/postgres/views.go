package postgres

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// maxViews bounds the views of one user, maxViewsSeen those that one user is given.
const (
	maxViews     = 100
	maxViewsSeen = 500
)

// CreateView stores a view of a user. A name that they use already, and one view
// too many, is code conflict.
func (db *DB) CreateView(ctx context.Context, user string, v ops.View) error {
	filter, err := json.Marshal(v.Filter)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx pgx.Tx) error {
		var n int
		// The user's row is locked, so that they are counted one after the other.
		if _, err := tx.Exec(ctx, `SELECT FROM users WHERE id = $1 FOR UPDATE`, user); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM views WHERE owner = $1`, user).Scan(&n); err != nil {
			return err
		}
		if n >= maxViews {
			return ops.Errorf(ops.CodeConflict, "you have %d views, which is the most there can be: remove one first", n)
		}
		tag, err := tx.Exec(ctx, `INSERT INTO views (id, owner, name, filter, shared) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (owner, name) DO NOTHING`,
			v.ID, user, v.Name, filter, v.Shared)
		if err == nil && tag.RowsAffected() == 0 {
			return ops.Errorf(ops.CodeConflict, "you have a view named %q already", v.Name)
		}
		return err
	})
}

// Views gives what a user sees: their own, and then what others share, by name.
func (db *DB) Views(ctx context.Context, user string) ([]ops.View, error) {
	rows, err := db.pool.Query(ctx, selectViews+` WHERE v.owner = $1 OR v.shared ORDER BY v.owner <> $1, v.name, v.id LIMIT $2`, user, maxViewsSeen)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanView)
	return all, mapError(err)
}

// View gives a view that the user sees; any other is code not found.
func (db *DB) View(ctx context.Context, user, id string) (ops.View, error) {
	rows, err := db.pool.Query(ctx, selectViews+` WHERE (v.owner = $1 OR v.shared) AND v.id = $2`, user, id)
	if err != nil {
		return ops.View{}, mapError(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, scanView)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, ops.Errorf(ops.CodeNotFound, "there is no such view")
	}
	return v, mapError(err)
}

const selectViews = `SELECT v.id, v.name, v.filter, v.shared, u.username, v.owner = $1, v.created_at, v.updated_at
	FROM views v JOIN users u ON u.id = v.owner`

func scanView(row pgx.CollectableRow) (v ops.View, err error) {
	var filter []byte
	if err = row.Scan(&v.ID, &v.Name, &filter, &v.Shared, &v.Owner, &v.Mine, &v.CreatedAt, &v.UpdatedAt); err == nil {
		err = json.Unmarshal(filter, &v.Filter)
	}
	return v, err
}

// ReplaceView stores name, filter and sharing of a view anew. A name that its
// owner uses for another is code conflict.
func (db *DB) ReplaceView(ctx context.Context, v ops.View) error {
	filter, err := json.Marshal(v.Filter)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx pgx.Tx) error {
		var taken bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM views o JOIN views v ON v.owner = o.owner WHERE v.id = $1 AND o.id <> $1 AND o.name = $2)`,
			v.ID, v.Name).Scan(&taken); err != nil {
			return err
		}
		if taken {
			return ops.Errorf(ops.CodeConflict, "there is a view named %q already", v.Name)
		}
		tag, err := tx.Exec(ctx, `UPDATE views SET name = $2, filter = $3, shared = $4, updated_at = now() WHERE id = $1`, v.ID, v.Name, filter, v.Shared)
		if err == nil && tag.RowsAffected() == 0 {
			return ops.Errorf(ops.CodeNotFound, "there is no such view")
		}
		return err
	})
}

// RemoveView removes a view; none is code not found.
func (db *DB) RemoveView(ctx context.Context, id string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM views WHERE id = $1`, id)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeNotFound, "there is no such view")
	}
	return mapError(err)
}
