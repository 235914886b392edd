package postgres

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

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
	whole := &part{enough: enough, most: facetSample + 1}
	parts := []*part{whole}
	var of [dimensions]*part // what is counted of each
	if f.dimensionsOnly() {
		whole.most = labelSample
		err = db.tallies(ctx, f, &c)
	} else {
		for d, values := range f.values() {
			of[d] = whole
			if len(values) > 0 {
				of[d] = &part{without: columns[d], enough: enough, most: facetSample + 1}
				parts = append(parts, of[d])
			}
		}
	}
	own := map[string]*part{}                                           // by keys of labels
	if keys := sortedKeys(byKey(f.Labels)); len(keys) <= ownLabelKeys { // else nobody chooses among them
		for _, key := range keys {
			own[key] = &part{without: labelCondition(key), enough: enough, most: labelSample}
			parts = append(parts, own[key])
		}
	}
	if err == nil {
		err = db.find(ctx, f, parts...)
	}
	if err != nil {
		return out, err
	}
	out.Exact = true
	if !f.dimensionsOnly() {
		c.total = min(len(whole.found), facetSample)
		out.Exact = c.count(of)
	}
	out.Total, out.LabelsOf = c.total, min(len(whole.found), labelSample)
	if out.Labels, err = db.labelCounts(ctx, whole, own); err != nil {
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

// count counts each dimension in a part, and says whether nothing is left out.
func (c *counts) count(of [dimensions]*part) (exact bool) {
	exact = true
	for d, p := range of {
		exact = exact && p.all
		for _, m := range p.found[:min(len(p.found), facetSample)] {
			c.add(dimension(d), m.of[d], 1)
		}
	}
	return exact
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
	// No sum is of rows that miss two conditions.
	missed := `0`
	for d, values := range f.values() {
		if len(values) > 0 {
			missed += ` + CASE WHEN ` + q.is(dimension(d), values) + ` THEN 0 ELSE 1 END`
		}
	}
	rows, err := db.pool.Query(ctx, `SELECT GROUPING(status, source_id, service), coalesce(status, ''), coalesce(severity, ''), coalesce(investigation, ''),
			coalesce(source_id::text, ''), coalesce(service, ''), `+
		sum(bySource, byService)+`, `+
		sum(byStatus, bySeverity, byInvestigation, byService)+`, `+
		sum(byStatus, bySeverity, byInvestigation, bySource)+`, sum(n) AS n
		FROM derived.incident_tallies WHERE `+missed+` <= 1 GROUP BY GROUPING SETS ((status, severity, investigation), source_id, service)
		ORDER BY GROUPING(status, source_id, service) = 6, n DESC LIMIT 5000`,
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

// labelCounts counts the labels of the newest incidents. For some keys they are
// counted in a part of their own: as with dimensions, without the condition on
// that key.
func (db *DB) labelCounts(ctx context.Context, whole *part, own map[string]*part) ([]FacetKey, error) {
	newest := func(p *part) []int64 { return numbers(p.found[:min(len(p.found), labelSample)]) }
	all := newest(whole)
	for _, p := range own {
		all = append(all, newest(p)...)
	}
	slices.Sort(all)
	rows, err := db.pool.Query(ctx, `SELECT number, labels FROM incident_search WHERE number = ANY($1::bigint[])`, slices.Compact(all))
	if err != nil {
		return nil, mapError(err)
	}
	labels := map[int64][]string{}
	var number int64
	var has []string
	if _, err := pgx.ForEachRow(rows, []any{&number, &has}, func() error { labels[number] = has; return nil }); err != nil {
		return nil, mapError(err)
	}
	counted := map[string]*labelCount{}
	for _, n := range newest(whole) {
		countLabels(counted, labels[n], "")
	}
	for key, p := range own {
		delete(counted, key)
		for _, n := range newest(p) {
			countLabels(counted, labels[n], key)
		}
	}
	out := make([]FacetKey, 0, len(counted))
	for key, c := range counted {
		k := FacetKey{Key: key, Count: c.incidents}
		for value, n := range c.values {
			k.Values = append(k.Values, FacetValue{Value: value, Count: n})
		}
		k.Values = mostFrequent(k.Values, facetKeyValues)
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b FacetKey) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Key, b.Key)) })
	return out[:min(len(out), facetKeys)], nil
}

// labelCount counts the incidents that have a key, and each value of it.
type labelCount struct {
	incidents int
	values    map[string]int
}

// countLabels adds an incident's labels, which are sorted, or those of one key.
func countLabels(counts map[string]*labelCount, labels []string, only string) {
	var now *labelCount
	before := ""
	for n, label := range labels {
		key, value, _ := strings.Cut(label, ":")
		if only != "" && key != only {
			continue
		}
		if n == 0 || now == nil || key != before {
			if now = counts[key]; now == nil {
				now = &labelCount{values: map[string]int{}}
				counts[key] = now
			}
			now.incidents++
			before = key
		}
		now.values[value]++
	}
}

func mostFrequent(values []FacetValue, n int) []FacetValue {
	slices.SortFunc(values, func(a, b FacetValue) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Value, b.Value)) })
	return values[:min(len(values), n)]
}

// SettleTallies adds up what has changed of the counts.
func (db *DB) SettleTallies(ctx context.Context) error {
	_, err := db.pool.Exec(ctx, `SELECT derived.settle_tallies()`)
	return mapError(err)
}
