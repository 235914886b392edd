package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// TestSeverities: a source may have its own meaning for each word of its
// sender, and for none.
func TestSeverities(t *testing.T) {
	t.Parallel()
	own := map[string]ops.Severity{
		"critical": ops.SeverityHigh, "major outage": ops.SeverityCritical, "p2": ops.SeverityCritical, "disaster": ops.SeverityWarning,
		"average": ops.SeverityHigh, "warn": ops.SeverityInfo, "": ops.SeverityInfo, "low": ops.SeverityWarning,
	}
	for _, tc := range []struct {
		kind, body, word string
		want             ops.Severity
	}{
		{"alertmanager", `{"alerts":[{"labels":{"alertname":"A","severity":" Critical "}}]}`, "Critical", ops.SeverityHigh},
		{"alertmanager", `{"alerts":[{"labels":{"alertname":"A","severity":"page"}}]}`, "page", ops.SeverityCritical},
		{"alertmanager", `{"alerts":[{"labels":{"alertname":"A"}}]}`, "", ops.SeverityInfo},
		{"grafana", `{"orgId":1,"alerts":[{"labels":{"alertname":"A","severity":"critical"}}]}`, "critical", ops.SeverityHigh},
		{"grafana", `{"orgId":1,"alerts":[{"labels":{"alertname":"TestAlert","severity":"low"}}]}`, "low", ops.SeverityInfo}, // a test stays one
		{"pagerduty", pagerDutyWith(`"Major outage"`, "high"), "Major outage", ops.SeverityCritical},
		{"pagerduty", pagerDutyWith(`"P2 - bad"`, "low"), "P2", ops.SeverityCritical},
		{"pagerduty", pagerDutyWith(`"Strange"`, "high"), "Strange", ops.SeverityHigh}, // the urgency's
		{"pagerduty", pagerDutyWith(`null`, "low"), "low", ops.SeverityWarning},
		{"datadog", `{"alert_id":"1","alert_title":"x","alert_priority":"P2"}`, "P2", ops.SeverityCritical},
		{"datadog", `{"alert_id":"1","alert_title":"x","alert_priority":"P2","alert_transition":"Warn"}`, "Warn", ops.SeverityInfo},
		{"datadog", `{"alert_id":"1","alert_title":"x","alert_type":"error"}`, "error", ops.SeverityHigh},
		{"zabbix", `{"event_id":"1","event_value":"1","event_nseverity":"5","event_severity":"Disaster"}`, "Disaster", ops.SeverityWarning},
		{"zabbix", `{"event_id":"1","event_value":"1","event_nseverity":"3"}`, "Average", ops.SeverityHigh},
		{"zabbix", `{"event_id":"1","event_value":"1","severity":"5"}`, "Disaster", ops.SeverityWarning},
		{"zabbix", `{"event_id":"1","event_value":"1","event_nseverity":"9","event_severity":"Purple"}`, "Purple", ops.SeverityWarning},
		{"webhook", `{"title":"x","severity":"P2"}`, "P2", ops.SeverityCritical},
	} {
		src, _ := Lookup(tc.kind)
		r := testRequest([]byte(tc.body))
		r.Options.Severities = own
		parsed, err := src.Read(r)
		require.NoError(t, err, tc.body)
		require.Equal(t, tc.word, parsed.Alerts[0].SenderSeverity, tc.body)
		require.Equal(t, tc.want, parsed.Alerts[0].Severity, tc.body)
	}
}

