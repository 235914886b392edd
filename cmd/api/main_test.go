package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDays: who wants things kept for very long does not lose them sooner.
func TestDays(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: 0, 1: 24 * time.Hour, 400: 9600 * time.Hour, -5: -24 * time.Hour, math.MinInt: -24 * time.Hour,
		106_751: 106_751 * 24 * time.Hour, 106_752: 106_751 * 24 * time.Hour, 213_600: 106_751 * 24 * time.Hour, math.MaxInt: 106_751 * 24 * time.Hour} {
		require.Equal(t, want, days(n), n)
	}
}
