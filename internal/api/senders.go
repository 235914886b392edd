package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

const (
	// overlap is how long the secret before a new one still counts: time to tell
	// every sender.
	overlap = 24 * time.Hour

	maxSettings = 64 << 10
)

// source is a source as the API shows it.
type source struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Auth        string            `json:"auth" enum:"secret,signature" doc:"Whether requests carry the secret or are signed with it."`
	Settings    json.RawMessage   `json:"settings,omitempty"`
	Options     ops.SourceOptions `json:"options"`
	Enabled     bool              `json:"enabled"`
	CreatedAt   time.Time         `json:"created_at"`
	WebhookURL  string            `json:"webhook_url"`
	OldUntil    time.Time         `json:"old_secret_until,omitzero" doc:"Until then the secret before this one counts as well."`
	VerifyUntil time.Time         `json:"verify_until,omitzero" doc:"Until then the source is in set-up mode: requests that do not prove themselves are kept, answered 202 and not read."`
	Banner      string            `json:"banner,omitempty" doc:"What everybody who sees the source must know now."`
	Health      ops.SourceHealth  `json:"health"`
	Secret      string            `json:"secret,omitempty" doc:"Only in the answer that made it."`
}

type newSource struct {
	Body struct {
		Name     string            `json:"name" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$"`
		Kind     string            `json:"kind" doc:"alertmanager, grafana, pagerduty, datadog, zabbix or webhook"`
		Auth     string            `json:"auth,omitempty" enum:"secret,signature" doc:"By default what the kind can: signature for pagerduty, secret for all others. grafana can sign as well."`
		Settings json.RawMessage   `json:"settings,omitempty" doc:"Of kind webhook: where the fields of an alert are in its body."`
		Options  ops.SourceOptions `json:"options,omitempty"`
		Enabled  *bool             `json:"enabled,omitempty" nullable:"false" doc:"true if it is left out"`
		Secret   ops.Secret        `json:"secret,omitempty" minLength:"8" maxLength:"256" doc:"What the sender proves itself by. One is made if there is none."`
	}
}

type sourcePath struct {
	ID string `path:"id" maxLength:"36"`
}

type changedSource struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Name     *string            `json:"name,omitempty" nullable:"false" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$"`
		Enabled  *bool              `json:"enabled,omitempty" nullable:"false" doc:"What a source that is off is sent is answered 404."`
		Settings json.RawMessage    `json:"settings,omitempty" doc:"All of them, in place of the old ones; null for none."`
		Options  *ops.SourceOptions `json:"options,omitempty" nullable:"false" doc:"All of them, in place of the old ones."`
	}
}

type verifyOnly struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Minutes int `json:"minutes" minimum:"0" maximum:"1440" doc:"0 ends set-up mode. It ends by itself after so many minutes."`
	}
}

type newSecret struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Secret    ops.Secret `json:"secret,omitempty" minLength:"8" maxLength:"256" doc:"One is made if there is none."`
		RevokeOld bool       `json:"revoke_old,omitempty" doc:"The secret before it counts no more at once, and not after 24 hours."`
	}
}

type sample struct {
	Body struct {
		Kind        string            `json:"kind"`
		Settings    json.RawMessage   `json:"settings,omitempty"`
		Options     ops.SourceOptions `json:"options,omitempty"`
		Body        string            `json:"body" maxLength:"1048576" doc:"What the sender would send."`
		ContentType string            `json:"content_type,omitempty" maxLength:"200"`
	}
}

// preview is what would be read of a body.
type preview struct {
	Alerts    []ops.Alert         `json:"alerts"`
	Truncated int                 `json:"truncated"`
	Warnings  []ops.SourceWarning `json:"warnings"`
	Problem   string              `json:"problem,omitempty" doc:"What could not be read."`
}

