package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

type deliveryPage struct {
	Items      []postgres.StoredDelivery
	NextCursor string `json:"next_cursor"`
}

func (r *rig) deliveries(src source, query string) (p deliveryPage) {
	r.t.Helper()
	got := r.call("GET", "/api/v1/sources/"+src.ID+"/deliveries?"+query, nil)
	require.Equal(r.t, 200, got.status, got.body)
	got.into(r.t, &p)
	return p
}

func (r *rig) report(src source) (out sourceReport) {
	r.t.Helper()
	got := r.call("GET", "/api/v1/sources/"+src.ID+"/health", nil)
	require.Equal(r.t, 200, got.status, got.body)
	got.into(r.t, &out)
	return out
}

func (r *rig) audit() string { return r.call("GET", "/api/v1/audit/chains/api?limit=1000", nil).body }

// execute changes the database behind the api's back.
func execute(t testing.TB, pg *pgtest.DB, query string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), query, args...)
	require.NoError(t, err)
}

// TestRepeatedDelivery: a delivery that the sender sends again under its own id
// is stored once, and answered as the first.
func TestRepeatedDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.addSource(map[string]any{"name": "own", "kind": "webhook"})
	auth := []string{"Authorization", "Bearer " + src.Secret}
	send := func(id, body string) accepted {
		got := r.post(src, body, append([]string{"Idempotency-Key", id}, auth...)...)
		require.Equal(t, 202, got.status, got.body)
		var out accepted
		got.into(t, &out)
		return out
	}
	const body = `{"id":"a","title":"It is broken","status":"firing"}`
	first := send("1", body)
	again := send("1", body)
	require.Equal(t, first.Delivery, again.Delivery)
	require.True(t, again.Duplicate)
	require.False(t, first.Duplicate)
	require.NotEqual(t, first.Delivery, send("2", body).Delivery, "another id is another delivery")
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM deliveries`))
	require.Equal(t, 2, count(t, r.pg, `SELECT count FROM alerts`))

	// The id of another message is no id: nothing is lost, and somebody is told.
	other := send("1", `{"id":"b","title":"Another thing is broken"}`)
	require.False(t, other.Duplicate)
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM alerts`))
	health := r.report(src)
	require.Equal(t, "delivery_id_reused", health.Warnings[0].Code)
	require.EqualValues(t, 4, health.Deliveries)
	require.EqualValues(t, 1, health.Duplicates)

	// Another source has ids of its own.
	two := r.addSource(map[string]any{"name": "two", "kind": "webhook"})
	require.NotContains(t, r.post(two, body, "Idempotency-Key", "1", "Authorization", "Bearer "+two.Secret).body, "duplicate")

	// What could not be read is kept each time: the next try may be better.
	for range 2 {
		require.NotContains(t, r.post(src, `<`, append([]string{"Idempotency-Key", "3"}, auth...)...).body, "duplicate")
	}
	// A stranger cannot take an id.
	require.Equal(t, 401, r.post(src, body, "Idempotency-Key", "4").status)
	require.False(t, send("4", body).Duplicate)
}

// TestRepeatedAtOnce: also if all come at the same moment, to two processes.
func TestRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	a := start(t, pg, nil)
	a.makeUser()
	b := start(t, pg, nil)
	src := a.addSource(map[string]any{"name": "own", "kind": "webhook"})
	const ids, copies = 10, 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]map[string]int{} // deliveries by id
	for n := range ids * copies {
		wg.Go(func() {
			id := fmt.Sprint("id-", n%ids)
			reply, err := []*rig{a, b}[n/ids%2].try(http.DefaultClient, "POST", "/webhook/alert/"+src.ID, fmt.Sprintf(`{"id":"x","title":%q}`, id),
				"Authorization", "Bearer "+src.Secret, "Webhook-Id", id)
			if err != nil || reply.status != 202 {
				t.Error(reply.status, reply.body, err)
				return
			}
			var out accepted
			reply.into(t, &out)
			mu.Lock()
			defer mu.Unlock()
			if got[id] == nil {
				got[id] = map[string]int{}
			}
			got[id][out.Delivery]++
		})
	}
	wg.Wait()
	require.Equal(t, ids, count(t, pg, `SELECT count(*) FROM deliveries`))
	require.Equal(t, ids, count(t, pg, `SELECT sum(count) FROM alerts`), "each was counted once")
	for id, deliveries := range got {
		require.Len(t, deliveries, 1, id)
	}
	// They are forgotten in time: by the api after a week, in pieces.
	require.NoError(t, a.forgetDeliveryIDs(t.Context()))
	require.Equal(t, ids, count(t, pg, `SELECT count(*) FROM delivery_ids`))
	n, err := a.db.DeleteOldDeliveryIDs(t.Context(), time.Now().Add(-time.Hour), 1000)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = a.db.DeleteOldDeliveryIDs(t.Context(), time.Now().Add(time.Minute), 3)
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	execute(t, pg, `UPDATE delivery_ids SET at = now() - interval '8 days'`)
	require.NoError(t, a.forgetDeliveryIDs(t.Context()))
	require.Zero(t, count(t, pg, `SELECT count(*) FROM delivery_ids`))
}

