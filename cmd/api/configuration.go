package main

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/anchor"
	"github.com/akmatori/akmatori/internal/api"
	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/postgres"
	"golang.org/x/sync/errgroup"
)

// reloads opens the database for the configuration file; nothing is loaded yet.
func reloads(ctx context.Context, s settings, log *slog.Logger) (*config.Reloads, error) {
	key, err := anchor.ReadKey(api.Chain, s.AuditKey)
	if err != nil {
		return nil, err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: s.DatabaseURL, MaxConns: 2, App: "akmatori-api configuration", AuditKey: key})
	if err != nil {
		return nil, err
	}
	return &config.Reloads{Path: s.Config, Env: variables, DB: db, Keys: keysOf(s), Log: log}, nil
}

// serve runs the api with a configuration file, which is loaded first and each
// time that again says so. One that is wrong does not keep the api from serving:
// what was loaded before is stored, and alerts come now.
func serve(ctx context.Context, server *api.API, r *config.Reloads, again <-chan os.Signal) error {
	if err := r.Load(ctx); err != nil {
		r.Log.Error("the configuration was not loaded: what was loaded before stays in force", "err", err)
	} else {
		r.Log.Info("the configuration was loaded", "version", r.Loaded().Version)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { _ = r.Run(ctx, again); return nil }) // it ends with ctx alone
	return g.Wait()
}

// variables are those that a file may name: not our own, some of which are secrets.
func variables(name string) (value string, set bool) {
	if strings.HasPrefix(name, "AKMATORI_") {
		return "", false
	}
	return os.LookupEnv(name)
}

// keysOf reads the keys as they are now.
func keysOf(s settings) func() (config.Keys, error) {
	public, ring := rereadPublicKeys(s), process.Reread("API_KEY")
	return func() (k config.Keys, err error) {
		if k.Tools, k.Egress, err = public(); err != nil {
			return k, err
		}
		k.API = s.APIKey
		if ring != nil {
			k.API, err = ring()
		}
		return k, err
	}
}
