package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth bounds the nesting of arguments.
	maxDepth = 32
	// maxArguments bounds them in one form: what the api lets people be asked about.
	maxArguments = 64 << 10
)

// canonical gives a tool call's arguments in one form: an object, keys sorted,
// no white space. It refuses what different readers could understand
// differently (duplicate keys, broken Unicode) or could not store (NUL, numbers
// beyond a double). The error is for the model.
func canonical(text string) (json.RawMessage, error) {
	if strings.TrimSpace(text) == "" {
		return json.RawMessage("{}"), nil // some models leave empty arguments out
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("the arguments are not valid UTF-8")
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, fmt.Errorf("the arguments are not valid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the arguments are not valid JSON: there is something behind the object")
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, errors.New("the arguments must be a JSON object")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	args := bytes.TrimSpace(b.Bytes())
	if len(args) > maxArguments {
		return nil, fmt.Errorf("the arguments have more than %d bytes", maxArguments)
	}
	return args, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	tok, err := d.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Number:
		if _, err := tok.Float64(); err != nil {
			return nil, fmt.Errorf("the number %.40s is out of range", tok)
		}
		return tok, nil
	case string:
		return tok, plain(tok)
	case json.Delim:
		if tok == '[' {
			list := []any{}
			for d.More() {
				e, err := value(d, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, e)
			}
			_, err := d.Token()
			return list, err
		}
		object := map[string]any{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			key, _ := k.(string)
			if err := plain(key); err != nil {
				return nil, err
			}
			if _, twice := object[key]; twice {
				return nil, fmt.Errorf("the key %q is there twice", key)
			}
			if object[key], err = value(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	}
	return tok, nil // true, false, null
}

// plain refuses what Postgres cannot store in JSON. Lone surrogates have become
// U+FFFD in the decoder.
func plain(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("a string contains NUL")
	}
	return nil
}

// headTail cuts s to about limit bytes: its beginning and its end, with a line
// between that says how much is left out. Cuts fall between lines where one is near.
func headTail(s string, limit int) string {
	if limit <= 0 || len(s) <= limit {
		return s
	}
	head, tail := s[:limit*2/3], s[len(s)-limit/3:]
	if i := strings.LastIndexByte(head, '\n'); i > len(head)*3/4 {
		head = head[:i+1]
	} else {
		for len(head) > 0 && !utf8.RuneStart(s[len(head)]) {
			head = head[:len(head)-1]
		}
	}
	if i := strings.IndexByte(tail, '\n'); i >= 0 && i < len(tail)/4 {
		tail = tail[i+1:]
	} else {
		for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
			tail = tail[1:]
		}
	}
	return fmt.Sprintf("%s\n[… %d bytes left out …]\n%s", head, len(s)-len(head)-len(tail), tail)
}
