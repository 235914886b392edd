package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// halfSession is how long somebody who has given a password has for the code.
const halfSession = 10 * time.Minute

// factorState is what a user sees of their second factor.
type factorState struct {
	Enrolled    bool      `json:"enrolled"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
	// RecoveryLeft counts the recovery codes that are not used.
	RecoveryLeft int  `json:"recovery_left"`
	Needed       bool `json:"needed" doc:"Your roles may approve, which needs a second factor here."`
}

type newFactor struct {
	Secret string `json:"secret" doc:"For an app that cannot read the code: base32, time-based, 6 digits, 30 seconds, SHA-1."`
	URI    string `json:"uri" doc:"What the QR code shows: otpauth://totp/…"`
}

type shownCodes struct {
	Codes []string `json:"codes" nullable:"false" doc:"Each lets you in once in place of a code of the app. Shown this one time."`
}

// proofInput is a request that wants proof that its user is there.
type proofInput struct {
	origin
	Body struct {
		Proof ops.Secret `json:"proof,omitempty" maxLength:"1024" doc:"Your password or a code, if neither was given a short while ago. A 403 with an error at body.proof asks for it."`
	}
}

// Resolve implements [huma.Resolver].
func (in *proofInput) Resolve(ctx huma.Context) []error {
	in.origin = originOf(ctx)
	return nil
}

type codeInput struct {
	origin
	half string // the cookie
	Body struct {
		Code ops.Secret `json:"code" maxLength:"64" doc:"Six digits of your app, or a recovery code."`
	}
}

// Resolve implements [huma.Resolver].
func (in *codeInput) Resolve(ctx huma.Context) []error {
	in.origin, in.half = originOf(ctx), ctx.Header("Cookie")
	return nil
}

func (s *API) factorOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "second-factor", method: http.MethodPost, path: "/auth/second", summary: "Give the code that signing in asks for", tag: tag, anonymous: true}, s.second)
	handle(s, api, operation{id: "get-totp", method: http.MethodGet, path: "/auth/totp", summary: "Your second factor", tag: tag},
		func(ctx context.Context, who caller, _ *nothing) (*answer[factorState], error) {
			f, err := s.db.FactorState(ctx, who.User.ID)
			return &answer[factorState]{factorState{!f.ConfirmedAt.IsZero(), f.ConfirmedAt, f.RecoveryLeft, s.lacksFactor(who.User)}}, err
		})
	handle(s, api, operation{id: "begin-totp", method: http.MethodPost, path: "/auth/totp", summary: "Set up an authenticator app", tag: tag}, s.beginFactor)
	handle(s, api, operation{id: "confirm-totp", method: http.MethodPost, path: "/auth/totp/confirm", summary: "Finish that with a code of it", tag: tag}, s.confirmFactor)
	handle(s, api, operation{id: "new-recovery-codes", method: http.MethodPost, path: "/auth/totp/recovery-codes", summary: "Replace your recovery codes", tag: tag}, s.newRecoveryCodes)
	handle(s, api, operation{id: "remove-totp", method: http.MethodPost, path: "/auth/totp/remove", summary: "Remove your second factor", tag: tag, status: http.StatusNoContent}, s.removeFactor)
	handle(s, api, operation{id: "reset-totp", method: http.MethodDelete, path: "/users/{id}/totp", summary: "Remove the second factor of a user who has lost it", tag: tag, status: http.StatusNoContent}, s.resetFactor)
}

// lacksFactor says that a user's roles may approve, which needs a second factor
// here, and that they have none.
func (s *API) lacksFactor(u postgres.User) bool {
	return s.approversNeedFactor && !u.SecondFactor && u.Powers.May(ops.CanApprove)
}

// inSession refuses API tokens: who has found one must not change how its user signs in.
func inSession(who caller) error {
	if who.byToken() {
		return ops.Errorf(ops.CodeForbidden, "a second factor is set up in a session, not with an API token")
	}
	return nil
}

func (s *API) beginFactor(ctx context.Context, who caller, in *proofInput) (*answer[newFactor], error) {
	if err := inSession(who); err != nil {
		return nil, err
	}
	if who.User.PasswordHash != "" { // who has neither password nor factor has nothing to prove it by
		if err := s.prove(ctx, who, in.origin, in.Body.Proof); err != nil {
			return nil, err
		}
	}
	secret, id := newTOTPSecret(), ops.NewID()
	sealed, err := s.sealedHere(ops.TOTPCredential(id, who.User.ID, nil), secret)
	if err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "totp.begun", who.User.ID, nil, func() error {
		return s.db.BeginFactor(ctx, who.User.ID, postgres.SecondFactor{ID: id, Secret: sealed})
	})
	return &answer[newFactor]{newFactor{secret.Reveal(), totpURI(secret, "Akmatori "+s.publicURL.Hostname(), who.User.Username)}}, err
}

func (s *API) confirmFactor(ctx context.Context, who caller, in *codeInput) (*answer[shownCodes], error) {
	if err := inSession(who); err != nil {
		return nil, err
	}
	var f postgres.SecondFactor
	right, err := s.logins.try(who.User.Username, in.address, func() (_ bool, err error) {
		f, err = s.db.TryFactor(ctx, who.User.ID, false)
		if ops.CodeOf(err) == ops.CodeNotFound {
			return false, ops.Errorf(ops.CodeConflict, "nothing is being set up: begin again")
		}
		if err != nil {
			return false, lockedOr(err)
		}
		return s.rightCode(ctx, who.User.ID, f, in.Body.Code)
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, s.refused(ctx, "totp.confirmed", who.User.Username, in.address, wrongCode())
	}
	shown, hashes := freshCodes()
	err = s.audited(ctx, who, "totp.confirmed", who.User.ID, nil, func() error {
		return s.db.ConfirmFactor(ctx, who.User.ID, f, hashes, who.session.ID)
	})
	return &answer[shownCodes]{shownCodes{shown}}, err
}

func freshCodes() (shown []string, hashes [][]byte) {
	for range recoveryCodes {
		code := newRecoveryCode()
		shown, hashes = append(shown, code.Reveal()), append(hashes, ops.HashToken(code))
	}
	return shown, hashes
}

func (s *API) newRecoveryCodes(ctx context.Context, who caller, in *proofInput) (*answer[shownCodes], error) {
	if err := s.proveFactor(ctx, who, in); err != nil {
		return nil, err
	}
	shown, hashes := freshCodes()
	err := s.audited(ctx, who, "totp.recovery_codes", who.User.ID, nil, func() error { return s.db.PutRecoveryCodes(ctx, who.User.ID, hashes) })
	return &answer[shownCodes]{shownCodes{shown}}, err
}

func (s *API) removeFactor(ctx context.Context, who caller, in *proofInput) (*nothing, error) {
	if err := s.proveFactor(ctx, who, in); err != nil {
		return nil, err
	}
	return nil, s.audited(ctx, who, "totp.removed", who.User.ID, nil, func() error { return s.db.DeleteFactor(ctx, who.User.ID) })
}

// proveFactor wants a session of somebody with a second factor who is there.
func (s *API) proveFactor(ctx context.Context, who caller, in *proofInput) error {
	if err := inSession(who); err != nil {
		return err
	}
	if !who.User.SecondFactor {
		return ops.Errorf(ops.CodeNotFound, "you have no second factor")
	}
	return s.prove(ctx, who, in.origin, in.Body.Proof)
}

func (s *API) resetFactor(ctx context.Context, who caller, in *userPath) (*nothing, error) {
	u, err := s.user(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if u.ID == who.User.ID {
		return nil, ops.Errorf(ops.CodeForbidden, "remove your own on the page of your account, where it asks for proof")
	}
	return nil, s.audited(ctx, who, "totp.reset", u.ID, map[string]string{"user": u.Username}, func() error { return s.db.DeleteFactor(ctx, u.ID) })
}

// second turns a half session into a session, under another token.
func (s *API) second(ctx context.Context, _ caller, in *codeInput) (*signedIn, error) {
	token := s.sessions.tokenIn(in.half)
	if token.Empty() {
		return nil, newProblem(http.StatusUnauthorized, "sign in first")
	}
	u, half, err := s.db.HalfSession(ctx, ops.HashToken(token))
	if err != nil {
		return nil, err
	}
	var how string
	right, err := s.logins.try(u.Username, in.address, func() (_ bool, err error) {
		how, err = s.checkCode(ctx, u, in.Body.Code)
		return how != "", err
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, s.refused(ctx, "login", u.Username, in.address, wrongCode())
	}
	if err := s.db.EndSession(ctx, u.ID, half.ID); err != nil { // it was used meanwhile
		return nil, newProblem(http.StatusUnauthorized, "sign in again")
	}
	return s.open(ctx, "login", u, in.origin, postgres.Session{Method: half.Method, ProvenAt: time.Now()}, map[string]string{"second_factor": how})
}

// checkCode says what a code is that lets u on: "totp", "recovery", or "" for a
// wrong one. Each counts once.
func (s *API) checkCode(ctx context.Context, u postgres.User, given ops.Secret) (how string, err error) {
	f, err := s.db.TryFactor(ctx, u.ID, true)
	if ops.CodeOf(err) == ops.CodeNotFound {
		return "", nil
	}
	if err != nil {
		return "", lockedOr(err)
	}
	if code, recovery := givenCode(given); recovery {
		used, err := s.db.UseRecoveryCode(ctx, u.ID, ops.HashToken(ops.NewSecret(code)))
		if err != nil || !used {
			return "", err
		}
		s.log.Warn("a recovery code was used", "user", u.Username)
		return "recovery", nil
	}
	right, err := s.rightCode(ctx, u.ID, f, given)
	if err != nil || !right {
		return "", err
	}
	return "totp", nil
}

// rightCode says whether a code is one of the factor's that counts now, and uses it up.
func (s *API) rightCode(ctx context.Context, user string, f postgres.SecondFactor, given ops.Secret) (bool, error) {
	code, recovery := givenCode(given)
	if code == "" || recovery {
		return false, nil
	}
	ring, err := s.ring()
	if err != nil {
		return false, err
	}
	secret, err := ring.Open(ops.TOTPCredential(f.ID, user, f.Secret))
	if err != nil {
		s.log.Warn("the secret of a second factor does not open", "user", user, "err", err)
		return false, ops.Errorf(ops.CodeInvalid, "the second factor cannot be checked: use a recovery code, or have it reset")
	}
	step, ok, err := totpMatch(secret, code, time.Now())
	if err != nil || !ok {
		return false, err
	}
	return s.db.UseFactor(ctx, user, f, step)
}

func wrongCode() error {
	p := newProblem(http.StatusForbidden, "the code is wrong, or was used before: wait for the next one")
	p.Errors = []problemAt{{Message: p.Detail, Location: "body.code"}}
	return p
}

// lockedOr makes an answer of too many tries.
func lockedOr(err error) error {
	if e, ok := errors.AsType[*ops.Error](err); ok && e.Code == ops.CodeForbidden && e.RetryAfter > 0 {
		p := newProblem(http.StatusTooManyRequests, "too many wrong codes: no code counts for a quarter of an hour")
		p.retryAfter = max(1, int(e.RetryAfter.Seconds()))
		return p
	}
	return err
}
