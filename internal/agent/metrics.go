package agent

import (
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the ops listener shows.
type metrics struct {
	connected   prometheus.Gauge
	held        prometheus.Gauge
	events      prometheus.Counter
	runs        *prometheus.CounterVec // by state
	calls       *prometheus.CounterVec // by tool and state
	modelErrors *prometheus.CounterVec // by kind
	tokens      *prometheus.CounterVec // by direction
	turns       prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_agent_connected", Help: "1 while the api has welcomed this worker."}),
		held:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_agent_runs_held", Help: "Runs on this worker."}),
		events:    prometheus.NewCounter(prometheus.CounterOpts{Name: "akmatori_agent_events_total", Help: "Timeline events made."}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_agent_runs_total",
			Help: "Runs ended by this worker."}, []string{"state"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_agent_tool_calls_total",
			Help: "Tool calls answered by the gateway."}, []string{"tool", "state"}),
		modelErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_agent_model_errors_total",
			Help: "Failed tries at a turn of the model."}, []string{"kind"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_agent_model_tokens_total",
			Help: "Tokens as the model's vendor counts them."}, []string{"direction"}),
		turns: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "akmatori_agent_model_turn_seconds",
			Help: "Time of a whole turn of the model, tries included.", Buckets: prometheus.ExponentialBuckets(0.1, 2.5, 9)}),
	}
	reg.MustRegister(m.connected, m.held, m.events, m.runs, m.calls, m.modelErrors, m.tokens, m.turns)
	return m
}

func (m *metrics) turn(u ops.Usage, took time.Duration) {
	m.tokens.WithLabelValues("input").Add(float64(max(0, u.InputTokens)))
	m.tokens.WithLabelValues("output").Add(float64(max(0, u.OutputTokens)))
	m.turns.Observe(took.Seconds())
}
