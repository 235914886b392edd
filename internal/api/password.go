package api

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/go-chi/httprate"

	"github.com/akmatori/akmatori/internal/ops"
)

// hashParams are OWASP's for argon2id: 19 MiB, two passes, one lane.
func hashParams() *argon2id.Params {
	return &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// HashPassword gives the form in which a password is stored.
func HashPassword(password ops.Secret) (string, error) {
	h, err := argon2id.CreateHash(password.Reveal(), hashParams())
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return h, nil
}

// maxHashes bounds the memory and the cores that logins take at once.
const maxHashes = 2

// hasher compares passwords, a few at a time.
type hasher struct {
	slots chan struct{}
	// nobody gives the hash of no password, against which unknown users are
	// compared so that they take as long as known ones.
	nobody func() (string, error)
}

func newHasher() *hasher {
	return &hasher{slots: make(chan struct{}, maxHashes), nobody: sync.OnceValues(func() (string, error) {
		return HashPassword(ops.NewToken(""))
	})}
}

// slot waits for a place; whoever waits too long is sent away.
func (h *hasher) slot(ctx context.Context) (release func(), err error) {
	wait := time.NewTimer(5 * time.Second)
	defer wait.Stop()
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-wait.C:
		return nil, ops.Errorf(ops.CodeUnavailable, "too many people sign in at once")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash makes the hash of a new password, when there is a place.
func (h *hasher) hash(ctx context.Context, password ops.Secret) (string, error) {
	release, err := h.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return HashPassword(password)
}

// matches compares password with hash, or with nothing if hash is empty.
func (h *hasher) matches(ctx context.Context, password ops.Secret, hash string) (bool, error) {
	release, err := h.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	known := hash != ""
	if !known {
		if hash, err = h.nobody(); err != nil {
			return false, err
		}
	}
	ok, err := argon2id.ComparePasswordAndHash(password.Reveal(), hash)
	return ok && known, err
}

// How often a login may fail: for one name, and from one address.
const (
	failuresPerUser    = 10
	failuresPerAddress = 50
	failureWindow      = time.Minute
)

// throttle counts failed logins over a sliding minute. Its memory is bounded by
// what maxHashes lets through in two minutes.
type throttle struct {
	mu               sync.Mutex
	users, addresses failures
}

// failures are those of each key.
type failures struct {
	*httprate.RateLimiter
	most   int
	trying map[string]int // not judged yet: each may become a failure
}

func newThrottle() *throttle {
	upTo := func(n int) failures {
		// A counter of our own makes httprate's windows those of truncated
		// time, so that failures alone can be counted.
		limiter := httprate.NewRateLimiter(n, failureWindow, httprate.WithLimitCounter(httprate.NewLocalLimitCounter(failureWindow)))
		return failures{limiter, n, map[string]int{}}
	}
	return &throttle{users: upTo(failuresPerUser), addresses: upTo(failuresPerAddress)}
}

// network is what one has of addresses: of IPv6 the first half, since who has
// one has the 2^64 beside it, too.
func network(address string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return address
}

// try judges a guess, unless too many have failed. A guess counts as failed until
// it is judged: as many as are made at once get no more of them than one after the
// other. What ends with an error was not judged.
func (t *throttle) try(user, address string, judge func() (right bool, err error)) (right bool, err error) {
	if !t.begin(user, address) {
		return false, tooMany()
	}
	defer t.end(user, address)
	right, err = judge()
	if err == nil && !right {
		t.failed(user, address)
	}
	return right, err
}

func (t *throttle) begin(user, address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.users.room(user) || !t.addresses.room(network(address)) {
		return false
	}
	t.users.trying[user]++
	t.addresses.trying[network(address)]++
	return true
}

func (t *throttle) end(user, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users.tried(user)
	t.addresses.tried(network(address))
}

func (t *throttle) allowed(user, address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.users.room(user) && t.addresses.room(network(address))
}

func (t *throttle) failed(user, address string) {
	now := time.Now().UTC().Truncate(failureWindow)
	_ = t.users.Counter().Increment(user, now)
	_ = t.addresses.Counter().Increment(network(address), now)
}

// room says whether one more may fail.
func (f failures) room(key string) bool {
	_, rate, err := f.Status(key)
	return err == nil && rate+float64(f.trying[key])+1 <= float64(f.most)
}

func (f failures) tried(key string) {
	if f.trying[key]--; f.trying[key] == 0 {
		delete(f.trying, key)
	}
}
