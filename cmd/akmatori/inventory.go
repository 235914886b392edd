package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

type sourcesCmd struct {
	List sourcesListCmd `cmd:"" default:"1" help:"List them (the default)."`
	Add  sourcesAddCmd  `cmd:"" help:"Add one. Its webhook secret is printed once."`
}

// source is what the API says of one.
type source struct {
	ops.Source
	WebhookURL string `json:"webhook_url"`
	Secret     string `json:"secret"`
}

type sourcesListCmd struct{}

// Run lists the sources.
func (*sourcesListCmd) Run(ctx context.Context, w *world) error {
	return listed(ctx, w, "sources", []string{"NAME", "KIND", "ENABLED", "DELIVERIES", "UNPARSABLE", "REJECTED", "LAST", "WEBHOOK"}, func(s source) []string {
		enabled := "no"
		if s.Enabled {
			enabled = "yes"
		}
		return []string{s.Name, s.Kind, enabled, fmt.Sprint(s.Health.Deliveries), fmt.Sprint(s.Health.Unparsable), fmt.Sprint(s.Health.Rejected),
			moment(s.Health.LastDeliveryAt), s.WebhookURL}
	})
}

type sourcesAddCmd struct {
	Name string `arg:""`
	Kind string `arg:"" help:"alertmanager, zabbix, pagerduty, grafana, datadog or webhook."`
}

// Run adds a source.
func (a *sourcesAddCmd) Run(ctx context.Context, w *world) error {
	return added(ctx, w, "sources", map[string]any{"name": a.Name, "kind": a.Kind, "enabled": true}, func(s source) {
		_, _ = fmt.Fprintf(w.stdout, "webhook  %s\n", inertLine(s.WebhookURL))
		if s.Secret != "" {
			_, _ = fmt.Fprintf(w.stdout, "secret   %s\n", inertLine(s.Secret))
			_, _ = fmt.Fprintln(w.stderr, "Configure the sender with it now: it is not shown again.")
		}
	})
}

type credsCmd struct {
	List credsListCmd `cmd:"" default:"1" help:"List them (the default), without their secrets."`
	Add  credsAddCmd  `cmd:"" help:"Add one. The secret is read from standard input or a file, never from the command line."`
}

type credsListCmd struct{}

// Run lists the credentials.
func (*credsListCmd) Run(ctx context.Context, w *world) error {
	return listed(ctx, w, "credentials", []string{"NAME", "KIND", "TARGETS", "VERSION", "CREATED"}, func(c ops.Credential) []string {
		return []string{c.Name, c.Kind, strings.Join(c.Targets, ","), fmt.Sprint(c.Version), moment(c.CreatedAt)}
	})
}

type credsAddCmd struct {
	Name   string   `arg:""`
	Kind   string   `required:"" help:"ssh_key, ssh_password, zabbix_token, zabbix_password or llm_key."`
	Target []string `required:"" help:"What it may be used for: a target's name or a glob; for an llm_key an LLM provider's. Repeatable." sep:"none"`
	File   string   `help:"File with the secret, instead of standard input." type:"existingfile"`
}

