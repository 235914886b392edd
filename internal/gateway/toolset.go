package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// toolSet is the tools that there are at one time: those of the program and
// those of the servers that admins have added, all of one version. It is made as
// a whole and then put in the place of the one before; a request keeps the set
// that it began with.
type toolSet struct {
	version int64
	tools   map[string]tool.Tool
	remotes map[string]*tool.Remote // by the server's name
	handler http.Handler

	mu sync.Mutex
	// changed says since when a tool is hidden because its server said something
	// else of it than an admin has accepted.
	changed map[string]time.Time
}

// hiddenFor is how long: until there is another set, or somebody may ask the
// server once more, whose tool may be again what it was.
const hiddenFor = 10 * time.Minute

// refreshEvery is how often the gateway looks whether servers were changed.
const refreshEvery = 300 * time.Millisecond

// refresh keeps the set up to date as long as ctx. Without a database the set
// stays as it is: no call starts then.
func (g *Gateway) refresh(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		query, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := g.reload(query)
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			g.log.Warn("cannot look whether tool servers have changed", "err", err)
		}
		failing = err != nil
	}
}

// reload makes another set if there is another version.
func (g *Gateway) reload(ctx context.Context) error {
	now := g.set.Load()
	if now != nil {
		version, err := g.db.ToolsVersion(ctx)
		if err != nil || version == now.version {
			return err
		}
	}
	servers, version, err := g.db.ToolServers(ctx)
	if err != nil {
		return err
	}
	next := g.newSet(servers, version, now)
	g.set.Store(next)
	if now == nil {
		return nil
	}
	for name, r := range now.remotes {
		if next.remotes[name] != r {
			r.Close() // its calls go on
		}
	}
	g.log.Info("the tool servers have changed", "version", version, "tools", len(next.tools))
	return nil
}

// newSet makes the set of these servers. What cannot be made is left out and
// logged, and nothing else suffers. Clients of servers that are as they were in
// the set before are kept.
func (g *Gateway) newSet(servers []ops.ToolServer, version int64, before *toolSet) *toolSet {
	s := &toolSet{version: version, tools: map[string]tool.Tool{}, remotes: map[string]*tool.Remote{}, changed: map[string]time.Time{}}
	for _, t := range g.builtin {
		s.tools[t.Name] = t
	}
	for _, def := range servers {
		if !def.Enabled {
			continue
		}
		var r *tool.Remote
		if before != nil {
			if known := before.remotes[def.Name]; known != nil && known.Server().ID == def.ID && known.Server().Revision == def.Revision {
				r = known
			}
		}
		if r == nil {
			var err error
			if r, err = tool.NewRemote(def); err != nil {
				g.log.Error("a tool server cannot be used", "server", def.Name, "err", err)
				continue
			}
		}
		s.remotes[def.Name] = r
		for _, d := range def.Tools {
			if !d.Usable() {
				continue
			}
			t, err := remoteTool(r, d)
			if err == nil && s.tools[t.Name].Name != "" {
				err = fmt.Errorf("there is a tool %s already", t.Name)
			}
			if err != nil {
				g.log.Error("a tool of a server cannot be used", "server", def.Name, "tool", d.Name, "err", err)
				continue
			}
			s.tools[t.Name] = t
		}
	}
	s.handler = g.speak(s)
	return s
}

func remoteTool(r *tool.Remote, d ops.ServerTool) (tool.Tool, error) {
	if d.HTTP != nil {
		return tool.HTTPTool(r, d)
	}
	return tool.MCPTool(r, d)
}

// speak makes the server of MCP for a set.
func (g *Gateway) speak(s *toolSet) http.Handler {
	m := server.NewMCPServer("akmatori-gateway", "1",
		server.WithToolCapabilities(false),
		server.WithRecovery(),
		server.WithToolFilter(g.visible),
	)
	for _, t := range s.tools {
		d := mcp.NewToolWithRawSchema(t.Name, t.Description, t.Schema())
		readOnly := !t.Mutates
		d.Annotations = mcp.ToolAnnotation{ReadOnlyHint: &readOnly}
		m.AddTool(d, g.handle)
	}
	return server.NewStreamableHTTPServer(m,
		server.WithStateLess(true),
		server.WithDisableStreaming(true), // no GET: there is nothing to listen to
		server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)),
	)
}

// hide leaves a tool out for a while.
func (s *toolSet) hide(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[name] = time.Now()
}

// has says whether the holder of a grant may know of the tool at all, apart from
// what rules say.
func (s *toolSet) has(grant postgres.Grant, name string) bool {
	t, ok := s.tools[name]
	if !ok || t.Service && !service(grant) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since, changed := s.changed[name]
	return !changed || time.Since(since) > hiddenFor
}

// service says whether a grant is of a part of this program.
func service(grant postgres.Grant) bool { return grant.TokenID != "" && grant.Agent == "" }

// remote is the server that a call is for: its tool's own or, for a tool that
// asks servers, the one that it names.
func (s *toolSet) remote(t tool.Tool, args tool.Args) *tool.Remote {
	if t.Remote != nil {
		return t.Remote
	}
	return s.remotes[args.String(t.Target)]
}

// serverHop is the way to a configured server, with its credential if it has one.
func (g *Gateway) serverHop(ctx context.Context, grant postgres.Grant, r *tool.Remote, kind string) (h tool.Hop, problem string, err error) {
	if r == nil || !reaches(grant, r.Target().Name) || kind != "" && r.Target().Kind != kind {
		return h, "there is no such server", nil
	}
	t := r.Target()
	if t.Credential == "" {
		return tool.Hop{Target: t}, "", nil
	}
	c, err := g.db.CredentialByName(ctx, t.Credential)
	if ops.CodeOf(err) == ops.CodeNotFound {
		return h, fmt.Sprintf("the credential of %s is not one for tools", t.Name), nil
	}
	if err != nil {
		return h, "", err
	}
	// A credential is for a host: it does not follow a server to another one.
	if !matches(c.Targets, t.Address) {
		return h, fmt.Sprintf("credential %s may not be used for host %s", c.Name, t.Address), nil
	}
	if !uses(grant, c.Name) {
		return h, fmt.Sprintf("agent %s may not use credential %s", grant.Agent, c.Name), nil
	}
	return tool.Hop{Target: t, Credential: c, Open: func() (ops.Secret, error) { return g.keys.Open(c) }}, "", nil
}
