package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/stack"
)

// TestWrongFiles: what cannot be meant is refused, and nothing of its file is stored.
func TestWrongFiles(t *testing.T) {
	t.Parallel()
	db := database(t)
	state, err := stack.LoadState(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "akmatori.yaml")
	load := func(text string) error {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		f, err := config.Read(path, nil)
		require.NoError(t, err)
		return f.Apply(t.Context(), db, state.Keys())
	}
	const host = "address: web-1.example, user: ops"
	for text, wrong := range map[string]string{
		"targets: [{name: a, kind: shh, " + host + "}]":                                                                         "there is no kind",
		"targets: [{name: a, user: ops}]":                                                                                       "needs address and user",
		"targets: [{name: a, address: web-1.example}]":                                                                          "needs address and user",
		"targets: [{name: a, " + host + ", host_key: ssh-ed25519 AAAA}]":                                                        "line 1 of host_key",
		"targets: [{name: 'a-*', " + host + "}]":                                                                                "a name is of letters",
		"targets: [{name: a, kind: zabbix}]":                                                                                    "the url is not of the form",
		"targets: [{name: a, kind: zabbix, url: 'https://zabbix.example', port: 22}]":                                           "are not of a Zabbix instance",
		"targets: [{name: a, kind: zabbix, url: 'https://zabbix.example', ca: x}]":                                              "not a certificate",
		"targets: [{name: a, kind: zabbix, url: 'http://zabbix.example', ca: x}]":                                               "needs a url with https",
		"targets: [{name: a, " + host + ", url: 'https://web-1.example'}]":                                                      "are not of a host for ssh",
		"targets: [{name: a, " + host + "}, {name: a, " + host + "}]":                                                           "target a is in the file twice",
		"credentials: [{name: c, kind: llm_key, secret: k1, targets: [p]}, {name: c, kind: llm_key, secret: k2, targets: [p]}]": "credential c is in the file twice",
		"providers: [{name: p, kind: openai, model: m, default: true}, {name: q, kind: openai, model: m, default: true}]":       "the default provider is in the file twice",
		"sources: [{name: s, kind: webhook, secret: k}, {name: s, kind: webhook, secret: l}]":                                   "source s is in the file twice",
		"agents: [{id: a, description: d, prompt: p}, {id: a, description: d, prompt: p}]":                                      "agent a is in the file twice",
		"sources: [{name: r, kind: webhook, secret: k, id: 0190A000-0000-7000-8000-000000000001},\n" +
			"          {name: s, kind: webhook, secret: k, id: 0190a000-0000-7000-8000-000000000001}]": "source with the id 0190a000-0000-7000-8000-000000000001 is in the file twice",
	} {
		require.ErrorContains(t, load(text), wrong, text)
	}
	all, err := db.Targets(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)

	require.NoError(t, load("targets: [{name: a, "+host+"}]"))
	all, err = db.Targets(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, 22, all[0].Port, "as on the page")
}
