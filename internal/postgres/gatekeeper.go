package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// reviewKept is how long a rating stands for the same thing under the same settings.
const reviewKept = time.Hour

const selectGatekeeper = `SELECT enabled, provider, threshold, effects, tools, hourly, version, updated_at FROM gatekeeper`

func scanGatekeeper(row pgx.Row) (g ops.Gatekeeper, err error) {
	err = row.Scan(&g.Enabled, &g.Provider, &g.Threshold, &g.Effects, &g.Tools, &g.Hourly, &g.Version, &g.UpdatedAt)
	return g, err
}

// Gatekeeper gives the settings of the review by a model.
func (db *DB) Gatekeeper(ctx context.Context) (ops.Gatekeeper, error) {
	g, err := scanGatekeeper(db.pool.QueryRow(ctx, selectGatekeeper))
	return g, mapError(err)
}

// PutGatekeeper changes them. What was rated under other settings counts no more.
// A provider that does not exist is code invalid.
func (db *DB) PutGatekeeper(ctx context.Context, g ops.Gatekeeper) (out ops.Gatekeeper, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		if g.Provider != "" {
			if _, err := provider(ctx, tx, g.Provider); errors.Is(err, pgx.ErrNoRows) {
				return ops.Errorf(ops.CodeInvalid, "there is no LLM provider %q", g.Provider)
			} else if err != nil {
				return err
			}
		}
		out, err = scanGatekeeper(tx.QueryRow(ctx, `UPDATE gatekeeper SET enabled = $1, provider = $2, threshold = $3, effects = $4, tools = $5, hourly = $6,
				version = version + 1, updated_at = now()
			RETURNING enabled, provider, threshold, effects, tools, hourly, version, updated_at`,
			g.Enabled, g.Provider, g.Threshold, orNone(g.Effects), orNone(g.Tools), g.Hourly))
		return err
	})
	return out, err
}

// ReviewTask is an asked call that is to be rated now, by whoever claimed it.
type ReviewTask struct {
	Approval ops.Approval
	Settings ops.Gatekeeper
	Provider ops.Provider
	// Known is a rating of the same thing under the same settings, if there is one.
	Known *ops.Review
}

