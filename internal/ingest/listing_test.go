package ingest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// asListed makes what Alertmanager's API has of the first alert of a webhook.
func asListed(t *testing.T, name string) (webhook ops.Alert, listed Request) {
	t.Helper()
	body, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	parsed, err := parseAlertmanager(testRequest(body))
	require.NoError(t, err)
	webhook = parsed.Alerts[0]
	text := string(body)
	object := text[strings.Index(text, "[")+1:]
	object, _, found := strings.Cut(object, "\n    }")
	require.True(t, found)
	object = strings.TrimSpace(object) + "}"
	object = strings.Replace(object, `"status": "firing"`, `"status": {"state": "active"}, "receivers": [{"name": "peers"}]`, 1)
	object = strings.Replace(object, "0001-01-01T00:00:00Z", "2026-11-21T05:27:02.615Z", 1)
	return webhook, testRequest([]byte("[" + object + "]"))
}

// TestListedByAlertmanager: an alert of the API is the one of the webhook, but
// for its group, which is made out of the API's groups.
func TestListedByAlertmanager(t *testing.T) {
	t.Parallel()
	webhook, r := asListed(t, "alertmanager-firing.json")
	all, err := ListedByAlertmanager(r)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.False(t, all[0].Quiet)
	require.Equal(t, []string{"peers"}, all[0].Receivers)

	groups := Groups{}
	require.NoError(t, groups.Read([]byte(`[{"labels":{"instance":"10.0.0.5:9100","alertname":"HighErrorRate"},"receiver":{"name":"peers"},
		"alerts":[{"fingerprint":"4b9e483faf3949b2"}]}]`)))
	all[0].GroupKey = groups.Key(all[0].Identity, "peers", nil)
	webhook.Links = webhook.Links[:len(webhook.Links)-1] // the API does not say where it is
	require.Equal(t, webhook, all[0].Alert)

	labels := `:{alertname="HighErrorRate", instance="10.0.0.5:9100"}`
	require.Equal(t, `peers/{}/{team="x"}`+labels, groups.Key(all[0].Identity, "peers",
		[]string{`other/{}/{team="y"}` + labels, `peers/{}:{alertname="HighErrorRate"}`, `peers/{}/{team="x"}` + labels}), "one that is known")
	require.Equal(t, "peers/nowhere", groups.Key("nowhere", "peers", nil), "alone")
}

func TestListedByAlertmanagerCaptured(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/alertmanager-api-v2-alerts.json")
	require.NoError(t, err)
	r := testRequest(body)
	r.Options.Severities = map[string]ops.Severity{"critical": ops.SeverityWarning}
	all, err := ListedByAlertmanager(r)
	require.NoError(t, err)
	require.Len(t, all, 1)
	a := all[0]
	require.Equal(t, ops.AlertFiring, a.Status)
	require.True(t, a.EndsAt.IsZero(), "the end that the API shows is a guess")
	require.Equal(t, "8f8df7266f5e6ed5@2026-11-21T01:30:26.164Z", a.Episode)
	require.Equal(t, ops.SeverityWarning, a.Severity, "the source's own words")
	quiet, err := ListedByAlertmanager(testRequest([]byte(strings.Replace(string(body), `"active"`, `"suppressed"`, 1))))
	require.NoError(t, err)
	require.True(t, quiet[0].Quiet)

	// The API has milliseconds, a webhook what it was given.
	webhook := strings.NewReplacer("01:30:26.164Z", "01:30:26.164987Z").Replace(string(body))
	parsed, err := parseAlertmanager(testRequest([]byte(`{"receiver":"peers","groupKey":"g","alerts":` + strings.Replace(webhook, `"status": {`, `"x": {`, 1) + `}`)))
	require.NoError(t, err)
	require.Equal(t, a.Episode, parsed.Alerts[0].Episode)
}

