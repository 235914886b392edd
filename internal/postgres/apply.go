package postgres

import (
	"context"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// The Put methods make the row of that name what is given, whether it exists
// or not: they load configuration from files. Ids of existing rows stay.

// PutSource stores a source by name and gives its id. A sealed secret must be
// bound to the id that the row has, if it exists. The secret counts alone.
func (db *DB) PutSource(ctx context.Context, s ops.Source) (id string, err error) {
	err = db.pool.QueryRow(ctx, `INSERT INTO sources (id, name, kind, enabled, secret_hash, auth, settings, secret_sealed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (name) DO UPDATE SET kind = $3, enabled = $4, secret_hash = $5, auth = $6, settings = $7, secret_sealed = $8,
			old_hash = NULL, old_sealed = NULL, old_until = NULL RETURNING id`,
		s.ID, s.Name, s.Kind, s.Enabled, orNoBytes(s.Secret.Hash), authOf(s), s.Settings, s.Secret.Sealed).Scan(&id)
	return id, mapError(err)
}

// PutCredential stores a credential by name. seal is called with the id and the
// version that the row will have, since the seal is bound to them.
func (db *DB) PutCredential(ctx context.Context, c ops.Credential, seal func(ops.Credential) ([]byte, error)) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		// The lock makes the version that is sealed the one that is stored.
		if _, err := tx.Exec(ctx, `LOCK TABLE credentials IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectCredentials+` WHERE name = $1`, c.Name)
		if err != nil {
			return err
		}
		known, err := pgx.CollectRows(rows, scanCredential)
		if err != nil {
			return err
		}
		if len(known) > 0 {
			c.ID, c.Version = known[0].ID, known[0].Version+1
		} else {
			c.ID, c.Version = ops.NewID(), 1
		}
		if c.Sealed, err = seal(c); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO credentials (id, name, kind, zone, targets, version, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (name) DO UPDATE SET kind = $3, zone = $4, targets = $5, version = $6, sealed = $7`,
			c.ID, c.Name, c.Kind, ops.CredentialKinds[c.Kind], c.Targets, c.Version, c.Sealed)
		return err
	})
}

// PutTarget stores a target by name. One without a host key keeps what is pinned,
// as long as it is at the same place: people accept keys that no file has. That it
// took a login counts no more, unless only its labels are other ones.
func (db *DB) PutTarget(ctx context.Context, t ops.Target) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO targets (id, name, kind, address, port, user_name, host_key, credential, labels, jump, scheme, path, ca)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (name) DO UPDATE SET kind = $3, address = $4, port = $5, user_name = $6, credential = $8, labels = $9, jump = $10, scheme = $11, path = $12, ca = $13,
			host_key = CASE WHEN $7 = '' AND (targets.address, targets.port, coalesce(targets.jump, '')) = ($4, $5, coalesce($10, '')) THEN targets.host_key ELSE $7 END,
			tested_at = CASE WHEN $7 IN ('', targets.host_key) AND (targets.kind, targets.address, targets.port, targets.user_name, coalesce(targets.credential, ''),
				coalesce(targets.jump, ''), targets.scheme, targets.path, targets.ca) = ($3, $4, $5, $6, coalesce($8, ''), coalesce($10, ''), $11, $12, $13)
				THEN targets.tested_at END`,
		t.ID, t.Name, t.Kind, t.Address, t.Port, t.User, t.HostKey, orNullText(t.Credential), orEmpty(t.Labels), orNullText(t.Jump), t.Scheme, t.Path, t.CA)
	return mapError(err)
}
