package grouping

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxTemplate bounds a key as it is written, in bytes.
	MaxTemplate     = 512
	maxPlaceholders = 16
	// maxRendered bounds a key as it comes out: what is longer is cut, and told
	// apart by a hash.
	maxRendered = 512
)

// Template is a key with placeholders.
type Template struct {
	text   []string // len(fields)+1: what is before, between and behind them
	fields []field
}

// ParseTemplate reads a key. It refuses placeholders that name no field.
func ParseTemplate(s string) (Template, error) {
	var t Template
	if len(s) > MaxTemplate {
		return t, fmt.Errorf("the key has more than %d bytes", MaxTemplate)
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return t, errors.New("the key is not valid text")
	}
	for {
		before, rest, more := strings.Cut(s, "{{")
		if strings.Contains(before, "}}") {
			return t, errors.New("the key closes a placeholder with }} that it has not opened with {{")
		}
		t.text = append(t.text, before)
		if !more {
			return t, nil
		}
		name, behind, closed := strings.Cut(rest, "}}")
		if !closed {
			return t, errors.New("the key opens a placeholder with {{ and does not close it with }}")
		}
		if len(t.fields) == maxPlaceholders {
			return t, fmt.Errorf("the key has more than %d placeholders", maxPlaceholders)
		}
		f, err := placeholder(strings.TrimSpace(name))
		if err != nil {
			return t, err
		}
		t.fields = append(t.fields, f)
		s = behind
	}
}

func placeholder(name string) (field, error) {
	if name == "" {
		return field{}, errors.New("{{}} names no field")
	}
	p := &parser{text: name}
	read, err := p.name()
	if err != nil || p.at < len(name) {
		return field{}, fmt.Errorf("{{%s}} is not the name of a field: placeholders are fields alone, without functions or filters", name)
	}
	return lookup(read)
}

// Render gives the key of an alert. It has none if all placeholders are empty
// and there is one.
func (t Template) Render(s Subject) (key string, ok bool) {
	var b strings.Builder
	ok = len(t.fields) == 0
	for i, f := range t.fields {
		b.WriteString(t.text[i])
		value := f.get(s)
		ok = ok || value != ""
		b.WriteString(value)
	}
	b.WriteString(t.text[len(t.fields)])
	return bounded(b.String()), ok
}

// bounded cuts text that is too long for an index, and keeps different ones different.
func bounded(s string) string {
	if len(s) <= maxRendered {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:maxRendered-33], "") + "#" + hex.EncodeToString(sum[:16])
}
