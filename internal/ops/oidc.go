package ops

import (
	"cmp"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Who may sign in with a password while an OpenID Connect provider is enabled.
const (
	PasswordsEverybody = "everybody"
	PasswordsAdmins    = "admins" // who manages accounts: they must get in when the provider is away
)

// OIDCSecret and TOTPSecret are kinds of secrets of the zone api that are not in
// the table of credentials ([OIDCProvider.SecretCredential], [TOTPCredential]).
const (
	OIDCSecret = "oidc_secret"
	TOTPSecret = "totp_secret"
)

// OIDCProvider is who else people sign in with: an OpenID Connect provider.
type OIDCProvider struct {
	ID       string `json:"-"`
	Name     string `json:"name"` // as on the button "Sign in with NAME"
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	// Secret is the client's, sealed for the zone api; nil for a public client.
	Secret []byte `json:"-"`
	// Scopes are asked for beside openid.
	Scopes []string `json:"scopes"`
	// UsernameClaim and GroupsClaim name claims of the ID token or of the user
	// info; a.b is b in a, if there is no claim of that very name.
	UsernameClaim string `json:"username_claim"`
	GroupsClaim   string `json:"groups_claim"`
	// Provision makes an account for whoever is not known and has a role by their groups.
	Provision bool   `json:"provision"`
	Enabled   bool   `json:"enabled"`
	Passwords string `json:"passwords"`
	// Groups say which roles members have. Group * is everybody.
	Groups    []GroupRoles `json:"groups"`
	UpdatedAt time.Time    `json:"updated_at,omitzero"`
}

// GroupRoles are the roles that a group of a provider gives.
type GroupRoles struct {
	Group string   `json:"group"`
	Roles []string `json:"roles"`
}

// SecretCredential is what the sealed client secret is bound to: to the provider
// and to whom it is sent. A row that was given another issuer does not open.
func (p OIDCProvider) SecretCredential(sealed []byte) Credential {
	return Credential{ID: p.ID, Name: "sign-in with " + p.Name, Kind: OIDCSecret, Targets: []string{p.Issuer, p.ClientID}, Version: 1, Sealed: sealed}
}

// TOTPCredential is what the sealed secret of a second factor is bound to: a row
// that was given another user's does not open.
func TOTPCredential(id, user string, sealed []byte) Credential {
	return Credential{ID: id, Name: "second factor", Kind: TOTPSecret, Targets: []string{user}, Version: 1, Sealed: sealed}
}

// Complete fills in what is usual where nothing is said.
func (p *OIDCProvider) Complete() {
	p.UsernameClaim, p.GroupsClaim = cmp.Or(p.UsernameClaim, "preferred_username"), cmp.Or(p.GroupsClaim, "groups")
	p.Passwords = cmp.Or(p.Passwords, PasswordsEverybody)
	if p.Scopes == nil {
		p.Scopes = []string{"profile", "groups"}
	}
}

// Check refuses what cannot work or would not be safe.
func (p OIDCProvider) Check() error {
	for what, text := range map[string]string{"name": p.Name, "client_id": p.ClientID, "username_claim": p.UsernameClaim, "groups_claim": p.GroupsClaim} {
		if !plainText(text, 200) {
			return Errorf(CodeInvalid, "%s has 1 to 200 characters that can be seen", what)
		}
	}
	if err := CheckIssuer(p.Issuer); err != nil {
		return err
	}
	if len(p.Scopes) > 20 || slices.ContainsFunc(p.Scopes, func(s string) bool { return !plainText(s, 100) || strings.ContainsAny(s, " \"\\") }) {
		return Errorf(CodeInvalid, "scopes are at most 20 words")
	}
	if p.Passwords != PasswordsEverybody && p.Passwords != PasswordsAdmins {
		return Errorf(CodeInvalid, "passwords is everybody or admins")
	}
	if len(p.Groups) > 500 {
		return Errorf(CodeInvalid, "at most 500 groups can have roles")
	}
	seen := map[string]bool{}
	for _, g := range p.Groups {
		switch {
		case !plainText(g.Group, 300):
			return Errorf(CodeInvalid, "a group has 1 to 300 characters that can be seen")
		case seen[g.Group]:
			return Errorf(CodeInvalid, "group %q is there twice", g.Group)
		case len(g.Roles) == 0 || len(g.Roles) > 50:
			return Errorf(CodeInvalid, "group %q needs a role", g.Group)
		}
		seen[g.Group] = true
	}
	return nil
}

// CheckIssuer refuses what is no issuer (OpenID Connect Discovery 1.0, section 3)
// or could be read on the way: plain http is for this machine alone.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || len(issuer) > 500 || !plainText(issuer, 500) {
		return Errorf(CodeInvalid, "issuer is the provider's URL, such as https://login.example.com, without query and fragment")
	}
	if !SafeURL(u) {
		return Errorf(CodeInvalid, "issuer needs https")
	}
	return nil
}

// SafeURL says whether secrets may be sent to u: over TLS, or within this machine.
func SafeURL(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

// plainText says whether text has 1 to longest bytes and nothing that is not seen.
func plainText(text string, longest int) bool {
	return text != "" && len(text) <= longest && strings.TrimSpace(text) == text &&
		!strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' || r >= 0x80 && r < 0xa0 })
}
