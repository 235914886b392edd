-- +goose Up

-- Who writes records signs for them: in the last of those that were written
-- together stands the number of the first one, which key it was, and the
-- signature (ops.AuditKey). Records of before have none.
ALTER TABLE audit
    ADD COLUMN first     bigint,
    ADD COLUMN key       text,
    ADD COLUMN signature bytea,
    ADD CONSTRAINT audit_signature CHECK ((first IS NULL) = (signature IS NULL) AND (key IS NULL) = (signature IS NULL));

-- For people who look something up: newest first, by (at, chain, seq). A search
-- goes along one of these and looks at a bounded number of rows at a time. Texts are in the order of
-- their bytes, so that a prefix is a range. A chain in its own order is the primary key.
CREATE INDEX audit_by_at ON audit (at, chain, seq);
CREATE INDEX audit_by_chain ON audit (chain, at, seq);
CREATE INDEX audit_by_actor ON audit (actor COLLATE "C", at, chain, seq);
CREATE INDEX audit_by_action ON audit (action COLLATE "C", at, chain, seq);
CREATE INDEX audit_by_object ON audit (object, at, chain, seq);
CREATE INDEX audit_by_run ON audit (run_id, at, chain, seq) WHERE run_id <> '';
CREATE INDEX audit_by_refusal ON audit (at, chain, seq) WHERE outcome IN ('denied', 'failed', 'unknown');
