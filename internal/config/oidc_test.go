package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/seal"
)

// TestAProviderInAFile: it is stored with its secret sealed, and checked first.
func TestAProviderInAFile(t *testing.T) {
	t.Parallel()
	db := database(t)
	key, _, err := seal.GenerateKey(ops.ZoneAPI)
	require.NoError(t, err)
	text, err := key.Text()
	require.NoError(t, err)
	load := func(text2 string) error {
		name := filepath.Join(t.TempDir(), "akmatori.yaml")
		require.NoError(t, os.WriteFile(name, []byte(text2), 0o600))
		f, err := config.Read(name, nil)
		require.NoError(t, err)
		return f.Apply(t.Context(), db, config.Keys{API: text})
	}
	require.ErrorContains(t, load("oidc:\n  name: Example\n  issuer: http://login.example.com\n  client_id: a\n"), "needs https")
	require.ErrorContains(t, load("oidc:\n  name: Example\n  issuer: https://login.example.com\n  client_id: a\n  groups: {ops: [nope]}\n"), "there is no role")
	require.NoError(t, load("oidc:\n  name: Example\n  issuer: https://login.example.com\n  client_id: a\n  client_secret: of-the-client\n  provision: true\n  groups: {sre: [admin], ops: [viewer, responder]}\n"))
	p, err := db.OIDC(t.Context())
	require.NoError(t, err)
	require.Equal(t, []ops.GroupRoles{{Group: "ops", Roles: []string{"responder", "viewer"}}, {Group: "sre", Roles: []string{"admin"}}}, p.Groups)
	require.True(t, p.Enabled && p.Provision)
	require.Equal(t, "preferred_username", p.UsernameClaim)
	ring, err := seal.ParseRing(ops.ZoneAPI, text)
	require.NoError(t, err)
	secret, err := ring.Open(p.SecretCredential(p.Secret))
	require.NoError(t, err)
	require.Equal(t, "of-the-client", secret.Reveal())
	p.Issuer = "https://evil.example.com"
	_, err = ring.Open(p.SecretCredential(p.Secret))
	require.Error(t, err, "a row that says another issuer does not open")
}
