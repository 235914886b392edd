-- +goose Up

-- Incidents that have got alerts which they are not found by yet, and when they
-- got the newest of them. Intake marks them; a chore of the api indexes them.
CREATE TABLE search_due (
    incident_id uuid PRIMARY KEY REFERENCES incidents ON DELETE CASCADE,
    at          timestamptz NOT NULL
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON search_due TO akmatori_api;

-- Room for the counts that each alert changes, so that no index is written for them.
ALTER TABLE incidents SET (fillfactor = 80);
ALTER TABLE alerts SET (fillfactor = 90);
