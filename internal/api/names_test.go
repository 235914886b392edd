package api

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// What a target or a credential may be called, and which globs a credential may
// be for. None of these names could be another one to somebody who reads it.
func TestThreatsNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, one := range []struct{ id, name string }{
		{"J5 a second command", "a;id"}, {"J5 a substitution", "a$(id)"}, {"J5 a pipe", "a|id"}, {"J5 a line", "a\nid"}, {"J5 an option", "-rf"},
		{"J6 up", "../x"}, {"J6 encoded", "a%2f..%2fb"}, {"J6 a dot", "."}, {"J6 two", ".."}, {"J6 empty", ""}, {"J6 long", strings.Repeat("x", 4096)}, {"J6 letters of another script", "ключ"},
		{"J6 invisible", "a\u200b"}, {"J6 a zero", "a\x00"}, {"J7 a folder", "prod/x"}, {"J7 out of one", "prod/../stage/x"},
	} {
		for path, body := range map[string]map[string]any{
			"targets":     {"name": one.name, "kind": "ssh", "address": "db1", "user": "ops"},
			"credentials": {"name": one.name, "kind": "ssh_password", "secret": "x", "targets": []string{"*"}},
		} {
			require.Equal(t, 422, r.call("POST", "/api/v1/"+path, body).status, "%s %s", path, one.id)
			if one.name != "" && one.name != "." && one.name != ".." {
				a := r.call("DELETE", "/api/v1/"+path+"/"+url.PathEscape(one.name), nil)
				require.Contains(t, []int{400, 404, 405, 422}, a.status, "%s %s", path, one.id)
			}
		}
		a := r.call("POST", "/api/v1/credentials", map[string]any{"name": "k", "kind": "ssh_password", "secret": "x", "targets": []string{one.name}})
		if one.id != "J5 an option" && one.id != "J6 a dot" && one.id != "J6 two" { // these match no target
			require.Equal(t, 422, a.status, one.id)
		}
	}
	all, err := r.db.Targets(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}

// Secrets go in and never come out, are not replaced by who makes another one of
// their name, and tokens are made and ended by people who may.
func TestThreatsSecretsStayInside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	const canary = "canary-of-a-secret-that-stays"
	var c ops.Credential
	r.call("POST", "/api/v1/credentials", map[string]any{"name": "k", "kind": "ssh_password", "secret": canary, "targets": []string{"*"}}).into(t, &c)
	before, err := r.db.CredentialByName(t.Context(), "k")
	require.NoError(t, err)
	t.Run("J8", func(t *testing.T) {
		for _, path := range []string{"", "/secret", "/reveal", "/export", "?reveal=true", "/rotate", "/versions/1"} {
			a := r.call("GET", "/api/v1/credentials/"+c.ID+path, nil)
			require.Contains(t, []int{404, 405}, a.status, path)
		}
		a := r.call("GET", "/api/v1/credentials", nil)
		require.Equal(t, 200, a.status)
		for _, path := range []string{"/api/v1/credentials", "/api/v1/targets", "/api/v1/audit", "/api/v1/system"} {
			body := r.call("GET", path, nil).body
			require.NotContains(t, body, canary)
			require.NotContains(t, body, "sealed")
		}
		require.NotContains(t, r.log.String(), canary)
	})
	t.Run("J9", func(t *testing.T) {
		a := r.call("POST", "/api/v1/credentials", map[string]any{"name": "k", "kind": "ssh_password", "secret": "mine", "targets": []string{"*"}})
		require.Equal(t, 409, a.status, a.body)
		after, err := r.db.CredentialByName(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
	// Neither a run, nor an agent's client, nor a worker, nor nobody.
	gateway, proxy := ops.NewToken(ops.GatewayTokenPrefix), ops.NewToken(ops.ProxyTokenPrefix)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]any{"title": "x"}).status)
	claimed, err := r.db.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: time.Minute, Timeout: time.Hour, GatewayTokenHash: ops.HashToken(gateway), ProxyTokenHash: ops.HashToken(proxy)})
	require.NoError(t, err)
	require.NotNil(t, claimed)
	var issued struct {
		ID    string
		Token ops.Secret
	}
	r.call("POST", "/api/v1/gateway-tokens", map[string]any{"name": "ide", "agent": "investigator"}).into(t, &issued)
	for _, one := range []struct{ id, token string }{
		{"J1 nobody", ""}, {"J1 a run", gateway.Reveal()}, {"J1 a run at its proxy", proxy.Reveal()}, {"J1 a client of the gateway", issued.Token.Reveal()},
		{"J1 somebody like a worker", ops.NewToken(ops.WorkerTokenPrefix).Reveal()},
	} {
		for _, act := range []struct {
			method, path string
			body         any
		}{
			{"POST", "/api/v1/gateway-tokens", map[string]any{"name": "mine", "agent": "investigator"}},
			{"DELETE", "/api/v1/gateway-tokens/" + issued.ID, nil},
			{"POST", "/api/v1/tokens", map[string]any{"name": "mine"}},
			{"POST", "/api/v1/credentials", map[string]any{"name": "k2", "kind": "ssh_password", "secret": "x", "targets": []string{"*"}}},
			{"DELETE", "/api/v1/credentials/" + c.ID, nil},
			{"POST", "/api/v1/credentials/" + c.ID + "/rotate", map[string]any{"secret": "x"}},
		} {
			a := r.send(http.DefaultClient, act.method, act.path, act.body, "Authorization", "Bearer "+one.token)
			require.Equal(t, 401, a.status, "%s: %s %s", one.id, act.method, act.path)
		}
	}
}

// Several people who write to an incident at the same moment start one run, not
// one each: what the others say is said to that one, or waits until it has made way.
func TestThreatsFirstMessagesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	i := r.found("Disk is full", "logs")
	var all sync.WaitGroup
	answers := make([]reply, 8)
	for n := range answers {
		all.Go(func() {
			if a, err := r.try(http.DefaultClient, "POST", "/api/v1/incidents/"+i.ID+"/message", map[string]any{"text": "why?"}, "Authorization", "Bearer "+r.token); err == nil {
				answers[n] = a
			}
		})
	}
	all.Wait()
	t.Run("E9", func(t *testing.T) {
		for _, a := range answers {
			require.Equal(t, 202, a.status, a.body)
		}
		var runs struct{ Items []ops.Run }
		r.call("GET", "/api/v1/incidents/"+i.ID+"/runs", nil).into(t, &runs)
		require.Len(t, runs.Items, 2, "the one that had ended, and one")
		require.Equal(t, 8, strings.Count(r.timeline(int(i.Number)), "why?"), "and nothing that was said is lost")
	})
}
