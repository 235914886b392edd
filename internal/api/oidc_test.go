package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
)

const clientSecret = "the-clients-secret-value"

// provider starts one, and tells r of it: ops people respond, sre people approve.
func (r *rig) provider(change func(body map[string]any)) *fake.OIDC {
	r.t.Helper()
	op := fake.NewOIDC("akmatori", ops.NewSecret(clientSecret))
	server := httptest.NewServer(op)
	r.t.Cleanup(server.Close)
	op.Issuer = server.URL
	op.Claims = map[string]any{"sub": "s-1", "preferred_username": "olga", "email": "ann@example.com", "groups": []string{"ops", "everything"}}
	r.setProvider(op, change)
	return op
}

func (r *rig) setProvider(op *fake.OIDC, change func(body map[string]any)) {
	r.t.Helper()
	body := map[string]any{"name": "Example", "issuer": op.Issuer, "client_id": "akmatori", "client_secret": clientSecret, "provision": true, "enabled": true,
		"groups": []map[string]any{{"group": "ops", "roles": []string{"viewer", "responder"}}, {"group": "sre", "roles": []string{"approver"}}}}
	if change != nil {
		change(body)
	}
	a := r.call("PUT", "/api/v1/oidc-provider", body)
	require.Equal(r.t, 200, a.status, a.body)
	require.NotContains(r.t, a.body, clientSecret)
}

// stay is a browser that does not follow redirects.
func stay(t *testing.T) *http.Client {
	t.Helper()
	b := browser(t)
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b
}

// step follows one redirect.
func step(t *testing.T, b *http.Client, to string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
	require.NoError(t, err)
	res, err := b.Do(req)
	require.NoError(t, err)
	_ = res.Body.Close()
	next, err := req.URL.Parse(res.Header.Get("Location"))
	require.NoError(t, err)
	return res, next.String()
}

// callback goes as far as the provider, and gives where it sends the browser to.
func (r *rig) callback(b *http.Client, next string) string {
	r.t.Helper()
	_, to := step(r.t.(*testing.T), b, r.PublicURL()+"/api/v1/auth/oidc/start?next="+url.QueryEscape(next))
	_, back := step(r.t.(*testing.T), b, to)
	return back
}

// come signs in with the provider, and gives where that ends.
func (r *rig) come(b *http.Client) string {
	r.t.Helper()
	_, end := step(r.t.(*testing.T), b, r.callback(b, "/incidents"))
	return strings.TrimPrefix(end, r.PublicURL())
}

func (r *rig) lastDenied() map[string]string {
	r.t.Helper()
	var records struct{ Items []ops.AuditRecord }
	r.call("GET", "/api/v1/audit/chains/api", nil).into(r.t, &records)
	for i := len(records.Items) - 1; i >= 0; i-- {
		if rec := records.Items[i]; rec.Action == "login" && rec.Outcome == "denied" {
			return rec.Detail
		}
	}
	r.t.Fatal("nothing was recorded")
	return nil
}

