package toolspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of a schema from outside.
const (
	maxSchema = 64 << 10 // bytes
	// maxExpanded is how many values a schema may have with each reference written
	// out: what checking one value can cost.
	maxExpanded = 20_000
)

// Schema is a JSON Schema of a tool's arguments from outside, compiled.
type Schema struct {
	compiled *jsonschema.Schema
	known    map[string]bool // the members at the top; nil: it lets any be there
	names    []string
}

// drafts are the dialects that a schema may say it is written in.
var drafts = []string{
	"http://json-schema.org/draft-07/schema", "https://json-schema.org/draft/2019-09/schema", "https://json-schema.org/draft/2020-12/schema",
}

// CompileSchema reads a schema of an object. It loads nothing: all that a
// schema refers to is in itself, and not in a circle.
func CompileSchema(raw json.RawMessage) (*Schema, error) {
	if len(raw) > maxSchema {
		return nil, invalid("its schema has more than %d bytes", maxSchema)
	}
	if Unseen(string(raw)) {
		return nil, invalid("its schema has characters that cannot be seen")
	}
	doc, err := Decode(raw)
	if err == nil {
		err = Plain(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("its schema: %w", err)
	}
	root, ok := doc.(map[string]any)
	if !ok || root["type"] != "object" {
		return nil, invalid("its schema is not of an object")
	}
	if says, given := root["$schema"]; given {
		if text, _ := says.(string); !slices.Contains(drafts, strings.TrimSuffix(text, "#")) {
			return nil, invalid("its schema is of a dialect that is not known: %.80q", says)
		}
	}
	w := walk{root: root}
	if err := w.visit(root); err != nil {
		return nil, err
	}
	const at = "mcp:///schema"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(nothing{})
	if err := c.AddResource(at, doc); err != nil {
		return nil, fmt.Errorf("%w: %w", invalid("its schema does not compile"), err)
	}
	compiled, err := c.Compile(at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", invalid("its schema does not compile"), err)
	}
	s := &Schema{compiled: compiled}
	more, said := root["additionalProperties"]
	_, patterns := root["patternProperties"]
	if !patterns && (!said || more == false) {
		properties, _ := root["properties"].(map[string]any)
		s.known = map[string]bool{}
		for name := range properties {
			s.known[name] = true
		}
		s.names = slices.Sorted(maps.Keys(properties))
	}
	return s, nil
}

// Parse reads arguments strictly: an object with known members, each once, that
// the schema takes. A member that the schema does not name is refused unless the
// schema says that others may be there. Its errors are for the model to read.
func (s *Schema) Parse(raw json.RawMessage) (map[string]any, error) {
	doc, err := Decode(raw)
	if err == nil {
		err = Plain(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("the arguments: %w", err)
	}
	args, ok := doc.(map[string]any)
	if !ok {
		return nil, invalid("the arguments are not a JSON object")
	}
	for name := range args {
		if s.known != nil && !s.known[name] {
			return nil, invalid("there is no argument %.40q; there are: %s", name, strings.Join(s.names, ", "))
		}
	}
	if err := s.compiled.Validate(doc); err != nil {
		text := err.Error()
		if wrong, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
			_, text, _ = strings.Cut(wrong.Error(), "\n")
		}
		if text = strings.Join(strings.Fields(text), " "); len(text) > 500 {
			text = strings.ToValidUTF8(text[:500], "") + "…"
		}
		return nil, fmt.Errorf("%w", invalid("the arguments are not what the tool takes: %s", text))
	}
	return args, nil
}

// isText says whether a schema has an argument of that name that is a string
// and nothing else.
func isText(schema json.RawMessage, name string) bool {
	var root struct {
		Properties map[string]struct {
			Type json.RawMessage `json:"type"`
		} `json:"properties"`
	}
	return json.Unmarshal(schema, &root) == nil && string(root.Properties[name].Type) == `"string"`
}

// nothing is a loader that has nothing.
type nothing struct{}

// Load implements [jsonschema.URLLoader].
func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside of the schema", url)
}

// walk counts a schema with its references written out.
type walk struct {
	root  map[string]any
	open  []string // references that are being followed
	count int
}

// visit takes everything for a schema, so that what is none is counted too: a
// member "$ref" of an example may be refused, which harms nobody.
func (w *walk) visit(v any) error {
	if w.count++; w.count > maxExpanded {
		return invalid("its schema is too large with its references written out")
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := w.visit(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, member := range v {
			text, isText := member.(string)
			switch {
			case name == "$ref" && isText:
				if err := w.follow(text); err != nil {
					return err
				}
			case isText && slices.Contains([]string{"$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"}, name) && (name != "id" || strings.Contains(text, ":")):
				return invalid("its schema has %s, which is not followed", name)
			case name == "$defs" || name == "definitions":
				continue // counted where they are referred to
			default:
				if err := w.visit(member); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *walk) follow(ref string) error {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return invalid("its schema refers to %.80q, which is outside of it", ref)
	}
	if slices.Contains(w.open, ref) {
		return invalid("its schema refers to itself (%.80q)", ref)
	}
	target, ok := at(w.root, path)
	if !ok {
		return invalid("its schema refers to %.80q, which is not there", ref)
	}
	w.open = append(w.open, ref)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	return w.visit(target)
}
