package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// AuditPlace is where a record is among all, newest first.
type AuditPlace struct {
	At    time.Time
	Chain string
	Seq   int64
}

// AuditFilter selects records of all chains; empty fields select all.
type AuditFilter struct {
	Chain    string
	Actor    string // with what it acts through, as in "user:ann token:ide"
	Action   string // or what it begins with
	Object   string
	Run      string
	Incident string // its id: what was done to it, and what its runs have done
	Outcome  string
	From, To time.Time  // of From and before To
	Before   AuditPlace // the last one of the page before
	Limit    int        // at most 200; 0 means 50
}

const (
	// auditWindow is how many rows of an index a search looks at for a page.
	auditWindow = 10_000
	// auditSpread is that for each of several values that it looks for at once.
	auditSpread = 2_000
	// maxAuditValues bounds those: actions of a beginning, what an actor acts through.
	// Where there are more, the search goes along the time and looks at each record.
	maxAuditValues = 100
)

// SearchAudit gives a page of records, newest first. A filter that no index is for
// as a whole is looked for in a bounded number of rows: if there are more, place
// says how far it looked, and the next page goes on there. It is nil if there is
// nothing more.
func (db *DB) SearchAudit(ctx context.Context, f AuditFilter) (found []ops.AuditRecord, place *AuditPlace, err error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	q := auditQuery{}
	if err := db.auditWindow(ctx, &q, f); err != nil {
		return nil, nil, mapError(err)
	}
	rows, err := db.pool.Query(ctx, q.text(f.Limit), q.args...)
	if err != nil {
		return nil, nil, mapError(err)
	}
	// One row says how far the window went; its record is not one.
	var looked auditFound
	all, err := pgx.CollectRows(rows, scanAuditFound)
	if err != nil {
		return nil, nil, mapError(err)
	}
	for _, r := range all {
		if r.rows >= 0 {
			looked = r
			continue
		}
		found = append(found, r.AuditRecord)
	}
	switch {
	case len(found) == f.Limit:
		last := found[len(found)-1]
		return found, &AuditPlace{last.At, last.Chain, last.Seq}, nil
	case looked.rows >= q.window:
		return found, &AuditPlace{looked.At, looked.Chain, looked.Seq}, nil
	}
	return found, nil, nil
}

// auditQuery is put together from fixed pieces; what comes from outside is an argument.
type auditQuery struct {
	from   string   // the rows of the window, not all in order yet; @ is their number
	rest   []string // what they are filtered by
	args   []any
	window int
}

func (q *auditQuery) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// text is the statement: the window along one index, filtered, and behind it how
// far the window went.
func (q *auditQuery) text(limit int) string {
	if len(q.rest) == 0 {
		q.window = limit
	}
	where := ""
	if len(q.rest) > 0 {
		where = ` WHERE ` + strings.Join(q.rest, ` AND `)
	}
	from := strings.ReplaceAll(q.from, "@", strconv.Itoa(q.window))
	return `WITH looked AS MATERIALIZED (SELECT * FROM (` + from + `) AS w ORDER BY at DESC, chain DESC, seq DESC LIMIT ` + strconv.Itoa(q.window) + `)
		(SELECT ` + auditColumns + `, -1 FROM looked` + where + ` ORDER BY at DESC, chain DESC, seq DESC LIMIT ` + strconv.Itoa(limit) + `)
		UNION ALL
		(SELECT coalesce(l.chain, ''), coalesce(l.seq, 0), coalesce(l.at, now()), '', '', '', '', '', '{}', '', '', 0, '', NULL, n.rows
		FROM (SELECT count(*)::int AS rows FROM looked) AS n
		LEFT JOIN LATERAL (SELECT chain, seq, at FROM looked ORDER BY at, chain, seq LIMIT 1) AS l ON true)`
}

// auditFound is a row of the answer.
type auditFound struct {
	ops.AuditRecord
	rows int
}

func scanAuditFound(row pgx.CollectableRow) (r auditFound, err error) {
	err = row.Scan(&r.Chain, &r.Seq, &r.At, &r.Actor, &r.Action, &r.Object, &r.RunID, &r.Outcome, &r.Detail, &r.Prev, &r.Hash, &r.First, &r.Key, &r.Signature, &r.rows)
	r.At = r.At.UTC()
	return r, err
}

