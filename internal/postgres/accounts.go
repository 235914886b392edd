package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// User is an account. PasswordHash is argon2id in PHC form and leaves the
// process only towards the database; it is empty until an invitation is accepted.
type User struct {
	ID           string    `json:"id"`
	Username     string    `json:"username"`
	PasswordHash string    `json:"-"`
	Roles        []string  `json:"roles"`
	CreatedAt    time.Time `json:"created_at"`
	// DisabledAt is set for one who may do nothing any more.
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// Powers are those of the roles, less what a token leaves out.
	Powers ops.Powers `json:"-"`
	// OIDCSubject is who they are to a provider ([ops.OIDCProvider]), if they are;
	// ByGroups says that it is the one that there is, so their groups give the roles.
	OIDCSubject string `json:"-"`
	ByGroups    bool   `json:"-"`
	// SecondFactor says that they have one, so that a password alone lets nobody in.
	SecondFactor bool `json:"-"`
}

// APIToken is a token of a user; only its hash is stored.
type APIToken struct {
	ID     string `json:"id"`
	UserID string `json:"-"`
	Name   string `json:"name"`
	Hash   []byte `json:"-"`
	// Actions are what it may do of what its user may; nil is all of that, and
	// empty nothing.
	Actions    []ops.Permission `json:"actions,omitzero"`
	CreatedAt  time.Time        `json:"created_at"`
	ExpiresAt  time.Time        `json:"expires_at,omitzero"`
	LastUsedAt time.Time        `json:"last_used_at,omitzero"`
}

// SetSetupToken arms the one-time link if there is no user yet, and says so.
// An earlier link is void.
func (db *DB) SetSetupToken(ctx context.Context, hash []byte, expires time.Time) (armed bool, err error) {
	tag, err := db.pool.Exec(ctx, `INSERT INTO setup_tokens (hash, expires_at) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM users)
		ON CONFLICT (singleton) DO UPDATE SET hash = $1, expires_at = $2`, hash, expires)
	return err == nil && tag.RowsAffected() > 0, mapError(err)
}

