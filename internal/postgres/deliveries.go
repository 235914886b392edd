package postgres

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// queueDeliveries writes deliveries as they came, and what their sources' health
// counts of them.
func queueDeliveries(b *pgx.Batch, deliveries []ops.Delivery) {
	type count struct {
		deliveries, unparsable int
		last                   time.Time
		problem                string
	}
	counts := map[string]*count{}
	for _, d := range deliveries {
		b.Queue(`INSERT INTO deliveries (id, source_id, received_at, content_type, body, alert_count, problem, truncated)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, d.ID, d.SourceID, d.ReceivedAt, d.ContentType, d.Body, len(d.Alerts), d.Problem, d.Truncated)
		c := counts[d.SourceID]
		if c == nil {
			c = &count{}
			counts[d.SourceID] = c
		}
		c.deliveries++
		c.last = d.ReceivedAt
		if d.Problem != "" {
			c.unparsable++
			c.problem = d.Problem
		}
	}
	for _, source := range sortedKeys(counts) { // sorted: another process counts the same rows
		c := counts[source]
		b.Queue(`INSERT INTO source_health AS h (source_id, deliveries, unparsable, last_delivery_at, last_error, last_error_at)
			VALUES ($1, $2, $3, $4::timestamptz, $5::text, CASE WHEN $5 <> '' THEN $4 END)
			ON CONFLICT (source_id) DO UPDATE SET deliveries = h.deliveries + $2, unparsable = h.unparsable + $3, last_delivery_at = $4,
				last_error = CASE WHEN $5 <> '' THEN $5 ELSE h.last_error END,
				last_error_at = CASE WHEN $5 <> '' THEN $4 ELSE h.last_error_at END`,
			source, c.deliveries, c.unparsable, c.last, c.problem)
	}
	for _, w := range warnings(deliveries) {
		b.Queue(`INSERT INTO source_warnings AS w (source_id, code, text, count, at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (source_id, code) DO UPDATE SET text = $3, count = w.count + $4, at = $5`, w.source, w.Code, w.Text, w.Count, w.At)
	}
}

type sourceWarning struct {
	source string
	ops.SourceWarning
}

// warnings counts those of deliveries, one a source and code, in the order in
// which their rows are locked.
func warnings(deliveries []ops.Delivery) []sourceWarning {
	byKey := map[[2]string]*sourceWarning{}
	for _, d := range deliveries {
		for _, w := range d.Warnings {
			k := [2]string{d.SourceID, w.Code}
			if byKey[k] == nil {
				byKey[k] = &sourceWarning{source: d.SourceID}
			}
			w.Count, w.At = byKey[k].Count+1, d.ReceivedAt
			byKey[k].SourceWarning = w
		}
	}
	all := make([]sourceWarning, 0, len(byKey))
	for _, w := range byKey {
		all = append(all, *w)
	}
	slices.SortFunc(all, func(a, b sourceWarning) int {
		return cmp.Or(strings.Compare(a.source, b.source), strings.Compare(a.Code, b.Code))
	})
	return all
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
