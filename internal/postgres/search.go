package postgres

import (
	"cmp"
	"context"
	"math"
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

// A list is looked for in several ways, in this order. Postgres alone would
// have to guess which is the best one, and guesses badly where conditions depend
// on each other: closed incidents are old, and an alert's name goes with its service.
//
//  1. One by one among the incidents right below the cursor: what many fulfil is
//     found there, after few steps. If some were found but too few, further down.
//  2. What is left is rare. The newest that fulfil the conditions on status, time
//     and the like are asked for their words and labels.
//  3. Else the index of words and labels is asked.
const (
	window      = 4000 // incidents that are looked through
	farther     = 5    // times as many, if so much of the page was found
	few         = 2000 // incidents that are looked up one by one
	facetSample = 1000 // that are counted at most
	labelSample = 500  // whose labels are counted at most
	enough      = 50   // of the newest tell how common values are, when finding more would take long
)

// Incidents gives a page of incidents, newest first.
func (db *DB) Incidents(ctx context.Context, f IncidentFilter) ([]ops.Incident, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	found, _, err := db.matching(ctx, f, none, f.Limit, f.Limit)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	rows, err := db.pool.Query(ctx, selectIncidents+` WHERE i.number = ANY($1::bigint[]) ORDER BY i.number DESC`, numbers(found))
	if err != nil {
		return nil, mapError(err)
	}
	items, err := pgx.CollectRows(rows, scanIncident)
	return items, mapError(err)
}

// match is an incident as far as it is counted.
type match struct {
	number int64
	of     [dimensions]string
}

const selectMatches = `SELECT number, status, severity, investigation, coalesce(source_id::text, ''), service FROM `

// matching finds up to limit incidents, the newest first, and says whether these
// are all. If it has found as many as wanted it may leave it at that. The
// conditions on the dimension except are left out.
func (db *DB) matching(ctx context.Context, f IncidentFilter, except dimension, limit, wanted int) (found []match, all bool, err error) {
	c, ok := f.conditions(except)
	if !ok {
		return nil, true, nil
	}
	if c.empty() {
		found, err = db.matches(ctx, c.everywhere(f.Before, limit))
		return found, len(found) < limit, err
	}
	for _, w := range []int{window, window * farther} {
		if found, err = db.matches(ctx, c.nearby(f.Before, w, limit)); err != nil || len(found) == limit {
			return found, false, err
		}
		if len(found) >= wanted {
			all, err := db.covers(ctx, f.Before, w)
			return found, all, err
		}
		if len(found) < wanted/farther {
			break
		}
	}
	if len(c.search) > 0 && len(c.incident) > 0 {
		others := f
		others.Labels, others.Text = nil, ""
		o, _ := others.conditions(except)
		candidates, err := db.matches(ctx, o.everywhere(f.Before, few+1))
		if err != nil {
			return nil, false, err
		}
		found, err := db.matches(ctx, c.among(numbers(candidates), limit))
		if all := len(candidates) <= few; err != nil || all || len(found) >= wanted {
			return found, all && len(found) < limit, err
		}
	}
	found, err = db.matches(ctx, c.everywhere(f.Before, limit))
	return found, len(found) < limit, err
}

// covers says whether there are no more incidents below a number than a window has.
func (db *DB) covers(ctx context.Context, before int64, window int) (all bool, err error) {
	err = db.pool.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM incidents WHERE number < coalesce(nullif($1::bigint, 0), $3) ORDER BY number DESC OFFSET $2)`,
		before, window, int64(math.MaxInt64)).Scan(&all)
	return all, mapError(err)
}

func (db *DB) matches(ctx context.Context, q statement) ([]match, error) {
	// Planned anew each time: the plan for a rare value is a bad one for a common one.
	rows, err := db.pool.Query(ctx, q.text, append([]any{pgx.QueryExecModeCacheDescribe}, q.args...)...)
	if err != nil {
		return nil, mapError(err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m match, err error) {
		err = row.Scan(&m.number, &m.of[byStatus], &m.of[bySeverity], &m.of[byInvestigation], &m.of[bySource], &m.of[byService])
		return m, err
	})
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
	none dimension = iota - 1
	byStatus
	bySeverity
	byInvestigation
	bySource
	byService
	dimensions // how many there are
)

// columns are theirs.
var columns = [dimensions]string{"status", "severity", "investigation", "source_id", "service"}

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
	incident []string // on columns that incidents and incident_search both have
	search   []string // on those of incident_search alone
}

// conditions gives those of a filter but for one dimension, and false if
// nothing can fulfil them.
func (f IncidentFilter) conditions(except dimension) (c conditions, ok bool) {
	c.tallied(f, except)
	if len(f.Assignees) > 0 {
		c.incident = append(c.incident, `assignee = ANY(`+c.arg(f.Assignees)+`) AND assignee <> ''`)
	}
	if !f.OpenedAfter.IsZero() {
		c.incident = append(c.incident, `opened_at >= `+c.arg(f.OpenedAfter))
	}
	if !f.OpenedBefore.IsZero() {
		c.incident = append(c.incident, `opened_at < `+c.arg(f.OpenedBefore))
	}
	for _, alternatives := range byKey(f.Labels) {
		c.search = append(c.search, `labels && `+c.arg(alternatives)+`::text[]`)
	}
	if number, ok := numberOf(f.Text); ok {
		c.incident = append(c.incident, `number = `+c.arg(number))
	} else if f.Text != "" {
		query := searchQuery(f.Text)
		if query == "" {
			return c, false // nothing in it that is ever stored
		}
		c.search = append(c.search, `words @@ `+c.arg(query)+`::text::tsquery`)
	}
	return c, true
}

// tallied adds the conditions on the dimensions.
func (c *conditions) tallied(f IncidentFilter, except dimension) {
	for d, values := range f.values() {
		if dimension(d) != except && len(values) > 0 {
			c.incident = append(c.incident, c.is(dimension(d), values))
		}
	}
	if except != byStatus && open(f.Statuses) {
		c.incident = append(c.incident, `status IN ('triggered', 'acknowledged')`) // as incidents_open says it
	}
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

func (c conditions) empty() bool { return len(c.incident)+len(c.search) == 0 }

// table is where the conditions can be judged.
func (c conditions) table() string {
	if len(c.search) > 0 {
		return `incident_search`
	}
	return `incidents`
}

// nearby looks through the window right below a number.
func (c conditions) nearby(before int64, window, limit int) statement {
	q := statement{args: slices.Clone(c.args)}
	q.text = selectMatches + `(SELECT * FROM ` + c.table()
	if before > 0 {
		q.text += ` WHERE number < ` + q.arg(before)
	}
	q.text += ` ORDER BY number DESC LIMIT ` + q.arg(window) + `) AS newest` + where(append(slices.Clone(c.incident), c.search...)) + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
	return q
}

// among looks through the incidents with these numbers. They are all read first:
// the index of words would find far more than there are.
func (c conditions) among(numbers []int64, limit int) statement {
	q := statement{args: slices.Clone(c.args)}
	q.text = selectMatches + `(SELECT * FROM incident_search WHERE number = ANY(` + q.arg(numbers) + `::bigint[]) OFFSET 0) AS candidates` +
		where(append(slices.Clone(c.incident), c.search...)) + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
	return q
}

// everywhere looks with the help of the indexes.
func (c conditions) everywhere(before int64, limit int) statement {
	q := statement{args: slices.Clone(c.args)}
	conds := append(slices.Clone(c.incident), c.search...)
	if before > 0 {
		conds = append(conds, `number < `+q.arg(before))
	}
	from := c.table() + where(conds)
	if len(c.search) > 0 { // all are found and then sorted: terms have no order
		q.text = `WITH found AS MATERIALIZED (SELECT number, status, severity, investigation, source_id, service FROM ` + from + `) `
		from = `found`
	}
	q.text += selectMatches + from + ` ORDER BY number DESC LIMIT ` + q.arg(limit)
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

// byKey puts labels of one key together, in the order of the keys.
func byKey(labels []string) [][]string {
	keys := map[string][]string{}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, ":")
		keys[key] = append(keys[key], searchLabel(key, value))
	}
	var out [][]string
	for _, key := range sortedKeys(keys) {
		out = append(out, keys[key])
	}
	return out
}

// numberOf reads "#42".
func numberOf(text string) (int64, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), "#")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, ok && err == nil
}

// Facets are counts of the incidents that a filter selects. The counts of one
// dimension leave its own condition out: they say what choosing another value
// would give.
type Facets struct {
	// Total counts what the filter selects. If it is not exact, there are more,
	// and all counts are of as many incidents, the newest.
	Total int  `json:"total"`
	Exact bool `json:"exact"`

	Status        []FacetValue `json:"status"`
	Severity      []FacetValue `json:"severity"`
	Investigation []FacetValue `json:"investigation"`
	Source        []FacetValue `json:"source"`
	Service       []FacetValue `json:"service" doc:"The most frequent ones."`

	// Labels are the most frequent keys with their most frequent values, counted
	// in the newest LabelsOf incidents that the filter selects. A key that the
	// filter has values of is counted without them.
	Labels   []FacetKey `json:"labels"`
	LabelsOf int        `json:"labels_of"`
}

// FacetValue is a value and how many incidents have it. Name is for people,
// where it differs.
type FacetValue struct {
	Value string `json:"value"`
	Name  string `json:"name,omitempty"`
	Count int    `json:"count"`
}

// FacetKey is a key of labels.
type FacetKey struct {
	Key    string       `json:"key"`
	Count  int          `json:"count" doc:"Of incidents with this key."`
	Values []FacetValue `json:"values"`
}

// How much of what has no end is shown.
const (
	facetValues    = 50
	facetKeys      = 20
	facetKeyValues = 10
	ownLabelKeys   = 3
)

// Facets counts what a filter selects; cursor and limit do not matter. With
// conditions on dimensions alone the counts come from derived.incident_tallies
// and are exact; otherwise the newest incidents are counted, and whether these
// are all of them is said.
func (db *DB) Facets(ctx context.Context, f IncidentFilter) (out Facets, err error) {
	f.Before = 0
	var c counts
	var found []match
	all := true
	if f.dimensionsOnly() {
		if found, _, err = db.matching(ctx, f, none, labelSample, enough); err == nil {
			err = db.tallies(ctx, f, &c)
		}
	} else if found, all, err = db.sample(ctx, f, none); err == nil {
		all, err = db.counted(ctx, f, &c, found, all)
	}
	if err != nil {
		return out, err
	}
	newest := numbers(found[:min(len(found), labelSample)])
	out.Total, out.Exact, out.LabelsOf = c.total, all, len(newest)
	if out.Labels, err = db.labelCounts(ctx, newest); err != nil {
		return out, err
	}
	if out.Labels, err = db.ownLabelCounts(ctx, f, out.Labels); err != nil {
		return out, err
	}
	names, err := db.sourceNames(ctx)
	if err != nil {
		return out, err
	}
	out.Status, out.Severity, out.Investigation = c.top(byStatus, None, nil), c.top(bySeverity, None, nil), c.top(byInvestigation, None, nil)
	out.Source, out.Service = c.top(bySource, None, names), c.top(byService, "", nil)
	return out, nil
}

// sample finds the newest incidents, and says whether these are all.
func (db *DB) sample(ctx context.Context, f IncidentFilter, except dimension) ([]match, bool, error) {
	found, all, err := db.matching(ctx, f, except, facetSample+1, enough)
	return found[:min(len(found), facetSample)], all, err
}

// counts are those of each value of each dimension.
type counts struct {
	total int
	of    [dimensions]map[string]int
}

func (c *counts) add(d dimension, value string, n int) {
	if c.of[d] == nil {
		c.of[d] = map[string]int{}
	}
	c.of[d][value] += n
}

// top gives the most frequent values. An empty one is called as given, or left out.
func (c *counts) top(d dimension, empty string, names map[string]string) []FacetValue {
	out := []FacetValue{}
	for value, n := range c.of[d] {
		if value = cmp.Or(value, empty); value != "" && n > 0 {
			out = append(out, FacetValue{Value: value, Name: names[value], Count: n})
		}
	}
	return mostFrequent(out, facetValues)
}

// dimensionsOnly says whether a filter has conditions on dimensions alone.
func (f IncidentFilter) dimensionsOnly() bool {
	return len(f.Assignees)+len(f.Labels) == 0 && f.Text == "" && f.OpenedAfter.IsZero() && f.OpenedBefore.IsZero()
}

// counted counts the incidents found. For a dimension with a condition of its
// own it finds others, without that one. It says whether all were counted.
func (db *DB) counted(ctx context.Context, f IncidentFilter, c *counts, found []match, all bool) (bool, error) {
	c.total = len(found)
	for d, values := range f.values() {
		in, whole := found, all
		if len(values) > 0 {
			var err error
			if in, whole, err = db.sample(ctx, f, dimension(d)); err != nil {
				return false, err
			}
		}
		all = all && whole
		for _, m := range in {
			c.add(dimension(d), m.of[d], 1)
		}
	}
	return all, nil
}

// tallies reads the counts, each without the condition on its own dimension.
// Those of the first three dimensions, which have few values, come together, and
// everything in one pass.
func (db *DB) tallies(ctx context.Context, f IncidentFilter, c *counts) error {
	q := statement{}
	// sum is of the rows that fulfil the conditions on the given dimensions.
	sum := func(on ...dimension) string {
		var conds []string
		for _, d := range on {
			if values := f.values()[d]; len(values) > 0 {
				conds = append(conds, q.is(d, values))
			}
		}
		if len(conds) == 0 {
			return `coalesce(sum(n), 0)`
		}
		return `coalesce(sum(n) FILTER (` + strings.TrimSpace(where(conds)) + `), 0)`
	}
	rows, err := db.pool.Query(ctx, `SELECT GROUPING(status, source_id, service), coalesce(status, ''), coalesce(severity, ''), coalesce(investigation, ''),
			coalesce(source_id::text, ''), coalesce(service, ''), `+
		sum(bySource, byService)+`, `+
		sum(byStatus, bySeverity, byInvestigation, byService)+`, `+
		sum(byStatus, bySeverity, byInvestigation, bySource)+`, sum(n) AS n
		FROM derived.incident_tallies GROUP BY GROUPING SETS ((status, severity, investigation), source_id, service) ORDER BY n DESC LIMIT 5000`,
		append([]any{pgx.QueryExecModeCacheDescribe}, q.args...)...)
	if err != nil {
		return mapError(err)
	}
	// Of GROUPING, a bit for each that the row is not about.
	const ofThree, ofSource, ofService = 0b011, 0b101, 0b110
	var set, n, three, source, service int
	var m match
	_, err = pgx.ForEachRow(rows, []any{&set, &m.of[byStatus], &m.of[bySeverity], &m.of[byInvestigation], &m.of[bySource], &m.of[byService], &three, &source, &service, &n}, func() error {
		switch set {
		case ofThree:
			c.three(f, m, three)
		case ofSource:
			c.add(bySource, m.of[bySource], source)
		case ofService:
			c.add(byService, m.of[byService], service)
		}
		return nil
	})
	return mapError(err)
}

// three adds incidents with these values of the first three dimensions.
func (c *counts) three(f IncidentFilter, m match, n int) {
	is := [3]bool{selected(texts(f.Statuses), m.of[byStatus]), selected(texts(f.Severities), m.of[bySeverity]), selected(f.Investigations, cmp.Or(m.of[byInvestigation], None))}
	for d := range is {
		if is[(d+1)%3] && is[(d+2)%3] {
			c.add(dimension(d), m.of[d], n)
		}
	}
	if is == [3]bool{true, true, true} {
		c.total += n
	}
}

func selected(values []string, v string) bool { return len(values) == 0 || slices.Contains(values, v) }

func (db *DB) sourceNames(ctx context.Context) (map[string]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT id::text, name FROM sources ORDER BY created_at DESC LIMIT 1000`)
	if err != nil {
		return nil, mapError(err)
	}
	names := map[string]string{}
	var id, name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error { names[id] = name; return nil })
	return names, mapError(err)
}

