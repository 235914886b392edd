-- +goose Up

-- An alert of PagerDuty is identified without its service: its incident may be given
-- to another one, and ended as one of "SERVICE/KEY" by nobody. Of an incident that has
-- been given away already there are two alerts: the one that was heard of last is the
-- one that goes on, and the other stays as it is, to be resolved by hand. So does one
-- whose name was too long to be kept ("sha256:…"); no key of PagerDuty is.
WITH named AS (
    SELECT a.id, a.source_id, a.episode, a.last_seen,
        substr(a.identity, length(coalesce(a.labels->>'pagerduty_service', '')) + 2) AS identity
    FROM alerts a JOIN sources s ON s.id = a.source_id
    WHERE s.kind = 'pagerduty' AND starts_with(a.identity, coalesce(a.labels->>'pagerduty_service', '') || '/')
), chosen AS (
    SELECT DISTINCT ON (source_id, identity, episode) id, source_id, identity, episode FROM named
    ORDER BY source_id, identity, episode, last_seen DESC, id DESC
)
UPDATE alerts a SET identity = c.identity FROM chosen c
WHERE a.id = c.id AND NOT EXISTS (SELECT FROM alerts o WHERE o.source_id = c.source_id AND o.identity = c.identity AND o.episode = c.episode);

-- +goose Down
SELECT 1;
