package dispatch

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/wire"
)

// What alerts and transcript may take of a task, so that it fits into one frame
// together with everything else.
const (
	maxAlertBytes      = 1 << 20
	maxTranscriptBytes = 4 << 20
	maxHistoryBytes    = 2 << 20
)

// task is all that a worker needs for a run.
func (d *Dispatcher) task(c *postgres.ClaimedRun, gateway, proxy ops.Secret) *wire.Task {
	return &wire.Task{
		RunRef:       wire.RunRef{Run: c.Run.ID, Epoch: c.Run.Epoch},
		Incident:     c.Incident,
		Alerts:       fitAlerts(c.Alerts, maxAlertBytes),
		Agent:        c.Agent,
		Transcript:   fitTranscript(c.Transcript, maxTranscriptBytes),
		Actor:        c.Run.Actor,
		RoleDeny:     c.Roles.Deny,
		RoleAllow:    c.Roles.Allow,
		Messages:     c.Messages,
		Asked:        asked(c),
		SubAgents:    c.SubAgents,
		History:      fitHistory(c.History, maxHistoryBytes),
		Waiting:      c.Waiting,
		Context:      c.Context,
		Skills:       c.Skills,
		Runbooks:     c.Runbooks,
		Conclude:     c.Conclude,
		NextSeq:      c.Run.AckedSeq + 1,
		Deadline:     c.Deadline,
		Model:        d.modelLease(c.Provider, proxy),
		Fallback:     d.modelLeases(c.Fallbacks, proxy),
		WaitUntil:    c.WaitUntil,
		GatewayURL:   d.gatewayURL,
		GatewayToken: gateway.Reveal(),
	}
}

// fitAlerts leaves out the last alerts if all are too large together. The
// first alert opened the incident and is always there, if need be without its
// annotations.
func fitAlerts(alerts []ops.Alert, limit int) []ops.Alert {
	used := 0
	for i := range alerts {
		size := jsonSize(alerts[i])
		if i == 0 && size > limit {
			first := alerts[0]
			first.Annotations, first.Labels = nil, nil
			return []ops.Alert{first}
		}
		if used += size; used > limit {
			return alerts[:i]
		}
	}
	if alerts == nil {
		return []ops.Alert{}
	}
	return alerts
}

// fitTranscript leaves out of the oldest events what the run can do without, if
// all are too large together: the texts of results, which the gateway still has,
// and what the model thought, which people have read and no vendor insists on
// (package llm). Calls and words stay: the run must know what it has done.
func fitTranscript(events []ops.Event, limit int) []ops.Event {
	total := 0
	for _, e := range events {
		total += len(e.Data)
	}
	for i := 0; i < len(events) && total > limit; i++ {
		e := &events[i]
		before := len(e.Data)
		switch e.Kind {
		case ops.EventToolResult:
			var result ops.ToolResult
			if json.Unmarshal(e.Data, &result) != nil {
				continue
			}
			e.Data = marshal(result.Emptied())
		case ops.EventMessage:
			var m ops.Message
			if json.Unmarshal(e.Data, &m) != nil || m.Reasoning == "" && m.Vendor == nil {
				continue
			}
			m.Reasoning, m.Vendor = "", nil
			e.Data = marshal(m)
		}
		total -= before - len(e.Data)
	}
	return events
}

// fitHistory empties old results of runs that have ended, and leaves out the
// oldest runs if that is not enough.
func fitHistory(past []postgres.PastRun, limit int) []wire.PastRun {
	out := make([]wire.PastRun, 0, len(past))
	for _, p := range slices.Backward(past) {
		if limit <= 0 {
			break
		}
		fit := wire.PastRun{Run: p.Run, Transcript: fitTranscript(p.Transcript, limit), Messages: p.Messages}
		if limit -= jsonSize(fit); limit < 0 && len(out) > 0 {
			break
		}
		out = append(out, fit)
	}
	slices.Reverse(out)
	return out
}

func jsonSize(v any) int { return len(marshal(v)) }

// marshal writes v as a frame has it: without the escapes for HTML, with which a
// text may be six times as long.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSpace(b.Bytes())
}
