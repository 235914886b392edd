package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/testlog"
	"github.com/akmatori/akmatori/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

const soon = 10 * time.Second

// rig is one api replica's dispatcher on a database.
type rig struct {
	*Dispatcher
	t     *testing.T
	db    *postgres.DB
	url   string
	token ops.Secret
	log   *testlog.Log
	owner ops.Secret
	stop  func() // ends the dispatcher and waits for it
}

func newRig(t *testing.T, lease time.Duration) *rig {
	t.Helper()
	pg := pgtest.New(t)
	r := newReplica(t, pg, lease)
	require.NoError(t, r.db.CreateProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: "p", Kind: "openai", BaseURL: "https://llm.example/v1", Model: "m"}))
	return r
}

func newReplica(t *testing.T, pg *pgtest.DB, lease time.Duration) *rig {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pg.API, App: "test"})
	require.NoError(t, err)
	r := &rig{t: t, db: db, token: ops.NewToken(ops.WorkerTokenPrefix), log: &testlog.Log{}, owner: pg.Owner}
	r.Dispatcher, err = New(Config{DB: db, WorkerToken: r.token, GatewayURL: "http://gateway/mcp", ProxyURL: "http://proxy/", Lease: lease,
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewJSONHandler(r.log, nil))})
	require.NoError(t, err)
	srv := httptest.NewServer(r.Dispatcher)
	r.url = "ws" + strings.TrimPrefix(srv.URL, "http") + wire.Path
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(func() {
		r.stop()
		srv.Close()
		db.Close()
	})
	return r
}

// incident opens an incident with a queued run.
func (r *rig) incident(title string) ops.Incident {
	r.t.Helper()
	i, err := r.db.CreateIncident(r.t.Context(), postgres.NewIncident{Title: title, Severity: ops.SeverityHigh, Agent: postgres.DefaultAgent, Actor: "service:test"})
	require.NoError(r.t, err)
	return i
}

func (r *rig) run(incident string) ops.Run {
	r.t.Helper()
	runs, err := r.db.Runs(r.t.Context(), incident)
	require.NoError(r.t, err)
	require.NotEmpty(r.t, runs)
	return runs[0]
}

// worker is the other end of a connection.
type worker struct {
	t      *testing.T
	conn   *wire.Conn
	frames chan wire.Frame
	ended  chan error
	hangUp func()
}

func (r *rig) dial(name string, slots int, held ...wire.RunRef) *worker {
	r.t.Helper()
	conn, err := wire.Dial(r.t.Context(), r.url, r.token)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	w := &worker{t: r.t, conn: conn, frames: make(chan wire.Frame, 1000), ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ended <- conn.Run(ctx, func(_ context.Context, f wire.Frame) error { w.frames <- f; return nil })
	}()
	w.hangUp = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(w.hangUp)
	w.send(wire.Frame{Hello: &wire.Hello{Version: wire.Version, Worker: name, Build: "test", Slots: slots, Runs: held}})
	return w
}

func (w *worker) send(f wire.Frame) {
	w.t.Helper()
	require.NoError(w.t, w.conn.Send(w.t.Context(), f))
}

// next gives the next frame that is chosen and drops others.
func next[T any](w *worker, choose func(wire.Frame) *T) *T {
	w.t.Helper()
	late := time.After(soon)
	for {
		select {
		case f := <-w.frames:
			if v := choose(f); v != nil {
				return v
			}
		case <-late:
			require.FailNow(w.t, "the frame did not come")
		}
	}
}

func welcome(f wire.Frame) *wire.Welcome { return f.Welcome }
func task(f wire.Frame) *wire.Task       { return f.Task }
func ack(f wire.Frame) *wire.Ack         { return f.Ack }
func cancelled(f wire.Frame) *wire.Cancel {
	return f.Cancel
}

// working dials a worker and gives it a run.
func (r *rig) working(name string) (*worker, *wire.Task) {
	r.t.Helper()
	w := r.dial(name, 1)
	w.send(wire.Frame{Ready: &wire.Ready{Free: 1}})
	return w, next(w, task)
}

func event(seq int64, kind ops.EventKind, data any) ops.Event {
	e := ops.NewEvent(kind, data)
	e.RunSeq = seq
	return e
}

