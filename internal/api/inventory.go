package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
)

// The pattern of names below keeps them usable in rules, globs and commands.

type newTarget struct {
	Body struct {
		Name       string            `json:"name" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$"`
		Kind       string            `json:"kind" enum:"ssh,zabbix"`
		Address    string            `json:"address,omitempty" maxLength:"253" pattern:"^[A-Za-z0-9._:-]+$" doc:"Of ssh: host name or IP address."`
		Port       int               `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"Of ssh: 22 if left out."`
		URL        string            `json:"url,omitempty" maxLength:"1000" doc:"Of zabbix: where its frontend is, such as https://zabbix.example/zabbix"`
		CA         string            `json:"ca,omitempty" maxLength:"65536" doc:"Of zabbix: certificates in PEM form that alone may have signed its own; left out, those that the system trusts."`
		User       string            `json:"user,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9_][A-Za-z0-9._@-]*$" doc:"Who logs in. Of zabbix: with a credential of kind zabbix_password alone."`
		HostKey    string            `json:"host_key,omitempty" maxLength:"16384" doc:"Of ssh: its public keys, one a line, as in known_hosts without the host column; @cert-authority before the key of an authority that signs host keys. Left out: nothing logs in to it until somebody has accepted its key."`
		Credential string            `json:"credential,omitempty" maxLength:"100" doc:"A credential's name."`
		Labels     map[string]string `json:"labels,omitempty"`
		Jump       string            `json:"jump,omitempty" maxLength:"100" doc:"The name of the target that connections go through."`
	}
}

type newCredential struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$"`
		Kind string `json:"kind" enum:"ssh_key,ssh_password,zabbix_token,zabbix_password,http_header,http_bearer,http_basic,llm_key"`
		ops.CredentialSecret
		Targets []string `json:"targets" minItems:"1" maxItems:"100" nullable:"false" doc:"Names or globs of the targets (of an llm_key: of the LLM providers) that it may be used for."`
	}
}

func (s *API) inventoryOperations(api huma.API) {
	const tag = "configuration"
	get := func(what, path, summary string) operation {
		return operation{id: "list-" + what, method: http.MethodGet, path: path, summary: summary, tag: tag}
	}
	post := func(what, path, summary string) operation {
		return operation{id: "create-" + what, method: http.MethodPost, path: path, summary: summary, tag: tag, status: http.StatusCreated}
	}
	handle(s, api, get("targets", "/targets", "Hosts and services that tools may act on"),
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[shownTarget]], error) {
			all, err := s.db.Targets(ctx)
			shown := make([]shownTarget, 0, len(all))
			for _, t := range all {
				shown = append(shown, show(t))
			}
			return items(shown, err)
		})
	handle(s, api, post("target", "/targets", "Add a target"), s.createTarget)
	handle(s, api, operation{id: "change-target", method: http.MethodPatch, path: "/targets/{id}", tag: tag,
		summary: "Change a target, all of it but its name and kind; what is left out stays"}, s.changeTarget)
	handle(s, api, operation{id: "delete-target", method: http.MethodDelete, path: "/targets/{id}", summary: "Remove a target that nothing names", tag: tag, status: http.StatusNoContent}, s.deleteTarget)
	handle(s, api, get("credentials", "/credentials", "Credentials, without their secrets"),
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.Credential]], error) {
			return items(s.db.Credentials(ctx))
		})
	handle(s, api, post("credential", "/credentials", "Seal a credential to the process that uses it"), s.createCredential)
	handle(s, api, operation{id: "delete-credential", method: http.MethodDelete, path: "/credentials/{id}", summary: "Remove a credential that nothing uses, with its secret", tag: tag, status: http.StatusNoContent}, s.deleteCredential)
	s.secretOperations(api)
	s.enrolOperations(api)
	s.providerOperations(api)
}

func (s *API) createTarget(ctx context.Context, who caller, in *newTarget) (*answer[shownTarget], error) {
	t, err := s.checkedTarget(ctx, ops.Target{ID: ops.NewID(), CreatedAt: time.Now().UTC()}, in)
	if err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "target.created", t.ID, map[string]string{"name": t.Name, "address": t.Address}, func() error {
		return s.db.CreateTarget(ctx, t)
	})
	return &answer[shownTarget]{show(t)}, err
}

