package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// StartCall is a call that the gateway is about to execute, or has denied.
type StartCall struct {
	Call ops.ToolCall // RunID or TokenID, ID, Tool, Arguments, Digest, Target, Command, Verdict, Rule
	// Instance is the gateway that executes (see HoldInstance). It is not used for a denied call.
	Instance int32
	// Denied is the result if the call is not to be executed.
	Denied *ops.ToolResult
	// Approval, if it is set, is used up by the start. One that was used or does
	// not stand any more is code forbidden, and nothing is written.
	Approval string
	// Ground, if it is set, is what was judged by, read at any time before. The
	// call starts only if all of it is still so, else nothing is written and the
	// error is [ErrStale].
	Ground *Ground
	// Audit says what was decided; it is written in the same transaction.
	Audit ops.AuditRecord
}

// ErrStale says that what a call was judged by is not so any more.
var ErrStale = &ops.Error{Code: ops.CodeUnavailable, Message: "what decides about the call has just changed: make it again"}

// CallRecord is a stored call, with who executes it.
type CallRecord struct {
	ops.ToolCall
	Instance int32 // of the gateway that started it; 0 if none did
}

// decided and executing are the data of those steps.
type decided struct {
	Target  string `json:"target,omitempty"`
	Command string `json:"command,omitempty"`
	Verdict string `json:"verdict"`
	Rule    string `json:"rule,omitempty"`
}

type executing struct {
	Instance int32 `json:"instance"`
}

// StartCall records the decision on a call and, unless it is denied, that its
// execution starts now, together with the audit record of that. It returns nil
// if the caller must go on, and the stored record if the key (holder, call id) is
// known: then nothing was written, and the caller must not execute. The same
// key with another digest is a conflict.
func (db *DB) StartCall(ctx context.Context, s StartCall) (*CallRecord, error) {
	c := s.Call
	err := db.withAudit(ctx, s.Audit, func(b *pgx.Batch) {
		state, data := ops.CallExecuting, any(executing{s.Instance})
		if s.Denied != nil {
			state, data = ops.CallDenied, s.Denied
		}
		var version, hash, deadline, incident, actor, agent, chain any
		if on := s.Ground; on != nil {
			g := on.Grant
			version, hash, deadline, incident, actor, agent, chain = on.version, on.hash, g.Deadline, orNullText(g.IncidentID), g.Requester, orNullText(g.Agent), orNone(g.Chain)
		}
		b.Queue(insertCall, c.Holder(), orNullText(c.TokenID), c.ID, c.Tool, c.Arguments, c.Digest,
			ops.CallDecided, decided{c.Target, c.Command, c.Verdict, c.Rule}, state, data, version, hash, deadline, incident, actor, agent, chain)
		if s.Approval != "" {
			queueUse(b, s.Approval)
		}
	})
	if err == nil {
		return nil, nil
	}
	if unusable(err) {
		return nil, ops.Errorf(ops.CodeForbidden, "the approval was used, or does not stand any more")
	}
	if stale(err) {
		return nil, ErrStale
	}
	if !violates(err, "tool_calls") {
		return nil, fmt.Errorf("start call: %w", mapError(err))
	}
	r, err := db.Call(ctx, c.Holder(), c.ID)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(r.Digest, c.Digest) {
		return nil, ops.Errorf(ops.CodeConflict, "call %s was made before with other arguments", c.ID)
	}
	return r, nil
}

const (
	// The holder is none, which the table refuses, if the call was judged by
	// something ($11 and on) that is not so any more.
	insertCall = `WITH call AS (INSERT INTO tool_calls (run_id, token_id, call_id, tool, arguments, digest, created_at)
			VALUES ((SELECT $1::uuid WHERE $11::uuid IS NULL OR EXISTS (SELECT FROM derived.rights WHERE version = $11) AND $13::timestamptz > now()
				AND ($2::uuid IS NOT NULL OR EXISTS (SELECT FROM runs r WHERE r.id = $1 AND r.state = 'running' AND r.gateway_token_hash = $12
					AND (r.deadline, r.incident_id, r.actor, r.agent_id, r.chain) = ($13, $14::uuid, $15::text, $16::text, $17::text[])))),
				$2, $3, $4, $5, $6, clock_timestamp()) RETURNING run_id, call_id)
		INSERT INTO tool_steps (run_id, call_id, state, at, data)
			SELECT run_id, call_id, $7, clock_timestamp(), $8::jsonb FROM call UNION ALL SELECT run_id, call_id, $9, clock_timestamp(), $10::jsonb FROM call`
	insertStep = `INSERT INTO tool_steps (run_id, call_id, state, at, data) VALUES ($1, $2, $3, clock_timestamp(), $4)`
)

// prepareCall prepares what a tool call waits for on a new connection. A database
// without our schema is for others to find out.
func prepareCall(ctx context.Context, c *pgx.Conn) error {
	for _, sql := range []string{selectRights, selectTokenGrants, selectWay, insertCall, insertStep, insertAudit} {
		if _, err := c.Prepare(ctx, sql, sql); err != nil {
			if _, refused := errors.AsType[*pgconn.PgError](err); !refused {
				return err
			}
		}
	}
	return nil
}

