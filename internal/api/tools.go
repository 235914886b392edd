package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool/catalogue"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// toolEntry is a tool as people see it.
type toolEntry struct {
	Name        string          `json:"name" doc:"What agents, rules and the audit call it."`
	Server      string          `json:"server" doc:"The name of the server that it is of; empty if it is built in."`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema" doc:"JSON Schema of its arguments; of a tool of HTTP, null: its parameters are in its server."`
	Mutates     bool            `json:"mutates"`
	State       string          `json:"state" enum:"ready,off,new,changed,gone,unusable" doc:"Why agents do not have it: it is off, nobody has accepted it yet, it has changed since, its server has it no more, or it cannot be used."`
	Agents      []string        `json:"agents" nullable:"false" doc:"The agents that have it: neither their list of tools nor a rule hides it."`
}

// ToolServerBody is what can be said about a tool server. It is exported for its
// fields to be seen where it is embedded.
type ToolServerBody struct {
	URL          string      `json:"url" minLength:"1" maxLength:"1000" doc:"What the paths of the tools are below, or the endpoint of MCP: https://HOST/PATH"`
	CA           string      `json:"ca,omitempty" maxLength:"65536" doc:"Certificates in PEM form that alone may have signed its own; left out, those that the system trusts."`
	Credential   string      `json:"credential,omitempty" maxLength:"100" doc:"The name of a credential of kind http_header, http_bearer or http_basic whose targets cover the host of url."`
	Header       string      `json:"header,omitempty" maxLength:"100" doc:"Where a credential of kind http_header goes."`
	AllowHTTP    bool        `json:"allow_http,omitempty" doc:"Let url be without TLS."`
	AllowPrivate bool        `json:"allow_private,omitempty" doc:"Let the gateway dial private and loopback addresses for it. Those of metadata services stay closed."`
	Enabled      *bool       `json:"enabled,omitempty" doc:"Left out, it is."`
	Tools        []toolInput `json:"tools,omitempty" maxItems:"200" nullable:"false" doc:"Of an HTTP API. Those of a server of MCP are found by asking it."`
}

type toolInput struct {
	Name    string        `json:"name" minLength:"1" maxLength:"64"`
	Enabled *bool         `json:"enabled,omitempty" doc:"Left out, it is."`
	Mutates bool          `json:"mutates,omitempty" doc:"It may change something: every method but GET and HEAD does."`
	Command string        `json:"command,omitempty" maxLength:"100" doc:"The argument that is a shell command, which is judged and shown as one; - if none is, whatever their names."`
	HTTP    *ops.HTTPTool `json:"http"`
}

type newToolServer struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"30" doc:"a-z, 0-9 and -, a letter first. Its tools are NAME__TOOL."`
		Kind string `json:"kind" enum:"http,mcp"`
		ToolServerBody
	}
}

type changedToolServer struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		Revision int `json:"revision" minimum:"0" doc:"The one that was looked at; 0 for any."`
		ToolServerBody
	}
}

type serverPath struct {
	ID string `path:"id" maxLength:"100"`
}

type serverToolChange struct {
	ID   string `path:"id" maxLength:"100"`
	Tool string `path:"tool" maxLength:"200"`
	Body struct {
		Enabled bool    `json:"enabled"`
		Mutates *bool   `json:"mutates,omitempty" doc:"Of a tool of MCP: whether it may change something. Left out, as it was; at first, it may."`
		Command *string `json:"command,omitempty" maxLength:"100" doc:"The argument that is a shell command, which is judged and shown as one; - if none is, whatever their names. Left out, as it was."`
		Accept  string  `json:"accept,omitempty" maxLength:"64" doc:"The digest of what the server offers, as it was looked at: from now on that is the tool."`
	}
}

// serverView is a server with what cannot be seen in it.
type serverView struct {
	ops.ToolServer
	// Offers has the digest of what each tool of MCP is offered as.
	Offers map[string]string `json:"offers" doc:"By tool of MCP: the digest of what the server offers and nobody has accepted."`
}

func view(s ops.ToolServer) serverView {
	if s.Tools == nil {
		s.Tools = []ops.ServerTool{}
	}
	v := serverView{s, map[string]string{}}
	for _, t := range s.Tools {
		if t.Offered != nil && t.Problem == "" {
			v.Offers[t.Name] = t.Offered.Digest(t.Name)
		}
	}
	return v
}

type previewInput struct {
	Body struct {
		URL       string         `json:"url" minLength:"1" maxLength:"1000"`
		AllowHTTP bool           `json:"allow_http,omitempty"`
		Header    string         `json:"header,omitempty" maxLength:"100"`
		Tool      toolInput      `json:"tool"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}
}

