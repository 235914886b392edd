package ingest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// TestBodies: what senders should not send, or only sometimes do.
func TestBodies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind, name, body string
		problem          string
		alerts           int
		check            func(*testing.T, Parsed)
	}{
		{kind: "grafana", name: "not JSON", body: `x`, problem: "not JSON"},
		{kind: "grafana", name: "custom payload", body: `{"text":"x"}`, problem: `no "alerts"`},
		{kind: "grafana", name: "Alertmanager's format", alerts: 1, body: `{"version":"4","groupKey":"g","alerts":[{"fingerprint":"f","labels":{"a":"b"}}]}`,
			check: func(t *testing.T, p Parsed) { require.Equal(t, "f", p.Alerts[0].Identity) }},
		{kind: "grafana", name: "null labels", alerts: 1, body: `{"orgId":3,"alerts":[{"fingerprint":"f","labels":null,"annotations":null,"values":null,"valueString":"v","ruleUID":"u"}]}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, "f/org:3", p.Alerts[0].Identity)
				require.Equal(t, "v", p.Alerts[0].Annotations["values"])
				require.Equal(t, "u", p.Alerts[0].Labels["rule_uid"])
			}},

		{kind: "pagerduty", name: "not JSON", body: `{"event":`, problem: "not JSON"},
		{kind: "pagerduty", name: "V2", body: `{"messages":[]}`, problem: `no "event"`},
		{kind: "pagerduty", name: "null event", body: `{"event":null}`, problem: `no "event"`},
		{kind: "pagerduty", name: "no data", body: `{"event":{"event_type":"x"}}`},
		{kind: "pagerduty", name: "null data", body: `{"event":{"data":null}}`},
		{kind: "pagerduty", name: "data of another type", body: `{"event":{"data":[1]}}`, problem: "does not fit"},
		{kind: "pagerduty", name: "no id", body: `{"event":{"data":{"type":"incident","status":"triggered"}}}`, problem: "no id"},
		{kind: "pagerduty", name: "unknown status", body: `{"event":{"data":{"type":"incident","id":"P","status":"snoozed"}}}`, problem: "no status"},
		{kind: "pagerduty", name: "status from the event's type", alerts: 1, body: `{"event":{"event_type":"incident.resolved","data":{"type":"incident","id":"P","service":null,"priority":null}}}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, ops.AlertResolved, p.Alerts[0].Status)
				require.Equal(t, received, p.Alerts[0].EndsAt)
				require.Equal(t, "PagerDuty incident P", p.Alerts[0].Title)
			}},

		{kind: "datadog", name: "not JSON", body: `$EVENT_MSG`, problem: "not JSON"},
		{kind: "datadog", name: "an unescaped quote", body: `{"title":"a "b" c"}`, problem: "not JSON"},
		{kind: "datadog", name: "a list", body: `[]`, problem: "does not fit"},
		{kind: "datadog", name: "no fields", body: `{}`, problem: "no fields"},
		{kind: "datadog", name: "another template", alerts: 1, body: `{"title":"A thing","alert_type":"success"}`, check: func(t *testing.T, p Parsed) {
			require.Equal(t, ops.AlertResolved, p.Alerts[0].Status)
			require.Empty(t, p.Warnings)
		}},
		{kind: "datadog", name: "no data in the title alone", alerts: 1, body: `{"body":"","title":"[P1] [No Data on {a:b,c:d}] x"}`, check: func(t *testing.T, p Parsed) {
			require.Equal(t, ops.AlertNoData, p.Alerts[0].Kind)
			require.Equal(t, ops.SeverityCritical, p.Alerts[0].Severity)
			require.Equal(t, "x", p.Alerts[0].Title)
			require.Equal(t, map[string]string{"a": "b", "c": "d"}, p.Alerts[0].Labels)
			require.Equal(t, "datadog_default_payload", p.Warnings[0].Code)
		}},
		{kind: "datadog", name: "a raw line break behind a backslash", alerts: 1, body: "{\"title\":\"a\",\"text_only_msg\":\"C:\\\n\\\"x\\\"\"}", check: func(t *testing.T, p Parsed) {
			require.Equal(t, "C:\\\n\"x\"", p.Alerts[0].Description)
		}},

		{kind: "zabbix", name: "not JSON", body: ``, problem: "not JSON"},
		{kind: "zabbix", name: "no event", body: `{"a":"b"}`, problem: `no "event_id"`},
		{kind: "zabbix", name: "a literal event", body: `{"event_id":"{EVENT.ID}"}`, problem: `no "event_id"`},
		{kind: "zabbix", name: "no value", body: `{"event_id":"1","event_value":"{EVENT.VALUE}"}`, problem: "neither 0 nor 1"},
		{kind: "zabbix", name: "the status in words", alerts: 1, body: `{"event_id":"1","event_status":"RESOLVED"}`, check: func(t *testing.T, p Parsed) {
			require.Equal(t, ops.AlertResolved, p.Alerts[0].Status)
			require.Equal(t, "Zabbix event 1", p.Alerts[0].Title)
		}},
		{kind: "zabbix", name: "ends before it starts: the clock was set back", alerts: 1,
			body: `{"event_id":"1","event_value":"0","event_unix":1795224473,"event_recovery_unix":1795224400}`, check: func(t *testing.T, p Parsed) {
				require.Equal(t, p.Alerts[0].StartsAt, p.Alerts[0].At)
			}},
		{kind: "zabbix", name: "far ahead", alerts: 1, body: `{"event_id":"1","event_value":"1","event_unix":1895224473}`, check: func(t *testing.T, p Parsed) {
			require.Equal(t, received, p.Alerts[0].At)
		}},
		{kind: "zabbix", name: "links from digits alone", alerts: 1, body: `{"event_id":"1&x","event_value":"1","trigger_id":"2","zabbix_url":"http://z/"}`,
			check: func(t *testing.T, p Parsed) { require.Empty(t, p.Alerts[0].Links) }},
		{kind: "zabbix", name: "host alone", alerts: 1, body: `{"event_id":"1","event_value":1,"trigger_id":"2","host_host":"h"}`,
			check: func(t *testing.T, p Parsed) { require.Equal(t, "2@h", p.Alerts[0].Identity) }},

		{kind: "webhook", name: "not JSON", body: `a=b`, problem: "not JSON"},
		{kind: "webhook", name: "two values", body: `{"title":"x"}{}`, problem: "not JSON"},
		{kind: "webhook", name: "nothing of an alert", body: `{"a":"b"}`, problem: "1 of 1 alerts"},
		{kind: "webhook", name: "a list in alerts", alerts: 1, problem: "2 of 3 alerts", body: `{"alerts":[{"title":"x"},null,3]}`},
		{kind: "webhook", name: "an empty list", body: `[]`},
		{kind: "webhook", name: "nested values", alerts: 1, body: `{"id":{"a":1},"title":["x",2],"labels":{"o":{"p":null},"n":1.50,"z":null},"severity":1e400}`,
			check: func(t *testing.T, p Parsed) {
				require.Equal(t, `{"a":1}`, p.Alerts[0].Identity)
				require.Equal(t, map[string]string{"o": `{"p":null}`, "n": "1.50"}, p.Alerts[0].Labels)
			}},
		{kind: "webhook", name: "too many", alerts: MaxAlerts, body: `[` + strings.Repeat(`{"id":1},`, MaxAlerts+1) + `{"id":1}]`,
			check: func(t *testing.T, p Parsed) { require.Equal(t, 2, p.Truncated) }},
	} {
		t.Run(tc.kind+", "+tc.name, func(t *testing.T) {
			t.Parallel()
			parsed, err := kindOf(t, tc.kind).Parse(testRequest([]byte(tc.body)))
			if tc.problem != "" {
				require.ErrorContains(t, err, tc.problem)
			} else {
				require.NoError(t, err)
			}
			require.Len(t, parsed.Alerts, tc.alerts)
			for _, a := range parsed.Alerts {
				storable(t, a)
			}
			if tc.check != nil {
				tc.check(t, parsed)
			}
		})
	}
}

