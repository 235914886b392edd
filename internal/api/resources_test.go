package api

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

const edKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

const pemKey = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAY2FuYXJ5LW9mLXRoZS1zc2gta2V5\n-----END OPENSSH PRIVATE KEY-----\n"

func TestIncidents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 7 {
		a := r.call("POST", "/api/v1/incidents", map[string]string{"title": fmt.Sprint("disk ", n), "severity": []string{"high", "warning"}[n%2]})
		require.Equal(t, 201, a.status, a.body)
	}
	type page struct {
		Items      []ops.Incident `json:"items"`
		NextCursor string         `json:"next_cursor"`
	}
	var numbers []int64
	cursor := ""
	for {
		var p page
		r.call("GET", "/api/v1/incidents?limit=3&cursor="+cursor, nil).into(t, &p)
		for _, i := range p.Items {
			numbers = append(numbers, i.Number)
		}
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, []int64{7, 6, 5, 4, 3, 2, 1}, numbers)

	for query, want := range map[string]int{
		"": 7, "severity=high": 4, "status=triggered": 7, "status=resolved,closed": 0, "q=disk": 7, "q=network": 0,
		"source=" + ops.NewID(): 0, "source=x": 0, "q=%00": 7,
	} {
		var p page
		a := r.call("GET", "/api/v1/incidents?"+query, nil)
		require.Equal(t, 200, a.status, a.body)
		a.into(t, &p)
		require.Len(t, p.Items, want, query)
	}
	for _, query := range []string{"status=open", "severity=bad", "limit=0", "limit=201", "cursor=x", "cursor=-1"} {
		require.Equal(t, 422, r.call("GET", "/api/v1/incidents?"+query, nil).status, query)
	}

	var one, same ops.Incident
	r.call("GET", "/api/v1/incidents/3", nil).into(t, &one)
	r.call("GET", "/api/v1/incidents/"+one.ID, nil).into(t, &same)
	require.Equal(t, one, same)
	require.Equal(t, ops.RunQueued, one.Investigation)
	for _, sub := range []string{"alerts", "calls", "findings", "runs", "events"} {
		a := r.call("GET", "/api/v1/incidents/3/"+sub, nil)
		require.Equal(t, 200, a.status, a.body)
		require.True(t, strings.HasPrefix(a.body, `{"items":[`), a.body)
		for _, id := range []string{"0", "-1", "99", "x", ops.NewID(), "99999999999999999999", "%00"} {
			require.Equal(t, 404, r.call("GET", "/api/v1/incidents/"+id+"/"+sub, nil).status, "%s/%s", id, sub)
		}
	}
	var events struct {
		Items      []ops.Event `json:"items"`
		NextCursor string      `json:"next_cursor"`
	}
	r.call("GET", "/api/v1/incidents/3/events?after=1&limit=1", nil).into(t, &events)
	require.Len(t, events.Items, 1)
	require.Equal(t, int64(2), events.Items[0].Seq)
	require.Equal(t, "2", events.NextCursor)
}

// TestTitleIsNotBlank: an incident without a title could not be pressed in the list.
func TestTitleIsNotBlank(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, title := range []string{" ", "\x00", "\n\t"} {
		require.Equal(t, 422, r.call("POST", "/api/v1/incidents", map[string]string{"title": title}).status, "%q", title)
	}
	require.Contains(t, r.call("POST", "/api/v1/incidents", map[string]string{"title": " disk full "}).body, `"title":"disk full"`)
}

