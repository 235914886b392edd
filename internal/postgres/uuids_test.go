package postgres_test

import (
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestIDsArriveAsTheyAre(t *testing.T) {
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.New(t).API, App: "test"})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	one, two := ops.NewID(), "00112233-4455-6677-8899-AaBbCcDdEeFf"
	var back []string
	var none *string
	read := func(list any) error {
		return db.Pool().QueryRow(t.Context(), `SELECT array_agg(coalesce(id::text, 'null') ORDER BY n) FROM unnest($1::uuid[]) WITH ORDINALITY AS u (id, n)`, list).Scan(&back)
	}
	require.NoError(t, read([]string{one, two}))
	require.Equal(t, []string{one, "00112233-4455-6677-8899-aabbccddeeff"}, back)
	require.NoError(t, read([]*string{&two, none, &one}))
	require.Equal(t, []string{"00112233-4455-6677-8899-aabbccddeeff", "null", one}, back)
	for _, odd := range []string{"", "x", one[:35], one[:35] + "g"} {
		var e *pgconn.PgError
		require.ErrorAs(t, read([]string{one, odd}), &e, "PostgreSQL judges what is none: %q", odd)
		require.Equal(t, "22P02", e.Code) // invalid_text_representation
	}
	for _, known := range []string{"{00112233445566778899aabbccddeeff}", "0011-2233-4455-6677-8899-aabb-ccdd-eeff"} {
		require.NoError(t, read([]string{known}), "in every form that it knows")
		require.Equal(t, []string{"00112233-4455-6677-8899-aabbccddeeff"}, back)
	}
}
