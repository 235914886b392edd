package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// How much people may say before the agent has read it, and in an incident at all.
const (
	maxUnread = 20
	maxSaid   = 1000
)

// Say is what a person says to the agent of an incident.
type Say struct {
	Incident string
	Actor    string // user:NAME or the like
	Text     string
	// May refuses an actor who may not use that agent.
	May func(agent string) error
}

// Say stores what a person says to an incident's agent and gives it its number.
// A run that acts for the same person reads it before its next turn. One that
// acts for somebody else is not steered: it makes way, and a run for this person
// goes on with its conversation, so that who spoke last is who the tools are
// used for. If no run is live, one is queued that goes on with the newest. While
// one is being stopped nothing is taken: that is code conflict.
func (db *DB) Say(ctx context.Context, s Say) (seq int64, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		var severity ops.Severity
		var status ops.IncidentStatus
		var agent, newest string
		// Its run is read when the incident is locked, and not with it: a row that is
		// joined is the one of before the wait for the lock.
		if err := tx.QueryRow(ctx, `SELECT severity, status, coalesce(nullif(agent_id, ''), $2), coalesce(run_id::text, '')
			FROM incidents WHERE id = $1 FOR UPDATE`, s.Incident, DefaultAgent).
			Scan(&severity, &status, &agent, &newest); err != nil {
			return err
		}
		var run *ops.Run
		if newest != "" {
			if run, err = lockRun(ctx, tx, newest); err != nil {
				return err
			}
			agent = run.Agent
			why, err := stopping(ctx, tx, run.ID)
			if err != nil {
				return err
			}
			if why != "" && !run.State.Final() { // no run follows it that would read this
				return ops.Errorf(ops.CodeConflict, "the investigation is being stopped: say it again in a moment")
			}
		}
		if status == ops.IncidentMerged {
			return ops.Errorf(ops.CodeConflict, "the incident is a part of another one now: say it there")
		}
		if err := s.May(agent); err != nil {
			return err
		}
		var unread, said int
		if err := tx.QueryRow(ctx, `SELECT count(*) FILTER (WHERE NOT applied AND run_id = $2), count(*) FROM run_messages WHERE incident_id = $1`,
			s.Incident, orNullText(newest)).Scan(&unread, &said); err != nil {
			return err
		}
		if unread >= maxUnread || said >= maxSaid {
			return ops.Errorf(ops.CodeConflict, "the agent has not read the last messages yet, or there are %d in this incident: no more are taken", maxSaid)
		}
		to := newest
		if run == nil || run.State.Final() {
			to = ops.NewID()
		}
		e := ops.NewEvent(ops.EventPersonSaid, ops.PersonSaid{Text: s.Text})
		e.RunID, e.Actor = to, s.Actor
		if seq, err = appendEvents(ctx, tx, s.Incident, e); err != nil {
			return err
		}
		if to != newest {
			if err := startable(ctx, tx, agent); err != nil {
				return err
			}
			if err := queueRunAfter(ctx, tx, to, newest, s.Incident, agent, severity, s.Actor); err != nil {
				return err
			}
			// What a failed run was told by the same person, and never read.
			if _, err := tx.Exec(ctx, `UPDATE run_messages SET run_id = $2 WHERE incident_id = $1 AND NOT applied AND actor = $3
				AND run_id IN (SELECT id FROM runs WHERE incident_id = $1 AND state = 'failed')`, s.Incident, to, s.Actor); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO run_messages (incident_id, seq, run_id, actor, text, at) VALUES ($1, $2, $3, $4, $5, $6)`,
			s.Incident, seq, to, s.Actor, s.Text, e.At); err != nil {
			return err
		}
		if to != newest {
			return nil
		}
		if run.State != ops.RunRunning && run.Actor != s.Actor {
			return endRun(ctx, tx, run, ops.RunCancelled, strings.TrimPrefix(s.Actor, "user:")+" goes on with it")
		}
		return notify(ctx, tx, ChannelSaid, to)
	})
	return seq, err
}

// handOn queues a run that reads what was said to one that has ended without
// reading it, and goes on with its conversation. A run that people stopped, or
// that failed, is not followed by another.
func handOn(ctx context.Context, tx pgx.Tx, run *ops.Run) error {
	if run.State == ops.RunFailed {
		return nil
	}
	var actor string
	var severity ops.Severity
	err := tx.QueryRow(ctx, `SELECT m.actor, i.severity FROM run_messages m JOIN incidents i ON i.id = m.incident_id JOIN runs r ON r.id = m.run_id
		WHERE m.run_id = $1 AND NOT m.applied AND r.cancel_requested = '' AND i.run_id = r.id ORDER BY m.seq LIMIT 1`, run.ID).Scan(&actor, &severity)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	id := ops.NewID()
	if err := queueRunAfter(ctx, tx, id, run.ID, run.IncidentID, run.Agent, severity, actor); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE run_messages SET run_id = $2 WHERE run_id = $1 AND NOT applied`, run.ID, id)
	return err
}

// applyMessage notes that a run has read what was said to it. What somebody else
// said than the run acts for it cannot have read.
func applyMessage(ctx context.Context, tx pgx.Tx, run *ops.Run, e ops.Event) error {
	var a ops.Applied
	if err := json.Unmarshal(e.Data, &a); err != nil {
		return ops.Errorf(ops.CodeInvalid, "%s: malformed", e.Kind)
	}
	tag, err := tx.Exec(ctx, `UPDATE run_messages SET applied = true WHERE incident_id = $1 AND seq = $2 AND run_id = $3 AND actor = $4 AND NOT applied`,
		run.IncidentID, a.Seq, run.ID, run.Actor)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeInvalid, "nothing with number %d waits to be read by this run", a.Seq)
	}
	return err
}

// Unread gives what was said to these runs and they have not read, in order.
func (db *DB) Unread(ctx context.Context, runs []string) (map[string][]ops.RunMessage, error) {
	rows, err := db.pool.Query(ctx, `SELECT run_id, seq, actor, text, at FROM run_messages WHERE run_id = ANY($1::uuid[]) AND NOT applied ORDER BY run_id, seq LIMIT 1000`, runs)
	if err != nil {
		return nil, mapError(err)
	}
	out := map[string][]ops.RunMessage{}
	var run string
	var m ops.RunMessage
	_, err = pgx.ForEachRow(rows, []any{&run, &m.Seq, &m.Actor, &m.Text, &m.At}, func() error { out[run] = append(out[run], m); return nil })
	return out, mapError(err)
}

// messagesOf gives all that was said to a run, in order.
func (db *DB) messagesOf(ctx context.Context, run string) ([]ops.RunMessage, error) {
	rows, err := db.pool.Query(ctx, `SELECT seq, actor, text, at FROM run_messages WHERE run_id = $1 ORDER BY seq LIMIT 1000`, run)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m ops.RunMessage, err error) {
		var at time.Time
		err = row.Scan(&m.Seq, &m.Actor, &m.Text, &at)
		m.At = at.UTC()
		return m, err
	})
	return all, mapError(err)
}
