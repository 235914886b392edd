-- +goose Up

-- The whole output of a call whose result has only its head and its tail, as
-- far as it is kept: pieces of text in the order of n, stripped and redacted as
-- the result is. The gateway writes them while the output comes, so a call that
-- never ended may have some. run_id is the holder, as in tool_calls.
CREATE TABLE evidence (
    run_id  uuid NOT NULL,
    call_id text NOT NULL,
    n       int NOT NULL CHECK (n >= 0),
    start   bigint NOT NULL CHECK (start >= 0), -- of its first byte in the output
    size    int NOT NULL CHECK (size > 0), -- bytes of text
    line    bigint NOT NULL CHECK (line > 0), -- that its first byte is in, from 1
    lines   int NOT NULL CHECK (lines >= 0), -- that end in it
    stored  int NOT NULL GENERATED ALWAYS AS (octet_length(data)) STORED,
    data    bytea NOT NULL CHECK (octet_length(data) <= 1 << 20), -- the text in raw DEFLATE, RFC 1951
    PRIMARY KEY (run_id, call_id, n),
    FOREIGN KEY (run_id, call_id) REFERENCES tool_calls ON DELETE CASCADE
);
ALTER TABLE evidence ALTER COLUMN data SET STORAGE EXTERNAL; -- it is compressed already

GRANT SELECT, INSERT ON evidence TO akmatori_gateway;
GRANT SELECT ON evidence TO akmatori_api;

-- +goose Down
SELECT 1;
