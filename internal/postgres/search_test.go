package postgres_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/postgres/seed"
)

// known is an incident as the tables have it, to select by hand.
type known struct {
	ops.Incident
	labels []string
	text   string // of everything that it is found by, in lower case
}

// seeded gives a database with made-up incidents, all of them read, newest first.
func seeded(t *testing.T, c seed.Config) (*postgres.DB, *pgx.Conn, []known) {
	t.Helper()
	pg := pgtest.New(t)
	require.NoError(t, seed.Run(t.Context(), pg.Owner, c, nil))
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	db := open(t, pg.API)
	rows, err := conn.Query(t.Context(), `SELECT i.id, i.number, i.title, i.severity, i.status, i.investigation, coalesce(i.source_id::text, ''), i.service,
			i.assignee, i.opened_at,
			ARRAY(SELECT DISTINCT l.key || ':' || l.value FROM alerts a, jsonb_each_text(a.labels) l WHERE a.incident_id = i.id),
			lower(concat_ws(' ', i.title, i.service, (SELECT string_agg(concat_ws(' ', a.title, a.host, a.summary), ' ') FROM alerts a WHERE a.incident_id = i.id)))
		FROM incidents i ORDER BY i.number DESC`)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k known, err error) {
		err = row.Scan(&k.ID, &k.Number, &k.Title, &k.Severity, &k.Status, &k.Investigation, &k.SourceID, &k.Service, &k.Assignee, &k.OpenedAt, &k.labels, &k.text)
		return k, err
	})
	require.NoError(t, err)
	return db, conn, all
}

// selects is the filter as one would write it without a database.
func selects(f postgres.IncidentFilter, k known) bool {
	keys := map[string]bool{}
	for _, l := range f.Labels {
		key, _, _ := strings.Cut(l, ":")
		keys[key] = keys[key] || slices.Contains(k.labels, l)
	}
	for _, found := range keys {
		if !found {
			return false
		}
	}
	for _, word := range strings.Fields(strings.ToLower(f.Text)) {
		if number, ok := strings.CutPrefix(word, "#"); ok {
			if number != fmt.Sprint(k.Number) {
				return false
			}
		} else if !strings.Contains(k.text, word) {
			return false
		}
	}
	in := func(values []string, v, empty string) bool {
		return len(values) == 0 || slices.Contains(values, cmp.Or(v, empty))
	}
	return (len(f.Statuses) == 0 || slices.Contains(f.Statuses, k.Status)) && (len(f.Severities) == 0 || slices.Contains(f.Severities, k.Severity)) &&
		in(f.Investigations, string(k.Investigation), postgres.None) && in(f.Sources, k.SourceID, postgres.None) && in(f.Services, k.Service, "") &&
		in(f.Assignees, k.Assignee, "") && (f.OpenedAfter.IsZero() || !k.OpenedAt.Before(f.OpenedAfter)) &&
		(f.OpenedBefore.IsZero() || k.OpenedAt.Before(f.OpenedBefore))
}

