package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// useWithin is how long an approval may wait for its call after it was given.
	useWithin = 15 * time.Minute
	// maxAsked bounds what one holder may ask for within a minute.
	maxAsked = 10
	// MaxGrant bounds how long one thing may be done without asking again.
	MaxGrant = 24 * time.Hour
)

// AskApproval stores a request for approval with its audit record. If the same
// was asked before, for the same call, that one is returned and nothing is
// written. A holder that asks for too much in a minute is refused with code
// forbidden.
func (db *DB) AskApproval(ctx context.Context, a ops.Approval, audit ops.AuditRecord) (ops.Approval, error) {
	known, err := db.approvalOf(ctx, holderOf(a), a.CallID, a.Digest)
	if err == nil || ops.CodeOf(err) != ops.CodeNotFound {
		return known, err
	}
	var asked int
	if err := db.pool.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM approvals WHERE holder = $1 AND created_at > now() - interval '1 minute' LIMIT $2) AS a`,
		holderOf(a), maxAsked).Scan(&asked); err != nil {
		return a, mapError(err)
	}
	if asked >= maxAsked {
		return a, ops.Errorf(ops.CodeForbidden, "it has asked for %d approvals within a minute; no more are asked now", asked)
	}
	err = db.withAudit(ctx, audit, func(b *pgx.Batch) {
		b.Queue(`INSERT INTO approvals (id, run_id, token_id, call_id, incident_id, agent, requester, tool, target, command, arguments,
				subject, digest, risk, reasons, facts, needed, created_at, expires_at, effect, kind)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
			a.ID, orNullText(a.RunID), orNullText(a.TokenID), a.CallID, orNullText(a.IncidentID), a.Agent, a.Requester, a.Tool, a.Target, a.Command,
			a.Arguments, a.Subject, a.Digest, a.Risk, orNone(a.Reasons), orEmpty(a.Facts), a.Needed, a.CreatedAt, a.ExpiresAt, cmp.Or(a.Effect, "unknown"), kindOf(a))
		b.Queue(`SELECT pg_notify($1, $2)`, ChannelApprovals, a.ID)
	})
	if violates(err, "approvals") { // asked at the same moment
		return db.approvalOf(ctx, holderOf(a), a.CallID, a.Digest)
	}
	if err != nil {
		return a, fmt.Errorf("ask for approval: %w", mapError(err))
	}
	return db.Approval(ctx, a.ID)
}

func holderOf(a ops.Approval) string {
	if a.TokenID != "" {
		return a.TokenID
	}
	return a.RunID
}

// kindOf says who may use an approval.
func kindOf(a ops.Approval) string {
	if a.Workspace {
		return "workspace"
	}
	return "gateway"
}

const selectApprovals = `SELECT a.id, coalesce(a.run_id::text, ''), coalesce(a.token_id::text, ''), a.call_id, coalesce(a.incident_id::text, ''),
	a.agent, a.requester, a.tool, a.target, a.command, a.arguments, a.subject, a.digest, a.risk, a.effect, a.reasons, a.facts, a.needed,
	CASE WHEN a.state IN ('pending', 'approved') AND a.expires_at <= now() AND u.at IS NULL THEN 'expired' ELSE a.state END,
	a.created_at, a.expires_at, a.decided_at, u.at, a.kind = 'workspace' FROM approvals a LEFT JOIN approval_uses u ON u.approval_id = a.id`

func scanApproval(row pgx.CollectableRow) (a ops.Approval, err error) {
	var decided, used *time.Time
	err = row.Scan(&a.ID, &a.RunID, &a.TokenID, &a.CallID, &a.IncidentID, &a.Agent, &a.Requester, &a.Tool, &a.Target, &a.Command, &a.Arguments,
		&a.Subject, &a.Digest, &a.Risk, &a.Effect, &a.Reasons, &a.Facts, &a.Needed, &a.State, &a.CreatedAt, &a.ExpiresAt, &decided, &used, &a.Workspace)
	a.DecidedAt, a.UsedAt, a.Decisions = orZero(decided), orZero(used), []ops.ApprovalDecision{}
	return a, err
}

