package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// These two are the exception to "a client of the public API": they run
// akmatori-init in the containers of the deployment, on its machine, in the
// folder of its docker-compose.yml. The command line itself sees ciphertext
// and the passphrase alone.

// keysService is the compose service that has the keys and reaches the database.
const keysService = "keys"

// processes are the compose services that use the database.
var processes = []string{"akmatori-agent", "akmatori-api", "mcp-gateway", "credential-proxy"}

type passphraseFlag struct {
	PassphraseFile string `help:"File with the passphrase, instead of asking." type:"existingfile"`
}

type backupCmd struct {
	passphraseFlag
	File string `arg:"" help:"File to make, or - for standard output."`
}

// Run writes a backup. A file that is there is whole.
func (b *backupCmd) Run(ctx context.Context, w *world) error {
	passphrase, err := b.passphrase(w, true)
	if err != nil {
		return err
	}
	in := strings.NewReader(passphrase.Reveal() + "\n")
	args := []string{"run", "--rm", "-T", keysService, "backup"}
	if b.File == "-" {
		return w.compose(ctx, in, w.stdout, args...)
	}
	if _, err := os.Lstat(b.File); err == nil {
		return fmt.Errorf("%s is there already: choose another name", b.File)
	}
	half := b.File + ".part"
	f, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = w.compose(ctx, in, f, args...)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(half, b.File)
	}
	if err != nil {
		return errors.Join(err, os.Remove(half))
	}
	_, _ = fmt.Fprintf(w.stderr, "The backup is in %s. Without its passphrase nobody can read it, you neither.\n", b.File)
	return nil
}

type restoreCmd struct {
	passphraseFlag
	File string `arg:"" help:"The backup." type:"existingfile"`
}

// Run restores a backup into a deployment that nobody has used yet.
func (r *restoreCmd) Run(ctx context.Context, w *world) error {
	passphrase, err := r.passphrase(w, false)
	if err != nil {
		return err
	}
	f, err := os.Open(r.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := w.compose(ctx, nil, w.stderr, append([]string{"stop"}, processes...)...); err != nil {
		return err
	}
	in := io.MultiReader(strings.NewReader(passphrase.Reveal()+"\n"), f)
	if err := w.compose(ctx, in, w.stderr, "run", "--rm", "-T", keysService, "restore"); err != nil {
		return fmt.Errorf("%w; the other services are stopped, start them with: docker compose up -d --no-recreate", err)
	}
	// As they were: this command does not know with which files and variables they were
	// made, and without those of TLS they would come back in plain HTTP.
	return w.compose(ctx, nil, w.stderr, "up", "-d", "--no-recreate")
}

// passphrase reads or asks for it; twice, where a mistake would cost the backup.
func (p *passphraseFlag) passphrase(w *world, twice bool) (ops.Secret, error) {
	if p.PassphraseFile != "" {
		f, err := os.Open(p.PassphraseFile)
		if err != nil {
			return ops.Secret{}, err
		}
		defer func() { _ = f.Close() }()
		secret, err := readSecret(f, true)
		if err == nil && strings.ContainsAny(secret.Reveal(), "\r\n") {
			err = fmt.Errorf("%s has more than one line", p.PassphraseFile)
		}
		return secret, err
	}
	ask := func(prompt string) (string, error) {
		_, _ = fmt.Fprint(w.stderr, prompt)
		line, err := w.readPassword()
		_, _ = fmt.Fprintln(w.stderr)
		if err != nil {
			return "", fmt.Errorf("read the passphrase: %w (use --passphrase-file without a terminal)", err)
		}
		return line, nil
	}
	first, err := ask("Passphrase of the backup: ")
	if err != nil || !twice {
		return ops.NewSecret(first), err
	}
	second, err := ask("Once more: ")
	if err == nil && first != second {
		err = errors.New("the two are not the same")
	}
	return ops.NewSecret(first), err
}

// dockerCompose runs docker compose, the plugin or the older program of that
// name, in the current folder.
func dockerCompose(ctx context.Context, in io.Reader, out io.Writer, args ...string) error {
	program, before := "docker", []string{"compose"}
	if _, err := exec.LookPath(program); err != nil || exec.CommandContext(ctx, program, "compose", "version").Run() != nil {
		program, before = "docker-compose", nil
	}
	cmd := exec.CommandContext(ctx, program, append(before, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("docker compose is not on this machine; in the folder of docker-compose.yml, where it is, run: docker compose %s (the passphrase is the first line of its standard input)",
			strings.Join(args, " "))
	}
	if err != nil {
		return fmt.Errorf("docker compose %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