func (s *API) senderOperations(api huma.API) {
	const tag = "configuration"
	handle(s, api, operation{id: "list-sources", method: http.MethodGet, path: "/sources", summary: "Senders of alerts", tag: tag}, s.listSources)
	handle(s, api, operation{id: "create-source", method: http.MethodPost, path: "/sources", summary: "Add a sender of alerts", tag: tag,
		status: http.StatusCreated}, s.createSource)
	handle(s, api, operation{id: "get-source", method: http.MethodGet, path: "/sources/{id}", summary: "One sender of alerts", tag: tag},
		func(ctx context.Context, _ caller, in *sourcePath) (*answer[source], error) {
			src, err := s.db.Source(ctx, in.ID)
			return &answer[source]{s.shown(src)}, err
		})
	handle(s, api, operation{id: "change-source", method: http.MethodPatch, path: "/sources/{id}", summary: "Change a sender of alerts", tag: tag}, s.changeSource)
	handle(s, api, operation{id: "delete-source", method: http.MethodDelete, path: "/sources/{id}",
		summary: "Remove a sender of alerts; what it sent stays", tag: tag, status: http.StatusNoContent}, s.deleteSource)
	handle(s, api, operation{id: "replace-source-secret", method: http.MethodPost, path: "/sources/{id}/secret",
		summary: "Give a sender another secret; the one before it counts for another day", tag: tag}, s.replaceSecret)
	handle(s, api, operation{id: "verify-source-only", method: http.MethodPost, path: "/sources/{id}/verify-only",
		summary: "Set-up mode: keep requests that do not prove themselves instead of refusing them, for a while", tag: tag}, s.verifyOnly)
	handle(s, api, operation{id: "get-source-setup", method: http.MethodGet, path: "/sources/{id}/setup",
		summary: "What the sender is configured with, to copy", tag: tag}, s.sourceSetup)
	handle(s, api, operation{id: "test-source", method: http.MethodPost, path: "/sources/{id}/test",
		summary: "Send a test alert as the sender would, and say what becomes of it", tag: tag}, s.testSource)
	handle(s, api, operation{id: "get-source-health", method: http.MethodGet, path: "/sources/{id}/health",
		summary: "What a sender sent, and what went wrong", tag: tag}, s.sourceHealth)
	handle(s, api, operation{id: "preview-source", method: http.MethodPost, path: "/sources/preview",
		summary: "Read a body as a source would, and store nothing", tag: tag}, s.previewSource)
	s.deliveryOperations(api)
}

func (s *API) shown(src ops.Source) source {
	now := time.Now()
	out := source{ID: src.ID, Name: src.Name, Kind: src.Kind, Auth: src.Auth, Settings: src.Settings, Options: src.Options, Enabled: src.Enabled,
		CreatedAt: src.CreatedAt, WebhookURL: s.webhookURL(src.ID), Health: src.Health}
	if now.Before(src.OldUntil) {
		out.OldUntil = src.OldUntil
	}
	out.Health.Warnings = append(warningsNow(src, now), src.Health.Warnings...)
	if now.Before(src.VerifyUntil) {
		out.VerifyUntil, out.Banner = src.VerifyUntil, out.Health.Warnings[0].Text
	}
	return out
}

func (s *API) listSources(ctx context.Context, _ caller, _ *nothing) (*answer[list[source]], error) {
	s.intake.flush(ctx)
	all, err := s.db.Sources(ctx)
	out := make([]source, 0, len(all))
	for _, src := range all {
		out = append(out, s.shown(src))
	}
	return items(out, err)
}

func (s *API) createSource(ctx context.Context, who caller, in *newSource) (*answer[source], error) {
	b := in.Body
	kind, err := checkedKind(b.Kind, b.Settings)
	if err != nil {
		return nil, err
	}
	if b.Auth == "" {
		b.Auth = kind.Auth
	}
	if b.Auth == ops.AuthSignature && kind.Signed == nil {
		return nil, ops.Errorf(ops.CodeInvalid, "%s does not sign what it sends: auth must be secret", kind.Name)
	}
	if err := checkedOptions(kind, b.Options); err != nil {
		return nil, err
	}
	src := ops.Source{ID: ops.NewID(), Name: b.Name, Kind: b.Kind, Auth: b.Auth, Settings: b.Settings, Options: b.Options,
		Enabled: b.Enabled == nil || *b.Enabled, CreatedAt: time.Now().UTC()}
	made := b.Secret.Empty()
	if made {
		b.Secret = ops.NewToken(ops.WebhookTokenPrefix)
	}
	if src.Secret, err = s.sourceSecret(src, b.Secret); err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "source.created", src.ID, map[string]string{"name": src.Name, "kind": src.Kind, "auth": src.Auth}, func() error {
		return s.db.CreateSource(ctx, src)
	})
	if err != nil {
		return nil, err
	}
	s.sources.forget()
	out := s.shown(src)
	if made {
		out.Secret = b.Secret.Reveal()
	}
	return &answer[source]{out}, nil
}

