package pgtest

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
)

// Durable is a PostgreSQL of a test's own that keeps what it has committed, as
// the one in production does. The shared server does not (fsync is off), and
// nobody may crash it. It is for tests of what is left after a crash, and for
// benchmarks, whose figures are to hold where commits wait for a disk.
type Durable struct {
	*DB
	t    testing.TB
	conf pgserver.Config
	run  *pgserver.Server
}

// NewDurable starts one with the current schema. It ends with the test.
func NewDurable(t testing.TB) *Durable {
	t.Helper()
	d := &Durable{DB: &DB{}, t: t, conf: pgserver.Config{Dir: t.TempDir(), Fsync: true, DieWithParent: true}}
	err := d.launch()
	switch {
	case errors.Is(err, pgserver.ErrNotFound) && os.Getenv("CI") == "":
		t.Skipf("pgtest: %v", err)
	case err != nil:
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(d.stop)
	d.Owner, d.Passwords = d.run.URL(), map[string]ops.Secret{}
	for _, role := range postgres.Roles {
		d.Passwords[role] = ops.NewToken("")
	}
	if err := postgres.Migrate(t.Context(), d.Owner, d.Passwords); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	as := func(role string) ops.Secret { return d.run.URLFor(role, d.Passwords[role], "postgres") }
	d.API, d.Gateway, d.Proxy = as(postgres.RoleAPI), as(postgres.RoleGateway), as(postgres.RoleProxy)
	return d
}

// Crash stops the server as pg_ctl -m immediate does: no transaction ends and
// nothing is written. Restart recovers from the log.
func (d *Durable) Crash() {
	d.t.Helper()
	if err := syscall.Kill(d.run.Pid(), syscall.SIGQUIT); err != nil {
		d.t.Fatalf("pgtest: %v", err)
	}
	<-d.run.Done()
	d.stop() // releases the folder
}

// Restart starts it again after a crash, at the same address.
func (d *Durable) Restart() {
	d.t.Helper()
	if err := d.launch(); err != nil {
		d.t.Fatalf("pgtest: %v", err)
	}
}

// Pid is the process of the server, the parent of all its others.
func (d *Durable) Pid() int { return d.run.Pid() }

func (d *Durable) launch() (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.Context()), time.Minute)
	defer cancel()
	d.run, err = pgserver.Start(ctx, d.conf)
	return err
}

func (d *Durable) stop() {
	if err := d.run.Stop(); err != nil {
		d.t.Errorf("pgtest: %v", err)
	}
}
