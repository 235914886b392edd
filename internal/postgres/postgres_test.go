package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// open gives a fresh database as the role of url.
func open(t *testing.T, url ops.Secret) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, App: t.Name()})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func source(t *testing.T, db *postgres.DB) string {
	t.Helper()
	s := ops.Source{ID: ops.NewID(), Name: "am", Kind: "alertmanager", Enabled: true, Secret: ops.SourceSecret{Hash: []byte{1}}}
	require.NoError(t, db.CreateSource(t.Context(), s))
	return s.ID
}

func provider(t *testing.T, db *postgres.DB) {
	t.Helper()
	require.NoError(t, db.CreateProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: "p", Kind: "openai", BaseURL: "http://x", Model: "m"}))
}

// delivery is one webhook with alerts named by their identities. A name with a
// leading "-" is resolved. minute is the sender's time.
func delivery(source string, minute int, names ...string) ops.Delivery {
	d := ops.Delivery{ID: ops.NewID(), SourceID: source, ReceivedAt: time.Now().UTC(), ContentType: "application/json", Body: []byte("{}")}
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range names {
		a := ops.Alert{Status: ops.AlertFiring, Severity: ops.SeverityWarning, StartsAt: base}
		if name[0] == '-' {
			name, a.Status, a.EndsAt = name[1:], ops.AlertResolved, base.Add(time.Duration(minute)*time.Minute)
		}
		a.At = base.Add(time.Duration(minute) * time.Minute)
		a.Identity, a.Episode, a.GroupKey, a.Title = name, "1", "group", "alert "+name
		d.Alerts = append(d.Alerts, a)
	}
	return d
}

func claim(t *testing.T, db *postgres.DB, worker string) *postgres.ClaimedRun {
	t.Helper()
	got, err := db.Claim(t.Context(), postgres.ClaimRun{Worker: worker, Lease: time.Minute, Timeout: time.Hour,
		GatewayTokenHash: ops.HashToken(ops.NewToken("g")), ProxyTokenHash: ops.HashToken(ops.NewToken("p"))})
	require.NoError(t, err)
	return got
}

func kinds(t *testing.T, db *postgres.DB, incident string) (out []ops.EventKind) {
	t.Helper()
	events, err := db.Events(t.Context(), incident, 0, 1000)
	require.NoError(t, err)
	for i, e := range events {
		require.Equal(t, int64(i+1), e.Seq, "numbers have a hole")
		out = append(out, e.Kind)
	}
	return out
}

func TestIngest(t *testing.T) {
	t.Parallel()
	type step struct {
		minute int
		alerts []string
	}
	for name, tt := range map[string]struct {
		steps  []step
		status []ops.IncidentStatus // of all incidents, oldest first
		firing []int
	}{
		"one alert":                       {[]step{{0, []string{"a"}}}, []ops.IncidentStatus{"triggered"}, []int{1}},
		"repeated":                        {[]step{{0, []string{"a"}}, {0, []string{"a"}}}, []ops.IncidentStatus{"triggered"}, []int{1}},
		"twice in one delivery":           {[]step{{0, []string{"a", "a"}}}, []ops.IncidentStatus{"triggered"}, []int{1}},
		"two of one group":                {[]step{{0, []string{"a"}}, {1, []string{"b"}}}, []ops.IncidentStatus{"triggered"}, []int{2}},
		"one of two resolved":             {[]step{{0, []string{"a", "b"}}, {1, []string{"-a"}}}, []ops.IncidentStatus{"triggered"}, []int{1}},
		"all resolved":                    {[]step{{0, []string{"a", "b"}}, {1, []string{"-a", "-b"}}}, []ops.IncidentStatus{"resolved"}, []int{0}},
		"resolved twice":                  {[]step{{0, []string{"a", "b"}}, {1, []string{"-a"}}, {1, []string{"-a"}}}, []ops.IncidentStatus{"triggered"}, []int{1}},
		"late firing does not reopen":     {[]step{{0, []string{"a"}}, {1, []string{"-a"}}, {0, []string{"a"}}}, []ops.IncidentStatus{"resolved"}, []int{0}},
		"resolve of an unknown":           {[]step{{1, []string{"-a"}}}, nil, nil},
		"resolve before its firing":       {[]step{{1, []string{"-a"}}, {0, []string{"a"}}}, nil, nil},
		"fires and ends in one delivery":  {[]step{{0, []string{"a", "-a"}}}, []ops.IncidentStatus{"resolved"}, []int{0}},
		"another group member afterwards": {[]step{{0, []string{"a"}}, {1, []string{"-a"}}, {2, []string{"b"}}}, []ops.IncidentStatus{"triggered"}, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgtest.New(t).API)
			src := source(t, db)
			for _, s := range tt.steps {
				require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, s.minute, s.alerts...)}))
			}
			incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
			require.NoError(t, err)
			var status []ops.IncidentStatus
			var firing []int
			for i := len(incidents) - 1; i >= 0; i-- {
				status, firing = append(status, incidents[i].Status), append(firing, incidents[i].FiringCount)
				require.Equal(t, ops.RunQueued, incidents[i].Investigation)
				kinds(t, db, incidents[i].ID)
			}
			require.Equal(t, tt.status, status)
			require.Equal(t, tt.firing, firing)
		})
	}
}

