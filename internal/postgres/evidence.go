package postgres

import (
	"context"
	"fmt"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// AddEvidence stores a chunk of the output of a call that has started.
func (db *DB) AddEvidence(ctx context.Context, holder, call string, c ops.EvidenceChunk) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO evidence (run_id, call_id, n, start, size, line, lines, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		holder, call, c.N, c.Start, c.Size, c.Line, c.Lines, c.Data)
	if err != nil {
		return fmt.Errorf("add evidence: %w", mapError(err))
	}
	return nil
}

// EvidenceStored says how many bytes of evidence a holder has stored.
func (db *DB) EvidenceStored(ctx context.Context, holder string) (size int64, err error) {
	err = db.pool.QueryRow(ctx, `SELECT coalesce(sum(stored), 0) FROM evidence WHERE run_id = $1`, holder).Scan(&size)
	return size, mapError(err)
}

// Evidence gives the chunks of a call in order, without their data.
func (db *DB) Evidence(ctx context.Context, holder, call string) ([]ops.EvidenceChunk, error) {
	rows, err := db.pool.Query(ctx, `SELECT n, start, size, line, lines FROM evidence WHERE run_id = $1 AND call_id = $2 ORDER BY n`, holder, call)
	if err != nil {
		return nil, mapError(err)
	}
	chunks, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c ops.EvidenceChunk, err error) {
		err = row.Scan(&c.N, &c.Start, &c.Size, &c.Line, &c.Lines)
		return c, err
	})
	return chunks, mapError(err)
}

// EvidenceData gives the data of one chunk.
func (db *DB) EvidenceData(ctx context.Context, holder, call string, n int) (data []byte, err error) {
	err = db.pool.QueryRow(ctx, `SELECT data FROM evidence WHERE run_id = $1 AND call_id = $2 AND n = $3`, holder, call, n).Scan(&data)
	return data, mapError(err)
}

// OwnCalls gives the calls of a holder that have ended, oldest first, without
// what they were asked and what they gave. There are at most 1000.
func (db *DB) OwnCalls(ctx context.Context, holder string) ([]ops.ToolCall, error) {
	rows, err := db.pool.Query(ctx, `SELECT c.call_id, c.tool, f.state, coalesce(f.data->>'target', '')
		FROM tool_calls c JOIN tool_steps f ON f.run_id = c.run_id AND f.call_id = c.call_id AND f.state IN ('done', 'failed', 'denied', 'unknown')
		WHERE c.run_id = $1 ORDER BY c.created_at, c.call_id LIMIT 1000`, holder)
	if err != nil {
		return nil, mapError(err)
	}
	calls, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c ops.ToolCall, err error) {
		err = row.Scan(&c.ID, &c.Tool, &c.State, &c.Target)
		return c, err
	})
	return calls, mapError(err)
}
