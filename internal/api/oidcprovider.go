package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

// shownOIDC is the provider as those see it who manage accounts.
type shownOIDC struct {
	ops.OIDCProvider
	HasSecret   bool   `json:"has_secret" doc:"A client secret is kept. It is never shown."`
	RedirectURL string `json:"redirect_url" doc:"What has to be entered at the provider, exactly."`
}

type oidcInput struct {
	Body struct {
		Name          string           `json:"name" minLength:"1" maxLength:"60" doc:"As on the button: Sign in with NAME."`
		Issuer        string           `json:"issuer" maxLength:"500" doc:"Its URL, below which /.well-known/openid-configuration is."`
		ClientID      string           `json:"client_id" minLength:"1" maxLength:"200"`
		ClientSecret  ops.Secret       `json:"client_secret,omitempty" maxLength:"1000" doc:"The stored one stays if it is left out, as long as issuer and client_id do. A public client has none."`
		RemoveSecret  bool             `json:"remove_secret,omitempty" doc:"From now on it is a public client."`
		Scopes        []string         `json:"scopes,omitempty" maxItems:"20" doc:"Beside openid; profile and groups if it is left out."`
		UsernameClaim string           `json:"username_claim,omitempty" maxLength:"200" doc:"preferred_username if it is left out."`
		GroupsClaim   string           `json:"groups_claim,omitempty" maxLength:"200" doc:"groups if it is left out; a.b is b in a."`
		Provision     bool             `json:"provision" doc:"Whoever signs in and has a role by their groups gets an account."`
		Enabled       bool             `json:"enabled"`
		Passwords     string           `json:"passwords,omitempty" enum:"everybody,admins" doc:"Who may still sign in with a password while this is enabled; everybody if it is left out. Admins are who may manage accounts."`
		Groups        []ops.GroupRoles `json:"groups" maxItems:"500" doc:"Which roles the members of a group have. Group * is everybody who may sign in."`
	}
}

type oidcCheckInput struct {
	Body struct {
		Issuer string `json:"issuer" maxLength:"500"`
	}
}

type linkInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Subject string `json:"subject" minLength:"1" maxLength:"255" doc:"Who they are to the provider: its sub, as in the audit log of a refused sign-in."`
	}
}

// oidcOperations are about the provider that people sign in with.
func (s *API) oidcOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "get-oidc-provider", method: http.MethodGet, path: "/oidc-provider", summary: "The OpenID Connect provider that people sign in with; without a name if there is none", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[shownOIDC], error) {
			p, err := s.db.OIDC(ctx)
			if ops.CodeOf(err) == ops.CodeNotFound {
				p, err = ops.OIDCProvider{Groups: []ops.GroupRoles{}}, nil
				p.Complete()
			}
			return &answer[shownOIDC]{s.shownOIDC(p)}, err
		})
	handle(s, api, operation{id: "put-oidc-provider", method: http.MethodPut, path: "/oidc-provider", summary: "Set it", tag: tag}, s.putOIDC)
	handle(s, api, operation{id: "delete-oidc-provider", method: http.MethodDelete, path: "/oidc-provider", summary: "Remove it", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, _ *nothing) (*nothing, error) {
			return nil, s.audited(ctx, who, "oidc_provider.deleted", "oidc-provider", nil, func() error { return s.db.DeleteOIDC(ctx) })
		})
	handle(s, api, operation{id: "check-oidc-provider", asks: true, method: http.MethodPost, path: "/oidc-provider/check", summary: "Ask a provider what it says about itself, and store nothing", tag: tag},
		func(ctx context.Context, _ caller, in *oidcCheckInput) (*answer[oidcCheck], error) {
			if err := ops.CheckIssuer(in.Body.Issuer); err != nil {
				return nil, err
			}
			found, err := s.oidc.check(ctx, in.Body.Issuer, s.oidcRedirectURL())
			if ops.CodeOf(err) == ops.CodeUnavailable { // it is the provider that is, and not we
				err = ops.Errorf(ops.CodeInvalid, "%s", ops.MessageOf(err))
			}
			return &answer[oidcCheck]{found}, err
		})
	handle(s, api, operation{id: "link-user", method: http.MethodPut, path: "/users/{id}/oidc", summary: "Say who a user is to the provider", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *linkInput) (*nothing, error) {
			return nil, s.linkOIDC(ctx, who, in.ID, "user.linked", in.Body.Subject)
		})
	handle(s, api, operation{id: "unlink-user", method: http.MethodDelete, path: "/users/{id}/oidc", summary: "Take that back", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *userPath) (*nothing, error) {
			return nil, s.linkOIDC(ctx, who, in.ID, "user.unlinked", "")
		})
}

