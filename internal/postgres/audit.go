package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// AppendAudit appends records, all of one chain, in one transaction.
func (db *DB) AppendAudit(ctx context.Context, records ...ops.AuditRecord) error {
	if err := db.tx(ctx, func(tx pgx.Tx) error { return appendAudit(ctx, tx, records...) }); err != nil {
		return fmt.Errorf("append audit: %w", err)
	}
	return nil
}

// appendAudit links records to the end of their chain. The chain's lock is held
// until the transaction ends, so it is the last thing that a transaction does.
func appendAudit(ctx context.Context, tx pgx.Tx, records ...ops.AuditRecord) error {
	if len(records) == 0 {
		return nil
	}
	chain := records[0].Chain
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('audit ' || $1, 0))`, chain); err != nil {
		return err
	}
	var seq int64
	var prev []byte
	err := tx.QueryRow(ctx, `SELECT seq, hash FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1`, chain).Scan(&seq, &prev)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	b := &pgx.Batch{}
	for _, r := range records {
		if r.Chain != chain {
			return fmt.Errorf("records of two chains: %s and %s", chain, r.Chain)
		}
		if r.Detail == nil {
			r.Detail = map[string]string{}
		}
		r.Link(seq+1, prev)
		seq, prev = r.Seq, r.Hash
		queueAudit(b, r)
	}
	return tx.SendBatch(ctx, b).Close()
}

// queueAudit queues a record that has its place in the chain.
func queueAudit(b *pgx.Batch, r ops.AuditRecord) {
	b.Queue(`INSERT INTO audit (chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, ''::bytea), $11)`,
		r.Chain, r.Seq, r.At, r.Actor, r.Action, r.Object, r.RunID, r.Outcome, r.Detail, r.Prev, r.Hash)
}

// auditTail remembers the end of a chain, so that the next record can be linked
// without asking for it. It may be wrong, as others append too: then the
// record's number is taken, the transaction fails as a whole, and the tail is
// read again.
type auditTail struct {
	mu    sync.Mutex // held from linking to commit: the order of the chain
	chain string     // empty if the tail is not known
	seq   int64
	prev  []byte
}

// maxAuditTries bounds how often a record is linked anew.
const maxAuditTries = 50

// withAudit runs the queued statements and appends r, in one transaction and,
// as a rule, one round trip. A unique violation of the statements is returned
// as Postgres says it.
func (db *DB) withAudit(ctx context.Context, r ops.AuditRecord, queue func(*pgx.Batch)) error {
	if r.Detail == nil {
		r.Detail = map[string]string{}
	}
	t := &db.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	for try := 0; ; try++ {
		if t.chain != r.Chain {
			t.seq, t.prev = 0, nil
			err := db.pool.QueryRow(ctx, `SELECT seq, hash FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1`, r.Chain).Scan(&t.seq, &t.prev)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			t.chain = r.Chain
		}
		r.Link(t.seq+1, t.prev)
		b := &pgx.Batch{}
		queue(b)
		queueAudit(b, r)
		err := db.sendBatch(ctx, b)
		if err == nil {
			t.seq, t.prev = r.Seq, r.Hash
			return nil
		}
		t.chain = "" // taken by another, or not known what became of it
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "23505" || e.TableName != "audit" || try == maxAuditTries {
			return err
		}
		// Others append faster than this one reads: they are let through.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(time.Duration(try+1) * time.Millisecond)):
		}
	}
}

// sendBatch runs a batch outside of a transaction, which makes it one of its own.
func (db *DB) sendBatch(ctx context.Context, b *pgx.Batch) error {
	results := db.pool.SendBatch(ctx, b)
	for range b.Len() {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			return err
		}
	}
	return results.Close()
}

// Audit gives up to limit records of a chain behind number after, in order.
func (db *DB) Audit(ctx context.Context, chain string, after int64, limit int) ([]ops.AuditRecord, error) {
	rows, err := db.pool.Query(ctx, `SELECT chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash
		FROM audit WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3`, chain, after, limit)
	if err != nil {
		return nil, mapError(err)
	}
	records, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ops.AuditRecord, err error) {
		err = row.Scan(&r.Chain, &r.Seq, &r.At, &r.Actor, &r.Action, &r.Object, &r.RunID, &r.Outcome, &r.Detail, &r.Prev, &r.Hash)
		return r, err
	})
	return records, mapError(err)
}
