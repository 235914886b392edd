package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

func itoa(n uint16) string { return strconv.Itoa(int(n)) }

// firing is an Alertmanager payload with one alert.
func firing(name string) string {
	return alertmanager(name, "firing", "2026-11-21T01:00:00Z", "0001-01-01T00:00:00Z")
}

func resolved(name string) string {
	return alertmanager(name, "resolved", "2026-11-21T01:00:00Z", "2026-11-21T01:05:00Z")
}

func alertmanager(name, status, starts, ends string) string {
	return fmt.Sprintf(`{"version":"4","receiver":"r","status":%q,"groupKey":%q,"alerts":[
		{"status":%q,"labels":{"alertname":%q,"instance":"db1:9100","severity":"critical"},"annotations":{"summary":%q},
		 "startsAt":%q,"endsAt":%q,"fingerprint":%q}]}`, status, "{}:{alertname=\""+name+"\"}", status, name, "It is "+name, starts, ends, "fp-"+name)
}

func (r *rig) post(src source, body any, header ...string) reply {
	r.t.Helper()
	if len(header) == 0 {
		header = []string{"Authorization", "Bearer " + src.Secret}
	}
	return r.send(http.DefaultClient, "POST", "/webhook/alert/"+src.ID, body, header...)
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	require.True(t, strings.HasPrefix(src.Secret, "akmh_"))
	require.Equal(t, r.PublicURL()+"/webhook/alert/"+src.ID, src.WebhookURL)
	var disabled source
	off := r.call("POST", "/api/v1/sources", map[string]any{"name": "off", "kind": "alertmanager", "enabled": false, "secret": "secret-of-off"})
	require.Equal(t, 201, off.status, off.body)
	require.NotContains(t, off.body, "secret-of-off", "a secret that was given is not shown")
	off.into(t, &disabled)
	require.False(t, disabled.Enabled)

	bearer := []string{"Authorization", "Bearer " + src.Secret}
	basic := []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+src.Secret))}
	path := "/webhook/alert/" + src.ID
	var inside strings.Builder
	_, _ = fmt.Fprintf(&inside, `{"alerts":[],"pad":"%s"}`, strings.Repeat("x", maxBody-30))
	for _, tc := range []struct {
		name, method, path string
		body               string
		header             []string
		want               int
		contains           string
	}{
		{"good", "POST", path, firing("Good"), bearer, 202, `"alerts":1`},
		{"with a final slash", "POST", path + "/", firing("Slash"), bearer, 202, `"alerts":1`},
		{"basic", "POST", path, firing("Basic"), basic, 202, `"alerts":1`},
		{"header", "POST", path, firing("Header"), []string{ingest.SecretHeader, src.Secret}, 202, `"alerts":1`},
		{"charset", "POST", path, firing("Charset"), append([]string{"Content-Type", "application/json; charset=utf-8"}, bearer...), 202, `"alerts":1`},
		{"a resolve of nothing known", "POST", path, resolved("Ghost"), bearer, 202, `"alerts":1}`},
		{"no alerts", "POST", path, `{"alerts":[]}`, bearer, 202, `"alerts":0`},
		{"the largest body", "POST", path, inside.String(), bearer, 202, `"alerts":0`},
		{"too large", "POST", path, strings.Repeat("x", maxBody+1), bearer, 413, "at most"},
		{"unparsable", "POST", path, `{"alerts":`, bearer, 202, `"problem":"the body is not JSON`},
		{"not UTF-8", "POST", path, "\xff\xfe\x00", bearer, 202, `"problem"`},
		{"empty", "POST", path, "", bearer, 202, `"problem"`},
		{"NUL inside", "POST", path, strings.Replace(firing("Nul"), "It is", `It \u0000is`, 1), bearer, 202, `"alerts":1`},
		{"a custom payload", "POST", path, `{"text":"hi"}`, bearer, 202, `has no \"alerts\"`},
		{"no secret", "POST", path, firing("X"), nil, 401, "wrong or missing secret"},
		{"wrong secret", "POST", path, firing("X"), []string{"Authorization", "Bearer " + src.Secret + "x"}, 401, "wrong or missing secret"},
		{"an API token", "POST", path, firing("X"), []string{"Authorization", "Bearer " + r.token}, 401, "wrong or missing secret"},
		{"another source's secret", "POST", path, firing("X"), []string{"Authorization", "Bearer secret-of-off"}, 401, "wrong or missing secret"},
		{"unknown source", "POST", "/webhook/alert/" + ops.NewID(), firing("X"), bearer, 404, "no such source"},
		{"no id", "POST", "/webhook/alert/' OR 1=1", firing("X"), bearer, 404, ""},
		{"nothing behind", "POST", "/webhook/alert/", firing("X"), bearer, 404, ""},
		{"a disabled source", "POST", "/webhook/alert/" + disabled.ID, firing("X"), []string{"Authorization", "Bearer secret-of-off"}, 404, "no such source"},
		{"PUT", "PUT", path, firing("X"), bearer, 405, ""},
		{"GET", "GET", path, "", bearer, 405, ""},
	} {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			t.Errorf("%s: redirected", tc.name)
			return http.ErrUseLastResponse
		}}
		a := r.send(client, tc.method, tc.path, tc.body, tc.header...)
		require.Equal(t, tc.want, a.status, "%s: %s", tc.name, a.body)
		require.Contains(t, a.body, tc.contains, tc.name)
		require.NotContains(t, a.body, src.Secret)
	}
	require.Equal(t, 6, count(t, r.pg, `SELECT count(*) FROM incidents`))
	require.Equal(t, 4, count(t, r.pg, `SELECT count(*) FROM deliveries WHERE problem <> '' AND alert_count = 0`))
	require.Equal(t, 4.0, testutil.ToFloat64(r.metrics.rejected.WithLabelValues(src.ID)))

	var all struct{ Items []source }
	require.Eventually(t, func() bool {
		r.call("GET", "/api/v1/sources", nil).into(t, &all)
		return all.Items[0].Health.Rejected == 4
	}, soon, 50*time.Millisecond)
	require.Equal(t, int64(4), all.Items[0].Health.Unparsable)
	require.Contains(t, all.Items[0].Health.LastError, "alerts")
	require.Empty(t, all.Items[0].Secret)
	require.NotContains(t, dump(t, r.pg), src.Secret)
	require.NotContains(t, r.log.String(), src.Secret)
}