// Run adds a credential.
func (a *credsAddCmd) Run(ctx context.Context, w *world) error {
	from := w.stdin
	if a.File != "" {
		f, err := os.Open(a.File)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	// A key file ends in a line break that belongs to it; a password does not.
	secret, err := readSecret(from, a.Kind != "ssh_key")
	if err != nil {
		return err
	}
	return added(ctx, w, "credentials", map[string]any{"name": a.Name, "kind": a.Kind, "targets": a.Target, "secret": secret.Reveal()},
		func(c ops.Credential) {
			_, _ = fmt.Fprintf(w.stdout, "added %s for %s\n", inertLine(c.Name), inertLine(strings.Join(c.Targets, ", ")))
		})
}

type targetsCmd struct {
	List targetsListCmd `cmd:"" default:"1" help:"List them (the default)."`
	Add  targetsAddCmd  `cmd:"" help:"Add one."`
}

type targetsListCmd struct{}

// Run lists the targets.
func (*targetsListCmd) Run(ctx context.Context, w *world) error {
	return listed(ctx, w, "targets", []string{"NAME", "KIND", "ADDRESS", "USER", "CREDENTIAL", "JUMP", "HOST KEYS"}, func(t ops.Target) []string {
		keys := 0
		if t.HostKey != "" {
			keys = len(strings.Split(strings.TrimSpace(t.HostKey), "\n"))
		}
		return []string{t.Name, t.Kind, fmt.Sprintf("%s:%d", t.Address, t.Port), t.User, t.Credential, t.Jump, fmt.Sprint(keys)}
	})
}

type targetsAddCmd struct {
	Name       string            `arg:""`
	Kind       string            `default:"ssh" enum:"ssh,zabbix" help:"ssh (needs address, user and host key) or zabbix (needs url)."`
	Address    string            `help:"Host name or IP address."`
	Port       int               `help:"22 if left out."`
	User       string            `help:"Who to log in as."`
	Credential string            `help:"Name of the credential."`
	HostKey    string            `help:"The pinned host key, 'ssh-ed25519 AAAA…', or a file with keys as of ssh-keyscan or *.pub."`
	Jump       string            `help:"Name of the target to go through."`
	URL        string            `help:"Where the Zabbix frontend is."`
	Label      map[string]string `help:"Label as KEY=VALUE. Repeatable."`
}

// Run adds a target.
func (a *targetsAddCmd) Run(ctx context.Context, w *world) error {
	keys := ""
	if a.HostKey != "" {
		var err error
		if keys, err = hostKeys(a.HostKey); err != nil {
			return err
		}
	}
	// What is missing for the kind, the server says.
	in := map[string]any{"name": a.Name, "kind": a.Kind}
	for name, value := range map[string]string{"address": a.Address, "user": a.User, "host_key": keys, "credential": a.Credential, "jump": a.Jump, "url": a.URL} {
		if value != "" {
			in[name] = value
		}
	}
	if a.Port != 0 {
		in["port"] = a.Port
	}
	if len(a.Label) > 0 {
		in["labels"] = a.Label
	}
	return added(ctx, w, "targets", in, func(t ops.Target) {
		_, _ = fmt.Fprintf(w.stdout, "added %s at %s:%d\n", inertLine(t.Name), inertLine(t.Address), t.Port)
	})
}

// hostKeys reads keys from the command line or, if that is no key, from a file,
// and gives "type base64" lines. Host columns and comments are dropped.
func hostKeys(arg string) (string, error) {
	text := arg
	if fields := strings.Fields(arg); len(fields) < 2 || !keyType(fields[0]) {
		f, err := os.Open(arg)
		if err != nil {
			return "", usage("--host-key is neither a key nor a readable file")
		}
		defer func() { _ = f.Close() }()
		data, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if err != nil {
			return "", err
		}
		text = string(data)
	}
	var keys []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if !keyType(fields[0]) { // known_hosts: the host comes first
			fields = fields[1:]
		}
		if len(fields) < 2 || !keyType(fields[0]) {
			return "", usage("--host-key: a line is no key of the form 'ssh-ed25519 AAAA…'")
		}
		if _, err := base64.StdEncoding.DecodeString(fields[1]); err != nil {
			return "", usage("--host-key: a key is not base64")
		}
		keys = append(keys, fields[0]+" "+fields[1])
	}
	if len(keys) == 0 {
		return "", usage("--host-key: there is no key in the file")
	}
	return strings.Join(keys, "\n"), nil
}

func keyType(s string) bool {
	return strings.HasPrefix(s, "ssh-") || strings.HasPrefix(s, "ecdsa-sha2-") || strings.HasPrefix(s, "sk-")
}

// listed prints a whole list, as a table or as JSON.
func listed[T any](ctx context.Context, w *world, path string, header []string, row func(T) []string) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	raw, err := c.list(ctx, path, nil, "cursor", 0)
	if err != nil {
		return err
	}
	if w.json {
		return w.printJSON(raw)
	}
	items, err := as[T](raw)
	if err != nil {
		return err
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = row(item)
	}
	return w.table(header, rows)
}

// added posts a new thing and prints what came back, by show or as JSON.
func added[T any](ctx context.Context, w *world, path string, in any, show func(T)) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	var raw rawJSON
	if err := c.call(ctx, http.MethodPost, path, nil, in, &raw); err != nil {
		return err
	}
	if w.json {
		return w.printJSON(raw)
	}
	items, err := as[T]([]rawJSON{raw})
	if err != nil {
		return err
	}
	show(items[0])
	return nil
}
