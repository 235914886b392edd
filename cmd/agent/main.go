// Command agent is a worker: it pulls runs from the api and investigates them.
// Its settings are environment variables, see settings. With the argument
// "health" it asks the running one whether it is ready; it starts itself with
// others to confine commands of the workspace shell (package sandbox).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/agent"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/sandbox"
)

// settings are read from AKMATORI_…; the token also from the file that
// AKMATORI_WORKER_TOKEN_FILE names.
type settings struct {
	APIURL      string     `env:"API_URL,required,notEmpty"` // ws://api:8081/agents
	WorkerToken ops.Secret `env:"WORKER_TOKEN,required,notEmpty"`
	Slots       int        `env:"SLOTS" envDefault:"4"` // runs at a time
	OpsListen   string     `env:"OPS_LISTEN" envDefault:"127.0.0.1:9091"`
	// Things that a worker that can reach them refuses to run with, separated by
	// commas: host:port or dns:NAME.
	MustNotReach []string `env:"MUST_NOT_REACH"`
	// A folder of this worker alone, for the workspaces of runs; empty: they have none.
	Workspace string `env:"WORKSPACE"`
	// How long a call in a workspace is held while people decide on it; then the
	// run is parked.
	ApprovalWait time.Duration `env:"APPROVAL_WAIT" envDefault:"2m"`
	// Lets the shell run on a kernel without Landlock, not confined to its folder.
	WithoutLandlock bool `env:"WORKSPACE_WITHOUT_LANDLOCK"`
}

func main() {
	sandbox.Launch(os.Args[1:])
	// Before any secret is read: what runs as the same user must not see it.
	if err := sandbox.Harden(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	process.Main("agent", run)
}

func run(ctx context.Context, s settings, log *slog.Logger) error {
	if err := os.Unsetenv(process.Prefix + "WORKER_TOKEN"); err != nil { // it is read
		return err
	}
	cfg := agent.Config{APIURL: s.APIURL, WorkerToken: s.WorkerToken, Slots: s.Slots, OpsListen: s.OpsListen, Log: log,
		MustNotReach: s.MustNotReach, Workspace: s.Workspace, WithoutLandlock: s.WithoutLandlock,
		ApprovalWait: s.ApprovalWait}
	cfg.Name, _ = os.Hostname() // for people; the default does as well
	a, err := agent.New(ctx, cfg)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
