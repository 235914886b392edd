package postgres

import (
	"context"

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

const selectCredentials = `SELECT id, name, kind, targets, version, created_at, sealed FROM credentials`

func scanCredential(row pgx.CollectableRow) (c ops.Credential, err error) {
	err = row.Scan(&c.ID, &c.Name, &c.Kind, &c.Targets, &c.Version, &c.CreatedAt, &c.Sealed)
	return c, err
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

// TargetByName gives one target.
func (db *DB) TargetByName(ctx context.Context, name string) (ops.Target, error) {
	rows, err := db.pool.Query(ctx, selectTargets+` WHERE name = $1`, name)
	if err != nil {
		return ops.Target{}, mapError(err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTarget)
	return t, mapError(err)
}

const selectTargets = `SELECT id, name, kind, address, port, user_name, host_key, coalesce(credential, ''), labels, coalesce(jump, ''),
	scheme, path, ca, created_at FROM targets`

func scanTarget(row pgx.CollectableRow) (t ops.Target, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Kind, &t.Address, &t.Port, &t.User, &t.HostKey, &t.Credential, &t.Labels, &t.Jump, &t.Scheme, &t.Path, &t.CA, &t.CreatedAt)
	return t, err
}

// CreateProvider stores an LLM provider. The first one, and one that asks for
// it, becomes the default.
func (db *DB) CreateProvider(ctx context.Context, p ops.Provider) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if p.Default {
			if _, err := tx.Exec(ctx, `UPDATE providers SET is_default = false WHERE is_default`); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO providers (id, name, kind, base_url, model, credential, is_default, allow_private)
			VALUES ($1, $2, $3, $4, $5, $6, $7 OR NOT EXISTS (SELECT FROM providers WHERE is_default), $8)`,
			p.ID, p.Name, p.Kind, p.BaseURL, p.Model, orNullText(p.Credential), p.Default, p.AllowPrivate)
		return err
	})
}

// Providers gives all LLM providers by name.
func (db *DB) Providers(ctx context.Context) ([]ops.Provider, error) {
	rows, err := db.pool.Query(ctx, selectProviders+` ORDER BY name`)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, scanProvider)
	return items, mapError(err)
}

// Provider gives one LLM provider by its id.
func (db *DB) Provider(ctx context.Context, id string) (ops.Provider, error) {
	rows, err := db.pool.Query(ctx, selectProviders+` WHERE id = $1`, id)
	if err != nil {
		return ops.Provider{}, mapError(err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanProvider)
	return p, mapError(err)
}

// provider gives the provider of that name, or the default one for no name.
func provider(ctx context.Context, tx pgx.Tx, name string) (ops.Provider, error) {
	rows, err := tx.Query(ctx, selectProviders+` WHERE name = $1 OR $1 = '' AND is_default`, name)
	if err != nil {
		return ops.Provider{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanProvider)
}

const selectProviders = `SELECT id, name, kind, base_url, model, coalesce(credential, ''), is_default, allow_private, created_at FROM providers`

func scanProvider(row pgx.CollectableRow) (p ops.Provider, err error) {
	err = row.Scan(&p.ID, &p.Name, &p.Kind, &p.BaseURL, &p.Model, &p.Credential, &p.Default, &p.AllowPrivate, &p.CreatedAt)
	return p, err
}
