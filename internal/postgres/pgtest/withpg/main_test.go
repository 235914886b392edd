package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// Not parallel: it changes the environment.
func TestTheCommandGetsAServerAndItsStatusIsOurs(t *testing.T) {
	if len(pgserver.Find("")) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs PostgreSQL's server programs")
		}
		t.Skip("no PostgreSQL on this machine")
	}
	t.Setenv(pgtest.EnvURL, "")
	out := filepath.Join(t.TempDir(), "url")
	code, err := run([]string{"sh", "-c", `printf %s "$` + pgtest.EnvURL + `" >` + out + `; exit 7`})
	require.NoError(t, err)
	require.Equal(t, 7, code)
	url, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Contains(t, string(url), "postgres://postgres:")

	// Within itself it uses the server that is there.
	t.Setenv(pgtest.EnvURL, "postgres://elsewhere")
	code, err = run([]string{"sh", "-c", `test "$` + pgtest.EnvURL + `" = postgres://elsewhere`})
	require.NoError(t, err)
	require.Zero(t, code)

	_, err = run([]string{filepath.Join(t.TempDir(), "nothing")})
	require.ErrorIs(t, err, os.ErrNotExist)

	code, err = run(nil)
	require.ErrorContains(t, err, "usage")
	require.Equal(t, 2, code)
}
