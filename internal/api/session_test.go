package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// signIn gives a browser in which somebody is signed in.
func (r *rig) signIn(name, pass string, header ...string) *http.Client {
	r.t.Helper()
	b := browser(r.t)
	a := r.send(b, "POST", "/api/v1/auth/login", map[string]string{"username": name, "password": pass}, header...)
	require.Equal(r.t, 200, a.status, a.body)
	return b
}

func (r *rig) status(b *http.Client) int { return r.send(b, "GET", "/api/v1/auth/session", nil).status }

func (r *rig) sessionsSeen(b *http.Client, path string) []shownSession {
	r.t.Helper()
	var all struct{ Items []shownSession }
	a := r.send(b, "GET", path, nil)
	require.Equal(r.t, 200, a.status, a.body)
	a.into(r.t, &all)
	return all.Items
}

// TestSessionsAreSeenAndEnded: by their user, by who manages accounts, by a new
// password and by a new invitation; and by nobody else.
func TestSessionsAreSeenAndEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.guest("bob", "viewer")
	second := r.signIn("bob", password, "User-Agent", "phone")
	third := r.signIn("bob", password)
	eve := r.guest("eve", "responder")
	act := func(b *http.Client, method, path string, body any) reply {
		return r.send(b, method, path, body, "Origin", r.PublicURL())
	}
	all := r.sessionsSeen(third, "/api/v1/auth/sessions")
	require.Len(t, all, 3)
	var phone shownSession
	current := 0
	for _, s := range all {
		if s.Browser == "phone" {
			phone = s
		}
		if s.Current {
			current++
		}
		require.Equal(t, "127.0.0.1", s.Address)
		require.WithinDuration(t, time.Now().Add(DefaultSessionLife), s.ExpiresAt, time.Hour)
	}
	require.Equal(t, 1, current)

	require.Equal(t, 404, act(eve, "DELETE", "/api/v1/auth/sessions/"+phone.ID, nil).status, "another's")
	require.Equal(t, 404, act(third, "DELETE", "/api/v1/auth/sessions/x", nil).status)
	require.Equal(t, 403, act(eve, "GET", "/api/v1/users/"+r.accountID("bob")+"/sessions", nil).status)
	require.Equal(t, 204, act(third, "DELETE", "/api/v1/auth/sessions/"+phone.ID, nil).status)
	require.Equal(t, []int{200, 401, 200}, []int{r.status(first), r.status(second), r.status(third)})
	require.Equal(t, 204, act(third, "DELETE", "/api/v1/auth/sessions", nil).status)
	require.Equal(t, []int{401, 200}, []int{r.status(first), r.status(third)})

	second = r.signIn("bob", password)
	require.Equal(t, 204, act(third, "PUT", "/api/v1/auth/password", map[string]string{"current": password, "new": "another good one"}).status)
	require.Equal(t, []int{401, 200}, []int{r.status(second), r.status(third)}, "who changes it stays")

	id := r.accountID("bob")
	seen := r.sessionsSeen(r.signIn("ann", password), "/api/v1/users/"+id+"/sessions")
	require.Len(t, seen, 1)
	require.False(t, seen[0].Current)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/users/"+id+"/sessions", nil).status)
	require.Equal(t, 401, r.status(third))
	require.Equal(t, 200, r.status(eve))
	require.Equal(t, 404, r.call("DELETE", "/api/v1/users/"+ops.NewID()+"/sessions", nil).status)

	third = r.signIn("bob", "another good one")
	var in invited
	r.call("POST", "/api/v1/users/"+id+"/invite", nil).into(t, &in)
	require.Equal(t, 200, r.status(third), "a link that nobody has used changes nothing")
	token := in.Link[len(r.PublicURL()+"/accept#token="):]
	require.Equal(t, 200, r.send(browser(t), "POST", "/api/v1/auth/accept", map[string]string{"token": token, "password": "a third good one"}).status)
	require.Equal(t, 401, r.status(third))

	for _, action := range []string{"session.ended", "sessions.ended", "user.password", "login", "logout"} {
		if action != "logout" {
			require.NotZero(t, count(t, r.pg, fmt.Sprintf(`SELECT count(*) FROM audit WHERE action = '%s' AND outcome = 'ok'`, action)), action)
		}
	}
}