// auditWindow chooses the index that the search goes along, the one that is
// expected to leave the fewest rows, and puts the other conditions behind it.
func (db *DB) auditWindow(ctx context.Context, q *auditQuery, f AuditFilter) error {
	q.window = auditWindow
	if f.Before.At.IsZero() {
		f.Before = AuditPlace{time.Now().Add(24 * time.Hour), "~", 0}
	}
	if !f.To.IsZero() && !f.To.After(f.Before.At) {
		f.Before = AuditPlace{f.To, "", 0}
	}
	where := `(at, chain, seq) < (` + q.arg(f.Before.At) + `, ` + q.arg(f.Before.Chain) + `, ` + q.arg(f.Before.Seq) + `)`
	if !f.From.IsZero() {
		where += ` AND at >= ` + q.arg(f.From)
	}
	const newest = ` ORDER BY at DESC, chain DESC, seq DESC LIMIT @`
	one := func(condition string) string {
		return `SELECT * FROM audit WHERE ` + condition + ` AND ` + where + newest
	}
	// each is one for every value of a list.
	each := func(condition, values string) string {
		return `SELECT a.* FROM unnest(` + values + `::text[]) AS v(value) CROSS JOIN LATERAL (SELECT * FROM audit WHERE ` + condition + ` AND ` + where +
			newest + `) AS a`
	}
	var actors, actions []string
	var err error
	if f.Actor != "" {
		if actors, err = db.auditValues(ctx, auditActors, f.Actor+" "); err != nil {
			return err
		}
		actors = append(actors, f.Actor)
	}
	if f.Action != "" {
		if actions, err = db.auditValues(ctx, auditActions, f.Action); err != nil {
			return err
		}
	}
	ofActor, ofAction := auditCondition{"actor", `actor = ANY($::text[])`, actors, f.Actor != ""}, auditCondition{"action", `action = ANY($::text[])`, actions, f.Action != ""}
	if len(actors) > maxAuditValues {
		ofActor.condition, ofActor.value = `starts_with(actor || ' ', $)`, f.Actor+" "
	}
	if len(actions) > maxAuditValues {
		ofAction.condition, ofAction.value = `starts_with(action, $)`, f.Action
	}
	refused := slices.Contains([]string{"denied", "failed", "unknown"}, f.Outcome)
	along := ""
	switch {
	case f.Object != "":
		along, q.from = "object", one(`object = `+q.arg(f.Object))
	case f.Run != "":
		along, q.from = "run", one(`run_id <> '' AND run_id = `+q.arg(f.Run))
	case f.Incident != "":
		incident := q.arg(f.Incident)
		along, q.window = "incident", auditSpread
		q.from = `(` + one(`object = `+incident+` AND run_id = ''`) + `) UNION ALL (` +
			each(`run_id <> '' AND run_id = v.value`, `(SELECT array_agg(id) FROM runs WHERE incident_id = `+incident+`::uuid)`) + `)`
	case f.Actor != "" && len(actors) <= maxAuditValues:
		along, q.window, q.from = "actor", auditSpread, each(`actor COLLATE "C" = v.value`, q.arg(actors))
	case refused:
		along, q.from = "outcome", one(`outcome IN ('denied', 'failed', 'unknown')`)
		q.rest = append(q.rest, `outcome = `+q.arg(f.Outcome))
	case f.Action != "" && len(actions) <= maxAuditValues:
		along, q.window, q.from = "action", auditSpread, each(`action COLLATE "C" = v.value`, q.arg(actions))
	case f.Chain != "":
		along, q.from = "chain", one(`chain = `+q.arg(f.Chain))
	default:
		q.from = one(`true`)
	}
	for _, other := range []auditCondition{
		{"run", `run_id = $`, f.Run, f.Run != ""},
		{"incident", `(object = $ OR run_id IN (SELECT id::text FROM runs WHERE incident_id = $::uuid))`, f.Incident, f.Incident != ""},
		ofActor,
		{"outcome", `outcome = $`, f.Outcome, f.Outcome != ""},
		ofAction,
		{"chain", `chain = $`, f.Chain, f.Chain != ""},
	} {
		if other.set && other.name != along {
			q.rest = append(q.rest, strings.ReplaceAll(other.condition, "$", q.arg(other.value)))
		}
	}
	return nil
}

// auditCondition is what a record is filtered by; $ is the value.
type auditCondition struct {
	name, condition string
	value           any
	set             bool
}

// The different values of a column that begin with $1 and are before $2, found by
// jumping along its index from one to the next.
const (
	auditActors = `WITH RECURSIVE v(value) AS (
			(SELECT actor COLLATE "C" FROM audit WHERE actor COLLATE "C" >= $1 AND actor COLLATE "C" < $2 ORDER BY actor COLLATE "C" LIMIT 1)
			UNION ALL
			SELECT (SELECT actor COLLATE "C" FROM audit WHERE actor COLLATE "C" > v.value AND actor COLLATE "C" < $2 ORDER BY actor COLLATE "C" LIMIT 1)
			FROM v WHERE v.value IS NOT NULL)
		SELECT value FROM v WHERE value IS NOT NULL LIMIT $3`
	auditActions = `WITH RECURSIVE v(value) AS (
			(SELECT action COLLATE "C" FROM audit WHERE action COLLATE "C" >= $1 AND action COLLATE "C" < $2 ORDER BY action COLLATE "C" LIMIT 1)
			UNION ALL
			SELECT (SELECT action COLLATE "C" FROM audit WHERE action COLLATE "C" > v.value AND action COLLATE "C" < $2 ORDER BY action COLLATE "C" LIMIT 1)
			FROM v WHERE v.value IS NOT NULL)
		SELECT value FROM v WHERE value IS NOT NULL LIMIT $3`
)

func (db *DB) auditValues(ctx context.Context, statement, prefix string) ([]string, error) {
	rows, err := db.pool.Query(ctx, statement, prefix, prefix+"\U0010FFFF", maxAuditValues+1)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
