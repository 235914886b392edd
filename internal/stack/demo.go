package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/serve"
)

// DemoTarget is the name of the demo's managed host.
const DemoTarget = "demo-host"

// Script is a scripted model behind the protocol of a vendor: a real HTTP server
// that replays a scenario. It exists only where somebody asked for it.
type Script struct {
	handler  http.Handler
	kind     string // of provider
	listener net.Listener
	key      ops.Secret
	log      *slog.Logger
}

// NewScript binds a scripted model on loopback. Its key is kept in the state.
func NewScript(ctx context.Context, scenario fake.Scenario, state *State, log *slog.Logger) (*Script, error) {
	key, err := state.Keep("script.key", token("sk-script-"))
	if err != nil {
		return nil, err
	}
	l, err := serve.Listen(ctx, "scripted model", loopback)
	if err != nil {
		return nil, err
	}
	return &Script{handler: fake.NewVendor(scenario, fake.Config{Key: key}), kind: scenario.Kind, listener: l, key: key, log: log}, nil
}

// scriptPaths are where the script's server speaks as each kind of provider.
var scriptPaths = map[string]string{"openai": "/v1", "openai-compatible": "/v1", "openrouter": "/api/v1", "anthropic": "", "google": ""}

// Config makes the scripted model the default provider.
func (s *Script) Config() *config.File {
	return &config.File{
		Credentials: []config.Credential{{Name: "scripted-model", Kind: "llm_key", Secret: s.key, Targets: []string{"scripted"}}},
		Providers: []config.Provider{{Name: "scripted", Kind: s.kind, BaseURL: "http://" + s.listener.Addr().String() + scriptPaths[s.kind],
			Model: "scripted", Credential: "scripted-model", Default: true, AllowPrivate: true}},
	}
}

// Run serves until ctx ends.
func (s *Script) Run(ctx context.Context) error { return serve.HTTP(ctx, s.listener, s.handler, s.log) }

// Demo is a managed host that really runs a few read-only diagnostics of this
// machine, and an Alertmanager source whose alert gets it investigated.
type Demo struct {
	host    *fake.SSHHost
	hostKey string     // public
	login   ops.Secret // private
	secret  ops.Secret // of the source
	source  string     // its id
	log     *slog.Logger
}

// NewDemo binds the demo host on loopback. Keys and ids are kept in the state,
// so that a second start goes on with the same data.
func NewDemo(ctx context.Context, state *State, log *slog.Logger) (*Demo, error) {
	host, err := keyPair(state, "demo-host.key")
	if err != nil {
		return nil, err
	}
	login, err := keyPair(state, "demo-login.key")
	if err != nil {
		return nil, err
	}
	d := &Demo{hostKey: host.public, login: login.private, log: log}
	if d.secret, err = state.Keep("demo-source.secret", token(ops.WebhookTokenPrefix)); err != nil {
		return nil, err
	}
	id, err := state.Keep("demo-source.id", func() (ops.Secret, error) { return ops.NewSecret(ops.NewID()), nil })
	if err != nil {
		return nil, err
	}
	d.source = id.Reveal()
	if d.host, err = fake.NewSSHHost(ctx, fake.SSHHostConfig{Listen: loopback, HostKey: host.private, AuthorizedKey: login.public, Log: log}); err != nil {
		return nil, err
	}
	return d, nil
}

type pair struct {
	private ops.Secret
	public  string
}

// keyPair keeps an SSH key in one file: the public key's line, then the PEM.
func keyPair(state *State, name string) (pair, error) {
	both, err := state.Keep(name, func() (ops.Secret, error) {
		private, public, err := fake.NewSSHKey()
		return ops.NewSecret(public + "\n" + private.Reveal()), err
	})
	if err != nil {
		return pair{}, err
	}
	public, private, _ := strings.Cut(both.Reveal(), "\n")
	return pair{ops.NewSecret(private), public}, nil
}

// Config is the demo's source, credential and target.
func (d *Demo) Config() *config.File {
	addr := d.host.Addr()
	return &config.File{
		Sources:     []config.Source{{ID: d.source, Name: "demo-alertmanager", Kind: "alertmanager", Secret: d.secret}},
		Credentials: []config.Credential{{Name: "demo-login", Kind: "ssh_key", Secret: d.login, Targets: []string{DemoTarget}}},
		Targets: []config.Target{{Name: DemoTarget, Kind: "ssh", Address: addr.IP.String(), Port: addr.Port, User: "akmatori",
			HostKey: d.hostKey, Credential: "demo-login", Labels: map[string]string{"env": "demo"}}},
	}
}

// Run serves the host until ctx ends.
func (d *Demo) Run(ctx context.Context) error { return d.host.Run(ctx) }

// Alert posts what an Alertmanager would send for a disk that fills up on the
// demo host. Each call is an occurrence and a group of its own.
func (d *Demo) Alert(ctx context.Context, apiURL string) error {
	now := time.Now().UTC()
	labels := map[string]string{"alertname": "DiskAlmostFull", "instance": DemoTarget, "service": "checkout", "severity": "warning",
		"demo": now.Format("15:04:05")}
	body, err := json.Marshal(map[string]any{
		"version": "4", "status": "firing", "receiver": "akmatori", "externalURL": "http://127.0.0.1:9093", "truncatedAlerts": 0,
		"groupKey":    fmt.Sprintf(`{}:{alertname="DiskAlmostFull", demo="%s"}`, now.Format(time.RFC3339Nano)),
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": map[string]string{},
		"alerts": []any{map[string]any{
			"status": "firing", "labels": labels, "startsAt": now.Format(time.RFC3339Nano), "endsAt": "0001-01-01T00:00:00Z",
			"generatorURL": "http://127.0.0.1:9090/graph", "fingerprint": fmt.Sprintf("%016x", now.UnixNano()),
			"annotations": map[string]string{
				"summary":     "A disk of " + DemoTarget + " is filling up",
				"description": "The root file system of " + DemoTarget + " has grown for an hour. Requests of checkout get slower.",
			},
		}},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, apiURL+"/webhook/alert/"+d.source, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+d.secret.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("demo alert: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("demo alert: the webhook answered %s", resp.Status)
	}
	return nil
}
