package stack_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// durable is a PostgreSQL of a test's own that keeps what it has committed, as
// the one in production does. The shared test server does not (fsync is off),
// and nobody may crash it.
type durable struct {
	t    testing.TB
	conf pgserver.Config
	run  *pgserver.Server
	db   *pgtest.DB
}

func newDurable(t testing.TB) *durable {
	t.Helper()
	d := &durable{t: t, conf: pgserver.Config{Dir: t.TempDir(), Fsync: true, DieWithParent: true}}
	if err := d.start(); err != nil {
		if errors.Is(err, pgserver.ErrNotFound) && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		require.NoError(t, err)
	}
	t.Cleanup(func() { require.NoError(t, d.run.Stop()) })
	d.db = &pgtest.DB{Owner: d.run.URL(), Passwords: map[string]ops.Secret{}}
	for _, role := range postgres.Roles {
		d.db.Passwords[role] = ops.NewToken("")
	}
	require.NoError(t, postgres.Migrate(t.Context(), d.db.Owner, d.db.Passwords))
	as := func(role string) ops.Secret { return d.run.URLFor(role, d.db.Passwords[role], "postgres") }
	d.db.API, d.db.Gateway, d.db.Proxy = as(postgres.RoleAPI), as(postgres.RoleGateway), as(postgres.RoleProxy)
	return d
}

func (d *durable) start() (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.Context()), time.Minute)
	defer cancel()
	d.run, err = pgserver.Start(ctx, d.conf)
	return err
}

// crash stops the server as pg_ctl -m immediate does: no transaction ends and
// nothing is written. Its next start recovers from the log.
func (d *durable) crash() {
	d.t.Helper()
	require.NoError(d.t, syscall.Kill(d.run.Pid(), syscall.SIGQUIT))
	<-d.run.Done()
	require.NoError(d.t, d.run.Stop()) // releases the folder
}

// calm switches the storm mode of all sources off: each group has its own incident.
func (c *cluster) calm() {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.pg.Owner.Reveal())
	require.NoError(c.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(c.t.Context(), `UPDATE sources SET options = options || '{"storm_incidents_per_minute": -1}'`)
	require.NoError(c.t, err)
}
