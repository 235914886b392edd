package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
)

type policyCmd struct {
	Explain policyExplainCmd `cmd:"" help:"Say what would be decided about a call, and why."`
	DryRun  policyDryRunCmd  `cmd:"" help:"Say what other rules would have changed about past calls."`
}

type policyExplainCmd struct {
	Agent string   `arg:"" help:"The agent that would make the call."`
	Tool  string   `arg:"" help:"The tool, as ssh_execute."`
	Args  []string `arg:"" optional:"" name:"arguments" help:"Arguments as NAME=TEXT or, for other types, NAME:=JSON; a TEXT alone is the command."`
	Rules string   `help:"Judge by the rules in this file, one a line, instead of the agent's own." type:"existingfile"`
	Actor string   `help:"Also by the roles of who starts the run: user:NAME, alert:SOURCE or service:NAME."`
}

// Run explains one call.
func (a *policyExplainCmd) Run(ctx context.Context, w *world) error {
	arguments, err := callArguments(a.Args)
	if err != nil {
		return err
	}
	in := map[string]any{"agent": a.Agent, "tool": a.Tool, "arguments": arguments, "actor": a.Actor}
	if a.Rules != "" {
		if in["rules"], err = ruleFile(a.Rules); err != nil {
			return err
		}
	}
	c, err := w.client()
	if err != nil {
		return err
	}
	var raw rawJSON
	if err := c.call(ctx, http.MethodPost, "policy/explain", nil, in, &raw); err != nil {
		return err
	}
	if w.json {
		return w.printJSON(raw)
	}
	var e struct {
		Verdict, Rule, Layer, Canonical string
		Effect, Risk                    string
		Reasons                         []string
		WouldAllow                      []string `json:"would_allow"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("this is not the Akmatori API: its answer is not understood")
	}
	_, _ = fmt.Fprintln(w.stdout, inertLine(e.Verdict))
	if e.Rule != "" {
		_, _ = fmt.Fprintf(w.stdout, "rule       %s (%s)\n", inertLine(e.Rule), inertLine(e.Layer))
	}
	if e.Canonical != "" {
		_, _ = fmt.Fprintf(w.stdout, "command    %s\n", inertLine(e.Canonical))
	}
	_, _ = fmt.Fprintf(w.stdout, "effect     %s, %s risk\n", inertLine(e.Effect), inertLine(e.Risk))
	for _, r := range e.Reasons {
		_, _ = fmt.Fprintf(w.stdout, "because    %s\n", inertLine(r))
	}
	for _, r := range e.WouldAllow {
		_, _ = fmt.Fprintf(w.stdout, "would do   %s\n", inertLine(r))
	}
	return nil
}

// callArguments reads NAME=TEXT and NAME:=JSON. A text with a blank or nothing of
// that in it, the only one, is the command.
func callArguments(args []string) (map[string]any, error) {
	out := map[string]any{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || strings.ContainsAny(name, " \t'\"/|;&") {
			if len(args) > 1 {
				return nil, usage("%q is not of the form NAME=TEXT", arg)
			}
			out["command"] = arg
			continue
		}
		if typed, isJSON := strings.CutSuffix(name, ":"); isJSON {
			if !json.Valid([]byte(value)) {
				return nil, usage("the value of %s is not JSON", typed)
			}
			out[typed] = rawJSON(value)
			continue
		}
		out[name] = value
	}
	return out, nil
}

// ruleFile reads rules, one a line; blank lines and those that begin with # are
// left out.
func ruleFile(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	rules := []string{}
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			return rules, s.Err()
		}
		if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
}

type policyDryRunCmd struct {
	Agent string `arg:""`
	Rules string `arg:"" help:"File with the rules that would replace the agent's own, one a line." type:"existingfile"`
	Actor string `help:"Also by the roles of who starts the run: user:NAME, alert:SOURCE or service:NAME."`
	Days  int    `default:"7" help:"How far to look back, at most 30 days."`
}

// Run prints what would change.
func (a *policyDryRunCmd) Run(ctx context.Context, w *world) error {
	rules, err := ruleFile(a.Rules)
	if err != nil {
		return err
	}
	c, err := w.client()
	if err != nil {
		return err
	}
	var raw rawJSON
	if err := c.call(ctx, http.MethodPost, "policy/dry-run", nil, map[string]any{"agent": a.Agent, "rules": rules, "days": a.Days, "actor": a.Actor}, &raw); err != nil {
		return err
	}
	if w.json {
		return w.printJSON(raw)
	}
	var d struct {
		Calls       int
		Partial     bool
		Unreachable []string
		Examples    []struct {
			Tool, Before, After, Rule string
			Arguments                 json.RawMessage
			Calls                     int
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("this is not the Akmatori API: its answer is not understood")
	}
	for _, u := range d.Unreachable {
		_, _ = fmt.Fprintln(w.stderr, "note:", inertLine(u))
	}
	rows := make([][]string, len(d.Examples))
	for i, e := range d.Examples {
		rows[i] = []string{e.Before, e.After, fmt.Sprint(e.Calls), e.Tool, inertLine(arguments(e.Arguments)), e.Rule}
	}
	if err := w.table([]string{"BEFORE", "AFTER", "CALLS", "TOOL", "ARGUMENTS", "RULE"}, rows); err != nil {
		return err
	}
	more := ""
	if d.Partial {
		more = "; older ones were not looked at"
	}
	_, _ = fmt.Fprintf(w.stderr, "%d calls were looked at%s.\n", d.Calls, more)
	return nil
}
