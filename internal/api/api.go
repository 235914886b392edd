package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/akmatori/akmatori/internal/anchor"
	"github.com/akmatori/akmatori/internal/dispatch"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/serve"
	"github.com/akmatori/akmatori/internal/wire"
)

// Config says what the process needs. PublicURL, Lease and Log may be empty.
type Config struct {
	PublicListen, AgentListen, OpsListen string
	// PublicURL is what browsers and senders reach the public listener by; by
	// default its own address. With https, cookies are for https alone.
	PublicURL string

	DatabaseURL ops.Secret // as role akmatori_api
	WorkerToken ops.Secret // what a worker must know

	// ToolsPublicKey and EgressPublicKey are what credentials are sealed with.
	ToolsPublicKey, EgressPublicKey string
	// ReadPublicKeys, if given, reads both again before something is sealed: a
	// key that was rotated out must not be used by a process that is older.
	ReadPublicKeys func() (tools, egress string, err error)

	// Keys is the ring of the zone api: what the secrets are sealed with that
	// senders sign with. Without it there are no such sources. ReadKeys, if given,
	// reads it again before it is used.
	Keys     ops.Secret
	ReadKeys func() (ops.Secret, error)

	// AuditKey signs the chain "api", as of ops.ParseAuditKey; AuditPublicKeys
	// (ops.ParseAuditKeys) are those that all chains are verified with.
	AuditKey, AuditPublicKeys ops.Secret
	// AuditAnchors is the folder that heads of the audit are kept in (package
	// anchor); without it they are only in the log.
	AuditAnchors string

	// TLSCertFile and TLSKeyFile (PEM, both or none) make the public listener
	// speak TLS. They are read again when they have changed.
	TLSCertFile, TLSKeyFile string

	// GatewayURL (its MCP endpoint) and ProxyURL are what agents reach those by;
	// the api asks Zabbix through the gateway.
	GatewayURL, ProxyURL string

	// SessionLife and SessionIdle are how long a browser stays signed in, at all
	// and without being used; 0 means the defaults.
	SessionLife, SessionIdle time.Duration
	// StepUpRisk is the risk from which on an approval needs the password or a
	// code once more, if it was not given for StepUpWithin: low, medium, high, critical or
	// never. Empty and 0 mean high and a quarter of an hour.
	StepUpRisk   string
	StepUpWithin time.Duration
	// ApproversNeedSecondFactor lets nobody approve who has none.
	ApproversNeedSecondFactor bool
	// TrustedProxies are those in front of the public listener whose
	// X-Forwarded-For says where a request comes from. Without them nobody's does.
	TrustedProxies []netip.Prefix

	Lease time.Duration // of a run whose worker is silent; 0 means dispatch.DefaultLease

	// Configuration says what was loaded of a configuration file, for the page and
	// the metrics; nil: there is none.
	Configuration func() ops.Configuration

	// Keep says how long things are kept; its zero value keeps all for ever.
	Keep postgres.Retention

	Log *slog.Logger
}

// API is the process.
type API struct {
	db        *postgres.DB
	log       *slog.Logger
	publicURL *url.URL
	// configuration is nil if there is no configuration file.
	configuration func() ops.Configuration
	readKeys      func() (map[ops.Zone]seal.PublicKey, error)
	ring          func() (seal.Ring, error) // of the zone api
	metrics       *metrics
	keep          postgres.Retention
	registry      *prometheus.Registry

	sessions sessions
	stepUp   stepUp
	oidc     *oidcClient

	approversNeedFactor bool

	hashes   *hasher
	logins   *throttle
	page     *page
	sources  *sources
	intake   *intake
	hub      *hub
	dispatch *dispatch.Dispatcher

	trusted  []netip.Prefix // proxies
	anchor   *anchor.Anchor
	verifier *verifier
	exports  chan struct{} // one for each that is under way

	began      time.Time
	fetch      fetcher
	gatewayURL string
	proxyURL   string
	asking     map[string]bool // the routes on which we ask others, each as "POST /api/v1/…"
	asked      chan struct{}   // holds one: an approval may wait for review

	public, agents, ops net.Listener
}

