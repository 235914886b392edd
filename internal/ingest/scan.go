package ingest

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// What is here walks through JSON that is known to be valid: of a body, or of
// what a decoder hands to an UnmarshalJSON. encoding/json looks at each value
// once more for each level that it is nested in, which is half of what it costs
// to take an alert.

// eachField calls f with the fields of an object, in their order. Fields may
// repeat. It gives false, and calls nothing, if value is no object.
func eachField(value []byte, f func(key string, value []byte)) bool {
	i := space(value, 0)
	if i == len(value) || value[i] != '{' {
		return false
	}
	for i = space(value, i+1); i < len(value) && value[i] != '}'; {
		end := endOf(value, i)
		key := value[i:end]
		i = space(value, space(value, end)+1) // the colon
		end = endOf(value, i)
		f(fieldName(key), value[i:end])
		if i = space(value, end); i < len(value) && value[i] == ',' {
			i = space(value, i+1)
		}
	}
	return true
}

// eachItem does the same for a list.
func eachItem(value []byte, f func(item []byte)) bool {
	i := space(value, 0)
	if i == len(value) || value[i] != '[' {
		return false
	}
	for i = space(value, i+1); i < len(value) && value[i] != ']'; {
		end := endOf(value, i)
		f(value[i:end])
		if i = space(value, end); i < len(value) && value[i] == ',' {
			i = space(value, i+1)
		}
	}
	return true
}

// space gives where the white space from i on ends.
func space(value []byte, i int) int {
	for i < len(value) && (value[i] == ' ' || value[i] == '\n' || value[i] == '\r' || value[i] == '\t') {
		i++
	}
	return i
}

// endOf gives where the value that begins at i ends.
func endOf(value []byte, i int) int {
	depth := 0
	for i < len(value) {
		switch value[i] {
		case '"':
			i = endOfString(value, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',', ' ', '\n', '\r', '\t':
			if depth == 0 { // behind a number or a name
				return i
			}
			if value[i] == '}' || value[i] == ']' {
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		i++
	}
	return len(value)
}

// endOfString gives where the string that begins at i ends.
func endOfString(value []byte, i int) int {
	for i++; i < len(value); i++ {
		n := bytes.IndexByte(value[i:], '"')
		if n < 0 {
			break
		}
		i += n
		escapes := 0
		for value[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
	return len(value)
}

// fieldName reads a key.
func fieldName(quoted []byte) string {
	if n := len(quoted); n >= 2 && bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted) {
		return string(quoted[1 : n-1])
	}
	var name string
	_ = json.Unmarshal(quoted, &name) // it is valid
	return name
}

// fields are those of a struct that are read.
type fields []struct {
	name string
	to   json.Unmarshaler
}

// set gives a value to the field that key names exactly. It gives false if the
// field refuses it, or if only encoding/json, which takes keys in any case, would
// find one.
func (all fields) set(key string, value []byte) bool {
	for _, f := range all {
		if f.name == key {
			return f.to.UnmarshalJSON(value) == nil
		}
	}
	for _, f := range all {
		if strings.EqualFold(f.name, key) {
			return false
		}
	}
	return true
}
