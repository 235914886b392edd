package tool

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/policy"
)

// Timeouts of ssh_execute in seconds.
const (
	defaultTimeout = 60
	maxTimeout     = 600
)

// hostField names the host that a call is about.
var hostField = Field{Name: "target", Type: String, Required: true, MaxLength: 128, Pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]*$`),
	Description: "name of the host, from ssh_hosts"}

func sshExecute(pool *Pool) Tool {
	return Tool{
		Name:        "ssh_execute",
		Description: description("ssh_execute"),
		Fields: []Field{
			{Name: "target", Type: String, MaxLength: 128, Pattern: hostField.Pattern, Description: hostField.Description},
			{Name: "hosts", Type: Strings, MaxLength: 128, MaxItems: maxHosts, Pattern: hostField.Pattern,
				Description: "names of several hosts, instead of target: the same command runs on each"},
			// The policy refuses what is too long, with a reason; this only bounds.
			{Name: "command", Type: String, Required: true, MaxLength: 2 * policy.MaxCommand,
				Description: "shell command to run"},
			{Name: "timeout_seconds", Type: Integer, Min: 1, Max: maxTimeout, Default: defaultTimeout,
				Description: "the command is killed after this time"},
		},
		Mutates: true,
		Target:  "target",
		Targets: "hosts",
		Command: "command",
		Kind:    "ssh",
		Limit: func(a Args) time.Duration {
			return time.Duration(a.Integer("timeout_seconds", defaultTimeout)) * time.Second
		},
		Ahead: pool.Ahead,
		Run: func(ctx context.Context, c Call) (Outcome, error) {
			if len(c.Ways) > 0 {
				return pool.runMany(ctx, c)
			}
			return pool.Run(ctx, c.Hops, c.Ahead, c.Command, c.Sink)
		},
	}
}

func sshHosts() Tool {
	return Tool{
		Name:        "ssh_hosts",
		Description: description("ssh_hosts"),
		Fields: []Field{
			{Name: "label", Type: String, MaxLength: 256, Pattern: regexp.MustCompile(`^[A-Za-z0-9_./-]+(=[^\x00-\x1f\x7f]*)?$`),
				Description: "key or key=value"},
		},
		Limit: func(Args) time.Duration { return 10 * time.Second },
		Run: func(_ context.Context, c Call) (Outcome, error) {
			key, value, exact := strings.Cut(c.Args.String("label"), "=")
			var b strings.Builder
			for _, t := range c.Inventory {
				if t.Kind != "ssh" {
					continue
				}
				if have, ok := t.Labels[key]; key != "" && (!ok || exact && have != value) {
					continue
				}
				b.WriteString(t.Name)
				for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
					fmt.Fprintf(&b, " %s=%s", k, t.Labels[k])
				}
				b.WriteByte('\n')
			}
			if b.Len() == 0 {
				b.WriteString("no host matches\n")
			}
			// Names and labels come from people: they are cleaned like any output.
			out := NewOutput(nil, c.Sink)
			_, _ = out.stdout().Write([]byte(b.String()))
			return out.Close(), nil
		},
	}
}
