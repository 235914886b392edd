package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// maxTogether bounds the records of one transaction, so that its signature
	// and its locks are of little.
	maxTogether = 256
	// maxAuditWaiting bounds how many callers wait for the transaction before theirs.
	maxAuditWaiting = 4096
	// maxAuditTries bounds how often records are linked anew because others
	// append to the same chain.
	maxAuditTries = 50
	// auditWithin is how long a transaction of the audit may take, whoever waits for it.
	auditWithin = 15 * time.Second
)

// AppendAudit appends records, all of one chain, in one transaction.
func (db *DB) AppendAudit(ctx context.Context, records ...ops.AuditRecord) error {
	if err := db.record(ctx, records, func(*pgx.Batch) {}); err != nil {
		return fmt.Errorf("append audit: %w", mapError(err))
	}
	return nil
}

// withAudit runs the queued statements and appends r, in one transaction and,
// as a rule, one round trip. queue may be called several times. An error of the
// statements is returned as Postgres says it, and then nothing of this is stored.
func (db *DB) withAudit(ctx context.Context, r ops.AuditRecord, queue func(*pgx.Batch)) error {
	return db.record(ctx, []ops.AuditRecord{r}, queue)
}

// AuditHead gives the newest signed record that this process has appended to a
// chain, outside of larger transactions; it is empty before the first.
func (db *DB) AuditHead(chain string) ops.AuditHead {
	w := db.audits.of(chain)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.head
}

// auditWriters has one writer for each chain.
type auditWriters struct {
	mu  sync.Mutex
	all map[string]*auditWriter
}

func (a *auditWriters) of(chain string) *auditWriter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[string]*auditWriter{}
	}
	if a.all[chain] == nil {
		a.all[chain] = &auditWriter{chain: chain}
	}
	return a.all[chain]
}

// auditWriter appends to one chain. A record holds the hash of the one before,
// so transactions of a chain are one after the other; callers that come
// meanwhile share the next one. One of them does the work for all, and then
// hands over to the first that waits: there is no goroutine, and a single caller
// pays for nothing but its own round trip.
type auditWriter struct {
	chain string

	mu      sync.Mutex
	waiting []*auditEntry
	led     bool // somebody works, or has been told to
	head    ops.AuditHead

	// The end of the chain, which whoever works remembers for the next one. It
	// may be wrong, as others append too: then a number is taken, the transaction
	// fails as a whole, and the end is read again.
	known bool
	seq   int64
	prev  []byte
}

// auditEntry is what one caller wants done.
type auditEntry struct {
	records []ops.AuditRecord
	queue   func(*pgx.Batch)
	gone    <-chan struct{} // the caller does not want it any more
	turn    chan struct{}   // gets one value if this caller is to do the work
	done    chan error      // gets one value when it is done
}

// record runs the statements of queue and appends records, all or nothing.
func (db *DB) record(ctx context.Context, records []ops.AuditRecord, queue func(*pgx.Batch)) error {
	if len(records) == 0 {
		return nil
	}
	if err := oneChain(records); err != nil {
		return err
	}
	w := db.audits.of(records[0].Chain)
	e := &auditEntry{records: records, queue: queue, gone: ctx.Done(), turn: make(chan struct{}, 1), done: make(chan error, 1)}
	w.mu.Lock()
	if len(w.waiting) >= maxAuditWaiting {
		w.mu.Unlock()
		return &ops.Error{Code: ops.CodeUnavailable, Message: "too much waits to be recorded", RetryAfter: time.Second}
	}
	w.waiting = append(w.waiting, e)
	if !w.led {
		w.led = true
		e.turn <- struct{}{}
	}
	w.mu.Unlock()

	gone := ctx.Done()
	for {
		select {
		case err := <-e.done:
			return err
		case <-e.turn:
			w.work(ctx, db)
		case <-gone:
			if w.withdraw(e) {
				return ctx.Err()
			}
			gone = nil // it is being written: what became of it is known in a moment
		}
	}
}

func oneChain(records []ops.AuditRecord) error {
	if len(records) > maxTogether {
		return fmt.Errorf("%d audit records at once", len(records))
	}
	for _, r := range records {
		if r.Chain != records[0].Chain {
			return fmt.Errorf("records of two chains: %s and %s", records[0].Chain, r.Chain)
		}
	}
	return nil
}

