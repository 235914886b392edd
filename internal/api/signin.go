package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/oauth2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// signInFor is how long a sign-in with a provider may take.
const signInFor = 10 * time.Minute

// oidcBound is a sign-in with a provider that is under way. All of it is in a
// cookie of the browser that began it: a random secret, the time, and where to
// go then. What goes through the provider (state, nonce, the PKCE verifier) is
// derived from that, so an answer that another browser brings fits nothing.
type oidcBound struct {
	secret string
	began  time.Time
	next   string
}

func newOIDCBound(next string) oidcBound {
	return oidcBound{ops.NewToken("").Reveal(), time.Now().Truncate(time.Second), next}
}

func (b oidcBound) derive(what string) string {
	mac := hmac.New(sha256.New, []byte(b.secret))
	_, _ = mac.Write([]byte(what + "\x00" + strconv.FormatInt(b.began.Unix(), 10) + "\x00" + b.next))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (b oidcBound) state() string    { return b.derive("state") }
func (b oidcBound) nonce() string    { return b.derive("nonce") }
func (b oidcBound) verifier() string { return b.derive("verifier") }

func (b oidcBound) String() string {
	return b.secret + "." + strconv.FormatInt(b.began.Unix(), 10) + "." + base64.RawURLEncoding.EncodeToString([]byte(b.next))
}

// readOIDCBound reads the cookie. One that is too old is none.
func readOIDCBound(text string) (b oidcBound, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(parts[0]) < 40 || len(text) > 4096 {
		return b, false
	}
	began, err1 := strconv.ParseInt(parts[1], 10, 64)
	next, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	b = oidcBound{parts[0], time.Unix(began, 0), string(next)}
	age := time.Since(b.began)
	return b, err1 == nil && err2 == nil && age >= -time.Minute && age < signInFor
}

// What the page for signing in says went wrong; it has the words.
const (
	problemOff     = "off"     // there is no provider, or it is not enabled
	problemDown    = "down"    // it does not answer
	problemExpired = "expired" // the sign-in took too long, or was another browser's
	problemDenied  = "denied"  // the provider has said no, or cannot be believed
)

// refusalOf is why somebody who is known to the provider is not let in.
func refusalOf(err error) string {
	for reason, e := range map[string]error{"account": postgres.ErrNoAccount, "roles": postgres.ErrNoRoles, "taken": postgres.ErrNameTaken,
		"name": postgres.ErrNoName, "disabled": postgres.ErrIsDisabled} {
		if errors.Is(err, e) {
			return reason
		}
	}
	return ""
}

// redirection sends a browser on.
type redirection struct {
	Status    int
	Location  string   `header:"Location"`
	SetCookie []string `header:"Set-Cookie"`
}

// signInMethods is what the page for signing in offers.
type signInMethods struct {
	Provider  string `json:"provider,omitempty" doc:"The name of the OpenID Connect provider, if there is one."`
	Passwords string `json:"passwords" enum:"everybody,admins" doc:"Who may sign in with a password."`
}

type beginInput struct {
	Next string `query:"next" maxLength:"1000" doc:"A path of the page to go to then."`
}

type callbackInput struct {
	origin
	bound string // the cookie
	Code  string `query:"code" maxLength:"4096"`
	State string `query:"state" maxLength:"1024"`
	Error string `query:"error" maxLength:"200"`
	Iss   string `query:"iss" maxLength:"500" doc:"RFC 9207: of which issuer the answer is."`
}

// Resolve implements [huma.Resolver].
func (in *callbackInput) Resolve(ctx huma.Context) []error {
	in.origin, in.bound = originOf(ctx), ctx.Header("Cookie")
	return nil
}

func (s *API) signInOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "sign-in-methods", method: http.MethodGet, path: "/auth/methods", summary: "How people can sign in", tag: tag, anonymous: true},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[signInMethods], error) {
			p, err := s.enabledOIDC(ctx)
			return &answer[signInMethods]{signInMethods{p.Name, p.Passwords}}, err
		})
	handle(s, api, operation{id: "begin-oidc", method: http.MethodGet, path: "/auth/oidc/start", summary: "Begin to sign in with the provider", tag: tag, anonymous: true, status: http.StatusSeeOther}, s.beginOIDC)
	handle(s, api, operation{id: "finish-oidc", method: http.MethodGet, path: "/auth/oidc/callback", summary: "Where the provider sends people back to", tag: tag, anonymous: true, status: http.StatusSeeOther}, s.finishOIDC)
}

