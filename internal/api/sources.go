package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

// How old the list of sources may be: for a source that is in it, so that a new
// secret counts within a second; and for one that is not, so that a source
// counts at once when it has been made and a stranger who tries ids costs
// little.
const (
	sourcesFor     = 500 * time.Millisecond
	sourcesMissing = 50 * time.Millisecond
	// sourcesFailed is how long a failure to read it counts for everybody: those
	// who waited for a database that hangs must not try one after the other.
	sourcesFailed = 500 * time.Millisecond
)

// sources is the list of sources, so that a delivery needs no query to be
// judged. One caller at a time reads it anew, the others wait for that.
type sources struct {
	db   *postgres.DB
	ring func() (seal.Ring, error) // of the zone api
	log  *slog.Logger

	mu       sync.Mutex
	byID     map[string]sender
	opened   map[string]ops.Secret // by their sealed form; opening costs more than a delivery
	at       time.Time
	failed   error
	failedAt time.Time
}

// sender is a source with what its requests are judged by.
type sender struct {
	ops.Source
	secrets ingest.Secrets
	// closed says that not all of its secrets can be opened. That is our fault and
	// not the sender's: who proves itself by none of the others is told to come again.
	closed bool
}

var errClosed = &ops.Error{Code: ops.CodeUnavailable, Message: "the source's secret cannot be opened", RetryAfter: time.Minute}

func newSources(db *postgres.DB, ring func() (seal.Ring, error), log *slog.Logger) *sources {
	return &sources{db: db, ring: ring, log: log}
}

// get gives an enabled source. Any other is not found. With an error it gives
// what was known before, if anything.
func (c *sources) get(ctx context.Context, id string) (sender, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := time.Since(c.at); age > sourcesFor || !c.has(id) && age > sourcesMissing {
		if time.Since(c.failedAt) < sourcesFailed {
			return c.byID[id], c.failed
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		began := time.Now()
		all, err := c.db.Sources(ctx)
		if err != nil {
			c.failed, c.failedAt = err, time.Now()
			return c.byID[id], err
		}
		c.at = began
		c.replace(all)
	}
	if !c.has(id) {
		return sender{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	src := c.byID[id]
	if src.closed && len(src.secrets.Keys) == 0 {
		return sender{}, errClosed
	}
	return src, nil
}

func (c *sources) replace(all []ops.Source) {
	opened := make(map[string]ops.Secret, len(c.opened))
	c.byID = make(map[string]sender, len(all))
	for _, s := range all {
		src := sender{Source: s}
		valid := []ops.SourceSecret{s.Secret}
		if time.Now().Before(s.OldUntil) {
			valid = append(valid, s.Old)
		}
		for _, secret := range valid {
			if s.Auth != ops.AuthSignature {
				src.secrets.Hashes = append(src.secrets.Hashes, secret.Hash)
				continue
			}
			if !s.Enabled {
				continue
			}
			name := s.ID + string(secret.Sealed)
			key, known := c.opened[name]
			if !known {
				var err error
				if key, err = c.open(s, secret.Sealed); err != nil {
					c.log.Error("the secret of a source cannot be opened: its deliveries are refused", "source", s.ID, "name", s.Name, "err", err)
					src.closed = true
					continue
				}
			}
			opened[name] = key
			src.secrets.Keys = append(src.secrets.Keys, key)
		}
		c.byID[s.ID] = src
	}
	c.opened = opened
}

func (c *sources) open(s ops.Source, sealed []byte) (ops.Secret, error) {
	ring, err := c.ring()
	if err != nil {
		return ops.Secret{}, err
	}
	return ring.Open(s.SecretCredential(sealed))
}

func (c *sources) has(id string) bool { return c.byID[id].Enabled }

func (c *sources) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Time{}
}
