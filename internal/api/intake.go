package api

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	maxBatch      = 64               // deliveries in one transaction
	maxBatchBytes = 8 << 20          // of bodies, unless one alone is larger
	maxQueue      = 1024             // deliveries that wait for a transaction
	committers    = 2                // transactions at a time: one is computed while the other is committed
	worthwhile    = 64               // alerts for which a second transaction at a time pays
	linger        = time.Millisecond // what few alerts wait for those that are likely to come
	commitTimeout = 4 * time.Second
	answerWithin  = 5 * time.Second // what senders wait for at least
)

// intake stores deliveries in shared transactions.
type intake struct {
	db      *postgres.DB
	metrics *metrics
	log     *slog.Logger
	queue   chan *waiting
	// strangers is who stores what has not proved itself.
	strangers *semaphore.Weighted

	mu      sync.Mutex
	counted map[string]*postgres.SourceCount // by source, since the last writing
	writing sync.Mutex                       // held by whoever writes them
}

// waiting is a delivery whose request waits for its commit.
type waiting struct {
	delivery ops.Delivery
	done     chan error // has room for one; sent when delivery is as it was stored
}

func newIntake(db *postgres.DB, m *metrics, log *slog.Logger) *intake {
	return &intake{db: db, metrics: m, log: log, queue: make(chan *waiting, maxQueue),
		strangers: semaphore.NewWeighted(unprovenAtOnce), counted: map[string]*postgres.SourceCount{}}
}

// store returns when the delivery is stored, as what it was stored: as the
// repetition of another, or without its alerts if the database refused them. It
// does not depend on the request: a sender that hangs up may still have its
// alert stored, and sends it again.
func (in *intake) store(d ops.Delivery) (ops.Delivery, error) {
	w := &waiting{delivery: d, done: make(chan error, 1)}
	select {
	case in.queue <- w:
	default:
		const tooMany = "too many alerts at once"
		in.fail(d.SourceID, ops.ErrorOverload, tooMany)
		return d, &ops.Error{Code: ops.CodeUnavailable, Message: tooMany, RetryAfter: time.Second}
	}
	late := time.NewTimer(answerWithin)
	defer late.Stop()
	select {
	case err := <-w.done:
		if err != nil {
			in.fail(d.SourceID, ops.ErrorDatabase, ops.MessageOf(err))
		}
		return w.delivery, err
	case <-late.C:
		const tooLong = "storing takes too long"
		in.fail(d.SourceID, ops.ErrorDatabase, tooLong)
		return d, &ops.Error{Code: ops.CodeUnavailable, Message: tooLong, RetryAfter: 5 * time.Second}
	}
}

// run commits until ctx ends and nobody waits any more.
func (in *intake) run(ctx context.Context) {
	stored := make(chan struct{})
	var counting sync.WaitGroup
	counting.Go(func() { in.writeCounts(stored) })
	in.commit(ctx)
	close(stored)
	counting.Wait()
}

// commit gathers batches and commits them until ctx ends and nobody waits any
// more. A transaction costs as much as many alerts in it, so one of few is not
// begun beside another, and waits a moment for those who were told of the last
// commit and are likely to send again; a single sender waits for nobody.
func (in *intake) commit(ctx context.Context) {
	ctx, stopped := context.WithoutCancel(ctx), ctx.Done()
	var b, next batch
	var late <-chan time.Time // linger is over
	busy, expected, lingered, ending := 0, 1, false, false
	done := make(chan int)
	for {
		switch full := len(b.all) == maxBatch || len(next.all) > 0; {
		case len(b.all) == 0 && ending && busy == 0 && len(in.queue) == 0:
			return
		case len(b.all) > 0 && (busy == 0 && (full || ending || lingered || len(b.all) >= expected) ||
			busy > 0 && busy < committers && (full || b.alerts >= worthwhile)):
			busy++
			go func(all []*waiting) {
				in.commitBatch(ctx, all)
				done <- len(all)
			}(b.all)
			b, next, late, lingered = next, batch{}, nil, false
			continue
		case len(b.all) > 0 && busy == 0 && late == nil:
			late = time.After(linger)
		}
		queue := in.queue
		if len(b.all) == maxBatch || len(next.all) > 0 {
			queue = nil
		}
		select {
		case w := <-queue:
			if len(b.all) > 0 && b.bytes+len(w.delivery.Body) > maxBatchBytes {
				next.add(w)
			} else {
				b.add(w)
			}
		case n := <-done:
			busy--
			expected = n + len(b.all) + len(in.queue)
		case <-late:
			lingered = true
		case <-stopped: // the servers have stopped: what is here is all there is
			ending, stopped = true, nil
		}
	}
}

