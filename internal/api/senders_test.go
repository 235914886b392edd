package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

// signingRig runs an api with a key of its own zone.
func signingRig(t *testing.T) *rig {
	t.Helper()
	return withRing(t, nil)
}

func (r *rig) addSource(body map[string]any) source {
	r.t.Helper()
	got := r.call("POST", "/api/v1/sources", body)
	require.Equal(r.t, 201, got.status, got.body)
	var src source
	got.into(r.t, &src)
	return src
}

func mac(secret, message string) string {
	m := hmac.New(sha256.New, []byte(secret))
	_, _ = m.Write([]byte(message))
	return hex.EncodeToString(m.Sum(nil))
}

func payload(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile("../ingest/testdata/" + name)
	require.NoError(t, err)
	return string(body)
}

// TestSenders delivers one body of each kind through the front door, with the
// default way of proving itself.
func TestSenders(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	for i, tc := range []struct{ kind, file, contentType, status string }{
		{"alertmanager", "alertmanager-firing.json", "application/json", "triggered"},
		{"grafana", "grafana-firing.json", "application/json", "triggered"},
		{"pagerduty", "pagerduty-triggered.json", "application/json", "triggered"},
		{"datadog", "datadog-form.form", "application/x-www-form-urlencoded", "triggered"},
		{"zabbix", "zabbix-update.json", "application/json", "acknowledged"},
		{"webhook", "webhook-plain.json", "application/json", "triggered"},
	} {
		src := r.addSource(map[string]any{"name": tc.kind, "kind": tc.kind})
		body := payload(t, tc.file)
		header := []string{"Content-Type", tc.contentType, "Authorization", "Bearer " + src.Secret}
		if src.Auth == ops.AuthSignature {
			header = []string{"Content-Type", tc.contentType, "X-PagerDuty-Signature", "v1=" + mac(src.Secret, body)}
		}
		got := r.post(src, body, header...)
		require.Equal(t, 202, got.status, "%s: %s", tc.kind, got.body)
		require.Contains(t, got.body, `"alerts":1}`, tc.kind)
		var in ops.Incident
		r.call("GET", "/api/v1/incidents/"+strconv.Itoa(i+1), nil).into(t, &in)
		require.Equal(t, tc.status, string(in.Status), tc.kind)
		require.Equal(t, 401, r.post(src, body, "Content-Type", tc.contentType).status, tc.kind)
		require.NotContains(t, dump(t, r.pg), src.Secret, tc.kind)
	}
}

func TestSignedSource(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.addSource(map[string]any{"name": "pd", "kind": "pagerduty"})
	require.Equal(t, ops.AuthSignature, src.Auth)
	body := payload(t, "pagerduty-triggered.json")
	signed := func(secrets ...string) []string {
		var values []string
		for _, s := range secrets {
			values = append(values, "v1="+mac(s, body))
		}
		return []string{"X-PagerDuty-Signature", strings.Join(values, ",")}
	}
	require.Equal(t, 202, r.post(src, body, signed(src.Secret)...).status)
	refused := r.post(src, body, "Authorization", "Bearer "+src.Secret)
	require.Equal(t, 401, refused.status, "the secret itself is no signature")
	require.Contains(t, refused.body, "wrong or missing signature")

	// The subscription's own secret replaces the first; both count for a while.
	const own = "pagerduty-made-this"
	var after source
	got := r.call("POST", "/api/v1/sources/"+src.ID+"/secret", map[string]any{"secret": own})
	require.Equal(t, 200, got.status, got.body)
	got.into(t, &after)
	require.Empty(t, after.Secret)
	require.WithinDuration(t, time.Now().Add(overlap), after.OldUntil, time.Minute)
	require.Equal(t, 202, r.post(src, body, signed(own)...).status)
	require.Equal(t, 202, r.post(src, body, signed(src.Secret)...).status)
	require.Equal(t, 202, r.post(src, body, signed("another", own)...).status)
	require.Equal(t, 401, r.post(src, body, signed("another")...).status)

	require.Equal(t, 200, r.call("POST", "/api/v1/sources/"+src.ID+"/secret", map[string]any{"secret": own + "-2", "revoke_old": true}).status)
	require.Equal(t, 401, r.post(src, body, signed(own)...).status)
	require.Equal(t, 202, r.post(src, body, signed(own+"-2")...).status)
	require.Equal(t, 404, r.call("POST", "/api/v1/sources/"+ops.NewID()+"/secret", map[string]any{}).status)
	for _, secret := range []string{src.Secret, own} {
		require.NotContains(t, dump(t, r.pg), secret)
		require.NotContains(t, r.log.String(), secret)
	}

	// A refused signature is loud.
	require.Equal(t, 401, r.post(src, body, signed("another")...).status)
	var all struct{ Items []source }
	require.Eventually(t, func() bool {
		r.call("GET", "/api/v1/sources", nil).into(t, &all)
		return len(all.Items[0].Health.Warnings) == 1
	}, soon, 50*time.Millisecond)
	require.Equal(t, "pagerduty_refused", all.Items[0].Health.Warnings[0].Code)
	require.Contains(t, r.call("GET", "/api/v1/audit?chain=api", nil).body, "source.secret_replaced")
}

func TestReplacedBearerSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	var after source
	r.call("POST", "/api/v1/sources/"+src.ID+"/secret", map[string]any{}).into(t, &after)
	require.NotEmpty(t, after.Secret)
	for _, secret := range []string{src.Secret, after.Secret} {
		require.Equal(t, 202, r.post(src, firing("A"), "Authorization", "Bearer "+secret).status)
	}
	r.call("POST", "/api/v1/sources/"+src.ID+"/secret", map[string]any{"revoke_old": true}).into(t, &after)
	require.Equal(t, 401, r.post(src, firing("A")).status)
	require.Equal(t, 202, r.post(src, firing("A"), "Authorization", "Bearer "+after.Secret).status)
}

func TestGrafanaSigned(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.addSource(map[string]any{"name": "g", "kind": "grafana", "auth": "signature"})
	body := payload(t, "grafana-firing.json")
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	old := strconv.FormatInt(time.Now().Add(-10*time.Minute).Unix(), 10)
	for _, tc := range []struct {
		stamp, signature string
		want             int
	}{
		{"", mac(src.Secret, body), 202},
		{stamp, mac(src.Secret, stamp+":"+body), 202},
		{old, mac(src.Secret, old+":"+body), 401},
		{stamp, mac(src.Secret, body), 401},
	} {
		header := []string{"X-Grafana-Alerting-Signature", tc.signature}
		if tc.stamp != "" {
			header = append(header, "X-Grafana-Alerting-Timestamp", tc.stamp)
		}
		require.Equal(t, tc.want, r.post(src, body, header...).status, tc)
	}
}

// TestWithoutKey: an api without a key of its own takes no secret that it
// could not open, and says what else there is.
func TestWithoutKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, body := range []map[string]any{{"name": "a", "kind": "pagerduty"}, {"name": "a", "kind": "grafana", "auth": "signature"}} {
		got := r.call("POST", "/api/v1/sources", body)
		require.Equal(t, 422, got.status, got.body)
		require.Contains(t, got.body, "AKMATORI_API_KEY")
		require.Contains(t, got.body, ingest.SecretHeader)
	}
	src := r.addSource(map[string]any{"name": "a", "kind": "pagerduty", "auth": "secret"})
	require.Equal(t, 202, r.post(src, payload(t, "pagerduty-triggered.json"), ingest.SecretHeader, src.Secret).status)

	_, err := New(t.Context(), Config{ToolsPublicKey: r.conf.ToolsPublicKey, EgressPublicKey: r.conf.EgressPublicKey, Keys: ops.NewSecret("no key")})
	require.ErrorContains(t, err, "key ring, line 1")
}

// TestLostKey: what cannot be judged is not called wrong: 401 would make
// PagerDuty disable the subscription.
func TestLostKey(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.addSource(map[string]any{"name": "pd", "kind": "pagerduty"})
	other := start(t, r.pg, nil) // without a key
	body := payload(t, "pagerduty-triggered.json")
	got := other.post(src, body, "X-PagerDuty-Signature", "v1="+mac(src.Secret, body))
	require.Equal(t, 503, got.status, got.body)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Contains(t, other.log.String(), "cannot be opened")
}

