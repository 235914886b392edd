package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPassphrase: a file with the passphrase may end its line, or leave that to the
// echo behind it.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, passphrase, rest, wrong string }{
		"a line":            {in: "correct horse\nage\n\nrows\n", passphrase: "correct horse", rest: "age\n\nrows\n"},
		"a line and echo":   {in: "correct horse\n\nage\n\nrows\n", passphrase: "correct horse", rest: "age\n\nrows\n"},
		"of another system": {in: "correct horse\r\n\r\nage\n", passphrase: "correct horse", rest: "age\n"},
		"nothing behind it": {in: "correct horse\n\n", passphrase: "correct horse"},
		"no end":            {in: "correct horse", passphrase: "correct horse"},
		"none":              {in: "\nage\n", wrong: "there is no passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "in")
			require.NoError(t, os.WriteFile(path, []byte(tt.in), 0o600))
			f, err := os.Open(path)
			require.NoError(t, err)
			defer func() { _ = f.Close() }()
			passphrase, rest, err := deployment{}.passphrase(f)
			if tt.wrong != "" {
				require.ErrorContains(t, err, tt.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.passphrase, passphrase.Reveal())
			got, err := io.ReadAll(rest)
			require.NoError(t, err)
			require.Equal(t, tt.rest, string(got))
		})
	}
}
