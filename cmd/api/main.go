// Command api is the akmatori-api process: webhooks, the public API, the web
// page and the workers' dispatcher. Configuration comes from the environment.
//
//	akmatori-api           serve
//	akmatori-api health    ask the one that serves here whether it is ready
//	akmatori-api migrate   make the roles and bring the schema up to date
//	akmatori-api openapi   print the description of the public API
package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/api"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// settings are the process's. Each has the prefix AKMATORI_; a secret X may
// also come from the file that X_FILE names.
type settings struct {
	PublicListen string `env:"PUBLIC_LISTEN" envDefault:":8080"`
	AgentListen  string `env:"AGENT_LISTEN" envDefault:":8081"`
	OpsListen    string `env:"OPS_LISTEN" envDefault:"127.0.0.1:9090"`
	PublicURL    string `env:"PUBLIC_URL"` // what browsers and senders use; by default the listener's address

	DatabaseURL ops.Secret `env:"DATABASE_URL,required"` // as role akmatori_api
	WorkerToken ops.Secret `env:"WORKER_TOKEN,required"`

	// Public keys are no secrets; they are of that type to be read from files.
	ToolsPublicKey  ops.Secret `env:"TOOLS_PUBLIC_KEY,required"`
	EgressPublicKey ops.Secret `env:"EGRESS_PUBLIC_KEY,required"`

	// The key ring of the zone api, for senders that sign. Without it there are none.
	APIKey ops.Secret `env:"API_KEY"`

	// The key that signs what is recorded, and the public ones of all processes.
	AuditKey        ops.Secret `env:"AUDIT_KEY,required"`
	AuditPublicKeys ops.Secret `env:"AUDIT_PUBLIC_KEYS,required"`
	// A folder of the process's own where heads of the audit are kept; without it they are in the log alone.
	AuditAnchors string `env:"AUDIT_ANCHORS"`

	// TLS at the public listener, both or none; read again when they change.
	TLSCertFile string `env:"TLS_CERT_FILE"`
	TLSKeyFile  string `env:"TLS_KEY_FILE"`

	// How long a browser stays signed in, at all and without being used.
	SessionLifetime time.Duration `env:"SESSION_LIFETIME" envDefault:"168h"`
	SessionIdle     time.Duration `env:"SESSION_IDLE" envDefault:"24h"`
	// From which risk on (low, medium, high, critical, never) an approval needs
	// the password or a code once more, and how long one that was given counts.
	StepUpRisk   string        `env:"STEP_UP_RISK" envDefault:"high"`
	StepUpWithin time.Duration `env:"STEP_UP_WITHIN" envDefault:"15m"`
	// Nobody approves without a second factor.
	ApproversNeedSecondFactor bool `env:"APPROVERS_NEED_SECOND_FACTOR"`
	// Networks of the reverse proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8,::1/128.
	TrustedProxies []string `env:"TRUSTED_PROXIES"`

	GatewayURL string        `env:"GATEWAY_URL,required"` // for agents, and to ask Zabbix; such as http://mcp-gateway:8082/mcp
	ProxyURL   string        `env:"PROXY_URL,required"`   // what agents use, such as http://credential-proxy:8083
	Lease      time.Duration `env:"LEASE"`                // of a run whose worker is silent

	// How many days incidents are kept after their end, with all that belongs to
	// them, and deliveries as they came; 0 is for ever.
	KeepIncidentsDays  int `env:"KEEP_INCIDENTS_DAYS" envDefault:"400"`
	KeepDeliveriesDays int `env:"KEEP_DELIVERIES_DAYS" envDefault:"30"`

	// A configuration file (package config), loaded at the start and on SIGHUP.
	Config string `env:"CONFIG"`
}

// migration are the settings of migrate.
type migration struct {
	OwnerDatabaseURL ops.Secret `env:"OWNER_DATABASE_URL,required"` // may create roles
	// Passwords of the roles; one that is empty is left as it is.
	APIPassword     ops.Secret `env:"API_PASSWORD"`
	GatewayPassword ops.Secret `env:"GATEWAY_PASSWORD"`
	ProxyPassword   ops.Secret `env:"PROXY_PASSWORD"`
}