// enabledOIDC gives the provider that people can sign in with; without a name if there is none.
func (s *API) enabledOIDC(ctx context.Context) (ops.OIDCProvider, error) {
	p, err := s.db.OIDC(ctx)
	switch {
	case ops.CodeOf(err) == ops.CodeNotFound, err == nil && !p.Enabled:
		return ops.OIDCProvider{Passwords: ops.PasswordsEverybody}, nil
	case err != nil:
		return p, err
	}
	return p, nil
}

// passwordsRefused says why this user's password, which is right, lets them in
// nowhere: they have to sign in with the provider p.
func passwordsRefused(p ops.OIDCProvider, u postgres.User) error {
	if p.Passwords == ops.PasswordsAdmins && !u.Powers.May(ops.CanManageAccounts) {
		return ops.Errorf(ops.CodeForbidden, "passwords are for who manages accounts: sign in with %s", p.Name)
	}
	return nil
}

func (s *API) beginOIDC(ctx context.Context, _ caller, in *beginInput) (*redirection, error) {
	p, err := s.enabledOIDC(ctx)
	if err != nil {
		return nil, err
	}
	if p.Name == "" {
		return s.notSignedIn(problemOff), nil
	}
	talk, done, err := s.oidc.slot(ctx)
	if err != nil {
		return s.notSignedIn(problemDown), nil
	}
	defer done()
	flow, err := s.oidcFlow(talk, p)
	if err != nil {
		s.log.Warn("nobody can sign in with the OpenID Connect provider", "issuer", p.Issuer, "err", err)
		return s.notSignedIn(problemDown), nil
	}
	bound := newOIDCBound(localPath(in.Next))
	to := flow.config.AuthCodeURL(bound.state(), oauth2.SetAuthURLParam("nonce", bound.nonce()), oauth2.S256ChallengeOption(bound.verifier()))
	return &redirection{http.StatusSeeOther, to, []string{s.boundCookie(bound.String(), int(signInFor.Seconds()))}}, nil
}

// finishOIDC lets in whom the provider vouches for. Each refusal is recorded
// with its reason, and shown as one of a few.
func (s *API) finishOIDC(ctx context.Context, _ caller, in *callbackInput) (*redirection, error) {
	bound, ok := readOIDCBound(s.boundIn(in.bound))
	if !ok || !hmac.Equal([]byte(in.State), []byte(bound.state())) {
		return s.notSignedIn(problemExpired), nil
	}
	// Nothing is guessed here, so many who come at once from one place may wait for
	// the provider together.
	from := "oidc " + network(in.address)
	if !s.logins.allowed(from, in.address) {
		return nil, tooMany()
	}
	p, err := s.enabledOIDC(ctx)
	if err != nil {
		return nil, err
	}
	who, problem, err := s.vouchedFor(ctx, p, bound, in)
	if err != nil {
		s.logins.failed(from, in.address)
		return s.oidcRefused(ctx, problem, who, in.address, err)
	}
	if !usernamePattern.MatchString(who.Username) {
		who.Username = ""
	}
	var came postgres.OIDCSignIn
	detail := map[string]string{"address": in.address, "method": "oidc", "issuer": p.Issuer, "subject": who.Subject, "username": who.Username}
	err = s.auditedAs(ctx, "anonymous", "user.roles_by_groups", "session", detail, func() (err error) {
		came, err = s.db.SignInOIDC(ctx, who, ops.NewID())
		if err == nil {
			detail["user"], detail["roles"] = came.User.Username, strings.Join(came.User.Roles, " ")
			if came.Made {
				detail["made"] = "yes"
			} else if !slices.Equal(came.Before, came.User.Roles) {
				detail["roles_before"] = strings.Join(came.Before, " ")
			}
		}
		return err
	})
	if err != nil {
		problem := refusalOf(err)
		if problem == "" && ops.CodeOf(err) != ops.CodeConflict {
			return nil, err
		}
		if problem == "" {
			problem = problemDenied
		}
		return s.oidcRefused(ctx, problem, who, in.address, err)
	}
	admitted, err := s.admit(ctx, "login", came.User, in.origin, "oidc")
	if err != nil {
		return nil, err
	}
	to := bound.next
	if admitted.Body.CodeDue {
		to = "/login?" + url.Values{"code": {"due"}, "next": {bound.next}}.Encode()
	}
	return &redirection{http.StatusSeeOther, to, []string{admitted.SetCookie, s.boundCookie("", -1)}}, nil
}

