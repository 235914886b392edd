package config_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// database gives an empty one, open as the api's role.
func database(t *testing.T) *postgres.DB {
	t.Helper()
	return open(t, pgtest.New(t))
}

func open(t *testing.T, pg *pgtest.DB) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pg.API, App: "test"})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// rows gives all that is stored, as text.
func rows(t *testing.T, pg *pgtest.DB) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	found, err := conn.Query(t.Context(), `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'derived') ORDER BY 1`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(t, err)
	var out strings.Builder
	for _, table := range tables {
		found, err := conn.Query(t.Context(), `SELECT x::text FROM `+table+` x ORDER BY 1`)
		require.NoError(t, err)
		all, err := pgx.CollectRows(found, pgx.RowTo[string])
		require.NoError(t, err)
		out.WriteString(table + "\n" + strings.Join(all, "\n") + "\n")
	}
	return out.String()
}