// ownLabelCounts replaces the counts of keys that the filter has values of: as
// with dimensions, a key's own condition is left out.
func (db *DB) ownLabelCounts(ctx context.Context, f IncidentFilter, counted []FacetKey) ([]FacetKey, error) {
	keys := map[string]bool{}
	for _, l := range f.Labels {
		key, _, _ := strings.Cut(l, ":")
		keys[key] = true
	}
	for _, key := range sortedKeys(keys) {
		if len(keys) > ownLabelKeys {
			break // so many that nobody chooses among them
		}
		others := f
		others.Labels = slices.DeleteFunc(slices.Clone(f.Labels), func(l string) bool { return strings.HasPrefix(l, key+":") })
		found, _, err := db.matching(ctx, others, none, labelSample, enough)
		if err != nil {
			return nil, err
		}
		all, err := db.labelCounts(ctx, numbers(found))
		if err != nil {
			return nil, err
		}
		is := func(k FacetKey) bool { return k.Key == key }
		if n := slices.IndexFunc(all, is); n >= 0 {
			counted = append(slices.DeleteFunc(counted, is), all[n])
		}
	}
	slices.SortFunc(counted, func(a, b FacetKey) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Key, b.Key)) })
	return counted, nil
}

// labelCounts counts the labels of incidents.
func (db *DB) labelCounts(ctx context.Context, of []int64) ([]FacetKey, error) {
	rows, err := db.pool.Query(ctx, `SELECT labels FROM incident_search WHERE number = ANY($1::bigint[])`, of)
	if err != nil {
		return nil, mapError(err)
	}
	counts := map[string]int{}
	keys := map[string]*FacetKey{}
	var labels []string
	_, err = pgx.ForEachRow(rows, []any{&labels}, func() error {
		for n, label := range labels {
			counts[label]++
			key, _, _ := strings.Cut(label, ":")
			if keys[key] == nil {
				keys[key] = &FacetKey{Key: key}
			}
			// They are sorted: a key is counted once an incident.
			if before, _, _ := strings.Cut(labels[max(n-1, 0)], ":"); n == 0 || before != key {
				keys[key].Count++
			}
		}
		return nil
	})
	if err != nil {
		return nil, mapError(err)
	}
	for label, count := range counts {
		key, value, _ := strings.Cut(label, ":")
		keys[key].Values = append(keys[key].Values, FacetValue{Value: value, Count: count})
	}
	out := make([]FacetKey, 0, len(keys))
	for _, k := range keys {
		k.Values = mostFrequent(k.Values, facetKeyValues)
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b FacetKey) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Key, b.Key)) })
	return out[:min(len(out), facetKeys)], nil
}

func mostFrequent(values []FacetValue, n int) []FacetValue {
	slices.SortFunc(values, func(a, b FacetValue) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Value, b.Value)) })
	return values[:min(len(values), n)]
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

// SettleTallies adds up what has changed of the counts.
func (db *DB) SettleTallies(ctx context.Context) error {
	_, err := db.pool.Exec(ctx, `SELECT derived.settle_tallies()`)
	return mapError(err)
}
