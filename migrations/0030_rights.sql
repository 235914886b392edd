-- +goose Up

-- What says who may do what where has a version, which every change of it
-- replaces, in the same transaction and as its last step: nobody waits for
-- anything while the row is locked. The gateway judges a call by what it has read
-- before, and the statement that starts the call refuses if this has another
-- version since. It is unique, so that a database that was restored never has one
-- of before again; it can be derived, so it is in no backup.
CREATE TABLE derived.rights (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version   uuid NOT NULL DEFAULT gen_random_uuid()
) WITH (fillfactor = 50);
INSERT INTO derived.rights DEFAULT VALUES;

-- +goose StatementBegin
CREATE FUNCTION derived.renew_rights() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE derived.rights SET version = gen_random_uuid();
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- All that a call is judged by, but for the run: that is looked at itself.
-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['agents', 'users', 'roles', 'actor_roles', 'gateway_tokens', 'targets', 'credentials'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER renew_rights AFTER INSERT OR UPDATE OR DELETE ON public.%I
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION derived.renew_rights()', name);
        EXECUTE format('CREATE TRIGGER renew_rights_truncate AFTER TRUNCATE ON public.%I
            FOR EACH STATEMENT EXECUTE FUNCTION derived.renew_rights()', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT ON derived.rights TO akmatori_gateway;

-- +goose Down
SELECT 1;
