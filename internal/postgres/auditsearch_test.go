package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

const manyRecords = 60_000

// fillAudit makes records up, one a second, the newest now. The chains are not
// linked: this is about finding.
func fillAudit(t *testing.T, urls *pgtest.DB) (begin time.Time) {
	t.Helper()
	begin = time.Now().UTC().Truncate(time.Second).Add(-manyRecords * time.Second)
	conn := owner(t, urls)
	_, err := conn.Exec(t.Context(), `INSERT INTO audit (chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash)
		SELECT (ARRAY['gateway', 'gateway', 'proxy', 'api'])[1 + n % 4], n, $1::timestamptz + n * interval '1 second',
			CASE WHEN n % 4 = 3 THEN 'user:u' || n % 7 || CASE WHEN n % 8 = 3 THEN ' token:ide' ELSE '' END ELSE 'run:' || n / 100 END,
			(ARRAY['tool.intent', 'tool.outcome', 'llm.intent', 'user.changed'])[1 + n % 4], 'object ' || n / 10,
			CASE WHEN n % 4 = 3 THEN '' ELSE 'run' || n / 100 END,
			CASE WHEN n % 5000 = 1 THEN 'denied' WHEN n % 2 = 0 THEN 'intent' ELSE 'ok' END, '{}', '', ''
		FROM generate_series(1, $2::int) AS n`, begin, manyRecords)
	require.NoError(t, err)
	// Before these, one who acts through more tokens, in more ways, than are looked for one by one.
	_, err = conn.Exec(t.Context(), `INSERT INTO audit (chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash)
		SELECT 'many', $2 + n, $1::timestamptz - n * interval '1 second', 'user:many token:' || n, 'many.' || n, '', '', 'ok', '{}', '', '' FROM generate_series(1, 120) AS n`,
		begin, manyRecords)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `ANALYZE audit`)
	require.NoError(t, err)
	return begin
}

