// Command dev runs the whole product on loopback with a Postgres of its own. It
// is how a stranger sees it work and how its developers try it; it is in no image.
//
// Once everything is ready it prints facts to standard output, one a line, the
// last of them READY=1. Logs go to standard error. A second start on the same
// data goes on where the first one stopped.
//
// "dev eval FOLDER" runs cases of incidents instead, each in a product of its own,
// and says how good the investigations were.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/akmatori/akmatori/internal/postgres/seed"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/alecthomas/kong"
	"github.com/lmittmann/tint"
	"golang.org/x/sync/errgroup"
)

type grammar struct {
	Run  flags    `cmd:"" default:"withargs" help:"Run every process of Akmatori on loopback (what happens without a command)."`
	Eval evalArgs `cmd:"" help:"Run cases of incidents and judge what the investigations find."`
}

type flags struct {
	Data      string     `help:"Folder for the database and the keys." default:".data" type:"path"`
	Listen    string     `help:"Address of the page and the API." default:"127.0.0.1:8080"`
	Demo      bool       `help:"Add a scripted model, a demo host and a source, and post a sample alert."`
	Config    string     `help:"YAML file with sources, credentials, targets, providers and agents to load; SIGHUP loads it again." type:"existingfile"`
	LLMScript string     `help:"Scenario file of a scripted model to use as the LLM provider." name:"llm-script" type:"existingfile"`
	NoWorker  bool       `help:"Start no worker: one that dials AGENTS_URL, with the token in the data folder, does the investigations."`
	Incidents int        `help:"Fill an empty database with so many made-up incidents of 90 days first (100000 take a minute or two)."`
	Alerts    int        `help:"How many alerts the made-up incidents have. By default ten each."`
	Seed      uint64     `help:"Another number makes others." default:"1"`
	PgBinDir  string     `help:"Folder of PostgreSQL's programs. Without it they are searched for." env:"PG_BIN_DIR"`
	LogLevel  slog.Level `help:"debug, info, warn or error." default:"info"`
}