// TestSigningInWithAProvider: groups give roles at each sign-in, and take them.
func TestSigningInWithAProvider(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	b := stay(t)
	require.JSONEq(t, `{"passwords":"everybody"}`, r.send(b, "GET", "/api/v1/auth/methods", nil).body)
	_, to := step(t, b, r.PublicURL()+"/api/v1/auth/oidc/start")
	require.Equal(t, r.PublicURL()+"/login?problem=off", to)
	op := r.provider(nil)
	require.JSONEq(t, `{"provider":"Example","passwords":"everybody"}`, r.send(b, "GET", "/api/v1/auth/methods", nil).body)

	res, to := step(t, b, r.PublicURL()+"/api/v1/auth/oidc/start?next=/incidents/7")
	require.Equal(t, 303, res.StatusCode)
	require.Contains(t, res.Header.Get("Set-Cookie"), "HttpOnly; SameSite=Lax")
	asked, err := url.Parse(to)
	require.NoError(t, err)
	q := asked.Query()
	require.Equal(t, []string{r.PublicURL() + "/api/v1/auth/oidc/callback", "S256", "openid profile groups"},
		[]string{q.Get("redirect_uri"), q.Get("code_challenge_method"), q.Get("scope")})
	_, back := step(t, b, to)
	res, to = step(t, b, back)
	require.Equal(t, r.PublicURL()+"/incidents/7", to)
	require.Len(t, res.Header.Values("Set-Cookie"), 2)
	require.Contains(t, r.send(b, "GET", "/api/v1/auth/session", nil).body, `"username":"olga","roles":["responder","viewer"]`)
	id := r.accountID("olga")
	seen := r.sessionsSeen(b, "/api/v1/auth/sessions")
	require.Equal(t, "oidc", seen[0].Method)
	require.True(t, seen[0].ProvenAt.IsZero(), "the provider may have asked for nothing")

	// Groups change there; here they count from the next sign-in on.
	op.Set(func(o *fake.OIDC) { o.Claims["groups"] = []string{"sre", "*"} })
	require.Equal(t, "/incidents", r.come(stay(t)))
	require.Contains(t, r.send(b, "GET", "/api/v1/auth/session", nil).body, `"roles":["approver"]`)
	a := r.call("PATCH", "/api/v1/users/"+id, map[string]any{"roles": []string{"admin"}})
	require.Equal(t, 409, a.status)
	require.Contains(t, a.body, "groups at Example")
	require.Equal(t, 409, r.call("POST", "/api/v1/users/"+id+"/invite", nil).status, "they have no password")
	require.Contains(t, r.call("GET", "/api/v1/users", nil).body, `"password":false,"oidc_subject":"s-1","roles_by_groups":true`)
	require.Contains(t, r.call("DELETE", "/api/v1/roles/approver", nil).body, "built in")

	op.Set(func(o *fake.OIDC) { o.Claims["groups"] = []string{} })
	require.Equal(t, "/login?problem=roles", r.come(stay(t)))
	require.Equal(t, 403, r.send(b, "GET", "/api/v1/incidents", nil).status, "the session goes on without powers")
	op.Set(func(o *fake.OIDC) { o.Claims["groups"] = "ops" })
	require.Equal(t, "/incidents", r.come(stay(t)), "one group may come as a text")

	require.Equal(t, 200, r.call("PATCH", "/api/v1/users/"+id, map[string]any{"disabled": true}).status)
	require.Equal(t, 401, r.status(b))
	require.Equal(t, "/login?problem=disabled", r.come(stay(t)), "whoever is disabled here stays that")
	require.Equal(t, "s-1", r.lastDenied()["subject"])

	// The user info has what the ID token lacks; a nested claim is found.
	op.Set(func(o *fake.OIDC) {
		o.Claims = map[string]any{"sub": "s-2"}
		o.UserInfo = map[string]any{"sub": "s-2", "preferred_username": "pia", "realm": map[string]any{"roles": []string{"sre"}}}
	})
	r.setProvider(op, func(body map[string]any) { body["groups_claim"] = "realm.roles" })
	c := stay(t)
	require.Equal(t, "/incidents", r.come(c))
	require.Contains(t, r.send(c, "GET", "/api/v1/auth/session", nil).body, `"username":"pia","roles":["approver"]`)
	op.Set(func(o *fake.OIDC) { o.UserInfo["sub"] = "s-1" })
	require.Equal(t, "/login?problem=denied", r.come(stay(t)), "the user info of somebody else")

	require.NotContains(t, dump(t, r.pg), clientSecret)
	require.NotContains(t, r.log.String(), clientSecret)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/oidc-provider", nil).status)
	require.Contains(t, r.call("GET", "/api/v1/oidc-provider", nil).body, `"name":""`)
	require.Equal(t, 200, r.call("PATCH", "/api/v1/users/"+r.accountID("pia"), map[string]any{"roles": []string{"viewer"}}).status, "nobody else gives roles now")
	require.NotZero(t, r.auditCount(`action = 'user.roles_by_groups' AND outcome = 'ok' AND detail->>'roles_before' = 'responder viewer' AND detail->>'roles' = 'approver'`))
	require.Equal(t, 1, r.auditCount(`action = 'oidc_provider.deleted' AND outcome = 'ok'`))
}

