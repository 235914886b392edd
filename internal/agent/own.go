package agent

import (
	_ "embed" // the descriptions of the tools
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/policy"
)

// The tools that a run has in its own folder. The gateway knows nothing of them.
const (
	toolBash  = "Bash"
	toolRead  = "Read"
	toolWrite = "Write"
	toolEdit  = "Edit"
	toolGrep  = "Grep"
	toolGlob  = "Glob"
)

// Bounds of arguments.
const (
	maxPathBytes    = 4096
	maxPatternBytes = 1000
	maxContent      = 32 << 10 // bytes of what is written at a time; a whole call has 64 KiB
)

// field is one argument of an own tool.
type field struct {
	name, kind string // string, integer or boolean
	required   bool
	empty      bool // a required string may be empty
	min, max   int  // of an integer; max bytes of a string
	def        any  // nil: none
	doc        string
}

// ownTool is a tool that the worker has itself.
type ownTool struct {
	name, about string
	// writes: what it does in the folder cannot be taken for not done.
	writes bool
	fields []field
}

var (
	//go:embed bash.md
	aboutBash string
	//go:embed read.md
	aboutRead string
	//go:embed write.md
	aboutWrite string
	//go:embed edit.md
	aboutEdit string
	//go:embed grep.md
	aboutGrep string
	//go:embed glob.md
	aboutGlob string
)

// ownTools gives all of them, in the order in which the model sees them.
func ownTools() []ownTool {
	path := func(required bool, doc string) field {
		f := field{name: "path", kind: "string", required: required, max: maxPathBytes, doc: doc}
		if !required {
			f.def = "."
		}
		return f
	}
	return []ownTool{
		{toolBash, aboutBash, true, []field{
			{name: "command", kind: "string", required: true, max: policy.MaxCommand, doc: "shell command to run"},
			{name: "timeout_seconds", kind: "integer", min: 1, max: maxShellTimeout, def: shellTimeout, doc: "the command is killed after this time"}}},
		{toolRead, aboutRead, false, []field{
			path(true, "the file"),
			{name: "offset", kind: "integer", min: 1, max: 1 << 30, def: 1, doc: "number of the first line to show"},
			{name: "limit", kind: "integer", min: 1, max: maxLines, def: someLines, doc: "how many lines to show at most"}}},
		{toolGrep, aboutGrep, false, []field{
			{name: "pattern", kind: "string", required: true, max: maxPatternBytes, doc: "regular expression (RE2)"},
			path(false, "a file, or a folder with all below it"),
			{name: "glob", kind: "string", max: maxPatternBytes, def: "", doc: "only files whose path below the folder matches, such as **/*.log"},
			{name: "ignore_case", kind: "boolean", def: false, doc: "upper and lower case are the same"},
			{name: "context", kind: "integer", min: 0, max: maxContext, def: 0, doc: "lines to show before and behind each match"},
			{name: "limit", kind: "integer", min: 1, max: maxMatches, def: someMatches, doc: "how many matching lines to show at most"}}},
		{toolGlob, aboutGlob, false, []field{
			{name: "pattern", kind: "string", required: true, max: maxPatternBytes, doc: "path pattern: *, ?, [a-z] inside a name, ** for any number of folders"},
			path(false, "the folder to look below")}},
		{toolWrite, aboutWrite, true, []field{
			path(true, "the file, in work/ or a folder below it"),
			{name: "content", kind: "string", required: true, empty: true, max: maxContent, doc: "the whole content"}}},
		{toolEdit, aboutEdit, true, []field{
			path(true, "the file, in work/ or a folder below it"),
			{name: "old_string", kind: "string", required: true, max: maxContent, doc: "what stands there, letter by letter, once in the file"},
			{name: "new_string", kind: "string", required: true, empty: true, max: maxContent, doc: "what will stand there instead"}}},
	}
}

// own gives the tool of that name, nil if it is none of them.
func own(name string) *ownTool {
	all := ownTools()
	if i := slices.IndexFunc(all, func(t ownTool) bool { return t.name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

// toModel is the tool as the model is told of it.
func (t ownTool) toModel() llm.Tool {
	properties, required := map[string]any{}, []string{}
	for _, f := range t.fields {
		p := map[string]any{"type": f.kind, "description": f.doc}
		switch f.kind {
		case "string":
			p["maxLength"] = f.max
			if f.required && !f.empty {
				p["minLength"] = 1
			}
		case "integer":
			p["minimum"], p["maximum"] = f.min, f.max
		}
		if f.def != nil && f.def != "" {
			p["default"] = f.def
		}
		if f.required {
			required = append(required, f.name)
		}
		properties[f.name] = p
	}
	schema := asJSON(map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required})
	return llm.Tool{Name: t.name, Description: strings.TrimSpace(t.about), Schema: schema}
}

// given are the arguments of a call, those left out with their defaults.
type given map[string]any

func (g given) text(name string) string { s, _ := g[name].(string); return s }
func (g given) number(name string) int  { n, _ := g[name].(int); return n }
func (g given) yes(name string) bool    { b, _ := g[name].(bool); return b }

// read checks canonical arguments. The error is for the model.
func (t ownTool) read(raw json.RawMessage) (given, error) {
	var said map[string]json.RawMessage // not a struct: its field names would match in any case
	if err := json.Unmarshal(raw, &said); err != nil {
		return nil, errors.New("the arguments must be a JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if !slices.ContainsFunc(t.fields, func(f field) bool { return f.name == name }) {
			return nil, fmt.Errorf("there is no argument %q", short(name))
		}
	}
	out := given{}
	for _, f := range t.fields {
		value, there := said[f.name]
		switch {
		case !there && f.required:
			return nil, fmt.Errorf("%s is missing", f.name)
		case !there:
			out[f.name] = f.def
		default:
			v, err := f.read(value)
			if err != nil {
				return nil, err
			}
			out[f.name] = v
		}
	}
	return out, nil
}

func (f field) read(value json.RawMessage) (any, error) {
	switch f.kind {
	case "integer":
		var n int
		if json.Unmarshal(value, &n) != nil || string(value) == "null" || n < f.min || n > f.max {
			return nil, fmt.Errorf("%s must be a whole number from %d to %d", f.name, f.min, f.max)
		}
		return n, nil
	case "boolean":
		if s := string(value); s != "true" && s != "false" {
			return nil, fmt.Errorf("%s must be true or false", f.name)
		}
		return string(value) == "true", nil
	}
	var s string
	switch {
	case json.Unmarshal(value, &s) != nil || string(value) == "null":
		return nil, fmt.Errorf("%s must be a string", f.name)
	case len(s) > f.max:
		return nil, fmt.Errorf("%s is longer than %d bytes", f.name, f.max)
	case f.required && !f.empty && s == "":
		return nil, fmt.Errorf("%s is missing", f.name)
	}
	return s, nil
}
