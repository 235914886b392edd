package config

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

// File is configuration. Loading it again changes what is different and removes
// nothing. Unknown keys are errors.
type File struct {
	Sources     []Source     `yaml:"sources"`
	Credentials []Credential `yaml:"credentials"`
	Targets     []Target     `yaml:"targets"`
	Providers   []Provider   `yaml:"providers"`
	Agents      []Agent      `yaml:"agents"`
	ToolServers []ToolServer `yaml:"tool_servers"`
	OIDC        *OIDC        `yaml:"oidc"`
	// Skills are folders of skills, each a folder with a SKILL.md, or one itself;
	// Runbooks are folders of *.md files. Both are relative to the configuration file.
	Skills   []string `yaml:"skills"`
	Runbooks []string `yaml:"runbooks"`

	guidance guidance // what was read of these
	version  string   // of the text, by its content
}

// Source is a sender of alerts.
type Source struct {
	Name   string     `yaml:"name"`
	Kind   string     `yaml:"kind"`
	Secret ops.Secret `yaml:"secret"`
	// Auth is secret or signature; empty means what is usual for the kind.
	Auth string `yaml:"auth"`
	// ID fixes the source's id, so that a sender can be configured before the
	// source exists. Empty: one is made.
	ID string `yaml:"id"`
}

// Credential is a secret, given here or in a file of its own.
type Credential struct {
	Name       string     `yaml:"name"`
	Kind       string     `yaml:"kind"`
	Secret     ops.Secret `yaml:"secret"`
	SecretFile string     `yaml:"secret_file"` // relative to the configuration file
	Targets    []string   `yaml:"targets"`
}

// Target is a machine of the inventory, or a Zabbix instance, which has a
// URL in place of address and port; without a port it is 22. Without a host key, the one that a person has
// accepted for this address, port and jump host stays pinned.
type Target struct {
	Name       string            `yaml:"name"`
	Kind       string            `yaml:"kind"`
	URL        string            `yaml:"url"`
	CA         string            `yaml:"ca"` // PEM
	Address    string            `yaml:"address"`
	Port       int               `yaml:"port"`
	User       string            `yaml:"user"`
	HostKey    string            `yaml:"host_key"`
	Credential string            `yaml:"credential"`
	Labels     map[string]string `yaml:"labels"`
	Jump       string            `yaml:"jump"`
}

// Provider is an LLM endpoint, as of [ops.Provider]. Without a base_url it is
// where its vendor is.
type Provider struct {
	Name         string   `yaml:"name"`
	Kind         string   `yaml:"kind"`
	BaseURL      string   `yaml:"base_url"`
	Model        string   `yaml:"model"`
	Credential   string   `yaml:"credential"`
	Default      bool     `yaml:"default"`
	AllowPrivate bool     `yaml:"allow_private"`
	Effort       string   `yaml:"effort"`
	PriceInput   *float64 `yaml:"price_input"`
	PriceOutput  *float64 `yaml:"price_output"`
	Window       int      `yaml:"window"`
	// Fallback names another one, of this file or stored.
	Fallback          string `yaml:"fallback"`
	FallbackOnAccount bool   `yaml:"fallback_on_account"`
	Patience          int    `yaml:"patience"` // seconds
	Wait              int    `yaml:"wait"`     // minutes
}

// Agent is an agent. Rules that are left out keep those that are stored, as
// do skills, sub_agents, targets and credentials; for a new agent there are no
// rules, so everything is asked, and all skills.
type Agent struct {
	ID          string   `yaml:"id"`
	Description string   `yaml:"description"`
	Prompt      string   `yaml:"prompt"`
	Provider    string   `yaml:"provider"`
	Rules       []string `yaml:"rules"`
	Tools       []string `yaml:"tools"`      // names or prefix*; none is all
	Skills      []string `yaml:"skills"`     // names; * is all
	SubAgents   []string `yaml:"sub_agents"` // of this file or stored
	Targets     []string `yaml:"targets"`    // names or globs; none is all
	Credentials []string `yaml:"credentials"`
	// The limits of a run; 0 is the program's own.
	Steps        int           `yaml:"steps"`
	ToolCalls    int           `yaml:"tool_calls"`
	Duration     time.Duration `yaml:"duration"`
	OutputChars  int           `yaml:"output_chars"`
	OutputTokens int           `yaml:"output_tokens"`
	Tokens       int64         `yaml:"tokens"`
	USD          float64       `yaml:"usd"`
}