// TestSameEpisode: what belongs together must have the same keys.
func TestSameEpisode(t *testing.T) {
	t.Parallel()
	read := func(name string) ops.Alert {
		kind, _, _ := strings.Cut(name, "-")
		for _, path := range payloads(t) {
			if strings.Contains(path, "/"+name+".json") {
				body := mustRead(t, path)
				parsed, err := kindOf(t, kind).Parse(testRequest(body))
				require.NoError(t, err)
				return parsed.Alerts[0]
			}
		}
		t.Fatal("no file", name)
		return ops.Alert{}
	}
	keys := func(a ops.Alert) []string { return []string{a.Identity, a.Episode, a.GroupKey} }
	for _, names := range [][]string{
		{"grafana-firing", "grafana-resolved"},
		{"pagerduty-triggered", "pagerduty-acknowledged", "pagerduty-unacknowledged", "pagerduty-escalated", "pagerduty-priority", "pagerduty-resolved", "pagerduty-merged"},
		{"datadog-triggered", "datadog-renotify", "datadog-warn", "datadog-nodata", "datadog-recovered"},
		{"datadog-default-triggered", "datadog-default-recovered"},
		{"zabbix-problem", "zabbix-update", "zabbix-recovery"},
		{"zabbix-own-problem", "zabbix-own-comment", "zabbix-own-recovery"},
		{"zabbix-media-problem", "zabbix-media-ack", "zabbix-media-unack", "zabbix-media-severity", "zabbix-media-closed", "zabbix-media-recovery"},
		{"zabbix-media-internal", "zabbix-media-internal-recovery"},
	} {
		for _, name := range names[1:] {
			require.Equal(t, keys(read(names[0])), keys(read(name)), name)
		}
	}
	require.NotEqual(t, read("pagerduty-triggered").Episode, read("pagerduty-reopened").Episode)
	require.Equal(t, read("pagerduty-triggered").Identity, read("pagerduty-reopened").Identity)
	elsewhere, err := kindOf(t, "pagerduty").Parse(testRequest([]byte(`{"event":{"event_type":"incident.service_updated","occurred_at":"2026-11-21T02:00:00Z",
		"data":{"type":"incident","id":"PGR0VU2","status":"triggered","incident_key":"KEY","created_at":"2026-11-21T01:00:00Z","service":{"id":"PNEW"}}}}`)))
	require.NoError(t, err)
	require.Equal(t, []string{"KEY", "PGR0VU2", "incident:PGR0VU2"}, keys(elsewhere.Alerts[0]), "whichever service has it")
	require.NotEqual(t, read("grafana-firing").Identity, read("grafana-org2").Identity)
	require.NotEqual(t, read("datadog-triggered").GroupKey, read("datadog-test").GroupKey)
}

