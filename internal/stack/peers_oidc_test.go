//go:build peers

package stack_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPeerOIDC signs in with a real OpenID Connect provider, through its own
// page: its groups give roles, change them, and take them, and do not bring back
// who is disabled here.
func TestPeerOIDC(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(peerDir(t), "oidc")
	c := prepare(t, idle)
	c.procs["api"].start()
	c.admitted()
	facts := peer(t, []string{"OIDC_REDIRECT_URL=" + c.url + "/api/v1/auth/oidc/callback"}, "oidc.sh", "start", dir)
	t.Cleanup(func() { peer(t, nil, "oidc.sh", "stop", dir) })

	issuer := facts["OIDC_ISSUER"]
	admin := func(method, path string, body any) (int, string) {
		t.Helper()
		data, err := json.Marshal(body)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(data))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+c.admin.Token.Reveal())
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	status, text := admin(http.MethodPost, "/api/v1/oidc-provider/check", map[string]string{"issuer": issuer})
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"misses":[]`)
	status, text = admin(http.MethodPut, "/api/v1/oidc-provider", map[string]any{"name": "Peer", "issuer": issuer, "client_id": facts["OIDC_CLIENT_ID"],
		"client_secret": facts["OIDC_CLIENT_SECRET"], "scopes": []string{"profile"}, "provision": true, "enabled": true,
		"groups": []any{map[string]any{"group": "ops", "roles": []string{"responder"}}, map[string]any{"group": "sre", "roles": []string{"approver", "viewer"}}}})
	require.Equal(t, 200, status, text)

	whoIs := func(browser *http.Client) string {
		t.Helper()
		return visit(t, browser, http.MethodGet, c.url+"/api/v1/auth/session", nil).text
	}
	// come signs in as a browser does, and says where that ends.
	come := func(user, password string) (browser *http.Client, end string) {
		t.Helper()
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		browser = &http.Client{Jar: jar}
		form := visit(t, browser, http.MethodGet, c.url+"/api/v1/auth/oidc/start?next=/approvals", nil)
		require.Equal(t, http.StatusOK, form.status)
		require.True(t, strings.HasPrefix(form.at.String(), issuer+"/login/username?"), form.at)
		filled := url.Values{"id": {form.at.Query().Get("authRequestID")}, "username": {user}, "password": {password}}
		return browser, visit(t, browser, http.MethodPost, issuer+"/login/username", filled).at.String()
	}
	const nobody = `"status":401`
	password := facts["OIDC_PASSWORD"]
	olga, end := come("olga", password)
	require.Equal(t, c.url+"/approvals", end)
	require.Contains(t, whoIs(olga), `"username":"olga","roles":["responder"]`)
	b, end := come("olga", "wrong")
	require.True(t, strings.HasPrefix(end, issuer), "the provider keeps who does not know the password: %s", end)
	require.Contains(t, whoIs(b), nobody)
	_, end = come("pavel", password)
	require.Equal(t, c.url+"/login?problem=roles", end, "who is in no group has no role")

	peer(t, nil, "oidc.sh", "groups", dir, "olga", "sre", "others")
	olga, _ = come("olga", password)
	require.Contains(t, whoIs(olga), `"username":"olga","roles":["approver","viewer"]`)
	peer(t, nil, "oidc.sh", "groups", dir, "olga")
	b, end = come("olga", password)
	require.Equal(t, c.url+"/login?problem=roles", end)
	require.Contains(t, whoIs(b), nobody)
	_, text = admin(http.MethodGet, "/api/v1/users", nil)
	require.Contains(t, text, `"username":"olga","roles":[]`)
	require.NotContains(t, text, "pavel")

	// Who is disabled stays so, whatever the provider says of them.
	peer(t, nil, "oidc.sh", "groups", dir, "olga", "ops")
	olga, _ = come("olga", password)
	require.Contains(t, whoIs(olga), `"roles":["responder"]`)
	_, text = admin(http.MethodGet, "/api/v1/users", nil)
	found := regexp.MustCompile(`"id":"([^"]+)","username":"olga"`).FindStringSubmatch(text)
	require.Len(t, found, 2, text)
	account := "/api/v1/users/" + found[1]
	status, text = admin(http.MethodPatch, account, map[string]bool{"disabled": true})
	require.Equal(t, 200, status, text)
	require.Contains(t, whoIs(olga), nobody)
	peer(t, nil, "oidc.sh", "groups", dir, "olga", "ops", "sre")
	b, end = come("olga", password)
	require.Equal(t, c.url+"/login?problem=disabled", end)
	require.Contains(t, whoIs(b), nobody)
	_, text = admin(http.MethodGet, "/api/v1/users", nil)
	require.Regexp(t, `"username":"olga",[^{}]*"disabled_at":`, text)
	status, text = admin(http.MethodPatch, account, map[string]bool{"disabled": false})
	require.Equal(t, 200, status, text)
	olga, end = come("olga", password)
	require.Equal(t, c.url+"/approvals", end)
	require.Contains(t, whoIs(olga), `"roles":["approver","responder","viewer"]`)
}

// visited is what a browser has got to.
type visited struct {
	status int
	at     *url.URL
	text   string
}

// visit loads a page, or sends a form, and follows where that leads.
func visit(t *testing.T, browser *http.Client, method, address string, form url.Values) visited {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return visited{resp.StatusCode, resp.Request.URL, string(text)}
}