// TestSessionsEndByThemselves: when they are not used, and when they are old.
func TestSessionsEndByThemselves(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) { c.SessionLife, c.SessionIdle = 2*time.Hour, time.Hour })
	r.makeUser()
	for name, sql := range map[string]string{
		"unused": `UPDATE sessions SET last_seen_at = now() - interval '61 minutes'`,
		"old":    `UPDATE sessions SET expires_at = now() - interval '1 second'`,
	} {
		b := r.signIn("ann", password)
		r.exec(`UPDATE sessions SET last_seen_at = now() - interval '59 minutes'`)
		require.Equal(t, 200, r.status(b))
		require.Equal(t, 1, count(t, r.pg, `SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '1 minute'`), "it was used")
		r.exec(sql)
		require.Equal(t, 401, r.status(b), name)
		require.NoError(t, r.db.DeleteEndedSessions(t.Context(), time.Hour))
		require.Zero(t, count(t, r.pg, `SELECT count(*) FROM sessions`), name)
	}
	b := r.signIn("ann", password)
	ann, err := r.db.UserByName(t.Context(), "ann")
	require.NoError(t, err)
	for range 110 {
		require.NoError(t, r.db.OpenSession(t.Context(), ann, ops.HashToken(ops.NewToken("")),
			postgres.Session{ID: ops.NewID(), Method: "password", ExpiresAt: time.Now().Add(time.Hour)}))
	}
	require.Equal(t, 100, count(t, r.pg, `SELECT count(*) FROM sessions`))
	require.Equal(t, 401, r.status(b), "the oldest has ended")
	for _, wrong := range [][2]time.Duration{{time.Hour, 2 * time.Hour}, {time.Second, time.Second}, {-time.Hour, 0}} {
		_, err := newSessions(true, wrong[0], wrong[1])
		require.Error(t, err)
	}
}

// TestBrowsersOfAnyName: what a browser calls itself keeps nobody out.
func TestBrowsersOfAnyName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, want := range map[string]string{"caf\xe9": "caf\uFFFD", strings.Repeat("a", 199) + "é": strings.Repeat("a", 199)} {
		require.NoError(t, r.db.EndSessions(t.Context(), r.accountID("ann"), ""))
		b := r.signIn("ann", password, "User-Agent", name)
		require.Equal(t, want, r.sessionsSeen(b, "/api/v1/auth/sessions")[0].Browser)
	}
}

// TestWhoseAddressCounts: the header of a proxy that is trusted, as far as it is
// not written by somebody in front of it; of nobody else.
func TestWhoseAddressCounts(t *testing.T) {
	t.Parallel()
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for name, tt := range map[string]struct {
		trusted []netip.Prefix
		header  string
		want    string
	}{
		"nobody is trusted":          {nil, "192.0.2.1", "127.0.0.1"},
		"no header":                  {[]netip.Prefix{loopback}, "", "127.0.0.1"},
		"the proxy's word":           {[]netip.Prefix{loopback}, "192.0.2.1", "192.0.2.1"},
		"what the client has forged": {[]netip.Prefix{loopback}, "198.51.100.1, 192.0.2.1", "192.0.2.1"},
		"two proxies":                {[]netip.Prefix{loopback, netip.MustParsePrefix("10.0.0.0/8")}, "198.51.100.1, 192.0.2.1, 10.1.2.3", "192.0.2.1"},
		"another proxy":              {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "192.0.2.1", "127.0.0.1"},
		"no address":                 {[]netip.Prefix{loopback}, "x\u00e9", "127.0.0.1"},
		"IPv6":                       {[]netip.Prefix{loopback}, "2001:db8::7", "2001:db8::7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, pgtest.New(t), func(c *Config) { c.TrustedProxies = tt.trusted })
			r.makeUser()
			b := r.signIn("ann", password, "X-Forwarded-For", tt.header, "X-Real-IP", "203.0.113.9", "Forwarded", "for=203.0.113.9")
			require.Equal(t, tt.want, r.sessionsSeen(b, "/api/v1/auth/sessions")[0].Address)
		})
	}
	require.Equal(t, network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"))
	require.NotEqual(t, network("2001:db8:0:1::1"), network("2001:db8:0:2::1"))
	require.Equal(t, "192.0.2.1", network("192.0.2.1"))
}

