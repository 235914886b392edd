package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Chore does something that is due every so often, unless another process does
// it now or has done it in that time. It says whether it has. While do runs, a
// connection of the pool is held for the lock; do gets its own.
func (db *DB) Chore(ctx context.Context, name string, every time.Duration, do func(context.Context) error) (done bool, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		var due bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('chore ' || $1, 0))
			AND NOT EXISTS (SELECT FROM chores WHERE name = $1 AND ran_at > now() - $2::interval)`, name, every).Scan(&due); err != nil {
			return mapError(err)
		}
		if !due {
			return nil
		}
		done = true
		if err := do(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO chores (name, ran_at) VALUES ($1, clock_timestamp())
			ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at`, name)
		return mapError(err)
	})
	if err != nil && done && !errors.Is(ctx.Err(), context.Canceled) {
		db.noteFailure(ctx, name, err)
	}
	return done, err
}

// noteFailure keeps for people that a chore has failed. What cannot be kept is in
// the log of who did it.
func (db *DB) noteFailure(ctx context.Context, name string, why error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	text := strings.ToValidUTF8(strings.ReplaceAll(why.Error(), "\x00", ""), "")
	_, _ = db.pool.Exec(ctx, `INSERT INTO chores (name, failed_at, error) VALUES ($1, clock_timestamp(), left($2, 500))
		ON CONFLICT (name) DO UPDATE SET failed_at = excluded.failed_at, error = excluded.error`, name, text)
}
