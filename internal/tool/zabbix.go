package tool

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// zabbixTool makes a tool of what it does at an instance. run gives the text for
// a model and the same as data.
func zabbixTool(z *Zabbix, t Tool, run func(context.Context, *zabbixCall, Args) (*report, error)) Tool {
	t.Description = description(t.Name)
	t.Fields = append([]Field{{Name: "target", Type: String, MaxLength: 128, Pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]*$`),
		Description: "name of the Zabbix instance; it can be left out where there is one"}}, t.Fields...)
	t.Target, t.Kind = "target", "zabbix"
	t.Limit = func(Args) time.Duration { return time.Minute }
	t.Run = func(ctx context.Context, c Call) (Outcome, error) {
		zc, err := z.begin(ctx, c.Hops[len(c.Hops)-1])
		if err != nil {
			return Outcome{}, err
		}
		r, err := run(ctx, zc, c.Args)
		if err != nil {
			return Outcome{}, err
		}
		return r.outcome(c.Sink), nil
	}
	return t
}

// Fields that several tools have.
var (
	zabbixHost = Field{Name: "host", Type: String, MaxLength: 255,
		Description: "only this host: its technical or visible name, with * for any text"}
	zabbixGroup = Field{Name: "group", Type: String, MaxLength: 255, Description: "only this host group: its name, with * for any text"}
	zabbixTag   = Field{Name: "tag", Type: String, MaxLength: 511, Description: "only with this tag, given as name or name=value"}
	zabbixSince = Field{Name: "since", Type: String, MaxLength: 40, Pattern: whenPattern,
		Description: "not before: a time (2026-01-31T08:00:00Z) or how long ago (90m, 6h, 7d)"}
	zabbixUntil = Field{Name: "until", Type: String, MaxLength: 40, Pattern: whenPattern, Description: "not after, given as since is; now if left out"}
	zabbixPage  = Field{Name: "page", Type: Integer, Min: 1, Max: 1000, Default: 1, Description: "which page"}
	zabbixMin   = Field{Name: "min_severity", Type: String, MaxLength: 20, Enum: severities, Description: "this severity and worse"}
)

func zabbixLimit(fallback int) Field {
	return Field{Name: "limit", Type: Integer, Min: 1, Max: 500, Default: fallback, Description: "how many at most"}
}

// severities are those of Zabbix, by their numbers.
var severities = []string{"not_classified", "information", "warning", "average", "high", "disaster"}

// severity names a severity by its number.
func severity(number string) string {
	if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(severities) {
		return severities[n]
	}
	return "severity " + number
}

// atLeast gives the numbers of a severity and those above it.
func atLeast(name string) []int {
	var all []int
	for n := slices.Index(severities, name); n < len(severities); n++ {
		all = append(all, n)
	}
	return all
}

var whenPattern = regexp.MustCompile(`^([0-9]{1,6}[smhdw]|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?)$`)

// when reads a time, or how long ago before now. A time without a zone is in UTC.
func when(text string, now time.Time) (time.Time, error) {
	if unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[text[len(text)-1]]; ok {
		n, err := strconv.Atoi(text[:len(text)-1])
		return now.Add(-time.Duration(n) * unit), err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, ops.Errorf(ops.CodeInvalid, "%q is not a time", text)
}

// window puts since and until into parameters, and says what they are.
func window(a Args, now time.Time, params map[string]any) error {
	for name, param := range map[string]string{"since": "time_from", "until": "time_till"} {
		if text := a.String(name); text != "" {
			t, err := when(text, now)
			if err != nil {
				return err
			}
			params[param] = t.Unix()
		}
	}
	return nil
}

// tagged puts a tag into parameters.
func tagged(a Args, params map[string]any) {
	name, value, exact := strings.Cut(a.String("tag"), "=")
	switch {
	case name == "":
	case exact:
		params["tags"] = []any{map[string]any{"tag": name, "value": value, "operator": 1}}
	default:
		params["tags"] = []any{map[string]any{"tag": name, "operator": 4}}
	}
}

// scoped puts the ids of the host and group of the arguments into parameters.
// One that is not there is an error: the answer would be about something else.
func (c *zabbixCall) scoped(ctx context.Context, a Args, params map[string]any) error {
	for _, by := range []struct {
		arg, method, id, param string
		names                  []string
	}{
		{"host", "host.get", "hostid", "hostids", []string{"host", "name"}},
		{"group", "hostgroup.get", "groupid", "groupids", []string{"name"}},
	} {
		name := a.String(by.arg)
		if name == "" {
			continue
		}
		query := map[string]any{"output": []string{by.id}, "searchByAny": true, "limit": 1000}
		match := map[string]any{}
		for _, n := range by.names {
			match[n] = name
		}
		if strings.Contains(name, "*") {
			query["search"], query["searchWildcardsEnabled"] = match, true
		} else {
			query["filter"] = match
		}
		found, err := c.rows(ctx, by.method, query)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ops.Errorf(ops.CodeNotFound, "%s has no %s %q that its credential can see; zabbix_hosts lists what there is", c.target.Name, by.arg, name)
		}
		params[by.param] = column(found, by.id)
	}
	return nil
}

// maxListed bounds how many objects a paged list is made of.
const maxListed = 10_000

// paged gives one page of a list that the API cannot page: the ids of all, in
// order, and then what of the page was asked for. total is [maxListed]+1 if
// there are more than that.
func (c *zabbixCall) paged(ctx context.Context, a Args, fallback int, method, id string, sort any, params, details map[string]any) (page []row, total int, err error) {
	params["output"], params["sortfield"], params["limit"] = []string{id}, sort, maxListed+1
	all, err := c.rows(ctx, method, params)
	if err != nil {
		return nil, 0, err
	}
	size := int(a.Integer("limit", int64(fallback)))
	first := min((int(a.Integer("page", 1))-1)*size, len(all))
	ids := column(all[first:min(first+size, len(all))], id)
	if len(ids) == 0 {
		return nil, len(all), nil
	}
	details[id+"s"], details["limit"] = ids, len(ids)
	found, err := c.rows(ctx, method, details)
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(found, func(x, y row) int {
		return cmp.Compare(slices.Index(ids, x.text(id)), slices.Index(ids, y.text(id)))
	})
	return found, len(all), nil
}

// report is what a tool found, as lines for a model and as data for a program.
type report struct {
	b    strings.Builder
	data map[string]any
}

func (r *report) line(format string, args ...any) { fmt.Fprintf(&r.b, format+"\n", args...) }

// counted says which part of how many this is.
func (r *report) counted(a Args, fallback int, shown, total int, what string) {
	size := int(a.Integer("limit", int64(fallback)))
	first := (int(a.Integer("page", 1)) - 1) * size
	count := strconv.Itoa(total)
	if total > maxListed {
		count = "more than " + strconv.Itoa(maxListed)
	}
	switch {
	case total == 0:
		r.line("no %s matches", what)
	case shown == 0:
		r.line("there is no such page: there are %s %ss", count, what)
	case first+shown < total:
		r.line("[%d to %d of %s; the next page has more]", first+1, first+shown, count)
	}
	r.data = map[string]any{"total": min(total, maxListed), "more": first+shown < total}
}

func (r *report) outcome(to Sink) Outcome {
	// Its parts were stripped one by one; this bounds the whole.
	out := NewOutput(nil, to)
	_, _ = out.stdout().Write([]byte(r.b.String()))
	o := out.Close()
	o.Data = dataOf(r.data)
	return o
}

// row is an object of an answer. PHP has few opinions on types: what is a text
// today is a number in the next release.
type row map[string]any

// toRows leaves out what is no object.
func toRows(list []any) []row {
	rows := make([]row, 0, len(list))
	for _, v := range list {
		if object, ok := v.(map[string]any); ok {
			rows = append(rows, object)
		}
	}
	return rows
}

func (r row) text(name string) string {
	switch v := r[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return map[bool]string{false: "0", true: "1"}[v]
	}
	return ""
}

func (r row) is(name, value string) bool { return r.text(name) == value }

func (r row) rows(name string) []row {
	list, _ := r[name].([]any)
	return toRows(list)
}

// time reads seconds since 1970; none is the zero time.
func (r row) time(name string) time.Time {
	n, err := strconv.ParseInt(r.text(name), 10, 64)
	if err != nil || n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// tags gives tags as Zabbix has them, in order.
func (r row) tags() (all []map[string]string) {
	for _, t := range r.rows("tags") {
		all = append(all, map[string]string{"tag": t.text("tag"), "value": t.text("value")})
	}
	return all
}

func tagText(tags []map[string]string) string {
	words := make([]string, len(tags))
	for i, t := range tags {
		if words[i] = t["tag"]; t["value"] != "" {
			words[i] += "=" + t["value"]
		}
	}
	return oneLine(strings.Join(words, " "), 300)
}

// column gives one property of all rows.
func column(rows []row, name string) []string {
	all := make([]string, len(rows))
	for i, r := range rows {
		all[i] = r.text(name)
	}
	return all
}

// clean strips and redacts every text in an answer.
func (c *zabbixCall) clean(v any) any { return scrub(c.redactor, v) }

// oneLine makes one line of a text and cuts it.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// clock writes a time for a model and for data; the zero time is "".
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// span writes a duration as a person would say it.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}
