package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// CreateCredential stores a sealed credential.
func (db *DB) CreateCredential(ctx context.Context, c ops.Credential) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO credentials (id, name, kind, zone, targets, version, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		c.ID, c.Name, c.Kind, ops.CredentialKinds[c.Kind], c.Targets, c.Version, c.Sealed)
	return mapError(err)
}

// Credentials gives all credentials that the role may see, by name.
func (db *DB) Credentials(ctx context.Context) ([]ops.Credential, error) {
	rows, err := db.pool.Query(ctx, selectCredentials+` ORDER BY name`)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, scanCredential)
	return items, mapError(err)
}

// CredentialByName gives one credential.
func (db *DB) CredentialByName(ctx context.Context, name string) (ops.Credential, error) {
	rows, err := db.pool.Query(ctx, selectCredentials+` WHERE name = $1`, name)
	if err != nil {
		return ops.Credential{}, mapError(err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCredential)
	return c, mapError(err)
}

const selectCredentials = `SELECT id, name, kind, targets, version, created_at, rotated_at, disabled_at, sealed FROM credentials`

func scanCredential(row pgx.CollectableRow) (c ops.Credential, err error) {
	err = row.Scan(&c.ID, &c.Name, &c.Kind, &c.Targets, &c.Version, &c.CreatedAt, &c.RotatedAt, &c.DisabledAt, &c.Sealed)
	return c, err
}

// RotateCredential gives a credential another secret and the next version. seal
// is called with the row as it will be, since the seal is bound to it.
func (db *DB) RotateCredential(ctx context.Context, id string, seal func(ops.Credential) ([]byte, error)) (c ops.Credential, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, selectCredentials+` WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		if c, err = pgx.CollectExactlyOneRow(rows, scanCredential); err != nil {
			return err
		}
		c.Version++
		if c.Sealed, err = seal(c); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `UPDATE credentials SET version = $2, sealed = $3, rotated_at = now() WHERE id = $1 RETURNING rotated_at`,
			id, c.Version, c.Sealed).Scan(&c.RotatedAt)
	})
	return c, mapError(err)
}

// DisableCredential takes a credential from those who open it, or gives it back.
func (db *DB) DisableCredential(ctx context.Context, id string, disable bool) (ops.Credential, error) {
	rows, err := db.pool.Query(ctx, `UPDATE credentials SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1
		RETURNING id, name, kind, targets, version, created_at, rotated_at, disabled_at, sealed`, id, disable)
	if err != nil {
		return ops.Credential{}, mapError(err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCredential)
	return c, mapError(err)
}

// CredentialsStand gives those of the ids whose credential is there for this
// role, with its version: a disabled one is not.
func (db *DB) CredentialsStand(ctx context.Context, ids []string) ([]ops.Credential, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, version FROM credentials WHERE id = ANY($1::uuid[])`, ids)
	if err != nil {
		return nil, mapError(err)
	}
	stand, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c ops.Credential, err error) {
		return c, row.Scan(&c.ID, &c.Version)
	})
	return stand, mapError(err)
}

// CreateTarget stores a target.
func (db *DB) CreateTarget(ctx context.Context, t ops.Target) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO targets (id, name, kind, address, port, user_name, host_key, credential, labels, jump, scheme, path, ca)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		t.ID, t.Name, t.Kind, t.Address, t.Port, t.User, t.HostKey, orNullText(t.Credential), orEmpty(t.Labels), orNullText(t.Jump), t.Scheme, t.Path, t.CA)
	return mapError(err)
}

// Targets gives the inventory by name.
func (db *DB) Targets(ctx context.Context) ([]ops.Target, error) {
	rows, err := db.pool.Query(ctx, selectTargets+` ORDER BY name`)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, scanTarget)
	return items, mapError(err)
}

