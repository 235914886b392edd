package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
)

// TestTOTPCodes are the vectors of RFC 6238, appendix B, and RFC 4226, appendix D.
func TestTOTPCodes(t *testing.T) {
	t.Parallel()
	key := []byte("12345678901234567890")
	for at, want := range map[int64]string{59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130"} {
		require.Equal(t, want, totpCode(key, at/30, 8))
		require.Equal(t, want[2:], totpCode(key, at/30, 6))
	}
	for step, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		require.Equal(t, want, totpCode(key, int64(step), 6))
	}
	secret := ops.NewSecret(totpText.EncodeToString(key))
	now := time.Unix(1111111109, 0)
	for ahead, counts := range map[time.Duration]bool{-2 * totpStep: false, -totpStep: true, 0: true, totpStep: true, 2 * totpStep: false} {
		step, ok, err := totpMatch(secret, totpCode(key, now.Add(ahead).Unix()/30, 6), now)
		require.NoError(t, err)
		require.Equal(t, counts, ok, ahead)
		if ok {
			require.Equal(t, now.Add(ahead).Unix()/30, step)
		}
	}
	_, _, err := totpMatch(ops.NewSecret("not base 32!"), "000000", now)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "base 32!")

	for text, want := range map[string]string{"123 456": "123456", "12345": "", "1234567": "", "12345x": "", "": "",
		"ABCD-efgh ijkl-mn23": "abcd-efgh-ijkl-mn23", "abcdefghijklmn23": "abcd-efgh-ijkl-mn23", "abcd-efgh-ijkl-mn01": ""} {
		code, recovery := givenCode(ops.NewSecret(text))
		require.Equal(t, want, code, text)
		require.Equal(t, len(want) > 6, recovery)
	}
	code, recovery := givenCode(newRecoveryCode())
	require.True(t, recovery)
	require.Len(t, code, 19)
	u, err := url.Parse(totpURI(secret, "Akmatori a+b", "ann@x"))
	require.NoError(t, err)
	require.Equal(t, []string{"otpauth", "totp", "/Akmatori a+b:ann@x", secret.Reveal(), "Akmatori a+b"}, []string{u.Scheme, u.Host, u.Path, u.Query().Get("secret"), u.Query().Get("issuer")})
}

// app is an authenticator app. That a code counts once would make a test wait for
// the next one, so what was used is forgotten before another is given.
type app struct {
	key    []byte
	forget func()
}

func (a *app) code() string {
	a.forget()
	return totpCode(a.key, time.Now().Unix()/30, totpDigits)
}

// enrol gives somebody who is signed in a second factor.
func (r *rig) enrol(b *http.Client) (*app, []string) {
	r.t.Helper()
	var made newFactor
	a := r.send(b, "POST", "/api/v1/auth/totp", map[string]string{}, "Origin", r.PublicURL())
	require.Equal(r.t, 200, a.status, a.body)
	a.into(r.t, &made)
	u, err := url.Parse(made.URI)
	require.NoError(r.t, err)
	require.Equal(r.t, made.Secret, u.Query().Get("secret"))
	key, err := totpText.DecodeString(made.Secret)
	require.NoError(r.t, err)
	phone := &app{key, func() { r.exec(`UPDATE second_factors SET last_step = 0`) }}
	a = r.send(b, "POST", "/api/v1/auth/totp/confirm", map[string]string{"code": phone.code()}, "Origin", r.PublicURL())
	require.Equal(r.t, 200, a.status, a.body)
	var codes shownCodes
	a.into(r.t, &codes)
	require.Len(r.t, codes.Codes, recoveryCodes)
	return phone, codes.Codes
}

// withRing runs an api that can keep secrets of its own, with a user.
func withRing(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	key, _, err := seal.GenerateKey(ops.ZoneAPI)
	require.NoError(t, err)
	text, err := key.Text()
	require.NoError(t, err)
	r := start(t, pgtest.New(t), func(c *Config) {
		c.Keys = text
		if change != nil {
			change(c)
		}
	})
	r.makeUser()
	return r
}

