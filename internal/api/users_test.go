package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// guest invites a user with roles, who sets a password.
func (r *rig) guest(name string, roles ...string) *http.Client {
	r.t.Helper()
	a := r.call("POST", "/api/v1/users", map[string]any{"username": name, "roles": append([]string{}, roles...)})
	require.Equal(r.t, 201, a.status, a.body)
	var in invited
	a.into(r.t, &in)
	_, token, ok := strings.Cut(in.Link, "/accept#token=")
	require.True(r.t, ok, in.Link)
	c := browser(r.t)
	a = r.send(c, "POST", "/api/v1/auth/accept", map[string]string{"token": token, "password": password})
	require.Equal(r.t, 200, a.status, a.body)
	require.Equal(r.t, 401, r.send(browser(r.t), "POST", "/api/v1/auth/accept", map[string]string{"token": token, "password": password}).status, "it works once")
	return c
}

func (r *rig) accountID(name string) string {
	r.t.Helper()
	var all struct{ Items []account }
	r.call("GET", "/api/v1/users", nil).into(r.t, &all)
	i := slices.IndexFunc(all.Items, func(a account) bool { return a.Username == name })
	require.GreaterOrEqual(r.t, i, 0, name)
	return all.Items[i].ID
}

var parameter = regexp.MustCompile(`\{[a-z_]+\}`)

