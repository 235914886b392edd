package ingest

import (
	"crypto/sha256"
	"strings"
)

// ID gives what makes a delivery the repetition of another: the sender's own
// name for it and a digest of what it sent. A name that comes again with
// something else, such as one that somebody typed into the sender's
// configuration, names no delivery. Alertmanager, Grafana and Zabbix name none:
// headers are the same in all that they send, and a repetition is known by the
// episodes of its alerts.
func (s Source) ID(r Request) (name string, digest []byte) {
	if s.DeliveryID == nil {
		return "", nil
	}
	name = clean(strings.TrimSpace(s.DeliveryID(r)))
	if name == "" {
		return "", nil
	}
	sum := sha256.Sum256(r.Body)
	return key(name), sum[:]
}

// deliveryOfPagerDuty: the header is the same in each try (docs/webhooks/02-Behavior.md).
func deliveryOfPagerDuty(r Request) string { return r.Header.Get(pagerDutyDelivery) }

// deliveryOfDatadog: $ID is the event's. The time stands beside it since a
// template may have the monitor's id under that name, which is no event's.
func deliveryOfDatadog(r Request) string {
	f, err := datadogFields(r)
	if err != nil {
		return ""
	}
	id, at := f.first("id"), f.first("date", "last_updated")
	if id == "" || text(at).unix().IsZero() {
		return ""
	}
	return id + "@" + at
}

// deliveryOfWebhook knows the usual headers: draft-ietf-httpapi-idempotency-key-header,
// Standard Webhooks, and the one that PagerDuty and others have.
func deliveryOfWebhook(r Request) string {
	for _, name := range []string{"Idempotency-Key", "Webhook-Id", "X-Webhook-Id"} {
		if v := r.Header.Get(name); v != "" {
			return v
		}
	}
	return ""
}