// TestSenderIDs: the ids that PagerDuty and Datadog have.
func TestSenderIDs(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	pd, dd := r.addSource(map[string]any{"name": "pd", "kind": "pagerduty"}), r.addSource(map[string]any{"name": "dd", "kind": "datadog"})
	body := payload(t, "pagerduty-triggered.json")
	for n, want := range []bool{false, true} {
		got := r.post(pd, body, "X-PagerDuty-Signature", "v1="+mac(pd.Secret, body), "X-Webhook-Id", "w1")
		require.Equal(t, want, strings.Contains(got.body, "duplicate"), "%d: %s", n, got.body)
	}
	for n, want := range []bool{false, true} {
		got := r.post(dd, payload(t, "datadog-triggered.json"))
		require.Equal(t, want, strings.Contains(got.body, "duplicate"), "%d: %s", n, got.body)
	}
	require.NotContains(t, r.post(dd, payload(t, "datadog-recovered.json")).body, "duplicate")
	require.Equal(t, 3, count(t, r.pg, `SELECT count(*) FROM deliveries`))
}

// TestDeadLetters: what could not be read is listed, shown as it came, and read
// again when the source has learned how.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.addSource(map[string]any{"name": "own", "kind": "webhook", "settings": map[string]any{"alerts": "$.nowhere"}})
	bodies := []string{`{"checks":[{"id":"1","title":"one"}]}`, `{"checks":[{"id":"2","title":"two"}]}`, "<script>alert(1)</script>\xff\x00"}
	for _, body := range bodies {
		got := r.post(src, body)
		require.Equal(t, 202, got.status, got.body)
		require.Contains(t, got.body, "problem")
	}
	all := r.deliveries(src, "problem=open")
	require.Len(t, all.Items, 3)
	require.Equal(t, "there is no list of alerts at $.nowhere", all.Items[1].Problem)
	require.Equal(t, len(bodies[0]), all.Items[2].Size)
	require.Equal(t, 3, r.report(src).DeadLetters)

	// Pages of one meet each of them once.
	var seen []string
	for cursor := ""; ; {
		page := r.deliveries(src, "limit=1&problem=any&cursor="+cursor)
		for _, d := range page.Items {
			seen = append(seen, d.ID)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{all.Items[0].ID, all.Items[1].ID, all.Items[2].ID}, seen)
	require.Equal(t, 422, r.call("GET", "/api/v1/sources/"+src.ID+"/deliveries?cursor=x", nil).status)
	require.Equal(t, 422, r.call("GET", "/api/v1/sources/"+src.ID+"/deliveries?problem=x", nil).status)

	var shown shownDelivery
	got := r.call("GET", "/api/v1/deliveries/"+all.Items[0].ID, nil)
	require.Equal(t, 200, got.status)
	require.Contains(t, got.header.Get("Content-Type"), "application/json", "no answer can be taken for a page")
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	got.into(t, &shown)
	require.Equal(t, "<script>alert(1)</script>\uFFFD\x00", shown.Body)
	require.False(t, shown.Cut)
	require.Equal(t, 404, r.call("GET", "/api/v1/deliveries/"+ops.NewID(), nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/deliveries/x", nil).status)

	// Nothing has changed: it fails again, and says why.
	var one replayed
	path := "/api/v1/deliveries/" + all.Items[2].ID + "/replay"
	r.call("POST", path, nil).into(t, &one)
	require.Contains(t, one.Problem, "$.nowhere")
	require.Contains(t, r.deliveries(src, "").Items[2].ReplayProblem, "$.nowhere")
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM incidents`))

	require.Equal(t, 200, r.call("PATCH", "/api/v1/sources/"+src.ID, map[string]any{"settings": map[string]any{"alerts": "$.checks"}}).status)
	got = r.call("POST", path, nil)
	require.Equal(t, 200, got.status, got.body)
	one = replayed{}
	got.into(t, &one)
	require.Equal(t, replayed{ID: all.Items[2].ID, Alerts: 1}, one)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM incidents`))
	require.Equal(t, 409, r.call("POST", path, nil).status, "once is enough")

	var rest replayedAll
	r.call("POST", "/api/v1/sources/"+src.ID+"/deliveries/replay", map[string]any{}).into(t, &rest)
	require.Equal(t, 1, rest.Replayed)
	require.Len(t, rest.Failed, 1)
	require.Contains(t, rest.Failed[0].Problem, "not JSON")
	require.Empty(t, rest.NextCursor)
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM incidents`))
	require.Equal(t, 3, count(t, r.pg, `SELECT count(*) FROM deliveries`), "a replay is no new delivery")
	require.EqualValues(t, 3, r.report(src).Deliveries)
	open := r.deliveries(src, "problem=open").Items
	require.Len(t, open, 1)
	require.Equal(t, all.Items[0].ID, open[0].ID)
	require.Len(t, r.deliveries(src, "problem=any").Items, 3)
	// An alert is dated as it came then, and not by its replay.
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM alerts a JOIN deliveries d ON d.id = a.delivery_id WHERE a.at <= d.received_at AND d.replayed_at IS NOT NULL`))

	good := r.post(src, `{"checks":[]}`)
	var out accepted
	good.into(t, &out)
	require.Equal(t, 409, r.call("POST", "/api/v1/deliveries/"+out.Delivery+"/replay", nil).status, "it is no dead letter")
	require.Equal(t, 200, r.call("PATCH", "/api/v1/sources/"+src.ID, map[string]any{"enabled": false}).status)
	require.Equal(t, 409, r.call("POST", "/api/v1/deliveries/"+open[0].ID+"/replay", nil).status, "a source that is off takes no alerts")
	require.Equal(t, 409, r.call("POST", "/api/v1/sources/"+src.ID+"/deliveries/replay", map[string]any{}).status)
	require.Contains(t, r.audit(), "delivery.replayed")
	require.Contains(t, r.audit(), "source.deliveries_replayed")
}

