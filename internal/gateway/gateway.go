// Package gateway is the process between agents and managed hosts. It is the
// only one that opens the credentials of the zone tools, and it does so after
// every other step of [Gateway.decide] and [Gateway.act] has said yes.
//
// # What a call goes through
//
// The order is one function, written to be read: token, run, schema, target,
// what the platform forbids, the agent's rules, people; the audited intent; then the
// credential, the act under a deadline and an output limit, and the audited
// outcome. An error at any step means no. What cannot be recorded is not done.
//
// # Once
//
// A call is known by its holder, which is a run or a token that was issued for
// itself, and its id. The first to come starts it; whoever
// comes later with the same id, over whatever connection, waits for the same
// outcome or is given the stored one. The same id with other arguments is
// refused. So a call belongs to its holder and not to the connection that asked:
// an agent that goes away does not stop it and finds the result when it asks again.
// It is stopped by its own time limit and by the end of its run or token, which
// the gateway looks for twice a second. Only a call that its client gave no id,
// and so nobody can ask for again, is stopped when the client cancels the request.
//
// A gateway that dies between the start and the outcome leaves a call that
// nobody can know the end of. Each instance holds an advisory lock as long as it
// lives; a call of an instance that is gone is recorded as unknown, shown as
// such, and not done again.
//
// # Looked up, or remembered and compared
//
// Every request is judged by what its token stands for after it came, but for
// a ping: for that the answer may be pingAge old. A call to a target is judged by
// what was so when the last one with that token and target was ([memory]), which
// saves a round trip, and not by its age: the statement that records the intent
// compares. All that says who may do what where, agents, users, roles, issued
// tokens, targets and credentials, has one version in the database, which each
// change of it replaces in its own transaction, whoever makes it; the run is
// looked at itself, and the time. If anything is not as it was judged, nothing is
// recorded and nothing done, and the request begins again from the front with
// what is looked up now. So does one that memory does not plainly allow. Until the
// start is recorded not a byte goes to whoever asked, so memory can show nobody
// anything, and only let happen what would have been allowed at that moment.
//
// # When Postgres is away
//
// Nothing starts. The outcome of what runs is kept in memory and tried for
// [outcomePatience]; its caller gets it only when it is stored. A gateway that
// is stopped meanwhile leaves the call unknown.
//
// # Tools of servers
//
// Beside the tools of the program there are those of servers that admins have
// added: declared HTTP requests, and tools of servers of MCP that somebody has
// accepted. They go the same way. All tools are one set, made as a whole of one
// version of the database and then put in the place of the one before, within
// half a second of a change. A server is dialled by its own host and port alone,
// at an address that was judged, and its credential is bound to that host. What a
// server of MCP says about a tool is compared with what was accepted in each call,
// before the call; if it differs, the tool is not called, and hidden.
//
// A call of a tool that is not there for its holder is answered as an unknown
// one, and recorded.
//
// # Limits
//
// A request is at most 1 MiB, and the arguments of a call 64 KiB: people see, and
// the record has, all of them. A holder has at most [maxPerHolder] calls at a time and
// the gateway [maxRunning]; more are refused as unavailable, not queued. Live
// output that a client does not read fast enough is dropped, and the reader is
// told; the result has it.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akmatori/akmatori/internal/anchor"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/serve"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
)

// Config says how to run a gateway. All fields but ReadKeys, RunWaits and AuditAnchors are required.
type Config struct {
	Listen      string     // MCP, for agents
	OpsListen   string     // health and metrics
	DatabaseURL ops.Secret // role akmatori_gateway
	Keys        ops.Secret // the key ring of zone tools, as of seal.ParseRing
	AuditKey    ops.Secret // signs the chain "gateway", as of ops.ParseAuditKey
	// AuditAnchors is the folder that heads of the audit are kept in (package
	// anchor); without it they are only in the log.
	AuditAnchors string
	// RunWaits is how long a run's call is held while people decide on it; then
	// its run is parked. 0 means two minutes.
	RunWaits time.Duration
	// ReadKeys reads the ring again, when a credential is sealed with a key that
	// is not in it; nil means that it never changes.
	ReadKeys func() (ops.Secret, error)
	Log      *slog.Logger
}

// Gateway is one gateway process.
type Gateway struct {
	log      *slog.Logger
	db       *postgres.DB
	keys     *seal.Opener
	ssh      *tool.Pool
	zabbix   *tool.Zabbix
	builtin  []tool.Tool
	set      atomic.Pointer[toolSet]
	platform *policy.Rules
	rules    ruleCache
	grants   grants
	memory   memory
	running  registry
	leases   leases
	waits    waits
	runWaits time.Duration
	instance int32
	held     chan struct{} // closed when the instance's lock is held for the first time
	metrics  *metrics
	registry *prometheus.Registry
	anchor   *anchor.Anchor
	handler  http.Handler

	listener, opsListener net.Listener
}

