package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

type testEvent struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Secret      ops.Secret `json:"secret,omitempty" maxLength:"256" doc:"The secret that the sender has, to find out whether it is the right one. Without it the test proves itself by other means."`
		Resolve     bool       `json:"resolve,omitempty" doc:"Send its end as well, so that nothing stays open."`
		Investigate bool       `json:"investigate,omitempty" doc:"Have the incident investigated, which costs what an investigation costs."`
	}
}

// tested says what became of a test event, step by step.
type tested struct {
	OK       bool       `json:"ok" doc:"Whether every step went well."`
	Steps    []testStep `json:"steps" nullable:"false"`
	Delivery string     `json:"delivery,omitempty"`
	Body     string     `json:"body" doc:"What was sent."`
	Incident string     `json:"incident_id,omitempty"`
	Number   int64      `json:"incident_number,omitempty"`
}

type testStep struct {
	Name string `json:"name" enum:"send,authenticate,parse,store,incident,investigate,resolve"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

func (t *tested) step(name string, ok bool, text string, args ...any) {
	t.Steps = append(t.Steps, testStep{Name: name, OK: ok, Text: fmt.Sprintf(text, args...)})
	t.OK = ok && (t.OK || len(t.Steps) == 1)
}

func (s *API) testSource(ctx context.Context, who caller, in *testEvent) (*answer[tested], error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !src.Enabled {
		return nil, ops.Errorf(ops.CodeConflict, "the source is off: turn it on first")
	}
	if in.Body.Investigate {
		if err := mayStart(who, postgres.DefaultAgent); err != nil {
			return nil, err
		}
	}
	out := &tested{}
	detail := map[string]string{"name": src.Name, "investigate": strconv.FormatBool(in.Body.Investigate)}
	err = s.audited(ctx, who, "source.tested", src.ID, detail, func() error {
		err := s.sendTest(ctx, who, src, in, out)
		detail["delivery"], detail["incident"] = out.Delivery, out.Incident
		return err
	})
	return &answer[tested]{*out}, err
}

// sendTest goes the way of a sender's delivery. What goes wrong on it is a step
// that failed and no error.
func (s *API) sendTest(ctx context.Context, who caller, stored ops.Source, in *testEvent, out *tested) error {
	kind, err := checkedKind(stored.Kind, nil)
	if err != nil {
		return err
	}
	s.sources.forget() // what was saved a moment ago is tested
	src, err := s.sources.get(ctx, stored.ID)
	if err != nil {
		return err
	}
	began := time.Now().UTC().Truncate(time.Millisecond)
	test := ingest.Test{ID: strings.ReplaceAll(ops.NewID(), "-", ""), Began: began, At: began}
	request, err := kind.Request(test, src.Settings)
	if err != nil {
		return err
	}
	out.Body = string(request.Body)
	out.step("send", true, "a test alert was made as %s would send it", kind.Name)
	if !prove(&src, kind, request, in.Body.Secret, out) {
		return nil
	}
	alert, ok := s.deliverTest(ctx, src, kind, request, test, out)
	if !ok {
		return nil
	}
	i, err := s.db.IncidentOfAlert(ctx, src.ID, alert.Identity)
	if err != nil {
		out.step("incident", false, "no incident was opened for it: %s", ops.MessageOf(err))
		return nil
	}
	out.Incident, out.Number = i.ID, i.Number
	out.step("incident", true, "incident %d %q, severity %s", i.Number, i.Title, i.Severity)
	if in.Body.Investigate {
		if err := s.db.Investigate(ctx, i.ID, postgres.DefaultAgent, who.actor()); err != nil {
			out.step("investigate", false, "it is not investigated: %s", ops.MessageOf(err))
		} else {
			out.step("investigate", true, "its investigation is queued")
		}
	}
	if in.Body.Resolve {
		s.resolveTest(ctx, src, kind, test, in.Body.Secret, out)
	}
	return nil
}

// prove makes a request prove itself: by what the sender was given if we have
// it, else by a secret for this one request.
func prove(src *sender, kind ingest.Source, r ingest.Request, given ops.Secret, out *tested) bool {
	how := "it carries the secret that you gave"
	if src.Auth == ops.AuthSignature {
		how = "it is signed with the secret that you gave"
		if given.Empty() {
			how, given = "it is signed with the source's secret", src.secrets.Keys[0]
		}
		kind.Sign(r, given)
	} else {
		if given.Empty() {
			// Of the real one only the hash is kept.
			how, given = "it carries a secret for this test alone, since nobody knows the real one but the sender: give it to try it as well", ops.NewToken(ops.WebhookTokenPrefix)
			src.secrets.Hashes = append(slices.Clone(src.secrets.Hashes), ops.HashToken(given))
		}
		r.Header.Set("Authorization", "Bearer "+given.Reveal())
	}
	if !kind.Authenticate(r, src.secrets) {
		out.step("authenticate", false, "the secret that you gave is not this source's: each delivery of a sender that has it is answered 401. Give the sender the right one, or the source this one")
		return false
	}
	out.step("authenticate", true, "%s", how)
	return true
}

// deliverTest hands a request over and gives the alert that was read of it.
func (s *API) deliverTest(ctx context.Context, src sender, kind ingest.Source, r ingest.Request, test ingest.Test, out *tested) (ops.Alert, bool) {
	got, err := s.receive(ctx, src, kind, r, &test)
	if err != nil {
		out.step("store", false, "it was not stored: %s", ops.MessageOf(err))
		return ops.Alert{}, false
	}
	out.Delivery = got.Delivery
	switch {
	case got.Problem != "":
		out.step("parse", false, "%s. It is kept as a dead letter", got.Problem)
		return ops.Alert{}, false
	case len(got.read) == 0:
		out.step("parse", false, "no alert was read of it")
		return ops.Alert{}, false
	}
	a := got.read[0]
	out.step("parse", true, "%d alert, %s: %s", len(got.read), a.Status, a.Title)
	out.step("store", true, "answered 202; delivery %s", got.Delivery)
	return a, true
}

// resolveTest sends the end of a test.
func (s *API) resolveTest(ctx context.Context, src sender, kind ingest.Source, test ingest.Test, given ops.Secret, out *tested) {
	test.Resolved, test.At = true, time.Now().UTC().Truncate(time.Millisecond)
	begin := out.Delivery
	request, err := kind.Request(test, src.Settings)
	if err != nil {
		out.step("resolve", false, "%s", ops.MessageOf(err))
		return
	}
	if !prove(&src, kind, request, given, &tested{}) {
		out.step("resolve", false, "its secret is no longer the source's")
		return
	}
	rest := tested{}
	a, ok := s.deliverTest(ctx, src, kind, request, test, &rest)
	switch {
	case !ok:
		out.step("resolve", false, "%s", rest.Steps[len(rest.Steps)-1].Text)
	case a.Status != ops.AlertResolved:
		out.step("resolve", false, "its end was read as %s: check the mapping of the status", a.Status)
	default:
		out.step("resolve", true, "its end was sent and read; delivery %s", rest.Delivery)
	}
	out.Delivery = begin
}
