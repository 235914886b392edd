package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// fakeAlertmanager answers API v2 as Alertmanager 0.25 does; a real one is in
// the tests of internal/stack with tag peers.
type fakeAlertmanager struct {
	*httptest.Server
	mu        sync.Mutex
	alerts    map[string]string // name to state
	receivers []string
	started   time.Time
	cluster   string
	starts    string
	answer    func(http.ResponseWriter, *http.Request) bool // true: it has answered
	asked     []string                                      // Authorization headers
}

func newFakeAlertmanager(t *testing.T) *fakeAlertmanager {
	f := &fakeAlertmanager{alerts: map[string]string{}, receivers: []string{"r"}, started: time.Now().Add(-time.Hour), cluster: "disabled",
		starts: "2026-11-21T01:00:00Z"}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAlertmanager) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeAlertmanager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Header.Get("Authorization"))
	if f.answer != nil && f.answer(w, r) {
		return
	}
	type object = map[string]any
	out := []any{}
	var receivers []any
	for _, name := range f.receivers {
		receivers = append(receivers, object{"name": name})
	}
	alert := func(name, state string) object {
		return object{"fingerprint": "fp-" + name, "startsAt": f.starts, "endsAt": "2026-12-01T00:00:00.000Z", "receivers": receivers,
			"labels": object{"alertname": name, "instance": "db1:9100", "severity": "critical"}, "annotations": object{"summary": "It is " + name},
			"status": object{"state": state}, "generatorURL": ""}
	}
	switch r.URL.Path {
	case "/am/api/v2/status":
		_ = json.NewEncoder(w).Encode(object{"uptime": f.started.UTC().Format(time.RFC3339Nano), "cluster": object{"status": f.cluster}})
		return
	case "/am/api/v2/receivers":
		_ = json.NewEncoder(w).Encode(receivers)
		return
	case "/am/api/v2/alerts":
		for name, state := range f.alerts {
			out = append(out, alert(name, state))
		}
	case "/am/api/v2/alerts/groups":
		for name, state := range f.alerts {
			for _, receiver := range f.receivers {
				out = append(out, object{"labels": object{"alertname": name}, "receiver": object{"name": receiver}, "alerts": []any{alert(name, state)}})
			}
		}
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

// reconcileRig is an api with an alertmanager source that asks f.
func reconcileRig(t *testing.T, f *fakeAlertmanager) (*rig, source) {
	t.Helper()
	r := signingRig(t)
	src := r.source("am")
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: f.URL + "/am"}})
	return r, src
}

func (r *rig) options(src source, o ops.SourceOptions) {
	r.t.Helper()
	got := r.call("PATCH", "/api/v1/sources/"+src.ID, map[string]any{"options": o})
	require.Equal(r.t, 200, got.status, got.body)
}

func (r *rig) reconcileNow(src source) ops.Reconciliation {
	r.t.Helper()
	got := r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil)
	require.Equal(r.t, 200, got.status, got.body)
	var out ops.Reconciliation
	got.into(r.t, &out)
	require.Empty(r.t, out.Error)
	return out
}

// patience lets the given time pass for all that the database knows of a source.
func (r *rig) patience(by time.Duration) {
	r.t.Helper()
	r.intake.flush(r.t.Context())
	r.exec(`UPDATE alerts SET last_seen = last_seen - $1::interval`, by)
	r.exec(`UPDATE source_reconcile SET started_at = started_at - $1::interval, ended_at = ended_at - $1::interval, ok_at = ok_at - $1::interval,
		absent = (SELECT coalesce(jsonb_object_agg(key, to_jsonb((value #>> '{}')::timestamptz - $1::interval)), '{}') FROM jsonb_each(absent))`, by)
	r.exec(`UPDATE source_health SET last_delivery_at = last_delivery_at - $1::interval`, by)
	r.exec(`UPDATE sources SET created_at = created_at - $1::interval`, by)
}

