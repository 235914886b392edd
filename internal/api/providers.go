package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/llm/catalogue"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// ProviderSettings are all that can be said of a provider but its name.
type ProviderSettings struct {
	Kind              string     `json:"kind" enum:"openai,anthropic,google,openrouter,openai-compatible"`
	BaseURL           string     `json:"base_url,omitempty" maxLength:"2048" doc:"Where the protocol begins, such as https://llm.example/v1; left out, the vendor's own. An openai-compatible one has none."`
	Model             string     `json:"model" minLength:"1" maxLength:"200" pattern:"^[^\\s%?#\\\\]+$"`
	Credential        *string    `json:"credential,omitempty" maxLength:"100" doc:"The name of a credential of kind llm_key; empty is none. Left out in a change, without key, it stays."`
	Key               ops.Secret `json:"key,omitempty" maxLength:"4096" doc:"In place of credential: the key itself, which is sealed as a credential for this provider alone. Never shown again; left out in a change, it stays, unless credential is another one."`
	Default           bool       `json:"default,omitempty" doc:"Used where nothing else is said."`
	AllowPrivate      bool       `json:"allow_private,omitempty" doc:"Let the proxy dial private and loopback addresses for it."`
	Effort            string     `json:"effort,omitempty" enum:",low,medium,high" doc:"How much the model is to reason; empty leaves it to the vendor. A model that cannot refuses it."`
	PriceInput        *float64   `json:"price_input,omitempty" minimum:"0" maximum:"10000" doc:"What a million tokens cost that the model reads, in US dollars, where it is not the vendor's list price. With price_output or not at all."`
	PriceOutput       *float64   `json:"price_output,omitempty" minimum:"0" maximum:"10000" doc:"The same for those that it writes."`
	Window            int        `json:"window,omitempty" minimum:"0" maximum:"100000000" doc:"How many tokens a conversation may have; 0 is what is known of the model."`
	Fallback          string     `json:"fallback,omitempty" maxLength:"100" doc:"The name of the provider that a run turns to when this one cannot be had: overloaded, limiting, not reachable."`
	FallbackOnAccount bool       `json:"fallback_on_account,omitempty" doc:"Turn to it also when the vendor refuses the key or the account is used up."`
	Patience          int        `json:"patience,omitempty" minimum:"0" maximum:"3600" doc:"For how many seconds this one is asked again before that; 0 is 60."`
	Wait              int        `json:"wait,omitempty" minimum:"0" maximum:"1440" doc:"How many minutes a run waits when neither this one nor its fallbacks can be had, before it fails; meanwhile it needs no worker. 0 is not at all."`
}

type newProvider struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$"`
		ProviderSettings
	}
}

type changedProvider struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct{ ProviderSettings }
}

type providerPath struct {
	ID string `path:"id" maxLength:"36"`
}

// providerView is a provider with what is known of its model.
type providerView struct {
	ops.Provider
	Info *catalogue.Model `json:"model_info,omitempty" doc:"What the vendor lists; missing for a model that nobody here knows."`
}

func providerViewOf(p ops.Provider) providerView {
	v := providerView{Provider: p}
	if m, ok := catalogue.Find(p.Kind, p.Model); ok {
		v.Info = &m
	}
	return v
}

type kindPath struct {
	Kind string `path:"kind" enum:"openai,anthropic,google,openrouter,openai-compatible"`
}

// providerKind is a vendor, with the models of it that we know.
type providerKind struct {
	Kind    string            `json:"kind"`
	BaseURL string            `json:"base_url" doc:"Where it is where nothing else is said; empty for a kind that has no place of its own."`
	Models  []catalogue.Model `json:"models" nullable:"false"`
}

// providerTest is what came of one small turn of the model.
type providerTest struct {
	OK           bool      `json:"ok"`
	Error        string    `json:"error,omitempty" doc:"Why there is no answer."`
	Kind         string    `json:"kind,omitempty" enum:"rate_limited,overloaded,unavailable,interrupted,malformed,auth,quota,too_long,refused,invalid,token" doc:"What sort of failure it was."`
	Text         string    `json:"text,omitempty" doc:"What it said."`
	Tools        bool      `json:"tools" doc:"Whether it called the tool that it was asked to call; one that does not cannot investigate."`
	LatencyMS    int64     `json:"latency_ms" doc:"Until the whole answer was here."`
	FirstTokenMS int64     `json:"first_token_ms,omitempty" doc:"Until something was."`
	Usage        ops.Usage `json:"usage"`
}

