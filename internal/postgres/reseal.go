package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// maintenanceLock is the key of the advisory lock of [DB.Exclusive].
const maintenanceLock = 0x616b6d6b

// Exclusive runs f while nobody else runs one on this database: a rotation of
// keys, a backup and a restore do not mix. It does not wait for its turn.
func (db *DB) Exclusive(ctx context.Context, f func(context.Context) error) error {
	conn, err := db.whole.Acquire(ctx)
	if err != nil {
		return mapError(err)
	}
	defer conn.Release()
	var got bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, maintenanceLock).Scan(&got); err != nil {
		return mapError(err)
	}
	if !got {
		return ops.Errorf(ops.CodeConflict, "a rotation, backup or restore is under way: wait until it has ended")
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, maintenanceLock); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx)) // which unlocks as well
		}
	}()
	return f(ctx)
}

// Resealed is another form of what is sealed, and a credential's mark by another
// key, which takes the place of one that is there; what is nil stays as it is.
type Resealed struct{ Sealed, Mark []byte }

// Reseal hands everything that is sealed to f, credentials, the secrets of
// sources and of sign-in, stores the forms that f gives back (in the same
// order) and appends its records, all of one chain, in
// one transaction. Meanwhile nobody adds or changes any of it; readers go on. f
// may be called again if the transaction is, so it keeps nothing from a failed
// try. The role must be the owner: others do not see all.
func (db *DB) Reseal(ctx context.Context, f func([]ops.Credential) (forms []Resealed, records []ops.AuditRecord, err error)) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		// Row security would hide rows from a wrong role without a word.
		if _, err := tx.Exec(ctx, `SET LOCAL row_security = off`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE credentials, sources, source_reconcile, oidc_provider, second_factors IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		all, updates, err := everythingSealed(ctx, tx)
		if err != nil {
			return err
		}
		forms, records, err := f(all)
		if err != nil {
			return err
		}
		for i, form := range forms {
			if form.Sealed != nil {
				if _, err := tx.Exec(ctx, updates[i], all[i].ID, form.Sealed); err != nil {
					return fmt.Errorf("%s: %w", all[i].Name, err)
				}
			}
			if form.Mark != nil {
				if _, err := tx.Exec(ctx, `UPDATE credentials SET mark = $2 WHERE id = $1 AND mark IS NOT NULL`, all[i].ID, form.Mark); err != nil {
					return fmt.Errorf("%s: %w", all[i].Name, err)
				}
			}
		}
		return db.appendAudit(ctx, tx, records...)
	})
}

// everythingSealed gives what is sealed, and for each the statement that stores
// another form of it.
func everythingSealed(ctx context.Context, tx pgx.Tx) (all []ops.Credential, updates []string, err error) {
	rows, err := tx.Query(ctx, selectCredentials+` ORDER BY name`)
	if err != nil {
		return nil, nil, err
	}
	if all, err = pgx.CollectRows(rows, scanCredential); err != nil {
		return nil, nil, err
	}
	for range all {
		updates = append(updates, `UPDATE credentials SET sealed = $2 WHERE id = $1`)
	}
	rows, err = tx.Query(ctx, `SELECT id, name, kind, secret_sealed, old_sealed FROM sources
		WHERE secret_sealed IS NOT NULL OR old_sealed IS NOT NULL ORDER BY name`)
	if err != nil {
		return nil, nil, err
	}
	var s ops.Source
	var secret, old []byte
	_, err = pgx.ForEachRow(rows, []any{&s.ID, &s.Name, &s.Kind, &secret, &old}, func() error {
		for _, place := range []struct {
			sealed []byte
			update string
		}{{secret, `UPDATE sources SET secret_sealed = $2 WHERE id = $1`}, {old, `UPDATE sources SET old_sealed = $2 WHERE id = $1`}} {
			if len(place.sealed) == 0 {
				continue
			}
			c := s.SecretCredential(bytes.Clone(place.sealed))
			c.Name = "source " + s.Name
			all, updates = append(all, c), append(updates, place.update)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	rows, err = tx.Query(ctx, `SELECT s.id, s.name, coalesce(s.options->'reconcile'->>'url', ''), r.secret
		FROM source_reconcile r JOIN sources s ON s.id = r.source_id WHERE r.secret IS NOT NULL ORDER BY s.name`)
	if err != nil {
		return nil, nil, err
	}
	var asked ops.Source
	_, err = pgx.ForEachRow(rows, []any{&asked.ID, &asked.Name, &asked.Options.Reconcile.URL, &secret}, func() error {
		all, updates = append(all, asked.ReconcileCredential(bytes.Clone(secret))),
			append(updates, `UPDATE source_reconcile SET secret = $2 WHERE source_id = $1`)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	p, err := scanOIDC(tx.QueryRow(ctx, selectOIDC))
	switch {
	case err == nil && p.Secret != nil:
		all, updates = append(all, p.SecretCredential(p.Secret)), append(updates, `UPDATE oidc_provider SET secret = $2 WHERE id = $1`)
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return nil, nil, err
	}
	rows, err = tx.Query(ctx, `SELECT id, user_id, secret FROM second_factors ORDER BY user_id`)
	if err != nil {
		return nil, nil, err
	}
	var id, user string
	_, err = pgx.ForEachRow(rows, []any{&id, &user, &secret}, func() error {
		all, updates = append(all, ops.TOTPCredential(id, user, bytes.Clone(secret))), append(updates, `UPDATE second_factors SET secret = $2 WHERE id = $1`)
		return nil
	})
	return all, updates, err
}
