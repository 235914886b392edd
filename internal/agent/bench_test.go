package agent

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

// conclusion ends a scenario of steps.
const conclusion = `
  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c1}]}}]
`

// steps is a scenario of n turns with a call each.
func steps(n int) string {
	var s strings.Builder
	s.WriteString("turns:\n")
	for i := range n {
		fmt.Fprintf(&s, "  - {text: step, calls: [{tool: ssh_execute, arguments: {target: h, command: 'c%d'}}]}\n", i)
	}
	return s.String() + conclusion
}

// BenchmarkStep is what a turn of the model with one call takes beside the model
// and the tool, which answer at once: the worker, its connections and the fakes
// at their other ends.
func BenchmarkStep(b *testing.B) {
	const n = 20
	w := newWorld(b, steps(n))
	w.worker(func(c *Config) { c.Slots = 1 })
	b.ResetTimer()
	for b.Loop() {
		require.Equal(b, ops.RunConcluded, w.end(w.task()).State)
		w.forget()
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N)/(n+1), "ms/step")
}

// forget drops what ended runs have left in the fakes.
func (w *world) forget() {
	w.set(func(a *testAPI) { a.events = map[string][]ops.Event{} })
	w.gateway.set(func(g *testGateway) { g.done, g.executed = map[string]ops.ToolResult{}, nil })
	w.asked.Lock()
	w.requests = nil
	w.asked.Unlock()
}

// BenchmarkDeltas streams turns of 500 to 4,000 pieces. What one piece takes must
// not grow with their number: x-4000-to-500 is about 1 if it does not.
func BenchmarkDeltas(b *testing.B) {
	took := map[int]time.Duration{}
	for _, n := range []int{500, 1000, 2000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b, "chunk: 4\nturns:\n  - {text: '"+strings.Repeat("abcd", n)+"', calls: [{tool: ssh_hosts}]}\n"+conclusion)
			w.worker(func(c *Config) { c.Slots = 1 })
			b.ResetTimer()
			for b.Loop() {
				require.Equal(b, ops.RunConcluded, w.end(w.task()).State)
				w.forget()
			}
			took[n] = b.Elapsed() / time.Duration(b.N*n)
			b.ReportMetric(float64(took[n].Microseconds()), "µs/delta")
			if n == 4000 && took[500] > 0 {
				b.ReportMetric(float64(took[4000])/float64(took[500]), "x-4000-to-500")
			}
		})
	}
}

// BenchmarkFiftyRuns has one worker take 50 runs at once, whose calls print
// 200 KB each, and reports the most memory that the worker, the fakes and their
// transcripts had in use.
func BenchmarkFiftyRuns(b *testing.B) {
	const runs, limit = 50, 512 << 20
	w := newWorld(b, "delay: 2ms\n"+steps(5))
	w.outputs()
	w.worker(func(c *Config) { c.Slots = runs })
	var most atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapInuse))
			}
		}
	}()
	b.ResetTimer()
	for b.Loop() {
		var ids []string
		for range runs {
			ids = append(ids, w.task(func(t *wire.Task) { t.Deadline = time.Now().Add(5 * time.Minute) }))
		}
		for _, id := range ids {
			require.True(b, w.end(id).State.Final())
		}
		w.forget()
	}
	close(stop)
	<-stopped
	require.Less(b, most.Load(), uint64(limit))
	b.ReportMetric(float64(most.Load())/(1<<20), "MB-heap")
}
