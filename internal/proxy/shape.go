package proxy

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxDepth bounds the nesting of a request. Schemas and arguments of tools are
// the deepest in it.
const maxDepth = 64

// shape is what a value in a request may be: exactly one of its fields is set, or
// none, for a string, number, boolean or null.
type shape struct {
	any  bool             // whatever it is: a tool's schema or arguments
	is   []string         // one of these, as it is written
	list *shape           // of such
	keys map[string]shape // an object with no others
	need []string         // of keys: these are there
	// types are objects by their key "type", "" for those that have none.
	types map[string]shape
	// model is the provider's.
	model bool
}

// The shapes of what package llm sends to each kind of provider, and so all that
// goes to it. What is not here is of three sorts, and none of it is a matter of
// the agent: another model, tools that the vendor runs and addresses that the
// vendor fetches, which are ways out of the agent's network, and what the vendor
// is to store.

var (
	value    = shape{}
	whatever = shape{any: true}
	ofModel  = shape{model: true}
)

func list(of shape) shape                            { return shape{list: &of} }
func one(of ...string) shape                         { return shape{is: of} }
func object(keys map[string]shape) shape             { return shape{keys: keys} }
func values(names ...string) (keys map[string]shape) { return with(nil, names...) }

// with adds keys that have plain values.
func with(keys map[string]shape, names ...string) map[string]shape {
	if keys == nil {
		keys = map[string]shape{}
	}
	for _, name := range names {
		keys[name] = value
	}
	return keys
}

// chatShape is of chat completions, with keys that one vendor has alone.
func chatShape(more map[string]shape) shape {
	keys := with(map[string]shape{
		"model":          ofModel,
		"stream_options": object(values("include_usage")),
		"messages": list(object(with(map[string]shape{
			"role": one(`"system"`, `"user"`, `"assistant"`, `"tool"`),
			"tool_calls": list(object(with(map[string]shape{
				"type":     one(`"function"`),
				"function": object(values("name", "arguments")),
			}, "id"))),
			"reasoning_details": list(whatever), // as it came from the vendor
		}, "content", "tool_call_id"))),
		"tools": list(object(map[string]shape{
			"type":     one(`"function"`),
			"function": object(with(map[string]shape{"parameters": whatever}, "name", "description")),
		})),
	}, "max_completion_tokens", "reasoning_effort", "stream")
	for name, s := range more {
		keys[name] = s
	}
	return shape{keys: keys, need: []string{"model"}}
}

func compatibleShape() shape { return chatShape(nil) }

func openRouterShape() shape {
	return chatShape(map[string]shape{"reasoning": object(values("effort")), "usage": object(values("include"))})
}

// responsesShape is of OpenAI's Responses API, which stores what it is not told
// not to store.
func responsesShape() shape {
	return shape{need: []string{"model", "store"}, keys: with(map[string]shape{
		"model":     ofModel,
		"store":     one("false"),
		"include":   list(one(`"reasoning.encrypted_content"`)),
		"reasoning": object(values("effort", "summary")),
		"input": list(shape{types: map[string]shape{
			"": {keys: with(map[string]shape{"role": one(`"user"`, `"assistant"`)}, "content", "phase"), need: []string{"role"}},
			"reasoning": object(with(map[string]shape{
				"summary": list(object(with(map[string]shape{"type": one(`"summary_text"`)}, "text"))),
			}, "type", "id", "encrypted_content")),
			"function_call":        object(values("type", "call_id", "name", "arguments")),
			"function_call_output": object(values("type", "call_id", "output")),
		}}),
		"tools": list(object(with(map[string]shape{
			"type":       one(`"function"`),
			"parameters": whatever,
		}, "name", "description", "strict"))),
	}, "instructions", "max_output_tokens", "parallel_tool_calls", "prompt_cache_key", "stream")}
}

func anthropicShape() shape {
	mark := object(map[string]shape{"type": one(`"ephemeral"`)})
	text := object(with(map[string]shape{"type": one(`"text"`), "cache_control": mark}, "text"))
	return shape{need: []string{"model"}, keys: with(map[string]shape{
		"model":         ofModel,
		"system":        list(text),
		"thinking":      object(values("type", "budget_tokens", "display")),
		"output_config": object(values("effort")),
		"tool_choice":   object(map[string]shape{"type": one(`"none"`)}),
		"messages": list(object(map[string]shape{
			"role": one(`"user"`, `"assistant"`),
			"content": list(shape{types: map[string]shape{
				"text":              text,
				"thinking":          object(values("type", "thinking", "signature")),
				"redacted_thinking": object(values("type", "data")),
				"tool_use":          object(with(map[string]shape{"input": whatever}, "type", "id", "name")),
				"tool_result":       object(with(map[string]shape{"content": list(text), "cache_control": mark}, "type", "tool_use_id")),
			}}),
		})),
		// Tools without a type are those that the agent runs.
		"tools": list(object(with(map[string]shape{"input_schema": whatever, "cache_control": mark}, "name", "description"))),
	}, "max_tokens", "stream")}
}