func TestActions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	act := func(name string, want int) ops.Incident {
		t.Helper()
		a := r.call("POST", "/api/v1/incidents/1/"+name, nil)
		require.Equal(t, want, a.status, a.body)
		var i ops.Incident
		if want == 200 {
			a.into(t, &i)
		}
		return i
	}
	require.Equal(t, ops.IncidentAcknowledged, act("acknowledge", 200).Status)
	act("investigate", 409) // one waits
	require.Equal(t, ops.RunCancelled, act("cancel", 200).Investigation)
	act("cancel", 409)
	require.Equal(t, ops.RunQueued, act("investigate", 200).Investigation)
	require.Equal(t, ops.IncidentResolved, act("resolve", 200).Status)
	act("acknowledge", 409)
	require.Equal(t, ops.IncidentClosed, act("close", 200).Status)
	require.Equal(t, 404, r.call("POST", "/api/v1/incidents/9/close", nil).status)
	require.Equal(t, 404, r.call("POST", "/api/v1/incidents/1/delete", nil).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x", "agent": "nobody"}).status)

	var records struct{ Items []ops.AuditRecord }
	r.call("GET", "/api/v1/audit/chains/api?limit=1000", nil).into(t, &records)
	_, err := ops.VerifyChain(nil, records.Items)
	require.NoError(t, err)
	var got []string
	for _, rec := range records.Items {
		require.Equal(t, "user:ann", rec.Actor)
		if rec.Outcome != "intent" {
			got = append(got, rec.Action+" "+rec.Outcome)
		}
	}
	require.Equal(t, []string{"incident.created ok", "incident.acknowledge ok", "incident.investigate failed", "incident.cancel ok",
		"incident.cancel failed", "incident.investigate ok", "incident.resolve ok", "incident.acknowledge failed", "incident.close ok",
		"incident.created failed"}, got)
}

