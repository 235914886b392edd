package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

// config is of a deployment in a folder of its own. Only root can give files away.
func config(t *testing.T) keys.Config {
	t.Helper()
	c := keys.Config{
		Dir:      filepath.Join(t.TempDir(), "secrets"),
		Owners:   keys.Owners{API: 1000, Agent: 1001, Gateway: 1002, Proxy: 1003, Postgres: 70},
		Database: keys.Database{Host: "postgres", Port: 5432, Name: "akmatori", Owner: "akmatori_owner", SSLMode: "disable"},
	}
	if uid := os.Getuid(); uid != 0 {
		c.Owners = keys.Owners{API: uid, Agent: uid, Gateway: uid, Proxy: uid, Postgres: uid}
	}
	// So that the folder can be removed again.
	t.Cleanup(func() {
		folders, _ := filepath.Glob(filepath.Join(c.Dir, "*"))
		for _, f := range folders {
			_ = os.Chmod(f, 0o700)
		}
	})
	return c
}

func made(t *testing.T, c keys.Config) *keys.Deployment {
	t.Helper()
	all, d, err := keys.Make(c)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return d
}

// contents reads every file below dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = strings.TrimSuffix(string(data), "\n")
		return err
	}))
	return files
}

func TestMakeOnce(t *testing.T) {
	t.Parallel()
	c := config(t)
	d := made(t, c)
	require.False(t, d.Interrupted())
	files := contents(t, c.Dir)
	require.ElementsMatch(t, []string{
		"agent/proxy-ca", "agent/worker-token",
		"api/api-key", "api/audit-key", "api/audit-public-keys", "api/database-url", "api/egress-public-key", "api/tools-public-key", "api/worker-token",
		"gateway/audit-key", "gateway/database-url", "gateway/tools-key",
		"migrate/api-password", "migrate/gateway-password", "migrate/owner-database-url", "migrate/proxy-password", "migrate/set",
		"postgres/password",
		"proxy/audit-key", "proxy/ca-certificate", "proxy/ca-key", "proxy/database-url", "proxy/egress-key",
	}, slices.Collect(maps.Keys(files)))
	require.Equal(t, "postgres://akmatori_gateway:"+files["migrate/gateway-password"]+"@postgres:5432/akmatori?sslmode=disable", files["gateway/database-url"])
	require.Equal(t, "postgres://akmatori_owner:"+files["postgres/password"]+"@postgres:5432/akmatori?sslmode=disable", files["migrate/owner-database-url"])
	require.Equal(t, files["api/worker-token"], files["agent/worker-token"])
	secrets := map[string]bool{}
	for _, name := range []string{"migrate/api-password", "migrate/gateway-password", "migrate/proxy-password", "postgres/password", "agent/worker-token"} {
		require.GreaterOrEqual(t, len(files[name]), 43)
		secrets[files[name]] = true
	}
	require.Len(t, secrets, 5)

	owner := owners(c)
	for folder, uid := range owner {
		checkMode(t, filepath.Join(c.Dir, folder), uid, fs.ModeDir|0o500)
	}
	for name := range files {
		checkMode(t, filepath.Join(c.Dir, name), owner[filepath.Dir(name)], 0o400)
	}

	again, _, err := keys.Make(c)
	require.NoError(t, err)
	require.Empty(t, again)
	require.Equal(t, files, contents(t, c.Dir))
}