func (s *API) replaceSecret(ctx context.Context, who caller, in *newSecret) (*answer[source], error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	plain := in.Body.Secret
	if plain.Empty() {
		plain = ops.NewToken(ops.WebhookTokenPrefix)
	}
	secret, err := s.sourceSecret(src, plain)
	if err != nil {
		return nil, err
	}
	until := time.Now().UTC()
	if !in.Body.RevokeOld {
		until = until.Add(overlap)
	}
	err = s.audited(ctx, who, "source.secret_replaced", src.ID, map[string]string{"name": src.Name}, func() error {
		return s.db.ReplaceSourceSecret(ctx, src.ID, secret, until)
	})
	if err != nil {
		return nil, err
	}
	s.sources.forget()
	src.OldUntil = until
	out := s.shown(src)
	if in.Body.Secret.Empty() {
		out.Secret = plain.Reveal()
	}
	return &answer[source]{out}, nil
}

func (s *API) changeSource(ctx context.Context, who caller, in *changedSource) (*answer[source], error) {
	b := in.Body
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	change := postgres.SourceChange{Name: b.Name, Enabled: b.Enabled, Options: b.Options}
	detail := map[string]string{"name": src.Name}
	if b.Name != nil {
		detail["new_name"] = *b.Name
	}
	if b.Enabled != nil {
		detail["enabled"] = strconv.FormatBool(*b.Enabled)
	}
	settings := b.Settings
	if string(settings) == "null" {
		settings = nil
	}
	kind, err := checkedKind(src.Kind, settings)
	if err != nil {
		return nil, err
	}
	if b.Settings != nil {
		raw := []byte(settings)
		change.Settings, detail["settings"] = &raw, string(settings)
	}
	if b.Options != nil {
		if err := checkedOptions(kind, *b.Options); err != nil {
			return nil, err
		}
		options, err := json.Marshal(b.Options)
		if err != nil {
			return nil, err
		}
		detail["options"] = string(options)
	}
	err = s.audited(ctx, who, "source.changed", src.ID, detail, func() error { return s.db.ChangeSource(ctx, src.ID, change) })
	if err != nil {
		return nil, err
	}
	s.sources.forget()
	src, err = s.db.Source(ctx, src.ID)
	return &answer[source]{s.shown(src)}, err
}

func (s *API) deleteSource(ctx context.Context, who caller, in *sourcePath) (*nothing, error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "source.deleted", src.ID, map[string]string{"name": src.Name, "kind": src.Kind}, func() error {
		return s.db.DeleteSource(ctx, src.ID)
	})
	s.sources.forget()
	return &nothing{}, err
}

func (s *API) verifyOnly(ctx context.Context, who caller, in *verifyOnly) (*answer[source], error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	action, until, detail := "source.verify_only_ended", time.Time{}, map[string]string{"name": src.Name}
	if in.Body.Minutes > 0 {
		action, until = "source.verify_only_started", time.Now().UTC().Add(time.Duration(in.Body.Minutes)*time.Minute)
		detail["until"] = until.Format(time.RFC3339)
	}
	err = s.audited(ctx, who, action, src.ID, detail, func() error { return s.db.VerifySource(ctx, src.ID, until) })
	if err != nil {
		return nil, err
	}
	s.sources.forget()
	s.log.Warn("set-up mode of a source was changed", "source", src.ID, "name", src.Name, "on", in.Body.Minutes > 0, "until", until, "by", who.actor())
	src.VerifyUntil = until
	return &answer[source]{s.shown(src)}, nil
}

