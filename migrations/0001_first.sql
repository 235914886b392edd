-- +goose Up

-- Sources, and what they sent.

CREATE TABLE sources (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    kind        text NOT NULL,
    enabled     boolean NOT NULL DEFAULT true,
    secret_hash bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- One row a source, apart from sources so that counting never locks configuration.
CREATE TABLE source_health (
    source_id        uuid PRIMARY KEY REFERENCES sources ON DELETE CASCADE,
    deliveries       bigint NOT NULL DEFAULT 0,
    unparsable       bigint NOT NULL DEFAULT 0,
    rejected         bigint NOT NULL DEFAULT 0,
    last_delivery_at timestamptz,
    last_rejected_at timestamptz,
    last_error       text NOT NULL DEFAULT '',
    last_error_at    timestamptz
);

CREATE TABLE deliveries (
    id           uuid PRIMARY KEY,
    source_id    uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    received_at  timestamptz NOT NULL,
    content_type text NOT NULL,
    body         bytea NOT NULL,
    alert_count  int NOT NULL,
    problem      text NOT NULL DEFAULT '' -- why nothing was read from it
);
CREATE INDEX deliveries_by_source ON deliveries (source_id, received_at DESC);

-- Incidents.

CREATE TABLE incidents (
    id                   uuid PRIMARY KEY,
    number               bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    title                text NOT NULL,
    description          text NOT NULL DEFAULT '',
    severity             text NOT NULL CHECK (severity IN ('critical', 'high', 'warning', 'info')),
    status               text NOT NULL CHECK (status IN ('triggered', 'acknowledged', 'resolved', 'closed', 'merged')),
    investigation        text NOT NULL DEFAULT '',
    investigation_reason text NOT NULL DEFAULT '',
    run_id               uuid,
    source_id            uuid REFERENCES sources ON DELETE SET NULL,
    service              text NOT NULL DEFAULT '',
    group_key            text NOT NULL DEFAULT '',
    alert_count          int NOT NULL DEFAULT 0,
    firing_count         int NOT NULL DEFAULT 0,
    assignee             text NOT NULL DEFAULT '',
    opened_at            timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    resolved_at          timestamptz,
    -- The newest number of the timeline. It is taken under the row's lock, so
    -- numbers are committed in order: a reader that has seen n misses nothing below.
    last_seq             bigint NOT NULL DEFAULT 0
);
-- At most one open incident a group.
CREATE UNIQUE INDEX incidents_open_group ON incidents (source_id, group_key)
    WHERE status IN ('triggered', 'acknowledged') AND group_key <> '';
CREATE INDEX incidents_by_status ON incidents (status, number DESC);
CREATE INDEX incidents_by_severity ON incidents (severity, number DESC);
CREATE INDEX incidents_by_source ON incidents (source_id, number DESC);
CREATE INDEX incidents_by_text ON incidents USING gin (to_tsvector('simple', title || ' ' || service));

CREATE TABLE alerts (
    id          uuid PRIMARY KEY,
    source_id   uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    incident_id uuid REFERENCES incidents ON DELETE CASCADE, -- null: it was resolved before it was known
    identity    text NOT NULL,
    episode     text NOT NULL,
    group_key   text NOT NULL,
    status      text NOT NULL CHECK (status IN ('firing', 'acknowledged', 'resolved')),
    at          timestamptz NOT NULL, -- the sender's time of this state
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz,
    severity    text NOT NULL,
    title       text NOT NULL,
    summary     text NOT NULL,
    description text NOT NULL,
    service     text NOT NULL,
    host        text NOT NULL,
    labels      jsonb NOT NULL,
    annotations jsonb NOT NULL,
    links       jsonb NOT NULL,
    count       bigint NOT NULL DEFAULT 1,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    delivery_id uuid NOT NULL, -- the newest one that changed it
    UNIQUE (source_id, identity, episode)
);
CREATE INDEX alerts_by_incident ON alerts (incident_id, first_seen, id);

-- Agents and their runs.

CREATE TABLE agents (
    id         text PRIMARY KEY,
    prompt     text NOT NULL DEFAULT '',
    provider   text NOT NULL DEFAULT '',
    rules      text[] NOT NULL DEFAULT '{}',
    limits     jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE runs (
    id                 uuid PRIMARY KEY,
    incident_id        uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    agent_id           text NOT NULL REFERENCES agents,
    provider_id        uuid, -- fixed at the claim; the proxy lets the run reach this one alone
    state              text NOT NULL CHECK (state IN
        ('queued', 'running', 'waiting_approval', 'concluded', 'inconclusive', 'failed', 'cancelled')),
    reason             text NOT NULL DEFAULT '',
    priority           int NOT NULL,           -- lower runs first
    epoch              int NOT NULL DEFAULT 0, -- counts claims; fences a worker that lost its lease
    worker             text NOT NULL DEFAULT '',
    lease_until        timestamptz,
    deadline           timestamptz,
    acked_seq          bigint NOT NULL DEFAULT 0,
    cancel_requested   text NOT NULL DEFAULT '', -- why, while a worker still has it
    gateway_token_hash bytea,
    proxy_token_hash   bytea,
    created_at         timestamptz NOT NULL,
    available_at       timestamptz NOT NULL,
    started_at         timestamptz,
    ended_at           timestamptz
);
CREATE UNIQUE INDEX runs_one_live ON runs (incident_id) WHERE state IN ('queued', 'running', 'waiting_approval');
CREATE INDEX runs_by_incident ON runs (incident_id, created_at DESC);
CREATE INDEX runs_queue ON runs (priority, created_at) WHERE state = 'queued';
CREATE INDEX runs_leases ON runs (lease_until, deadline) WHERE state = 'running';
CREATE UNIQUE INDEX runs_gateway_token ON runs (gateway_token_hash) WHERE gateway_token_hash IS NOT NULL;
CREATE UNIQUE INDEX runs_proxy_token ON runs (proxy_token_hash) WHERE proxy_token_hash IS NOT NULL;

-- The timeline: append-only.
CREATE TABLE events (
    incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    seq         bigint NOT NULL,
    at          timestamptz NOT NULL,
    kind        text NOT NULL,
    run_id      uuid,
    run_seq     bigint,
    actor       text NOT NULL DEFAULT '',
    data        json NOT NULL, -- json and not jsonb: never queried, and it takes any text (\u0000, 1e999999)
    PRIMARY KEY (incident_id, seq)
);
CREATE UNIQUE INDEX events_by_run ON events (run_id, run_seq) WHERE run_seq IS NOT NULL;

CREATE TABLE findings (
    run_id      uuid PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
    at          timestamptz NOT NULL,
    conclusive  boolean NOT NULL,
    finding     json NOT NULL
);
CREATE INDEX findings_by_incident ON findings (incident_id, at DESC);

-- Tool calls, written by the gateway, which may only insert. A call starts once
-- because (run_id, call_id) is unique; it ends once because final_step is.

CREATE TABLE tool_calls (
    run_id     uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    call_id    text NOT NULL,
    tool       text NOT NULL,
    arguments  json NOT NULL,
    digest     bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, call_id)
);

CREATE TABLE tool_steps (
    run_id  uuid NOT NULL,
    call_id text NOT NULL,
    state   text NOT NULL CHECK (state IN ('decided', 'executing', 'done', 'failed', 'denied', 'unknown')),
    at      timestamptz NOT NULL,
    data    jsonb NOT NULL,
    PRIMARY KEY (run_id, call_id, state),
    FOREIGN KEY (run_id, call_id) REFERENCES tool_calls ON DELETE CASCADE
);
CREATE UNIQUE INDEX tool_steps_final ON tool_steps (run_id, call_id)
    WHERE state IN ('done', 'failed', 'denied', 'unknown');

-- What tools act on, and with what.

CREATE TABLE credentials (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    kind       text NOT NULL,
    zone       text NOT NULL CHECK (zone IN ('tools', 'egress')),
    targets    text[] NOT NULL,
    version    int NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE targets (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    kind       text NOT NULL,
    address    text NOT NULL,
    port       int NOT NULL CHECK (port BETWEEN 1 AND 65535),
    user_name  text NOT NULL DEFAULT '',
    host_key   text NOT NULL DEFAULT '',
    credential text REFERENCES credentials (name) ON UPDATE CASCADE,
    labels     jsonb NOT NULL DEFAULT '{}',
    jump       text REFERENCES targets (name) ON UPDATE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE providers (
    id            uuid PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    kind          text NOT NULL,
    base_url      text NOT NULL,
    model         text NOT NULL,
    credential    text REFERENCES credentials (name) ON UPDATE CASCADE,
    is_default    boolean NOT NULL DEFAULT false,
    allow_private boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX providers_one_default ON providers (is_default) WHERE is_default;

-- Accounts.

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    username      text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name         text NOT NULL,
    hash         bytea NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

-- The one-time link for the first admin: at most one row.
CREATE TABLE setup_tokens (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    hash       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

-- As alexedwards/scs/pgxstore wants it.
CREATE TABLE sessions (
    token  text PRIMARY KEY,
    data   bytea NOT NULL,
    expiry timestamptz NOT NULL
);
CREATE INDEX sessions_expiry ON sessions (expiry);

-- Audit: append-only for every role, hash-chained (ops.AuditRecord).
CREATE TABLE audit (
    chain   text NOT NULL,
    seq     bigint NOT NULL,
    at      timestamptz NOT NULL,
    actor   text NOT NULL,
    action  text NOT NULL,
    object  text NOT NULL,
    run_id  text NOT NULL DEFAULT '',
    outcome text NOT NULL,
    detail  jsonb NOT NULL,
    prev    bytea NOT NULL,
    hash    bytea NOT NULL,
    PRIMARY KEY (chain, seq)
);

-- Powers. The api writes the product's tables; what is append-only, is so for it too.

GRANT USAGE ON SCHEMA public TO akmatori_api, akmatori_gateway, akmatori_proxy;
GRANT SELECT ON goose_db_version TO akmatori_api, akmatori_gateway, akmatori_proxy;

GRANT SELECT, INSERT, UPDATE, DELETE ON sources, source_health, incidents, alerts, agents, runs, credentials, targets,
    providers, users, api_tokens, setup_tokens, sessions TO akmatori_api;
GRANT SELECT, INSERT, DELETE ON deliveries, findings TO akmatori_api;
GRANT SELECT, INSERT ON events, audit TO akmatori_api;
GRANT SELECT ON tool_calls, tool_steps TO akmatori_api;

GRANT SELECT ON agents, targets TO akmatori_gateway;
GRANT SELECT (id, name, kind, zone, targets, version, sealed, created_at) ON credentials TO akmatori_gateway;
GRANT SELECT (id, incident_id, agent_id, state, epoch, deadline, cancel_requested, gateway_token_hash) ON runs TO akmatori_gateway;
GRANT SELECT, INSERT ON tool_calls, tool_steps, audit TO akmatori_gateway;

GRANT SELECT ON providers TO akmatori_proxy;
GRANT SELECT (id, name, kind, zone, targets, version, sealed, created_at) ON credentials TO akmatori_proxy;
GRANT SELECT (id, incident_id, provider_id, state, deadline, proxy_token_hash) ON runs TO akmatori_proxy;
GRANT SELECT, INSERT ON audit TO akmatori_proxy;

-- Each reader of sealed rows sees its own zone alone, and each writer of the
-- audit its own chain: what a process cannot open it need not even hold.
ALTER TABLE credentials ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_all ON credentials TO akmatori_api USING (true) WITH CHECK (true);
CREATE POLICY gateway_zone ON credentials FOR SELECT TO akmatori_gateway USING (zone = 'tools');
CREATE POLICY proxy_zone ON credentials FOR SELECT TO akmatori_proxy USING (zone = 'egress');

ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_read ON audit FOR SELECT TO akmatori_api USING (true);
CREATE POLICY api_append ON audit FOR INSERT TO akmatori_api WITH CHECK (chain = 'api');
CREATE POLICY gateway_read ON audit FOR SELECT TO akmatori_gateway USING (chain = 'gateway');
CREATE POLICY gateway_append ON audit FOR INSERT TO akmatori_gateway WITH CHECK (chain = 'gateway');
CREATE POLICY proxy_read ON audit FOR SELECT TO akmatori_proxy USING (chain = 'proxy');
CREATE POLICY proxy_append ON audit FOR INSERT TO akmatori_proxy WITH CHECK (chain = 'proxy');

-- The agent that investigates alerts. Its rules are diagnostics that write
-- nothing, start nothing, go to no other host, read no file that is not named
-- here and show no environment; head, sort, grep and the like have no file
-- operand, so they are ends of pipes. What no rule names is asked, and while
-- nobody can be asked it is refused.
INSERT INTO agents (id, rules) VALUES ('investigator', ARRAY[
    'allow:ssh_hosts',
    'allow:ssh_execute(df)',
    'allow:ssh_execute(df -h)',
    'allow:ssh_execute(df -hT)',
    'allow:ssh_execute(df -i)',
    'allow:ssh_execute(df -hi)',
    'allow:ssh_execute(df -P)',
    'allow:ssh_execute(df -h /*)',
    'allow:ssh_execute(df -i /*)',
    'allow:ssh_execute(free)',
    'allow:ssh_execute(free -m)',
    'allow:ssh_execute(free -h)',
    'allow:ssh_execute(free -g)',
    'allow:ssh_execute(uptime)',
    'allow:ssh_execute(uptime -p)',
    'allow:ssh_execute(uptime -s)',
    'allow:ssh_execute(uname -a)',
    'allow:ssh_execute(uname -r)',
    'allow:ssh_execute(nproc)',
    'allow:ssh_execute(id)',
    'allow:ssh_execute(date)',
    'allow:ssh_execute(hostname)',
    'allow:ssh_execute(w)',
    'allow:ssh_execute(who)',
    'allow:ssh_execute(ps aux)',
    'allow:ssh_execute(ps -ef)',
    'allow:ssh_execute(ps aux --sort=?*)',
    'allow:ssh_execute(ps -ef --sort=?*)',
    'allow:ssh_execute(ps -eo pid,ppid,user,stat,pcpu,pmem,etime,comm)',
    'allow:ssh_execute(ps -eo pid,ppid,user,stat,pcpu,pmem,etime,comm --sort=?*)',
    'allow:ssh_execute(ps -eo pid,user,pcpu,pmem,comm --sort=?*)',
    'allow:ssh_execute(ps -eo pid,user,rss,vsz,comm --sort=?*)',
    'allow:ssh_execute(top -bn1)',
    'allow:ssh_execute(top -b -n 1)',
    'allow:ssh_execute(vmstat)',
    'allow:ssh_execute(vmstat -s)',
    'allow:ssh_execute(vmstat 1 [1-9])',
    'allow:ssh_execute(lscpu)',
    'allow:ssh_execute(lsblk)',
    'allow:ssh_execute(findmnt)',
    'allow:ssh_execute(ss -s)',
    'allow:ssh_execute(ss -tln)',
    'allow:ssh_execute(ss -tlnp)',
    'allow:ssh_execute(ss -uln)',
    'allow:ssh_execute(ss -tan)',
    'allow:ssh_execute(ss -tulpn)',
    'allow:ssh_execute(ip -br addr)',
    'allow:ssh_execute(ip route)',
    'allow:ssh_execute(systemctl --failed)',
    'allow:ssh_execute(systemctl --failed --no-pager)',
    'allow:ssh_execute(systemctl list-units --failed)',
    'allow:ssh_execute(systemctl list-timers --no-pager)',
    'allow:ssh_execute(systemctl status [a-zA-Z0-9]*)',
    'allow:ssh_execute(systemctl status [a-zA-Z0-9]* --no-pager)',
    'allow:ssh_execute(systemctl --no-pager status [a-zA-Z0-9]*)',
    'allow:ssh_execute(systemctl is-active [a-zA-Z0-9]*)',
    'allow:ssh_execute(systemctl is-enabled [a-zA-Z0-9]*)',
    'allow:ssh_execute(journalctl --no-pager -n [0-9]*)',
    'allow:ssh_execute(journalctl --no-pager -k -n [0-9]*)',
    'allow:ssh_execute(journalctl --no-pager -p [a-z]* -n [0-9]*)',
    'allow:ssh_execute(journalctl --no-pager -u [a-zA-Z0-9]* -n [0-9]*)',
    'allow:ssh_execute(journalctl -u [a-zA-Z0-9]* -n [0-9]* --no-pager)',
    'allow:ssh_execute(journalctl --no-pager -u [a-zA-Z0-9]* -n [0-9]* --since=?*)',
    'allow:ssh_execute(dmesg)',
    'allow:ssh_execute(dmesg -T)',
    'allow:ssh_execute(dmesg --level=err,warn)',
    'allow:ssh_execute(cat /proc/loadavg)',
    'allow:ssh_execute(cat /proc/meminfo)',
    'allow:ssh_execute(cat /proc/cpuinfo)',
    'allow:ssh_execute(cat /proc/mounts)',
    'allow:ssh_execute(cat /proc/stat)',
    'allow:ssh_execute(cat /proc/diskstats)',
    'allow:ssh_execute(cat /proc/uptime)',
    'allow:ssh_execute(cat /proc/version)',
    'allow:ssh_execute(cat /proc/swaps)',
    'allow:ssh_execute(cat /proc/net/dev)',
    'allow:ssh_execute(cat /proc/pressure/cpu)',
    'allow:ssh_execute(cat /proc/pressure/io)',
    'allow:ssh_execute(cat /proc/pressure/memory)',
    'allow:ssh_execute(cat /etc/os-release)',
    'allow:ssh_execute(ls -l /*)',
    'allow:ssh_execute(ls -la /*)',
    'allow:ssh_execute(ls -lah /*)',
    'allow:ssh_execute(du -xsh /*)',
    'allow:ssh_execute(du -xh --max-depth=1 /*)',
    'allow:ssh_execute(head -[0-9])',
    'allow:ssh_execute(head -[0-9][0-9])',
    'allow:ssh_execute(head -n [0-9])',
    'allow:ssh_execute(head -n [0-9][0-9])',
    'allow:ssh_execute(head -n [0-9][0-9][0-9])',
    'allow:ssh_execute(tail -n [0-9])',
    'allow:ssh_execute(tail -n [0-9][0-9])',
    'allow:ssh_execute(tail -n [0-9][0-9][0-9])',
    'allow:ssh_execute(sort)',
    'allow:ssh_execute(sort -n)',
    'allow:ssh_execute(sort -r)',
    'allow:ssh_execute(sort -rn)',
    'allow:ssh_execute(sort -nr)',
    'allow:ssh_execute(sort -h)',
    'allow:ssh_execute(sort -rh)',
    'allow:ssh_execute(sort -hr)',
    'allow:ssh_execute(uniq)',
    'allow:ssh_execute(uniq -c)',
    'allow:ssh_execute(wc -l)',
    'allow:ssh_execute(grep [!-]*)',
    'allow:ssh_execute(grep -i [!-]*)',
    'allow:ssh_execute(grep -v [!-]*)',
    'allow:ssh_execute(grep -c [!-]*)',
    'allow:ssh_execute(grep -E [!-]*)'
]);

-- +goose Down
SELECT 1;
