package tool

import (
	"context"
	"strings"
	"time"
)

func zabbixTriggers(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_triggers", Fields: []Field{
		zabbixHost, zabbixGroup, zabbixTag, zabbixMin,
		{Name: "name", Type: String, MaxLength: 255, Description: "only with this text in the name"},
		{Name: "trigger_ids", Type: Strings, MaxItems: 100, MaxLength: 20, Pattern: idPattern, Description: "only these"},
		{Name: "in_problem", Type: Boolean, Default: false, Description: "only those that are in problem state"},
		zabbixLimit(50), zabbixPage,
	}}, triggers)
}

func triggers(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	params := map[string]any{}
	if err := c.scoped(ctx, a, params); err != nil {
		return nil, err
	}
	tagged(a, params)
	if ids := a.Strings("trigger_ids"); len(ids) > 0 {
		params["triggerids"] = ids
	} else {
		params["monitored"] = true
	}
	if text := a.String("name"); text != "" {
		params["search"] = map[string]any{"description": text}
	}
	if s := a.String("min_severity"); s != "" {
		params["min_severity"] = atLeast(s)[0]
	}
	if a.Bool("in_problem", false) {
		params["filter"] = map[string]any{"value": 1}
	}
	details := map[string]any{
		"output":            []string{"triggerid", "description", "expression", "recovery_expression", "priority", "value", "status", "state", "error", "lastchange", "comments", "url", "opdata", "manual_close"},
		"expandDescription": true, "expandExpression": true, "expandComment": true,
		"selectHosts": []string{"hostid", "host", "name"}, "selectTags": "extend", "selectItems": []string{"itemid", "key_"}, "selectDependencies": []string{"triggerid", "description"},
	}
	found, total, err := c.paged(ctx, a, 50, "trigger.get", "triggerid", "description", params, details)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &report{}
	list := make([]any, len(found))
	for i, t := range found {
		state := "ok"
		if t.is("value", "1") {
			state = "PROBLEM"
		}
		if at := t.time("lastchange"); !at.IsZero() {
			state += " since " + clock(at) + " (" + span(now.Sub(at)) + ")"
		}
		if t.is("status", "1") {
			state += ", disabled"
		}
		if t.is("state", "1") {
			state += ", cannot be evaluated: " + oneLine(t.text("error"), 300)
		}
		var items []map[string]string
		for _, it := range t.rows("items") {
			items = append(items, map[string]string{"id": it.text("itemid"), "key": it.text("key_")})
		}
		hosts := column(t.rows("hosts"), "host")
		r.line("[%s] %s on %s; %s; trigger %s", severity(t.text("priority")), oneLine(t.text("description"), 500), oneLine(strings.Join(hosts, ", "), 300), state, t.text("triggerid"))
		r.line("    expression: %s; items: %s", oneLine(t.text("expression"), 1000), strings.Join(column(t.rows("items"), "itemid"), ", "))
		for _, more := range []string{"opdata", "comments", "url"} {
			if text := t.text(more); text != "" {
				r.line("    %s: %s", more, oneLine(text, 1000))
			}
		}
		if depends := column(t.rows("dependencies"), "description"); len(depends) > 0 {
			r.line("    silent while there is: %s", oneLine(strings.Join(depends, "; "), 500))
		}
		list[i] = map[string]any{
			"trigger_id": t.text("triggerid"), "name": t.text("description"), "severity": severity(t.text("priority")), "in_problem": t.is("value", "1"),
			"changed_at": clock(t.time("lastchange")), "enabled": t.is("status", "0"), "error": t.text("error"), "expression": t.text("expression"),
			"recovery_expression": t.text("recovery_expression"), "comments": t.text("comments"), "url": t.text("url"), "opdata": t.text("opdata"),
			"manual_close": t.is("manual_close", "1"), "hosts": hosts, "items": items, "tags": t.tags(), "depends_on": column(t.rows("dependencies"), "triggerid"),
		}
	}
	r.counted(a, 50, len(found), total, "trigger")
	r.data["items"] = list
	return r, nil
}