// Setup makes the first user and uses up the link, both or neither. A link that was
// armed while the first one was being made is worth nothing.
func (db *DB) Setup(ctx context.Context, tokenHash []byte, u User) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM setup_tokens WHERE hash = $1 AND expires_at > now() AND NOT EXISTS (SELECT FROM users)`, tokenHash)
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
	_, err := tx.Exec(ctx, `INSERT INTO users (id, username, password_hash, roles) VALUES ($1, $2, $3, $4)`, u.ID, u.Username, u.PasswordHash, orNone(u.Roles))
	return err
}

// selectUsers gives users with the powers of their roles; a disabled one has none.
const selectUsers = `SELECT u.id, u.username, u.password_hash, u.roles, u.created_at, u.disabled_at,
	ARRAY(SELECT DISTINCT a FROM roles r, unnest(r.actions) AS a WHERE r.id = ANY(u.roles) AND u.disabled_at IS NULL),
	ARRAY(SELECT DISTINCT a FROM roles r, unnest(r.agents) AS a WHERE r.id = ANY(u.roles) AND u.disabled_at IS NULL),
	coalesce(u.oidc_subject, ''), EXISTS (SELECT FROM oidc_provider p WHERE p.issuer = u.oidc_issuer),
	EXISTS (SELECT FROM second_factors f WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL)`

func scanUser(row pgx.Row, more ...any) (u User, err error) {
	var disabled *time.Time
	err = row.Scan(append([]any{&u.ID, &u.Username, &u.PasswordHash, &u.Roles, &u.CreatedAt, &disabled, &u.Powers.Actions, &u.Powers.Agents,
		&u.OIDCSubject, &u.ByGroups, &u.SecondFactor}, more...)...)
	u.DisabledAt = orZero(disabled)
	return u, err
}

// UserByName gives a user by name.
func (db *DB) UserByName(ctx context.Context, name string) (User, error) {
	u, err := scanUser(db.pool.QueryRow(ctx, selectUsers+` FROM users u WHERE u.username = $1`, name))
	return u, mapError(err)
}

// UserByID gives a user by id.
func (db *DB) UserByID(ctx context.Context, id string) (User, error) {
	u, err := scanUser(db.pool.QueryRow(ctx, selectUsers+` FROM users u WHERE u.id = $1`, id))
	return u, mapError(err)
}

// UserByToken gives the user of an API token, with no more powers than the
// token has, and the token. It notes its use, at most once a minute.
func (db *DB) UserByToken(ctx context.Context, hash []byte) (User, APIToken, error) {
	var t APIToken
	var expires, used *time.Time
	u, err := scanUser(db.pool.QueryRow(ctx, selectUsers+`, t.id, t.user_id, t.name, t.actions, t.created_at, t.expires_at, t.last_used_at
		FROM api_tokens t JOIN users u ON u.id = t.user_id WHERE t.hash = $1 AND (t.expires_at IS NULL OR t.expires_at > now())`, hash),
		&t.ID, &t.UserID, &t.Name, &t.Actions, &t.CreatedAt, &expires, &used)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, t, ops.Errorf(ops.CodeUnauthenticated, "the token is unknown, expired or revoked")
	}
	t.ExpiresAt, t.LastUsedAt = orZero(expires), orZero(used)
	u.Powers = u.Powers.Only(t.Actions)
	if err == nil && time.Since(t.LastUsedAt) > time.Minute {
		_, err = db.pool.Exec(ctx, `UPDATE api_tokens SET last_used_at = now() WHERE id = $1`, t.ID)
	}
	return u, t, mapError(err)
}

// UserFilter picks users for a list.
type UserFilter struct {
	Text  string // is in their names, in whichever case
	After string // the name of the last one of the page before
	Limit int    // 50 if it is not from 1 to 200
}

// Users gives a page of users, by name. To look for a text it reads the names of
// all that come first: accounts are people, so these are not many.
func (db *DB) Users(ctx context.Context, f UserFilter) ([]User, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	rows, err := db.pool.Query(ctx, selectUsers+` FROM users u WHERE u.username > $1 AND ($2 = '' OR strpos(lower(u.username), lower($2)) > 0)
		ORDER BY u.username LIMIT $3`, f.After, f.Text, f.Limit)
	if err != nil {
		return nil, mapError(err)
	}
	users, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (User, error) { return scanUser(row) })
	return users, mapError(err)
}

// UserChange is what an admin changes of a user; nil leaves it as it is.
type UserChange struct {
	Roles    []string
	Disabled *bool
}

// ChangeUser changes a user. It is refused if nobody were left who manages
// accounts. Disabling ends the user's sessions, gateway tokens and runs.
func (db *DB) ChangeUser(ctx context.Context, id string, c UserChange) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		// One change at a time: two admins must not remove each other.
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		if c.Roles != nil {
			if err := rolesByGroups(ctx, tx, id); err != nil {
				return err
			}
			if err := knownRoles(ctx, tx, c.Roles); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, `UPDATE users SET roles = coalesce($2, roles), disabled_at = CASE
			WHEN $3::boolean IS NULL THEN disabled_at WHEN $3 THEN coalesce(disabled_at, now()) END WHERE id = $1`, id, c.Roles, c.Disabled)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		if err != nil {
			return err
		}
		if c.Disabled != nil && *c.Disabled {
			if err := revokeTokensOf(ctx, tx, id); err != nil {
				return err
			}
			if err := endSessions(ctx, tx, id, ""); err != nil {
				return err
			}
			if err := cancelRunsOf(ctx, tx, id); err != nil {
				return err
			}
		}
		return someManager(ctx, tx)
	})
}

// cancelRunsOf ends what a user has started, with what it asks people for.
func cancelRunsOf(ctx context.Context, tx pgx.Tx, user string) error {
	rows, err := tx.Query(ctx, `SELECT r.incident_id FROM runs r JOIN users u ON r.actor = 'user:' || u.username
		WHERE u.id = $1 AND r.state IN ('queued', 'running', 'waiting_approval') AND r.parent_run IS NULL ORDER BY r.incident_id`, user)
	if err != nil {
		return err
	}
	incidents, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, i := range incidents {
		if err := cancelRun(ctx, tx, i, "the account of who started it was disabled"); err != nil && ops.CodeOf(err) != ops.CodeConflict {
			return err
		}
	}
	return nil
}

// someManager refuses a change after which nobody manages accounts.
func someManager(ctx context.Context, tx pgx.Tx) error {
	var left bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users u JOIN roles r ON r.id = ANY(u.roles)
		WHERE u.disabled_at IS NULL AND u.password_hash <> '' AND $1 = ANY(r.actions))`, ops.CanManageAccounts).Scan(&left); err != nil {
		return err
	}
	if !left {
		return ops.Errorf(ops.CodeConflict, "nobody would be left who manages accounts")
	}
	return nil
}

func knownRoles(ctx context.Context, tx pgx.Tx, roles []string) error {
	var unknown []string
	if err := tx.QueryRow(ctx, `SELECT ARRAY(SELECT n FROM unnest($1::text[]) AS n WHERE NOT EXISTS (SELECT FROM roles WHERE id = n))`, roles).Scan(&unknown); err != nil {
		return err
	}
	if len(unknown) > 0 {
		return ops.Errorf(ops.CodeInvalid, "there is no role %q", unknown[0])
	}
	return nil
}

