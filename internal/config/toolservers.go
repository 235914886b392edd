package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// ToolServer is an HTTP API with its tools, or a server of MCP, whose tools
// somebody must look at and accept.
type ToolServer struct {
	Name         string `yaml:"name"`
	Kind         string `yaml:"kind"` // http, mcp
	URL          string `yaml:"url"`
	CA           string `yaml:"ca"` // PEM
	Credential   string `yaml:"credential"`
	Header       string `yaml:"header"` // where a credential of kind http_header goes
	AllowHTTP    bool   `yaml:"allow_http"`
	AllowPrivate bool   `yaml:"allow_private"`
	Disabled     bool   `yaml:"disabled"`
	// Tools are in the words of the public API.
	Tools []map[string]any `yaml:"tools"`
	// Commands says which argument of which tool of a server of MCP is a shell
	// command, as in {run_shell: command}, or by - that none is. It may name tools
	// that the server has not offered yet.
	Commands map[string]string `yaml:"commands"`
}

// fileTool is a tool of an HTTP API in a file.
type fileTool struct {
	Name     string        `json:"name"`
	Disabled bool          `json:"disabled"`
	Mutates  bool          `json:"mutates"`
	Command  string        `json:"command"`
	HTTP     *ops.HTTPTool `json:"http"`
}

func applyToolServer(ctx context.Context, db *postgres.DB, f ToolServer) error {
	want := ops.ToolServer{ID: ops.NewID(), Name: f.Name, Kind: f.Kind, Tools: []ops.ServerTool{}, CreatedAt: time.Now().UTC()}
	fill := func(s *ops.ToolServer) {
		s.URL, s.CA, s.Credential, s.Header, s.AllowHTTP, s.AllowPrivate, s.Enabled = f.URL, f.CA, f.Credential, f.Header, f.AllowHTTP, f.AllowPrivate, !f.Disabled
	}
	fill(&want)
	for i, t := range f.Tools {
		text, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("tool %d: %w", i+1, err)
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		var one fileTool
		if err := dec.Decode(&one); err != nil {
			return fmt.Errorf("tool %d: %w", i+1, err)
		}
		want.Tools = append(want.Tools, ops.ServerTool{Name: one.Name, Enabled: !one.Disabled, Mutates: one.Mutates, Command: one.Command, HTTP: one.HTTP})
	}
	if f.Kind != ops.ToolServerMCP && len(f.Commands) > 0 {
		return errors.New("commands is of a server of MCP: say command at the tool")
	}
	if f.Kind == ops.ToolServerMCP && len(f.Tools) > 0 {
		return errors.New("tools are not given for a server of MCP: it is asked for them")
	}
	declare(&want, f.Commands)
	if err := toolspec.Check(want); err != nil {
		return err
	}
	all, _, err := db.ToolServers(ctx)
	if err != nil {
		return err
	}
	for _, known := range all {
		if known.Name != f.Name {
			continue
		}
		if known.Kind != f.Kind {
			return fmt.Errorf("it is there already, as one of kind %s", known.Kind)
		}
		change := func(s *ops.ToolServer) error {
			if fill(s); f.Kind == ops.ToolServerHTTP {
				s.Tools = want.Tools
			}
			declare(s, f.Commands)
			return toolspec.Check(*s)
		}
		now := known
		now.Tools = slices.Clone(known.Tools)
		if err := change(&now); err != nil {
			return err
		}
		before, err1 := json.Marshal(known)
		after, err2 := json.Marshal(now)
		if err1 == nil && err2 == nil && bytes.Equal(before, after) {
			return nil // a new revision would take what people work on from them
		}
		_, err := db.ChangeToolServer(ctx, known.ID, 0, change)
		return err
	}
	return db.CreateToolServer(ctx, want)
}

// declare notes which arguments are shell commands, also of tools that nobody
// knows yet: what was said about them counts from their first day.
func declare(s *ops.ToolServer, commands map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		i := slices.IndexFunc(s.Tools, func(t ops.ServerTool) bool { return t.Name == name })
		if i < 0 {
			i = len(s.Tools)
			s.Tools = append(s.Tools, ops.ServerTool{Name: name, Mutates: true, Gone: true})
		}
		s.Tools[i].Command = commands[name]
	}
}
