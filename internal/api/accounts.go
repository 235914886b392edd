package api

import (
	"context"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// maxTokens bounds the API tokens of one user.
const maxTokens = 100

// user is an account as the API shows it.
type user struct {
	ID       string           `json:"id"`
	Username string           `json:"username"`
	Roles    []string         `json:"roles"`
	Actions  []ops.Permission `json:"actions" doc:"What they may do."`
}

func userOf(u postgres.User) user { return user{u.ID, u.Username, u.Roles, u.Powers.Actions} }

type sessionBody struct {
	User        user `json:"user"`
	NeedsFactor bool `json:"needs_second_factor,omitempty" doc:"Your roles may approve, which needs a second factor here: set one up in your account."`
}

type signInBody struct {
	User    *user `json:"user,omitempty"`
	CodeDue bool  `json:"code_due,omitempty" doc:"The password was right. Give the code of your second factor to /auth/second, with the cookie of this answer."`
}

// signedIn is the answer that starts a session, or the first half of one.
type signedIn struct {
	SetCookie string `header:"Set-Cookie"`
	Body      signInBody
}

type loginInput struct {
	origin
	Body struct {
		Username string     `json:"username" maxLength:"64"`
		Password ops.Secret `json:"password" maxLength:"1024"`
	}
}

type setupInput struct {
	origin
	Body struct {
		Token    ops.Secret `json:"token" maxLength:"128" doc:"From the setup link, akms_…"`
		Username string     `json:"username" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._@-]*$" patternDescription:"letters, digits and . _ @ -"`
		Password ops.Secret `json:"password" minLength:"10" maxLength:"1024"`
	}
}

// Resolve implements [huma.Resolver].
func (in *loginInput) Resolve(ctx huma.Context) []error {
	in.origin = originOf(ctx)
	return nil
}

// Resolve implements [huma.Resolver].
func (in *setupInput) Resolve(ctx huma.Context) []error {
	in.origin = originOf(ctx)
	return nil
}

// origin is where a request comes from.
type origin struct{ address, browser string }

// originOf says where a request comes from. Headers that claim an address are
// believed of proxies that are trusted, and of nobody else.
func originOf(ctx huma.Context) origin {
	address := middleware.GetClientIP(ctx.Context())
	if address == "" { // what a proxy says is no address: all of it counts as the proxy's
		address, _, _ = net.SplitHostPort(ctx.RemoteAddr())
	}
	browser := storable(ctx.Header("User-Agent"))
	return origin{address, strings.ToValidUTF8(browser[:min(len(browser), 200)], "")}
}

type newToken struct {
	Body struct {
		Name      string           `json:"name" minLength:"1" maxLength:"100"`
		Actions   []ops.Permission `json:"actions,omitempty" maxItems:"50" doc:"What it may do of what you may; all of that if it is left out."`
		ExpiresAt time.Time        `json:"expires_at,omitzero" doc:"From then on it is worth nothing; never if it is left out, but no later than a token that makes it."`
	}
}

type createdToken struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Token string `json:"token" doc:"Shown this one time."`
}

type tokenPath struct {
	ID string `path:"id" maxLength:"64"`
}

// loggedOut is the answer that ends a session.
type loggedOut struct {
	SetCookie string `header:"Set-Cookie"`
}

