// Package postgres holds every SQL statement of the program. A process opens it
// as its own role (akmatori_api, akmatori_gateway, akmatori_proxy); what a role
// may not do, Postgres refuses, whatever the Go code says.
//
// # Rules
//
//   - Exported methods open the transaction, unexported functions take it.
//   - Locks are taken in one order: groups (advisory), alerts by id, incidents by
//     id, runs, audit chains, and in the commit derived.rights. Who breaks it meets a deadlock, which is retried a few times.
//   - The number of a timeline event is taken under the lock of its incident
//     row, so numbers appear in order and without holes.
//   - NOTIFY wakes, tables tell: every waiter also polls.
//   - Driver errors become [ops.Error] codes here and nowhere else; a lost
//     database is ops.CodeUnavailable. Texts of Postgres never reach a user.
//
// Identifiers from outside go through [ops.ValidID] before they get here; one
// that does not is answered as an internal error, not as a wrong query.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/migrations"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is a pool of connections as one role.
type DB struct {
	pool   connections // those of whole, or one transaction of theirs
	whole  *pgxpool.Pool
	config *pgx.ConnConfig // for connections that listen or hold a lock, apart from the pool
	audits auditWriters
	rules  rulesCache // how alerts are grouped
	grants shared[Grant]
	// auditKey signs what this process appends to the audit.
	auditKey ops.AuditKey
}

// Config says where and as whom to connect.
type Config struct {
	URL      ops.Secret // required; names the role
	MaxConns int        // of the pool; 0 means 16
	// Warm is how many connections are opened at once and kept, with the statements
	// of a tool call prepared on each: for a process whose callers wait for those.
	Warm int
	App  string // application_name, for people who look at pg_stat_activity
	// AuditKey signs the records of its chain. Without it they are not signed,
	// and whoever verifies the chain is told so.
	AuditKey ops.AuditKey
}

// Open connects and checks that the schema is the one that this program was
// built with. A database that is away is tried for half a minute.
func Open(ctx context.Context, c Config) (*DB, error) {
	conf, err := pgxpool.ParseConfig(c.URL.Reveal())
	if err != nil {
		return nil, errors.New("the database URL is malformed") // pgx's error may quote the password
	}
	conf.MaxConns = 16
	if c.MaxConns > 0 {
		conf.MaxConns = int32(c.MaxConns)
	}
	conf.ConnConfig.ConnectTimeout = 5 * time.Second
	conf.ConnConfig.RuntimeParams["application_name"] = c.App
	conf.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// Statements are short and many at once: what these begin costs more than it saves.
	conf.ConnConfig.RuntimeParams["jit"] = "off"
	conf.ConnConfig.RuntimeParams["max_parallel_workers_per_gather"] = "0"
	conf.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		registerUUIDs(conn)
		if c.Warm == 0 {
			return nil
		}
		return prepareCall(ctx, conn)
	}
	if c.Warm > 0 {
		conf.MinConns = int32(min(c.Warm, int(conf.MaxConns)))
		// Else the first five times of each statement on each connection are planned
		// anew, which for some takes longer than all the rest of a call.
		conf.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	}
	pool, err := pgxpool.NewWithConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db := &DB{pool: pool, whole: pool, config: conf.ConnConfig, auditKey: c.AuditKey}
	for deadline := time.Now().Add(30 * time.Second); ; {
		err = db.CheckSchema(ctx)
		if ops.CodeOf(err) != ops.CodeUnavailable || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", explain(err, conf.ConnConfig))
	}
	return db, nil
}

// explain says in one line what is wrong with a database that nobody can use,
// and what to do. The driver's own text repeats itself for each address.
func explain(err error, c *pgx.ConnConfig) error {
	at := fmt.Sprintf("%s on %s:%d", c.Database, c.Host, c.Port)
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && (e.Code == "28P01" || e.Code == "28000"): // invalid_password, invalid_authorization_specification
		return fmt.Errorf("%s refuses role %s (%s): its password is another one, or the role must not connect; "+
			"`akmatori-api migrate` sets the passwords of the roles", at, c.User, e.Code)
	case ok && e.Code == "3D000": // invalid_catalog_name
		return fmt.Errorf("%s: there is no such database: create it, or correct the URL", at)
	case ok && e.Code == "42501": // insufficient_privilege
		return fmt.Errorf("%s: role %s may not read the schema's version: run `akmatori-api migrate`", at, c.User)
	case ops.CodeOf(err) == ops.CodeUnavailable:
		tries := strings.Split(strings.TrimSpace(err.Error()), "\n") // the last one is like the others
		return ops.Errorf(ops.CodeUnavailable, "%s cannot be reached: is it up, and may this process get there? %s", at,
			strings.TrimSpace(tries[len(tries)-1]))
	}
	return err
}

