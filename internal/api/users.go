package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
)

// inviteFor is how long a link to set a password works.
const inviteFor = 7 * 24 * time.Hour

// account is a user as those see it who manage accounts.
type account struct {
	ID         string    `json:"id"`
	Username   string    `json:"username"`
	Roles      []string  `json:"roles"`
	Invited    bool      `json:"invited" doc:"They have not set a password yet."`
	CreatedAt  time.Time `json:"created_at"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// Password, Subject and SecondFactor are how they sign in.
	Password     bool   `json:"password" doc:"They have a password."`
	Subject      string `json:"oidc_subject,omitempty" doc:"Who they are to the provider that people sign in with."`
	ByGroups     bool   `json:"roles_by_groups" doc:"Their roles are those of their groups at the provider, and cannot be changed here."`
	SecondFactor bool   `json:"second_factor"`
}

func accountOf(u postgres.User) account {
	return account{ID: u.ID, Username: u.Username, Roles: u.Roles, Invited: u.PasswordHash == "" && u.OIDCSubject == "", CreatedAt: u.CreatedAt, DisabledAt: u.DisabledAt,
		Password: u.PasswordHash != "", Subject: u.OIDCSubject, ByGroups: u.ByGroups, SecondFactor: u.SecondFactor}
}

// invited is an account with the link for its owner.
type invited struct {
	account
	Link      string    `json:"link" doc:"With it they set their password, once. Shown this one time."`
	ExpiresAt time.Time `json:"expires_at"`
}

type newUser struct {
	Body struct {
		Username string   `json:"username" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._@-]*$" patternDescription:"letters, digits and . _ @ -"`
		Roles    []string `json:"roles" maxItems:"50" doc:"viewer, responder, approver, admin or your own ones"`
	}
}

type userPath struct {
	ID string `path:"id" maxLength:"64"`
}

