package process

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/serve"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

type watched struct {
	OpsListen string `env:"OPS_LISTEN" envDefault:":1"` // where nothing listens
}

func TestHealth(t *testing.T) {
	t.Parallel()
	listening := func(ready error) string {
		s := httptest.NewServer(serve.Ops(prometheus.NewRegistry(), func(context.Context) error { return ready }))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	_, port, err := net.SplitHostPort(listening(nil))
	require.NoError(t, err)

	for name, tt := range map[string]struct {
		environ []string
		code    int
		want    string
	}{
		"ready":            {[]string{"AKMATORI_OPS_LISTEN=" + listening(nil)}, 0, "ready"},
		"by a name":        {[]string{"AKMATORI_OPS_LISTEN=localhost:" + port}, 0, "ready"},
		"on all addresses": {[]string{"AKMATORI_OPS_LISTEN=:" + port}, 0, "ready"},
		"on all, spelled":  {[]string{"AKMATORI_OPS_LISTEN=0.0.0.0:" + port}, 0, "ready"},
		"not ready":        {[]string{"AKMATORI_OPS_LISTEN=" + listening(errors.New("no worker"))}, 1, "503 Service Unavailable: not ready: no worker"},
		"not ours":         {[]string{"AKMATORI_OPS_LISTEN=" + strings.TrimPrefix(other.URL, "http://")}, 1, "404 Not Found"},
		"nobody listens":   {nil, 1, "not reachable"},
		"empty: default":   {[]string{"AKMATORI_OPS_LISTEN="}, 1, "not reachable"},
		"no such name":     {[]string{"AKMATORI_OPS_LISTEN=no-such.invalid:80"}, 1, "not reachable"},
		"no address":       {[]string{"AKMATORI_OPS_LISTEN=9090"}, 1, `AKMATORI_OPS_LISTEN is "9090"`},
		"a proxy is set":   {[]string{"HTTP_PROXY=http://127.0.0.1:1", "AKMATORI_OPS_LISTEN=" + listening(nil)}, 0, "ready"},
		"no answer":        {[]string{"AKMATORI_OPS_LISTEN=" + silent.Addr().String()}, 1, "no answer from " + silent.Addr().String() + " within 3s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := Health[watched](t.Context(), tt.environ, &stdout, &stderr)
			require.Equal(t, tt.code, code)
			require.Contains(t, stdout.String()+stderr.String(), tt.want)
			require.Equal(t, 1, strings.Count(stdout.String()+stderr.String(), "\n"), "one line")
		})
	}
}
