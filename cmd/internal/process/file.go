package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxFile bounds a file with a secret: key rings are the longest.
const maxFile = 64 << 10

// ReadFile reads a secret without the newline at its end. A file that others
// than its owner can read or write is refused, and so is an empty one.
func ReadFile(path string) (ops.Secret, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ops.Secret{}, fmt.Errorf("%w: akmatori-init makes it; has it run, and is its volume mounted?", err)
	case errors.Is(err, fs.ErrPermission):
		return ops.Secret{}, fmt.Errorf("%w: this process has UID %d, which must own it", err, os.Getuid())
	case err != nil:
		return ops.Secret{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what is open, so that nobody swaps it in between
	if err != nil {
		return ops.Secret{}, err
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o077 != 0 {
		return ops.Secret{}, fmt.Errorf("%s has mode %04o, so others than its owner can get at it: chmod 0400", path, mode.Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return ops.Secret{}, err
	case len(data) > maxFile:
		return ops.Secret{}, fmt.Errorf("%s has more than %d bytes: it is not what is meant", path, maxFile)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return ops.Secret{}, fmt.Errorf("%s is empty", path)
	}
	return ops.NewSecret(text), nil
}

// Reread gives a function that reads the file of the setting name again, for
// keys that are rotated while the process runs. It is nil for a setting that
// did not come from a file: that one never changes.
func Reread(name string) func() (ops.Secret, error) {
	path, ok := os.LookupEnv(Prefix + name + "_FILE")
	if !ok {
		return nil
	}
	return func() (ops.Secret, error) { return ReadFile(path) }
}