// withdraw takes back what nobody has begun with.
func (w *auditWriter) withdraw(e *auditEntry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.waiting, e)
	if i < 0 || i == 0 && len(e.turn) > 0 {
		return false
	}
	w.waiting = slices.Delete(w.waiting, i, i+1)
	return true
}

// work commits what waits, the caller's own first, and hands over.
func (w *auditWriter) work(ctx context.Context, db *DB) {
	w.mu.Lock()
	n, records := 0, 0
	for n < len(w.waiting) && (n == 0 || records+len(w.waiting[n].records) <= maxTogether) {
		records += len(w.waiting[n].records)
		n++
	}
	group := slices.Clone(w.waiting[:n])
	w.waiting = slices.Delete(w.waiting, 0, n)
	w.mu.Unlock()

	w.commit(ctx, db, group)

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.led = false
		return
	}
	w.waiting[0].turn <- struct{}{}
}

// commit tells each of the group what became of what it wanted. Who wants what
// Postgres refuses is left out, and tried alone when the others are through: what
// it met may have been one of them.
func (w *auditWriter) commit(ctx context.Context, db *DB, group []*auditEntry) {
	var later []*auditEntry
	err := func() error {
		work, cancel := together(ctx, group)
		defer cancel()
		for try := 0; len(group) > 0; try++ {
			blamed, err := w.send(work, db, group)
			e, refused := errors.AsType[*pgconn.PgError](err)
			switch {
			case refused && inTheWay(e) && try < maxAuditTries:
				if try > 0 && !pause(work, try) {
					return work.Err()
				}
			case blamed >= 0 && len(group) > 1 && ownFault(err):
				later = append(later, group[blamed])
				group = slices.Delete(group, blamed, blamed+1)
			default:
				return err
			}
		}
		return nil
	}()
	answer(group, err)
	if err != nil && !ownFault(err) {
		answer(later, err)
		return
	}
	for _, e := range later {
		w.commit(ctx, db, []*auditEntry{e})
	}
}

// inTheWay says whether e goes away when the records are linked anew.
func inTheWay(e *pgconn.PgError) bool {
	return e.Code == "23505" && e.TableName == "audit" || e.Code == "40P01" || e.Code == "40001"
}

// ownFault says whether err is about what was to be written: its data
// (class 22) or what it does not go together with (class 23).
func ownFault(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code[:2] == "22" || e.Code[:2] == "23")
}

// pause lets others through that append faster than this one reads.
func pause(ctx context.Context, try int) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(rand.N(time.Duration(try+1) * time.Millisecond)):
		return true
	}
}

func answer(group []*auditEntry, err error) {
	for _, e := range group {
		e.done <- err
	}
}

// together ends when nobody of the group wants it any more, or it takes too long.
func together(ctx context.Context, group []*auditEntry) (_ context.Context, end func()) {
	if len(group) == 1 && group[0].gone == ctx.Done() {
		return context.WithTimeout(ctx, auditWithin) // the caller's own
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditWithin)
	var wanted atomic.Int64
	wanted.Store(int64(len(group)))
	var watch sync.WaitGroup
	for _, e := range group {
		if e.gone == nil {
			continue
		}
		watch.Go(func() {
			select {
			case <-e.gone:
				if wanted.Add(-1) == 0 {
					cancel()
				}
			case <-work.Done():
			}
		})
	}
	return work, func() {
		cancel()
		watch.Wait()
	}
}

// send tries to commit the group. If a statement of one of them failed, blamed is its index.
func (w *auditWriter) send(ctx context.Context, db *DB, group []*auditEntry) (blamed int, err error) {
	if !w.known {
		w.seq, w.prev = 0, nil
		err := db.pool.QueryRow(ctx, selectAuditTail, w.chain).Scan(&w.seq, &w.prev)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return -1, err
		}
		w.known = true
	}
	b, ends := &pgx.Batch{}, make([]int, len(group))
	var all []ops.AuditRecord
	for i, e := range group {
		e.queue(b)
		ends[i] = b.Len()
		all = append(all, e.records...)
	}
	db.link(all, w.seq, w.prev)
	for _, r := range all {
		queueAudit(b, r)
	}
	at, err := db.tryBatch(ctx, b)
	if err != nil {
		w.known = false // taken by another, or not known what became of it
		return slices.IndexFunc(ends, func(end int) bool { return at < end }), err
	}
	last := all[len(all)-1]
	w.seq, w.prev = last.Seq, last.Hash
	w.mu.Lock()
	w.head = last.Head()
	w.mu.Unlock()
	return -1, nil
}

