package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
)

// TestExample: the example that people copy has every section that there is, and
// is loaded as it stands.
func TestExample(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	db := open(t, pg)
	state, err := stack.LoadState(t.TempDir())
	require.NoError(t, err)
	text, err := os.ReadFile("../../deploy/config/akmatori.yaml")
	require.NoError(t, err)
	for f := range reflect.TypeFor[config.File]().Fields() {
		if section := f.Tag.Get("yaml"); section != "" {
			require.Contains(t, string(text), "\n"+section+":")
		}
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"akmatori.yaml": string(text), "ops-login.key": sshtest.New(t).Key.Reveal(),
		"skills/queues/SKILL.md": "---\nname: queues\ndescription: How our queues are looked at.\n---\nLook at the depth.\n",
		"runbooks/queue-full.md": "# Queue full\n\nDrain it.\n"} {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	}
	var before string
	for i := range 3 {
		f, err := config.Read(filepath.Join(dir, "akmatori.yaml"), func(name string) (string, bool) { return strings.ToLower(name) + "-of-a-test", true })
		require.NoError(t, err)
		require.NoError(t, f.Apply(t.Context(), db, state.Keys()))
		after := rows(t, pg)
		if i > 0 {
			require.Equal(t, before, after, "the same file again changes nothing at all")
		}
		before = after
	}
	targets, err := db.Targets(t.Context())
	require.NoError(t, err)
	require.Len(t, targets, 3)
}
