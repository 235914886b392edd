package stack

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/akmatori/akmatori/internal/agent"
	"github.com/akmatori/akmatori/internal/api"
	"github.com/akmatori/akmatori/internal/gateway"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/proxy"
	"github.com/akmatori/akmatori/internal/seal"
	"golang.org/x/sync/errgroup"
)

// loopback binds where nobody outside this machine can reach it, on a free port.
const loopback = "127.0.0.1:0"

// Config says where the database is and what is fixed.
type Config struct {
	// API, Gateway and Proxy are the database as these roles; it is migrated.
	API, Gateway, Proxy ops.Secret
	State               *State
	Listen              string        // of the public listener; empty means a free port
	Lease               time.Duration // of a run; 0 means the default
	Slots               int           // of the worker; 0 means 4
	NoWorker            bool          // one that dials AgentsURL does the work
	// Configuration is of the file that was loaded; nil: there is none.
	Configuration func() ops.Configuration
	Log           *slog.Logger
}

// Stack is every process, made and not yet running.
type Stack struct {
	api     *api.API
	gateway *gateway.Gateway
	proxy   *proxy.Proxy
	agent   *agent.Agent // nil without a worker
}

// New makes the processes: gateway and proxy first, as the api tells agents
// where they are.
func New(ctx context.Context, c Config) (*Stack, error) {
	egress, err := seal.ParseRing(ops.ZoneEgress, c.State.EgressKey)
	if err != nil {
		return nil, err
	}
	if c.Listen == "" {
		c.Listen = loopback
	}
	if c.Slots == 0 {
		c.Slots = 4
	}
	s := &Stack{}
	if s.gateway, err = gateway.New(ctx, gateway.Config{
		Listen: loopback, OpsListen: loopback, DatabaseURL: c.Gateway, Keys: c.State.ToolsKey, Log: c.Log.With("process", "gateway"),
		AuditKey: c.State.AuditKeys["gateway"], AuditAnchors: c.State.Anchors,
	}); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if s.proxy, err = proxy.New(ctx, proxy.Config{
		Listen: loopback, OpsListen: loopback, DatabaseURL: c.Proxy, EgressKeys: egress, Log: c.Log.With("process", "proxy"),
		AuditKey: c.State.AuditKeys["proxy"], AuditAnchors: c.State.Anchors,
	}); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if s.api, err = api.New(ctx, api.Config{
		PublicListen: c.Listen, AgentListen: loopback, OpsListen: loopback, DatabaseURL: c.API,
		WorkerToken: c.State.WorkerToken, ToolsPublicKey: c.State.ToolsPublic, EgressPublicKey: c.State.EgressPublic, Keys: c.State.APIKey,
		GatewayURL: s.GatewayURL() + "/mcp", ProxyURL: s.ProxyURL(), Lease: c.Lease, Log: c.Log.With("process", "api"),
		AuditKey: c.State.AuditKeys["api"], AuditPublicKeys: c.State.AuditPublic, AuditAnchors: c.State.Anchors,
		Configuration: c.Configuration,
	}); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if c.NoWorker {
		return s, nil
	}
	if s.agent, err = agent.New(ctx, agent.Config{
		APIURL: s.AgentsURL(), WorkerToken: c.State.WorkerToken, Slots: c.Slots, OpsListen: loopback, Log: c.Log.With("process", "agent"),
	}); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return s, nil
}

// APIURL is where people and senders go.
func (s *Stack) APIURL() string { return s.api.PublicURL() }

// AgentsURL is what workers dial.
func (s *Stack) AgentsURL() string { return s.api.AgentURL() }

// GatewayURL is the base of the gateway; MCP is at /mcp below it.
func (s *Stack) GatewayURL() string { return s.gateway.URL() }

// ProxyURL is the proxy's base.
func (s *Stack) ProxyURL() string { return s.proxy.URL() }

// Run runs all processes until ctx ends or one of them fails.
func (s *Stack) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.gateway.Run(ctx) })
	g.Go(func() error { return s.proxy.Run(ctx) })
	g.Go(func() error { return s.api.Run(ctx) })
	if s.agent != nil {
		g.Go(func() error { return s.agent.Run(ctx) })
	}
	return g.Wait()
}
