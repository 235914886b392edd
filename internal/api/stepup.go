package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// DefaultStepUpWithin is how long a password or code that was given counts.
const DefaultStepUpWithin = 15 * time.Minute

// risks are those of approvals, in their order.
var risks = []ops.Risk{ops.RiskLow, ops.RiskMedium, ops.RiskHigh, ops.RiskCritical}

// stepUp says which approvals need the password or a code of the second factor,
// given a short while ago: a browser that was left open, or a token that was found, must not be enough for
// what does harm. A denial needs none, since it does none and must not wait.
type stepUp struct {
	from   int // index of the lowest risk; behind the last one: never
	within time.Duration
}

// newStepUp reads the settings: a risk or "never", by default high.
func newStepUp(risk string, within time.Duration) (stepUp, error) {
	if risk == "" {
		risk = string(ops.RiskHigh)
	}
	if within == 0 {
		within = DefaultStepUpWithin
	}
	from := slices.Index(risks, ops.Risk(risk))
	if risk == "never" {
		from = len(risks)
	}
	if from < 0 || within < time.Minute {
		return stepUp{}, fmt.Errorf("step-up: %q within %s: a risk (low, medium, high, critical) or never is wanted, and a minute at least", risk, within)
	}
	return stepUp{from, within}, nil
}

// needed says whether an approval of this risk needs proof. A risk that
// nobody knows is above all others.
func (u stepUp) needed(risk ops.Risk) bool {
	i := slices.Index(risks, risk)
	return u.from < len(risks) && (i < 0 || i >= u.from)
}

// proofAt is where a request has the password or code; an error there asks for it.
const proofAt = "body.proof"

func askForProof(detail string) error {
	p := newProblem(http.StatusForbidden, detail)
	p.Errors = []problemAt{{Message: detail, Location: proofAt}}
	return p
}

// prove refuses a caller who has not given their password, or a code of their
// second factor, within the time that is set: in this session, or as proof with
// this request. A token has no session, so it needs the proof each time.
func (s *API) prove(ctx context.Context, who caller, from origin, proof ops.Secret) error {
	u := who.User
	if proof.Empty() {
		if !who.byToken() && time.Since(who.session.ProvenAt) < s.stepUp.within {
			return nil
		}
		switch {
		case u.SecondFactor && u.PasswordHash != "":
			return askForProof("this needs your password or a code of your app once more")
		case u.SecondFactor:
			return askForProof("this needs a code of your app")
		case u.PasswordHash != "":
			return askForProof("this needs your password once more")
		}
		return ops.Errorf(ops.CodeForbidden, "this needs a second factor, since you have no password here: set one up in your account")
	}
	var how string
	right, err := s.logins.try(u.Username, from.address, func() (_ bool, err error) {
		how, err = s.proofOf(ctx, u, proof)
		return how != "", err
	})
	if err != nil {
		return err
	}
	if !right {
		wrong := "the password is wrong"
		if u.SecondFactor {
			wrong = "that is neither your password nor a code that counts now"
		}
		return s.refused(ctx, "step_up", u.Username, from.address, askForProof(wrong))
	}
	if err := s.db.AppendAudit(ctx, ops.AuditRecord{Chain: Chain, At: time.Now(), Actor: who.actor(), Action: "step_up", Object: "session",
		Outcome: "ok", Detail: map[string]string{"address": from.address, "by": how}}); err != nil {
		return err
	}
	if who.byToken() {
		return nil
	}
	return s.db.ProveSession(ctx, who.session.ID)
}

// proofOf says what a proof is: "password", "totp", "recovery", or "" for a
// wrong one. The password comes first: one that looks like a code would count as
// a wrong code each time, until none is taken any more.
func (s *API) proofOf(ctx context.Context, u postgres.User, proof ops.Secret) (how string, err error) {
	ok, err := s.hashes.matches(ctx, proof, u.PasswordHash)
	if err != nil {
		return "", err
	}
	if ok {
		return "password", nil
	}
	if code, _ := givenCode(proof); code == "" || !u.SecondFactor {
		return "", nil
	}
	return s.checkCode(ctx, u, proof)
}

// Resolve implements [huma.Resolver].
func (in *decision) Resolve(ctx huma.Context) []error {
	in.origin = originOf(ctx)
	return nil
}
