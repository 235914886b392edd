package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhoDoesNotWaitIsNoFailure: a page that is left behind is not counted and
// logged as a mistake of ours.
func TestWhoDoesNotWaitIsNoFailure(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := &API{log: slog.New(slog.NewTextHandler(&log, nil))}
	gone, leave := context.WithCancel(t.Context())
	require.Equal(t, http.StatusInternalServerError, s.problemOf(gone, "x", fmt.Errorf("broken")).Status)
	require.Contains(t, log.String(), "broken")
	log.Reset()
	leave()
	p := s.problemOf(gone, "x", fmt.Errorf("query: %w", context.Canceled))
	require.Equal(t, statusGone, p.Status)
	require.NotEmpty(t, p.Title)
	require.Empty(t, log.String())
}