func pagerDutyWith(priority, urgency string) string {
	if priority != "null" {
		priority = `{"summary":` + priority + `}`
	}
	return fmt.Sprintf(`{"event":{"event_type":"incident.triggered","data":{"type":"incident","id":"P","status":"triggered","priority":%s,"urgency":%q}}}`, priority, urgency)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	words := map[string]ops.Severity{}
	for i := range maxWords + 1 {
		words[fmt.Sprint("w", i)] = ops.SeverityInfo
	}
	for _, tc := range []struct {
		kind    string
		o       ops.SourceOptions
		problem string
	}{
		{"webhook", ops.SourceOptions{}, ""},
		{"zabbix", ops.SourceOptions{Severities: map[string]ops.Severity{"": ops.SeverityInfo, "not classified": ops.SeverityInfo}, FlapHoldSeconds: 60,
			ReopenWindowSeconds: 3600, ResolveTimeoutSeconds: 86400, SilentAfterSeconds: 600, StormIncidentsPerMinute: -1, StormQuietSeconds: 60,
			Reconcile: ops.Reconcile{Target: "zabbix-prod", EverySeconds: 60}}, ""},
		{"alertmanager", ops.SourceOptions{Reconcile: ops.Reconcile{URL: "https://am.example:9093/prefix", EverySeconds: 60}}, ""},
		{"webhook", ops.SourceOptions{Severities: words}, "at most 200 words"},
		{"webhook", ops.SourceOptions{Severities: map[string]ops.Severity{"x": "bad"}}, `"x": it is critical`},
		{"webhook", ops.SourceOptions{Severities: map[string]ops.Severity{"X": "high"}}, "in lower case"},
		{"webhook", ops.SourceOptions{Severities: map[string]ops.Severity{" x": "high"}}, "in lower case"},
		{"webhook", ops.SourceOptions{Severities: map[string]ops.Severity{"x\x00": "high"}}, "in lower case"},
		{"webhook", ops.SourceOptions{FlapHoldSeconds: -1}, "flap_hold_seconds"},
		{"webhook", ops.SourceOptions{FlapHoldSeconds: 3601}, "flap_hold_seconds"},
		{"webhook", ops.SourceOptions{ReopenWindowSeconds: -600}, "reopen_window_seconds"},
		{"webhook", ops.SourceOptions{ResolveTimeoutSeconds: 5}, "resolve_timeout_seconds: it is 0 for the default, or from 60 to"},
		{"webhook", ops.SourceOptions{SilentAfterSeconds: 5}, "silent_after_seconds"},
		{"webhook", ops.SourceOptions{StormIncidentsPerMinute: -2}, "storm_incidents_per_minute"},
		{"webhook", ops.SourceOptions{StormQuietSeconds: 1}, "storm_quiet_seconds"},
		{"alertmanager", ops.SourceOptions{Reconcile: ops.Reconcile{URL: "http://a", EverySeconds: 1}}, "every_seconds"},
		{"alertmanager", ops.SourceOptions{Reconcile: ops.Reconcile{EverySeconds: 60}}, "reconcile.url"},
		{"alertmanager", ops.SourceOptions{Reconcile: ops.Reconcile{URL: "http://u:p@a"}}, "reconcile.url"},
		{"alertmanager", ops.SourceOptions{Reconcile: ops.Reconcile{URL: "file:///etc/passwd"}}, "reconcile.url"},
		{"zabbix", ops.SourceOptions{Reconcile: ops.Reconcile{URL: "http://a"}}, "reconcile.url"},
		{"zabbix", ops.SourceOptions{Reconcile: ops.Reconcile{EverySeconds: 60}}, "reconcile.target"},
		{"grafana", ops.SourceOptions{Reconcile: ops.Reconcile{EverySeconds: 60}}, "cannot be asked"},
	} {
		src, _ := Lookup(tc.kind)
		err := src.CheckOptions(tc.o)
		if tc.problem == "" {
			require.NoError(t, err, tc)
		} else {
			require.ErrorContains(t, err, tc.problem, tc)
		}
	}
}

func TestDeliveryIDs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind, header, value, body, want string
	}{
		{"pagerduty", "X-Webhook-Id", "w-1", `{}`, "w-1"},
		{"pagerduty", "Idempotency-Key", "w-1", `{}`, ""},
		{"webhook", "Idempotency-Key", " k ", `{}`, "k"},
		{"webhook", "Webhook-Id", "msg_1", `{}`, "msg_1"},
		{"webhook", "X-Webhook-Id", "x", `{}`, "x"},
		{"webhook", "X-Request-Id", "proxy", `{}`, ""},
		{"webhook", "Webhook-Id", strings.Repeat("x", 5000), `{}`, key(strings.Repeat("x", 5000))},
		{"datadog", "", "", `{"id":"42","date":"1795225800000"}`, "42@1795225800000"},
		{"datadog", "", "", `{"id":"$ID","date":"1795225800000"}`, ""},
		{"datadog", "", "", `{"id":"42","date":"$DATE"}`, ""},
		{"datadog", "", "", `{"id":"42"}`, ""}, // perhaps the monitor's
		{"datadog", "", "", `<`, ""},
		{"alertmanager", "X-Webhook-Id", "the same in each message", `{}`, ""},
		{"grafana", "Idempotency-Key", "the same in each message", `{}`, ""},
		{"zabbix", "Idempotency-Key", "x", `{}`, ""},
	} {
		src, _ := Lookup(tc.kind)
		r := testRequest([]byte(tc.body))
		if tc.header != "" {
			r.Header.Set(tc.header, tc.value)
		}
		name, digest := src.ID(r)
		require.Equal(t, tc.want, name, tc)
		require.Equal(t, tc.want == "", digest == nil, tc)
	}
}