func TestInventory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, step := range []struct {
		path string
		body map[string]any
		want int
	}{
		{"credentials", map[string]any{"name": "key", "kind": "ssh_key", "secret": pemKey, "targets": []string{"db*"}}, 201},
		{"credentials", map[string]any{"name": "key", "kind": "ssh_key", "secret": pemKey, "targets": []string{"db*"}}, 409},
		{"credentials", map[string]any{"name": "k2", "kind": "ssh_key", "secret": "no pem", "targets": []string{"db*"}}, 422},
		{"credentials", map[string]any{"name": "k2", "kind": "ssh_key", "secret": pemKey, "targets": []string{}}, 422},
		{"credentials", map[string]any{"name": "k2", "kind": "ssh_key", "secret": pemKey, "targets": []string{"a b"}}, 422},
		{"credentials", map[string]any{"name": "k2", "kind": "ssh_key", "secret": "", "targets": []string{"a"}}, 422},
		{"credentials", map[string]any{"name": "llm", "kind": "llm_key", "secret": "sk-canary-0001", "targets": []string{"*"}}, 201},
		{"credentials", map[string]any{"name": "pw", "kind": "ssh_password", "secret": "a\nb", "targets": []string{"*"}}, 422},
		{"targets", map[string]any{"name": "db1", "kind": "ssh", "address": "10.0.0.1", "user": "ops", "host_key": edKey + " comment\n\n# x\n", "credential": "key", "labels": map[string]string{"env": "prod"}}, 201},
		{"targets", map[string]any{"name": "db2", "kind": "ssh", "address": "db2.example", "port": 2222, "user": "ops", "host_key": edKey, "credential": "key", "jump": "db1"}, 201},
		{"targets", map[string]any{"name": "db0", "kind": "ssh", "address": "db0", "user": "ops"}, 201},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "user": "ops", "host_key": "db3 " + edKey}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "user": "ops", "host_key": "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0"}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "-oProxyCommand=x y", "user": "ops", "host_key": edKey}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "user": "ops", "host_key": edKey, "credential": "llm"}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "user": "ops", "host_key": edKey, "jump": "nowhere"}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "user": "ops", "host_key": edKey, "port": 70000}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "host_key": edKey}, 422},
		{"targets", map[string]any{"name": "db3", "kind": "ssh", "address": "db3", "user": "ops", "host_key": edKey, "url": "https://x"}, 422},
		{"credentials", map[string]any{"name": "zt", "kind": "zabbix_token", "secret": "canary-zabbix-0001", "targets": []string{"zbx"}}, 201},
		{"credentials", map[string]any{"name": "zp", "kind": "zabbix_password", "secret": "canary-zabbix-0002", "targets": []string{"zbx"}}, 201},
		{"targets", map[string]any{"name": "zbx", "kind": "zabbix", "url": "https://zabbix.example/zabbix/", "credential": "zt"}, 201},
		{"targets", map[string]any{"name": "zbx2", "kind": "zabbix", "url": "http://[::1]:8080/api_jsonrpc.php", "credential": "zp", "user": "reader"}, 201},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "https://zabbix.example", "credential": "zp"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "https://zabbix.example", "credential": "key"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "https://u:p@zabbix.example"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "ftp://zabbix.example"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "https://zabbix.example:99999"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "https://zabbix.example", "address": "x"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix", "url": "https://zabbix.example", "ca": "nonsense"}, 422},
		{"targets", map[string]any{"name": "zbx3", "kind": "zabbix"}, 422},
		{"llm-providers", map[string]any{"name": "main", "kind": "openai", "base_url": "https://llm.example/v1/", "model": "m", "credential": "llm"}, 201},
		{"llm-providers", map[string]any{"name": "p2", "kind": "openai", "base_url": "https://llm.example/v1", "model": "m", "credential": "key"}, 422},
		{"llm-providers", map[string]any{"name": "p2", "kind": "openai", "base_url": "file:///etc/passwd", "model": "m"}, 422},
		{"sources", map[string]any{"name": "s", "kind": "pigeon"}, 422},
		{"sources", map[string]any{"name": "s", "kind": "alertmanager", "unknown": 1}, 422},
	} {
		a := r.call("POST", "/api/v1/"+step.path, step.body)
		require.Equal(t, step.want, a.status, "%v: %s", step.body["name"], a.body)
		require.NotContains(t, a.body, "Y2FuYXJ5")
		require.NotContains(t, a.body, "sk-canary")
	}
	var targets struct{ Items []ops.Target }
	r.call("GET", "/api/v1/targets", nil).into(t, &targets)
	require.Len(t, targets.Items, 5)
	require.Empty(t, targets.Items[0].HostKey, "nothing logs in to it before somebody has accepted its key")
	targets.Items = targets.Items[1:]
	require.Equal(t, 22, targets.Items[0].Port)
	require.Equal(t, edKey, targets.Items[0].HostKey)
	require.Equal(t, "db1", targets.Items[1].Jump)
	for i, want := range []string{"https zabbix.example 443 /zabbix/api_jsonrpc.php", "http ::1 8080 /api_jsonrpc.php"} {
		z := targets.Items[2+i]
		require.Equal(t, want, fmt.Sprint(z.Scheme, " ", z.Address, " ", z.Port, " ", z.Path))
	}
	var providers struct{ Items []ops.Provider }
	r.call("GET", "/api/v1/llm-providers", nil).into(t, &providers)
	require.True(t, providers.Items[0].Default, "the first is the default")
	require.Equal(t, "https://llm.example/v1", providers.Items[0].BaseURL)

	shown := r.call("GET", "/api/v1/credentials", nil).body
	for _, where := range []string{shown, r.log.String(), dump(t, r.pg), r.call("GET", "/api/v1/audit/chains/api?limit=1000", nil).body} {
		require.NotContains(t, where, "Y2FuYXJ5")
		require.NotContains(t, where, "sk-canary")
		require.NotContains(t, where, "canary-zabbix")
	}
	require.NotContains(t, shown, "sealed")
	stored, err := r.db.CredentialByName(t.Context(), "key")
	require.NoError(t, err)
	opened, err := r.tools.Open(stored)
	require.NoError(t, err)
	require.Equal(t, pemKey, opened.Reveal(), "the gateway opens what the api sealed")
}

