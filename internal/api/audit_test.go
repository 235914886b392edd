package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// recorded searches the audit.
func (r *rig) recorded(query url.Values) (p auditPage) {
	r.t.Helper()
	a := r.call("GET", "/api/v1/audit?"+query.Encode(), nil)
	require.Equal(r.t, 200, a.status, a.body)
	a.into(r.t, &p)
	return p
}

func TestAuditIsSearched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gateway, err := postgres.Open(t.Context(), postgres.Config{URL: r.pg.Gateway, AuditKey: ops.NewAuditKey("gateway")})
	require.NoError(t, err)
	t.Cleanup(gateway.Close)
	r.call("POST", "/api/v1/incidents", map[string]string{"title": "disk full"})
	r.call("POST", "/api/v1/incidents/1/acknowledge", nil)
	r.call("POST", "/api/v1/incidents", map[string]string{"title": "other"})
	in, err := r.db.Incident(t.Context(), r.incidentsNow()[1].ID)
	require.NoError(t, err)
	runs, err := r.db.Runs(t.Context(), in.ID)
	require.NoError(t, err)
	for i, outcome := range []string{"intent", "ok", "denied"} {
		require.NoError(t, gateway.AppendAudit(t.Context(), ops.AuditRecord{Chain: "gateway", At: time.Now(), Actor: "run:" + runs[0].ID, Action: "tool." + outcome,
			Object: fmt.Sprint("call:", i), RunID: runs[0].ID, Outcome: outcome, Detail: map[string]string{"rule": "allow:*"}}))
	}
	actions := func(query ...string) (out []string) {
		t.Helper()
		v := url.Values{}
		for i := 0; i < len(query); i += 2 {
			v.Set(query[i], query[i+1])
		}
		for _, rec := range r.recorded(v).Items {
			out = append(out, rec.Action+" "+rec.Outcome)
		}
		return out
	}
	own := []string{"incident.acknowledge ok", "incident.acknowledge intent", "incident.created ok", "incident.created intent"}
	tools := []string{"tool.denied denied", "tool.ok ok", "tool.intent intent"}
	require.Equal(t, tools, actions("chain", "gateway"))
	require.Equal(t, tools, actions("action", "tool."))
	require.Equal(t, tools, actions("run", runs[0].ID))
	require.Equal(t, tools, actions("actor", "run:"+runs[0].ID))
	require.Equal(t, tools[:1], actions("run", runs[0].ID, "outcome", "denied"))
	require.Equal(t, tools[1:2], actions("object", "call:1"))
	require.Equal(t, append(tools, own...), actions("incident", "1"))
	require.Equal(t, own, actions("incident", "1", "actor", "user:ann"))
	require.Empty(t, actions("from", time.Now().Add(time.Hour).Format(time.RFC3339)))
	require.Empty(t, actions("to", time.Now().Add(-time.Hour).Format(time.RFC3339)))

	all := r.recorded(url.Values{})
	require.Empty(t, all.NextCursor)
	var paged []ops.AuditRecord
	for cursor := ""; ; {
		p := r.recorded(url.Values{"limit": {"2"}, "cursor": {cursor}})
		paged = append(paged, p.Items...)
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, all.Items, paged)
	require.Equal(t, "allow:*", all.Items[0].Detail["rule"])

	for _, query := range []string{"cursor=x", "cursor=MSBhcGkgeA", "limit=0", "chain=other", "outcome=fine", "from=yesterday", "incident=99"} {
		require.GreaterOrEqual(t, r.call("GET", "/api/v1/audit?"+query, nil).status, 404, query)
	}
	responder := r.guest("bob", "responder")
	for _, path := range []string{"/audit", "/audit/chains", "/audit/chains/api", "/audit/export"} {
		require.Equal(t, 403, r.send(responder, "GET", "/api/v1"+path, nil).status, path)
	}
}

// TestAnExportVerifiesByItself: from its lines alone, until one of them is changed.
func TestAnExportVerifiesByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 2 {
		require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": fmt.Sprint("a\nb\u2028", i)}).status)
	}
	a := r.call("GET", "/api/v1/audit/export", nil)
	require.Equal(t, 200, a.status)
	require.Equal(t, "application/jsonl", a.header.Get("Content-Type"))
	header, records, end := readExport(t, a.body)
	require.True(t, header.Complete)
	require.Equal(t, ops.AuditChains, header.Chains)
	require.Equal(t, int64(len(records)), end.Records)
	require.True(t, end.End)
	keys, err := ops.ParseAuditKeys(strings.Join(header.Keys, "\n"))
	require.NoError(t, err)
	require.Len(t, records, 6, "two incidents, and this export")
	v := ops.NewAuditVerifier("api", keys, nil)
	require.NoError(t, v.Next(records...))
	require.NoError(t, v.End())
	require.Equal(t, "audit.exported", records[len(records)-1].Action)
	require.True(t, strings.HasPrefix(strings.Split(a.body, "\n")[1], `{"chain":"api","seq":1,"at":"`), "the order of the fields is fixed")

	header, records, end = readExport(t, r.call("GET", "/api/v1/audit/export?action=incident.&outcome=ok", nil).body)
	require.False(t, header.Complete)
	require.Len(t, records, 2)
	require.Equal(t, int64(2), end.Records)
	require.Equal(t, 422, r.call("GET", "/api/v1/audit/export?chain=x", nil).status)
}