func TestListAndFacetsAreRight(t *testing.T) {
	t.Parallel()
	db, conn, all := seeded(t, seed.Config{Incidents: 3500, Alerts: 8000, Seed: 7})
	_, err := conn.Exec(t.Context(), `UPDATE incidents SET source_id = NULL WHERE number % 50 = 0`) // opened by hand
	require.NoError(t, err)
	for n := range all {
		if all[n].Number%50 == 0 {
			all[n].SourceID = ""
		}
	}
	require.NoError(t, db.SettleTallies(t.Context()))
	require.NoError(t, db.SettleTallies(t.Context()), "twice is once")
	old := all[len(all)-1]
	filters := map[string]postgres.IncidentFilter{
		"all":             {},
		"open":            {Statuses: []ops.IncidentStatus{ops.IncidentTriggered, ops.IncidentAcknowledged}},
		"closed":          {Statuses: []ops.IncidentStatus{ops.IncidentClosed, ops.IncidentMerged}},
		"severity":        {Severities: []ops.Severity{ops.SeverityCritical, ops.SeverityInfo}},
		"service":         {Services: []string{old.Service}},
		"services":        {Services: []string{"auth-api", "mail-db"}, Severities: []ops.Severity{ops.SeverityHigh}},
		"source":          {Sources: []string{old.SourceID}, Statuses: []ops.IncidentStatus{ops.IncidentResolved}},
		"by hand":         {Sources: []string{postgres.None}},
		"one or by hand":  {Sources: []string{old.SourceID, postgres.None}},
		"outcome":         {Investigations: []string{"failed", postgres.None}},
		"assignee":        {Assignees: []string{"ann", "bob"}, Severities: []ops.Severity{ops.SeverityWarning}},
		"label":           {Labels: []string{"env:staging"}},
		"labels":          {Labels: []string{"env:staging", "env:dev", "region:eu-west-1"}, Statuses: []ops.IncidentStatus{ops.IncidentResolved}},
		"rare label":      {Labels: []string{"instance:" + hostOf(old)}},
		"no such label":   {Labels: []string{"env:none"}},
		"word":            {Text: "disk"},
		"words":           {Text: "disk prod"},
		"unfinished word": {Text: "certif"},
		"rare word":       {Text: strings.Split(hostOf(old), ".")[0]},
		"number":          {Text: "#17"},
		"unicode":         {Text: "überlast"},
		"no spaces":       {Text: "空间不足"},
		"one character":   {Text: "磁"},
		"word and more":   {Text: "latency", Severities: []ops.Severity{ops.SeverityHigh}, Labels: []string{"env:prod"}, Services: []string{"auth-api", "auth-db"}},
		"old":             {OpenedBefore: all[3000].OpenedAt},
		"one day":         {OpenedAfter: all[2100].OpenedAt, OpenedBefore: all[2000].OpenedAt},
		"old and word":    {OpenedBefore: all[3400].OpenedAt, Text: "disk"},
	}
	for name, f := range filters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []known
			for _, k := range all {
				if selects(f, k) {
					want = append(want, k)
				}
			}
			require.Equal(t, strings.HasPrefix(name, "no such"), len(want) == 0, "the test finds something")
			var got []int64
			for f := f; ; {
				f.Limit = 200
				page, err := db.Incidents(t.Context(), f)
				require.NoError(t, err)
				for _, i := range page {
					got = append(got, i.Number)
				}
				if len(page) < f.Limit {
					break
				}
				f.Before = got[len(got)-1]
			}
			var numbers []int64
			for _, k := range want {
				numbers = append(numbers, k.Number)
			}
			require.Equal(t, numbers, got)
			facets, err := db.Facets(t.Context(), f)
			require.NoError(t, err)
			checkFacets(t, f, facets, all, want)
		})
	}
}