// TestAProviderIsNotBelieved where an attacker would have a hand in it.
func TestAProviderIsNotBelieved(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	op := r.provider(nil)
	unsigned := func(_, claims, _ string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + claims + "."
	}
	for name, tt := range map[string]struct {
		forge func(map[string]any)
		sign  func(header, claims, signature string) string
		want  string
	}{
		"another nonce":      {forge: func(c map[string]any) { c["nonce"] = "x" }, want: "nonce"},
		"no nonce":           {forge: func(c map[string]any) { delete(c, "nonce") }, want: "nonce"},
		"another issuer":     {forge: func(c map[string]any) { c["iss"] = "https://evil.example" }, want: "different provider"},
		"another audience":   {forge: func(c map[string]any) { c["aud"] = "other" }, want: "audience"},
		"another party":      {forge: func(c map[string]any) { c["azp"] = "other" }, want: "another client"},
		"several audiences":  {forge: func(c map[string]any) { c["aud"] = []string{"akmatori", "other"} }, want: "another client"},
		"expired":            {forge: func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }, want: "expired"},
		"not yet":            {forge: func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }, want: "not before"},
		"no subject":         {forge: func(c map[string]any) { delete(c, "sub") }, want: "subject"},
		"long subject":       {forge: func(c map[string]any) { c["sub"] = strings.Repeat("x", 256) }, want: "subject"},
		"another token":      {forge: func(c map[string]any) { c["at_hash"] = "AAAA" }, want: "access token"},
		"groups are no list": {forge: func(c map[string]any) { c["groups"] = map[string]any{"ops": true} }, want: "list of names"},
		"groups are numbers": {forge: func(c map[string]any) { c["groups"] = []any{1} }, want: "list of names"},
		"alg none":           {sign: unsigned, want: "malformed jwt"},
		"no signature":       {sign: func(h, c, _ string) string { return h + "." + c + "." }, want: "signature"},
		"another's claims": {sign: func(h, _, s string) string {
			return h + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"admin"}`)) + "." + s
		}, want: "signature"},
		"HMAC with the public key": {sign: func(_, c, s string) string {
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"k1"}`)) + "." + c + "." + s
		}, want: "malformed jwt"},
	} {
		op.Set(func(o *fake.OIDC) { o.Forge, o.Sign = tt.forge, tt.sign })
		r.logins = newThrottle()
		b := stay(t)
		require.Equal(t, "/login?problem=denied", r.come(b), name)
		require.Equal(t, 401, r.status(b), name)
		require.Contains(t, r.lastDenied()["reason"], tt.want, name)
	}
	op.Set(func(o *fake.OIDC) { o.Forge, o.Sign = nil, nil })
	r.logins = newThrottle()

	// What is bound to a browser fits no other, and no other answer fits it.
	b, evil := stay(t), stay(t)
	mine, theirs := r.callback(b, ""), r.callback(evil, "")
	for name, to := range map[string]string{"another's answer": theirs, "no state": strings.Replace(mine, "state=", "x=", 1), "no code, no state": r.PublicURL() + "/api/v1/auth/oidc/callback"} {
		again := stay(t)
		r.callback(again, "")
		_, end := step(t, again, to)
		require.Equal(t, r.PublicURL()+"/login?problem=expired", end, name)
		require.Equal(t, 401, r.status(again))
	}
	_, end := step(t, b, strings.Replace(mine, "iss=", "iss=https%3A%2F%2Fevil.example&x=", 1))
	require.Equal(t, r.PublicURL()+"/login?problem=denied", end, "an answer that says it is another issuer's")
	u, err := url.Parse(r.PublicURL())
	require.NoError(t, err)
	evilCookies := evil.Jar.Cookies(u)
	_, end = step(t, evil, theirs)
	require.Equal(t, r.PublicURL()+"/", end)
	replayed := stay(t)
	replayed.Jar.SetCookies(u, evilCookies)
	_, end = step(t, replayed, theirs)
	require.Equal(t, r.PublicURL()+"/login?problem=denied", end, "a code counts once")
	require.Contains(t, r.lastDenied()["reason"], "invalid_grant")
	require.NotContains(t, r.log.String(), "code="+url.QueryEscape("x"))
	_, end = step(t, replayed, theirs)
	require.Equal(t, r.PublicURL()+"/login?problem=expired", end, "its cookie went with it")

	for text, ok := range map[string]bool{
		newOIDCBound("/x").String(): true, "": false, "a.b.c": false,
		oidcBound{strings.Repeat("x", 43), time.Now().Add(-signInFor), "/"}.String():       false,
		oidcBound{strings.Repeat("x", 43), time.Now().Add(time.Hour), "/"}.String():        false,
		oidcBound{strings.Repeat("x", 43), time.Now(), strings.Repeat("x", 4000)}.String(): false,
		strings.Replace(newOIDCBound("/x").String(), ".", "..", 1):                         false,
		newOIDCBound("/").secret + "." + "99999999999999999999" + "." + "Lw":               false,
	} {
		_, read := readOIDCBound(text)
		require.Equal(t, ok, read, text)
	}
	for next, want := range map[string]string{"/incidents?q=a%20b#x": "/incidents?q=a%20b#x", "": "/", "//evil": "/", "/\\evil": "/", "https://evil": "/", "/a\nb": "/",
		"javascript:alert(1)": "/", "/api/v1/auth/oidc/start": "/", "/\tevil": "/", "/%zz": "/", "/ü": "/"} {
		require.Equal(t, want, localPath(next), next)
	}
}

