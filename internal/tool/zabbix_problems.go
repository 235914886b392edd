package tool

import (
	"context"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

func zabbixProblems(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_problems", Fields: []Field{
		zabbixHost, zabbixGroup, zabbixTag, zabbixMin, zabbixSince, zabbixUntil,
		{Name: "name", Type: String, MaxLength: 255, Description: "only with this text in the name"},
		{Name: "acknowledged", Type: Boolean, Description: "only those that are acknowledged (true) or are not (false)"},
		{Name: "suppressed", Type: Boolean, Description: "only those that are suppressed, by a maintenance for example (true), or are not (false)"},
		{Name: "recent", Type: Boolean, Default: false, Description: "with those that were resolved a moment ago"},
		{Name: "before_event", Type: String, MaxLength: 20, Pattern: idPattern, Description: "only those older than this event: the last one of the page before"},
		zabbixLimit(50),
	}}, problems)
}

func problems(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	limit := int(a.Integer("limit", 50))
	params := map[string]any{
		"output":     []string{"eventid", "objectid", "clock", "r_eventid", "r_clock", "name", "acknowledged", "severity", "suppressed", "opdata"},
		"selectTags": "extend", "sortfield": []string{"eventid"}, "sortorder": "DESC", "limit": limit + 1,
	}
	if err := narrow(ctx, c, a, params); err != nil {
		return nil, err
	}
	if a.Bool("recent", false) {
		params["recent"] = true
	}
	if s, ok := a["suppressed"]; ok {
		params["suppressed"] = s
	}
	found, err := c.rows(ctx, "problem.get", params)
	if err != nil {
		return nil, err
	}
	more := len(found) > limit
	found = found[:min(len(found), limit)]
	triggers, err := c.triggersOf(ctx, column(found, "objectid"))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &report{}
	items := make([]any, len(found))
	for i, p := range found {
		t := triggers[p.text("objectid")]
		notes := []string{"not acknowledged"}
		if p.is("acknowledged", "1") {
			notes[0] = "acknowledged"
		}
		if p.is("suppressed", "1") {
			notes = append(notes, "suppressed")
		}
		if t.disabled {
			notes = append(notes, "no longer monitored")
		}
		state := "for " + span(now.Sub(p.time("clock")))
		if p.time("clock").IsZero() {
			state = "an unknown time"
		}
		if resolved := p.time("r_clock"); !resolved.IsZero() {
			state = "resolved " + clock(resolved)
		}
		r.line("[%s] %s on %s; since %s (%s); %s; event %s trigger %s", severity(p.text("severity")), oneLine(p.text("name"), 500), t.names(),
			clock(p.time("clock")), state, strings.Join(notes, ", "), p.text("eventid"), p.text("objectid"))
		if text := p.text("opdata"); text != "" {
			r.line("    data: %s", oneLine(text, 500))
		}
		if tags := tagText(p.tags()); tags != "" {
			r.line("    tags: %s", tags)
		}
		items[i] = map[string]any{
			"event_id": p.text("eventid"), "trigger_id": p.text("objectid"), "name": p.text("name"), "severity": severity(p.text("severity")),
			"since": clock(p.time("clock")), "resolved_event_id": strings.TrimPrefix(p.text("r_eventid"), "0"), "resolved_at": clock(p.time("r_clock")),
			"acknowledged": p.is("acknowledged", "1"), "suppressed": p.is("suppressed", "1"), "opdata": p.text("opdata"), "tags": p.tags(),
			"hosts": t.hosts, "monitored": !t.disabled,
		}
	}
	r.data = map[string]any{"items": items, "more": more}
	switch {
	case len(found) == 0:
		r.line("no problem matches")
	case more:
		r.line("[there are more: ask with before_event %s]", found[len(found)-1].text("eventid"))
	}
	return r, nil
}

// narrow puts what problems and events are chosen by into parameters.
func narrow(ctx context.Context, c *zabbixCall, a Args, params map[string]any) error {
	if err := c.scoped(ctx, a, params); err != nil {
		return err
	}
	if err := window(a, time.Now(), params); err != nil {
		return err
	}
	tagged(a, params)
	if text := a.String("name"); text != "" {
		params["search"] = map[string]any{"name": text}
	}
	if s := a.String("min_severity"); s != "" {
		params["severities"] = atLeast(s)
	}
	if ack, ok := a["acknowledged"]; ok {
		params["acknowledged"] = ack
	}
	if id := a.String("before_event"); id != "" {
		before, err := decrement(id)
		if err != nil {
			return err
		}
		params["eventid_till"] = before
	}
	return nil
}

// ofTrigger is what a problem is told apart by, beside its name.
type ofTrigger struct {
	hosts    []map[string]string
	disabled bool // it, or all of its hosts
}

func (t ofTrigger) names() string {
	var names []string
	for _, h := range t.hosts {
		names = append(names, bothNames(h["host"], h["name"]))
	}
	if len(names) == 0 {
		return "a host that cannot be seen"
	}
	return oneLine(strings.Join(names, ", "), 300)
}

// bothNames writes the technical name of a host, and the visible one if it is another.
func bothNames(host, name string) string {
	host, name = oneLine(host, 150), oneLine(name, 150)
	if name == "" || name == host {
		return host
	}
	return host + " (" + name + ")"
}

// triggersOf gives the hosts of triggers. One that is gone, or that the
// credential may not see, is not in the answer.
func (c *zabbixCall) triggersOf(ctx context.Context, ids []string) (map[string]ofTrigger, error) {
	all := map[string]ofTrigger{}
	if len(ids) == 0 {
		return all, nil
	}
	found, err := c.rows(ctx, "trigger.get", map[string]any{"triggerids": ids, "output": []string{"triggerid", "status"},
		"selectHosts": []string{"hostid", "host", "name", "status"}})
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		of := ofTrigger{disabled: true}
		for _, h := range t.rows("hosts") {
			of.hosts = append(of.hosts, map[string]string{"id": h.text("hostid"), "host": h.text("host"), "name": h.text("name")})
			of.disabled = of.disabled && h.is("status", "1")
		}
		of.disabled = of.disabled || t.is("status", "1")
		all[t.text("triggerid")] = of
	}
	return all, nil
}

// decrement gives the id before one.
func decrement(id string) (string, error) {
	n, err := parseID(id)
	if err != nil || n == 0 {
		return "", ops.Errorf(ops.CodeInvalid, "%q is not an id", id)
	}
	return formatID(n - 1), nil
}
