package eval

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"golang.org/x/sync/errgroup"
)

// Config says what to run. Cases, Database and Dir are required.
type Config struct {
	Cases []casefile.Case
	// Database makes a migrated, empty database. Its name is new and fit for one.
	Database func(ctx context.Context, name string) (Database, error)
	Dir      string // for keys; each case has a folder in it
	// Model answers in place of the transcripts.
	Model    *Model
	Parallel int // cases at once; 0 means 2
	Repeat   int // how often each case runs; 0 means once
	// Record is a folder to write the cases to, with what the model said.
	Record string
	// Done, if set, hears of each row as it is there, one at a time.
	Done func(Row)
	Log  *slog.Logger // of the processes; required
}

// Database is one for a single case. The fields are connection strings of the roles.
type Database struct {
	API, Gateway, Proxy ops.Secret
	Drop                func() error
}

// Model is a real one.
type Model struct {
	Provider config.Provider
	Key      ops.Secret // empty: it wants none
}

// ErrNoCases says that there is nothing to measure, which is never a success.
var ErrNoCases = errors.New("there are no cases")

// Load reads the cases of a folder and of all folders in it, or one file.
func Load(path string) ([]casefile.Case, error) {
	var all []casefile.Case
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		c, err := casefile.Read(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if slices.ContainsFunc(all, func(k casefile.Case) bool { return k.Name == c.Name }) {
			return fmt.Errorf("%s: there is another case %q", name, c.Name)
		}
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrNoCases)
	}
	return all, nil
}

// Run runs the cases. A case that could not be run at all is an error; one that
// went wrong is a row.
func Run(ctx context.Context, c Config) (Report, error) {
	if len(c.Cases) == 0 {
		return Report{}, ErrNoCases
	}
	if c.Model == nil {
		for _, k := range c.Cases {
			if len(k.Transcript) == 0 {
				return Report{}, fmt.Errorf("case %s has no transcript: give a model", k.Name)
			}
		}
	}
	if c.Record != "" {
		if err := os.MkdirAll(c.Record, 0o755); err != nil {
			return Report{}, err
		}
	}
	repeat := max(1, c.Repeat)
	rows := make([]Row, len(c.Cases)*repeat)
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	parallel := c.Parallel
	if parallel == 0 {
		parallel = 2
	}
	g.SetLimit(parallel)
	for i := range rows {
		k := c.Cases[i/repeat]
		g.Go(func() error {
			w := &world{conf: c, of: k, name: fmt.Sprintf("case_%s_%d", strings.ReplaceAll(k.Name, "-", "_"), i)}
			out, err := w.run(ctx)
			if err != nil {
				return fmt.Errorf("case %s: %w", k.Name, err)
			}
			row := judge(k, out)
			if row.Round = i%repeat + 1; c.Record != "" && row.Round == 1 {
				if err := record(c.Record, k, out); err != nil {
					return fmt.Errorf("case %s: %w", k.Name, err)
				}
			}
			rows[i] = row
			if c.Done != nil {
				mu.Lock()
				defer mu.Unlock()
				c.Done(row)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Report{}, err
	}
	return report(rows), nil
}

// record writes the case with what the model said this time.
func record(dir string, k casefile.Case, out outcome) error {
	var err error
	if k.Transcript, err = casefile.Turns(out.events); err != nil {
		return err
	}
	text, err := k.Text()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, k.Name+".yaml"), text, 0o644)
}
