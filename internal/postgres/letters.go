package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// StoredDelivery is a delivery as the API shows it. It is a dead letter if it
// has a problem and was not replayed.
type StoredDelivery struct {
	ID          string    `json:"id"`
	SourceID    string    `json:"source_id"`
	ReceivedAt  time.Time `json:"received_at"`
	ContentType string    `json:"content_type"`
	Size        int       `json:"size" doc:"Of the body, in bytes."`
	Alerts      int       `json:"alerts" doc:"How many were read from it."`
	Truncated   int       `json:"truncated" doc:"Alerts that the sender left out."`
	Problem     string    `json:"problem,omitempty" doc:"Why nothing, or not everything, was read."`
	// Unproven is for set-up mode ([ops.Delivery]).
	Unproven      bool      `json:"unproven" doc:"Its secret or signature was wrong: it may be from anybody."`
	ReplayedAt    time.Time `json:"replayed_at,omitzero"`
	ReplayProblem string    `json:"replay_problem,omitempty" doc:"Why the last replay failed."`
}

// DeliveryFilter chooses deliveries of a source.
type DeliveryFilter struct {
	Source string
	// Problem is "" for all, "any" for those with a problem, "open" for those of
	// them that were not replayed.
	Problem string
	// From leaves out this one and all newer ones; zero for none.
	From  DeliveryPlace
	Limit int
}

// DeliveryPlace is where a delivery stands among those of its source.
type DeliveryPlace struct {
	At time.Time
	ID string
}

const deliveryColumns = `id, source_id, received_at, content_type, octet_length(body), alert_count, truncated, problem, unproven, replayed_at, replay_problem`

func scanDelivery(row pgx.CollectableRow) (d StoredDelivery, err error) {
	var replayed *time.Time
	err = row.Scan(&d.ID, &d.SourceID, &d.ReceivedAt, &d.ContentType, &d.Size, &d.Alerts, &d.Truncated, &d.Problem, &d.Unproven, &replayed, &d.ReplayProblem)
	d.ReplayedAt = orZero(replayed)
	return d, err
}

// Deliveries gives deliveries without their bodies, newest first.
func (db *DB) Deliveries(ctx context.Context, f DeliveryFilter) ([]StoredDelivery, error) {
	if f.From.ID == "" {
		f.From = DeliveryPlace{At: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: "ffffffff-ffff-ffff-ffff-ffffffffffff"}
	}
	where := map[string]string{ // each with an index of its own
		"":     ``,
		"any":  ` AND problem <> ''`,
		"open": ` AND problem <> '' AND replayed_at IS NULL`,
	}[f.Problem]
	rows, err := db.pool.Query(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE source_id = $1 AND (received_at, id) < ($2, $3::uuid)`+where+`
		ORDER BY received_at DESC, id DESC LIMIT $4`, f.Source, f.From.At, f.From.ID, f.Limit)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanDelivery)
	return all, mapError(err)
}

// OpenLettersAfter gives dead letters of a source without their bodies, oldest
// first, from behind a place; those that have not proved themselves only if asked.
func (db *DB) OpenLettersAfter(ctx context.Context, source string, after DeliveryPlace, unproven bool, limit int) ([]StoredDelivery, error) {
	if after.ID == "" {
		after = DeliveryPlace{ID: "00000000-0000-0000-0000-000000000000"}
	}
	rows, err := db.pool.Query(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE source_id = $1 AND (received_at, id) > ($2, $3::uuid)
		AND problem <> '' AND replayed_at IS NULL AND (NOT unproven OR $4) ORDER BY received_at, id LIMIT $5`, source, after.At, after.ID, unproven, limit)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, scanDelivery)
	return all, mapError(err)
}

// Delivery gives one delivery without its body.
func (db *DB) Delivery(ctx context.Context, id string) (StoredDelivery, error) {
	if !ops.ValidID(id) {
		return StoredDelivery{}, ops.Errorf(ops.CodeNotFound, "there is no such delivery")
	}
	rows, err := db.pool.Query(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE id = $1`, id)
	if err != nil {
		return StoredDelivery{}, mapError(err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDelivery)
	return d, mapError(err)
}

// DeliveryOfAlert gives the id of the newest delivery that an alert came with.
// None, which is also so once it is no longer kept, is code not found.
func (db *DB) DeliveryOfAlert(ctx context.Context, alert string) (id string, err error) {
	if !ops.ValidID(alert) {
		return "", ops.Errorf(ops.CodeNotFound, "there is no such alert")
	}
	err = db.pool.QueryRow(ctx, `SELECT d.id FROM alerts a JOIN deliveries d ON d.id = a.delivery_id WHERE a.id = $1`, alert).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ops.Errorf(ops.CodeNotFound, "what the alert came with is not kept any more")
	}
	return id, mapError(err)
}

// DeliveryBody gives the first limit bytes of what was sent.
func (db *DB) DeliveryBody(ctx context.Context, id string, limit int) (body []byte, err error) {
	err = db.pool.QueryRow(ctx, `SELECT substring(body FROM 1 FOR $2) FROM deliveries WHERE id = $1`, id, limit).Scan(&body)
	return body, mapError(err)
}

// OpenLetters counts the dead letters of a source, up to most.
func (db *DB) OpenLetters(ctx context.Context, source string, most int) (n int, err error) {
	err = db.pool.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM deliveries WHERE source_id = $1 AND problem <> '' AND replayed_at IS NULL LIMIT $2) AS open`,
		source, most).Scan(&n)
	return n, mapError(err)
}

// NoteReplay writes down why a dead letter could not be replayed.
func (db *DB) NoteReplay(ctx context.Context, id, problem string) error {
	_, err := db.pool.Exec(ctx, `UPDATE deliveries SET replay_problem = $2 WHERE id = $1 AND replayed_at IS NULL`, id, problem)
	return mapError(err)
}