// Close ends all connections.
func (db *DB) Close() { db.whole.Close() }

// Pool gives the pool to a library that stores in a table of its own.
func (db *DB) Pool() *pgxpool.Pool { return db.whole }

// Version is the newest migration of this program.
func Version() int64 {
	files, _ := fs.Glob(migrations.FS, "*.sql")
	var newest int64
	for _, f := range files {
		var n int64
		if _, err := fmt.Sscanf(f, "%d_", &n); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

// CheckSchema says whether the database can be used by this program: it must
// have exactly its schema. It is also the readiness check of every process.
func (db *DB) CheckSchema(ctx context.Context) error {
	var have int64
	err := db.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" { // undefined_table
		return errors.New("the database has no schema: run `akmatori-api migrate` first")
	}
	if err != nil {
		return mapError(err)
	}
	switch want := Version(); {
	case have < want:
		return fmt.Errorf("the database has schema %d and this program needs %d: run `akmatori-api migrate` first", have, want)
	case have > want:
		return errTooOld(have)
	}
	return nil
}

func errTooOld(have int64) error {
	return fmt.Errorf("the database has schema %d and this program knows only %d: it is an older release than the one that migrated it; run that one, or a newer one",
		have, Version())
}

// tx runs f in a transaction. What another transaction got in the way of is
// tried again, a few times, from the start; so f must keep nothing from a failed try.
func (db *DB) tx(ctx context.Context, f func(pgx.Tx) error) error {
	for try := 0; ; try++ {
		err := pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{}, f)
		if e, ok := errors.AsType[*pgconn.PgError](err); (ok && interfered(e) || errors.Is(err, errAgain)) && try < 4 {
			continue
		}
		return mapError(err)
	}
}

// terse runs f in a transaction that f itself begins with the first batch that it
// sends and commits with the last, which saves two round trips. What gets in its
// way is tried again as in [DB.tx]. If the connection is lost in the last batch,
// nobody knows whether it was committed.
func (db *DB) terse(ctx context.Context, f func(*pgx.Conn) error) error {
	for try := 0; ; try++ {
		err := db.whole.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
			err := f(c.Conn())
			if status := c.Conn().PgConn().TxStatus(); status != 'I' && !c.Conn().IsClosed() {
				if err == nil {
					err = errors.New("a transaction was not committed")
				}
				if _, rollback := c.Exec(context.WithoutCancel(ctx), `ROLLBACK`); rollback != nil {
					_ = c.Conn().Close(context.WithoutCancel(ctx))
				}
			}
			return err
		})
		if e, ok := errors.AsType[*pgconn.PgError](err); (ok && interfered(e) || errors.Is(err, errAgain)) && try < 4 {
			continue
		}
		return mapError(err)
	}
}

// errAgain says that what a transaction has locked is no longer all that it
// needs: it is tried again.
var errAgain = &ops.Error{Code: ops.CodeUnavailable, Message: "others change the same thing", RetryAfter: time.Second}

// interfered says whether e goes away in another try: a deadlock, a
// serialization failure, or the same alert that came twice at once under two groups.
func interfered(e *pgconn.PgError) bool {
	switch e.Code {
	case "40P01", "40001":
		return true
	case "23505":
		return e.TableName == "alerts" || e.TableName == "audit"
	}
	return false
}

// mapError turns what the driver says into codes.
func mapError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*ops.Error](err); ok {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return &ops.Error{Code: ops.CodeNotFound, Message: "there is no such thing"}
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "23505": // unique_violation
			return fmt.Errorf("%w (%s)", ops.Errorf(ops.CodeConflict, "that name is taken"), e.ConstraintName)
		case e.Code == "23503": // foreign_key_violation
			return fmt.Errorf("%w (%s)", ops.Errorf(ops.CodeInvalid, "it refers to something that does not exist"), e.ConstraintName)
		case e.Code[:2] == "57", e.Code[:2] == "53", e.Code[:2] == "08": // shutdown, resources, connection
			return unavailable(err)
		}
		return err
	}
	// Before the network: a caller that gave up says nothing about the database.
	if errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return unavailable(err)
	}
	if _, ok := errors.AsType[net.Error](err); ok || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) {
		return unavailable(err)
	}
	if lost(err) {
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", &ops.Error{Code: ops.CodeUnavailable, Message: "the database is away", RetryAfter: 5 * time.Second}, err)
}
