package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The channels of NOTIFY. Payloads are identifiers, never content.
const (
	ChannelEvents = "akmatori_events" // an incident's id: its timeline has grown
	ChannelRuns   = "akmatori_runs"   // a run is waiting
	ChannelCancel = "akmatori_cancel" // a run's id: somebody wants it to stop
	ChannelSaid   = "akmatori_said"   // a run's id: somebody has said something to it
	// ChannelApprovals has an approval's id: somebody is asked.
	ChannelApprovals = "akmatori_approvals"
)

// Listen calls wake for each notification on the channels until ctx ends. It
// has one connection of its own and replaces it when it is lost; after that,
// wake is called once with an empty payload for each channel, as anything may
// have been missed. wake must not block.
func (db *DB) Listen(ctx context.Context, channels []string, wake func(channel, payload string)) error {
	for {
		_ = db.listen(ctx, channels, wake) // a lost connection is no failure: every waiter also polls
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (db *DB) listen(ctx context.Context, channels []string, wake func(channel, payload string)) error {
	conn, err := pgx.ConnectConfig(ctx, db.config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, c := range channels {
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{c}.Sanitize()); err != nil {
			return err
		}
	}
	for _, c := range channels {
		wake(c, "")
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		wake(n.Channel, n.Payload)
	}
}

// instanceLock is the first half of the advisory lock key of a gateway instance.
const instanceLock = 0x616b6d67 // "akmg"

// HoldInstance holds the advisory lock that says "this gateway process lives"
// on a connection of its own until ctx ends. held is called each time the lock
// has been taken: once at the start and again after a lost connection. Postgres
// drops the lock the moment the process dies, so nobody waits for a lease.
func (db *DB) HoldInstance(ctx context.Context, instance int32, held func()) error {
	for {
		_ = db.holdInstance(ctx, instance, held)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (db *DB) holdInstance(ctx context.Context, instance int32, held func()) error {
	conn, err := pgx.ConnectConfig(ctx, db.config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, instanceLock, instance); err != nil {
		return err
	}
	held()
	// Nobody notifies this connection: it sleeps until ctx or the connection ends.
	_, err = conn.WaitForNotification(ctx)
	return err
}

// InstanceAlive says whether the process that holds instance lives.
func (db *DB) InstanceAlive(ctx context.Context, instance int32) (bool, error) {
	var free bool
	err := db.tx(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1, $2)`, instanceLock, instance).Scan(&free)
	})
	if err != nil {
		return false, fmt.Errorf("look for instance: %w", err)
	}
	return !free, nil
}