// askApproval makes somebody's run ask for something risky.
func (r *rig) askApproval(call string) string {
	r.t.Helper()
	gateway, err := postgres.Open(r.t.Context(), postgres.Config{URL: r.pg.Gateway})
	require.NoError(r.t, err)
	defer gateway.Close()
	in := r.incidentsNow()[0]
	runs, err := r.db.Runs(r.t.Context(), in.ID)
	require.NoError(r.t, err)
	a, err := gateway.AskApproval(r.t.Context(), ops.Approval{ID: ops.NewID(), RunID: runs[0].ID, CallID: call, IncidentID: in.ID, Agent: "investigator", Requester: "user:somebody",
		Tool: "ssh_execute", Target: "web-1", Command: "x", Arguments: json.RawMessage(`{}`), Subject: []byte("s"), Digest: []byte(call), Risk: ops.RiskHigh, Effect: "changes",
		Reasons: []string{"no rule matches"}, Needed: 1, Facts: map[string]string{"digest": call}, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)},
		ops.AuditRecord{Chain: "gateway", At: time.Now(), Action: "approval.requested", Object: "call:" + call, Outcome: "intent"})
	require.NoError(r.t, err)
	return a.ID
}

func (r *rig) auditCount(where string) int {
	r.t.Helper()
	return count(r.t, r.pg, `SELECT count(*) FROM audit WHERE `+where)
}

// TestSecondFactor: a password alone is half of a sign-in; a code counts once, a
// recovery code as well, and guessing ends soon.
func TestSecondFactor(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	b := r.guest("bob", "viewer")
	other := r.signIn("bob", password)
	post := func(c *http.Client, path string, body any) reply { return r.send(c, "POST", "/api/v1/auth"+path, body) }
	require.Equal(t, 409, post(b, "/totp/confirm", map[string]string{"code": "000000"}).status, "nothing is being set up")
	require.Equal(t, 403, r.call("POST", "/api/v1/auth/totp", map[string]string{}).status, "not with an API token")
	begun := post(b, "/totp", map[string]string{})
	require.Equal(t, 200, begun.status, begun.body)
	require.Equal(t, 200, r.status(r.signIn("bob", password)), "what is not confirmed counts for nothing")
	wrong := post(b, "/totp/confirm", map[string]string{"code": "12345"})
	require.Equal(t, 403, wrong.status)
	require.Contains(t, wrong.body, `"location":"body.code"`)

	phone, codes := r.enrol(b)
	require.Equal(t, []int{200, 401}, []int{r.status(b), r.status(other)}, "the other sessions began without it")
	require.Equal(t, 409, post(b, "/totp", map[string]string{}).status)
	all := dump(t, r.pg)
	require.NotContains(t, all, totpText.EncodeToString(phone.key))
	require.NotContains(t, all, codes[0])
	require.NotContains(t, r.log.String(), totpText.EncodeToString(phone.key))

	half := browser(t)
	a := post(half, "/login", map[string]string{"username": "bob", "password": password})
	require.Equal(t, 200, a.status)
	require.JSONEq(t, `{"code_due":true}`, a.body)
	require.Equal(t, 401, r.status(half), "half a session is none")
	for _, path := range []string{"/api/v1/incidents", "/api/v1/auth/totp"} {
		require.Equal(t, 401, r.send(half, "GET", path, nil).status)
	}
	require.Equal(t, 401, post(half, "/totp/remove", map[string]string{}).status)
	require.Len(t, r.sessionsSeen(b, "/api/v1/auth/sessions"), 1)
	require.Equal(t, 401, post(browser(t), "/second", map[string]string{"code": phone.code()}).status, "without the password there is nothing to complete")
	cookie := a.header.Get("Set-Cookie")
	used := phone.code()
	a = post(half, "/second", map[string]string{"code": used[:3] + " " + used[3:]})
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, `"username":"bob"`)
	require.NotEqual(t, cookie, a.header.Get("Set-Cookie"))
	require.Equal(t, 200, r.status(half))
	require.Equal(t, 401, post(browser(t), "/second", map[string]string{"code": used}).status)

	again := browser(t)
	post(again, "/login", map[string]string{"username": "bob", "password": password})
	require.Equal(t, 403, post(again, "/second", map[string]string{"code": used}).status, "a code counts once")
	a = post(again, "/second", map[string]string{"code": strings.ToUpper(codes[3])})
	require.Equal(t, 200, a.status, a.body)
	post(again, "/login", map[string]string{"username": "bob", "password": password})
	require.Equal(t, 403, post(again, "/second", map[string]string{"code": codes[3]}).status, "a recovery code counts once")
	require.Contains(t, r.send(half, "GET", "/api/v1/auth/totp", nil).body, `"recovery_left":9`)

	// The next invitation of the account lets nobody past it either.
	var in invited
	r.call("POST", "/api/v1/users/"+r.accountID("bob")+"/invite", nil).into(t, &in)
	thief := browser(t)
	_, token, _ := strings.Cut(in.Link, "#token=")
	a = post(thief, "/accept", map[string]string{"token": token, "password": password})
	require.JSONEq(t, `{"code_due":true}`, a.body)
	require.Equal(t, 401, r.status(thief))

	require.Equal(t, []int{2, 2}, []int{r.auditCount(`action = 'login' AND outcome = 'ok' AND detail ? 'second_factor'`), r.auditCount(`action = 'login' AND outcome = 'denied' AND actor = 'user:bob'`)})
}

