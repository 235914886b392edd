package seal

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

func TestOpenerFindsANewKey(t *testing.T) {
	t.Parallel()
	old, _ := newPair(t, ops.ZoneTools)
	rotated, public := newPair(t, ops.ZoneTools)
	cred := sshKey()
	sealed, err := public.Seal(cred, ops.NewSecret("p"))
	require.NoError(t, err)
	cred.Sealed = sealed

	synctest.Test(t, func(t *testing.T) {
		reads, file, failure := 0, ringText(t, old), error(nil)
		o := NewOpener(ringOf(t, old), func() (ops.Secret, error) { reads++; return file, failure })
		for range 3 {
			_, err := o.Open(cred)
			require.ErrorIs(t, err, ErrUnknownKey)
		}
		require.Equal(t, 1, reads, "one read a second at most")

		time.Sleep(rereadEvery) // the bubble's clock, not a real one
		failure = errors.New("the disk is away")
		_, err := o.Open(cred)
		require.ErrorIs(t, err, ErrUnknownKey)
		require.ErrorIs(t, err, failure)

		time.Sleep(rereadEvery)
		failure, file = nil, ringText(t, rotated, old)
		for range 3 {
			got, err := o.Open(cred)
			require.NoError(t, err)
			require.Equal(t, "p", got.Reveal())
		}
		require.Equal(t, 3, reads)
	})
}

func TestMissing(t *testing.T) {
	t.Parallel()
	private, public := newPair(t, ops.ZoneTools)
	_, lost := newPair(t, ops.ZoneTools)
	sealed := func(k PublicKey, name string) ops.Credential {
		c := sshKey()
		c.Name = name
		var err error
		c.Sealed, err = k.Seal(c, ops.NewSecret("p"))
		require.NoError(t, err)
		return c
	}
	good, changed, foreign := sealed(public, "good"), sealed(public, "changed"), sealed(lost, "foreign")
	changed.Targets = []string{"*"}
	o := NewOpener(ringOf(t, private), nil)

	damaged, err := o.Missing([]ops.Credential{good, changed})
	require.NoError(t, err)
	require.Equal(t, []string{"changed"}, damaged)
	_, err = o.Missing([]ops.Credential{good, foreign})
	require.ErrorIs(t, err, ErrUnknownKey)
	require.ErrorContains(t, err, `"foreign"`)
	require.ErrorContains(t, err, lost.ID())
	require.Equal(t, lost.ID(), KeyID(foreign.Sealed))
	require.Equal(t, private.ID(), KeyID(good.Sealed))
	require.Empty(t, KeyID([]byte("AKS")))
}

func ringText(t *testing.T, keys ...PrivateKey) ops.Secret {
	t.Helper()
	text, err := ringOf(t, keys...).Text()
	require.NoError(t, err)
	return text
}
