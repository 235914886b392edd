package api

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

const (
	// settleFor is how long after its start an Alertmanager may lack alerts: it
	// keeps none, and each Prometheus repeats its own once a minute.
	settleFor = 5 * time.Minute

	receiverHeads = 20 // deliveries that are looked into for their receiver
	headBytes     = 4 << 10
)

// askAlertmanager reads the open alerts of an Alertmanager or of each one of its
// cluster. One that does not answer makes the list incomplete, and so useless to
// tell what has ended; an error says which.
func (s *API) askAlertmanager(ctx context.Context, src ops.Source, secret ops.Secret) (listing, error) {
	at := time.Now().UTC()
	instances, err := ingest.AlertmanagerURLs(src.Options.Reconcile.URL)
	if err != nil {
		return listing{}, ops.Errorf(ops.CodeInvalid, "reconcile.url: %s", err)
	}
	started, clustered := time.Time{}, len(instances) > 1
	merged := map[string]ingest.Listed{}
	for _, u := range instances {
		body, err := s.fetch.get(ctx, u.JoinPath("api/v2/status"), secret)
		if err != nil {
			return listing{}, err
		}
		status, err := ingest.ReadAlertmanagerStatus(body)
		if err != nil {
			return listing{}, ops.Errorf(ops.CodeUnavailable, "%s: %s", u.Host, err)
		}
		started, clustered = later(started, status.StartedAt), clustered || status.Clustered
		list := u.JoinPath("api/v2/alerts")
		list.RawQuery = "active=true&silenced=true&inhibited=true&unprocessed=true"
		if body, err = s.fetch.get(ctx, list, secret); err != nil {
			return listing{}, err
		}
		alerts, err := ingest.ListedByAlertmanager(ingest.Request{Body: body, ReceivedAt: at, Options: src.Options})
		if err != nil {
			return listing{}, ops.Errorf(ops.CodeUnavailable, "%s: %s", u.Host, err)
		}
		for _, a := range alerts {
			// Instances may have begun at different times; one that is not silenced counts.
			if known, ok := merged[a.Identity]; ok && (known.StartsAt.Before(a.StartsAt) || known.StartsAt.Equal(a.StartsAt) && !known.Quiet) {
				known.Quiet = known.Quiet && a.Quiet
				a = known
			}
			merged[a.Identity] = a
		}
	}
	l := listing{at: at, key: func(a ops.Alert) string { return a.Identity }, judged: func(a ops.Alert) bool {
		// A lone instance that told us of the alert after its own start had it then.
		return at.Sub(started) >= settleFor || !clustered && a.LastSeen.After(started)
	}}
	for _, a := range merged {
		l.alerts = append(l.alerts, a)
	}
	slices.SortFunc(l.alerts, func(a, b ingest.Listed) int {
		return cmp.Or(a.StartsAt.Compare(b.StartsAt), cmp.Compare(a.Identity, b.Identity))
	})
	return l, s.ours(ctx, src, secret, instances, &l)
}

// ours makes those alerts quiet that are not sent to us, and gives the others
// the group that their webhook would have.
func (s *API) ours(ctx context.Context, src ops.Source, secret ops.Secret, instances []*url.URL, l *listing) error {
	receivers, err := s.ourReceivers(ctx, src, secret, instances[0])
	if err != nil {
		return err
	}
	var identities []string
	for i := range l.alerts {
		a := &l.alerts[i]
		a.Receivers = slices.DeleteFunc(a.Receivers, func(name string) bool { return !slices.Contains(receivers, name) })
		a.Quiet = a.Quiet || len(a.Receivers) == 0
		if !a.Quiet {
			identities = append(identities, a.Identity)
		}
	}
	if len(identities) == 0 {
		return nil
	}
	newest, err := s.db.NewestAlerts(ctx, src.ID, identities)
	if err != nil {
		return err
	}
	keys := make([]string, 0, len(newest))
	for _, a := range newest {
		keys = append(keys, a.GroupKey)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	groups := ingest.Groups{}
	for _, u := range instances {
		body, err := s.fetch.get(ctx, u.JoinPath("api/v2/alerts/groups"), secret)
		if err != nil {
			return err
		}
		if err := groups.Read(body); err != nil {
			return ops.Errorf(ops.CodeUnavailable, "%s: %s", u.Host, err)
		}
	}
	for i := range l.alerts {
		if a := &l.alerts[i]; !a.Quiet {
			a.GroupKey = groups.Key(a.Identity, a.Receivers[0], keys)
		}
	}
	return nil
}

// ourReceivers gives the receivers that send to the source: the one that is
// configured, those that have sent, or the only one that there is.
func (s *API) ourReceivers(ctx context.Context, src ops.Source, secret ops.Secret, u *url.URL) ([]string, error) {
	if name := src.Options.Reconcile.Target; name != "" {
		return []string{name}, nil
	}
	heads, err := s.db.DeliveryHeads(ctx, src.ID, receiverHeads, headBytes)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, head := range heads {
		if name := ingest.AlertmanagerReceiver(head); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return names, nil
	}
	body, err := s.fetch.get(ctx, u.JoinPath("api/v2/receivers"), secret)
	if err != nil {
		return nil, err
	}
	all, err := ingest.AlertmanagerReceivers(body)
	if err != nil {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s: %s", u.Host, err)
	}
	if len(all) != 1 {
		return nil, ops.Errorf(ops.CodeInvalid, "this Alertmanager has %d receivers and none has sent yet: name the one that sends to this source in reconcile.target", len(all))
	}
	return all, nil
}
