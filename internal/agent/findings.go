package agent

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
)

// submitFindings is the tool that ends a run. The agent has it itself.
const submitFindings = "submit_findings"

const citations = `{"type":"array","items":{"type":"object","additionalProperties":false,"required":["call"],"properties":{
	"call":{"type":"string","description":"id of the tool call, such as c2"},
	"excerpt":{"type":"string","description":"words copied exactly from its output"}}}}`

// findingsTool describes [ops.Finding] as the model may fill it in.
func findingsTool() llm.Tool {
	return llm.Tool{
		Name:        submitFindings,
		Description: "Ends the investigation with its result. Every claim cites calls of this investigation.",
		Schema: json.RawMessage(`{"type":"object","additionalProperties":false,"required":["summary","root_cause","confidence","evidence"],"properties":{
	"summary":{"type":"string","description":"two sentences for the person on call"},
	"root_cause":{"type":"string","description":"what is wrong and why; empty if the evidence does not show it"},
	"confidence":{"type":"number","minimum":0,"maximum":1},
	"impact":{"type":"string","description":"who or what suffers"},
	"evidence":` + citations + `,
	"hypotheses":{"type":"array","items":{"type":"object","additionalProperties":false,"required":["statement","verdict","evidence"],"properties":{
		"statement":{"type":"string"},
		"verdict":{"type":"string","enum":["confirmed","refuted","open"]},
		"evidence":` + citations + `}}},
	"actions":{"type":"array","items":{"type":"object","additionalProperties":false,"required":["title"],"properties":{
		"title":{"type":"string"},
		"target":{"type":"string"},
		"command":{"type":"string","description":"the exact command, where there is one"}}}}}}`),
	}
}

// readFindings reads the arguments of submit_findings. The error is for the model.
func readFindings(arguments json.RawMessage) (ops.Finding, error) {
	var f ops.Finding
	if err := json.Unmarshal(arguments, &f); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return f, errors.New("the field " + e.Field + " must not be a JSON " + e.Value)
		}
		return f, errors.New("the arguments do not have the form of findings")
	}
	f.Conclusive, f.Dropped = false, nil
	if strings.TrimSpace(f.Summary) == "" {
		return f, errors.New("the summary is missing")
	}
	return f, nil
}