// TestReplayAtOnce: of several who replay the same letter, one does.
func TestReplayAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.addSource(map[string]any{"name": "own", "kind": "webhook", "settings": map[string]any{"alerts": "$.nowhere"}})
	require.Equal(t, 202, r.post(src, `{"id":"1","title":"one"}`).status)
	require.Equal(t, 200, r.call("PATCH", "/api/v1/sources/"+src.ID, map[string]any{"settings": nil}).status)
	id := r.deliveries(src, "").Items[0].ID
	statuses := make([]int, 8)
	var wg sync.WaitGroup
	for n := range statuses {
		wg.Go(func() { statuses[n] = r.call("POST", "/api/v1/deliveries/"+id+"/replay", nil).status })
	}
	wg.Wait()
	done := 0
	for _, status := range statuses {
		if status == 200 {
			done++
		} else {
			require.Equal(t, 409, status)
		}
	}
	require.Equal(t, 1, done)
	require.Equal(t, 1, count(t, r.pg, `SELECT count FROM alerts`))
}

// TestPartialReplay: a letter of which a part was read stays one until all is.
func TestPartialReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	got := r.post(src, `{"alerts":[{"labels":{"alertname":"A"},"fingerprint":"a","startsAt":"2026-11-21T01:00:00Z"},7]}`)
	require.Contains(t, got.body, `1 of 2 alerts`)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM incidents`))
	letters := r.deliveries(src, "problem=open").Items
	require.Equal(t, 1, letters[0].Alerts)
	var one replayed
	r.call("POST", "/api/v1/deliveries/"+letters[0].ID+"/replay", nil).into(t, &one)
	require.Equal(t, 1, one.Alerts)
	require.Contains(t, one.Problem, "1 of 2 alerts")
	require.Len(t, r.deliveries(src, "problem=open").Items, 1)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM incidents`), "what was read before is known")
}

