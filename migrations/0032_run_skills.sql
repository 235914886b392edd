-- +goose Up

-- The versions of skills that a run's agent was given at its newest claim, each as
-- "NAME VERSION": its worker gets the files of these, and of no others.
ALTER TABLE runs ADD COLUMN skills text[] NOT NULL DEFAULT '{}';

-- +goose Down
SELECT 1;
