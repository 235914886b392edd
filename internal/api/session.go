package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// sessionCookie is the cookie's name where cookies are for https alone. The
// prefix makes browsers insist on Secure, Path=/ and no Domain.
const (
	sessionCookie      = "__Host-akmatori"
	plainSessionCookie = "akmatori" // for http on loopback
)

// How long a session lasts if nothing else is set.
const (
	DefaultSessionLife = 7 * 24 * time.Hour // whatever is done in it
	DefaultSessionIdle = 24 * time.Hour     // since somebody used it last
)

// sessions says how sessions are kept.
type sessions struct {
	cookie     string
	https      bool
	life, idle time.Duration
}

// newSessions checks how long sessions last; 0 is the default.
func newSessions(https bool, life, idle time.Duration) (sessions, error) {
	s := sessions{plainSessionCookie, https, life, idle}
	if https {
		s.cookie = sessionCookie
	}
	if s.life == 0 {
		s.life = DefaultSessionLife
	}
	if s.idle == 0 {
		s.idle = min(DefaultSessionIdle, s.life)
	}
	if s.idle < time.Minute || s.life < s.idle {
		return s, ops.Errorf(ops.CodeInvalid, "a session must last a minute unused, and not longer unused than at all")
	}
	return s, nil
}

// caller is who makes a request.
type caller struct {
	User    postgres.User
	session postgres.Session  // without an id if they came with an API token,
	token   postgres.APIToken // which is this one
}

func (c caller) actor() string { return "user:" + c.User.Username }

// byToken says that the caller came with an API token.
func (c caller) byToken() bool { return c.session.ID == "" }

// unbounded refuses a token that may do less than its user: it is for what its
// actions say, and that is not where else its user is signed in.
func unbounded(who caller) error {
	if who.token.Actions != nil {
		return ops.Errorf(ops.CodeForbidden, "an API token with actions of its own ends no sessions, and revokes no token but itself")
	}
	return nil
}

// headerUnattended marks what a page asks by itself while nobody sits before it.
const headerUnattended = "Akmatori-Unattended"

// identify finds the caller of a request. A request that has an Authorization
// header is judged by that alone. A session is used by what a person does: a page
// that is left open renews its lists, and follows timelines, for as long as it is
// open, so what is marked as that, and a stream, does not keep the session.
func (s *API) identify(r *http.Request, stream bool) (caller, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		token, ok := ops.Bearer(header)
		if !ok || !strings.HasPrefix(token, ops.APITokenPrefix) {
			return caller{}, newProblem(http.StatusUnauthorized, "an API token as bearer is wanted")
		}
		u, t, err := s.db.UserByToken(r.Context(), ops.HashToken(ops.NewSecret(token)))
		if err == nil && !u.DisabledAt.IsZero() {
			err = newProblem(http.StatusUnauthorized, "the account is disabled")
		}
		return caller{User: u, token: t}, err
	}
	cookie, err := r.Cookie(s.sessions.cookie)
	if err != nil || cookie.Value == "" || len(cookie.Value) > 256 {
		return caller{}, newProblem(http.StatusUnauthorized, "sign in first")
	}
	u, session, err := s.db.UserBySession(r.Context(), ops.HashToken(ops.NewSecret(cookie.Value)), s.sessions.idle,
		!stream && r.Header.Get(headerUnattended) == "")
	return caller{User: u, session: session}, err
}

// openSession starts a session and gives the Set-Cookie header for it. Its token
// is a new one: none is taken over.
func (s *API) openSession(ctx context.Context, u postgres.User, from origin, session postgres.Session) (string, error) {
	token, life := ops.NewToken(""), s.sessions.life
	if session.CodeDue {
		life = min(life, halfSession)
	}
	session.ID, session.ExpiresAt, session.Address, session.Browser = ops.NewID(), time.Now().Add(life), from.address, from.browser
	if err := s.db.OpenSession(ctx, u, ops.HashToken(token), session); err != nil {
		return "", err
	}
	return s.setCookie(token.Reveal(), int(life.Seconds())), nil
}

