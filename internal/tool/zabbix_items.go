package tool

import (
	"context"
	"fmt"
	"strings"
	"time"
)

func zabbixItems(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_items", Fields: []Field{
		zabbixHost,
		{Name: "name", Type: String, MaxLength: 255, Description: "only with this text in the name; * stands for any text"},
		{Name: "key", Type: String, MaxLength: 2048, Description: "only with this text in the key, such as vfs.fs; * stands for any text"},
		zabbixTag,
		{Name: "broken", Type: Boolean, Default: false, Description: "only items that Zabbix cannot get a value of"},
		zabbixLimit(50), zabbixPage,
	}}, items)
}

// valueTypes are those of items, by their numbers.
var valueTypes = map[string]string{"0": "float", "1": "character", "2": "log", "3": "unsigned", "4": "text", "5": "binary"}

func items(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	params := map[string]any{"monitored": true}
	if err := c.scoped(ctx, a, params); err != nil {
		return nil, err
	}
	tagged(a, params)
	search := map[string]any{}
	for arg, property := range map[string]string{"name": "name", "key": "key_"} {
		if text := a.String(arg); text != "" {
			search[property] = text
			if strings.Contains(text, "*") {
				params["searchWildcardsEnabled"] = true
			}
		}
	}
	if params["searchWildcardsEnabled"] == true {
		for property, text := range search { // with wildcards a text is the whole of it
			if !strings.Contains(text.(string), "*") {
				search[property] = "*" + text.(string) + "*"
			}
		}
	}
	params["search"] = search
	if a.Bool("broken", false) {
		params["filter"] = map[string]any{"state": 1}
	}
	details := map[string]any{
		"output":      []string{"itemid", "name", "key_", "value_type", "units", "delay", "state", "error", "lastvalue", "lastclock", "history", "trends"},
		"selectHosts": []string{"host"}, "selectTags": "extend",
	}
	found, total, err := c.paged(ctx, a, 50, "item.get", "itemid", "name", params, details)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &report{}
	list := make([]any, len(found))
	for i, it := range found {
		host := strings.Join(column(it.rows("hosts"), "host"), ", ")
		value := "no value yet"
		if at := it.time("lastclock"); !at.IsZero() {
			value = fmt.Sprintf("%s (%s ago)", measured(it.text("lastvalue"), it.text("units")), span(now.Sub(at)))
		}
		if it.is("state", "1") {
			value = "CANNOT BE READ: " + oneLine(it.text("error"), 300)
		}
		r.line("%s: %s [%s] = %s; item %s, %s", oneLine(host, 200), oneLine(it.text("name"), 300), oneLine(it.text("key_"), 300), value,
			it.text("itemid"), of(valueTypes, it.text("value_type")))
		list[i] = map[string]any{
			"item_id": it.text("itemid"), "host": host, "name": it.text("name"), "key": it.text("key_"), "type": of(valueTypes, it.text("value_type")),
			"units": it.text("units"), "delay": it.text("delay"), "last_value": it.text("lastvalue"), "last_at": clock(it.time("lastclock")),
			"error": it.text("error"), "history": it.text("history"), "trends": it.text("trends"), "tags": it.tags(),
		}
	}
	r.counted(a, 50, len(found), total, "item")
	r.data["items"] = list
	return r, nil
}

// measured writes a value with its unit.
func measured(value, units string) string {
	if value = oneLine(value, 300); units == "" {
		return value
	}
	return value + " " + units
}
