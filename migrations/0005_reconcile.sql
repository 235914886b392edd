-- +goose Up

-- Asking senders for their open alerts: one row a source that was asked, or has
-- a secret for it. Apart from sources, as it is written often.
CREATE TABLE source_reconcile (
    source_id  uuid PRIMARY KEY REFERENCES sources ON DELETE CASCADE,
    secret     bytea,       -- sealed for the zone api (ops.Source.ReconcileCredential)
    started_at timestamptz, -- a run that has not ended is a lease for it
    ended_at   timestamptz,
    ok_at      timestamptz, -- the newest run that got everything
    error      text NOT NULL DEFAULT '',
    missed     bigint NOT NULL DEFAULT 0,
    resolved   bigint NOT NULL DEFAULT 0,
    waiting    int NOT NULL DEFAULT 0,
    absent     jsonb NOT NULL DEFAULT '{}' -- alerts that fire here and not there: id to since when
);
GRANT SELECT, INSERT, UPDATE, DELETE ON source_reconcile TO akmatori_api;

-- +goose Down
SELECT 1;