type testInput struct {
	Body struct {
		Tool      string         `json:"tool" minLength:"1" maxLength:"64" doc:"SERVER__TOOL, one that changes nothing."`
		Arguments map[string]any `json:"arguments,omitempty"`
	}
}

func (s *API) toolOperations(api huma.API) {
	const tag, root = "configuration", "/tools"
	handle(s, api, operation{id: "list-tools", method: http.MethodGet, path: root, summary: "All tools that agents can be given, and which agents have them", tag: tag}, s.listTools)
	handle(s, api, operation{id: "list-tool-servers", method: http.MethodGet, path: root + "/servers", summary: "HTTP APIs and servers of MCP whose tools agents can use", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[serverView]], error) {
			all, _, err := s.db.ToolServers(ctx)
			views := make([]serverView, len(all))
			for i := range all {
				views[i] = view(all[i])
			}
			return items(views, err)
		})
	handle(s, api, operation{id: "get-tool-server", method: http.MethodGet, path: root + "/servers/{id}", summary: "One of them", tag: tag},
		func(ctx context.Context, _ caller, in *serverPath) (*answer[serverView], error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoServer()
			}
			server, err := s.db.ToolServer(ctx, in.ID)
			return &answer[serverView]{view(server)}, err
		})
	handle(s, api, operation{id: "create-tool-server", method: http.MethodPost, path: root + "/servers", summary: "Add an HTTP API with its tools, or a server of MCP", tag: tag, status: http.StatusCreated}, s.createToolServer)
	handle(s, api, operation{id: "change-tool-server", method: http.MethodPut, path: root + "/servers/{id}", summary: "Change a tool server, all of it but its name and kind", tag: tag}, s.changeToolServer)
	handle(s, api, operation{id: "delete-tool-server", method: http.MethodDelete, path: root + "/servers/{id}", summary: "Remove a tool server with its tools", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *serverPath) (*nothing, error) {
			if !ops.ValidID(in.ID) {
				return nil, errNoServer()
			}
			return nil, s.audited(ctx, who, "tool_server.deleted", in.ID, nil, func() error { return s.db.DeleteToolServer(ctx, in.ID) })
		})
	handle(s, api, operation{id: "discover-tools", asks: true, method: http.MethodPost, path: root + "/servers/{id}/discover", summary: "Ask a server of MCP, through the gateway, which tools it has now", tag: tag}, s.discoverTools)
	handle(s, api, operation{id: "change-server-tool", method: http.MethodPut, path: root + "/servers/{id}/tools/{tool}", summary: "Turn a tool on or off, or accept what a server of MCP says it is", tag: tag}, s.changeServerTool)
	handle(s, api, operation{id: "preview-tool", method: http.MethodPost, path: root + "/preview", summary: "The request that a tool of HTTP would make, without its credential; nothing is sent", tag: tag}, s.previewTool)
	handle(s, api, operation{id: "test-tool", asks: true, method: http.MethodPost, path: root + "/test", summary: "Use a tool that changes nothing, through the gateway", tag: tag}, s.testTool)
}

func errNoServer() error { return ops.Errorf(ops.CodeNotFound, "there is no such tool server") }

// listTools gives all tools, whether agents have them or not.
func (s *API) listTools(ctx context.Context, _ caller, _ *nothing) (*answer[list[toolEntry]], error) {
	servers, _, err := s.db.ToolServers(ctx)
	if err != nil {
		return nil, err
	}
	agents, err := s.db.Agents(ctx)
	if err != nil {
		return nil, err
	}
	hides := map[string]func(string) bool{}
	for _, a := range agents {
		rules, err := policy.Load(a.Rules)
		if err != nil {
			continue // the gateway refuses all of its calls
		}
		if only, err := policy.Builtin().LoadTools(a.Tools); err == nil {
			hides[a.ID] = func(tool string) bool { return rules.Hides(tool) || only.Hides(tool) }
		}
	}
	all := []toolEntry{}
	add := func(e toolEntry) {
		e.Agents = []string{}
		for _, a := range agents {
			if hidden := hides[a.ID]; e.State == "ready" && hidden != nil && !hidden(e.Name) {
				e.Agents = append(e.Agents, a.ID)
			}
		}
		all = append(all, e)
	}
	for _, t := range catalogue.All() {
		if !t.Service {
			add(toolEntry{Name: t.Name, Description: t.Description, Schema: t.Schema, Mutates: t.Mutates, State: "ready"})
		}
	}
	for _, server := range servers {
		for _, t := range server.Tools {
			add(entryOf(server, t))
		}
	}
	return items(all, nil)
}

