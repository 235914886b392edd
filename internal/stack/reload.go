package stack

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
// file that is wrong changes nothing: what was loaded before stays, and the log,
// a metric and the page of the system's health say so.
type Reloads struct {
	Path  string       // required
	Env   Environment  // of the file's variables
	DB    *postgres.DB // required; open as the api's role
	State *State       // required
	Log   *slog.Logger // required

	mu  sync.Mutex
	now ops.Configuration
}

// Load reads and applies the file.
func (r *Reloads) Load(ctx context.Context) error {
	file, err := ReadFile(r.Path, r.Env)
	if err == nil {
		if err = file.Apply(ctx, r.DB, r.State); err != nil {
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
