package eval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/serve"
	"github.com/akmatori/akmatori/internal/stack"
	"golang.org/x/sync/errgroup"
)

const (
	loopback = "127.0.0.1:0"
	// grace is how long beyond its limit a run may take to end, and a stack to start.
	grace = 2 * time.Minute
	poll  = 50 * time.Millisecond
)

// Limits of a run where its case says nothing.
const (
	defaultToolCalls = 40
	defaultSeconds   = 180
	defaultUSD       = 0.5
)

// world is one case with everything around it.
type world struct {
	conf Config
	of   casefile.Case
	name string
	// person decides what the agent asks for. Nobody can sign in as them.
	person postgres.User

	mu  sync.Mutex
	ran []command
}

type command struct{ host, text string }

// outcome is what became of the run, as it is stored.
type outcome struct {
	incident ops.Incident
	run      ops.Run
	events   []ops.Event
	calls    []ops.ToolCall
	finding  *ops.Finding
	ran      []command // what the hosts were really told to run
	took     time.Duration
	// stuck says why the run did not end by itself, if it did not.
	stuck string
}

// run starts the world, sends the alert and waits for the end.
func (w *world) run(ctx context.Context) (out outcome, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	base, err := w.conf.Database(ctx, w.name)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, base.Drop()) }()
	db, err := postgres.Open(ctx, postgres.Config{URL: base.API, MaxConns: 2, App: "akmatori-eval"})
	if err != nil {
		return out, err
	}
	defer db.Close()
	state, err := stack.LoadState(filepath.Join(w.conf.Dir, w.name))
	if err != nil {
		return out, err
	}
	g, ctx := errgroup.WithContext(ctx)
	source := config.Source{ID: ops.NewID(), Name: "eval", Kind: "webhook", Secret: ops.NewToken(ops.WebhookTokenPrefix)}
	if w.of.Sender != nil {
		source.Kind = w.of.Sender.Kind
	}
	if err := w.furnish(ctx, g, db, state, source); err != nil {
		return out, err
	}
	s, err := stack.New(ctx, stack.Config{API: base.API, Gateway: base.Gateway, Proxy: base.Proxy, State: state, Log: w.conf.Log.With("case", w.of.Name)})
	if err != nil {
		return out, err
	}
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error {
		defer cancel() // it was measured
		if err := w.alert(ctx, s.APIURL(), source); err != nil {
			return err
		}
		var err error
		out, err = w.wait(ctx, db)
		return err
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return out, err
	}
	if out.incident.ID == "" {
		return out, context.Canceled
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out.ran = slices.Clone(w.ran)
	return out, nil
}

// furnish starts model, hosts and Zabbix, and configures them, the source and the agent.
func (w *world) furnish(ctx context.Context, g *errgroup.Group, db *postgres.DB, state *stack.State, source config.Source) error {
	file := config.File{Sources: []config.Source{source}}
	if err := w.model(ctx, g, state, &file); err != nil {
		return err
	}
	if err := w.hosts(ctx, g, &file); err != nil {
		return err
	}
	if z := w.of.Zabbix; z != nil {
		l, err := serve.Listen(ctx, "scripted Zabbix", loopback)
		if err != nil {
			return err
		}
		token := ops.NewToken("zbx-")
		handler := fake.NewZabbix(*z, token)
		g.Go(func() error { return serve.HTTP(ctx, l, handler, w.conf.Log) })
		file.Credentials = append(file.Credentials, config.Credential{Name: "zabbix", Kind: "zabbix_token", Secret: token, Targets: []string{z.Name}})
		file.Targets = append(file.Targets, config.Target{Name: z.Name, Kind: "zabbix", URL: "http://" + l.Addr().String(), Credential: "zabbix"})
	}
	if err := file.Apply(ctx, db, state.Keys()); err != nil {
		return err
	}
	agent, err := db.Agent(ctx, postgres.DefaultAgent)
	if err != nil {
		return err
	}
	l := w.of.Limits
	agent.Limits.ToolCalls, agent.Limits.Duration, agent.Limits.USD = orInt(l.ToolCalls, defaultToolCalls), w.limit(), l.USD
	if l.USD == 0 {
		agent.Limits.USD = defaultUSD
	}
	agent.Limits.Steps, agent.Limits.Tokens = l.Steps, l.Tokens
	if err := db.PutAgent(ctx, agent); err != nil {
		return err
	}
	w.person = postgres.User{ID: ops.NewID(), Username: "evaluator", Roles: []string{"admin"}}
	return db.CreateUser(ctx, w.person)
}