// tokenIn gives the session's token of a Cookie header; empty if there is none.
func (c sessions) tokenIn(header string) ops.Secret {
	cookies, err := http.ParseCookie(header)
	if err != nil {
		return ops.Secret{}
	}
	for _, one := range cookies {
		if one.Name == c.cookie && len(one.Value) <= 256 {
			return ops.NewSecret(one.Value)
		}
	}
	return ops.Secret{}
}

func (s *API) setCookie(value string, maxAge int) string {
	return (&http.Cookie{Name: s.sessions.cookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: s.sessions.https, SameSite: http.SameSiteLaxMode}).String()
}

// shownSession is a session as its user and admins see it.
type shownSession struct {
	postgres.Session
	Current bool `json:"current" doc:"It is the one that asks."`
}

func (s *API) sessionOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "logout", method: http.MethodPost, path: "/auth/logout", summary: "Sign out", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, _ *nothing) (*loggedOut, error) {
			if who.byToken() {
				return nil, ops.Errorf(ops.CodeInvalid, "there is no session: an API token is revoked, not logged out")
			}
			err := s.audited(ctx, who, "logout", "session", nil, func() error { return s.db.EndSession(ctx, who.User.ID, who.session.ID) })
			return &loggedOut{SetCookie: s.setCookie("", -1)}, err
		})
	handle(s, api, operation{id: "list-sessions", method: http.MethodGet, path: "/auth/sessions", summary: "Where you are signed in", tag: tag},
		func(ctx context.Context, who caller, _ *nothing) (*answer[list[shownSession]], error) {
			return s.sessionsOf(ctx, who, who.User.ID)
		})
	handle(s, api, operation{id: "end-session", method: http.MethodDelete, path: "/auth/sessions/{id}", summary: "End one of your sessions", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *userPath) (*nothing, error) {
			if err := unbounded(who); err != nil {
				return nil, err
			}
			if !ops.ValidID(in.ID) {
				return nil, ops.Errorf(ops.CodeNotFound, "there is no such session")
			}
			return nil, s.audited(ctx, who, "session.ended", in.ID, nil, func() error { return s.db.EndSession(ctx, who.User.ID, in.ID) })
		})
	handle(s, api, operation{id: "end-other-sessions", method: http.MethodDelete, path: "/auth/sessions", summary: "End all your sessions but this one", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, _ *nothing) (*nothing, error) {
			if err := unbounded(who); err != nil {
				return nil, err
			}
			return nil, s.audited(ctx, who, "sessions.ended", who.User.ID, map[string]string{"user": who.User.Username}, func() error {
				return s.db.EndSessions(ctx, who.User.ID, who.session.ID)
			})
		})
	handle(s, api, operation{id: "list-user-sessions", method: http.MethodGet, path: "/users/{id}/sessions", summary: "Where a user is signed in", tag: tag},
		func(ctx context.Context, who caller, in *userPath) (*answer[list[shownSession]], error) {
			u, err := s.user(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return s.sessionsOf(ctx, who, u.ID)
		})
	handle(s, api, operation{id: "end-user-sessions", method: http.MethodDelete, path: "/users/{id}/sessions", summary: "Sign a user out everywhere", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *userPath) (*nothing, error) {
			u, err := s.user(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return nil, s.audited(ctx, who, "sessions.ended", u.ID, map[string]string{"user": u.Username}, func() error { return s.db.EndSessions(ctx, u.ID, "") })
		})
}

func (s *API) sessionsOf(ctx context.Context, who caller, user string) (*answer[list[shownSession]], error) {
	all, err := s.db.Sessions(ctx, user, s.sessions.idle)
	shown := make([]shownSession, len(all))
	for i, one := range all {
		shown[i] = shownSession{one, one.ID == who.session.ID}
	}
	return items(shown, err)
}
