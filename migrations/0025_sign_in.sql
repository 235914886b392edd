-- +goose Up

-- The one OpenID Connect provider, and which roles its groups give.
CREATE TABLE oidc_provider (
    singleton      boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id             uuid NOT NULL, -- what the secret is bound to, with issuer and client_id
    name           text NOT NULL,
    issuer         text NOT NULL,
    client_id      text NOT NULL,
    secret         bytea, -- sealed for the zone api; null for a public client
    scopes         text[] NOT NULL,
    username_claim text NOT NULL,
    groups_claim   text NOT NULL,
    provision      boolean NOT NULL, -- whoever is not known gets an account
    enabled        boolean NOT NULL,
    passwords      text NOT NULL CHECK (passwords IN ('everybody', 'admins')), -- who may sign in with one while this is enabled
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE oidc_group_roles (
    group_name text NOT NULL, -- * is everybody
    role       text NOT NULL REFERENCES roles,
    PRIMARY KEY (group_name, role)
);
CREATE INDEX oidc_group_roles_by_role ON oidc_group_roles (role);

-- Whom the provider knows a user as: never by name or address alone.
ALTER TABLE users
    ADD COLUMN oidc_issuer  text,
    ADD COLUMN oidc_subject text,
    ADD CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL)),
    ADD UNIQUE (oidc_issuer, oidc_subject);

-- A time-based one-time password (RFC 6238) of a user.
CREATE TABLE second_factors (
    user_id      uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    id           uuid NOT NULL UNIQUE, -- what the secret is bound to, with the user
    secret       bytea NOT NULL, -- sealed for the zone api
    confirmed_at timestamptz,    -- null: being set up, counts for nothing
    last_step    bigint NOT NULL DEFAULT 0, -- of the newest code that was used: none up to it counts again
    tries        int NOT NULL DEFAULT 0,    -- since the last right code
    locked_until timestamptz
);
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES second_factors ON DELETE CASCADE,
    hash    bytea NOT NULL,
    PRIMARY KEY (user_id, hash)
);

ALTER TABLE sessions
    ADD COLUMN method   text NOT NULL DEFAULT 'password' CHECK (method IN ('password', 'oidc', 'invitation', 'setup')),
    ADD COLUMN code_due boolean NOT NULL DEFAULT false, -- it is worth nothing until the code is given
    ALTER COLUMN proven_at DROP NOT NULL,
    ALTER COLUMN proven_at DROP DEFAULT; -- when the password or a code was last given; who comes from a provider gave neither

GRANT SELECT, INSERT, UPDATE, DELETE ON oidc_provider, oidc_group_roles, second_factors, recovery_codes TO akmatori_api;

-- +goose Down
SELECT 1;
