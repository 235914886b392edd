package policy_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// shells are real shells in a folder that has nothing else: there is no other
// program to run, no network, and nothing that they may write but a file dev/null.
type shells struct {
	root  string
	names []string
}

// openShells skips the test where there is no way to confine a shell; in CI there is.
func openShells(t testing.TB) shells {
	t.Helper()
	s := shells{root: t.TempDir()}
	libraries := regexp.MustCompile(`(/\S+) \(0x`)
	missing := func(err error) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"dash", "bash"} {
		path, err := exec.LookPath(name)
		if err != nil {
			missing(err)
			continue
		}
		linked, err := exec.CommandContext(t.Context(), "ldd", path).Output()
		if err != nil {
			missing(err)
			continue
		}
		copyTo(t, path, filepath.Join(s.root, name))
		for _, lib := range libraries.FindAllStringSubmatch(string(linked), -1) {
			copyTo(t, lib[1], filepath.Join(s.root, lib[1]))
		}
		s.names = append(s.names, name)
	}
	require.NoError(t, os.Chmod(s.root, 0o755)) // nobody enters
	// What redirections name may be there; it is a file.
	require.NoError(t, os.MkdirAll(filepath.Join(s.root, "dev"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "dev/null"), nil, 0o666))
	require.NoError(t, os.Chmod(filepath.Join(s.root, "dev/null"), 0o666))
	if len(s.names) > 0 {
		if out, err := s.run(s.names[0], "printf x"); err != nil || string(out) != "x" {
			missing(err)
			t.Skipf("a shell cannot be confined here: %v", err)
		}
	}
	if len(s.names) == 0 {
		t.Skip("there is no shell to compare with")
	}
	return s
}

func copyTo(t testing.TB, from, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	in, err := os.Open(from)
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// run gives what a shell prints for a text.
func (s shells) run(name, text string) ([]byte, error) {
	cmd := exec.Command("/"+name, "-c", text) // it ends at once: there is nothing that it could wait for
	cmd.Env = []string{"PATH=/nowhere", "LC_ALL=C.UTF-8"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.root, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	} else {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 1, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 1, HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return out.Bytes(), err
}

// printed gives the words that a shell reads behind printf.
func (s shells) printed(t testing.TB, name, command string) []string {
	t.Helper()
	out, err := s.run(name, `printf '%s\0' -- `+command)
	require.NoError(t, err, "%s: %s", name, command)
	return strings.Split(string(bytes.TrimSuffix(out, []byte{0})), "\x00")[1:]
}