// Lists and facets of more incidents than are looked through: whatever the way
// they are found, a page goes on where the one before has ended, and each count is
// of the newest that would be listed. Retention has left holes in the numbers.
func TestListsAndFacetsOfMany(t *testing.T) {
	t.Parallel()
	db, conn, all := seeded(t, seed.Config{Incidents: 16_000, Alerts: 16_000, Seed: 11})
	kept := func(number int64) bool { return number%5 != 0 && (number < 9000 || number > 10_500) }
	_, err := conn.Exec(t.Context(), `DELETE FROM incidents WHERE number % 5 = 0 OR number BETWEEN 9000 AND 10500`)
	require.NoError(t, err)
	all = slices.DeleteFunc(all, func(k known) bool { return !kept(k.Number) })
	require.Less(t, 11_000, len(all))
	old := all[len(all)-1]
	resolved, closed, merged := ops.IncidentResolved, ops.IncidentClosed, ops.IncidentMerged
	for name, f := range map[string]postgres.IncidentFilter{
		"common label":        {Labels: []string{"env:prod"}},
		"word":                {Text: "disk"},
		"word in closed":      {Text: "disk", Statuses: []ops.IncidentStatus{closed}},
		"label and more":      {Labels: []string{"env:dev"}, Statuses: []ops.IncidentStatus{resolved}, Severities: []ops.Severity{ops.SeverityWarning}},
		"one in a hundred":    {Text: "disk prod", Labels: []string{"region:eu-west-1"}, Statuses: []ops.IncidentStatus{resolved}, Severities: []ops.Severity{ops.SeverityWarning}},
		"one in two hundred":  {Labels: []string{"env:dev", "region:ap-south-1"}, Statuses: []ops.IncidentStatus{closed, merged}, Services: []string{"auth-api", "auth-db", "mail-api"}},
		"rare state":          {Labels: []string{"env:dev", "region:us-east-1"}, Statuses: []ops.IncidentStatus{merged}},
		"rare label":          {Labels: []string{"instance:" + hostOf(old)}, Severities: []ops.Severity{old.Severity}},
		"rare among the rare": {Labels: []string{"instance:" + hostOf(old), "env:dev"}, Statuses: []ops.IncidentStatus{merged}, Services: []string{old.Service}},
		"long ago":            {Labels: []string{"env:prod"}, OpenedBefore: all[len(all)-700].OpenedAt, Severities: []ops.Severity{ops.SeverityHigh}},
		"an assignee":         {Assignees: []string{"ann"}, Investigations: []string{"failed"}, Sources: []string{old.SourceID}},
		"a number":            {Text: fmt.Sprint("#", old.Number), Statuses: []ops.IncidentStatus{merged}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listed := func(f postgres.IncidentFilter) (out []known) {
				for _, k := range all {
					if selects(f, k) {
						out = append(out, k)
					}
				}
				return out
			}
			selected := listed(f)
			for _, size := range []int{7, 200} {
				left := selected
				for f, n := f, 0; n < 10; n++ { // not to the end of what half of them are
					f.Limit = size
					page, err := db.Incidents(t.Context(), f)
					require.NoError(t, err)
					require.Len(t, page, min(size, len(left)))
					for n, i := range page {
						require.Equal(t, left[n].Number, i.Number)
					}
					if left = left[len(page):]; len(page) < size {
						break
					}
					f.Before = page[size-1].Number
				}
			}

			got, err := db.Facets(t.Context(), f)
			require.NoError(t, err)
			require.Equal(t, min(got.Total, 500), got.LabelsOf)
			exact := true
			check := func(name string, values []postgres.FacetValue, of []known, value func(known) string) {
				n := 0
				have := map[string]int{}
				for _, v := range values {
					have[v.Value], n = v.Count, n+v.Count
				}
				require.GreaterOrEqual(t, n, min(50, len(of)), name)
				exact = exact && n == len(of)
				want := map[string]int{}
				for _, k := range of[:n] {
					want[value(k)]++
				}
				require.Equal(t, want, have, name)
			}
			require.GreaterOrEqual(t, got.Total, min(50, len(selected)))
			require.LessOrEqual(t, got.Total, len(selected))
			status, severity, investigation, source, service := f, f, f, f, f
			status.Statuses, severity.Severities, investigation.Investigations, source.Sources, service.Services = nil, nil, nil, nil, nil
			check("status", got.Status, listed(status), func(k known) string { return string(k.Status) })
			check("severity", got.Severity, listed(severity), func(k known) string { return string(k.Severity) })
			check("investigation", got.Investigation, listed(investigation), func(k known) string { return cmp.Or(string(k.Investigation), postgres.None) })
			check("source", got.Source, listed(source), func(k known) string { return k.SourceID })
			check("service", got.Service, listed(service), func(k known) string { return k.Service })
			require.Equal(t, exact, got.Exact)
			for _, key := range got.Labels {
				of := f
				of.Labels = slices.DeleteFunc(slices.Clone(f.Labels), func(l string) bool { return strings.HasPrefix(l, key.Key+":") })
				newest := selected[:got.LabelsOf]
				if len(of.Labels) < len(f.Labels) { // counted without its own condition: each has the key once
					newest = listed(of)
					newest = newest[:min(key.Count, len(newest))]
				}
				for _, v := range key.Values {
					n := 0
					for _, k := range newest {
						if slices.Contains(k.labels, key.Key+":"+v.Value) {
							n++
						}
					}
					require.Equal(t, n, v.Count, key.Key+":"+v.Value)
				}
			}
		})
	}
}

func hostOf(k known) string {
	for _, l := range k.labels {
		if host, ok := strings.CutPrefix(l, "instance:"); ok {
			return host
		}
	}
	return ""
}

