package catalogue

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

func TestCost(t *testing.T) {
	t.Parallel()
	million := ops.Usage{InputTokens: 1_000_000, OutputTokens: 1_000_000}
	for _, tt := range []struct {
		kind, model string
		usage       ops.Usage
		usd         float64
		known       bool
	}{
		{"openai", "gpt-4.1", million, 10, true},
		{"openai", "gpt-4.1-2025-04-14", million, 10, true},
		{"openai", "GPT-4.1", million, 10, true},
		{"openai", "gpt-4.1", ops.Usage{InputTokens: 1_000_000, CachedTokens: 400_000}, 0.6*2 + 0.4*0.5, true},
		{"openai", "my-own-model", million, 0, false},
		{"openai-compatible", "gpt-4.1", million, 0, false},
		{"anthropic", "claude-sonnet-4-5-20250929", ops.Usage{InputTokens: 200_000, OutputTokens: 1_000_000}, 0.2*3 + 15, true},
		{"anthropic", "claude-sonnet-4-5", ops.Usage{InputTokens: 200_001}, 0.200001 * 6, true}, // a long input costs more
		{"anthropic", "claude-sonnet-5", ops.Usage{InputTokens: 1_000_000, CachedTokens: 500_000, CacheWriteTokens: 500_000}, 0.5*0.2 + 0.5*2.5, true},
		{"google", "gemini-2.5-flash", ops.Usage{OutputTokens: 1_000_000}, 2.5, true},
		{"google", "models/gemini-2.5-flash", ops.Usage{OutputTokens: 1_000_000}, 2.5, true},
		{"openrouter", "agentica-org/deepcoder-14b-preview:free", million, 0, true},
	} {
		usd, known := Cost(tt.kind, tt.model, tt.usage)
		require.Equal(t, tt.known, known, tt.model)
		require.InDelta(t, tt.usd, usd, 1e-9, tt.model)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind, model string
		tokens      int
	}{
		{"openai", "gpt-5", 400_000},
		{"anthropic", "claude-sonnet-4-5", 200_000},
		{"openrouter", "anthropic/claude-sonnet-4.5", 1_000_000},
		{"google", "gemini-2.5-flash", 1_048_576},
		{"google", "gemini-2.5-pro", 1_048_576}, // which the aggregator's table says
		{"openai", "my-own-model", 0},
		{"openai-compatible", "gpt-5", 0},
		{"", "", 0},
	} {
		tokens, known := Window(tt.kind, tt.model)
		require.Equal(t, tt.tokens, tokens, tt.model)
		require.Equal(t, tt.tokens > 0, known, tt.model)
	}
}

// TestTable: every line says something that can be used, and finds itself.
func TestTable(t *testing.T) {
	t.Parallel()
	var lines map[string][]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &lines))
	require.Len(t, lines, 4)
	for kind, models := range tables() {
		require.Greater(t, len(models), 15, kind)
		require.Len(t, models, len(lines[kind]))
		require.Len(t, Models(kind), len(models))
		for i := range models {
			m := &models[i]
			require.NotEmpty(t, m.ID)
			require.Same(t, m, find(kind, m.ID), "%s/%s", kind, m.ID)
			require.NotEmpty(t, m.Prices, m.ID)
			require.Empty(t, m.Prices[0].From, m.ID)
			for _, p := range m.Prices[1:] {
				_, err := time.Parse(time.DateOnly, p.From)
				require.NoError(t, err, m.ID)
			}
		}
	}
}

func TestPricesHaveTheirDates(t *testing.T) {
	t.Parallel()
	e := find("openai", "o3")
	require.NotNil(t, e)
	before := e.price(time.Date(2025, 6, 9, 23, 0, 0, 0, time.UTC), 0)
	after := e.price(time.Date(2025, 6, 10, 0, 0, 0, 0, time.UTC), 0)
	require.Equal(t, 10.0, before.Input)
	require.Equal(t, 2.0, after.Input)
}
