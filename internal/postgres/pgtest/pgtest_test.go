package pgtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		t.Run(fmt.Sprint("a test with a rather long name, number ", n), func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			exec(t, db.Owner, `CREATE TABLE public.mine AS SELECT 1`)
		})
	}
}

func TestRolesAreReal(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for role, url := range map[string]ops.Secret{
		postgres.RoleAPI:     db.API,
		postgres.RoleGateway: db.Gateway,
		postgres.RoleProxy:   db.Proxy,
	} {
		conn, err := pgx.Connect(t.Context(), url.Reveal())
		require.NoError(t, err, role)
		var is string
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT current_user`).Scan(&is))
		require.Equal(t, role, is)
		_, err = conn.Exec(t.Context(), `CREATE TABLE public.mine ()`)
		require.ErrorContains(t, err, "42501", "%s makes tables", role)
		require.NoError(t, conn.Close(t.Context()))
	}
}

func TestEmptyCanBeMigrated(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	require.NoError(t, postgres.Migrate(t.Context(), db.Owner, db.Passwords))
	exec(t, db.API, `SELECT id FROM sources`)
}

func TestADatabaseInUseIsDropped(t *testing.T) {
	t.Parallel()
	var conn *pgx.Conn
	var owner ops.Secret
	made := t.Run("leaves a connection", func(t *testing.T) {
		db := pgtest.New(t)
		owner = db.Owner
		var err error
		conn, err = pgx.Connect(t.Context(), db.API.Reveal())
		require.NoError(t, err)
	})
	require.True(t, made)
	require.Error(t, conn.Ping(t.Context()))
	_, err := pgx.Connect(t.Context(), owner.Reveal())
	require.ErrorContains(t, err, "3D000")
}

func BenchmarkNew(b *testing.B) {
	pgtest.New(b) // the server and the template
	for b.Loop() {
		pgtest.New(b)
	}
}

func exec(t *testing.T, url ops.Secret, sql string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	require.NoError(t, err)
}
