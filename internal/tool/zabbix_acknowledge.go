package tool

import (
	"context"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

func zabbixAcknowledge(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_acknowledge", Mutates: true, Fields: []Field{
		{Name: "event_ids", Type: Strings, Required: true, MaxItems: 100, MaxLength: 20, Pattern: idPattern, Description: "the problems' events"},
		{Name: "message", Type: String, MaxLength: 2048, Description: "what to say to the people who look at the problem"},
		{Name: "acknowledge", Type: Boolean, Default: true, Description: "say that somebody takes care"},
		{Name: "close", Type: Boolean, Default: false, Description: "close the problem; its trigger must allow that"},
		{Name: "severity", Type: String, MaxLength: 20, Enum: severities, Description: "the severity to give it"},
	}}, acknowledge)
}

// The bits of event.acknowledge's action.
const (
	ackClose       = 1
	ackAcknowledge = 2
	ackMessage     = 4
	ackSeverity    = 8
)

func acknowledge(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	params, action := map[string]any{"eventids": a.Strings("event_ids")}, 0
	var did []string
	if a.Bool("acknowledge", true) {
		action |= ackAcknowledge
		did = append(did, "acknowledged")
	}
	if a.Bool("close", false) {
		action |= ackClose
		did = append(did, "closed")
	}
	if text := a.String("message"); text != "" {
		action |= ackMessage
		params["message"] = text
		did = append(did, "commented")
	}
	if s := a.String("severity"); s != "" {
		action |= ackSeverity
		params["severity"] = atLeast(s)[0]
		did = append(did, "made "+s)
	}
	if action == 0 {
		return nil, ops.Errorf(ops.CodeInvalid, "there is nothing to do: give a message, acknowledge, close or a severity")
	}
	params["action"] = action
	v, err := c.do(ctx, "event.acknowledge", params)
	if err != nil {
		return nil, err
	}
	// A list where it is long, an object of numbered properties where PHP thinks so.
	r := &report{data: map[string]any{"event_ids": a.Strings("event_ids"), "done": did}}
	if _, ok := v.(map[string]any); !ok {
		return nil, c.noAPI(nil)
	}
	r.line("%s: event %s", strings.Join(did, ", "), strings.Join(a.Strings("event_ids"), ", "))
	return r, nil
}