// TestBodyLimits: a body that is longer than it says it is, or says nothing,
// meets the same limit.
func TestBodyLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	conn, err := net.Dial("tcp", r.public.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "POST /webhook/alert/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n", src.ID, src.Secret)
	require.NoError(t, err)
	chunk := "10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n"
	for range maxBody/0x10000 + 2 {
		if _, err := conn.Write([]byte(chunk)); err != nil {
			break // it has stopped listening
		}
	}
	answer := make([]byte, 64)
	began := time.Now()
	n, _ := conn.Read(answer)
	require.Less(t, time.Since(began), soon, "the rest is not waited for")
	require.Contains(t, string(answer[:n]), " 413 ")
}

// held is a body that never comes: it tells when somebody waits for it.
type held struct {
	reading chan<- int
	until   <-chan struct{}
}

func (h held) Read([]byte) (int, error) {
	h.reading <- 0
	<-h.until
	return 0, io.ErrUnexpectedEOF
}

// TestSlowStrangers: who knows the address of one source and nothing else, and
// announces bodies that never come, does not keep the other sources from being
// heard.
func TestSlowStrangers(t *testing.T) {
	t.Parallel()
	const many = 26 // of the largest bodies use up the room for all
	for name, tt := range map[string]struct {
		kind    string
		setUp   bool
		refused int // before their bodies are read
	}{
		"a secret":    {kind: "alertmanager", refused: many},
		"a signature": {kind: "pagerduty"},
		"set-up mode": {kind: "alertmanager", setUp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := signingRig(t)
			src, other := r.addSource(map[string]any{"name": "known", "kind": tt.kind}), r.source("other")
			if tt.setUp {
				require.Equal(t, 200, r.call("POST", "/api/v1/sources/"+src.ID+"/verify-only", map[string]any{"minutes": 5}).status)
			}
			handler := r.publicHandler()
			post := func(src source, size int64, body io.Reader) int {
				request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook/alert/"+src.ID, body)
				request.ContentLength = size
				request.Header.Set("Authorization", "Bearer "+other.Secret)
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, request)
				return answer.Code
			}
			became, until := make(chan int), make(chan struct{})
			var all sync.WaitGroup
			defer all.Wait()
			defer close(until)
			for range many {
				all.Go(func() {
					code := post(src, maxBodies/many, held{became, until})
					select {
					case became <- code:
					case <-until:
					}
				})
			}
			codes := map[int]int{}
			for range many {
				codes[<-became]++
			}
			require.Equal(t, tt.refused, codes[http.StatusUnauthorized], "%v", codes)
			alert := firing("Heard")
			require.Equal(t, 202, post(other, int64(len(alert)), strings.NewReader(alert)), "%v", codes)
			require.EqualValues(t, tt.refused, testutil.ToFloat64(r.metrics.rejected.WithLabelValues(src.ID)), "its page says so")
		})
	}
}

func TestRealPayloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	for _, step := range []struct {
		file             string
		incident, status string
		firing           int
	}{
		{"alertmanager-group", "1", "triggered", 3},
		{"alertmanager-group", "1", "triggered", 3}, // sent again
		{"alertmanager-group-partial", "1", "triggered", 2},
		{"alertmanager-firing", "2", "triggered", 1},
		{"alertmanager-resolved", "2", "resolved", 0},
		{"alertmanager-firing", "2", "resolved", 0}, // late: it opens nothing again
		{"prometheus-firing", "3", "triggered", 1},
		{"prometheus-resolved", "3", "resolved", 0},
	} {
		body, err := os.ReadFile("../ingest/testdata/" + step.file + ".json")
		require.NoError(t, err)
		require.Equal(t, 202, r.post(src, body).status)
		var i ops.Incident
		r.call("GET", "/api/v1/incidents/"+step.incident, nil).into(t, &i)
		require.Equal(t, step.status, string(i.Status), step.file)
		require.Equal(t, step.firing, i.FiringCount, step.file)
	}
	require.Equal(t, 3, count(t, r.pg, `SELECT count(*) FROM runs`))
}

func TestConcurrentIdenticalAlerts(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	a := start(t, pg, nil)
	a.makeUser()
	b := start(t, pg, nil) // two replicas at once
	src := a.source("am")
	var wg sync.WaitGroup
	statuses := make([]int, 200)
	for n := range statuses {
		wg.Go(func() {
			r := []*rig{a, b}[n%2]
			got, err := r.try(http.DefaultClient, "POST", "/webhook/alert/"+src.ID, firing("Storm"), "Authorization", "Bearer "+src.Secret)
			if err == nil {
				statuses[n] = got.status
			}
		})
	}
	wg.Wait()
	for n, st := range statuses {
		require.Equal(t, 202, st, n)
	}
	require.Equal(t, 200, count(t, pg, `SELECT count(*) FROM deliveries`))
	require.Equal(t, 1, count(t, pg, `SELECT count(*) FROM incidents`))
	require.Equal(t, 1, count(t, pg, `SELECT count(*) FROM runs`))
	require.Equal(t, 1, count(t, pg, `SELECT count(*) FROM alerts`))
	require.Equal(t, 200, count(t, pg, `SELECT count FROM alerts`))
	require.Equal(t, 3, count(t, pg, `SELECT count(*) FROM events`), "opened, firing, queued")
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	f, through := forward(t, pg.API)
	r := start(t, pg, func(c *Config) { c.DatabaseURL = through })
	r.makeUser()
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("Before")).status)

	f.cut()
	for n := range 5 {
		a := r.post(src, firing(fmt.Sprint("Away ", n)))
		require.Equal(t, 503, a.status, a.body)
		require.NotEmpty(t, a.header.Get("Retry-After"))
		require.NotContains(t, a.body, "127.0.0.1")
	}
	api := r.call("GET", "/api/v1/incidents", nil)
	require.Equal(t, 503, api.status)
	require.NotContains(t, api.body, "dial")
	resp, err := http.Get(r.OpsURL() + "/readyz")
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, 503, resp.StatusCode)

	f.mend()
	require.Eventually(t, func() bool { return r.post(src, firing("After")).status == 202 }, soon, 50*time.Millisecond)
	require.Equal(t, 2, count(t, pg, `SELECT count(*) FROM incidents`), "503 means: not stored")
}

// TestDatabaseHangs: a database that neither answers nor refuses keeps no sender.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	f, through := forward(t, pg.API)
	r := start(t, pg, func(c *Config) { c.DatabaseURL = through })
	r.makeUser()
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("Before")).status)
	f.frozen.Lock()
	var wg sync.WaitGroup
	began := time.Now()
	for n := range 20 {
		wg.Go(func() {
			a, err := r.try(http.DefaultClient, "POST", "/webhook/alert/"+src.ID, firing(fmt.Sprint(n)), "Authorization", "Bearer "+src.Secret)
			if err != nil || a.status != 503 || a.header.Get("Retry-After") == "" {
				t.Error(a.status, a.body, err)
			}
		})
	}
	wg.Wait()
	f.frozen.Unlock()
	require.Less(t, time.Since(began), answerWithin+3*time.Second)
	require.Eventually(t, func() bool { return r.post(src, firing("After")).status == 202 }, 2*soon, 50*time.Millisecond)
}

