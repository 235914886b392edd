package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
)

// TestSecretsInFiles: they end with a line break, as editors make it, and are checked
// as those that come in by the page.
func TestSecretsInFiles(t *testing.T) {
	t.Parallel()
	db := database(t)
	state, err := stack.LoadState(t.TempDir())
	require.NoError(t, err)
	dir := t.TempDir()
	key := sshtest.New(t).Key.Reveal()
	for _, c := range []struct{ kind, file, want, wrong string }{
		{kind: "llm_key", file: "sk-abc\n", want: "sk-abc"},
		{kind: "llm_key", file: "sk-abc\r\n", want: "sk-abc"},
		{kind: "llm_key", file: "sk-abc", want: "sk-abc"},
		{kind: "ssh_key", file: key, want: key},
		{kind: "llm_key", file: "sk-abc\n\n", wrong: "line break"},
		{kind: "http_basic", file: "password-alone\n", wrong: "user:password"},
		{kind: "ssh_key", file: "ssh-ed25519 AAAA\n", wrong: "public key"},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte(c.file), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "akmatori.yaml"), []byte("credentials:\n  - {name: c, kind: "+c.kind+", secret_file: secret, targets: [x]}\n"), 0o600))
		f, err := config.Read(filepath.Join(dir, "akmatori.yaml"), nil)
		require.NoError(t, err)
		err = f.Apply(t.Context(), db, state.Keys())
		if c.wrong != "" {
			require.ErrorContains(t, err, c.wrong)
			require.NotContains(t, err.Error(), strings.TrimSpace(c.file))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, f.Credentials[0].Secret.Reveal())
	}
}

// TestWhatPeopleDidStays: a file that is loaded again takes away nothing that it
// does not say.
func TestWhatPeopleDidStays(t *testing.T) {
	t.Parallel()
	db := database(t)
	state, err := stack.LoadState(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "akmatori.yaml")
	keys := state.Keys()
	load := func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		f, err := config.Read(path, nil)
		require.NoError(t, err)
		require.NoError(t, f.Apply(t.Context(), db, keys))
	}
	const id = "0190a000-0000-7000-8000-000000000001"
	const file = `
sources:
  - {name: hook, kind: webhook, secret: 0123456789abcdef0123456789abcdef}
  - {name: fixed, kind: pagerduty, auth: signature, secret: 0123456789abcdef0123456789abcdef, id: ` + id + `}
credentials:
  - {name: key, kind: llm_key, secret: sk-abc, targets: [one, two]}
providers:
  - {name: one, kind: openai, model: gpt-5, credential: key}
  - {name: two, kind: openai, model: gpt-5, credential: key}
`
	source := func(name string) (found ops.Source) {
		t.Helper()
		all, err := db.Sources(t.Context())
		require.NoError(t, err)
		for _, s := range all {
			if s.Name == name {
				found = s
			}
		}
		return found
	}
	defaults := func() (names []string) {
		t.Helper()
		all, err := db.Providers(t.Context())
		require.NoError(t, err)
		for _, p := range all {
			if p.Default {
				names = append(names, p.Name)
			}
		}
		return names
	}
	version := func() int {
		t.Helper()
		c, err := db.CredentialByName(t.Context(), "key")
		require.NoError(t, err)
		return c.Version
	}

	load(file)
	require.Equal(t, []string{"one"}, defaults(), "the first one is, as on the page")
	settings, off := []byte(`{"title": "$.msg"}`), false
	require.NoError(t, db.ChangeSource(t.Context(), source("hook").ID, postgres.SourceChange{Settings: &settings, Enabled: &off}))
	secret := source("fixed").Secret
	require.NoError(t, db.ReplaceSourceSecret(t.Context(), id, secret, time.Now().Add(time.Hour)))
	two, err := db.Providers(t.Context())
	require.NoError(t, err)
	two[1].Default = true
	require.NoError(t, db.UpdateProvider(t.Context(), two[1]))
	load(file)
	require.JSONEq(t, string(settings), string(source("hook").Settings))
	require.False(t, source("hook").Enabled)
	require.Equal(t, []ops.SourceSecret{secret, secret}, []ops.SourceSecret{source("fixed").Secret, source("fixed").Old}, "the old one counts as long as it was to")
	require.Equal(t, []string{"two"}, defaults())
	require.Equal(t, 1, version(), "approvals name it")

	// What the file does say comes.
	load(file + "  - {name: three, kind: openai, model: gpt-5, credential: key, default: true}\n")
	require.Equal(t, []string{"three"}, defaults())
	for _, c := range []struct{ what, credential string }{
		{"another secret", "{name: key, kind: llm_key, secret: sk-abd, targets: [one, two]}"},
		{"other targets", "{name: key, kind: llm_key, secret: sk-abd, targets: [one, two, three]}"},
		{"another kind", "{name: key, kind: http_bearer, secret: sk-abd, targets: [one, two, three]}"},
	} {
		was := version()
		for range 2 {
			load("credentials:\n  - " + c.credential + "\n")
			require.Equal(t, was+1, version(), c.what)
		}
	}
	was := version()
	rotated, err := db.CredentialByName(t.Context(), "key")
	require.NoError(t, err)
	_, err = db.RotateCredential(t.Context(), rotated.ID, func(ops.Credential) ([]byte, error) { return rotated.Sealed, nil })
	require.NoError(t, err)
	load("credentials:\n  - {name: key, kind: http_bearer, secret: sk-abd, targets: [one, two, three]}\n")
	require.Equal(t, was+2, version(), "what was set on a page, where the file says otherwise")

	// A mark stays one while keys are rotated, and a lost key of the zone is made good.
	other, _, err := seal.GenerateKey(ops.ZoneAPI)
	require.NoError(t, err)
	old, err := seal.ParseRing(ops.ZoneAPI, keys.API)
	require.NoError(t, err)
	for _, ring := range [][]seal.PrivateKey{{other, old.Keys()[0]}, {other}} {
		now, err := seal.NewRing(ring...)
		require.NoError(t, err)
		keys.API, err = now.Text()
		require.NoError(t, err)
		load("credentials:\n  - {name: key, kind: http_bearer, secret: sk-abd, targets: [one, two, three]}\n")
		require.Equal(t, was+2, version())
	}
	_, tools, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	keys.Tools = tools.String()
	load("credentials:\n  - {name: key, kind: http_bearer, secret: sk-abd, targets: [one, two, three]}\n")
	require.Equal(t, was+3, version())

	// What somebody has removed comes back, under the id that its sender knows, as
	// does the name that somebody has changed.
	keys = state.Keys()
	require.NoError(t, db.DeleteSource(t.Context(), id))
	for range 2 {
		load(file)
		require.Equal(t, id, source("fixed").ID)
		require.True(t, source("fixed").Enabled)
	}
	name := "renamed"
	require.NoError(t, db.ChangeSource(t.Context(), id, postgres.SourceChange{Name: &name, Enabled: &off}))
	load(file)
	require.Equal(t, id, source("fixed").ID)
	require.False(t, source("fixed").Enabled)
}