type userQuery struct {
	Text   string `query:"q" maxLength:"100" doc:"Is in the user's name, in whichever case."`
	Cursor string `query:"cursor" maxLength:"300" doc:"The next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type userChange struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Roles    []string `json:"roles,omitempty" maxItems:"50"`
		Disabled *bool    `json:"disabled,omitempty" doc:"A disabled user's next request is refused, whatever session or token it comes with."`
	}
}

type acceptInput struct {
	origin
	Body struct {
		Token    ops.Secret `json:"token" maxLength:"128" doc:"From the invitation link, akmi_…"`
		Password ops.Secret `json:"password" minLength:"10" maxLength:"1024"`
	}
}

// Resolve implements [huma.Resolver].
func (in *acceptInput) Resolve(ctx huma.Context) []error {
	in.origin = originOf(ctx)
	return nil
}

type passwordChange struct {
	origin
	Body struct {
		Current ops.Secret `json:"current" maxLength:"1024"`
		New     ops.Secret `json:"new" minLength:"10" maxLength:"1024"`
	}
}

// Resolve implements [huma.Resolver].
func (in *passwordChange) Resolve(ctx huma.Context) []error {
	in.origin = originOf(ctx)
	return nil
}

type rolePath struct {
	ID string `path:"id" maxLength:"63" pattern:"^[a-z][a-z0-9_-]*$"`
}

type roleInput struct {
	ID   string `path:"id" maxLength:"63" pattern:"^[a-z][a-z0-9_-]*$"`
	Body struct {
		Description string           `json:"description,omitempty" maxLength:"500"`
		Actions     []ops.Permission `json:"actions" maxItems:"50"`
		Agents      []string         `json:"agents,omitempty" maxItems:"100" doc:"Ids of agents that may be started; * is all."`
		Deny        []string         `json:"deny,omitempty" maxItems:"200" doc:"Tools that runs of its users may not use: tool:NAME, tool:prefix*, tool:* or tool:NAME:PATTERN."`
		Allow       []string         `json:"allow,omitempty" maxItems:"200" doc:"Exceptions from deny, each strictly narrower than what it is an exception from. They allow nothing by themselves."`
	}
}

func (s *API) userOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "accept-invitation", method: http.MethodPost, path: "/auth/accept", summary: "Set a password with an invitation link", tag: tag, anonymous: true}, s.accept)
	handle(s, api, operation{id: "change-password", method: http.MethodPut, path: "/auth/password", summary: "Change your password", tag: tag, status: http.StatusNoContent}, s.changePassword)
	handle(s, api, operation{id: "list-users", method: http.MethodGet, path: "/users", summary: "Users, by name", tag: tag},
		func(ctx context.Context, _ caller, in *userQuery) (*answer[list[account]], error) {
			users, err := s.db.Users(ctx, postgres.UserFilter{Text: storable(in.Text), After: storable(in.Cursor), Limit: in.Limit})
			accounts := make([]account, len(users))
			for i, u := range users {
				accounts[i] = accountOf(u)
			}
			page, err := items(accounts, err)
			if err == nil && len(users) == in.Limit {
				page.Body.NextCursor = users[len(users)-1].Username
			}
			return page, err
		})
	handle(s, api, operation{id: "create-user", method: http.MethodPost, path: "/users", summary: "Invite a user", tag: tag, status: http.StatusCreated},
		func(ctx context.Context, who caller, in *newUser) (*answer[invited], error) {
			return s.invite(ctx, who, postgres.User{ID: ops.NewID(), Username: in.Body.Username, Roles: in.Body.Roles})
		})
	handle(s, api, operation{id: "invite-user", method: http.MethodPost, path: "/users/{id}/invite", summary: "Give a user a new link to set their password", tag: tag},
		func(ctx context.Context, who caller, in *userPath) (*answer[invited], error) {
			u, err := s.user(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			if u.OIDCSubject != "" && u.PasswordHash == "" {
				return nil, ops.Errorf(ops.CodeConflict, "they sign in with a provider and have no password: unlink them first")
			}
			return s.invite(ctx, who, u)
		})
	handle(s, api, operation{id: "change-user", method: http.MethodPatch, path: "/users/{id}", summary: "Change a user's roles, disable or enable them", tag: tag}, s.changeUser)
	handle(s, api, operation{id: "list-roles", method: http.MethodGet, path: "/roles", summary: "All roles", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.Role]], error) {
			return items(s.db.Roles(ctx))
		})
	handle(s, api, operation{id: "put-role", method: http.MethodPut, path: "/roles/{id}", summary: "Make or change a role", tag: tag, status: http.StatusNoContent}, s.putRole)
	handle(s, api, operation{id: "delete-role", method: http.MethodDelete, path: "/roles/{id}", summary: "Remove a role that nobody has", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *rolePath) (*nothing, error) {
			return nil, s.audited(ctx, who, "role.deleted", in.ID, nil, func() error { return s.db.DeleteRole(ctx, in.ID) })
		})
}

func (s *API) user(ctx context.Context, id string) (postgres.User, error) {
	if !ops.ValidID(id) {
		return postgres.User{}, ops.Errorf(ops.CodeNotFound, "there is no such user")
	}
	return s.db.UserByID(ctx, id)
}

// invite makes the link with which u sets a password. Whoever has it is u.
func (s *API) invite(ctx context.Context, who caller, u postgres.User) (*answer[invited], error) {
	token := ops.NewToken(ops.InviteTokenPrefix)
	out := invited{Link: s.PublicURL() + "/accept#token=" + token.Reveal(), ExpiresAt: time.Now().Add(inviteFor).UTC()}
	err := s.audited(ctx, who, "user.invited", u.ID, map[string]string{"user": u.Username, "roles": strings.Join(u.Roles, " ")},
		func() error { return s.db.Invite(ctx, u, ops.HashToken(token), out.ExpiresAt) })
	if err != nil {
		return nil, err
	}
	u, err = s.db.UserByID(ctx, u.ID)
	out.account = accountOf(u)
	return &answer[invited]{out}, err
}

func (s *API) accept(ctx context.Context, _ caller, in *acceptInput) (*signedIn, error) {
	p, err := s.enabledOIDC(ctx)
	if err != nil {
		return nil, err
	}
	var u postgres.User
	var wrong error
	right, err := s.logins.try("invitation "+network(in.address), in.address, func() (bool, error) {
		hash, err := s.hashes.hash(ctx, in.Body.Password)
		if err != nil {
			return false, err
		}
		u, err = s.db.Accept(ctx, ops.HashToken(in.Body.Token), hash, func(u postgres.User) error { return passwordsRefused(p, u) })
		if code := ops.CodeOf(err); code == ops.CodeUnauthenticated || code == ops.CodeForbidden {
			wrong, err = err, nil
		}
		return wrong == nil, err
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, s.refused(ctx, "invitation", "", in.address, wrong)
	}
	return s.admit(ctx, "invitation", u, in.origin, "invitation")
}

func (s *API) changePassword(ctx context.Context, who caller, in *passwordChange) (*nothing, error) {
	if who.byToken() {
		return nil, ops.Errorf(ops.CodeForbidden, "a password is changed in a session, not with an API token")
	}
	right, err := s.logins.try(who.User.Username, in.address, func() (bool, error) {
		return s.hashes.matches(ctx, in.Body.Current, who.User.PasswordHash)
	})
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, s.refused(ctx, "password", who.User.Username, in.address, ops.Errorf(ops.CodeForbidden, "the current password is wrong"))
	}
	hash, err := s.hashes.hash(ctx, in.Body.New)
	if err != nil {
		return nil, err
	}
	return nil, s.audited(ctx, who, "user.password", who.User.ID, nil, func() error { return s.db.SetPassword(ctx, who.User.ID, hash, who.session.ID) })
}

func (s *API) changeUser(ctx context.Context, who caller, in *userChange) (*answer[account], error) {
	u, err := s.user(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	detail := map[string]string{"user": u.Username}
	if in.Body.Roles != nil {
		detail["roles"] = strings.Join(in.Body.Roles, " ")
	}
	if in.Body.Disabled != nil {
		detail["disabled"] = map[bool]string{true: "yes", false: "no"}[*in.Body.Disabled]
	}
	err = s.audited(ctx, who, "user.changed", u.ID, detail,
		func() error {
			return s.db.ChangeUser(ctx, u.ID, postgres.UserChange{Roles: in.Body.Roles, Disabled: in.Body.Disabled})
		})
	if err != nil {
		return nil, err
	}
	u, err = s.db.UserByID(ctx, u.ID)
	return &answer[account]{accountOf(u)}, err
}

var agentID = regexp.MustCompile(`^(\*|[a-z][a-z0-9_-]{0,62})$`)

func (s *API) putRole(ctx context.Context, who caller, in *roleInput) (*nothing, error) {
	r := ops.Role{ID: in.ID, Description: storable(in.Body.Description), Actions: in.Body.Actions, Agents: in.Body.Agents, Deny: in.Body.Deny, Allow: in.Body.Allow}
	if _, err := policy.Builtin().LoadRole(r.Deny, r.Allow); err != nil {
		return nil, roleProblem(err, r.Deny)
	}
	for _, a := range r.Actions {
		if !slices.Contains(ops.Permissions, a) {
			return nil, ops.Errorf(ops.CodeInvalid, "there is no action %q", a)
		}
	}
	for _, id := range r.Agents {
		if !agentID.MatchString(id) {
			return nil, ops.Errorf(ops.CodeInvalid, "%q is not an agent's id", id)
		}
	}
	detail := map[string]string{"actions": join(r.Actions), "agents": strings.Join(r.Agents, " "), "deny": strings.Join(r.Deny, "\n"), "allow": strings.Join(r.Allow, "\n")}
	return nil, s.audited(ctx, who, "role.put", r.ID, detail, func() error { return s.db.PutRole(ctx, r) })
}

// roleProblem says where in a role the fault is.
func roleProblem(err error, deny []string) error {
	wrong, ok := errors.AsType[*policy.RuleError](err)
	if !ok {
		return ops.Errorf(ops.CodeInvalid, "%v", err)
	}
	list := "deny"
	if strings.HasPrefix(wrong.Rule, string(policy.Allow)+" ") {
		list = "allow"
	}
	return ruleProblem(list, wrong)
}

var serviceActor = regexp.MustCompile(`^(alert|service):(\*|[A-Za-z0-9-]{1,64})$`)

type actorPath struct {
	Actor string `path:"actor" maxLength:"80"`
}

type actorInput struct {
	Actor string `path:"actor" maxLength:"80" doc:"alert:SOURCE with a source's id, service:NAME, or alert:* and service:* for all that have no roles of their own."`
	Body  struct {
		Roles []string `json:"roles" maxItems:"50"`
	}
}

// actorOperations are about the roles of those who are no users.
func (s *API) actorOperations(api huma.API) {
	const tag = "accounts"
	handle(s, api, operation{id: "list-actors", method: http.MethodGet, path: "/actors", summary: "The roles of what alerts and the program itself start", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.ServiceActor]], error) {
			return items(s.db.ServiceActors(ctx))
		})
	handle(s, api, operation{id: "put-actor", method: http.MethodPut, path: "/actors/{actor}", summary: "Give such an actor roles of its own", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *actorInput) (*nothing, error) {
			if !serviceActor.MatchString(in.Actor) {
				return nil, ops.Errorf(ops.CodeInvalid, "an actor is written alert:SOURCE or service:NAME")
			}
			return nil, s.audited(ctx, who, "actor.put", in.Actor, map[string]string{"roles": strings.Join(in.Body.Roles, " ")}, func() error {
				return s.db.PutServiceActor(ctx, ops.ServiceActor{Actor: in.Actor, Roles: in.Body.Roles})
			})
		})
	handle(s, api, operation{id: "delete-actor", method: http.MethodDelete, path: "/actors/{actor}", summary: "Give it the roles of all of its kind again", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *actorPath) (*nothing, error) {
			if !serviceActor.MatchString(in.Actor) || strings.HasSuffix(in.Actor, "*") {
				return nil, ops.Errorf(ops.CodeNotFound, "there is no such actor with roles of its own")
			}
			return nil, s.audited(ctx, who, "actor.deleted", in.Actor, nil, func() error { return s.db.DeleteServiceActor(ctx, in.Actor) })
		})
}

func join(permissions []ops.Permission) string {
	texts := make([]string, len(permissions))
	for i, p := range permissions {
		texts[i] = string(p)
	}
	return strings.Join(texts, " ")
}
