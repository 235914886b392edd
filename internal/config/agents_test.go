package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/postgres"
)

// What is wrong in a configuration file is named, and nothing of it is a rule.
func TestThreatsAgentsInAFile(t *testing.T) {
	t.Parallel()
	db := database(t)
	load := func(t *testing.T, text string) error {
		t.Helper()
		name := filepath.Join(t.TempDir(), "akmatori.yaml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		f, err := config.Read(name, nil)
		if err != nil {
			return err
		}
		return f.Apply(t.Context(), db, config.Keys{})
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
		{"A5 an agent to ask", "agents:\n- id: a5\n  sub_agents: [nobody]\n", `there is no agent "nobody"`},
		{"K3", "agents:\n- id: k1\n  sub_agents: [k2]\n- id: k2\n  sub_agents: [k3]\n- id: k3\n  sub_agents: [reviewer, k1]\n", "k1 → k2 → k3 → k1"},
		{"K3 itself", "agents:\n- id: k1\n  sub_agents: [k1]\n", "cannot ask itself"},
		{"K10 a glob", "agents:\n- id: k1\n  credentials: ['a b']\n", "no name and no glob"},
		{"A1 a limit", "agents:\n- id: a1\n  steps: -1\n", "not negative"},
		{"C14 an id", "agents:\n- id: ../a\n", "../a"},
	} {
		t.Run(c.id, func(t *testing.T) {
			require.ErrorContains(t, load(t, c.text), c.says)
		})
	}
	agents, err := db.Agents(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, len(postgres.Starters()), "nothing was stored")
	t.Run("K3 whom it may ask, in any order", func(t *testing.T) {
		require.NoError(t, load(t, "agents:\n- id: boss\n  sub_agents: [worker]\n  usd: 0.5\n  tokens: 1000\n- id: worker\n  credentials: [a, 'b-*']\n  targets: ['web-*']\n  skills: []\n"))
		require.NoError(t, load(t, "agents:\n- id: boss\n- id: worker\n"), "what is left out stays")
		a, err := db.Agent(t.Context(), "boss")
		require.NoError(t, err)
		require.Equal(t, []string{"worker"}, a.SubAgents)
		require.Equal(t, []string{"*"}, a.Skills)
		a, err = db.Agent(t.Context(), "worker")
		require.NoError(t, err)
		require.Equal(t, [][]string{{"a", "b-*"}, {"web-*"}, {}}, [][]string{a.Credentials, a.Targets, a.Skills})
		require.ErrorContains(t, load(t, "agents:\n- id: worker\n  sub_agents: [boss]\n"), "boss → worker → boss")
	})
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
