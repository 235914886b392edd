package gateway

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/tool"
	"github.com/stretchr/testify/require"
)

// FuzzEnvelope: a message that passes says one thing to every reader.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{`{"method":"ping"}`, `{"method":"a","Method":"b"}`, `{"params":{"name":"x","_meta":{"a":1,"a":2}}}`, `[]`, `{`, `{"a":1}{"a":2}`,
		`{"params":{"name":"a"},"PARAMS":{"name":"b"}}`, `{"\u006dethod":"a","method":"b"}`, `{"params":[1]}`, `{"methoD\u0000":1}`, `{"ſ":1,"s":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ambiguous([]byte(s)) {
			return
		}
		var exact map[string]json.RawMessage
		if json.Unmarshal([]byte(s), &exact) != nil {
			return // no object: refused as no request
		}
		// A reader that goes by the exact name and one that folds see the same.
		var folded struct{ Method, Params json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(s), &folded))
		n := 0
		for name, value := range exact {
			if strings.EqualFold(name, "method") {
				n++
				require.Equal(t, string(value), string(folded.Method))
			}
		}
		require.LessOrEqual(t, n, 1)
	})
}

// TestTargetOfAMessage: what is looked up ahead is one name, or nothing.
func TestTargetOfAMessage(t *testing.T) {
	t.Parallel()
	set := &toolSet{tools: map[string]tool.Tool{"one": {Name: "one", Target: "target"}, "none": {Name: "none"},
		"theirs": {Name: "theirs", Target: "target", Remote: &tool.Remote{}}}}
	for body, want := range map[string]string{
		`{"method":"tools/call","params":{"name":"one","arguments":{"target":"a"}}}`:        "a",
		`{"method":"tools/call","params":{"name":"one","arguments":{"Target":"a"}}}`:        "",
		`{"method":"tools/call","params":{"name":"one","arguments":{"target":["a"]}}}`:      "",
		`{"method":"tools/call","params":{"name":"one","arguments":{"target":"a\u0000b"}}}`: "",
		`{"method":"tools/call","params":{"name":"one","arguments":"target"}}`:              "",
		`{"method":"tools/call","params":{"name":"one"}}`:                                   "",
		`{"method":"tools/call","params":{"name":"none","arguments":{"target":"a"}}}`:       "",
		`{"method":"tools/call","params":{"name":"theirs","arguments":{"target":"a"}}}`:     "",
		`{"method":"tools/call","params":{"name":"nobody's","arguments":{"target":"a"}}}`:   "",
		`{"method":"ping","params":{"name":"one","arguments":{"target":"a"}}}`:              "",
	} {
		m, ok := readMessage([]byte(body))
		require.True(t, ok, body)
		require.Equal(t, want, m.target(set), body)
	}
}

// TestIdle: a ping that is answered without the library is one that needs nothing of it.
func TestIdle(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:                            true,
		`{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}`:              true,
		`{"jsonrpc":"2.0","id":-1.5,"method":"ping"}`:                         true,
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1}}}`: false,
		`{"jsonrpc":"1.0","id":1,"method":"ping"}`:                            false,
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`:                         false,
		`{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}`:                      false,
		`{"jsonrpc":"2.0","method":"ping"}`:                                   false,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                      false,
	} {
		m, ok := readMessage([]byte(body))
		require.True(t, ok, body)
		for version, speaks := range map[string]bool{"": true, "2025-06-18": true, "2026-07-28": false, "1999-01-01": false} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", nil)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Mcp-Protocol-Version", version)
			require.Equal(t, want && speaks, idle(r, m), "%s in %q", body, version)
			r.Header.Set("Content-Type", "text/plain")
			require.False(t, idle(r, m), body)
		}
	}
}

// TestRebound: a request over loopback is for this machine by name, too.
func TestRebound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		local, host string
		want        bool
	}{
		{"127.0.0.1:8081", "127.0.0.1:8081", false}, {"127.0.0.1:8081", "localhost", false}, {"[::1]:8081", "[::1]:8081", false},
		{"[::1]:8081", "[::1]", false}, {"127.0.0.1:8081", "evil.example:8081", true}, {"127.0.0.1:8081", "", true},
		{"[::ffff:127.0.0.1]:8081", "127.0.0.1.evil.example", true}, {"10.0.0.1:8081", "mcp-gateway:8081", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", nil)
		addr, err := netip.ParseAddrPort(c.local)
		require.NoError(t, err)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(net.TCPAddrFromAddrPort(addr))))
		r.Host = c.host
		require.Equal(t, c.want, rebound(r), c)
	}
}