// Invite stores a user, or gives a known one a new link with which they set
// their password. An earlier link is void.
func (db *DB) Invite(ctx context.Context, u User, hash []byte, expires time.Time) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		// A role that is being removed must not be given.
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		if err := knownRoles(ctx, tx, u.Roles); err != nil {
			return err
		}
		if u.CreatedAt.IsZero() {
			if err := createUser(ctx, tx, u); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO invitations (user_id, hash, expires_at) VALUES ($1, $2, $3)
			ON CONFLICT (user_id) DO UPDATE SET hash = $2, expires_at = $3`, u.ID, hash, expires)
		return err
	})
}

// Accept uses up an invitation and sets the password, unless refused says why
// that user may have none: then the link stays. The sessions that there are of
// that user end: whoever is in them knows another password.
func (db *DB) Accept(ctx context.Context, hash []byte, passwordHash string, refused func(User) error) (u User, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		var id string
		err := tx.QueryRow(ctx, `DELETE FROM invitations i USING users u WHERE i.hash = $1 AND i.expires_at > now()
			AND u.id = i.user_id AND u.disabled_at IS NULL RETURNING i.user_id`, hash).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return ops.Errorf(ops.CodeUnauthenticated, "the link is used, expired or wrong")
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE users SET password_hash = $2 WHERE id = $1`, id, passwordHash); err != nil {
			return err
		}
		if err := endSessions(ctx, tx, id, ""); err != nil {
			return err
		}
		if u, err = scanUser(tx.QueryRow(ctx, selectUsers+` FROM users u WHERE u.id = $1`, id)); err != nil {
			return err
		}
		return refused(u)
	})
	return u, err
}

// SetPassword replaces a user's password and ends all their sessions but one. A
// link with which it could be replaced again is void.
func (db *DB) SetPassword(ctx context.Context, user, passwordHash, but string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE users SET password_hash = $2 WHERE id = $1`, user, passwordHash)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM invitations WHERE user_id = $1`, user)
		}
		if err != nil {
			return err
		}
		return endSessions(ctx, tx, user, but)
	})
}

// Roles gives all roles, by id.
func (db *DB) Roles(ctx context.Context) ([]ops.Role, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, description, actions, agents, deny, allow, builtin, updated_at FROM roles ORDER BY id LIMIT 1000`)
	if err != nil {
		return nil, mapError(err)
	}
	roles, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ops.Role, err error) {
		err = row.Scan(&r.ID, &r.Description, &r.Actions, &r.Agents, &r.Deny, &r.Allow, &r.BuiltIn, &r.UpdatedAt)
		return r, err
	})
	return roles, mapError(err)
}

// PutRole stores a role under its id. A built-in one is a conflict, as is a
// change after which nobody manages accounts.
func (db *DB) PutRole(ctx context.Context, r ops.Role) error {
	return db.changeRole(ctx, r.ID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO roles (id, description, actions, agents, deny, allow) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (id) DO UPDATE SET description = $2, actions = $3, agents = $4, deny = $5, allow = $6, updated_at = now()`,
			r.ID, r.Description, orNone(r.Actions), orNone(r.Agents), orNone(r.Deny), orNone(r.Allow))
		return err
	})
}

// DeleteRole removes a role that no user and no service has.
func (db *DB) DeleteRole(ctx context.Context, id string) error {
	return db.changeRole(ctx, id, func(tx pgx.Tx) error {
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users WHERE $1 = ANY(roles)) OR EXISTS (SELECT FROM actor_roles WHERE $1 = ANY(roles))
			OR EXISTS (SELECT FROM oidc_group_roles WHERE role = $1)`, id).Scan(&used); err != nil {
			return err
		}
		if used {
			return ops.Errorf(ops.CodeConflict, "users, groups of the provider, or what alerts start have the role: take it from them first")
		}
		tag, err := tx.Exec(ctx, `DELETE FROM roles WHERE id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		return err
	})
}

func (db *DB) changeRole(ctx context.Context, id string, change func(pgx.Tx) error) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		var builtin bool
		err := tx.QueryRow(ctx, `SELECT builtin FROM roles WHERE id = $1`, id).Scan(&builtin)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if builtin {
			return ops.Errorf(ops.CodeConflict, "the role is built in: make another one")
		}
		if err := change(tx); err != nil {
			return err
		}
		return someManager(ctx, tx)
	})
}

// CreateToken stores an API token.
func (db *DB) CreateToken(ctx context.Context, t APIToken) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO api_tokens (id, user_id, name, hash, actions, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		t.ID, t.UserID, t.Name, t.Hash, t.Actions, orNull(t.ExpiresAt))
	return mapError(err)
}

// Tokens gives the API tokens of a user, newest first.
func (db *DB) Tokens(ctx context.Context, user string) ([]APIToken, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, user_id, name, hash, actions, created_at, expires_at, last_used_at
		FROM api_tokens WHERE user_id = $1 ORDER BY created_at DESC`, user)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t APIToken, err error) {
		var expires, used *time.Time
		err = row.Scan(&t.ID, &t.UserID, &t.Name, &t.Hash, &t.Actions, &t.CreatedAt, &expires, &used)
		t.ExpiresAt, t.LastUsedAt = orZero(expires), orZero(used)
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
