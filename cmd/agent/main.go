// Command agent is a worker: it pulls runs from the api and investigates them.
// Its settings are environment variables, see settings.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/agent"
	"github.com/akmatori/akmatori/internal/ops"
)

// settings are read from AKMATORI_…; the token also from the file that
// AKMATORI_WORKER_TOKEN_FILE names.
type settings struct {
	APIURL      string     `env:"API_URL,required,notEmpty"` // ws://api:8081/agents
	WorkerToken ops.Secret `env:"WORKER_TOKEN,required,notEmpty"`
	Slots       int        `env:"SLOTS" envDefault:"4"` // runs at a time
	OpsListen   string     `env:"OPS_LISTEN" envDefault:"127.0.0.1:9093"`
}

func main() { process.Main("agent", run) }

func run(ctx context.Context, s settings, log *slog.Logger) error {
	cfg := agent.Config{APIURL: s.APIURL, WorkerToken: s.WorkerToken, Slots: s.Slots, OpsListen: s.OpsListen, Log: log}
	cfg.Name, _ = os.Hostname() // for people; the default does as well
	if info, ok := debug.ReadBuildInfo(); ok {
		cfg.Build = info.Main.Version
	}
	a, err := agent.New(ctx, cfg)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
