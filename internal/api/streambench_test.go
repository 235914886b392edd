package api

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

// BenchmarkEvents has a worker send live text of one run in full frames, and a
// browser read it over server-sent events: through the WebSocket into Postgres and
// out again. An operation is one event. The latency is from sending a frame to
// the arrival of its first event at the browser.
func BenchmarkEvents(b *testing.B) {
	r, _ := benchRig(b)
	var i ops.Incident
	r.call("POST", "/api/v1/incidents", map[string]any{"title": "bench"}).into(b, &i)
	conn, err := wire.Dial(b.Context(), r.AgentURL(), r.conf.WorkerToken)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	tasks, acks, done := make(chan wire.Task, 1), make(chan int64, 1<<16), make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.Run(ctx, func(ctx context.Context, f wire.Frame) error {
			switch {
			case f.Welcome != nil:
				return conn.Send(ctx, wire.Frame{Ready: &wire.Ready{Free: 1}})
			case f.Task != nil:
				tasks <- *f.Task
			case f.Ack != nil:
				acks <- f.Ack.Seq
			}
			return nil
		})
	}()
	b.Cleanup(func() { cancel(); <-done })
	require.NoError(b, conn.Send(ctx, wire.Frame{Hello: &wire.Hello{Version: wire.Version, Worker: ops.NewID(), Slots: 1}}))
	task := <-tasks

	req, err := http.NewRequestWithContext(ctx, "GET", r.PublicURL()+"/api/v1/incidents/"+i.ID+"/stream", nil)
	require.NoError(b, err)
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer func() { _ = resp.Body.Close() }()
	seen := make(chan int, 1<<20)
	go func() {
		defer close(seen)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok && strings.Contains(v, `"text.delta"`) {
				seen <- 1
			}
		}
	}()

	var took []time.Duration
	seq, arrived := int64(0), 0
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		frame := wire.Events{RunRef: task.RunRef}
		for range min(wire.MaxBatch, b.N-sent) {
			seq++
			e := ops.NewEvent(ops.EventTextDelta, ops.TextDelta{Turn: 1, Text: "a few words of live text"})
			e.RunSeq = seq
			frame.Events = append(frame.Events, e)
		}
		began := time.Now()
		require.NoError(b, conn.Send(ctx, wire.Frame{Events: &frame}))
		for n := range frame.Events {
			select {
			case <-seen:
			case <-time.After(soon):
				b.Fatalf("after %d of %d events no more came", arrived, b.N)
			}
			if arrived++; n == 0 {
				took = append(took, time.Since(began))
			}
		}
		for acked := int64(0); acked < seq; {
			acked = <-acks
		}
		sent += len(frame.Events)
	}
	b.StopTimer()
	report(b, took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
