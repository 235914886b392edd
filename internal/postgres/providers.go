package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

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

const selectProviders = `SELECT id, name, kind, base_url, model, coalesce(credential, ''), is_default, allow_private, created_at, effort,
	price_input, price_output, context_tokens, coalesce(fallback, ''), fallback_on_account, patience_seconds, wait_minutes FROM providers`

func scanProvider(row pgx.CollectableRow) (p ops.Provider, err error) {
	err = row.Scan(&p.ID, &p.Name, &p.Kind, &p.BaseURL, &p.Model, &p.Credential, &p.Default, &p.AllowPrivate, &p.CreatedAt, &p.Effort,
		&p.PriceInput, &p.PriceOutput, &p.Window, &p.Fallback, &p.FallbackOnAccount, &p.Patience, &p.Wait)
	return p, err
}

// CreateProvider stores an LLM provider. The first one, and one that asks for
// it, becomes the default.
func (db *DB) CreateProvider(ctx context.Context, p ops.Provider) error {
	return db.putProvider(ctx, p, `INSERT INTO providers (id, name, kind, base_url, model, credential, is_default, allow_private, effort,
			price_input, price_output, context_tokens, fallback, fallback_on_account, patience_seconds, wait_minutes)
		VALUES ($1, $2, $3, $4, $5, $6, $7 OR NOT EXISTS (SELECT FROM providers WHERE is_default), $8, $9, $10, $11, $12, $13, $14, $15, $16)`)
}

// UpdateProvider replaces what is said of an LLM provider, by its id; its name
// stays, since its key is sealed for that. The default one stays it until another
// one becomes it. Runs under way keep the chain that they were claimed with.
func (db *DB) UpdateProvider(ctx context.Context, p ops.Provider) error {
	return db.putProvider(ctx, p, `UPDATE providers SET kind = $3, base_url = $4, model = $5, credential = $6, is_default = is_default OR $7,
			allow_private = $8, effort = $9, price_input = $10, price_output = $11, context_tokens = $12, fallback = $13, fallback_on_account = $14,
			patience_seconds = $15, wait_minutes = $16,
			tested_at = CASE WHEN (kind, base_url, model) = ($3, $4, $5) AND credential IS NOT DISTINCT FROM $6 THEN tested_at END
		WHERE id = $1 AND name = $2`)
}

// ProviderTested notes that the model answered a test, if it is still configured
// as it was then.
func (db *DB) ProviderTested(ctx context.Context, p ops.Provider) error {
	_, err := db.pool.Exec(ctx, `UPDATE providers SET tested_at = now() WHERE id = $1 AND kind = $2 AND base_url = $3 AND model = $4 AND credential IS NOT DISTINCT FROM $5`,
		p.ID, p.Kind, p.BaseURL, p.Model, orNullText(p.Credential))
	return mapError(err)
}

// PutProvider stores an LLM provider by name. It becomes the default as in
// CreateProvider, and stays it as in UpdateProvider.
func (db *DB) PutProvider(ctx context.Context, p ops.Provider) error {
	return db.putProvider(ctx, p, `INSERT INTO providers (id, name, kind, base_url, model, credential, is_default, allow_private, effort,
			price_input, price_output, context_tokens, fallback, fallback_on_account, patience_seconds, wait_minutes)
		VALUES ($1, $2, $3, $4, $5, $6, $7 OR NOT EXISTS (SELECT FROM providers WHERE is_default), $8, $9, $10, $11, $12, $13, $14, $15, $16)
		ON CONFLICT (name) DO UPDATE SET kind = $3, base_url = $4, model = $5, credential = $6, is_default = providers.is_default OR $7, allow_private = $8, effort = $9,
			price_input = $10, price_output = $11, context_tokens = $12, fallback = $13, fallback_on_account = $14, patience_seconds = $15, wait_minutes = $16,
			tested_at = CASE WHEN (providers.kind, providers.base_url, providers.model) = ($3, $4, $5) AND providers.credential IS NOT DISTINCT FROM $6 THEN providers.tested_at END`)
}

