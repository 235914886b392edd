package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// SetBudget stores a budget in place of the one of its scope.
func (db *DB) SetBudget(ctx context.Context, b ops.Budget) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO budgets (scope, runs, tokens, usd, updated_by) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (scope) DO UPDATE SET runs = excluded.runs, tokens = excluded.tokens, usd = excluded.usd, updated_by = excluded.updated_by, updated_at = now()`,
		b.Scope, b.Runs, b.Tokens, b.USD, b.UpdatedBy)
	return mapError(err)
}

// RemoveBudget removes the budget of a scope; none is code not found.
func (db *DB) RemoveBudget(ctx context.Context, scope string) error {
	tag, err := db.pool.Exec(ctx, `DELETE FROM budgets WHERE scope = $1`, scope)
	if err == nil && tag.RowsAffected() == 0 {
		return ops.Errorf(ops.CodeNotFound, "there is no such budget")
	}
	return mapError(err)
}

// Budgets gives all of them: one for all runs and one for each source, at most.
func (db *DB) Budgets(ctx context.Context) ([]ops.Budget, error) {
	rows, err := db.pool.Query(ctx, `SELECT scope, runs, tokens, usd, updated_at, updated_by FROM budgets ORDER BY scope <> 'all', scope`)
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b ops.Budget, err error) {
		err = row.Scan(&b.Scope, &b.Runs, &b.Tokens, &b.USD, &b.UpdatedAt, &b.UpdatedBy)
		return b, err
	})
	return all, mapError(err)
}

// Usage gives what was spent each day since the given one, newest first.
func (db *DB) Usage(ctx context.Context, since time.Time) ([]ops.DayUsage, error) {
	rows, err := db.pool.Query(ctx, `SELECT to_char(u.day, 'YYYY-MM-DD'), u.source, coalesce(s.name, ''), u.runs, u.input_tokens, u.output_tokens, u.usd, u.unpriced
		FROM usage_days u LEFT JOIN sources s ON s.id::text = u.source WHERE u.day >= $1::date ORDER BY u.day DESC, u.source LIMIT 10000`, since.UTC().Format(time.DateOnly))
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u ops.DayUsage, err error) {
		err = row.Scan(&u.Day, &u.SourceID, &u.Source, &u.Runs, &u.InputTokens, &u.OutputTokens, &u.USD, &u.Unpriced)
		return u, err
	})
	return all, mapError(err)
}

// OverBudget says why a run may spend no more today, "" if it may: a budget that
// holds for it is used up. started says whether the run is counted already.
func (db *DB) OverBudget(ctx context.Context, run string, started bool) (reason string, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) (err error) { reason, err = overBudget(ctx, tx, run, started); return err })
	return reason, err
}

func overBudget(ctx context.Context, tx pgx.Tx, run string, started bool) (string, error) {
	rows, err := tx.Query(ctx, `WITH mine AS (SELECT coalesce(i.source_id::text, '') AS source FROM runs r JOIN incidents i ON i.id = r.incident_id WHERE r.id = $1)
		SELECT b.scope, coalesce(s.name, ''), b.runs, b.tokens, b.usd, coalesce(sum(u.runs), 0)::bigint, coalesce(sum(u.input_tokens + u.output_tokens), 0)::bigint, coalesce(sum(u.usd), 0)
		FROM budgets b CROSS JOIN mine LEFT JOIN usage_days u ON u.day = (now() AT TIME ZONE 'UTC')::date AND (b.scope = 'all' OR u.source = b.scope)
		LEFT JOIN sources s ON s.id::text = b.scope
		WHERE b.scope IN ('all', mine.source) GROUP BY b.scope, s.name, b.runs, b.tokens, b.usd`, run)
	if err != nil {
		return "", err
	}
	var scope, name string
	var b ops.Budget
	var runs, tokens int64
	var usd float64
	reason := ""
	_, err = pgx.ForEachRow(rows, []any{&scope, &name, &b.Runs, &b.Tokens, &b.USD, &runs, &tokens, &usd}, func() error {
		of := "today's budget"
		if scope != ops.BudgetAll {
			of += " of source " + name
		}
		switch {
		case reason != "":
		case b.Runs > 0 && !started && runs >= b.Runs:
			reason = fmt.Sprintf("%s of %d investigations is used up", of, b.Runs)
		case b.Tokens > 0 && tokens >= b.Tokens:
			reason = fmt.Sprintf("%s of %d tokens is used up", of, b.Tokens)
		case b.USD > 0 && usd >= b.USD:
			reason = fmt.Sprintf("%s of %s USD is used up", of, strconv.FormatFloat(b.USD, 'f', 2, 64))
		}
		return nil
	})
	return reason, err
}

// spend adds what a turn cost to its run and to the day. It comes last in a
// transaction: many runs share the row of a day.
func spend(ctx context.Context, tx pgx.Tx, run *ops.Run, all []ops.Usage) error {
	var in, out, unpriced int64
	var usd float64
	for _, u := range all {
		in, out = in+max(0, u.InputTokens), out+max(0, u.OutputTokens)
		if u.CostUSD == nil {
			unpriced++
		} else if c := *u.CostUSD; c > 0 && c < 1e6 {
			usd += c
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE runs SET input_tokens = input_tokens + $2, output_tokens = output_tokens + $3, usd = usd + $4, unpriced = unpriced OR $5 WHERE id = $1`,
		run.ID, in, out, usd, unpriced > 0); err != nil {
		return err
	}
	if err := tally(ctx, tx, run.IncidentID, 0, in, out, usd, unpriced); err != nil {
		return err
	}
	return tallyParts(ctx, tx, run.Agent, all)
}

