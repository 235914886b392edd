package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/akmatori/akmatori/internal/ops"
)

// SecondFactor is a time-based one-time password of a user.
type SecondFactor struct {
	ID       string
	Secret   []byte // sealed ([ops.TOTPCredential])
	LastStep int64  // of the newest code that was used
}

// FactorState is what a user may know of their second factor.
type FactorState struct {
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
	// RecoveryLeft counts the recovery codes that are not used.
	RecoveryLeft int `json:"recovery_left"`
}

// How many codes may be tried in a row, and how long none is taken then. Of a
// million codes three count at a time, so guessing for a day has a chance of
// one in seven hundred.
const (
	factorTries = 5
	factorPause = 15 * time.Minute
)

// FactorState gives the state of a user's second factor; zero without one.
func (db *DB) FactorState(ctx context.Context, user string) (f FactorState, err error) {
	err = db.pool.QueryRow(ctx, `SELECT confirmed_at, (SELECT count(*) FROM recovery_codes c WHERE c.user_id = f.user_id)
		FROM second_factors f WHERE f.user_id = $1 AND f.confirmed_at IS NOT NULL`, user).Scan(&f.ConfirmedAt, &f.RecoveryLeft)
	if errors.Is(err, pgx.ErrNoRows) {
		return FactorState{}, nil
	}
	return f, mapError(err)
}

// BeginFactor stores a second factor that counts for nothing until it is
// confirmed, in place of one that was not. A confirmed one is a conflict.
func (db *DB) BeginFactor(ctx context.Context, user string, f SecondFactor) error {
	tag, err := db.pool.Exec(ctx, `INSERT INTO second_factors (user_id, id, secret) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET id = $2, secret = $3, tries = 0, locked_until = NULL, last_step = 0
		WHERE second_factors.confirmed_at IS NULL`, user, f.ID, f.Secret)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeConflict, "there is a second factor already: remove it first")
	}
	return mapError(err)
}

// TryFactor counts a try and gives what a code is compared with: the confirmed
// factor, or else the one that is being set up. It is counted first, so that no
// number of requests at once gets more tries. When there were too many, it is
// code forbidden and says for how long.
func (db *DB) TryFactor(ctx context.Context, user string, confirmed bool) (f SecondFactor, err error) {
	var locked *time.Time
	err = db.tx(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT id, secret, last_step, locked_until FROM second_factors
			WHERE user_id = $1 AND (confirmed_at IS NOT NULL) = $2 FOR UPDATE`, user, confirmed).Scan(&f.ID, &f.Secret, &f.LastStep, &locked)
		if err != nil {
			return err
		}
		if locked != nil && time.Now().Before(*locked) {
			return nil
		}
		locked = nil
		_, err = tx.Exec(ctx, `UPDATE second_factors SET tries = tries + 1,
			locked_until = CASE WHEN (tries + 1) % $2 = 0 THEN now() + $3::interval END WHERE user_id = $1`, user, factorTries, factorPause)
		return err
	})
	if err == nil && locked != nil {
		return f, &ops.Error{Code: ops.CodeForbidden, Message: "too many wrong codes", RetryAfter: time.Until(*locked)}
	}
	return f, mapError(err)
}

// UseFactor notes that the code of a time step was right. It says no if that
// step, or one behind it, was used before: a code counts once.
func (db *DB) UseFactor(ctx context.Context, user string, f SecondFactor, step int64) (bool, error) {
	tag, err := db.pool.Exec(ctx, `UPDATE second_factors SET last_step = $3, tries = 0, locked_until = NULL
		WHERE user_id = $1 AND id = $2 AND last_step < $3`, user, f.ID, step)
	return err == nil && tag.RowsAffected() > 0, mapError(err)
}

// ConfirmFactor makes a factor count, with these recovery codes, and ends all
// sessions of the user but one: they began without it.
func (db *DB) ConfirmFactor(ctx context.Context, user string, f SecondFactor, codes [][]byte, but string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE`, user); err != nil { // as [DB.OpenSession] says
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE second_factors SET confirmed_at = now() WHERE user_id = $1 AND id = $2 AND confirmed_at IS NULL`, user, f.ID)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		if err == nil {
			err = putRecoveryCodes(ctx, tx, user, codes)
		}
		if err == nil {
			err = endSessions(ctx, tx, user, but)
		}
		return err
	})
}

// PutRecoveryCodes replaces the recovery codes of a user with a second factor.
func (db *DB) PutRecoveryCodes(ctx context.Context, user string, codes [][]byte) error {
	return db.tx(ctx, func(tx pgx.Tx) error { return putRecoveryCodes(ctx, tx, user, codes) })
}

func putRecoveryCodes(ctx context.Context, tx pgx.Tx, user string, codes [][]byte) error {
	if _, err := tx.Exec(ctx, `DELETE FROM recovery_codes WHERE user_id = $1`, user); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO recovery_codes (user_id, hash) SELECT $1, h FROM unnest($2::bytea[]) AS h`, user, codes)
	return err
}

// UseRecoveryCode uses one up, and says whether there was one.
func (db *DB) UseRecoveryCode(ctx context.Context, user string, hash []byte) (used bool, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2`, user, hash)
		if used = err == nil && tag.RowsAffected() > 0; !used {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE second_factors SET tries = 0, locked_until = NULL WHERE user_id = $1`, user)
		return err
	})
	return used, mapError(err)
}

// DeleteFactor removes the second factor of a user, with its recovery codes.
func (db *DB) DeleteFactor(ctx context.Context, user string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL`, user)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeNotFound, "there is no second factor")
	}
	return mapError(err)
}
