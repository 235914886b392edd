package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/sandbox"
	"github.com/akmatori/akmatori/internal/serve"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
)

// Config is what a worker needs to know. Everything about a run comes with it.
type Config struct {
	// APIURL is the api's agent listener: ws://host:port/agents. Required.
	APIURL string
	// WorkerToken opens it. Required.
	WorkerToken ops.Secret
	// Slots is how many runs it takes at a time; 0 means 4.
	Slots int
	// Name is what people see; with a random suffix it is the worker's id.
	// Empty means "agent".
	Name string
	// OpsListen is the address of /livez, /readyz and /metrics; empty means none.
	OpsListen string
	// MustNotReach is what a worker that can reach it refuses to run with:
	// host:port, which must not take a TCP connection, and dns:NAME, which must
	// not resolve.
	MustNotReach []string
	// Workspace is the folder in which runs have a folder of their own, with a shell
	// and tools for files; empty means that they have none. It belongs to this worker alone, and so does the
	// process: see [sandbox.Sandbox].
	Workspace string
	// WithoutLandlock lets that shell run on a kernel that cannot confine it to
	// its folder.
	WithoutLandlock bool
	// ApprovalWait is how long a call in the workspace is held for people before its
	// run is parked; 0 means two minutes.
	ApprovalWait time.Duration
	// Log is required.
	Log *slog.Logger

	// backoff is the first pause before another try at the gateway or the
	// model; 0 means half a second. Tests shorten it.
	backoff time.Duration
}

// Pauses between tries at a connection to the api.
const (
	redialFirst = 100 * time.Millisecond
	redialMost  = 3 * time.Second
	// redialRefused is the pause when only a person can help: a wrong token,
	// another version.
	redialRefused = 30 * time.Second
)

// How long a stopping worker waits for its runs to stop, and for the api to
// store what they said.
const (
	stopRuns   = 2 * time.Second
	stopEvents = 3 * time.Second
)

// Agent is a worker process.
type Agent struct {
	cfg      Config
	id       string // unique per start
	listener net.Listener
	registry *prometheus.Registry
	metrics  *metrics
	sandbox  *sandbox.Sandbox // nil: runs have no shell
	library  *library
	changed  chan struct{} // holds one: there is something to send

	mu       sync.Mutex
	runs     map[string]*run
	welcomed bool // by the api, on the present connection
	stopping bool
	working  sync.WaitGroup // goroutines of runs
}

