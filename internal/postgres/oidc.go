package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/akmatori/akmatori/internal/ops"
)

const selectOIDC = `SELECT id, name, issuer, client_id, secret, scopes, username_claim, groups_claim, provision, enabled, passwords, updated_at,
	(SELECT coalesce(json_object_agg(g.group_name, g.roles), '{}') FROM
		(SELECT group_name, array_agg(role ORDER BY role) AS roles FROM oidc_group_roles GROUP BY group_name) AS g)
	FROM oidc_provider`

// OIDC gives the provider that people sign in with; none is code not found.
func (db *DB) OIDC(ctx context.Context) (ops.OIDCProvider, error) {
	p, err := scanOIDC(db.pool.QueryRow(ctx, selectOIDC))
	return p, mapError(err)
}

func scanOIDC(row pgx.Row) (p ops.OIDCProvider, err error) {
	var groups map[string][]string
	err = row.Scan(&p.ID, &p.Name, &p.Issuer, &p.ClientID, &p.Secret, &p.Scopes, &p.UsernameClaim, &p.GroupsClaim, &p.Provision, &p.Enabled,
		&p.Passwords, &p.UpdatedAt, &groups)
	p.Groups = make([]ops.GroupRoles, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		p.Groups = append(p.Groups, ops.GroupRoles{Group: name, Roles: groups[name]})
	}
	return p, err
}

