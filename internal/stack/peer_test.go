package stack_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const scripts = "../../deploy/peers/"

// peer runs a script of deploy/peers and gives the facts that it prints.
func peer(t testing.TB, env []string, script string, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(scripts+script, args...)
	cmd.Env = append(os.Environ(), env...)
	var progress strings.Builder
	cmd.Stderr = &progress
	out, err := cmd.Output()
	require.NoError(t, err, "%s %v: %s", script, args, progress.String())
	facts := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			facts[name] = value
		}
	}
	return facts
}

// peerDir gives a short folder that other users can walk to.
func peerDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "akp")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
