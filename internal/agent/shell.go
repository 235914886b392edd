package agent

import (
	"cmp"
	"context"
	_ "embed" // the guide to the folder
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/sandbox"
	"github.com/akmatori/akmatori/internal/wire"
)

// Timeouts of a command in seconds, as for commands at the gateway.
const (
	shellTimeout    = 60
	maxShellTimeout = 600
)

// unsure is what is known of a call of a worker that is gone.
const unsure = "The worker ended before this call had a result. Whether it was made, and what it gave, is not known. " +
	"It will not be made again under this id. The files of earlier calls are gone.\n"

// moved is told with the first call behind files that are gone.
const moved = "[Another worker goes on with this investigation: what was in work/ is gone.]\n"

// What is beside work/ in the folder of a run.
const (
	incidentFile = "incident.json" // what the api says about the incident: the model's first message has the first alerts alone
	guideFile    = "AGENTS.md"
	evidenceDir  = "evidence"
)

// maxKept bounds the evidence in a folder.
const maxKept = 64 << 20

//go:embed folder.md
var guide string

// shell is the run's folder and the rules for what is done in it.
type shell struct {
	folder  *sandbox.Folder
	rules   policy.Policy
	place   *policy.Place
	ask     func(ctx context.Context, use ops.ToolUse, arguments json.RawMessage, reasons []string) (asked, error)
	waited  []string // calls that people were asked about before
	log     *slog.Logger
	writing sync.Mutex
	moved   atomic.Bool // the model is to be told that files are gone
	kept    int         // bytes of evidence
}

// openShell gives nil if the run has no folder: there is no workspace on this
// worker, or nothing in it would be allowed.
func (r *run) openShell() *shell {
	if r.sandbox == nil {
		return nil
	}
	rules, err := rulesOf(r.task)
	if err != nil {
		r.log.Error("the rules of an agent, or of who has started its run, cannot be read: the run has no workspace", "agent", r.task.Agent.ID, "actor", r.task.Actor, "err", err)
		return nil
	}
	s := &shell{rules: rules, log: r.log, ask: r.askPeople, waited: r.task.Waiting}
	if !slices.ContainsFunc(ownTools(), func(t ownTool) bool { return s.has(t.name) }) {
		return nil
	}
	// The folder is of this claim: the one before may still be clearing up.
	if s.folder, err = r.sandbox.Folder(fmt.Sprintf("%s-%d", r.ref.Run, r.ref.Epoch)); err != nil {
		r.log.Error("a run has no workspace", "err", err)
		return nil
	}
	work := filepath.Join(s.folder.Dir(), "work")
	s.place = &policy.Place{Workspace: s.folder.Dir(), Home: work, Dir: work, Bounded: true, Link: s.link}
	s.moved.Store(r.t.wrote)
	if err = s.fill(r.task, r.t.outputs); err == nil {
		err = r.guides.place(s.folder.Dir())
	}
	if err != nil {
		r.log.Error("a run has no workspace", "err", err)
		s.close()
		return nil
	}
	return s
}

// has says whether a call of the tool could be anything but denied.
func (s *shell) has(tool string) bool {
	return !s.rules.Role.Hides(tool) && !s.rules.Tools.Hides(tool) && !s.rules.Agent.Hides(tool)
}

// link says for the rules what a symbolic link holds. Those into the library are
// the worker's own, and what is behind them is a part of the workspace.
func (s *shell) link(path string) (string, error) {
	if name, err := s.inside(path); err == nil {
		if dir, _ := filepath.Split(name); dir == "skills/" || dir == "runbooks/" {
			return "", nil
		}
	}
	target, err := os.Readlink(path)
	switch {
	case err == nil:
		return target, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOTDIR):
		return "", nil
	}
	return "", errors.New("a folder on the way cannot be looked into")
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

// fill makes what is beside work/. It cannot be changed from inside.
func (s *shell) fill(t wire.Task, outputs map[string]string) error {
	text, err := json.MarshalIndent(struct {
		Incident ops.Incident `json:"incident"`
		Alerts   []ops.Alert  `json:"alerts"`
	}{t.Incident, t.Alerts}, "", " ")
	if err != nil {
		return err
	}
	if err := s.folder.Put(incidentFile, append(text, '\n')); err != nil {
		return err
	}
	if err := s.folder.Put(guideFile, []byte(guide)); err != nil {
		return err
	}
	for _, dir := range []string{evidenceDir, "skills", "runbooks"} {
		if err := s.folder.Mkdir(dir); err != nil {
			return err
		}
	}
	for id, output := range outputs {
		s.keep(id, output)
	}
	return nil
}