func entryOf(s ops.ToolServer, t ops.ServerTool) toolEntry {
	e := toolEntry{Name: s.Name + "__" + t.Name, Server: s.Name, Mutates: t.Mutates, State: "ready", Schema: json.RawMessage("null")}
	said := t.Accepted
	if said == nil {
		said = t.Offered
	}
	switch {
	case t.HTTP != nil:
		e.Description = t.HTTP.Description
	case said != nil:
		e.Description, e.Schema = said.Description, said.Schema
	}
	switch {
	case t.HTTP == nil && t.Gone:
		e.State = "gone"
	case t.Problem != "":
		e.State = "unusable"
	case t.HTTP == nil && t.Accepted == nil:
		e.State = "new"
	case t.Offered != nil:
		e.State = "changed"
	case !t.Enabled || !s.Enabled:
		e.State = "off"
	}
	return e
}

// fill puts what a request says into a server, or says what is wrong with it.
func (s *API) fill(ctx context.Context, to *ops.ToolServer, b ToolServerBody) error {
	to.URL, to.CA, to.Credential, to.Header = strings.TrimRight(b.URL, "/"), b.CA, storable(b.Credential), b.Header
	to.AllowHTTP, to.AllowPrivate, to.Enabled = b.AllowHTTP, b.AllowPrivate, b.Enabled == nil || *b.Enabled
	switch {
	case to.Kind == ops.ToolServerMCP && len(b.Tools) > 0:
		return ops.Errorf(ops.CodeInvalid, "tools are not given for a server of MCP: it is asked for them")
	case to.Kind == ops.ToolServerHTTP:
		to.Tools = make([]ops.ServerTool, len(b.Tools))
		for i, t := range b.Tools {
			to.Tools[i] = t.tool()
		}
	case to.Tools == nil:
		to.Tools = []ops.ServerTool{}
	}
	if err := toolspec.Check(*to); err != nil {
		return err
	}
	return s.checkServerCredential(ctx, *to)
}

func (t toolInput) tool() ops.ServerTool {
	return ops.ServerTool{Name: t.Name, Enabled: t.Enabled == nil || *t.Enabled, Mutates: t.Mutates, Command: t.Command, HTTP: t.HTTP}
}

// checkServerCredential refuses a credential that the gateway would not use there.
func (s *API) checkServerCredential(ctx context.Context, server ops.ToolServer) error {
	if server.Credential == "" {
		if server.Header != "" {
			return ops.Errorf(ops.CodeInvalid, "header is where a credential goes, and there is none")
		}
		return nil
	}
	if err := s.checkCredential(ctx, server.Credential, "http_header", "http_bearer", "http_basic"); err != nil {
		return err
	}
	c, err := s.db.CredentialByName(ctx, server.Credential)
	if err != nil {
		return err
	}
	place, err := toolspec.PlaceOf(server)
	switch {
	case err != nil:
		return err
	case (c.Kind == "http_header") != (server.Header != ""):
		return ops.Errorf(ops.CodeInvalid, "header is needed for a credential of kind http_header, and for no other")
	case !covers(c.Targets, place.Host):
		return ops.Errorf(ops.CodeInvalid, "credential %s may not be used for host %s: its targets are %s", c.Name, place.Host, strings.Join(c.Targets, ", "))
	}
	return nil
}