func (s *API) providerOperations(api huma.API) {
	const tag, root = "configuration", "/llm-providers"
	const one = root + "/{id}"
	handle(s, api, operation{id: "list-llm-providers", method: http.MethodGet, path: root, summary: "LLM endpoints", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[providerView]], error) {
			all, err := s.db.Providers(ctx)
			views := make([]providerView, len(all))
			for i := range all {
				views[i] = providerViewOf(all[i])
			}
			return items(views, err)
		})
	handle(s, api, operation{id: "create-llm-provider", method: http.MethodPost, path: root, summary: "Add an LLM endpoint", tag: tag, status: http.StatusCreated}, s.createProvider)
	handle(s, api, operation{id: "get-llm-provider", method: http.MethodGet, path: one, summary: "One LLM endpoint", tag: tag},
		func(ctx context.Context, _ caller, in *providerPath) (*answer[providerView], error) {
			return s.providerAnswer(ctx, in.ID)
		})
	handle(s, api, operation{id: "change-llm-provider", method: http.MethodPut, path: one, summary: "Change an LLM endpoint, all of it but its name; it counts from the next run on", tag: tag}, s.changeProvider)
	handle(s, api, operation{id: "delete-llm-provider", method: http.MethodDelete, path: one, summary: "Remove an LLM endpoint that nothing uses", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *providerPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoProvider
			}
			return nil, s.audited(ctx, who, "provider.deleted", in.ID, nil, func() error { return s.db.RemoveProvider(ctx, in.ID) })
		})
	handle(s, api, operation{id: "test-llm-provider", asks: true, method: http.MethodPost, path: one + "/test", summary: "Have one small turn of the model, the way that runs go", tag: tag}, s.testProvider)
	handle(s, api, operation{id: "get-llm-provider-kind", method: http.MethodGet, path: root + "/kinds/{kind}", summary: "A vendor's models with prices and context sizes, as far as they are known", tag: tag},
		func(_ context.Context, _ caller, in *kindPath) (*answer[providerKind], error) {
			models := catalogue.Models(in.Kind)
			if models == nil {
				models = []catalogue.Model{}
			}
			return &answer[providerKind]{providerKind{in.Kind, ops.ProviderKinds[in.Kind], models}}, nil
		})
}

var errNoProvider = ops.Errorf(ops.CodeNotFound, "there is no such LLM provider")

func (s *API) providerAnswer(ctx context.Context, id string) (*answer[providerView], error) {
	if !ops.ValidID(id) {
		return nil, errNoProvider
	}
	p, err := s.db.Provider(ctx, id)
	return &answer[providerView]{providerViewOf(p)}, err
}