// tallyParts adds turns to what their agent and their models have spent today,
// in one order, since many runs share the rows.
func tallyParts(ctx context.Context, tx pgx.Tx, agent string, all []ops.Usage) error {
	whole := usagePart{kind: "agent", name: agent}
	models := map[string]*usagePart{}
	for _, u := range all {
		name := u.Model
		if u.Provider != "" {
			name = u.Provider + " / " + u.Model
		}
		m := models[name]
		if m == nil {
			m = &usagePart{kind: "model", name: name}
			models[name] = m
		}
		m.add(u)
		m.n++
		whole.add(u)
	}
	if err := whole.store(ctx, tx); err != nil {
		return err
	}
	for _, name := range sortedKeys(models) {
		if err := models[name].store(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// usagePart is what an agent or a model has spent.
type usagePart struct {
	kind, name           string
	n, in, out, unpriced int64
	usd                  float64
}

func (p *usagePart) add(u ops.Usage) {
	p.in, p.out = p.in+max(0, u.InputTokens), p.out+max(0, u.OutputTokens)
	if u.CostUSD == nil {
		p.unpriced++
	} else if c := *u.CostUSD; c > 0 && c < 1e6 {
		p.usd += c
	}
}

func (p *usagePart) store(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO usage_parts (day, kind, name, n, input_tokens, output_tokens, usd, unpriced)
		VALUES ((now() AT TIME ZONE 'UTC')::date, $1, left($2, 200), $3, $4, $5, $6, $7)
		ON CONFLICT (day, kind, name) DO UPDATE SET n = usage_parts.n + excluded.n, input_tokens = usage_parts.input_tokens + excluded.input_tokens,
			output_tokens = usage_parts.output_tokens + excluded.output_tokens, usd = usage_parts.usd + excluded.usd, unpriced = usage_parts.unpriced + excluded.unpriced`,
		p.kind, p.name, p.n, p.in, p.out, p.usd, p.unpriced)
	return err
}

// UsageParts gives what agents and models have spent each day since the given
// one, newest first.
func (db *DB) UsageParts(ctx context.Context, since time.Time) ([]ops.UsagePart, error) {
	rows, err := db.pool.Query(ctx, `SELECT to_char(day, 'YYYY-MM-DD'), kind, name, n, input_tokens, output_tokens, usd, unpriced
		FROM usage_parts WHERE day >= $1::date ORDER BY day DESC, kind, name LIMIT 10000`, since.UTC().Format(time.DateOnly))
	if err != nil {
		return nil, mapError(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u ops.UsagePart, err error) {
		err = row.Scan(&u.Day, &u.Kind, &u.Name, &u.Count, &u.InputTokens, &u.OutputTokens, &u.USD, &u.Unpriced)
		return u, err
	})
	return all, mapError(err)
}

// tally adds to what was spent today.
func tally(ctx context.Context, tx pgx.Tx, incident string, runs, in, out int64, usd float64, unpriced int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO usage_days (day, source, runs, input_tokens, output_tokens, usd, unpriced)
		SELECT (now() AT TIME ZONE 'UTC')::date, coalesce(source_id::text, ''), $2, $3, $4, $5, $6 FROM incidents WHERE id = $1
		ON CONFLICT (day, source) DO UPDATE SET runs = usage_days.runs + excluded.runs, input_tokens = usage_days.input_tokens + excluded.input_tokens,
			output_tokens = usage_days.output_tokens + excluded.output_tokens, usd = usage_days.usd + excluded.usd, unpriced = usage_days.unpriced + excluded.unpriced`,
		incident, runs, in, out, usd, unpriced)
	return err
}