// New checks c, connects to the database, opens the listeners and, while there
// is no user, prints the setup link.
func New(ctx context.Context, c Config) (*API, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if err := c.Keep.Check(); err != nil {
		return nil, err
	}
	s := newServer(c.Log)
	s.keep, s.trusted = c.Keep, c.TrustedProxies
	if s.configuration = c.Configuration; s.configuration != nil {
		s.registry.MustRegister(reloadGauge(s.configuration))
	}
	stepUp, err := newStepUp(c.StepUpRisk, c.StepUpWithin)
	if err != nil {
		return nil, err
	}
	s.stepUp, s.approversNeedFactor = stepUp, c.ApproversNeedSecondFactor
	if c.ReadPublicKeys == nil {
		c.ReadPublicKeys = func() (tools, egress string, err error) { return c.ToolsPublicKey, c.EgressPublicKey, nil }
	}
	s.readKeys = func() (map[ops.Zone]seal.PublicKey, error) { return publicKeys(c.ReadPublicKeys()) }
	if _, err := s.readKeys(); err != nil {
		return nil, err
	}
	if s.ring, err = ownRing(c); err != nil {
		return nil, err
	}
	auditKey, err := anchor.ReadKey(Chain, c.AuditKey)
	if err != nil {
		return nil, err
	}
	if s.db, err = postgres.Open(ctx, postgres.Config{URL: c.DatabaseURL, App: "akmatori-api", AuditKey: auditKey}); err != nil {
		return nil, err
	}
	if s.verifier, err = newVerifier(s.db, auditKey, c.AuditPublicKeys, s.log, s.registry); err == nil {
		s.anchor, err = anchor.New(ctx, anchor.Config{DB: s.db, Key: auditKey, Dir: c.AuditAnchors, Log: s.log, To: s.registry})
	}
	if err == nil {
		err = s.bind(ctx, c)
	}
	if err == nil {
		err = s.installStarters(ctx)
	}
	if err == nil {
		err = s.armSetup(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// newServer makes the parts that need no database: it is enough to describe
// the operations.
func newServer(log *slog.Logger) *API {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s := &API{log: log, registry: reg, metrics: newMetrics(reg), hashes: newHasher(), logins: newThrottle(), asked: make(chan struct{}, 1), asking: map[string]bool{},
		publicURL: &url.URL{Scheme: "http", Host: "localhost"}, exports: make(chan struct{}, maxExports)}
	s.hub = newHub(s.metrics.streams)
	return s
}

// publicKeys parses what is read of them.
func publicKeys(tools, egress string, err error) (map[ops.Zone]seal.PublicKey, error) {
	if err != nil {
		return nil, fmt.Errorf("public keys: %w", err)
	}
	keys := map[ops.Zone]seal.PublicKey{}
	for zone, text := range map[ops.Zone]string{ops.ZoneTools: tools, ops.ZoneEgress: egress} {
		key, err := seal.ParsePublic(text)
		if err != nil {
			return nil, fmt.Errorf("key of zone %s: %w", zone, err)
		}
		if key.Zone() != zone {
			return nil, fmt.Errorf("key of zone %s: it is a key of zone %s", zone, key.Zone())
		}
		keys[zone] = key
	}
	return keys, nil
}

func (s *API) bind(ctx context.Context, c Config) (err error) {
	if s.dispatch, err = dispatch.New(dispatch.Config{DB: s.db, WorkerToken: c.WorkerToken, GatewayURL: c.GatewayURL, ProxyURL: c.ProxyURL,
		Lease: c.Lease, Metrics: s.registry, Log: s.log}); err != nil {
		return err
	}
	for _, l := range []struct {
		to         *net.Listener
		what, addr string
	}{{&s.public, "public", c.PublicListen}, {&s.agents, "agents", c.AgentListen}, {&s.ops, "ops", c.OpsListen}} {
		if *l.to, err = serve.Listen(ctx, l.what, l.addr); err != nil {
			return err
		}
	}
	scheme := "http"
	if c.TLSCertFile != "" || c.TLSKeyFile != "" {
		scheme = "https"
		if s.public, err = serve.TLS(s.public, c.TLSCertFile, c.TLSKeyFile, s.log); err != nil {
			return err
		}
	}
	if c.PublicURL == "" {
		c.PublicURL = scheme + "://" + reachable(s.public.Addr())
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return errors.New("the public URL is not of the form https://HOST")
	}
	s.publicURL = &url.URL{Scheme: u.Scheme, Host: u.Host}
	if s.sessions, err = newSessions(u.Scheme == "https", c.SessionLife, c.SessionIdle); err != nil {
		return err
	}
	s.began, s.fetch, s.gatewayURL, s.oidc = time.Now(), newFetcher(), c.GatewayURL, newOIDCClient()
	s.proxyURL = strings.TrimSuffix(c.ProxyURL, "/")
	s.sources = newSources(s.db, s.ring, s.log)
	s.intake = newIntake(s.db, s.metrics, s.log)
	s.page, err = newPage()
	return err
}

// reachable gives an address that can be dialled on this machine: a listener on
// all addresses has none of its own.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
	}
	return addr.String()
}

func (s *API) close() {
	for _, l := range []net.Listener{s.public, s.agents, s.ops} {
		if l != nil {
			_ = l.Close()
		}
	}
	s.db.Close()
}

// PublicURL is where the page, the public API and the webhooks are.
func (s *API) PublicURL() string { return s.publicURL.String() }

// AgentURL is where workers dial.
func (s *API) AgentURL() string { return "ws://" + reachable(s.agents.Addr()) + wire.Path }

// OpsURL is where health and metrics are.
func (s *API) OpsURL() string { return "http://" + reachable(s.ops.Addr()) }

// Run serves until ctx ends. Requests under way may end, their alerts are still
// stored, workers are told to look for another replica.
func (s *API) Run(ctx context.Context) error {
	defer s.close()
	// What requests need outlives the servers.
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var back errgroup.Group
	back.Go(func() error { s.intake.run(behind); return nil })
	back.Go(func() error { s.anchor.Run(behind); return nil })

	front, fctx := errgroup.WithContext(ctx)
	front.Go(func() error { return serve.HTTP(fctx, s.public, s.publicHandler(), s.log) })
	front.Go(func() error { return serve.HTTP(fctx, s.agents, s.agentsHandler(), s.log) })
	front.Go(func() error {
		return serve.HTTP(fctx, s.ops, serve.Ops(s.registry, s.db.CheckSchema, serve.Route{Pattern: "GET /audit/heads", Handler: s.anchor}), s.log)
	})
	front.Go(func() error { return s.dispatch.Run(fctx) })
	front.Go(func() error { return s.db.Listen(fctx, []string{postgres.ChannelEvents}, s.hub.wake) })
	front.Go(func() error { return s.noteApprovals(fctx) })
	front.Go(func() error { s.verifier.run(fctx); return nil })
	front.Go(func() error { return s.reviewApprovals(fctx) })
	front.Go(func() error { return s.runChores(fctx, s.chores()) })
	front.Go(func() error { s.db.Announce(fctx, "api", s.detail, s.log); return nil })
	s.log.Info("the api serves", "public", s.PublicURL(), "agents", s.agents.Addr().String(), "ops", s.ops.Addr().String())
	err := front.Wait()
	stop()
	_ = back.Wait()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

const (
	searchQuiet = 500 * time.Millisecond // an incident is indexed when it has got no alert for this long,
	searchMost  = 5 * time.Second        // and in a storm as often as this
)

// chores is what the api does by itself.
func (s *API) chores() []chore {
	return []chore{
		{"sessions", "removes sessions that have ended", 10 * time.Minute, func(ctx context.Context) error { return s.db.DeleteEndedSessions(ctx, s.sessions.idle) }},
		{"delivery ids", "forgets by which ids senders repeat themselves, after a week", time.Hour, s.forgetDeliveryIDs},
		{"retention", "deletes what is older than is to be kept", 10 * time.Minute, s.deleteExpired},
		{"tallies", "sums up what the list of incidents counts", time.Minute, s.db.SettleTallies},
		{"settle", "ends flap holds, storms, maintenance and alerts of which nothing is heard", 5 * time.Second, s.db.Settle},
		{"search", "makes incidents findable by their words", time.Second, func(ctx context.Context) error { return s.db.IndexSearch(ctx, searchQuiet, searchMost) }},
		{"reconcile", "asks senders which alerts are open", 5 * time.Second, s.reconcileDue},
		{"tool servers", "asks tool servers whether their tools are what was accepted", time.Minute, s.askServers},
		{"memories", "remembers findings that a rule of yours accepts", time.Minute, s.rememberByRules},
		{"silence", "looks for sources that have gone silent", 15 * time.Second, s.watchSilence},
		{"beats", "forgets signs of life of processes that are gone", time.Minute, s.db.PruneBeats},
		{"noise", "counts alerts and incidents for the dashboard", 15 * time.Second, s.db.CountNoise},
		{"noisiest", "ranks the noisiest alerts and sources", time.Minute, s.db.RankNoise},
	}
}

func (s *API) agentsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+wire.Path, s.dispatch)
	return mux
}

// webhookURL is what a sender is configured with.
func (s *API) webhookURL(source string) string {
	return strings.TrimSuffix(s.publicURL.String(), "/") + "/webhook/alert/" + source
}
