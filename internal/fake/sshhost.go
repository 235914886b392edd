package fake

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"golang.org/x/crypto/ssh"
)

// Limits of the demo host. A connection over the limit is closed at once, a
// session over it is refused; nothing queues.
const (
	sshConnections = 32
	sshSessions    = 10 // a connection, as OpenSSH's MaxSessions
	sshHandshake   = 10 * time.Second
	sshCommandTime = 20 * time.Second
)

// SSHHostConfig configures an [SSHHost].
type SSHHostConfig struct {
	Listen        string     // a loopback address; required
	HostKey       ops.Secret // PEM, from [NewSSHKey]; required, kept by the caller so that it can be pinned
	AuthorizedKey string     // "ssh-ed25519 AAAA…": who may log in, under any user name; required
	// OnExec, if set, is called with each command just before it runs.
	OnExec func(command string)
	// Answer, if set, is asked in place of running anything, for every command.
	Answer Answer
	Log    *slog.Logger // required
}

// Answer prints what a host prints for a command and gives its exit status. It
// ends when ctx does.
type Answer func(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) uint32

// SSHHost is the demo's managed host: an SSH server that really runs a few
// read-only diagnostics of this machine, and nothing else. There is no shell:
// a command is split into words, compared with a list and executed as those
// words. No terminal, no forwarding, no subsystem, no variables from the client.
type SSHHost struct {
	conf     SSHHostConfig
	server   *ssh.ServerConfig
	listener net.Listener
}

// NewSSHKey makes a key pair: PEM, and the line for authorized_keys or for a
// target's host key.
func NewSSHKey() (private ops.Secret, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return ops.Secret{}, "", fmt.Errorf("generate an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return ops.Secret{}, "", fmt.Errorf("marshal an SSH key: %w", err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return ops.Secret{}, "", fmt.Errorf("marshal an SSH key: %w", err)
	}
	return ops.NewSecret(string(pem.EncodeToMemory(block))), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// NewSSHHost checks the keys and binds the listener, which must be loopback: the
// host tells about the machine to whoever holds the key.
func NewSSHHost(ctx context.Context, c SSHHostConfig) (*SSHHost, error) {
	host, err := ssh.ParsePrivateKey([]byte(c.HostKey.Reveal()))
	if err != nil {
		return nil, errors.New("demo SSH host: the host key is not a private key in PEM")
	}
	allowed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.AuthorizedKey))
	if err != nil {
		return nil, fmt.Errorf("demo SSH host: the authorized key: %w", err)
	}
	server := &ssh.ServerConfig{
		MaxAuthTries:  3,
		ServerVersion: "SSH-2.0-akmatori-demo",
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if subtle.ConstantTimeCompare(key.Marshal(), allowed.Marshal()) != 1 {
				return nil, errors.New("unknown key")
			}
			return &ssh.Permissions{}, nil
		},
	}
	server.AddHostKey(host)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("demo SSH host: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("demo SSH host: %s is not a loopback address", l.Addr()), l.Close())
	}
	return &SSHHost{conf: c, server: server, listener: l}, nil
}

// Addr is where it listens.
func (h *SSHHost) Addr() *net.TCPAddr { return h.listener.Addr().(*net.TCPAddr) }

// Run serves until ctx ends, then kills what runs and waits for it.
func (h *SSHHost) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = h.listener.Close() })()
	serving, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	slots := make(chan struct{}, sshConnections)
	for {
		conn, err := h.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("demo SSH host: %w", err)
		}
		select {
		case slots <- struct{}{}:
			conns.Go(func() {
				defer func() { <-slots }()
				h.serve(serving, conn)
			})
		default:
			_ = conn.Close()
		}
	}
}

func (h *SSHHost) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(sshHandshake))
	sc, channels, requests, err := ssh.NewServerConn(conn, h.server)
	if err != nil {
		h.conf.Log.Debug("demo SSH host: handshake failed", "err", err)
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	defer func() { _ = sc.Close() }()
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel() // before the wait: the client is gone, so its commands are pointless
	workers.Go(func() { ssh.DiscardRequests(requests) })
	slots := make(chan struct{}, sshSessions)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.Prohibited, "sessions only")
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = c.Reject(ssh.ResourceShortage, "too many sessions")
			continue
		}
		workers.Go(func() {
			defer func() { <-slots }()
			h.session(ctx, c)
		})
	}
}