// TestSamples: what each kind sends as a test is read as a test, and its end
// finds its beginning.
func TestSamples(t *testing.T) {
	t.Parallel()
	began := received.Add(-time.Minute)
	for _, src := range Sources {
		for _, settings := range []string{
			"", `{"alerts":"$.a.list[0].checks","fields":{"identity":"@.node[\"the id\"]","status":["fixed","$.meta.state"],"severity":"$.meta.level","title":"@.x[-1].t","host":"@.x[2]",
				"starts_at":"@.since","labels":"@.node"},"statuses":{"down":"firing","up":"resolved","firing":"acknowledged"},"severities":{"blue":"info","info":"critical"}}`,
			`{"fields":{"title":"$.text","identity":"a fixed text","status":"@.state"}}`,
			`{"fields":{"title":"$"}}`,
		} {
			if settings != "" && src.CheckSettings == nil {
				continue
			}
			if settings != "" {
				require.NoError(t, src.CheckSettings(json.RawMessage(settings)))
			}
			first := Test{ID: "0193a7c2", Began: began, At: began}
			last := Test{ID: first.ID, Began: began, At: received, Resolved: true}
			a, b := readTest(t, src, first, settings), readTest(t, src, last, settings)
			require.Equal(t, ops.AlertTest, a.Kind, src.Kind)
			require.Equal(t, ops.SeverityInfo, a.Severity)
			require.Equal(t, a.Identity, b.Identity)
			require.Equal(t, a.GroupKey, b.GroupKey)
			require.Equal(t, a.Episode, b.Episode, src.Kind)
			require.Contains(t, a.Identity, first.ID)
			require.Equal(t, "test:"+first.ID, a.GroupKey)
			if !strings.Contains(settings, `"$"`) && !strings.Contains(settings, "fixed\",") {
				require.Equal(t, testTitle, a.Title)
				require.Equal(t, ops.AlertFiring, a.Status, "%s %s", src.Kind, settings)
				require.Equal(t, ops.AlertResolved, b.Status, "%s %s", src.Kind, settings)
				require.False(t, b.At.Before(a.At))
			}
		}
	}
}

func readTest(t *testing.T, src Source, test Test, settings string) ops.Alert {
	t.Helper()
	r, err := src.Request(test, json.RawMessage(settings))
	require.NoError(t, err)
	parsed, err := src.Read(r)
	require.NoError(t, err, "%s %s", src.Kind, r.Body)
	require.Len(t, parsed.Alerts, 1, "%s %s", src.Kind, r.Body)
	require.Empty(t, parsed.Warnings)
	test.Mark(parsed.Alerts)
	storable(t, parsed.Alerts[0])
	return parsed.Alerts[0]
}

// FuzzSampleWebhook: there is a body for any mapping, and it is not large.
func FuzzSampleWebhook(f *testing.F) {
	f.Add(`{"alerts":"$.a[99][99]","fields":{"title":"$.a[99]","host":"@[5].x"}}`)
	f.Add(`{"fields":{"title":"$","identity":"@.a.b","status":"@.a"}}`)
	src, _ := Lookup("webhook")
	f.Fuzz(func(t *testing.T, settings string) {
		if src.CheckSettings(json.RawMessage(settings)) != nil {
			return
		}
		r, err := src.Request(Test{ID: "1", Began: received, At: received}, json.RawMessage(settings))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = src.Read(r)
	})
}

// TestSigns: what the two signing kinds make is what they check.
func TestSigns(t *testing.T) {
	t.Parallel()
	for _, src := range Sources {
		require.Equal(t, src.Signed == nil, src.Sign == nil, src.Kind)
		if src.Sign == nil {
			continue
		}
		r := testRequest([]byte(`{}`))
		good, other := ops.NewSecret("good"), ops.NewSecret("other")
		src.Sign(r, good)
		require.True(t, src.Authenticate(r, Secrets{Keys: []ops.Secret{other, good}}), src.Kind)
		require.False(t, src.Authenticate(r, Secrets{Keys: []ops.Secret{other}}), src.Kind)
	}
}

// TestSteps: each kind says how it is configured, with the address and the
// secret in it, and quotes both.
func TestSteps(t *testing.T) {
	t.Parallel()
	for _, src := range Sources {
		for _, auth := range []string{ops.AuthSecret, ops.AuthSignature} {
			if auth == ops.AuthSignature && src.Signed == nil {
				continue
			}
			e := Endpoint{URL: "https://akmatori.example/webhook/alert/1", Auth: auth, Secret: `it's "x"`, MediaType: "zabbix_export:\n"}
			all := ""
			for _, step := range src.Steps(e) {
				require.NotEmpty(t, step.Title)
				require.NotEmpty(t, step.Text)
				require.NotNil(t, step.Notes)
				require.Contains(t, []string{"yaml", "json", "shell", "http", "text"}, step.Language)
				if step.Language == "json" {
					require.True(t, json.Valid([]byte(step.Text)), step.Text)
				}
				all += step.Text
			}
			require.Contains(t, all, e.URL, src.Kind)
			if src.Kind != "pagerduty" || auth == ops.AuthSecret { // PagerDuty makes the one it signs with
				require.True(t, strings.Contains(all, `x\"`) || strings.Contains(all, e.Secret), all)
			}
		}
	}
	dd, _ := Lookup("datadog")
	var template map[string]string
	require.NoError(t, json.Unmarshal([]byte(dd.Steps(Endpoint{})[1].Text), &template))
	parsed, err := dd.Read(Request{Header: http.Header{}, Body: []byte(dd.Steps(Endpoint{})[1].Text), ReceivedAt: received})
	require.NoError(t, err)
	require.Empty(t, parsed.Warnings, "our own template is not the default one")
	require.Equal(t, "$ALERT_CYCLE_KEY", template["alert_cycle_key"])
}
