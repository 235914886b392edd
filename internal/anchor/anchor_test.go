package anchor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/akmatori/akmatori/internal/anchor"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

// writer is a process that writes an audit.
type writer struct {
	t    *testing.T
	pg   *pgtest.DB
	db   *postgres.DB
	c    anchor.Config
	log  *testlog.Log
	stop func()
	*anchor.Anchor
}

// start starts a gateway's anchor on a database and a folder.
func start(t *testing.T, pg *pgtest.DB, key ops.AuditKey, dir string, every time.Duration) *writer {
	t.Helper()
	w := &writer{t: t, pg: pg, log: &testlog.Log{}}
	var err error
	w.db, err = postgres.Open(t.Context(), postgres.Config{URL: pg.Gateway, AuditKey: key})
	require.NoError(t, err)
	w.c = anchor.Config{DB: w.db, Key: key, Dir: dir, Every: every, Log: slog.New(slog.NewJSONHandler(w.log, nil)), To: prometheus.NewRegistry()}
	w.Anchor, err = anchor.New(t.Context(), w.c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { w.Run(ctx) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
		w.db.Close()
	})
	t.Cleanup(w.stop)
	return w
}

func (w *writer) write(n int) {
	w.t.Helper()
	for i := range n {
		require.NoError(w.t, w.db.AppendAudit(w.t.Context(), ops.AuditRecord{Chain: "gateway", At: time.Now(), Action: "tool.intent", Object: fmt.Sprint(i)}))
	}
}

func (w *writer) exec(sql string) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.pg.Owner.Reveal())
	require.NoError(w.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(w.t.Context(), sql)
	require.NoError(w.t, err)
}

func kept(t *testing.T, path string, keys ops.AuditKeys) []ops.AuditHead {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	heads, err := ops.ReadAuditHeads(bytes.NewReader(data), keys)
	require.NoError(t, err)
	return heads
}

// TestHeadsAreKept: every so often while there is something new, and at the end;
// the log has the same.
func TestHeadsAreKept(t *testing.T) {
	t.Parallel()
	key, dir := ops.NewAuditKey("gateway"), t.TempDir()
	file, keys := filepath.Join(dir, "gateway.jsonl"), ops.AuditKeys{key.Public()}
	w := start(t, pgtest.New(t), key, dir, 10*time.Millisecond)
	w.write(3)
	require.Eventually(t, func() bool {
		heads := kept(t, file, keys)
		return len(heads) > 0 && heads[len(heads)-1].Seq == 3
	}, 30*time.Second, 5*time.Millisecond)
	var answer struct {
		Chain        string
		Kept, Newest ops.AuditHead
	}
	require.Eventually(t, func() bool { // it is said when it is on the disk, and not before
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest("GET", "/audit/heads", nil))
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &answer))
		return answer.Kept.Seq == 3
	}, 30*time.Second, 5*time.Millisecond)
	require.Equal(t, "gateway", answer.Chain)
	require.True(t, keys.Verify(answer.Kept))
	require.Equal(t, answer.Newest, answer.Kept)
	logged, err := ops.ReadAuditHeads(strings.NewReader(w.log.String()), keys)
	require.NoError(t, err)
	require.Equal(t, kept(t, file, keys), logged)
	w.stop()

	w = start(t, w.pg, key, dir, time.Hour)
	w.write(2)
	require.Equal(t, int64(3), last(kept(t, file, keys)).Seq)
	w.stop()
	require.Equal(t, int64(5), last(kept(t, file, keys)).Seq, "the last word when it stops")
	require.NotContains(t, w.log.String(), "ERROR")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func last(heads []ops.AuditHead) ops.AuditHead { return heads[len(heads)-1] }

