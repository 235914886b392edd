package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxSessions bounds those of one user, and maxHalfSessions those that a code is
// due for: the oldest ends when there is one more.
const (
	maxSessions     = 100
	maxHalfSessions = 5
)

// Session is a browser in which a user is signed in. The hash of its token alone is stored.
type Session struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"` // to the minute
	ExpiresAt  time.Time `json:"expires_at"`
	// ProvenAt is when the password or a code was last given in it, if ever.
	ProvenAt time.Time `json:"proven_at,omitzero"`
	Method   string    `json:"method"` // password, oidc, invitation or setup
	// CodeDue makes it a half session: worth nothing until a code is given.
	CodeDue bool   `json:"-"`
	Address string `json:"address"`
	Browser string `json:"browser"` // as it names itself
}

// OpenSession stores a new session of a user, who has proven who they are as u
// says. If their password or second factor is another one by now, or they are
// disabled, it is code unauthenticated: what ended their sessions then has not
// seen this one.
func (db *DB) OpenSession(ctx context.Context, u User, hash []byte, s Session) error {
	most := maxSessions
	if s.CodeDue {
		most = maxHalfSessions
	}
	return db.tx(ctx, func(tx pgx.Tx) error {
		// Whoever changes it now is waited for, or ends this session, too.
		if _, err := tx.Exec(ctx, `SELECT FROM users WHERE id = $1 FOR SHARE`, u.ID); err != nil {
			return err
		}
		now, err := scanUser(tx.QueryRow(ctx, selectUsers+` FROM users u WHERE u.id = $1`, u.ID))
		if err != nil {
			return err
		}
		if now.PasswordHash != u.PasswordHash || now.SecondFactor != u.SecondFactor || !now.DisabledAt.IsZero() {
			return ops.Errorf(ops.CodeUnauthenticated, "how you sign in has just been changed: sign in again")
		}
		if _, err := tx.Exec(ctx, `DELETE FROM sessions WHERE user_id = $1 AND code_due = $3 AND id NOT IN
			(SELECT id FROM sessions WHERE user_id = $1 AND code_due = $3 ORDER BY created_at DESC LIMIT $2)`, u.ID, most-1, s.CodeDue); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO sessions (id, hash, user_id, expires_at, address, browser, method, code_due, proven_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			s.ID, hash, u.ID, s.ExpiresAt, s.Address, s.Browser, s.Method, s.CodeDue, orNull(s.ProvenAt))
		return err
	})
}

// HalfSession gives whose half session has this token. Any other is code unauthenticated.
func (db *DB) HalfSession(ctx context.Context, hash []byte) (User, Session, error) {
	var s Session
	u, err := scanUser(db.pool.QueryRow(ctx, selectUsers+`, `+selectSession+` FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.hash = $1 AND s.code_due AND s.expires_at > now() AND u.disabled_at IS NULL`, hash), s.places()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, s, ops.Errorf(ops.CodeUnauthenticated, "too much time has passed: sign in again")
	}
	return u, s, mapError(err)
}

const selectSession = `s.id, s.created_at, s.last_seen_at, s.expires_at,
	coalesce(s.proven_at, '0001-01-01 00:00:00+00'), s.address, s.browser, s.method`

func (s *Session) places() []any {
	return []any{&s.ID, &s.CreatedAt, &s.LastSeenAt, &s.ExpiresAt, &s.ProvenAt, &s.Address, &s.Browser, &s.Method}
}

// UserBySession gives whose session has this token. If that is a use of it, it
// notes so, at most once a minute, or more often if idle is short: else one that
// is in use would end. One that has ended, also by not being used for
// longer than idle, is code unauthenticated.
func (db *DB) UserBySession(ctx context.Context, hash []byte, idle time.Duration, use bool) (User, Session, error) {
	var s Session
	u, err := scanUser(db.pool.QueryRow(ctx, selectUsers+`, `+selectSession+` FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.hash = $1 AND NOT s.code_due AND s.expires_at > now() AND s.last_seen_at > now() - $2::interval AND u.disabled_at IS NULL`, hash, idle), s.places()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, s, ops.Errorf(ops.CodeUnauthenticated, "the session has ended: sign in again")
	}
	if err == nil && use && time.Since(s.LastSeenAt) > min(time.Minute, idle/10) {
		_, err = db.pool.Exec(ctx, `UPDATE sessions SET last_seen_at = now() WHERE id = $1`, s.ID)
	}
	return u, s, mapError(err)
}

// Sessions gives those of a user that have not ended, the last used first.
func (db *DB) Sessions(ctx context.Context, user string, idle time.Duration) ([]Session, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+selectSession+` FROM sessions s WHERE s.user_id = $1 AND NOT s.code_due AND s.expires_at > now()
		AND s.last_seen_at > now() - $2::interval ORDER BY s.last_seen_at DESC, s.created_at DESC LIMIT $3`, user, idle, maxSessions)
	if err != nil {
		return nil, mapError(err)
	}
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Session, err error) {
		return s, row.Scan(s.places()...)
	})
	return sessions, mapError(err)
}

// ProveSession notes that the password or a code was given in a session now.
func (db *DB) ProveSession(ctx context.Context, id string) error {
	_, err := db.pool.Exec(ctx, `UPDATE sessions SET proven_at = now() WHERE id = $1`, id)
	return mapError(err)
}

// EndSession ends one session of a user. One that is not there is code not found.
func (db *DB) EndSession(ctx context.Context, user, id string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM sessions WHERE id = $1 AND user_id = $2`, id, user)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return mapError(err)
}

// EndSessions ends all sessions of a user but one; empty means all.
func (db *DB) EndSessions(ctx context.Context, user, but string) error {
	return db.tx(ctx, func(tx pgx.Tx) error { return endSessions(ctx, tx, user, but) })
}

func endSessions(ctx context.Context, tx pgx.Tx, user, but string) error {
	_, err := tx.Exec(ctx, `DELETE FROM sessions WHERE user_id = $1 AND id IS DISTINCT FROM $2::uuid`, user, orNullText(but))
	return err
}

// DeleteEndedSessions removes what nobody can use any more.
func (db *DB) DeleteEndedSessions(ctx context.Context, idle time.Duration) error {
	_, err := db.pool.Exec(ctx, `DELETE FROM sessions WHERE expires_at < now() OR last_seen_at < now() - $1::interval`, idle)
	return mapError(err)
}