func TestPage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	built, err := pageOf(fstest.MapFS{
		"index.html":        {Data: []byte(`<html><script nonce="__CSP_NONCE__" src="/assets/a-1.js"></script></html>`)},
		"assets/a-1.js":     {Data: []byte(`let a = 1`)},
		"favicon.svg":       {Data: []byte(`<svg/>`)},
		".keep":             {},
		"assets/sub/b-1.js": {Data: []byte(`let b = 1`)},
	})
	require.NoError(t, err)
	start := func(p *page) *httptest.Server {
		s := *r.API
		s.page = p
		srv := httptest.NewServer(s.publicHandler())
		t.Cleanup(srv.Close)
		return srv
	}
	serve := func(p *page) func(path string) reply {
		srv := start(p)
		return func(path string) reply {
			resp, err := srv.Client().Get(srv.URL + path)
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			return reply{resp.StatusCode, resp.Header, readAll(t, resp)}
		}
	}
	get := serve(built)

	for _, path := range []string{"/", "/incidents/1", "/index.html", "/setup", "/favicon.ico", "/.keep", "/../../etc/passwd", "/assets"} {
		a := get(path)
		require.Equal(t, 200, a.status, path)
		require.Contains(t, a.body, "<html>", path)
		require.Equal(t, "no-cache", a.header.Get("Cache-Control"), path)
		policy := a.header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; script-src 'self' 'nonce-")
		require.NotContains(t, policy, "unsafe")
		require.NotContains(t, a.body, noncePlaceholder)
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", a.header.Get("X-Frame-Options"))
	}
	require.NotEqual(t, get("/").body, get("/").body, "a nonce is used once")
	js := get("/assets/a-1.js")
	require.Equal(t, "let a = 1", js.body)
	require.Contains(t, js.header.Get("Cache-Control"), "immutable")
	require.Contains(t, js.header.Get("Content-Type"), "javascript")
	origin := start(built).URL
	for accepts, want := range map[string]string{"gzip, br": "gzip", "br, GZIP;q=0.5": "gzip", "br;q=1, gzip;q=0": "", "br": "", "*": "", "": ""} {
		for range 2 { // packed, and as it was packed
			req, err := http.NewRequest("GET", origin+"/assets/a-1.js", nil)
			require.NoError(t, err)
			req.Header.Set("Accept-Encoding", accepts)
			resp, err := http.DefaultTransport.RoundTrip(req) // which unpacks nothing that it has not asked for
			require.NoError(t, err)
			require.Equal(t, want, resp.Header.Get("Content-Encoding"), accepts)
			require.Contains(t, resp.Header.Get("Content-Type"), "text/javascript")
			require.Contains(t, resp.Header.Get("Cache-Control"), "immutable")
			body := io.Reader(resp.Body)
			if want == "gzip" {
				require.Equal(t, "Accept-Encoding", resp.Header.Get("Vary"))
				body, err = gzip.NewReader(resp.Body)
				require.NoError(t, err)
			}
			content, err := io.ReadAll(body)
			require.NoError(t, err)
			require.Equal(t, "let a = 1", string(content))
			_ = resp.Body.Close()
		}
	}
	require.Equal(t, "no-cache", get("/favicon.svg").header.Get("Cache-Control"))
	require.Equal(t, 404, get("/assets/old-2.js").status)
	require.Equal(t, 404, get("/api/v1/nothing").status)
	require.Equal(t, "application/problem+json", get("/api/v1/nothing").header.Get("Content-Type"))
	require.Equal(t, 404, r.send(http.DefaultClient, "POST", "/incidents", nil).status)

	empty, err := pageOf(fstest.MapFS{".keep": {}})
	require.NoError(t, err)
	get = serve(empty)
	require.Contains(t, get("/").body, "The page was not built")
	require.Contains(t, get("/openapi.json").body, `"openapi":"3.1.0"`)
}

func TestCompression(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, want := range map[string]string{"/openapi.json": "gzip", "/api/v1/incidents": "gzip"} {
		a := r.send(http.DefaultClient, "GET", path, nil, "Accept-Encoding", "gzip", "Authorization", "Bearer "+r.token)
		require.Equal(t, want, a.header.Get("Content-Encoding"), path)
	}
}

func TestOperationsListener(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.source("am")
	get := func(url string) reply {
		resp, err := http.Get(url)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		return reply{resp.StatusCode, resp.Header, readAll(t, resp)}
	}
	require.Equal(t, 200, get(r.OpsURL()+"/readyz").status)
	metrics := get(r.OpsURL() + "/metrics").body
	require.Contains(t, metrics, `akmatori_http_requests_total{method="POST",route="/api/v1/sources",status="201"} 1`)
	require.Contains(t, metrics, "akmatori_runs_queued")
	agents := "http" + strings.TrimSuffix(strings.TrimPrefix(r.AgentURL(), "ws"), "/agents")
	require.Equal(t, 401, get(agents+"/agents").status)
	for _, path := range []string{"/", "/api/v1/incidents", "/metrics", "/agents/x"} {
		require.Equal(t, 404, get(agents+path).status, path)
	}
}

