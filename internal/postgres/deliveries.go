package postgres

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// claims are deliveries that may have been stored before.
type claims struct {
	all             []ops.Delivery
	named, replayed []*ops.Delivery
}

// queueClaims asks which of deliveries are to be stored; [claims.settle] tells
// when the batch was sent. The others have been stored before: their DuplicateOf
// says as what. It comes first in a transaction: whoever else has the same
// delivery at the same moment, in another process too, waits here and then finds it.
//
// Only what was understood is claimed. Of a body that could not be read, each
// copy is kept: the next one may come after the mapping was corrected.
func queueClaims(b *pgx.Batch, deliveries []ops.Delivery) *claims {
	c := &claims{all: deliveries}
	for i := range deliveries {
		d := &deliveries[i]
		d.DuplicateOf = "" // of a try that failed
		switch {
		case d.Replay:
			c.replayed = append(c.replayed, d)
		case d.SenderID != "" && d.Problem == "":
			c.named = append(c.named, d)
		}
	}
	if len(c.named) > 0 {
		queueNames(b, c.named)
	}
	return c
}

// settle gives those that are to be stored.
func (c *claims) settle(ctx context.Context, q querier) (fresh []ops.Delivery, err error) {
	if len(c.replayed) > 0 {
		if err := claimReplays(ctx, q, c.replayed); err != nil {
			return nil, err
		}
	}
	for _, d := range c.all {
		if d.DuplicateOf == "" {
			fresh = append(fresh, d)
		}
	}
	return fresh, nil
}

// idReused warns of names that name nothing.
const idReused = "the sender gives different deliveries the same id: its repetitions cannot be told from news, so each one is stored. " +
	"An Idempotency-Key or Webhook-Id must be another for each message; leave it out if it is a fixed text."

func queueNames(b *pgx.Batch, named []*ops.Delivery) {
	n := len(named)
	sources, names, digests, ids, at := make([]string, n), make([]string, n), make([][]byte, n), make([]string, n), make([]time.Time, n)
	for i, d := range named {
		sources[i], names[i], digests[i], ids[i], at[i] = d.SourceID, d.SenderID, orNoBytes(d.Digest), d.ID, d.ReceivedAt
	}
	// In order, since each row waits for another process that has it.
	b.Queue(`INSERT INTO delivery_ids (source_id, sender_id, digest, delivery_id, at)
		SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::uuid[], $5::timestamptz[]) ORDER BY 1, 2
		ON CONFLICT DO NOTHING`, sources, names, digests, ids, at)
	b.Queue(`SELECT k.n, i.digest, i.delivery_id FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (source, name, n)
		JOIN delivery_ids i ON i.source_id = k.source AND i.sender_id = k.name`, sources, names).Query(func(rows pgx.Rows) error {
		var ordinal int
		var digest []byte
		var first string
		_, err := pgx.ForEachRow(rows, []any{&ordinal, &digest, &first}, func() error {
			d := named[ordinal-1]
			switch {
			case first == d.ID:
			case bytes.Equal(digest, d.Digest):
				d.DuplicateOf = first
			default:
				d.Warnings = warnOnce(d.Warnings, ops.SourceWarning{Code: "delivery_id_reused", Text: idReused})
			}
			return nil
		})
		return err
	})
}

// warnOnce adds w unless it is there.
func warnOnce(all []ops.SourceWarning, w ops.SourceWarning) []ops.SourceWarning {
	if slices.ContainsFunc(all, func(have ops.SourceWarning) bool { return have.Code == w.Code }) {
		return all
	}
	return append(slices.Clone(all), w)
}

