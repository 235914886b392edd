package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// healthWithin bounds the question; /readyz itself answers within two seconds.
const healthWithin = 3 * time.Second

// opsSetting is the setting with the address of the operations listener.
const opsSetting = "OPS_LISTEN"

// Health asks the process with the same settings, on its operations listener,
// whether it is ready, and prints the answer. It gives the exit code: 0 for
// ready, 1 for not. Images without a shell have it as their health check.
func Health[Settings any](ctx context.Context, environ []string, stdout, stderr io.Writer) int {
	answer, err := askReady(ctx, opsAddress[Settings](environ))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	_, _ = fmt.Fprintln(stdout, answer)
	return 0
}

// opsAddress is where the process listens, from the environment or by default.
func opsAddress[Settings any](environ []string) string {
	if addr := env.ToMap(environ)[Prefix+opsSetting]; addr != "" { // empty is the default, as in Load
		return addr
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("env"), ","); name == opsSetting {
			return f.Tag.Get("envDefault")
		}
	}
	return ""
}

func askReady(ctx context.Context, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" || port == "0" {
		return "", fmt.Errorf("%s%s is %q, which is no address to ask at", Prefix, opsSetting, listen)
	}
	// A listener on all addresses is on this one too.
	switch ip := net.ParseIP(host); {
	case host == "":
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", http.NoBody)
	if err != nil {
		return "", fmt.Errorf("%s%s: %w", Prefix, opsSetting, err)
	}
	// No proxy, whatever the environment says: it is this very container.
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("no answer from %s within %s", req.URL.Host, healthWithin)
	}
	if err != nil {
		return "", fmt.Errorf("not reachable: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	text := strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, text)
	}
	return text, nil
}
