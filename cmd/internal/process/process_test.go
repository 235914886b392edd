package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

type settings struct {
	Listen string     `env:"LISTEN" envDefault:"127.0.0.1:8080"`
	Key    ops.Secret `env:"KEY,required,notEmpty"`
	Slots  int        `env:"SLOTS" envDefault:"4"`
}

func TestLoad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("from a file\n"), 0o600))
	made := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return "AKMATORI_KEY_FILE=" + path
	}
	for name, tt := range map[string]struct {
		environ []string
		key     string
		err     string
	}{
		"from the environment": {environ: []string{"AKMATORI_KEY=k", "PATH=/bin"}, key: "k"},
		"from a file":          {environ: []string{"AKMATORI_KEY_FILE=" + file}, key: "from a file"},
		"missing":              {err: "AKMATORI_KEY"},
		"no such file":         {environ: []string{"AKMATORI_KEY_FILE=/nowhere"}, err: "AKMATORI_KEY_FILE"},
		"no file, advice":      {environ: []string{"AKMATORI_KEY_FILE=/nowhere"}, err: "has it run"},
		"group can read":       {environ: []string{made("group", "k", 0o440)}, err: "mode 0440, so others than its owner can get at it: chmod 0400"},
		"all can read":         {environ: []string{made("all", "k", 0o604)}, err: "mode 0604"},
		"all can write":        {environ: []string{made("write", "k", 0o602)}, err: "mode 0602"},
		"empty file":           {environ: []string{made("empty", "\n", 0o400)}, err: "is empty"},
		"huge file":            {environ: []string{made("huge", strings.Repeat("k", maxFile+1), 0o400)}, err: "more than 65536 bytes"},
		"a folder":             {environ: []string{"AKMATORI_KEY_FILE=/"}, err: "AKMATORI_KEY_FILE"},
		"both":                 {environ: []string{"AKMATORI_KEY=k", "AKMATORI_KEY_FILE=" + file}, err: "both set"},
		"unknown":              {environ: []string{"AKMATORI_KEY=k", "AKMATORI_LISTN=:1"}, err: "AKMATORI_LISTN is set"},
		"file for nothing":     {environ: []string{"AKMATORI_KEY=k", "AKMATORI_SLOTZ_FILE=x"}, err: "AKMATORI_SLOTZ_FILE"},
		"file for no secret":   {environ: []string{"AKMATORI_KEY=k", "AKMATORI_SLOTS_FILE=x"}, err: "AKMATORI_SLOTS_FILE is set"},
		"not a number":         {environ: []string{"AKMATORI_KEY=k", "AKMATORI_SLOTS=many"}, err: "Slots"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Load[settings](tt.environ)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.key, s.Key.Reveal())
			require.Equal(t, "127.0.0.1:8080", s.Listen)
		})
	}
}
