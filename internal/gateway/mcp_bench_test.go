package gateway_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkMCP sends MCP's ping, the request that does nothing, with 16 clients:
// to the gateway, and to a bare handler of net/http that gives the same answer.
// The gateway looks the token up with all that decides about it, for a ping four
// times a second (pingAge) and for everything else in each request. They take
// turns in short rounds, so that both meet the same machine. It reports requests
// a second, the median in microseconds, and the gateway's ratio to the other.
func BenchmarkMCP(b *testing.B) {
	const clients, round = 16, 25
	w := newWorld(b)
	r := w.run("allow:ssh_execute(uptime)")
	answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	b.Cleanup(bare.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	b.Cleanup(transport.CloseIdleConnections)
	ask := func(url string) time.Duration {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)))
		if err != nil {
			b.Error(err)
			return 0
		}
		req.Header.Set("Authorization", "Bearer "+r.token.Reveal())
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		began := time.Now()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			b.Error(err)
			return 0
		}
		defer func() { _ = resp.Body.Close() }()
		got, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(bytes.TrimSpace(got), answer) {
			b.Errorf("%d %q %v", resp.StatusCode, got, err)
		}
		return time.Since(began)
	}
	type way struct {
		url    string
		took   []time.Duration
		passed time.Duration
	}
	ways := []*way{{url: w.gateway.URL() + "/mcp"}, {url: bare.URL}}
	burst := func(to *way) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		began := time.Now()
		for range clients {
			wg.Go(func() {
				took := make([]time.Duration, round)
				for n := range took {
					took[n] = ask(to.url)
				}
				mu.Lock()
				defer mu.Unlock()
				to.took = append(to.took, took...)
			})
		}
		wg.Wait()
		to.passed += time.Since(began)
	}
	for _, to := range ways {
		burst(to) // connections are made
		to.took, to.passed = nil, 0
	}
	for b.Loop() {
		for _, to := range ways {
			burst(to)
		}
	}
	rate := func(to *way) float64 { return float64(len(to.took)) / to.passed.Seconds() }
	require.NotEmpty(b, ways[0].took)
	b.ReportMetric(rate(ways[0]), "gateway/s")
	b.ReportMetric(rate(ways[1]), "net-http/s")
	ours, theirs := median(ways[0].took), median(ways[1].took)
	b.ReportMetric(ours/1e3, "gateway-p50-µs")
	b.ReportMetric(theirs/1e3, "net-http-p50-µs")
	b.ReportMetric(ours/theirs, "x-net-http")
}
