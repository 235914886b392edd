package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// SetupState is how far the set-up of a deployment has come. It is read from what
// there is, so it is right whichever way somebody went.
type SetupState struct {
	Provider SetupStep `json:"provider" doc:"The model: done when a test was answered, or the newest investigation that came to a result asked it."`
	Source   SetupStep `json:"source" doc:"Done when something of a sender was read."`
	Target   SetupStep `json:"target" doc:"Done when a login was taken, or the newest investigation that came to a result used it."`
	Incident SetupStep `json:"incident" doc:"Done when an investigation has come to a result."`
	// Incident's number is that of the newest incident, investigated or not.
	Number        int64     `json:"incident_number,omitempty"`
	Investigation string    `json:"investigation,omitempty" doc:"How the newest incident's stands."`
	Complete      bool      `json:"complete"`
	DismissedAt   time.Time `json:"dismissed_at,omitzero" doc:"Somebody does not want to be reminded of it."`
	DismissedBy   string    `json:"dismissed_by,omitempty"`
}

// SetupStep is one part of it.
type SetupStep struct {
	State string `json:"state" enum:"missing,begun,done"`
	// ID and Name are of the one that is done, else the newest.
	ID   string    `json:"id,omitempty"`
	Name string    `json:"name,omitempty"`
	At   time.Time `json:"at,omitzero" doc:"When it was done."`
}

// SetupState reads it.
func (db *DB) SetupState(ctx context.Context) (s SetupState, err error) {
	b := &pgx.Batch{}
	step := func(to *SetupStep, text string) {
		to.State = "missing"
		b.Queue(text).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var at *time.Time
				if err := rows.Scan(&to.ID, &to.Name, &at); err != nil {
					return err
				}
				to.State, to.At = "begun", orZero(at)
				if at != nil {
					to.State = "done"
				}
			}
			return rows.Err()
		})
	}
	// The newest investigation that came to a result had a model, and hosts.
	const last = `WITH last AS (SELECT f.run_id, f.at FROM (SELECT number FROM incidents WHERE investigation IN ('concluded', 'inconclusive')
		ORDER BY number DESC LIMIT 1) AS n JOIN incidents i ON i.number = n.number JOIN findings f ON f.run_id = i.run_id) `
	step(&s.Provider, last+`SELECT p.id, p.name, coalesce(p.tested_at, l.at) AS at FROM providers p
		LEFT JOIN (SELECT r.provider_id, last.at FROM last JOIN runs r ON r.id = last.run_id) l ON l.provider_id = p.id
		ORDER BY at DESC NULLS LAST, p.created_at DESC, p.id DESC LIMIT 1`)
	step(&s.Source, `SELECT s.id, s.name, h.last_delivery_at FROM sources s LEFT JOIN source_health h ON h.source_id = s.id
		WHERE s.deleted_at IS NULL ORDER BY h.last_delivery_at DESC NULLS LAST, s.created_at DESC, s.id DESC LIMIT 1`)
	step(&s.Target, last+`SELECT t.id, t.name, coalesce(t.tested_at, l.at) AS at FROM targets t
		LEFT JOIN (SELECT DISTINCT c.arguments->>'target' AS name, last.at FROM last JOIN tool_calls c USING (run_id)
			JOIN tool_steps s USING (run_id, call_id) WHERE s.state = 'done') l ON l.name = t.name
		ORDER BY at DESC NULLS LAST, t.created_at DESC, t.id DESC LIMIT 1`)
	step(&s.Incident, `SELECT f.incident_id, '#' || i.number, f.at FROM (SELECT number FROM incidents WHERE investigation IN ('concluded', 'inconclusive')
			ORDER BY number DESC LIMIT 1) AS n JOIN incidents i ON i.number = n.number JOIN findings f ON f.run_id = i.run_id`)
	b.Queue(`SELECT number, investigation FROM incidents ORDER BY number DESC LIMIT 1`).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&s.Number, &s.Investigation); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	b.Queue(`SELECT wizard_dismissed_at, wizard_dismissed_by FROM installation`).QueryRow(func(row pgx.Row) error {
		var at *time.Time
		err := row.Scan(&at, &s.DismissedBy)
		s.DismissedAt = orZero(at)
		return err
	})
	if err := db.pool.SendBatch(ctx, b).Close(); err != nil {
		return s, mapError(fmt.Errorf("set-up: %w", err))
	}
	s.Complete = s.Provider.State == "done" && s.Source.State == "done" && s.Target.State == "done" && s.Incident.State == "done"
	return s, nil
}

// DismissSetup says that nobody is to be reminded of the set-up, or takes that back.
func (db *DB) DismissSetup(ctx context.Context, by string, dismiss bool) error {
	_, err := db.pool.Exec(ctx, `UPDATE installation SET wizard_dismissed_at = CASE WHEN $2 THEN now() END, wizard_dismissed_by = CASE WHEN $2 THEN $1 ELSE '' END`, by, dismiss)
	return mapError(err)
}
