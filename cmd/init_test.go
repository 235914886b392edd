package cmd_test

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// operator runs the built akmatori-init for one deployment.
type operator struct {
	t   *testing.T
	bin string
	env []string
	dir string
}

func newOperator(t *testing.T, bin string, pg *pgtest.DB) *operator {
	t.Helper()
	u, err := url.Parse(pg.Owner.Reveal())
	require.NoError(t, err)
	password, _ := u.User.Password()
	if password == "" {
		password = "unused" // the server trusts its owner
	}
	uid := strconv.Itoa(os.Getuid())
	o := &operator{t: t, bin: bin, dir: filepath.Join(t.TempDir(), "secrets")}
	o.env = []string{"AKMATORI_SECRETS_DIR=" + o.dir, "AKMATORI_POSTGRES_HOST=" + u.Hostname(), "AKMATORI_POSTGRES_PORT=" + u.Port(),
		"AKMATORI_POSTGRES_DATABASE=" + u.Path[1:], "AKMATORI_POSTGRES_OWNER=" + u.User.Username(), "AKMATORI_POSTGRES_PASSWORD=" + password,
		"AKMATORI_POSTGRES_UID=" + uid, "AKMATORI_API_UID=" + uid, "AKMATORI_AGENT_UID=" + uid, "AKMATORI_GATEWAY_UID=" + uid, "AKMATORI_PROXY_UID=" + uid}
	t.Cleanup(func() {
		folders, _ := filepath.Glob(filepath.Join(o.dir, "*"))
		for _, f := range folders {
			_ = os.Chmod(f, 0o700)
		}
	})
	return o
}

// run gives standard output and the log.
func (o *operator) run(stdin string, args ...string) (stdout []byte, log string, code int) {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), o.bin, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = o.env, bytes.NewReader([]byte(stdin)), &out, &errs
	err := cmd.Run()
	require.Empty(o.t, exitError(err))
	return out.Bytes(), errs.String(), exitCode(err)
}

// exitError is a failure to run the program at all.
func exitError(err error) string {
	if err != nil && exitCode(err) == 0 {
		return err.Error()
	}
	return ""
}

// ok is run of what must go well.
func (o *operator) ok(stdin string, args ...string) (stdout []byte, log string) {
	o.t.Helper()
	stdout, log, code := o.run(stdin, args...)
	require.Zero(o.t, code, log)
	return stdout, log
}

func TestInitFromTheFirstStartToARestore(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "akmatori-init")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "./init").CombinedOutput()
	require.NoError(t, err, "%s", out)
	pg := pgtest.New(t)
	o := newOperator(t, bin, pg)
	_, log := o.ok("")
	require.Contains(t, log, "are made")
	_, log = o.ok("")
	require.Contains(t, log, "are in order")
	require.NoFileExists(t, filepath.Join(o.dir, "gateway/.tools-key.next"))

	d := &deployment{dir: t.TempDir(), pg: pg}
	d.exec(t, `INSERT INTO users (id, username, password_hash, roles) VALUES (gen_random_uuid(), 'ann', 'h', '{admin}')`)
	_, log = o.ok("", "rotate")
	require.Contains(t, log, "the keys are rotated")
	_, log, code := o.run("", "rotate", "--prune")
	require.Equal(t, 1, code)
	require.Contains(t, log, "the last rotation is")

	const passphrase = "a passphrase of words"
	data, log := o.ok(passphrase+"\n", "backup")
	require.Contains(t, log, "the backup is complete")
	require.True(t, bytes.HasPrefix(data, []byte("age-encryption.org/v1\n")))

	fresh := newOperator(t, bin, pgtest.New(t))
	fresh.ok("")
	_, log, code = fresh.run("another passphrase\n"+string(data), "restore")
	require.Equal(t, 1, code)
	require.Contains(t, log, "the passphrase is wrong")
	file := filepath.Join(t.TempDir(), "passphrase")
	require.NoError(t, os.WriteFile(file, []byte(passphrase+"\n"), 0o400))
	fresh.env = append(fresh.env, "AKMATORI_PASSPHRASE_FILE="+file)
	_, log = fresh.ok(string(data), "restore")
	require.Contains(t, log, "the backup is restored")
	fresh.ok("")
	_, log, code = fresh.run(string(data), "restore")
	require.Equal(t, 1, code)
	require.Contains(t, log, "not empty")

	_, log, code = o.run("", "backup")
	require.Equal(t, 1, code)
	require.Contains(t, log, "there is no passphrase")
	for _, args := range [][]string{{"rotat"}, {"rotate", "-prune"}, {"backup", "file"}} {
		_, log, code = o.run("", args...)
		require.Equal(t, 2, code)
		require.Contains(t, log, "usage:")
	}
	require.NotContains(t, log, ops.WorkerTokenPrefix)
}
