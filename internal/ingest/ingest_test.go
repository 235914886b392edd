package ingest

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

var update = flag.Bool("update", false, "rewrite golden files")

var received = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// testRequest is a delivery of body, as JSON or as the content type that is given.
func testRequest(body []byte, contentType ...string) Request {
	header := http.Header{"Content-Type": {"application/json"}}
	if len(contentType) > 0 {
		header["Content-Type"] = contentType
	}
	return Request{Header: header, Body: body, ReceivedAt: received}
}

// TestGolden reads bodies of real senders: captured (alertmanager-*, prometheus-*,
// zabbix-*, of these zabbix-media-* by our media type at a server in Tokyo) and
// after their documentation (all others, and zabbix-own-*). A file X.settings is
// the settings of the source.
func TestGolden(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	for _, path := range payloads(t) {
		ext := filepath.Ext(path)
		name := strings.TrimSuffix(filepath.Base(path), ext)
		kind, _, _ := strings.Cut(name, "-")
		if kind == "prometheus" { // its alerts come by Alertmanager
			kind = "alertmanager"
		}
		src, ok := Lookup(kind)
		if !ok || strings.HasSuffix(name, ".request") || strings.Contains(name, "-api-") {
			continue
		}
		kinds[kind] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(path)
			require.NoError(t, err)
			r := testRequest(body)
			if ext == ".form" {
				r = testRequest(body, "application/x-www-form-urlencoded; charset=utf-8")
			}
			base := strings.TrimSuffix(path, ext)
			if settings, err := os.ReadFile(base + ".settings"); err == nil {
				require.NoError(t, src.CheckSettings(settings))
				r.Settings = settings
			}
			parsed, err := src.Read(r)
			require.NoError(t, err)
			for _, a := range parsed.Alerts {
				storable(t, a)
			}
			got, err := json.MarshalIndent(parsed, "", "  ")
			require.NoError(t, err)
			golden := base + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got)+"\n")
		})
	}
	for _, src := range Sources {
		require.True(t, kinds[src.Kind], "no golden file of kind %s", src.Kind)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// payloads are the files with bodies.
func payloads(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"testdata/*.json", "testdata/*.form"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		all = append(all, paths...)
	}
	require.NotEmpty(t, all)
	return all
}

func TestAlertmanagerBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 50_000)
	for _, tc := range []struct {
		name, body string
		problem    string // in the error
		alerts     int
		check      func(*testing.T, Parsed)
	}{
		{name: "not JSON", body: `{"alerts":`, problem: "not JSON"},
		{name: "empty", body: ``, problem: "not JSON"},
		{name: "trailing data", body: `{"alerts":[]}{}`, problem: "not JSON"},
		{name: "a list", body: `[]`, problem: "does not fit"},
		{name: "null", body: `null`, problem: `no "alerts"`},
		{name: "custom payload", body: `{"text":"disk full"}`, problem: `no "alerts"`},
		{name: "alerts of another type", body: `{"alerts":{"a":1}}`, problem: `"alerts" is of another type`},
		{name: "no alerts", body: `{"alerts":[]}`},
		{name: "null alerts", body: `{"alerts":null,"truncatedAlerts":7}`, check: func(t *testing.T, p Parsed) {
			require.Equal(t, 7, p.Truncated)
		}},
		{name: "null everywhere", alerts: 1,
			body: `{"receiver":null,"groupKey":null,"groupLabels":null,"commonLabels":null,"truncatedAlerts":null,"alerts":[
				{"status":null,"labels":null,"annotations":null,"startsAt":null,"endsAt":null,"generatorURL":null,"fingerprint":"f"}]}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, ops.AlertFiring, p.Alerts[0].Status)
				require.Empty(t, p.Alerts[0].Episode, "it does not say which occurrence this is")
				require.Equal(t, received, p.Alerts[0].At)
				require.Equal(t, "Alert f", p.Alerts[0].Title)
			}},
		{name: "unknown fields and types", alerts: 1,
			body: `{"new":{"a":[1]},"version":5,"groupKey":12,"alerts":[{"labels":{"alertname":"A","n":1,"b":true,"z":null},"more":1}]}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, map[string]string{"alertname": "A", "n": "1", "b": "true"}, p.Alerts[0].Labels)
				require.Equal(t, "/12", p.Alerts[0].GroupKey)
				require.True(t, strings.HasPrefix(p.Alerts[0].Identity, "labels:"))
			}},
		{name: "some alerts unreadable", alerts: 1, problem: "3 of 4 alerts",
			body: `{"alerts":[null,3,{"status":"firing"},{"labels":{"alertname":"A"}}]}`},
		{name: "NUL and invalid UTF-8", alerts: 1,
			body: "{\"receiver\":\"r\\u0000\",\"groupKey\":\"\xff\",\"alerts\":[{\"fingerprint\":\"\\u0000f\",\"labels\":{\"a\\u0000\":\"\\ud800\xfe\\u0000x\"},\"annotations\":{\"summary\":\"a\\u0000\\u0007\\nb\"}}]}",
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, "f", p.Alerts[0].Identity)
				require.Equal(t, "a b", p.Alerts[0].Title)
				require.Equal(t, map[string]string{"a": "\uFFFD\uFFFDx"}, p.Alerts[0].Labels)
				require.Equal(t, "r/\uFFFD", p.Alerts[0].GroupKey)
			}},
		{name: "sizes", alerts: 1,
			body: `{"groupKey":"` + long + `","alerts":[{"fingerprint":"` + long + `","labels":{"service":"` + long + `"},"annotations":{"summary":"` + long + `"}}]}`,
			check: func(t *testing.T, p Parsed) {
				a := p.Alerts[0]
				require.LessOrEqual(t, len(a.Title), maxTitle)
				require.LessOrEqual(t, len(a.Summary), maxText)
				require.LessOrEqual(t, len(a.Labels["service"]), maxLabel)
				require.True(t, strings.HasSuffix(a.Title, "…"))
				for _, k := range []string{a.Identity, a.Episode, a.GroupKey} {
					require.LessOrEqual(t, len(k), maxKey)
				}
			}},
		{name: "resolved without an end, before its start, far ahead", alerts: 3,
			body: `{"alerts":[
				{"fingerprint":"a","status":"resolved","startsAt":"2026-11-21T01:00:00Z","endsAt":"0001-01-01T00:00:00Z"},
				{"fingerprint":"b","status":"resolved","startsAt":"2026-11-21T01:00:00Z","endsAt":"2026-11-21T00:00:00Z"},
				{"fingerprint":"c","status":"firing","startsAt":"2036-11-21T01:00:00Z"}]}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, received, p.Alerts[0].At)
				require.Equal(t, p.Alerts[1].StartsAt, p.Alerts[1].At)
				require.Equal(t, received, p.Alerts[2].At)
			}},
		{name: "links", alerts: 1,
			body: `{"externalURL":"https://am.example","alerts":[{"fingerprint":"a","generatorURL":"javascript:alert(1)",
				"annotations":{"runbook_url":"https://wiki.example/r","dashboard":"/relative"}}]}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, []ops.Link{{Kind: "runbook", URL: "https://wiki.example/r"}, {Kind: "source", URL: "https://am.example"}}, p.Alerts[0].Links)
			}},
		{name: "too many", alerts: MaxAlerts,
			body: `{"truncatedAlerts":2,"alerts":[` + strings.Repeat(`{"fingerprint":"a"},`, MaxAlerts+4) + `{"fingerprint":"b"}]}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, 7, p.Truncated)
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			parsed, err := parseAlertmanager(testRequest([]byte(tc.body)))
			if tc.problem != "" {
				require.ErrorContains(t, err, tc.problem)
			} else {
				require.NoError(t, err)
			}
			require.Len(t, parsed.Alerts, tc.alerts)
			if tc.check != nil {
				tc.check(t, parsed)
			}
		})
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]ops.Severity{
		"critical": ops.SeverityCritical, "Page": ops.SeverityCritical, "error": ops.SeverityHigh, "major": ops.SeverityHigh,
		"high": ops.SeverityHigh, " warning ": ops.SeverityWarning, "info": ops.SeverityInfo, "none": ops.SeverityInfo,
		"": ops.SeverityWarning, "purple": ops.SeverityWarning,
	} {
		require.Equal(t, want, severity(word), word)
	}
}

// fuzz feeds a parser with all bodies there are: whatever is posted, what comes
// out can be stored.
func fuzz(f *testing.F, kind string, more ...string) {
	src, ok := Lookup(kind)
	if !ok {
		f.Fatal(kind)
	}
	for _, path := range payloads(f) {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for _, body := range more {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded"} {
			r := testRequest(body, contentType)
			r.Header.Set("X-Webhook-Id", string(body))
			parsed, _ := src.Read(r)
			for _, a := range parsed.Alerts {
				storable(t, a)
			}
			if name, _ := src.ID(r); len(name) > maxKey || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
				t.Fatalf("cannot be stored: %q", name)
			}
		}
	})
}

func FuzzAlertmanager(f *testing.F) {
	fuzz(f, "alertmanager", `{"alerts":[{"labels":{"a":"\u0000"},"startsAt":"9999-12-31T23:59:59Z"}]}`)
}

func FuzzGrafana(f *testing.F) {
	fuzz(f, "grafana", `{"orgId":7,"alerts":[{"labels":{"alertname":"DatasourceError"},"valueString":"x","ruleUID":"u","panelURL":"http://a/"}]}`)
}

func FuzzPagerDuty(f *testing.F) {
	fuzz(f, "pagerduty", `{"event":{"data":{"type":"incident","id":"x","status":"reopened"}}}`)
}

func FuzzDatadog(f *testing.F) {
	fuzz(f, "datadog", "{\"title\":\"[Recovered on {a:b}]\n \\\n\",\"date\":\"1e400\"}", "payload=%7B%7D")
}

func FuzzZabbix(f *testing.F) {
	fuzz(f, "zabbix", `{"event_id":"1","event_value":"0","event_tags":"[{\"tag\":\"a\"}]","event_unix":1e11,"event_recovery_unix":-1}`)
}

func FuzzWebhook(f *testing.F) {
	fuzz(f, "webhook", `[{"title":"x","starts_at":1e10,"status":"ok"},null,1,[[]]]`)
}

func storable(t *testing.T, a ops.Alert) {
	t.Helper()
	texts := []string{a.Identity, a.Episode, a.GroupKey, a.Title, a.Summary, a.Description, a.Service, a.Host, a.SenderSeverity}
	for k, v := range a.Labels {
		texts = append(texts, k, v)
	}
	for k, v := range a.Annotations {
		texts = append(texts, k, v)
	}
	for _, l := range a.Links {
		texts = append(texts, l.URL)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Fatalf("cannot be stored: %q", s)
		}
	}
	if a.Identity == "" || a.GroupKey == "" || a.Title == "" || a.Severity.Rank() == 0 {
		t.Fatalf("incomplete: %+v", a)
	}
	if max(len(a.Identity), len(a.Episode), len(a.GroupKey)) > maxKey {
		t.Fatalf("key too long: %+v", a)
	}
	if a.At.IsZero() || a.StartsAt.IsZero() || a.At.After(received.Add(maxAhead)) || (a.Status == ops.AlertResolved) != !a.EndsAt.IsZero() ||
		a.Status == ops.AlertResolved && a.EndsAt.Before(a.StartsAt) {
		t.Fatalf("times: %+v", a)
	}
}