func (s *API) linkOIDC(ctx context.Context, who caller, id, action, subject string) error {
	u, err := s.user(ctx, id)
	if err != nil {
		return err
	}
	if storable(subject) != subject {
		return ops.Errorf(ops.CodeInvalid, "subject has a NUL")
	}
	detail := map[string]string{"user": u.Username}
	if subject != "" {
		detail["subject"] = subject
	}
	return s.audited(ctx, who, action, u.ID, detail, func() error { return s.db.LinkOIDC(ctx, u.ID, subject) })
}

func (s *API) shownOIDC(p ops.OIDCProvider) shownOIDC {
	return shownOIDC{p, p.Secret != nil, s.oidcRedirectURL()}
}

func (s *API) putOIDC(ctx context.Context, who caller, in *oidcInput) (*answer[shownOIDC], error) {
	b := in.Body
	p := ops.OIDCProvider{Name: b.Name, Issuer: b.Issuer, ClientID: b.ClientID, Scopes: b.Scopes, UsernameClaim: b.UsernameClaim, GroupsClaim: b.GroupsClaim,
		Provision: b.Provision, Enabled: b.Enabled, Passwords: b.Passwords, Groups: b.Groups}
	p.Complete()
	if err := p.Check(); err != nil {
		return nil, err
	}
	detail := map[string]string{"name": p.Name, "issuer": p.Issuer, "client_id": p.ClientID, "enabled": strconv.FormatBool(p.Enabled),
		"provision": strconv.FormatBool(p.Provision), "passwords": p.Passwords, "secret": map[bool]string{true: "kept", false: "replaced"}[b.ClientSecret.Empty()]}
	for _, g := range p.Groups {
		detail["group "+g.Group] = strings.Join(g.Roles, " ")
	}
	err := s.audited(ctx, who, "oidc_provider.put", "oidc-provider", detail, func() error {
		return s.db.PutOIDC(ctx, p, func(stored ops.OIDCProvider) (string, []byte, error) {
			same := stored.Issuer == p.Issuer && stored.ClientID == p.ClientID
			switch {
			case b.RemoveSecret:
				return ops.NewID(), nil, nil
			case !b.ClientSecret.Empty():
				p.ID = ops.NewID()
				secret, err := s.sealedHere(p.SecretCredential(nil), b.ClientSecret)
				return p.ID, secret, err
			case same:
				return stored.ID, stored.Secret, nil
			case stored.Secret != nil:
				return "", nil, ops.Errorf(ops.CodeInvalid, "give the client secret again: the one that is kept is for another issuer or client")
			}
			return ops.NewID(), nil, nil
		})
	})
	if err != nil {
		return nil, err
	}
	p, err = s.db.OIDC(ctx)
	return &answer[shownOIDC]{s.shownOIDC(p)}, err
}

// sealedHere seals a secret to ourselves.
func (s *API) sealedHere(c ops.Credential, secret ops.Secret) ([]byte, error) {
	ring, err := s.ring()
	if errors.Is(err, errNoRing) {
		return nil, ops.Errorf(ops.CodeInvalid, "this deployment cannot keep this secret: it has no AKMATORI_API_KEY")
	}
	if err != nil {
		return nil, err
	}
	return ring.Public().Seal(c, secret)
}
