package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connections are a pool, or a transaction in its place.
type connections interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Begin(ctx context.Context) (pgx.Tx, error)
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// within is a transaction in the place of a pool: what begins in it is a
// savepoint, with the isolation of the whole.
type within struct{ pgx.Tx }

// BeginTx begins a savepoint.
func (w within) BeginTx(ctx context.Context, _ pgx.TxOptions) (pgx.Tx, error) { return w.Begin(ctx) }

// Atomically stores all that f does with the database that it is given, or, if
// it gives an error, nothing of it. It is for configuration: what is appended to
// the timeline or claimed by workers has transactions of its own, and is not
// done in here. f may be called several times. Callers wait for each other, those
// of other processes too: replicas that start together load the same file.
func (db *DB) Atomically(ctx context.Context, f func(*DB) error) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('configuration', 0))`); err != nil {
			return err
		}
		return f(&DB{pool: within{tx}, whole: db.whole, config: db.config, auditKey: db.auditKey})
	})
}
