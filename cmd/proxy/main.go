// Command proxy is the credential proxy: the way of agents to their models.
//
//	AKMATORI_LISTEN            where agents reach it, default :8083
//	AKMATORI_OPS_LISTEN        metrics and health, default 127.0.0.1:9093
//	AKMATORI_DATABASE_URL      as role akmatori_proxy; or AKMATORI_DATABASE_URL_FILE
//	AKMATORI_EGRESS_KEY        the private keys of zone egress, one a line, newest
//	                           first; or AKMATORI_EGRESS_KEY_FILE
//	AKMATORI_AUDIT_KEY         signs what is recorded; or AKMATORI_AUDIT_KEY_FILE
//	AKMATORI_AUDIT_ANCHORS     a folder of the process's own where heads of the audit
//	                           are kept; without it they are in the log alone
//	AKMATORI_LOG_LEVEL         debug, info, warn or error
//
// Providers are verified against the system's roots; a CA of one's own is added
// there, or by SSL_CERT_FILE and SSL_CERT_DIR.
package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/proxy"
	"github.com/akmatori/akmatori/internal/seal"
)

type settings struct {
	Listen      string     `env:"LISTEN" envDefault:":8083"`
	OpsListen   string     `env:"OPS_LISTEN" envDefault:"127.0.0.1:9093"`
	DatabaseURL ops.Secret `env:"DATABASE_URL,required,notEmpty"`
	EgressKey   ops.Secret `env:"EGRESS_KEY,required,notEmpty"`
	AuditKey    ops.Secret `env:"AUDIT_KEY,required,notEmpty"`

	AuditAnchors string `env:"AUDIT_ANCHORS"`
}

func main() { process.Main("proxy", run) }

func run(ctx context.Context, s settings, log *slog.Logger) error {
	keys, err := seal.ParseRing(ops.ZoneEgress, s.EgressKey)
	if err != nil {
		return fmt.Errorf("AKMATORI_EGRESS_KEY: %w", err)
	}
	p, err := proxy.New(ctx, proxy.Config{
		Listen:      s.Listen,
		OpsListen:   s.OpsListen,
		DatabaseURL: s.DatabaseURL,
		EgressKeys:  keys,
		ReadKeys:    process.Reread("EGRESS_KEY"),
		AuditKey:    s.AuditKey,
		Log:         log,

		AuditAnchors: s.AuditAnchors,
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}
