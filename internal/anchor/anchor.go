package anchor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// DefaultEvery is how often there is a new anchor if there are new records.
	DefaultEvery = 10 * time.Second
	// maxBehind is after how many records there is one in any case.
	maxBehind = 1000
	// maxFile is when a file is put aside, over the one before: a head stands for
	// all before it, so the older ones are not missed.
	maxFile = 8 << 20
	// within bounds a look into the database.
	within = 5 * time.Second
)

// Config says what to anchor and where.
type Config struct {
	DB    *postgres.DB // required; it was opened with Key
	Key   ops.AuditKey // required
	Dir   string       // of the files; empty means that heads are only logged
	Every time.Duration
	Log   *slog.Logger          // required
	To    prometheus.Registerer // required
}

// Anchor keeps the heads of one chain.
type Anchor struct {
	c     Config
	chain string

	head     prometheus.Gauge
	broken   prometheus.Gauge
	failures prometheus.Counter

	mu   sync.Mutex // of what a request may read
	last ops.AuditHead
	at   time.Time // when last was anchored
	told bool      // that the last one is not in the database
}

// ReadKey parses the key of a chain, which no process starts without.
func ReadKey(chain string, text ops.Secret) (ops.AuditKey, error) {
	if text.Empty() {
		return ops.AuditKey{}, fmt.Errorf("there is no key to sign the audit of the %s with: akmatori-init makes it", chain)
	}
	return ops.ParseAuditKey(chain, text)
}

// New looks at what was anchored before, and at whether anything can be.
func New(ctx context.Context, c Config) (*Anchor, error) {
	if c.Key.Chain() == "" {
		return nil, errors.New("audit: there is no key")
	}
	if c.Every <= 0 {
		c.Every = DefaultEvery
	}
	a := &Anchor{c: c, chain: c.Key.Chain(),
		head: prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_audit_head",
			Help: "Number of the last audit record whose head is kept outside of the database."}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_audit_broken",
			Help: "1 if a head that was kept is not in the database any more."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "akmatori_audit_anchor_failures_total",
			Help: "Heads that could not be written to their file."}),
	}
	if c.Dir != "" {
		last, err := lastOf(a.path())
		if err == nil {
			err = a.write(nil)
		}
		if err != nil {
			return nil, fmt.Errorf("audit: heads cannot be kept: %w", err)
		}
		a.last, a.at = last, time.Now()
	}
	c.To.MustRegister(a.head, a.broken, a.failures)
	a.head.Set(float64(a.last.Seq))
	a.look(ctx)
	return a, a.begin(ctx)
}

// begin writes a signed record behind what an older release has written without.
func (a *Anchor) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tail, err := a.c.DB.AuditTail(ctx, a.chain)
	switch {
	case ops.CodeOf(err) == ops.CodeNotFound, err == nil && tail.Key != "":
		return nil
	case err != nil:
		return err
	}
	return a.c.DB.AppendAudit(ctx, a.record("audit.signed_from_here", "ok", map[string]string{"before": strconv.FormatInt(tail.Seq, 10)}))
}

func (a *Anchor) record(action, outcome string, detail map[string]string) ops.AuditRecord {
	return ops.AuditRecord{Chain: a.chain, At: time.Now(), Actor: "system", Action: action, Object: "audit", Outcome: outcome, Detail: detail}
}

func (a *Anchor) path() string { return filepath.Join(a.c.Dir, a.chain+".jsonl") }

// Run anchors until ctx ends, and once more then: it is to outlive what writes records.
func (a *Anchor) Run(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, a.c.Every))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			a.step(context.WithoutCancel(ctx), true)
			return
		case <-tick.C:
			a.step(ctx, false)
		}
	}
}

// step anchors the head if it is time to.
func (a *Anchor) step(ctx context.Context, now bool) {
	h := a.c.DB.AuditHead(a.chain)
	a.mu.Lock()
	last, at := a.last, a.at
	a.mu.Unlock()
	if h.Key == "" || bytes.Equal(h.Hash, last.Hash) || !now && time.Since(at) < a.c.Every && h.Seq-last.Seq < maxBehind {
		return
	}
	a.look(ctx)
	a.c.Log.Info("audit head", "audit_head", h)
	if a.c.Dir != "" {
		if err := a.write(&h); err != nil {
			a.failures.Inc()
			a.c.Log.Error("a head of the audit could not be kept", "err", err)
			return
		}
	}
	a.mu.Lock()
	a.last, a.at, a.told = h, time.Now(), false
	a.mu.Unlock()
	a.head.Set(float64(h.Seq))
}

// look says it if the last head that was kept is not in the database any more.
func (a *Anchor) look(ctx context.Context) {
	a.mu.Lock()
	last, told := a.last, a.told
	a.mu.Unlock()
	if last.Key == "" || told {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r, err := a.c.DB.AuditRecord(ctx, a.chain, last.Seq)
	missing := ops.CodeOf(err) == ops.CodeNotFound
	if err != nil && !missing || err == nil && bytes.Equal(r.Hash, last.Hash) {
		return // not known is not broken
	}
	a.mu.Lock()
	a.told = true
	a.mu.Unlock()
	a.broken.Set(1)
	what := map[string]string{"record": strconv.FormatInt(last.Seq, 10), "kept_hash": fmt.Sprintf("%x", last.Hash), "found_hash": fmt.Sprintf("%x", r.Hash)}
	a.c.Log.Error("the audit in the database is not the one that was written: a record whose head was kept is missing or another one",
		"chain", a.chain, "record", last.Seq, "kept_hash", what["kept_hash"], "found_hash", what["found_hash"])
	if err := a.c.DB.AppendAudit(ctx, a.record("audit.broken", "failed", what)); err != nil {
		a.c.Log.Error("and that could not be recorded", "err", err)
	}
}

// write appends a line, or nothing, which tells whether it could.
func (a *Anchor) write(h *ops.AuditHead) (err error) {
	path := a.path()
	if info, err := os.Stat(path); err == nil && info.Size() > maxFile {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if h == nil {
		return nil
	}
	line, err := json.Marshal(struct {
		At time.Time `json:"at"`
		ops.AnchoredHead
	}{time.Now().UTC(), ops.AnchoredHead{Head: *h}})
	if err != nil {
		return err
	}
	// A line of its own even behind half of one, from when the power went.
	if _, err := f.Write(append(append([]byte("\n"), line...), '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// lastOf gives the last whole head of a file; it is empty if there is none.
func lastOf(path string) (last ops.AuditHead, err error) {
	for _, name := range []string{path, path + ".1"} { // the newer one may have been begun a moment ago
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return last, err
		}
		data, err := tail(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return last, err
		}
		for line := range bytes.Lines(data) {
			var a ops.AnchoredHead
			if json.Unmarshal(line, &a) == nil && a.Head.Key != "" {
				last = a.Head
			}
		}
		if last.Key != "" {
			return last, nil
		}
	}
	return last, nil
}

// tail reads the last lines.
func tail(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-64<<10), 64<<10))
}

// ServeHTTP gives the last head that was kept, and the newest one, as JSON.
func (a *Anchor) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	heads := map[string]any{"chain": a.chain, "kept": a.last, "kept_at": a.at.UTC(), "newest": a.c.DB.AuditHead(a.chain)}
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(heads)
}
