// Package pgtest gives each test a database of its own, migrated, with the real
// roles. The server is shared: by all test binaries if AKMATORI_TEST_DATABASE_URL
// names a superuser of one (make test does, by way of withpg), else by the tests
// of one binary.
//
// A server of a binary's own lies in a numbered folder below the temporary
// folder and is used again by the next run, so that nothing piles up; two
// binaries at once take two folders. It ends with the binary, however that ends.
//
// # What holds
//
//   - A database is made from a template (about 15 ms), the template once per
//     content of the migrations, under a lock of the server.
//   - It is dropped, with whoever is still connected, when the test ends.
//   - Without PostgreSQL on the machine a test is skipped; where CI is set it
//     fails.
//   - Roles belong to the server, not to a database: their passwords are the
//     same in every test. Who tests Migrate passes [DB.Passwords] to it.
package pgtest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/akmatori/akmatori/migrations"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// EnvURL names the variable with the connection string of a shared server.
const EnvURL = "AKMATORI_TEST_DATABASE_URL"

// DB is a database for one test. The fields are connection strings.
type DB struct {
	Owner               ops.Secret // superuser
	API, Gateway, Proxy ops.Secret // as the role of that process

	Passwords map[string]ops.Secret // of the roles, as postgres.Migrate takes them
}

// New gives a fresh database with the current schema.
func New(t testing.TB) *DB {
	t.Helper()
	s := shared(t)
	template, err := s.template(t.Context())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s.create(t, template)
}

// Empty gives a fresh database without any schema, for tests of the migrations.
// The roles may exist already.
func Empty(t testing.TB) *DB {
	t.Helper()
	return shared(t).create(t, "template0")
}

// IgnoreServer keeps goleak from reporting the server that outlives the tests.
func IgnoreServer() goleak.Option { return goleak.IgnoreAnyFunction(pgserver.Reaper) }

// server is a cluster with test databases.
type server struct {
	admin    ops.Secret // superuser, maintenance database
	template func(context.Context) (string, error)
	// run is kept so that it is not collected: its lock would be released, and
	// another test binary would take the folder and end the server.
	run *pgserver.Server
}

// theServer is the server of this test binary, started by the first who asks.
// Tests share it on purpose: it is the one thing here that is not per test.
var theServer = sync.OnceValues(func() (*server, error) {
	if admin := os.Getenv(EnvURL); admin != "" {
		return newServer(ops.NewSecret(admin)), nil
	}
	run, err := Start(context.Background())
	if err != nil {
		return nil, err
	}
	s := newServer(run.URL())
	s.run = run
	return s, nil
})

func shared(t testing.TB) *server {
	t.Helper()
	s, err := theServer()
	switch {
	case errors.Is(err, pgserver.ErrNotFound) && os.Getenv("CI") == "":
		t.Skipf("pgtest: %v", err)
	case err != nil:
		t.Fatalf("pgtest: %v", err)
	}
	return s
}

// newServer remembers the template once it is made; a failure is tried again.
func newServer(admin ops.Secret) *server {
	s := &server{admin: admin}
	var mu sync.Mutex
	var name string
	s.template = func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if name != "" {
			return name, nil
		}
		made, err := s.makeTemplate(ctx)
		name = made
		return name, err
	}
	return s
}

// Start runs a server in the first free numbered folder and removes what an
// earlier run has left in it. It dies with the calling process.
func Start(ctx context.Context) (*pgserver.Server, error) {
	base := filepath.Join(os.TempDir(), "akmatori-pgtest-"+strconv.Itoa(os.Getuid()))
	if err := ownFolder(base); err != nil {
		return nil, err
	}
	for n := range 64 {
		conf := pgserver.Config{Dir: filepath.Join(base, strconv.Itoa(n)), MaxConns: 400, DieWithParent: true}
		run, err := pgserver.Start(ctx, conf)
		if errors.Is(err, pgserver.ErrInUse) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := newServer(run.URL()).sweep(ctx); err != nil {
			return nil, errors.Join(err, run.Stop())
		}
		return run, nil
	}
	return nil, fmt.Errorf("all test servers below %s are in use", base)
}