// TestNobodyIsTakenForAnother: a name or an address is no identity. An admin
// links one explicitly, and a second factor is asked for as well.
//
// threats: E5
func TestNobodyIsTakenForAnother(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	op := r.provider(nil)
	bob := r.guest("bob", "viewer")
	op.Set(func(o *fake.OIDC) { o.Claims["preferred_username"], o.Claims["email"] = "bob", "bob@example.com" })
	require.Equal(t, "/login?problem=taken", r.come(stay(t)))
	require.Equal(t, "bob", r.lastDenied()["username"])
	for _, name := range []any{"", "no spaces", strings.Repeat("x", 65), "ann\x00", 7, nil} {
		op.Set(func(o *fake.OIDC) { o.Claims["preferred_username"] = name })
		require.Equal(t, "/login?problem=name", r.come(stay(t)), name)
	}
	op.Set(func(o *fake.OIDC) { o.Claims["preferred_username"] = "new" })
	r.setProvider(op, func(body map[string]any) { body["provision"] = false; delete(body, "client_secret") })
	require.Equal(t, "/login?problem=account", r.come(stay(t)))

	id := r.accountID("bob")
	require.Equal(t, 403, r.send(bob, "PUT", "/api/v1/users/"+id+"/oidc", map[string]string{"subject": "s-1"}).status)
	require.Equal(t, 204, r.call("PUT", "/api/v1/users/"+id+"/oidc", map[string]string{"subject": "s-1"}).status)
	require.Equal(t, 409, r.call("PUT", "/api/v1/users/"+r.accountID("ann")+"/oidc", map[string]string{"subject": "s-1"}).status, "one identity, one user")
	b := stay(t)
	require.Equal(t, "/incidents", r.come(b))
	require.Contains(t, r.send(b, "GET", "/api/v1/auth/session", nil).body, `"username":"bob","roles":["responder","viewer"]`)
	require.Equal(t, 200, r.status(r.signIn("bob", password)), "the password still counts")

	phone, _ := r.enrol(r.signIn("bob", password))
	half := stay(t)
	require.Equal(t, "/login?code=due&next=%2Fincidents", r.come(half))
	require.Equal(t, 401, r.status(half))
	require.Equal(t, 200, r.send(half, "POST", "/api/v1/auth/second", map[string]string{"code": phone.code()}).status)
	require.Equal(t, 200, r.status(half))
	require.Equal(t, "oidc", r.sessionsSeen(half, "/api/v1/auth/sessions")[0].Method)

	require.Equal(t, 204, r.call("DELETE", "/api/v1/users/"+id+"/oidc", nil).status)
	require.Equal(t, 401, r.status(half), "the session was the provider's")
	require.Equal(t, "/login?problem=account", r.come(stay(t)))
	require.Equal(t, []int{1, 1}, []int{r.auditCount(`action = 'user.linked' AND outcome = 'ok'`), r.auditCount(`action = 'user.unlinked' AND outcome = 'ok'`)})

	// The last admin does not lose their roles to their groups.
	require.Equal(t, 204, r.call("PUT", "/api/v1/users/"+r.accountID("ann")+"/oidc", map[string]string{"subject": "s-1"}).status)
	require.Equal(t, "/login?problem=denied", r.come(stay(t)))
	require.Contains(t, r.lastDenied()["reason"], "nobody would be left")
	require.Equal(t, 200, r.call("GET", "/api/v1/users", nil).status)
}

