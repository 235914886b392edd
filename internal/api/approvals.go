package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

type approvalQuery struct {
	State    string `query:"state" enum:"pending,approved,denied,expired,void"`
	Incident string `query:"incident" maxLength:"64" doc:"An incident's id or number."`
	Cursor   string `query:"cursor" maxLength:"200"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type approvalPath struct {
	ID string `path:"id" maxLength:"64"`
}

type decision struct {
	origin
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Decision string `json:"decision" enum:"approve,deny"`
		Reason   string `json:"reason,omitempty" maxLength:"2000" doc:"The agent reads it when it is a denial."`
		Minutes  int    `json:"minutes,omitempty" minimum:"1" maximum:"1440" doc:"Let the agent do the very same in this incident, without asking, for so long. Not above medium risk."`
		Digest   string `json:"digest,omitempty" maxLength:"64" doc:"facts.digest of what was looked at: anything else is a conflict."`

		Proof ops.Secret `json:"proof,omitempty" maxLength:"1024" doc:"Your password or a code of your second factor, if neither was given a short while ago and the risk is high. A 403 with an error at body.proof asks for it."`
	}
}

type grantQuery struct {
	Incident string `query:"incident" maxLength:"64"`
}

func (s *API) approvalOperations(api huma.API) {
	const tag = "approvals"
	handle(s, api, operation{id: "list-approvals", method: http.MethodGet, path: "/approvals", summary: "What agents ask people for, newest first", tag: tag}, s.listApprovals)
	handle(s, api, operation{id: "get-approval", method: http.MethodGet, path: "/approvals/{id}", summary: "One request for approval", tag: tag},
		func(ctx context.Context, _ caller, in *approvalPath) (*answer[ops.Approval], error) {
			a, err := s.approval(ctx, in.ID)
			return &answer[ops.Approval]{a}, err
		})
	handle(s, api, operation{id: "decide-approval", method: http.MethodPost, path: "/approvals/{id}/decision", summary: "Approve or deny a call", tag: tag}, s.decide)
	handle(s, api, operation{id: "list-grants", method: http.MethodGet, path: "/grants", summary: "What may be done again without asking", tag: tag},
		func(ctx context.Context, _ caller, in *grantQuery) (*answer[list[ops.ApprovalGrant]], error) {
			id := ""
			if in.Incident != "" {
				i, err := s.incident(ctx, in.Incident)
				if err != nil {
					return nil, err
				}
				id = i.ID
			}
			return items(s.db.Grants(ctx, id))
		})
	handle(s, api, operation{id: "revoke-grant", method: http.MethodDelete, path: "/grants/{id}", summary: "Have it asked again from now on", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *approvalPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, ops.Errorf(ops.CodeNotFound, "there is no such grant")
			}
			return nil, s.audited(ctx, who, "grant.revoked", in.ID, nil, func() error { return s.db.RevokeGrant(ctx, in.ID, who.User.Username) })
		})
}

func (s *API) approval(ctx context.Context, id string) (ops.Approval, error) {
	if !ops.ValidID(id) {
		return ops.Approval{}, ops.Errorf(ops.CodeNotFound, "there is no such approval")
	}
	a, err := s.db.ApprovalInFull(ctx, id)
	if err != nil {
		return a, err
	}
	one := []ops.Approval{a}
	err = s.db.WithReviews(ctx, one)
	return one[0], err
}

func (s *API) listApprovals(ctx context.Context, _ caller, in *approvalQuery) (*answer[list[ops.Approval]], error) {
	f := postgres.ApprovalFilter{State: ops.ApprovalState(in.State), Limit: in.Limit}
	if in.Incident != "" {
		i, err := s.incident(ctx, in.Incident)
		if err != nil {
			return nil, err
		}
		f.Incident = i.ID
	}
	if in.Cursor != "" {
		var ok bool
		if f.Before, f.BeforeID, ok = readCursor(in.Cursor); !ok {
			return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
		}
	}
	found, err := s.db.Approvals(ctx, f)
	if err == nil {
		err = s.db.WithReviews(ctx, found)
	}
	page, err := items(found, err)
	if err == nil && len(found) == in.Limit {
		last := found[len(found)-1]
		page.Body.NextCursor = writeCursor(last.CreatedAt, last.ID)
	}
	return page, err
}

// A cursor is the time and the id of the last row of a page.
func writeCursor(at time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at.UnixMicro(), 10) + " " + id))
}

func readCursor(s string) (at time.Time, id string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	micros, id, found := strings.Cut(string(raw), " ")
	n, nerr := strconv.ParseInt(micros, 10, 64)
	return time.UnixMicro(n), id, err == nil && nerr == nil && found && ops.ValidID(id) && n > 0 && n < 1<<52
}

func (s *API) decide(ctx context.Context, who caller, in *decision) (*answer[ops.Approval], error) {
	a, err := s.approval(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Body.Digest != "" && in.Body.Digest != a.Facts["digest"] {
		return nil, ops.Errorf(ops.CodeConflict, "this is not what you have looked at")
	}
	if in.Body.Decision == "approve" && s.lacksFactor(who.User) {
		return nil, ops.Errorf(ops.CodeForbidden, "who approves needs a second factor here: set one up in your account")
	}
	if in.Body.Decision == "approve" && s.stepUp.needed(a.Risk) {
		if err := s.prove(ctx, who, in.origin, in.Body.Proof); err != nil {
			return nil, err
		}
	}
	d := postgres.Decide{Approval: a.ID, User: who.User, Approve: in.Body.Decision == "approve", Reason: storable(in.Body.Reason),
		Grant: time.Duration(in.Body.Minutes) * time.Minute}
	detail := map[string]string{"decision": in.Body.Decision, "call": a.CallID, "run": a.RunID, "tool": a.Tool, "target": a.Target,
		"digest": a.Facts["digest"], "risk": string(a.Risk)}
	if d.Grant > 0 {
		detail["minutes"] = strconv.Itoa(in.Body.Minutes)
	}
	if d.Reason != "" {
		detail["reason"] = d.Reason
	}
	err = s.audited(ctx, who, "approval."+in.Body.Decision, a.ID, detail, func() error {
		_, err := s.db.DecideApproval(ctx, d)
		return err
	})
	if err == nil {
		a, err = s.approval(ctx, a.ID)
	}
	return &answer[ops.Approval]{a}, err
}

// noteApprovals puts requests on their timelines as they come, and ends those
// that are too old, also without a hint.
func (s *API) noteApprovals(ctx context.Context) error {
	hint := make(chan struct{}, 1)
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		_ = s.db.Listen(ctx, []string{postgres.ChannelApprovals}, func(string, string) {
			for _, to := range []chan struct{}{hint, s.asked} {
				select {
				case to <- struct{}{}:
				default:
				}
			}
		})
	}()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		work, cancel := context.WithTimeout(ctx, 10*time.Second)
		n, err := s.db.NoteApprovals(work)
		cancel()
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			s.log.Warn("requests for approval were not looked at", "err", err)
		}
		if n >= 100 {
			continue
		}
		select {
		case <-ctx.Done():
			<-listened
			return ctx.Err()
		case <-hint:
		case <-tick.C:
		}
	}
}
