package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/akmatori/akmatori/internal/ops"
)

type metrics struct {
	requests, webhooks, rejected *prometheus.CounterVec
	unproven                     *prometheus.CounterVec
	seconds                      *prometheus.HistogramVec
	chores                       *prometheus.CounterVec
	choreSeconds                 *prometheus.HistogramVec
	commit, batch                prometheus.Histogram
	streams                      prometheus.Gauge
	reviews                      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_http_requests_total", Help: "Requests to the public listener."},
			[]string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "akmatori_http_request_seconds",
			Help: "Time to answer a request, streams left out.", Buckets: prometheus.DefBuckets}, []string{"route"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_webhooks_total", Help: "Webhooks by how they were answered."},
			[]string{"answer"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_webhooks_rejected_total",
			Help: "Webhooks with a wrong or missing secret, by the source's id."}, []string{"source"}),
		unproven: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_webhooks_unproven_total",
			Help: "Webhooks with a wrong or missing secret that set-up mode kept, by the source's id."}, []string{"source"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "akmatori_intake_commit_seconds",
			Help: "Time to store a batch of deliveries.", Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5}}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "akmatori_intake_batch_size",
			Help: "Deliveries stored together.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64}}),
		chores: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_chores_total",
			Help: "What the api does by itself, by name and outcome (done, failed)."}, []string{"chore", "outcome"}),
		choreSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "akmatori_chore_seconds",
			Help: "Time that a chore took.", Buckets: []float64{.005, .02, .1, .5, 2, 10, 60}}, []string{"chore"}),
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "akmatori_reviews_total",
			Help: "Asked calls that the gatekeeper's model was asked about, by outcome (approved, rated, failed, error)."}, []string{"outcome"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "akmatori_streams", Help: "Event streams that are open."}),
	}
	reg.MustRegister(m.requests, m.seconds, m.webhooks, m.rejected, m.unproven, m.commit, m.batch, m.chores, m.choreSeconds, m.streams, m.reviews)
	return m
}

// reloadGauge is about the configuration file.
func reloadGauge(loaded func() ops.Configuration) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "akmatori_config_last_reload_successful",
		Help: "0 if the newest configuration file was not taken, so that the one before is in force."}, func() float64 {
		if loaded().Problem != "" {
			return 0
		}
		return 1
	})
}