// TestSetUpMode: for a while a wrong signature is reported and not refused, and
// nothing is believed.
func TestSetUpMode(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.addSource(map[string]any{"name": "pd", "kind": "pagerduty"})
	body := payload(t, "pagerduty-triggered.json")
	wrong := []string{"X-PagerDuty-Signature", "v1=" + mac("another", body)}
	require.Equal(t, 401, r.post(src, body, wrong...).status)

	path := "/api/v1/sources/" + src.ID + "/verify-only"
	for _, minutes := range []int{-1, 1441} {
		require.Equal(t, 422, r.call("POST", path, map[string]any{"minutes": minutes}).status)
	}
	var on source
	got := r.call("POST", path, map[string]any{"minutes": 60})
	require.Equal(t, 200, got.status, got.body)
	got.into(t, &on)
	require.WithinDuration(t, time.Now().Add(time.Hour), on.VerifyUntil, time.Minute)
	require.Contains(t, on.Banner, "set-up mode until")
	require.Equal(t, "set_up_mode", on.Health.Warnings[0].Code)

	for _, header := range [][]string{wrong, {"X-None", "x"}} {
		kept := r.post(src, body, append(header, "X-Webhook-Id", "w")...)
		require.Equal(t, 202, kept.status, kept.body)
		require.Contains(t, kept.body, "the signature did not match; set-up mode")
	}
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM alerts`), "nothing is believed")
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM delivery_ids`), "a stranger takes no id")
	require.Equal(t, 2.0, testutil.ToFloat64(r.metrics.unproven.WithLabelValues(src.ID)))
	require.Contains(t, r.log.String(), "set-up mode: a delivery that did not prove itself was kept")
	report := r.report(src)
	require.Contains(t, report.Banner, "set-up mode")
	require.Equal(t, 2, report.DeadLetters)
	require.EqualValues(t, 2, report.Warnings[0].Count)
	require.Equal(t, 202, r.post(src, body, "X-PagerDuty-Signature", "v1="+mac(src.Secret, body)).status)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM incidents`), "the right one counts as ever")

	// The letters are nobody's word until somebody says so.
	letters := r.deliveries(src, "problem=open").Items
	require.True(t, letters[0].Unproven)
	var all replayedAll
	r.call("POST", "/api/v1/sources/"+src.ID+"/deliveries/replay", map[string]any{}).into(t, &all)
	require.Zero(t, all.Replayed+len(all.Failed), "not unless asked")
	var one replayed
	r.call("POST", "/api/v1/deliveries/"+letters[0].ID+"/replay", nil).into(t, &one)
	require.Equal(t, 1, one.Alerts)
	require.Empty(t, one.Problem)
	r.call("POST", "/api/v1/sources/"+src.ID+"/deliveries/replay", map[string]any{"unproven": true}).into(t, &all)
	require.Equal(t, 1, all.Replayed)

	// A body that is large, or one too many within the hour, is refused as ever.
	require.Equal(t, 401, r.post(src, `{"x":"`+strings.Repeat("x", maxUnprovenBody)+`"}`, wrong...).status)
	execute(t, r.pg, `INSERT INTO deliveries (id, source_id, received_at, content_type, body, alert_count, problem, unproven)
		SELECT gen_random_uuid(), $1, now() - interval '59 minutes', '', '', 0, 'x', true FROM generate_series(1, $2::int)`, src.ID, maxUnproven-3)
	require.Equal(t, 202, r.post(src, body, wrong...).status)
	require.Equal(t, 401, r.post(src, body, wrong...).status)

	// It ends when it is told to, and by itself.
	var off source
	r.call("POST", path, map[string]any{"minutes": 0}).into(t, &off)
	require.Zero(t, off.VerifyUntil)
	require.Empty(t, off.Banner)
	execute(t, r.pg, `DELETE FROM deliveries WHERE unproven`)
	require.Equal(t, 401, r.post(src, body, wrong...).status)
	execute(t, r.pg, `UPDATE sources SET verify_until = now() - interval '1 second'`)
	r.sources.forget()
	require.Equal(t, 401, r.post(src, body, wrong...).status)
	require.Empty(t, r.report(src).Banner)
	require.Contains(t, r.audit(), "source.verify_only_started")
	require.Contains(t, r.audit(), "source.verify_only_ended")
}

// TestSetUpModeAtOnce: strangers who come all at once get no more than their share.
func TestSetUpModeAtOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	a := start(t, pg, nil)
	a.makeUser()
	b := start(t, pg, nil)
	src := a.source("am")
	require.Equal(t, 200, a.call("POST", "/api/v1/sources/"+src.ID+"/verify-only", map[string]any{"minutes": 1440}).status)
	require.Eventually(t, func() bool {
		return b.post(src, firing("X"), "X-None", "x").status == 202
	}, soon, 50*time.Millisecond)
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{202: count(t, pg, `SELECT count(*) FROM deliveries`)}
	for n := range 2 * maxUnproven {
		wg.Go(func() {
			got, err := []*rig{a, b}[n%2].try(http.DefaultClient, "POST", "/webhook/alert/"+src.ID, firing("X"))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
		})
	}
	wg.Wait()
	require.Equal(t, maxUnproven, statuses[202], statuses)
	require.Equal(t, maxUnproven, count(t, pg, `SELECT count(*) FROM deliveries`))
	require.Zero(t, count(t, pg, `SELECT count(*) FROM alerts`))
}
