package grouping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Bounds of what is configured.
const (
	MaxRules     = 200
	MaxWindows   = 500
	maxWindow    = 90 * 24 * time.Hour // of a rule
	maxRuleName  = 100
	maxAgentName = 100
)

// Decision says where an alert belongs, why, and what is done about it.
type Decision struct {
	// Key is the name of the group among all groups of all sources.
	Key string
	// Group is what people see of it: the sender's group, or what the rule's key gave.
	Group    string
	RuleID   string // empty: no rule
	RuleName string
	Why      string
	// Window bounds how long the group takes alerts into one incident; 0 is as
	// long as it is open. It is Fixed to the group's first alert, or rolls with the newest.
	Window time.Duration
	Fixed  bool
	// NotInvestigated says why nothing investigates; empty if something does.
	NotInvestigated string
	Agent           string // empty: the default one
}

// Config is rules and windows, ready to be used. The zero value has none. It
// never changes, so that many may use it at once.
type Config struct {
	rules   []rule
	windows []window
}

type rule struct {
	ops.GroupingRule
	match Matchers
	key   Template
}

// Compile makes rules and windows usable, in any order given. Those that are not
// enabled are left out. One that is malformed is left out as well and named in
// the error, which does not make the rest unusable: intake must go on.
func Compile(rules []ops.GroupingRule, windows []ops.MaintenanceWindow) (*Config, error) {
	c := &Config{}
	var errs []error
	for _, r := range rules {
		if !r.Enabled {
			continue
		}
		compiled, err := compileRule(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("grouping rule %s: %w", r.Name, err))
			continue
		}
		c.rules = append(c.rules, compiled)
	}
	slices.SortStableFunc(c.rules, func(a, b rule) int {
		if a.Position != b.Position {
			return a.Position - b.Position
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	for _, w := range windows {
		if !w.Enabled {
			continue
		}
		compiled, err := compileWindow(w)
		if err != nil {
			errs = append(errs, fmt.Errorf("maintenance window %s: %w", w.Name, err))
			continue
		}
		c.windows = append(c.windows, compiled)
	}
	return c, errors.Join(errs...)
}

// CheckRule refuses a rule that is not understood. The error is for the person
// who wrote it.
func CheckRule(r ops.GroupingRule) error {
	_, err := compileRule(r)
	if err != nil {
		return ops.Errorf(ops.CodeInvalid, "%s", err)
	}
	return nil
}

func compileRule(r ops.GroupingRule) (rule, error) {
	out := rule{GroupingRule: r}
	var err error
	if strings.TrimSpace(r.Name) == "" || len(r.Name) > maxRuleName {
		return out, fmt.Errorf("the name has 1 to %d characters", maxRuleName)
	}
	if r.Position < 0 || r.Position > 1_000_000 {
		return out, errors.New("position is a number from 0 to 1000000")
	}
	if out.match, err = ParseMatchers(r.Match); err != nil {
		return out, fmt.Errorf("match: %w", err)
	}
	if out.key, err = ParseTemplate(r.Key); err != nil {
		return out, fmt.Errorf("key: %w", err)
	}
	switch {
	case r.Window != "" && r.Window != ops.WindowRolling && r.Window != ops.WindowFixed:
		return out, errors.New("window is rolling, fixed or empty")
	case r.Window == "" && r.WindowSeconds != 0:
		return out, errors.New("window_seconds needs a window: rolling or fixed")
	case r.Window != "" && (r.WindowSeconds < 1 || r.WindowSeconds > int(maxWindow/time.Second)):
		return out, fmt.Errorf("window_seconds of a %s window is a number from 1 to %d", r.Window, int(maxWindow/time.Second))
	case r.MinSeverity != "" && r.MinSeverity.Rank() == 0:
		return out, errors.New("min_severity is critical, high, warning, info or empty")
	case len(r.Agent) > maxAgentName:
		return out, fmt.Errorf("agent has at most %d characters", maxAgentName)
	case !r.Investigate && (r.Agent != "" || r.MinSeverity != ""):
		return out, errors.New("a rule that does not investigate needs neither agent nor min_severity")
	}
	return out, nil
}

// Decide says where an alert belongs. What is only a test is no rule's business
// and not investigated.
func (c *Config) Decide(s Subject) Decision {
	if s.Alert.Kind == ops.AlertTest {
		d := byDefault(s)
		d.NotInvestigated = "it is a test"
		return d
	}
	for _, r := range c.rules {
		if d, ok := r.decide(s); ok {
			return d
		}
	}
	return byDefault(s)
}

func (r rule) decide(s Subject) (Decision, bool) {
	if !r.match.Match(s) {
		return Decision{}, false
	}
	d := byDefault(s)
	if r.Key != "" {
		group, ok := r.key.Render(s)
		if !ok {
			return Decision{}, false
		}
		d.Key, d.Group = "rule:"+r.ID+":"+group, group
		d.Why = fmt.Sprintf("Rule %q groups it by %s: %s", r.Name, r.Key, group)
	} else {
		d.Why = fmt.Sprintf("Rule %q leaves it in the group of its sender: %s", r.Name, d.Group)
	}
	d.RuleID, d.RuleName, d.Agent = r.ID, r.Name, r.Agent
	if r.Window != "" {
		d.Window, d.Fixed = time.Duration(r.WindowSeconds)*time.Second, r.Window == ops.WindowFixed
	}
	d.NotInvestigated = r.against(s.Alert.Severity)
	return d, true
}

// against says why a rule does not investigate; empty if it does.
func (r rule) against(severity ops.Severity) string {
	switch {
	case !r.Investigate:
		return fmt.Sprintf("rule %q does not investigate", r.Name)
	case severity.Rank() < r.MinSeverity.Rank():
		return fmt.Sprintf("rule %q investigates from severity %s on, and this is %s", r.Name, r.MinSeverity, severity)
	}
	return ""
}

// NotInvestigated says why a rule would not have an incident of this severity
// investigated; empty if it would, or if there is no such rule any more.
func (c *Config) NotInvestigated(rule string, severity ops.Severity) string {
	for _, r := range c.rules {
		if r.ID == rule {
			return r.against(severity)
		}
	}
	return ""
}

// defaults say for each kind of source what its own groups are.
var defaults = map[string]string{
	"alertmanager": "Alertmanager sends it in this group (group_by of its route)",
	"grafana":      "Grafana sends it in this group (its notification policy)",
	"pagerduty":    "PagerDuty has grouped it into this incident of its own",
	"datadog":      "all groups of one Datadog monitor are one incident",
	"zabbix":       "each Zabbix problem is an incident of its own",
	"webhook":      "the group field of the source's mapping says so, or else its identity",
}

// byDefault groups an alert as its sender does. One without a group is its own.
func byDefault(s Subject) Decision {
	group := s.Alert.GroupKey
	if group == "" {
		group = "identity:" + s.Alert.Identity
	}
	group = bounded(group)
	why, ok := defaults[s.SourceKind]
	if !ok {
		why = "its sender has put it into this group"
	}
	return Decision{Key: SourceKey(s.SourceID, group), Group: group, Why: fmt.Sprintf("No rule: %s: %s", why, group)}
}

// SourceKey names a sender's group among all groups.
func SourceKey(source, group string) string { return "source:" + source + ":" + group }

// StormKey names the group that a source's storm collapses into.
func StormKey(source string) string { return "storm:" + source }
