//go:build compose

package compose_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// keys runs the service of that name: with the passphrase of a backup and what
// follows it as input.
func (d *deployment) keys(input []byte, args ...string) ([]byte, error) {
	args = append(append(d.compose[1:len(d.compose):len(d.compose)], "run", "--rm", "-T", "keys"), args...)
	cmd := exec.Command(d.compose[0], args...)
	cmd.Env = d.env
	cmd.Stdin = bytes.NewReader(append([]byte("correct horse battery staple\n"), input...))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, tail(errs.String(), 2000))
	}
	return out.Bytes(), nil
}

// testRotated: new keys, while everything runs; what was sealed still opens.
func testRotated(t *testing.T, d *deployment) {
	before := d.secrets()
	_, err := d.keys(nil, "rotate")
	require.NoError(t, err)
	require.Greater(t, len(d.secrets()), len(before), "the rings have more keys")
	d.concluded(d.alert())
}

// testPruned: the older keys go, which needs a rotation that is a minute old.
func testPruned(t *testing.T, d *deployment) {
	d.up("up", "-d", "--no-build") // without TLS again
	d.healthy()
	before := d.secrets()
	var err error
	require.Eventually(t, func() bool {
		_, err = d.keys(nil, "rotate", "--prune")
		return err == nil
	}, 2*time.Minute, 5*time.Second, "%v", err)
	require.Less(t, len(d.secrets()), len(before))
	d.concluded(d.alert())
}

// testRestored loses everything but a backup.
func testRestored(t *testing.T, d *deployment) {
	before := d.incidents()
	backup, err := d.keys(nil, "backup")
	require.NoError(t, err)
	for _, s := range d.secrets() {
		require.False(t, bytes.Contains(backup, []byte(s.value)), "%s is in the backup", s.name)
	}
	d.up("--profile", "demo", "down")
	for _, volume := range strings.Fields(d.run("docker", "volume", "ls", "-q", "--filter", "name="+project+"_")) {
		if volume != project+"_demo" {
			d.run("docker", "volume", "rm", volume)
		}
	}
	d.up("run", "--rm", "-T", "migrate")
	_, err = d.keys(backup, "restore")
	require.NoError(t, err)
	d.up("up", "-d", "--no-build")
	d.up("--profile", "demo", "up", "-d", "--no-build", "demo-world")
	d.healthy()
	require.Equal(t, before, d.incidents())
	d.concluded(d.alert())
}

// testConfigurationFile loads one at the start, and again when it has changed.
func testConfigurationFile(t *testing.T, d *deployment) {
	folder := filepath.Join(d.dir, "config")
	require.NoError(t, os.Mkdir(folder, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o711))
	write := func(host string) {
		path := filepath.Join(folder, "akmatori.yaml")
		require.NoError(t, os.WriteFile(path, []byte("targets:\n- {name: of-a-file, address: "+host+", port: 22, user: akmatori}\n"), 0o600))
		require.NoError(t, os.Chown(path, 1000, 1000))
	}
	has := func(host string) bool {
		var page struct{ Items []ops.Target }
		status, err := d.do(http.MethodGet, "/api/v1/targets", d.token, nil, &page)
		return err == nil && status == http.StatusOK && slices.ContainsFunc(page.Items, func(t ops.Target) bool { return t.Address == host })
	}
	write("first.example")
	d.override(t, "config.yml")
	d.with(t, "AKMATORI_CONFIG_DIR="+folder)
	d.up("up", "-d", "--no-build")
	d.healthy()
	require.True(t, has("first.example"))
	write("second.example")
	d.up("kill", "-s", "HUP", "akmatori-api")
	require.Eventually(t, func() bool { return has("second.example") }, 30*time.Second, 100*time.Millisecond)
	require.False(t, has("first.example"))
}

// testTLS serves the page with a certificate.
func testTLS(t *testing.T, d *deployment) {
	folder := filepath.Join(d.dir, "tls")
	authority := certificate(t, folder)
	d.override(t, "tls.yml")
	d.with(t, "AKMATORI_TLS_DIR="+folder, "AKMATORI_PUBLIC_URL=https://akmatori.test")
	d.up("up", "-d", "--no-build")
	d.healthy()
	conn, err := in(d.netns, func() (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:8080") })
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, tls.Client(conn, &tls.Config{RootCAs: authority, ServerName: "akmatori.test"}).HandshakeContext(t.Context()))
}

// override adds a compose file, and with adds variables, until t ends.
func (d *deployment) override(t *testing.T, file string) {
	compose := d.compose
	d.compose = append(compose[:len(compose):len(compose)], "-f", file)
	t.Cleanup(func() { d.compose = compose })
}

func (d *deployment) with(t *testing.T, env ...string) {
	variables := d.env
	d.env = append(variables[:len(variables):len(variables)], env...)
	t.Cleanup(func() { d.env = variables })
}

func certificate(t *testing.T, folder string) *x509.CertPool {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"akmatori.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(folder, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o711))
	for name, block := range map[string]*pem.Block{"fullchain.pem": {Type: "CERTIFICATE", Bytes: der}, "privkey.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o400))
		require.NoError(t, os.Chown(path, 1000, 1000))
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(parsed)
	return pool
}

// testExternalPostgres starts anew on a server that is not of the deployment.
func testExternalPostgres(t *testing.T, d *deployment) {
	d.up("--profile", "demo", "down", "-v")
	password := filepath.Join(d.dir, "owner-password")
	require.NoError(t, os.WriteFile(password, []byte("a password of its own\n"), 0o444))
	d.run("docker", "run", "-d", "--name", "external", "-p", hostAddress+":15432:5432", "--user", "70:70", "-v", password+":/password:ro",
		"-e", "POSTGRES_USER=akmatori_owner", "-e", "POSTGRES_DB=akmatori", "-e", "POSTGRES_PASSWORD_FILE=/password",
		"-e", "PGDATA=/var/lib/postgresql/data/pgdata", "akmatori-base/postgres:test")
	require.Eventually(t, func() bool {
		_, err := d.try("docker", "exec", "external", "pg_isready", "-q", "-h", "127.0.0.1")
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	require.NoError(t, os.Chmod(password, 0o400))
	d.override(t, "external-postgres.yml")
	d.with(t, "AKMATORI_POSTGRES_HOST="+hostAddress, "AKMATORI_POSTGRES_PORT=15432",
		"AKMATORI_POSTGRES_SSLMODE=disable", "AKMATORI_POSTGRES_PASSWORD_FILE="+password)
	d.up("up", "-d", "--no-build")
	all := d.containers(false)
	for _, s := range []string{"akmatori-api", "mcp-gateway", "credential-proxy"} {
		require.Eventually(t, func() bool { return d.containers(false)[s].State.Health.Status == "healthy" }, time.Minute, 200*time.Millisecond, s)
	}
	require.Empty(t, d.ask(all["postgres"], question{}).Listeners, "nothing listens in the place of postgres")
	out := d.run("docker", "exec", "-e", "PGPASSWORD=a password of its own", "external", "psql", "-h", "127.0.0.1", "-U", "akmatori_owner", "-d", "akmatori",
		"-Atc", "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('akmatori_api', 'akmatori_gateway', 'akmatori_proxy')")
	require.NotEqual(t, "0", strings.TrimSpace(out), "nobody uses the external database")
	d.up("down", "-v")
	d.run("docker", "rm", "-fv", "external")
	t.Logf("three roles have %s connections", strings.TrimSpace(out))
}
