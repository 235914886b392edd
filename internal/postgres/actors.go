package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// ActorRoles is what the roles of an actor say, all together: of user:NAME those
// of the user, of alert:SOURCE and service:NAME those of its row or of the row for
// all of its kind. An actor that is not known, or disabled, has none.
type ActorRoles struct {
	Roles  []string
	Powers ops.Powers
	// Deny and Allow are as in [ops.Role].
	Deny, Allow []string
}

func (a *ActorRoles) columns() []any { return []any{&a.Roles, (*said)(a)} }

// said reads what the roles say, one by one, and puts it together: each thing
// once, in order.
type said ActorRoles

// Scan implements [database/sql.Scanner]: pgx empties what it unmarshals into.
func (s *said) Scan(text any) error {
	data, ok := text.([]byte)
	if !ok {
		return fmt.Errorf("roles are a text of JSON, not %T", text)
	}
	var roles []struct {
		Actions     []ops.Permission
		Agents      []string
		Deny, Allow []string
	}
	if err := json.Unmarshal(data, &roles); err != nil {
		return err
	}
	s.Powers, s.Deny, s.Allow = ops.Powers{}, nil, nil
	for _, r := range roles {
		s.Powers.Actions = append(s.Powers.Actions, r.Actions...)
		s.Powers.Agents = append(s.Powers.Agents, r.Agents...)
		s.Deny, s.Allow = append(s.Deny, r.Deny...), append(s.Allow, r.Allow...)
	}
	s.Powers.Actions, s.Powers.Agents = sorted(s.Powers.Actions), sorted(s.Powers.Agents)
	s.Deny, s.Allow = sorted(s.Deny), sorted(s.Allow)
	return nil
}

func sorted[T cmp.Ordered](all []T) []T {
	slices.Sort(all)
	return slices.Compact(all)
}

// rolesOfActor finds the roles of x.actor, as p.roles; rolesColumns are what
// they say, as columns of [ActorRoles]. This is asked at each call: without the
// OFFSET Postgres would find the roles once for each use of them.
const (
	rolesOfActor = `(SELECT coalesce(CASE WHEN x.actor LIKE 'user:%'
			THEN (SELECT u.roles FROM users u WHERE u.username = substr(x.actor, 6) AND u.disabled_at IS NULL)
			ELSE coalesce((SELECT s.roles FROM actor_roles s WHERE s.actor = x.actor),
				(SELECT s.roles FROM actor_roles s WHERE s.actor = split_part(x.actor, ':', 1) || ':*' AND x.actor LIKE '%:_%'))
		END, '{}') AS roles OFFSET 0) AS p`
	rolesColumns = `p.roles, (SELECT coalesce(json_agg(json_build_object('actions', r.actions, 'agents', r.agents, 'deny', r.deny, 'allow', r.allow)), '[]')
		FROM roles r WHERE r.id = ANY(p.roles))`
)

// RolesOfActor gives what the roles of an actor say.
func (db *DB) RolesOfActor(ctx context.Context, actor string) (a ActorRoles, err error) {
	a, err = rolesOf(ctx, db.pool, actor)
	return a, mapError(err)
}

func rolesOf(ctx context.Context, in interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, actor string) (a ActorRoles, err error) {
	err = in.QueryRow(ctx, `SELECT `+rolesColumns+` FROM (SELECT $1::text AS actor) AS x CROSS JOIN LATERAL `+rolesOfActor, actor).Scan(a.columns()...)
	return a, err
}

// alertActor is who a run acts for that an alert of the source has started.
func alertActor(source string) string {
	if source == "" {
		return "service:intake"
	}
	return "alert:" + source
}

// ServiceActors gives the actors that are no users and have a row, by name.
func (db *DB) ServiceActors(ctx context.Context) ([]ops.ServiceActor, error) {
	rows, err := db.pool.Query(ctx, `SELECT actor, roles, updated_at FROM actor_roles ORDER BY actor LIMIT 1000`)
	if err != nil {
		return nil, mapError(err)
	}
	actors, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a ops.ServiceActor, err error) {
		err = row.Scan(&a.Actor, &a.Roles, &a.UpdatedAt)
		return a, err
	})
	return actors, mapError(err)
}

// PutServiceActor gives an actor that is no user these roles and no others. A
// role that does not exist is code invalid.
func (db *DB) PutServiceActor(ctx context.Context, a ops.ServiceActor) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if err := lockAccounts(ctx, tx); err != nil {
			return err
		}
		if err := knownRoles(ctx, tx, a.Roles); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO actor_roles (actor, roles) VALUES ($1, $2) ON CONFLICT (actor) DO UPDATE SET roles = $2, updated_at = now()`,
			a.Actor, orNone(a.Roles))
		return err
	})
}

// DeleteServiceActor gives an actor the roles of all of its kind again. The rows
// for all of a kind stay: code conflict.
func (db *DB) DeleteServiceActor(ctx context.Context, actor string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM actor_roles WHERE actor = $1 AND actor NOT LIKE '%:*'`, actor)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return mapError(err)
}

// lockAccounts makes changes of who may do what wait for each other.
func lockAccounts(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('accounts', 0))`)
	return err
}
