// Command akmatori is the command line of Akmatori. It is a client of the public
// API: what it may do, the token that it signs in with may do. Backup and
// restore are not: they are commands to Docker on the deployment's machine. Nor is
// eval, which starts the program akmatori-dev that was built beside this one.
//
// Texts of alerts, models and commands come from outside; before they reach the
// terminal their control characters are made visible ([inert]).
//
// Exit codes:
//
//	0  done
//	1  it failed: refused or not reachable
//	2  the command line is wrong
//	3  not signed in
//	4  the followed investigation ended without a conclusion
//	5  an audit chain is broken
//	130  interrupted
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// grammar is the command line.
type grammar struct {
	JSON bool `help:"Print JSON: of lists an array, of a followed incident one event a line." name:"json"`

	Login       loginCmd     `cmd:"" help:"Sign in and keep an API token."`
	Incidents   incidentsCmd `cmd:"" help:"List incidents, newest first."`
	Incident    incidentCmd  `cmd:"" help:"Show one incident, or follow its investigation."`
	Approvals   approvalsCmd `cmd:"" help:"See and decide what agents ask people for."`
	Sources     sourcesCmd   `cmd:"" help:"List or add senders of alerts."`
	Credentials credsCmd     `cmd:"" help:"List or add credentials. Their secrets cannot be read back."`
	Targets     targetsCmd   `cmd:"" help:"List or add machines that tools may act on."`
	Policy      policyCmd    `cmd:"" help:"What agents may do, and why."`
	Audit       auditCmd     `cmd:"" help:"The audit log."`
	Case        caseCmd      `cmd:"" help:"Write an investigation that has ended down as a case for eval, without its secrets."`
	Eval        evalCmd      `cmd:"" passthrough:"" help:"Run cases of incidents and judge what the investigations find. Needs akmatori-dev beside this program."`
	Backup      backupCmd    `cmd:"" help:"Write database and keys of the deployment in this folder to an encrypted file."`
	Restore     restoreCmd   `cmd:"" help:"Read such a file back into a deployment that is new."`
}

// Exit codes other than 0 and 1.
const (
	exitUsage        = 2
	exitSignedOut    = 3
	exitInconclusive = 4
	exitBroken       = 5
	exitInterrupted  = 130
)

// exitError is a failure with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// world is everything outside that a command uses.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	// readPassword reads a line from the terminal without showing it.
	readPassword func() (string, error)
	// compose runs docker compose with these arguments.
	compose func(ctx context.Context, in io.Reader, out io.Writer, args ...string) error
	// dev runs akmatori-dev with these arguments.
	dev  func(ctx context.Context, args ...string) error
	json bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	w := &world{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, readPassword: func() (string, error) {
		b, err := term.ReadPassword(int(os.Stdin.Fd()))
		return string(b), err
	}}
	w.compose, w.dev = dockerCompose, runDeveloper
	code := run(ctx, w, os.Args[1:])
	os.Exit(code)
}

// run is main without the process around it.
func run(ctx context.Context, w *world, args []string) int {
	var g grammar
	helped := false
	parser, err := kong.New(&g, kong.Name("akmatori"), kong.Writers(w.stdout, w.stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("Alerts become investigated incidents. Sign in first: akmatori login URL."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(w))
	if err != nil {
		_, _ = fmt.Fprintln(w.stderr, "akmatori:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(w.stderr, "akmatori: %s\n", inertLine(err.Error()))
		return exitUsage
	}
	w.json = g.JSON
	err = parsed.Run()
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	_, _ = fmt.Fprintf(w.stderr, "akmatori: %s\n", inertLine(strings.ReplaceAll(err.Error(), "\n", "; ")))
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return 1
}

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}