func (s *API) previewSource(_ context.Context, _ caller, in *sample) (*answer[preview], error) {
	b := in.Body
	kind, err := checkedKind(b.Kind, b.Settings)
	if err != nil {
		return nil, err
	}
	if err := checkedOptions(kind, b.Options); err != nil {
		return nil, err
	}
	parsed, err := s.parse(kind, ingest.Request{Header: http.Header{"Content-Type": {b.ContentType}}, Body: []byte(b.Body),
		ReceivedAt: time.Now().UTC(), Settings: b.Settings, Options: b.Options})
	out := preview{Alerts: parsed.Alerts, Truncated: parsed.Truncated, Warnings: parsed.Warnings}
	if err != nil {
		out.Problem = err.Error()
	}
	if out.Alerts == nil {
		out.Alerts = []ops.Alert{}
	}
	if out.Warnings == nil {
		out.Warnings = []ops.SourceWarning{}
	}
	return &answer[preview]{out}, nil
}

// checkedKind finds a kind that can work with these settings.
func checkedKind(name string, settings json.RawMessage) (ingest.Source, error) {
	kind, ok := ingest.Lookup(name)
	if !ok {
		return ingest.Source{}, ops.Errorf(ops.CodeInvalid, "kind is not one that alerts can be read from")
	}
	if len(settings) == 0 {
		return kind, nil
	}
	if kind.CheckSettings == nil {
		return ingest.Source{}, ops.Errorf(ops.CodeInvalid, "a source of kind %s has no settings", name)
	}
	if len(settings) > maxSettings || strings.Contains(string(settings), `\u0000`) {
		return ingest.Source{}, ops.Errorf(ops.CodeInvalid, "settings have at most %d bytes and no NUL", maxSettings)
	}
	if err := kind.CheckSettings(settings); err != nil {
		return ingest.Source{}, ops.Errorf(ops.CodeInvalid, "settings: %s", err)
	}
	return kind, nil
}

func checkedOptions(kind ingest.Source, o ops.SourceOptions) error {
	if err := kind.CheckOptions(o); err != nil {
		return ops.Errorf(ops.CodeInvalid, "options: %s", err)
	}
	return nil
}

// sourceSecret is what is stored of a secret: its hash, or what it takes to
// check signatures with it.
func (s *API) sourceSecret(src ops.Source, secret ops.Secret) (ops.SourceSecret, error) {
	if src.Auth != ops.AuthSignature {
		return ops.SourceSecret{Hash: ops.HashToken(secret)}, nil
	}
	ring, err := s.ring()
	if errors.Is(err, errNoRing) {
		return ops.SourceSecret{}, ops.Errorf(ops.CodeInvalid,
			"this deployment cannot keep the secrets that senders sign with: it has no AKMATORI_API_KEY. Set one, or choose auth \"secret\" and send it in the header %s", ingest.SecretHeader)
	}
	if err != nil {
		return ops.SourceSecret{}, err
	}
	sealed, err := ring.Public().Seal(src.SecretCredential(nil), secret)
	return ops.SourceSecret{Sealed: sealed}, err
}

var errNoRing = errors.New("there is no key of the zone api")

// ownRing gives what reads the ring of the zone api. It is read at each use,
// which is rare: a ring of yesterday may lack the key of today.
func ownRing(c Config) (func() (seal.Ring, error), error) {
	if c.Keys.Empty() {
		return func() (seal.Ring, error) { return seal.Ring{}, errNoRing }, nil
	}
	read := c.ReadKeys
	if read == nil {
		read = func() (ops.Secret, error) { return c.Keys, nil }
	}
	ring := func() (seal.Ring, error) {
		text, err := read()
		if err != nil {
			return seal.Ring{}, err
		}
		return seal.ParseRing(ops.ZoneAPI, text)
	}
	_, err := ring()
	return ring, err
}
