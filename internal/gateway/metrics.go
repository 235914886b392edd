package gateway

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	calls   *prometheus.CounterVec   // by tool and final state
	seconds *prometheus.HistogramVec // of calls that were executed, by tool
	judged  *prometheus.CounterVec   // calls that were started, by what they were judged by
	refused *prometheus.CounterVec   // requests, by reason
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_gateway_calls_total",
			Help: "Tool calls by tool and final state."}, []string{"tool", "state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "akmatori_gateway_call_seconds",
			Help: "Duration of executed tool calls.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 20)}, []string{"tool"}),
		judged: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_gateway_judged_calls_total",
			Help: "Tool calls that were started, by where that came from what they were judged by: looked up before, or remembered and then compared."}, []string{"by"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_gateway_refused_requests_total",
			Help: "Requests that did not reach a tool, by reason."}, []string{"reason"}),
	}
	r.MustRegister(m.calls, m.seconds, m.judged, m.refused)
	return m
}