// OIDC is the OpenID Connect provider that people sign in with, as of
// [ops.OIDCProvider].
type OIDC struct {
	Name          string              `yaml:"name"`
	Issuer        string              `yaml:"issuer"`
	ClientID      string              `yaml:"client_id"`
	ClientSecret  ops.Secret          `yaml:"client_secret"`
	Scopes        []string            `yaml:"scopes"`
	UsernameClaim string              `yaml:"username_claim"`
	GroupsClaim   string              `yaml:"groups_claim"`
	Provision     bool                `yaml:"provision"`
	Disabled      bool                `yaml:"disabled"`
	Passwords     string              `yaml:"passwords"`
	Groups        map[string][]string `yaml:"groups"` // the roles of each
}

// Read reads a configuration file. In its values ${NAME} is the variable of
// that name; one that is not set is an error. $${ is ${ itself.
func Read(path string, env Environment) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var c File
	if err := decode(text, env, &c); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	sum := sha256.Sum256(text)
	c.version = hex.EncodeToString(sum[:6])
	beside := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(path), name)
	}
	if err := c.guidance.read(c.Skills, c.Runbooks, beside); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	for i, cred := range c.Credentials {
		if cred.SecretFile == "" {
			continue
		}
		if !cred.Secret.Empty() {
			return nil, fmt.Errorf("configuration %s: credential %s has secret and secret_file", path, cred.Name)
		}
		data, err := os.ReadFile(beside(cred.SecretFile))
		if err != nil {
			return nil, fmt.Errorf("configuration %s: credential %s: %w", path, cred.Name, err)
		}
		text := string(data)
		if cred.Kind != "ssh_key" { // whose form has lines; of the others a file has one, and mostly ends it
			text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		}
		c.Credentials[i].Secret = ops.NewSecret(text)
	}
	return &c, nil
}

// Keys are what secrets of a file are sealed with.
type Keys struct {
	Tools, Egress string     // public keys of these zones
	API           ops.Secret // key ring of the zone api, for senders that sign and for OIDC
}

// Apply makes the database say what c says, all of it or, if anything is wrong,
// nothing. db is open as the api's role.
func (c *File) Apply(ctx context.Context, db *postgres.DB, keys Keys) error {
	return db.Atomically(ctx, func(db *postgres.DB) error { return c.apply(ctx, db, keys) })
}

func (c *File) apply(ctx context.Context, db *postgres.DB, keys Keys) error {
	if err := c.once(); err != nil {
		return err
	}
	for _, src := range c.Sources {
		if err := applySource(ctx, db, keys, src); err != nil {
			return fmt.Errorf("source %q: %w", src.Name, err)
		}
	}
	for _, cred := range c.Credentials {
		if err := applyCredential(ctx, db, keys, cred); err != nil {
			return fmt.Errorf("credential %s: %w", cred.Name, err)
		}
	}
	for _, t := range c.Targets {
		if err := applyTarget(ctx, db, t); err != nil {
			return fmt.Errorf("target %s: %w", t.Name, err)
		}
	}
	if err := c.applyProviders(ctx, db); err != nil {
		return err
	}
	for _, t := range c.ToolServers {
		if err := applyToolServer(ctx, db, t); err != nil {
			return fmt.Errorf("tool server %q: %w", t.Name, err)
		}
	}
	if c.OIDC != nil {
		if err := c.OIDC.apply(ctx, db, keys); err != nil {
			return fmt.Errorf("oidc: %w", err)
		}
	}
	if err := c.guidance.apply(ctx, db); err != nil {
		return err
	}
	return c.applyAgents(ctx, db)
}

// targetName is what names of targets look like, so that rules and globs can use them.
var targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func applyTarget(ctx context.Context, db *postgres.DB, f Target) error {
	t := ops.Target{ID: ops.NewID(), Name: f.Name, Kind: cmp.Or(f.Kind, "ssh"), Address: f.Address, Port: f.Port, User: f.User,
		HostKey: f.HostKey, Credential: f.Credential, Labels: f.Labels, Jump: f.Jump, CA: f.CA}
	if !targetName.MatchString(t.Name) {
		return errors.New("a name is of letters, digits, dots, dashes and underscores")
	}
	if err := t.Complete(f.URL); err != nil {
		return err
	}
	return db.PutTarget(ctx, t)
}

// once refuses what is named twice: the second would change the first, and each
// load both of them.
func (c *File) once() error {
	seen := map[string]bool{}
	name := func(kind, name string) (err error) {
		if key := kind + " " + name; seen[key] {
			err = fmt.Errorf("%s is in the file twice", strings.TrimSpace(key))
		} else {
			seen[key] = true
		}
		return err
	}
	var errs []error
	for _, s := range c.Sources {
		errs = append(errs, name("source", s.Name))
		if s.ID != "" {
			errs = append(errs, name("source with the id", strings.ToLower(s.ID)))
		}
	}
	for _, cred := range c.Credentials {
		errs = append(errs, name("credential", cred.Name))
	}
	for _, t := range c.Targets {
		errs = append(errs, name("target", t.Name))
	}
	for _, p := range c.Providers {
		errs = append(errs, name("provider", p.Name))
		if p.Default {
			errs = append(errs, name("the default provider", ""))
		}
	}
	for _, t := range c.ToolServers {
		errs = append(errs, name("tool server", t.Name))
	}
	for _, a := range c.Agents {
		errs = append(errs, name("agent", a.ID))
	}
	return errors.Join(errs...)
}