// covers says whether one of the globs is for name, as the gateway does.
func covers(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

func (s *API) createToolServer(ctx context.Context, who caller, in *newToolServer) (*answer[serverView], error) {
	server := ops.ToolServer{ID: ops.NewID(), Name: in.Body.Name, Kind: in.Body.Kind, Revision: 1, CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	server.UpdatedAt = server.CreatedAt
	if err := s.fill(ctx, &server, in.Body.ToolServerBody); err != nil {
		return nil, err
	}
	err := s.audited(ctx, who, "tool_server.created", server.ID, detailOf(server), func() error { return s.db.CreateToolServer(ctx, server) })
	if err != nil {
		return nil, err
	}
	return &answer[serverView]{view(server)}, nil
}

func detailOf(s ops.ToolServer) map[string]string {
	return map[string]string{"name": s.Name, "kind": s.Kind, "url": s.URL, "credential": s.Credential, "allow_private": fmt.Sprint(s.AllowPrivate), "tools": fmt.Sprint(len(s.Tools))}
}

func (s *API) changeToolServer(ctx context.Context, who caller, in *changedToolServer) (*answer[serverView], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoServer()
	}
	before, err := s.db.ToolServer(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after := before
	if err := s.fill(ctx, &after, in.Body.ToolServerBody); err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "tool_server.changed", in.ID, detailOf(after), func() (err error) {
		after, err = s.db.ChangeToolServer(ctx, in.ID, in.Body.Revision, func(stored *ops.ToolServer) error {
			return s.fill(ctx, stored, in.Body.ToolServerBody)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer[serverView]{view(after)}, nil
}

// discoverTool is the gateway's tool that asks servers of MCP.
const discoverTool = "tools_discover"

func (s *API) discoverTools(ctx context.Context, who caller, in *serverPath) (*answer[serverView], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoServer()
	}
	server, err := s.db.ToolServer(ctx, in.ID)
	switch {
	case err != nil:
		return nil, err
	case server.Kind != ops.ToolServerMCP:
		return nil, ops.Errorf(ops.CodeInvalid, "%s is no server of MCP: its tools are what was declared", server.Name)
	case !server.Enabled:
		return nil, ops.Errorf(ops.CodeInvalid, "%s is off: turn it on first", server.Name)
	}
	err = s.audited(ctx, who, "tool_server.asked", in.ID, map[string]string{"name": server.Name}, func() (err error) {
		server, err = s.askServer(ctx, server)
		return err
	})
	return &answer[serverView]{view(server)}, err
}

// askServer finds out what a server of MCP offers now, and stores it. What goes
// wrong there is stored too, and is no error.
func (s *API) askServer(ctx context.Context, server ops.ToolServer) (ops.ToolServer, error) {
	token, err := s.db.MintServiceToken(ctx, postgres.ServiceToken{Service: "tools", Tools: []string{discoverTool}, Targets: []string{server.Name}, Life: tokenLife})
	if err != nil {
		return server, err
	}
	var found struct {
		Offers []toolspec.Offer `json:"offers"`
	}
	data, problem := s.callTool(ctx, token, discoverTool, map[string]any{"server": server.Name})
	if problem == nil {
		if err := json.Unmarshal(data, &found); err != nil {
			return server, fmt.Errorf("what the gateway says of %s: %w", server.Name, err)
		}
	}
	if problem == nil {
		was := server.Tools
		if problem = toolspec.Compare(&server, found.Offers); problem == nil && !sameTools(was, server.Tools) {
			if server, err = s.db.ChangeToolServer(ctx, server.ID, 0, func(stored *ops.ToolServer) error { return toolspec.Compare(stored, found.Offers) }); err != nil {
				return server, err
			}
		}
	}
	server.CheckedAt, server.Problem = time.Now().UTC().Truncate(time.Microsecond), ""
	if problem != nil {
		server.Problem = strings.TrimSpace(strings.TrimPrefix(ops.MessageOf(problem), discoverTool+": "))
	}
	return server, s.db.NoteToolServer(ctx, server.ID, server.CheckedAt, server.Problem)
}

// sameTools says whether asking a server has changed nothing.
func sameTools(a, b []ops.ServerTool) bool {
	was, err := json.Marshal(a)
	is, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(was, is)
}

// askAgainEvery is how often servers of MCP are asked whether what an admin has
// accepted is still what they have.
const askAgainEvery = 10 * time.Minute

// askServers asks all servers of MCP that are on.
func (s *API) askServers(ctx context.Context) error {
	all, _, err := s.db.ToolServers(ctx)
	if err != nil {
		return err
	}
	for _, server := range all {
		if server.Kind == ops.ToolServerMCP && server.Enabled && time.Since(server.CheckedAt) > askAgainEvery-time.Second {
			if _, err := s.askServer(ctx, server); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *API) changeServerTool(ctx context.Context, who caller, in *serverToolChange) (*answer[serverView], error) {
	if !ops.ValidID(in.ID) {
		return nil, errNoServer()
	}
	b := in.Body
	detail := map[string]string{"tool": storable(in.Tool), "enabled": fmt.Sprint(b.Enabled), "accept": storable(b.Accept)}
	if b.Command != nil {
		detail["command"] = storable(*b.Command)
	}
	var after ops.ToolServer
	err := s.audited(ctx, who, "tool_server.tool_changed", in.ID, detail, func() (err error) {
		after, err = s.db.ChangeToolServer(ctx, in.ID, 0, func(stored *ops.ToolServer) error {
			i := slices.IndexFunc(stored.Tools, func(t ops.ServerTool) bool { return t.Name == in.Tool })
			if i < 0 {
				return ops.Errorf(ops.CodeNotFound, "%s has no tool of that name", stored.Name)
			}
			t := &stored.Tools[i]
			if b.Accept != "" {
				if err := accept(t, b.Accept, who.User.Username); err != nil {
					return err
				}
			}
			if b.Mutates != nil {
				t.Mutates = *b.Mutates
			}
			if b.Command != nil {
				t.Command = storable(*b.Command)
			}
			t.Enabled = b.Enabled
			return toolspec.Check(*stored)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer[serverView]{view(after)}, nil
}

// accept makes what a server offers, as somebody has seen it, what the tool is.
func accept(t *ops.ServerTool, digest, who string) error {
	switch {
	case t.Offered == nil:
		return ops.Errorf(ops.CodeConflict, "there is nothing to accept: the server offers what was accepted")
	case t.Problem != "":
		return ops.Errorf(ops.CodeInvalid, "what the server offers cannot be accepted: %s", t.Problem)
	case t.Offered.Digest(t.Name) != digest:
		return ops.Errorf(ops.CodeConflict, "the server offers something else now: look at it again")
	}
	t.Accepted, t.AcceptedBy, t.Offered = t.Offered, who, nil
	return nil
}

func (s *API) previewTool(_ context.Context, _ caller, in *previewInput) (*answer[toolspec.Request], error) {
	b := in.Body
	server := ops.ToolServer{Name: "preview", Kind: ops.ToolServerHTTP, URL: strings.TrimRight(b.URL, "/"), AllowHTTP: b.AllowHTTP, Header: b.Header, Tools: []ops.ServerTool{b.Tool.tool()}}
	if err := toolspec.Check(server); err != nil {
		return nil, err
	}
	args, err := toolspec.Arguments(*b.Tool.HTTP, b.Arguments)
	if err != nil {
		return nil, err
	}
	r, err := toolspec.Build(server, *b.Tool.HTTP, args)
	return &answer[toolspec.Request]{r}, err
}

// testTool uses a tool as the service tools, which no rule of an agent holds
// back; so it is for tools that change nothing.
func (s *API) testTool(ctx context.Context, who caller, in *testInput) (*answer[ops.ToolResult], error) {
	servers, _, err := s.db.ToolServers(ctx)
	if err != nil {
		return nil, err
	}
	name, tool, _ := strings.Cut(in.Body.Tool, "__")
	i := slices.IndexFunc(servers, func(o ops.ToolServer) bool { return o.Name == name })
	if i < 0 {
		return nil, errNoServer()
	}
	j := slices.IndexFunc(servers[i].Tools, func(t ops.ServerTool) bool { return t.Name == tool })
	switch {
	case j < 0:
		return nil, ops.Errorf(ops.CodeNotFound, "%s has no tool of that name", name)
	case servers[i].Tools[j].Mutates:
		return nil, ops.Errorf(ops.CodeInvalid, "%s may change something: only an agent uses it, under its rules and with people's approval", in.Body.Tool)
	}
	args := in.Body.Arguments
	if args == nil {
		args = map[string]any{}
	}
	var result ops.ToolResult
	err = s.audited(ctx, who, "tool_server.tested", servers[i].ID, map[string]string{"tool": in.Body.Tool}, func() error {
		token, err := s.db.MintServiceToken(ctx, postgres.ServiceToken{Service: "tools", Tools: []string{in.Body.Tool}, Targets: []string{name}, Life: tokenLife})
		if err == nil {
			result, err = s.toolResult(ctx, token, in.Body.Tool, args)
		}
		return err
	})
	return &answer[ops.ToolResult]{result}, err
}
