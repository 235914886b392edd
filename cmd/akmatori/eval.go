package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// developer is the program that has a whole product in it. This one is a client
// of the public API and has none; it stands beside it where both were built.
const developer = "akmatori-dev"

type evalCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"A folder of cases and options of akmatori-dev eval; --help lists them."`
}

// Run hands the arguments on. Its exit code is that of the evaluation.
func (e *evalCmd) Run(ctx context.Context, w *world) error {
	args := append([]string{"eval"}, e.Args...)
	if w.json && !slices.Contains(args, "--json") {
		args = append(args, "--json")
	}
	return w.dev(ctx, args...)
}

// runDeveloper runs the program beside this one.
func runDeveloper(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(self), developer)
	if _, err := os.Stat(path); err != nil {
		return errors.New("evaluations need " + developer + " beside this program, and it is not there: clone the source, run make build, and then bin/akmatori eval")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has a database to stop
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{max(1, exit.ExitCode()), errors.New("the evaluation did not succeed")}
	}
	return err
}
