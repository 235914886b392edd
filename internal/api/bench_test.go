package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/wire"
)

// worker is a connected worker that ends each run at once and says when its
// task came.
func (r *rig) worker(slots int) <-chan *wire.Task {
	r.t.Helper()
	conn, err := wire.Dial(r.t.Context(), r.AgentURL(), r.conf.WorkerToken)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	tasks, done := make(chan *wire.Task, 1000), make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.Run(ctx, func(ctx context.Context, f wire.Frame) error {
			switch {
			case f.Welcome != nil, f.Ack != nil:
				return conn.Send(ctx, wire.Frame{Ready: &wire.Ready{Free: slots}})
			case f.Task != nil:
				tasks <- f.Task
				e := ops.NewEvent(ops.EventRunEnded, ops.RunChange{State: ops.RunFailed, Reason: "a test"})
				e.RunSeq = f.Task.NextSeq
				return conn.Send(ctx, wire.Frame{Events: &wire.Events{RunRef: f.Task.RunRef, Events: []ops.Event{e}}})
			}
			return nil
		})
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	require.NoError(r.t, conn.Send(ctx, wire.Frame{Hello: &wire.Hello{Version: wire.Version, Worker: ops.NewID(), Slots: slots}}))
	return tasks
}

func TestAlertReachesAWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("Early")).status)
	tasks := r.worker(2)
	var first, second *wire.Task
	select { // without a provider, a run fails and says why
	case <-tasks:
		require.FailNow(t, "there is no provider")
	case <-time.After(300 * time.Millisecond):
	}
	var i ops.Incident
	r.call("GET", "/api/v1/incidents/1", nil).into(t, &i)
	require.Equal(t, ops.RunFailed, i.Investigation)
	require.Contains(t, i.InvestigationReason, "no LLM provider")

	require.Equal(t, 201, r.call("POST", "/api/v1/llm-providers", map[string]any{"name": "p", "kind": "openai", "base_url": "https://x", "model": "m"}).status)
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/1/investigate", nil).status)
	require.Equal(t, 202, r.post(src, firing("Late")).status)
	first, second = receive(t, tasks), receive(t, tasks)
	require.NotEqual(t, first.Run, second.Run)
	for _, task := range []*wire.Task{first, second} {
		require.Len(t, task.Alerts, 1)
		require.Equal(t, "db1", task.Alerts[0].Host)
		secrets := []string{task.GatewayToken, task.Model.Token}
		all := dump(t, r.pg) + r.log.String() + r.call("GET", "/api/v1/incidents/"+task.Incident.ID+"/events", nil).body
		for _, s := range secrets {
			require.NotContains(t, all, s)
		}
	}
}

func receive(t testing.TB, tasks <-chan *wire.Task) *wire.Task {
	t.Helper()
	select {
	case task := <-tasks:
		return task
	case <-time.After(soon):
		require.FailNow(t, "no task came")
	}
	panic("unreachable")
}

// BenchmarkAlertToAgent is the time from posting an alert to the arrival of its
// task at a connected worker, one alert at a time: commit, notification, claim
// and frame.
func BenchmarkAlertToAgent(b *testing.B) {
	r, src := benchRig(b)
	tasks := r.worker(4)
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		began := time.Now()
		require.Equal(b, 202, r.post(src, firing(fmt.Sprint("Bench", n))).status)
		receive(b, tasks)
		took = append(took, time.Since(began))
	}
	report(b, took)
}

// BenchmarkWebhook is intake alone, from many senders at once: durable answers
// that share transactions.
func BenchmarkWebhook(b *testing.B) {
	r, src := benchRig(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	next := make(chan int)
	go func() {
		defer close(next)
		for n := range b.N {
			next <- n
		}
	}()
	times := make(chan []time.Duration)
	b.ResetTimer()
	for range 64 {
		go func() {
			var took []time.Duration
			for n := range next {
				began := time.Now()
				a, err := r.try(client, "POST", "/webhook/alert/"+src.ID, firing(fmt.Sprint("W", n%100)), "Authorization", "Bearer "+src.Secret)
				if err != nil || a.status != 202 {
					b.Error(a.status, err)
				}
				took = append(took, time.Since(began))
			}
			times <- took
		}()
	}
	var took []time.Duration
	for range 64 {
		took = append(took, <-times...)
	}
	b.StopTimer()
	report(b, took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
}

func benchRig(b *testing.B) (*rig, source) {
	r := start(b, pgtest.New(b), nil)
	r.makeUser()
	require.Equal(b, 201, r.call("POST", "/api/v1/llm-providers", map[string]any{"name": "p", "kind": "openai", "base_url": "https://x", "model": "m"}).status)
	src := r.source("am")
	calm := r.call("PATCH", "/api/v1/sources/"+src.ID, map[string]any{"options": map[string]any{"storm_incidents_per_minute": -1}})
	require.Equal(b, 200, calm.status, calm.body)
	return r, src
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(.50), "p50-ms")
	b.ReportMetric(at(.99), "p99-ms")
}
