package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// TestSourceCount: what could not be written for a while is written with what
// came since, as if it had been written at once.
func TestSourceCount(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	src := source(t, db)
	now := time.Date(2026, 11, 21, 12, 0, 30, 0, time.UTC)
	first, second := postgres.NewSourceCount(src), postgres.NewSourceCount(src)
	first.Stored(ops.Delivery{ReceivedAt: now, Alerts: make([]ops.Alert, 3), Warnings: []ops.SourceWarning{{Code: "w", Text: "one"}}})
	first.Failed(ops.ErrorSignature, "", now)
	second.Failed(ops.ErrorSignature, "", now.Add(time.Minute))
	second.Stored(ops.Delivery{ReceivedAt: now.Add(time.Minute), DuplicateOf: ops.NewID(), Problem: "counted before"})
	second.Stored(ops.Delivery{ReceivedAt: now.Add(time.Minute), Problem: "unreadable", Truncated: 2, Warnings: []ops.SourceWarning{{Code: "w", Text: "two"}}})
	second.Stored(ops.Delivery{ReceivedAt: now, ContentType: ops.OwnContentType})
	second.Failed(ops.ErrorSignature, "", now.Add(time.Minute))
	first.Add(second)
	require.NoError(t, db.CountSources(t.Context(), []*postgres.SourceCount{first}))

	got, err := db.Source(t.Context(), src)
	require.NoError(t, err)
	h := got.Health
	require.Equal(t, []int64{3, 1, 3, 1}, []int64{h.Deliveries, h.Duplicates, h.Rejected, h.Unparsable})
	require.Equal(t, 1, h.RejectedSince, "since the last that was stored")
	require.Equal(t, now.Add(time.Minute), h.LastDeliveryAt.UTC())
	minutes, _, err := db.SourceRates(t.Context(), src, now.Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, []int64{1, 3, 1}, []int64{minutes[58].Deliveries, minutes[58].Alerts, minutes[58].Errors})
	require.Equal(t, []int64{2, 0, 4}, []int64{minutes[59].Deliveries, minutes[59].Alerts, minutes[59].Errors})

	more := postgres.NewSourceCount(src)
	more.Failed(ops.ErrorSignature, "", now.Add(2*time.Minute))
	require.NoError(t, db.CountSources(t.Context(), []*postgres.SourceCount{more}))
	got, err = db.Source(t.Context(), src)
	require.NoError(t, err)
	require.Equal(t, 2, got.Health.RejectedSince)
	require.Equal(t, now.Add(time.Minute), got.Health.LastDeliveryAt.UTC())

	// An outage of hours is bounded.
	long := postgres.NewSourceCount(src)
	for n := range 500 {
		long.Failed(ops.ErrorDatabase, "", now.Add(time.Duration(n)*time.Minute))
	}
	require.NoError(t, db.CountSources(t.Context(), []*postgres.SourceCount{long}))
	got, err = db.Source(t.Context(), src)
	require.NoError(t, err)
	for _, e := range got.Health.Errors {
		if e.Kind == ops.ErrorDatabase {
			require.EqualValues(t, 500, e.Count)
		}
	}
}