// putProvider runs one of the statements above. Fallbacks that lead back, or
// further than [ops.MaxFallbacks], are code invalid.
func (db *DB) putProvider(ctx context.Context, p ops.Provider, statement string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		// Two changes that each are right can be wrong together: one at a time.
		if _, err := tx.Exec(ctx, `LOCK TABLE providers IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		if p.Default {
			if _, err := tx.Exec(ctx, `UPDATE providers SET is_default = false WHERE is_default AND id <> $1 AND name <> $2`, p.ID, p.Name); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, statement, p.ID, p.Name, p.Kind, p.BaseURL, p.Model, orNullText(p.Credential), p.Default, p.AllowPrivate, p.Effort,
			p.PriceInput, p.PriceOutput, p.Window, orNullText(p.Fallback), p.FallbackOnAccount, p.Patience, p.Wait)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		if err != nil {
			return err
		}
		return checkFallbacks(ctx, tx)
	})
}

func checkFallbacks(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT name, fallback FROM providers WHERE fallback IS NOT NULL`)
	if err != nil {
		return err
	}
	next := map[string]string{}
	var name, fallback string
	if _, err := pgx.ForEachRow(rows, []any{&name, &fallback}, func() error { next[name] = fallback; return nil }); err != nil {
		return err
	}
	for first := range next {
		way := []string{first}
		for at := next[first]; at != ""; at = next[at] {
			way = append(way, at)
			if at == first {
				return ops.Errorf(ops.CodeInvalid, "the fallbacks lead back to where they begin: %s", strings.Join(way, " → "))
			}
			if len(way) > ops.MaxFallbacks+1 {
				return ops.Errorf(ops.CodeInvalid, "there are at most %d fallbacks behind a provider: %s", ops.MaxFallbacks, strings.Join(way, " → "))
			}
		}
	}
	return nil
}

// fallbacks gives the providers behind p, in order.
func fallbacks(ctx context.Context, tx pgx.Tx, p ops.Provider) ([]ops.Provider, error) {
	var out []ops.Provider
	for next := p.Fallback; next != "" && len(out) < ops.MaxFallbacks; {
		f, err := provider(ctx, tx, next)
		if err != nil {
			return nil, fmt.Errorf("fallback %s: %w", next, err)
		}
		out = append(out, f)
		next = f.Fallback
	}
	return out, nil
}

// RemoveProvider removes an LLM provider. One that something still names is code
// conflict; so is the default one as long as there are others.
func (db *DB) RemoveProvider(ctx context.Context, id string) error {
	return db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `LOCK TABLE providers IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		var name, why string
		err := tx.QueryRow(ctx, `SELECT name, CASE
				WHEN is_default AND EXISTS (SELECT FROM providers o WHERE o.id <> p.id) THEN 'it is the default: make another one the default first'
				ELSE coalesce(
					(SELECT 'it is the fallback of ' || f.name FROM providers f WHERE f.fallback = p.name LIMIT 1),
					(SELECT 'agent ' || a.id || ' uses it' FROM agents a WHERE a.provider = p.name LIMIT 1),
					(SELECT 'the gatekeeper uses it' FROM gatekeeper g WHERE g.provider = p.name), '') END
			FROM providers p WHERE id = $1`, id).Scan(&name, &why)
		if err != nil {
			return err
		}
		if why != "" {
			return ops.Errorf(ops.CodeConflict, "provider %s cannot be removed: %s", name, why)
		}
		_, err = tx.Exec(ctx, `DELETE FROM providers WHERE id = $1`, id)
		return err
	})
}

// ProviderTestLife is how long the token of a test of a provider lives.
const ProviderTestLife = time.Minute

// maxProviderTests is how many tests may be under way.
const maxProviderTests = 8

// MintProviderTest makes a token that opens the proxy for one provider, for a
// minute at most. end takes it back. Too many at a time is code conflict.
func (db *DB) MintProviderTest(ctx context.Context, provider, actor string) (token ops.Secret, end func(context.Context) error, err error) {
	id := ops.NewID()
	token = ops.NewToken(ops.ProxyTokenPrefix)
	err = db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM provider_tests WHERE expires_at < now()`); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `INSERT INTO provider_tests (id, provider_id, token_hash, actor, expires_at)
			SELECT $1, $2, $3, $4, now() + $5 WHERE (SELECT count(*) FROM provider_tests) < $6`,
			id, provider, ops.HashToken(token), actor, ProviderTestLife, maxProviderTests)
		if err == nil && tag.RowsAffected() == 0 {
			return ops.Errorf(ops.CodeConflict, "%d providers are being tested: wait for one to end", maxProviderTests)
		}
		return err
	})
	return token, func(ctx context.Context) error {
		_, err := db.pool.Exec(ctx, `DELETE FROM provider_tests WHERE id = $1`, id)
		return mapError(err)
	}, err
}

