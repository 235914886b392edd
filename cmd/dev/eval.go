package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/eval"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/goccy/go-yaml"
)

type evalArgs struct {
	Cases    string     `arg:"" help:"Folder with cases, or one case." type:"path"`
	Model    string     `help:"YAML file of a model to run them with: kind, model, base_url, key_env or key_file, and what else a provider has. Without it the cases' transcripts answer." type:"existingfile" placeholder:"FILE"`
	Only     []string   `help:"Only cases of this name or about this, with * for any text." placeholder:"PATTERN"`
	Repeat   int        `help:"Run each case so often." default:"1"`
	Parallel int        `help:"Run so many at once." default:"2"`
	Pass     *float64   `help:"The part of passes, from 0 to 1, below which the exit code is 1. By default 1 with transcripts, 0 with a model." placeholder:"PART"`
	Record   string     `help:"Folder to write the cases to, each with what the model said." type:"path" placeholder:"DIR"`
	JSON     bool       `help:"Print JSON." name:"json"`
	PgBinDir string     `help:"Folder of PostgreSQL's programs. Without it they are searched for." env:"PG_BIN_DIR"`
	LogLevel slog.Level `help:"debug, info, warn or error." default:"error"`
}

// modelFile is a provider as in a configuration file, with where its key is.
type modelFile struct {
	config.Provider `yaml:",inline"`
	KeyEnv          string `yaml:"key_env"`
	KeyFile         string `yaml:"key_file"` // relative to the file
}

// evaluate runs cases on a Postgres that is gone afterwards.
func evaluate(ctx context.Context, f evalArgs, stdout io.Writer, log *slog.Logger) (err error) {
	cases, err := eval.Load(f.Cases)
	if err != nil {
		return err
	}
	if cases = chosen(cases, f.Only); len(cases) == 0 {
		return fmt.Errorf("%s: %w that match", f.Cases, eval.ErrNoCases)
	}
	conf := eval.Config{Cases: cases, Parallel: f.Parallel, Repeat: f.Repeat, Record: f.Record, Log: log}
	wanted := 1.0
	if f.Model != "" {
		if conf.Model, err = readModel(f.Model); err != nil {
			return err
		}
		wanted = 0
	}
	if f.Pass != nil {
		wanted = *f.Pass
	}
	if !f.JSON {
		conf.Done = func(r eval.Row) { _, _ = fmt.Fprintf(os.Stderr, "%-40s %s\n", r.Case, r.Result) }
	}
	// The database may run as another user, who has to walk through the folder.
	dir, err := os.MkdirTemp("", "akmatori-eval-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(dir, "postgres"), Database: "template", BinDir: f.PgBinDir,
		Install: true, DieWithParent: true, MaxConns: 400, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Stop()) }()
	conf.Dir = filepath.Join(dir, "state")
	if conf.Database, err = databases(ctx, pg, conf.Dir); err != nil {
		return err
	}
	report, err := eval.Run(ctx, conf)
	if err != nil {
		return err
	}
	if f.JSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = report.Table(stdout)
	}
	return errors.Join(err, report.Err(wanted))
}

// databases gives each case a copy of one that is migrated.
func databases(ctx context.Context, pg *pgserver.Server, dir string) (func(context.Context, string) (eval.Database, error), error) {
	state, err := stack.LoadState(filepath.Join(dir, "roles"))
	if err != nil {
		return nil, err
	}
	if err := postgres.Migrate(ctx, pg.URL(), state.Passwords); err != nil {
		return nil, err
	}
	return func(ctx context.Context, name string) (eval.Database, error) {
		if len(name) > 60 { // PostgreSQL cuts names
			name = name[:20] + name[len(name)-40:]
		}
		if err := pg.Copy(ctx, name, "template"); err != nil {
			return eval.Database{}, err
		}
		url := func(role string) ops.Secret { return pg.URLFor(role, state.Passwords[role], name) }
		return eval.Database{API: url(postgres.RoleAPI), Gateway: url(postgres.RoleGateway), Proxy: url(postgres.RoleProxy),
			Drop: func() error { return pg.Drop(context.WithoutCancel(ctx), name) }}, nil
	}, nil
}

func chosen(cases []casefile.Case, only []string) []casefile.Case {
	if len(only) == 0 {
		return cases
	}
	return slices.DeleteFunc(cases, func(c casefile.Case) bool {
		return !slices.ContainsFunc(only, func(p string) bool { return casefile.Glob(p, c.Name) || casefile.Glob(p, c.About) })
	})
}

func readModel(path string) (*eval.Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m modelFile
	if err := yaml.UnmarshalWithOptions(data, &m, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := &eval.Model{Provider: m.Provider}
	switch {
	case m.KeyEnv != "" && m.KeyFile != "":
		return nil, fmt.Errorf("%s: give key_env or key_file", path)
	case m.KeyEnv != "":
		if out.Key = ops.NewSecret(os.Getenv(m.KeyEnv)); out.Key.Empty() {
			return nil, fmt.Errorf("%s: the environment variable %s is empty", path, m.KeyEnv)
		}
	case m.KeyFile != "":
		name := m.KeyFile
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		key, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out.Key = ops.NewSecret(strings.TrimSpace(string(key)))
	}
	return out, nil
}
