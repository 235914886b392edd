package stack_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// BenchmarkAudit appends durable, signed records from 1 and from 16 callers.
// "one at a time" has a lock around each commit, as long as a chain can have but
// one end; "shared" is the same without it. Rounds alternate, so that the
// machine's mood hits both.
func BenchmarkAudit(b *testing.B) {
	d := pgtest.NewDurable(b)
	for round := range 3 {
		for _, writers := range []int{1, 16} {
			for _, shared := range []bool{false, true} {
				name := map[bool]string{false: "one at a time", true: "shared"}[shared]
				b.Run(fmt.Sprintf("%d callers/%s/round %d", writers, name, round), func(b *testing.B) {
					db, err := postgres.Open(b.Context(), postgres.Config{URL: d.API, AuditKey: ops.NewAuditKey("api")})
					require.NoError(b, err)
					defer db.Close()
					appendFrom(b, db, writers, shared)
				})
			}
		}
	}
}

func appendFrom(b *testing.B, db *postgres.DB, callers int, shared bool) {
	var one sync.Mutex
	write := func() error {
		if !shared {
			one.Lock()
			defer one.Unlock()
		}
		return db.AppendAudit(context.Background(), ops.AuditRecord{Chain: "api", Action: "bench", Actor: "user:a", Outcome: "ok",
			Detail: map[string]string{"rule": "allow:*"}})
	}
	require.NoError(b, write()) // connections and statements are there
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := write(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
