package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/deploy/zabbix"
	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

func (r *rig) change(src source, body map[string]any) (out source) {
	r.t.Helper()
	got := r.call("PATCH", "/api/v1/sources/"+src.ID, body)
	require.Equal(r.t, 200, got.status, got.body)
	got.into(r.t, &out)
	return out
}

// TestChangeSource: what is changed counts at once, what makes no sense is
// refused, and what was there before stays.
func TestChangeSource(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	path := "/api/v1/sources/" + src.ID
	for name, tc := range map[string]struct {
		body any
		want string
	}{
		"an unknown field":    {map[string]any{"kind": "zabbix"}, "unexpected property"},
		"an unknown option":   {map[string]any{"options": map[string]any{"flap_hold": 1}}, "unexpected property"},
		"an option of text":   {map[string]any{"options": map[string]any{"flap_hold_seconds": "1"}}, "expected integer"},
		"an option too large": {map[string]any{"options": map[string]any{"flap_hold_seconds": 1e6}}, "flap_hold_seconds"},
		"a bad severity":      {map[string]any{"options": map[string]any{"severities": map[string]any{"x": "worst"}}}, "options"},
		"settings of none":    {map[string]any{"settings": map[string]any{"x": 1}}, "has no settings"},
		"a bad name":          {map[string]any{"name": "a b"}, "name"},
		"reconcile of file":   {map[string]any{"options": map[string]any{"reconcile": map[string]any{"url": "file:///x"}}}, "reconcile.url"},
	} {
		got := r.call("PATCH", path, tc.body)
		require.Equal(t, 422, got.status, "%s: %s", name, got.body)
		require.Contains(t, got.body, tc.want, name)
	}
	require.Equal(t, 404, r.call("PATCH", "/api/v1/sources/"+ops.NewID(), map[string]any{"enabled": false}).status)

	// The sender's own words may mean something else here.
	require.Equal(t, 202, r.post(src, firing("Before")).status)
	out := r.change(src, map[string]any{"options": map[string]any{"severities": map[string]any{"critical": "info"}, "reopen_window_seconds": 60}})
	require.Equal(t, ops.SourceOptions{Severities: map[string]ops.Severity{"critical": ops.SeverityInfo}, ReopenWindowSeconds: 60}, out.Options)
	require.Equal(t, 202, r.post(src, firing("After")).status)
	var alerts struct{ Items []ops.Alert }
	for number, want := range map[string]ops.Severity{"1": ops.SeverityCritical, "2": ops.SeverityInfo} {
		r.call("GET", "/api/v1/incidents/"+number+"/alerts", nil).into(t, &alerts)
		require.Equal(t, want, alerts.Items[0].Severity)
		require.Equal(t, "critical", alerts.Items[0].SenderSeverity)
	}
	out = r.change(src, map[string]any{"name": "renamed"})
	require.Equal(t, "renamed", out.Name)
	require.Equal(t, 60, out.Options.ReopenWindowSeconds, "what is not named stays")

	require.False(t, r.change(src, map[string]any{"enabled": false}).Enabled)
	require.Equal(t, 404, r.post(src, firing("Off")).status, "at once")
	require.True(t, r.change(src, map[string]any{"enabled": true}).Enabled)
	require.Equal(t, 202, r.post(src, firing("On")).status)

	other := r.source("am")
	require.Equal(t, 409, r.call("PATCH", "/api/v1/sources/"+other.ID, map[string]any{"name": "renamed"}).status)
	require.Contains(t, r.audit(), "source.changed")
	var got source
	r.call("GET", path, nil).into(t, &got)
	require.Equal(t, "renamed", got.Name)
}