// Approval gives one approval, without its decisions.
func (db *DB) Approval(ctx context.Context, id string) (ops.Approval, error) {
	return db.approval(ctx, ` WHERE a.id = $1`, id)
}

func (db *DB) approvalOf(ctx context.Context, holder, call string, digest []byte) (ops.Approval, error) {
	return db.approval(ctx, ` WHERE a.holder = $1 AND a.call_id = $2 AND a.digest = $3`, holder, call, digest)
}

func (db *DB) approval(ctx context.Context, where string, args ...any) (ops.Approval, error) {
	rows, err := db.pool.Query(ctx, selectApprovals+where, args...)
	if err != nil {
		return ops.Approval{}, mapError(err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanApproval)
	return a, mapError(err)
}

// ApprovalFilter selects approvals; empty fields select all.
type ApprovalFilter struct {
	State    ops.ApprovalState
	Incident string
	// Before is the created_at and id of the last one of the page before.
	Before   time.Time
	BeforeID string
	Limit    int // at most 200; 0 means 50
}

// Approvals gives a page of approvals with their decisions, newest first.
func (db *DB) Approvals(ctx context.Context, f ApprovalFilter) ([]ops.Approval, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	if f.Before.IsZero() {
		f.Before, f.BeforeID = time.Now().Add(24*time.Hour), ops.NewID()
	}
	where, args := ` WHERE (a.created_at, a.id) < ($1, $2)`, []any{f.Before, f.BeforeID}
	if f.State == ops.ApprovalPending {
		where += ` AND a.state = 'pending' AND a.expires_at > now()` // by its index
	} else if f.State != "" {
		args = append(args, f.State)
		where += fmt.Sprintf(` AND a.state = $%d`, len(args))
	}
	if f.Incident != "" {
		args = append(args, f.Incident)
		where += fmt.Sprintf(` AND a.incident_id = $%d`, len(args))
	}
	args = append(args, f.Limit)
	rows, err := db.pool.Query(ctx, selectApprovals+where+fmt.Sprintf(` ORDER BY a.created_at DESC, a.id DESC LIMIT $%d`, len(args)), args...)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanApproval)
	if err != nil {
		return nil, mapError(err)
	}
	return all, db.withDecisions(ctx, all)
}

// stillMay says of who has decided, a column, that they may approve now: what they
// have decided, and granted, counts as long.
func stillMay(who string) string {
	return `EXISTS (SELECT FROM users u JOIN roles r ON r.id = ANY(u.roles)
		WHERE u.username = ` + who + ` AND u.disabled_at IS NULL AND '` + string(ops.CanApprove) + `' = ANY(r.actions))`
}

// withDecisions leaves out of a pending approval whose yes does not count any more.
func (db *DB) withDecisions(ctx context.Context, all []ops.Approval) error {
	at, ids := map[string]int{}, make([]string, len(all))
	for i, a := range all {
		at[a.ID], ids[i] = i, a.ID
	}
	rows, err := db.pool.Query(ctx, `SELECT d.approval_id, d.username, d.approve, d.reason, d.at FROM approval_decisions d JOIN approvals a ON a.id = d.approval_id
		WHERE d.approval_id = ANY($1::uuid[]) AND (a.state <> 'pending' OR `+stillMay("d.username")+`) ORDER BY d.at`, ids)
	if err != nil {
		return mapError(err)
	}
	var id string
	var d ops.ApprovalDecision
	_, err = pgx.ForEachRow(rows, []any{&id, &d.Username, &d.Approve, &d.Reason, &d.At}, func() error {
		d.At = d.At.UTC()
		all[at[id]].Decisions = append(all[at[id]].Decisions, d)
		return nil
	})
	return mapError(err)
}

