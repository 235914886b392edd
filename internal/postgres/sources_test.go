package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// TestSourceQueriesUseIndexes: where a query can only read a whole table, the
// planner does so even if it is told not to, and the table counts it.
func TestSourceQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: ops.NewSecret(pg.API.Reveal() + "&options=-c%20enable_seqscan%3Doff"), App: "test"})
	require.NoError(t, err)
	src := ops.Source{ID: ops.NewID(), Name: "am", Kind: "alertmanager", Enabled: true, VerifyUntil: time.Now().Add(time.Hour)}
	require.NoError(t, db.CreateSource(t.Context(), src))
	require.NoError(t, db.VerifySource(t.Context(), src.ID, src.VerifyUntil))
	now := time.Now().UTC()
	delivery := func(d ops.Delivery) ops.Delivery {
		d.ID, d.SourceID, d.ReceivedAt, d.Body = ops.NewID(), src.ID, now, []byte("{}")
		return d
	}
	dead := delivery(ops.Delivery{Problem: "x"})
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{dead, delivery(ops.Delivery{SenderID: "a"}), delivery(ops.Delivery{SenderID: "a"})}))
	kept, err := db.KeepUnproven(t.Context(), delivery(ops.Delivery{Problem: "x"}), 10)
	require.NoError(t, err)
	require.True(t, kept)
	for _, problem := range []string{"", "any", "open"} {
		all, err := db.Deliveries(t.Context(), postgres.DeliveryFilter{Source: src.ID, Problem: problem, Limit: 10})
		require.NoError(t, err)
		require.Len(t, all, map[string]int{"": 3, "any": 2, "open": 2}[problem])
	}
	letters, err := db.OpenLettersAfter(t.Context(), src.ID, postgres.DeliveryPlace{}, false, 10)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	n, err := db.OpenLetters(t.Context(), src.ID, 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	dead.Replay, dead.Problem = true, ""
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{dead}))
	_, err = db.Source(t.Context(), src.ID)
	require.NoError(t, err)
	_, _, err = db.SourceRates(t.Context(), src.ID, now)
	require.NoError(t, err)
	_, err = db.DeleteOldDeliveryIDs(t.Context(), now, 10)
	require.NoError(t, err)
	db.Close() // the last that a connection does is to tell its counts

	owner, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = owner.Close(t.Context()) }()
	require.Eventually(t, func() bool {
		var scans, rows int
		require.NoError(t, owner.QueryRow(t.Context(), `SELECT sum(seq_scan), sum(n_tup_ins) FROM pg_stat_user_tables
			WHERE relname IN ('deliveries', 'delivery_ids', 'source_errors', 'source_rates', 'source_warnings', 'source_health')`).Scan(&scans, &rows))
		require.Zero(t, scans)
		return rows > 5
	}, 10*time.Second, 50*time.Millisecond)
}