func (s *API) accountOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "setup", method: http.MethodPost, path: "/auth/setup", summary: "Make the first user with the setup link", tag: tag, anonymous: true}, s.setup)
	handle(s, api, operation{id: "login", method: http.MethodPost, path: "/auth/login", summary: "Sign in", tag: tag, anonymous: true}, s.login)
	handle(s, api, operation{id: "get-session", method: http.MethodGet, path: "/auth/session", summary: "Who is signed in", tag: tag},
		func(_ context.Context, who caller, _ *nothing) (*answer[sessionBody], error) {
			return &answer[sessionBody]{sessionBody{userOf(who.User), s.lacksFactor(who.User)}}, nil
		})
	handle(s, api, operation{id: "list-tokens", method: http.MethodGet, path: "/tokens", summary: "Your API tokens", tag: tag},
		func(ctx context.Context, who caller, _ *nothing) (*answer[list[postgres.APIToken]], error) {
			return items(s.db.Tokens(ctx, who.User.ID))
		})
	handle(s, api, operation{id: "create-token", method: http.MethodPost, path: "/tokens", summary: "Make an API token", tag: tag, status: http.StatusCreated}, s.createToken)
	handle(s, api, operation{id: "delete-token", method: http.MethodDelete, path: "/tokens/{id}", summary: "Revoke an API token", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *tokenPath) (*nothing, error) {
			if err := unbounded(who); err != nil && in.ID != who.token.ID {
				return nil, err
			}
			if !ops.ValidID(in.ID) {
				return nil, ops.Errorf(ops.CodeNotFound, "there is no such token")
			}
			return nil, s.audited(ctx, who, "token.revoked", in.ID, nil, func() error { return s.db.DeleteToken(ctx, who.User.ID, in.ID) })
		})
}

