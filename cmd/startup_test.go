package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// deployment is what the built programs are started with.
type deployment struct {
	bin, dir string
	pg       *pgtest.DB
	ring     map[ops.Zone]seal.Ring
}

func newDeployment(t *testing.T, bin string) *deployment {
	t.Helper()
	d := &deployment{bin: bin, dir: t.TempDir(), pg: pgtest.New(t), ring: map[ops.Zone]seal.Ring{}}
	for _, zone := range []ops.Zone{ops.ZoneTools, ops.ZoneEgress} {
		key, public, err := seal.GenerateKey(zone)
		require.NoError(t, err)
		ring, err := seal.NewRing(key)
		require.NoError(t, err)
		text, err := ring.Text()
		require.NoError(t, err)
		d.ring[zone] = ring
		d.file(t, string(zone)+"-key", text.Reveal(), 0o400)
		d.file(t, string(zone)+"-public-key", public.String(), 0o400)
	}
	var public ops.AuditKeys
	for _, chain := range ops.AuditChains {
		key := ops.NewAuditKey(chain)
		d.file(t, chain+"-audit-key", key.Text().Reveal(), 0o400)
		public = public.With(key.Public())
	}
	d.file(t, "audit-public-keys", public.String(), 0o400)
	d.file(t, "worker-token", ops.NewToken(ops.WorkerTokenPrefix).Reveal(), 0o400)
	return d
}

// file writes a file and gives its path.
func (d *deployment) file(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(d.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

// env is the environment of a program that would start.
func (d *deployment) env(program string) map[string]string {
	in := func(name string) string { return filepath.Join(d.dir, name) }
	env := map[string]string{"AKMATORI_OPS_LISTEN": "127.0.0.1:0"}
	switch program {
	case "api":
		env["AKMATORI_PUBLIC_LISTEN"], env["AKMATORI_AGENT_LISTEN"] = "127.0.0.1:0", "127.0.0.1:0"
		env["AKMATORI_DATABASE_URL"] = d.pg.API.Reveal()
		env["AKMATORI_WORKER_TOKEN_FILE"] = in("worker-token")
		env["AKMATORI_TOOLS_PUBLIC_KEY_FILE"], env["AKMATORI_EGRESS_PUBLIC_KEY_FILE"] = in("tools-public-key"), in("egress-public-key")
		env["AKMATORI_AUDIT_KEY_FILE"], env["AKMATORI_AUDIT_PUBLIC_KEYS_FILE"] = in("api-audit-key"), in("audit-public-keys")
		env["AKMATORI_GATEWAY_URL"], env["AKMATORI_PROXY_URL"] = "http://127.0.0.1:1/mcp", "http://127.0.0.1:1"
	case "mcp":
		env["AKMATORI_LISTEN"], env["AKMATORI_DATABASE_URL"], env["AKMATORI_TOOLS_KEY_FILE"] = "127.0.0.1:0", d.pg.Gateway.Reveal(), in("tools-key")
		env["AKMATORI_AUDIT_KEY_FILE"] = in("gateway-audit-key")
	case "proxy":
		env["AKMATORI_LISTEN"], env["AKMATORI_DATABASE_URL"], env["AKMATORI_EGRESS_KEY_FILE"] = "127.0.0.1:0", d.pg.Proxy.Reveal(), in("egress-key")
		env["AKMATORI_AUDIT_KEY_FILE"] = in("proxy-audit-key")
	case "agent":
		env["AKMATORI_API_URL"], env["AKMATORI_WORKER_TOKEN_FILE"] = "ws://127.0.0.1:1/agents", in("worker-token")
	case "api migrate":
		env = map[string]string{"AKMATORI_OWNER_DATABASE_URL": d.pg.Owner.Reveal()}
	case "init":
		env = map[string]string{"AKMATORI_SECRETS_DIR": filepath.Join(d.dir, "secrets")}
	}
	return env
}

// sealed stores a credential that the key of zone tools, or another, has sealed.
func (d *deployment) sealed(t *testing.T, key seal.PublicKey) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: d.pg.API, App: "test"})
	require.NoError(t, err)
	defer db.Close()
	cred := ops.Credential{ID: ops.NewID(), Name: "login", Kind: "ssh_password", Targets: []string{"a"}, Version: 1}
	cred.Sealed, err = key.Seal(cred, ops.NewSecret("p"))
	require.NoError(t, err)
	require.NoError(t, db.CreateCredential(t.Context(), cred))
}