func main() {
	switch command(os.Args[1:]) {
	case "", "health":
		process.Main("api", run)
	case "migrate":
		process.Run("api-migrate", migrate)
	case "openapi":
		doc, err := api.Document()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, _ = os.Stdout.Write(doc)
	default:
		fmt.Fprintln(os.Stderr, "usage: akmatori-api [health | migrate | openapi]")
		os.Exit(2)
	}
}

func command(args []string) string {
	switch len(args) {
	case 0:
		return ""
	case 1:
		return args[0]
	}
	return "too many"
}

func run(ctx context.Context, s settings, log *slog.Logger) error {
	spareCollections(os.Getenv, os.ReadFile)
	proxies, err := prefixes(s.TrustedProxies)
	if err != nil {
		return fmt.Errorf("AKMATORI_TRUSTED_PROXIES: %w", err)
	}
	c := api.Config{
		SessionLife: s.SessionLifetime, SessionIdle: s.SessionIdle, TrustedProxies: proxies,
		StepUpRisk: s.StepUpRisk, StepUpWithin: s.StepUpWithin, ApproversNeedSecondFactor: s.ApproversNeedSecondFactor,
		PublicListen: s.PublicListen, AgentListen: s.AgentListen, OpsListen: s.OpsListen, PublicURL: s.PublicURL,
		DatabaseURL: s.DatabaseURL, WorkerToken: s.WorkerToken,
		ToolsPublicKey: s.ToolsPublicKey.Reveal(), EgressPublicKey: s.EgressPublicKey.Reveal(), ReadPublicKeys: rereadPublicKeys(s),
		Keys: s.APIKey, ReadKeys: process.Reread("API_KEY"),
		AuditKey: s.AuditKey, AuditPublicKeys: s.AuditPublicKeys, AuditAnchors: s.AuditAnchors,
		TLSCertFile: s.TLSCertFile, TLSKeyFile: s.TLSKeyFile,
		GatewayURL: s.GatewayURL, ProxyURL: s.ProxyURL, Lease: s.Lease, Log: log,
		Keep: postgres.Retention{Incidents: days(s.KeepIncidentsDays), Deliveries: days(s.KeepDeliveriesDays)},
	}
	if s.Config == "" {
		server, err := api.New(ctx, c)
		if err != nil {
			return err
		}
		return server.Run(ctx)
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	r, err := reloads(ctx, s, log)
	if err != nil {
		return err
	}
	defer r.DB.Close()
	c.Configuration = r.Loaded
	server, err := api.New(ctx, c)
	if err != nil {
		return err
	}
	return serve(ctx, server, r, again)
}

// prefixes reads networks, or addresses, which are networks of one.
func prefixes(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if a, err := netip.ParseAddr(text); err == nil {
			text = netip.PrefixFrom(a, a.BitLen()).String()
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// days is so long, or as long as there is a number for, which is nearly three centuries.
func days(n int) time.Duration {
	const day = 24 * time.Hour
	return time.Duration(max(-1, min(n, int(math.MaxInt64/day)))) * day
}

// rereadPublicKeys gives what reads the keys that came from files again.
func rereadPublicKeys(s settings) func() (tools, egress string, err error) {
	read := func(name string, fixed ops.Secret) (string, error) {
		file := process.Reread(name)
		if file == nil {
			return fixed.Reveal(), nil
		}
		key, err := file()
		return key.Reveal(), err
	}
	return func() (tools, egress string, err error) {
		if tools, err = read("TOOLS_PUBLIC_KEY", s.ToolsPublicKey); err != nil {
			return "", "", err
		}
		egress, err = read("EGRESS_PUBLIC_KEY", s.EgressPublicKey)
		return tools, egress, err
	}
}

func migrate(ctx context.Context, s migration, log *slog.Logger) error {
	passwords := map[string]ops.Secret{}
	for role, p := range map[string]ops.Secret{postgres.RoleAPI: s.APIPassword, postgres.RoleGateway: s.GatewayPassword, postgres.RoleProxy: s.ProxyPassword} {
		if !p.Empty() {
			passwords[role] = p
		}
	}
	if err := postgres.Migrate(ctx, s.OwnerDatabaseURL, passwords); err != nil {
		return err
	}
	log.Info("the database is up to date", "schema", postgres.Version())
	return nil
}