// TestPasswordsForAdminsAlone, who must get in when the provider is away.
func TestPasswordsForAdminsAlone(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	r.guest("bob", "viewer")
	op := r.provider(func(body map[string]any) { body["passwords"] = "admins" })
	login := func(name, pass string) reply {
		return r.send(browser(t), "POST", "/api/v1/auth/login", map[string]string{"username": name, "password": pass})
	}
	a := login("bob", password)
	require.Equal(t, 403, a.status)
	require.Contains(t, a.body, "sign in with Example")
	// Nor does a link to set one let them in; it is as good as before when they may have one.
	var in invited
	r.call("POST", "/api/v1/users", map[string]any{"username": "eve", "roles": []string{"approver"}}).into(t, &in)
	_, link, _ := strings.Cut(in.Link, "#token=")
	c := browser(t)
	accept := func() reply {
		return r.send(c, "POST", "/api/v1/auth/accept", map[string]string{"token": link, "password": password})
	}
	a = accept()
	require.Equal(t, 403, a.status, a.body)
	require.Contains(t, a.body, "sign in with Example")
	require.Equal(t, 401, r.status(c))
	r.setProvider(op, nil)
	require.Equal(t, 200, accept().status)
	r.setProvider(op, func(body map[string]any) { body["passwords"] = "admins" })
	require.Equal(t, 401, login("bob", "wrong password").status, "who does not know it learns nothing")
	require.Equal(t, 200, login("ann", password).status)
	for name, change := range map[string]func(*fake.OIDC){"down": func(o *fake.OIDC) { o.Down = true }, "endless": func(o *fake.OIDC) { o.Down, o.Long = false, true },
		"another's": func(o *fake.OIDC) { o.Long, o.Issuer = false, "https://evil.example" }} {
		op.Set(func(o *fake.OIDC) { o.Down, o.Long = false, false })
		op.Set(change)
		r.API.oidc = newOIDCClient() // which remembers for a while
		_, to := step(t, stay(t), r.PublicURL()+"/api/v1/auth/oidc/start")
		require.Equal(t, r.PublicURL()+"/login?problem=down", to, name)
		require.Equal(t, 200, login("ann", password).status, name)
	}
	a = r.call("POST", "/api/v1/oidc-provider/check", map[string]string{"issuer": "http://169.254.169.254"})
	require.Equal(t, 422, a.status)
	require.Contains(t, a.body, "https")
	a = r.call("POST", "/api/v1/oidc-provider/check", map[string]string{"issuer": "https://169.254.169.254"})
	require.Equal(t, 422, a.status)
	require.Contains(t, a.body, "not allowed")
}

// TestTheProviderIsChecked before it is stored, and its secret goes nowhere else.
func TestTheProviderIsChecked(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	op := r.provider(nil)
	put := func(change func(map[string]any)) reply {
		body := map[string]any{"name": "Example", "issuer": op.Issuer, "client_id": "akmatori", "provision": true, "enabled": true, "groups": []any{}}
		change(body)
		return r.call("PUT", "/api/v1/oidc-provider", body)
	}
	group := func(name string, roles ...string) map[string]any {
		return map[string]any{"group": name, "roles": append([]string{}, roles...)}
	}
	for want, change := range map[string]func(map[string]any){
		"needs https":             func(b map[string]any) { b["issuer"] = "http://login.example.com" },
		"provider's URL":          func(b map[string]any) { b["issuer"] = "https://u:p@login.example.com" },
		"without query":           func(b map[string]any) { b["issuer"] = "https://login.example.com?x" },
		"there is no role":        func(b map[string]any) { b["groups"] = []any{group("a", "made-up")} },
		"there twice":             func(b map[string]any) { b["groups"] = []any{group("a", "viewer"), group("a", "admin")} },
		"needs a role":            func(b map[string]any) { b["groups"] = []any{group("a")} },
		"can be seen":             func(b map[string]any) { b["name"] = "a\nb" },
		"give the client secret":  func(b map[string]any) { b["issuer"] = "https://evil.example" },
		"the client secret again": func(b map[string]any) { b["client_id"] = "other" },
		"scopes are":              func(b map[string]any) { b["scopes"] = []string{"a b"} },
	} {
		a := put(change)
		require.Equal(t, 422, a.status, want)
		require.Contains(t, a.body, want)
	}
	require.Equal(t, 200, put(func(map[string]any) {}).status, "the secret stays")
	a := r.call("POST", "/api/v1/oidc-provider/check", map[string]string{"issuer": op.Issuer})
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, `"redirect_url":"`+r.PublicURL()+`/api/v1/auth/oidc/callback"`)
	require.Contains(t, a.body, `"misses":[]`)

	// Who can write rows cannot have the secret sent elsewhere.
	r.exec(`UPDATE oidc_provider SET client_id = 'other'`)
	op.Set(func(o *fake.OIDC) { o.ClientID = "other" })
	require.Equal(t, r.PublicURL()+"/login?problem=down", func() string { _, to := step(t, stay(t), r.PublicURL()+"/api/v1/auth/oidc/start"); return to }())
	require.Equal(t, 200, put(func(b map[string]any) { b["client_id"], b["remove_secret"] = "akmatori", true }).status)
	require.Contains(t, r.call("GET", "/api/v1/oidc-provider", nil).body, `"has_secret":false`)
	var shown shownOIDC
	require.NoError(t, json.Unmarshal([]byte(r.call("GET", "/api/v1/oidc-provider", nil).body), &shown))
	require.Equal(t, []string{"profile", "groups"}, shown.Scopes)
}
