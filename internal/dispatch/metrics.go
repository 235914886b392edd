package dispatch

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	workers, queued, running prometheus.Gauge
	rejected                 *prometheus.CounterVec
	events, requeued, lost   prometheus.Counter
	wait                     prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		workers:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_workers", Help: "Workers connected to this replica."}),
		queued:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_runs_queued", Help: "Runs that wait for a worker, over all replicas."}),
		running:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_runs_running", Help: "Runs that a worker has, over all replicas."}),
		events:   prometheus.NewCounter(prometheus.CounterOpts{Name: "akmatori_run_events_total", Help: "Events received from workers."}),
		requeued: prometheus.NewCounter(prometheus.CounterOpts{Name: "akmatori_runs_requeued_total", Help: "Runs taken from workers that are gone."}),
		lost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "akmatori_runs_lost_total", Help: "Runs that a worker spoke of and had lost."}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_workers_rejected_total",
			Help: "Connections refused, by reason: token, version, full."}, []string{"reason"}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "akmatori_run_wait_seconds",
			Help:    "Time from a run's creation to its claim.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}}),
	}
	reg.MustRegister(m.workers, m.queued, m.running, m.events, m.requeued, m.lost, m.rejected, m.wait)
	return m
}
