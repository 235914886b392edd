package process

import (
	"os"
	"path/filepath"
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
	for name, tt := range map[string]struct {
		environ []string
		key     string
		err     string
	}{
		"from the environment": {environ: []string{"AKMATORI_KEY=k", "PATH=/bin"}, key: "k"},
		"from a file":          {environ: []string{"AKMATORI_KEY_FILE=" + file}, key: "from a file"},
		"missing":              {err: "AKMATORI_KEY"},
		"no such file":         {environ: []string{"AKMATORI_KEY_FILE=/nowhere"}, err: "AKMATORI_KEY_FILE"},
		"both":                 {environ: []string{"AKMATORI_KEY=k", "AKMATORI_KEY_FILE=" + file}, err: "both set"},
		"unknown":              {environ: []string{"AKMATORI_KEY=k", "AKMATORI_LISTN=:1"}, err: "AKMATORI_LISTN is set"},
		"file for no secret":   {environ: []string{"AKMATORI_KEY=k", "AKMATORI_SLOTZ_FILE=x"}, err: "AKMATORI_SLOTZ_FILE"},
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
