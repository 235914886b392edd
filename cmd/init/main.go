// Command init keeps the secrets of a deployment; package keys says what they
// are. It is a one-shot service, and the tool for what needs all of them:
//
//	akmatori-init                  make the secrets; if they are there, check them
//	akmatori-init rotate           new keys, and every credential sealed with them
//	akmatori-init rotate --prune   forget keys that seal nothing any more
//	akmatori-init backup           database and keys, encrypted, to standard output
//	akmatori-init restore          a backup from standard input into an empty deployment
//
// The passphrase of a backup is AKMATORI_PASSPHRASE, or in the file that
// AKMATORI_PASSPHRASE_FILE names; without either it is the first line of
// standard input. All but the first command reach the database, as its owner.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/akmatori/akmatori/cmd/internal/process"
	"github.com/akmatori/akmatori/internal/backup"
	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// settings are read from AKMATORI_…. Those of Postgres are part of what is
// made: they must be the same at every start.
type settings struct {
	SecretsDir string `env:"SECRETS_DIR" envDefault:"/secrets"` // with a folder for each owner
	AnchorsDir string `env:"ANCHORS_DIR"`                       // with a folder for each process that keeps heads of its audit

	PostgresHost        string     `env:"POSTGRES_HOST" envDefault:"postgres"`
	PostgresPort        int        `env:"POSTGRES_PORT" envDefault:"5432"`
	PostgresDatabase    string     `env:"POSTGRES_DATABASE" envDefault:"akmatori"`
	PostgresOwner       string     `env:"POSTGRES_OWNER" envDefault:"akmatori_owner"`
	PostgresPassword    ops.Secret `env:"POSTGRES_PASSWORD"`                     // of the owner, for a Postgres that has one already
	PostgresSSLMode     string     `env:"POSTGRES_SSLMODE" envDefault:"disable"` // verify-full for one on another machine
	PostgresSSLRootCert string     `env:"POSTGRES_SSLROOTCERT"`                  // a path in the containers of the processes
	PostgresUID         int        `env:"POSTGRES_UID" envDefault:"70"`          // of the image's server
	APIUID              int        `env:"API_UID" envDefault:"1000"`
	AgentUID            int        `env:"AGENT_UID" envDefault:"1001"`
	GatewayUID          int        `env:"GATEWAY_UID" envDefault:"1002"`
	ProxyUID            int        `env:"PROXY_UID" envDefault:"1003"`

	Passphrase ops.Secret `env:"PASSPHRASE"`
}

func main() {
	switch strings.Join(os.Args[1:], " ") {
	case "":
		process.Run("init", makeSecrets)
	case "rotate":
		process.Run("rotate", withDatabase(rotate))
	case "rotate --prune":
		process.Run("rotate", withDatabase(prune))
	case "backup":
		process.Run("backup", withDatabase(writeBackup))
	case "restore":
		process.Run("restore", withDatabase(restore))
	default:
		_, _ = fmt.Fprintln(os.Stderr, "usage: akmatori-init [rotate [--prune] | backup | restore]")
		os.Exit(2)
	}
}

func (s settings) config() keys.Config {
	return keys.Config{
		Dir: s.SecretsDir, Anchors: s.AnchorsDir,
		Owners: keys.Owners{API: s.APIUID, Agent: s.AgentUID, Gateway: s.GatewayUID, Proxy: s.ProxyUID, Postgres: s.PostgresUID},
		Database: keys.Database{Host: s.PostgresHost, Port: s.PostgresPort, Name: s.PostgresDatabase, Owner: s.PostgresOwner,
			Password: s.PostgresPassword, SSLMode: s.PostgresSSLMode, SSLRootCert: s.PostgresSSLRootCert},
	}
}

func makeSecrets(_ context.Context, s settings, log *slog.Logger) error {
	made, d, err := keys.Make(s.config())
	if err != nil {
		return err
	}
	if len(made) > 0 {
		log.Info("the secrets of this deployment are made", "dir", s.SecretsDir, "files", made)
	} else {
		log.Info("the secrets of this deployment are in order", "dir", s.SecretsDir)
	}
	if d.Interrupted() {
		log.Warn("a rotation of keys was interrupted: nothing is lost; run rotate again")
	}
	return nil
}

