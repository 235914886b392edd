package api

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	maxOIDCAnswer = 1 << 20 // of one answer of a provider
	oidcWithin    = 8 * time.Second
	oidcKnownFor  = 10 * time.Minute // what a provider says about itself
	maxOIDCAtOnce = 4
	maxGroups     = 2000 // of one person
)

// oidcClient talks to the OpenID Connect provider. It dials as fetcher does, so
// it follows no redirect and never connects to where a machine's identity is
// handed out; it reads at most maxOIDCAnswer and talks about maxOIDCAtOnce
// sign-ins at once.
type oidcClient struct {
	http  *http.Client
	slots chan struct{}

	mu    sync.Mutex
	known map[string]oidcKnown // by issuer; it holds one
}

// oidcKnown is what a provider says about itself, with its keys.
type oidcKnown struct {
	provider *oidc.Provider
	at       time.Time
}

func newOIDCClient() *oidcClient {
	client := *newFetcher().client
	client.Timeout, client.Transport = oidcWithin, shortAnswers{client.Transport}
	return &oidcClient{http: &client, slots: make(chan struct{}, maxOIDCAtOnce)}
}

// shortAnswers fails where an answer is too long, before it is in memory.
type shortAnswers struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (s shortAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.next.RoundTrip(r)
	if err == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, maxOIDCAnswer)
	}
	return res, err
}

// slot waits for a place and gives the context in which the library uses our client.
func (c *oidcClient) slot(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, oidcWithin)
	select {
	case c.slots <- struct{}{}:
		return oidc.ClientContext(ctx, c.http), func() { cancel(); <-c.slots }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, ops.Errorf(ops.CodeUnavailable, "too many people sign in at once")
	}
}

