package stack_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/stretchr/testify/require"
)

// TestEachKindOfModel: one investigation with each kind of provider, and one in
// which the first provider cannot be had, all through the real processes.
func TestEachKindOfModel(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "two-calls.yaml")
	c.startAll()
	stored, err := c.db.Providers(t.Context())
	require.NoError(t, err)
	vendor := strings.TrimSuffix(stored[0].BaseURL, "/v1")
	provider := func(kind, base string) stack.FileProvider {
		return stack.FileProvider{Name: "model", Kind: kind, BaseURL: base, Model: "scripted", Credential: "model", Default: true, AllowPrivate: true,
			Effort: "medium", PriceInput: new(2.5), PriceOutput: new(10.0)}
	}
	// investigate has one incident looked into, and gives what the model said.
	investigate := func(name string) (said []ops.Message, notices string) {
		c.alert(name, "firing", time.Now().UTC().Truncate(time.Millisecond))
		var in ops.Incident
		require.Eventually(t, func() bool {
			all, err := c.db.Incidents(t.Context(), postgres.IncidentFilter{})
			require.NoError(t, err)
			in = all[0]
			return strings.Contains(in.Title, name) && in.Investigation.Final()
		}, 90*time.Second, 50*time.Millisecond, "the investigation of %s does not end", name)
		require.Equal(t, ops.RunConcluded, in.Investigation, "%s: %s", name, in.InvestigationReason)
		events, err := c.db.Events(t.Context(), in.ID, 0, 1000)
		require.NoError(t, err)
		for _, e := range events {
			switch e.Kind {
			case ops.EventMessage:
				var m ops.Message
				require.NoError(t, json.Unmarshal(e.Data, &m))
				said = append(said, m)
			case ops.EventNotice:
				notices += string(e.Data) + "\n"
			}
		}
		require.Len(t, said, 3)
		return said, notices
	}
	for kind, path := range map[string]string{"openai": "/v1", "openai-compatible": "/v1", "openrouter": "/api/v1", "anthropic": "", "google": ""} {
		c.configure(stack.File{Providers: []stack.FileProvider{provider(kind, vendor+path)}})
		said, _ := investigate("Disk-" + kind)
		for _, m := range said {
			require.Equal(t, "model", m.Usage.Provider)
			require.NotNil(t, m.Usage.CostUSD)
			require.Positive(t, *m.Usage.CostUSD)
		}
		require.Positive(t, said[2].Usage.CachedTokens, kind)
	}

	away := provider("openai", "http://"+freePort(t)+"/v1")
	away.Fallback, away.Patience = "spare", 1
	spare := provider("anthropic", vendor)
	spare.Name, spare.Default = "spare", false
	spare.Credential = "spare"
	c.configure(stack.File{Credentials: []stack.FileCredential{{Name: "spare", Kind: "llm_key", Secret: c.modelKey, Targets: []string{"spare"}}},
		Providers: []stack.FileProvider{away, spare}})
	said, notices := investigate("Disk-fallback")
	require.Contains(t, notices, "The run goes on with provider spare (scripted).")
	for _, m := range said {
		require.Equal(t, "spare", m.Usage.Provider)
	}
}