// violates says whether err is a key of that table that is taken.
func violates(err error, table string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" && e.TableName == table
}

// unstorable says whether err is about a value that Postgres cannot take: its
// class 22, such as NUL in a text and numbers that are too large.
func unstorable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(e.Code, "22")
}

// stale says whether err is a call without a holder, which insertCall makes of
// one that was judged by what is not so any more.
func stale(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23502" && e.TableName == "tool_calls" && e.ColumnName == "run_id"
}

// FinishCall records the outcome of a started call and its audit record, and
// gives what is stored. A call ends once: if an outcome is stored already, that
// one is returned and nothing is written. What Postgres cannot take of an outcome
// is left out: it would refuse it for ever. The state of result must be final.
func (db *DB) FinishCall(ctx context.Context, holder string, result ops.ToolResult, audit ops.AuditRecord) (ops.ToolResult, error) {
	if !result.State.Final() {
		return result, fmt.Errorf("finish call: state %q is not final", result.State)
	}
	err := db.withAudit(ctx, audit, func(b *pgx.Batch) { b.Queue(insertStep, holder, result.ID, result.State, result) })
	if err == nil {
		return result, nil
	}
	less := result
	less.Data, less.Text = nil, ops.Storable(result.Text)
	if unstorable(err) && (result.Data != nil || result.Text != less.Text) {
		return db.FinishCall(ctx, holder, less, audit)
	}
	if !violates(err, "tool_steps") {
		return result, fmt.Errorf("finish call: %w", mapError(err))
	}
	r, err := db.Call(ctx, holder, result.ID)
	if err != nil {
		return result, err
	}
	if r.Result == nil {
		return result, errors.New("finish call: it has a final step and no result")
	}
	return *r.Result, nil
}

// Call gives one stored call of a run or of a gateway token.
func (db *DB) Call(ctx context.Context, holder, call string) (*CallRecord, error) {
	calls, err := db.calls(ctx, `WHERE c.run_id = $1 AND c.call_id = $2`, holder, call)
	if err != nil {
		return nil, err
	}
	if len(calls) == 0 {
		return nil, ops.Errorf(ops.CodeNotFound, "there is no such call %s", call)
	}
	return &calls[0], nil
}

// Calls gives the calls of all runs of an incident, oldest first.
func (db *DB) Calls(ctx context.Context, incident string) ([]ops.ToolCall, error) {
	records, err := db.calls(ctx, `JOIN runs r ON r.id = c.run_id WHERE r.incident_id = $1 ORDER BY c.created_at, c.call_id LIMIT 1000`, incident)
	return callsOf(records), err
}

func callsOf(records []CallRecord) []ops.ToolCall {
	calls := make([]ops.ToolCall, len(records))
	for i := range records {
		calls[i] = records[i].ToolCall
	}
	return calls
}

func (db *DB) calls(ctx context.Context, which string, args ...any) ([]CallRecord, error) {
	rows, err := db.pool.Query(ctx, `SELECT coalesce(c.of_run::text, ''), coalesce(c.token_id::text, ''), c.call_id, c.tool, c.arguments, c.digest, c.created_at,
			(SELECT jsonb_object_agg(s.state, s.data) FROM tool_steps s WHERE s.run_id = c.run_id AND s.call_id = c.call_id),
			coalesce((SELECT e.start + e.size FROM evidence e WHERE e.run_id = c.run_id AND e.call_id = c.call_id ORDER BY e.n DESC LIMIT 1), 0)
		FROM tool_calls c `+which, args...)
	if err != nil {
		return nil, mapError(err)
	}
	records, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r CallRecord, err error) {
		var steps map[ops.CallState]json.RawMessage
		if err := row.Scan(&r.RunID, &r.TokenID, &r.ID, &r.Tool, &r.Arguments, &r.Digest, &r.CreatedAt, &steps, &r.Kept); err != nil {
			return r, err
		}
		return r, r.read(steps)
	})
	return records, mapError(err)
}

// read fills r from its steps.
func (r *CallRecord) read(steps map[ops.CallState]json.RawMessage) error {
	r.State = ops.CallReceived
	if data, ok := steps[ops.CallDecided]; ok {
		var d decided
		if err := json.Unmarshal(data, &d); err != nil {
			return err
		}
		r.State, r.Target, r.Command, r.Verdict, r.Rule = ops.CallDecided, d.Target, d.Command, d.Verdict, d.Rule
	}
	if data, ok := steps[ops.CallExecuting]; ok {
		var e executing
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		r.State, r.Instance = ops.CallExecuting, e.Instance
	}
	for _, final := range []ops.CallState{ops.CallDone, ops.CallFailed, ops.CallDenied, ops.CallUnknown} {
		if data, ok := steps[final]; ok {
			r.State, r.Result = final, &ops.ToolResult{}
			return json.Unmarshal(data, r.Result)
		}
	}
	return nil
}