func (r *rig) exec(query string, args ...any) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.pg.Owner.Reveal())
	require.NoError(r.t, err)
	defer func() { _ = conn.Close(r.t.Context()) }()
	_, err = conn.Exec(r.t.Context(), query, args...)
	require.NoError(r.t, err)
}

// incidents gives their numbers' titles and statuses, oldest first.
func (r *rig) titles() []string {
	r.t.Helper()
	var page struct{ Items []ops.Incident }
	r.call("GET", "/api/v1/incidents", nil).into(r.t, &page)
	out := []string{}
	for i := len(page.Items) - 1; i >= 0; i-- {
		out = append(out, page.Items[i].Title+" "+string(page.Items[i].Status))
	}
	return out
}

func (r *rig) timeline(number int) string {
	r.t.Helper()
	got := r.call("GET", fmt.Sprintf("/api/v1/incidents/%d/events?limit=500", number), nil)
	require.Equal(r.t, 200, got.status, got.body)
	return got.body
}

// TestReconcileAlertmanager: what was never delivered is taken in once, in the
// group that its webhook has; what ended without a word is resolved when it has
// been gone for long; what a late webhook says about either changes nothing.
func TestReconcileAlertmanager(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	f.alerts["Known"], f.alerts["Missed"], f.alerts["Silenced"] = "active", "active", "suppressed"
	r, src := reconcileRig(t, f)
	require.Equal(t, 202, r.post(src, firing("Known")).status)

	got := r.reconcileNow(src)
	require.Equal(t, []int64{1, 0}, []int64{got.Missed, got.Resolved})
	require.NotZero(t, got.OKAt)
	require.Equal(t, []string{"It is Known triggered", "It is Missed triggered"}, r.titles())
	require.Contains(t, r.timeline(2), reasonMissed)
	require.NotContains(t, r.timeline(1), reasonMissed)
	require.EqualValues(t, 1, r.reconcileNow(src).Missed, "it is known now")

	var in ops.Incident
	r.call("GET", "/api/v1/incidents/2", nil).into(t, &in)
	require.Equal(t, `r/{}:{alertname="Missed"}`, in.GroupKey, "the key that its webhook has")
	require.Equal(t, 202, r.post(src, firing("Missed")).status, "the webhook comes after all")
	require.Len(t, r.titles(), 2)

	f.set(func() { f.alerts = map[string]string{"Silenced": "suppressed"} })
	got = r.reconcileNow(src)
	require.Equal(t, 2, got.Waiting)
	require.Zero(t, got.Resolved, "a webhook may be on its way")
	require.Equal(t, 202, r.post(src, resolved("Known")).status)
	r.patience(defaultPatience)
	got = r.reconcileNow(src)
	require.EqualValues(t, 1, got.Resolved)
	require.Zero(t, got.Waiting)
	require.Equal(t, []string{"It is Known resolved", "It is Missed resolved"}, r.titles())
	require.Contains(t, r.timeline(2), reasonEnded)
	require.NotContains(t, r.timeline(1), reasonEnded, "its webhook came")
	require.Equal(t, 202, r.post(src, resolved("Missed")).status, "late")
	require.Len(t, r.titles(), 2)

	// It was wrong to resolve it: its sender has it still.
	f.set(func() { f.alerts["Missed"] = "active" })
	require.Equal(t, 1, r.reconcileNow(src).Waiting)
	r.patience(defaultPatience)
	require.EqualValues(t, 2, r.reconcileNow(src).Missed)
	require.EqualValues(t, 2, r.reconcileNow(src).Missed, "once")
	require.Contains(t, r.titles(), "It is Missed triggered")

	// Its own deliveries are kept, and say nothing of how the sender does.
	require.Equal(t, 3, count(t, r.pg, `SELECT count(*) FROM deliveries WHERE content_type = $1`, ops.OwnContentType))
	require.Equal(t, 4, count(t, r.pg, `SELECT deliveries FROM source_health`))
	require.Equal(t, 14, count(t, r.pg, `SELECT count(*) FROM audit WHERE action = 'source.reconciled'`))

	// As dead letters they are read in our words, not in the sender's.
	r.exec(`UPDATE deliveries SET problem = 'its alerts could not be stored' WHERE content_type = '` + ops.OwnContentType + `'`)
	var all replayedAll
	r.call("POST", "/api/v1/sources/"+src.ID+"/deliveries/replay", map[string]any{}).into(t, &all)
	require.Equal(t, 3, all.Replayed, "%+v", all)
	require.Equal(t, 3, all.Alerts)
	require.Empty(t, all.Failed)
}

