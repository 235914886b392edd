package fake

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

type demoHost struct {
	*SSHHost
	hostKey  ssh.PublicKey
	client   ssh.Signer
	mu       sync.Mutex
	executed []string
}

func startSSHHost(t *testing.T) *demoHost {
	t.Helper()
	hostKey, hostPublic, err := NewSSHKey()
	require.NoError(t, err)
	clientKey, clientPublic, err := NewSSHKey()
	require.NoError(t, err)
	d := &demoHost{}
	d.hostKey, _, _, _, err = ssh.ParseAuthorizedKey([]byte(hostPublic))
	require.NoError(t, err)
	d.client, err = ssh.ParsePrivateKey([]byte(clientKey.Reveal()))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	d.SSHHost, err = NewSSHHost(ctx, SSHHostConfig{Listen: "127.0.0.1:0", HostKey: hostKey, AuthorizedKey: clientPublic,
		Log: slog.New(slog.DiscardHandler), OnExec: func(command string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.executed = append(d.executed, command)
		}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return d
}

func (d *demoHost) dial(t *testing.T, key ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	c, err := ssh.Dial("tcp", d.Addr().String(), &ssh.ClientConfig{User: "demo", Timeout: 5 * time.Second,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(d.hostKey)})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func TestSSHHostRunsDiagnostics(t *testing.T) {
	t.Parallel()
	d := startSSHHost(t)
	client, err := d.dial(t, d.client)
	require.NoError(t, err)
	for command, want := range map[string]string{
		"uname -s":               "Linux\n",
		"cat /proc/loadavg":      "/",
		"df -h /":                "Mounted on",
		"'df' \"-P\"":            "Filesystem",
		"nproc":                  "\n",
		"cat /etc/os-release":    "ID=",
		"cat '/proc/meminfo'":    "MemTotal",
		"  cat   /proc/version ": "Linux version",
	} {
		s, err := client.NewSession()
		require.NoError(t, err)
		out, err := s.Output(command)
		require.NoError(t, err, command)
		require.Contains(t, string(out), want)
	}
	s, err := client.NewSession()
	require.NoError(t, err)
	require.NoError(t, s.Run("exit 0"), "a login can be tried")
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.executed, 8)
}

func TestSSHHostRefusesOtherCommands(t *testing.T) {
	t.Parallel()
	d := startSSHHost(t)
	client, err := d.dial(t, d.client)
	require.NoError(t, err)
	for _, command := range []string{
		"", "rm -rf /", "exit 1", "exit 0; id", "df; id", "df && id", "df | sh", "df $(id)", "df `id`", "df > /tmp/x", "df\nid", "df -h /*", "df ~",
		"cat /etc/passwd", "cat /proc/self/environ", "cat /proc/1/environ", "cat /proc/net/../1/environ", "ps auxe", "ps e", "ps -eo pid,environ",
		"FOO=1 df", "/usr/bin/df", "sh -c df", "vmstat 1", "df --output=source", "df 'x", "df \\-h", "df\x00", "df #x", "\"df -h\"", "ss -K dst 10.0.0.1",
	} {
		s, err := client.NewSession()
		require.NoError(t, err)
		var stderr bytes.Buffer
		s.Stderr = &stderr
		exit, _ := errors.AsType[*ssh.ExitError](s.Run(command))
		require.NotNil(t, exit, command)
		require.Equal(t, 126, exit.ExitStatus(), command)
		require.Equal(t, "command not allowed on the demo host\n", stderr.String())
	}
	require.Empty(t, d.executed)
}

func TestSSHHostGivesExitStatusAndNothingButExec(t *testing.T) {
	t.Parallel()
	d := startSSHHost(t)
	client, err := d.dial(t, d.client)
	require.NoError(t, err)

	s, err := client.NewSession()
	require.NoError(t, err)
	exit, _ := errors.AsType[*ssh.ExitError](s.Run("df /nowhere/at/all"))
	require.NotNil(t, exit)
	require.Equal(t, 1, exit.ExitStatus())

	s, err = client.NewSession()
	require.NoError(t, err)
	require.Error(t, s.Setenv("LD_PRELOAD", "/x"))
	require.Error(t, s.RequestPty("xterm", 24, 80, nil))
	require.Error(t, s.RequestSubsystem("sftp"))
	require.Error(t, s.Shell())
	_, err = client.Dial("tcp", d.Addr().String())
	require.Error(t, err, "forwarding")
	_, err = client.Listen("tcp", "127.0.0.1:0")
	require.Error(t, err, "reverse forwarding")
}

func TestSSHHostRefusesOtherKeysAndAddresses(t *testing.T) {
	t.Parallel()
	d := startSSHHost(t)
	other, public, err := NewSSHKey()
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey([]byte(other.Reveal()))
	require.NoError(t, err)
	_, err = d.dial(t, signer)
	require.ErrorContains(t, err, "unable to authenticate")

	log := slog.New(slog.DiscardHandler)
	_, err = NewSSHHost(t.Context(), SSHHostConfig{Listen: "0.0.0.0:0", HostKey: other, AuthorizedKey: public, Log: log})
	require.ErrorContains(t, err, "not a loopback address")
	_, err = NewSSHHost(t.Context(), SSHHostConfig{Listen: "127.0.0.1:0", HostKey: ops.NewSecret("sec ret"), AuthorizedKey: public, Log: log})
	require.ErrorContains(t, err, "host key")
	require.NotContains(t, err.Error(), "sec ret")
	_, err = NewSSHHost(t.Context(), SSHHostConfig{Listen: "127.0.0.1:0", HostKey: other, AuthorizedKey: "x", Log: log})
	require.ErrorContains(t, err, "authorized key")
}

func TestSSHHostKillsWhatRunsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	d := startSSHHost(t)
	client, err := d.dial(t, d.client)
	require.NoError(t, err)
	s, err := client.NewSession()
	require.NoError(t, err)
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.Start("vmstat 5 5"))
	_, err = out.Read(make([]byte, 1)) // it streams: the first line comes at once
	require.NoError(t, err)
	require.NoError(t, client.Close())
	// Run returns in the cleanup only after the command is gone; the test would take 20 s.
}

func TestSSHHostClosesASilentPeerAtTheEnd(t *testing.T) {
	t.Parallel()
	d := startSSHHost(t)
	conn, err := net.Dial("tcp", d.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = conn.Read(make([]byte, 8)) // the server's version line; the client never answers
	require.NoError(t, err)
}

func FuzzSplitWords(f *testing.F) {
	for _, s := range []string{"df -h /", "'a'\"b\" c", "df $(id)", "''", "a\\ b", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, command string) {
		words, ok := splitWords(command)
		if !ok {
			return
		}
		again, ok := splitWords(strings.Join(words, " "))
		if strings.Contains(" "+strings.Join(words, " ")+" ", "  ") {
			return // an empty word
		}
		require.True(t, ok)
		require.Equal(t, words, again)
		require.NotRegexp(t, "[^A-Za-z0-9_@%+=:,./ -]", strings.Join(words, " "))
	})
}
