package grouping

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

func subject() Subject {
	return Subject{SourceID: "s1", Source: "prod", SourceKind: "zabbix", Alert: &ops.Alert{Identity: "trigger:1", GroupKey: "trigger:1",
		Severity: ops.SeverityHigh, Service: "shop", Host: "web-1", Title: "Disk \"full\" on web-1",
		Labels: map[string]string{"cluster": "eu", "app.kubernetes.io/name": "cart", "empty": "", "two words": "x"}}}
}

func TestMatchers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		``:                   true,
		`{}`:                 true,
		`  `:                 true,
		`source="prod"`:      true,
		`source=prod`:        true,
		`source = prod`:      true,
		`{source="prod",}`:   true,
		`source!="prod"`:     false,
		`source_kind=zabbix`: true,
		`source="prod", severity=~"critical|high"`: true,
		`{source="prod", severity="critical"}`:     false,
		`severity=~"hig"`:                          false, // anchored
		`severity=~"hig."`:                         true,
		`severity=~"h|high"`:                       true,
		`severity!~"h.*"`:                          false,
		`labels.cluster="eu"`:                      true,
		`labels.cluster!=us`:                       true,
		`labels.nothing=""`:                        true, // as in Alertmanager
		`labels.nothing!=""`:                       false,
		`labels.app.kubernetes.io/name="cart"`:     true,
		`labels."two words"="x"`:                   true,
		`"labels.two words"="x"`:                   true,
		`title="Disk \"full\" on web-1"`:           true,
		`title=~".*\d"`:                            true, // \d needs no second backslash
		`host=~"web-[0-9]+"`:                       true,
		`kind=""`:                                  true,
		`kind=test`:                                false,
		`service=~""`:                              false,
	} {
		ms, err := ParseMatchers(text)
		require.NoError(t, err, text)
		require.Equal(t, want, ms.Match(subject()), text)
	}
}

