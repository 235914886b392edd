// Package sshtest starts real OpenSSH servers on loopback for tests. A machine
// without sshd skips the test, unless the environment says CI=true: then it fails.
package sshtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/testlog"
	"golang.org/x/crypto/ssh"
)

// Server is a running sshd that the current user can log in to.
type Server struct {
	Dir     string
	Port    int
	User    string
	HostKey string     // the public line, as in ops.Target.HostKey
	Key     ops.Secret // PEM of the key that may log in
	KeyFile string     // the same, for the stock client

	t       testing.TB
	config  string
	process *exec.Cmd
	log     *testlog.Log
}

// New starts a server. extra are lines of sshd_config that come first, so they win.
func New(t testing.TB, extra ...string) *Server {
	t.Helper()
	sshd := path(t, "sshd")
	me, err := user.Current()
	must(t, err)
	s := &Server{t: t, Dir: t.TempDir(), User: me.Username, log: &testlog.Log{}}
	must(t, os.Chmod(s.Dir, 0o700))
	if os.Getuid() == 0 {
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	s.KeyFile = filepath.Join(s.Dir, "id")
	private, public := Key(t, "")
	s.Key = private
	must(t, os.WriteFile(s.KeyFile, []byte(private.Reveal()), 0o600))
	must(t, os.WriteFile(filepath.Join(s.Dir, "authorized_keys"), []byte(public+"\n"), 0o600))
	s.NewHostKey()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	s.Port = l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	s.config = filepath.Join(s.Dir, "sshd_config")
	must(t, os.WriteFile(s.config, []byte(strings.Join(append(extra,
		"ListenAddress 127.0.0.1",
		"Port "+strconv.Itoa(s.Port),
		"HostKey "+filepath.Join(s.Dir, "host_key"),
		"PidFile none",
		"AuthorizedKeysFile "+filepath.Join(s.Dir, "authorized_keys"),
		"PubkeyAuthentication yes",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password",
		"UsePAM no",
		"StrictModes no",
		"X11Forwarding no",
		"PrintMotd no",
		"UseDNS no",
		"LogLevel VERBOSE",
		"MaxStartups 100",
		"SetEnv HOME="+s.Dir, // the start-up files of whoever runs the tests are none of theirs
	), "\n")+"\n"), 0o600))
	s.start(sshd)
	t.Cleanup(s.stop)
	return s
}

// NewHostKey gives the server another key, which it uses after [Server.Restart].
// HostKey is the new one.
func (s *Server) NewHostKey() {
	private, public := Key(s.t, "")
	must(s.t, os.WriteFile(filepath.Join(s.Dir, "host_key"), []byte(private.Reveal()), 0o600))
	s.HostKey = public
}

// NewRSAHostKey is [Server.NewHostKey] for a key of type RSA.
func (s *Server) NewRSAHostKey() {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(s.t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	must(s.t, err)
	public, err := ssh.NewPublicKey(key.Public())
	must(s.t, err)
	must(s.t, os.WriteFile(filepath.Join(s.Dir, "host_key"), pem.EncodeToMemory(block), 0o600))
	s.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

// Authorize lets another key log in.
func (s *Server) Authorize(public string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.Dir, "authorized_keys"), os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	_, err = f.WriteString(public + "\n")
	must(s.t, err)
	must(s.t, f.Close())
}

// Fingerprint is that of a public line, as the program shows it.
func Fingerprint(t testing.TB, public string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	must(t, err)
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// Restart stops the listener and starts it on the same port.
func (s *Server) Restart() {
	s.t.Helper()
	s.stop()
	s.start(path(s.t, "sshd"))
}

// Target is the inventory's entry for this server.
func (s *Server) Target(name string) ops.Target {
	return ops.Target{ID: ops.NewID(), Name: name, Kind: "ssh", Address: "127.0.0.1", Port: s.Port, User: s.User, HostKey: s.HostKey,
		Labels: map[string]string{"env": "test"}}
}

// Log is what the server has logged.
func (s *Server) Log() string { return s.log.String() }

func (s *Server) start(sshd string) {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	s.process = exec.CommandContext(ctx, sshd, "-D", "-e", "-f", s.config)
	s.process.Stderr = s.log
	s.process.WaitDelay = time.Second // connections outlive the listener and hold its log
	must(s.t, s.process.Start())
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err == nil {
			must(s.t, conn.Close())
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("sshd does not listen on %s: %v\n%s", addr, err, s.Log())
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (s *Server) stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}

// Key makes an Ed25519 key pair in OpenSSH's forms.
func Key(t testing.TB, passphrase string) (private ops.Secret, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	must(t, err)
	sshPub, err := ssh.NewPublicKey(pub)
	must(t, err)
	return ops.NewSecret(string(pem.EncodeToMemory(block))), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPub)))
}

func path(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("sshtest: %w", err))
	}
}

// Script writes a file that commands can use.
func (s *Server) Script(path, text string) {
	s.t.Helper()
	must(s.t, os.WriteFile(path, []byte(text+"\n"), 0o600))
}