// TestGuessingCodesEnds, however many try at once; and an admin helps who has
// lost their app, and not themselves.
func TestGuessingCodesEnds(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	b := r.guest("bob", "viewer")
	phone, codes := r.enrol(b)
	half := browser(t)
	login := func() int {
		return r.send(half, "POST", "/api/v1/auth/login", map[string]string{"username": "bob", "password": password}).status
	}
	require.Equal(t, 200, login())
	wrong := "000000"
	for _, s := range []int64{-2, -1, 0, 1, 2, 3} {
		for totpCode(phone.key, time.Now().Unix()/30+s, 6) == wrong {
			wrong = "000001"
		}
	}
	r.exec(`UPDATE second_factors SET tries = 0`)
	statuses := make([]int, 12)
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() {
			if a, err := r.try(half, "POST", "/api/v1/auth/second", map[string]string{"code": wrong}); err == nil {
				statuses[i] = a.status
			}
		})
	}
	all.Wait()
	tried := 0
	for _, s := range statuses {
		if s == 403 {
			tried++
		} else {
			require.Equal(t, 429, s)
		}
	}
	require.Equal(t, 5, tried, statuses)
	r.logins = newThrottle() // a minute later
	for _, code := range []string{phone.code(), codes[0]} {
		a := r.send(half, "POST", "/api/v1/auth/second", map[string]string{"code": code})
		require.Equal(t, 429, a.status, "not even a right one")
		require.NotEmpty(t, a.header.Get("Retry-After"))
	}
	require.Equal(t, 200, r.status(b), "who is signed in stays")
	r.exec(`UPDATE second_factors SET locked_until = now() - interval '1 second'`)
	require.Equal(t, 200, r.send(half, "POST", "/api/v1/auth/second", map[string]string{"code": phone.code()}).status)
	require.Zero(t, count(t, r.pg, `SELECT tries FROM second_factors`))

	id := r.accountID("bob")
	eve := r.guest("eve", "responder")
	require.Equal(t, 403, r.send(eve, "DELETE", "/api/v1/users/"+id+"/totp", nil).status)
	require.Equal(t, 403, r.call("DELETE", "/api/v1/users/"+r.accountID("ann")+"/totp", nil).status, "their own needs proof")
	require.Equal(t, 204, r.call("DELETE", "/api/v1/users/"+id+"/totp", nil).status)
	require.Equal(t, 404, r.call("DELETE", "/api/v1/users/"+id+"/totp", nil).status)
	require.Equal(t, 1, r.auditCount(`action = 'totp.reset' AND outcome = 'ok' AND actor = 'user:ann'`))
	require.Zero(t, count(t, r.pg, `SELECT count(*) FROM recovery_codes`))
	require.Equal(t, 200, login())
	require.Equal(t, 200, r.status(half))
}

