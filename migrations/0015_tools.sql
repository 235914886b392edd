-- +goose Up

-- Services that an admin has added, each with its tools as one document: what
-- the gateway reads is all of a server or nothing.
CREATE TABLE tool_servers (
    id            uuid PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    kind          text NOT NULL CHECK (kind IN ('http', 'mcp')),
    url           text NOT NULL,
    ca            text NOT NULL DEFAULT '',
    credential    text REFERENCES credentials (name) ON UPDATE CASCADE,
    header        text NOT NULL DEFAULT '',
    allow_http    boolean NOT NULL DEFAULT false,
    allow_private boolean NOT NULL DEFAULT false,
    enabled       boolean NOT NULL DEFAULT true,
    tools         json NOT NULL CHECK (json_typeof(tools) = 'array' AND octet_length(tools::text) <= 2 << 20),
    revision      int NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    checked_at    timestamptz,
    problem       text NOT NULL DEFAULT ''
);
CREATE INDEX tool_servers_by_credential ON tool_servers (credential) WHERE credential IS NOT NULL;

-- Changes with each of them, so that the gateway reads them only when they have changed.
CREATE TABLE tools_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version   bigint NOT NULL
);
INSERT INTO tools_version (version) VALUES (1);

GRANT SELECT, INSERT, UPDATE, DELETE ON tool_servers TO akmatori_api;
GRANT SELECT, UPDATE ON tools_version TO akmatori_api;
GRANT SELECT ON tool_servers, tools_version TO akmatori_gateway;

-- +goose Down
SELECT 1;