// provider asks a provider about itself (OpenID Connect Discovery 1.0), if that
// was not done a short while ago. ctx is one of slot.
func (c *oidcClient) provider(ctx context.Context, issuer string) (*oidc.Provider, error) {
	c.mu.Lock()
	known, ok := c.known[issuer]
	c.mu.Unlock()
	if ok && time.Since(known.at) < oidcKnownFor {
		return known.provider, nil
	}
	p, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, ops.Errorf(ops.CodeUnavailable, "the provider does not say what it is: %s", reasonOf(err))
	}
	var more struct {
		Keys     string `json:"jwks_uri"`
		UserInfo string `json:"userinfo_endpoint"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, ops.Errorf(ops.CodeUnavailable, "the provider does not say what it is: %s", err)
	}
	for what, text := range map[string]string{"authorization_endpoint": p.Endpoint().AuthURL, "token_endpoint": p.Endpoint().TokenURL, "jwks_uri": more.Keys, "userinfo_endpoint": more.UserInfo} {
		if text == "" && what == "userinfo_endpoint" {
			continue
		}
		if u, err := url.Parse(text); err != nil || u.Host == "" || !ops.SafeURL(u) {
			return nil, ops.Errorf(ops.CodeUnavailable, "the provider's %s is not a URL with https", what)
		}
	}
	c.mu.Lock()
	c.known = map[string]oidcKnown{issuer: {p, time.Now()}}
	c.mu.Unlock()
	return p, nil
}

// oidcFlow is one sign-in with a provider.
type oidcFlow struct {
	provider *oidc.Provider
	config   oauth2.Config
	settings ops.OIDCProvider
}

func (s *API) oidcFlow(ctx context.Context, p ops.OIDCProvider) (oidcFlow, error) {
	provider, err := s.oidc.provider(ctx, p.Issuer)
	if err != nil {
		return oidcFlow{}, err
	}
	secret, err := s.oidcSecret(p)
	if err != nil {
		return oidcFlow{}, err
	}
	endpoint := provider.Endpoint()
	if endpoint.AuthStyle, err = authStyle(provider, secret); err != nil {
		return oidcFlow{}, err
	}
	return oidcFlow{provider, oauth2.Config{ClientID: p.ClientID, ClientSecret: secret.Reveal(), Endpoint: endpoint,
		RedirectURL: s.oidcRedirectURL(), Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...)}, p}, nil
}

// authStyle says how the client proves itself. A guess that is wrong would use
// up the code, so it is what the provider says, which is the header if it says
// nothing (OpenID Connect Discovery 1.0, section 3).
func authStyle(p *oidc.Provider, secret ops.Secret) (oauth2.AuthStyle, error) {
	var says struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := p.Claims(&says); err != nil {
		return 0, ops.Errorf(ops.CodeUnavailable, "the provider does not say what it is: %s", err)
	}
	switch {
	case secret.Empty(), len(says.Methods) > 0 && !slices.Contains(says.Methods, "client_secret_basic"):
		return oauth2.AuthStyleInParams, nil
	}
	return oauth2.AuthStyleInHeader, nil
}

// oidcRedirectURL is the one that a provider is told of, exactly.
func (s *API) oidcRedirectURL() string {
	return strings.TrimSuffix(s.publicURL.String(), "/") + "/api/v1/auth/oidc/callback"
}

// oidcSecret opens the client's secret; a public client has none.
func (s *API) oidcSecret(p ops.OIDCProvider) (ops.Secret, error) {
	if p.Secret == nil {
		return ops.Secret{}, nil
	}
	ring, err := s.ring()
	if err != nil {
		return ops.Secret{}, err
	}
	secret, err := ring.Open(p.SecretCredential(p.Secret))
	if err != nil {
		s.log.Warn("the client secret of the OpenID Connect provider does not open", "err", err)
		return secret, ops.Errorf(ops.CodeUnavailable, "the client secret does not open: its key is gone. Set it again")
	}
	return secret, nil
}

// identity exchanges a code for who has signed in. It believes an ID token that
// the provider signed with one of its keys, for us, in this very sign-in.
func (f oidcFlow) identity(ctx context.Context, code string, bound oidcBound) (postgres.OIDCIdentity, error) {
	token, err := f.config.Exchange(ctx, code, oauth2.VerifierOption(bound.verifier()))
	if err != nil {
		return postgres.OIDCIdentity{}, fmt.Errorf("exchange the code: %s", exchangeProblem(err))
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return postgres.OIDCIdentity{}, errors.New("the provider gives no ID token")
	}
	id, err := f.provider.VerifierContext(ctx, &oidc.Config{ClientID: f.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return postgres.OIDCIdentity{}, fmt.Errorf("the ID token is refused: %w", err)
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return postgres.OIDCIdentity{}, fmt.Errorf("the ID token is refused: %w", err)
	}
	azp, named := claims["azp"]
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(bound.nonce())) != 1:
		return postgres.OIDCIdentity{}, errors.New("the ID token is of another sign-in: its nonce is wrong")
	case id.Subject == "" || len(id.Subject) > 255 || storable(id.Subject) != id.Subject: // OpenID Connect Core 1.0, section 2
		return postgres.OIDCIdentity{}, errors.New("the ID token has no usable subject")
	case named && azp != f.config.ClientID, !named && len(id.Audience) > 1: // section 3.1.3.7
		return postgres.OIDCIdentity{}, errors.New("the ID token was made for another client")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return postgres.OIDCIdentity{}, fmt.Errorf("the access token is not the ID token's: %w", err)
		}
	}
	// Some providers keep what is longer than a name to the user info.
	_, hasName := claimAt(claims, f.settings.UsernameClaim)
	_, hasGroups := claimAt(claims, f.settings.GroupsClaim)
	if (!hasName || !hasGroups) && f.provider.UserInfoEndpoint() != "" {
		info, err := f.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return postgres.OIDCIdentity{}, fmt.Errorf("ask for the user info: %s", reasonOf(err))
		}
		if info.Subject != id.Subject { // section 5.3.2: else it must not be used
			return postgres.OIDCIdentity{}, errors.New("the user info is of somebody else")
		}
		more := map[string]any{}
		if err := info.Claims(&more); err != nil {
			return postgres.OIDCIdentity{}, fmt.Errorf("the user info is refused: %w", err)
		}
		for name, value := range more {
			if _, known := claims[name]; !known {
				claims[name] = value
			}
		}
	}
	who := postgres.OIDCIdentity{Issuer: f.settings.Issuer, Subject: id.Subject}
	if name, ok := claimAt(claims, f.settings.UsernameClaim); ok {
		who.Username, _ = name.(string)
	}
	groups, _ := claimAt(claims, f.settings.GroupsClaim)
	who.Groups, err = groupsOf(groups)
	return who, err
}

// exchangeProblem says why a code was refused: the provider's word for it, and
// nothing that it quotes.
func exchangeProblem(err error) string {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := http.StatusText(e.Response.StatusCode)
		if known := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}; slices.Contains(known, e.ErrorCode) {
			return e.ErrorCode
		}
		return "the provider answers " + status
	}
	return reasonOf(err)
}

// claimAt gives a claim by its name, or else a.b as b in a.
func claimAt(claims map[string]any, name string) (any, bool) {
	if v, ok := claims[name]; ok {
		return v, true
	}
	first, rest, ok := strings.Cut(name, ".")
	inner, isMap := claims[first].(map[string]any)
	if !ok || !isMap {
		return nil, false
	}
	return claimAt(inner, rest)
}

// groupsOf reads groups: a list of texts, one text, or nothing. What else there
// is says that the claim is not what it should be, which gives no roles.
func groupsOf(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{storable(v)}, nil
	case []any:
		if len(v) > maxGroups {
			return nil, fmt.Errorf("the provider names %d groups: at most %d are read", len(v), maxGroups)
		}
		groups := make([]string, 0, len(v))
		for _, g := range v {
			text, ok := g.(string)
			if !ok {
				return nil, errors.New("the groups are not a list of names")
			}
			// * is ours: a group of that name is nobody's.
			if text = storable(text); text != "*" {
				groups = append(groups, text)
			}
		}
		return groups, nil
	}
	return nil, errors.New("the groups are not a list of names")
}

// oidcCheck is what a provider says about itself.
type oidcCheck struct {
	Issuer      string   `json:"issuer"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Scopes      []string `json:"scopes_supported" nullable:"false"`
	Claims      []string `json:"claims_supported" nullable:"false"`
	RedirectURL string   `json:"redirect_url" doc:"What has to be entered at the provider, exactly."`
	Misses      []string `json:"misses" nullable:"false" doc:"What is wanted of a provider and it does not say that it has."`
}

