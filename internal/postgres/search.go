package postgres

import (
	"context"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// None stands for "without" in the filters where an empty text cannot be given:
// opened by hand, and never investigated.
const None = "none"

// IncidentFilter selects incidents; empty fields select all. Several values of
// one field are alternatives, and so are several labels of one key.
type IncidentFilter struct {
	Statuses       []ops.IncidentStatus
	Severities     []ops.Severity
	Sources        []string // ids, or None
	Services       []string
	Investigations []string // states of a run, or None
	Assignees      []string
	Labels         []string // "key:value"
	// Text is words that all have to be in the title, the service or the alerts'
	// titles, hosts, summaries or labels. The last one may be unfinished.
	// "#42" is the incident of that number.
	Text                      string
	OpenedAfter, OpenedBefore time.Time // from the first on, and before the second

	Before int64 // numbers below it; 0 means from the newest
	Limit  int   // at most 200; 0 means 50
}

// A list is looked for in two ways. Postgres alone would have to guess which is
// the better one, and guesses badly where conditions depend on each other: closed
// incidents are old, and an alert's name goes with its service.
//
//  1. One by one among the incidents right below the cursor, window by window:
//     what many fulfil is found there, after few steps.
//  2. What is left is rare. The newest that fulfil the conditions on status, time
//     and the like are asked for their words and labels; if these are many, the
//     index of words and labels is.
const (
	few         = 2000 // incidents that are looked up one by one
	facetSample = 1000 // that are counted at most
	labelSample = 500  // whose labels are counted at most
	enough      = 50   // of the newest tell how common values are, when finding more would take long
)

// windows are how many numbers are looked through at a time. The second is
// always looked through, those behind it if enough is to be expected there.
var windows = [...]int64{1200, 2800, 4000, 4000}

const allWindows = 12_000

// Incidents gives a page of incidents, newest first.
func (db *DB) Incidents(ctx context.Context, f IncidentFilter) ([]ops.Incident, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	page := part{enough: f.Limit, most: f.Limit}
	if err := db.find(ctx, f, &page); err != nil || len(page.found) == 0 {
		return nil, err
	}
	rows, err := db.pool.Query(ctx, selectIncidents+` WHERE i.number = ANY($1::bigint[]) ORDER BY i.number DESC`, numbers(page.found))
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, scanIncident)
	return items, mapError(err)
}

// part is a selection of incidents: what fulfils a filter, or all of its
// conditions but one.
type part struct {
	without string // the condition's name; empty for none
	enough  int    // more are not looked for if it takes long
	most    int    // more are never looked for

	found []match // the newest
	all   bool    // there are no others
}

func (p *part) done() bool { return p.all || len(p.found) >= p.enough }

// match is an incident as far as it is counted.
type match struct {
	number int64
	of     [dimensions]string
	missed uint64 // the condition that it does not fulfil, as a bit for the part without it
}

const selectMatches = `SELECT number, status, severity, investigation, coalesce(source_id::text, ''), service`