// ClaimReview gives the oldest waiting approval that the settings opt in to and
// that nobody has reviewed, and begins its review: it is nobody else's, whatever
// becomes of the claimer. token opens the proxy for it, for life. It gives nil if
// there is none, the review is off, or as many were reviewed within an hour as
// may be.
func (db *DB) ClaimReview(ctx context.Context, token []byte, life time.Duration) (*ReviewTask, error) {
	var out *ReviewTask
	err := db.tx(ctx, func(tx pgx.Tx) error {
		out = nil
		// One at a time, so that the count holds.
		settings, err := scanGatekeeper(tx.QueryRow(ctx, selectGatekeeper+` FOR UPDATE`))
		if err != nil || !settings.Enabled {
			return err
		}
		var id string
		err = tx.QueryRow(ctx, `SELECT a.id FROM approvals a WHERE a.state = 'pending' AND a.expires_at > now() AND a.needed = 1 AND a.risk <> 'critical'
				AND a.effect <> 'unknown' AND a.effect = ANY($1)
				AND EXISTS (SELECT FROM unnest($2::text[]) AS t WHERE a.tool = t OR right(t, 1) = '*' AND starts_with(a.tool, left(t, -1)))
				AND NOT EXISTS (SELECT FROM gatekeeper_reviews r WHERE r.approval_id = a.id)
				AND (SELECT count(*) FROM (SELECT FROM gatekeeper_reviews WHERE created_at > now() - interval '1 hour' LIMIT $3) AS n) < $3
			ORDER BY a.expires_at LIMIT 1`, settings.Effects, settings.Tools, settings.Hourly).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		task := ReviewTask{Settings: settings}
		if task.Provider, err = provider(ctx, tx, settings.Provider); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // there is no model: people decide
			}
			return err
		}
		rows, err := tx.Query(ctx, selectApprovals+` WHERE a.id = $1`, id)
		if err != nil {
			return err
		}
		if task.Approval, err = pgx.CollectExactlyOneRow(rows, scanApproval); err != nil {
			return err
		}
		model := task.Provider.Name + " " + task.Provider.Model
		known := ops.Review{State: ops.ReviewRated, Model: model}
		err = tx.QueryRow(ctx, `SELECT risk, reasoning, created_at FROM gatekeeper_reviews
			WHERE subject = $1 AND version = $2 AND model = $3 AND state = 'rated' AND created_at > now() - $4::interval ORDER BY created_at DESC LIMIT 1`,
			task.Approval.Subject, settings.Version, model, reviewKept).Scan(&known.Risk, &known.Reasoning, &known.At)
		if err == nil {
			task.Known, token = &known, nil
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO gatekeeper_reviews (approval_id, subject, version, model, provider_id, token_hash, state, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, 'asked', now() + $7::interval)`,
			id, task.Approval.Subject, settings.Version, model, task.Provider.ID, token, life); err != nil {
			return err
		}
		out = &task
		return nil
	})
	return out, err
}

// lifts says whether a rating approves a call under these settings. Only an ask
// can be: what is denied never becomes an approval.
func lifts(g ops.Gatekeeper, a ops.Approval, r ops.Review) bool {
	order := []ops.Risk{ops.RiskLow, ops.RiskMedium, ops.RiskHigh}
	rated, limit := slices.Index(order, r.Risk), slices.Index(order, g.Threshold)
	return r.State == ops.ReviewRated && rated >= 0 && limit >= 0 && rated <= limit &&
		a.Needed == 1 && a.Risk != ops.RiskCritical && a.Effect != "unknown" && slices.Contains(g.Effects, a.Effect)
}

// EndReview stores what became of a claimed review, ends its token, and approves
// the call if the rating lets it pass, nobody has decided meanwhile and the
// settings are still those under which it was asked. It says whether it did.
func (db *DB) EndReview(ctx context.Context, t ReviewTask, r ops.Review) (approved bool, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		approved = false
		a, run, err := lockApproval(ctx, tx, t.Approval.ID)
		if err != nil {
			return err
		}
		now, err := scanGatekeeper(tx.QueryRow(ctx, selectGatekeeper+` FOR SHARE`))
		if err != nil {
			return err
		}
		approved = a.State == ops.ApprovalPending && now.Enabled && now.Version == t.Settings.Version && lifts(now, a, r)
		tag, err := tx.Exec(ctx, `UPDATE gatekeeper_reviews SET state = $2, risk = $3, reasoning = $4, approved = $5, ended_at = now(), token_hash = NULL
			WHERE approval_id = $1 AND state = 'asked'`, a.ID, r.State, r.Risk, r.Reasoning, approved)
		if err == nil && tag.RowsAffected() == 0 {
			err = ops.Errorf(ops.CodeConflict, "the review has ended")
		}
		if err != nil || !approved {
			return err
		}
		reason := "rated " + string(r.Risk) + " risk: " + r.Reasoning
		if _, err := tx.Exec(ctx, `INSERT INTO approval_decisions (approval_id, user_id, username, approve, reason)
			VALUES ($1, '00000000-0000-0000-0000-000000000000', $2, true, $3)`, a.ID, ops.GatekeeperActor, reason); err != nil {
			return err
		}
		if err := setApproval(ctx, tx, a.ID, ops.ApprovalApproved); err != nil {
			return err
		}
		if err := noteDecision(ctx, tx, a, ops.ApprovalApproved, ops.GatekeeperActor, reason); err != nil {
			return err
		}
		return resumeRun(ctx, tx, run)
	})
	return approved && err == nil, err
}

// WithReviews fills in what the gatekeeper made of them.
func (db *DB) WithReviews(ctx context.Context, all []ops.Approval) error {
	at, ids := map[string]int{}, make([]string, len(all))
	for i, a := range all {
		at[a.ID], ids[i] = i, a.ID
	}
	rows, err := db.pool.Query(ctx, `SELECT approval_id, CASE WHEN state = 'asked' AND expires_at <= now() THEN 'failed' ELSE state END,
			risk, reasoning, model, approved, coalesce(ended_at, created_at) FROM gatekeeper_reviews WHERE approval_id = ANY($1::uuid[])`, ids)
	if err != nil {
		return mapError(err)
	}
	var id string
	var r ops.Review
	_, err = pgx.ForEachRow(rows, []any{&id, &r.State, &r.Risk, &r.Reasoning, &r.Model, &r.Approved, &r.At}, func() error {
		one := r
		one.At = one.At.UTC()
		all[at[id]].Review = &one
		return nil
	})
	return mapError(err)
}
