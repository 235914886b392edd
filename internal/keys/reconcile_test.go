package keys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
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
