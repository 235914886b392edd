package keys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// TestReconcileSecretsAreResealed: those that prove us to senders we ask.
func TestReconcileSecretsAreResealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	source := ops.Source{ID: ops.NewID(), Name: "am", Kind: "alertmanager", Enabled: true,
		Options: ops.SourceOptions{Reconcile: ops.Reconcile{URL: "http://am.example:9093"}}}
	require.NoError(t, r.db.CreateSource(t.Context(), source))
	form, err := r.d.Ring(ops.ZoneAPI).Public().Seal(source.ReconcileCredential(nil), ops.NewSecret("Bearer of-am"))
	require.NoError(t, err)
	require.NoError(t, r.db.SetReconcileSecret(t.Context(), source.ID, form))
	got, err := r.d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	require.Empty(t, got.Damaged)
	r.age(t)
	_, err = r.d.Prune(t.Context(), r.db)
	require.NoError(t, err)

	d, err := keys.Open(r.c)
	require.NoError(t, err)
	asking, err := r.db.StartReconcile(t.Context(), source.ID, 0)
	require.NoError(t, err)
	require.NotEqual(t, form, asking.Secret)
	plaintext, err := d.Ring(ops.ZoneAPI).Open(source.ReconcileCredential(asking.Secret))
	require.NoError(t, err)
	require.Equal(t, "Bearer of-am", plaintext.Reveal())
}

// TestSignInSecretsAreResealed: the one that proves us to the identity provider,
// and those that codes are compared with.
func TestSignInSecretsAreResealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	user, factor := ops.NewID(), ops.NewID()
	public := r.d.Ring(ops.ZoneAPI).Public()
	require.NoError(t, r.db.CreateUser(t.Context(), postgres.User{ID: user, Username: "ana"}))
	code, err := public.Seal(ops.TOTPCredential(factor, user, nil), ops.NewSecret("of-ana"))
	require.NoError(t, err)
	require.NoError(t, r.db.BeginFactor(t.Context(), user, postgres.SecondFactor{ID: factor, Secret: code}))
	p := ops.OIDCProvider{ID: ops.NewID(), Name: "SSO", Issuer: "https://sso.example", ClientID: "akmatori"}
	p.Complete()
	client, err := public.Seal(p.SecretCredential(nil), ops.NewSecret("of-the-client"))
	require.NoError(t, err)
	require.NoError(t, r.db.PutOIDC(t.Context(), p, func(ops.OIDCProvider) (string, []byte, error) { return p.ID, client, nil }))
	got, err := r.d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	require.Empty(t, got.Damaged)
	r.age(t)
	_, err = r.d.Prune(t.Context(), r.db)
	require.NoError(t, err)

	d, err := keys.Open(r.c)
	require.NoError(t, err)
	ring := d.Ring(ops.ZoneAPI)
	f, err := r.db.TryFactor(t.Context(), user, false)
	require.NoError(t, err)
	require.NotEqual(t, code, f.Secret)
	plaintext, err := ring.Open(ops.TOTPCredential(f.ID, user, f.Secret))
	require.NoError(t, err)
	require.Equal(t, "of-ana", plaintext.Reveal())
	p, err = r.db.OIDC(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, client, p.Secret)
	plaintext, err = ring.Open(p.SecretCredential(p.Secret))
	require.NoError(t, err)
	require.Equal(t, "of-the-client", plaintext.Reveal())
}

// TestMarksOutliveTheirKey: what a configuration file has given is known again when
// the key that it was marked by is gone; what it has not gets no mark.
func TestMarksOutliveTheirKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	secret := ops.NewSecret("secret of login")
	mark, err := r.d.Ring(ops.ZoneAPI).Mark(r.opens(t, "login"), secret)
	require.NoError(t, err)
	require.NoError(t, r.db.MarkCredential(t.Context(), r.opens(t, "login"), mark))
	_, err = r.d.Rotate(t.Context(), r.db)
	require.NoError(t, err)
	r.age(t)
	pruned, err := r.d.Prune(t.Context(), r.db)
	require.NoError(t, err)
	require.Len(t, pruned, 3)

	cred, mark, err := r.db.MarkedCredential(t.Context(), "login")
	require.NoError(t, err)
	require.True(t, r.d.Ring(ops.ZoneAPI).Marked(mark, cred, secret))
	require.False(t, r.d.Ring(ops.ZoneAPI).Marked(mark, cred, ops.NewSecret("another")))
	_, mark, err = r.db.MarkedCredential(t.Context(), "model")
	require.NoError(t, err)
	require.Empty(t, mark)
}
