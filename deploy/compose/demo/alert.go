package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/stack"
)

const (
	apiURL  = "http://akmatori-api-public:8080"
	secrets = "/run/akmatori" // those of the api
	target  = "demo-host"
	// patience is for one investigation by a scripted model.
	patience = 3 * time.Minute
)

// alert is what an operator would do by hand: set up, sign in, have an alert
// sent, and look at what came out. The account is the one that the setup link is
// for; where somebody else has used the link, there is no demo.
func alert(ctx context.Context, log *slog.Logger) error {
	url, err := secret("database-url")
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 2, App: "akmatori-demo"})
	if err != nil {
		return err
	}
	defer db.Close()
	state, err := stack.LoadState(filepath.Join(folder, "state"))
	if err != nil {
		return err
	}
	w, err := setUp(ctx, db, state)
	if err != nil {
		return err
	}
	admin, err := stack.MakeAdmin(ctx, apiURL, db, state)
	if err != nil {
		return err
	}
	if err := w.post(ctx); err != nil {
		return err
	}
	log.Info("a sample alert was posted", "page", os.Getenv("AKMATORI_PUBLIC_URL"), "user", admin.User, "password", admin.Password.Reveal())
	return follow(ctx, admin.Token)
}

// webhook is the demo's Alertmanager.
type webhook struct {
	source string // its id
	secret ops.Secret
}

// setUp makes the source, the model, the host and what they are reached with.
func setUp(ctx context.Context, db *postgres.DB, state *stack.State) (*webhook, error) {
	k, err := loadKeys()
	if err != nil {
		return nil, err
	}
	for name, to := range map[string]*string{"tools-public-key": &state.ToolsPublic, "egress-public-key": &state.EgressPublic} {
		key, err := secret(name)
		if err != nil {
			return nil, err
		}
		*to = key.Reveal()
	}
	id, err := keep("source.id", func() (ops.Secret, error) { return ops.NewSecret(ops.NewID()), nil })
	if err != nil {
		return nil, err
	}
	w := &webhook{source: id.Reveal()}
	if w.secret, err = keep("source.secret", func() (ops.Secret, error) { return ops.NewToken(ops.WebhookTokenPrefix), nil }); err != nil {
		return nil, err
	}
	file := &config.File{
		Sources: []config.Source{{ID: w.source, Name: "demo-alertmanager", Kind: "alertmanager", Secret: w.secret}},
		Credentials: []config.Credential{
			{Name: "demo-login", Kind: "ssh_key", Secret: k.login.private, Targets: []string{target}},
			{Name: "demo-model", Kind: "llm_key", Secret: k.model, Targets: []string{"demo-model"}},
		},
		Targets: []config.Target{{Name: target, Kind: "ssh", Address: worldName, Port: hostPort, User: "akmatori",
			HostKey: k.host.public, Credential: "demo-login", Labels: map[string]string{"env": "demo"}}},
		Providers: []config.Provider{{Name: "demo-model", Kind: "openai", BaseURL: "http://" + worldName + ":" + modelPort + "/v1",
			Model: "scripted", Credential: "demo-model", Default: true, AllowPrivate: true}},
	}
	return w, file.Apply(ctx, db, state.Keys())
}

func secret(name string) (ops.Secret, error) {
	data, err := os.ReadFile(filepath.Join(secrets, name))
	return ops.NewSecret(strings.TrimSpace(string(data))), err
}

// post sends what an Alertmanager would for a disk that fills up. Each call is
// an occurrence and a group of its own.
func (w *webhook) post(ctx context.Context) error {
	now := time.Now().UTC()
	group := now.Format("15:04:05.000")
	labels := map[string]string{"alertname": "DiskAlmostFull", "instance": target, "service": "checkout", "severity": "warning", "demo": group}
	body, err := json.Marshal(map[string]any{
		"version": "4", "status": "firing", "receiver": "akmatori", "externalURL": "http://127.0.0.1:9093", "truncatedAlerts": 0,
		"groupKey":    fmt.Sprintf(`{}:{alertname="DiskAlmostFull", demo=%q}`, group),
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": map[string]string{},
		"alerts": []any{map[string]any{
			"status": "firing", "labels": labels, "startsAt": now.Format(time.RFC3339Nano), "endsAt": "0001-01-01T00:00:00Z",
			"generatorURL": "http://127.0.0.1:9090/graph", "fingerprint": fmt.Sprintf("%016x", now.UnixNano()),
			"annotations": map[string]string{"summary": "A disk of " + target + " is filling up",
				"description": "The root file system of " + target + " has grown for an hour. Requests of checkout get slower."},
		}},
	})
	if err != nil {
		return err
	}
	return call(ctx, http.MethodPost, "/webhook/alert/"+w.source, w.secret, body, nil)
}

// follow waits until the incident's investigation has ended and prints what came of it.
func follow(ctx context.Context, token ops.Secret) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the investigation takes too long: look at the page"))
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		i, err := newest(ctx, token)
		if err != nil {
			return err
		}
		if i.Investigation.Final() {
			return show(ctx, i, token)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// newest gives the newest incident: ours, since a webhook answers after its
// incident is stored.
func newest(ctx context.Context, token ops.Secret) (ops.Incident, error) {
	var list struct{ Items []ops.Incident }
	if err := call(ctx, http.MethodGet, "/api/v1/incidents?limit=1", token, nil, &list); err != nil || len(list.Items) == 0 {
		return ops.Incident{}, err
	}
	return list.Items[0], nil
}

func show(ctx context.Context, i ops.Incident, token ops.Secret) error {
	if i.Investigation != ops.RunConcluded {
		return fmt.Errorf("incident %d: the investigation is %s", i.Number, i.Investigation)
	}
	var findings struct {
		Items []struct{ Finding ops.Finding }
	}
	if err := call(ctx, http.MethodGet, "/api/v1/incidents/"+i.ID+"/findings", token, nil, &findings); err != nil {
		return err
	}
	fmt.Printf("incident %d: %s\ninvestigation: %s\n", i.Number, i.Title, i.Investigation)
	for _, f := range findings.Items {
		fmt.Printf("summary: %s\nroot cause: %s\n", f.Finding.Summary, f.Finding.RootCause)
		for _, e := range f.Finding.Evidence {
			fmt.Printf("evidence, call %s: %s\n", e.Call, e.Excerpt)
		}
	}
	return nil
}

// call sends JSON and, if out is given, reads JSON.
func call(ctx context.Context, method, path string, token ops.Secret, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, apiURL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(out)
}
