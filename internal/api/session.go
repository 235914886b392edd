package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// sessionCookie is the cookie's name where cookies are for https alone. The
// prefix makes browsers insist on Secure, Path=/ and no Domain.
const (
	sessionCookie      = "__Host-akmatori"
	plainSessionCookie = "akmatori" // for http on loopback
)

const sessionLifetime = 7 * 24 * time.Hour

// sessionUser is the key of the user's id in a session.
const sessionUser = "user"

func newSessions(db *postgres.DB, https bool) *scs.SessionManager {
	// Not scs.New: it starts a goroutine for a store that is not used here.
	m := &scs.SessionManager{Store: sessionStore{db}, HashTokenInStore: true, Lifetime: sessionLifetime, Codec: scs.GobCodec{}}
	m.Cookie.Name = plainSessionCookie
	if https {
		m.Cookie.Name, m.Cookie.Secure = sessionCookie, true
	}
	return m
}

// sessionStore is the table of sessions as scs wants it. scs calls the methods
// with a context wherever there are any.
type sessionStore struct{ db *postgres.DB }

func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return s.db.Session(ctx, token)
}

func (s sessionStore) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.db.PutSession(ctx, token, data, expiry)
}

func (s sessionStore) DeleteCtx(ctx context.Context, token string) error {
	return s.db.DeleteSession(ctx, token)
}

func (s sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s sessionStore) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

func (s sessionStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// caller is who makes a request.
type caller struct {
	User    postgres.User
	session ops.Secret // empty if they came with an API token
}

func (c caller) actor() string { return "user:" + c.User.Username }

// identify finds the caller of a request. A request that has an Authorization
// header is judged by that alone.
func (s *API) identify(r *http.Request) (caller, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		token, ok := strings.CutPrefix(header, "Bearer ")
		if !ok || !strings.HasPrefix(token, ops.APITokenPrefix) {
			return caller{}, newProblem(http.StatusUnauthorized, "an API token as bearer is wanted")
		}
		u, err := s.db.UserByToken(r.Context(), ops.HashToken(ops.NewSecret(token)))
		if err == nil && !u.DisabledAt.IsZero() {
			err = newProblem(http.StatusUnauthorized, "the account is disabled")
		}
		return caller{User: u}, err
	}
	cookie, err := r.Cookie(s.sessions.Cookie.Name)
	if err != nil || cookie.Value == "" || len(cookie.Value) > 256 {
		return caller{}, newProblem(http.StatusUnauthorized, "sign in first")
	}
	// Read-only: nothing of a session changes between login and logout.
	ctx, err := s.sessions.Load(r.Context(), cookie.Value)
	if err != nil {
		return caller{}, err
	}
	id := s.sessions.GetString(ctx, sessionUser)
	if id == "" {
		return caller{}, newProblem(http.StatusUnauthorized, "the session has ended: sign in again")
	}
	u, err := s.db.UserByID(r.Context(), id)
	if ops.CodeOf(err) == ops.CodeNotFound || err == nil && !u.DisabledAt.IsZero() {
		return caller{}, newProblem(http.StatusUnauthorized, "the session has ended: sign in again")
	}
	return caller{User: u, session: ops.NewSecret(cookie.Value)}, err
}

// openSession starts a session and gives the Set-Cookie header for it.
func (s *API) openSession(ctx context.Context, user string) (string, error) {
	ctx, err := s.sessions.Load(ctx, "") // a new token each time: none is taken over
	if err != nil {
		return "", err
	}
	s.sessions.Put(ctx, sessionUser, user)
	token, expiry, err := s.sessions.Commit(ctx)
	if err != nil {
		return "", err
	}
	return s.cookie(token, int(time.Until(expiry).Seconds())), nil
}

// endSession ends the caller's session and gives the header that removes its cookie.
func (s *API) endSession(ctx context.Context, c caller) (string, error) {
	if c.session.Empty() {
		return "", ops.Errorf(ops.CodeInvalid, "there is no session: an API token is revoked, not logged out")
	}
	ctx, err := s.sessions.Load(ctx, c.session.Reveal())
	if err != nil {
		return "", err
	}
	return s.cookie("", -1), s.sessions.Destroy(ctx)
}

func (s *API) cookie(value string, maxAge int) string {
	c := s.sessions.Cookie
	return (&http.Cookie{Name: c.Name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode}).String()
}