// What is removed is gone, and what something names is not removed.
func TestInventoryIsRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	ids := map[string]string{}
	for _, step := range []struct {
		path string
		body body
	}{
		{"credentials", body{"name": "key", "kind": "ssh_key", "secret": pemKey, "targets": []string{"db*", "gate"}}},
		{"credentials", body{"name": "llm", "kind": "llm_key", "secret": "sk-x", "targets": []string{"*"}}},
		{"credentials", body{"name": "hook", "kind": "http_bearer", "secret": "x", "targets": []string{"grafana.example"}}},
		{"credentials", body{"name": "spare", "kind": "http_bearer", "secret": "x", "targets": []string{"grafana.example"}}},
		{"targets", body{"name": "gate", "kind": "ssh", "address": "gate", "user": "ops", "credential": "key"}},
		{"targets", body{"name": "db1", "kind": "ssh", "address": "db1", "user": "ops", "credential": "key", "jump": "gate"}},
		{"targets", body{"name": "db2", "kind": "ssh", "address": "db2", "user": "ops"}},
		{"llm-providers", body{"name": "main", "kind": "openai", "model": "m", "credential": "llm"}},
		{"tools/servers", body{"name": "grafana", "kind": "http", "url": "https://grafana.example", "credential": "hook"}},
		{"agents", body{"id": "dba", "targets": []string{"db1", "db*"}, "credentials": []string{"spare"}}},
		{"gateway-tokens", body{"name": "ide", "agent": "dba", "tools": []string{"ssh_hosts"}, "targets": []string{"db2"}, "days": 1}},
	} {
		a := r.call("POST", "/api/v1/"+step.path, step.body)
		require.Equal(t, 201, a.status, "%v: %s", step.body, a.body)
		var made struct{ ID string }
		a.into(t, &made)
		ids[step.path+" "+fmt.Sprint(step.body["name"])] = made.ID
	}
	remove := func(what string) reply {
		path, _, _ := strings.Cut(what, " ")
		return r.call("DELETE", "/api/v1/"+path+"/"+ids[what], nil)
	}
	for what, want := range map[string]string{
		"targets gate":      "it is in use: target db1. ",
		"targets db1":       "it is in use: agent dba. ",
		"targets db2":       "it is in use: gateway token ide. ",
		"credentials key":   "it is in use: target db1, target gate. ",
		"credentials llm":   "it is in use: LLM provider main. ",
		"credentials hook":  "it is in use: tool server grafana. ",
		"credentials spare": "it is in use: agent dba. ",
	} {
		a := remove(what)
		require.Equal(t, 409, a.status, "%s: %s", what, a.body)
		require.Contains(t, a.body, want)
	}
	for _, path := range []string{"targets", "credentials"} {
		for _, id := range []string{ops.NewID(), "x"} {
			require.Equal(t, 404, r.call("DELETE", "/api/v1/"+path+"/"+id, nil).status, "%s %s", path, id)
		}
	}

	require.Equal(t, 200, r.call("PUT", "/api/v1/agents/dba", body{"targets": []string{"db*"}, "credentials": []string{}}).status)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/gateway-tokens/"+ids["gateway-tokens ide"], nil).status)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/tools/servers/"+ids["tools/servers grafana"], nil).status)
	for _, what := range []string{"targets db1", "targets gate", "targets db2", "credentials key", "credentials hook", "credentials spare"} {
		a := remove(what)
		require.Equal(t, 204, a.status, "%s: %s", what, a.body)
		require.Equal(t, 404, remove(what).status, "%s twice", what)
	}
	all, err := r.db.Targets(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	left, err := r.db.Credentials(t.Context())
	require.NoError(t, err)
	require.Len(t, left, 1)
	records, err := r.db.Audit(t.Context(), Chain, 0, 1000)
	require.NoError(t, err)
	seen := map[string]int{}
	for _, rec := range records {
		seen[rec.Action+" "+rec.Outcome]++
	}
	require.Equal(t, 3, seen["target.deleted ok"])
	require.Equal(t, 3, seen["target.deleted failed"])
	require.Equal(t, 3, seen["credential.deleted ok"])
}
