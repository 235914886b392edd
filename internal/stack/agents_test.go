package stack_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/stack"
)

// What is wrong in a configuration file is named, and nothing of it is a rule.
func TestThreatsAgentsInAFile(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pg.API, App: "test"})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	load := func(t *testing.T, text string) error {
		t.Helper()
		name := filepath.Join(t.TempDir(), "akmatori.yaml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		f, err := stack.ReadFile(name)
		if err != nil {
			return err
		}
		return f.Apply(t.Context(), db, &stack.State{})
	}
	for _, c := range []struct{ id, text, says string }{
		{"A1", "agents:\n- id: a1\n  permision: []\n", "permision"},
		{"A1 at the top", "agnets: []\n", "agnets"},
		{"A2 a blank", "agents:\n- id: a2\n  rules: ['allow:ssh_hosts', 'deny: Write']\n", `rule 2, "deny: Write"`},
		{"A2 a case", "agents:\n- id: a2\n  rules: ['deny:write']\n", `rule 1, "deny:write"`},
		{"A3", "agents:\n- id: a3\n  rules: ['deny:ssh_hosts(domain:evil.com)']\n", "ssh_hosts"},
		{"A5 a tool", "agents:\n- id: a5\n  rules: ['allow:WebFetsh']\n", "WebFetsh"},
		{"A5 a tool of an agent", "agents:\n- id: a5\n  tools: [ssh_hosts, nope]\n", "nope"},
		{"A5 a provider", "agents:\n- id: a5\n  provider: nobody\n", "nobody"},
		{"C14 an id", "agents:\n- id: ../a\n", "../a"},
	} {
		t.Run(c.id, func(t *testing.T) {
			require.ErrorContains(t, load(t, c.text), c.says)
		})
	}
	agents, err := db.Agents(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, 1, "nothing was stored")
	t.Run("A8", func(t *testing.T) {
		require.NoError(t, load(t, "agents:\n- id: none\n- id: empty\n  rules: []\n- id: nothing\n  rules: null\n- id: whole\n  description: x\n  rules: ['allow:ssh_hosts']\n  tools: [ssh_*]\n"))
		for _, id := range []string{"none", "empty", "nothing"} {
			a, err := db.Agent(t.Context(), id)
			require.NoError(t, err)
			require.Empty(t, a.Rules, id)
		}
		a, err := db.Agent(t.Context(), "whole")
		require.NoError(t, err)
		require.Equal(t, []string{"ssh_*"}, a.Tools)
	})
}