// RunGrant is what a live token stands for at the proxy: a running run, the
// review of a call, or the test of a provider.
type RunGrant struct {
	RunID      string // of a run
	IncidentID string
	// Actor is for the audit: who asks.
	Actor string
	// ProviderID is the provider that it opens, Fallbacks are those that it opens, too.
	ProviderID string
	Fallbacks  []string
	// Models are what these had when the run was claimed. One that is not there has
	// its model of now.
	Models   map[string]string
	Deadline time.Time
}

// RunByProxyToken gives what the token with this hash stands for. Unknown, ended
// and overdue ones are all code unauthenticated.
func (db *DB) RunByProxyToken(ctx context.Context, hash []byte) (RunGrant, error) {
	var g RunGrant
	err := db.pool.QueryRow(ctx, `SELECT id::text, incident_id::text, 'run:' || id, provider_id, fallback_ids::text[], models, deadline FROM runs
		WHERE proxy_token_hash = $1 AND state = 'running' AND deadline > now()
		UNION ALL SELECT '', '', $2, provider_id, '{}', '{}', expires_at FROM gatekeeper_reviews WHERE token_hash = $1 AND state = 'asked' AND expires_at > now()
		UNION ALL SELECT '', '', actor, provider_id, '{}', '{}', expires_at FROM provider_tests WHERE token_hash = $1 AND expires_at > now()`, hash, ops.GatekeeperActor).
		Scan(&g.RunID, &g.IncidentID, &g.Actor, &g.ProviderID, &g.Fallbacks, &g.Models, &g.Deadline)
	return g, deadToken(err)
}

func deadToken(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ops.Errorf(ops.CodeUnauthenticated, "the token is not that of a running run")
	}
	return mapError(err)
}

// ProxyTokensAlive gives those of the proxy token hashes that still stand for
// something.
func (db *DB) ProxyTokensAlive(ctx context.Context, hashes [][]byte) ([][]byte, error) {
	rows, err := db.pool.Query(ctx, `SELECT proxy_token_hash FROM runs
		WHERE proxy_token_hash = ANY($1) AND state = 'running' AND deadline > now()
		UNION ALL SELECT token_hash FROM gatekeeper_reviews WHERE token_hash = ANY($1) AND state = 'asked' AND expires_at > now()
		UNION ALL SELECT token_hash FROM provider_tests WHERE token_hash = ANY($1) AND expires_at > now()`, hashes)
	if err != nil {
		return nil, mapError(err)
	}
	alive, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	return alive, mapError(err)
}

// waitForModel puts a run that has no model to ask back into the queue, for a
// pause. How long it may wait in all is known with the claim.
func waitForModel(ctx context.Context, tx pgx.Tx, run *ops.Run) error {
	if _, err := tx.Exec(ctx, `UPDATE runs SET state = 'queued', worker = '', lease_until = NULL, parked = parked + 1, waiting_since = coalesce(waiting_since, now()),
			available_at = now() + $2::interval * (0.8 + 0.4 * random()), gateway_token_hash = NULL, proxy_token_hash = NULL WHERE id = $1`, run.ID, modelPause); err != nil {
		return err
	}
	return setInvestigation(ctx, tx, run.IncidentID, run.ID, ops.RunQueued, "it waits for its model")
}

// modelPause is how long a run rests, about, before it asks again for a model
// that could not be had.
const modelPause = 2 * time.Minute