func (w *world) limit() time.Duration {
	return time.Duration(orInt(w.of.Limits.Seconds, defaultSeconds)) * time.Second
}

func orInt(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func (w *world) model(ctx context.Context, g *errgroup.Group, state *stack.State, file *config.File) error {
	if m := w.conf.Model; m != nil {
		p := m.Provider
		p.Name, p.Default = "model", true
		if !m.Key.Empty() {
			p.Credential = "model"
			file.Credentials = append(file.Credentials, config.Credential{Name: "model", Kind: "llm_key", Secret: m.Key, Targets: []string{"model"}})
		}
		file.Providers = append(file.Providers, p)
		return nil
	}
	script, err := stack.NewScript(ctx, scenario(w.of), state, w.conf.Log)
	if err != nil {
		return err
	}
	g.Go(func() error { return script.Run(ctx) })
	made := script.Config()
	file.Credentials, file.Providers = append(file.Credentials, made.Credentials...), append(file.Providers, made.Providers...)
	return nil
}

// literal keeps what a transcript says from being read as a template.
func literal(s string) string { return strings.ReplaceAll(s, "{{", `{{"{{"}}`) }

// scenario makes a scripted model of a transcript.
func scenario(c casefile.Case) fake.Scenario {
	s := fake.Scenario{Name: c.Name, Kind: "openai", Chunk: 400}
	for _, t := range c.Transcript {
		turn := fake.Turn{Text: literal(t.Text)}
		for _, call := range t.Calls {
			arguments, _ := literally(call.Arguments).(map[string]any)
			turn.Calls = append(turn.Calls, fake.Call{Tool: call.Tool, Arguments: arguments, Raw: call.Raw})
		}
		s.Turns = append(s.Turns, turn)
	}
	return s
}

func literally(v any) any {
	switch v := v.(type) {
	case string:
		return literal(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = literally(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = literally(e)
		}
		return out
	}
	return v
}

// hosts starts the managed hosts, which all take one login.
func (w *world) hosts(ctx context.Context, g *errgroup.Group, file *config.File) error {
	if len(w.of.Hosts) == 0 {
		return nil
	}
	login, public, err := fake.NewSSHKey()
	if err != nil {
		return err
	}
	cred := config.Credential{Name: "login", Kind: "ssh_key", Secret: login}
	for _, h := range w.of.Hosts {
		key, hostKey, err := fake.NewSSHKey()
		if err != nil {
			return err
		}
		host, err := fake.NewSSHHost(ctx, fake.SSHHostConfig{Listen: loopback, HostKey: key, AuthorizedKey: public, Answer: fake.HostOf(h), Log: w.conf.Log,
			OnExec: func(text string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ran = append(w.ran, command{h.Name, text})
			}})
		if err != nil {
			return err
		}
		g.Go(func() error { return host.Run(ctx) })
		cred.Targets = append(cred.Targets, h.Name)
		file.Targets = append(file.Targets, config.Target{Name: h.Name, Kind: "ssh", Address: host.Addr().IP.String(), Port: host.Addr().Port, User: "ops",
			HostKey: hostKey, Credential: "login", Labels: h.Labels})
	}
	file.Credentials = append(file.Credentials, cred)
	return nil
}

// alert sends what the case's sender sends.
func (w *world) alert(ctx context.Context, url string, source config.Source) error {
	body, err := w.body()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/webhook/alert/"+source.ID, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+source.Secret.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send the alert: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("send the alert: the webhook answered %s", resp.Status)
	}
	return nil
}

func (w *world) body() ([]byte, error) {
	if w.of.Sender != nil {
		return json.Marshal(w.of.Sender.Body)
	}
	var all []map[string]any
	for i, a := range w.of.Alerts {
		all = append(all, map[string]any{"identity": fmt.Sprintf("%s-%d", w.of.Name, i+1), "group": w.of.Name, "status": "firing",
			"severity": a.Severity, "title": a.Title, "summary": a.Summary, "description": a.Description, "service": a.Service, "host": a.Host,
			"labels": a.Labels, "annotations": a.Annotations})
	}
	return json.Marshal(all)
}

// wait waits until the incident's investigation has ended, and reads all of it.
func (w *world) wait(ctx context.Context, db *postgres.DB) (outcome, error) {
	began := time.Now()
	out := outcome{}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for out.stuck == "" {
		select {
		case <-ctx.Done():
			return outcome{}, context.Cause(ctx)
		case <-tick.C:
		}
		found, err := db.Incidents(ctx, postgres.IncidentFilter{})
		if err != nil {
			return outcome{}, err
		}
		if len(found) > 0 {
			out.incident = found[0]
		}
		if err := w.decide(ctx, db); err != nil {
			return outcome{}, err
		}
		late := time.Since(began) > w.limit()+grace
		switch state := out.incident.Investigation; {
		case len(found) > 1:
			out.stuck = fmt.Sprintf("its alerts made %d incidents", len(found))
		case state.Final():
			return w.read(ctx, db, out)
		case late && out.incident.ID == "":
			return outcome{}, errors.New("its alert made no incident: is the body what such a source sends?")
		case late:
			out.stuck = "the run did not end"
		}
	}
	return w.read(ctx, db, out)
}

// decide says yes to what the case approves, and no to everything else.
func (w *world) decide(ctx context.Context, db *postgres.DB) error {
	asked, err := db.Approvals(ctx, postgres.ApprovalFilter{State: ops.ApprovalPending})
	if err != nil {
		return err
	}
	for _, a := range asked {
		d := postgres.Decide{Approval: a.ID, User: w.person, Approve: w.of.Approves(a.Tool, a.Arguments)}
		if !d.Approve {
			d.Reason = "not in this investigation"
		}
		if _, err := db.DecideApproval(ctx, d); err != nil && ops.CodeOf(err) != ops.CodeConflict {
			return fmt.Errorf("decide on %s: %w", a.CallID, err)
		}
	}
	return nil
}

func (w *world) read(ctx context.Context, db *postgres.DB, out outcome) (outcome, error) {
	id := out.incident.ID
	runs, err := db.Runs(ctx, id)
	if err != nil {
		return out, err
	}
	if len(runs) == 0 {
		return out, errors.New("its incident is not investigated: is its severity one that is?")
	}
	out.run = runs[0]
	if out.took = out.run.EndedAt.Sub(out.run.CreatedAt); out.run.EndedAt.IsZero() {
		out.took = time.Since(out.run.CreatedAt)
	}
	for after := int64(0); ; {
		page, err := db.Events(ctx, id, after, 1000)
		if err != nil {
			return out, err
		}
		for _, e := range page {
			after = e.Seq
			if e.RunID == out.run.ID {
				out.events = append(out.events, e)
			}
		}
		if len(page) < 1000 {
			break
		}
	}
	if out.calls, err = db.Calls(ctx, id); err != nil {
		return out, err
	}
	found, err := db.Findings(ctx, id)
	if len(found) > 0 {
		out.finding = &found[0].Finding
	}
	return out, err
}