func readExport(t *testing.T, body string) (header ops.AuditExport, records []ops.AuditRecord, end ops.AuditExportEnd) {
	t.Helper()
	lines := bytes.Split([]byte(strings.TrimSuffix(body, "\n")), []byte("\n"))
	require.GreaterOrEqual(t, len(lines), 2)
	require.NoError(t, json.Unmarshal(lines[0], &header))
	for _, line := range lines[1 : len(lines)-1] {
		var rec ops.AuditRecord
		require.NoError(t, json.Unmarshal(line, &rec))
		records = append(records, rec)
	}
	require.NoError(t, json.Unmarshal(lines[len(lines)-1], &end))
	return header, records, end
}

// TestFewExportsAtOnce: the rest is told to come back.
func TestFewExportsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range maxExports {
		r.exports <- struct{}{}
	}
	a := r.call("GET", "/api/v1/audit/export", nil)
	require.Equal(t, 503, a.status)
	require.Equal(t, "10", a.header.Get("Retry-After"))
	<-r.exports
	require.Equal(t, 200, r.call("GET", "/api/v1/audit/export", nil).status)
	require.Equal(t, 200, r.call("GET", "/api/v1/audit/export", nil).status, "the place was given back")
}

// TestTheAPISaysWhenTheAuditIsBroken, and which record is the first.
func TestTheAPISaysWhenTheAuditIsBroken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	}
	state := func(r *rig, want string) (c auditChain) {
		t.Helper()
		require.Eventually(t, func() bool {
			var all struct{ Items []auditChain }
			r.call("GET", "/api/v1/audit/chains", nil).into(t, &all)
			c = all.Items[0]
			return c.State == want
		}, time.Minute, 20*time.Millisecond)
		return c
	}
	same := func(c *Config) {
		c.AuditKey, c.AuditPublicKeys = r.conf.AuditKey, r.conf.AuditPublicKeys
	}
	second := start(t, r.pg, same)
	second.token = r.token
	c := state(second, "unbroken")
	require.Equal(t, []int64{6, 6, 0}, []int64{c.Records, c.Verified, c.Unsigned})
	require.Len(t, c.Keys, 1)
	require.Len(t, c.Hash, 32)
	second.stop()

	r.exec(`UPDATE audit SET outcome = 'failed' WHERE seq = 4`)
	second = start(t, r.pg, same)
	second.token = r.token
	c = state(second, "broken")
	require.Equal(t, int64(4), c.BadSeq)
	require.Contains(t, c.Reason, "does not match its hash")
	require.Contains(t, second.log.String(), "the audit is broken")
}

// TestNothingChangesThatIsNotRecorded: the audit cannot be written.
//
// threats: N4
func TestNothingChangesThatIsNotRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	things := func() (out []int) {
		for _, table := range []string{"incidents", "targets", "sources", "users", "invitations", "api_tokens", "runs", "audit"} {
			out = append(out, count(t, r.pg, `SELECT count(*) FROM `+table))
		}
		return out
	}
	before := things()
	r.exec(`REVOKE INSERT ON audit FROM akmatori_api`)
	for _, act := range [][3]string{
		{"POST", "/api/v1/incidents", `{"title":"x"}`}, {"POST", "/api/v1/targets", `{"name":"t","kind":"ssh","address":"127.0.0.1","user":"u","host_key":"ssh-ed25519 AAAA"}`},
		{"DELETE", "/api/v1/sources/" + src.ID, ""}, {"POST", "/api/v1/users", `{"username":"eve","roles":["admin"]}`}, {"POST", "/api/v1/tokens", `{"name":"t"}`},
	} {
		a := r.call(act[0], act[1], act[2])
		require.GreaterOrEqual(t, a.status, 400, act[1])
	}
	require.Equal(t, 200, r.call("GET", "/api/v1/incidents", nil).status, "what changes nothing goes on")
	r.exec(`GRANT INSERT ON audit TO akmatori_api`)
	require.Equal(t, before, things())
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
}

func TestNewWantsTheKeysOfTheAudit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no key":              {func(c *Config) { c.AuditKey = ops.Secret{} }, "no key to sign the audit of the api"},
		"another's key":       {func(c *Config) { c.AuditKey = ops.NewAuditKey("proxy").Text() }, "no key of chain api"},
		"no public keys":      {func(c *Config) { c.AuditPublicKeys = ops.Secret{} }, "none of the chain api"},
		"not the public ones": {func(c *Config) { c.AuditKey = ops.NewAuditKey("api").Text() }, "is not among the public ones"},
	} {
		conf := r.conf
		tt.change(&conf)
		_, err := New(context.WithoutCancel(t.Context()), conf)
		require.ErrorContains(t, err, tt.want, name)
	}
}
