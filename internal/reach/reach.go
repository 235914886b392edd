// Package reach dials services on behalf of others without becoming their way
// into places that they should not see. A [Dialer] resolves a name itself, judges
// every address that it gets, and connects to one of those and to nothing that
// is looked up later. Addresses of metadata services and link-local ones are
// refused always, private and loopback ones unless an admin has allowed them for
// the service, and so are all others of a special kind (multicast, NAT64,
// 6to4, documentation, …). What the socket really connects to is judged once more.
//
// It reads no proxy from the environment and follows nothing.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrAddress means that an address is not allowed.
var ErrAddress = errors.New("the address is not allowed")

// Times of one connection.
const (
	lookup  = 10 * time.Second
	connect = 10 * time.Second
)

// never lists what no service may be: services that hand out the machine's own
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

// private lists what a service may be if an admin says so.
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

// Dialer judges addresses and dials those that passed.
type Dialer struct {
	only    string // the one host:port, if it is not empty
	never   []netip.Prefix
	special *ssrf.Guardian
	lookup  func(context.Context, string) ([]netip.Addr, error)
	dialer  net.Dialer
}

// New makes a dialer for one host and port alone.
func New(host, port string, allowPrivate bool) *Dialer {
	d := Any(allowPrivate)
	d.only = net.JoinHostPort(host, port)
	return d
}

// Any makes a dialer whose user says where to go, and is trusted to.
func Any(allowPrivate bool) *Dialer {
	options := []ssrf.Option{ssrf.WithAnyPort()}
	if allowPrivate {
		v4, v6 := private()
		options = append(options, ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	}
	resolver := &net.Resolver{PreferGo: true}
	d := &Dialer{never: never(), special: ssrf.New(options...),
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return resolver.LookupNetIP(ctx, "ip", host)
		}}
	d.dialer = net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second, Control: d.control}
	return d
}

// Judge refuses an address that the service may not have.
func (d *Dialer) Judge(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("") // ::ffff:127.0.0.1 is 127.0.0.1
	for _, p := range d.never {
		if p.Contains(ip) {
			return fmt.Errorf("%w: %s", ErrAddress, ip)
		}
	}
	if err := d.special.SafeAddr(ip); err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return nil
}

// control judges once more, on what the socket really connects to.
func (d *Dialer) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return d.Judge(ap.Addr())
}

// DialContext resolves the host itself and connects to one of the addresses it
// got, if all of them are allowed: a name with one private address is a trick
// or a mistake. A second look-up, which could answer differently, never happens.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.only != "" && !strings.EqualFold(address, d.only) {
		return nil, fmt.Errorf("%w: %s is not the service's own host and port", ErrAddress, address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if numericName(host) {
		return nil, fmt.Errorf("%w: %q is neither a name nor an address in its usual form", ErrAddress, host)
	}
	found, cancel := context.WithTimeout(ctx, lookup)
	defer cancel()
	ips, err := d.lookup(found, host)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		if err := d.Judge(ip); err != nil {
			return nil, err
		}
	}
	err = errors.New("the name has no address")
	for _, ip := range ips {
		var conn net.Conn
		if conn, err = d.dialer.DialContext(ctx, network, net.JoinHostPort(ip.Unmap().String(), port)); err == nil {
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
