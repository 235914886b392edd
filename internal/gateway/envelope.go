package gateway

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// message is what the gateway itself reads of a message of JSON-RPC.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  struct {
		Meta      json.RawMessage `json:"_meta"`
		RequestID json.RawMessage `json:"requestId"` // of what is to be cancelled
		Name      string          `json:"name"`      // of a tool
		Arguments json.RawMessage `json:"arguments"`
	} `json:"params"`
}

// readMessage reads one message that says one thing to every reader.
func readMessage(body []byte) (m message, ok bool) {
	err := json.Unmarshal(body, &m)
	return m, err == nil && m.Method != "" && !ambiguous(body)
}

// target is the one target that a call names in its arguments, "" if it names
// none. They were not checked: it is for looking up, not for judging.
func (m message) target(set *toolSet) string {
	t := set.tools[m.Params.Name]
	if m.Method != "tools/call" || t.Target == "" || t.Remote != nil {
		return ""
	}
	var arguments map[string]json.RawMessage
	var name string
	if json.Unmarshal(m.Params.Arguments, &arguments) != nil || json.Unmarshal(arguments[t.Target], &name) != nil || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return ""
	}
	return name
}

// ambiguous says whether a message of JSON-RPC, its params or their _meta name
// something twice. Names that differ in case alone count as the same, since
// encoding/json takes them so: what one reader judges must be what the next one
// does. The arguments of a call are checked with their tool.
func ambiguous(body []byte) bool {
	message, ok := members(body)
	if !ok {
		return true
	}
	params, ok := members(message["params"])
	if !ok {
		return true
	}
	_, ok = members(params["_meta"])
	return !ok
}

// members reads the members of an object, or fails if one is there twice. What
// is no object has none.
func members(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return nil, true
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, true
	}
	all := map[string]json.RawMessage{}
	var seen []string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, false
		}
		name, _ := token.(string) // the decoder knows that keys are strings
		if slices.ContainsFunc(seen, func(s string) bool { return strings.EqualFold(s, name) }) || len(seen) == 100 {
			return nil, false
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, false
		}
		all[strings.ToLower(name)] = value
	}
	return all, true
}
