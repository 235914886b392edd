package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/toolspec"
)

func TestToolServers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const root = "/api/v1/tools/servers"
	type body = map[string]any
	tool := func(change ...func(body)) body {
		h := body{"description": "Search dashboards.", "method": "GET", "path": "/api/search", "params": []body{{"name": "query", "in": "query", "type": "string", "description": "words"}}}
		for _, c := range change {
			c(h)
		}
		return body{"name": "search", "http": h}
	}
	server := func(change ...func(body)) body {
		b := body{"name": "grafana", "kind": "http", "url": "https://grafana.example/", "tools": []body{tool()}}
		for _, c := range change {
			c(b)
		}
		return b
	}
	set := func(k string, v any) func(body) { return func(b body) { b[k] = v } }

	require.Equal(t, 201, r.call("POST", "/api/v1/credentials", body{"name": "g-key", "kind": "http_bearer", "secret": "very-secret-1", "targets": []string{"grafana.*"}}).status)
	require.Equal(t, 201, r.call("POST", "/api/v1/credentials", body{"name": "h-key", "kind": "http_header", "secret": "very-secret-2", "targets": []string{"grafana.example"}}).status)
	require.Equal(t, 201, r.call("POST", "/api/v1/credentials", body{"name": "zabbix", "kind": "zabbix_token", "secret": "very-secret-3", "targets": []string{"*"}}).status)
	for name, c := range map[string]struct {
		in   body
		want string
	}{
		"a name of ours":           {server(set("name", "zabbix")), "own tools"},
		"an unknown key":           {server(set("retries", 3)), "unexpected property"},
		"an unknown key of a tool": {server(set("tools", []body{tool(set("retry", true))})), "unexpected property"},
		"a place that is none":     {server(set("url", "ftp://grafana.example")), "https://HOST"},
		"no TLS":                   {server(set("url", "http://grafana.example")), "allow_http"},
		"a POST that reads":        {server(set("tools", []body{tool(set("method", "POST"))})), "set mutates"},
		"a credential that is not": {server(set("credential", "nope")), "http_bearer"},
		"one of another kind":      {server(set("credential", "zabbix")), "http_bearer"},
		"one for another host":     {server(set("credential", "g-key"), set("url", "https://evil.example")), "may not be used for host evil.example"},
		"no header for it":         {server(set("credential", "h-key")), "header is needed"},
		"a header without it":      {server(set("credential", "g-key"), set("header", "X-Key")), "header is needed"},
		"a command that is none":   {server(set("tools", []body{{"name": "search", "command": "words", "http": tool()["http"]}})), "no parameter words"},
		"tools of MCP":             {server(set("kind", "mcp")), "asked for them"},
	} {
		a := r.call("POST", root, c.in)
		require.Equal(t, 422, a.status, name)
		require.Contains(t, a.body, c.want, name)
	}
	a := r.call("POST", root, server(set("credential", "g-key")))
	require.Equal(t, 201, a.status, a.body)
	var made serverView
	a.into(t, &made)
	require.Equal(t, "https://grafana.example", made.URL)
	require.True(t, made.Tools[0].Enabled)
	require.Equal(t, 409, r.call("POST", root, server()).status, "the name is taken")

	// A change says what it changes; of two at once, the later one must look again.
	change := body{"revision": 1, "url": "https://grafana.example", "credential": "h-key", "header": "X-Key", "enabled": false, "tools": []body{tool()}}
	a = r.call("PUT", root+"/"+made.ID, change)
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &made)
	require.Equal(t, 2, made.Revision)
	require.False(t, made.Enabled)
	require.Equal(t, 409, r.call("PUT", root+"/"+made.ID, change).status)
	require.Equal(t, 422, r.call("PUT", root+"/"+made.ID, body{"revision": 2, "url": "https://other.example", "credential": "h-key", "header": "X-Key"}).status)
	require.Equal(t, 404, r.call("PUT", root+"/"+ops.NewID(), body{"revision": 0, "url": "https://x.example"}).status)
	require.Equal(t, 404, r.call("GET", root+"/x", nil).status)
	require.Equal(t, 422, r.call("POST", root+"/"+made.ID+"/discover", nil).status, "it is no server of MCP")
	a = r.call("PUT", root+"/"+made.ID+"/tools/search", body{"enabled": false})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 404, r.call("PUT", root+"/"+made.ID+"/tools/nope", body{"enabled": false}).status)
	require.Equal(t, 409, r.call("PUT", root+"/"+made.ID+"/tools/search", body{"enabled": true, "accept": "x"}).status)
	require.Equal(t, 200, r.call("PUT", root+"/"+made.ID+"/tools/search", body{"enabled": true}).status)
	require.Equal(t, 200, r.call("PUT", root+"/"+made.ID, body{"revision": 0, "url": "https://grafana.example", "tools": []body{tool()}}).status)

	// Every tool is in the list, with who has it.
	require.NoError(t, r.db.PutAgent(t.Context(), ops.AgentDef{ID: "reader", Rules: []string{"allow:ssh_hosts", "deny:*"}}))
	require.NoError(t, r.db.PutAgent(t.Context(), ops.AgentDef{ID: "looker", Rules: []string{"allow:grafana__*"}}))
	var listed struct{ Items []toolEntry }
	r.call("GET", "/api/v1/tools", nil).into(t, &listed)
	entries := map[string]toolEntry{}
	for _, e := range listed.Items {
		entries[e.Name] = e
	}
	require.Contains(t, entries["ssh_hosts"].Agents, "reader")
	require.Contains(t, entries["grafana__search"].Agents, "looker")
	require.NotContains(t, entries["grafana__search"].Agents, "reader")
	require.Equal(t, "ready", entries["grafana__search"].State)
	require.NotContains(t, entries, "tools_discover")
	require.Contains(t, string(entries["ssh_execute"].Schema), `"command"`)
	require.True(t, entries["zabbix_acknowledge"].Mutates)

	// The preview is what the gateway would send, without the credential.
	a = r.call("POST", "/api/v1/tools/preview", body{"url": "https://grafana.example", "tool": tool(set("path", "/api/{id}"), set("params", []body{
		{"name": "id", "in": "path", "type": "string", "required": true, "description": "d"}, {"name": "n", "in": "query", "type": "integer", "description": "d"}})), "arguments": body{"id": "a b", "n": 5}})
	require.Equal(t, 200, a.status, a.body)
	var preview toolspec.Request
	a.into(t, &preview)
	require.Equal(t, "GET https://grafana.example/api/a%20b?n=5", preview.Method+" "+preview.URL)
	for _, args := range []body{{"id": "../x"}, {"id": "x", "n": 1.5}, {"id": "x", "m": 1}, {"n": 1}, {"id": 1}} {
		require.Equal(t, 422, r.call("POST", "/api/v1/tools/preview", body{"url": "https://grafana.example", "tool": tool(set("path", "/api/{id}"), set("params", []body{
			{"name": "id", "in": "path", "type": "string", "required": true, "description": "d"}, {"name": "n", "in": "query", "type": "integer", "description": "d"}})), "arguments": args}).status, "%v", args)
	}

	// Trying a tool is for those that change nothing.
	writing := body{"name": "write", "mutates": true, "http": body{"description": "d", "method": "POST", "path": "/x"}}
	require.Equal(t, 200, r.call("PUT", root+"/"+made.ID, body{"revision": 0, "url": "https://grafana.example", "tools": []body{writing}}).status)
	a = r.call("POST", "/api/v1/tools/test", body{"tool": "grafana__write"})
	require.Equal(t, 422, a.status)
	require.Contains(t, a.body, "may change something")
	for _, name := range []string{"grafana__nope", "nope__x", "ssh_hosts"} {
		require.Equal(t, 404, r.call("POST", "/api/v1/tools/test", body{"tool": name}).status, name)
	}

	require.Equal(t, 204, r.call("DELETE", root+"/"+made.ID, nil).status)
	require.Equal(t, 404, r.call("DELETE", root+"/"+made.ID, nil).status)
	records, err := r.db.Audit(t.Context(), Chain, 0, 1000)
	require.NoError(t, err)
	seen := map[string]int{}
	for _, rec := range records {
		if strings.HasPrefix(rec.Action, "tool_server.") {
			seen[rec.Action+" "+rec.Outcome]++
		}
	}
	require.Equal(t, 2, seen["tool_server.created intent"], "the one whose name was taken too")
	require.Equal(t, 1, seen["tool_server.created ok"])
	require.Equal(t, 1, seen["tool_server.deleted ok"])
	text, err := json.Marshal(records)
	require.NoError(t, err)
	require.NotContains(t, string(text)+r.log.String(), "very-secret")
}