// googleShape has no model: it is in the path.
func googleShape() shape {
	parts := list(object(with(map[string]shape{
		"functionCall":     object(with(map[string]shape{"args": whatever}, "id", "name")),
		"functionResponse": object(with(map[string]shape{"response": object(values("output"))}, "id", "name")),
	}, "text", "thought", "thoughtSignature")))
	return object(map[string]shape{
		"systemInstruction": object(map[string]shape{"parts": parts}),
		"contents":          list(object(map[string]shape{"role": one(`"user"`, `"model"`), "parts": parts})),
		"tools": list(object(map[string]shape{
			"functionDeclarations": list(object(with(map[string]shape{"parametersJsonSchema": whatever}, "name", "description"))),
		})),
		"generationConfig": object(with(map[string]shape{
			"thinkingConfig": object(values("includeThoughts", "thinkingLevel", "thinkingBudget")),
		}, "maxOutputTokens")),
	})
}

// look refuses a body that is not of the shape. The reason names the key that is
// too much, or whose value is not one that package llm sends, and no value.
func (s shape) look(body []byte, provider ops.Provider) error {
	if !utf8.Valid(body) || !json.Valid(body) || deepest(body) > maxDepth {
		return refuse(http.StatusForbidden, "the body is not JSON, or nested more than %d deep", maxDepth)
	}
	body = body[space(body, 0):]
	if stray, ok := s.fits(body[:end(body, 0)], provider.Model); !ok {
		return refuse(http.StatusForbidden, "the body is not one that agents send: see \"%s\" in it", visible(strings.TrimPrefix(stray, ".")))
	}
	return nil
}

// fits looks at valid JSON without white space around it. If it does not fit, it
// gives the path to what does not.
func (s shape) fits(raw []byte, model string) (stray string, ok bool) {
	switch {
	case s.any:
		return "", true
	case s.model:
		var name string
		return "", raw[0] == '"' && json.Unmarshal(raw, &name) == nil && name == model
	case s.is != nil:
		return "", slices.Contains(s.is, string(raw))
	case s.list != nil:
		if raw[0] != '[' {
			return "", false
		}
		ok = true
		each(raw, func(_, v []byte) bool {
			if stray, ok = s.list.fits(v, model); !ok {
				stray = "[]" + stray
			}
			return ok
		})
		return stray, ok
	case s.types != nil:
		if raw[0] != '{' {
			return "", false
		}
		name := ""
		each(raw, func(key, v []byte) bool {
			if string(key) == "type" {
				name = strings.Trim(string(v), `"`)
			}
			return true
		})
		of, ok := s.types[name]
		if !ok {
			return ".type", false
		}
		return of.fits(raw, model)
	case s.keys != nil:
		return s.object(raw, model)
	}
	return "", raw[0] != '{' && raw[0] != '['
}

// object looks at the members of an object. A key with an escape in it is not one
// of ours.
func (s shape) object(raw []byte, model string) (stray string, ok bool) {
	if raw[0] != '{' {
		return "", false
	}
	var seen []string
	ok = true
	each(raw, func(key, v []byte) bool {
		of, known := s.keys[string(key)]
		if !known || slices.Contains(seen, string(key)) {
			stray, ok = "."+string(key), false
			return false
		}
		seen = append(seen, string(key))
		if stray, ok = of.fits(v, model); !ok {
			stray = "." + string(key) + stray
		}
		return ok
	})
	for _, name := range s.need {
		if ok && !slices.Contains(seen, name) {
			return "." + name, false
		}
	}
	return stray, ok
}

// The functions below walk over JSON that is known to be valid, without a copy
// of it: a body of many small values would be many times as long decoded.

// each calls f with the members of an object, or the elements of a list, until it
// says no. A key is as it is written, without its quotes.
func each(raw []byte, f func(key, value []byte) bool) {
	for i := space(raw, 1); raw[i] != '}' && raw[i] != ']'; i = space(raw, i) {
		if raw[i] == ',' {
			i = space(raw, i+1)
		}
		var key []byte
		if raw[0] == '{' {
			after := end(raw, i)
			key = raw[i+1 : after-1]
			i = space(raw, space(raw, after)+1) // behind the colon
		}
		after := end(raw, i)
		if !f(key, raw[i:after]) {
			return
		}
		i = after
	}
}

// end gives where the value that begins at i ends.
func end(raw []byte, i int) int {
	if raw[i] != '"' && raw[i] != '{' && raw[i] != '[' {
		for i < len(raw) && !strings.ContainsRune(",]} \t\r\n", rune(raw[i])) {
			i++
		}
		return i
	}
	depth := 0
	for {
		switch raw[i] {
		case '"':
			i = quoted(raw, i)
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

// quoted gives where the string that begins at i has its closing quote.
func quoted(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i
}

func space(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n') {
		i++
	}
	return i
}

// deepest gives how deep the nesting goes.
func deepest(raw []byte) (most int) {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = quoted(raw, i)
		case '{', '[':
			depth++
			most = max(most, depth)
		case '}', ']':
			depth--
		}
	}
	return most
}
