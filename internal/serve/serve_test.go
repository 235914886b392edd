package serve

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListen(t *testing.T) {
	t.Parallel()
	taken, err := Listen(t.Context(), "first", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	named, err := Listen(t.Context(), "named", "localhost:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = named.Close() })
	require.True(t, named.Addr().(*net.TCPAddr).IP.IsLoopback(), "a name means its own address alone")

	for name, tt := range map[string]struct{ addr, want string }{
		"an occupied port":     {taken.Addr().String(), "another process has that port"},
		"a name of nobody":     {"no-such-name.invalid:8081", "the name must be one of this machine's own"},
		"somebody's address":   {"192.0.2.1:8081", "this machine does not have that address"},
		"no port":              {"127.0.0.1", "HOST:PORT"},
		"a port out of bounds": {":70000", "HOST:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Listen(t.Context(), "agents", tt.addr)
			require.ErrorContains(t, err, `agents listener on "`+tt.addr+`": `)
			require.ErrorContains(t, err, tt.want)
			require.Zero(t, strings.Count(err.Error(), "\n"), "one line")
		})
	}
}
