package toolspec

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// Offer is a tool as a server of MCP lists it.
type Offer struct {
	Name string `json:"name"`
	ops.RemoteTool
}

// NewOffer makes one of what a server says. The schema is written anew, so that
// only what it means counts, and stays as it is where it cannot be read.
func NewOffer(name, description string, schema json.RawMessage) Offer {
	if doc, err := Decode(schema); err == nil {
		if text, err := json.Marshal(doc); err == nil {
			schema = text
		}
	}
	return Offer{Name: name, RemoteTool: ops.RemoteTool{Description: description, Schema: schema}}
}

// Problem says why an offered tool cannot be accepted; empty if it can.
func Problem(server string, o Offer) string {
	if _, err := Name(server, o.Name); err != nil {
		return ops.MessageOf(invalid("%s", err))
	}
	switch {
	case len(o.Description) > maxDescription:
		return ops.MessageOf(invalid("its description has more than %d bytes", maxDescription))
	case Unseen(o.Description):
		return "its description has characters that cannot be seen"
	}
	if _, err := CompileSchema(o.Schema); err != nil {
		return ops.MessageOf(err)
	}
	return ""
}

// Compare notes in s what its server offers now. What was accepted stays, and
// does not count any more where the server says something else of it. It is an
// error if the list as a whole cannot be taken.
func Compare(s *ops.ToolServer, offers []Offer) error {
	seen := map[string]Offer{}
	for _, o := range offers {
		if _, twice := seen[o.Name]; twice {
			return ops.Errorf(ops.CodeInvalid, "%s lists two tools named %.100q", s.Name, o.Name)
		}
		if len(o.Name) > 200 || o.Name == "" || Unseen(o.Name) {
			return ops.Errorf(ops.CodeInvalid, "%s lists a tool whose name is empty, too long or has characters that cannot be seen", s.Name)
		}
		seen[o.Name] = o
	}
	if len(offers) > maxTools {
		return ops.Errorf(ops.CodeTooLarge, "%s lists more than %d tools", s.Name, maxTools)
	}
	var kept []ops.ServerTool
	for _, t := range s.Tools {
		o, offered := seen[t.Name]
		delete(seen, t.Name)
		t.Offered, t.Problem, t.Gone = nil, "", !offered
		switch {
		case !offered && t.Accepted == nil && t.Command == "":
			continue // nobody has enabled it or said what it is, and it is not there any more
		case !offered:
		case t.Accepted == nil || t.Accepted.Digest(t.Name) != o.Digest(t.Name):
			t.Offered, t.Problem = &o.RemoteTool, Problem(s.Name, o)
		}
		kept = append(kept, t)
	}
	for name, o := range seen {
		kept = append(kept, ops.ServerTool{Name: name, Mutates: true, Offered: &o.RemoteTool, Problem: Problem(s.Name, o)})
	}
	for i := range kept {
		if o := kept[i].Offered; o != nil && kept[i].Problem != "" {
			kept[i].Offered = legible(*o)
		}
	}
	slices.SortFunc(kept, func(a, b ops.ServerTool) int { return cmp.Compare(a.Name, b.Name) })
	s.Tools = kept
	return nil
}

// legible is what of an offer that cannot be accepted is kept for people to see.
func legible(r ops.RemoteTool) *ops.RemoteTool {
	if len(r.Description) > maxDescription {
		r.Description = r.Description[:maxDescription]
	}
	r.Description = strings.ReplaceAll(strings.ToValidUTF8(r.Description, "\ufffd"), "\x00", "\ufffd")
	if len(r.Schema) > maxSchema || !json.Valid(r.Schema) {
		r.Schema = json.RawMessage(`{}`)
	}
	return &r
}
