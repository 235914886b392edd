package proxy

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuardJudges(t *testing.T) {
	t.Parallel()
	public, private := newGuard(false), newGuard(true)
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
		require.Equal(t, want.public, public.judge(ip) == nil, "public: %s", address)
		require.Equal(t, want.private, private.judge(ip) == nil, "private: %s", address)
	}
}

func TestGuardRefusesBeforeConnecting(t *testing.T) {
	t.Parallel()
	g := newGuard(false)
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", "localhost:80", "2130706433:80", "0x7f000001:80", "0177.0.0.1:80",
		"0X7F.1:80", "x.0x:80", "127.1:80", "127.1.:80", "169.254.169.254:80", "[::ffff:127.0.0.1]:80", ":80"} {
		_, err := g.DialContext(t.Context(), "tcp", address)
		require.ErrorIs(t, err, errAddress, address)
	}
	require.ErrorIs(t, g.control("tcp4", "127.0.0.1:80", nil), errAddress)
	require.ErrorIs(t, g.control("tcp4", "nonsense", nil), errAddress)
	require.NoError(t, g.control("tcp4", "1.1.1.1:443", nil))
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