// TestTheAuthorityOfTheProxy: the agent trusts what the proxy signs, for servers
// and for nothing else.
func TestTheAuthorityOfTheProxy(t *testing.T) {
	t.Parallel()
	c := config(t)
	made(t, c)
	files := contents(t, c.Dir)
	require.Equal(t, files["proxy/ca-certificate"], files["agent/proxy-ca"])
	pair, err := tls.X509KeyPair([]byte(files["proxy/ca-certificate"]), []byte(files["proxy/ca-key"]))
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM([]byte(files["agent/proxy-ca"])))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sign := func(template x509.Certificate) *x509.Certificate {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(2), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, &template, pair.Leaf, &key.PublicKey, pair.PrivateKey)
		require.NoError(t, err)
		signed, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return signed
	}
	server := sign(x509.Certificate{DNSNames: []string{"api.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	_, err = server.Verify(x509.VerifyOptions{Roots: trusted, DNSName: "api.example.com"})
	require.NoError(t, err)
	client := sign(x509.Certificate{DNSNames: []string{"api.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	_, err = client.Verify(x509.VerifyOptions{Roots: trusted, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.Error(t, err, "an authority for clients")
	middle := sign(x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	between := x509.NewCertPool()
	between.AddCert(middle)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(3), DNSNames: []string{"a"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}, middle, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: trusted, Intermediates: between, DNSName: "a"})
	require.Error(t, err, "an authority below it")

	other := config(t)
	made(t, other)
	require.NotEqual(t, files["proxy/ca-key"], contents(t, other.Dir)["proxy/ca-key"])
}

// added is what this set has and set 1 had not, in the order in which it is made.
var added = []string{"api/audit-key", "api/audit-public-keys", "agent/proxy-ca", "gateway/audit-key", "proxy/ca-certificate", "proxy/ca-key", "proxy/audit-key", "migrate/set"}

// TestAReleaseAddsSecrets: a set of the first release gets what this one needs,
// and keeps all it has; a kill in between changes nothing of that.
func TestAReleaseAddsSecrets(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]struct {
		there []string // of what was to be added
		half  string   // a file that was being written
	}{
		"the first start":            {},
		"killed after one file":      {there: added[:1]},
		"killed while one is made":   {there: added[:1], half: "proxy/.ca-key.next"},
		"killed before it was noted": {there: added[:len(added)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			made(t, c)
			for _, f := range added {
				if !slices.Contains(killed.there, f) {
					remove(t, c, f)
				}
			}
			if killed.half != "" {
				writable(t, filepath.Join(c.Dir, filepath.Dir(killed.half)), func() {
					require.NoError(t, os.WriteFile(filepath.Join(c.Dir, killed.half), []byte("---"), 0o400))
				})
			}
			before := contents(t, c.Dir)
			if len(killed.there) == 0 {
				_, err := keys.Open(c)
				require.ErrorContains(t, err, "an older release has made them: run akmatori-init first")
			}
			now, _, err := keys.Make(c)
			require.NoError(t, err)
			require.ElementsMatch(t, added[:len(added)-1], now)
			after := contents(t, c.Dir)
			for _, f := range added {
				require.NotEmpty(t, after[f])
				checkMode(t, filepath.Join(c.Dir, f), owners(c)[filepath.Dir(f)], 0o400)
			}
			require.Equal(t, after["proxy/ca-certificate"], after["agent/proxy-ca"])
			maps.DeleteFunc(before, func(name, _ string) bool { return slices.Contains(added, name) || name == killed.half })
			maps.DeleteFunc(after, func(name, _ string) bool { return slices.Contains(added, name) })
			require.Equal(t, before, after, "what was there stays")

			now, _, err = keys.Make(c)
			require.NoError(t, err)
			require.Empty(t, now)
		})
	}
}

func remove(t *testing.T, c keys.Config, name string) {
	t.Helper()
	path := filepath.Join(c.Dir, name)
	writable(t, filepath.Dir(path), func() { require.NoError(t, os.Remove(path)) })
}

// writable lets f change a folder of the set.
func writable(t *testing.T, folder string, f func()) {
	t.Helper()
	require.NoError(t, os.Chmod(folder, 0o700))
	f()
	require.NoError(t, os.Chmod(folder, 0o500))
}

func owners(c keys.Config) map[string]int {
	return map[string]int{"api": c.Owners.API, "migrate": c.Owners.API, "agent": c.Owners.Agent, "gateway": c.Owners.Gateway,
		"proxy": c.Owners.Proxy, "postgres": c.Owners.Postgres}
}

func checkMode(t *testing.T, path string, uid int, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, mode, info.Mode(), path)
	st := info.Sys().(*syscall.Stat_t)
	require.Equal(t, uint32(uid), st.Uid, path)
	if os.Getuid() == 0 {
		require.Equal(t, uint32(uid), st.Gid, path)
	}
}

func TestAPostgresOfOnesOwn(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Database = keys.Database{Host: "2001:db8::1", Port: 5433, Name: "opsdb", Owner: "o", Password: ops.NewSecret("p@ss:w/rd?"), SSLMode: "verify-full", SSLRootCert: "/etc/ca.pem"}
	d := made(t, c)
	want := "postgres://o:p%40ss%3Aw%2Frd%3F@[2001:db8::1]:5433/opsdb?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
	require.Equal(t, want, d.OwnerURL().Reveal())
	c.Database.Password = ops.NewSecret("another")
	_, err := keys.Open(c)
	require.ErrorContains(t, err, "postgres/password is not the password of the owner that the settings give")
}

// TestRefused has what may be wrong with a set. Nothing of it is repaired.
func TestRefused(t *testing.T) {
	t.Parallel()
	replace := func(name, content string) func(*testing.T, *keys.Config) {
		return func(t *testing.T, c *keys.Config) {
			path := filepath.Join(c.Dir, name)
			require.NoError(t, os.Chmod(path, 0o600))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			require.NoError(t, os.Chmod(path, 0o400))
		}
	}
	for name, tt := range map[string]struct {
		spoil func(*testing.T, *keys.Config)
		want  string
		root  bool
	}{
		"a file is missing": {spoil: func(t *testing.T, c *keys.Config) { remove(t, *c, "gateway/tools-key") },
			want: "gateway/tools-key: missing, but others are there"},
		"a file of this release": {spoil: func(t *testing.T, c *keys.Config) { remove(t, *c, "proxy/ca-key") },
			want: "proxy/ca-key: missing, but others are there"},
		"a first start was killed": {spoil: func(t *testing.T, c *keys.Config) { remove(t, *c, "postgres/password") },
			want: "postgres/password: missing, but others are there: if this deployment has never run, remove its volumes"},
		"half of an older set": {spoil: func(t *testing.T, c *keys.Config) { remove(t, *c, "migrate/set"); remove(t, *c, "postgres/password") },
			want: "postgres/password: missing, but others are there"},
		"a newer release's":    {spoil: replace("migrate/set", "4"), want: "a newer release has made them (set 4, this one knows 3)"},
		"a broken audit key":   {spoil: replace("gateway/audit-key", "x"), want: "malformed: gateway/audit-key"},
		"audit key of another": {spoil: replace("gateway/audit-key", ops.NewAuditKey("gateway").Text().Reveal()), want: "gateway/audit-key (its public key is not in api/audit-public-keys)"},
		"audit key of a chain": {spoil: replace("proxy/audit-key", ops.NewAuditKey("api").Text().Reveal()), want: "it is no key of chain proxy"},
		"a broken number":      {spoil: replace("migrate/set", "two"), want: "malformed: migrate/set"},
		"another authority":    {spoil: replace("proxy/ca-key", foreignKey(t)), want: "malformed: proxy/ca-key and proxy/ca-certificate (tls: private key does not match public key)"},
		"a broken certificate": {spoil: replace("proxy/ca-certificate", "-----BEGIN CERTIFICATE-----"), want: "malformed: proxy/ca-key and proxy/ca-certificate"},
		"another trusted one":  {spoil: replace("agent/proxy-ca", "x"), want: "agent/proxy-ca does not fit the other files"},
		"a volume is missing": {spoil: func(t *testing.T, c *keys.Config) {
			require.NoError(t, os.Chmod(filepath.Join(c.Dir, "agent"), 0o700))
			require.NoError(t, os.RemoveAll(filepath.Join(c.Dir, "agent")))
		}, want: "agent/worker-token, agent/proxy-ca: missing"},
		"a readable key": {spoil: func(t *testing.T, c *keys.Config) {
			require.NoError(t, os.Chmod(filepath.Join(c.Dir, "gateway/tools-key"), 0o440))
		}, want: "gateway/tools-key has mode -r--r-----, not -r--------"},
		"an open folder": {spoil: func(t *testing.T, c *keys.Config) {
			require.NoError(t, os.Chmod(filepath.Join(c.Dir, "proxy"), 0o755))
		}, want: "proxy has mode drwxr-xr-x, not dr-x------"},
		"another owner": {spoil: func(t *testing.T, c *keys.Config) {
			require.NoError(t, os.Chown(filepath.Join(c.Dir, "proxy/egress-key"), 1002, 1002))
		}, want: "proxy/egress-key belongs to UID 1002, not 1003", root: true},
		"a link": {spoil: func(t *testing.T, c *keys.Config) {
			path := filepath.Join(c.Dir, "agent/worker-token")
			require.NoError(t, os.Chmod(filepath.Dir(path), 0o700))
			require.NoError(t, os.Rename(path, filepath.Join(c.Dir, "token")))
			require.NoError(t, os.Symlink("../token", path))
		}, want: "agent/worker-token "},
		"an empty token":        {spoil: replace("agent/worker-token", ""), want: "malformed: agent/worker-token"},
		"half a password":       {spoil: replace("migrate/api-password", "abc"), want: "malformed: migrate/api-password"},
		"a broken ring":         {spoil: replace("proxy/egress-key", "akmatori-private-key egress 00"), want: "malformed: proxy/egress-key (key ring, line 1"},
		"an empty ring":         {spoil: replace("gateway/tools-key", ""), want: "malformed: gateway/tools-key (key ring: there is no key in it)"},
		"a foreign public key":  {spoil: replace("api/tools-public-key", foreignPublic(t)), want: "api/tools-public-key is of no key in gateway/tools-key"},
		"a broken public key":   {spoil: replace("api/tools-public-key", "tools"), want: "api/tools-public-key: "},
		"a token of another":    {spoil: replace("api/worker-token", ops.NewToken(ops.WorkerTokenPrefix).Reveal()), want: "api/worker-token does not fit"},
		"a URL with a password": {spoil: replace("proxy/database-url", "postgres://akmatori_proxy:x@postgres:5432/akmatori?sslmode=disable"), want: "proxy/database-url does not fit"},
		"another host":          {spoil: func(_ *testing.T, c *keys.Config) { c.Database.Host = "db.example" }, want: "api/database-url does not fit the other files and the settings"},
		"no such SSL mode":      {spoil: func(_ *testing.T, c *keys.Config) { c.Database.SSLMode = "prefer" }, want: `SSL mode "prefer"`},
		"no port":               {spoil: func(_ *testing.T, c *keys.Config) { c.Database.Port = 0 }, want: "0 is no port"},
		"a process's role":      {spoil: func(_ *testing.T, c *keys.Config) { c.Database.Owner = postgres.RoleAPI }, want: "role of a process"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.root && os.Getuid() != 0 {
				return // nothing to see: all files are ours
			}
			c := config(t)
			made(t, c)
			tt.spoil(t, &c)
			before := contents(t, c.Dir)
			_, _, err := keys.Make(c)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "\n")
			for name, content := range before {
				for _, line := range strings.Split(content, "\n") {
					if len(line) > 20 && !strings.HasSuffix(name, "public-key") && !strings.HasPrefix(line, "-----") {
						require.NotContains(t, err.Error(), line, "content of %s", name)
					}
				}
			}
			require.Equal(t, before, contents(t, c.Dir))
		})
	}
}

