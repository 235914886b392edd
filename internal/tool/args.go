package tool

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// FieldType is the JSON type of an argument.
type FieldType string

// The types.
const (
	String  FieldType = "string"
	Integer FieldType = "integer"
	Boolean FieldType = "boolean"
	Strings FieldType = "array"  // of strings
	Object  FieldType = "object" // any, checked no further than that each key is there once
)

// Field is one argument: its part of the schema and its check are the same data.
type Field struct {
	Name        string
	Type        FieldType
	Required    bool
	Description string
	Pattern     *regexp.Regexp // of strings and those in arrays; anchored
	Enum        []string       // the strings that there are; none: any
	MaxLength   int            // of strings and those in arrays, in bytes; required
	MaxItems    int            // of arrays; required
	Min, Max    int64          // of integers; required
	Default     any            // for the reader of the schema
}

// Args are arguments that fit their tool's fields. Values are string, int64,
// bool, []string and, for objects, as [json.Decoder.UseNumber] gives them.
type Args map[string]any

// String gives an argument, "" if it is not there.
func (a Args) String(name string) string {
	s, _ := a[name].(string)
	return s
}

// Integer gives an argument, or fallback if it is not there.
func (a Args) Integer(name string, fallback int64) int64 {
	if n, ok := a[name].(int64); ok {
		return n
	}
	return fallback
}

// Bool gives an argument, or fallback if it is not there.
func (a Args) Bool(name string, fallback bool) bool {
	if b, ok := a[name].(bool); ok {
		return b
	}
	return fallback
}

// Strings gives an argument, nil if it is not there.
func (a Args) Strings(name string) []string {
	s, _ := a[name].([]string)
	return s
}

// Canonical is the one JSON text for these arguments: keys in order, no blanks.
func (a Args) Canonical() json.RawMessage {
	b, _ := json.Marshal(map[string]any(a)) // what was read from JSON always marshals
	return b
}

// Digest identifies a call of the tool with these arguments.
func (t Tool) Digest(a Args) []byte {
	sum := sha256.Sum256(append([]byte(t.Name+"\n"), a.Canonical()...))
	return sum[:]
}

// Schema is the JSON Schema of the arguments.
func (t Tool) Schema() json.RawMessage {
	if t.schema != nil {
		return t.rawSchema
	}
	type property struct {
		Type        FieldType `json:"type"`
		Description string    `json:"description,omitempty"`
		Enum        []string  `json:"enum,omitempty"`
		Pattern     string    `json:"pattern,omitempty"`
		MaxLength   int       `json:"maxLength,omitempty"`
		Items       *property `json:"items,omitempty"`
		MaxItems    int       `json:"maxItems,omitempty"`
		Minimum     int64     `json:"minimum,omitempty"`
		Maximum     int64     `json:"maximum,omitempty"`
		Default     any       `json:"default,omitempty"`
	}
	properties, required := map[string]property{}, []string{}
	for _, f := range t.Fields {
		pattern := ""
		if f.Pattern != nil {
			pattern = f.Pattern.String()
		}
		p := property{Type: f.Type, Enum: f.Enum, Pattern: pattern, MaxLength: f.MaxLength, Minimum: f.Min, Maximum: f.Max, Default: f.Default}
		if f.Type == Strings {
			item := p
			item.Type, item.Default = String, nil
			p = property{Type: f.Type, Items: &item, MaxItems: f.MaxItems, Default: f.Default}
		}
		p.Description = f.Description
		properties[f.Name] = p
		if f.Required {
			required = append(required, f.Name)
		}
	}
	b, _ := json.Marshal(map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false})
	return b
}