// step makes a delivery with one alert of the identity "a": who ("firing",
// "acknowledged", "resolved") at a minute, of an episode or of none.
func step(source string, minute int, status ops.AlertStatus, episode string) ops.Delivery {
	d := delivery(source, minute, map[bool]string{true: "-a", false: "a"}[status == ops.AlertResolved])
	d.Alerts[0].Status, d.Alerts[0].Episode = status, episode
	return d
}

func TestIngestAcknowledged(t *testing.T) {
	t.Parallel()
	type at struct {
		minute int
		status ops.AlertStatus
	}
	const fires, acked, ends = ops.AlertFiring, ops.AlertAcknowledged, ops.AlertResolved
	opened := []ops.EventKind{ops.EventIncidentOpened, ops.EventAlertFiring, ops.EventRunQueued}
	ack := []ops.EventKind{ops.EventAlertAcked, ops.EventIncidentChanged}
	for name, tt := range map[string]struct {
		steps  []at
		status ops.IncidentStatus
		alert  ops.AlertStatus
		events []ops.EventKind // after those of the opening
	}{
		"acknowledged":                  {[]at{{0, fires}, {1, acked}}, "acknowledged", acked, ack},
		"twice":                         {[]at{{0, fires}, {1, acked}, {2, acked}}, "acknowledged", acked, ack},
		"late":                          {[]at{{2, fires}, {1, acked}}, "triggered", fires, nil},
		"after the end":                 {[]at{{0, fires}, {1, ends}, {2, acked}}, "resolved", ends, []ops.EventKind{ops.EventAlertResolved, ops.EventIncidentResolved}},
		"then resolved":                 {[]at{{0, fires}, {1, acked}, {2, ends}}, "resolved", ends, append(slices.Clone(ack), ops.EventAlertResolved, ops.EventIncidentResolved)},
		"no longer":                     {[]at{{0, fires}, {1, acked}, {2, fires}}, "acknowledged", fires, append(slices.Clone(ack), ops.EventAlertFiring)},
		"no longer, then the late ack":  {[]at{{0, fires}, {2, acked}, {3, fires}, {1, acked}}, "acknowledged", fires, append(slices.Clone(ack), ops.EventAlertFiring)},
		"again":                         {[]at{{0, fires}, {1, acked}, {2, fires}, {3, acked}}, "acknowledged", acked, append(slices.Clone(ack), ops.EventAlertFiring, ops.EventAlertAcked)},
		"known by its acknowledgement":  {[]at{{1, acked}}, "acknowledged", acked, ack},
		"its firing comes after it":     {[]at{{1, acked}, {0, fires}}, "acknowledged", acked, ack},
		"a repetition of the firing is": {[]at{{0, fires}, {1, acked}, {0, fires}}, "acknowledged", acked, ack},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgtest.New(t).API)
			src := source(t, db)
			for _, s := range tt.steps {
				require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{step(src, s.minute, s.status, "1")}))
			}
			incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
			require.NoError(t, err)
			require.Len(t, incidents, 1)
			require.Equal(t, tt.status, incidents[0].Status)
			require.Equal(t, map[bool]int{true: 0, false: 1}[tt.alert == ends], incidents[0].FiringCount)
			alerts, err := db.IncidentAlerts(t.Context(), incidents[0].ID)
			require.NoError(t, err)
			require.Equal(t, tt.alert, alerts[0].Status)
			require.Equal(t, append(slices.Clone(opened), tt.events...), kinds(t, db, incidents[0].ID))
		})
	}
	t.Run("what a person did stays", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgtest.New(t).API)
		src := source(t, db)
		require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, 0, "a", "b")}))
		incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
		require.NoError(t, err)
		err = db.SetIncidentStatus(t.Context(), incidents[0].ID, ops.IncidentResolved, "user:ann")
		require.NoError(t, err)
		require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{step(src, 1, acked, "1")}))
		i, err := db.Incident(t.Context(), incidents[0].ID)
		require.NoError(t, err)
		require.Equal(t, ops.IncidentResolved, i.Status)
	})
}