// Target gives one target by its id.
func (db *DB) Target(ctx context.Context, id string) (ops.Target, error) {
	rows, err := db.pool.Query(ctx, selectTargets+` WHERE id = $1`, id)
	if err != nil {
		return ops.Target{}, mapError(err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTarget)
	return t, mapError(err)
}

// TargetsOf gives those of the targets that are there.
func (db *DB) TargetsOf(ctx context.Context, ids []string) ([]ops.Target, error) {
	rows, err := db.pool.Query(ctx, selectTargets+` WHERE id = ANY($1::uuid[])`, ids)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, scanTarget)
	return items, mapError(err)
}

// TargetTested notes that a target took a login.
func (db *DB) TargetTested(ctx context.Context, id string) error {
	_, err := db.pool.Exec(ctx, `UPDATE targets SET tested_at = now() WHERE id = $1`, id)
	return mapError(err)
}

// PinHostKey replaces the pinned keys of a target, if they are still those that
// whoever decided has seen, and it is still the same place.
func (db *DB) PinHostKey(ctx context.Context, seen ops.Target, keys string) error {
	tag, err := db.pool.Exec(ctx, `UPDATE targets SET host_key = $6 WHERE id = $1 AND host_key = $2 AND address = $3 AND port = $4 AND coalesce(jump, '') = $5`,
		seen.ID, seen.HostKey, seen.Address, seen.Port, seen.Jump, keys)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeConflict, "the target or its pinned keys have changed meanwhile: look again")
	}
	return mapError(err)
}

