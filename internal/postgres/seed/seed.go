// Package seed fills a database with made-up incidents, as many as a few
// months of a large installation leave behind: to measure, to test and to look
// at. It is in no image.
//
// # What it makes
//
//   - Incidents of 90 days, the newest at [Config.Now], with all statuses,
//     severities and outcomes; most are over, some are open.
//   - Alerts with labels, hosts and texts. Most incidents have a few; one in
//     5,000 is a storm of 10,000 (of fewer, where there are not so many alerts).
//   - Runs with findings, and timelines with an event an alert.
//
// The same seed gives the same content, ids included.
package seed

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/jackc/pgx/v5"
)

// Config says how much to make.
type Config struct {
	Incidents int       // required
	Alerts    int       // at least Incidents
	Seed      uint64    // other numbers give other content
	Now       time.Time // the end of the 90 days; zero means the time of the call
}

// ErrUsed means that there are incidents already.
var ErrUsed = errors.New("there are incidents already: only an empty database is filled")

// batch is how many incidents are copied at once, with all that they have.
const batch = 2000

// days is how far back incidents go.
const days = 90

// Run fills the database, whose schema is current and which has no incidents
// yet, as its owner. It is done in one transaction: all of it is there or
// nothing. say, if given, is told now and then how many incidents are made.
func Run(ctx context.Context, owner ops.Secret, c Config, say func(incidents int)) error {
	if c.Incidents < 1 || c.Alerts < c.Incidents {
		return errors.New("seed: it takes at least one incident, and as many alerts as incidents")
	}
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	c.Now = c.Now.UTC().Truncate(time.Second)
	conn, err := pgx.Connect(ctx, owner.Reveal())
	if err != nil {
		return errors.New("seed: the database cannot be reached") // pgx's error may quote the password
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return fill(ctx, tx, c, say) }); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	// As autovacuum would have done long ago: statistics, the visibility map, and
	// the search index's list of new entries.
	_, err = conn.Exec(ctx, `VACUUM (ANALYZE) incidents, incident_search, alerts, events, runs, findings`)
	if err == nil { // its rows were added up, which leaves holes
		_, err = conn.Exec(ctx, `VACUUM (FULL, ANALYZE) derived.incident_tallies`)
	}
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}

func fill(ctx context.Context, tx pgx.Tx, c Config, say func(int)) error {
	var used bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM incidents)`).Scan(&used); err != nil {
		return err
	}
	if used {
		return ErrUsed
	}
	m := newMaker(c)
	for _, s := range m.sources {
		if _, err := tx.Exec(ctx, `INSERT INTO sources (id, name, kind, enabled, secret_hash) VALUES ($1, $2, $3, false, '')`,
			s.id, s.name, s.kind); err != nil {
			return err
		}
	}
	for done := 0; done < c.Incidents; {
		rows := m.next(min(batch, c.Incidents-done))
		for _, t := range rows.tables() {
			if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, pgx.CopyFromRows(t.rows)); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
		b := &pgx.Batch{}
		for _, s := range rows.searchable {
			postgres.QueueSearchable(b, s.incident, s.texts, s.alerts...)
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		done += len(rows.incidents)
		if say != nil {
			say(done)
		}
	}
	if _, err := tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence('incidents', 'number'), (SELECT max(number) FROM incidents))`); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `SELECT derived.settle_tallies()`)
	return err
}

// random is SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same
// seed in every release of Go.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below gives a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

// often gives a number below n, a small one more often: about half of them are
// in the first tenth.
func (r *random) often(n int) int {
	x := float64(r.next()>>11) / (1 << 53)
	return min(int(x*x*x*float64(n)), n-1)
}

// chance is true in so many of 100 cases.
func (r *random) chance(percent int) bool { return r.below(100) < percent }

func pick[T any](r *random, all []T) T { return all[r.below(len(all))] }

// id gives a UUID version 7 of a time, as ops.NewID does for now.
func (r *random) id(at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16|r.next()&0xfff|0x7000)
	binary.BigEndian.PutUint64(b[8:], r.next()&(1<<62-1)|1<<63)
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func object(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return data
}
