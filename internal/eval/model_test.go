package eval

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// A case without a transcript runs with a model, and is recorded with what that said.
func TestAModelIsMeasuredAndRecorded(t *testing.T) {
	t.Parallel()
	cases, err := Load("cases/clock-skew.yaml")
	require.NoError(t, err)
	said := cases[0].Transcript
	key := ops.NewToken("sk-test-")
	vendor := httptest.NewServer(fake.NewVendor(scenario(cases[0]), fake.Config{Key: key}))
	t.Cleanup(vendor.Close)
	cases[0].Transcript = nil
	in, out := 1.0, 2.0
	conf := Config{Cases: cases, Dir: t.TempDir(), Record: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Model: &Model{Key: key, Provider: config.Provider{Kind: "openai", Model: "m", BaseURL: vendor.URL + "/v1", AllowPrivate: true, PriceInput: &in, PriceOutput: &out}},
		Database: func(context.Context, string) (Database, error) {
			db := pgtest.New(t)
			return Database{API: db.API, Gateway: db.Gateway, Proxy: db.Proxy, Drop: func() error { return nil }}, nil
		}}
	r, err := Run(t.Context(), conf)
	require.NoError(t, err)
	require.Equal(t, Passed, r.Rows[0].Result, "%v", r.Rows[0].Why)
	require.False(t, r.Rows[0].Unpriced)
	require.Positive(t, r.Totals.USD)
	recorded, err := Load(conf.Record)
	require.NoError(t, err)
	require.Len(t, recorded, 1)
	require.Len(t, recorded[0].Transcript, len(said))
	require.Equal(t, said[0].Calls[0].Arguments["command"], recorded[0].Transcript[0].Calls[0].Arguments["command"])
}
