package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// errAddress means that policy forbids the address of an upstream.
var errAddress = errors.New("the address is not allowed")

// never lists what no provider may be: services that hand out the machine's own
// identity to whoever asks, and link-local addresses, which are where they live.
func never() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
		netip.MustParsePrefix("fd20:ce::/32"),       // Google Cloud
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure; a public range
	}
}

// private lists what a provider may be if an admin says so.
func private() (v4, v6 []netip.Prefix) {
	return []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("100.64.0.0/10"),
			netip.MustParsePrefix("127.0.0.0/8"),
			netip.MustParsePrefix("172.16.0.0/12"),
			netip.MustParsePrefix("192.168.0.0/16"),
		}, []netip.Prefix{
			netip.MustParsePrefix("::1/128"),
			netip.MustParsePrefix("fc00::/7"),
		}
}

// guard judges addresses and dials those that passed.
type guard struct {
	never    []netip.Prefix
	special  *ssrf.Guardian
	resolver *net.Resolver
	dialer   net.Dialer
}

func newGuard(allowPrivate bool) *guard {
	options := []ssrf.Option{ssrf.WithAnyPort()}
	if allowPrivate {
		v4, v6 := private()
		options = append(options, ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	}
	g := &guard{never: never(), special: ssrf.New(options...), resolver: &net.Resolver{PreferGo: true}}
	g.dialer = net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: g.control}
	return g
}

func (g *guard) judge(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("") // ::ffff:127.0.0.1 is 127.0.0.1
	for _, p := range g.never {
		if p.Contains(ip) {
			return fmt.Errorf("%w: %s", errAddress, ip)
		}
	}
	if err := g.special.SafeAddr(ip); err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	return nil
}

// control judges once more, on what the socket really connects to.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	return g.judge(ap.Addr())
}

// DialContext resolves the host itself and connects to one of the addresses it
// got, if all of them are allowed: a name with one private address is a trick
// or a mistake. A second look-up, which could answer differently, never happens.
func (g *guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if numericName(host) {
		return nil, fmt.Errorf("%w: %q is neither a name nor an address in its usual form", errAddress, host)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ips, err := g.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		if err := g.judge(ip); err != nil {
			return nil, err
		}
	}
	err = errors.New("the name has no address")
	for _, ip := range ips {
		var conn net.Conn
		if conn, err = g.dialer.DialContext(ctx, network, net.JoinHostPort(ip.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// numericName finds 2130706433, 0x7f000001 and 127.1, which some resolvers take
// for addresses: no real name ends in a label that is a number.
func numericName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// newTransport makes a pool of connections. It follows nothing, unpacks nothing
// and reads no proxy from the environment.
func newTransport(g *guard, roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            g.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64, // the default of 2 would open one connection after the other
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  10 * time.Minute, // of a model that thinks before it streams
		MaxResponseHeaderBytes: 64 << 10,
	}
}