// ownFolder makes a folder with a name that others can guess, and refuses one
// that they have made.
func ownFolder(path string) error {
	if err := os.Mkdir(path, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a folder of ours", path)
	}
	return nil
}

// Names of what this package makes; sweep drops nothing else.
const (
	templatePrefix = "akmatori_template_"
	testPrefix     = "akmatori_test_"
)

// lockTemplate is the key of the advisory lock under which a template is made.
const lockTemplate = 0x616b6d61

// sweep drops the databases of earlier runs. Only the owner of a server calls
// it, before anybody else uses it.
func (s *server) sweep(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.admin.Reveal())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, _ := conn.Query(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname, $1) OR starts_with(datname, $2)`, templatePrefix, testPrefix)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := drop(ctx, conn, name); err != nil {
			return err
		}
	}
	return nil
}

// makeTemplate gives the name of the database that new ones are copied from.
// It gets its final name when it is complete, so that a name that exists is one
// that can be used.
func (s *server) makeTemplate(ctx context.Context) (string, error) {
	hash, err := schemaHash()
	if err != nil {
		return "", err
	}
	name := templatePrefix + hash
	conn, err := pgx.Connect(ctx, s.admin.Reveal())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // releases the lock, too
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, lockTemplate); err != nil {
		return "", err
	}
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&exists); err != nil || exists {
		return name, err
	}
	draft := name + "_draft"
	if err := drop(ctx, conn, draft); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+draft+` TEMPLATE template0`); err != nil {
		return "", err
	}
	if err := postgres.Migrate(ctx, s.url(draft, "", ops.Secret{}), s.passwords()); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, `ALTER DATABASE `+draft+` RENAME TO `+name); err != nil {
		return "", err
	}
	return name, nil
}

// schemaHash is of the migrations' names and texts.
func schemaHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations.FS, path)
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:8]), err
}

// create makes a database for t and drops it when t ends.
func (s *server) create(t testing.TB, template string) *DB {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	name := testPrefix + slug(t.Name()) + "_" + strings.ToLower(rand.Text()[:10])
	conn, err := pgx.Connect(ctx, s.admin.Reveal())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE `+template); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		conn, err := pgx.Connect(ctx, s.admin.Reveal())
		if err != nil {
			t.Errorf("pgtest: drop %s: %v", name, err)
			return
		}
		defer func() { _ = conn.Close(ctx) }()
		if err := drop(ctx, conn, name); err != nil {
			t.Errorf("pgtest: drop %s: %v", name, err)
		}
	})
	passwords := s.passwords()
	return &DB{
		Owner:     s.url(name, "", ops.Secret{}),
		API:       s.url(name, postgres.RoleAPI, passwords[postgres.RoleAPI]),
		Gateway:   s.url(name, postgres.RoleGateway, passwords[postgres.RoleGateway]),
		Proxy:     s.url(name, postgres.RoleProxy, passwords[postgres.RoleProxy]),
		Passwords: passwords,
	}
}

func drop(ctx context.Context, conn *pgx.Conn, name string) error {
	_, err := conn.Exec(ctx, `DROP DATABASE IF EXISTS `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`)
	return err
}

// url is the admin's connection string for another database and, if role is
// not empty, another role.
func (s *server) url(database, role string, password ops.Secret) ops.Secret {
	u, err := url.Parse(s.admin.Reveal())
	if err != nil {
		return ops.Secret{} // pgx has accepted it before; it refuses an empty one's database
	}
	u.Path = "/" + database
	if role != "" {
		u.User = url.UserPassword(role, password.Reveal())
	}
	return ops.NewSecret(u.String())
}

// passwords derives one a role from the admin's connection string: all test
// binaries on a server agree without talking to each other.
func (s *server) passwords() map[string]ops.Secret {
	passwords := map[string]ops.Secret{}
	for _, role := range postgres.Roles {
		mac := hmac.New(sha256.New, []byte(s.admin.Reveal()))
		mac.Write([]byte(role))
		passwords[role] = ops.NewSecret(hex.EncodeToString(mac.Sum(nil)[:16]))
	}
	return passwords
}

// slug is what a database's name shows of the test's.
func slug(name string) string {
	name = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "_")
	return strings.Trim(name[:min(len(name), 30)], "_")
}
