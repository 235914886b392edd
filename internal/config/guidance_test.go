package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/config"
)

// Skills and runbooks come from folders beside the configuration file, and again
// only if they have changed.
func TestGuidanceInAFile(t *testing.T) {
	t.Parallel()
	db := database(t)
	dir := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	load := func() error {
		f, err := config.Read(filepath.Join(dir, "akmatori.yaml"), nil)
		if err != nil {
			return err
		}
		return f.Apply(t.Context(), db, config.Keys{})
	}
	write("akmatori.yaml", "skills: [skills]\nrunbooks: [runbooks]\n")
	require.ErrorContains(t, load(), "skills")
	write("skills/queues/SKILL.md", "---\nname: queues\ndescription: How our queues are looked at.\n---\nLook at the depth.\n")
	write("skills/queues/references/names.md", "# Names\n")
	require.ErrorContains(t, load(), "runbooks")
	write("runbooks/queue-full.md", "# Queue full\n\nDrain it.\n")
	require.NoError(t, load())
	require.NoError(t, load(), "twice is once")

	skills, err := db.Skills(t.Context())
	require.NoError(t, err)
	require.Len(t, skills, 1)
	require.Equal(t, "queues", skills[0].Name)
	require.Equal(t, 1, skills[0].Version)
	require.Equal(t, 2, skills[0].Files)
	runbooks, err := db.Runbooks(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, runbooks, 1)
	require.Equal(t, "Queue full", runbooks[0].Title)

	write("runbooks/queue-full.md", "# Queue full\n\nAsk before you drain it.\n")
	require.NoError(t, load())
	r, err := db.Runbook(t.Context(), "queue-full", 0)
	require.NoError(t, err)
	require.Equal(t, 2, r.Version)
	write("skills/queues/SKILL.md", "no frontmatter\n")
	require.ErrorContains(t, load(), "queues")
}