// foreignKey is that of another authority.
func foreignKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func foreignPublic(t *testing.T) string {
	t.Helper()
	_, public, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	return public.String()
}

// rig is a deployment with a database and a credential of each zone.
type rig struct {
	c    keys.Config
	d    *keys.Deployment
	db   *postgres.DB // as the owner
	gate *postgres.DB // as the gateway
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{c: config(t)}
	r.d = made(t, r.c)
	pg := pgtest.New(t)
	r.db, r.gate = open(t, pg.Owner), open(t, pg.Gateway)
	r.add(t, "login", "ssh_password", r.d.Ring(ops.ZoneTools).Public())
	r.add(t, "model", "llm_key", r.d.Ring(ops.ZoneEgress).Public())
	return r
}

func open(t *testing.T, url ops.Secret) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, App: "test", MaxConns: 4})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func (r *rig) add(t *testing.T, name, kind string, key seal.PublicKey) {
	t.Helper()
	cred := ops.Credential{ID: ops.NewID(), Name: name, Kind: kind, Targets: []string{"a", "b-*"}, Version: 3}
	var err error
	cred.Sealed, err = key.Seal(cred, ops.NewSecret("secret of "+name))
	require.NoError(t, err)
	require.NoError(t, r.db.CreateCredential(t.Context(), cred))
}

