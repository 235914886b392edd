package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/akmatori/akmatori/internal/testlog"
)

// A configuration is taken whole or not at all, with the variables that it names;
// one that is wrong leaves what was loaded before, and everybody can see it.
func TestThreatsConfiguration(t *testing.T) {
	t.Parallel()
	db := database(t)
	state, err := stack.LoadState(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "akmatori.yaml")
	env := map[string]string{"LOGIN": "ops", "SECRET": "from-the-environment: [ #", "EMPTY": ""}
	log := &testlog.Log{}
	r := &config.Reloads{Path: path, DB: db, Keys: func() (config.Keys, error) { return state.Keys(), nil }, Log: slog.New(slog.NewJSONHandler(log, nil)),
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	const good = `
credentials:
  - {name: key, kind: ssh_password, secret: "${SECRET}", targets: [web-1]}
targets:
  - {name: web-1, address: web-1.example, port: 22, user: "${LOGIN}${EMPTY}", credential: key}
agents:
  - id: helper
    prompt: |
      Cost is in $${EUR}, $5.
      Log in as ${LOGIN}.
`
	load := func(text string) error { write(text); return r.Load(t.Context()) }
	for _, c := range []struct{ id, text, want string }{
		{"A6", strings.Replace(good, "${LOGIN}", "${UNSET_LOGIN}", 1), "line 5: what ${…} names there is no variable that is set"},
		{"A6 in a block", strings.Replace(good, "as ${LOGIN}", "as ${NOBODY}", 1), "line 10: what ${…} names there is no variable that is set"},
		{"A6 a default", strings.Replace(good, "${LOGIN}", "${LOGIN:-root}", 1), "is no variable"},
		{"A6 not closed", strings.Replace(good, "${LOGIN}", "${LOGIN", 1), "is no variable"},
		{"A6 in a secret", strings.Replace(good, "\"${SECRET}\"", "\"hunter${2 from-the-environment\"", 1), "line 3: what begins with ${ is no variable"},
		{"A6 a word of a secret", strings.Replace(good, "\"${SECRET}\"", "\"hunter${xyzzy}2\"", 1), "line 3: what ${…} names there"},
		{"A6 nothing", strings.Replace(good, "${LOGIN}", "${}", 1), "is no variable"},
		{"A1 an unknown key", good + "permision: []\n", "permision"},
	} {
		err := load(c.text)
		require.ErrorContains(t, err, c.want, c.id)
		for _, part := range []string{"from-the-environment", "hunter", "xyzzy"} {
			require.NotContains(t, err.Error(), part, c.id)
		}
	}
	all, err := db.Targets(t.Context())
	require.NoError(t, err)
	require.Empty(t, all, "nothing of a wrong file is loaded")
	require.Empty(t, r.Loaded().Version)

	// What a person has accepted is pinned on, where the file says nothing of it.
	require.NoError(t, load(good))
	all, err = db.Targets(t.Context())
	require.NoError(t, err)
	require.NoError(t, db.PinHostKey(t.Context(), all[0], "ssh-ed25519 accepted"))
	require.NoError(t, load(good))
	all, err = db.Targets(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ssh-ed25519 accepted", all[0].HostKey)

	first := r.Loaded()
	require.NotEmpty(t, first.Version)
	require.Empty(t, first.Problem)
	require.Equal(t, "ops", all[0].User)
	helper, err := db.Agent(t.Context(), "helper")
	require.NoError(t, err)
	require.Equal(t, "Cost is in ${EUR}, $5.\nLog in as ops.\n", helper.Prompt)

	// While it runs it is told to load it again.
	again := make(chan os.Signal, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, again) }()
	defer func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}()
	for n, c := range []struct{ id, text string }{
		{"A7 no YAML", "targets: [\n"},
		{"A7 an unknown key", good + "permision: []\n"},
		{"A7 wrong at its end, behind what is right", strings.Replace(good, "port: 22", "port: 2222", 1) + "  - {id: other, rules: [\"allow: *\"]}\n"},
		{"A7 a variable", strings.Replace(good, "port: 22, user: \"${LOGIN}", "port: 2222, user: \"${NOBODY}", 1)},
		{"A7 a name that is none", strings.Replace(good, "port: 22", "port: 2222", 1) + "  - {id: other, sub_agents: [nobody]}\n"},
	} {
		write(c.text)
		again <- syscall.SIGHUP
		require.Eventually(t, func() bool { return strings.Count(log.String(), "was not loaded again") == n+1 }, 20*time.Second, 5*time.Millisecond, c.id)
		now := r.Loaded()
		require.Equal(t, []any{first.Version, first.LoadedAt}, []any{now.Version, now.LoadedAt}, c.id)
		require.NotEmpty(t, now.Problem, c.id)
		require.WithinDuration(t, time.Now(), now.FailedAt, time.Minute)
		all, err := db.Targets(t.Context())
		require.NoError(t, err)
		require.Equal(t, "[web-1 22]", fmt.Sprint([]any{all[0].Name, all[0].Port}), c.id)
	}
	require.NotContains(t, log.String(), "from-the-environment")

	write(strings.Replace(good, "port: 22", "port: 2222", 1))
	again <- syscall.SIGHUP
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "was loaded again") }, 20*time.Second, 5*time.Millisecond)
	now := r.Loaded()
	require.NotEqual(t, first.Version, now.Version)
	require.Empty(t, now.Problem)
	all, err = db.Targets(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2222, all[0].Port)
	require.Empty(t, all[0].HostKey, "it was accepted at another place")
}
