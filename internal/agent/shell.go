package agent

import (
	"context"
	_ "embed" // the description of the tool
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/sandbox"
	"github.com/akmatori/akmatori/internal/wire"
)

// bash is the name of the workspace shell, which the agent has itself.
const bash = "Bash"

// Timeouts of a command in seconds, as for commands at the gateway.
const (
	shellTimeout    = 60
	maxShellTimeout = 600
)

// unsure is what is known of a command of a worker that is gone.
const unsure = "The worker ended before this command had a result. Whether it ran, and what it printed, is not known. " +
	"It will not be run again under this id. The files of earlier commands are gone.\n"

//go:embed bash.md
var bashDescription string

func bashTool() llm.Tool {
	return llm.Tool{
		Name:        bash,
		Description: strings.TrimSpace(bashDescription),
		Schema: json.RawMessage(fmt.Sprintf(`{"type":"object","additionalProperties":false,"required":["command"],"properties":{
	"command":{"type":"string","maxLength":%d,"description":"shell command to run"},
	"timeout_seconds":{"type":"integer","minimum":1,"maximum":%d,"default":%d,"description":"the command is killed after this time"}}}`,
			policy.MaxCommand, maxShellTimeout, shellTimeout)),
	}
}

// shell is the run's folder and the rules for commands in it.
type shell struct {
	folder *sandbox.Folder
	rules  policy.Policy
	log    *slog.Logger
}

// openShell gives nil if the run has no shell: there is no workspace on this
// worker, or nothing in it would be allowed.
func (r *run) openShell() *shell {
	if r.sandbox == nil {
		return nil
	}
	rules, err := rulesOf(r.task)
	if err != nil {
		r.log.Error("the rules of an agent, or of who has started its run, cannot be read: the run has no shell", "agent", r.task.Agent.ID, "actor", r.task.Actor, "err", err)
		return nil
	}
	if rules.Role.Hides(bash) || rules.Tools.Hides(bash) || rules.Agent.Hides(bash) {
		return nil
	}
	// The folder is of this claim: the one before may still be clearing up.
	folder, err := r.sandbox.Folder(fmt.Sprintf("%s-%d", r.ref.Run, r.ref.Epoch))
	if err != nil {
		r.log.Error("a run has no shell", "err", err)
		return nil
	}
	s := &shell{folder: folder, rules: rules, log: r.log}
	if err := s.fill(r.task); err != nil {
		r.log.Error("a run has no shell", "err", err)
		s.close()
		return nil
	}
	return s
}

// rulesOf gives the layers that judge what a run does in its own folder, as those
// of the gateway judge the rest. The roles are those at the claim.
func rulesOf(t wire.Task) (p policy.Policy, err error) {
	p.Platform = policy.Platform()
	if p.Role, err = policy.Builtin().LoadRole(t.RoleDeny, t.RoleAllow); err != nil {
		return p, err
	}
	if p.Tools, err = policy.Builtin().LoadTools(t.Agent.Tools); err != nil {
		return p, err
	}
	p.Agent, err = policy.Load(t.Agent.Rules)
	return p, err
}

// incidentFile is what the api says about the incident, all alerts included: the
// model's first message has the first ones alone. Commands read it, and cannot change it.
const incidentFile = "incident.json"

func (s *shell) fill(t wire.Task) error {
	text, err := json.MarshalIndent(struct {
		Incident ops.Incident `json:"incident"`
		Alerts   []ops.Alert  `json:"alerts"`
	}{t.Incident, t.Alerts}, "", " ")
	if err != nil {
		return err
	}
	return s.folder.Put(incidentFile, append(text, '\n'))
}

func (s *shell) close() {
	if err := s.folder.Remove(); err != nil {
		s.log.Error("the folder of a run is left until the next start", "err", err)
	}
}

// call judges and runs one command. The error is the context's; whatever else
// goes wrong is in the result.
func (s *shell) call(ctx context.Context, use ops.ToolUse, live func(string)) (ops.ToolResult, error) {
	began := time.Now()
	res := ops.ToolResult{ID: use.ID, State: ops.CallDenied}
	text, timeout, err := shellArguments(use.Arguments)
	if err != nil {
		res.Text = "The call was refused: " + err.Error() + "."
		return res, nil //nolint:nilerr // what is wrong with a call is its result
	}
	d := s.rules.Decide(policy.Call{Tool: bash, Command: text})
	switch d.Verdict {
	case policy.Allow:
	case policy.Deny:
		res.Text = fmt.Sprintf("The call was denied by the rules of this agent: %s.", strings.Join(d.Reasons, "; "))
		return res, nil
	default:
		res.Text = fmt.Sprintf("The call needs a person's approval, and nobody can be asked yet: %s.", strings.Join(d.Reasons, "; "))
		return res, nil
	}
	out, err := s.folder.Run(ctx, sandbox.Command{Text: d.Canonical, Timeout: timeout, Live: live})
	if errors.Is(err, errNearEnd) {
		out.Stopped, err = errNearEnd.Error(), nil
	}
	if err != nil && ctx.Err() != nil {
		return ops.ToolResult{}, err
	}
	res.State, res.ExitCode, res.Truncated, res.Duration = ops.CallDone, out.ExitCode, out.Truncated, time.Since(began)
	res.Text = storable(out.Text)
	switch {
	case err != nil:
		s.log.Error("the shell cannot run a command", "call", use.ID, "err", err)
		res.State, res.Text = ops.CallFailed, "The shell could not run the command."
	case out.Stopped != "":
		if res.Text != "" && !strings.HasSuffix(res.Text, "\n") {
			res.Text += "\n"
		}
		res.State = ops.CallFailed
		res.Text += "[stopped: " + out.Stopped + "]\n"
	}
	return res, nil
}

// shellArguments reads canonical arguments. The error is for the model.
func shellArguments(raw json.RawMessage) (command string, timeout time.Duration, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", 0, errors.New("the arguments must be a JSON object")
	}
	seconds := shellTimeout
	for name, value := range fields { // not a struct: its field names would match in any case
		switch name {
		case "command":
			if json.Unmarshal(value, &command) != nil {
				return "", 0, errors.New("command must be a string")
			}
		case "timeout_seconds":
			if json.Unmarshal(value, &seconds) != nil || seconds < 1 || seconds > maxShellTimeout {
				return "", 0, fmt.Errorf("timeout_seconds must be a whole number from 1 to %d", maxShellTimeout)
			}
		default:
			return "", 0, fmt.Errorf("there is no argument %q", short(name))
		}
	}
	if strings.TrimSpace(command) == "" {
		return "", 0, errors.New("command is missing")
	}
	return command, time.Duration(seconds) * time.Second, nil
}
