package reach

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// Which addresses a service may have.
//
// threats: H11 H13
func TestJudge(t *testing.T) {
	t.Parallel()
	public, private := New("x.example", "443", false), New("x.example", "443", true)
	for address, want := range map[string]struct{ public, private bool }{
		"1.1.1.1":                {true, true},
		"2606:4700:4700::1111":   {true, true},
		"::ffff:1.1.1.1":         {true, true},
		"10.1.2.3":               {false, true},
		"172.16.0.1":             {false, true},
		"192.168.1.1":            {false, true},
		"100.64.0.1":             {false, true},
		"127.0.0.1":              {false, true},
		"::ffff:127.0.0.1":       {false, true},
		"::1":                    {false, true},
		"fc00::1":                {false, true},
		"0.0.0.0":                {false, false},
		"::":                     {false, false},
		"255.255.255.255":        {false, false},
		"224.0.0.1":              {false, false},
		"169.254.169.254":        {false, false},
		"169.254.170.2":          {false, false},
		"::ffff:169.254.169.254": {false, false},
		"64:ff9b::a9fe:a9fe":     {false, false},
		"64:ff9b::7f00:1":        {false, false},
		"2002:7f00:1::":          {false, false},
		"2001::1":                {false, false},
		"fe80::1%eth0":           {false, false},
		"fd00:ec2::254":          {false, false},
		"fd20:ce::254":           {false, false},
		"100.100.100.200":        {false, false},
		"168.63.129.16":          {false, false},
		"::127.0.0.1":            {false, false},
		"::ffff:0:127.0.0.1":     {false, false},
		"ff02::1":                {false, false},
		"192.0.0.192":            {false, false},
		"198.18.0.1":             {false, false},
		"::ffff:100.100.100.200": {false, false},
		"2001:db8::1":            {false, false},
	} {
		ip := netip.MustParseAddr(address)
		require.Equal(t, want.public, public.Judge(ip) == nil, "public: %s", address)
		require.Equal(t, want.private, private.Judge(ip) == nil, "private: %s", address)
	}
}

// What is no address in its usual form, or not the service's own, is not dialled.
//
// threats: H12 H13
func TestRefusesBeforeConnecting(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"127.0.0.1", "80"}, {"::1", "80"}, {"localhost", "80"}, {"2130706433", "80"}, {"0x7f000001", "80"}, {"0177.0.0.1", "80"},
		{"0X7F.1", "80"}, {"x.0x", "80"}, {"127.1", "80"}, {"127.1.", "80"}, {"169.254.169.254", "80"}, {"::ffff:127.0.0.1", "80"}, {"", "80"}} {
		_, err := New(c[0], c[1], false).DialContext(t.Context(), "tcp", net.JoinHostPort(c[0], c[1]))
		require.ErrorIs(t, err, ErrAddress, c[0])
	}
	d := New("x.example", "443", true)
	for _, other := range []string{"y.example:443", "x.example:80", "127.0.0.1:443", "x.example.:443"} {
		_, err := d.DialContext(t.Context(), "tcp", other)
		require.ErrorContains(t, err, "own host and port", other)
	}
	require.ErrorIs(t, New("x", "1", false).control("tcp4", "127.0.0.1:80", nil), ErrAddress)
	require.ErrorIs(t, d.control("tcp4", "nonsense", nil), ErrAddress)
	require.NoError(t, d.control("tcp4", "1.1.1.1:443", nil))
}

// A name is looked up once, and one bad address among its addresses is enough.
//
// threats: H14
func TestNames(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	for name, c := range map[string]struct {
		private bool
		answers [][]string // of one look-up after the other
		ok      bool
	}{
		"private, which is allowed":         {true, [][]string{{"127.0.0.1"}}, true},
		"private, which is not":             {false, [][]string{{"127.0.0.1"}}, false},
		"public and private":                {false, [][]string{{"1.1.1.1", "127.0.0.1"}}, false},
		"private and metadata":              {true, [][]string{{"127.0.0.1", "169.254.169.254"}}, false},
		"private, then metadata when asked": {true, [][]string{{"127.0.0.1"}, {"169.254.169.254"}}, true},
		"nothing":                           {true, [][]string{{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			d := New("x.example", port, c.private)
			d.lookup = func(_ context.Context, host string) (ips []netip.Addr, _ error) {
				require.Equal(t, "x.example", host)
				for _, a := range c.answers[min(asked, len(c.answers)-1)] {
					ips = append(ips, netip.MustParseAddr(a))
				}
				asked++
				return ips, nil
			}
			conn, err := d.DialContext(t.Context(), "tcp", "x.example:"+port)
			require.Equal(t, c.ok, err == nil, "%v", err)
			require.Equal(t, 1, asked)
			if err == nil {
				require.NoError(t, conn.Close())
			}
		})
	}
}

func TestNumericName(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"1", "1.2", "127.0.0.0x1", "0x1", "a.1.", ""} {
		require.True(t, numericName(host), host)
	}
	for _, host := range []string{"127.0.0.1", "::1", "4090-box", "a.3com", "0xbox", "localhost", "api.openai.com."} {
		require.False(t, numericName(host), host)
	}
}