// deployment is what the commands after the first one work on.
type deployment struct {
	settings
	keys *keys.Deployment
	db   *postgres.DB // as its owner
	log  *slog.Logger
}

func withDatabase(do func(context.Context, deployment) error) func(context.Context, settings, *slog.Logger) error {
	return func(ctx context.Context, s settings, log *slog.Logger) error {
		d, err := keys.Open(s.config())
		if err != nil {
			return err
		}
		db, err := postgres.Open(ctx, postgres.Config{URL: d.OwnerURL(), App: "akmatori-init", MaxConns: 4, AuditKey: d.AuditKey("api")})
		if err != nil {
			return err
		}
		defer db.Close()
		return do(ctx, deployment{s, d, db, log})
	}
}

func rotate(ctx context.Context, d deployment) error {
	r, err := d.keys.Rotate(ctx, d.db)
	if err != nil {
		return err
	}
	d.log.Info("the keys are rotated; no process needs a restart", "tools", r.Keys[ops.ZoneTools], "egress", r.Keys[ops.ZoneEgress], "api", r.Keys[ops.ZoneAPI], "resealed", r.Resealed)
	if len(r.Damaged) > 0 {
		return fmt.Errorf("these open with no key and were left as they are; add them anew: %s", strings.Join(r.Damaged, ", "))
	}
	return nil
}

func prune(ctx context.Context, d deployment) error {
	pruned, err := d.keys.Prune(ctx, d.db)
	if err != nil {
		return err
	}
	d.log.Info("keys that seal nothing are forgotten", "keys", pruned)
	return nil
}

func writeBackup(ctx context.Context, d deployment) error {
	if term.IsTerminal(int(os.Stdout.Fd())) {
		return errors.New("a backup is not for a terminal: direct standard output to a file")
	}
	passphrase, _, err := d.passphrase(os.Stdin)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	s, err := backup.Write(ctx, out, backup.Config{DB: d.db, Keys: d.keys, Passphrase: passphrase})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return err
	}
	d.log.Info("the backup is complete", "rows", s.Total(), "schema", s.Schema)
	return nil
}

func restore(ctx context.Context, d deployment) error {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("a backup is read from standard input: direct it from a file")
	}
	passphrase, in, err := d.passphrase(os.Stdin)
	if err != nil {
		return err
	}
	s, err := backup.Restore(ctx, in, backup.Config{DB: d.db, Keys: d.keys, Passphrase: passphrase})
	if err != nil {
		return err
	}
	d.log.Info("the backup is restored; start the other services now", "of", s.At, "rows", s.Total(), "schema", s.Schema)
	return nil
}

// passphrase gives the setting or the first line of in, and what follows it, without
// the line breaks before that: a passphrase from a file often brings one more, and
// no backup begins with one.
func (d deployment) passphrase(in *os.File) (ops.Secret, io.Reader, error) {
	if !d.Passphrase.Empty() {
		return d.Passphrase, in, nil
	}
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		_, _ = fmt.Fprint(os.Stderr, "Passphrase: ")
		line, err := term.ReadPassword(fd)
		_, _ = fmt.Fprintln(os.Stderr)
		return ops.NewSecret(string(line)), in, err
	}
	buffered := bufio.NewReader(in)
	line, err := buffered.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil && !errors.Is(err, io.EOF) {
		return ops.Secret{}, nil, fmt.Errorf("passphrase: %w", err)
	}
	if line == "" {
		return ops.Secret{}, nil, errors.New("there is no passphrase: set AKMATORI_PASSPHRASE_FILE, or give it as the first line of standard input")
	}
	for { // an error is met again by who reads
		next, _ := buffered.Peek(1)
		if len(next) == 0 || next[0] != '\n' && next[0] != '\r' {
			return ops.NewSecret(line), buffered, nil
		}
		_, _ = buffered.Discard(1)
	}
}