func TestAlertmanagerStatus(t *testing.T) {
	t.Parallel()
	s, err := ReadAlertmanagerStatus([]byte(`{"uptime":"2026-11-21T14:45:20.432Z","cluster":{"peers":[],"status":"disabled"}}`))
	require.NoError(t, err)
	require.Equal(t, AlertmanagerStatus{time.Date(2026, 11, 21, 14, 45, 20, 432e6, time.UTC), false}, s)
	s, err = ReadAlertmanagerStatus([]byte(`{"uptime":"2026-11-21T14:45:20.432Z","cluster":{"status":"ready"}}`))
	require.NoError(t, err)
	require.True(t, s.Clustered)
	for _, bad := range []string{``, `[]`, `{}`, `{"uptime":"1h"}`, `{"uptime":"0001-01-01T00:00:00Z"}`} {
		_, err := ReadAlertmanagerStatus([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestAlertmanagerReceiver(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"receiver":"team/a","status":"firing","alerts":[{"labels":{`: "team/a",
		`{"version":"4","x":[{"receiver":"no"}],"receiver":"b"}`:       "b",
		`{"version":"4","x":[`: "", `{}`: "", `[]`: "", ``: "", `{"receiver`: "",
	} {
		require.Equal(t, want, AlertmanagerReceiver([]byte(body)), body)
	}
}

func TestAlertmanagerURLs(t *testing.T) {
	t.Parallel()
	all, err := AlertmanagerURLs("http://a:9093, https://b.example/am/")
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "https://b.example/am/api/v2/alerts", all[1].JoinPath("api/v2/alerts").String())
	for _, bad := range []string{"", "a:9093", "http://", "ftp://a", "http://u:p@a", "http://a?x=1", "http://a#x", "http://a,,http://b",
		strings.Repeat("http://a,", maxCluster) + "http://a"} {
		_, err := AlertmanagerURLs(bad)
		require.Error(t, err, bad)
	}
}

// TestListedByZabbix: a problem of the tool is the one of the webhook, with the
// same keys.
func TestListedByZabbix(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/zabbix-media-problem.json")
	require.NoError(t, err)
	parsed, err := parseZabbix(testRequest(body))
	require.NoError(t, err)
	webhook := parsed.Alerts[0]
	item := `{"event_id":"5","trigger_id":"23133","name":"Checkout fails on Peer host","severity":"high","since":"2026-11-21T12:57:57Z",
		"acknowledged":false,"suppressed":false,"monitored":true,"opdata":"Current value: 1","hosts":[{"id":"10559","host":"peer-host","name":"Peer host"}],
		"tags":[{"tag":"service","value":"checkout"},{"tag":"scope","value":"availability"},{"tag":"env","value":"test"}]}`
	list := func(item string) []Listed {
		t.Helper()
		page, last, err := ListedByZabbix(testRequest([]byte(`{"items":[` + item + `],"more":false}`)))
		require.NoError(t, err)
		require.Empty(t, last)
		require.Len(t, page, 1)
		return page
	}
	a := list(item)[0]
	require.False(t, a.Quiet)
	// What the tool does not have: an update by webhook adds it.
	webhook.Description, webhook.Annotations, webhook.Links = "", map[string]string{}, nil
	delete(webhook.Labels, "host_ip")
	delete(webhook.Labels, "zabbix_host_groups")
	require.Equal(t, webhook, a.Alert)

	require.Equal(t, ops.AlertAcknowledged, list(strings.Replace(item, `"acknowledged":false`, `"acknowledged":true`, 1))[0].Status)
	for _, quiet := range []string{strings.Replace(item, `"suppressed":false`, `"suppressed":true`, 1),
		strings.Replace(item, `"monitored":true`, `"monitored":false`, 1), strings.Replace(item, `{"id":"10559","host":"peer-host","name":"Peer host"}`, "", 1)} {
		require.True(t, list(quiet)[0].Quiet, quiet)
	}
	page, last, err := ListedByZabbix(testRequest([]byte(`{"items":[` + item + `,` + strings.Replace(item, `"5"`, `"4"`, 1) + `],"more":true}`)))
	require.NoError(t, err)
	require.Len(t, page, 2)
	require.Equal(t, "4", last)
	for _, bad := range []string{``, `{}`, `{"items":null}`, `{"items":[{}]}`, `{"items":[{"event_id":"1"}]}`, `{"items":{}}`} {
		_, _, err := ListedByZabbix(testRequest([]byte(bad)))
		require.Error(t, err, bad)
	}
}

func FuzzListing(f *testing.F) {
	f.Add(`[{"fingerprint":"a","startsAt":"2026-11-21T01:00:00Z","labels":{"a":"\u0000"},"status":{"state":"active"},"receivers":[{"name":"r"}]}]`)
	f.Add(`{"items":[{"event_id":"1","since":"2026-11-21T01:00:00Z","tags":[{"tag":"a"}],"hosts":[{"id":"1"}]}],"more":true}`)
	f.Add(`{"uptime":"2026-11-21T01:00:00Z"}`)
	f.Add(`[{"labels":{"a":"b"},"receiver":{"name":"r"},"alerts":[{"fingerprint":"a"}]}]`)
	f.Fuzz(func(t *testing.T, body string) {
		r := testRequest([]byte(body))
		alerts, _ := ListedByAlertmanager(r)
		problems, _, _ := ListedByZabbix(r)
		groups := Groups{}
		_ = groups.Read(r.Body)
		_, _ = ReadAlertmanagerStatus(r.Body)
		_, _ = AlertmanagerReceivers(r.Body)
		_ = AlertmanagerReceiver(r.Body)
		_, _ = AlertmanagerURLs(body)
		for _, a := range append(alerts, problems...) {
			if a.GroupKey = groups.Key(a.Identity, "r", []string{a.GroupKey}); len(a.GroupKey) > maxKey {
				t.Fatalf("key too long: %s", a.GroupKey)
			}
			storable(t, a.Alert)
		}
	})
}
