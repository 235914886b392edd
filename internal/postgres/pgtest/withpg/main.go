// Command withpg runs a command with a PostgreSQL server for tests around it:
//
//	go run ./internal/postgres/pgtest/withpg go test ./...
//
// All test binaries below share the server, and it ends with the command. If no
// PostgreSQL is found, the command runs without, and the tests skip or fail by
// themselves. The exit status is the command's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("usage: withpg COMMAND [ARGUMENT…]")
	}
	// Ctrl-C reaches the command through the terminal; it decides, and we follow.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGINT)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if os.Getenv(pgtest.EnvURL) == "" {
		s, startErr := pgtest.Start(ctx)
		if startErr != nil && !errors.Is(startErr, pgserver.ErrNotFound) {
			return 1, startErr
		}
		if startErr == nil {
			defer func() { err = errors.Join(err, s.Stop()) }()
			cmd.Env = append(os.Environ(), pgtest.EnvURL+"="+s.URL().Reveal())
		}
	}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
