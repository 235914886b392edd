package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// How long a worker tries to reach what it must not. A name server that
// forwards takes longer than a connection.
const (
	probeConnect = 1500 * time.Millisecond
	probeResolve = 3 * time.Second
)

// maxProbes at a time.
const maxProbes = 32

// checkIsolation tries to reach everything in list, each host:port or dns:NAME,
// and fails if anything answers; each is logged as a line of its own. What cannot
// be resolved is out of reach, and so is a port that refuses: hosts of the
// allowed networks have closed ports, too.
func checkIsolation(ctx context.Context, resolver *net.Resolver, list []string, log *slog.Logger) error {
	probes := make([]probe, len(list))
	for i, entry := range list {
		var err error
		if probes[i], err = parseProbe(entry); err != nil {
			return err
		}
	}
	found := make([]string, len(list)) // how each was reached
	g := errgroup.Group{}
	g.SetLimit(maxProbes)
	for i, p := range probes {
		g.Go(func() error {
			found[i] = p.try(ctx, resolver)
			return nil
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("agent: check of the isolation: %w", err)
	}
	var reached []string
	for i, how := range found {
		if how == "" {
			continue
		}
		reached = append(reached, probes[i].entry)
		do := "attach the agent to no network but the one it shares with the api's agent listener, the gateway and the proxy, and make that network internal, without an address of the host"
		if probes[i].port == "" {
			do = "give the agent a name server that knows no outside names: in Compose, a dead address under dns"
		}
		log.Error("this worker reaches what it must not", "what", probes[i].entry, "how", how, "do", do)
	}
	if len(reached) > 0 {
		return fmt.Errorf("agent: this worker is not isolated and does not run: it reaches %s, which it must not", strings.Join(reached, ", "))
	}
	if len(list) > 0 {
		log.Info("this worker is isolated", "checked", len(list))
	}
	return nil
}

// probe is something that must not be reachable.
type probe struct {
	entry string // as it was configured
	host  string
	port  string // empty: a name that must not resolve
}

func parseProbe(entry string) (probe, error) {
	entry = strings.TrimSpace(entry)
	if name, ok := strings.CutPrefix(entry, "dns:"); ok {
		if name == "" || strings.ContainsAny(name, ":/ ") || net.ParseIP(name) != nil {
			return probe{}, fmt.Errorf("agent: must not reach: %q names no host", entry)
		}
		return probe{entry: entry, host: name}, nil
	}
	host, port, err := net.SplitHostPort(entry)
	if err != nil || host == "" {
		return probe{}, fmt.Errorf("agent: must not reach: %q is neither host:port nor dns:NAME", entry)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return probe{}, fmt.Errorf("agent: must not reach: %q has no port from 1 to 65535", entry)
	}
	return probe{entry, host, port}, nil
}

// try says how it was reached, "" if it was not.
func (p probe) try(ctx context.Context, resolver *net.Resolver) string {
	addresses := []string{p.host}
	if net.ParseIP(p.host) == nil && !strings.Contains(p.host, "%") {
		name := p.host
		if p.port == "" && !strings.HasSuffix(name, ".") {
			name += "." // an outside name, not one of the search domains
		}
		resolving, cancel := context.WithTimeout(ctx, probeResolve)
		defer cancel()
		var err error
		if addresses, err = resolver.LookupHost(resolving, name); err != nil || len(addresses) == 0 {
			return ""
		}
		if p.port == "" {
			return p.host + " resolves to " + strings.Join(addresses, ", ")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeConnect)
	defer cancel()
	opened := make(chan string, len(addresses))
	for _, address := range addresses {
		go func() {
			at := net.JoinHostPort(address, p.port)
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
			if err != nil {
				opened <- ""
				return
			}
			_ = conn.Close()
			opened <- "a TCP connection was opened to " + at
		}()
	}
	how := ""
	for range addresses {
		if one := <-opened; one != "" {
			how = one
		}
	}
	return how
}
