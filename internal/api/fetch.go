package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

const (
	maxListing  = 32 << 20         // of one answer
	fetchWithin = 20 * time.Second // for one answer
)

// fetcher asks senders and the gateway. It follows no redirect, uses no proxy
// of the environment, reads answers up to their limit or not at all, and never
// connects to where the identity of a machine is handed out, whatever a name
// resolves to.
type fetcher struct{ client *http.Client }

func newFetcher() fetcher {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: judgeAddress}
	return fetcher{&http.Client{
		Timeout:       fetchWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10},
	}}
}

var (
	errRedirect = errors.New("it redirects, which is not followed: give the final address")
	errAddress  = errors.New("the address is not allowed")
)

// neverDialled are the services that hand out a machine's identity to whoever
// asks, and link-local addresses, which are where they live. Private addresses
// are where monitoring is, so they are allowed.
func neverDialled() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
		netip.MustParsePrefix("fd20:ce::/32"),       // Google Cloud
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	}
}

// judgeAddress sees what a socket really connects to, behind every name.
func judgeAddress(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	ip := to.Addr().Unmap().WithZone("")
	if ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("%w: %s", errAddress, ip)
	}
	for _, p := range neverDialled() {
		if p.Contains(ip) {
			return fmt.Errorf("%w: %s", errAddress, ip)
		}
	}
	return nil
}

// get reads what is at u. authorization, if there is one, is the value of that header.
func (f fetcher) get(ctx context.Context, u *url.URL, authorization ops.Secret) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u.Host, err)
	}
	if !authorization.Empty() {
		req.Header.Set("Authorization", authorization.Reveal())
	}
	return f.do(req)
}

// do gives the body of a good answer. Errors say what is wrong and where, and
// nothing of what was sent or answered.
func (f fetcher) do(req *http.Request) ([]byte, error) {
	req.Header.Set("Accept", "application/json, text/event-stream") // MCP wants both; what comes is JSON
	req.Header.Set("User-Agent", "Akmatori")
	at := req.URL.Host + req.URL.Path
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s: %s", at, reasonOf(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s answers %s", at, http.StatusText(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1))
	switch {
	case err != nil:
		return nil, ops.Errorf(ops.CodeUnavailable, "%s: the answer ended early: %s", at, reasonOf(err))
	case len(body) > maxListing:
		return nil, ops.Errorf(ops.CodeUnavailable, "%s answers with more than %d MiB: nothing of it is used", at, maxListing>>20)
	}
	return body, nil
}

// reasonOf is what kept us from an answer, without the address and its query.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "it does not answer in time"
	}
	return err.Error()
}