// opens checks that the ring on disk opens a credential, and gives it.
func (r *rig) opens(t *testing.T, name string) ops.Credential {
	t.Helper()
	cred, err := r.db.CredentialByName(t.Context(), name)
	require.NoError(t, err)
	d, err := keys.Open(r.c)
	require.NoError(t, err)
	plaintext, err := d.Ring(ops.CredentialKinds[cred.Kind]).Open(cred)
	require.NoError(t, err)
	require.Equal(t, "secret of "+name, plaintext.Reveal())
	return cred
}

func (r *rig) age(t *testing.T) {
	t.Helper()
	for _, name := range []string{"api/tools-public-key", "api/egress-public-key", "api/api-key"} {
		old := time.Now().Add(-time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(r.c.Dir, name), old, old))
	}
}

func TestRotateAndPrune(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := contents(t, r.c.Dir)
	reader := seal.NewOpener(r.d.Ring(ops.ZoneTools), func() (ops.Secret, error) { // as the gateway reads it
		data, err := os.ReadFile(filepath.Join(r.c.Dir, "gateway/tools-key"))
		return ops.NewSecret(string(data)), err
	})
	old := r.d.Ring(ops.ZoneTools).Public()
	got, err := r.d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	require.Equal(t, 2, got.Resealed)
	require.Empty(t, got.Damaged)

	for name, zone := range map[string]ops.Zone{"login": ops.ZoneTools, "model": ops.ZoneEgress} {
		cred := r.opens(t, name)
		require.Equal(t, got.Keys[zone], seal.KeyID(cred.Sealed))
		require.Equal(t, 3, cred.Version)
	}
	login := r.opens(t, "login")
	_, err = reader.Open(login)
	require.NoError(t, err, "a process that runs finds the new key")
	second := contents(t, r.c.Dir)
	require.Len(t, strings.Split(second["gateway/tools-key"], "\n"), 2)
	require.True(t, strings.HasSuffix(second["gateway/tools-key"], first["gateway/tools-key"]))
	require.NotEqual(t, first["api/tools-public-key"], second["api/tools-public-key"])
	checkMode(t, filepath.Join(r.c.Dir, "gateway/tools-key"), r.c.Owners.Gateway, 0o400)
	again, d, err := keys.Make(r.c)
	require.NoError(t, err)
	require.Empty(t, again)
	require.False(t, d.Interrupted())

	_, err = d.Prune(t.Context(), r.db)
	require.ErrorContains(t, err, "prune when it is 1m0s old")
	r.age(t)
	r.add(t, "late", "ssh_password", old) // by an api that had not read the new key
	pruned, err := d.Prune(t.Context(), r.db)
	require.NoError(t, err)
	require.Len(t, pruned, 2, "the old keys of egress and api; that of tools is used")
	r.opens(t, "late")
	r.opens(t, "model")

	got, err = d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	require.Equal(t, 3, got.Resealed)
	r.age(t)
	pruned, err = d.Prune(t.Context(), r.db)
	require.NoError(t, err)
	require.Len(t, pruned, 4)
	for _, name := range []string{"login", "late", "model"} {
		r.opens(t, name)
	}
	for _, name := range []string{"gateway/tools-key", "proxy/egress-key", "api/api-key"} {
		require.NotContains(t, contents(t, r.c.Dir)[name], "\n", "one key is left")
	}
	records, err := r.db.Audit(t.Context(), "api", 0, 100)
	require.NoError(t, err)
	_, err = ops.VerifyChain(nil, records)
	require.NoError(t, err)
	var acts []string
	for _, rec := range records {
		acts = append(acts, rec.Action+" "+rec.Outcome)
	}
	require.Equal(t, []string{"keys.rotated intent", "keys.rotated ok", "keys.pruned intent", "keys.pruned ok",
		"keys.rotated intent", "keys.rotated ok", "keys.pruned intent", "keys.pruned ok"}, acts)
}

