package tool

import (
	"context"
	"strings"
)

func zabbixEvents(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_events", Fields: []Field{
		zabbixHost, zabbixGroup, zabbixTag, zabbixMin, zabbixSince, zabbixUntil,
		{Name: "name", Type: String, MaxLength: 255, Description: "only with this text in the name"},
		{Name: "event_ids", Type: Strings, MaxItems: 100, MaxLength: 20, Pattern: idPattern, Description: "only these"},
		{Name: "trigger_ids", Type: Strings, MaxItems: 100, MaxLength: 20, Pattern: idPattern, Description: "only of these triggers"},
		{Name: "kind", Type: String, MaxLength: 10, Enum: []string{"problem", "ok"}, Description: "only the starts of problems, or only their ends"},
		{Name: "acknowledged", Type: Boolean, Description: "only those that are acknowledged (true) or are not (false)"},
		{Name: "before_event", Type: String, MaxLength: 20, Pattern: idPattern, Description: "only those older than this event: the last one of the page before"},
		zabbixLimit(50),
	}}, events)
}

func events(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	limit := int(a.Integer("limit", 50))
	params := map[string]any{
		"source": 0, "object": 0, "sortfield": []string{"eventid"}, "sortorder": "DESC", "limit": limit + 1,
		"output":     []string{"eventid", "objectid", "clock", "value", "name", "severity", "acknowledged", "r_eventid", "suppressed", "opdata"},
		"selectTags": "extend", "selectHosts": []string{"hostid", "host", "name"},
	}
	said := "select_acknowledges"
	if c.since(7, 0) {
		said = "selectAcknowledges"
	}
	params[said] = []string{"clock", "message", "action", "username", "userid"}
	if err := narrow(ctx, c, a, params); err != nil {
		return nil, err
	}
	for arg, param := range map[string]string{"event_ids": "eventids", "trigger_ids": "objectids"} {
		if ids := a.Strings(arg); len(ids) > 0 {
			params[param] = ids
		}
	}
	if kind := a.String("kind"); kind != "" {
		params["value"] = []int{map[string]int{"ok": 0, "problem": 1}[kind]}
	}
	found, err := c.rows(ctx, "event.get", params)
	if err != nil {
		return nil, err
	}
	more := len(found) > limit
	found = found[:min(len(found), limit)]
	r := &report{}
	list := make([]any, len(found))
	for i, e := range found {
		kind, state := "ok", ""
		if e.is("value", "1") {
			kind, state = "problem", "; not acknowledged"
			if e.is("acknowledged", "1") {
				state = "; acknowledged"
			}
			if e.text("r_eventid") != "0" {
				state += "; resolved by event " + e.text("r_eventid")
			}
			if e.is("suppressed", "1") {
				state += "; suppressed"
			}
		}
		hosts := column(e.rows("hosts"), "host")
		r.line("%s %s [%s] %s on %s%s; event %s trigger %s", clock(e.time("clock")), kind, severity(e.text("severity")), oneLine(e.text("name"), 500),
			oneLine(strings.Join(hosts, ", "), 300), state, e.text("eventid"), e.text("objectid"))
		updates := []any{}
		for _, u := range e.rows("acknowledges") {
			updates = append(updates, map[string]string{"at": clock(u.time("clock")), "user": u.text("username"), "message": u.text("message"), "action": u.text("action")})
			r.line("    %s %s: %s", clock(u.time("clock")), oneLine(u.text("username"), 100), oneLine(u.text("message"), 1000))
		}
		list[i] = map[string]any{
			"event_id": e.text("eventid"), "trigger_id": e.text("objectid"), "at": clock(e.time("clock")), "kind": kind, "name": e.text("name"),
			"severity": severity(e.text("severity")), "acknowledged": e.is("acknowledged", "1"), "suppressed": e.is("suppressed", "1"),
			"resolved_event_id": strings.TrimPrefix(e.text("r_eventid"), "0"), "hosts": hosts, "tags": e.tags(), "opdata": e.text("opdata"), "updates": updates,
		}
	}
	r.data = map[string]any{"items": list, "more": more}
	switch {
	case len(found) == 0:
		r.line("no event matches")
	case more:
		r.line("[there are more: ask with before_event %s]", found[len(found)-1].text("eventid"))
	}
	return r, nil
}