func TestMacros(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"{EVENT.RECOVERY.ID}": "", "*UNKNOWN*": "", "{$ZABBIX.URL}": "", " {ITEM.VALUE1} ": "", "": "",
		"{EVENT.RECOVERY.DATE} {EVENT.RECOVERY.TIME}": "",
		"{}": "{}", `{"a":1}`: `{"a":1}`, "{a}": "{a}", "x": "x", "on {HOST.NAME}": "on {HOST.NAME}", "{": "{", "*UNKNOWN* x": "*UNKNOWN* x",
	} {
		require.Equal(t, want, expanded(given), given)
	}
}

func TestUnix(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 21, 1, 50, 0, 0, time.UTC)
	for given, want := range map[string]time.Time{
		"1795225800": day, "1795225800000": day, "1795225800.5": day.Add(time.Second / 2), "0": {}, "-1": {}, "": {}, "x": {}, "1e300": {}, "NaN": {}, "Inf": {},
	} {
		require.Equal(t, want, text(given).unix(), given)
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	body, err := decode([]byte(`{"a":{"b c":[10,{"d.e":"x"},null]},"":1,"it's":2}`))
	require.NoError(t, err)
	for path, want := range map[string]any{
		"$": body, `$.a["b c"][0]`: json.Number("10"), `$.a['b c'][1]["d.e"]`: "x", `$.a["b c"][-2]["d.e"]`: "x", `$[""]`: json.Number("1"), `$["it's"]`: json.Number("2"),
		`$.a["b c"][2]`: nil, `$.a["b c"][3]`: nil, `$.a["b c"][-4]`: nil, "$.b": nil, "$.a[0]": nil, `$.a["b c"].x`: nil, "$.a.b.c.d": nil,
	} {
		p, err := parsePath(path)
		require.NoError(t, err, path)
		require.Equal(t, want, p.in(body), path)
	}
	for _, wrong := range []string{"", "a", "$a", "$.", "$..a", "$.a[", "$.a[]", "$.a[*]", "$.*", "$.a[?(@.b)]", "$.a[0:1]", `$.a["b]`, `$.a["b"`, `$.a["b"x]`, "$.a b", "$.a[1", "$.a]",
		"$.a[99999999999999999999]", "$" + strings.Repeat(".a", maxSteps+1), "$." + strings.Repeat("a", maxPath)} {
		_, err := parsePath(wrong)
		require.Error(t, err, wrong)
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"$.a.b", `@["x"][0]`, `$['`, "$.[", "@[-1]"} {
		f.Add(s, `{"a":{"b":[1]}}`)
	}
	f.Fuzz(func(_ *testing.T, s, body string) {
		p, err := parsePath(s)
		if err != nil {
			return
		}
		if v, err := decode([]byte(body)); err == nil {
			p.in(v)
		}
	})
}