func main() {
	var g grammar
	command := kong.Parse(&g, kong.Name("dev"), kong.Description("Runs every process of Akmatori on loopback.")).Command()
	level := g.Run.LogLevel
	if command != "run" {
		level = g.Eval.LogLevel
	}
	log := slog.New(tint.NewTextHandler(os.Stderr, &tint.Options{Level: level, NoColor: !terminal(os.Stderr)}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	act := func() error { return run(ctx, g.Run, log) }
	if command != "run" {
		act = func() error { return evaluate(ctx, g.Eval, os.Stdout, log) }
	}
	if err := act(); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("dev ends", "err", err)
		os.Exit(1)
	}
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func run(ctx context.Context, f flags, log *slog.Logger) error {
	// The database may run as another user, who has to walk through the folder.
	if err := os.MkdirAll(f.Data, 0o755); err != nil {
		return err
	}
	state, err := stack.LoadState(filepath.Join(f.Data, "state"))
	if err != nil {
		return err
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(f.Data, "postgres"), Database: "akmatori", BinDir: f.PgBinDir,
		Install: true, Fsync: true, DieWithParent: true, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		if err := pg.Stop(); err != nil {
			log.Error("Postgres did not stop", "err", err)
		}
	}()
	if err := postgres.Migrate(ctx, pg.URL(), state.Passwords); err != nil {
		return err
	}
	if err := fill(ctx, pg.URL(), f, log); err != nil {
		return err
	}
	url := func(role string) ops.Secret { return pg.URLFor(role, state.Passwords[role], "akmatori") }
	conf := stack.Config{API: url(postgres.RoleAPI), Gateway: url(postgres.RoleGateway), Proxy: url(postgres.RoleProxy),
		State: state, Listen: f.Listen, NoWorker: f.NoWorker, Log: log}

	db, err := postgres.Open(ctx, postgres.Config{URL: conf.API, MaxConns: 2, App: "akmatori-dev"})
	if err != nil {
		return err
	}
	defer db.Close()

	g, ctx := errgroup.WithContext(ctx)
	files, demo, err := extras(ctx, g, f, state, log)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := file.Apply(ctx, db, state.Keys()); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	if f.Config != "" {
		reloads := &config.Reloads{Path: f.Config, Env: os.LookupEnv, DB: db, Log: log,
			Keys: func() (config.Keys, error) { return state.Keys(), nil }}
		if err := reloads.Load(ctx); err != nil {
			return err
		}
		conf.Configuration = reloads.Loaded
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGHUP)
		defer signal.Stop(again)
		g.Go(func() error { return reloads.Run(ctx, again) })
	}
	s, err := stack.New(ctx, conf)
	if err != nil {
		return err
	}
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error {
		select {
		case <-pg.Done():
			return errors.New("the database has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go(func() error {
		admin, err := stack.MakeAdmin(ctx, s.APIURL(), db, state)
		if err != nil {
			return err
		}
		facts(s, admin, pg.URL())
		if demo == nil {
			return nil
		}
		if err := demo.Alert(ctx, s.APIURL()); err != nil {
			return err
		}
		log.Info("a sample alert was posted: watch it being investigated", "url", s.APIURL())
		return nil
	})
	return g.Wait()
}

// fill makes incidents up, if that is asked for and nobody has done it.
func fill(ctx context.Context, owner ops.Secret, f flags, log *slog.Logger) error {
	if f.Incidents == 0 {
		return nil
	}
	c := seed.Config{Incidents: f.Incidents, Alerts: cmp.Or(f.Alerts, 10*f.Incidents), Seed: f.Seed}
	began := time.Now()
	err := seed.Run(ctx, owner, c, func(made int) {
		if made%10_000 == 0 {
			log.Info("making incidents up", "made", made, "of", c.Incidents)
		}
	})
	if errors.Is(err, seed.ErrUsed) {
		log.Info("the database has incidents already: none are made up")
		return nil
	}
	if err == nil {
		log.Info("made incidents up", "incidents", c.Incidents, "alerts", c.Alerts, "took", time.Since(began).Round(time.Second))
	}
	return err
}

// extras starts what only a demo or a script needs, and gives their
// configuration; the user's is loaded behind it.
func extras(ctx context.Context, g *errgroup.Group, f flags, state *stack.State, log *slog.Logger) (files []*config.File, demo *stack.Demo, err error) {
	if f.LLMScript != "" || f.Demo {
		scenario, err := scenario(f.LLMScript)
		if err != nil {
			return nil, nil, err
		}
		script, err := stack.NewScript(ctx, scenario, state, log.With("process", "scripted model"))
		if err != nil {
			return nil, nil, err
		}
		g.Go(func() error { return script.Run(ctx) })
		files = append(files, script.Config())
	}
	if f.Demo {
		if demo, err = stack.NewDemo(ctx, state, log.With("process", "demo host")); err != nil {
			return nil, nil, err
		}
		g.Go(func() error { return demo.Run(ctx) })
		files = append(files, demo.Config())
	}
	return files, demo, nil
}

// scenario reads a scenario file, or gives the demo's for no path.
func scenario(path string) (fake.Scenario, error) {
	if path == "" {
		return fake.Embedded("disk")
	}
	f, err := os.Open(path)
	if err != nil {
		return fake.Scenario{}, err
	}
	defer func() { _ = f.Close() }()
	s, err := fake.LoadScenario(f)
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// facts prints where everything is. The secrets among them are those of a
// database and an account that exist on this machine alone.
func facts(s *stack.Stack, admin stack.Admin, database ops.Secret) {
	for _, fact := range [][2]string{
		{"API_URL", s.APIURL()},
		{"ADMIN_USER", admin.User},
		{"ADMIN_PASSWORD", admin.Password.Reveal()},
		{"ADMIN_TOKEN", admin.Token.Reveal()},
		{"AGENTS_URL", s.AgentsURL()},
		{"GATEWAY_URL", s.GatewayURL()},
		{"PROXY_URL", s.ProxyURL()},
		{"DATABASE_URL", database.Reveal()},
		{"READY", "1"},
	} {
		fmt.Println(fact[0] + "=" + fact[1])
	}
}