// Decide is one person's word on an approval.
type Decide struct {
	Approval string
	User     User
	Approve  bool
	Reason   string
	// Grant, if it is set, lets the same be done again in this incident for so
	// long. It is for an approval that this decision completes.
	Grant time.Duration
}

// DecideApproval records a decision. It is refused with code conflict if the
// approval is decided, expired or void, or if this person has decided already,
// and with code forbidden if they may not: above low risk nobody approves what
// they have asked for themselves. One "no" ends it; enough people must say yes.
// When nothing is left to decide for a run that waits, it is queued again.
func (db *DB) DecideApproval(ctx context.Context, d Decide) (ops.Approval, error) {
	err := db.tx(ctx, func(tx pgx.Tx) error {
		a, run, err := lockApproval(ctx, tx, d.Approval)
		if err != nil {
			return err
		}
		if a.State != ops.ApprovalPending {
			return ops.Errorf(ops.CodeConflict, "the approval is %s", a.State)
		}
		if d.Approve && a.Risk != ops.RiskLow && a.Requester == "user:"+d.User.Username {
			return ops.Errorf(ops.CodeForbidden, "you have asked for this yourself: somebody else must approve it")
		}
		if d.Grant > 0 && (a.IncidentID == "" || a.Risk == ops.RiskHigh || a.Risk == ops.RiskCritical) {
			return ops.Errorf(ops.CodeInvalid, "what is of %s risk is approved each time", a.Risk)
		}
		_, err = tx.Exec(ctx, `INSERT INTO approval_decisions (approval_id, user_id, username, approve, reason) VALUES ($1, $2, $3, $4, $5)`,
			a.ID, d.User.ID, d.User.Username, d.Approve, d.Reason)
		if violates(err, "approval_decisions") {
			return ops.Errorf(ops.CodeConflict, "you have decided already")
		}
		if err != nil {
			return err
		}
		state := ops.ApprovalDenied
		if d.Approve {
			var yes int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM approval_decisions WHERE approval_id = $1 AND approve AND `+stillMay("approval_decisions.username"), a.ID).Scan(&yes); err != nil {
				return err
			}
			if yes < a.Needed {
				return noteDecision(ctx, tx, a, ops.ApprovalPending, d.User.Username, d.Reason)
			}
			state = ops.ApprovalApproved
		}
		if err := setApproval(ctx, tx, a.ID, state); err != nil {
			return err
		}
		if state == ops.ApprovalApproved && d.Grant > 0 {
			if _, err := tx.Exec(ctx, `INSERT INTO approval_grants (id, approval_id, incident_id, subject, tool, target, command, granted_by, expires_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9)`, ops.NewID(), a.ID, a.IncidentID, a.Subject, a.Tool, a.Target, a.Command,
				d.User.Username, min(d.Grant, MaxGrant)); err != nil {
				return err
			}
		}
		if err := noteDecision(ctx, tx, a, state, d.User.Username, d.Reason); err != nil {
			return err
		}
		return resumeRun(ctx, tx, run)
	})
	if err != nil {
		return ops.Approval{}, err
	}
	return db.ApprovalInFull(ctx, d.Approval)
}

// setApproval ends a pending approval.
func setApproval(ctx context.Context, tx pgx.Tx, id string, state ops.ApprovalState) error {
	_, err := tx.Exec(ctx, `UPDATE approvals SET state = $2, decided_at = now(),
		expires_at = CASE WHEN $2 = 'approved' THEN now() + $3 ELSE expires_at END WHERE id = $1`, id, state, useWithin)
	if err != nil {
		return err
	}
	return notify(ctx, tx, ChannelApprovals, id)
}

// ApprovalInFull gives one approval with its decisions.
func (db *DB) ApprovalInFull(ctx context.Context, id string) (ops.Approval, error) {
	a, err := db.Approval(ctx, id)
	if err != nil {
		return a, err
	}
	one := []ops.Approval{a}
	err = db.withDecisions(ctx, one)
	return one[0], err
}

// lockApproval locks the incident, the run and the approval, in this order.
func lockApproval(ctx context.Context, tx pgx.Tx, id string) (a ops.Approval, run *ops.Run, err error) {
	var runID *string
	if err := tx.QueryRow(ctx, `SELECT run_id FROM approvals WHERE id = $1`, id).Scan(&runID); err != nil {
		return a, nil, err
	}
	if runID != nil {
		if run, err = lockRun(ctx, tx, *runID); err != nil {
			return a, nil, err
		}
	}
	if _, err := tx.Exec(ctx, `SELECT FROM approvals WHERE id = $1 FOR UPDATE`, id); err != nil {
		return a, nil, err
	}
	rows, err := tx.Query(ctx, selectApprovals+` WHERE a.id = $1`, id) // behind the wait: with its use, if there is one
	if err != nil {
		return a, nil, err
	}
	a, err = pgx.CollectExactlyOneRow(rows, scanApproval)
	return a, run, err
}

// noteRequest writes a request to the timeline if it is not there yet. The
// transaction has the approval's lock.
func noteRequest(ctx context.Context, tx pgx.Tx, a ops.Approval) (bool, error) {
	tag, err := tx.Exec(ctx, `UPDATE approvals SET noted = true WHERE id = $1 AND NOT noted`, a.ID)
	if err != nil || tag.RowsAffected() == 0 || a.IncidentID == "" {
		return false, err
	}
	_, err = appendEvents(ctx, tx, a.IncidentID, approvalEvent(ops.EventApprovalAsked, a))
	return err == nil, err
}

// noteDecision writes a decision to the timeline, behind its request, which who
// decides quickly may have seen before NoteApprovals did.
func noteDecision(ctx context.Context, tx pgx.Tx, a ops.Approval, state ops.ApprovalState, by, reason string) error {
	if a.IncidentID == "" {
		return nil
	}
	if _, err := noteRequest(ctx, tx, a); err != nil {
		return err
	}
	e := approvalEvent(ops.EventApprovalDecided, a)
	change := ops.ApprovalChange{ApprovalID: a.ID, CallID: a.CallID, Tool: a.Tool, Target: a.Target, Command: a.Command, Risk: a.Risk, State: state, By: by, Reason: reason}
	e.Data = ops.NewEvent(e.Kind, change).Data
	switch {
	case by == ops.GatekeeperActor:
		e.Actor = by
	case by != "":
		e.Actor = "user:" + by
	}
	if _, err := appendEvents(ctx, tx, a.IncidentID, e); err != nil {
		return err
	}
	if state == ops.ApprovalPending {
		return nil
	}
	return setInvestigationOf(ctx, tx, a)
}

func approvalEvent(kind ops.EventKind, a ops.Approval) ops.Event {
	e := ops.NewEvent(kind, ops.ApprovalChange{ApprovalID: a.ID, CallID: a.CallID, Tool: a.Tool, Target: a.Target, Command: a.Command,
		Risk: a.Risk, State: ops.ApprovalPending})
	e.RunID, e.Actor = a.RunID, "agent:"+a.Agent
	return e
}

// setInvestigationOf shows whether the run waits for people while a worker has it.
func setInvestigationOf(ctx context.Context, tx pgx.Tx, a ops.Approval) error {
	_, err := tx.Exec(ctx, `UPDATE incidents i SET investigation = CASE WHEN EXISTS (
				SELECT FROM runs r JOIN approvals p ON p.holder = r.id AND p.state = 'pending' WHERE r.id = i.run_id OR r.root_run = i.run_id)
			THEN 'waiting_approval' ELSE 'running' END
		WHERE i.id = $1 AND i.run_id = (SELECT coalesce(root_run, id) FROM runs WHERE id = $2)
			AND EXISTS (SELECT FROM runs WHERE id = i.run_id AND state = 'running')`, a.IncidentID, orNullText(a.RunID))
	return err
}

// parkRun takes a run from its worker until people have decided. If they have
// meanwhile, it is queued at once.
func parkRun(ctx context.Context, tx pgx.Tx, run *ops.Run) error {
	if _, err := tx.Exec(ctx, `UPDATE runs SET state = 'waiting_approval', worker = '', lease_until = NULL, parked = parked + 1,
			gateway_token_hash = NULL, proxy_token_hash = NULL WHERE id = $1`, run.ID); err != nil {
		return err
	}
	if err := setInvestigation(ctx, tx, run.IncidentID, run.ID, ops.RunWaitingApproval, ""); err != nil {
		return err
	}
	run.State = ops.RunWaitingApproval
	return resumeRun(ctx, tx, run)
}

// resumeRun queues a run that waits for people if there is nothing left to
// decide for it and for those that it has asked for; then also the one that waits
// for it. The transaction has its lock.
func resumeRun(ctx context.Context, tx pgx.Tx, run *ops.Run) error {
	if run == nil || run.State != ops.RunWaitingApproval {
		return nil
	}
	tag, err := tx.Exec(ctx, `UPDATE runs SET state = 'queued', available_at = now() WHERE id = $1 AND state = 'waiting_approval'
		AND NOT EXISTS (SELECT FROM approvals WHERE holder = $1 AND state = 'pending')
		AND NOT EXISTS (SELECT FROM runs c WHERE c.parent_run = $1 AND c.state = 'waiting_approval')`, run.ID)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	e := ops.NewEvent(ops.EventRunRequeued, ops.RunChange{State: ops.RunQueued, Epoch: run.Epoch, Reason: "what it asked for is decided"})
	e.RunID = run.ID
	if _, err := appendEvents(ctx, tx, run.IncidentID, e); err != nil {
		return err
	}
	if err := setInvestigation(ctx, tx, run.IncidentID, run.ID, ops.RunQueued, ""); err != nil {
		return err
	}
	if run.AskedBy != "" { // it goes on when whoever asked for it does
		parent, err := lockRun(ctx, tx, run.AskedBy)
		if err != nil {
			return err
		}
		return resumeRun(ctx, tx, parent)
	}
	return notify(ctx, tx, ChannelRuns, run.ID)
}

// NoteApprovals writes new requests to the timelines and ends those that nobody
// has decided in time, or whose token has ended. It returns how many it has seen to, 100 at most of each.
func (db *DB) NoteApprovals(ctx context.Context) (int, error) {
	fresh, err := db.approvalIDs(ctx, `SELECT id FROM approvals WHERE NOT noted ORDER BY created_at LIMIT 100`)
	if err != nil {
		return 0, err
	}
	for _, id := range fresh {
		err := db.tx(ctx, func(tx pgx.Tx) error {
			a, _, err := lockApproval(ctx, tx, id)
			if err != nil {
				return err
			}
			if fresh, err := noteRequest(ctx, tx, a); err != nil || !fresh {
				return err
			}
			return setInvestigationOf(ctx, tx, a)
		})
		if err != nil && ops.CodeOf(err) != ops.CodeNotFound {
			return 0, err
		}
	}
	if _, err := db.pool.Exec(ctx, `UPDATE approvals a SET state = 'void', decided_at = now() FROM gateway_tokens t
		WHERE a.state = 'pending' AND t.id = a.token_id AND (t.revoked_at IS NOT NULL OR t.expires_at <= now())`); err != nil {
		return 0, mapError(err)
	}
	late, err := db.approvalIDs(ctx, `SELECT id FROM approvals WHERE state = 'pending' AND expires_at <= now() ORDER BY expires_at LIMIT 100`)
	if err != nil {
		return 0, err
	}
	for _, id := range late {
		err := db.tx(ctx, func(tx pgx.Tx) error {
			a, run, err := lockApproval(ctx, tx, id)
			if err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, `UPDATE approvals SET state = 'expired', decided_at = now() WHERE id = $1 AND state = 'pending'`, id)
			if err != nil || tag.RowsAffected() == 0 {
				return err
			}
			if err := noteDecision(ctx, tx, a, ops.ApprovalExpired, "", "nobody decided in time"); err != nil {
				return err
			}
			return resumeRun(ctx, tx, run)
		})
		if err != nil && ops.CodeOf(err) != ops.CodeNotFound {
			return 0, err
		}
	}
	return len(fresh) + len(late), nil
}

func (db *DB) approvalIDs(ctx context.Context, query string) ([]string, error) {
	rows, err := db.pool.Query(ctx, query)
	if err != nil {
		return nil, mapError(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, mapError(err)
}

// DecidedApprovals gives those of the approvals that are no longer to be waited for.
func (db *DB) DecidedApprovals(ctx context.Context, ids []string) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT id FROM approvals WHERE id = ANY($1::uuid[]) AND (state <> 'pending' OR expires_at <= now())`, ids)
	if err != nil {
		return nil, mapError(err)
	}
	decided, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return decided, mapError(err)
}

// Granted gives the id of a live grant for the subject in the incident, or none. It
// is of somebody who may approve, still.
func (db *DB) Granted(ctx context.Context, incident string, subject []byte) (string, error) {
	if incident == "" {
		return "", nil
	}
	var id string
	err := db.pool.QueryRow(ctx, `SELECT id FROM approval_grants WHERE incident_id = $1 AND subject = $2 AND revoked_at IS NULL AND expires_at > now()
		AND `+stillMay("granted_by")+` ORDER BY expires_at DESC LIMIT 1`, incident, subject).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return id, mapError(err)
}

// Grants gives the newest 200 grants, of one incident if it is given. One of
// somebody who may not approve any more is over.
func (db *DB) Grants(ctx context.Context, incident string) ([]ops.ApprovalGrant, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, approval_id, incident_id, tool, target, command, granted_by, created_at,
			CASE WHEN `+stillMay("granted_by")+` THEN expires_at ELSE least(expires_at, now()) END, revoked_at, revoked_by
		FROM approval_grants WHERE $1::uuid IS NULL OR incident_id = $1 ORDER BY created_at DESC, id DESC LIMIT 200`, orNullText(incident))
	if err != nil {
		return nil, mapError(err)
	}
	grants, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g ops.ApprovalGrant, err error) {
		var revoked *time.Time
		err = row.Scan(&g.ID, &g.ApprovalID, &g.IncidentID, &g.Tool, &g.Target, &g.Command, &g.GrantedBy, &g.CreatedAt, &g.ExpiresAt, &revoked, &g.RevokedBy)
		g.RevokedAt = orZero(revoked)
		return g, err
	})
	return grants, mapError(err)
}

// RevokeGrant ends a grant now. One that has ended is not found.
func (db *DB) RevokeGrant(ctx context.Context, id, by string) error {
	tag, err := db.pool.Exec(ctx, `UPDATE approval_grants SET revoked_at = now(), revoked_by = $2 WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()`, id, by)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return mapError(err)
}

// queueUse uses up an approval, in the transaction that starts its call. It
// fails there if the approval is used, or does not stand any more.
func queueUse(b *pgx.Batch, approval string) {
	b.Queue(`INSERT INTO approval_uses (approval_id, at) VALUES (
		(SELECT id FROM approvals WHERE id = $1 AND state = 'approved' AND expires_at > now()), clock_timestamp())`, approval)
}

// unusable says whether err is an approval that could not be used up.
func unusable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.TableName == "approval_uses" && (e.Code == "23505" || e.Code == "23502")
}