// keep makes a file of what a call printed that can be cited. One that cannot be
// made is missed by nobody but who looks for it here.
func (s *shell) keep(id, output string) {
	if s.kept += len(output); s.kept > maxKept {
		s.log.Warn("there is too much evidence for the folder of the run", "call", id)
		return
	}
	if err := s.folder.Put(evidenceDir+"/"+id+".txt", []byte(output)); err != nil {
		s.log.Error("what a call printed is not in the folder of its run", "call", id, "err", err)
	}
}

func (s *shell) close() {
	if err := s.folder.Remove(); err != nil {
		s.log.Error("the folder of a run is left until the next start", "err", err)
	}
}

// call judges and makes one call. The error is the context's; whatever else goes
// wrong is in the result. One that waits for people for too long is waiting.
func (s *shell) call(ctx context.Context, use ops.ToolUse, live func(string)) (ops.ToolResult, error) {
	began := time.Now()
	res := ops.ToolResult{ID: use.ID, State: ops.CallDenied}
	tool := own(use.Name)
	args, err := tool.read(use.Arguments)
	if err != nil {
		res.Text = "The call was refused: " + err.Error() + "."
		return res, nil //nolint:nilerr // what is wrong with a call is its result
	}
	call, arguments := policy.Call{Tool: use.Name, Command: args.text("command"), Place: s.place}, use.Arguments
	if use.Name != toolBash {
		call.Command = s.where(args.text("path"))
		arguments = s.relative(use.Arguments, call.Command)
	}
	d := s.rules.Decide(call)
	// One that people were asked about stands or falls with that, also if the rules
	// have changed: only the api knows whether somebody has begun with it.
	if d.Verdict == policy.Allow && slices.Contains(s.waited, use.ID) {
		d.Verdict, d.Reasons = policy.Ask, []string{"people were asked about it before"}
	}
	switch d.Verdict {
	case policy.Allow:
	case policy.Deny:
		res.Text = fmt.Sprintf("The call was denied by the rules of this agent: %s.", strings.Join(d.Reasons, "; "))
		return res, nil
	default:
		answer, err := s.ask(ctx, use, arguments, d.Reasons)
		if err != nil {
			return ops.ToolResult{}, err
		}
		if answer.state != "" {
			res.State, res.Text = answer.state, answer.text
			return res, nil
		}
	}
	if use.Name == toolBash {
		res, err = s.command(ctx, use, cmp.Or(d.Canonical, call.Command), time.Duration(args.number("timeout_seconds"))*time.Second, live)
	} else {
		res, err = s.file(ctx, use, call.Command, args)
	}
	if err != nil {
		return ops.ToolResult{}, err
	}
	if s.moved.Swap(false) {
		res.Text = moved + res.Text
	}
	res.Duration = time.Since(began)
	return res, nil
}

// relative gives arguments for people, who see a path as commands would write
// it and not where this worker has the folder.
func (s *shell) relative(raw json.RawMessage, path string) json.RawMessage {
	var fields map[string]any
	name, err := s.inside(path)
	if err != nil || json.Unmarshal(raw, &fields) != nil {
		return raw
	}
	fields["path"] = shown(name)
	out, err := json.Marshal(fields)
	if err != nil {
		return raw
	}
	return out
}

// command runs one command, as it was judged.
func (s *shell) command(ctx context.Context, use ops.ToolUse, text string, timeout time.Duration, live func(string)) (ops.ToolResult, error) {
	out, err := s.folder.Run(ctx, sandbox.Command{Text: text, Timeout: timeout, Live: live})
	if errors.Is(err, errNearEnd) {
		out.Stopped, err = errNearEnd.Error(), nil
	}
	if err != nil && ctx.Err() != nil {
		return ops.ToolResult{}, err
	}
	res := ops.ToolResult{ID: use.ID, State: ops.CallDone, Text: ops.Storable(out.Text), ExitCode: out.ExitCode, Truncated: out.Truncated}
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

// file makes one call of a tool for files.
func (s *shell) file(ctx context.Context, use ops.ToolUse, path string, args given) (ops.ToolResult, error) {
	text, err := s.files(ctx, use.Name, path, args)
	if err == nil {
		return ops.ToolResult{ID: use.ID, State: ops.CallDone, Text: ops.Storable(text)}, nil
	}
	if ctx.Err() != nil {
		return ops.ToolResult{}, context.Cause(ctx)
	}
	why, known := because(err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		why = fmt.Sprintf("it took longer than %s: be more precise", filesTimeout)
	case !known:
		s.log.Error("a file of a run cannot be used", "call", use.ID, "tool", use.Name, "err", err)
		why = "the worker cannot use the file"
	}
	return ops.ToolResult{ID: use.ID, State: ops.CallFailed, Text: "The call failed: " + why + ".\n"}, nil
}