// armSetup prints the one-time link while there is no user. Each start makes
// the link of the start before void.
func (s *API) armSetup(ctx context.Context) error {
	token := ops.NewToken(ops.SetupTokenPrefix)
	armed, err := s.db.SetSetupToken(ctx, ops.HashToken(token), time.Now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	if armed {
		// The log is where the first admin gets it from; it works once.
		s.log.Info("setup link: " + s.PublicURL() + "/setup#token=" + token.Reveal())
	}
	return nil
}

func (s *API) setup(ctx context.Context, _ caller, in *setupInput) (*signedIn, error) {
	u := postgres.User{ID: ops.NewID(), Username: in.Body.Username, Roles: []string{"admin"}}
	var wrong error
	right, err := s.logins.try("setup link "+network(in.address), in.address, func() (right bool, err error) {
		if u.PasswordHash, err = s.hashes.hash(ctx, in.Body.Password); err != nil {
			return false, err
		}
		err = s.db.Setup(ctx, ops.HashToken(in.Body.Token), u)
		if ops.CodeOf(err) == ops.CodeUnauthenticated {
			wrong, err = err, nil
		}
		return wrong == nil, err
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, s.refused(ctx, "setup", "", in.address, wrong)
	}
	if u, err = s.db.UserByID(ctx, u.ID); err != nil {
		return nil, err
	}
	return s.admit(ctx, "setup", u, in.origin, "setup")
}

func (s *API) login(ctx context.Context, _ caller, in *loginInput) (*signedIn, error) {
	name := in.Body.Username
	if !usernamePattern.MatchString(name) {
		name = "" // nobody's, and what else fails is counted under names with blanks
	}
	var u postgres.User
	right, err := s.logins.try(name, in.address, func() (right bool, err error) {
		if u, err = s.db.UserByName(ctx, name); err != nil && ops.CodeOf(err) != ops.CodeNotFound {
			return false, err
		}
		right, err = s.hashes.matches(ctx, in.Body.Password, u.PasswordHash)
		return right && u.DisabledAt.IsZero(), err // a disabled one learns no more than any other
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, s.refused(ctx, "login", u.Username, in.address, newProblem(http.StatusUnauthorized, "wrong user name or password"))
	}
	p, err := s.enabledOIDC(ctx)
	if err != nil {
		return nil, err
	}
	if why := passwordsRefused(p, u); why != nil {
		return nil, s.refused(ctx, "login", u.Username, in.address, why)
	}
	return s.admit(ctx, "login", u, in.origin, "password")
}

// admit lets somebody in who has proven who they are by method: with a session,
// or with half of one if they have a second factor.
func (s *API) admit(ctx context.Context, action string, u postgres.User, from origin, method string) (*signedIn, error) {
	session := postgres.Session{Method: method, ProvenAt: time.Now(), CodeDue: u.SecondFactor}
	if method == "oidc" {
		session.ProvenAt = time.Time{} // the provider may have asked for nothing
	}
	return s.open(ctx, action, u, from, session, nil)
}

// open records that somebody is let in and starts their session.
func (s *API) open(ctx context.Context, action string, u postgres.User, from origin, session postgres.Session, detail map[string]string) (*signedIn, error) {
	record := ops.AuditRecord{Chain: Chain, At: time.Now(), Actor: "user:" + u.Username, Action: action, Object: "session", Outcome: "ok",
		Detail: map[string]string{"address": from.address, "method": session.Method}}
	maps.Copy(record.Detail, detail)
	body := signInBody{CodeDue: session.CodeDue}
	if session.CodeDue {
		record.Outcome = "intent"
	} else {
		shown := userOf(u)
		body.User = &shown
	}
	if err := s.db.AppendAudit(ctx, record); err != nil {
		return nil, err
	}
	cookie, err := s.openSession(ctx, u, from, session)
	if err != nil {
		return nil, err
	}
	return &signedIn{SetCookie: cookie, Body: body}, nil
}

// refused records a failed login and gives why back. A name that is nobody's is
// not recorded: it may be a password in the wrong field.
func (s *API) refused(ctx context.Context, action, known, address string, why error) error {
	actor := "anonymous"
	if known != "" {
		actor = "user:" + known
	}
	s.log.Warn("a login was refused", "action", action, "user", known, "address", address)
	if err := s.db.AppendAudit(ctx, ops.AuditRecord{Chain: Chain, At: time.Now(), Actor: actor, Action: action, Object: "session",
		Outcome: "denied", Detail: map[string]string{"address": address}}); err != nil {
		return err
	}
	return why
}

func tooMany() error {
	p := newProblem(http.StatusTooManyRequests, "too many failed logins: wait a minute")
	p.retryAfter = int(failureWindow.Seconds())
	return p
}

func (s *API) createToken(ctx context.Context, who caller, in *newToken) (*answer[createdToken], error) {
	known, err := s.db.Tokens(ctx, who.User.ID)
	if err != nil {
		return nil, err
	}
	if len(known) >= maxTokens {
		return nil, ops.Errorf(ops.CodeConflict, "you have %d API tokens: revoke one first", len(known))
	}
	if t := in.Body.ExpiresAt; !t.IsZero() && t.Before(time.Now()) {
		return nil, ops.Errorf(ops.CodeInvalid, "expires_at is in the past")
	}
	for _, a := range in.Body.Actions {
		if !who.User.Powers.May(a) {
			return nil, ops.Errorf(ops.CodeForbidden, "you may not do %q yourself", a)
		}
	}
	if who.byToken() && in.Body.Actions == nil {
		in.Body.Actions = who.User.Powers.Actions // a token makes none that may do more than itself,
	}
	if end := who.token.ExpiresAt; !end.IsZero() { // or for longer
		if in.Body.ExpiresAt.After(end) {
			return nil, ops.Errorf(ops.CodeForbidden, "the token that makes it ends before expires_at")
		}
		if in.Body.ExpiresAt.IsZero() {
			in.Body.ExpiresAt = end
		}
	}
	token := ops.NewToken(ops.APITokenPrefix)
	t := postgres.APIToken{ID: ops.NewID(), UserID: who.User.ID, Name: storable(in.Body.Name), Hash: ops.HashToken(token),
		Actions: in.Body.Actions, ExpiresAt: in.Body.ExpiresAt}
	err = s.audited(ctx, who, "token.created", t.ID, map[string]string{"name": t.Name, "actions": join(t.Actions)}, func() error { return s.db.CreateToken(ctx, t) })
	if err != nil {
		return nil, err
	}
	return &answer[createdToken]{createdToken{ID: t.ID, Name: t.Name, Token: token.Reveal()}}, nil
}
