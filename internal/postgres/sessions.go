package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Session gives the data of a session that has not expired.
func (db *DB) Session(ctx context.Context, token string) (data []byte, found bool, err error) {
	err = db.pool.QueryRow(ctx, `SELECT data FROM sessions WHERE token = $1 AND expiry > now()`, token).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, mapError(err)
}

// PutSession stores a session.
func (db *DB) PutSession(ctx context.Context, token string, data []byte, expiry time.Time) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO sessions (token, data, expiry) VALUES ($1, $2, $3)
		ON CONFLICT (token) DO UPDATE SET data = $2, expiry = $3`, token, data, expiry)
	return mapError(err)
}

// DeleteSession ends a session; one that is not there is no error.
func (db *DB) DeleteSession(ctx context.Context, token string) error {
	_, err := db.pool.Exec(ctx, `DELETE FROM sessions WHERE token = $1`, token)
	return mapError(err)
}

// DeleteExpiredSessions removes what nobody can use any more.
func (db *DB) DeleteExpiredSessions(ctx context.Context) error {
	_, err := db.pool.Exec(ctx, `DELETE FROM sessions WHERE expiry < now()`)
	return mapError(err)
}
