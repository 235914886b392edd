package ops

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Kinds of tool servers.
const (
	ToolServerHTTP = "http" // an HTTP API, whose tools an admin has declared
	ToolServerMCP  = "mcp"  // a server of MCP (streamable HTTP), which says itself what it has
)

// ToolServer is a service that an admin has added, with the tools that agents
// may use there. An agent knows them as NAME__TOOL.
type ToolServer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"` // http, mcp
	// URL is what the paths of the tools are below, or the endpoint of MCP. Its
	// host and port are the only ones that are ever dialled.
	URL string `json:"url"`
	// CA is the PEM of who alone may have signed its certificate; without it that
	// is as the system says.
	CA string `json:"ca,omitempty"`
	// Credential is the name of one of kind http_header, http_bearer or
	// http_basic, whose targets cover the host of URL. Header is where a
	// http_header goes.
	Credential string `json:"credential,omitempty"`
	Header     string `json:"header,omitempty"`
	// AllowHTTP lets URL be without TLS, AllowPrivate lets its host have a private
	// or loopback address. Addresses of metadata services are never dialled.
	AllowHTTP    bool         `json:"allow_http"`
	AllowPrivate bool         `json:"allow_private"`
	Enabled      bool         `json:"enabled"`
	Tools        []ServerTool `json:"tools"`
	// Revision counts its changes.
	Revision  int       `json:"revision"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// CheckedAt is when an MCP server was last asked what it has, and Problem what
	// became of that, if it failed.
	CheckedAt time.Time `json:"checked_at,omitzero"`
	Problem   string    `json:"problem,omitempty"`
}

// ServerTool is one tool of a server.
type ServerTool struct {
	Name    string `json:"name"` // there; agents see SERVER__NAME
	Enabled bool   `json:"enabled"`
	// Mutates says that it may change something. Only a tool of HTTP that reads
	// by its method, or one of MCP of which an admin says so, does not.
	Mutates bool `json:"mutates"`
	// Command names the argument that is a shell command, or is [NoCommand]. It is
	// judged as every command is, and what runs there is its canonical form. Empty:
	// nobody has said what its arguments are.
	Command string `json:"command,omitempty"`
	// HTTP is what a tool of an HTTP API does.
	HTTP *HTTPTool `json:"http,omitempty"`
	// Accepted is what an admin has seen and enabled of a tool of MCP, and Offered
	// what the server says now, if that is something else or nothing was accepted
	// yet. While they differ no agent has the tool. Gone: it is not offered any more.
	Accepted   *RemoteTool `json:"accepted,omitempty"`
	AcceptedBy string      `json:"accepted_by,omitempty"`
	Offered    *RemoteTool `json:"offered,omitempty"`
	Gone       bool        `json:"gone,omitempty"`
	// Problem is why Offered cannot be accepted.
	Problem string `json:"problem,omitempty"`
}

// NoCommand says of a tool that none of its arguments is a shell command,
// whatever they are called.
const NoCommand = "-"

// Shell names the argument that is a shell command; empty if none is.
func (t ServerTool) Shell() string {
	if t.Command == NoCommand {
		return ""
	}
	return t.Command
}

// Usable says whether agents may have the tool at all.
func (t ServerTool) Usable() bool {
	return t.Enabled && (t.HTTP != nil || t.Accepted != nil && t.Offered == nil && !t.Gone)
}

// RemoteTool is a tool as a server of MCP describes it: data from outside.
type RemoteTool struct {
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"` // of its arguments: JSON Schema
}

// Digest names what a server says about its tool of that name.
func (r RemoteTool) Digest(name string) string {
	text, _ := json.Marshal([]string{"akmatori mcp tool 1", name, r.Description, string(r.Schema)}) // texts always marshal
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// HTTPTool is one request to an HTTP API.
type HTTPTool struct {
	Description string `json:"description"` // for the model
	Method      string `json:"method"`
	// Path is below the server's URL, with {name} for each parameter in it:
	// /api/v1/alerts/{id}. A query with constants may follow.
	Path   string      `json:"path"`
	Params []HTTPParam `json:"params,omitempty"`
	// Pointer (RFC 6901) names the part of a JSON answer that matters, and Fields,
	// pointers too, what is kept of it or, if it is an array, of each of its
	// items. Nothing means all.
	Pointer string   `json:"pointer,omitempty"`
	Fields  []string `json:"fields,omitempty"`
	// Seconds bounds the request and Bytes the answer; 0 means 30 and 1 MiB.
	Seconds int `json:"seconds,omitempty"`
	Bytes   int `json:"bytes,omitempty"`
}

// Where an argument goes.
const (
	InPath   = "path"
	InQuery  = "query"
	InHeader = "header"
	InBody   = "body" // a member of a JSON object
)

// HTTPParam is an argument of an HTTPTool.
type HTTPParam struct {
	Name string `json:"name"` // for the model
	In   string `json:"in"`
	// As is the name of the query parameter, header or member; empty: Name.
	As          string   `json:"as,omitempty"`
	Type        string   `json:"type"` // string, integer, boolean, array (of strings), object (in the body)
	Required    bool     `json:"required,omitempty"`
	Description string   `json:"description"`
	Pattern     string   `json:"pattern,omitempty"` // RE2, of all of a string
	Enum        []string `json:"enum,omitempty"`
	MaxLength   int      `json:"max_length,omitempty"` // bytes of a string; 0 means 1000
	MaxItems    int      `json:"max_items,omitempty"`  // of an array; 0 means 100
	Min         *int64   `json:"min,omitempty"`        // of an integer
	Max         *int64   `json:"max,omitempty"`
}

// Wire is the name that the server knows the parameter by.
func (p HTTPParam) Wire() string {
	if p.As != "" {
		return p.As
	}
	return p.Name
}