// TestAuditSearch pages through each filter to its end and compares with what is so.
func TestAuditSearch(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	begin := fillAudit(t, urls)
	for name, tt := range map[string]struct {
		f     postgres.AuditFilter
		where string
	}{
		"object":                {postgres.AuditFilter{Object: "object 4711"}, `object = 'object 4711'`},
		"run":                   {postgres.AuditFilter{Run: "run12"}, `run_id = 'run12'`},
		"run and action":        {postgres.AuditFilter{Run: "run12", Action: "tool."}, `run_id = 'run12' AND action LIKE 'tool.%'`},
		"actor and tokens":      {postgres.AuditFilter{Actor: "user:u3", From: begin.Add(50_000 * time.Second)}, `(actor = 'user:u3' OR actor LIKE 'user:u3 %') AND seq >= 50000`},
		"many actors":           {postgres.AuditFilter{Actor: "user:many"}, `actor LIKE 'user:many %'`},
		"many actions":          {postgres.AuditFilter{Action: "many."}, `action LIKE 'many.%'`},
		"many of both":          {postgres.AuditFilter{Actor: "user:many", Action: "many."}, `chain = 'many'`},
		"actor, nothing":        {postgres.AuditFilter{Actor: "user:u"}, `false`},
		"refused":               {postgres.AuditFilter{Outcome: "denied"}, `outcome = 'denied'`},
		"refused and chain":     {postgres.AuditFilter{Outcome: "denied", Chain: "api"}, `outcome = 'denied' AND chain = 'api'`},
		"action prefix":         {postgres.AuditFilter{Action: "llm", To: begin.Add(2_000 * time.Second)}, `action LIKE 'llm%' AND seq < 2000`},
		"action, nothing":       {postgres.AuditFilter{Action: "tool_"}, `false`},
		"chain and outcome":     {postgres.AuditFilter{Chain: "api", Outcome: "ok", From: begin.Add(58_000 * time.Second)}, `chain = 'api' AND outcome = 'ok' AND seq >= 58000`},
		"time":                  {postgres.AuditFilter{From: begin.Add(100 * time.Second), To: begin.Add(700 * time.Second)}, `seq >= 100 AND seq < 700`},
		"far and seldom":        {postgres.AuditFilter{Actor: "run:3", Outcome: "intent"}, `actor = 'run:3' AND outcome = 'intent'`},
		"what does not meet":    {postgres.AuditFilter{Chain: "proxy", Action: "user."}, `false`},
		"a pattern is no magic": {postgres.AuditFilter{Object: "object%"}, `false`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want int
			c, err := pgx.Connect(t.Context(), urls.Owner.Reveal())
			require.NoError(t, err)
			defer func() { _ = c.Close(context.Background()) }()
			require.NoError(t, c.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE `+tt.where).Scan(&want))
			seen := map[string]bool{}
			last, f := time.Now().Add(time.Hour), tt.f
			f.Limit = 200
			for range 2 * manyRecords / 200 {
				page, next, err := db.SearchAudit(t.Context(), f)
				require.NoError(t, err)
				for _, r := range page {
					require.False(t, r.At.After(last), "newest first")
					last = r.At
					seen[fmt.Sprint(r.Chain, r.Seq)] = true
				}
				if next == nil {
					break
				}
				f.Before = *next
			}
			require.Len(t, seen, want)
		})
	}
}

// TestAuditSearchByIncident finds what was done to an incident and by its runs.
func TestAuditSearchByIncident(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	run := claim(t, db, "w").Run
	gateway := open(t, urls.Gateway)
	for i := range 3 {
		require.NoError(t, gateway.AppendAudit(t.Context(), ops.AuditRecord{Chain: "gateway", At: time.Now(), Action: "tool.intent", Object: fmt.Sprint("call:", i), RunID: run.ID}))
		require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", At: time.Now(), Action: "incident.closed", Object: run.IncidentID}))
		require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", At: time.Now(), Action: "incident.closed", Object: ops.NewID()}))
	}
	found, next, err := db.SearchAudit(t.Context(), postgres.AuditFilter{Incident: run.IncidentID})
	require.NoError(t, err)
	require.Nil(t, next)
	require.Len(t, found, 6)
	found, _, err = db.SearchAudit(t.Context(), postgres.AuditFilter{Incident: run.IncidentID, Action: "tool."})
	require.NoError(t, err)
	require.Len(t, found, 3)
	found, _, err = db.SearchAudit(t.Context(), postgres.AuditFilter{Object: run.IncidentID, Incident: run.IncidentID})
	require.NoError(t, err)
	require.Len(t, found, 3)
}

// TestNoAuditSearchReadsTheTable: each combination of filters goes along an index.
func TestNoAuditSearchReadsTheTable(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	begin := fillAudit(t, urls)
	conn := owner(t, urls)
	set := []func(*postgres.AuditFilter){
		func(f *postgres.AuditFilter) { f.Chain = "gateway" },
		func(f *postgres.AuditFilter) { f.Actor = "user:u3" },
		func(f *postgres.AuditFilter) { f.Action = "tool." },
		func(f *postgres.AuditFilter) { f.Object = "object 9" },
		func(f *postgres.AuditFilter) { f.Run = "run12" },
		func(f *postgres.AuditFilter) { f.Incident = ops.NewID() },
		func(f *postgres.AuditFilter) { f.Outcome = "denied" },
		func(f *postgres.AuditFilter) { f.Outcome = "ok" },
		func(f *postgres.AuditFilter) { f.From, f.To = begin, time.Now() },
	}
	for bits := range 1 << len(set) {
		var f postgres.AuditFilter
		for i, put := range set {
			if bits&(1<<i) != 0 {
				put(&f)
			}
		}
		statement, args, err := db.AuditStatement(t.Context(), f)
		require.NoError(t, err)
		rows, err := conn.Query(t.Context(), `EXPLAIN `+statement, args...)
		require.NoError(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotContains(t, strings.Join(plan, "\n"), "Seq Scan on audit", "%+v", f)
	}
}
