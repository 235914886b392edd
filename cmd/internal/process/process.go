// Package process is what the main functions share: settings from the
// environment, JSON logs, signals to a context, and the question whether a
// process is ready.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/caarlos0/env/v11"
)

// Prefix starts the name of every setting.
const Prefix = "AKMATORI_"

// Main is the main function of a process without commands of its own: no
// argument runs it, "health" asks the one that runs in the same container
// whether it is ready ([Health]).
func Main[Settings any](name string, run func(context.Context, Settings, *slog.Logger) error) {
	switch args := os.Args[1:]; {
	case len(args) == 0:
		Run(name, run)
	case len(args) == 1 && args[0] == "health":
		os.Exit(Health[Settings](context.Background(), os.Environ(), os.Stdout, os.Stderr))
	default:
		_, _ = fmt.Fprintf(os.Stderr, "usage: %s [health]\n", filepath.Base(os.Args[0]))
		os.Exit(2)
	}
}

// Run runs a process until it ends or SIGINT or SIGTERM comes; a second signal
// kills it at once. It exits with 0 after a clean stop, with 2 if the settings
// are wrong and with 1 otherwise. Arguments are the caller's matter.
func Run[Settings any](name string, run func(context.Context, Settings, *slog.Logger) error) {
	log := Logger(os.Stderr, os.Getenv(Prefix+"LOG_LEVEL")).With("process", name)
	settings, err := Load[Settings](os.Environ())
	if err != nil {
		log.Error("the settings are wrong", "err", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, settings, log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("the process ends", "err", err)
		os.Exit(1)
	}
	log.Info("the process has stopped")
}

// Logger writes JSON lines to w. level is debug, info, warn or error; anything else is info.
func Logger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l}))
}

// Load reads a struct whose fields have tags as of caarlos0/env ("env",
// "envDefault") without the prefix. A field of type [ops.Secret] named X is read
// from X or, if X_FILE is set, from that file as [ReadFile] does; both at once is
// an error. A variable that starts with [Prefix] and that nothing reads
// is an error too: a typing mistake must not become a default.
func Load[Settings any](environ []string) (Settings, error) {
	var s Settings
	vars := env.ToMap(environ)
	known := map[string]bool{Prefix + "LOG_LEVEL": true}
	var errs []error
	fields := reflect.VisibleFields(reflect.TypeOf(s))
	for _, f := range fields {
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "" {
			continue
		}
		name = Prefix + name
		known[name] = true
		if f.Type != reflect.TypeFor[ops.Secret]() {
			continue
		}
		known[name+"_FILE"] = true
		path, ok := vars[name+"_FILE"]
		if !ok {
			continue
		}
		if _, both := vars[name]; both {
			errs = append(errs, fmt.Errorf("%s and %s_FILE are both set: choose one", name, name))
			continue
		}
		secret, err := ReadFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s_FILE: %w", name, err))
			vars[name] = "-" // it is set: one complaint is enough
			continue
		}
		vars[name] = secret.Reveal()
	}
	for name := range vars {
		if strings.HasPrefix(name, Prefix) && !known[name] {
			errs = append(errs, fmt.Errorf("%s is set, but there is no such setting", name))
		}
	}
	if err := env.ParseWithOptions(&s, env.Options{Environment: vars, Prefix: Prefix}); err != nil {
		var list env.AggregateError
		if errors.As(err, &list) {
			errs = append(errs, list.Errors...)
		} else {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return s, nil
	}
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	slices.Sort(lines)
	return s, errors.New(strings.Join(lines, "; "))
}
