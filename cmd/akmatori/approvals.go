package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

type approvalsCmd struct {
	List    approvalsListCmd `cmd:"" default:"withargs" help:"List what agents ask people for."`
	Approve approveCmd       `cmd:"" help:"Let a call run, exactly as it is shown."`
	Deny    denyCmd          `cmd:"" help:"Have a call not run."`
}

type approvalsListCmd struct {
	All bool `help:"Also those that are decided or expired."`
}

// Run lists approvals, each with its whole command.
func (a *approvalsListCmd) Run(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	query, limit := url.Values{"state": {string(ops.ApprovalPending)}}, 0
	if a.All {
		query, limit = url.Values{}, 200
	}
	raw, err := c.list(ctx, "approvals", query, "cursor", limit)
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(raw)
	}
	all, err := as[ops.Approval](raw)
	if err != nil {
		return err
	}
	for _, one := range all {
		w.approval(one)
	}
	if len(all) == 0 {
		_, _ = fmt.Fprintln(w.stderr, "nothing waits for a decision")
	}
	return nil
}

// approval prints one with everything that it would do.
func (w *world) approval(a ops.Approval) {
	line := func(name, text string) {
		if text != "" {
			_, _ = fmt.Fprintf(w.stdout, "  %-10s %s\n", name, inertLine(text))
		}
	}
	_, _ = fmt.Fprintf(w.stdout, "%s  %s, %s risk\n", inertLine(a.ID), inertLine(string(a.State)), inertLine(string(a.Risk)))
	if a.Command != "" {
		_, _ = fmt.Fprint(w.stdout, indent(inert(a.Command), "  │ "), "\n")
	} else {
		line("arguments", string(a.Arguments))
	}
	line("tool", a.Tool)
	line("target", strings.TrimSpace(a.Target+" "+a.Facts["address"]))
	line("host key", a.Facts["host_key"])
	line("with", a.Facts["credential"])
	line("asked by", strings.TrimSpace(a.Agent+" for "+a.Requester))
	line("because", strings.Join(a.Reasons, "; "))
	line("digest", a.Facts["digest"])
	for _, d := range a.Decisions {
		said := map[bool]string{true: "approved", false: "denied"}[d.Approve]
		line(said, strings.TrimSpace("by "+d.Username+" "+d.Reason))
	}
}

type approveCmd struct {
	Approval string `arg:"" help:"Its id."`
	Reason   string `short:"m" help:"Why."`
	Minutes  int    `help:"Let the agent do the very same in this incident for so long, without asking."`
	Digest   string `help:"The digest of what you have read: anything else is refused. Without it, the call is shown and you are asked."`
}

// Run approves. The whole call must have been shown, now or before.
func (d *approveCmd) Run(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	if d.Digest == "" {
		var a ops.Approval
		if err := c.call(ctx, http.MethodGet, "approvals/"+url.PathEscape(d.Approval), nil, nil, &a); err != nil {
			return err
		}
		shown := *w
		if w.json { // standard output is for the answer
			shown.stdout = w.stderr
		}
		shown.approval(a)
		_, _ = fmt.Fprint(w.stderr, "Approve it? Type yes: ")
		var answer string
		if _, err := fmt.Fscanln(w.stdin, &answer); err != nil || answer != "yes" {
			return errors.New("it was not approved")
		}
		d.Digest = a.Facts["digest"]
	}
	in := map[string]any{"decision": "approve", "reason": d.Reason, "digest": d.Digest}
	if d.Minutes > 0 {
		in["minutes"] = d.Minutes
	}
	return w.decide(ctx, c, d.Approval, in)
}

type denyCmd struct {
	Approval string `arg:"" help:"Its id."`
	Reason   string `short:"m" help:"Why. The agent reads it."`
}

// Run denies.
func (d *denyCmd) Run(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	return w.decide(ctx, c, d.Approval, map[string]any{"decision": "deny", "reason": d.Reason})
}

func (w *world) decide(ctx context.Context, c *client, approval string, in map[string]any) error {
	var a ops.Approval
	path := "approvals/" + url.PathEscape(approval) + "/decision"
	err := c.call(ctx, http.MethodPost, path, nil, in, &a)
	if asked(err, "body.proof") { // what is risky needs the password or a code, and a token has neither
		_, _ = fmt.Fprint(w.stderr, "Your password, or a code of your authenticator app: ")
		var password string
		password, err = w.readPassword()
		_, _ = fmt.Fprintln(w.stderr)
		if err != nil {
			return err
		}
		in["proof"] = password
		err = c.call(ctx, http.MethodPost, path, nil, in, &a)
	}
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(a)
	}
	w.approval(a)
	return nil
}

// asked says whether err asks for something at a place of the request.
func asked(err error, location string) bool {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		return false
	}
	for _, at := range e.Errors {
		if at.Location == location {
			return true
		}
	}
	return false
}
