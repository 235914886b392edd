package toolspec

import (
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// pointer reads a JSON pointer (RFC 6901): "" or /a/b, with ~1 for / and ~0 for ~.
func pointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' || len(text) > maxPath || Unseen(text) {
		return nil, invalid("%.40q is not a JSON pointer: it begins with /", text)
	}
	parts := strings.Split(text[1:], "/")
	if len(parts) > 32 {
		return nil, invalid("%.40q is too deep", text)
	}
	for i, p := range parts {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(p), "~") {
			return nil, invalid("%.40q is not a JSON pointer: write ~0 for ~", text)
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

// Select gives the part of a JSON answer that a tool is about. The answer is as
// encoding/json decodes it. What is not there is an error for the pointer, and
// left out for the fields.
func Select(h ops.HTTPTool, answer any) (any, error) {
	part, ok := at(answer, h.Pointer)
	if !ok {
		return nil, ops.Errorf(ops.CodeUnavailable, "the answer has nothing at %s", h.Pointer)
	}
	if len(h.Fields) == 0 {
		return part, nil
	}
	if list, ok := part.([]any); ok {
		kept := make([]any, len(list))
		for i, item := range list {
			kept[i] = fields(h.Fields, item)
		}
		return kept, nil
	}
	return fields(h.Fields, part), nil
}

// fields keeps members of an object, each under its pointer without the first /.
// What is no object stays as it is.
func fields(pointers []string, v any) any {
	if _, ok := v.(map[string]any); !ok {
		return v
	}
	kept := map[string]any{}
	for _, p := range pointers {
		if value, ok := at(v, p); ok {
			kept[strings.TrimPrefix(p, "/")] = value
		}
	}
	return kept
}

func at(v any, text string) (any, bool) {
	parts, err := pointer(text)
	if err != nil {
		return nil, false
	}
	for _, p := range parts {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[p]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(in) || strconv.Itoa(i) != p {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}
