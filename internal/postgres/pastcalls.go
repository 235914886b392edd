package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// PastCall is a call that an agent once made.
type PastCall struct {
	RunID, CallID, IncidentID string
	Tool                      string
	Arguments                 json.RawMessage
	At                        time.Time
	Verdict                   string // what was decided then
}

// maxPastRuns bounds how far [DB.PastCalls] looks back, whatever the time.
const maxPastRuns = 1000

// PastCalls gives the calls of an agent's newest runs since a time, at most
// limit of them, one by one: their arguments together may be large. It ends with
// the first error of each.
func (db *DB) PastCalls(ctx context.Context, agent string, since time.Time, limit int, each func(PastCall) error) error {
	rows, err := db.pool.Query(ctx, `SELECT c.run_id, c.call_id, r.incident_id, c.tool, c.arguments, c.created_at, coalesce(s.data->>'verdict', '')
		FROM (SELECT id, incident_id, created_at FROM runs WHERE agent_id = $1 AND created_at >= $2 ORDER BY created_at DESC LIMIT $4) r
		JOIN tool_calls c ON c.run_id = r.id
		LEFT JOIN tool_steps s ON s.run_id = c.run_id AND s.call_id = c.call_id AND s.state = 'decided'
		ORDER BY r.created_at DESC, c.created_at DESC LIMIT $3`, agent, since, limit, maxPastRuns)
	if err != nil {
		return mapError(err)
	}
	var c PastCall
	_, err = pgx.ForEachRow(rows, []any{&c.RunID, &c.CallID, &c.IncidentID, &c.Tool, &c.Arguments, &c.At, &c.Verdict}, func() error {
		return each(c)
	})
	return mapError(err)
}
