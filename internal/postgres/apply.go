package postgres

import (
	"context"
	"errors"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// The Put methods make the row of that name what is given, whether it exists
// or not: they load configuration from files. Ids of existing rows stay, and so
// does what no file can say.

// PutSource stores a source by name and gives its id. If none has the name, the one
// with its id gets it, also one that was deleted. Whether one that is there is
// enabled stays, as do the settings of its kind. A sealed secret must be bound to the
// id that the row has; another one than is stored counts alone.
func (db *DB) PutSource(ctx context.Context, s ops.Source) (id string, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT id FROM sources WHERE name = $1 OR id = $2 ORDER BY name = $1 DESC LIMIT 1 FOR UPDATE`, s.Name, s.ID).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			id = s.ID
			_, err = tx.Exec(ctx, `INSERT INTO sources (id, name, kind, enabled, secret_hash, auth, settings, secret_sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				s.ID, s.Name, s.Kind, s.Enabled, orNoBytes(s.Secret.Hash), authOf(s), s.Settings, s.Secret.Sealed)
			return err
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE sources SET name = $2, kind = $3, auth = $4, secret_hash = $5, secret_sealed = $6,
				settings = CASE WHEN kind = $3 THEN settings END, enabled = enabled OR deleted_at IS NOT NULL, deleted_at = NULL,
				(old_hash, old_sealed, old_until) = (SELECT old_hash, old_sealed, old_until
					WHERE (auth, secret_hash, secret_sealed) IS NOT DISTINCT FROM ($4::text, $5::bytea, $6::bytea)) WHERE id = $1`,
			id, s.Name, s.Kind, authOf(s), orNoBytes(s.Secret.Hash), s.Secret.Sealed)
		return err
	})
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

// MarkedCredential gives a credential by name, with the mark by which who stored it
// knows its secret again ([seal.Ring.Mark]); nil if there is none.
func (db *DB) MarkedCredential(ctx context.Context, name string) (c ops.Credential, mark []byte, err error) {
	if c, err = db.CredentialByName(ctx, name); err != nil {
		return c, nil, err
	}
	err = db.pool.QueryRow(ctx, `SELECT mark FROM credentials WHERE id = $1`, c.ID).Scan(&mark)
	return c, mark, mapError(err)
}

// MarkCredential keeps the mark of a credential's secret, if that is still of the
// version that it was made for.
func (db *DB) MarkCredential(ctx context.Context, c ops.Credential, mark []byte) error {
	_, err := db.pool.Exec(ctx, `UPDATE credentials SET mark = $3 WHERE id = $1 AND version = $2`, c.ID, c.Version, mark)
	return mapError(err)
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
				THEN targets.tested_at END
		WHERE (targets.kind, targets.address, targets.port, targets.user_name, targets.credential, targets.labels, targets.jump, targets.scheme, targets.path, targets.ca)
			IS DISTINCT FROM (excluded.kind, excluded.address, excluded.port, excluded.user_name, excluded.credential, excluded.labels, excluded.jump, excluded.scheme,
				excluded.path, excluded.ca) OR excluded.host_key NOT IN ('', targets.host_key)`,
		t.ID, t.Name, t.Kind, t.Address, t.Port, t.User, t.HostKey, orNullText(t.Credential), orEmpty(t.Labels), orNullText(t.Jump), t.Scheme, t.Path, t.CA)
	return mapError(err)
}
