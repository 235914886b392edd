package postgres

import (
	"context"
	"fmt"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// Holds says whether a claim is the newest of a run that runs.
func (db *DB) Holds(ctx context.Context, c RunClaim) (yes bool, err error) {
	err = db.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM runs WHERE id = $1 AND worker = $2 AND epoch = $3 AND state = 'running' AND cancel_requested = '')`,
		c.Run, c.Worker, c.Epoch).Scan(&yes)
	return yes, mapError(err)
}

// WasAsked says whether people were asked about a call before, in whatever words.
func (db *DB) WasAsked(ctx context.Context, holder, call string) (yes bool, err error) {
	err = db.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM approvals WHERE holder = $1 AND call_id = $2)`, holder, call).Scan(&yes)
	return yes, mapError(err)
}

// TakeApproval uses up the approval of a call in a workspace for a claim, with
// the audit record of that. It is given to one claim, and to that one again: who
// has it knows whether the call was made. used is that another claim has it.
// Without the claim or the approval it is code forbidden.
func (db *DB) TakeApproval(ctx context.Context, c RunClaim, approval string, digest []byte, audit ops.AuditRecord) (used bool, err error) {
	err = db.withAudit(ctx, audit, func(b *pgx.Batch) {
		b.Queue(`INSERT INTO approval_uses (approval_id, at, epoch) VALUES (
			(SELECT a.id FROM approvals a JOIN runs r ON r.id = a.run_id WHERE a.id = $1 AND a.kind = 'workspace' AND a.digest = $2
				AND a.state = 'approved' AND (a.expires_at > now() OR EXISTS (SELECT FROM approval_uses u WHERE u.approval_id = a.id))
				AND r.id = $3 AND r.worker = $4 AND r.epoch = $5 AND r.state = 'running' AND r.cancel_requested = ''), clock_timestamp(), $5)`,
			approval, digest, c.Run, c.Worker, c.Epoch)
	})
	switch {
	case err == nil:
		return false, nil
	case violates(err, "approval_uses"):
		var epoch int
		err = db.pool.QueryRow(ctx, `SELECT coalesce(epoch, 0) FROM approval_uses WHERE approval_id = $1`, approval).Scan(&epoch)
		return epoch != c.Epoch, mapError(err)
	case unusable(err):
		return false, ops.Errorf(ops.CodeForbidden, "the approval does not stand any more")
	}
	return false, fmt.Errorf("use approval: %w", mapError(err))
}

// waitingCalls gives the calls of a run that people were asked about, in its own
// folder, and that no claim has had the right to make.
func (db *DB) waitingCalls(ctx context.Context, run string) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT a.call_id FROM approvals a LEFT JOIN approval_uses u ON u.approval_id = a.id
		WHERE a.run_id = $1 AND a.kind = 'workspace' GROUP BY a.call_id HAVING count(u.approval_id) = 0`, run)
	if err != nil {
		return nil, mapError(err)
	}
	calls, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return calls, mapError(err)
}