// provider checks what is said of a provider and completes it.
func (s *API) provider(ctx context.Context, id, name string, b ProviderSettings) (ops.Provider, error) {
	p := ops.Provider{ID: id, Name: name, Kind: b.Kind, BaseURL: strings.TrimRight(b.BaseURL, "/"), Model: storable(b.Model),
		Default: b.Default, AllowPrivate: b.AllowPrivate, Effort: b.Effort, PriceInput: b.PriceInput, PriceOutput: b.PriceOutput, Window: b.Window,
		Fallback: storable(b.Fallback), FallbackOnAccount: b.FallbackOnAccount, Patience: b.Patience, Wait: b.Wait, CreatedAt: time.Now().UTC()}
	if b.Credential != nil {
		p.Credential = storable(*b.Credential)
	}
	if p.BaseURL == "" {
		p.BaseURL = ops.ProviderKinds[p.Kind]
	}
	u, err := url.Parse(p.BaseURL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return p, ops.Errorf(ops.CodeInvalid, "base_url is not of the form https://HOST/PATH")
	case u.Scheme == "http" && !p.AllowPrivate:
		return p, ops.Errorf(ops.CodeInvalid, "base_url must be https, but for a host in your own network (allow_private)")
	case (p.PriceInput == nil) != (p.PriceOutput == nil):
		return p, ops.Errorf(ops.CodeInvalid, "price_input and price_output go together")
	case p.Fallback == p.Name:
		return p, ops.Errorf(ops.CodeInvalid, "a provider is not its own fallback")
	case p.Fallback == "" && (p.FallbackOnAccount || p.Patience > 0):
		return p, ops.Errorf(ops.CodeInvalid, "fallback_on_account and patience are of a provider with a fallback")
	case !b.Key.Empty() && p.Credential != "":
		return p, ops.Errorf(ops.CodeInvalid, "give either credential or key")
	}
	if p.Fallback != "" {
		all, err := s.db.Providers(ctx)
		if err != nil {
			return p, err
		}
		if !slices.ContainsFunc(all, func(o ops.Provider) bool { return o.Name == p.Fallback }) {
			return p, ops.Errorf(ops.CodeInvalid, "fallback names no LLM provider")
		}
	}
	return p, s.checkCredential(ctx, p.Credential, "llm_key")
}

// ownKey is the credential of one provider alone: that which is there, or a new
// one, which has no version yet.
func (s *API) ownKey(ctx context.Context, provider string) (ops.Credential, error) {
	c := ops.Credential{ID: ops.NewID(), Name: provider + "-key", Kind: "llm_key", Targets: []string{provider}, CreatedAt: time.Now().UTC()}
	known, err := s.db.CredentialByName(ctx, c.Name)
	switch {
	case ops.CodeOf(err) == ops.CodeNotFound:
		return c, nil
	case err != nil:
		return c, err
	case known.Kind != c.Kind || !slices.Equal(known.Targets, c.Targets):
		return c, ops.Errorf(ops.CodeConflict, "there is a credential %s for something else: choose one with credential", c.Name)
	}
	return known, nil
}

// storeProvider stores a provider and, if one is given, its key: both or neither,
// since a provider that is refused must not cost the one that is there its key.
func (s *API) storeProvider(ctx context.Context, who caller, action string, p ops.Provider, key ops.Secret, store func(*postgres.DB, ops.Provider) error) error {
	if key.Empty() {
		return s.audited(ctx, who, action, p.ID, providerDetail(p), func() error { return store(s.db, p) })
	}
	secret, err := ops.CredentialSecret{Secret: key}.Of("llm_key")
	if err != nil {
		return err
	}
	c, err := s.ownKey(ctx, p.Name)
	if err != nil {
		return err
	}
	p.Credential = c.Name
	seal := func(c ops.Credential) ([]byte, error) { return s.sealed(c, secret) }
	keyAction, detail := "credential.rotated", map[string]string(nil)
	storeKey := func(db *postgres.DB) error {
		_, err := db.RotateCredential(ctx, c.ID, seal)
		return err
	}
	if c.Version == 0 {
		keyAction, detail = "credential.created", map[string]string{"name": c.Name, "kind": c.Kind}
		c.Version = 1
		if c.Sealed, err = seal(c); err != nil {
			return err
		}
		storeKey = func(db *postgres.DB) error { return db.CreateCredential(ctx, c) }
	}
	return s.audited(ctx, who, keyAction, c.ID, detail, func() error {
		return s.audited(ctx, who, action, p.ID, providerDetail(p), func() error {
			return s.db.Atomically(ctx, func(db *postgres.DB) error {
				if err := storeKey(db); err != nil {
					return err
				}
				return store(db, p)
			})
		})
	})
}

func (s *API) createProvider(ctx context.Context, who caller, in *newProvider) (*answer[providerView], error) {
	p, err := s.provider(ctx, ops.NewID(), in.Body.Name, in.Body.ProviderSettings)
	if err != nil {
		return nil, err
	}
	err = s.storeProvider(ctx, who, "provider.created", p, in.Body.Key, func(db *postgres.DB, p ops.Provider) error { return db.CreateProvider(ctx, p) })
	if err != nil {
		return nil, err
	}
	return s.providerAnswer(ctx, p.ID) // the first one has become the default
}