// session answers one exec request. Requests for anything else are refused.
func (h *SSHHost) session(ctx context.Context, c ssh.NewChannel) {
	ch, requests, err := c.Accept()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sshCommandTime)
	var command sync.WaitGroup
	defer command.Wait()
	defer cancel()
	started := false
	for r := range requests {
		var payload struct{ Command string }
		ok := r.Type == "exec" && !started && ssh.Unmarshal(r.Payload, &payload) == nil
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		started = true
		command.Go(func() {
			status := h.exec(ctx, payload.Command, ch)
			_ = ch.CloseWrite()
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = ch.Close()
		})
	}
}

// exec answers a command, or runs one of the list, and gives its exit status.
func (h *SSHHost) exec(ctx context.Context, command string, ch ssh.Channel) uint32 {
	stdout, stderr := io.Writer(ch), io.Writer(ch.Stderr())
	if h.conf.Answer != nil {
		if h.conf.OnExec != nil {
			h.conf.OnExec(command)
		}
		return h.conf.Answer(ctx, command, ch, stdout, stderr)
	}
	if command == "exit 0" {
		return 0 // how a login is tried; no program, so it is not in the list
	}
	argv, ok := allowedCommand(command)
	if !ok {
		_, _ = fmt.Fprintln(stderr, "command not allowed on the demo host")
		return 126
	}
	path, err := lookPath(argv[0])
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: not installed on this machine\n", argv[0])
		return 127
	}
	if h.conf.OnExec != nil {
		h.conf.OnExec(command)
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch exit, _ := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "killed: it took too long")
		return 137
	case exit != nil && exit.ExitCode() >= 0:
		return uint32(exit.ExitCode())
	}
	h.conf.Log.Warn("demo SSH host: a command failed", "command", argv[0], "err", err)
	return 255
}

// Whole commands, words joined by one space. None takes a file that is not
// named here, writes, waits for ever or shows an environment.
const psField = `(?:pid|ppid|user|stat|pcpu|pmem|%cpu|%mem|rss|vsz|nlwp|etime|time|comm|args)`

var demoCommands = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`df(?: -[hHTPikla]+){0,3}(?: /[A-Za-z0-9._/-]*)?`,
	`free(?: -[bkmghtwl]+){0,2}`,
	`uptime(?: -[ps])?`,
	`uname(?: -[asnrvmpio]+)?`,
	`nproc(?: --all)?`,
	`id`,
	`ps -ef`,
	`ps aux(?: --sort=-?` + psField + `)?`,
	`ps -eo ` + psField + `(?:,` + psField + `)*(?: --sort=-?` + psField + `)?`,
	`ss -(?:s|[tuln]*l[tuln]*)`,
	`vmstat(?: -[swn])?(?: [1-5](?: [1-5])?)?`,
	`cat /proc/(?:loadavg|meminfo|mounts|uptime|version|stat|vmstat|diskstats|net/dev|pressure/(?:cpu|memory|io))`,
	`cat /etc/os-release`,
}, "|") + `)$`)

func allowedCommand(command string) ([]string, bool) {
	argv, ok := splitWords(command)
	if !ok || !demoCommands.MatchString(strings.Join(argv, " ")) {
		return nil, false
	}
	// A lone interval never ends: vmstat is called as "vmstat 1 3" or not at all.
	if argv[0] == "vmstat" && len(argv) == 2 && !strings.HasPrefix(argv[1], "-") {
		return nil, false
	}
	return argv, true
}

// splitWords splits a command as a shell would if it had quotes and nothing
// else; for everything that a shell gives a meaning it says no.
func splitWords(command string) ([]string, bool) {
	var words []string
	var word strings.Builder
	in := false // a word has begun; it may be empty
	for rest := command; rest != ""; rest = rest[1:] {
		switch c := rest[0]; {
		case c == ' ':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		case c == '\'' || c == '"':
			quoted, after, closed := strings.Cut(rest[1:], string(c))
			if !closed || strings.ContainsFunc(quoted, notPlain) {
				return nil, false
			}
			word.WriteString(quoted)
			in = true
			rest = string(c) + after
		case notPlain(rune(c)):
			return nil, false
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words, len(words) > 0
}

// notPlain says whether r could mean more than itself. A space within quotes is
// refused too: no word of the list has one, and joined words stay unambiguous.
func notPlain(r rune) bool {
	return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-", r)
}

func lookPath(name string) (string, error) {
	var err error
	for _, dir := range []string{"/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/"} {
		var path string
		if path, err = exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", err
}
