package tool

import (
	"context"
	"net"
	"strings"
)

func zabbixHosts(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_hosts", Fields: []Field{
		{Name: "name", Type: String, MaxLength: 255, Description: "only with this text in the technical or visible name; * stands for any text"},
		zabbixGroup, zabbixTag,
		{Name: "address", Type: String, MaxLength: 255, Description: "only with this IP address or DNS name"},
		{Name: "with_disabled", Type: Boolean, Default: false, Description: "with hosts that are not monitored"},
		zabbixLimit(50), zabbixPage,
	}}, hosts)
}

func hosts(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	params := map[string]any{}
	if err := c.scoped(ctx, Args{"group": a.String("group")}, params); err != nil {
		return nil, err
	}
	tagged(a, params)
	if name := a.String("name"); name != "" {
		params["search"], params["searchByAny"] = map[string]any{"host": name, "name": name}, true
		params["searchWildcardsEnabled"] = strings.Contains(name, "*")
	}
	if !a.Bool("with_disabled", false) {
		params["filter"] = map[string]any{"status": 0}
	}
	if at := a.String("address"); at != "" {
		match := map[string]any{"dns": at}
		if net.ParseIP(at) != nil {
			match = map[string]any{"ip": at}
		}
		found, err := c.rows(ctx, "hostinterface.get", map[string]any{"output": []string{"hostid"}, "filter": match, "limit": 1000})
		if err != nil {
			return nil, err
		}
		params["hostids"] = column(found, "hostid")
	}
	details := map[string]any{
		"output":           []string{"hostid", "host", "name", "status", "maintenance_status", "description"},
		"selectInterfaces": []string{"type", "main", "useip", "ip", "dns", "port", "available", "error"}, "selectTags": "extend",
	}
	groups := "hostgroups"
	if c.since(6, 2) {
		details["selectHostGroups"] = []string{"name"}
	} else {
		groups, details["selectGroups"] = "groups", []string{"name"}
	}
	found, total, err := c.paged(ctx, a, 50, "host.get", "hostid", "name", params, details)
	if err != nil {
		return nil, err
	}
	r := &report{}
	items := make([]any, len(found))
	for i, h := range found {
		var notes []string
		if h.is("status", "1") {
			notes = append(notes, "not monitored")
		}
		if h.is("maintenance_status", "1") {
			notes = append(notes, "in maintenance")
		}
		interfaces := []any{}
		for _, f := range h.rows("interfaces") {
			at := f.text("ip")
			if f.is("useip", "0") {
				at = f.text("dns")
			}
			one := map[string]string{
				"type":      of(map[string]string{"1": "agent", "2": "SNMP", "3": "IPMI", "4": "JMX"}, f.text("type")),
				"address":   net.JoinHostPort(at, f.text("port")),
				"available": of(map[string]string{"0": "unknown", "1": "yes", "2": "no"}, f.text("available")), "error": f.text("error"),
			}
			interfaces = append(interfaces, one)
			note := one["type"] + " " + one["address"]
			if one["available"] == "no" {
				note += " NOT AVAILABLE: " + oneLine(one["error"], 200)
			}
			notes = append(notes, note)
		}
		r.line("%s; id %s; %s", bothNames(h.text("host"), h.text("name")), h.text("hostid"), strings.Join(notes, ", "))
		names := column(h.rows(groups), "name")
		line := "groups: " + oneLine(strings.Join(names, ", "), 300)
		if tags := tagText(h.tags()); tags != "" {
			line += "; tags: " + tags
		}
		r.line("    %s", line)
		items[i] = map[string]any{
			"host_id": h.text("hostid"), "host": h.text("host"), "name": h.text("name"), "monitored": h.is("status", "0"),
			"maintenance": h.is("maintenance_status", "1"), "description": h.text("description"), "interfaces": interfaces, "groups": names, "tags": h.tags(),
		}
	}
	r.counted(a, 50, len(found), total, "host")
	r.data["items"] = items
	return r, nil
}

// of translates a number of the API; one that is not known stays.
func of(names map[string]string, number string) string {
	if name, ok := names[number]; ok {
		return name
	}
	return number
}