// claimReplays locks dead letters. One that was replayed meanwhile, or that is
// gone, repeats itself.
func claimReplays(ctx context.Context, tx querier, replayed []*ops.Delivery) error {
	ids := make([]string, len(replayed))
	for i, d := range replayed {
		ids[i] = d.ID
	}
	rows, err := tx.Query(ctx, `SELECT id FROM deliveries WHERE id = ANY ($1::uuid[]) AND problem <> '' AND replayed_at IS NULL ORDER BY id FOR UPDATE`, ids)
	if err != nil {
		return err
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, d := range replayed {
		if i := slices.Index(open, d.ID); i >= 0 {
			open[i] = "" // the same one twice in a batch is once too many
		} else {
			d.DuplicateOf = d.ID
		}
	}
	return nil
}

// queueDeliveries writes deliveries as they came. A replayed one is there already
// and is marked; what a sender has repeated is there already, too.
func queueDeliveries(b *pgx.Batch, deliveries []ops.Delivery) {
	var news []ops.Delivery
	for _, d := range deliveries {
		switch {
		case d.DuplicateOf != "":
		case d.Replay:
			queueReplayed(b, d)
		default:
			news = append(news, d)
		}
	}
	queueRows(b, news...)
}

// queueRows writes deliveries in one statement.
func queueRows(b *pgx.Batch, deliveries ...ops.Delivery) {
	n := len(deliveries)
	if n == 0 {
		return
	}
	ids, sources, at, types, bodies := make([]string, n), make([]string, n), make([]time.Time, n), make([]string, n), make([][]byte, n)
	alerts, problems, truncated, unproven := make([]int32, n), make([]string, n), make([]int32, n), make([]bool, n)
	for i, d := range deliveries {
		ids[i], sources[i], at[i], types[i], bodies[i] = d.ID, d.SourceID, d.ReceivedAt, d.ContentType, orNoBytes(d.Body)
		alerts[i], problems[i], truncated[i], unproven[i] = int32(len(d.Alerts)), d.Problem, int32(d.Truncated), d.Unproven
	}
	b.Queue(`INSERT INTO deliveries (id, source_id, received_at, content_type, body, alert_count, problem, truncated, unproven)
		SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::bytea[], $6::int[], $7::text[], $8::int[], $9::boolean[])`,
		ids, sources, at, types, bodies, alerts, problems, truncated, unproven)
}

// queueReplayed marks a dead letter. It stays one if a part of it still cannot be read.
func queueReplayed(b *pgx.Batch, d ops.Delivery) {
	b.Queue(`UPDATE deliveries SET alert_count = $2, replay_problem = $3, replayed_at = CASE WHEN $3 = '' THEN now() END WHERE id = $1`,
		d.ID, len(d.Alerts), d.Problem)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}

// KeepUnproven stores a delivery whose secret or signature was wrong, if its
// source is in set-up mode and has fewer than most of them within the last hour.
// It says whether it did.
func (db *DB) KeepUnproven(ctx context.Context, d ops.Delivery, most int) (kept bool, err error) {
	d.Unproven, d.Alerts = true, nil
	err = db.tx(ctx, func(tx pgx.Tx) error {
		kept = false
		// The row's lock makes the count hold until the insert; a statement of its
		// own, since one that waited for the lock would count as of before.
		tag, err := tx.Exec(ctx, `SELECT FROM sources WHERE id = $1 AND enabled AND verify_until > clock_timestamp() FOR NO KEY UPDATE`, d.SourceID)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		var recent int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM deliveries WHERE source_id = $1 AND unproven
				AND received_at > clock_timestamp() - interval '1 hour' LIMIT $2) AS recent`, d.SourceID, most).Scan(&recent); err != nil || recent >= most {
			return err
		}
		b := &pgx.Batch{}
		queueRows(b, d)
		queueRates(b, d.SourceID, d.ReceivedAt, 0, 0, 1)
		queueError(b, d.SourceID, ops.SourceError{Kind: ops.ErrorUnproven, Count: 1, At: d.ReceivedAt, Text: d.Problem})
		kept = true
		return tx.SendBatch(ctx, b).Close()
	})
	return kept && err == nil, err
}

// DeleteOldDeliveryIDs forgets the senders' names of deliveries from before
// then, at most limit of them, and says how many.
func (db *DB) DeleteOldDeliveryIDs(ctx context.Context, before time.Time, limit int) (int64, error) {
	tag, err := db.pool.Exec(ctx, `DELETE FROM delivery_ids WHERE (source_id, sender_id) IN
		(SELECT source_id, sender_id FROM delivery_ids WHERE at < $1 ORDER BY at LIMIT $2)`, before, limit)
	return tag.RowsAffected(), mapError(err)
}