// TestReconcileWasWrong: what was ended since its sender no longer had it goes on
// when a delivery tells of it again.
func TestReconcileWasWrong(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	r, src := reconcileRig(t, f)
	require.Equal(t, 202, r.post(src, firing("Known")).status)
	r.reconcileNow(src)
	r.patience(defaultPatience)
	require.EqualValues(t, 1, r.reconcileNow(src).Resolved)
	require.Equal(t, []string{"It is Known resolved"}, r.titles())
	require.Equal(t, 202, r.post(src, firing("Known")).status)
	require.Equal(t, []string{"It is Known triggered"}, r.titles())
	require.Equal(t, 202, r.post(src, resolved("Known")).status)
	require.Equal(t, []string{"It is Known resolved"}, r.titles())
	require.Equal(t, 202, r.post(src, firing("Known")).status, "late")
	require.Equal(t, []string{"It is Known resolved"}, r.titles())
}

// TestReconcileIsCareful: nothing is resolved on the word of an instance that
// may not know, and nothing is taken from a list that is not whole.
func TestReconcileIsCareful(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	r, src := reconcileRig(t, f)
	require.Equal(t, 202, r.post(src, firing("Known")).status)
	gone := func() ops.Reconciliation {
		r.exec(`UPDATE source_reconcile SET absent = '{}'`)
		r.reconcileNow(src)
		r.patience(defaultPatience)
		return r.reconcileNow(src)
	}
	f.set(func() { f.started = time.Now() })
	require.Zero(t, gone().Resolved, "it started after we heard of the alert")
	f.set(func() { f.started, f.cluster = time.Now().Add(-settleFor/2), "ready" })
	r.exec(`UPDATE alerts SET last_seen = now()`)
	require.Zero(t, gone().Resolved, "another of its cluster may have told us")
	f.set(func() { f.started = time.Now().Add(-time.Hour) })

	failing := func(want string, answer func(http.ResponseWriter, *http.Request) bool) {
		t.Helper()
		f.set(func() { f.answer = answer })
		got := r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil)
		require.GreaterOrEqual(t, got.status, 400, got.body)
		require.Contains(t, got.body, want)
		var state ops.Reconciliation
		r.call("GET", "/api/v1/sources/"+src.ID+"/reconcile", nil).into(t, &state)
		require.Contains(t, state.Error, want)
		require.Less(t, state.OKAt, state.EndedAt)
		require.Equal(t, []string{"It is Known triggered"}, r.titles())
	}
	alerts := func(answer string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/am/api/v2/alerts" {
				return false
			}
			_, _ = w.Write([]byte(answer))
			return true
		}
	}
	failing("Service Unavailable", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
	failing("redirects", func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		return true
	})
	failing("not JSON", alerts("<html>"))
	failing("not JSON", alerts(`[{"fingerprint":"a","startsAt":"2026-11-21T01:00:00Z"`))
	failing("number 2", alerts(`[{"fingerprint":"a","startsAt":"2026-11-21T01:00:00Z","labels":{"a":"b"}},{"labels":{"a":"b"}}]`))
	failing("since when", func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte("{}")); return true })
	failing("more than 32 MiB", func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(`["` + strings.Repeat("x", maxListing) + `"]`))
		return true
	})

	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: "http://169.254.169.254/am"}})
	failing("not allowed", nil)
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: "http://[::ffff:169.254.169.254]/am"}})
	failing("not allowed", nil)
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: f.URL + "/am," + "http://127.0.0.1:1/am"}})
	failing("connection refused", nil)
	r.options(src, ops.SourceOptions{})
	got := r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil)
	require.Equal(t, 422, got.status, got.body)

	// Two at a time do not mix.
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: f.URL + "/am"}})
	_, err := r.db.StartReconcile(t.Context(), src.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 409, r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil).status)
	r.patience(2 * time.Minute)
	require.Equal(t, 200, r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil).status, "who held it has died")
}

