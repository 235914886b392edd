// Command demo is the profile "demo" of docker-compose.yml, in an image of its
// own that nothing else uses:
//
//	demo world    a scripted model on :8000 and a managed host on :2222
//	demo alert    sets both up in Akmatori, posts a sample alert and waits for the findings
//	demo health   asks whether the world is ready
//
// Both share the folder /demo, where keys are kept, so that every start goes on
// with the same world. The host gives what its container shows and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/serve"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

const (
	folder = "/demo"
	ready  = "127.0.0.1:9090"
	// Names and ports that the gateway and the proxy reach the world by.
	worldName = "demo-world"
	modelPort = "8000"
	hostPort  = 2222
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	commands := map[string]func(context.Context, *slog.Logger) error{"world": world, "alert": alert, "health": health}
	do := commands[strings.Join(os.Args[1:], " ")]
	if do == nil {
		_, _ = fmt.Fprintln(os.Stderr, "usage: demo world | alert | health")
		os.Exit(2)
	}
	if err := do(ctx, log); err != nil && ctx.Err() == nil {
		log.Error("the demo ends", "err", err)
		os.Exit(1)
	}
}

// world serves until ctx ends.
func world(ctx context.Context, log *slog.Logger) error {
	k, err := loadKeys()
	if err != nil {
		return err
	}
	scenario, err := fake.Embedded("disk")
	if err != nil {
		return err
	}
	model, err := serve.Listen(ctx, "scripted model", ":"+modelPort)
	if err != nil {
		return err
	}
	// The host listens on loopback only, as it must on a developer's machine;
	// here, where there is nothing to see but this container, a relay leads to it.
	host, err := fake.NewSSHHost(ctx, fake.SSHHostConfig{Listen: "127.0.0.1:2223", HostKey: k.host.private, AuthorizedKey: k.login.public,
		OnExec: func(command string) { log.Info("the host executes", "command", command) }, Log: log})
	if err != nil {
		return err
	}
	ssh, err := serve.Listen(ctx, "demo host", fmt.Sprintf(":%d", hostPort))
	if err != nil {
		return err
	}
	health, err := serve.Listen(ctx, "ops", ready)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve.HTTP(ctx, model, fake.NewVendor(scenario, fake.Config{Key: k.model}), log) })
	g.Go(func() error { return host.Run(ctx) })
	g.Go(func() error { return relay(ctx, ssh, host.Addr().String()) })
	g.Go(func() error {
		return serve.HTTP(ctx, health, serve.Ops(prometheus.NewRegistry(), func(context.Context) error { return nil }), log)
	})
	log.Info("the demo's world is there")
	return g.Wait()
}

// relay joins each connection to l with one to addr, until ctx ends.
func relay(ctx context.Context, l net.Listener, addr string) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		in, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("demo host: %w", err)
		}
		conns.Go(func() { join(ctx, in, addr) })
	}
}

func join(ctx context.Context, in net.Conn, addr string) {
	defer func() { _ = in.Close() }()
	var d net.Dialer
	out, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_ = out.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(in, out)
	_ = in.Close() // nothing more to say: the other direction ends, too
	<-done
}

func health(ctx context.Context, _ *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ready+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// keys are the secrets of the demo's world, known to it and, sealed, to Akmatori.
type keys struct {
	host, login pair
	model       ops.Secret
}

type pair struct {
	private ops.Secret
	public  string
}

// loadKeys reads the keys; those that are missing are made.
func loadKeys() (k keys, err error) {
	if k.host, err = keepPair("host.key"); err != nil {
		return k, err
	}
	if k.login, err = keepPair("login.key"); err != nil {
		return k, err
	}
	k.model, err = keep("model.key", func() (ops.Secret, error) { return ops.NewToken("sk-script-"), nil })
	return k, err
}

// keepPair keeps an SSH key in one file: the public key's line, then the PEM.
func keepPair(name string) (pair, error) {
	both, err := keep(name, func() (ops.Secret, error) {
		private, public, err := fake.NewSSHKey()
		return ops.NewSecret(public + "\n" + private.Reveal()), err
	})
	public, private, _ := strings.Cut(both.Reveal(), "\n")
	return pair{ops.NewSecret(private), public}, err
}

// keep gives the content of a file, which generate fills once.
func keep(name string, generate func() (ops.Secret, error)) (ops.Secret, error) {
	path := filepath.Join(folder, name)
	data, err := os.ReadFile(path)
	if err == nil {
		return ops.NewSecret(string(data)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return ops.Secret{}, err
	}
	secret, err := generate()
	if err != nil {
		return ops.Secret{}, err
	}
	// Written beside and renamed: a kill leaves no half of it.
	if err := os.WriteFile(path+".new", []byte(secret.Reveal()), 0o600); err != nil {
		return ops.Secret{}, err
	}
	return secret, os.Rename(path+".new", path)
}
