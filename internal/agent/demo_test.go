package agent

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// The demo's findings must hold on whatever machine it runs: here on this one.
func TestDemoScenarioIsTrue(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"df", "uptime", "free", "ps"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	s, err := fake.Embedded("disk")
	require.NoError(t, err)
	w := newWorld(t, "turns: [{text: unused}]")
	w.vendor = fake.NewVendor(s, fake.Config{Key: ops.NewSecret(proxyToken)})
	srv := httptest.NewServer(w.vendor)
	t.Cleanup(srv.Close)
	w.model = srv.URL
	w.gateway.exec = func(ctx context.Context, command string) (string, error) {
		if command == "" {
			return "demo-host", nil
		}
		words := strings.Fields(command)
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
		return string(out), err
	}
	began := time.Now()
	run := w.task()
	w.set(func(a *testAPI) { a.queue[0].Model.Model = "scripted" })
	w.worker()
	require.Equal(t, ops.RunChange{State: ops.RunConcluded}, w.end(run), "%s", show(w.stored(run)))
	t.Logf("the demo took %s", time.Since(began).Round(time.Millisecond))

	f := all[ops.Finding](t, w.stored(run), ops.EventFindings)[0]
	outputs := map[string]string{}
	for _, r := range all[ops.ToolResult](t, w.stored(run), ops.EventToolResult) {
		outputs[r.ID] = r.Text
	}
	checked := ops.CheckFindings(f, outputs)
	require.Empty(t, checked.Dropped)
	require.True(t, checked.Conclusive)
	require.InDelta(t, 0.8, checked.Confidence, 1e-9, "a hypothesis is confirmed")
	require.Contains(t, checked.RootCause, "%")
	require.NotContains(t, checked.RootCause, "  ")
	for _, h := range f.Hypotheses {
		for _, c := range h.Evidence {
			require.NotEmpty(t, c.Excerpt, h.Statement)
		}
	}
}
