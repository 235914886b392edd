package tool

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of zabbix_history.
const (
	historyPage = 10_000 // values a request
	historyMost = 50_000 // values of one call; longer series come from trends
	trendsMost  = 50_000 // hours: more than five years
	trendStep   = time.Hour
)

func zabbixHistory(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_history", Fields: []Field{
		{Name: "item_id", Type: String, MaxLength: 20, Pattern: idPattern, Description: "the item, as zabbix_items names it"},
		{Name: "host", Type: String, MaxLength: 255, Description: "with key, instead of item_id: the host's technical or visible name"},
		{Name: "key", Type: String, MaxLength: 2048, Description: "with host, instead of item_id: the item's whole key"},
		{Name: "since", Type: String, MaxLength: 40, Pattern: whenPattern, Default: "1h", Description: zabbixSince.Description},
		zabbixUntil,
		{Name: "points", Type: Integer, Min: 1, Max: 300, Default: 60, Description: "how many lines at most"},
		{Name: "source", Type: String, MaxLength: 10, Enum: []string{"history", "trends"}, Description: "values as they came, or hourly; what fits the time if left out"},
	}}, history)
}

func history(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	item, err := c.item(ctx, a)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	until := now
	if text := a.String("until"); text != "" {
		if until, err = when(text, now); err != nil {
			return nil, err
		}
	}
	since, err := when(cmp.Or(a.String("since"), "1h"), now)
	if err != nil {
		return nil, err
	}
	if !since.Before(until) {
		return nil, ops.Errorf(ops.CodeInvalid, "since is not before until")
	}
	points := int(a.Integer("points", 60))
	r := &report{}
	r.line("%s: %s [%s]; item %s; %s to %s", oneLine(strings.Join(column(item.rows("hosts"), "host"), ", "), 200), oneLine(item.text("name"), 300),
		oneLine(item.text("key_"), 300), item.text("itemid"), clock(since), clock(until))
	r.data = map[string]any{"item_id": item.text("itemid"), "units": item.text("units"), "since": clock(since), "until": clock(until)}
	switch kind := of(valueTypes, item.text("value_type")); kind {
	case "float", "unsigned":
		return r, c.numbers(ctx, r, item, a.String("source"), since, until, points)
	case "character", "log", "text":
		return r, c.texts(ctx, r, item, since, until, points)
	default:
		return nil, ops.Errorf(ops.CodeInvalid, "the values of the item are %s, which cannot be shown", kind)
	}
}

// item finds the item that the arguments name.
func (c *zabbixCall) item(ctx context.Context, a Args) (row, error) {
	params := map[string]any{"output": []string{"itemid", "name", "key_", "value_type", "units", "delay", "history", "trends"}, "selectHosts": []string{"host"},
		"webitems": true, "limit": 2}
	id, host, key := a.String("item_id"), a.String("host"), a.String("key")
	switch {
	case id != "" && host == "" && key == "":
		params["itemids"] = []string{id}
	case id == "" && host != "" && key != "":
		params["filter"] = map[string]any{"key_": key}
		if err := c.scoped(ctx, a, params); err != nil {
			return nil, err
		}
	default:
		return nil, ops.Errorf(ops.CodeInvalid, "give item_id, or host and key")
	}
	found, err := c.rows(ctx, "item.get", params)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, ops.Errorf(ops.CodeNotFound, "%s has no such item that its credential can see; zabbix_items lists what there is", c.target.Name)
	case len(found) > 1:
		return nil, ops.Errorf(ops.CodeInvalid, "several items match: give item_id")
	}
	return found[0], nil
}

// sample is one value, or what is known of those of an hour or a step.
type sample struct {
	at            time.Time
	min, avg, max float64
	n             int64
}