// TestDeleteSource: it takes nothing any more, its name is free, and what it
// sent stays.
func TestDeleteSource(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("A")).status)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/sources/"+src.ID, nil).status)
	require.Equal(t, 404, r.post(src, firing("B")).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/sources/"+src.ID, nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/sources/"+src.ID, nil).status)
	require.NotContains(t, r.call("GET", "/api/v1/sources", nil).body, src.ID)
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM sources WHERE length(secret_hash) > 0`))
	require.Equal(t, 200, r.call("GET", "/api/v1/incidents/1", nil).status)
	require.Contains(t, r.call("GET", "/api/v1/incidents/1/alerts", nil).body, "It is A")
	again := r.source("am")
	require.NotEqual(t, src.ID, again.ID)
	require.Contains(t, r.audit(), "source.deleted")
}

// TestSourceHealth: how much came, and what went wrong in which way.
func TestSourceHealth(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("A")).status)
	require.Equal(t, 202, r.post(src, `<`).status)
	require.Equal(t, 202, r.post(src, payload(t, "alertmanager-truncated.json")).status)
	require.Equal(t, 401, r.post(src, firing("A"), "X-None", "x").status)
	require.Equal(t, 413, r.post(src, strings.Repeat("x", maxBody+1)).status)
	var got sourceReport
	require.Eventually(t, func() bool { got = r.report(src); return len(got.Errors) == 4 }, soon, 20*time.Millisecond)
	counts := map[string]int64{}
	for _, e := range got.Errors {
		counts[e.Kind] = e.Count
		require.WithinDuration(t, time.Now(), e.At, time.Minute)
	}
	require.Equal(t, map[string]int64{ops.ErrorUnparsable: 1, ops.ErrorTruncated: 1, ops.ErrorUnauthenticated: 1, ops.ErrorTooLarge: 1}, counts)
	require.Len(t, got.Minutes, 60)
	require.Len(t, got.Hours, 24)
	require.EqualValues(t, 3, got.Deliveries)
	require.EqualValues(t, 3, got.LastHour)
	require.EqualValues(t, 3, got.LastDay)
	require.Greater(t, got.AlertsLastHour, int64(1))
	require.EqualValues(t, 4, got.ErrorsLastHour)
	require.InDelta(t, 3.0/60, got.PerMinute, 1e-9)
	require.Equal(t, 1, got.DeadLetters)
	require.Equal(t, time.Minute, got.Minutes[59].At.Sub(got.Minutes[58].At))
	require.WithinDuration(t, time.Now(), got.LastDeliveryAt, time.Minute)
	require.Equal(t, 404, r.call("GET", "/api/v1/sources/x/health", nil).status)
}

// TestRatesAreRings: a slot is used again, however late or early its time comes.
func TestRatesAreRings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	now := time.Date(2026, 11, 21, 12, 34, 56, 0, time.UTC)
	deliver := func(at time.Time) {
		count := postgres.NewSourceCount(src.ID)
		count.Stored(ops.Delivery{ReceivedAt: at, Problem: "x"})
		require.NoError(t, r.db.CountSources(t.Context(), []*postgres.SourceCount{count}))
	}
	for minutes := range 200 { // in order, over and over
		deliver(now.Add(time.Duration(minutes-199) * time.Minute))
	}
	deliver(now)
	deliver(now.Add(-60 * time.Minute)) // late: its slot is in use
	require.Equal(t, 60+4, count(t, r.pg, `SELECT count(*) FROM source_rates`), "no more than the ring and the hours that there were")
	minutes, hours, err := r.db.SourceRates(t.Context(), src.ID, now.Add(30*time.Minute))
	require.NoError(t, err)
	require.Equal(t, now.Add(30*time.Minute).Truncate(time.Minute), minutes[59].At)
	for n, m := range minutes {
		want := map[bool]int64{true: 1}[n < 30]
		if n == 29 {
			want = 2
		}
		require.Equal(t, want, m.Deliveries, n)
		require.Equal(t, want, m.Errors, n)
	}
	// Nothing since 12:34, back to 09:15, and the late one.
	var perHour []int64
	for _, h := range hours[19:] {
		perHour = append(perHour, h.Deliveries)
	}
	require.Equal(t, []int64{45, 60, 61, 36, 0}, perHour)
}

// TestPagerDutyDisables: one refused delivery is a warning, three are an outage.
func TestPagerDutyDisables(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.addSource(map[string]any{"name": "pd", "kind": "pagerduty"})
	body := payload(t, "pagerduty-triggered.json")
	for n := 1; n <= 3; n++ {
		require.Equal(t, 401, r.post(src, body, "X-PagerDuty-Signature", "v1=00").status)
		want := map[bool]string{true: "pagerduty_disabled", false: "pagerduty_refused"}[n == 3]
		require.Eventually(t, func() bool {
			w := r.report(src).Warnings
			return len(w) == 1 && w[0].Code == want && w[0].Count == int64(n)
		}, soon, 20*time.Millisecond)
	}
	require.Equal(t, 202, r.post(src, body, "X-PagerDuty-Signature", "v1="+mac(src.Secret, body)).status)
	report := r.report(src)
	require.Empty(t, report.Warnings, "it has been enabled again")
	require.EqualValues(t, 3, report.Rejected)
	require.Equal(t, ops.ErrorSignature, report.Errors[0].Kind)
}

// TestTestEvents: each kind's test goes the whole way, is told apart from what
// is real, and is not investigated unless asked.
func TestTestEvents(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	for _, kind := range ingest.Sources {
		src := r.addSource(map[string]any{"name": kind.Kind, "kind": kind.Kind})
		var out tested
		got := r.call("POST", "/api/v1/sources/"+src.ID+"/test", map[string]any{"resolve": true})
		require.Equal(t, 200, got.status, got.body)
		got.into(t, &out)
		require.True(t, out.OK, got.body)
		require.Equal(t, []string{"send", "authenticate", "parse", "store", "incident", "resolve"}, names(out), kind.Kind)
		var in ops.Incident
		r.call("GET", "/api/v1/incidents/"+out.Incident, nil).into(t, &in)
		require.Equal(t, ops.IncidentResolved, in.Status, kind.Kind)
		require.Empty(t, in.Investigation, "%s: %s", kind.Kind, in.InvestigationReason)
		var alerts struct{ Items []ops.Alert }
		r.call("GET", "/api/v1/incidents/"+out.Incident+"/alerts", nil).into(t, &alerts)
		require.Len(t, alerts.Items, 1)
		require.Equal(t, ops.AlertTest, alerts.Items[0].Kind)
		require.Equal(t, ops.SeverityInfo, alerts.Items[0].Severity)
		require.EqualValues(t, 2, r.report(src).Deliveries)
		require.NotContains(t, got.body, src.Secret)
	}
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM runs`))
	require.Equal(t, len(ingest.Sources), count(t, r.pg, `SELECT count(*) FROM incidents`))
	require.Contains(t, r.audit(), "source.tested")
}