// TestAKilledRotationLosesNothing puts the files into each state that a kill
// can leave: the rings of both, then of one, are ahead of what the api seals with.
func TestAKilledRotationLosesNothing(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string][]string{
		"before any public key":    {"api/tools-public-key", "api/egress-public-key", "proxy/egress-key"},
		"between the zones":        {"api/egress-public-key"},
		"before the credentials":   {},
		"while a file was written": {"api/tools-public-key", "api/egress-public-key", "proxy/egress-key", ".half"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before := contents(t, r.c.Dir)
			sealed := map[string][]byte{}
			for _, n := range []string{"login", "model"} {
				sealed[n] = r.opens(t, n).Sealed
			}
			_, err := r.d.Rotate(t.Context(), r.db)
			require.NoError(t, err)
			// Back to what a kill leaves.
			require.NoError(t, r.db.Reseal(t.Context(), func(all []ops.Credential) ([]postgres.Resealed, []ops.AuditRecord, error) {
				var back []postgres.Resealed
				for _, c := range all {
					back = append(back, postgres.Resealed{Sealed: sealed[c.Name]})
				}
				return back, nil, nil
			}))
			for _, file := range undo {
				path := filepath.Join(r.c.Dir, file)
				if file == ".half" {
					writable(t, filepath.Join(r.c.Dir, "gateway"), func() {
						require.NoError(t, os.WriteFile(filepath.Join(r.c.Dir, "gateway/.tools-key.next"), []byte("akmat"), 0o400))
					})
					continue
				}
				require.NoError(t, os.Chmod(path, 0o600))
				require.NoError(t, os.WriteFile(path, []byte(before[file]+"\n"), 0o600))
				require.NoError(t, os.Chmod(path, 0o400))
			}
			_, d, err := keys.Make(r.c)
			require.NoError(t, err, "a start in between is no error")
			require.Equal(t, len(undo) > 0, d.Interrupted())
			for n := range sealed {
				r.opens(t, n)
			}
			if d.Interrupted() {
				_, err = d.Prune(t.Context(), r.db)
				require.ErrorContains(t, err, "run it again first")
			}
			got, err := d.Rotate(t.Context(), r.db)
			require.NoError(t, err)
			require.Equal(t, 2, got.Resealed)
			require.False(t, d.Interrupted())
			for n := range sealed {
				r.opens(t, n)
			}
		})
	}
}

