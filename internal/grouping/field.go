package grouping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// Subject is an alert with what rules may ask of its source.
type Subject struct {
	Alert      *ops.Alert
	SourceID   string
	Source     string // its name
	SourceKind string
}

// field finds the value of a name in an alert.
type field struct {
	name string
	get  func(Subject) string
}

var fields = []field{
	{"source", func(s Subject) string { return s.Source }},
	{"source_kind", func(s Subject) string { return s.SourceKind }},
	{"kind", func(s Subject) string { return s.Alert.Kind }},
	{"severity", func(s Subject) string { return string(s.Alert.Severity) }},
	{"service", func(s Subject) string { return s.Alert.Service }},
	{"host", func(s Subject) string { return s.Alert.Host }},
	{"title", func(s Subject) string { return s.Alert.Title }},
}

// Fields lists the names that matchers and keys may use beside labels.NAME.
func Fields() []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

const labelPrefix = "labels."

// lookup gives the field of a name as people write it.
func lookup(name string) (field, error) {
	if label, ok := strings.CutPrefix(name, labelPrefix); ok {
		if label == "" {
			return field{}, fmt.Errorf("%q names no label: write labels.NAME", name)
		}
		return field{name, func(s Subject) string { return s.Alert.Labels[label] }}, nil
	}
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, fmt.Errorf("there is no field %q: it is one of %s, or labels.%s for a label of the alert",
			name, strings.Join(Fields(), ", "), name)
	}
	return fields[i], nil
}
