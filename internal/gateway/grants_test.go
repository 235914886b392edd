package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/stretchr/testify/require"
)

func TestGrantsRemembered(t *testing.T) {
	t.Parallel()
	var k grants
	now := time.Now()
	lives := postgres.Grant{RunID: "r", Deadline: now.Add(time.Hour)}
	k.put([]byte("a"), lives, now, true)
	k.put([]byte("over"), postgres.Grant{RunID: "o", Deadline: now.Add(-time.Second)}, now, true)

	got, ok := k.get([]byte("a"), now)
	require.True(t, ok)
	require.Equal(t, "r", got.RunID)
	_, ok = k.get([]byte("a"), now.Add(time.Nanosecond))
	require.False(t, ok, "it was asked before")
	_, ok = k.get([]byte("over"), now)
	require.False(t, ok, "its time is over")
	_, ok = k.get([]byte("b"), now)
	require.False(t, ok)

	k.put([]byte("a"), postgres.Grant{}, now, false)
	_, ok = k.get([]byte("a"), now)
	require.False(t, ok, "it was revoked, or nobody knows")

	for i := range 3 * maxGrants {
		k.put(fmt.Append(nil, i), lives, now, true)
		require.LessOrEqual(t, len(k.all), maxGrants)
	}
}
