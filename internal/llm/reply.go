package llm

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// maxVendor bounds what is kept of a vendor's own for a turn. What is more is
// dropped: the model then goes on without what it thought.
const maxVendor = 256 << 10

// building is a reply as it comes, within the limits of the package.
type building struct {
	text, reasoning strings.Builder
	calls           []*callBuilding
	arguments       int // bytes, of all calls
}

type callBuilding struct {
	id, name  string
	arguments strings.Builder
	all       *int // building.arguments
}

// add takes a piece of text or reasoning.
func (b *building) add(d Delta) error {
	b.text.WriteString(d.Text)
	b.reasoning.WriteString(d.Reasoning)
	if b.text.Len() > maxText || b.reasoning.Len() > maxText {
		return &Error{Kind: Malformed, Detail: "the answer is too long"}
	}
	return nil
}

// call begins a call.
func (b *building) call(id, name string) (*callBuilding, error) {
	if len(b.calls) == maxCalls {
		return nil, &Error{Kind: Malformed, Detail: "too many tool calls in one answer"}
	}
	c := &callBuilding{id: id, name: name, all: &b.arguments}
	b.calls = append(b.calls, c)
	return c, nil
}

// add takes a piece of the arguments.
func (c *callBuilding) add(arguments string) error {
	c.arguments.WriteString(arguments)
	*c.all += len(arguments)
	if *c.all > maxAllArguments || c.arguments.Len() > maxArguments || len(c.name) > maxArguments || len(c.id) > maxArguments {
		return &Error{Kind: Malformed, Detail: "the arguments of a tool call are too long"}
	}
	return nil
}

// into completes r with what has come. Why it stopped follows from that, unless
// it was cut off.
func (b *building) into(r *Reply, cutOff bool) {
	r.Text, r.Reasoning = b.text.String(), b.reasoning.String()
	for i, c := range b.calls {
		if c.id == "" {
			c.id = "call_" + strconv.Itoa(i+1)
		}
		r.Calls = append(r.Calls, Call{ID: c.id, Name: c.name, Arguments: c.arguments.String()})
	}
	switch {
	case cutOff:
		r.Stop = StopLength
	case len(r.Calls) > 0:
		r.Stop = StopCalls
	default:
		r.Stop = StopEnd
	}
}

// own is what [Reply].Vendor holds.
type own struct {
	Kind  string          `json:"kind"`
	Model string          `json:"model"` // as it was asked for
	Data  json.RawMessage `json:"data"`
}

// vendor wraps what a vendor wants back; nothing if data is empty, too large, or
// cannot be stored in a database of text.
func vendor(kind, model string, data any) json.RawMessage {
	raw, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	if raw, err = json.Marshal(own{kind, model, raw}); err != nil || len(raw) > maxVendor || bytes.Contains(raw, []byte(`\u0000`)) {
		return nil
	}
	return raw
}

// vendorOf unwraps into data what this model wants back of a message.
func vendorOf(m Message, kind, model string, data any) bool {
	var o own
	return len(m.Vendor) > 0 && json.Unmarshal(m.Vendor, &o) == nil && o.Kind == kind && o.Model == model &&
		json.Unmarshal(o.Data, data) == nil
}