// vouchedFor gives whom the provider says has signed in, or what is wrong.
func (s *API) vouchedFor(ctx context.Context, p ops.OIDCProvider, bound oidcBound, in *callbackInput) (who postgres.OIDCIdentity, problem string, err error) {
	switch {
	case p.Name == "":
		return who, problemOff, errors.New("there is no provider any more")
	case in.Iss != "" && in.Iss != p.Issuer:
		return who, problemDenied, errors.New("the answer is of another issuer")
	case in.Error != "":
		return who, problemDenied, errors.New("the provider refuses")
	case in.Code == "":
		return who, problemDenied, errors.New("the provider gives no code")
	}
	talk, done, err := s.oidc.slot(ctx)
	if err != nil {
		return who, problemDown, err
	}
	defer done()
	flow, err := s.oidcFlow(talk, p)
	if err != nil {
		return who, problemDown, err
	}
	who, err = flow.identity(talk, in.Code, bound)
	return who, problemDenied, err
}

// oidcRefused records a sign-in that was refused and sends the browser back. The
// identity is recorded as far as the provider vouches for it: with it an admin
// can link it to a user.
func (s *API) oidcRefused(ctx context.Context, problem string, who postgres.OIDCIdentity, address string, why error) (*redirection, error) {
	detail := map[string]string{"address": address, "method": "oidc", "reason": storable(short(why.Error()))}
	if who.Subject != "" {
		detail["subject"], detail["username"] = who.Subject, storable(short(who.Username))
	}
	s.log.Warn("a sign-in with the OpenID Connect provider was refused", "reason", why, "subject", who.Subject, "address", address)
	if err := s.db.AppendAudit(ctx, ops.AuditRecord{Chain: Chain, At: time.Now(), Actor: "anonymous", Action: "login", Object: "session",
		Outcome: "denied", Detail: detail}); err != nil {
		return nil, err
	}
	return s.notSignedIn(problem), nil
}

// short cuts a text of a provider to what fits into a record, which takes whole characters alone.
func short(text string) string { return strings.ToValidUTF8(text[:min(len(text), 300)], "") }

// notSignedIn sends a browser back to where people sign in.
func (s *API) notSignedIn(problem string) *redirection {
	return &redirection{http.StatusSeeOther, "/login?problem=" + problem, []string{s.boundCookie("", -1)}}
}

var usernamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// localPath gives a path of our page, whatever was asked for.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") ||
		strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r == '\\' || r > '~' }) || strings.HasPrefix(u.Path, "/api/") {
		return "/"
	}
	return next
}

// boundCookie is the cookie of a sign-in that is under way. Lax, since it comes
// back with a navigation from the provider's site.
func (s *API) boundCookie(value string, maxAge int) string {
	return (&http.Cookie{Name: s.sessions.cookie + "-oidc", Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: s.sessions.https, SameSite: http.SameSiteLaxMode}).String()
}

func (s *API) boundIn(header string) string {
	cookies, err := http.ParseCookie(header)
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == s.sessions.cookie+"-oidc" })
	if i < 0 {
		return ""
	}
	return cookies[i].Value
}