func (c *zabbixCall) numbers(ctx context.Context, r *report, item row, source string, since, until time.Time, points int) error {
	trends := !item.is("trends", "0")
	if source == "trends" && !trends {
		return ops.Errorf(ops.CodeInvalid, "Zabbix keeps no trends of this item: ask for its history")
	}
	kept, knownKept := zabbixSpan(item.text("history"))
	every, knownEvery := zabbixSpan(item.text("delay"))
	auto := source == ""
	if auto {
		source = "history"
		tooOld := knownKept && time.Since(since) > kept
		tooMany := knownEvery && every > 0 && until.Sub(since)/every > historyMost
		if trends && (tooOld || tooMany) {
			source = "trends"
		}
	}
	var samples []sample
	var cut bool
	var err error
	if source == "history" {
		if samples, cut, err = c.values(ctx, item, since, until); err != nil {
			return err
		}
		if auto && trends && (cut || len(samples) == 0) {
			source, cut = "trends", false
		}
	}
	if source == "trends" {
		if samples, err = c.trends(ctx, item, since, until); err != nil {
			return err
		}
		// The newest hour is not in the trends yet.
		tail := since
		if n := len(samples); n > 0 {
			tail = samples[n-1].at.Add(trendStep)
		}
		if tail.Before(until) && (!knownKept || time.Since(tail) < kept) {
			rest, restCut, err := c.values(ctx, item, tail, until)
			if err != nil {
				return err
			}
			samples, cut = append(samples, rest...), restCut
		}
	}
	if len(samples) == 0 {
		r.line("no values in this time")
		r.data["source"], r.data["points"] = source, []any{}
		return nil
	}
	if cut {
		r.line("[there are more than %d values: only the newest are here; ask for a shorter time]", historyMost)
	}
	all := joined(samples)
	units := item.text("units")
	count := "values"
	if source == "trends" {
		count = "values, hourly"
	}
	r.line("%d %s: min %s, avg %s, max %s; first %s, last %s at %s", all.n, count, measured(number(all.min), units), measured(number(all.avg), units),
		measured(number(all.max), units), number(samples[0].avg), number(samples[len(samples)-1].avg), clock(samples[len(samples)-1].at))
	step := time.Duration(0)
	shown := samples
	if len(samples) > points {
		step = stepFor(samples[len(samples)-1].at.Sub(samples[0].at), points)
		shown = downsampled(samples, step)
		r.line("in steps of %s: time, min, avg, max, number of values", span(step))
	}
	list := make([]any, len(shown))
	for i, s := range shown {
		if i > 0 && step > 0 && s.at.Sub(shown[i-1].at) > step {
			r.line("(no values)")
		}
		if s.n == 1 && step == 0 {
			r.line("%s %s", clock(s.at), number(s.avg))
		} else {
			r.line("%s %s %s %s %d", clock(s.at), number(s.min), number(s.avg), number(s.max), s.n)
		}
		list[i] = map[string]any{"at": clock(s.at), "min": s.min, "avg": s.avg, "max": s.max, "n": s.n}
	}
	r.data["source"], r.data["step_seconds"], r.data["points"], r.data["cut"] = source, int(step.Seconds()), list, cut
	r.data["min"], r.data["avg"], r.data["max"], r.data["n"] = all.min, all.avg, all.max, all.n
	return nil
}

// values gives the values of a time, oldest first. cut says that older ones of
// it were left out.
func (c *zabbixCall) values(ctx context.Context, item row, since, until time.Time) (samples []sample, cut bool, err error) {
	till := until.Unix()
	for len(samples) < historyMost {
		found, err := c.rows(ctx, "history.get", map[string]any{
			"history": item.text("value_type"), "itemids": []string{item.text("itemid")}, "time_from": since.Unix(), "time_till": till,
			"output": []string{"clock", "ns", "value"}, "sortfield": "clock", "sortorder": "DESC", "limit": historyPage,
		})
		if err != nil {
			return nil, false, err
		}
		slices.SortStableFunc(found, newestFirst)
		full := len(found) == historyPage
		if full {
			// What is of the last second may go on in the next page.
			last := found[len(found)-1].text("clock")
			if kept := slices.IndexFunc(found, func(v row) bool { return v.is("clock", last) }); kept > 0 {
				found = found[:kept]
			}
		}
		for _, v := range found {
			f, err := strconv.ParseFloat(v.text("value"), 64)
			if at := v.time("clock"); err == nil && !at.IsZero() {
				samples = append(samples, sample{at, f, f, f, 1})
				till = at.Unix() - 1
			}
		}
		if !full || till < since.Unix() {
			slices.Reverse(samples)
			return samples, false, nil
		}
	}
	slices.Reverse(samples)
	return samples, true, nil
}

// newestFirst orders values. Zabbix sorts by the second alone.
func newestFirst(a, b row) int {
	ns := func(r row) int {
		n, err := strconv.Atoi(r.text("ns"))
		if err != nil {
			return 0
		}
		return n
	}
	return cmp.Or(b.time("clock").Compare(a.time("clock")), cmp.Compare(ns(b), ns(a)))
}