// TestReconcileReceivers: alerts that are sent to somebody else are not missed.
func TestReconcileReceivers(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	f.alerts["Other"], f.receivers = "active", []string{"pager", "chat"}
	r, src := reconcileRig(t, f)
	got := r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil)
	require.Equal(t, 422, got.status, got.body)
	require.Contains(t, got.body, "reconcile.target")
	require.Equal(t, 200, r.call("POST", "/api/v1/sources/"+src.ID+"/verify-only", map[string]any{"minutes": 5}).status)
	require.Equal(t, 202, r.post(src, firing("Known"), "Authorization", "Bearer wrong").status)
	require.Equal(t, 422, r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil).status, "what has not proved itself names no receiver")
	require.Equal(t, 202, r.post(src, firing("Known")).status) // of receiver "r"
	for range receiverHeads {                                  // nothing else for long
		_, err := r.intake.store(ops.OwnDelivery(src.ID, "found", nil))
		require.NoError(t, err)
	}
	f.set(func() { f.alerts["Known"] = "active" })
	require.Zero(t, r.reconcileNow(src).Missed, "neither pager nor chat is ours")
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: f.URL + "/am", Target: "chat"}})
	require.EqualValues(t, 1, r.reconcileNow(src).Missed)
}

// TestReconcileSecret: it is kept sealed, shown to nobody, sent to its address
// alone, and goes with a rotation.
func TestReconcileSecret(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	r, src := reconcileRig(t, f)
	path := "/api/v1/sources/" + src.ID + "/reconcile"
	put := func(body map[string]string) reply { return r.call("PUT", path+"/secret", body) }
	got := put(map[string]string{"token": "token-of-am"})
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, `"has_secret":true`)
	for _, shown := range []string{got.body, r.call("GET", path, nil).body, r.call("GET", "/api/v1/sources", nil).body, dump(t, r.pg), r.log.String()} {
		require.NotContains(t, shown, "token-of-am")
	}
	r.reconcileNow(src)
	require.Equal(t, []string{"Bearer token-of-am"}, unique(f.asked))

	other := newFakeAlertmanager(t)
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: other.URL + "/am"}})
	got = r.call("POST", path, nil)
	require.Equal(t, 422, got.status, got.body)
	require.Contains(t, got.body, "another address")
	require.Empty(t, other.asked, "the secret is for the address that it was given for")
	require.Equal(t, 200, put(map[string]string{"username": "u", "password": "p"}).status)
	r.reconcileNow(src)
	require.Equal(t, []string{"Basic dTpw"}, unique(other.asked))
	require.Equal(t, 200, put(map[string]string{}).status)
	other.asked = nil
	r.reconcileNow(src)
	require.Equal(t, []string{""}, unique(other.asked))

	require.Equal(t, 422, put(map[string]string{"token": "a\nb"}).status)
	require.Equal(t, 422, put(map[string]string{"token": "a", "username": "b"}).status)
	zabbix := r.addSource(map[string]any{"name": "z", "kind": "zabbix"})
	require.Equal(t, 422, r.call("PUT", "/api/v1/sources/"+zabbix.ID+"/reconcile/secret", map[string]string{"token": "a"}).status)
	require.Equal(t, 404, r.call("PUT", "/api/v1/sources/"+ops.NewID()+"/reconcile/secret", map[string]string{"token": "a"}).status)
}