// checkFacets counts by hand.
func checkFacets(t *testing.T, f postgres.IncidentFilter, got postgres.Facets, all, want []known) {
	t.Helper()
	sample := 1000
	tallied := len(f.Labels)+len(f.Assignees) == 0 && f.Text == "" && f.OpenedAfter.IsZero() && f.OpenedBefore.IsZero()
	exact := true
	count := func(f postgres.IncidentFilter, value func(known) string, empty string) map[string]int {
		out := map[string]int{}
		n := 0
		for _, k := range all {
			if !selects(f, k) {
				continue
			}
			if n++; n > sample && !tallied {
				exact = false
				break
			}
			if v := cmp.Or(value(k), empty); v != "" {
				out[v]++
			}
		}
		return out
	}
	compare := func(name string, values []postgres.FacetValue, want map[string]int) {
		have := map[string]int{}
		for n, v := range values {
			have[v.Value] = v.Count
			require.True(t, n == 0 || values[n-1].Count >= v.Count, name)
		}
		require.Equal(t, want, have, name)
	}
	require.Equal(t, count(f, func(known) string { return "all" }, "")["all"], got.Total)
	status, severity, investigation, source, service := f, f, f, f, f
	status.Statuses, severity.Severities, investigation.Investigations, source.Sources, service.Services = nil, nil, nil, nil, nil
	compare("status", got.Status, count(status, func(k known) string { return string(k.Status) }, ""))
	compare("severity", got.Severity, count(severity, func(k known) string { return string(k.Severity) }, ""))
	compare("investigation", got.Investigation, count(investigation, func(k known) string { return string(k.Investigation) }, postgres.None))
	compare("source", got.Source, count(source, func(k known) string { return k.SourceID }, postgres.None))
	compare("service", got.Service, count(service, func(k known) string { return k.Service }, ""))
	require.Equal(t, exact, got.Exact)

	newest := want[:min(len(want), 500)]
	require.Equal(t, len(newest), got.LabelsOf)
	for _, key := range got.Labels {
		newest, of := newest, f
		if of.Labels = slices.DeleteFunc(slices.Clone(f.Labels), func(l string) bool { return strings.HasPrefix(l, key.Key+":") }); len(of.Labels) < len(f.Labels) {
			newest = nil
			for _, k := range all {
				if selects(of, k) && len(newest) < 500 {
					newest = append(newest, k)
				}
			}
		}
		for _, v := range key.Values {
			n := 0
			for _, k := range newest {
				if slices.Contains(k.labels, key.Key+":"+v.Value) {
					n++
				}
			}
			require.Equal(t, n, v.Count, key.Key+":"+v.Value)
		}
		require.LessOrEqual(t, len(key.Values), 10)
	}
	if len(newest) > 0 {
		require.GreaterOrEqual(t, len(got.Labels), 7)
	}
}

// The counts follow every change, whoever makes it.
func TestTalliesFollow(t *testing.T) {
	t.Parallel()
	db, conn, _ := seeded(t, seed.Config{Incidents: 300, Alerts: 600, Seed: 3})
	same := func() {
		t.Helper()
		var wrong int
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM
			(SELECT status, severity, investigation, source_id, service, count(*) AS n FROM incidents GROUP BY 1, 2, 3, 4, 5) a FULL JOIN
			(SELECT status, severity, investigation, source_id, service, sum(n) AS n FROM derived.incident_tallies GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0) b
			ON (a.status, a.severity, a.investigation, a.service) = (b.status, b.severity, b.investigation, b.service) AND a.source_id IS NOT DISTINCT FROM b.source_id
			WHERE a.n IS DISTINCT FROM b.n`).Scan(&wrong))
		require.Zero(t, wrong)
	}
	same()
	for _, change := range []string{
		`UPDATE incidents SET status = 'closed' WHERE number % 3 = 0`,
		`UPDATE incidents SET severity = 'info', investigation = '' WHERE number % 5 = 0`,
		`UPDATE incidents SET service = 'other', title = 'x' WHERE number % 7 = 0`,
		`UPDATE incidents SET last_seq = last_seq + 1`,
		`DELETE FROM incidents WHERE number % 4 = 0`,
		`DELETE FROM sources WHERE name LIKE 'zabbix%'`,
		`INSERT INTO incidents (id, title, severity, status, opened_at, updated_at) VALUES (gen_random_uuid(), 't', 'high', 'triggered', now(), now())`,
	} {
		_, err := conn.Exec(t.Context(), change)
		require.NoError(t, err)
		same()
	}
	require.NoError(t, db.SettleTallies(t.Context()))
	same()
	var rows, kinds int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT (status, severity, investigation, source_id, service)) FROM derived.incident_tallies`).Scan(&rows, &kinds))
	require.Equal(t, kinds, rows)
}

