package tool

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
)

// FieldType is the JSON type of an argument.
type FieldType string

// The types.
const (
	String  FieldType = "string"
	Integer FieldType = "integer"
)

// Field is one argument: its part of the schema and its check are the same data.
type Field struct {
	Name        string
	Type        FieldType
	Required    bool
	Description string
	Pattern     *regexp.Regexp // of strings; anchored
	MaxLength   int            // of strings, in bytes; required
	Min, Max    int64          // of integers; required
	Default     int64          // of integers, for the reader of the schema
}

// Args are arguments that fit their tool's fields. Values are string and int64.
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

// Canonical is the one JSON text for these arguments: keys in order, no blanks.
func (a Args) Canonical() json.RawMessage {
	b, _ := json.Marshal(map[string]any(a)) // strings and integers always marshal
	return b
}

// Digest identifies a call of the tool with these arguments.
func (t Tool) Digest(a Args) []byte {
	sum := sha256.Sum256(append([]byte(t.Name+"\n"), a.Canonical()...))
	return sum[:]
}

// Schema is the JSON Schema of the arguments.
func (t Tool) Schema() json.RawMessage {
	type property struct {
		Type        FieldType `json:"type"`
		Description string    `json:"description"`
		Pattern     string    `json:"pattern,omitempty"`
		MaxLength   int       `json:"maxLength,omitempty"`
		Minimum     int64     `json:"minimum,omitempty"`
		Maximum     int64     `json:"maximum,omitempty"`
		Default     int64     `json:"default,omitempty"`
	}
	properties, required := map[string]property{}, []string{}
	for _, f := range t.Fields {
		pattern := ""
		if f.Pattern != nil {
			pattern = f.Pattern.String()
		}
		properties[f.Name] = property{f.Type, f.Description, pattern, f.MaxLength, f.Min, f.Max, f.Default}
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
		value, err := dec.Token()
		if err != nil {
			return nil, malformed(err)
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

func (f Field) check(value json.Token) (any, error) {
	switch f.Type {
	case String:
		s, ok := value.(string)
		switch {
		case !ok:
			return nil, invalid("argument %s must be a string", f.Name)
		case len(s) > f.MaxLength:
			return nil, invalid("argument %s is longer than %d bytes", f.Name, f.MaxLength)
		case f.Required && s == "":
			return nil, invalid("argument %s is empty", f.Name)
		}
		if f.Pattern != nil && !f.Pattern.MatchString(s) {
			return nil, invalid("argument %s must match %s", f.Name, f.Pattern)
		}
		return s, nil
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
	}
	return nil, fmt.Errorf("field %s has the unknown type %q", f.Name, f.Type)
}

func invalid(format string, args ...any) error { return ops.Errorf(ops.CodeInvalid, format, args...) }

func malformed(err error) error {
	return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeInvalid, "the arguments are not valid JSON"), err)
}