// batch is what one transaction stores.
type batch struct {
	all           []*waiting
	bytes, alerts int
}

func (b *batch) add(w *waiting) {
	b.all, b.bytes, b.alerts = append(b.all, w), b.bytes+len(w.delivery.Body), b.alerts+len(w.delivery.Alerts)
}

func (in *intake) commitBatch(ctx context.Context, batch []*waiting) {
	began := time.Now()
	err := in.ingest(ctx, batch)
	in.metrics.commit.Observe(time.Since(began).Seconds())
	in.metrics.batch.Observe(float64(len(batch)))
	if code := ops.CodeOf(err); err != nil && code != ops.CodeUnavailable {
		in.alone(ctx, batch, err)
		return
	}
	for _, w := range batch {
		in.end(w, err)
	}
}

// end tells whoever waits what became of the delivery.
func (in *intake) end(w *waiting, err error) {
	if err == nil {
		in.count(w.delivery.SourceID, func(c *postgres.SourceCount) { c.Stored(w.delivery) })
	}
	w.done <- err
}

func (in *intake) ingest(ctx context.Context, batch []*waiting) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	deliveries := make([]ops.Delivery, len(batch))
	for i, w := range batch {
		deliveries[i] = w.delivery
	}
	err := in.db.Ingest(ctx, deliveries)
	for i, w := range batch {
		w.delivery.DuplicateOf, w.delivery.Warnings = deliveries[i].DuplicateOf, deliveries[i].Warnings
	}
	return err
}

// alone stores the deliveries of a refused batch one by one, so that one that
// cannot be stored takes no other with it. That one is stored as it came,
// without its alerts: it is on the source's page and not lost.
func (in *intake) alone(ctx context.Context, batch []*waiting, why error) {
	in.log.Error("a batch of deliveries was refused by the database", "deliveries", len(batch), "err", why)
	for _, w := range batch {
		err := why
		if len(batch) > 1 {
			err = in.ingest(ctx, []*waiting{w})
		}
		if code := ops.CodeOf(err); err != nil && code != ops.CodeUnavailable {
			in.log.Error("a delivery could not be stored with its alerts", "delivery", w.delivery.ID, "source", w.delivery.SourceID, "err", err)
			w.delivery.Alerts = nil
			w.delivery.Problem, w.delivery.ProblemKind = "its alerts could not be stored (see the log of the api)", ops.ErrorDatabase
			err = in.ingest(ctx, []*waiting{w})
		}
		in.end(w, err)
	}
}

// fail counts what went wrong with a source's request. text must not be the sender's.
func (in *intake) fail(source, kind, text string) {
	in.count(source, func(c *postgres.SourceCount) { c.Failed(kind, text, time.Now().UTC()) })
}

func (in *intake) count(source string, f func(*postgres.SourceCount)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.counted[source]
	if c == nil {
		c = postgres.NewSourceCount(source)
		in.counted[source] = c
	}
	f(c)
}

// writeCounts writes the counts once a second, and when all is stored. So many
// deliveries are a few statements a second, and so is a flood of wrong secrets;
// what goes wrong in an outage is counted when it is over. A process that is
// killed has not counted its last second; the deliveries are stored.
func (in *intake) writeCounts(stored <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stored:
			in.flush(context.Background())
			return
		case <-tick.C:
			in.flush(context.Background())
		}
	}
}

// flush writes what was counted until now.
func (in *intake) flush(ctx context.Context) {
	in.writing.Lock()
	defer in.writing.Unlock()
	in.mu.Lock()
	counts := in.counted
	in.counted = map[string]*postgres.SourceCount{}
	in.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	err := in.db.CountSources(ctx, slices.Collect(maps.Values(counts)))
	if err == nil {
		return
	}
	in.log.Warn("the health of sources was not counted", "err", err)
	if ops.CodeOf(err) != ops.CodeUnavailable {
		return // it would fail again
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for source, c := range counts {
		if news := in.counted[source]; news != nil {
			c.Add(news)
		}
		in.counted[source] = c
	}
}