func names(out tested) (all []string) {
	for _, s := range out.Steps {
		all = append(all, s.Name)
	}
	return all
}

func TestTestEventSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	test := func(src source, body map[string]any) (out tested) {
		t.Helper()
		got := r.call("POST", "/api/v1/sources/"+src.ID+"/test", body)
		require.Equal(t, 200, got.status, got.body)
		got.into(t, &out)
		return out
	}
	out := test(src, map[string]any{"secret": src.Secret, "investigate": true})
	require.True(t, out.OK, out.Steps)
	require.Equal(t, "investigate", out.Steps[5].Name)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM runs`))
	require.Contains(t, out.Body, `"alertname":"AkmatoriTest"`)

	// The secret that the sender has is not the right one: it says so, and
	// neither counts nor stores anything.
	out = test(src, map[string]any{"secret": "another secret"})
	require.False(t, out.OK)
	require.Equal(t, []string{"send", "authenticate"}, names(out))
	require.Contains(t, out.Steps[1].Text, "answered 401")
	require.EqualValues(t, 1, r.report(src).Deliveries)

	// A mapping that finds nothing in what it asks for.
	own := r.addSource(map[string]any{"name": "own", "kind": "webhook", "settings": map[string]any{"fields": map[string]any{"identity": "fixed", "title": "fixed", "status": "ok"}}})
	out = test(own, map[string]any{})
	require.False(t, out.OK)
	require.Contains(t, fmt.Sprint(out.Steps), "no incident was opened")

	require.False(t, r.change(src, map[string]any{"enabled": false}).Enabled)
	require.Equal(t, 409, r.call("POST", "/api/v1/sources/"+src.ID+"/test", map[string]any{}).status)
	require.Equal(t, 404, r.call("POST", "/api/v1/sources/"+ops.NewID()+"/test", map[string]any{}).status)
}

// TestSetup: what a sender is configured with names the source's address, and
// no secret.
func TestSetup(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	for _, kind := range ingest.Sources {
		src := r.addSource(map[string]any{"name": kind.Kind, "kind": kind.Kind})
		got := r.call("GET", "/api/v1/sources/"+src.ID+"/setup", nil)
		require.Equal(t, 200, got.status, got.body)
		var out setup
		got.into(t, &out)
		require.Contains(t, got.body, src.WebhookURL, kind.Kind)
		require.NotContains(t, got.body, src.Secret)
		if src.Auth == ops.AuthSecret {
			require.Contains(t, got.body, out.SecretPlaceholder)
		}
		if kind.Kind == "zabbix" {
			require.Equal(t, zabbix.MediaType, out.Items[1].Text)
			require.Contains(t, zabbix.MediaType, "{$AKMATORI.URL}")
		}
	}
}

// TestDatabaseErrorsAreCounted: what could not be stored is on the source's page
// when the database is back.
func TestDatabaseErrorsAreCounted(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	f, through := forward(t, pg.API)
	r := start(t, pg, func(c *Config) { c.DatabaseURL = through })
	r.makeUser()
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("Before")).status)
	f.cut()
	got := r.post(src, firing("Away")) // the source is still known
	require.Equal(t, 503, got.status, got.body)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	f.mend()
	require.Eventually(t, func() bool {
		got := r.call("GET", "/api/v1/sources/"+src.ID+"/health", nil)
		return got.status == 200 && strings.Contains(got.body, `"kind":"database"`)
	}, 2*soon, 50*time.Millisecond)
}

// TestNothingIsRefused: no body of an authenticated sender, of any kind and
// under any content type, is answered otherwise than 202.
func TestNothingIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	deep := strings.Repeat("[", 20_000)
	for _, kind := range ingest.Sources {
		src := r.addSource(map[string]any{"name": kind.Kind, "kind": kind.Kind, "auth": "secret"})
		for _, body := range []string{
			``, `null`, `[]`, `{}`, `"x"`, `1e999999`, "\x00\xff\xfe", deep, strings.Repeat(`{"alerts":`, 9_000), `{"alerts":[{"labels":{"a":"\ud800\u0000"}}]}`,
			`{"event":{"data":{"type":"incident","id":"\u0000","status":"triggered"}}}`, `{"event_id":"\u0000x","event_value":"1"}`, `{"id":"\u0000","title":"\u0000"}`,
			`{"alert_id":"\u0000","date":"99999999999999999999"}`, `payload=%00%ff`, `{"event_id":"1","event_value":"1","event_tags":"[[[["}`,
		} {
			for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded", "text/plain; charset=\xff\x80", strings.Repeat("é", 150), ops.OwnContentType} {
				got := r.post(src, body, "Authorization", "Bearer "+src.Secret, "Content-Type", contentType, "Idempotency-Key", "\xff"+strings.Repeat("k", 2000))
				require.Equal(t, 202, got.status, "%s %q %q: %s", kind.Kind, body[:min(len(body), 60)], contentType, got.body)
			}
		}
	}
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM deliveries WHERE content_type = $1`, ops.OwnContentType), "no sender is us")
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM source_errors WHERE kind = 'database'`))
	require.NotContains(t, r.log.String(), "panicked")
}

// TestPreviewWithOptions: the preview reads as the source would.
func TestPreviewWithOptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sample := map[string]any{"kind": "webhook", "body": `{"title":"x","severity":"Blue"}`, "options": map[string]any{"severities": map[string]any{"blue": "high"}}}
	var out preview
	got := r.call("POST", "/api/v1/sources/preview", sample)
	require.Equal(t, 200, got.status, got.body)
	got.into(t, &out)
	require.Equal(t, ops.SeverityHigh, out.Alerts[0].Severity)
	require.Equal(t, "Blue", out.Alerts[0].SenderSeverity)
	sample["options"] = map[string]any{"severities": map[string]any{"Blue": "high"}}
	require.Equal(t, 422, r.call("POST", "/api/v1/sources/preview", sample).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/sources/preview", map[string]any{"kind": "webhook", "body": "{}", "settings": json.RawMessage(`{"feilds":{}}`)}).status)
	require.Equal(t, http.StatusUnprocessableEntity, r.call("POST", "/api/v1/sources/preview", map[string]any{"kind": "nagios", "body": "{}"}).status)
}
