package toolspec

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds objects and arrays inside each other.
const maxDepth = 64

// Decode reads one JSON value as [json.Decoder.UseNumber] would, and refuses a key
// that is there twice, since readers differ in which one counts, what is nested
// too deeply, and text behind the value.
func Decode(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, invalid("it is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("there is something behind it")
	}
	return v, nil
}

func value(dec *json.Decoder, depth int) (any, error) {
	first, err := dec.Token()
	if err != nil {
		return nil, malformed(err)
	}
	open, ok := first.(json.Delim)
	if !ok {
		return first, nil
	}
	if depth == maxDepth {
		return nil, invalid("it is nested more than %d times", maxDepth)
	}
	list, object := []any{}, map[string]any{}
	for dec.More() {
		var key string
		if open == '{' {
			token, err := dec.Token()
			if err != nil {
				return nil, malformed(err)
			}
			key, _ = token.(string) // the decoder knows that keys are strings
			if _, twice := object[key]; twice {
				return nil, invalid("%.40q is given twice", key)
			}
		}
		v, err := value(dec, depth+1)
		if err != nil {
			return nil, err
		}
		if open == '{' {
			object[key] = v
		} else {
			list = append(list, v)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed(err)
	}
	if open == '{' {
		return object, nil
	}
	return list, nil
}

// Plain refuses a value that cannot be shown, stored and passed on as it is: with
// a NUL in a text, or with a number that float64 cannot hold, be it too large or
// too small. Its exact value may have a million digits, and whoever reckons with
// that, as the check of a schema and Postgres do, writes all of them out.
func Plain(v any) error {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "\x00") {
			return invalid("%.40q has NUL, a control character", v)
		}
	case json.Number:
		// What is 0 in float64 is plain if it was written as 0.
		f, err := v.Float64()
		digits, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e")
		if err != nil || len(v) > 400 || len(exponent) > 4 || f == 0 && strings.ContainsAny(digits, "123456789") {
			return invalid("%.40q is no number that can be reckoned with", v)
		}
	case []any:
		for _, item := range v {
			if err := Plain(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, member := range v {
			if err := cmp.Or(Plain(name), Plain(member)); err != nil {
				return err
			}
		}
	}
	return nil
}

func malformed(err error) error {
	return fmt.Errorf("%w: %w", invalid("it is not valid JSON"), err)
}