// New validates the configuration, checks that it is isolated, takes the
// workspace and binds the ops listener. It does not dial: the api may come later.
func New(ctx context.Context, cfg Config) (_ *Agent, err error) {
	u, err := url.Parse(cfg.APIURL)
	if err != nil || (u.Scheme != "ws" && u.Scheme != "wss") || u.Host == "" {
		return nil, fmt.Errorf("agent: the api's URL must look like ws://host:port%s", wire.Path)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = wire.Path
		cfg.APIURL = u.String()
	}
	if cfg.WorkerToken.Empty() {
		return nil, errors.New("agent: there is no worker token")
	}
	if cfg.Slots < 0 || cfg.Slots > 256 {
		return nil, errors.New("agent: slots are between 1 and 256")
	}
	if cfg.Slots == 0 {
		cfg.Slots = 4
	}
	if cfg.Name == "" {
		cfg.Name = "agent"
	}
	if cfg.Log == nil {
		return nil, errors.New("agent: there is no logger")
	}
	if cfg.ApprovalWait <= 0 {
		cfg.ApprovalWait = askWaits
	}
	if cfg.backoff == 0 {
		cfg.backoff = 500 * time.Millisecond
	}
	a := &Agent{cfg: cfg, id: cfg.Name + "-" + ops.NewID()[24:], registry: prometheus.NewRegistry(),
		changed: make(chan struct{}, 1), runs: map[string]*run{}}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.metrics = newMetrics(a.registry)
	if err := checkIsolation(ctx, net.DefaultResolver, cfg.MustNotReach, cfg.Log); err != nil {
		return nil, err
	}
	if cfg.Workspace != "" {
		a.sandbox, err = sandbox.Open(ctx, sandbox.Config{Root: cfg.Workspace, Library: cfg.libraryDir(), WithoutLandlock: cfg.WithoutLandlock, Log: cfg.Log})
		if err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, a.sandbox.Close())
			}
		}()
	}
	if a.library, err = newLibrary(cfg.libraryDir(), a.wake); err != nil {
		return nil, err
	}
	if cfg.OpsListen != "" {
		if a.listener, err = serve.Listen(ctx, "ops", cfg.OpsListen); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// libraryDir is where commands of the workspace read skills: beside the workspace,
// which is emptied whenever a worker takes it. Without one it is nowhere.
func (c Config) libraryDir() string {
	if c.Workspace == "" {
		return ""
	}
	return filepath.Clean(c.Workspace) + ".library"
}

// ID is what the api knows this worker by.
func (a *Agent) ID() string { return a.id }

// OpsURL is where the ops listener is; empty if there is none.
func (a *Agent) OpsURL() string {
	if a.listener == nil {
		return ""
	}
	return "http://" + a.listener.Addr().String()
}

// Run works until ctx ends, then leaves its runs to other workers and returns
// within a few seconds. It fails only if the ops listener does.
func (a *Agent) Run(ctx context.Context) error {
	// Runs and the connection outlive ctx for a moment: what runs say when they
	// stop is still sent.
	root, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	if a.listener != nil {
		g.Go(func() error { return serve.HTTP(gctx, a.listener, serve.Ops(a.registry, a.ready), a.cfg.Log) })
	}
	g.Go(func() error { a.connect(root); return nil })
	g.Go(func() error {
		<-gctx.Done()
		a.leave(root)
		stop()
		return nil
	})
	err := g.Wait()
	a.working.Wait()
	err = errors.Join(err, a.library.close())
	if a.sandbox != nil {
		err = errors.Join(err, a.sandbox.Close())
	}
	return err
}

func (a *Agent) ready(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.welcomed {
		return errors.New("no connection to the api")
	}
	return nil
}

// connect keeps a connection to the api until ctx ends.
func (a *Agent) connect(ctx context.Context) {
	pause := redialFirst
	for {
		began := time.Now()
		err := a.converse(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > redialMost {
			pause = redialFirst // it was a good connection
		}
		wait := pause
		switch {
		case ops.CodeOf(err) == ops.CodeUnauthenticated:
			wait = redialRefused
			a.cfg.Log.Error("the api refused the worker token: give this worker the api's token", "api", a.cfg.APIURL, "again_in", wait.String())
		case wire.ClosedWith(err, wire.CloseVersion):
			wait = redialRefused
			a.cfg.Log.Error("the api speaks another version of the protocol: api and agent must be of one release",
				"api", a.cfg.APIURL, "version", wire.Version, "again_in", wait.String(), "err", err)
		case wire.ClosedWith(err, wire.CloseDraining):
			pause, wait = redialFirst, redialFirst
			a.cfg.Log.Info("the api stops, dialing again", "api", a.cfg.APIURL)
		default:
			a.cfg.Log.Warn("no connection to the api", "api", a.cfg.APIURL, "err", err, "again_in", wait.String())
		}
		pause = min(2*pause, redialMost)
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// leave stops all runs and gives the api a moment to store what they said.
func (a *Agent) leave(ctx context.Context) {
	a.mu.Lock()
	a.stopping = true
	held := make([]*run, 0, len(a.runs))
	for _, r := range a.runs {
		held = append(held, r)
		r.cancel(errStopping)
	}
	a.mu.Unlock()
	if len(held) > 0 {
		a.cfg.Log.Info("stopping, the runs are left to other workers", "runs", len(held))
	}
	done := make(chan struct{})
	go func() { a.working.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopRuns):
	}
	ctx, cancel := context.WithTimeout(ctx, stopEvents)
	defer cancel()
	for _, r := range held {
		_ = r.out.storedAll(ctx)
	}
}

// start takes a run, which lives as long as ctx.
func (a *Agent) start(ctx context.Context, task wire.Task) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return nil // its lease will end
	}
	if old := a.runs[task.Run]; old != nil {
		if old.ref.Epoch >= task.Epoch {
			return nil // we have it
		}
		a.forgetLocked(old, errLost)
	}
	taken := 0
	for _, r := range a.runs {
		if r.task.Asked == nil {
			taken++
		}
	}
	if task.Asked == nil && taken >= 2*a.cfg.Slots { // a task may cross with a ready; more is an error
		return &wire.CloseError{Code: wire.CloseProtocol, Reason: "more runs than were asked for"}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run{
		ref: task.RunRef, task: task, worker: a.id, cancel: cancel, backoff: a.cfg.backoff, metrics: a.metrics, sandbox: a.sandbox, library: a.library,
		out:  newOutbox(task.NextSeq, a.wake),
		asks: newAsks(a.wake), askWaits: a.cfg.ApprovalWait,
		limits: task.Agent.Limits.OrDefault(),
		log:    a.cfg.Log.With("run", task.Run, "epoch", task.Epoch, "incident", task.Incident),
	}
	r.errands.wake = a.wake
	if task.Asked != nil {
		parent := a.runs[task.Asked.By]
		if parent == nil || !parent.errands.begin(task.Asked.Call, r) {
			cancel(errLost)
			r.log.Info("a run is left alone: nobody waits for it any more", "asked_by", task.Asked.By)
			return nil // the api ends it with the one that asked for it
		}
	}
	a.runs[task.Run] = r
	a.metrics.held.Set(float64(len(a.runs)))
	r.log.Info("a run starts", "transcript", len(task.Transcript), "deadline", task.Deadline)
	a.working.Go(func() {
		defer cancel(nil)
		if !r.work(ctx) {
			a.forget(r, errLost)
		}
	})
	return nil
}

// forget drops a run: it is stored to its end, or somebody else's.
func (a *Agent) forget(r *run, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetLocked(r, why)
}

func (a *Agent) forgetLocked(r *run, why error) {
	r.cancel(why)
	r.out.close()
	if a.runs[r.ref.Run] == r {
		delete(a.runs, r.ref.Run)
		if asked := r.task.Asked; asked != nil {
			if parent := a.runs[asked.By]; parent != nil {
				parent.errands.over(asked.Call, r)
			}
		}
		a.metrics.held.Set(float64(len(a.runs)))
		a.wake()
	}
}

// find gives the run of a claim, nil if it is not here.
func (a *Agent) find(ref wire.RunRef) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.runs[ref.Run]; r != nil && r.ref.Epoch == ref.Epoch {
		return r
	}
	return nil
}

// held gives the runs on this worker and how many more it would take. Those that
// its own runs ask for take no slot.
func (a *Agent) held() (runs []*run, free int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	free = a.cfg.Slots
	for _, r := range a.runs {
		runs = append(runs, r)
		if r.task.Asked == nil {
			free--
		}
	}
	if a.stopping {
		free = 0
	}
	return runs, max(0, free)
}

func (a *Agent) welcome(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.welcomed = yes
	if yes {
		a.metrics.connected.Set(1)
	} else {
		a.metrics.connected.Set(0)
	}
}

// wake tells the session that there is something to send.
func (a *Agent) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}
