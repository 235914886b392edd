// Command mcp is the tool gateway: the MCP server that agents call, and the
// only process that opens the credentials of managed hosts.
package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/gateway"
	"github.com/akmatori/akmatori/internal/ops"
)

type settings struct {
	Listen      string     `env:"LISTEN" envDefault:":8082"`
	OpsListen   string     `env:"OPS_LISTEN" envDefault:"127.0.0.1:9092"`
	DatabaseURL ops.Secret `env:"DATABASE_URL,required"` // or DATABASE_URL_FILE
	ToolsKey    ops.Secret `env:"TOOLS_KEY,required"`    // or TOOLS_KEY_FILE: the key ring of zone tools
	AuditKey    ops.Secret `env:"AUDIT_KEY,required"`    // or AUDIT_KEY_FILE: signs what is recorded
	// A folder of the process's own where heads of the audit are kept; without it they are in the log alone.
	AuditAnchors string `env:"AUDIT_ANCHORS"`
	// How long a run's call is held while people decide on it, before its worker is freed.
	ApprovalWait time.Duration `env:"APPROVAL_WAIT" envDefault:"2m"`
}

func main() {
	process.Main("mcp-gateway", func(ctx context.Context, s settings, log *slog.Logger) error {
		g, err := gateway.New(ctx, gateway.Config{
			Listen: s.Listen, OpsListen: s.OpsListen, DatabaseURL: s.DatabaseURL, RunWaits: s.ApprovalWait,
			AuditKey: s.AuditKey, AuditAnchors: s.AuditAnchors,
			Keys: s.ToolsKey, ReadKeys: process.Reread("TOOLS_KEY"), Log: log,
		})
		if err != nil {
			return err
		}
		return g.Run(ctx)
	})
}