// TestThrottlingIsPerClientBehindAProxy: who guesses locks out nobody else.
func TestThrottlingIsPerClientBehindAProxy(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	r.makeUser()
	for range 3 * failuresPerAddress { // the minute may end meanwhile
		r.logins.failed("somebody", "2001:db8::1")
	}
	try := func(address string) int {
		return r.send(browser(t), "POST", "/api/v1/auth/login", map[string]string{"username": "ann", "password": password}, "X-Forwarded-For", address).status
	}
	require.Equal(t, 429, try("2001:db8::1"))
	require.Equal(t, 429, try("2001:db8::2"), "the same network")
	require.Equal(t, 200, try("192.0.2.1"))
}

// TestRiskyApprovalsNeedThePassword: given a short while ago in this session, or
// with the request; never by a token alone.
func TestRiskyApprovalsNeedThePassword(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) { c.StepUpRisk, c.StepUpWithin = "high", 10*time.Minute })
	r.makeUser()
	gateway, err := postgres.Open(t.Context(), postgres.Config{URL: r.pg.Gateway})
	require.NoError(t, err)
	t.Cleanup(gateway.Close)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	in := r.incidentsNow()[0]
	runs, err := r.db.Runs(t.Context(), in.ID)
	require.NoError(t, err)
	n := 0
	ask := func(risk ops.Risk) string {
		t.Helper()
		n++
		id := fmt.Sprint("c", n)
		a, err := gateway.AskApproval(t.Context(), ops.Approval{ID: ops.NewID(), RunID: runs[0].ID, CallID: id, IncidentID: in.ID, Agent: "investigator", Requester: "user:somebody",
			Tool: "ssh_execute", Target: "web-1", Command: "x", Arguments: json.RawMessage(`{}`), Subject: []byte("s"), Digest: []byte(id), Risk: risk, Effect: "changes",
			Reasons: []string{"no rule matches"}, Needed: 1, Facts: map[string]string{"digest": id}, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)},
			ops.AuditRecord{Chain: "gateway", At: time.Now(), Action: "approval.requested", Object: "call:" + id, Outcome: "intent"})
		require.NoError(t, err)
		return a.ID
	}
	b := r.signIn("ann", password)
	decide := func(c *http.Client, id, decision, proof string, header ...string) reply {
		body := map[string]any{"decision": decision}
		if proof != "" {
			body["proof"] = proof
		}
		return r.send(c, "POST", "/api/v1/approvals/"+id+"/decision", body, append(header, "Origin", r.PublicURL())...)
	}
	forget := func() { r.exec(`UPDATE sessions SET proven_at = now() - interval '11 minutes'`) }
	token := []string{"Authorization", "Bearer " + r.token}

	require.Equal(t, 200, decide(b, ask(ops.RiskHigh), "approve", "").status, "just signed in")
	forget()
	require.Equal(t, 200, decide(b, ask(ops.RiskMedium), "approve", "").status, "not risky")
	require.Equal(t, 200, decide(b, ask(ops.RiskHigh), "deny", "").status, "a denial waits for nothing")
	id := ask(ops.RiskHigh)
	a := decide(b, id, "approve", "")
	require.Equal(t, 403, a.status)
	require.Contains(t, a.body, `"location":"body.proof"`)
	a = decide(b, id, "approve", "not my password")
	require.Equal(t, 403, a.status)
	require.Contains(t, a.body, "the password is wrong")
	require.NotContains(t, a.body, "not my password")
	require.Equal(t, 200, decide(b, id, "approve", password).status)
	require.Equal(t, 200, decide(b, ask(ops.RiskCritical), "approve", "").status, "it counts for a while")

	id = ask(ops.RiskHigh)
	require.Equal(t, 403, decide(http.DefaultClient, id, "approve", "", token...).status)
	require.Equal(t, 200, decide(http.DefaultClient, id, "approve", password, token...).status)
	forget()
	id = ask(ops.RiskHigh)
	r.exec(`UPDATE users SET password_hash = '' WHERE username = 'ann'`)
	require.Equal(t, 403, decide(b, id, "approve", password).status, "who has no password")
	require.Equal(t, []int{2, 2}, []int{count(t, r.pg, `SELECT count(*) FROM audit WHERE action = 'step_up' AND outcome = 'ok'`),
		count(t, r.pg, `SELECT count(*) FROM audit WHERE action = 'step_up' AND outcome = 'denied'`)})

	for _, wrong := range []struct {
		risk   string
		within time.Duration
	}{{"hihg", 0}, {"high", time.Second}, {"none", 0}} {
		_, err := newStepUp(wrong.risk, wrong.within)
		require.Error(t, err)
	}
	never, err := newStepUp("never", 0)
	require.NoError(t, err)
	require.False(t, never.needed(ops.RiskCritical))
	usual, err := newStepUp("", 0)
	require.NoError(t, err)
	require.Equal(t, []bool{false, false, true, true, true}, []bool{usual.needed("low"), usual.needed("medium"), usual.needed("high"), usual.needed("critical"), usual.needed("odd")})
}