// apply stores the provider, with its secret sealed for the zone api.
func (f *OIDC) apply(ctx context.Context, db *postgres.DB, keys Keys) error {
	p := ops.OIDCProvider{Name: f.Name, Issuer: f.Issuer, ClientID: f.ClientID, Scopes: f.Scopes, UsernameClaim: f.UsernameClaim, GroupsClaim: f.GroupsClaim,
		Provision: f.Provision, Enabled: !f.Disabled, Passwords: f.Passwords, Groups: []ops.GroupRoles{}}
	for _, group := range slices.Sorted(maps.Keys(f.Groups)) {
		p.Groups = append(p.Groups, ops.GroupRoles{Group: group, Roles: slices.Compact(slices.Sorted(slices.Values(f.Groups[group])))})
	}
	p.Complete()
	if err := p.Check(); err != nil {
		return err
	}
	stored, err := db.OIDC(ctx)
	if err != nil && ops.CodeOf(err) != ops.CodeNotFound {
		return err
	}
	var ring seal.Ring
	if !f.ClientSecret.Empty() {
		if ring, err = seal.ParseRing(ops.ZoneAPI, keys.API); err != nil {
			return err
		}
	}
	p.ID, p.Secret, p.UpdatedAt = stored.ID, stored.Secret, stored.UpdatedAt
	if reflect.DeepEqual(p, stored) && (f.ClientSecret.Empty() && p.Secret == nil || isSealed(ring, p.SecretCredential(p.Secret), f.ClientSecret)) {
		return nil
	}
	return db.PutOIDC(ctx, p, func(ops.OIDCProvider) (string, []byte, error) {
		p.ID = ops.NewID()
		if f.ClientSecret.Empty() {
			return p.ID, nil, nil
		}
		secret, err := ring.Public().Seal(p.SecretCredential(nil), f.ClientSecret)
		return p.ID, secret, err
	})
}

// isSealed says whether c is sealed with the newest key of the ring and has this secret.
func isSealed(ring seal.Ring, c ops.Credential, secret ops.Secret) bool {
	known, err := ring.Open(c)
	return err == nil && known.Reveal() == secret.Reveal() && seal.KeyID(c.Sealed) == ring.Public().ID()
}

// applyProviders stores all of them before the fallbacks, which may name any.
func (c *File) applyProviders(ctx context.Context, db *postgres.DB) error {
	for _, fallbacks := range []bool{false, true} {
		for _, f := range c.Providers {
			base, ok := ops.ProviderKinds[f.Kind]
			if base = cmp.Or(f.BaseURL, base); !ok || base == "" || f.Model == "" {
				return fmt.Errorf("provider %s: kind, model and, for openai-compatible, base_url are required", f.Name)
			}
			if (f.PriceInput == nil) != (f.PriceOutput == nil) {
				return fmt.Errorf("provider %s: price_input and price_output go together", f.Name)
			}
			p := ops.Provider{ID: ops.NewID(), Name: f.Name, Kind: f.Kind, BaseURL: strings.TrimRight(base, "/"), Model: f.Model, Credential: f.Credential,
				Default: f.Default, AllowPrivate: f.AllowPrivate, Effort: f.Effort, PriceInput: f.PriceInput, PriceOutput: f.PriceOutput, Window: f.Window,
				FallbackOnAccount: f.FallbackOnAccount, Patience: f.Patience, Wait: f.Wait}
			if fallbacks {
				p.Fallback = f.Fallback
			}
			if err := db.PutProvider(ctx, p); err != nil {
				return fmt.Errorf("provider %s: %w", f.Name, err)
			}
		}
	}
	return nil
}

