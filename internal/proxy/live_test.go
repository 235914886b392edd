package proxy

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchCutsWhatHasEndedAndNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLive()
		a, leaveA, _ := l.enter(t.Context(), tokenHash{1})
		b, leaveB, _ := l.enter(t.Context(), tokenHash{2})
		defer leaveA()
		defer leaveB()
		ctx, cancel := context.WithCancel(t.Context())
		go l.watch(ctx, func(_ context.Context, tokens [][]byte) ([][]byte, error) {
			require.Len(t, tokens, 2)
			one := tokenHash{1}
			return [][]byte{one[:]}, nil
		}, slog.New(slog.DiscardHandler))
		<-b.Done()
		require.ErrorIs(t, context.Cause(b), errRunEnded)
		require.NoError(t, a.Err())
		cancel()
		synctest.Wait()
	})
}

func TestWatchIsBlindForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLive()
		started := time.Now()
		a, leave, _ := l.enter(t.Context(), tokenHash{1})
		defer leave()
		ctx, cancel := context.WithCancel(t.Context())
		go l.watch(ctx, func(context.Context, [][]byte) ([][]byte, error) { return nil, errors.New("away") }, slog.New(slog.DiscardHandler))
		<-a.Done()
		require.ErrorIs(t, context.Cause(a), errBlind)
		require.GreaterOrEqual(t, time.Since(started), blindTime)
		require.Less(t, time.Since(started), blindTime+2*time.Second)
		cancel()
		synctest.Wait()
	})
}