// find fills the parts of what a filter selects. The first is the filter's own.
func (db *DB) find(ctx context.Context, f IncidentFilter, parts ...*part) error {
	c, ok := f.conditions("")
	if !ok {
		for _, p := range parts {
			p.all = true
		}
		return nil
	}
	if !c.ordered() || len(parts) > 1 && !c.one() {
		if err := db.lookThrough(ctx, f, c, parts); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if !p.done() {
			if err := db.lookUp(ctx, f, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookThrough looks for all parts at once in the windows below the cursor.
func (db *DB) lookThrough(ctx context.Context, f IncidentFilter, c conditions, parts []*part) error {
	oldest, newest, err := db.numbersBelow(ctx, f.Before)
	if err != nil {
		return err
	}
	before, looked := newest+1, int64(0)
	for n, window := range windows {
		var open []*part
		hopeful := n <= 1
		for _, p := range parts {
			if len(p.found) < p.most && (n <= 1 || !p.done()) {
				open = append(open, p)
				hopeful = hopeful || int64(len(p.found))*allWindows >= int64(p.enough)*looked
			}
		}
		if len(open) == 0 || !hopeful {
			return nil
		}
		from := max(before-window, oldest)
		found, err := db.matches(ctx, c.between(from, before, open))
		if err != nil {
			return err
		}
		for _, p := range open {
			p.add(found, open)
			p.all = from == oldest && len(p.found) < p.most
		}
		if from == oldest {
			return nil
		}
		before, looked = from, looked+window
	}
	return nil
}

// add adds those that are in the part, which is one of parts.
func (p *part) add(found []match, parts []*part) {
	for _, m := range found {
		if len(p.found) < p.most && (m.missed == 0 || parts[bits.TrailingZeros64(m.missed)] == p) {
			p.found = append(p.found, m)
		}
	}
}

// lookUp finds a part with the help of the indexes.
func (db *DB) lookUp(ctx context.Context, f IncidentFilter, p *part) (err error) {
	c, _ := f.conditions(p.without)
	if c.has(onTerms) && c.has(onIncident) {
		others := f
		others.Labels, others.Text = nil, ""
		o, _ := others.conditions(p.without)
		candidates, err := db.numbers(ctx, o.newest(f.Before, few+1))
		if err != nil {
			return err
		}
		p.found, err = db.matches(ctx, c.among(candidates, p.most))
		if err != nil {
			return err
		}
		p.all = len(candidates) <= few && len(p.found) < p.most
		if len(candidates) <= few || p.done() {
			return nil
		}
	}
	p.found, err = db.matches(ctx, c.everywhere(f.Before, p.most))
	p.all = err == nil && len(p.found) < p.most
	return err
}

// numbersBelow gives the oldest and the newest number below one; 0 is no bound.
// The newest is one less than the oldest if there are none.
func (db *DB) numbersBelow(ctx context.Context, before int64) (oldest, newest int64, err error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	err = db.pool.QueryRow(ctx, `SELECT coalesce(min(number), 1), coalesce(max(number), 0) FROM incidents WHERE number < $1`, before).Scan(&oldest, &newest)
	return oldest, newest, mapError(err)
}

func (db *DB) matches(ctx context.Context, q statement) ([]match, error) {
	// Planned anew each time: the plan for a rare value is a bad one for a common one.
	rows, err := db.pool.Query(ctx, q.text, append([]any{pgx.QueryExecModeCacheDescribe}, q.args...)...)
	if err != nil {
		return nil, mapError(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m match, err error) {
		err = row.Scan(&m.number, &m.of[byStatus], &m.of[bySeverity], &m.of[byInvestigation], &m.of[bySource], &m.of[byService], &m.missed)
		return m, err
	})
	return found, mapError(err)
}

func (db *DB) numbers(ctx context.Context, q statement) ([]int64, error) {
	rows, err := db.pool.Query(ctx, q.text, append([]any{pgx.QueryExecModeCacheDescribe}, q.args...)...)
	if err != nil {
		return nil, mapError(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return found, mapError(err)
}

func numbers(found []match) []int64 {
	out := make([]int64, len(found))
	for n := range found {
		out[n] = found[n].number
	}
	return out
}

// dimension is a column of incidents that facets count by.
type dimension int

const (
	byStatus dimension = iota
	bySeverity
	byInvestigation
	bySource
	byService
	dimensions // how many there are
)

// columns are theirs, and the names of the conditions on them.
var columns = [dimensions]string{"status", "severity", "investigation", "source_id", "service"}

// labelCondition is the name of the condition on a key of labels.
func labelCondition(key string) string { return "label " + key }

// statement is a text and what its parameters stand for.
type statement struct {
	text string
	args []any
}

func (s *statement) arg(v any) string {
	s.args = append(s.args, v)
	return "$" + strconv.Itoa(len(s.args))
}

// conditions are a filter as SQL.
type conditions struct {
	statement
	each []condition
}

type condition struct {
	name string
	on   table
	text string
}

// table is where a condition can be judged.
type table bool

const (
	onIncident table = false // columns that incidents and incident_search both have
	onTerms    table = true  // those of incident_search alone
)

func (c *conditions) add(name string, on table, text string) {
	c.each = append(c.each, condition{name, on, text})
}

// conditions gives those of a filter but for one, and false if nothing can
// fulfil them. The quick ones come first.
func (f IncidentFilter) conditions(except string) (c conditions, ok bool) {
	for d, values := range f.values() {
		if len(values) > 0 && columns[d] != except {
			text := c.is(dimension(d), values)
			if dimension(d) == byStatus && open(f.Statuses) {
				text += ` AND status IN ('triggered', 'acknowledged')` // as incidents_open says it
			}
			c.add(columns[d], onIncident, text)
		}
	}
	if len(f.Assignees) > 0 {
		c.add("", onIncident, `assignee = ANY(`+c.arg(f.Assignees)+`) AND assignee <> ''`)
	}
	if !f.OpenedAfter.IsZero() {
		c.add("", onIncident, `opened_at >= `+c.arg(f.OpenedAfter))
	}
	if !f.OpenedBefore.IsZero() {
		c.add("", onIncident, `opened_at < `+c.arg(f.OpenedBefore))
	}
	if number, ok := numberOf(f.Text); ok {
		c.add("number", onIncident, `number = `+c.arg(number))
	} else if f.Text != "" {
		query := searchQuery(f.Text)
		if query == "" {
			return c, false // nothing in it that is ever stored
		}
		c.add("", onTerms, `words @@ `+c.arg(query)+`::text::tsquery`)
	}
	alternatives := byKey(f.Labels)
	for _, key := range sortedKeys(alternatives) {
		if name := labelCondition(key); name != except {
			c.add(name, onTerms, `labels && `+c.arg(alternatives[key])+`::text[]`)
		}
	}
	return c, true
}

// values are those that a filter selects of each dimension; none is all.
func (f IncidentFilter) values() [dimensions][]string {
	return [dimensions][]string{byStatus: texts(f.Statuses), bySeverity: texts(f.Severities), byInvestigation: f.Investigations, bySource: f.Sources, byService: f.Services}
}

// without says how a row has none of a dimension, where [None] asks for that.
var without = [dimensions]string{byInvestigation: ` = ''`, bySource: ` IS NULL`}

// is says that a dimension has one of some values.
func (s *statement) is(d dimension, values []string) string {
	column := columns[d]
	given := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return without[d] != "" && v == None })
	var parts []string
	switch {
	case len(given) > 0 && d == bySource:
		parts = append(parts, column+` = ANY(`+s.arg(given)+`::uuid[])`)
	case len(given) == 1:
		parts = append(parts, column+` = `+s.arg(given[0]))
	case len(given) > 0:
		parts = append(parts, column+` = ANY(`+s.arg(given)+`)`)
	}
	if len(given) < len(values) {
		parts = append(parts, column+without[d])
	}
	return `(` + strings.Join(parts, ` OR `) + `)`
}

func open(statuses []ops.IncidentStatus) bool {
	return len(statuses) > 0 && !slices.ContainsFunc(statuses, func(s ops.IncidentStatus) bool { return !s.Open() })
}

func (c conditions) has(on table) bool {
	return slices.ContainsFunc(c.each, func(one condition) bool { return one.on == on })
}

// one says that they are of one incident.
func (c conditions) one() bool {
	return slices.ContainsFunc(c.each, func(one condition) bool { return one.name == "number" })
}

// ordered says that an index has what fulfils the conditions in the order of a
// page: there is none, or one on a dimension, or they are of one incident.
func (c conditions) ordered() bool {
	return len(c.each) == 0 || len(c.each) == 1 && slices.Contains(columns[:], c.each[0].name) || c.one()
}

// table is where all of the conditions can be judged.
func (c conditions) table() string {
	if c.has(onTerms) {
		return `incident_search`
	}
	return `incidents`
}

// on are the texts of the conditions that can be judged there.
func (c conditions) on(on table) (out []string) {
	for _, one := range c.each {
		if one.on == on {
			out = append(out, one.text)
		}
	}
	return out
}

func (c conditions) where() string {
	return where(append(c.on(onIncident), c.on(onTerms)...))
}

// between looks through the incidents with numbers of a range. Those that miss
// one condition are found as well, if one of the parts is without it.
//
// The conditions are judged step by step, the quick ones first: Postgres would
// rather begin with the labels. CASE and OFFSET 0 keep it from that.
func (c conditions) between(from, before int64, parts []*part) statement {
	q := statement{args: slices.Clone(c.args)}
	// judged gives the conditions that must hold, and as a number those that are
	// missed of the others: a bit for each.
	judged := func(on table) (must, missed string) {
		must, missed = `true`, `0`
		for _, one := range c.each {
			part := slices.IndexFunc(parts, func(p *part) bool { return p.without != "" && p.without == one.name })
			switch {
			case one.on != on:
			case part < 0:
				must += ` AND ` + one.text
			default:
				missed += ` + CASE WHEN ` + one.text + ` THEN 0 ELSE ` + strconv.Itoa(1<<part) + ` END`
			}
		}
		return must, missed
	}
	const oneAtMost = `missed & (missed - 1) = 0`
	mustQuick, missedQuick := judged(onIncident)
	mustTerms, missedTerms := judged(onTerms)
	limit := before - from
	if len(parts) == 1 {
		limit = min(limit, int64(parts[0].most-len(parts[0].found)))
	}
	q.text = selectMatches + `, missed FROM (
		SELECT number, status, severity, investigation, source_id, service, missed + ` + missedTerms + ` AS missed FROM (
			SELECT *, ` + missedQuick + ` AS missed FROM ` + c.table() + ` WHERE number >= ` + q.arg(from) + ` AND number < ` + q.arg(before) + ` ORDER BY number DESC OFFSET 0
		) AS quick WHERE CASE WHEN ` + oneAtMost + ` AND ` + mustQuick + ` THEN ` + mustTerms + ` END ORDER BY number DESC OFFSET 0
	) AS found WHERE ` + oneAtMost + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
	return q
}

// among looks through the incidents with these numbers. They are all read first:
// the index of words would find far more than there are.
func (c conditions) among(numbers []int64, limit int) statement {
	q := statement{args: slices.Clone(c.args)}
	q.text = selectMatches + `, 0 FROM (SELECT * FROM incident_search WHERE number = ANY(` + q.arg(numbers) + `::bigint[]) OFFSET 0) AS candidates` +
		c.where() + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
	return q
}

// newest finds the numbers alone of what fulfils conditions on incidents: with one
// condition an index has all of it.
func (c conditions) newest(before int64, limit int) statement {
	q := statement{args: slices.Clone(c.args)}
	conds := c.on(onIncident)
	if before > 0 {
		conds = append(conds, `number < `+q.arg(before))
	}
	q.text = `SELECT number FROM incidents` + where(conds) + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
	return q
}

// everywhere looks with the help of the indexes.
func (c conditions) everywhere(before int64, limit int) statement {
	q := statement{args: slices.Clone(c.args)}
	conds := append(c.on(onIncident), c.on(onTerms)...)
	if before > 0 {
		conds = append(conds, `number < `+q.arg(before))
	}
	from := c.table() + where(conds)
	if c.has(onTerms) { // all are found and then sorted: terms have no order
		q.text = `WITH found AS MATERIALIZED (SELECT number, status, severity, investigation, source_id, service FROM ` + from + `) `
		from = `found`
	}
	q.text += selectMatches + `, 0 FROM ` + from + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
	return q
}

func where(conds []string) string {
	if len(conds) == 0 {
		return ""
	}
	return ` WHERE ` + strings.Join(conds, ` AND `)
}

func texts[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}

// byKey puts labels of one key together.
func byKey(labels []string) map[string][]string {
	keys := map[string][]string{}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, ":")
		keys[key] = append(keys[key], searchLabel(key, value))
	}
	return keys
}

// numberOf reads "#42".
func numberOf(text string) (int64, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), "#")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, ok && err == nil
}

// AlertPage gives up to limit alerts of an incident behind the alert after,
// oldest first; empty means from the start. An alert that has left the incident
// is no place to go on from: code invalid.
func (db *DB) AlertPage(ctx context.Context, incident, after string, limit int) ([]ops.Alert, error) {
	from := statement{}
	id := from.arg(incident)
	cond := ` WHERE incident_id = ` + id
	if after != "" {
		at := time.Time{}
		err := db.pool.QueryRow(ctx, `SELECT first_seen FROM alerts WHERE id = $1`, after).Scan(&at)
		if ops.CodeOf(mapError(err)) == ops.CodeNotFound {
			return nil, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours, or its alert is gone: start again")
		}
		if err != nil {
			return nil, mapError(err)
		}
		cond += ` AND (first_seen, id) > (` + from.arg(at) + `, ` + from.arg(after) + `)`
	}
	rows, err := db.pool.Query(ctx, selectAlerts+cond+` ORDER BY first_seen, id LIMIT `+from.arg(limit), from.args...)
	if err != nil {
		return nil, mapError(err)
	}
	alerts, err := pgx.CollectRows(rows, scanAlert)
	return alerts, mapError(err)
}