// Parse reads arguments strictly: an object with known keys in exact spelling,
// each once, each of its type (a number is no string and 1.0 no integer), all
// required ones there. Its errors are for the model to read.
func (t Tool) Parse(raw json.RawMessage) (Args, error) {
	if len(bytes.TrimSpace(raw)) == 0 || string(bytes.TrimSpace(raw)) == "null" {
		raw = json.RawMessage("{}")
	}
	if t.schema != nil {
		args, err := t.schema.Parse(raw)
		return args, err
	}
	if !utf8.Valid(raw) {
		return nil, invalid("the arguments are not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, invalid("the arguments are not a JSON object")
	}
	args := Args{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, malformed(err)
		}
		name, _ := key.(string)
		field := t.field(name)
		if field == nil {
			return nil, invalid("there is no argument %.40q; there are: %s", name, t.names())
		}
		if _, twice := args[name]; twice {
			return nil, invalid("argument %s is given twice", name)
		}
		value, err := readValue(dec, name, 0)
		if err == nil {
			err = toolspec.Plain(value)
		}
		if err != nil {
			return nil, err
		}
		if args[name], err = field.check(value); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("there is something behind the arguments")
	}
	for _, f := range t.Fields {
		if _, ok := args[f.Name]; f.Required && !ok {
			return nil, invalid("argument %s is missing", f.Name)
		}
	}
	return args, nil
}

func (t Tool) field(name string) *Field {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return &t.Fields[i]
		}
	}
	return nil
}

func (t Tool) names() string {
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// maxDepth bounds objects and arrays inside each other.
const maxDepth = 32

// readValue reads one value: as [json.Decoder] would, but that a key that is
// there twice is refused, since readers differ in which one counts.
func readValue(dec *json.Decoder, name string, depth int) (any, error) {
	first, err := dec.Token()
	if err != nil {
		return nil, malformed(err)
	}
	open, ok := first.(json.Delim)
	if !ok {
		return first, nil
	}
	if depth == maxDepth {
		return nil, invalid("argument %s is nested more than %d times", name, maxDepth)
	}
	if open == '[' {
		list := []any{}
		for dec.More() {
			v, err := readValue(dec, name, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		if _, err := dec.Token(); err != nil {
			return nil, malformed(err)
		}
		return list, nil
	}
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, malformed(err)
		}
		key, _ := token.(string) // the decoder knows that keys are strings
		if _, twice := object[key]; twice {
			return nil, invalid("%.40q is given twice in argument %s", key, name)
		}
		if object[key], err = readValue(dec, name, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed(err)
	}
	return object, nil
}

func (f Field) check(value any) (any, error) {
	switch f.Type {
	case String:
		return f.checkString(value)
	case Integer:
		n, ok := value.(json.Number)
		i, err := n.Int64()
		if !ok || err != nil || n.String() == "-0" {
			return nil, invalid("argument %s must be an integer", f.Name)
		}
		if i < f.Min || i > f.Max {
			return nil, invalid("argument %s must be between %d and %d", f.Name, f.Min, f.Max)
		}
		return i, nil
	case Boolean:
		if _, ok := value.(bool); !ok {
			return nil, invalid("argument %s must be true or false", f.Name)
		}
		return value, nil
	case Strings:
		list, ok := value.([]any)
		switch {
		case !ok:
			return nil, invalid("argument %s must be an array of strings", f.Name)
		case len(list) > f.MaxItems:
			return nil, invalid("argument %s has more than %d items", f.Name, f.MaxItems)
		case f.Required && len(list) == 0:
			return nil, invalid("argument %s is empty", f.Name)
		}
		all := make([]string, len(list))
		for i, v := range list {
			s, err := f.checkString(v)
			if err != nil {
				return nil, err
			}
			all[i] = s
		}
		return all, nil
	case Object:
		if _, ok := value.(map[string]any); !ok {
			return nil, invalid("argument %s must be an object", f.Name)
		}
		return value, nil
	}
	return nil, fmt.Errorf("field %s has the unknown type %q", f.Name, f.Type)
}

func (f Field) checkString(value any) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok:
		return "", invalid("argument %s must be a string", f.Name)
	case len(s) > f.MaxLength:
		return "", invalid("argument %s is longer than %d bytes", f.Name, f.MaxLength)
	case f.Required && s == "":
		return "", invalid("argument %s is empty", f.Name)
	case len(f.Enum) > 0 && !slices.Contains(f.Enum, s):
		return "", invalid("argument %s must be one of %s", f.Name, strings.Join(f.Enum, ", "))
	case f.Pattern != nil && !f.Pattern.MatchString(s):
		return "", invalid("argument %s must match %s", f.Name, f.Pattern)
	}
	return s, nil
}

func invalid(format string, args ...any) error { return ops.Errorf(ops.CodeInvalid, format, args...) }

func malformed(err error) error {
	return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeInvalid, "the arguments are not valid JSON"), err)
}
