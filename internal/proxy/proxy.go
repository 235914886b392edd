package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/anchor"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/reach"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/serve"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Limits.
const (
	MaxBody    = 16 << 20  // of a request
	MaxAnswer  = 64 << 20  // of an answer
	bodyMemory = 256 << 20 // bodies under way, together
	runStreams = 16        // requests under way of one run
	runBodies  = 64 << 20  // their bodies, together
	pollTime   = 500 * time.Millisecond
	blindTime  = 5 * time.Second
	writeTime  = 30 * time.Second
)

// Config configures a [Proxy]. All fields but ReadKeys, RootCAs and AuditAnchors are required.
type Config struct {
	Listen      string     // for agents
	OpsListen   string     // metrics and health
	DatabaseURL ops.Secret // as role akmatori_proxy
	EgressKeys  seal.Ring  // of zone egress
	AuditKey    ops.Secret // signs the chain "proxy", as of ops.ParseAuditKey
	// AuditAnchors is the folder that heads of the audit are kept in (package
	// anchor); without it they are only in the log.
	AuditAnchors string
	// ReadKeys reads the ring again, when a credential is sealed with a key that
	// is not in it; nil means that it never changes.
	ReadKeys func() (ops.Secret, error)
	// RootCAs verifies upstreams; nil means the system's roots.
	RootCAs *x509.CertPool
	Log     *slog.Logger
}

// Proxy is the process. Make it with [New].
type Proxy struct {
	log      *slog.Logger
	db       *postgres.DB
	keys     *seal.Opener
	public   *http.Transport // to providers that may not be at a private address
	private  *http.Transport // to those that may
	live     *live
	bodies   *semaphore.Weighted
	listener net.Listener
	ops      net.Listener
	metrics  *prometheus.Registry
	anchor   *anchor.Anchor
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// New checks the configuration, connects to the database and binds both listeners.
func New(ctx context.Context, c Config) (_ *Proxy, err error) {
	if c.EgressKeys.Zone() != ops.ZoneEgress {
		return nil, errors.New("proxy: the key ring must be of zone egress")
	}
	auditKey, err := anchor.ReadKey(chain, c.AuditKey)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: c.DatabaseURL, App: "akmatori-proxy", AuditKey: auditKey})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{
		log:     c.Log,
		db:      db,
		keys:    seal.NewOpener(c.EgressKeys, c.ReadKeys),
		public:  newTransport(reach.Any(false), c.RootCAs),
		private: newTransport(reach.Any(true), c.RootCAs),
		live:    newLive(),
		bodies:  semaphore.NewWeighted(bodyMemory),
		metrics: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_proxy_requests_total",
			Help: "Requests of agents, by the status that they got."}, []string{"status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "akmatori_proxy_request_seconds",
			Help: "Duration of requests, streams included.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 16)}),
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	streams := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "akmatori_proxy_streams",
		Help: "Requests under way."}, func() float64 { return float64(p.live.len()) })
	p.metrics.MustRegister(p.requests, p.seconds, streams, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	stored, err := db.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	damaged, err := p.keys.Missing(stored)
	if err != nil {
		return nil, err
	}
	if len(damaged) > 0 {
		p.log.Error("credentials were changed behind our back and do not open: add them anew", "credentials", damaged)
	}
	if p.anchor, err = anchor.New(ctx, anchor.Config{DB: db, Key: auditKey, Dir: c.AuditAnchors, Log: c.Log, To: p.metrics}); err != nil {
		return nil, err
	}
	if p.listener, err = serve.Listen(ctx, "proxy", c.Listen); err != nil {
		return nil, err
	}
	if p.ops, err = serve.Listen(ctx, "operations", c.OpsListen); err != nil {
		return nil, err
	}
	return p, nil
}

// URL is where agents reach it.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// OpsURL is where metrics and health are.
func (p *Proxy) OpsURL() string { return "http://" + p.ops.Addr().String() }

// Run serves until ctx ends, then cuts what is under way: a stream is resumed
// by its run, not by its proxy.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.close()
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	var anchored sync.WaitGroup
	anchored.Go(func() { p.anchor.Run(behind) })
	defer anchored.Wait()
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve.HTTP(ctx, p.listener, http.HandlerFunc(p.serveLLM), p.log) })
	g.Go(func() error {
		return serve.HTTP(ctx, p.ops, serve.Ops(p.metrics, p.db.CheckSchema, serve.Route{Pattern: "GET /audit/heads", Handler: p.anchor}), p.log)
	})
	g.Go(func() error {
		p.live.watch(ctx, p.db.ProxyTokensAlive, p.log)
		return nil
	})
	g.Go(func() error {
		p.db.Announce(ctx, "proxy", nil, p.log)
		return nil
	})
	p.log.Info("the proxy serves", "url", p.URL(), "ops", p.OpsURL())
	return g.Wait()
}

func (p *Proxy) close() {
	for _, l := range []net.Listener{p.listener, p.ops} {
		if l != nil {
			_ = l.Close() // closed twice after Run, which is no error worth telling
		}
	}
	p.public.CloseIdleConnections()
	p.private.CloseIdleConnections()
	p.db.Close()
}
