package postgres

import (
	"context"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// How long a gateway token may live. The table refuses more.
const (
	MaxGatewayToken = 90 * 24 * time.Hour
	MaxServiceToken = time.Hour
)

// keepServiceTokens is how long a service's token and its calls are kept behind its end.
const keepServiceTokens = 7 * 24 * time.Hour

// GatewayToken is a token for the gateway that no run has. Only its hash is stored.
type GatewayToken struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Actor is who acts with it: user:NAME or service:NAME.
	Actor string `json:"actor"`
	// Agent is whose rules count. A service has none: Tools are its rules.
	Agent string `json:"agent,omitempty"`
	// Tools says what it may be used for, each as behind allow: in a rule, and
	// Targets where, each a name or a glob. Neither allows what the agent's rules do not.
	Tools      []string  `json:"tools"`
	Targets    []string  `json:"targets"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
	LastCallAt time.Time `json:"last_call_at,omitzero"`
	Hash       []byte    `json:"-"`
}

// CreateGatewayToken stores a token of a user. An agent that does not exist is code invalid.
func (db *DB) CreateGatewayToken(ctx context.Context, t GatewayToken) error {
	_, err := db.pool.Exec(ctx, insertGatewayToken, t.ID, t.Name, t.Hash, t.Actor, orNullText(t.Agent), t.Tools, t.Targets, t.CreatedAt, t.ExpiresAt)
	return mapError(err)
}

const insertGatewayToken = `INSERT INTO gateway_tokens (id, name, hash, actor, agent_id, tools, targets, created_at, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

// ServiceToken says what a part of this program wants a token for.
type ServiceToken struct {
	Service string // such as reconcile
	Tools   []string
	Targets []string
	Life    time.Duration // at most MaxServiceToken
}

// MintServiceToken makes a token with which a part of the api uses tools by
// itself, as the actor service:NAME. It works from now on until its life is
// over. The audit has it; those of the service that ended long ago are removed
// with their calls.
func (db *DB) MintServiceToken(ctx context.Context, s ServiceToken) (ops.Secret, error) {
	token, now := ops.NewToken(ops.ClientTokenPrefix), time.Now().UTC()
	t := GatewayToken{ID: ops.NewID(), Name: s.Service, Actor: "service:" + s.Service, Tools: s.Tools, Targets: s.Targets,
		CreatedAt: now, ExpiresAt: now.Add(s.Life), Hash: ops.HashToken(token)}
	err := db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM gateway_tokens WHERE actor = $1 AND created_at < $2`, t.Actor, now.Add(-keepServiceTokens-MaxServiceToken)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertGatewayToken, t.ID, t.Name, t.Hash, t.Actor, nil, t.Tools, t.Targets, t.CreatedAt, t.ExpiresAt); err != nil {
			return err
		}
		return db.appendAudit(ctx, tx, ops.AuditRecord{Chain: "api", At: now, Actor: t.Actor, Action: "gateway_token.created", Object: t.ID, Outcome: "ok",
			Detail: map[string]string{"name": t.Name}})
	})
	return token, err
}

// GatewayTokens gives the tokens of users and those of services that still live:
// first what lives, then what has ended, each newest first. However many have
// ended, one that lives is seen, and counted.
func (db *DB) GatewayTokens(ctx context.Context) ([]GatewayToken, error) {
	rows, err := db.pool.Query(ctx, `SELECT t.id, t.name, t.actor, coalesce(t.agent_id, ''), t.tools, t.targets, t.created_at, t.expires_at, t.revoked_at,
			(SELECT max(c.created_at) FROM tool_calls c WHERE c.token_id = t.id)
		FROM gateway_tokens t WHERE t.actor NOT LIKE 'service:%' OR t.expires_at > now()
		ORDER BY t.revoked_at IS NULL AND t.expires_at > now() DESC, t.created_at DESC LIMIT 500`)
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t GatewayToken, err error) {
		var revoked, used *time.Time
		err = row.Scan(&t.ID, &t.Name, &t.Actor, &t.Agent, &t.Tools, &t.Targets, &t.CreatedAt, &t.ExpiresAt, &revoked, &used)
		t.RevokedAt, t.LastCallAt = orZero(revoked), orZero(used)
		return t, err
	})
	return items, mapError(err)
}

// RevokeGatewayToken ends a token now: no call starts with it, and what runs is
// stopped. The row stays, as its calls do. One that has ended is not found.
func (db *DB) RevokeGatewayToken(ctx context.Context, id string) error {
	tag, err := db.pool.Exec(ctx, `UPDATE gateway_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()`, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return mapError(err)
}

// revokeTokensOf ends the gateway tokens of a user.
func revokeTokensOf(ctx context.Context, tx pgx.Tx, user string) error {
	_, err := tx.Exec(ctx, `UPDATE gateway_tokens t SET revoked_at = now() FROM users u
		WHERE u.id = $1 AND t.actor = 'user:' || u.username AND t.revoked_at IS NULL`, user)
	return err
}

// TokenCalls gives the newest calls with a gateway token, newest first.
func (db *DB) TokenCalls(ctx context.Context, token string) ([]ops.ToolCall, error) {
	records, err := db.calls(ctx, `WHERE c.token_id = $1 ORDER BY c.created_at DESC LIMIT 200`, token)
	return callsOf(records), err
}

// Grant is what a live token stands for at the gateway: a running run, or a
// token that was issued for itself.
type Grant struct {
	// RunID or TokenID is set, and the other empty.
	RunID, TokenID string
	IncidentID     string // of a run
	// Actor is who acts, for the audit.
	Actor string
	// Requester is whom the run or token acts for, since it was started.
	Requester string
	// Roles are those that the requester has now.
	Roles ActorRoles
	Agent string
	// AgentDisabled: nobody's run may use that agent any more.
	AgentDisabled bool
	Rules         []string // of the agent, which a service does not have
	AgentTools    []string // that the agent has; none is all
	// AgentTargets and AgentCredentials bound where and with what the agent works
	// ([ops.AgentDef]); none is all.
	AgentTargets, AgentCredentials []string
	// Chain are the agents from the first to this one, of a run that another has
	// asked for; else it is empty.
	Chain []string
	// Tools and Targets bound what an issued token is for ([GatewayToken]).
	Tools, Targets []string
	Deadline       time.Time
}

// Holder is what calls with the token are known by: the id of the run or of the token.
func (g Grant) Holder() string {
	if g.TokenID != "" {
		return g.TokenID
	}
	return g.RunID
}

// A grant is read with what decides about it in one statement, between its
// beginning and its end stands which one.
const (
	selectRunGrant = `SELECT x.*, ` + rolesColumns + ` FROM (
		SELECT r.gateway_token_hash AS hash, r.id::text AS run, '' AS token, r.incident_id::text AS incident, 'run:' || r.id AS acts, r.actor, r.agent_id AS agent,
			a.disabled_at IS NOT NULL AS disabled, a.rules, a.tools AS agent_tools, a.targets AS agent_targets, a.credentials AS agent_credentials, r.chain,
			'{}'::text[] AS tools, '{}'::text[] AS targets, r.deadline
		FROM runs r JOIN agents a ON a.id = r.agent_id WHERE r.state = 'running' AND r.deadline > now()
			AND NOT EXISTS (SELECT FROM users u WHERE r.actor LIKE 'user:%' AND u.username = substr(r.actor, 6) AND u.disabled_at IS NOT NULL) AND `
	selectTokenGrant = ` UNION ALL
		SELECT t.hash, '', t.id::text, '', t.actor || ' token:' || t.name, t.actor, coalesce(t.agent_id, ''),
			a.disabled_at IS NOT NULL, coalesce(a.rules, '{}'), coalesce(a.tools, '{}'), coalesce(a.targets, '{}'), coalesce(a.credentials, '{}'), '{}'::text[], t.tools, t.targets, t.expires_at
		FROM gateway_tokens t LEFT JOIN agents a ON a.id = t.agent_id WHERE t.revoked_at IS NULL AND t.expires_at > now() AND `
	selectGrantRoles = `) AS x CROSS JOIN LATERAL ` + rolesOfActor
)

// GrantByToken gives what the token with this hash stands for now. Unknown,
// ended, revoked and overdue ones are all code unauthenticated, as is a run whose
// user is disabled. Who asks at the same time shares one statement, which begins
// after all of them have asked.
func (db *DB) GrantByToken(ctx context.Context, hash []byte) (Grant, error) {
	g, ok, err := db.grants.get(ctx, string(hash), db.grantsByToken)
	return granted(g, ok, err)
}

func (db *DB) grantsByToken(ctx context.Context, hashes []string) (map[string]Grant, error) {
	list := make([][]byte, len(hashes))
	for i, h := range hashes {
		list[i] = []byte(h)
	}
	return db.selectGrants(ctx, selectTokenGrants, list)
}

const selectTokenGrants = selectRunGrant + `r.gateway_token_hash = ANY($1)` + selectTokenGrant + `t.hash = ANY($1)` + selectGrantRoles

// Ground is what a call to a target is judged by, as it was at one time.
type Ground struct {
	Grant Grant
	Way   []Stop // to the target, as of [DB.Way]
	hash  []byte // of the token
	// version is that of all that says who may do what where. It was read before
	// the rest: while it is the same, nothing of that has changed.
	version string
}

// Ground is [DB.GrantByToken], for one caller alone, and [DB.Way], in one round
// trip. Without a grant there is no way.
func (db *DB) Ground(ctx context.Context, hash []byte, name string, limit int) (Ground, error) {
	g := Ground{hash: hash}
	var known map[string]Grant
	b := &pgx.Batch{}
	b.Queue(selectRights).QueryRow(func(row pgx.Row) error { return row.Scan(&g.version) })
	b.Queue(selectTokenGrants, [][]byte{hash}).Query(func(rows pgx.Rows) (err error) {
		known, err = collectGrants(rows)
		return err
	})
	b.Queue(selectWay, name, limit).Query(func(rows pgx.Rows) (err error) {
		g.Way, err = pgx.CollectRows(rows, scanStop)
		return err
	})
	if err := db.pool.SendBatch(ctx, b).Close(); err != nil {
		return Ground{}, mapError(err)
	}
	grant, ok := known[string(hash)]
	grant, err := granted(grant, ok, nil)
	if err != nil {
		return Ground{}, err
	}
	g.Grant = grant
	return g, nil
}

const selectRights = `SELECT version::text FROM derived.rights`

// GrantByHolder gives the same for the id of a run or token.
func (db *DB) GrantByHolder(ctx context.Context, id string) (Grant, error) {
	all, err := db.selectGrants(ctx, selectRunGrant+`r.id = $1`+selectTokenGrant+`t.id = $1`+selectGrantRoles, id)
	for _, g := range all {
		return g, nil
	}
	return granted(Grant{}, false, err)
}

func granted(g Grant, ok bool, err error) (Grant, error) {
	if err == nil && !ok {
		err = ops.Errorf(ops.CodeUnauthenticated, "the token is unknown, or has ended")
	}
	return g, err
}

// selectGrants gives grants by the hashes of their tokens.
func (db *DB) selectGrants(ctx context.Context, query string, arg any) (map[string]Grant, error) {
	rows, err := db.pool.Query(ctx, query, arg)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := collectGrants(rows)
	return all, mapError(err)
}

func collectGrants(rows pgx.Rows) (map[string]Grant, error) {
	defer rows.Close()
	all := map[string]Grant{}
	for rows.Next() {
		var hash []byte
		var g Grant
		if err := rows.Scan(append([]any{&hash, &g.RunID, &g.TokenID, &g.IncidentID, &g.Actor, &g.Requester, &g.Agent, &g.AgentDisabled,
			&g.Rules, &g.AgentTools, &g.AgentTargets, &g.AgentCredentials, &g.Chain, &g.Tools, &g.Targets, &g.Deadline}, g.Roles.columns()...)...); err != nil {
			return nil, err
		}
		all[string(hash)] = g
	}
	return all, rows.Err()
}

// HoldersAlive gives those of the holders whose calls may go on: a gateway asks
// for all that it works for. A run that waits for another worker is alive, as
// that one will ask for the results.
func (db *DB) HoldersAlive(ctx context.Context, holders []string) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT id FROM runs WHERE id = ANY($1::uuid[]) AND state IN ('queued', 'running', 'waiting_approval') AND cancel_requested = ''
		UNION ALL SELECT id FROM gateway_tokens WHERE id = ANY($1::uuid[]) AND revoked_at IS NULL AND expires_at > now()`, holders)
	if err != nil {
		return nil, mapError(err)
	}
	alive, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return alive, mapError(err)
}