func (w *worker) events(ref wire.RunRef, events ...ops.Event) {
	w.t.Helper()
	w.send(wire.Frame{Events: &wire.Events{RunRef: ref, Events: events}})
}

func TestTaskIsSelfContained(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("disk full")
	w, got := r.working("w1")

	require.Equal(t, i.RunID, got.Run)
	require.Equal(t, 1, got.Epoch)
	require.Equal(t, i.ID, got.Incident.ID)
	require.Equal(t, int64(1), got.NextSeq)
	require.Equal(t, "http://gateway/mcp", got.GatewayURL)
	providers, err := r.db.Providers(t.Context())
	require.NoError(t, err)
	require.Equal(t, "http://proxy/llm/"+providers[0].ID, got.Model.BaseURL)
	require.Equal(t, "m", got.Model.Model)
	require.NotEqual(t, got.GatewayToken, got.Model.Token)
	require.True(t, got.Deadline.After(time.Now().Add(9*time.Minute)))

	grant, err := r.db.GrantByToken(t.Context(), ops.HashToken(ops.NewSecret(got.GatewayToken)))
	require.NoError(t, err)
	require.Equal(t, got.Run, grant.RunID)
	proxied, err := r.db.RunByProxyToken(t.Context(), ops.HashToken(ops.NewSecret(got.Model.Token)))
	require.NoError(t, err)
	require.Equal(t, providers[0].ID, proxied.ProviderID)

	w.events(got.RunRef, event(1, ops.EventNotice, ops.Notice{Text: "hello"}), event(2, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed, Reason: "no"}))
	require.Equal(t, int64(2), next(w, ack).Seq)
	require.Equal(t, ops.RunFailed, r.run(i.ID).State)
	require.NotContains(t, r.log.String(), got.GatewayToken)
	require.NotContains(t, r.log.String(), got.Model.Token)
}

func TestEventsAreStoredOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("disk full")
	w, got := r.working("w1")
	one, two := event(1, ops.EventMessage, ops.Message{Turn: 1, Text: "a"}), event(2, ops.EventToolOutput, ops.ToolOutput{ID: "c1", Text: "b"})
	w.events(got.RunRef, one, two)
	require.Equal(t, int64(2), next(w, ack).Seq)
	three := event(3, ops.EventNotice, nil)
	three.Data = json.RawMessage(`{"text":"nul \u0000, half \ud800, raw ` + "\xff" + `"}`) // what a terminal may print
	w.events(got.RunRef, one, two, three)
	require.Equal(t, int64(3), next(w, ack).Seq)

	events, err := r.db.Events(t.Context(), i.ID, 0, 100)
	require.NoError(t, err)
	var seqs []int64
	for n, e := range events {
		require.Equal(t, int64(n+1), e.Seq, "the timeline has no holes")
		if e.RunSeq > 0 {
			seqs = append(seqs, e.RunSeq)
		}
	}
	require.Equal(t, []int64{1, 2, 3}, seqs)
	var notice ops.Notice
	require.NoError(t, json.Unmarshal(events[len(events)-1].Data, &notice))
	require.Equal(t, "nul \x00, half \uFFFD, raw \uFFFD", notice.Text)
}

func TestRefusedEventsEndTheRunHere(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	r.incident("disk full")
	w, got := r.working("w1")
	w.events(got.RunRef, event(1, ops.EventIncidentResolved, ops.IncidentChange{})) // not a worker's to say
	require.True(t, next(w, cancelled).Lost)
	r.incident("another") // the connection lives
	w.send(wire.Frame{Ready: &wire.Ready{Free: 1}})
	next(w, task)
}

func TestHoleIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	r.incident("disk full")
	w, got := r.working("w1")
	w.events(got.RunRef, event(2, ops.EventNotice, ops.Notice{Text: "x"}))
	require.True(t, next(w, cancelled).Lost)
}

