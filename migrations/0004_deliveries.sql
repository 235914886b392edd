-- +goose Up

ALTER TABLE sources
    ADD COLUMN options      jsonb NOT NULL DEFAULT '{}', -- ops.SourceOptions
    ADD COLUMN verify_until timestamptz,                 -- set-up mode ends then
    ADD COLUMN deleted_at   timestamptz;                 -- what it sent stays as long as all else

ALTER TABLE alerts ADD COLUMN sender_severity text NOT NULL DEFAULT '';

-- Deliveries from which nothing, or not everything, was read, are dead letters
-- until they are replayed.
ALTER TABLE deliveries
    ADD COLUMN unproven       boolean NOT NULL DEFAULT false, -- wrong secret or signature, kept in set-up mode
    ADD COLUMN replayed_at    timestamptz,                    -- its alerts were read later
    ADD COLUMN replay_problem text NOT NULL DEFAULT '';       -- why the last try failed
GRANT UPDATE (alert_count, replayed_at, replay_problem) ON deliveries TO akmatori_api;

-- With the id, so that a page can go on in the middle of an instant.
CREATE INDEX deliveries_page ON deliveries (source_id, received_at DESC, id DESC);
DROP INDEX deliveries_by_source;
CREATE INDEX deliveries_dead ON deliveries (source_id, received_at DESC, id DESC) WHERE problem <> '';
CREATE INDEX deliveries_open ON deliveries (source_id, received_at DESC, id DESC) WHERE problem <> '' AND replayed_at IS NULL;
CREATE INDEX deliveries_unproven ON deliveries (source_id, received_at) WHERE unproven;

-- The senders' own names for their deliveries, so that one that is sent again is
-- stored once. Apart from deliveries, since it is kept for a shorter time.
CREATE TABLE delivery_ids (
    source_id   uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    sender_id   text NOT NULL,
    digest      bytea NOT NULL, -- of what was sent
    delivery_id uuid NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (source_id, sender_id)
);
CREATE INDEX delivery_ids_old ON delivery_ids (at);
GRANT SELECT, INSERT, DELETE ON delivery_ids TO akmatori_api;

-- What went wrong with a source's deliveries, one row a kind of error. It takes
-- over from source_health's unparsable, rejected and last_error, which the
-- release before still writes.
CREATE TABLE source_errors (
    source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    kind      text NOT NULL,
    count     bigint NOT NULL,
    at        timestamptz NOT NULL, -- the last one
    text      text NOT NULL,        -- and what it said
    PRIMARY KEY (source_id, kind)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON source_errors TO akmatori_api;
INSERT INTO source_errors SELECT source_id, 'unparsable', unparsable, coalesce(last_error_at, now()), last_error
    FROM source_health WHERE unparsable > 0;
INSERT INTO source_errors SELECT source_id, 'unauthenticated', rejected, coalesce(last_rejected_at, now()), ''
    FROM source_health WHERE rejected > 0;

ALTER TABLE source_health
    ADD COLUMN duplicates     bigint NOT NULL DEFAULT 0, -- sent again by the sender
    ADD COLUMN rejected_since int NOT NULL DEFAULT 0;    -- requests refused since the last that was not

-- How much a source sends: a ring of 60 minutes and one of 24 hours, so that it
-- never grows. A slot belongs to the time that at says.
CREATE TABLE source_rates (
    source_id  uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    unit       text NOT NULL CHECK (unit IN ('minute', 'hour')),
    slot       smallint NOT NULL,
    at         timestamptz NOT NULL,
    deliveries bigint NOT NULL,
    alerts     bigint NOT NULL,
    errors     bigint NOT NULL,
    PRIMARY KEY (source_id, unit, slot)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON source_rates TO akmatori_api;

-- +goose Down
SELECT 1;