func unique(all []string) []string {
	var out []string
	for _, s := range all {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// TestReconcileByItself: a source that is due is asked by whichever replica
// comes first, and no other one.
func TestReconcileByItself(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	f.alerts["Missed"] = "active"
	r, src := reconcileRig(t, f)
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{URL: f.URL + "/am", EverySeconds: 3600}})
	second := start(t, r.pg, func(c *Config) { c.Keys = r.conf.Keys })
	require.NoError(t, r.reconcileDue(t.Context()))
	require.NoError(t, second.reconcileDue(t.Context()))
	require.Equal(t, []string{"It is Missed triggered"}, r.titles())
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM source_reconcile WHERE missed = 1 AND error = ''`))
	f.set(func() { f.asked = nil })
	require.NoError(t, r.reconcileDue(t.Context()), "not due")
	require.Empty(t, f.asked)
	r.patience(time.Hour)
	require.NoError(t, r.reconcileDue(t.Context()))
	require.NotEmpty(t, f.asked)
}

// TestSilence: a source that sends nothing gets one incident, whoever notices,
// and what it sends next ends it.
func TestSilence(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.source("am")
	watch := func(of *rig) { t.Helper(); require.NoError(t, of.watchSilence(t.Context())) }
	r.options(src, ops.SourceOptions{SilentAfterSeconds: 60})
	watch(r)
	require.Empty(t, r.titles(), "it was just made")
	r.patience(2 * time.Minute)
	watch(r)
	require.Empty(t, r.titles(), "the api has just started: senders may be waiting to try again")
	r.began = r.began.Add(-time.Minute)
	second := start(t, r.pg, func(c *Config) { c.Keys = r.conf.Keys })
	second.began = second.began.Add(-time.Hour)
	watch(r)
	watch(second)
	watch(r)
	require.Equal(t, []string{"Source am went silent triggered"}, r.titles())
	var in ops.Incident
	r.call("GET", "/api/v1/incidents/1", nil).into(t, &in)
	require.Equal(t, ops.SeverityHigh, in.Severity)
	require.Equal(t, 1, in.AlertCount)
	require.Contains(t, r.timeline(1), "sent nothing for longer than")

	require.Equal(t, 202, r.post(src, firing("Back")).status)
	r.intake.flush(t.Context())
	watch(second)
	watch(r)
	require.Equal(t, []string{"Source am went silent resolved", "It is Back triggered"}, r.titles())
	require.Contains(t, r.timeline(1), "heard of again")

	// The next silence is another one, and ends when nobody minds any more.
	r.patience(2 * time.Hour)
	watch(r)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM alerts WHERE identity = $1 AND status = 'firing'`, ops.SilentIdentity))
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM alerts WHERE identity = $1`, ops.SilentIdentity))
	r.options(src, ops.SourceOptions{})
	watch(r)
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM alerts WHERE identity = $1 AND status = 'firing'`, ops.SilentIdentity))
	require.Equal(t, 1, count(t, r.pg, `SELECT deliveries FROM source_health`), "what we raise is no sign of life")
}

