package postgres

import (
	"context"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// CreateSource stores a source.
func (db *DB) CreateSource(ctx context.Context, s ops.Source) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO sources (id, name, kind, enabled, secret_hash, auth, settings, secret_sealed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, s.ID, s.Name, s.Kind, s.Enabled, orNoBytes(s.Secret.Hash), authOf(s), s.Settings, s.Secret.Sealed)
	return mapError(err)
}

// ReplaceSourceSecret gives a source another secret. The one before it counts
// until oldUntil, the one before that no more.
func (db *DB) ReplaceSourceSecret(ctx context.Context, id string, secret ops.SourceSecret, oldUntil time.Time) error {
	tag, err := db.pool.Exec(ctx, `UPDATE sources SET old_hash = secret_hash, old_sealed = secret_sealed, old_until = $4,
		secret_hash = $2, secret_sealed = $3 WHERE id = $1`, id, orNoBytes(secret.Hash), secret.Sealed, oldUntil)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	return mapError(err)
}

func authOf(s ops.Source) string {
	if s.Auth == "" {
		return ops.AuthSecret
	}
	return s.Auth
}

// orNoBytes makes nil empty: a column that is never null.
func orNoBytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// warnFor is how long a warning is shown after its last delivery.
const warnFor = 7 * 24 * time.Hour

// Sources gives all sources by name, with their health.
func (db *DB) Sources(ctx context.Context) ([]ops.Source, error) {
	rows, err := db.pool.Query(ctx, `SELECT s.id, s.name, s.kind, s.enabled, s.created_at, s.auth, s.settings,
			s.secret_hash, s.secret_sealed, s.old_hash, s.old_sealed, s.old_until,
			coalesce(h.deliveries, 0), coalesce(h.unparsable, 0), coalesce(h.rejected, 0),
			h.last_delivery_at, h.last_rejected_at, coalesce(h.last_error, ''), h.last_error_at,
			(SELECT json_agg(json_build_object('code', w.code, 'text', w.text, 'count', w.count, 'at', w.at) ORDER BY w.code)
				FROM source_warnings w WHERE w.source_id = s.id AND w.at > now() - $1::interval)
		FROM sources s LEFT JOIN source_health h ON h.source_id = s.id ORDER BY s.name`, warnFor)
	if err != nil {
		return nil, mapError(err)
	}
	sources, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s ops.Source, err error) {
		var until, delivery, rejected, failed *time.Time
		h := &s.Health
		err = row.Scan(&s.ID, &s.Name, &s.Kind, &s.Enabled, &s.CreatedAt, &s.Auth, &s.Settings,
			&s.Secret.Hash, &s.Secret.Sealed, &s.Old.Hash, &s.Old.Sealed, &until,
			&h.Deliveries, &h.Unparsable, &h.Rejected, &delivery, &rejected, &h.LastError, &failed, &h.Warnings)
		s.OldUntil, h.LastDeliveryAt, h.LastRejectedAt, h.LastErrorAt = orZero(until), orZero(delivery), orZero(rejected), orZero(failed)
		return s, err
	})
	return sources, mapError(err)
}

// CountRejected adds refused requests to the health of sources.
func (db *DB) CountRejected(ctx context.Context, rejected map[string]int) error {
	b := &pgx.Batch{}
	for _, source := range sortedKeys(rejected) {
		b.Queue(`INSERT INTO source_health AS h (source_id, rejected, last_rejected_at) VALUES ($1, $2, now())
			ON CONFLICT (source_id) DO UPDATE SET rejected = h.rejected + $2, last_rejected_at = now()`, source, rejected[source])
	}
	return mapError(db.pool.SendBatch(ctx, b).Close())
}

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
	_, err := db.pool.Exec(ctx, `INSERT INTO targets (id, name, kind, address, port, user_name, host_key, credential, labels, jump)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		t.ID, t.Name, t.Kind, t.Address, t.Port, t.User, t.HostKey, orNullText(t.Credential), orEmpty(t.Labels), orNullText(t.Jump))
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

const selectTargets = `SELECT id, name, kind, address, port, user_name, host_key, coalesce(credential, ''), labels, coalesce(jump, ''), created_at FROM targets`

func scanTarget(row pgx.CollectableRow) (t ops.Target, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Kind, &t.Address, &t.Port, &t.User, &t.HostKey, &t.Credential, &t.Labels, &t.Jump, &t.CreatedAt)
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
