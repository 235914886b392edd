package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// User is an account. PasswordHash is argon2id in PHC form and leaves the
// process only towards the database.
type User struct {
	ID           string    `json:"id"`
	Username     string    `json:"username"`
	PasswordHash string    `json:"-"`
	CreatedAt    time.Time `json:"created_at"`
}

// APIToken is a token of a user; only its hash is stored.
type APIToken struct {
	ID         string    `json:"id"`
	UserID     string    `json:"-"`
	Name       string    `json:"name"`
	Hash       []byte    `json:"-"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// SetSetupToken arms the one-time link if there is no user yet, and says so.
// An earlier link is void.
func (db *DB) SetSetupToken(ctx context.Context, hash []byte, expires time.Time) (armed bool, err error) {
	tag, err := db.pool.Exec(ctx, `INSERT INTO setup_tokens (hash, expires_at) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM users)
		ON CONFLICT (singleton) DO UPDATE SET hash = $1, expires_at = $2`, hash, expires)
	return err == nil && tag.RowsAffected() > 0, mapError(err)
}

// Setup makes the first user and uses up the link, both or neither.
func (db *DB) Setup(ctx context.Context, tokenHash []byte, u User) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM setup_tokens WHERE hash = $1 AND expires_at > now()`, tokenHash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ops.Errorf(ops.CodeUnauthenticated, "the setup link is used, expired or wrong")
		}
		return createUser(ctx, tx, u)
	})
}

// CreateUser stores a user.
func (db *DB) CreateUser(ctx context.Context, u User) error {
	return db.tx(ctx, func(tx pgx.Tx) error { return createUser(ctx, tx, u) })
}

func createUser(ctx context.Context, tx pgx.Tx, u User) error {
	_, err := tx.Exec(ctx, `INSERT INTO users (id, username, password_hash) VALUES ($1, $2, $3)`, u.ID, u.Username, u.PasswordHash)
	return err
}

// UserByName gives a user by name.
func (db *DB) UserByName(ctx context.Context, name string) (User, error) {
	return db.user(ctx, `SELECT id, username, password_hash, created_at FROM users WHERE username = $1`, name)
}

// UserByID gives a user by id.
func (db *DB) UserByID(ctx context.Context, id string) (User, error) {
	return db.user(ctx, `SELECT id, username, password_hash, created_at FROM users WHERE id = $1`, id)
}

// UserByToken gives the user of an API token and notes its use, at most once a minute.
func (db *DB) UserByToken(ctx context.Context, hash []byte) (User, error) {
	var u User
	var token string
	var used *time.Time
	err := db.pool.QueryRow(ctx, `SELECT u.id, u.username, u.password_hash, u.created_at, t.id, t.last_used_at
		FROM api_tokens t JOIN users u ON u.id = t.user_id WHERE t.hash = $1`, hash).
		Scan(&u.ID, &u.Username, &u.PasswordHash, &u.CreatedAt, &token, &used)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, ops.Errorf(ops.CodeUnauthenticated, "the token is unknown or revoked")
	}
	if err == nil && time.Since(orZero(used)) > time.Minute {
		_, err = db.pool.Exec(ctx, `UPDATE api_tokens SET last_used_at = now() WHERE id = $1`, token)
	}
	return u, mapError(err)
}

func (db *DB) user(ctx context.Context, query string, arg any) (u User, err error) {
	err = db.pool.QueryRow(ctx, query, arg).Scan(&u.ID, &u.Username, &u.PasswordHash, &u.CreatedAt)
	return u, mapError(err)
}

// CreateToken stores an API token.
func (db *DB) CreateToken(ctx context.Context, t APIToken) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO api_tokens (id, user_id, name, hash) VALUES ($1, $2, $3, $4)`, t.ID, t.UserID, t.Name, t.Hash)
	return mapError(err)
}

// Tokens gives the API tokens of a user, newest first.
func (db *DB) Tokens(ctx context.Context, user string) ([]APIToken, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, user_id, name, hash, created_at, last_used_at FROM api_tokens WHERE user_id = $1 ORDER BY created_at DESC`, user)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t APIToken, err error) {
		var used *time.Time
		err = row.Scan(&t.ID, &t.UserID, &t.Name, &t.Hash, &t.CreatedAt, &used)
		t.LastUsedAt = orZero(used)
		return t, err
	})
	return items, mapError(err)
}

// DeleteToken revokes an API token of a user.
func (db *DB) DeleteToken(ctx context.Context, user, id string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM api_tokens WHERE id = $1 AND user_id = $2`, id, user)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return mapError(err)
}
