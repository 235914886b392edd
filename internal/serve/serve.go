// Package serve runs HTTP servers until a context ends, and gives every process
// the same operations listener: /livez, /readyz and /metrics. It sets the
// timeouts that net/http leaves open; it knows nothing of what is served.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Grace is how long requests under way may take to end after the context has.
const Grace = 10 * time.Second

// Listen opens a TCP listener on addr, as early as New so that ":0" is known
// and an occupied port is a start-up error that names what it was for. The host
// of addr may be a name of this machine, such as the alias of a container in
// one of its networks: then it listens on that network alone.
func Listen(ctx context.Context, what, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		return l, nil
	}
	advice := "it must be of the form HOST:PORT or :PORT"
	var name *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another process has that port: stop it or choose another"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine does not have that address"
	case errors.Is(err, syscall.EACCES):
		advice = "ports below 1024 are for root"
	case errors.As(err, &name):
		advice = "the name must be one of this machine's own"
	}
	return nil, fmt.Errorf("%s listener on %q: %w: %s", what, addr, err, advice)
}

// HTTP serves h on l until ctx ends, then lets requests end for [Grace] and
// closes what is left. Request contexts end with ctx, so that streams stop.
// Handlers that stream clear the write deadline themselves
// ([http.ResponseController]).
func HTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), Grace)
		defer cancel()
		err := srv.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		stopped <- err
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return <-stopped
}

// Route is something that a process has on its operations listener beside what all have.
type Route struct {
	Pattern string // as of [http.ServeMux]
	Handler http.Handler
}

// Ops is the operations handler. ready says whether the process can do its
// work now; its error is shown, so it names no secret.
func Ops(metrics prometheus.Gatherer, ready func(context.Context) error, more ...Route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range more {
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := ready(ctx); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}