// What a server of MCP says is accepted as it was looked at, and not otherwise.
func TestThreatsAcceptTool(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.call("POST", "/api/v1/tools/servers", map[string]any{"name": "other", "kind": "mcp", "url": "https://mcp.example/mcp"})
	require.Equal(t, 201, a.status, a.body)
	var s serverView
	a.into(t, &s)
	offer := func(description string) {
		_, err := r.db.ChangeToolServer(t.Context(), s.ID, 0, func(stored *ops.ToolServer) error {
			return toolspec.Compare(stored, []toolspec.Offer{toolspec.NewOffer("find", description, json.RawMessage(`{"type":"object"}`)), toolspec.NewOffer("bad", "d", nil)})
		})
		require.NoError(t, err)
		r.call("GET", "/api/v1/tools/servers/"+s.ID, nil).into(t, &s)
	}
	put := func(tool, accept string, enabled bool) int {
		return r.call("PUT", "/api/v1/tools/servers/"+s.ID+"/tools/"+tool, map[string]any{"enabled": enabled, "accept": accept, "mutates": false}).status
	}
	state := func() string {
		var listed struct{ Items []toolEntry }
		r.call("GET", "/api/v1/tools", nil).into(t, &listed)
		for _, e := range listed.Items {
			if e.Name == "other__find" {
				return e.State
			}
		}
		return "not listed"
	}
	offer("Finds.")
	require.Equal(t, "new", state())
	for _, c := range []struct {
		id, tool, accept string
		status           int
	}{
		{"D5 not accepted", "find", "", 422}, {"D5 another digest", "find", strings.Repeat("0", 64), 409}, {"D5 unusable", "bad", strings.Repeat("0", 64), 422},
	} {
		require.Equal(t, c.status, put(c.tool, c.accept, true), c.id)
	}
	require.Empty(t, s.Offers["bad"])
	looked := s.Offers["find"]
	offer("Finds. And something else.")
	require.Equal(t, 409, put("find", looked, true), "D5: it changed while somebody looked")
	require.Equal(t, 200, put("find", s.Offers["find"], true))
	require.Equal(t, "ready", state())
	offer("Finds. And something else again.")
	require.Equal(t, "changed", state())
	require.Equal(t, 409, r.call("PUT", "/api/v1/tools/servers/"+s.ID+"/tools/find", map[string]any{"enabled": true, "accept": looked}).status)
	require.Equal(t, 200, put("find", s.Offers["find"], true))
	require.Equal(t, "ready", state())
	// Which argument is a shell command is said of one that is a text.
	schema := json.RawMessage(`{"type":"object","properties":{"run":{"type":"string"},"n":{"type":"number"},"m":{"type":["string","null"]}}}`)
	_, err := r.db.ChangeToolServer(t.Context(), s.ID, 0, func(stored *ops.ToolServer) error {
		return toolspec.Compare(stored, []toolspec.Offer{toolspec.NewOffer("find", "Finds.", schema)})
	})
	require.NoError(t, err)
	r.call("GET", "/api/v1/tools/servers/"+s.ID, nil).into(t, &s)
	require.Equal(t, 200, put("find", s.Offers["find"], true))
	require.NoError(t, r.db.PutAgent(t.Context(), ops.AgentDef{ID: "runner", Rules: []string{"allow:*"}}))
	explain := func() (e explanation) {
		r.call("POST", "/api/v1/policy/explain", map[string]any{"agent": "runner", "tool": "other__find", "arguments": map[string]any{"run": "df   -h; df $(x)"}}).into(t, &e)
		return e
	}
	require.Equal(t, policy.Allow, explain().Verdict)
	for command, status := range map[string]int{"n": 422, "m": 422, "nope": 422, "\u200b": 422, "-": 200} {
		require.Equal(t, status, r.call("PUT", "/api/v1/tools/servers/"+s.ID+"/tools/find", map[string]any{"enabled": true, "command": command}).status, command)
	}
	require.Equal(t, 200, r.call("PUT", "/api/v1/tools/servers/"+s.ID+"/tools/find", map[string]any{"enabled": true, "command": "run"}).status)
	require.Equal(t, 200, put("find", "", true))
	require.Equal(t, policy.Ask, explain().Verdict, "B30: it is a command now, and stays one")
	offer("Finds. And something else again.")
	require.Equal(t, 422, put("find", s.Offers["find"], true), "what it offers has no such text")
	require.Equal(t, "ann", s.Tools[1].AcceptedBy)
}
