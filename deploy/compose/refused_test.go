//go:build compose

package compose_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/seal"
)

// testConfig: the files need no variable, and whoever leaves out what an
// override needs is told its name.
func testConfig(t *testing.T, d *deployment) {
	compose := func(args ...string) (string, error) {
		out, err := d.try("sh", "-c", strings.Join(append(slices.Clone(d.compose), args...), " ")+" 2>&1")
		return out, err
	}
	out, err := compose("--profile", "demo", "--profile", "keys", "config", "-q")
	require.NoError(t, err)
	require.Empty(t, out, "docker compose config complains")
	for file, names := range map[string][]string{
		"config.yml":            {"AKMATORI_CONFIG_DIR"},
		"tls.yml":               {"AKMATORI_PUBLIC_URL", "AKMATORI_TLS_DIR"},
		"external-postgres.yml": {"AKMATORI_POSTGRES_HOST", "AKMATORI_POSTGRES_PASSWORD_FILE"},
	} {
		out, err := compose("-f", file, "config", "-q")
		require.Error(t, err, file)
		require.True(t, slices.ContainsFunc(names, func(n string) bool { return strings.Contains(out, n) }), "%s: %s", file, out)
		for _, n := range names {
			d.with(t, n+"=/somewhere")
		}
		out, err = compose("-f", file, "config", "-q")
		require.NoError(t, err)
		require.Empty(t, out, file)
	}
}

// testRefused: what is wrong ends docker compose up with an error. The log of
// the one that refuses has one line that says what is wrong and what to do, be
// it that it is tried again.
func testRefused(t *testing.T, d *deployment) {
	tools, token := d.file("secrets-gateway", "tools-key"), d.file("secrets-agent", "worker-token")
	password := d.password()
	for _, tt := range []struct {
		name          string
		spoil, repair func(*testing.T)
		service       string // who refuses; empty: the engine
		want          []string
	}{
		{"a missing key",
			func(t *testing.T) { require.NoError(t, os.Rename(tools, tools+".aside")) },
			func(t *testing.T) { require.NoError(t, os.Rename(tools+".aside", tools)) },
			"init", []string{"gateway/tools-key: missing", "restore a backup"}},
		{"a key that its owner cannot read",
			func(t *testing.T) { require.NoError(t, os.Chown(tools, 0, 0)) },
			func(t *testing.T) { require.NoError(t, os.Chown(tools, 1002, 1002)) },
			"init", []string{"gateway/tools-key belongs to UID 0, not 1002", "chown it"}},
		{"a key that everybody can read",
			func(t *testing.T) { require.NoError(t, os.Chmod(token, 0o644)) },
			func(t *testing.T) { require.NoError(t, os.Chmod(token, 0o400)) },
			"init", []string{"agent/worker-token has mode -rw-r--r--", "chmod it"}},
		{"a wrong password of the database",
			func(*testing.T) { d.sql("ALTER ROLE akmatori_owner PASSWORD 'another'") },
			func(*testing.T) { d.sqlAs("another", "ALTER ROLE akmatori_owner PASSWORD '"+password+"'") },
			"migrate", []string{"refuses role akmatori_owner", "28P01"}},
		{"a newer schema",
			func(*testing.T) { d.sql("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)") },
			func(*testing.T) { d.sql("DELETE FROM goose_db_version WHERE version_id = 9999") },
			"migrate", []string{"older release", "schema 9999"}},
		{"a ring that does not open what is stored",
			func(t *testing.T) { d.foreign(t); d.up("stop", "mcp-gateway") },
			func(*testing.T) {
				d.sql("DELETE FROM credentials WHERE name = 'foreign'")
				d.up("restart", "mcp-gateway") // the engine would, after a while
			},
			"mcp-gateway", []string{`credential "foreign"`, "sealed with a key that is not in the ring", "restore a backup"}},
		{"an occupied port",
			func(t *testing.T) { d.up("stop", "akmatori-api"); d.occupy(t) },
			func(*testing.T) {},
			"", []string{"127.0.0.1:8080", "address already in use"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.engine.t = t
			tt.spoil(t)
			began := time.Now()
			_, err := d.try(d.compose[0], append(slices.Clone(d.compose[1:]), "up", "-d", "--no-build")...)
			took := time.Since(began).Round(time.Second)
			line := ""
			if tt.service != "" {
				line = d.refusal(tt.service, began)
			}
			tt.repair(t)
			require.Error(t, err, "docker compose up goes on")
			if tt.service == "" {
				line = err.Error()
			}
			for _, want := range tt.want {
				require.Contains(t, line, want)
			}
			t.Logf("docker compose up ends after %s: %s", took, tail(strings.TrimSpace(line), 300))
		})
		d.engine.t = t
	}
	d.up("up", "-d", "--no-build")
	d.healthy()
}

// refusal gives the one thing that a service has said since a moment, as often
// as it was started.
func (d *deployment) refusal(service string, since time.Time) string {
	t := d.t
	t.Helper()
	var c container
	require.Eventually(t, func() bool { // it may just be tried again
		c = d.containers(true)[service]
		return c.State.ExitCode != 0 && c.State.Status != "running"
	}, time.Minute, 50*time.Millisecond, "%s does not fail", service)
	out, err := d.try("sh", "-c", fmt.Sprintf("docker logs --since %s %s 2>&1", since.Format(time.RFC3339Nano), c.ID))
	require.NoError(t, err)
	said := map[string]bool{}
	for line := range strings.Lines(out) {
		var record struct{ Level, Err string }
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		require.Equal(t, "ERROR", record.Level, line)
		said[record.Err] = true
	}
	require.Len(t, said, 1, out)
	for err := range said {
		return err
	}
	return ""
}

// file is the path of a secret on the host.
func (d *deployment) file(volume, name string) string {
	d.t.Helper()
	return filepath.Join(strings.TrimSpace(d.run("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", project+"_"+volume)), name)
}

// foreign stores a credential that is sealed with a key of another deployment.
func (d *deployment) foreign(t *testing.T) {
	_, key, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	c := ops.Credential{ID: ops.NewID(), Name: "foreign", Kind: "ssh_password", Targets: []string{"demo-host"}, Version: 1}
	c.Sealed, err = key.Seal(c, ops.NewSecret("p"))
	require.NoError(t, err)
	d.sql(fmt.Sprintf("INSERT INTO credentials (id, name, kind, zone, targets, version, sealed) VALUES ('%s', 'foreign', 'ssh_password', 'tools', '{demo-host}', 1, '\\x%s')",
		c.ID, hex.EncodeToString(c.Sealed)))
}

// occupy takes the published port of the host until t ends.
func (d *deployment) occupy(t *testing.T) {
	l, err := in(d.netns, func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:8080") })
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
}