// trends gives what is kept of each hour of a time, oldest first.
func (c *zabbixCall) trends(ctx context.Context, item row, since, until time.Time) ([]sample, error) {
	found, err := c.rows(ctx, "trend.get", map[string]any{
		"itemids": []string{item.text("itemid")}, "time_from": since.Truncate(trendStep).Unix(), "time_till": until.Unix(),
		"output": []string{"clock", "num", "value_min", "value_avg", "value_max"}, "limit": trendsMost,
	})
	if err != nil {
		return nil, err
	}
	var samples []sample
	for _, t := range found {
		s := sample{at: t.time("clock")}
		var errs [4]error
		s.n, errs[0] = strconv.ParseInt(t.text("num"), 10, 64)
		s.min, errs[1] = strconv.ParseFloat(t.text("value_min"), 64)
		s.avg, errs[2] = strconv.ParseFloat(t.text("value_avg"), 64)
		s.max, errs[3] = strconv.ParseFloat(t.text("value_max"), 64)
		if errs == [4]error{} && s.n > 0 {
			samples = append(samples, s)
		}
	}
	slices.SortFunc(samples, func(x, y sample) int { return x.at.Compare(y.at) })
	return samples, nil
}

func (c *zabbixCall) texts(ctx context.Context, r *report, item row, since, until time.Time, points int) error {
	found, err := c.rows(ctx, "history.get", map[string]any{
		"history": item.text("value_type"), "itemids": []string{item.text("itemid")}, "time_from": since.Unix(), "time_till": until.Unix(),
		"output": "extend", "sortfield": "clock", "sortorder": "DESC", "limit": points + 1,
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(found, newestFirst)
	if len(found) > points {
		found = found[:points]
		r.line("[the newest %d values; there are more]", points)
	}
	if len(found) == 0 {
		r.line("no values in this time")
	}
	list := make([]any, 0, len(found))
	for _, v := range slices.Backward(found) {
		r.line("%s %s", clock(v.time("clock")), oneLine(v.text("value"), 2000))
		list = append(list, map[string]string{"at": clock(v.time("clock")), "value": v.text("value")})
	}
	r.data["source"], r.data["points"] = "history", list
	return nil
}

// joined makes one sample of some, with the time of the first.
func joined(samples []sample) sample {
	all := samples[0]
	sum := all.avg * float64(all.n)
	for _, s := range samples[1:] {
		all.min, all.max = min(all.min, s.min), max(all.max, s.max)
		sum += s.avg * float64(s.n)
		all.n += s.n
	}
	all.avg = sum / float64(all.n)
	return all
}

// downsampled makes one sample a step, at the step's start. Steps without
// values are left out.
func downsampled(samples []sample, step time.Duration) (steps []sample) {
	for first := 0; first < len(samples); {
		start := samples[first].at.Truncate(step)
		end := first
		for end < len(samples) && samples[end].at.Before(start.Add(step)) {
			end++
		}
		one := joined(samples[first:end])
		one.at = start
		steps = append(steps, one)
		first = end
	}
	return steps
}

// stepFor gives the shortest step that a person would choose which makes no
// more than so many of a duration.
func stepFor(d time.Duration, points int) time.Duration {
	const day = 24 * time.Hour
	for _, step := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 2 * day, 7 * day, 14 * day, 28 * day} {
		if int(d/step)+2 <= points { // the first and the last are cut off
			return step
		}
	}
	return (d/time.Duration(max(points-2, 1)) + day).Truncate(day)
}

// zabbixSpan reads a time span of Zabbix's configuration, such as 7d or 30s. A
// macro, or more than one span, is not known.
func zabbixSpan(text string) (d time.Duration, known bool) {
	if text == "" {
		return 0, false
	}
	unit, digits := time.Second, text
	if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[text[len(text)-1]]; ok {
		unit, digits = u, text[:len(text)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	return time.Duration(n) * unit, err == nil
}

// number writes a value with six significant digits, and whole numbers whole.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	short := fmt.Sprintf("%.6g", v)
	if f, err := strconv.ParseFloat(short, 64); err == nil && math.Abs(f) < 1e15 && math.Abs(f) >= 1e-6 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return short
}
