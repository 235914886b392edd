package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// signing opens a database with a key of a chain.
func signing(t testing.TB, url ops.Secret, chain string) (*postgres.DB, ops.AuditKeys) {
	t.Helper()
	key := ops.NewAuditKey(chain)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, AuditKey: key})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db, ops.AuditKeys{key.Public()}
}

// owner connects as the owner of the database, who may do everything.
func owner(t testing.TB, urls *pgtest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), urls.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// chainOf reads a whole chain, in pages.
func chainOf(t testing.TB, db *postgres.DB, chain string) (all []ops.AuditRecord) {
	t.Helper()
	for {
		page, err := db.Audit(t.Context(), chain, int64(len(all)), 100)
		require.NoError(t, err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

// verify gives what is wrong with a chain.
func verify(v *ops.AuditVerifier, records []ops.AuditRecord) error {
	if err := v.Next(records...); err != nil {
		return err
	}
	return v.End()
}

// held runs first and, when that writes alone while the audit cannot be written,
// f with the callers that come meanwhile. They go on when as many wait: any that
// came before first had begun would be written with it.
func held(t *testing.T, urls *pgtest.DB, db *postgres.DB, chain string, waiting int, first func(), f func(*sync.WaitGroup)) {
	t.Helper()
	tx, err := owner(t, urls).Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE audit IN EXCLUSIVE MODE`)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(first)
	waitsForLock(t, urls)
	f(&wg)
	require.Eventually(t, func() bool { return db.AuditWaiting(chain) == waiting }, 30*time.Second, time.Millisecond)
	require.NoError(t, tx.Rollback(t.Context()))
	wg.Wait()
}

// TestCallersShareATransaction: who comes while one is written shares the next
// one and its signature; the records of each stay together and in their order.
func TestCallersShareATransaction(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, keys := signing(t, urls.API, "api")
	write := func(i int) {
		r := ops.AuditRecord{Chain: "api", At: time.Now(), Actor: fmt.Sprint("user:", i), Action: "a", Outcome: "intent"}
		end := r
		end.Outcome = "ok"
		if err := db.AppendAudit(context.Background(), r, end); err != nil {
			t.Error(err)
		}
	}
	held(t, urls, db, "api", 20, func() { write(0) }, func(wg *sync.WaitGroup) {
		for i := range 20 {
			wg.Go(func() { write(i + 1) })
		}
	})
	records := chainOf(t, db, "api")
	require.Len(t, records, 42)
	require.NoError(t, verify(ops.NewAuditVerifier("api", keys, []ops.AuditHead{db.AuditHead("api")}), records))
	signatures := 0
	for i, r := range records {
		if i%2 == 0 {
			require.Equal(t, "intent", r.Outcome)
			require.Equal(t, r.Actor, records[i+1].Actor)
		}
		if r.Key != "" {
			signatures++
		}
	}
	require.Equal(t, 2, signatures, "transactions: the first caller's and that of all others")
}

// TestOneOfAGroupFailsAlone: in one transaction with others are a call that was
// started before, one of a run that does not exist, and the same new call twice.
func TestOneOfAGroupFailsAlone(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db := open(t, urls.API)
	provider(t, db)
	require.NoError(t, db.Ingest(t.Context(), []ops.Delivery{delivery(source(t, db), 0, "a")}))
	run := claim(t, db, "w").Run.ID
	gateway, keys := signing(t, urls.Gateway, "gateway")
	start := func(run, id string) (*postgres.CallRecord, error) {
		return gateway.StartCall(context.Background(), postgres.StartCall{Instance: 1, Call: ops.ToolCall{RunID: run, ID: id, Tool: "t",
			Arguments: json.RawMessage(`{}`), Digest: []byte(id)}, Audit: ops.AuditRecord{Chain: "gateway", Action: "tool.intent", Object: id}})
	}
	known, err := start(run, "old")
	require.NoError(t, err)
	require.Nil(t, known)

	var started, attached, refused atomic.Int64
	count := func(known *postgres.CallRecord, err error) {
		switch {
		case err != nil:
			refused.Add(1)
			if ops.CodeOf(err) != ops.CodeInvalid {
				t.Errorf("the error is %v", err)
			}
		case known != nil:
			attached.Add(1)
		default:
			started.Add(1)
		}
	}
	held(t, urls, gateway, "gateway", 14, func() { count(start(run, "new")) }, func(wg *sync.WaitGroup) {
		for i := range 9 {
			wg.Go(func() { count(start(run, fmt.Sprint("new", i))) })
		}
		wg.Go(func() { count(start(run, "old")) })
		wg.Go(func() { count(start(ops.NewID(), "foreign")) })
		for range 3 {
			wg.Go(func() { count(start(run, "twice")) })
		}
	})
	require.Equal(t, []int64{11, 3, 1}, []int64{started.Load(), attached.Load(), refused.Load()})
	records := chainOf(t, db, "gateway")
	require.Len(t, records, 12, "what was refused left no record")
	require.NoError(t, verify(ops.NewAuditVerifier("gateway", keys, nil), records))
}

// TestWhoGivesUpIsNotWaitedFor: a caller whose context ends while others are
// written is not written, and the others are.
func TestWhoGivesUpIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, _ := signing(t, urls.API, "api")
	record := func(object string) ops.AuditRecord {
		return ops.AuditRecord{Chain: "api", Action: "a", Object: object}
	}
	ctx, giveUp := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	write := func(object string) {
		if err := db.AppendAudit(context.Background(), record(object)); err != nil {
			t.Error(err)
		}
	}
	held(t, urls, db, "api", 1, func() { write("first") }, func(wg *sync.WaitGroup) {
		gone.Go(func() {
			if err := db.AppendAudit(ctx, record("gone")); !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
		})
		require.Eventually(t, func() bool { return db.AuditWaiting("api") == 1 }, 30*time.Second, time.Millisecond)
		giveUp()
		gone.Wait()
		wg.Go(func() { write("last") })
	})
	var objects []string
	for _, r := range chainOf(t, db, "api") {
		objects = append(objects, r.Object)
	}
	require.Equal(t, []string{"first", "last"}, objects)
}

// TestHostileTextIsRecorded: bytes that Postgres keeps in no text keep nobody
// out of the audit, and control characters stay data.
//
// threats: N5
func TestHostileTextIsRecorded(t *testing.T) {
	t.Parallel()
	db, keys := signing(t, pgtest.New(t).API, "api")
	hostile := "a\nb\x1b[2J\"}\x00\xff" + string(rune(0x202e))
	require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", At: time.Now(), Actor: hostile, Action: hostile, Object: hostile,
		RunID: hostile, Outcome: hostile, Detail: map[string]string{hostile: hostile}}))
	records := chainOf(t, db, "api")
	require.Len(t, records, 1)
	require.Equal(t, "a\nb\x1b[2J\"}\uFFFD\uFFFD\u202e", records[0].Object)
	require.NoError(t, verify(ops.NewAuditVerifier("api", keys, nil), records))
	line, err := json.Marshal(records[0])
	require.NoError(t, err)
	require.NotContains(t, string(line), "\n")
	require.NotContains(t, string(line), "\x1b")
}

// TestTamperingIsNamed: what the owner of the database can do to the audit, with
// as much work as they like but without a key, names the first record that is not right.
func TestTamperingIsNamed(t *testing.T) {
	t.Parallel()
	type tamper struct {
		// with changes the database; rehash says what records become, whose hashes
		// are then computed anew as everybody can.
		sql    string
		rehash func([]ops.AuditRecord) []ops.AuditRecord
		heads  bool // are heads known that were kept outside
		want   int64
		reason string
	}
	forged := func() ops.AuditRecord {
		return ops.AuditRecord{Chain: "api", At: time.Now(), Actor: "user:nobody", Action: "forged", Outcome: "ok"}
	}
	for name, tt := range map[string]tamper{
		"nothing":           {},
		"nothing, anchored": {heads: true},
		"edit":              {sql: `UPDATE audit SET actor = 'nobody' WHERE seq = 20`, want: 20, reason: "does not match its hash"},
		"edit of detail":    {sql: `UPDATE audit SET detail = '{"a": "2"}' WHERE seq = 7`, want: 7, reason: "does not match its hash"},
		"edit and rehash": {rehash: func(all []ops.AuditRecord) []ops.AuditRecord { all[19].Actor = "user:nobody"; return all },
			want: 19, reason: "signature for records 19 to 20 is wrong"},
		"delete": {sql: `DELETE FROM audit WHERE seq = 20`, want: 20, reason: "the next record has number 21"},
		"delete and rehash": {rehash: func(all []ops.AuditRecord) []ops.AuditRecord { return append(all[:19], all[20:]...) },
			want: 19, reason: "nobody has signed it"},
		"reorder": {sql: `UPDATE audit SET seq = CASE seq WHEN 20 THEN 1021 ELSE 1020 END WHERE seq IN (20, 21); UPDATE audit SET seq = seq - 1000 WHERE seq > 1000`,
			want: 20, reason: "does not follow"},
		"insert": {rehash: func(all []ops.AuditRecord) []ops.AuditRecord {
			return append(all[:10:10], append([]ops.AuditRecord{forged()}, all[10:]...)...)
		}, want: 11, reason: "signature for records 11 to 13 is wrong"},
		"append": {rehash: func(all []ops.AuditRecord) []ops.AuditRecord { return append(all, forged()) },
			want: 41, reason: "nobody has signed it"},
		"wrong signature":       {sql: `UPDATE audit SET signature = decode(repeat('00', 64), 'hex') WHERE seq = 30`, want: 29, reason: "is wrong"},
		"signature taken off":   {sql: `UPDATE audit SET signature = NULL, first = NULL, key = NULL WHERE seq = 30`, want: 29, reason: "nobody has signed it"},
		"all signatures off":    {sql: `UPDATE audit SET signature = NULL, first = NULL, key = NULL`, want: 1, reason: "no record of the chain is signed"},
		"a foreign key":         {sql: `UPDATE audit SET key = '0011223344556677' WHERE seq = 12`, want: 11, reason: "not trusted"},
		"cut, anchored":         {sql: `DELETE FROM audit WHERE seq > 36`, heads: true, want: 37, reason: "it is missing: the head of record 40"},
		"cut, nothing is known": {sql: `DELETE FROM audit WHERE seq > 36`},
		"emptied, anchored":     {sql: `DELETE FROM audit`, heads: true, want: 1, reason: "it is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			urls := pgtest.New(t)
			db, keys := signing(t, urls.API, "api")
			var heads []ops.AuditHead
			for i := range 20 {
				r := ops.AuditRecord{Chain: "api", At: time.Now(), Actor: fmt.Sprint("user:", i), Action: "test", Outcome: "intent", Detail: map[string]string{"a": "1"}}
				require.NoError(t, db.AppendAudit(t.Context(), r, r))
				if tt.heads && i%5 == 4 {
					heads = append(heads, db.AuditHead("api"))
				}
			}
			if tt.sql != "" {
				_, err := owner(t, urls).Exec(t.Context(), tt.sql)
				require.NoError(t, err)
			}
			if tt.rehash != nil {
				rewrite(t, urls, tt.rehash(chainOf(t, db, "api")))
			}
			v := ops.NewAuditVerifier("api", keys, heads)
			err := verify(v, chainOf(t, db, "api"))
			if tt.want == 0 {
				require.NoError(t, err)
				return
			}
			bad, ok := errors.AsType[*ops.ChainError](err)
			require.True(t, ok, "nobody has seen it")
			require.Equal(t, tt.want, bad.Seq, bad.Error())
			require.Contains(t, bad.Reason, tt.reason)
		})
	}
}

// rewrite puts records in the place of a chain, with numbers and hashes that fit.
func rewrite(t *testing.T, urls *pgtest.DB, records []ops.AuditRecord) {
	t.Helper()
	conn := owner(t, urls)
	_, err := conn.Exec(t.Context(), `DELETE FROM audit`)
	require.NoError(t, err)
	prev := []byte{}
	for i, r := range records {
		r.Link(int64(i+1), prev)
		prev = r.Hash
		_, err := conn.Exec(t.Context(), `INSERT INTO audit (chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash, first, key, signature)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, nullif($12, 0), nullif($13, ''), $14)`,
			r.Chain, r.Seq, r.At, r.Actor, r.Action, r.Object, r.RunID, r.Outcome, r.Detail, r.Prev, r.Hash, r.First, r.Key, r.Signature)
		require.NoError(t, err)
	}
}

// TestAKeyDoesNotHelpAgainstAnchors: somebody with the database and the key of a
// process signs another past. The heads that were kept before tell.
func TestAKeyDoesNotHelpAgainstAnchors(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	key := ops.NewAuditKey("api")
	open := func() *postgres.DB {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: urls.API, AuditKey: key})
		require.NoError(t, err)
		t.Cleanup(db.Close)
		return db
	}
	db := open()
	var heads []ops.AuditHead
	for i := range 9 {
		require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", Action: "a", Actor: fmt.Sprint(i)}))
		if i%3 == 2 {
			heads = append(heads, db.AuditHead("api"))
		}
	}
	_, err := owner(t, urls).Exec(t.Context(), `DELETE FROM audit WHERE seq > 4`)
	require.NoError(t, err)
	again := open()
	for range 10 {
		require.NoError(t, again.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", Action: "other"}))
	}
	keys := ops.AuditKeys{key.Public()}
	require.NoError(t, verify(ops.NewAuditVerifier("api", keys, nil), chainOf(t, db, "api")))
	err = verify(ops.NewAuditVerifier("api", keys, heads), chainOf(t, db, "api"))
	require.ErrorContains(t, err, "record 6: it is not the one whose head was kept outside: this record, or one behind record 3")
}

// TestRecordsOfBeforeAreKnownAsSuch: an older release wrote without signing.
func TestRecordsOfBeforeAreKnownAsSuch(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	old := open(t, urls.API)
	for range 5 {
		require.NoError(t, old.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", Action: "old"}))
	}
	db, keys := signing(t, urls.API, "api")
	require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", Action: "new"}))
	v := ops.NewAuditVerifier("api", keys, nil)
	require.NoError(t, verify(v, chainOf(t, db, "api")))
	require.Equal(t, []int64{6, 5}, []int64{v.Records(), v.Unsigned()})
	_, err := owner(t, urls).Exec(t.Context(), `DELETE FROM audit WHERE seq = 1; UPDATE audit SET seq = seq - 1`)
	require.NoError(t, err)
	require.ErrorContains(t, verify(ops.NewAuditVerifier("api", keys, nil), chainOf(t, db, "api")), "record 1: it does not follow")
}

// TestWithoutPostgresNothingIsRecorded: who cannot be recorded is told so.
//
// threats: N4
func TestWithoutPostgresNothingIsRecorded(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	db, _ := signing(t, urls.Gateway, "gateway")
	conn := owner(t, urls)
	_, err := conn.Exec(t.Context(), `ALTER TABLE audit RENAME TO away`)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if db.AppendAudit(context.Background(), ops.AuditRecord{Chain: "gateway", Action: "a"}) == nil {
				t.Error("it was recorded nowhere")
			}
		})
	}
	wg.Wait()
	_, err = conn.Exec(t.Context(), `ALTER TABLE away RENAME TO audit`)
	require.NoError(t, err)
	require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "gateway", Action: "a"}))
	require.Len(t, chainOf(t, db, "gateway"), 1)
}

func TestAuditKeys(t *testing.T) {
	t.Parallel()
	key := ops.NewAuditKey("gateway")
	read, err := ops.ParseAuditKey("gateway", key.Text())
	require.NoError(t, err)
	require.Equal(t, key.Public(), read.Public())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", key, key, key, key), key.Text().Reveal()[60:])
	_, err = ops.ParseAuditKey("api", key.Text())
	require.ErrorContains(t, err, "no key of chain api")
	_, err = ops.ParseAuditKey("gateway", ops.NewSecret(ops.NewAuditKey("gateway").Text().Reveal()[:40]+key.Text().Reveal()[40:]))
	require.Error(t, err)
	all := ops.AuditKeys{key.Public()}.With(ops.NewAuditKey("api").Public(), key.Public())
	require.Len(t, all, 2)
	parsed, err := ops.ParseAuditKeys("# of prod\n\n" + all.String() + "\n")
	require.NoError(t, err)
	require.Equal(t, all, parsed)
	_, err = ops.ParseAuditKeys("akmatori-audit-public-key gateway 00 AAAA")
	require.ErrorContains(t, err, "line 1")
}
