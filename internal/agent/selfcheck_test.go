package agent

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/testlog"
	"github.com/stretchr/testify/require"
)

// listener gives the address of one that is open until the test ends.
func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// nameServer knows one name, outside.test.
func nameServer(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := buf[12:n]
			end := strings.IndexByte(string(q), 0) + 5 // name, type, class
			known := strings.HasPrefix(string(q), "\x07outside\x04test\x00\x00\x01")
			answer := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[:end]...)
			if known {
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
			} else if !strings.HasPrefix(string(q), "\x07outside\x04test\x00") {
				answer[3] |= 3 // no such name
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestIsolation(t *testing.T) {
	t.Parallel()
	resolver := nameServer(t)
	open := listener(t).Addr().String()
	_, port, err := net.SplitHostPort(open)
	require.NoError(t, err)
	gone := listener(t)
	closed := gone.Addr().String()
	require.NoError(t, gone.Close())
	for name, tt := range map[string]struct {
		list    []string
		reached []string // in the error, in order
		how     string
	}{
		"nothing to check":         {},
		"all closed":               {list: []string{closed, "dns:elsewhere.test", "elsewhere.test:443", "192.0.2.1:80", "[2001:db8::1]:443"}},
		"an open port":             {list: []string{closed, " " + open}, reached: []string{open}, how: "a TCP connection was opened to " + open},
		"a name with an open port": {list: []string{"outside.test:" + port}, reached: []string{"outside.test:" + port}, how: open},
		"a name that resolves":     {list: []string{"dns:outside.test", closed}, reached: []string{"dns:outside.test"}, how: "outside.test resolves to 127.0.0.1"},
		"two of them":              {list: []string{open, "dns:elsewhere.test", "dns:outside.test"}, reached: []string{open, "dns:outside.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logs testlog.Log
			began := time.Now()
			err := checkIsolation(t.Context(), resolver, tt.list, slog.New(slog.NewTextHandler(&logs, nil)))
			require.Less(t, time.Since(began), probeResolve+probeConnect+time.Second)
			require.Equal(t, len(tt.reached), strings.Count(logs.String(), "level=ERROR"))
			if len(tt.reached) == 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "reaches "+strings.Join(tt.reached, ", ")+", which it must not")
			require.Contains(t, logs.String(), tt.how)
			require.Contains(t, logs.String(), " do=")
		})
	}
	for _, bad := range []string{"", "host", "host:", ":1", "host:0", "host:70000", "host:http", "dns:", "dns:a:53", "dns:127.0.0.1", "dns:http://x"} {
		err := checkIsolation(t.Context(), resolver, []string{open, bad}, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, "must not reach: ", bad)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, checkIsolation(ended, resolver, []string{closed}, slog.New(slog.DiscardHandler)), context.Canceled)
}

func TestNewRefusesWithoutIsolation(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{APIURL: "ws://a/agents", WorkerToken: ops.NewSecret("x"), Log: slog.New(slog.DiscardHandler),
		MustNotReach: []string{listener(t).Addr().String()}})
	require.ErrorContains(t, err, "is not isolated and does not run")
}