// threats: E12
func TestStaleEpochIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("disk full")
	w, got := r.working("w1")
	stale := wire.RunRef{Run: got.Run, Epoch: got.Epoch + 1}
	w.events(stale, event(1, ops.EventNotice, ops.Notice{Text: "x"}))
	lost := next(w, cancelled)
	require.Equal(t, stale, lost.RunRef)
	require.True(t, lost.Lost)
	require.Zero(t, r.run(i.ID).AckedSeq)

	other := r.dial("w2", 1) // of another's claim
	next(other, welcome)
	other.events(got.RunRef, event(1, ops.EventNotice, ops.Notice{Text: "x"}))
	require.True(t, next(other, cancelled).Lost)
	other.send(wire.Frame{Heartbeat: &wire.Heartbeat{Runs: []wire.RunRef{got.RunRef}}})
	require.True(t, next(other, cancelled).Lost)
}

func TestReconnectKeepsTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3*time.Second)
	i := r.incident("disk full")
	w, got := r.working("w1")
	w.events(got.RunRef, event(1, ops.EventNotice, ops.Notice{Text: "x"}))
	next(w, ack)
	w.hangUp()

	gone := wire.RunRef{Run: ops.NewID(), Epoch: 1}
	w = r.dial("w1", 1, got.RunRef, gone)
	hello := next(w, welcome)
	require.Equal(t, []wire.Ack{{RunRef: got.RunRef, Seq: 1}}, hello.Acked)
	require.Equal(t, gone, next(w, cancelled).RunRef)
	w.events(got.RunRef, event(2, ops.EventRunEnded, ops.RunChange{State: ops.RunInconclusive}))
	next(w, ack)
	run := r.run(i.ID)
	require.Equal(t, ops.RunInconclusive, run.State)
	require.Equal(t, 1, run.Epoch)
}

func TestLostWorkersRunGoesToAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, 600*time.Millisecond)
	i := r.incident("disk full")
	w1, first := r.working("w1")
	w1.events(first.RunRef,
		event(1, ops.EventMessage, ops.Message{Turn: 1, Calls: []ops.ToolUse{{ID: "c1", Name: "ssh_execute", Arguments: json.RawMessage(`{}`)}}}),
		event(2, ops.EventToolOutput, ops.ToolOutput{ID: "c1", Text: "live"}),
		event(3, ops.EventToolResult, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: "full"}))
	next(w1, ack)
	w1.hangUp()

	w2, second := r.working("w2")
	require.Equal(t, first.Run, second.Run)
	require.Equal(t, 2, second.Epoch)
	require.Equal(t, int64(4), second.NextSeq)
	require.Len(t, second.Transcript, 2)
	require.Equal(t, ops.EventMessage, second.Transcript[0].Kind)
	require.Equal(t, ops.EventToolResult, second.Transcript[1].Kind)
	require.NotEqual(t, first.GatewayToken, second.GatewayToken)

	w1 = r.dial("w1", 1, first.RunRef)
	require.Empty(t, next(w1, welcome).Acked)
	require.True(t, next(w1, cancelled).Lost)
	w2.events(second.RunRef, event(4, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed}))
	next(w2, ack)
	require.Equal(t, ops.RunFailed, r.run(i.ID).State)
	require.Equal(t, 1.0, testutil.ToFloat64(r.metrics.requeued))
}

func TestSilentWorkerLosesItsRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 600*time.Millisecond)
	i := r.incident("disk full")
	_, first := r.working("w1") // connected, but without a heartbeat
	require.Eventually(t, func() bool { return r.run(i.ID).State == ops.RunQueued }, soon, 20*time.Millisecond)
	_, second := r.working("w2")
	require.Equal(t, first.Run, second.Run)
	require.Equal(t, 2, second.Epoch)
}

func TestHeartbeatKeepsTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	i := r.incident("disk full")
	w, got := r.working("w1")
	before := r.run(i.ID).LeaseUntil
	require.Eventually(t, func() bool {
		w.send(wire.Frame{Heartbeat: &wire.Heartbeat{Runs: []wire.RunRef{got.RunRef}}})
		run := r.run(i.ID)
		require.Equal(t, ops.RunRunning, run.State)
		return run.LeaseUntil.After(before.Add(2 * time.Second))
	}, soon, 100*time.Millisecond)
	require.Empty(t, w.frames, "nothing was lost")
}

func TestCancelReachesTheWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("disk full")
	w, got := r.working("w1")
	began := time.Now()
	require.NoError(t, r.db.CancelRun(t.Context(), i.ID, "cancelled by ann"))
	c := next(w, cancelled)
	require.Less(t, time.Since(began), time.Second)
	require.Equal(t, &wire.Cancel{RunRef: got.RunRef, Reason: "cancelled by ann"}, c)
	w.events(got.RunRef, event(1, ops.EventRunEnded, ops.RunChange{State: ops.RunCancelled, Reason: c.Reason}))
	next(w, ack)
	require.Equal(t, ops.RunCancelled, r.run(i.ID).State)
}

func TestWrongToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	for _, token := range []ops.Secret{ops.NewSecret(""), ops.NewSecret("x"), ops.NewToken(ops.WorkerTokenPrefix)} {
		_, err := wire.Dial(t.Context(), r.url, token)
		require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
	}
	require.Equal(t, 3.0, testutil.ToFloat64(r.metrics.rejected.WithLabelValues("token")))
	require.Contains(t, r.log.String(), "wrong worker token")
	require.NotContains(t, r.log.String(), r.token.Reveal())
}

func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	good := wire.Hello{Version: wire.Version, Worker: "w", Slots: 1}
	with := func(change func(*wire.Hello)) wire.Frame {
		h := good
		change(&h)
		return wire.Frame{Hello: &h}
	}
	for _, tc := range []struct {
		name   string
		frames []wire.Frame
		code   int
	}{
		{"another version", []wire.Frame{with(func(h *wire.Hello) { h.Version++ })}, wire.CloseVersion},
		{"no hello", []wire.Frame{{Ready: &wire.Ready{Free: 1}}}, wire.CloseProtocol},
		{"no name", []wire.Frame{with(func(h *wire.Hello) { h.Worker = "" })}, wire.CloseProtocol},
		{"no slots", []wire.Frame{with(func(h *wire.Hello) { h.Slots = 0 })}, wire.CloseProtocol},
		{"too many slots", []wire.Frame{with(func(h *wire.Hello) { h.Slots = 1 << 20 })}, wire.CloseProtocol},
		{"a run that is no id", []wire.Frame{with(func(h *wire.Hello) { h.Runs = []wire.RunRef{{Run: "1; DROP", Epoch: 1}} })}, wire.CloseProtocol},
		{"hello twice", []wire.Frame{{Hello: &good}, {Hello: &good}}, wire.CloseProtocol},
		{"a frame of the api", []wire.Frame{{Hello: &good}, {Drain: &wire.Drain{}}}, wire.CloseProtocol},
		{"empty events", []wire.Frame{{Hello: &good}, {Events: &wire.Events{RunRef: wire.RunRef{Run: ops.NewID(), Epoch: 1}}}}, wire.CloseProtocol},
		{"too many events", []wire.Frame{{Hello: &good}, {Events: &wire.Events{RunRef: wire.RunRef{Run: ops.NewID(), Epoch: 1},
			Events: make([]ops.Event, wire.MaxBatch+1)}}}, wire.CloseProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := wire.Dial(t.Context(), r.url, r.token)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- conn.Run(ctx, func(context.Context, wire.Frame) error { return nil }) }()
			for _, f := range tc.frames {
				if f.Events != nil {
					for i := range f.Events.Events {
						f.Events.Events[i].Data = json.RawMessage(`{}`)
					}
				}
				_ = conn.Send(ctx, f)
			}
			err = <-ended
			require.True(t, wire.ClosedWith(err, tc.code), "%v", err)
		})
	}
	require.Contains(t, r.log.String(), "it speaks another version of the protocol")
}

func TestSlotsBoundTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	for n := range 5 {
		r.incident(fmt.Sprint("incident ", n))
	}
	w := r.dial("w1", 2)
	next(w, welcome)
	for range 10 { // whatever it says
		w.send(wire.Frame{Ready: &wire.Ready{Free: 100}})
	}
	one, two := next(w, task), next(w, task)
	require.NotEqual(t, one.Run, two.Run)
	require.Eventually(t, func() bool { return testutil.ToFloat64(r.metrics.queued) == 3 }, soon, 20*time.Millisecond)
	require.Empty(t, w.frames)
	w.events(one.RunRef, event(1, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed}))
	next(w, ack)
	w.send(wire.Frame{Ready: &wire.Ready{Free: 1}})
	next(w, task)
}

func TestWorkersShareTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	const workers, runs = 4, 40
	got := make(chan string, runs)
	for n := range workers {
		w := r.dial(fmt.Sprint("w", n), 3)
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = w.conn.Send(ctx, wire.Frame{Ready: &wire.Ready{Free: 3}})
			for {
				select {
				case <-ctx.Done():
					return
				case f := <-w.frames:
					if f.Task != nil {
						got <- f.Task.Run
						_ = w.conn.Send(ctx, wire.Frame{Events: &wire.Events{RunRef: f.Task.RunRef,
							Events: []ops.Event{event(1, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed})}}})
					}
					if f.Ack != nil {
						_ = w.conn.Send(ctx, wire.Frame{Ready: &wire.Ready{Free: 3}})
					}
				}
			}
		}()
		t.Cleanup(func() { cancel(); <-done })
	}
	for n := range runs {
		r.incident(fmt.Sprint("incident ", n))
	}
	seen := map[string]bool{}
	for range runs {
		select {
		case run := <-got:
			require.False(t, seen[run], "a run was given twice")
			seen[run] = true
		case <-time.After(soon):
			require.FailNow(t, "runs wait although workers are free")
		}
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("disk full")
	w, got := r.working("w1")
	lease := r.run(i.ID).LeaseUntil
	r.stop()
	next(w, func(f wire.Frame) *wire.Drain { return f.Drain })
	require.Error(t, <-w.ended)
	require.Equal(t, lease, r.run(i.ID).LeaseUntil, "the worker may look for another replica")
	_, err := wire.Dial(t.Context(), r.url, r.token)
	require.Error(t, err)
	require.Equal(t, got.Epoch, r.run(i.ID).Epoch)
}

func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	a, b := newReplica(t, pg, 3*time.Second), newReplica(t, pg, 3*time.Second)
	require.NoError(t, a.db.CreateProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: "p", Kind: "openai", BaseURL: "https://x", Model: "m"}))
	w := b.dial("w1", 1)
	next(w, welcome)
	w.send(wire.Frame{Ready: &wire.Ready{Free: 1}})
	i := a.incident("made on the other replica")
	got := next(w, task)
	b.stop()
	require.Error(t, <-w.ended)

	w = a.dial("w1", 1, got.RunRef)
	require.Len(t, next(w, welcome).Acked, 1)
	w.events(got.RunRef, event(1, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed}))
	next(w, ack)
	require.Equal(t, 1, a.run(i.ID).Epoch)
}

func TestBlockedWorkerBlocksNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	stuck, err := wire.Dial(t.Context(), r.url, r.token) // its Run is never called: it reads nothing
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		block := make(chan struct{})
		_ = stuck.Run(ctx, func(ctx context.Context, _ wire.Frame) error {
			select {
			case <-block:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-gone })
	require.NoError(t, stuck.Send(ctx, wire.Frame{Hello: &wire.Hello{Version: wire.Version, Worker: "stuck", Slots: 1}}))
	require.NoError(t, stuck.Send(ctx, wire.Frame{Ready: &wire.Ready{Free: 1}}))
	w := r.dial("w1", 2)
	next(w, welcome)
	w.send(wire.Frame{Ready: &wire.Ready{Free: 2}})
	for n := range 3 {
		r.incident(fmt.Sprint("incident ", n))
	}
	next(w, task)
	next(w, task)
}

func TestRunTokensDieWithTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	i := r.incident("disk full")
	w, got := r.working("w1")
	hashes := func() (n int) {
		conn, err := pgx.Connect(t.Context(), r.owner.Reveal())
		require.NoError(t, err)
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM runs WHERE gateway_token_hash = $1 OR proxy_token_hash = $2`,
			ops.HashToken(ops.NewSecret(got.GatewayToken)), ops.HashToken(ops.NewSecret(got.Model.Token))).Scan(&n))
		return n
	}
	require.Equal(t, 1, hashes())
	w.events(got.RunRef, event(1, ops.EventRunEnded, ops.RunChange{State: ops.RunFailed}))
	next(w, ack)
	require.Zero(t, hashes())
	require.Equal(t, ops.RunFailed, r.run(i.ID).State)
}

func TestFitTask(t *testing.T) {
	t.Parallel()
	alert := func(text string) ops.Alert {
		return ops.Alert{Title: "t", Annotations: map[string]string{"a": text}}
	}
	big := strings.Repeat("x", 1000)
	require.Len(t, fitAlerts([]ops.Alert{alert(big), alert(big), alert(big)}, 2500), 2)
	require.Empty(t, fitAlerts([]ops.Alert{alert(big)}, 500)[0].Annotations)
	require.NotNil(t, fitAlerts(nil, 500))

	events := []ops.Event{
		ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Text: big}),
		ops.NewEvent(ops.EventToolResult, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: big}),
		ops.NewEvent(ops.EventToolResult, ops.ToolResult{ID: "c2", State: ops.CallDone, Text: big}),
	}
	fit := fitTranscript(events, 2500)
	require.Len(t, fit, 3)
	require.Contains(t, string(fit[1].Data), `"id":"c1"`)
	require.NotContains(t, string(fit[1].Data), big)
	require.Contains(t, string(fit[2].Data), big)

	thought := func(turn int) ops.Event {
		return ops.NewEvent(ops.EventMessage, ops.Message{Turn: turn, Text: "<words>", Reasoning: big, Vendor: json.RawMessage(`"` + big + `"`), Calls: []ops.ToolUse{{ID: "c1", Arguments: json.RawMessage(`{}`)}}})
	}
	fit = fitTranscript([]ops.Event{thought(1), thought(2)}, 2500)
	require.JSONEq(t, `{"turn":1,"text":"<words>","calls":[{"id":"c1","model_id":"","name":"","arguments":{}}],"usage":{"input_tokens":0,"output_tokens":0}}`, string(fit[0].Data))
	require.Contains(t, string(fit[0].Data), "<words>", "what is left out is not made up for by escapes")
	require.Equal(t, thought(2).Data, fit[1].Data, "the newest turns keep theirs")
}

// A run with long turns goes to another worker like any other, and one whose
// words alone no frame can hold ends. Neither costs a worker its connection.
func TestLongTranscripts(t *testing.T) {
	t.Parallel()
	for what, fits := range map[string]bool{"reasoning": true, "text": false} {
		t.Run(what, func(t *testing.T) { // one after the other: each moves megabytes
			r := newRig(t, 0)
			i := r.incident("a")
			w, got := r.working("w1")
			for n := range 3 {
				w.events(got.RunRef, event(int64(n+1), ops.EventMessage, ops.Message{Turn: n + 1}))
				next(w, ack)
			}
			w.hangUp()
			conn, err := pgx.Connect(t.Context(), r.owner.Reveal())
			require.NoError(t, err)
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			_, err = conn.Exec(t.Context(), `UPDATE events SET data = (data::jsonb || jsonb_build_object($1::text, repeat('x', $2)))::json WHERE kind = 'message'`, what, wire.MaxFrame/3)
			require.NoError(t, err)
			require.NoError(t, r.db.Shorten(t.Context(), "w1", -1))
			_, err = r.db.RequeueExpired(t.Context())
			require.NoError(t, err)
			if fits {
				_, again := r.working("w2")
				require.Equal(t, got.Run, again.Run)
				require.Len(t, again.Transcript, 3)
				return
			}
			w = r.dial("w2", 1)
			w.send(wire.Frame{Ready: &wire.Ready{Free: 1}})
			require.Eventually(t, func() bool { return r.run(i.ID).State == ops.RunFailed }, soon, 20*time.Millisecond)
			require.Contains(t, r.run(i.ID).Reason, "too large for a worker")
			other := r.incident("b")
			require.Equal(t, other.ID, next(w, task).Incident.ID, "the worker has its place and its connection")
		})
	}
}

// A worker gets the files of a skill for a run that it has, and a reason where
// there are none; nothing that it asks for ends the connection but nonsense.
func TestSkillsOfATask(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	files := []ops.SkillFile{{Path: ops.SkillMain, Content: []byte("x\xff\x00")}, {Path: "scripts/empty.sh", Content: []byte{}}}
	_, err := r.db.PutSkill(t.Context(), postgres.SkillContent{About: ops.SkillAbout{Name: "disk", Description: "About disks", Match: []string{`title=~"disk.*"`}},
		Files: files, Digest: ops.SkillDigest(files), Author: "user:ann"}, postgres.NotThere)
	require.NoError(t, err)
	secret := []ops.SkillFile{{Path: ops.SkillMain, Content: []byte("of another agent")}}
	put := func(name string, files []ops.SkillFile, expect int) {
		_, err := r.db.PutSkill(t.Context(), postgres.SkillContent{About: ops.SkillAbout{Name: name, Description: "d"}, Files: files, Digest: ops.SkillDigest(files), Author: "user:ann"}, expect)
		require.NoError(t, err)
	}
	put("secret", secret, postgres.NotThere)
	require.NoError(t, r.db.PutAgent(t.Context(), ops.AgentDef{ID: postgres.DefaultAgent, Skills: []string{"disk"}}))
	_, err = r.db.PutRunbook(t.Context(), ops.Runbook{Slug: "full", Title: "Disk full", Text: "Call Ann."}, postgres.NotThere)
	require.NoError(t, err)
	r.incident("disk full")
	w, got := r.working("w1")
	require.Equal(t, []ops.SkillRef{{Name: "disk", Version: 1, Digest: ops.SkillDigest(files), Description: "About disks", Fit: ops.FitWords}}, got.Skills)
	require.Equal(t, []ops.RunbookRef{{Slug: "full", Title: "Disk full", Version: 1, Text: "Call Ann.", Fit: ops.FitWords}}, got.Runbooks)

	ask := func(ref wire.RunRef, version int) *wire.Bundle {
		w.send(wire.Frame{Fetch: &wire.Fetch{RunRef: ref, Skill: "disk", Version: version, Digest: ops.SkillDigest(files)}})
		return next(w, func(f wire.Frame) *wire.Bundle { return f.Bundle })
	}
	b := ask(got.RunRef, 1)
	require.Empty(t, b.Problem)
	require.Equal(t, got.RunRef, b.RunRef)
	require.Equal(t, ops.SkillDigest(files), ops.SkillDigest(b.Files))
	// Another skill, and a version that came later, are not what its agent was given.
	newer := []ops.SkillFile{{Path: ops.SkillMain, Content: []byte("newer")}}
	put("disk", newer, 1)
	for _, f := range []wire.Fetch{{Skill: "secret", Version: 1, Digest: ops.SkillDigest(secret)}, {Skill: "disk", Version: 2, Digest: ops.SkillDigest(newer)}} {
		f.RunRef = got.RunRef
		w.send(wire.Frame{Fetch: &f})
		b := next(w, func(f wire.Frame) *wire.Bundle { return f.Bundle })
		require.Contains(t, b.Problem, "was not given that skill", f.Skill)
		require.Empty(t, b.Files)
	}
	require.Empty(t, ask(got.RunRef, 1).Problem, "it is the one that it was given")
	wrong := wire.Fetch{RunRef: got.RunRef, Skill: "disk", Version: 1, Digest: ops.SkillDigest(newer)}
	w.send(wire.Frame{Fetch: &wrong})
	require.Contains(t, next(w, func(f wire.Frame) *wire.Bundle { return f.Bundle }).Problem, "not kept any more")
	other := got.RunRef
	other.Epoch++
	b = ask(other, 1)
	require.Contains(t, b.Problem, "not this worker's")
	require.Empty(t, b.Files)
	other.Run = ops.NewID()
	require.Contains(t, ask(other, 1).Problem, "not this worker's")

	w.send(wire.Frame{Fetch: &wire.Fetch{RunRef: got.RunRef, Skill: "../disk", Version: 1}})
	select {
	case err := <-w.ended:
		require.ErrorContains(t, err, "malformed fetch")
	case <-time.After(soon):
		require.FailNow(t, "the connection lives")
	}
}