// UpdateTarget makes a target what now says, all of it but its name and kind, if it
// is still what whoever decided has seen: code conflict otherwise. That it took a
// login counts no more, unless only its labels are other ones.
func (db *DB) UpdateTarget(ctx context.Context, seen, now ops.Target) error {
	tag, err := db.pool.Exec(ctx, `UPDATE targets SET address = $2, port = $3, user_name = $4, host_key = $5, credential = $6, labels = $7, jump = $8,
			scheme = $9, path = $10, ca = $11,
			tested_at = CASE WHEN (address, port, user_name, host_key, coalesce(credential, ''), coalesce(jump, ''), scheme, path, ca)
				= ($2, $3, $4, $5, coalesce($6, ''), coalesce($8, ''), $9, $10, $11) THEN tested_at END
		WHERE id = $1 AND (address, port, user_name, host_key, coalesce(credential, ''), labels, coalesce(jump, ''), scheme, path, ca)
			= ($12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
		now.ID, now.Address, now.Port, now.User, now.HostKey, orNullText(now.Credential), orEmpty(now.Labels), orNullText(now.Jump), now.Scheme, now.Path, now.CA,
		seen.Address, seen.Port, seen.User, seen.HostKey, seen.Credential, orEmpty(seen.Labels), seen.Jump, seen.Scheme, seen.Path, seen.CA)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeConflict, "the target has changed meanwhile: look again")
	}
	return mapError(err)
}

// DeleteTarget removes a target that nothing refers to by its name; what does is
// in the error, of code conflict. Globs that would match it do not count, nor do
// the targets of credentials: those say where a secret may go, not what is there.
func (db *DB) DeleteTarget(ctx context.Context, id string) error {
	return db.remove(ctx, id, `SELECT name FROM targets WHERE id = $1 FOR UPDATE`, `DELETE FROM targets WHERE id = $1`,
		`SELECT used FROM (
			SELECT 'target ' || name AS used FROM targets WHERE jump = $1
			UNION ALL SELECT 'agent ' || id FROM agents WHERE $1 = ANY (targets)
			UNION ALL SELECT 'gateway token ' || name FROM gateway_tokens WHERE agent_id IS NOT NULL AND revoked_at IS NULL AND expires_at > now() AND $1 = ANY (targets)
		) all_uses ORDER BY used LIMIT $2`)
}

// DeleteCredential is the same for a credential. Its sealed secret goes with it,
// and what runs with it is stopped.
func (db *DB) DeleteCredential(ctx context.Context, id string) error {
	return db.remove(ctx, id, `SELECT name FROM credentials WHERE id = $1 FOR UPDATE`, `DELETE FROM credentials WHERE id = $1`,
		`SELECT used FROM (
			SELECT 'target ' || name AS used FROM targets WHERE credential = $1
			UNION ALL SELECT 'LLM provider ' || name FROM providers WHERE credential = $1
			UNION ALL SELECT 'tool server ' || name FROM tool_servers WHERE credential = $1
			UNION ALL SELECT 'agent ' || id FROM agents WHERE $1 = ANY (credentials)
		) all_uses ORDER BY used LIMIT $2`)
}

// maxUses bounds how many of those that use a thing are named.
const maxUses = 20

// remove deletes the row of that id that lock gives the name of, unless uses
// gives something for that name.
func (db *DB) remove(ctx context.Context, id, lock, del, uses string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		var name string
		if err := tx.QueryRow(ctx, lock, id).Scan(&name); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, uses, name, maxUses+1)
		if err != nil {
			return err
		}
		used, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(used) > maxUses {
			used[maxUses] = "more"
		}
		if len(used) > 0 {
			return ops.Errorf(ops.CodeConflict, "it is in use: %s. Change or remove these first", strings.Join(used, ", "))
		}
		_, err = tx.Exec(ctx, del, id)
		return err
	})
}

// Stop is a target with what logs in to it.
type Stop struct {
	ops.Target
	// Key is nil if the target names no credential, or none that this role may see.
	Key *ops.Credential
}

// Way gives the target of a name, its jump host, that one's jump host and so on,
// at most limit of them, in one round trip. It does not judge them: a chain may
// be cut off by the limit, also since it is a circle. Unknown names give nothing.
func (db *DB) Way(ctx context.Context, name string, limit int) ([]Stop, error) {
	rows, err := db.pool.Query(ctx, selectWay, name, limit)
	if err != nil {
		return nil, mapError(err)
	}
	stops, err := pgx.CollectRows(rows, scanStop)
	return stops, mapError(err)
}

const selectWay = `WITH RECURSIVE way AS (
		SELECT t.*, 1 AS step FROM targets t WHERE t.name = $1
		UNION ALL SELECT t.*, w.step + 1 FROM way w JOIN targets t ON t.name = w.jump WHERE w.step < $2)
	SELECT w.id, w.name, w.kind, w.address, w.port, w.user_name, w.host_key, coalesce(w.credential, ''), w.labels, coalesce(w.jump, ''),
		w.scheme, w.path, w.ca, w.created_at,
		c.id, c.name, c.kind, c.targets, c.version, c.created_at, c.rotated_at, c.disabled_at, c.sealed
	FROM way w LEFT JOIN credentials c ON c.name = w.credential ORDER BY w.step`

func scanStop(row pgx.CollectableRow) (s Stop, err error) {
	var id, name, kind *string
	var version *int
	var created *time.Time
	var c ops.Credential
	t := &s.Target
	err = row.Scan(&t.ID, &t.Name, &t.Kind, &t.Address, &t.Port, &t.User, &t.HostKey, &t.Credential, &t.Labels, &t.Jump, &t.Scheme, &t.Path, &t.CA, &t.CreatedAt,
		&id, &name, &kind, &c.Targets, &version, &created, &c.RotatedAt, &c.DisabledAt, &c.Sealed)
	if err == nil && id != nil {
		c.ID, c.Name, c.Kind, c.Version, c.CreatedAt = *id, *name, *kind, *version, *created
		s.Key = &c
	}
	return s, err
}

const selectTargets = `SELECT id, name, kind, address, port, user_name, host_key, coalesce(credential, ''), labels, coalesce(jump, ''),
	scheme, path, ca, created_at FROM targets`

func scanTarget(row pgx.CollectableRow) (t ops.Target, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Kind, &t.Address, &t.Port, &t.User, &t.HostKey, &t.Credential, &t.Labels, &t.Jump, &t.Scheme, &t.Path, &t.CA, &t.CreatedAt)
	return t, err
}
