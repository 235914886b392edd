package api

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	maxBatch      = 64      // deliveries in one transaction
	maxBatchBytes = 8 << 20 // of bodies, unless one alone is larger
	maxQueue      = 1024    // deliveries that wait for a transaction
	commitTimeout = 4 * time.Second
	answerWithin  = 5 * time.Second // what senders wait for at least
)

// intake stores deliveries in shared transactions.
type intake struct {
	db      *postgres.DB
	metrics *metrics
	log     *slog.Logger
	queue   chan *waiting

	mu       sync.Mutex
	rejected map[string]int // by source; wrong secrets since the last count
}

// waiting is a delivery whose request waits for its commit.
type waiting struct {
	delivery ops.Delivery
	done     chan error // has room for one
}

func newIntake(db *postgres.DB, m *metrics, log *slog.Logger) *intake {
	return &intake{db: db, metrics: m, log: log, queue: make(chan *waiting, maxQueue), rejected: map[string]int{}}
}

// store returns when the delivery is stored. It does not depend on the request:
// a sender that hangs up may still have its alert stored, and sends it again.
func (in *intake) store(d ops.Delivery) error {
	w := &waiting{delivery: d, done: make(chan error, 1)}
	select {
	case in.queue <- w:
	default:
		return &ops.Error{Code: ops.CodeUnavailable, Message: "too many alerts at once", RetryAfter: time.Second}
	}
	late := time.NewTimer(answerWithin)
	defer late.Stop()
	select {
	case err := <-w.done:
		return err
	case <-late.C:
		return &ops.Error{Code: ops.CodeUnavailable, Message: "storing takes too long", RetryAfter: 5 * time.Second}
	}
}

// run commits until ctx ends and nobody waits any more.
func (in *intake) run(ctx context.Context) {
	var g errgroup.Group
	g.Go(func() error { in.commit(ctx); return nil })
	g.Go(func() error { in.countRejected(ctx); return nil })
	_ = g.Wait()
}

func (in *intake) commit(ctx context.Context) {
	var next *waiting // did not fit into the last batch
	for {
		first := next
		next = nil
		if first == nil {
			select {
			case first = <-in.queue:
			case <-ctx.Done():
				select { // the servers have stopped: what is here is all there is
				case first = <-in.queue:
				default:
					return
				}
			}
		}
		batch, size := []*waiting{first}, len(first.delivery.Body)
	gather:
		for len(batch) < maxBatch {
			select {
			case w := <-in.queue:
				if size += len(w.delivery.Body); size > maxBatchBytes {
					next = w
					break gather
				}
				batch = append(batch, w)
			default:
				break gather
			}
		}
		in.commitBatch(context.WithoutCancel(ctx), batch)
	}
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
		w.done <- err
	}
}

func (in *intake) ingest(ctx context.Context, batch []*waiting) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	deliveries := make([]ops.Delivery, len(batch))
	for i, w := range batch {
		deliveries[i] = w.delivery
	}
	return in.db.Ingest(ctx, deliveries)
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
			w.delivery.Problem = "its alerts could not be stored (see the log of the api)"
			err = in.ingest(ctx, []*waiting{w})
		}
		w.done <- err
	}
}

// reject counts a request with a wrong secret.
func (in *intake) reject(source string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.rejected[source]++ // sources are known ones: their number bounds the map
}

// countRejected writes the counts once a second, so that a flood of wrong
// secrets is one statement a second.
func (in *intake) countRejected(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		in.flushRejected(context.WithoutCancel(ctx))
		if ended {
			return
		}
	}
}

func (in *intake) flushRejected(ctx context.Context) {
	in.mu.Lock()
	counts := maps.Clone(in.rejected)
	clear(in.rejected)
	in.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := in.db.CountRejected(ctx, counts); err != nil {
		in.log.Warn("refused webhooks were not counted", "err", err)
		in.mu.Lock()
		defer in.mu.Unlock()
		for source, n := range counts {
			in.rejected[source] += n
		}
	}
}
