package config

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// Reloads loads a configuration file, and loads it again when it is told to. A
// file that is wrong changes nothing: what was loaded before stays, and the log
// and the page of the system's health say so. That a file is loaded is in the
// audit, as the acts of people are.
type Reloads struct {
	Path string       // required
	Env  Environment  // of the file's variables
	DB   *postgres.DB // required; open as the api's role
	// Keys are asked for at each load, as they may have been rotated; required.
	Keys func() (Keys, error)
	Log  *slog.Logger // required

	mu  sync.Mutex
	now ops.Configuration
}

// loadWithin bounds a load: an api serves when it is over, come what may.
const loadWithin = 30 * time.Second

// Load reads and applies the file.
func (r *Reloads) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	file, err := Read(r.Path, r.Env)
	if err == nil {
		if err = r.apply(ctx, file); err != nil {
			err = fmt.Errorf("configuration %s: %w", r.Path, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.now.FailedAt, r.now.Problem = time.Now().UTC(), strings.ToValidUTF8(err.Error()[:min(len(err.Error()), maxProblem)], "")
		return err
	}
	r.now = ops.Configuration{Version: file.version, LoadedAt: time.Now().UTC()}
	return nil
}

// apply records the intent, applies the file, and records what came of it.
func (r *Reloads) apply(ctx context.Context, file *File) error {
	record := ops.AuditRecord{Chain: "api", At: time.Now(), Actor: fromFile, Action: "configuration.loaded", Object: "configuration", Outcome: "intent",
		Detail: map[string]string{"version": file.version}}
	if err := r.DB.AppendAudit(ctx, record); err != nil {
		return err
	}
	keys, err := r.Keys()
	if err == nil {
		err = file.Apply(ctx, r.DB, keys)
	}
	record.At, record.Outcome = time.Now(), "ok"
	if err != nil {
		record.Outcome = "failed"
	}
	// It has happened: its record must not depend on who waits for it.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if aerr := r.DB.AppendAudit(end, record); aerr != nil {
		r.Log.Error("the outcome of loading the configuration was not recorded", "version", file.version, "err", aerr)
	}
	return err
}

// maxProblem is how many bytes of what is wrong are shown elsewhere than in the log.
const maxProblem = 1000

// Run loads the file each time that again says so, until ctx ends.
func (r *Reloads) Run(ctx context.Context, again <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again:
		}
		if err := r.Load(ctx); err != nil {
			r.Log.Error("the configuration was not loaded again: what was loaded before stays in force", "version", r.Loaded().Version, "err", err)
			continue
		}
		r.Log.Info("the configuration was loaded again", "version", r.Loaded().Version)
	}
}

// Loaded says what is in force, and what is wrong with what came after.
func (r *Reloads) Loaded() ops.Configuration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}