func TestRotatedSecretCountsWithinASecond(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("A")).status)
	fresh := ops.NewToken(ops.WebhookTokenPrefix)
	_, err := r.db.PutSource(t.Context(), ops.Source{ID: ops.NewID(), Name: "am", Kind: "alertmanager", Enabled: true, Secret: ops.SourceSecret{Hash: ops.HashToken(fresh)}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { // within a second; twice that on a machine that is busy
		return r.post(src, firing("A"), "Authorization", "Bearer "+fresh.Reveal()).status == 202
	}, 2*time.Second, 20*time.Millisecond)
	require.Equal(t, 401, r.post(src, firing("A")).status)
}

func TestQueueFull(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	r := start(t, pg, nil)
	in := newIntake(r.db, r.metrics, r.API.log) // nobody commits
	for range maxQueue {
		in.queue <- &waiting{done: make(chan error, 1)}
	}
	_, err := in.store(ops.Delivery{})
	require.Equal(t, ops.CodeUnavailable, ops.CodeOf(err))
	in.flush(t.Context()) // of no source that there is: it is not tried for ever
	require.Empty(t, in.counted)
}

// TestOverload: a sender that is one too many is told to come again, and the
// source's page says that it was.
func TestOverload(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	r := start(t, pg, nil)
	r.makeUser()
	src := r.source("am")
	idle, err := New(t.Context(), r.conf) // it serves, and nobody commits
	require.NoError(t, err)
	defer idle.close()
	for range maxQueue {
		idle.intake.queue <- &waiting{done: make(chan error, 1)}
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook/alert/"+src.ID, strings.NewReader(firing("A")))
	request.Header.Set("Authorization", "Bearer "+src.Secret)
	answer := httptest.NewRecorder()
	idle.publicHandler().ServeHTTP(answer, request)
	require.Equal(t, http.StatusServiceUnavailable, answer.Code, answer.Body)
	require.Equal(t, "1", answer.Header().Get("Retry-After"))
	idle.intake.flush(t.Context())
	require.Equal(t, 1, count(t, pg, `SELECT count FROM source_errors WHERE kind = 'overload'`))
	require.Zero(t, count(t, pg, `SELECT count(*) FROM deliveries`))
}

// TestPoisonedDelivery: what the database refuses takes nothing else with it.
func TestPoisonedDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	delivery := func(title string) *waiting {
		now := time.Now().UTC()
		return &waiting{done: make(chan error, 1), delivery: ops.Delivery{ID: ops.NewID(), SourceID: src.ID, ReceivedAt: now, Body: []byte("{}"),
			Alerts: []ops.Alert{{Identity: title, Episode: "1", GroupKey: title, Status: ops.AlertFiring, At: now, StartsAt: now, Severity: ops.SeverityHigh, Title: title}}}}
	}
	good, bad := delivery("good"), delivery("b\x00d")
	r.intake.commitBatch(context.WithoutCancel(t.Context()), []*waiting{good, bad})
	require.NoError(t, <-good.done)
	require.NoError(t, <-bad.done)
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM incidents`))
	require.Equal(t, 2, count(t, r.pg, `SELECT count(*) FROM deliveries`))
	require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM deliveries WHERE problem <> ''`))
}

func TestShutdownAnswersWhatItTook(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	r := start(t, pg, nil)
	r.makeUser()
	src := r.source("am")
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := 0
	for n := range 20 {
		wg.Go(func() {
			for k := range 20 {
				a, err := r.try(client, "POST", "/webhook/alert/"+src.ID, firing(fmt.Sprint(n, "-", k)), "Authorization", "Bearer "+src.Secret)
				if err != nil {
					return // the listener is closed
				}
				if a.status == 202 {
					mu.Lock()
					stored++
					mu.Unlock()
				}
			}
		})
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return stored > 10 }, soon, time.Millisecond)
	r.stop()
	wg.Wait()
	require.GreaterOrEqual(t, count(t, pg, `SELECT count(*) FROM deliveries`), stored, "each 202 is in the database")
}