// check asks a provider about itself, whatever is known of it.
func (c *oidcClient) check(ctx context.Context, issuer, redirect string) (oidcCheck, error) {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return oidcCheck{}, err
	}
	defer done()
	c.mu.Lock()
	delete(c.known, issuer)
	c.mu.Unlock()
	p, err := c.provider(ctx, issuer)
	if err != nil {
		return oidcCheck{}, err
	}
	var says struct {
		Scopes    []string `json:"scopes_supported"`
		Claims    []string `json:"claims_supported"`
		Responses []string `json:"response_types_supported"`
		PKCE      []string `json:"code_challenge_methods_supported"`
	}
	if err := p.Claims(&says); err != nil {
		return oidcCheck{}, ops.Errorf(ops.CodeUnavailable, "the provider does not say what it is: %s", err)
	}
	out := oidcCheck{Issuer: issuer, Authorize: p.Endpoint().AuthURL, Token: p.Endpoint().TokenURL, Scopes: append([]string{}, says.Scopes...),
		Claims: append([]string{}, says.Claims...), RedirectURL: redirect, Misses: []string{}}
	if !slices.Contains(says.Responses, "code") {
		out.Misses = append(out.Misses, "the authorization code flow (response type code)")
	}
	if !slices.Contains(says.PKCE, "S256") {
		out.Misses = append(out.Misses, "PKCE with S256: it is sent all the same")
	}
	return out, nil
}