// TestIngestWithoutEpisodes: a sender that does not tell occurrences apart.
func TestIngestWithoutEpisodes(t *testing.T) {
	t.Parallel()
	type at struct {
		minute int
		status ops.AlertStatus
	}
	const fires, acked, ends = ops.AlertFiring, ops.AlertAcknowledged, ops.AlertResolved
	for name, tt := range map[string]struct {
		steps  []at
		status []ops.IncidentStatus // oldest first
		alerts int
	}{
		"fires":                  {[]at{{0, fires}}, []ops.IncidentStatus{"triggered"}, 1},
		"fires on":               {[]at{{0, fires}, {1, fires}, {2, fires}}, []ops.IncidentStatus{"triggered"}, 1},
		"ends":                   {[]at{{0, fires}, {1, acked}, {2, ends}}, []ops.IncidentStatus{"resolved"}, 1},
		"ends twice":             {[]at{{0, fires}, {1, ends}, {2, ends}}, []ops.IncidentStatus{"resolved"}, 1},
		"fires again":            {[]at{{0, fires}, {1, ends}, {2, fires}}, []ops.IncidentStatus{"triggered"}, 2},
		"ends again":             {[]at{{0, fires}, {1, ends}, {2, fires}, {3, ends}}, []ops.IncidentStatus{"resolved"}, 2},
		"a third time":           {[]at{{0, fires}, {1, ends}, {2, fires}, {3, ends}, {4, fires}}, []ops.IncidentStatus{"triggered"}, 3},
		"a late firing":          {[]at{{0, fires}, {2, ends}, {1, fires}}, []ops.IncidentStatus{"resolved"}, 1},
		"an end of nothing":      {[]at{{1, ends}}, nil, 1},
		"an end before its fire": {[]at{{1, ends}, {0, fires}}, nil, 1},
	} {
		for _, together := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", in one batch: ", together), func(t *testing.T) {
				t.Parallel()
				pg := pgtest.New(t)
				db := open(t, pg.API)
				src := source(t, db)
				var batch []ops.Delivery
				for _, s := range tt.steps {
					batch = append(batch, step(src, s.minute, s.status, ""))
				}
				if together {
					require.NoError(t, db.Ingest(t.Context(), batch))
				} else {
					for _, d := range batch {
						require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{d}))
					}
				}
				incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
				require.NoError(t, err)
				var status []ops.IncidentStatus
				for _, i := range slices.Backward(incidents) {
					status = append(status, i.Status)
				}
				require.Equal(t, tt.status, status)
				conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
				require.NoError(t, err)
				defer func() { _ = conn.Close(context.Background()) }()
				var n, empty int
				require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE episode = '') FROM alerts`).Scan(&n, &empty))
				require.Equal(t, tt.alerts, n)
				require.Zero(t, empty)
			})
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	plain := ops.Source{ID: ops.NewID(), Name: "a", Kind: "webhook", Enabled: true, Auth: ops.AuthSecret, Secret: ops.SourceSecret{Hash: []byte{1}}}
	signed := ops.Source{ID: ops.NewID(), Name: "b", Kind: "pagerduty", Enabled: true, Auth: ops.AuthSignature,
		Settings: json.RawMessage(`{"a": 1}`), Secret: ops.SourceSecret{Sealed: []byte{2}}}
	require.NoError(t, db.CreateSource(t.Context(), plain))
	require.NoError(t, db.CreateSource(t.Context(), signed))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	require.NoError(t, db.ReplaceSourceSecret(t.Context(), signed.ID, ops.SourceSecret{Sealed: []byte{3}}, until))
	err := db.ReplaceSourceSecret(t.Context(), ops.NewID(), ops.SourceSecret{}, until)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))

	d := delivery(plain.ID, 0, "a")
	d.Truncated = 4
	d.Warnings = []ops.SourceWarning{{Code: "y", Text: "first"}, {Code: "x", Text: "x"}}
	again := delivery(plain.ID, 0, "a")
	again.Warnings = []ops.SourceWarning{{Code: "y", Text: "second"}}
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{d, again}))
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(signed.ID, 0, "b")}))
	counted := postgres.NewSourceCount(plain.ID)
	counted.Stored(d)
	counted.Stored(again)
	require.NoError(t, db.CountSources(t.Context(), []*postgres.SourceCount{counted}))

	all, err := db.Sources(t.Context())
	require.NoError(t, err)
	require.Nil(t, all[0].Settings)
	require.Equal(t, ops.AuthSecret, all[0].Auth)
	require.Equal(t, ops.SourceSecret{Hash: []byte{1}}, all[0].Secret)
	require.True(t, all[0].OldUntil.IsZero())
	warned := all[0].Health.Warnings
	require.Len(t, warned, 2)
	require.Equal(t, []any{"x", int64(1), "y", "second", int64(2)}, []any{warned[0].Code, warned[0].Count, warned[1].Code, warned[1].Text, warned[1].Count})
	require.WithinDuration(t, again.ReceivedAt, warned[1].At, time.Millisecond)
	require.JSONEq(t, `{"a":1}`, string(all[1].Settings))
	require.Equal(t, ops.AuthSignature, all[1].Auth)
	require.Equal(t, ops.SourceSecret{Hash: []byte{}, Sealed: []byte{3}}, all[1].Secret)
	require.Equal(t, ops.SourceSecret{Hash: []byte{}, Sealed: []byte{2}}, all[1].Old)
	require.True(t, until.Equal(all[1].OldUntil))
	require.Empty(t, all[1].Health.Warnings)

	// Loaded again from a file: nothing of the old secrets is left.
	_, err = db.PutSource(t.Context(), ops.Source{ID: ops.NewID(), Name: "b", Kind: "grafana", Enabled: true, Secret: ops.SourceSecret{Hash: []byte{9}}})
	require.NoError(t, err)
	all, err = db.Sources(t.Context())
	require.NoError(t, err)
	require.Equal(t, ops.SourceSecret{Hash: []byte{9}}, all[1].Secret)
	require.Equal(t, ops.SourceSecret{}, all[1].Old)
}

// TestIngestConcurrent sends the same alert at once, each in a transaction of its own.
func TestIngestConcurrent(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	src := source(t, db)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			d := delivery(src, 0, "a")
			if i%2 == 0 { // the sender was regrouped meanwhile
				d.Alerts[0].GroupKey = "another"
			}
			if err := db.Ingest(context.Background(), []ops.Delivery{d}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	require.Len(t, incidents, 1)
	alerts, err := db.IncidentAlerts(t.Context(), incidents[0].ID)
	require.NoError(t, err)
	require.Len(t, alerts, 1)
	require.Equal(t, int64(200), alerts[0].Count)
	queued, running, err := db.QueueDepth(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{1, 0}, []int{queued, running})
}

func agentEvent(seq int64, kind ops.EventKind, data any) ops.Event {
	e := ops.NewEvent(kind, data)
	e.RunSeq = seq
	return e
}

func TestRunLife(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, gateway := open(t, urls.API), open(t, urls.Gateway)
	src := source(t, db)
	provider(t, db)
	require.Nil(t, claim(t, db, "w1"), "nothing waits")
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, 0, "a")}))

	first := claim(t, db, "w1")
	require.NotNil(t, first)
	require.Equal(t, "alert a", first.Incident.Title)
	require.Len(t, first.Alerts, 1)
	require.NotEmpty(t, first.Agent.Rules)
	require.Nil(t, claim(t, db, "w2"), "a run was claimed twice")

	c := postgres.RunClaim{Run: first.Run.ID, Worker: "w1", Epoch: first.Run.Epoch}
	message := agentEvent(1, ops.EventMessage, ops.Message{Turn: 1, Text: "bad \x00 text", Calls: []ops.ToolUse{{ID: "c1", Name: "x", Arguments: json.RawMessage(`{"n":1e999999,"s":"\u0000\ud800"}`)}}})
	acked, err := db.StoreEvents(t.Context(), c, []ops.Event{message, agentEvent(2, ops.EventNotice, ops.Notice{Text: "n"})})
	require.NoError(t, err)
	require.Equal(t, int64(2), acked)
	acked, err = db.StoreEvents(t.Context(), c, []ops.Event{message, agentEvent(2, ops.EventNotice, ops.Notice{}), agentEvent(3, ops.EventNotice, ops.Notice{})})
	require.NoError(t, err, "a resend")
	require.Equal(t, int64(3), acked)
	_, err = db.StoreEvents(t.Context(), c, []ops.Event{agentEvent(5, ops.EventNotice, ops.Notice{})})
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err), "a hole")
	_, err = db.StoreEvents(t.Context(), c, []ops.Event{agentEvent(4, ops.EventIncidentResolved, ops.IncidentChange{})})
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err), "a kind that is the api's")

	// The worker is lost; another one gets the run with what was done so far.
	require.NoError(t, db.Shorten(t.Context(), "w1", -time.Second))
	n, err := db.RequeueExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	second := claim(t, db, "w2")
	require.NotNil(t, second)
	require.Equal(t, int64(3), second.Run.AckedSeq)
	require.Len(t, second.Transcript, 1)
	require.Equal(t, ops.EventMessage, second.Transcript[0].Kind)
	_, err = db.StoreEvents(t.Context(), c, []ops.Event{agentEvent(4, ops.EventNotice, ops.Notice{})})
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err), "a worker that lost its lease can write")
	held, err := db.Renew(t.Context(), []postgres.RunClaim{c, {Run: c.Run, Worker: "w2", Epoch: second.Run.Epoch}}, time.Minute)
	require.NoError(t, err)
	require.Equal(t, map[string]postgres.Held{c.Run: {Acked: 3}}, held)

	// One finished call backs the root cause, the other citation is dropped.
	call := ops.ToolCall{RunID: c.Run, ID: "c1", Tool: "ssh_execute", Arguments: json.RawMessage(`{}`), Digest: []byte{1}, Verdict: "allow"}
	known, err := gateway.StartCall(t.Context(), postgres.StartCall{Call: call, Instance: 1, Audit: ops.AuditRecord{Chain: "gateway", Action: "tool.intent"}})
	require.NoError(t, err)
	require.Nil(t, known)
	_, err = gateway.FinishCall(t.Context(), c.Run, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: "disk  full"}, ops.AuditRecord{Chain: "gateway", Action: "tool.outcome"})
	require.NoError(t, err)
	c2 := postgres.RunClaim{Run: c.Run, Worker: "w2", Epoch: second.Run.Epoch}
	finding := ops.Finding{RootCause: "the disk", Confidence: 2, Evidence: []ops.Citation{{Call: "c1", Excerpt: "disk full"}, {Call: "c9"}}}
	_, err = db.StoreEvents(t.Context(), c2, []ops.Event{agentEvent(4, ops.EventFindings, finding), agentEvent(5, ops.EventRunEnded, ops.RunChange{State: ops.RunConcluded})})
	require.NoError(t, err)
	i, err := db.Incident(t.Context(), second.Incident.ID)
	require.NoError(t, err)
	require.Equal(t, ops.RunConcluded, i.Investigation)
	found, err := db.Findings(t.Context(), i.ID)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, []ops.Citation{{Call: "c1", Excerpt: "disk full"}}, found[0].Finding.Evidence)
	require.Len(t, found[0].Finding.Dropped, 1)
	require.InDelta(t, 0.5, found[0].Finding.Confidence, 0)
	require.Equal(t, []ops.EventKind{"incident.opened", "alert.firing", "run.queued", "run.started", "message", "notice", "notice",
		"run.requeued", "run.started", "findings", "run.ended"}, kinds(t, db, i.ID))
	_, err = db.StoreEvents(t.Context(), c2, []ops.Event{agentEvent(6, ops.EventNotice, ops.Notice{})})
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err), "an ended run can be written to")
}

func TestOverdueRunsFail(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	got := claim(t, db, "w")
	conn, err := pgx.Connect(t.Context(), urls.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), `UPDATE runs SET deadline = now() - interval '2 minutes'`)
	require.NoError(t, err)
	n, err := db.RequeueExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	i, err := db.Incident(t.Context(), got.Incident.ID)
	require.NoError(t, err)
	require.Equal(t, ops.RunFailed, i.Investigation)
}

func TestTokensDieWithTheRun(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, gateway, proxy := open(t, urls.API), open(t, urls.Gateway), open(t, urls.Proxy)
	src := source(t, db)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(src, 0, "a")}))
	g, p := ops.HashToken(ops.NewToken("g")), ops.HashToken(ops.NewToken("p"))
	got, err := db.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour, GatewayTokenHash: g, ProxyTokenHash: p})
	require.NoError(t, err)
	grant, err := gateway.GrantByToken(t.Context(), g)
	require.NoError(t, err)
	require.Equal(t, got.Run.ID, grant.RunID)
	atProxy, err := proxy.RunByProxyToken(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, got.Provider.ID, atProxy.ProviderID)
	_, err = gateway.GrantByToken(t.Context(), p)
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err), "the proxy's token opens the gateway")

	// The same, with the way to a target.
	require.NoError(t, db.PutTarget(t.Context(), ops.Target{ID: ops.NewID(), Name: "jump", Kind: "ssh", Address: "192.0.2.1", Port: 22, User: "u"}))
	require.NoError(t, db.PutTarget(t.Context(), ops.Target{ID: ops.NewID(), Name: "demo", Kind: "ssh", Address: "192.0.2.2", Port: 22, User: "u", Jump: "jump"}))
	same, err := gateway.Ground(t.Context(), g, "demo", 5)
	require.NoError(t, err)
	require.Equal(t, grant, same.Grant)
	require.Equal(t, []string{"demo", "jump"}, []string{same.Way[0].Name, same.Way[1].Name})
	want, err := gateway.Way(t.Context(), "demo", 5)
	require.NoError(t, err)
	require.Equal(t, want, same.Way)
	nowhere, err := gateway.Ground(t.Context(), g, "nowhere", 5)
	require.NoError(t, err)
	require.Empty(t, nowhere.Way)

	require.NoError(t, db.CancelRun(t.Context(), got.Incident.ID, "enough"))
	_, err = gateway.GrantByToken(t.Context(), g)
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
	for _, token := range [][]byte{g, p} {
		none, err := gateway.Ground(t.Context(), token, "demo", 5)
		require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
		require.Empty(t, none, "nobody is shown the inventory")
	}
	alive, err := proxy.ProxyTokensAlive(t.Context(), [][]byte{p})
	require.NoError(t, err)
	require.Empty(t, alive)
	reasons, err := db.Cancelled(t.Context(), []string{got.Run.ID})
	require.NoError(t, err)
	require.Equal(t, map[string]string{got.Run.ID: "enough"}, reasons)
}

func TestRunsThatCannotStart(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	require.Nil(t, claim(t, db, "w"), "there is no provider")
	incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	require.Equal(t, ops.RunFailed, incidents[0].Investigation)
	require.Contains(t, incidents[0].InvestigationReason, "provider")

	provider(t, db)
	require.NoError(t, db.Investigate(t.Context(), incidents[0].ID, postgres.DefaultAgent, "service:a"))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(db.Investigate(t.Context(), incidents[0].ID, postgres.DefaultAgent, "service:a")))
	require.NoError(t, db.CancelRun(t.Context(), incidents[0].ID, "by user:a"), "a waiting run ends at once")
	i, err := db.Incident(t.Context(), incidents[0].ID)
	require.NoError(t, err)
	require.Equal(t, ops.RunCancelled, i.Investigation)
}

func TestCallsHappenOnce(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, gateway := open(t, urls.API), open(t, urls.Gateway)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	run := claim(t, db, "w").Run.ID
	start := postgres.StartCall{Instance: 7, Call: ops.ToolCall{RunID: run, ID: "c1", Tool: "t", Arguments: json.RawMessage(`{"a":1}`), Digest: []byte("d"), Verdict: "allow", Rule: "r"},
		Audit: ops.AuditRecord{Chain: "gateway", Action: "tool.intent"}}
	var mu sync.Mutex
	var starts int
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			known, err := gateway.StartCall(context.Background(), start)
			if err != nil {
				t.Error(err)
			}
			if known == nil {
				mu.Lock()
				starts++
				mu.Unlock()
			} else if known.Instance != 7 || known.State != ops.CallExecuting {
				t.Errorf("stored call is %+v", known)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, starts)
	other := start
	other.Call.Digest = []byte("e")
	_, err := gateway.StartCall(t.Context(), other)
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))

	done, err := gateway.FinishCall(t.Context(), run, ops.ToolResult{ID: "c1", State: ops.CallUnknown, Text: "first"}, ops.AuditRecord{Chain: "gateway", Action: "tool.outcome"})
	require.NoError(t, err)
	require.Equal(t, "first", done.Text)
	done, err = gateway.FinishCall(t.Context(), run, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: "second"}, ops.AuditRecord{Chain: "gateway"})
	require.NoError(t, err)
	require.Equal(t, "first", done.Text, "a call ended twice")
	records, err := db.Audit(t.Context(), "gateway", 0, 100)
	require.NoError(t, err)
	require.Len(t, records, 2)
	_, err = ops.VerifyChain(nil, records)
	require.NoError(t, err)
	calls, err := db.Calls(t.Context(), claimIncident(t, db))
	require.NoError(t, err)
	require.Len(t, calls, 1)
	require.Equal(t, ops.CallUnknown, calls[0].State)
}

// TestFinishCallUnstorable: what Postgres cannot take of an outcome does not hold
// the rest of it up.
func TestFinishCallUnstorable(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, gateway := open(t, urls.API), open(t, urls.Gateway)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	run := claim(t, db, "w").Run.ID
	for id, result := range map[string]ops.ToolResult{
		"number": {Text: "x", Data: json.RawMessage(`{"x":1e400000}`)},
		"nul":    {Text: "a\x00b", Data: json.RawMessage(`{"x":1}`)},
		"both":   {Text: "a\x00b", Data: json.RawMessage(`"\u0000"`)},
		"bytes":  {Text: "a\xff\x00b"},
	} {
		known, err := gateway.StartCall(t.Context(), postgres.StartCall{Call: ops.ToolCall{RunID: run, ID: id, Tool: "x", Arguments: json.RawMessage(`{}`), Digest: []byte{1}},
			Instance: 1, Audit: ops.AuditRecord{Chain: "gateway", Action: "tool.intent"}})
		require.NoError(t, err)
		require.Nil(t, known)
		result.ID, result.State = id, ops.CallDone
		done, err := gateway.FinishCall(t.Context(), run, result, ops.AuditRecord{Chain: "gateway", Action: "tool.outcome"})
		require.NoError(t, err, id)
		require.Equal(t, ops.ToolResult{ID: id, State: ops.CallDone, Text: ops.Storable(result.Text)}, done, id)
		stored, err := db.Call(t.Context(), run, id)
		require.NoError(t, err, id)
		require.Equal(t, done, *stored.Result, id)
	}
}

// TestTwoGatewaysShareAChain has two processes append to one audit chain at once.
func TestTwoGatewaysShareAChain(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	run := claim(t, db, "w").Run.ID
	var wg sync.WaitGroup
	for g := range 2 {
		gateway := open(t, urls.Gateway)
		for n := range 40 {
			wg.Go(func() {
				id := fmt.Sprintf("g%d.%d", g, n)
				_, err := gateway.StartCall(context.Background(), postgres.StartCall{Instance: int32(g + 1), Call: ops.ToolCall{RunID: run, ID: id, Tool: "t",
					Arguments: json.RawMessage(`{}`), Digest: []byte(id)}, Audit: ops.AuditRecord{Chain: "gateway", Action: "tool.intent", Object: id}})
				if err != nil {
					t.Error(err)
				}
				if _, err := gateway.FinishCall(context.Background(), run, ops.ToolResult{ID: id, State: ops.CallDone},
					ops.AuditRecord{Chain: "gateway", Action: "tool.outcome", Object: id}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	records, err := db.Audit(t.Context(), "gateway", 0, 1000)
	require.NoError(t, err)
	require.Len(t, records, 160)
	_, err = ops.VerifyChain(nil, records)
	require.NoError(t, err)
}

func claimIncident(t *testing.T, db *postgres.DB) string {
	t.Helper()
	incidents, err := db.Incidents(t.Context(), postgres.IncidentFilter{})
	require.NoError(t, err)
	return incidents[0].ID
}

func TestInstances(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).Gateway)
	ctx, stop := context.WithCancel(t.Context())
	held, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- db.HoldInstance(ctx, 42, func() { held <- struct{}{} }) }()
	<-held
	alive, err := db.InstanceAlive(t.Context(), 42)
	require.NoError(t, err)
	require.True(t, alive)
	alive, err = db.InstanceAlive(t.Context(), 43)
	require.NoError(t, err)
	require.False(t, alive)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Eventually(t, func() bool {
		alive, err := db.InstanceAlive(t.Context(), 42)
		return err == nil && !alive
	}, 5*time.Second, 10*time.Millisecond)
}

// TestAuditChain appends from many goroutines, and shows that each kind of
// tampering by the owner of the database is found.
func TestAuditChain(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"":        "",
		"edit":    `UPDATE audit SET actor = 'nobody' WHERE seq = 20`,
		"delete":  `DELETE FROM audit WHERE seq = 20`,
		"reorder": `UPDATE audit SET seq = CASE seq WHEN 20 THEN 1021 ELSE 1020 END WHERE seq IN (20, 21); UPDATE audit SET seq = seq - 1000 WHERE seq > 1000`,
	} {
		t.Run("tampering "+name, func(t *testing.T) {
			t.Parallel()
			urls := pgtest.New(t)
			db := open(t, urls.API)
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					r := ops.AuditRecord{Chain: "api", At: time.Now(), Actor: fmt.Sprint("user:", i), Action: "test", Outcome: "ok"}
					with := r
					with.Detail = map[string]string{"b": "2", "a": "1"}
					if err := db.AppendAudit(context.Background(), r, with); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if tamper != "" {
				conn, err := pgx.Connect(t.Context(), urls.Owner.Reveal())
				require.NoError(t, err)
				defer func() { _ = conn.Close(context.Background()) }()
				_, err = conn.Exec(t.Context(), tamper)
				require.NoError(t, err)
			}
			var last *ops.AuditRecord
			for {
				after := int64(0)
				if last != nil {
					after = last.Seq
				}
				page, err := db.Audit(t.Context(), "api", after, 7)
				require.NoError(t, err)
				if len(page) == 0 {
					break
				}
				if last, err = ops.VerifyChain(last, page); err != nil {
					require.NotEmpty(t, tamper)
					require.ErrorContains(t, err, "record 20")
					return
				}
			}
			require.Empty(t, tamper, "nobody has seen it")
			require.Equal(t, int64(40), last.Seq)
		})
	}
}

func TestSetupLinkIsUsedOnce(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	armed, err := db.SetSetupToken(t.Context(), []byte("old"), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.True(t, armed)
	armed, err = db.SetSetupToken(t.Context(), []byte("new"), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.True(t, armed)
	u := postgres.User{ID: ops.NewID(), Username: "a", PasswordHash: "h"}
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(db.Setup(t.Context(), []byte("old"), u)))
	require.NoError(t, db.Setup(t.Context(), []byte("new"), u))
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(db.Setup(t.Context(), []byte("new"), postgres.User{ID: ops.NewID(), Username: "b"})))
	armed, err = db.SetSetupToken(t.Context(), []byte("again"), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.False(t, armed, "there is a user")
}

// TestGrants connects as each role and tries what it must not.
func TestGrants(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	for name, kind := range map[string]string{"t": "ssh_key", "e": "llm_key"} {
		require.NoError(t, db.CreateCredential(t.Context(), ops.Credential{ID: ops.NewID(), Name: name, Kind: kind, Targets: []string{"x"}, Version: 1, Sealed: []byte{1}}))
	}
	require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", Action: "a"}))
	const denied = "42501" // insufficient_privilege, also for a row that a policy refuses
	for _, tt := range []struct {
		role      string
		url       ops.Secret
		statement string
	}{
		{"api", urls.API, `UPDATE events SET actor = ''`},
		{"api", urls.API, `DELETE FROM events`},
		{"api", urls.API, `UPDATE audit SET actor = ''`},
		{"api", urls.API, `DELETE FROM audit`},
		{"api", urls.API, `INSERT INTO audit SELECT 'gateway', 1, now(), '', '', '', '', '', '{}', '', ''`},
		{"api", urls.API, `INSERT INTO tool_calls SELECT gen_random_uuid(), 'c', 't', '{}', '', now()`},
		{"api", urls.API, `UPDATE tool_steps SET state = 'done'`},
		{"api", urls.API, `CREATE TABLE x (y int)`},
		{"gateway", urls.Gateway, `SELECT password_hash FROM users`},
		{"gateway", urls.Gateway, `SELECT hash FROM api_tokens`},
		{"gateway", urls.Gateway, `SELECT proxy_token_hash FROM runs`},
		{"gateway", urls.Gateway, `UPDATE runs SET state = 'running'`},
		{"gateway", urls.Gateway, `UPDATE agents SET rules = '{allow: *}'`},
		{"gateway", urls.Gateway, `UPDATE credentials SET targets = '{*}'`},
		{"gateway", urls.Gateway, `UPDATE targets SET address = ''`},
		{"gateway", urls.Gateway, `UPDATE tool_steps SET state = 'done'`},
		{"gateway", urls.Gateway, `DELETE FROM tool_calls`},
		{"gateway", urls.Gateway, `DELETE FROM audit`},
		{"gateway", urls.Gateway, `SELECT body FROM deliveries`},
		{"gateway", urls.Gateway, `INSERT INTO audit SELECT 'api', 2, now(), '', '', '', '', '', '{}', '', ''`},
		{"proxy", urls.Proxy, `SELECT gateway_token_hash FROM runs`},
		{"proxy", urls.Proxy, `SELECT * FROM targets`},
		{"proxy", urls.Proxy, `SELECT * FROM tool_calls`},
		{"proxy", urls.Proxy, `UPDATE providers SET base_url = ''`},
		{"proxy", urls.Proxy, `INSERT INTO audit SELECT 'gateway', 1, now(), '', '', '', '', '', '{}', '', ''`},
	} {
		conn, err := pgx.Connect(t.Context(), tt.url.Reveal())
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), tt.statement)
		require.ErrorContains(t, err, denied, "%s: %s", tt.role, tt.statement)
		require.NoError(t, conn.Close(t.Context()))
	}
	for role, want := range map[string][]string{"gateway": {"t"}, "proxy": {"e"}} {
		url := urls.Gateway
		if role == "proxy" {
			url = urls.Proxy
		}
		visible, err := open(t, url).Credentials(t.Context())
		require.NoError(t, err)
		var names []string
		for _, c := range visible {
			names = append(names, c.Name)
		}
		require.Equal(t, want, names, "%s sees credentials of another zone", role)
	}
	records, err := open(t, urls.Proxy).Audit(t.Context(), "api", 0, 10)
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestSchemaVersions(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), urls.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	for version, want := range map[int64]string{postgres.Version() - 1: "migrate", postgres.Version() + 1: "older release"} {
		_, err = conn.Exec(t.Context(), `DELETE FROM goose_db_version WHERE version_id > 0`)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, true)`, version)
		require.NoError(t, err)
		_, err = postgres.Open(t.Context(), postgres.Config{URL: urls.API})
		require.ErrorContains(t, err, want)
	}
}
