package gateway

import (
	"context"
	"slices"
	"sync"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
)

// leases are the credentials that calls under way may use. A lease ends with
// its call, and the call with the lease: when somebody disables a credential,
// what runs with it stops.
type leases struct {
	mu  sync.Mutex
	all map[*lease]struct{}
}

type lease struct {
	credentials []string // ids
	cancel      context.CancelCauseFunc
}

// take leases the credentials of hops for a call. end gives them back.
func (l *leases) take(ctx context.Context, hops []tool.Hop) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	one := &lease{cancel: cancel}
	for _, h := range hops {
		if h.Credential.ID != "" {
			one.credentials = append(one.credentials, h.Credential.ID)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*lease]struct{}{}
	}
	l.all[one] = struct{}{}
	return ctx, func() {
		l.mu.Lock()
		delete(l.all, one)
		l.mu.Unlock()
		cancel(nil)
	}
}

// credentials are the ids of those that are leased.
func (l *leases) credentials() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range l.all {
		ids = append(ids, one.credentials...)
	}
	return ids
}

// withdraw ends the calls that have a lease of one of the credentials.
func (l *leases) withdraw(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range l.all {
		if slices.ContainsFunc(one.credentials, func(id string) bool { return slices.Contains(ids, id) }) {
			one.cancel(ops.Errorf(ops.CodeForbidden, "its credential was disabled or removed"))
		}
	}
}

// watchCredentials stops what uses a credential that was disabled: calls under
// way, and the connections and sessions that are kept for the next ones; of a
// credential that was rotated, the sessions. Not known is not disabled: a new
// call finds that out by itself.
func (g *Gateway) watchCredentials(ctx context.Context) {
	used := func() []string {
		ids := slices.Concat(g.leases.credentials(), g.ssh.Credentials(), g.zabbix.Credentials())
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	// A credential that stands is its id and its version's.
	standing := func(ctx context.Context, ids []string) (stand []string, err error) {
		all, err := g.db.CredentialsStand(ctx, ids)
		for _, c := range all {
			stand = append(stand, c.ID, tool.Version(c))
		}
		return stand, err
	}
	g.poll(ctx, watchEvery, "whether credentials are disabled", used, standing, func(asked, stand []string) {
		g.zabbix.KeepCredentials(asked, stand)
		gone := slices.DeleteFunc(asked, func(id string) bool { return slices.Contains(stand, id) })
		if len(gone) > 0 {
			g.leases.withdraw(gone)
			g.ssh.Withdraw(gone)
		}
	})
}

// watchTargets gives up the connections that are kept for targets which were
// changed or removed: calls that come know the new place already, and those under
// way end where they began.
func (g *Gateway) watchTargets(ctx context.Context) {
	used := func() []string {
		ids := append(g.ssh.Targets(), g.zabbix.Targets()...)
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	places := func(ctx context.Context, ids []string) ([]string, error) {
		all, err := g.db.TargetsOf(ctx, ids)
		at := make([]string, len(all))
		for i, t := range all {
			at[i] = tool.Place(t)
		}
		return at, err
	}
	g.poll(ctx, watchEvery, "whether targets have changed", used, places, func(asked, at []string) {
		g.ssh.Keep(asked, at)
		g.zabbix.Keep(asked, at)
	})
}