// checkedTarget completes a target with what is said of it, or says what is
// wrong with that.
func (s *API) checkedTarget(ctx context.Context, t ops.Target, in *newTarget) (ops.Target, error) {
	b := in.Body
	if len(b.Labels) > 64 {
		return t, ops.Errorf(ops.CodeInvalid, "a target has at most 64 labels")
	}
	t.Labels = make(map[string]string, len(b.Labels))
	for k, v := range b.Labels {
		if len(k) > 100 || len(v) > 1000 {
			return t, ops.Errorf(ops.CodeInvalid, "a label's name has at most 100 characters and its value at most 1000")
		}
		t.Labels[storable(k)] = storable(v)
	}
	t.Name, t.Kind, t.Address, t.Port, t.User, t.HostKey, t.CA, t.Credential, t.Jump = b.Name, b.Kind, b.Address, b.Port, b.User, b.HostKey, b.CA, b.Credential, b.Jump
	if err := t.Complete(b.URL); err != nil {
		return t, err
	}
	if t.Kind == "zabbix" {
		return t, s.checkZabbix(ctx, t)
	}
	if err := s.checkJump(ctx, t); err != nil {
		return t, err
	}
	return t, s.checkCredential(ctx, t.Credential, "ssh_key", "ssh_password")
}

type inventoryPath struct {
	ID string `path:"id" maxLength:"36"`
}

// deleteTarget removes a target. Calls that are under way there go on; new ones
// are refused at once.
func (s *API) deleteTarget(ctx context.Context, who caller, in *inventoryPath) (*nothing, error) {
	if !ops.ValidID(in.ID) {
		return nil, ops.Errorf(ops.CodeNotFound, "there is no such target")
	}
	t, err := s.db.Target(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.audited(ctx, who, "target.deleted", t.ID, map[string]string{"name": t.Name, "address": t.Address}, func() error {
		return s.db.DeleteTarget(ctx, t.ID)
	})
}

// deleteCredential removes a credential. What runs with it is stopped.
func (s *API) deleteCredential(ctx context.Context, who caller, in *inventoryPath) (*nothing, error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoCredential
	}
	return nil, s.audited(ctx, who, "credential.deleted", in.ID, nil, func() error { return s.db.DeleteCredential(ctx, in.ID) })
}

// checkZabbix says what is wrong with how a Zabbix instance is logged in to.
func (s *API) checkZabbix(ctx context.Context, t ops.Target) error {
	if err := s.checkCredential(ctx, t.Credential, "zabbix_token", "zabbix_password"); err != nil || t.Credential == "" {
		return err
	}
	c, err := s.db.CredentialByName(ctx, storable(t.Credential))
	if err == nil && c.Kind == "zabbix_password" && t.User == "" {
		err = ops.Errorf(ops.CodeInvalid, "a credential of kind zabbix_password needs a user")
	}
	return err
}

func (s *API) createCredential(ctx context.Context, who caller, in *newCredential) (*answer[ops.Credential], error) {
	b := in.Body
	for _, t := range b.Targets {
		if t == "" || len(t) > 100 || strings.ContainsFunc(t, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?", r)
		}) {
			return nil, ops.Errorf(ops.CodeInvalid, "targets are names or globs with * and ?")
		}
	}
	secret, err := b.Of(b.Kind)
	if err != nil {
		return nil, err
	}
	c := ops.Credential{ID: ops.NewID(), Name: b.Name, Kind: b.Kind, Targets: b.Targets, Version: 1, CreatedAt: time.Now().UTC()}
	if c.Sealed, err = s.sealed(c, secret); err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "credential.created", c.ID, map[string]string{"name": c.Name, "kind": c.Kind}, func() error {
		return s.db.CreateCredential(ctx, c)
	})
	return &answer[ops.Credential]{c}, err
}

// checkCredential refuses a name that is not of a credential of these kinds.
func (s *API) checkCredential(ctx context.Context, name string, kinds ...string) error {
	if name == "" {
		return nil
	}
	c, err := s.db.CredentialByName(ctx, storable(name))
	if ops.CodeOf(err) == ops.CodeNotFound || err == nil && !slices.Contains(kinds, c.Kind) {
		return ops.Errorf(ops.CodeInvalid, "credential does not name one of kind %s", strings.Join(kinds, " or "))
	}
	return err
}