// Every operation is tried by somebody of each built-in role, and by somebody
// without any: what the table of access does not give is 403, and nothing else is.
func TestRolesReachWhatTheyMay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	clients := map[string]*http.Client{"": r.guest("nobody")}
	powers := map[string]ops.Powers{"": {}}
	var roles struct{ Items []ops.Role }
	r.call("GET", "/api/v1/roles", nil).into(t, &roles)
	require.Len(t, roles.Items, 5)
	for _, role := range roles.Items {
		if role.ID != "admin" { // its calls would end the others'
			clients[role.ID] = r.guest(role.ID+"-user", role.ID)
			powers[role.ID] = ops.Powers{Actions: role.Actions}
		} else {
			require.ElementsMatch(t, ops.Permissions, role.Actions, "an admin may do everything")
		}
	}
	doc := r.operations(chi.NewRouter()).OpenAPI()
	tried := 0
	for path, item := range doc.Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op == nil || len(op.Security) == 0 || strings.HasSuffix(path, "/stream") || op.OperationID == "logout" {
				continue
			}
			url := parameter.ReplaceAllString(path, ops.NewID())
			needed := neededFor(operation{id: op.OperationID, method: method, path: strings.TrimPrefix(path, "/api/v1")})
			for role, c := range clients {
				tried++
				a := r.send(c, method, url, map[string]any{}, "Origin", r.PublicURL())
				if needed == own || powers[role].May(needed) {
					require.NotEqual(t, 401, a.status, "%s %s as %q: %s", method, path, role, a.body)
					require.NotContains(t, a.body, "your roles do not allow this", "%s %s as %q", method, path, role)
				} else {
					require.Equal(t, 403, a.status, "%s %s as %q: %s", method, path, role, a.body)
				}
			}
		}
	}
	require.Greater(t, tried, 100)
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bob := r.guest("bob", "responder")
	id := r.accountID("bob")
	var s sessionBody
	r.send(bob, "GET", "/api/v1/auth/session", nil).into(t, &s)
	require.Equal(t, []string{"responder"}, s.User.Roles)
	require.ElementsMatch(t, []ops.Permission{ops.CanRead, ops.CanRespond}, s.User.Actions)
	act := func(method, path string, body any) reply {
		return r.send(bob, method, path, body, "Origin", r.PublicURL())
	}

	a := act("POST", "/api/v1/incidents", map[string]string{"title": "bob's"})
	require.Equal(t, 201, a.status, a.body)
	var started ops.Incident
	a.into(t, &started)
	require.Equal(t, ops.RunQueued, started.Investigation)

	// A token does less than its user, never more, and not for ever.
	var token createdToken
	require.Equal(t, 403, act("POST", "/api/v1/tokens", map[string]any{"name": "x", "actions": []string{"accounts.manage"}}).status)
	require.Equal(t, 422, act("POST", "/api/v1/tokens", map[string]any{"name": "x", "expires_at": time.Now().Add(-time.Hour)}).status)
	act("POST", "/api/v1/tokens", map[string]any{"name": "ro", "actions": []string{"read"}, "expires_at": time.Now().Add(time.Hour)}).into(t, &token)
	with := func(method, path string, body any) reply {
		return r.send(http.DefaultClient, method, path, body, "Authorization", "Bearer "+token.Token)
	}
	require.Equal(t, 200, with("GET", "/api/v1/incidents", nil).status)
	require.Equal(t, 403, with("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	var more createdToken
	with("POST", "/api/v1/tokens", map[string]any{"name": "child"}).into(t, &more)
	require.Equal(t, 403, r.send(http.DefaultClient, "POST", "/api/v1/incidents", map[string]string{"title": "x"}, "Authorization", "Bearer "+more.Token).status)
	require.Equal(t, 403, with("POST", "/api/v1/tokens", map[string]any{"name": "longer", "expires_at": time.Now().Add(2 * time.Hour)}).status)

	// It ends no sessions, and revokes no token but itself, that it has made too.
	for _, path := range []string{"/auth/sessions", "/auth/sessions/" + ops.NewID(), "/tokens/" + more.ID, "/tokens/" + ops.NewID(), "/tokens/x"} {
		require.Equal(t, 403, with("DELETE", "/api/v1"+path, nil).status, path)
	}
	require.Equal(t, 200, r.status(bob))
	var tokens struct{ Items []postgres.APIToken }
	act("GET", "/api/v1/tokens", nil).into(t, &tokens)
	require.Equal(t, []string{"child", "ro"}, []string{tokens.Items[0].Name, tokens.Items[1].Name})
	require.Equal(t, tokens.Items[1].ExpiresAt, tokens.Items[0].ExpiresAt, "it ends with what has made it")
	child := []string{"Authorization", "Bearer " + more.Token}
	require.Equal(t, 204, r.send(http.DefaultClient, "DELETE", "/api/v1/tokens/"+more.ID, nil, child...).status)
	require.Equal(t, 401, r.send(http.DefaultClient, "GET", "/api/v1/incidents", nil, child...).status)

	// Agents are named by roles, too.
	require.Equal(t, 204, r.call("PUT", "/api/v1/roles/watcher", map[string]any{"actions": []string{"read", "incidents.respond"}, "agents": []string{"summarizer"}}).status)
	require.Equal(t, 422, r.call("PUT", "/api/v1/roles/odd", map[string]any{"actions": []string{"everything"}}).status)
	require.Equal(t, 409, r.call("PUT", "/api/v1/roles/admin", map[string]any{"actions": []string{"read"}}).status)
	require.Equal(t, 422, r.call("PATCH", "/api/v1/users/"+id, map[string]any{"roles": []string{"nosuch"}}).status)
	require.Equal(t, 200, r.call("PATCH", "/api/v1/users/"+id, map[string]any{"roles": []string{"watcher"}}).status)
	require.Equal(t, 403, act("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status, "its agent is not one of the role's")
	require.Equal(t, 409, r.call("DELETE", "/api/v1/roles/watcher", nil).status, "bob has it")

	// The password is changed by who knows it, and only in a session.
	require.Equal(t, 403, act("PUT", "/api/v1/auth/password", map[string]string{"current": "wrong", "new": "another good one"}).status)
	require.Equal(t, 403, with("PUT", "/api/v1/auth/password", map[string]string{"current": password, "new": "another good one"}).status)
	var again invited
	r.call("POST", "/api/v1/users/"+id+"/invite", nil).into(t, &again)
	require.Equal(t, 204, act("PUT", "/api/v1/auth/password", map[string]string{"current": password, "new": "another good one"}).status)
	_, link, _ := strings.Cut(again.Link, "#token=")
	require.Equal(t, 401, r.send(browser(t), "POST", "/api/v1/auth/accept", map[string]string{"token": link, "password": password}).status, "nor does a link replace it")
	require.Equal(t, 401, r.send(browser(t), "POST", "/api/v1/auth/login", map[string]string{"username": "bob", "password": password}).status)
	require.Equal(t, 200, r.send(browser(t), "POST", "/api/v1/auth/login", map[string]string{"username": "bob", "password": "another good one"}).status)

	// A disabled user is nobody from the next request on.
	require.Equal(t, 200, r.call("PATCH", "/api/v1/users/"+id, map[string]any{"disabled": true}).status)
	require.Equal(t, 401, act("GET", "/api/v1/auth/session", nil).status)
	r.call("GET", "/api/v1/incidents/"+started.ID, nil).into(t, &started)
	require.Equal(t, ops.RunCancelled, started.Investigation, "what bob has started ends")
	require.Equal(t, 401, with("GET", "/api/v1/incidents", nil).status)
	require.Equal(t, 401, r.send(browser(t), "POST", "/api/v1/auth/login", map[string]string{"username": "bob", "password": "another good one"}).status)
	require.Equal(t, 200, r.call("PATCH", "/api/v1/users/"+id, map[string]any{"disabled": false}).status)
	require.Equal(t, 401, act("GET", "/api/v1/auth/session", nil).status, "the session does not come back")
	require.Equal(t, 200, r.send(browser(t), "POST", "/api/v1/auth/login", map[string]string{"username": "bob", "password": "another good one"}).status)

	// The last one who manages accounts stays.
	ann := r.accountID("ann")
	require.Equal(t, 409, r.call("PATCH", "/api/v1/users/"+ann, map[string]any{"disabled": true}).status)
	require.Equal(t, 409, r.call("PATCH", "/api/v1/users/"+ann, map[string]any{"roles": []string{"viewer"}}).status)
	require.Equal(t, 409, r.call("POST", "/api/v1/users", map[string]any{"username": "ann", "roles": []string{}}).status)
	require.Equal(t, 404, r.call("PATCH", "/api/v1/users/"+ops.NewID(), map[string]any{"disabled": true}).status)
}

// TestARoleIsRemovedWhileSomebodyIsInvited: the invitation waits for what becomes
// of the role. Else it would be given, and be worth something when there is
// another of its name.
func TestARoleIsRemovedWhileSomebodyIsInvited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 204, r.call("PUT", "/api/v1/roles/extra", map[string]any{"actions": []string{"read"}}).status)
	removing, err := pgx.Connect(t.Context(), r.pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = removing.Close(context.WithoutCancel(t.Context())) }()
	for _, sql := range []string{`BEGIN`, `SELECT pg_advisory_xact_lock(hashtextextended('accounts', 0))`, `DELETE FROM roles WHERE id = 'extra'`} {
		_, err = removing.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	done := make(chan int, 1)
	go func() {
		a, _ := r.try(http.DefaultClient, "POST", "/api/v1/users", map[string]any{"username": "bob", "roles": []string{"extra"}}, "Authorization", "Bearer "+r.token)
		done <- a.status
	}()
	require.Eventually(t, func() bool {
		return len(done) > 0 || count(t, r.pg, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) > 0
	}, soon, 10*time.Millisecond)
	_, err = removing.Exec(t.Context(), `COMMIT`)
	require.NoError(t, err)
	require.Equal(t, 422, <-done)
}

// More people than fit on a page are all there, in order, and found by their names.
func TestUsersInPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	want := []string{"ann"}
	for i := range 220 {
		name := fmt.Sprintf("Person-%03d@example.com", i)
		require.NoError(t, r.db.CreateUser(t.Context(), postgres.User{ID: ops.NewID(), Username: name, Roles: []string{"viewer"}}))
		want = append(want, name)
	}
	read := func(query string) (names []string, next string) {
		var page list[account]
		a := r.call("GET", "/api/v1/users"+query, nil)
		require.Equal(t, 200, a.status, a.body)
		a.into(t, &page)
		for _, u := range page.Items {
			names = append(names, u.Username)
		}
		return names, page.NextCursor
	}
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		names, next := read("?limit=100&cursor=" + url.QueryEscape(cursor))
		got, cursor = append(got, names...), next
		require.Less(t, pages, 3)
	}
	require.ElementsMatch(t, want, got, "each once")
	some, next := read("?q=PERSON-21")
	require.Equal(t, want[211:221], some)
	require.Empty(t, next)
	some, _ = read("?q=100%25_")
	require.Empty(t, some, "it is a text, not a pattern")
	require.Equal(t, 422, r.call("GET", "/api/v1/users?limit=201", nil).status)
}