func (d *deployment) exec(t *testing.T, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// withPassword is a database URL with another password.
func withPassword(t *testing.T, in ops.Secret) string {
	t.Helper()
	u, err := url.Parse(in.Reveal())
	require.NoError(t, err)
	u.User = url.UserPassword(u.User.Username(), "not-the-password")
	return u.String()
}

// TestWhatIsWrongAtTheStartIsOneClearLine starts the built programs with one
// thing wrong: each says what and what to do, and exits.
func TestWhatIsWrongAtTheStartIsOneClearLine(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin+"/", "./api", "./agent", "./mcp", "./proxy", "./init").CombinedOutput()
	require.NoError(t, err, "%s", out)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().String()
	_, foreign, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)

	type env = map[string]string
	for name, tt := range map[string]struct {
		program string
		spoil   func(t *testing.T, d *deployment, e env)
		want    []string // parts of the line
	}{
		"a key file is missing": {"mcp", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_TOOLS_KEY_FILE"] = "/run/akmatori/nowhere" },
			[]string{"AKMATORI_TOOLS_KEY_FILE", "no such file", "akmatori-init makes it"}},
		"no key for the audit": {"mcp", func(_ *testing.T, _ *deployment, e env) { delete(e, "AKMATORI_AUDIT_KEY_FILE") },
			[]string{"AUDIT_KEY"}},
		"another's key for the audit": {"proxy", func(_ *testing.T, d *deployment, e env) {
			e["AKMATORI_AUDIT_KEY_FILE"] = filepath.Join(d.dir, "api-audit-key")
		},
			[]string{"audit key", "no key of chain proxy"}},
		"nowhere for the heads of the audit": {"api", func(_ *testing.T, d *deployment, e env) {
			e["AKMATORI_AUDIT_ANCHORS"] = filepath.Join(d.dir, "nowhere")
		},
			[]string{"heads cannot be kept", "no such file"}},
		"a key file for all": {"proxy", func(t *testing.T, d *deployment, _ env) {
			require.NoError(t, os.Chmod(filepath.Join(d.dir, "egress-key"), 0o444))
		},
			[]string{"AKMATORI_EGRESS_KEY_FILE", "mode 0444", "chmod 0400"}},
		"a token for the group": {"agent", func(t *testing.T, d *deployment, _ env) {
			require.NoError(t, os.Chmod(filepath.Join(d.dir, "worker-token"), 0o440))
		},
			[]string{"AKMATORI_WORKER_TOKEN_FILE", "mode 0440", "chmod 0400"}},
		"a folder as key": {"api", func(_ *testing.T, d *deployment, e env) { e["AKMATORI_TOOLS_PUBLIC_KEY_FILE"] = d.dir },
			[]string{"AKMATORI_TOOLS_PUBLIC_KEY_FILE", "is a directory"}},
		"an empty key": {"proxy", func(t *testing.T, d *deployment, e env) {
			e["AKMATORI_EGRESS_KEY_FILE"] = d.file(t, "empty", "", 0o400)
		},
			[]string{"AKMATORI_EGRESS_KEY_FILE", "is empty"}},
		"the ring of the other zone": {"mcp", func(_ *testing.T, d *deployment, e env) {
			e["AKMATORI_TOOLS_KEY_FILE"] = filepath.Join(d.dir, "egress-key")
		},
			[]string{"tools key", "a key of zone egress"}},
		"a public key of the other zone": {"api", func(_ *testing.T, d *deployment, e env) {
			e["AKMATORI_TOOLS_PUBLIC_KEY_FILE"] = filepath.Join(d.dir, "egress-public-key")
		},
			[]string{"key of zone tools", "key of zone egress"}},
		"a ring that opens nothing": {"mcp", func(t *testing.T, d *deployment, _ env) { d.sealed(t, foreign) },
			[]string{`credential \"login\"`, "sealed with a key that is not in the ring", foreign.ID(), "restore a backup"}},
		"the password of the gateway": {"mcp", func(t *testing.T, d *deployment, e env) { e["AKMATORI_DATABASE_URL"] = withPassword(t, d.pg.Gateway) },
			[]string{"refuses role akmatori_gateway", "28P01", "akmatori-api migrate"}},
		"the password of the api": {"api", func(t *testing.T, d *deployment, e env) { e["AKMATORI_DATABASE_URL"] = withPassword(t, d.pg.API) },
			[]string{"refuses role akmatori_api", "28P01", "akmatori-api migrate"}},
		"the password of the proxy": {"proxy", func(t *testing.T, d *deployment, e env) { e["AKMATORI_DATABASE_URL"] = withPassword(t, d.pg.Proxy) },
			[]string{"refuses role akmatori_proxy", "28P01"}},
		"no such database": {"mcp", func(_ *testing.T, d *deployment, e env) {
			u, _ := url.Parse(d.pg.Gateway.Reveal())
			u.Path = "/nobody"
			e["AKMATORI_DATABASE_URL"] = u.String()
		}, []string{"nobody on ", "there is no such database"}},
		"no URL of a database":       {"mcp", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_DATABASE_URL"] = "postgres://%zz:hunter2" }, []string{"the database URL is malformed"}},
		"an occupied public port":    {"api", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_PUBLIC_LISTEN"] = port }, []string{"public listener", port, "another process has that port"}},
		"an occupied agent port":     {"api", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_AGENT_LISTEN"] = port }, []string{"agents listener", port, "another process has that port"}},
		"an occupied ops port":       {"agent", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_OPS_LISTEN"] = port }, []string{"listener", port, "another process has that port"}},
		"an occupied gateway port":   {"mcp", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_LISTEN"] = port }, []string{"gateway listener", port, "another process has that port"}},
		"an occupied proxy port":     {"proxy", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_LISTEN"] = port }, []string{"proxy listener", port, "another process has that port"}},
		"a name that does not exist": {"api", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_AGENT_LISTEN"] = "no-such-alias.invalid:8081" }, []string{"agents listener", "no-such-alias.invalid", "one of this machine's own"}},
		"an older api":               {"api", newer, []string{"older release", "schema 9999"}},
		"an older gateway":           {"mcp", newer, []string{"older release", "schema 9999"}},
		"an older proxy":             {"proxy", newer, []string{"older release", "schema 9999"}},
		"an older migration":         {"api migrate", newer, []string{"older release", "schema 9999"}},
		"a newer api":                {"api", func(t *testing.T, d *deployment, _ env) { d.exec(t, `DROP TABLE goose_db_version`) }, []string{"no schema", "akmatori-api migrate"}},
		"half of TLS": {"api", func(_ *testing.T, d *deployment, e env) {
			e["AKMATORI_TLS_CERT_FILE"] = filepath.Join(d.dir, "cert.pem")
		}, []string{"TLS", "both, or none"}},
		"no such certificate": {"api", func(_ *testing.T, _ *deployment, e env) {
			e["AKMATORI_TLS_CERT_FILE"], e["AKMATORI_TLS_KEY_FILE"] = "/nowhere/cert.pem", "/nowhere/key.pem"
		}, []string{"TLS", "/nowhere/cert.pem"}},
		"a typing mistake": {"proxy", func(_ *testing.T, _ *deployment, e env) { e["AKMATORI_LISTN"] = ":1" }, []string{"AKMATORI_LISTN is set, but there is no such setting"}},
		"half a set of secrets": {"init", func(t *testing.T, d *deployment, _ env) {
			require.NoError(t, os.MkdirAll(filepath.Join(d.dir, "secrets/agent"), 0o700))
			d.file(t, "secrets/agent/worker-token", "x", 0o400)
		}, []string{"missing, but others are there", "remove its volumes"}},
		"a folder that cannot be made": {"init", func(t *testing.T, d *deployment, e env) { e["AKMATORI_SECRETS_DIR"] = d.file(t, "secrets", "x", 0o400) }, []string{"not a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t, bin)
			e := d.env(tt.program)
			tt.spoil(t, d, e)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			args := strings.Fields(tt.program)
			cmd := exec.CommandContext(ctx, filepath.Join(d.bin, args[0]), args[1:]...)
			for k, v := range e {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok && ctx.Err() == nil && exit.Exited(), "it goes on: %v\n%s", err, stderr.String())
			require.Contains(t, []int{1, 2}, exit.ExitCode())
			line := strings.TrimSuffix(stderr.String(), "\n")
			require.NotContains(t, line, "\n", "one line")
			for _, part := range tt.want {
				require.Contains(t, line, part)
			}
			var record struct{ Level, Err string }
			require.NoError(t, json.Unmarshal([]byte(line), &record))
			require.Equal(t, "ERROR", record.Level)
			require.NotContains(t, record.Err, "\n")
			for _, secret := range []string{"hunter2", "not-the-password", "akmatori-private-key"} {
				require.NotContains(t, line, secret)
			}
		})
	}
}

// newer makes the database one of a later release.
func newer(t *testing.T, d *deployment, _ map[string]string) {
	d.exec(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
}

func TestHealthOfEachProgram(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"api", "agent", "mcp", "proxy"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(t.TempDir(), program)
			out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "./"+program).CombinedOutput()
			require.NoError(t, err, "%s", out)
			cmd := exec.CommandContext(t.Context(), bin, "health")
			cmd.Env = []string{"AKMATORI_OPS_LISTEN=127.0.0.1:1"} // and nothing else of its settings
			out, err = cmd.CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, string(out), "not reachable: dial tcp 127.0.0.1:1")
			require.Equal(t, 2, exitCode(exec.CommandContext(t.Context(), bin, "helth").Run()))
		})
	}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}