func TestMapping(t *testing.T) {
	t.Parallel()
	long := func(n int) string {
		m := map[string]string{}
		for i := range n {
			m["w"+strconv.Itoa(i)] = "resolved"
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		return string(b)
	}
	for settings, problem := range map[string]string{
		`{}`: "", `{"alerts":"$.a","fields":{"title":["@.x","fixed"],"group":"$.g"},"statuses":{"0":"resolved"},"severities":{"x":"high"},"labels":{"a":"@.b"}}`: "",
		`[]`: "do not fit", `{"x":1}`: "do not fit", `{}{}`: "more than one", `{"alerts":"a"}`: "alerts: a path starts with",
		`{"alerts":"@.a"}`: "it is in the body", `{"fields":{"x":"@.a"}}`: `there is no "x"; there are annotations,`,
		`{"fields":{"title":"@.a["}}`: "fields: title: path", `{"labels":{"l":["$.a[x]"]}}`: "labels: l: path",
		`{"statuses":{"x":"broken"}}`: "statuses: x:", `{"severities":{"x":"bad"}}`: "severities: x:",
		`{"fields":{"title":"` + strings.Repeat("x", maxShort+1) + `"}}`:               "a text has at most",
		`{"fields":{"title":[` + strings.Repeat(`"@.a",`, maxExpressions) + `"@.a"]}}`: "at most 16 expressions",
		`{"statuses":` + long(maxWords+1) + `}`:                                        "at most 200 words",
	} {
		err := checkMapping(json.RawMessage(settings))
		if problem == "" {
			require.NoError(t, err, settings)
		} else {
			require.ErrorContains(t, err, problem, settings)
		}
	}
	for name, e := range mappingFields {
		require.NoError(t, e.check(), name)
	}
}

func FuzzMapping(f *testing.F) {
	f.Add([]byte(`{"alerts":"$.a","fields":{"title":"@.x"},"labels":{"a":"$.b"}}`), []byte(`{"a":[{"x":1}],"b":"\u0000"}`))
	f.Fuzz(func(t *testing.T, settings, body []byte) {
		if checkMapping(settings) != nil {
			return
		}
		r := testRequest(body)
		r.Settings = settings
		parsed, _ := parseWebhook(r)
		for _, a := range parsed.Alerts {
			storable(t, a)
		}
	})
}
