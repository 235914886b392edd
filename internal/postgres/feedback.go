package postgres

import (
	"context"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// GiveFeedback stores what somebody thinks of a run's findings, in place of what
// they thought before, and notes it on the timeline. A run of the incident
// without findings is code conflict.
func (db *DB) GiveFeedback(ctx context.Context, incident string, f ops.Feedback) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM findings WHERE run_id = $1 AND incident_id = $2)`, f.RunID, incident).Scan(&there); err != nil {
			return err
		}
		if !there {
			return ops.Errorf(ops.CodeConflict, "that investigation of this incident has found nothing to judge")
		}
		e := ops.NewEvent(ops.EventFeedback, f)
		e.RunID, e.Actor = f.RunID, f.By
		if _, err := appendEvents(ctx, tx, incident, e); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO finding_feedback (run_id, actor, incident_id, verdict, comment, at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (run_id, actor) DO UPDATE SET verdict = excluded.verdict, comment = excluded.comment, at = excluded.at`,
			f.RunID, f.By, incident, f.Verdict, f.Comment, f.At)
		return err
	})
}

// Feedback gives what people think of an incident's findings, newest first.
func (db *DB) Feedback(ctx context.Context, incident string) ([]ops.Feedback, error) {
	rows, err := db.pool.Query(ctx, `SELECT run_id, actor, verdict, comment, at FROM finding_feedback WHERE incident_id = $1 ORDER BY at DESC LIMIT 200`, incident)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f ops.Feedback, err error) {
		err = row.Scan(&f.RunID, &f.By, &f.Verdict, &f.Comment, &f.At)
		return f, err
	})
	return all, mapError(err)
}