// TestAPageThatIsLeftOpenIsNoUse: what a person does keeps a session, and what a
// page does by itself does not: it follows timelines and renews its lists until
// the session ends, and then it may no more.
// TestAShortSessionGoesOnWhileItIsUsed, also if it is idle as soon as one can set.
func TestAShortSessionGoesOnWhileItIsUsed(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) { c.SessionIdle = time.Minute })
	r.makeUser()
	b := r.signIn("ann", password)
	for range 4 { // each 25 seconds
		r.exec(`UPDATE sessions SET last_seen_at = last_seen_at - interval '25 seconds'`)
		require.Equal(t, 200, r.status(b))
	}
}

func TestAPageThatIsLeftOpenIsNoUse(t *testing.T) {
	t.Parallel()
	r := start(t, pgtest.New(t), func(c *Config) { c.SessionLife, c.SessionIdle = 2*time.Hour, time.Hour })
	r.makeUser()
	b := r.signIn("ann", password)
	require.Equal(t, 201, r.send(b, "POST", "/api/v1/incidents", map[string]string{"title": "x", "severity": "high"}).status)
	used := func() bool {
		return count(t, r.pg, `SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '58 minutes'`) == 1
	}
	unusedFor := func(most string) {
		r.exec(`UPDATE sessions SET last_seen_at = now() - $1::interval`, most)
	}
	alone := func() int { return r.send(b, "GET", "/api/v1/incidents", nil, headerUnattended, "1").status }

	unusedFor("59 minutes")
	require.Equal(t, 200, alone())
	require.False(t, used())
	require.Equal(t, 200, r.status(b))
	require.True(t, used(), "a person was there")

	// The stream is looked at each second. It would go on for ever if that were a use.
	unusedFor("59 minutes 57 seconds")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.PublicURL()+"/api/v1/incidents/1/stream", nil)
	require.NoError(t, err)
	answer, err := b.Do(request)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	require.Equal(t, 200, answer.StatusCode)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err, "it has ended by itself")
	require.Contains(t, string(text), "incident.opened")
	require.Equal(t, []int{401, 401}, []int{alone(), r.status(b)})
}

// TestASignInUnderWayEndsToo: what ends somebody's sessions also ends the one
// that is about to begin, by what counted before.
func TestASignInUnderWayEndsToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	disabled := true
	for name, change := range map[string]func(u postgres.User) error{
		"bob": func(u postgres.User) error { return r.db.SetPassword(t.Context(), u.ID, "another", "") },
		"eve": func(u postgres.User) error {
			f := postgres.SecondFactor{ID: ops.NewID(), Secret: []byte("x")}
			if err := r.db.BeginFactor(t.Context(), u.ID, f); err != nil {
				return err
			}
			return r.db.ConfirmFactor(t.Context(), u.ID, f, nil, "")
		},
		"kim": func(u postgres.User) error {
			return r.db.ChangeUser(t.Context(), u.ID, postgres.UserChange{Disabled: &disabled})
		},
	} {
		r.guest(name, "viewer")
		proven, err := r.db.UserByName(t.Context(), name)
		require.NoError(t, err)
		require.NoError(t, change(proven))
		_, err = r.openSession(t.Context(), proven, origin{}, postgres.Session{Method: "password"})
		require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err), name)
		require.Zero(t, count(t, r.pg, `SELECT count(*) FROM sessions WHERE user_id = '`+proven.ID+`'`), name)
	}
}
