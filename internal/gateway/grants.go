package gateway

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	// pingAge is how old the answer about a token may be for a ping, which shows
	// nothing but that the token was good. Every other request is judged by an
	// answer that is younger than itself.
	pingAge = 250 * time.Millisecond
	// knownFor is how long a token that was good is known by sight, which lets it
	// send a body and nothing else.
	knownFor  = time.Minute
	maxGrants = 1024
)

// grants remembers what tokens stood for a moment ago, by their hashes. Tokens
// that stand for nothing are not remembered. The zero value is ready.
type grants struct {
	mu  sync.Mutex
	all map[string]knownGrant
}

type knownGrant struct {
	grant postgres.Grant
	asked time.Time // it was so at this time, or later
}

// get gives what was so at since or later.
func (k *grants) get(hash []byte, since time.Time) (postgres.Grant, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.all[string(hash)]
	return known.grant, ok && !known.asked.Before(since) && time.Now().Before(known.grant.Deadline)
}

// put remembers an answer, or that there is none any more. It is emptied when
// full: who is under way is asked about again.
func (k *grants) put(hash []byte, grant postgres.Grant, asked time.Time, good bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !good:
		delete(k.all, string(hash))
		return
	case k.all == nil || len(k.all) >= maxGrants:
		k.all = map[string]knownGrant{}
	}
	k.all[string(hash)] = knownGrant{grant, asked}
}

// grant gives what the token with this hash stands for, or stood for at since or later.
func (g *Gateway) grant(ctx context.Context, hash []byte, since time.Time) (postgres.Grant, error) {
	if known, ok := g.grants.get(hash, since); ok {
		return known, nil
	}
	asked := time.Now()
	grant, err := g.db.GrantByToken(ctx, hash)
	g.grants.put(hash, grant, asked, err == nil)
	return grant, err
}

// found is a way to a target that was read together with the grant of a
// request, and so is as new as that.
type found struct {
	name string
	way  []postgres.Stop
}

// memory keeps what calls to a target were judged by the last time, by the hash
// of the token and the target's name. It never gets old: what it holds is not
// believed, but compared where the next call starts. The zero value is ready.
type memory struct {
	mu  sync.Mutex
	all map[memoryKey]postgres.Ground
}

type memoryKey struct{ hash, target string }

func (m *memory) get(hash []byte, target string) (postgres.Ground, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ground, ok := m.all[memoryKey{string(hash), target}]
	return ground, ok
}

// put remembers, or forgets if there is nothing. It is emptied when full.
func (m *memory) put(hash []byte, target string, ground *postgres.Ground) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := memoryKey{string(hash), target}
	switch {
	case ground == nil:
		delete(m.all, key)
		return
	case m.all == nil || len(m.all) >= maxGrants:
		m.all = map[memoryKey]postgres.Ground{}
	}
	m.all[key] = *ground
}

// guess is a call that is judged from [memory]. It may only start, and only if
// the statement that starts it finds that all of its ground is still so. Before
// that, nothing is written to whoever asked.
type guess struct {
	ground postgres.Ground
	proven atomic.Bool
}

// guess judges a call from memory, if there is something to judge it by.
func (g *Gateway) guess(hash []byte, target string) *guess {
	if target == "" {
		return nil
	}
	ground, ok := g.memory.get(hash, target)
	if !ok {
		return nil
	}
	return &guess{ground: ground}
}

// grantOf gives what the token of a request stands for that came at arrived. A
// call's target is looked up in the same round trip.
func (g *Gateway) grantOf(ctx context.Context, hash []byte, method, target string, arrived time.Time) (postgres.Grant, found, error) {
	if method == "ping" {
		arrived = arrived.Add(-pingAge)
	}
	if target == "" {
		grant, err := g.grant(ctx, hash, arrived)
		return grant, found{}, err
	}
	asked := time.Now()
	ground, err := g.db.Ground(ctx, hash, target, maxHops+1)
	g.grants.put(hash, ground.Grant, asked, err == nil)
	if err != nil {
		g.memory.put(hash, target, nil)
		return postgres.Grant{}, found{}, err
	}
	g.memory.put(hash, target, &ground)
	return ground.Grant, found{target, ground.Way}, nil
}

const wantToken = "the token of a running run, or one that was issued for the gateway, is required"

// admit answers a request whose token is none, or cannot be checked.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request, err error) bool {
	switch ops.CodeOf(err) {
	case "":
		return true
	case ops.CodeUnauthenticated:
		w.Header().Set("WWW-Authenticate", "Bearer")
		g.refuse(w, http.StatusUnauthorized, "token", wantToken)
	default:
		if r.Context().Err() == nil {
			g.log.Error("cannot check a token", "err", err)
		}
		w.Header().Set("Retry-After", "1")
		g.refuse(w, http.StatusServiceUnavailable, "database", "the token cannot be checked now")
	}
	return false
}

// refuse answers a request that does not get to a tool.
func (g *Gateway) refuse(w http.ResponseWriter, status int, reason, text string) {
	g.metrics.refused.WithLabelValues(reason).Inc()
	http.Error(w, text, status)
}