func (s *API) changeProvider(ctx context.Context, who caller, in *changedProvider) (*answer[providerView], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoProvider
	}
	old, err := s.db.Provider(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Body.Credential == nil && in.Body.Key.Empty() {
		in.Body.Credential = &old.Credential
	}
	p, err := s.provider(ctx, in.ID, old.Name, in.Body.ProviderSettings)
	if err != nil {
		return nil, err
	}
	err = s.storeProvider(ctx, who, "provider.changed", p, in.Body.Key, func(db *postgres.DB, p ops.Provider) error { return db.UpdateProvider(ctx, p) })
	if err != nil {
		return nil, err
	}
	return s.providerAnswer(ctx, p.ID)
}

func providerDetail(p ops.Provider) map[string]string {
	return map[string]string{"name": p.Name, "kind": p.Kind, "base_url": p.BaseURL, "model": p.Model, "credential": p.Credential, "fallback": p.Fallback}
}

// testProvider has one turn of the model. The api has no key: it asks through
// the proxy, as a run does, with a token for this one provider and a minute.
func (s *API) testProvider(ctx context.Context, who caller, in *providerPath) (*answer[providerTest], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoProvider
	}
	p, err := s.db.Provider(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if s.proxyURL == "" {
		return nil, ops.Errorf(ops.CodeInvalid, "this api does not know its proxy (AKMATORI_PROXY_URL), through which models are asked")
	}
	var out providerTest
	err = s.audited(ctx, who, "provider.tested", p.ID, providerDetail(p), func() error {
		token, end, err := s.db.MintProviderTest(ctx, p.ID, who.actor())
		if err != nil {
			return err
		}
		defer func() {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := end(late); err != nil {
				s.log.Warn("the token of a test was not taken back, and ends by itself", "provider", p.Name, "err", err)
			}
		}()
		if out, err = s.tryModel(ctx, p, token); err != nil || !out.OK {
			return err
		}
		return s.db.ProviderTested(ctx, p)
	})
	return &answer[providerTest]{out}, err
}

const (
	tryTool = "report_status"
	tryAsk  = "This is a test of the connection. Call the tool " + tryTool + " with status \"ready\", and say nothing else."
)

// tryModel asks once: who tests wants to see what a run would meet.
func (s *API) tryModel(ctx context.Context, p ops.Provider, token ops.Secret) (providerTest, error) {
	model, err := llm.Open(llm.Config{Kind: p.Kind, BaseURL: s.proxyURL + "/llm/" + p.ID, Key: token, Attempts: 1})
	if err != nil {
		return providerTest{}, err
	}
	defer model.Close()
	ctx, cancel := context.WithTimeout(ctx, postgres.ProviderTestLife-5*time.Second)
	defer cancel()
	began := time.Now()
	out := providerTest{}
	reply, err := model.Stream(ctx, llm.Request{Model: p.Model, Effort: p.Effort, MaxOutput: 2048, Messages: []llm.Message{{Role: llm.User, Text: tryAsk}},
		Tools: []llm.Tool{{Name: tryTool, Description: "Reports a status.",
			Schema: json.RawMessage(`{"type":"object","properties":{"status":{"type":"string"}},"required":["status"]}`)}}},
		func(d llm.Delta) {
			if out.FirstTokenMS == 0 && d.Text+d.Reasoning != "" {
				out.FirstTokenMS = max(1, time.Since(began).Milliseconds())
			}
		})
	out.LatencyMS = time.Since(began).Milliseconds()
	if e, ok := errors.AsType[*llm.Error](err); ok {
		out.Error, out.Kind = e.Error(), string(e.Kind)
		return out, nil
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			out.Error, out.Kind = "the model gave no answer in time", string(llm.Unavailable)
			return out, nil
		}
		return out, err
	}
	out.OK, out.Usage, out.Tools = true, reply.Usage, len(reply.Calls) > 0
	out.Text = storable(reply.Text[:min(len(reply.Text), 500)])
	out.Usage.Provider = p.Name
	catalogue.Charge(&out.Usage, p.Kind, p.Model, p.PriceInput, p.PriceOutput)
	return out, nil
}
