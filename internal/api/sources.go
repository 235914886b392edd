package api

import (
	"context"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
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
	db *postgres.DB

	mu       sync.Mutex
	byID     map[string]ops.Source
	at       time.Time
	failed   error
	failedAt time.Time
}

func newSources(db *postgres.DB) *sources { return &sources{db: db} }

// get gives an enabled source. Any other is not found.
func (c *sources) get(ctx context.Context, id string) (ops.Source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := time.Since(c.at); age > sourcesFor || !c.has(id) && age > sourcesMissing {
		if time.Since(c.failedAt) < sourcesFailed {
			return ops.Source{}, c.failed
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		began := time.Now()
		all, err := c.db.Sources(ctx)
		if err != nil {
			c.failed, c.failedAt = err, time.Now()
			return ops.Source{}, err
		}
		c.byID, c.at = make(map[string]ops.Source, len(all)), began
		for _, s := range all {
			c.byID[s.ID] = s
		}
	}
	if !c.has(id) {
		return ops.Source{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	return c.byID[id], nil
}

func (c *sources) has(id string) bool { return c.byID[id].Enabled }

func (c *sources) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Time{}
}