// However many services there are, none of them crowds out the counts of states.
func TestFacetsOfManyServices(t *testing.T) {
	t.Parallel()
	db, conn, _ := seeded(t, seed.Config{Incidents: 1, Alerts: 1, Seed: 1})
	for _, q := range []string{
		`DELETE FROM incidents`,
		`INSERT INTO incidents (id, title, severity, status, service, opened_at, updated_at)
			SELECT gen_random_uuid(), 't', 'info', 'closed', 's' || n / 2, now(), now() FROM generate_series(0, 10999) AS n`,
		`INSERT INTO incidents (id, title, severity, status, opened_at, updated_at) VALUES (gen_random_uuid(), 't', 'critical', 'triggered', now(), now())`,
	} {
		_, err := conn.Exec(t.Context(), q)
		require.NoError(t, err)
	}
	f, err := db.Facets(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	require.Equal(t, []any{11_001, true}, []any{f.Total, f.Exact})
	require.Equal(t, []postgres.FacetValue{{Value: "closed", Count: 11_000}, {Value: "triggered", Count: 1}}, f.Status)
}

func TestAlertsOfAnIncidentInPages(t *testing.T) {
	t.Parallel()
	db, conn, _ := seeded(t, seed.Config{Incidents: 3, Alerts: 700, Seed: 1})
	var incident string
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT id, alert_count FROM incidents ORDER BY alert_count DESC LIMIT 1`).Scan(&incident, &n))
	require.Greater(t, n, 100)
	// Many of one instant: the page must go on in the middle of them.
	_, err := conn.Exec(t.Context(), `UPDATE alerts SET first_seen = date_trunc('hour', first_seen) WHERE incident_id = $1`, incident)
	require.NoError(t, err)
	seen := map[string]bool{}
	for after := ""; ; {
		page, err := db.AlertPage(t.Context(), incident, after, 33)
		require.NoError(t, err)
		for _, a := range page {
			require.False(t, seen[a.ID], "twice")
			seen[a.ID] = true
		}
		if len(page) < 33 {
			break
		}
		after = page[32].ID
	}
	require.Len(t, seen, n)
	_, err = db.AlertPage(t.Context(), incident, ops.NewID(), 10)
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
}

func TestSeedIsRepeatable(t *testing.T) {
	t.Parallel()
	c := seed.Config{Incidents: 200, Alerts: 900, Seed: 42, Now: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	content := func(c seed.Config) map[string]string {
		_, conn, _ := seeded(t, c)
		out := map[string]string{}
		for _, table := range []string{"incidents", "incident_search", "alerts", "runs", "events", "findings"} {
			var sum string
			require.NoError(t, conn.QueryRow(t.Context(), `SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM `+table+` t`).Scan(&sum))
			out[table] = sum
		}
		return out
	}
	first := content(c)
	require.Equal(t, first, content(c))
	c.Seed++
	other := content(c)
	for _, table := range slices.Sorted(maps.Keys(first)) {
		require.NotEqual(t, first[table], other[table], table)
	}
	pg := pgtest.New(t)
	require.NoError(t, seed.Run(t.Context(), pg.Owner, c, nil))
	require.ErrorIs(t, seed.Run(t.Context(), pg.Owner, c, nil), seed.ErrUsed)
}

// TestEditedTitleIsFound: what a person calls an incident finds it, however much
// else does.
func TestEditedTitleIsFound(t *testing.T) {
	t.Parallel()
	s := tell(t, 10, ops.SourceOptions{})
	var alerts []ops.Alert
	for n := range 400 {
		alerts = append(alerts, an(fmt.Sprint("word", n)))
	}
	s.send(0, alerts...)
	title := "the great outage"
	require.NoError(t, s.EditIncident(t.Context(), s.one().ID, postgres.IncidentEdit{Title: &title}, "ann"))
	page, err := s.Incidents(t.Context(), postgres.IncidentFilter{Text: "great outage "})
	require.NoError(t, err)
	require.Len(t, page, 1)
}

// TestJoinedAlertsAreIndexedBehindIntake: the first alert is found at once, what
// joins later when it is indexed, and what joins meanwhile is not forgotten.
func TestJoinedAlertsAreIndexedBehindIntake(t *testing.T) {
	t.Parallel()
	s := tell(t, 10, ops.SourceOptions{})
	finds := func(text string) bool {
		t.Helper()
		page, err := s.Incidents(t.Context(), postgres.IncidentFilter{Text: text, Limit: 10})
		require.NoError(t, err)
		return len(page) == 1
	}
	s.send(0, an("heron"))
	require.True(t, finds("heron"))
	s.send(1, an("plover"))
	s.send(2, an("godwit"))
	require.False(t, finds("plover"))
	require.NoError(t, s.IndexSearch(t.Context(), time.Hour, time.Hour))
	require.False(t, finds("plover"), "it may get more")
	require.NoError(t, s.IndexSearch(t.Context(), 0, time.Hour))
	require.True(t, finds("heron") && finds("plover") && finds("godwit"))
	require.Zero(t, s.query(`SELECT count(*) FROM search_due`))

	// One that is renamed is found by both names.
	s.send(3, an("plover", func(a *ops.Alert) { a.Title = "a knot" }))
	require.Equal(t, 1, s.query(`SELECT count(*) FROM search_due`))
	require.NoError(t, s.IndexSearch(t.Context(), time.Hour, 0))
	require.True(t, finds("plover") && finds("knot"), "it has waited for long enough")
	require.Zero(t, s.query(`SELECT count(*) FROM search_due`))
}
