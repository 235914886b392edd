-- +goose Up

-- Skills are versions of a folder of files. Each import and edit makes a version;
-- the current one is what agents get, and going back makes an older one current.
CREATE TABLE skills (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(name) <= 64),
    enabled    boolean NOT NULL DEFAULT true,
    current    int NOT NULL,
    newest     int NOT NULL, -- the number that was given last
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE skill_versions (
    name       text NOT NULL REFERENCES skills ON DELETE CASCADE,
    version    int NOT NULL CHECK (version > 0),
    digest     text NOT NULL, -- of its files
    about      jsonb NOT NULL, -- what its SKILL.md says
    files      int NOT NULL,
    bytes      bigint NOT NULL,
    author     text NOT NULL,
    comment    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);
CREATE TABLE skill_files (
    name    text NOT NULL,
    version int NOT NULL,
    path    text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (name, version, path),
    FOREIGN KEY (name, version) REFERENCES skill_versions ON DELETE CASCADE
);

-- What came with the program, as it was put in last: a skill that still has this
-- digest was not edited, and one that is not there any more was removed by somebody.
CREATE TABLE starters (
    kind   text NOT NULL CHECK (kind IN ('skill', 'runbook')),
    name   text NOT NULL,
    digest text NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE runbooks (
    slug       text PRIMARY KEY CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 64),
    current    int NOT NULL,
    newest     int NOT NULL,
    heading    tsvector NOT NULL, -- words of the current title
    words      tsvector NOT NULL, -- of title and text
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX runbooks_words ON runbooks USING gin (words);
CREATE TABLE runbook_versions (
    slug       text NOT NULL REFERENCES runbooks ON DELETE CASCADE,
    version    int NOT NULL CHECK (version > 0),
    title      text NOT NULL,
    match      text[] NOT NULL,
    text       text NOT NULL,
    author     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (slug, version)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON skills, starters, runbooks TO akmatori_api;
GRANT SELECT, INSERT, DELETE ON skill_versions, skill_files, runbook_versions TO akmatori_api;

-- +goose Down
SELECT 1;
