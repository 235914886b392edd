package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/postgres/seed"
)

const day = 24 * time.Hour

func TestOldIncidentsGoWithAllTheyHave(t *testing.T) {
	t.Parallel()
	db, conn, all := seeded(t, seed.Config{Incidents: 400, Alerts: 900, Seed: 5})
	exec := func(text string, args ...any) {
		t.Helper()
		_, err := conn.Exec(t.Context(), text, args...)
		require.NoError(t, err)
	}
	count := func(text string, args ...any) (n int) {
		t.Helper()
		require.NoError(t, conn.QueryRow(t.Context(), text, args...).Scan(&n))
		return n
	}
	// A tool call of every run, and what must not go with them.
	exec(`INSERT INTO tool_calls (run_id, call_id, tool, arguments, digest, created_at) SELECT id, 'c1', 'ssh_hosts', '{}', '', now() FROM runs`)
	exec(`INSERT INTO tool_steps (run_id, call_id, state, at, data) SELECT id, 'c1', 'done', now(), '{}' FROM runs`)
	require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", Actor: "user:ann", Action: "incident.closed", Object: all[len(all)-1].ID, Outcome: "done"}))

	old := `SELECT id FROM incidents WHERE status IN ('resolved', 'closed', 'merged') AND resolved_at < now() - interval '30 days'`
	// Old and over, but not to be deleted: an alert of it is still reported, it is
	// investigated again, somebody has touched it, it is open again.
	var kept []string
	rows, err := conn.Query(t.Context(), old+` ORDER BY number LIMIT 4`)
	require.NoError(t, err)
	kept, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	exec(`UPDATE alerts SET last_seen = now() WHERE id = (SELECT id FROM alerts WHERE incident_id = $1 LIMIT 1)`, kept[0])
	exec(`INSERT INTO runs (id, incident_id, agent_id, state, priority, created_at, available_at)
		VALUES (gen_random_uuid(), $1, 'investigator', 'running', 1, now(), now())`, kept[1])
	exec(`UPDATE incidents SET updated_at = now() WHERE id = $1`, kept[2])
	exec(`UPDATE incidents SET status = 'triggered' WHERE id = $1`, kept[3])
	doomed := count(`SELECT count(*) FROM (`+old+` AND id <> ALL ($1::uuid[])) AS d`, kept)
	require.Greater(t, doomed, 100, "more than one batch")
	left := count(`SELECT count(*) FROM incidents`) - doomed

	deleted, err := db.DeleteExpired(t.Context(), postgres.Retention{Incidents: 30 * day})
	require.NoError(t, err)
	require.EqualValues(t, doomed, deleted["incidents"])
	require.Equal(t, left, count(`SELECT count(*) FROM incidents`))
	require.Equal(t, 4, count(`SELECT count(*) FROM incidents WHERE id = ANY ($1::uuid[])`, kept))
	require.Equal(t, left, count(`SELECT count(*) FROM incident_search`))
	for _, orphans := range []string{
		`SELECT count(*) FROM alerts a WHERE NOT EXISTS (SELECT FROM incidents i WHERE i.id = a.incident_id)`,
		`SELECT count(*) FROM events e WHERE NOT EXISTS (SELECT FROM incidents i WHERE i.id = e.incident_id)`,
		`SELECT count(*) FROM runs r WHERE NOT EXISTS (SELECT FROM incidents i WHERE i.id = r.incident_id)`,
		`SELECT count(*) FROM findings f WHERE NOT EXISTS (SELECT FROM incidents i WHERE i.id = f.incident_id)`,
		`SELECT count(*) FROM tool_calls c WHERE NOT EXISTS (SELECT FROM runs r WHERE r.id = c.run_id)`,
		`SELECT count(*) FROM tool_steps s WHERE NOT EXISTS (SELECT FROM runs r WHERE r.id = s.run_id)`,
	} {
		require.Zero(t, count(orphans), orphans)
	}
	require.Positive(t, count(`SELECT count(*) FROM tool_steps`), "those of the others stay")
	require.Equal(t, 1, count(`SELECT count(*) FROM audit`), "the audit stays")
	facets, err := db.Facets(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	require.Equal(t, left, facets.Total)

	again, err := db.DeleteExpired(t.Context(), postgres.Retention{Incidents: 30 * day})
	require.NoError(t, err)
	require.Zero(t, again["incidents"])
}

// What the api may not do, whatever its code says.
func TestTheAPICannotDeleteWhatIsYoung(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	require.NoError(t, seed.Run(t.Context(), pg.Owner, seed.Config{Incidents: 200, Alerts: 200, Seed: 5}, nil))
	api, err := pgx.Connect(t.Context(), pg.API.Reveal())
	require.NoError(t, err)
	defer func() { _ = api.Close(t.Context()) }()
	for _, text := range []string{
		`DELETE FROM incidents`, `DELETE FROM runs`, `DELETE FROM events`, `DELETE FROM tool_calls`, `DELETE FROM audit`,
		`TRUNCATE incidents CASCADE`, `DELETE FROM incident_search`, `UPDATE incident_search SET status = 'open'`,
		`INSERT INTO derived.incident_tallies VALUES ('a', 'b', 'c', NULL, 'd', 1)`, `DELETE FROM derived.incident_tallies`,
		`SELECT delete_old_incidents('6 days', 10)`, `SELECT delete_old_incidents('-1 year', 10)`, `SELECT delete_old_incidents(NULL, 10)`,
	} {
		_, err := api.Exec(t.Context(), text)
		require.ErrorContains(t, err, "42501", text) // insufficient_privilege
	}
	var n int
	require.NoError(t, api.QueryRow(t.Context(), `SELECT delete_old_incidents('80 days', 5)`).Scan(&n))
	require.Equal(t, 5, n, "no more than was asked for")
	for _, other := range []ops.Secret{pg.Gateway, pg.Proxy} {
		conn, err := pgx.Connect(t.Context(), other.Reveal())
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `SELECT delete_old_incidents('80 days', 5)`)
		require.ErrorContains(t, err, "42501")
		require.NoError(t, conn.Close(t.Context()))
	}
	db := open(t, pg.API)
	_, err = db.DeleteExpired(t.Context(), postgres.Retention{Incidents: 6 * day})
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
	deleted, err := db.DeleteExpired(t.Context(), postgres.Retention{})
	require.NoError(t, err)
	require.Empty(t, deleted, "nothing is said about how long: for ever")
}

