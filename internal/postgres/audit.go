package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
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
		b.Queue(`INSERT INTO audit (chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, ''::bytea), $11)`,
			r.Chain, r.Seq, r.At, r.Actor, r.Action, r.Object, r.RunID, r.Outcome, r.Detail, r.Prev, r.Hash)
	}
	return tx.SendBatch(ctx, b).Close()
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