// TestTheFactorIsTheUsers: it is changed by who is there, proves that they are,
// and approvers can be made to have one.
func TestTheFactorIsTheUsers(t *testing.T) {
	t.Parallel()
	r := withRing(t, func(c *Config) { c.ApproversNeedSecondFactor = true })
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	b := r.guest("bob", "approver")
	post := func(path string, body any) reply { return r.send(b, "POST", "/api/v1/auth"+path, body) }
	require.Contains(t, r.send(b, "GET", "/api/v1/auth/session", nil).body, `"needs_second_factor":true`)
	r.exec(`UPDATE sessions SET proven_at = now() - interval '1 hour'`)
	require.Equal(t, 403, post("/totp", map[string]string{}).status, "an old session sets up none")
	require.Equal(t, 200, post("/totp", map[string]string{"proof": password}).status)
	calls := 0
	approve := func() reply {
		calls++
		return r.send(b, "POST", "/api/v1/approvals/"+r.askApproval(fmt.Sprint("c", calls))+"/decision", map[string]string{"decision": "approve"})
	}
	require.Contains(t, approve().body, "needs a second factor")
	phone, codes := r.enrol(b)
	require.NotContains(t, r.send(b, "GET", "/api/v1/auth/session", nil).body, "needs_second_factor")

	r.exec(`UPDATE sessions SET proven_at = NULL`)
	require.Equal(t, 403, post("/totp/recovery-codes", map[string]string{}).status)
	require.Equal(t, 403, post("/totp/recovery-codes", map[string]string{"proof": "123456x"}).status)
	a := post("/totp/recovery-codes", map[string]string{"proof": phone.code()})
	require.Equal(t, 200, a.status, a.body)
	require.NotContains(t, a.body, codes[0])
	require.Equal(t, 200, approve().status, "a code is proof for a while")
	r.exec(`UPDATE sessions SET proven_at = NULL`)
	require.Contains(t, approve().body, "your password or a code")
	r.exec(`UPDATE users SET password_hash = '' WHERE username = 'bob'`)
	require.Contains(t, approve().body, "a code of your app")
	require.Equal(t, 204, post("/totp/remove", map[string]string{"proof": phone.code()}).status)
	require.Equal(t, 404, post("/totp/remove", map[string]string{}).status)
	for _, action := range []string{"totp.begun", "totp.confirmed", "totp.recovery_codes", "totp.removed"} {
		require.NotZero(t, r.auditCount(fmt.Sprintf(`action = '%s' AND outcome = 'ok' AND actor = 'user:bob'`, action)), action)
	}
}

// TestAPasswordLikeACode is a password all the same: sixteen letters are no wrong recovery code.
func TestAPasswordLikeACode(t *testing.T) {
	t.Parallel()
	r := withRing(t, nil)
	b := r.guest("bob", "viewer")
	const words = "purple monkey dish"
	code, _ := givenCode(ops.NewSecret(words))
	require.NotEmpty(t, code)
	require.Equal(t, 204, r.send(b, "PUT", "/api/v1/auth/password", map[string]string{"current": password, "new": words}).status)
	phone, _ := r.enrol(b)
	prove := func(proof string) reply {
		r.exec(`UPDATE sessions SET proven_at = NULL`)
		return r.send(b, "POST", "/api/v1/auth/totp/recovery-codes", map[string]string{"proof": proof})
	}
	for range 6 { // of five wrong codes the last one locks
		a := prove(words)
		require.Equal(t, 200, a.status, a.body)
	}
	require.Zero(t, count(t, r.pg, `SELECT tries FROM second_factors`))
	require.Equal(t, 200, prove(phone.code()).status)
}