// PutOIDC stores the provider in place of the one that there is. seal is given
// the stored one (without an id if there is none) and gives the row's id and
// sealed secret.
func (db *DB) PutOIDC(ctx context.Context, p ops.OIDCProvider, seal func(stored ops.OIDCProvider) (id string, secret []byte, err error)) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		stored, err := scanOIDC(tx.QueryRow(ctx, selectOIDC+` FOR UPDATE`))
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		id, secret, err := seal(stored)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO oidc_provider (id, name, issuer, client_id, secret, scopes, username_claim, groups_claim, provision, enabled, passwords)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT (singleton) DO UPDATE SET id = $1, name = $2, issuer = $3, client_id = $4, secret = $5, scopes = $6, username_claim = $7,
				groups_claim = $8, provision = $9, enabled = $10, passwords = $11, updated_at = now()`,
			id, p.Name, p.Issuer, p.ClientID, secret, orNone(p.Scopes), p.UsernameClaim, p.GroupsClaim, p.Provision, p.Enabled, p.Passwords); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM oidc_group_roles`); err != nil {
			return err
		}
		for _, g := range p.Groups {
			if err := knownRoles(ctx, tx, g.Roles); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO oidc_group_roles (group_name, role) SELECT DISTINCT $1, r FROM unnest($2::text[]) AS r`, g.Group, g.Roles); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteOIDC removes the provider. Who has signed in with it keeps their account
// and roles, which are from then on given by hand.
func (db *DB) DeleteOIDC(ctx context.Context) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM oidc_provider`)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM oidc_group_roles`)
		return err
	})
}

// OIDCIdentity is whom the provider says that somebody is. Issuer and Subject
// together are who it is; the name is for people.
type OIDCIdentity struct {
	Issuer, Subject, Username string
	Groups                    []string
}

// Why somebody that a provider vouches for is not let in.
var (
	ErrNoAccount  = ops.Errorf(ops.CodeForbidden, "there is no account for this identity, and none is made by signing in")
	ErrNoRoles    = ops.Errorf(ops.CodeForbidden, "none of the groups gives a role")
	ErrNameTaken  = ops.Errorf(ops.CodeConflict, "another account has the user name, and is not linked to this identity")
	ErrNoName     = ops.Errorf(ops.CodeInvalid, "the provider gives no user name that can be used here")
	ErrIsDisabled = ops.Errorf(ops.CodeForbidden, "the account is disabled")
)

// OIDCSignIn is what signing in came to.
type OIDCSignIn struct {
	User   User
	Made   bool     // the account is new
	Before []string // its roles until now
}

// SignInOIDC gives the user that an identity stands for, with the roles that
// their groups give now, whatever roles they had. Whoever is not known gets an
// account with id newID if the provider says so, and never that of somebody who
// has the same name. Somebody whose groups give no role loses theirs and is
// ErrNoRoles. A disabled user stays as they are and is ErrIsDisabled.
func (db *DB) SignInOIDC(ctx context.Context, who OIDCIdentity, newID string) (s OIDCSignIn, err error) {
	var refused error
	err = db.tx(ctx, func(tx pgx.Tx) error {
		s, refused = OIDCSignIn{}, nil
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		var provision bool
		if err := tx.QueryRow(ctx, `SELECT provision FROM oidc_provider WHERE issuer = $1 AND enabled`, who.Issuer).Scan(&provision); err != nil {
			return err
		}
		var roles []string
		if err := tx.QueryRow(ctx, `SELECT ARRAY(SELECT DISTINCT role FROM oidc_group_roles WHERE group_name = '*' OR group_name = ANY($1) ORDER BY role)`,
			orNone(who.Groups)).Scan(&roles); err != nil {
			return err
		}
		s.User, err = scanUser(tx.QueryRow(ctx, selectUsers+` FROM users u WHERE u.oidc_issuer = $1 AND u.oidc_subject = $2`, who.Issuer, who.Subject))
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			refused = provisionOIDC(ctx, tx, who, newID, roles, provision)
			s.User.ID, s.Made = newID, true
			if refused != nil {
				return refused
			}
		case err != nil:
			return err
		case !s.User.DisabledAt.IsZero():
			refused = ErrIsDisabled
			return nil
		default:
			s.Before = s.User.Roles
			if _, err := tx.Exec(ctx, `UPDATE users SET roles = $2 WHERE id = $1`, s.User.ID, orNone(roles)); err != nil {
				return err
			}
			if err := someManager(ctx, tx); err != nil {
				return err
			}
			if len(roles) == 0 {
				refused = ErrNoRoles
			}
		}
		s.User, err = scanUser(tx.QueryRow(ctx, selectUsers+` FROM users u WHERE u.id = $1`, s.User.ID))
		return err
	})
	if err == nil {
		err = refused
	}
	return s, mapError(err)
}

func provisionOIDC(ctx context.Context, tx pgx.Tx, who OIDCIdentity, id string, roles []string, provision bool) error {
	switch {
	case !provision:
		return ErrNoAccount
	case len(roles) == 0:
		return ErrNoRoles
	case who.Username == "":
		return ErrNoName
	}
	tag, err := tx.Exec(ctx, `INSERT INTO users (id, username, password_hash, roles, oidc_issuer, oidc_subject) VALUES ($1, $2, '', $3, $4, $5)
		ON CONFLICT (username) DO NOTHING`, id, who.Username, roles, who.Issuer, who.Subject)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNameTaken
	}
	return err
}

// LinkOIDC makes an identity of the provider that there is stand for a user; ""
// takes it away. One that stands for somebody else is a conflict. Sessions of
// the user that began with the provider end with the link.
func (db *DB) LinkOIDC(ctx context.Context, user, subject string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		var issuer *string
		if subject != "" {
			err := tx.QueryRow(ctx, `SELECT issuer FROM oidc_provider`).Scan(&issuer)
			if errors.Is(err, pgx.ErrNoRows) {
				return ops.Errorf(ops.CodeConflict, "there is no provider to sign in with yet")
			}
			if err != nil {
				return err
			}
			var taken bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users WHERE oidc_issuer = $1 AND oidc_subject = $2 AND id <> $3)`, issuer, subject, user).Scan(&taken); err != nil {
				return err
			}
			if taken {
				return ops.Errorf(ops.CodeConflict, "that identity stands for another user")
			}
		}
		tag, err := tx.Exec(ctx, `UPDATE users SET oidc_issuer = $2, oidc_subject = $3 WHERE id = $1`, user, issuer, orNullText(subject))
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM sessions WHERE user_id = $1 AND method = 'oidc'`, user)
		return err
	})
}

// rolesByGroups refuses roles by hand for a user whose groups give them.
func rolesByGroups(ctx context.Context, tx pgx.Tx, user string) error {
	var name string
	err := tx.QueryRow(ctx, `SELECT p.name FROM users u JOIN oidc_provider p ON p.issuer = u.oidc_issuer WHERE u.id = $1`, user).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return ops.Errorf(ops.CodeConflict, "their roles are those of their groups at %s: change them there, or which roles the groups give", name)
}