// TestWebhookSecretsAreResealed: those that senders sign with, the one before as well.
func TestWebhookSecretsAreResealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	source := ops.Source{ID: ops.NewID(), Name: "dd", Kind: "datadog", Enabled: true, Auth: ops.AuthSignature}
	sealed := func(secret string) ops.SourceSecret {
		form, err := r.d.Ring(ops.ZoneAPI).Public().Seal(source.SecretCredential(nil), ops.NewSecret(secret))
		require.NoError(t, err)
		return ops.SourceSecret{Sealed: form}
	}
	source.Secret = sealed("first")
	require.NoError(t, r.db.CreateSource(t.Context(), source))
	require.NoError(t, r.db.ReplaceSourceSecret(t.Context(), source.ID, sealed("second"), time.Now().Add(time.Hour)))
	got, err := r.d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	require.Equal(t, 4, got.Resealed)
	r.age(t)
	_, err = r.d.Prune(t.Context(), r.db)
	require.NoError(t, err)

	d, err := keys.Open(r.c)
	require.NoError(t, err)
	sources, err := r.db.Sources(t.Context())
	require.NoError(t, err)
	require.Len(t, sources, 1)
	for form, want := range map[*ops.SourceSecret]string{&sources[0].Old: "first", &sources[0].Secret: "second"} {
		plaintext, err := d.Ring(ops.ZoneAPI).Open(sources[0].SecretCredential(form.Sealed))
		require.NoError(t, err)
		require.Equal(t, want, plaintext.Reveal())
	}
}

func TestRotateLeavesWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, foreign, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	r.add(t, "foreign", "ssh_password", foreign)
	got, err := r.d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	require.Equal(t, 2, got.Resealed)
	require.Equal(t, []string{"foreign"}, got.Damaged)
	cred, err := r.db.CredentialByName(t.Context(), "foreign")
	require.NoError(t, err)
	require.Equal(t, foreign.ID(), seal.KeyID(cred.Sealed))
}

func TestOneRotationAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := contents(t, r.c.Dir)
	started, done := make(chan struct{}), make(chan struct{})
	go func() {
		_ = r.gate.Exclusive(t.Context(), func(context.Context) error { close(started); <-done; return nil })
	}()
	<-started
	_, err := r.d.Rotate(t.Context(), r.db)
	require.ErrorContains(t, err, "is under way")
	close(done)
	require.Equal(t, before, contents(t, r.c.Dir))
}

func TestRotateNeedsTheOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := contents(t, r.c.Dir)
	_, err := r.d.Rotate(t.Context(), r.gate)
	require.Error(t, err, "the gateway sees one zone and writes another chain")
	require.Equal(t, before, contents(t, r.c.Dir), "no audit, no act")
}