func TestMatchersAreExplained(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`cluster="eu"`:                `at character 1: there is no field "cluster": it is one of source, source_kind, kind, severity, service, host, title, or labels.cluster`,
		`source="prod" severity=high`: `at character 15: "," is wanted here, and not "s"`,
		`source`:                      `one of = != =~ !~ is wanted behind "source"`,
		`source==x`:                   `one of = != =~ !~ is wanted behind "source"`,
		`source=`:                     `a value is wanted here; an empty one is ""`,
		`source="x`:                   `at character 8: a quote is opened here and not closed`,
		`source=a"b`:                  `must be in double quotes`,
		`{source=x`:                   `"," or "}" is wanted here`,
		`source=x}`:                   `"," is wanted here, and not "}"`,
		`=x`:                          `the name of a field is wanted here`,
		`labels.="x"`:                 `names no label`,
		`title=~"("`:                  `the regular expression is malformed`,
		`title=~"a)|(b"`:              `the regular expression is malformed`,
		`title=~"((a{100}){10}){10}"`: `the regular expression is`,
		`title=~"a{999}b{999}c{999}d{999}e{999}f{999}"`: `too large`,
		"title=~" + strings.Repeat("a", 600):            `more than 512 bytes`,
		strings.Repeat("a", 5000):                       `more than 4096 bytes`,
		strings.Repeat("host=a,", 40):                   `more than 32 matchers`,
		"host=\xff":                                     `not valid UTF-8`,
	} {
		_, err := ParseMatchers(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{{service}}/{{labels.cluster}}`:         "shop/eu",
		`{{ service }} in {{ source }}`:          "shop in prod",
		`all`:                                    "all",
		`{{labels.nothing}}/{{host}}`:            "/web-1",
		`{{labels.nothing}}-{{labels.empty}}`:    "", // not the rule's
		`{{labels."two words"}}`:                 "x",
		`{{labels.app.kubernetes.io/name}}!`:     "cart!",
		`{{severity}}{{source_kind}}{{kind}}{x}`: "highzabbix{x}",
	} {
		tpl, err := ParseTemplate(text)
		require.NoError(t, err, text)
		got, ok := tpl.Render(subject())
		require.Equal(t, want != "", ok, text)
		if ok {
			require.Equal(t, want, got, text)
		}
	}
	for text, want := range map[string]string{
		`{{service`:                    "does not close",
		`service}}`:                    "has not opened",
		`{{}}`:                         "names no field",
		`{{cluster}}`:                  "labels.cluster",
		`{{service | upper}}`:          "without functions",
		strings.Repeat("x", 600):       "more than 512",
		"\x00":                         "not valid text",
		strings.Repeat("{{host}}", 20): "more than 16 placeholders",
	} {
		_, err := ParseTemplate(text)
		require.ErrorContains(t, err, want, text)
	}
	s := subject()
	tpl, err := ParseTemplate(`{{title}}`)
	require.NoError(t, err)
	s.Alert.Title = strings.Repeat("é", 1000)
	one, _ := tpl.Render(s)
	s.Alert.Title += "!"
	two, _ := tpl.Render(s)
	require.LessOrEqual(t, len(one), maxRendered)
	require.NotEqual(t, one, two, "long keys are told apart")
}

func rules(rr ...ops.GroupingRule) *Config {
	for i := range rr {
		rr[i].Enabled = true
		rr[i].Name = cmp.Or(rr[i].Name, fmt.Sprint("r", i+1))
		rr[i].ID = cmp.Or(rr[i].ID, fmt.Sprint("id", i+1))
	}
	c, err := Compile(rr, nil)
	if err != nil {
		panic(err)
	}
	return c
}

func TestDecide(t *testing.T) {
	t.Parallel()
	shop := ops.GroupingRule{Match: `service=shop`, Key: `{{service}}/{{labels.cluster}}`, Investigate: true}
	for name, tt := range map[string]struct {
		rules  []ops.GroupingRule
		change func(*Subject)
		want   Decision
	}{
		"no rule": {want: Decision{Key: "source:s1:trigger:1", Group: "trigger:1", Why: "No rule: each Zabbix problem is an incident of its own: trigger:1"}},
		"no group either": {change: func(s *Subject) { s.Alert.GroupKey = "" },
			want: Decision{Key: "source:s1:identity:trigger:1", Group: "identity:trigger:1", Why: "No rule: each Zabbix problem is an incident of its own: identity:trigger:1"}},
		"a rule": {rules: []ops.GroupingRule{shop},
			want: Decision{Key: "rule:id1:shop/eu", Group: "shop/eu", RuleID: "id1", RuleName: "r1", Why: `Rule "r1" groups it by {{service}}/{{labels.cluster}}: shop/eu`}},
		"first match": {rules: []ops.GroupingRule{{Match: "host=web-1", Key: "{{host}}", Investigate: true, Position: 5}, {Match: "service=shop", Key: "x", Investigate: true, Position: 4}},
			want: Decision{Key: "rule:id2:x", Group: "x", RuleID: "id2", RuleName: "r2", Why: `Rule "r2" groups it by x: x`}},
		"a key that gives nothing": {rules: []ops.GroupingRule{{Key: "{{labels.nothing}}", Investigate: true}, shop},
			want: Decision{Key: "rule:id2:shop/eu", Group: "shop/eu", RuleID: "id2", RuleName: "r2", Why: `Rule "r2" groups it by {{service}}/{{labels.cluster}}: shop/eu`}},
		"the sender's group": {rules: []ops.GroupingRule{{Match: "labels.cluster=eu", Agent: "shopper", Investigate: true}},
			want: Decision{Key: "source:s1:trigger:1", Group: "trigger:1", RuleID: "id1", RuleName: "r1", Agent: "shopper", Why: `Rule "r1" leaves it in the group of its sender: trigger:1`}},
		"a test": {rules: []ops.GroupingRule{shop}, change: func(s *Subject) { s.Alert.Kind = ops.AlertTest },
			want: Decision{Key: "source:s1:trigger:1", Group: "trigger:1", Why: "No rule: each Zabbix problem is an incident of its own: trigger:1", NotInvestigated: "it is a test"}},
		"not investigated": {rules: []ops.GroupingRule{{}},
			want: Decision{Key: "source:s1:trigger:1", Group: "trigger:1", RuleID: "id1", RuleName: "r1", Why: `Rule "r1" leaves it in the group of its sender: trigger:1`,
				NotInvestigated: `rule "r1" does not investigate`}},
		"below the floor": {rules: []ops.GroupingRule{{Investigate: true, MinSeverity: ops.SeverityCritical}},
			want: Decision{Key: "source:s1:trigger:1", Group: "trigger:1", RuleID: "id1", RuleName: "r1", Why: `Rule "r1" leaves it in the group of its sender: trigger:1`,
				NotInvestigated: `rule "r1" investigates from severity critical on, and this is high`}},
		"windows": {rules: []ops.GroupingRule{{Investigate: true, MinSeverity: ops.SeverityHigh, Window: ops.WindowFixed, WindowSeconds: 60}},
			want: Decision{Key: "source:s1:trigger:1", Group: "trigger:1", RuleID: "id1", RuleName: "r1", Why: `Rule "r1" leaves it in the group of its sender: trigger:1`,
				Window: time.Minute, Fixed: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject()
			if tt.change != nil {
				tt.change(&s)
			}
			require.Equal(t, tt.want, rules(tt.rules...).Decide(s))
		})
	}
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	good := ops.GroupingRule{Name: "n", Investigate: true}
	require.NoError(t, CheckRule(good))
	for want, change := range map[string]func(*ops.GroupingRule){
		"the name has":                             func(r *ops.GroupingRule) { r.Name = "  " },
		"position is":                              func(r *ops.GroupingRule) { r.Position = -1 },
		"match: at character 1":                    func(r *ops.GroupingRule) { r.Match = "x=y" },
		"key: ":                                    func(r *ops.GroupingRule) { r.Key = "{{" },
		"window is rolling, fixed or empty":        func(r *ops.GroupingRule) { r.Window = "daily" },
		"window_seconds needs a window":            func(r *ops.GroupingRule) { r.WindowSeconds = 5 },
		"window_seconds of a fixed window is":      func(r *ops.GroupingRule) { r.Window = ops.WindowFixed },
		"min_severity is":                          func(r *ops.GroupingRule) { r.MinSeverity = "bad" },
		"needs neither agent nor min_severity":     func(r *ops.GroupingRule) { r.Investigate, r.Agent = false, "a" },
		"agent has at most":                        func(r *ops.GroupingRule) { r.Agent = strings.Repeat("a", 101) },
		"window_seconds of a rolling window is a ": func(r *ops.GroupingRule) { r.Window, r.WindowSeconds = ops.WindowRolling, 1<<30 },
	} {
		r := good
		change(&r)
		err := CheckRule(r)
		require.ErrorContains(t, err, want)
		require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
	}
}

func TestOneBadRuleLeavesTheOthers(t *testing.T) {
	t.Parallel()
	c, err := Compile([]ops.GroupingRule{{ID: "bad", Name: "bad", Enabled: true, Match: "("}, {ID: "good", Name: "good", Enabled: true, Key: "all", Investigate: true},
		{ID: "off", Name: "off", Key: "off"}}, []ops.MaintenanceWindow{{Name: "bad", Enabled: true}})
	require.ErrorContains(t, err, "grouping rule bad")
	require.ErrorContains(t, err, "maintenance window bad")
	require.Equal(t, "rule:good:all", c.Decide(subject()).Key)
	require.Equal(t, `rule "good" investigates from severity high on, and this is info`, func() string {
		c := rules(ops.GroupingRule{ID: "x", Name: "good", Investigate: true, MinSeverity: ops.SeverityHigh})
		return c.NotInvestigated("x", ops.SeverityInfo)
	}())
	require.Empty(t, c.NotInvestigated("gone", ops.SeverityInfo))
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	once := ops.MaintenanceWindow{StartsAt: at("2026-03-01T10:00:00Z"), EndsAt: at("2026-03-01T12:00:00Z")}
	berlin := ops.MaintenanceWindow{Days: []string{"sun"}, StartTime: "01:30", Minutes: 120, TimeZone: "Europe/Berlin"}
	late := ops.MaintenanceWindow{Days: []string{"sat", "mon"}, StartTime: "23:00", Minutes: 180}
	week := ops.MaintenanceWindow{Days: []string{"mon"}, StartTime: "12:00", Minutes: maxWeekly}
	bounded := late
	bounded.StartsAt, bounded.EndsAt = at("2026-03-07T23:30:00Z"), at("2026-03-08T01:00:00Z")
	other := once
	other.Match = `service!="shop"`
	for _, tt := range []struct {
		name  string
		w     ops.MaintenanceWindow
		at    string
		until string // empty: not on
	}{
		{"before", once, "2026-03-01T09:59:59Z", ""},
		{"at its start", once, "2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z"},
		{"at its end", once, "2026-03-01T12:00:00Z", ""},
		{"another service", other, "2026-03-01T11:00:00Z", ""},
		{"weekly, in winter time", berlin, "2026-03-22T00:30:00Z", "2026-03-22T02:30:00Z"},
		{"weekly, before it", berlin, "2026-03-22T00:29:59Z", ""},
		{"weekly, on another day", berlin, "2026-03-23T01:00:00Z", ""},
		{"when the clocks go forward it is as long", berlin, "2026-03-29T02:29:00Z", "2026-03-29T02:30:00Z"},
		{"and over in time", berlin, "2026-03-29T02:30:00Z", ""},
		{"weekly, in summer time", berlin, "2026-04-04T23:30:00Z", "2026-04-05T01:30:00Z"},
		{"over midnight, before", late, "2026-03-07T23:59:00Z", "2026-03-08T02:00:00Z"},
		{"over midnight, after", late, "2026-03-08T01:59:00Z", "2026-03-08T02:00:00Z"},
		{"over midnight, on the second day", late, "2026-03-09T23:00:00Z", "2026-03-10T02:00:00Z"},
		{"not on the evening after", late, "2026-03-08T23:30:00Z", ""},
		{"a whole week", week, "2026-03-09T11:59:59Z", "2026-03-09T12:00:00Z"},
		{"and the next one", week, "2026-03-09T12:00:00Z", "2026-03-16T12:00:00Z"},
		{"not before its bound", bounded, "2026-03-07T23:15:00Z", ""},
		{"within its bounds", bounded, "2026-03-07T23:45:00Z", "2026-03-08T01:00:00Z"},
		{"not after its bound", bounded, "2026-03-08T01:30:00Z", ""},
	} {
		tt.w.ID, tt.w.Name, tt.w.Enabled = "w", "w", true
		require.NoError(t, CheckWindow(tt.w), tt.name)
		c, err := Compile(nil, []ops.MaintenanceWindow{tt.w})
		require.NoError(t, err)
		m, ok := c.Maintenance(subject(), at(tt.at))
		require.Equal(t, tt.until != "", ok, tt.name)
		if ok {
			require.Equal(t, Maintenance{"w", "w", at(tt.until)}, m, tt.name)
		}
	}
	// Of several the one that ends last, so that nothing is investigated too early.
	long := once
	long.ID, long.Name, long.Enabled, long.EndsAt = "long", "long", true, at("2026-03-02T00:00:00Z")
	once.Name, once.Enabled = "once", true
	c, err := Compile(nil, []ops.MaintenanceWindow{once, long})
	require.NoError(t, err)
	m, _ := c.Maintenance(subject(), at("2026-03-01T11:00:00Z"))
	require.Equal(t, "long", m.Name)
	until, on := c.Until("long", at("2026-03-01T11:00:00Z"))
	require.True(t, on)
	require.Equal(t, long.EndsAt, until)
	_, on = c.Until("gone", at("2026-03-01T11:00:00Z"))
	require.False(t, on)
}

func TestWindowsAreChecked(t *testing.T) {
	t.Parallel()
	once := ops.MaintenanceWindow{Name: "n", StartsAt: at("2026-03-01T10:00:00Z"), EndsAt: at("2026-03-01T12:00:00Z")}
	weekly := ops.MaintenanceWindow{Name: "n", Days: []string{"mon"}, StartTime: "10:00", Minutes: 60, TimeZone: "Asia/Tokyo"}
	require.NoError(t, CheckWindow(once))
	require.NoError(t, CheckWindow(weekly))
	change := func(w ops.MaintenanceWindow, f func(*ops.MaintenanceWindow)) ops.MaintenanceWindow { f(&w); return w }
	for want, w := range map[string]ops.MaintenanceWindow{
		"the name has":           change(once, func(w *ops.MaintenanceWindow) { w.Name = "" }),
		"match: ":                change(once, func(w *ops.MaintenanceWindow) { w.Match = "x" }),
		"not after starts_at":    change(once, func(w *ops.MaintenanceWindow) { w.EndsAt = w.StartsAt }),
		"needs starts_at and":    change(once, func(w *ops.MaintenanceWindow) { w.EndsAt = time.Time{} }),
		"give its days as well":  change(once, func(w *ops.MaintenanceWindow) { w.Minutes = 5 }),
		`"monday" is not a day`:  change(weekly, func(w *ops.MaintenanceWindow) { w.Days = []string{"monday"} }),
		"mon is there twice":     change(weekly, func(w *ops.MaintenanceWindow) { w.Days = []string{"mon", "mon"} }),
		"of the form HH:MM":      change(weekly, func(w *ops.MaintenanceWindow) { w.StartTime = "9:00" }),
		"from 00:00 to 23:59":    change(weekly, func(w *ops.MaintenanceWindow) { w.StartTime = "24:00" }),
		"(a week)":               change(weekly, func(w *ops.MaintenanceWindow) { w.Minutes = maxWeekly + 1 }),
		`no time zone "Nowhere"`: change(weekly, func(w *ops.MaintenanceWindow) { w.TimeZone = "Nowhere" }),
		`no time zone "Local"`:   change(weekly, func(w *ops.MaintenanceWindow) { w.TimeZone = "Local" }),
		`no time zone "../x"`:    change(weekly, func(w *ops.MaintenanceWindow) { w.TimeZone = "../x" }),
	} {
		err := CheckWindow(w)
		require.ErrorContains(t, err, want)
		require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	start := at("2026-01-01T00:00:00Z")
	type fired struct {
		host     string
		from, to int // minutes; to below 0: it still fires
		incident string
	}
	for name, tt := range map[string]struct {
		rule  ops.GroupingRule
		past  []fired
		would int
		size  []int // alerts of the rule's groups
	}{
		"nothing":                    {ops.GroupingRule{Key: "all"}, nil, 0, nil},
		"one group while it is open": {ops.GroupingRule{Key: "all"}, []fired{{"a", 0, 30, "1"}, {"b", 20, 40, "2"}, {"c", 45, 50, "3"}}, 1, []int{3}},
		"it fires for ever":          {ops.GroupingRule{Key: "all"}, []fired{{"a", 0, -1, "1"}, {"b", 9999, 10000, "2"}}, 1, []int{2}},
		"ended too long ago":         {ops.GroupingRule{Key: "all"}, []fired{{"a", 0, 5, "1"}, {"b", 16, 20, "2"}}, 2, []int{2}},
		"by host":                    {ops.GroupingRule{Key: "{{host}}"}, []fired{{"a", 0, 5, "1"}, {"b", 1, 5, "1"}, {"a", 2, 5, "1"}}, 2, []int{2, 1}},
		"a fixed window":             {ops.GroupingRule{Key: "all", Window: ops.WindowFixed, WindowSeconds: 600}, []fired{{"a", 0, -1, "1"}, {"b", 9, -1, "1"}, {"c", 10, -1, "1"}}, 2, []int{3}},
		"a rolling window":           {ops.GroupingRule{Key: "all", Window: ops.WindowRolling, WindowSeconds: 600}, []fired{{"a", 0, -1, "1"}, {"b", 9, -1, "1"}, {"c", 18, -1, "1"}, {"d", 28, -1, "1"}}, 2, []int{4}},
		"others as they are":         {ops.GroupingRule{Match: "host=a", Key: "all"}, []fired{{"a", 0, 5, "1"}, {"b", 0, 5, "2"}, {"c", 0, 5, "3"}}, 3, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.rule.ID, tt.rule.Investigate = "r", true
			r := NewReplay(rules(tt.rule), "r")
			matched, incidents := 0, map[string]bool{}
			for i := len(tt.past) - 1; i >= 0; i-- {
				f := tt.past[i]
				s := subject()
				s.Alert.Host, s.Alert.GroupKey = f.host, f.host
				to := time.Time{}
				if f.to >= 0 {
					to = start.Add(time.Duration(f.to) * time.Minute)
				}
				r.Add(s, start.Add(time.Duration(f.from)*time.Minute), to, DefaultReopen, f.incident)
				incidents[f.incident] = true
			}
			got := r.Result()
			var size []int
			for _, g := range got.Largest {
				size = append(size, g.Alerts)
				matched += g.Alerts
				require.NotEmpty(t, g.Titles)
			}
			require.Equal(t, tt.would, got.Would)
			require.Equal(t, tt.size, size)
			require.Equal(t, len(tt.past), got.Alerts)
			require.Equal(t, matched, got.Matched)
			require.Equal(t, len(incidents), got.Incidents)
		})
	}
}

func FuzzMatchers(f *testing.F) {
	for _, s := range []string{`{source="prod", severity=~"critical|high"}`, `labels."a b"!="\n\\"`, `title=~"(a|b){2,3}"`, `host=a,`, "{", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ms, err := ParseMatchers(text)
		if err != nil {
			require.Contains(t, err.Error(), " ")
			return
		}
		require.LessOrEqual(t, len(ms), maxMatchers)
		ms.Match(subject())
		for _, m := range ms {
			require.Equal(t, m.op[len(m.op)-1] == '~', m.pattern != nil)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{`{{service}}/{{labels.cluster}}`, `{{labels."x"}}`, `{{`, `}}`, `{{{host}}}`} {
		f.Add(s, "web")
	}
	f.Fuzz(func(t *testing.T, text, host string) {
		tpl, err := ParseTemplate(text)
		if err != nil {
			return
		}
		s := subject()
		s.Alert.Host = host
		got, _ := tpl.Render(s)
		require.LessOrEqual(t, len(got), maxRendered)
	})
}

func FuzzWindow(f *testing.F) {
	f.Add("02:00", 60, "Europe/Berlin", "sun", int64(1_770_000_000))
	f.Add("23:59", maxWeekly, "", "mon", int64(0))
	f.Fuzz(func(t *testing.T, start string, minutes int, zone, day string, unix int64) {
		w := ops.MaintenanceWindow{ID: "w", Name: "w", Enabled: true, Days: []string{day}, StartTime: start, Minutes: minutes, TimeZone: zone}
		if CheckWindow(w) != nil {
			return
		}
		c, err := Compile(nil, []ops.MaintenanceWindow{w})
		require.NoError(t, err)
		now := time.Unix(unix%4_000_000_000, 0)
		until, on := c.Until("w", now)
		if on {
			require.True(t, until.After(now) && until.Sub(now) <= time.Duration(minutes)*time.Minute)
		}
	})
}