func applySource(ctx context.Context, db *postgres.DB, keys Keys, f Source) error {
	if f.Name == "" || f.Kind == "" || f.Secret.Empty() {
		return errors.New("name, kind and secret are required")
	}
	kind, ok := ingest.Lookup(f.Kind)
	if !ok {
		return fmt.Errorf("there is no kind %q", f.Kind)
	}
	src := ops.Source{ID: cmp.Or(f.ID, ops.NewID()), Name: f.Name, Kind: f.Kind, Auth: cmp.Or(f.Auth, kind.Auth), Enabled: true}
	switch src.Auth {
	case ops.AuthSecret:
		src.Secret.Hash = ops.HashToken(f.Secret)
	case ops.AuthSignature:
		if kind.Signed == nil {
			return fmt.Errorf("%s does not sign what it sends", kind.Name)
		}
		all, err := db.Sources(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(known ops.Source) bool { return known.Name == f.Name })
		if i < 0 {
			i = slices.IndexFunc(all, func(known ops.Source) bool { return known.ID == f.ID })
		}
		if i >= 0 { // the seal is bound to the id that the row has
			src.ID, src.Secret.Sealed = all[i].ID, all[i].Secret.Sealed
		}
		ring, err := seal.ParseRing(ops.ZoneAPI, keys.API)
		if err != nil {
			return err
		}
		if isSealed(ring, src.SecretCredential(src.Secret.Sealed), f.Secret) {
			break
		}
		if src.Secret.Sealed, err = ring.Public().Seal(src.SecretCredential(nil), f.Secret); err != nil {
			return err
		}
	default:
		return fmt.Errorf("there is no auth %q", src.Auth)
	}
	_, err := db.PutSource(ctx, src)
	return err
}

func applyCredential(ctx context.Context, db *postgres.DB, keys Keys, c Credential) error {
	public := map[ops.Zone]string{ops.ZoneTools: keys.Tools, ops.ZoneEgress: keys.Egress}[ops.CredentialKinds[c.Kind]]
	if public == "" {
		return fmt.Errorf("there is no kind %q", c.Kind)
	}
	key, err := seal.ParsePublic(public)
	if err != nil {
		return err
	}
	if c.Secret, err = (ops.CredentialSecret{Secret: c.Secret}).Of(c.Kind); err != nil {
		return err
	}
	var ring seal.Ring // without one nothing is marked
	if !keys.API.Empty() {
		if ring, err = seal.ParseRing(ops.ZoneAPI, keys.API); err != nil {
			return err
		}
	}
	// Only its zone can open what is stored, so a mark says whether it is this secret.
	// Another version would void what people have approved with the one that is there.
	cred, mark, err := db.MarkedCredential(ctx, c.Name)
	if err != nil && ops.CodeOf(err) != ops.CodeNotFound {
		return err
	}
	if cred.Kind != c.Kind || !slices.Equal(cred.Targets, c.Targets) || seal.KeyID(cred.Sealed) != key.ID() || !ring.Marked(mark, cred, c.Secret) {
		if err := db.PutCredential(ctx, ops.Credential{Name: c.Name, Kind: c.Kind, Targets: c.Targets}, func(next ops.Credential) ([]byte, error) {
			cred = next
			return key.Seal(next, c.Secret)
		}); err != nil {
			return err
		}
	}
	newest, err := ring.Mark(cred, c.Secret)
	if err != nil || bytes.Equal(newest, mark) {
		return err
	}
	return db.MarkCredential(ctx, cred, newest)
}

// applyAgents stores all of them or none: who may ask whom is about all.
func (c *File) applyAgents(ctx context.Context, db *postgres.DB) error {
	var defs []ops.AgentDef
	for _, a := range c.Agents {
		def, err := agentOf(ctx, db, a)
		if err != nil {
			return fmt.Errorf("agent %s: %w", a.ID, err)
		}
		defs = append(defs, def)
	}
	if err := db.PutAgents(ctx, defs...); err != nil {
		return fmt.Errorf("agents: %w", err)
	}
	return nil
}

func agentOf(ctx context.Context, db *postgres.DB, a Agent) (ops.AgentDef, error) {
	def := ops.AgentDef{ID: a.ID, Description: a.Description, Prompt: a.Prompt, Provider: a.Provider, Rules: a.Rules, Tools: a.Tools,
		Skills: a.Skills, SubAgents: a.SubAgents, Targets: a.Targets, Credentials: a.Credentials,
		Limits: ops.Limits{Steps: a.Steps, ToolCalls: a.ToolCalls, Duration: a.Duration, OutputChars: a.OutputChars,
			OutputTokens: a.OutputTokens, Tokens: a.Tokens, USD: a.USD}}
	if err := def.Check(); err != nil {
		return def, err
	}
	if _, err := policy.Load(a.Rules); err != nil {
		return def, fmt.Errorf("rules: %w", err)
	}
	if _, err := policy.Builtin().LoadTools(a.Tools); err != nil {
		return def, fmt.Errorf("tools: %w", err)
	}
	stored, err := db.Agent(ctx, a.ID)
	switch ops.CodeOf(err) {
	case "":
	case ops.CodeNotFound:
		stored.Skills = []string{"*"}
	default:
		return def, err
	}
	for _, keep := range []struct{ to, from *[]string }{{&def.Rules, &stored.Rules}, {&def.Skills, &stored.Skills},
		{&def.SubAgents, &stored.SubAgents}, {&def.Targets, &stored.Targets}, {&def.Credentials, &stored.Credentials}} {
		if *keep.to == nil {
			*keep.to = *keep.from
		}
	}
	return def, nil
}