// TestLostKeyOfTheOldSecret: a new secret is the way out of a lost key. What is
// not signed with it cannot be judged, while the old one counts.
func TestLostKeyOfTheOldSecret(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	src := r.addSource(map[string]any{"name": "pd", "kind": "pagerduty"})
	r.exec(`UPDATE sources SET secret_sealed = '\x00'`)
	var after source
	r.call("POST", "/api/v1/sources/"+src.ID+"/secret", map[string]any{}).into(t, &after)
	body := payload(t, "pagerduty-triggered.json")
	got := r.post(src, body, "X-PagerDuty-Signature", "v1="+mac(after.Secret, body))
	require.Equal(t, 202, got.status, got.body)
	require.Equal(t, 503, r.post(src, body, "X-PagerDuty-Signature", "v1="+mac(src.Secret, body)).status)
	require.Contains(t, r.call("POST", "/api/v1/sources/"+src.ID+"/test", map[string]any{}).body, `"ok":true`)
}

func TestSourceKinds(t *testing.T) {
	t.Parallel()
	r := signingRig(t)
	for name, tc := range map[string]struct {
		body map[string]any
		want string
	}{
		"unknown kind":         {map[string]any{"name": "a", "kind": "nagios"}, "kind is not one"},
		"no signature":         {map[string]any{"name": "a", "kind": "zabbix", "auth": "signature"}, "does not sign"},
		"unknown auth":         {map[string]any{"name": "a", "kind": "zabbix", "auth": "none"}, "auth"},
		"settings of none":     {map[string]any{"name": "a", "kind": "zabbix", "settings": map[string]any{}}, "has no settings"},
		"settings that do not": {map[string]any{"name": "a", "kind": "webhook", "settings": map[string]any{"fields": map[string]any{"titel": "@.x"}}}, `there is no \"titel\"`},
		"a path that is none":  {map[string]any{"name": "a", "kind": "webhook", "settings": map[string]any{"fields": map[string]any{"title": "$.a[*]"}}}, "title"},
	} {
		got := r.call("POST", "/api/v1/sources", tc.body)
		require.Equal(t, 422, got.status, "%s: %s", name, got.body)
		require.Contains(t, got.body, tc.want, name)
	}
}

func TestMappedSource(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	settings := map[string]any{"alerts": "$.checks", "fields": map[string]any{"title": "@.text", "identity": []string{"@.id"}}}
	body := `{"checks":[{"id":"1","text":"one"},{"id":"2","text":"two"}]}`
	var out preview
	got := r.call("POST", "/api/v1/sources/preview", map[string]any{"kind": "webhook", "settings": settings, "body": body})
	require.Equal(t, 200, got.status, got.body)
	got.into(t, &out)
	require.Len(t, out.Alerts, 2)
	require.Equal(t, "two", out.Alerts[1].Title)
	require.Empty(t, out.Problem)
	r.call("POST", "/api/v1/sources/preview", map[string]any{"kind": "datadog", "body": "<xml>"}).into(t, &out)
	require.Contains(t, out.Problem, "not JSON")
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM alerts`))

	src := r.addSource(map[string]any{"name": "own", "kind": "webhook", "settings": settings})
	require.JSONEq(t, `{"alerts":"$.checks","fields":{"title":"@.text","identity":["@.id"]}}`, string(src.Settings))
	require.Equal(t, 202, r.post(src, body).status)
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM incidents`))
}

func TestSourceWarnings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	am := r.source("am")
	dd := r.addSource(map[string]any{"name": "dd", "kind": "datadog"})
	require.Equal(t, 202, r.post(am, payload(t, "alertmanager-truncated.json")).status)
	for range 2 { // the second one is the first, sent again
		require.Equal(t, 202, r.post(dd, payload(t, "datadog-default-triggered.json")).status)
	}
	require.Equal(t, 202, r.post(dd, payload(t, "datadog-default-recovered.json")).status)
	var all struct{ Items []source }
	r.call("GET", "/api/v1/sources", nil).into(t, &all)
	var got []string
	for _, src := range all.Items {
		for _, w := range src.Health.Warnings {
			got = append(got, fmt.Sprint(src.Name, " ", w.Code, " ", w.Count))
		}
	}
	require.Equal(t, []string{"am truncated 1", "dd datadog_default_payload 2"}, got)
	require.Contains(t, all.Items[0].Health.Warnings[0].Text, "left 3 alerts out")
	require.Equal(t, 3, count(t, r.pg, `SELECT max(truncated) FROM deliveries`))
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM incidents WHERE status = 'resolved'`), "the recovery has found its alert")
	require.Equal(t, http.StatusOK, r.call("GET", "/api/v1/incidents", nil).status)
}