// link puts records behind a predecessor and signs for all of them.
func (db *DB) link(records []ops.AuditRecord, seq int64, prev []byte) {
	first := seq + 1
	for i := range records {
		records[i].Link(seq+1, prev)
		seq, prev = records[i].Seq, records[i].Hash
	}
	if key := db.auditKey; key.Chain() == records[0].Chain {
		key.Sign(&records[len(records)-1], first)
	}
}

// sendBatch runs a batch outside of a transaction, which makes it one of its own.
func (db *DB) sendBatch(ctx context.Context, b *pgx.Batch) error {
	_, err := db.tryBatch(ctx, b)
	return err
}

// tryBatch is sendBatch; at is the index of the statement that failed.
func (db *DB) tryBatch(ctx context.Context, b *pgx.Batch) (at int, err error) {
	results := db.pool.SendBatch(ctx, b)
	for at = range b.Len() {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			return at, err
		}
	}
	return b.Len(), results.Close()
}

const selectAuditTail = `SELECT seq, hash FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1`

// appendAudit links records to the end of their chain, in a larger transaction.
// The chain's lock is held until that ends, so it is the last thing that it does.
func (db *DB) appendAudit(ctx context.Context, tx pgx.Tx, records ...ops.AuditRecord) error {
	if len(records) == 0 {
		return nil
	}
	if err := oneChain(records); err != nil {
		return err
	}
	chain := records[0].Chain
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('audit ' || $1, 0))`, chain); err != nil {
		return err
	}
	var seq int64
	var prev []byte
	if err := tx.QueryRow(ctx, selectAuditTail, chain).Scan(&seq, &prev); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	records = slices.Clone(records)
	db.link(records, seq, prev)
	b := &pgx.Batch{}
	for _, r := range records {
		queueAudit(b, r)
	}
	return tx.SendBatch(ctx, b).Close()
}

// queueAudit queues a record that has its place in the chain.
func queueAudit(b *pgx.Batch, r ops.AuditRecord) {
	b.Queue(insertAudit, r.Chain, r.Seq, r.At, r.Actor, r.Action, r.Object, r.RunID, r.Outcome, r.Detail, r.Prev, r.Hash, r.First, r.Key, r.Signature)
}

const insertAudit = `INSERT INTO audit (chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash, first, key, signature)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, ''::bytea), $11, nullif($12, 0), nullif($13, ''), $14)`

const auditColumns = `chain, seq, at, actor, action, object, run_id, outcome, detail, prev, hash, coalesce(first, 0), coalesce(key, ''), signature`

func scanAudit(row pgx.CollectableRow) (r ops.AuditRecord, err error) {
	err = row.Scan(&r.Chain, &r.Seq, &r.At, &r.Actor, &r.Action, &r.Object, &r.RunID, &r.Outcome, &r.Detail, &r.Prev, &r.Hash, &r.First, &r.Key, &r.Signature)
	r.At = r.At.UTC()
	return r, err
}

// Audit gives up to limit records of a chain behind number after, in order.
func (db *DB) Audit(ctx context.Context, chain string, after int64, limit int) ([]ops.AuditRecord, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+auditColumns+` FROM audit WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3`, chain, after, limit)
	if err != nil {
		return nil, mapError(err)
	}
	records, err := pgx.CollectRows(rows, scanAudit)
	return records, mapError(err)
}

// AuditRecord gives one record.
func (db *DB) AuditRecord(ctx context.Context, chain string, seq int64) (ops.AuditRecord, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+auditColumns+` FROM audit WHERE chain = $1 AND seq = $2`, chain, seq)
	if err != nil {
		return ops.AuditRecord{}, mapError(err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanAudit)
	return r, mapError(err)
}

// AuditTail gives the newest record of a chain; code not found if there is none.
func (db *DB) AuditTail(ctx context.Context, chain string) (ops.AuditRecord, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+auditColumns+` FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1`, chain)
	if err != nil {
		return ops.AuditRecord{}, mapError(err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanAudit)
	return r, mapError(err)
}
