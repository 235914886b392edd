package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

type rotation struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct{ ops.CredentialSecret }
}

type credentialChange struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Disabled bool `json:"disabled" doc:"A disabled credential is opened no more; what runs with it is stopped."`
	}
}

func (s *API) secretOperations(api huma.API) {
	const tag, one = "configuration", "/credentials/{id}"
	handle(s, api, operation{id: "rotate-credential", method: http.MethodPost, path: one + "/rotate", summary: "Give a credential another secret, which is its next version", tag: tag}, s.rotateCredential)
	handle(s, api, operation{id: "update-credential", method: http.MethodPatch, path: one, summary: "Disable a credential, or enable it again", tag: tag},
		func(ctx context.Context, who caller, in *credentialChange) (*answer[ops.Credential], error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoCredential
			}
			action := map[bool]string{true: "credential.disabled", false: "credential.enabled"}[in.Body.Disabled]
			var c ops.Credential
			err := s.audited(ctx, who, action, in.ID, nil, func() (err error) {
				c, err = s.db.DisableCredential(ctx, in.ID, in.Body.Disabled)
				return err
			})
			return &answer[ops.Credential]{c}, err
		})
}

var errNoCredential = ops.Errorf(ops.CodeNotFound, "there is no such credential")

func (s *API) rotateCredential(ctx context.Context, who caller, in *rotation) (*answer[ops.Credential], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoCredential
	}
	var c ops.Credential
	err := s.audited(ctx, who, "credential.rotated", in.ID, nil, func() (err error) {
		c, err = s.db.RotateCredential(ctx, in.ID, func(c ops.Credential) ([]byte, error) {
			secret, err := in.Body.Of(c.Kind)
			if err != nil {
				return nil, err
			}
			return s.sealed(c, secret)
		})
		return err
	})
	return &answer[ops.Credential]{c}, err
}

// sealed seals a secret to whoever opens credentials of that kind.
func (s *API) sealed(c ops.Credential, secret ops.Secret) ([]byte, error) {
	keys, err := s.readKeys()
	if err != nil {
		return nil, err
	}
	return keys[ops.CredentialKinds[c.Kind]].Seal(c, secret)
}