func TestOldDeliveriesGo(t *testing.T) {
	t.Parallel()
	db, conn, all := seeded(t, seed.Config{Incidents: 3, Alerts: 9, Seed: 5})
	source := all[0].SourceID
	add := func(n int, at time.Time) {
		t.Helper()
		// Ids in the order of time, as ops.NewID makes them.
		_, err := conn.Exec(t.Context(), `INSERT INTO deliveries (id, source_id, received_at, content_type, body, alert_count)
			SELECT (lpad(to_hex((extract(epoch FROM $2::timestamptz) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 19))::uuid, $3, $2, '', '', 0
			FROM generate_series(1, $1)`, n, at, source)
		require.NoError(t, err)
	}
	now := time.Now()
	add(2500, now.Add(-40*day))
	add(30, now.Add(-29*day))
	_, err := conn.Exec(t.Context(), `UPDATE alerts SET incident_id = NULL, last_seen = now() - interval '40 days' WHERE incident_id = $1`, all[0].ID)
	require.NoError(t, err)
	deleted, err := db.DeleteExpired(t.Context(), postgres.Retention{Deliveries: 30 * day})
	require.NoError(t, err)
	require.EqualValues(t, 2500, deleted["deliveries"])
	require.Positive(t, deleted["alerts"])
	var left, alerts int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM alerts)`).Scan(&left, &alerts))
	require.Equal(t, 30, left)
	require.EqualValues(t, 9-deleted["alerts"], alerts)
}

// Small things that nobody looks at any more go with the incidents of their time.
func TestSmallThingsDoNotGrowForEver(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	db := open(t, pg.API)
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	for _, text := range []string{
		`INSERT INTO usage_days (day, source) SELECT current_date - d, s FROM generate_series(0, 800) AS d, unnest('{"", "a", "b"}'::text[]) AS s`,
		`INSERT INTO gateway_tokens (id, name, hash, actor, agent_id, tools, targets, created_at, expires_at) SELECT gen_random_uuid(), 't', int4send(d), 'user:ann', 'investigator', '{*}', '{*}',
			now() - make_interval(days => d + 1), now() - make_interval(days => d) FROM generate_series(0, 99) AS d`,
		`INSERT INTO users (id, username, password_hash, roles) VALUES ('00000000-0000-7000-8000-000000000001', 'ann', '', '{}')`,
		`INSERT INTO api_tokens (id, user_id, name, hash, expires_at) SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', 't', int4send(d),
			CASE WHEN d < 100 THEN now() - make_interval(days => d) END FROM generate_series(0, 109) AS d`,
		`INSERT INTO maintenance_windows (id, name, enabled, match, ends_at, days, start_time, minutes, time_zone) SELECT gen_random_uuid(), d::text, true, '',
			CASE WHEN d < 100 THEN now() - make_interval(days => d) END, '{}', '', 0, '' FROM generate_series(0, 109) AS d`,
		`INSERT INTO memories (id, incident_number, service, labels, pattern, cause, fix, evidence, identities, words, confirmed_by, confirmed_at, updated_by, updated_at, expires_at)
			SELECT gen_random_uuid(), 1, '', '{}', 'p', 'c', '', '{}', '{}', '', 'user:ann', now(), 'user:ann', now(),
			CASE WHEN d < 100 THEN now() - make_interval(days => d) END FROM generate_series(0, 109) AS d`,
	} {
		_, err := conn.Exec(t.Context(), text)
		require.NoError(t, err, text)
	}
	deleted, err := db.DeleteExpired(t.Context(), postgres.Retention{Incidents: 30*day - time.Hour})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"incidents": 0, "usage": 3 * 400, "gateway tokens": 70, "api tokens": 70, "maintenance windows": 70, "memories": 70}, deleted,
		"what has no end stays, and so does what can still be asked for")
	spent, err := db.Usage(t.Context(), time.Now().AddDate(0, 0, -365))
	require.NoError(t, err)
	require.Len(t, spent, 3*366)
}