// TestSilenceOutlastsTheResolveTimeout: it is not told again and again, and so
// nothing must end it before the source is heard of.
func TestSilenceOutlastsTheResolveTimeout(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.source("am")
	r.options(src, ops.SourceOptions{SilentAfterSeconds: 60, ResolveTimeoutSeconds: 3600})
	r.patience(2 * time.Hour)
	r.began = r.began.Add(-time.Hour)
	for range 3 {
		require.NoError(t, r.watchSilence(t.Context()))
		require.Equal(t, []string{"Source am went silent triggered"}, r.titles())
		r.exec(`UPDATE alerts SET last_seen = last_seen - interval '2 hours'`)
		require.NoError(t, r.db.Settle(t.Context()))
	}
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM deliveries`))
}

// TestSilenceIsToldAgain: one that ended since it was allowed is another one as
// soon as it is too long again, and is told once.
func TestSilenceIsToldAgain(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.source("am")
	r.patience(2 * time.Minute)
	r.began = r.began.Add(-time.Hour)
	for n, after := range []int{60, 600, 90, 0, 60} {
		r.options(src, ops.SourceOptions{SilentAfterSeconds: after})
		for range 3 {
			require.NoError(t, r.watchSilence(t.Context()))
			require.Equal(t, 1-n%2, count(t, r.pg, `SELECT count(*) FROM alerts WHERE status = 'firing'`), "%d: %d s", n, after)
			require.Equal(t, n+1, count(t, r.pg, `SELECT count(*) FROM deliveries`), "%d: %d s", n, after)
		}
	}
	require.Contains(t, r.timeline(1), "the source may be silent for 10m0s now")
	require.Contains(t, r.timeline(1), "no longer watched")
	require.NotContains(t, r.timeline(1), "heard of again")
}

// TestSilenceEndsWithReconciliation: a sender that was asked and answered is alive.
func TestSilenceEndsWithReconciliation(t *testing.T) {
	t.Parallel()
	f := newFakeAlertmanager(t)
	r, src := reconcileRig(t, f)
	r.options(src, ops.SourceOptions{SilentAfterSeconds: 60, Reconcile: ops.Reconcile{URL: f.URL + "/am"}})
	r.patience(2 * time.Minute)
	r.began = r.began.Add(-time.Hour)
	require.NoError(t, r.watchSilence(t.Context()))
	require.Equal(t, []string{"Source am went silent triggered"}, r.titles())
	r.reconcileNow(src)
	require.NoError(t, r.watchSilence(t.Context()))
	require.Equal(t, []string{"Source am went silent resolved"}, r.titles())
}

// TestReconcileZabbix asks a gateway that answers as the real one does, which is
// in the tests of internal/stack with tag peers: all pages, with a token that is
// good for that and nothing else.
func TestReconcileZabbix(t *testing.T) {
	t.Parallel()
	problem := func(event string) string {
		return `{"event_id":"` + event + `","trigger_id":"1` + event + `","name":"Problem ` + event + `","severity":"high","since":"2026-11-21T01:00:00Z",
			"acknowledged":false,"suppressed":false,"monitored":true,"opdata":"","hosts":[{"id":"7","host":"db1","name":"db1"}],"tags":[]}`
	}
	result := func(state, text, data string) string {
		return `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"id":"m","state":"` + state + `","text":"` + text + `","duration_ns":1,"data":` + data + `}}}`
	}
	var mu sync.Mutex
	var asked []string
	answer := func(string) (int, string) { return 200, "" }
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var call struct {
			Method string
			Params struct {
				Name      string
				Arguments map[string]any
			}
		}
		if json.NewDecoder(r.Body).Decode(&call) != nil || call.Method != "tools/call" || call.Params.Name != "zabbix_problems" ||
			!strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+ops.ClientTokenPrefix) || call.Params.Arguments["target"] != "zbx" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		before, _ := call.Params.Arguments["before_event"].(string)
		asked = append(asked, before)
		status, body := answer(before)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(gateway.Close)
	r := start(t, pgtest.New(t), func(c *Config) { c.GatewayURL = gateway.URL + "/mcp" })
	r.makeUser()
	src := r.addSource(map[string]any{"name": "z", "kind": "zabbix"})
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{Target: "zbx"}})

	answer = func(before string) (int, string) {
		if before == "" {
			return 200, result("done", "", `{"items":[`+problem("9")+`,`+problem("8")+`],"more":true}`)
		}
		return 200, result("done", "", `{"items":[`+problem("7")+`],"more":false}`)
	}
	require.EqualValues(t, 3, r.reconcileNow(src).Missed)
	require.Equal(t, []string{"", "8"}, asked)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM gateway_tokens WHERE actor = 'service:reconcile' AND tools = '{zabbix_problems}' AND targets = '{zbx}'`))
	require.Equal(t, 3, count(t, r.pg, `SELECT count(*) FROM alerts WHERE status = 'firing'`))

	for _, tc := range []struct {
		status     int
		body, want string
	}{
		{401, "no", "Unauthorized"},
		{200, "<html>", "cannot be read"},
		{200, `{"error":{"code":-32602,"message":"tool 'zabbix_problems' not found"}}`, "not found"},
		{200, result("failed", "zbx refuses its credential", "null"), "refuses its credential"},
		{200, result("denied", "it is not what this token is for", "null"), "not what this token is for"},
		{200, result("done", "", `{}`), "no list of problems"},
		{200, result("done", "", `{"items":[`+problem("1")+`],"more":true}`), "too many"},
	} {
		mu.Lock()
		answer = func(string) (int, string) { return tc.status, tc.body }
		mu.Unlock()
		got := r.call("POST", "/api/v1/sources/"+src.ID+"/reconcile", nil)
		require.GreaterOrEqual(t, got.status, 400, tc.want)
		require.Contains(t, got.body, tc.want)
	}
	require.Equal(t, 3, count(t, r.pg, `SELECT count(*) FROM alerts WHERE status = 'firing'`), "an error resolves nothing")

	mu.Lock()
	answer = func(string) (int, string) {
		return 200, result("done", "", `{"items":[`+problem("9")+`],"more":false}`)
	}
	mu.Unlock()
	require.Equal(t, 2, r.reconcileNow(src).Waiting)
	r.patience(defaultPatience)
	require.EqualValues(t, 2, r.reconcileNow(src).Resolved)
	var report sourceReport
	r.call("GET", "/api/v1/sources/"+src.ID+"/health", nil).into(t, &report)
	require.EqualValues(t, 3, report.Reconciliation.Missed)
	require.EqualValues(t, 2, report.Reconciliation.Resolved)
	require.NotZero(t, report.Reconciliation.OKAt)
}