// New checks the configuration, connects and binds.
func New(ctx context.Context, c Config) (_ *Gateway, err error) {
	if c.RunWaits < 0 {
		return nil, errors.New("gateway: the time that a call waits for approval is negative")
	}
	ring, err := seal.ParseRing(ops.ZoneTools, c.Keys)
	if err != nil {
		return nil, fmt.Errorf("tools key: %w", err)
	}
	keys := seal.NewOpener(ring, c.ReadKeys)
	auditKey, err := anchor.ReadKey("gateway", c.AuditKey)
	if err != nil {
		return nil, err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: c.DatabaseURL, App: "mcp-gateway", AuditKey: auditKey, Warm: warmConns})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	stored, err := db.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	damaged, err := keys.Missing(stored)
	if err != nil {
		return nil, err
	}
	if len(damaged) > 0 {
		c.Log.Error("credentials were changed behind our back and do not open: add them anew", "credentials", damaged)
	}
	metrics := prometheus.NewRegistry()
	kept, err := anchor.New(ctx, anchor.Config{DB: db, Key: auditKey, Dir: c.AuditAnchors, Log: c.Log, To: metrics})
	if err != nil {
		return nil, err
	}
	listener, err := serve.Listen(ctx, "gateway", c.Listen)
	if err != nil {
		return nil, err
	}
	opsListener, err := serve.Listen(ctx, "gateway operations", c.OpsListen)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	g := &Gateway{
		log: c.Log, db: db, keys: keys, ssh: tool.NewPool(c.Log), zabbix: tool.NewZabbix(c.Log), platform: policy.Platform(),
		instance: newInstance(), held: make(chan struct{}), registry: metrics, anchor: kept,
		listener: listener, opsListener: opsListener, runWaits: c.RunWaits,
	}
	if g.runWaits == 0 {
		g.runWaits = runWaits
	}
	g.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g.rules.warn = func(err error) { g.log.Warn("a rule of an agent can never decide", "err", err) }
	g.metrics = newMetrics(g.registry)
	g.builtin = tool.Table(g.ssh, g.zabbix)
	if err := g.reload(ctx); err != nil {
		return nil, errors.Join(err, listener.Close(), opsListener.Close())
	}
	g.handler = g.routes()
	return g, nil
}

// warmConns is how many connections to the database are open at all times: the
// gateway's own questions take turns on some of them, a call shall find one.
const warmConns = 4

// newInstance is a number that no other living gateway has; 0 is "none".
func newInstance() int32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return int32(binary.BigEndian.Uint32(b[:])>>1) | 1
}

// URL is where agents find it.
func (g *Gateway) URL() string { return "http://" + g.listener.Addr().String() }

// OpsURL is where its operations listener is.
func (g *Gateway) OpsURL() string { return "http://" + g.opsListener.Addr().String() }

// Run serves until ctx ends, then lets calls end for [serve.Grace] and stops
// the rest.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.db.Close()
	// The lock says "calls of this instance may still end", so it is given back last.
	alive, die := context.WithCancel(context.WithoutCancel(ctx))
	var holder sync.WaitGroup
	holder.Go(func() { _ = g.db.HoldInstance(alive, g.instance, sync.OnceFunc(func() { close(g.held) })) })
	holder.Go(func() { g.anchor.Run(alive) })
	defer holder.Wait()
	defer die()
	defer g.ssh.Close()
	defer g.zabbix.Close()
	defer func() {
		for _, r := range g.set.Load().remotes {
			r.Close()
		}
	}()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve.HTTP(ctx, g.listener, g.handler, g.log) })
	group.Go(func() error {
		return serve.HTTP(ctx, g.opsListener, serve.Ops(g.registry, g.ready, serve.Route{Pattern: "GET /audit/heads", Handler: g.anchor}), g.log)
	})
	group.Go(func() error {
		g.watch(ctx)
		return nil
	})
	group.Go(func() error {
		g.db.Announce(ctx, "gateway", nil, g.log)
		return nil
	})
	group.Go(func() error {
		g.watchCredentials(ctx)
		return nil
	})
	group.Go(func() error {
		g.watchTargets(ctx)
		return nil
	})
	group.Go(func() error {
		g.look(ctx)
		return nil
	})
	group.Go(func() error {
		g.refresh(ctx)
		return nil
	})
	g.log.Info("the gateway is ready", "listen", g.URL(), "ops", g.OpsURL(), "instance", g.instance)
	err := group.Wait()
	g.running.stop(serve.Grace, ops.Errorf(ops.CodeUnavailable, "the gateway is stopping"))
	return err
}

func (g *Gateway) ready(ctx context.Context) error {
	select {
	case <-g.held:
	default:
		return errors.New("the instance's lock is not held yet")
	}
	if err := g.db.CheckSchema(ctx); err != nil {
		return errors.New("the database cannot be used")
	}
	return nil
}

// watchEvery is how often the gateway looks whether the runs and tokens that it
// works for still live. A command ends within this, the query and the way to the host.
const watchEvery = 400 * time.Millisecond

// watch stops calls whose run or token has ended. Not known is not ended: calls
// have their own deadlines.
func (g *Gateway) watch(ctx context.Context) {
	g.poll(ctx, watchEvery, "whether runs and tokens have ended", g.running.holders, g.db.HoldersAlive, func(asked, alive []string) {
		g.running.stopOthers(asked, alive, ops.Errorf(ops.CodeForbidden, "its run or token has ended"))
	})
}

// poll asks the database about ids, all in one query, as long as there are any.
func (g *Gateway) poll(ctx context.Context, every time.Duration, what string, ids func() []string,
	ask func(context.Context, []string) ([]string, error), act func(asked, answer []string)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := ids()
		if len(asked) == 0 {
			continue
		}
		query, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := ask(query, asked)
		cancel()
		switch {
		case err == nil:
			act(asked, answer)
		case ctx.Err() == nil:
			g.log.Warn("cannot look "+what, "err", err)
		}
	}
}
