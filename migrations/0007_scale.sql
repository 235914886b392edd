-- +goose Up

-- Lists: the newest numbers with one value of what they are filtered by.
-- incidents_by_status, _severity and _source are there already.
CREATE INDEX incidents_by_service ON incidents (service, number DESC);
CREATE INDEX incidents_by_investigation ON incidents (investigation, number DESC);
CREATE INDEX incidents_by_assignee ON incidents (assignee, number DESC) WHERE assignee <> '';
CREATE INDEX incidents_open ON incidents (number DESC) WHERE status IN ('triggered', 'acknowledged');
CREATE INDEX incidents_by_time ON incidents (opened_at);

-- What an incident is found by: "key:value" of its alerts' labels, and the
-- words of itself and its alerts (postgres.searchWords; no dictionary of
-- Postgres is asked, so that nothing depends on the database's locale). Apart
-- from incidents, as these indexes would otherwise be written at each change of
-- a status. The other columns are copies, kept by a trigger and without an
-- index, so that what is found by a word is judged by them on the spot.
CREATE TABLE incident_search (
    number        bigint PRIMARY KEY REFERENCES incidents (number) ON DELETE CASCADE,
    opened_at     timestamptz NOT NULL,
    status        text NOT NULL,
    severity      text NOT NULL,
    investigation text NOT NULL,
    source_id     uuid,
    service       text NOT NULL,
    assignee      text NOT NULL,
    labels        text[] NOT NULL,
    words         tsvector NOT NULL
) WITH (fillfactor = 85);
ALTER TABLE incident_search ALTER COLUMN words SET STORAGE EXTERNAL; -- read far more often than its size matters
-- New entries wait in a list that every search reads as well: a short one.
CREATE INDEX incident_search_terms ON incident_search USING gin (labels, words) WITH (fastupdate = on, gin_pending_list_limit = 512);
DROP INDEX incidents_by_text;
INSERT INTO incident_search
    SELECT i.number, i.opened_at, i.status, i.severity, i.investigation, i.source_id, i.service, i.assignee,
        ARRAY(SELECT DISTINCT (l.key || ':' || l.value) COLLATE "C" FROM alerts a, jsonb_each_text(a.labels) l
            WHERE a.incident_id = i.id AND length(l.key || l.value) < 100 ORDER BY 1 LIMIT 200),
        array_to_tsvector(ARRAY(SELECT DISTINCT left(w, 64) FROM (
                SELECT regexp_split_to_table(lower(i.title || ' ' || i.service), '[^[:alnum:]_.-]+')
                UNION SELECT regexp_split_to_table(lower(concat_ws(' ', a.title, a.service, a.host, a.summary)), '[^[:alnum:]_.-]+')
                    FROM alerts a WHERE a.incident_id = i.id) AS t (w) WHERE w <> '' LIMIT 300))
    FROM incidents i;
GRANT SELECT, INSERT, UPDATE (labels, words) ON incident_search TO akmatori_api;

-- How many incidents there are of each kind, so that nobody counts them. Each
-- change is a row of its own: nobody waits for another, and no row is hot.
-- settle_tallies adds up. What can be derived is in no backup: a restore fills
-- this by the triggers.
CREATE SCHEMA derived;
GRANT USAGE ON SCHEMA derived TO akmatori_api;
CREATE TABLE derived.incident_tallies (
    status        text NOT NULL,
    severity      text NOT NULL,
    investigation text NOT NULL,
    source_id     uuid,
    service       text NOT NULL,
    n             int NOT NULL
);
GRANT SELECT ON derived.incident_tallies TO akmatori_api;

-- +goose StatementBegin
CREATE FUNCTION derived.follow_incident() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO derived.incident_tallies
            SELECT status, severity, investigation, source_id, service, count(*) FROM changed GROUP BY 1, 2, 3, 4, 5;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO derived.incident_tallies
            SELECT status, severity, investigation, source_id, service, -count(*) FROM changed GROUP BY 1, 2, 3, 4, 5;
    ELSE
        INSERT INTO derived.incident_tallies VALUES
            (OLD.status, OLD.severity, OLD.investigation, OLD.source_id, OLD.service, -1),
            (NEW.status, NEW.severity, NEW.investigation, NEW.source_id, NEW.service, 1);
        UPDATE public.incident_search SET status = NEW.status, severity = NEW.severity, investigation = NEW.investigation,
            source_id = NEW.source_id, service = NEW.service, assignee = NEW.assignee WHERE number = NEW.number;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER tally_insert AFTER INSERT ON incidents REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION derived.follow_incident();
CREATE TRIGGER tally_delete AFTER DELETE ON incidents REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION derived.follow_incident();
CREATE TRIGGER tally_update AFTER UPDATE ON incidents FOR EACH ROW
    WHEN ((OLD.status, OLD.severity, OLD.investigation, OLD.source_id, OLD.service, OLD.assignee)
        IS DISTINCT FROM (NEW.status, NEW.severity, NEW.investigation, NEW.source_id, NEW.service, NEW.assignee))
    EXECUTE FUNCTION derived.follow_incident();
INSERT INTO derived.incident_tallies
    SELECT status, severity, investigation, source_id, service, count(*) FROM incidents GROUP BY 1, 2, 3, 4, 5;

-- settle_tallies leaves one row a kind of incident. Two at once wait for each
-- other at the rows, and the second finds them gone.
-- +goose StatementBegin
CREATE FUNCTION derived.settle_tallies() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH many AS (
        SELECT status, severity, investigation, source_id, service FROM derived.incident_tallies GROUP BY 1, 2, 3, 4, 5
        HAVING count(*) > 1 OR sum(n) = 0
    ), gone AS (
        DELETE FROM derived.incident_tallies t USING many m
        WHERE (t.status, t.severity, t.investigation, t.service) = (m.status, m.severity, m.investigation, m.service)
            AND t.source_id IS NOT DISTINCT FROM m.source_id
        RETURNING t.*
    )
    INSERT INTO derived.incident_tallies
        SELECT status, severity, investigation, source_id, service, sum(n) FROM gone GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0;
$$;
-- +goose StatementEnd

-- Retention. Deleting an incident deletes its timeline and what its runs did,
-- which nobody may delete otherwise. So the api may not delete incidents and
-- runs: it may ask for old ones to go, and what is old has a lower bound.
REVOKE DELETE ON incidents, runs FROM akmatori_api;
CREATE INDEX incidents_over ON incidents (coalesce(resolved_at, opened_at)) WHERE status IN ('resolved', 'closed', 'merged');
-- Not by last_seen: an index on what each repetition changes makes each write to all indexes.
CREATE INDEX alerts_without_incident ON alerts (first_seen) WHERE incident_id IS NULL;

-- delete_old_incidents deletes up to at_most incidents, the oldest first, that
-- were over and untouched for the time given, at least a week. It gives how
-- many. An incident stays while an alert of it is still being reported or an
-- investigation goes on.
-- +goose StatementBegin
CREATE FUNCTION delete_old_incidents(older_than interval, at_most int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cutoff timestamptz := now() - older_than;
    old    uuid[];
    n      int;
BEGIN
    IF older_than IS NULL OR cutoff > now() - interval '7 days' THEN
        RAISE EXCEPTION 'incidents are kept for at least 7 days' USING ERRCODE = 'insufficient_privilege';
    END IF;
    old := ARRAY(SELECT i.id FROM public.incidents i
        WHERE i.status IN ('resolved', 'closed', 'merged') AND coalesce(i.resolved_at, i.opened_at) < cutoff AND i.updated_at < cutoff
            AND NOT EXISTS (SELECT FROM public.alerts a WHERE a.incident_id = i.id AND a.last_seen >= cutoff)
            AND NOT EXISTS (SELECT FROM public.runs r WHERE r.incident_id = i.id AND r.state IN ('queued', 'running', 'waiting_approval'))
        ORDER BY coalesce(i.resolved_at, i.opened_at) LIMIT least(greatest(at_most, 0), 1000));
    -- Locked in the order that everybody keeps, then judged again.
    PERFORM FROM public.alerts a WHERE a.incident_id = ANY (old) ORDER BY a.id FOR UPDATE;
    PERFORM FROM public.incidents i WHERE i.id = ANY (old) ORDER BY i.id FOR UPDATE;
    DELETE FROM public.incidents i WHERE i.id = ANY (old)
        AND i.status IN ('resolved', 'closed', 'merged') AND coalesce(i.resolved_at, i.opened_at) < cutoff AND i.updated_at < cutoff
        AND NOT EXISTS (SELECT FROM public.alerts a WHERE a.incident_id = i.id AND a.last_seen >= cutoff)
        AND NOT EXISTS (SELECT FROM public.runs r WHERE r.incident_id = i.id AND r.state IN ('queued', 'running', 'waiting_approval'));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION derived.follow_incident(), derived.settle_tallies(), delete_old_incidents(interval, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION derived.settle_tallies(), delete_old_incidents(interval, int) TO akmatori_api;

-- +goose Down
SELECT 1;