// TestReconcileZabbixSeveral: of a trigger with several open problems each is
// taken in once, and the recovery that got lost ends its own.
func TestReconcileZabbixSeveral(t *testing.T) {
	t.Parallel()
	var problems atomic.Value
	open := func(events ...string) {
		var items []string
		for _, e := range events {
			items = append(items, `{"event_id":"`+e+`","trigger_id":"11","name":"Log error","severity":"high","since":"2026-11-21T01:00:0`+e+`Z",
				"acknowledged":false,"suppressed":false,"monitored":true,"opdata":"","hosts":[{"id":"7","host":"db1","name":"db1"}],"tags":[]}`)
		}
		problems.Store(strings.Join(items, ","))
	}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"id":"m","state":"done","text":"","duration_ns":1,"data":{"items":[%s],"more":false}}}}`, problems.Load())
	}))
	t.Cleanup(gateway.Close)
	r := start(t, pgtest.New(t), func(c *Config) { c.GatewayURL = gateway.URL + "/mcp" })
	r.makeUser()
	src := r.addSource(map[string]any{"name": "z", "kind": "zabbix"})
	r.options(src, ops.SourceOptions{Reconcile: ops.Reconcile{Target: "zbx"}})
	open("2", "1")
	for range 3 {
		require.EqualValues(t, 2, r.reconcileNow(src).Missed)
		r.patience(defaultPatience)
	}
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM alerts WHERE status = 'firing'`))
	open("2")
	require.Zero(t, r.reconcileNow(src).Resolved)
	r.patience(defaultPatience)
	require.EqualValues(t, 1, r.reconcileNow(src).Resolved)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM alerts WHERE status = 'firing' AND episode = '2'`))
	require.Equal(t, []string{"Log error triggered"}, r.titles())
	event := func(value string) string {
		return `{"event_id":"2","event_source":"0","event_value":"` + value + `","event_update_status":"0","trigger_id":"11","host_id":"7","event_name":"Log error"}`
	}
	require.Equal(t, 202, r.post(src, event("0")).status)
	require.Equal(t, []string{"Log error resolved"}, r.titles())
}