// TestALostPastIsSaid, by who starts and by who runs, in the log, in the metric
// and in the chain itself; the anchors then tell where.
func TestALostPastIsSaid(t *testing.T) {
	t.Parallel()
	key, dir := ops.NewAuditKey("gateway"), t.TempDir()
	keys := ops.AuditKeys{key.Public()}
	w := start(t, pgtest.New(t), key, dir, time.Hour)
	w.write(6)
	w.stop()
	w.exec(`DELETE FROM audit WHERE seq > 4`)

	w = start(t, w.pg, key, dir, 10*time.Millisecond)
	require.Contains(t, w.log.String(), "the audit in the database is not the one that was written")
	w.write(4)
	records, err := w.db.Audit(t.Context(), "gateway", 0, 100)
	require.NoError(t, err)
	require.Equal(t, "audit.broken", records[4].Action)
	require.Equal(t, "6", records[4].Detail["record"])
	heads := kept(t, filepath.Join(dir, "gateway.jsonl"), keys)
	v := ops.NewAuditVerifier("gateway", keys, heads)
	require.ErrorContains(t, v.Next(records...), "record 6: it is not the one whose head was kept outside")

	require.Eventually(t, func() bool { return last(kept(t, filepath.Join(dir, "gateway.jsonl"), keys)).Seq == 9 }, 30*time.Second, 5*time.Millisecond)
	require.Equal(t, 1, strings.Count(w.log.String(), "is not the one that was written"))
	w.exec(`DELETE FROM audit WHERE seq > 7`) // under a process that runs
	require.Error(t, w.db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api"}), "not its chain")
	w.write(1)
	require.Eventually(t, func() bool { return strings.Count(w.log.String(), "is not the one that was written") == 2 }, 30*time.Second, 5*time.Millisecond)
	gathered, err := w.c.To.(*prometheus.Registry).Gather()
	require.NoError(t, err)
	var broken float64
	for _, m := range gathered {
		if m.GetName() == "akmatori_audit_broken" {
			broken = m.Metric[0].Gauge.GetValue()
		}
	}
	require.Equal(t, 1.0, broken)
}

// TestWhatAnOlderReleaseWroteIsClosed by a signed record.
func TestWhatAnOlderReleaseWroteIsClosed(t *testing.T) {
	t.Parallel()
	pg, key := pgtest.New(t), ops.NewAuditKey("gateway")
	old, err := postgres.Open(t.Context(), postgres.Config{URL: pg.Gateway})
	require.NoError(t, err)
	defer old.Close()
	require.NoError(t, old.AppendAudit(t.Context(), ops.AuditRecord{Chain: "gateway", Action: "old"}, ops.AuditRecord{Chain: "gateway", Action: "old"}))
	for range 2 {
		w := start(t, pg, key, t.TempDir(), time.Hour)
		w.stop()
	}
	records, err := old.Audit(t.Context(), "gateway", 0, 100)
	require.NoError(t, err)
	require.Len(t, records, 3)
	v := ops.NewAuditVerifier("gateway", ops.AuditKeys{key.Public()}, nil)
	require.NoError(t, v.Next(records...))
	require.NoError(t, v.End())
	require.Equal(t, int64(2), v.Unsigned())
}

// TestFilesAreBounded: a file that is full is put aside; half a line, from when
// the power went, is in nobody's way.
func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	key, dir := ops.NewAuditKey("gateway"), t.TempDir()
	file := filepath.Join(dir, "gateway.jsonl")
	w := start(t, pgtest.New(t), key, dir, time.Hour)
	w.write(1)
	w.stop()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"at":"2026-01-01T00:00:00Z","audit_head":{"chain":"gate` + strings.Repeat("\n", 8<<20))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	w = start(t, w.pg, key, dir, time.Hour)
	require.FileExists(t, file+".1")
	w.write(1)
	w.stop()
	require.NotContains(t, w.log.String(), "ERROR")
	keys := ops.AuditKeys{key.Public()}
	require.Equal(t, int64(1), last(kept(t, file+".1", keys)).Seq)
	require.Equal(t, int64(2), last(kept(t, file, keys)).Seq)
}

func TestNothingStartsThatCannotKeepHeads(t *testing.T) {
	t.Parallel()
	_, err := anchor.ReadKey("proxy", ops.Secret{})
	require.ErrorContains(t, err, "akmatori-init makes it")
	_, err = anchor.New(t.Context(), anchor.Config{})
	require.ErrorContains(t, err, "there is no key")
	_, err = anchor.New(t.Context(), anchor.Config{Key: ops.NewAuditKey("api"), Dir: filepath.Join(t.TempDir(), "nowhere")})
	require.ErrorContains(t, err, "heads cannot be kept")
}
