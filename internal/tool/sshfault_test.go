package tool

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// host is an SSH server that misbehaves as a test says. OpenSSH cannot be made to.
type host struct {
	t        *testing.T
	listener net.Listener
	key      ssh.Signer
	// exec answers a command. It may keep requests.
	exec func(ch ssh.Channel, command string, requests <-chan *ssh.Request)
	// says is what it answers to killCommand.
	says string
	// accept may take a raw connection for itself.
	accept func(net.Conn) (taken bool)

	once  sync.Once
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

func newHost(t *testing.T) *host {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &host{t: t, listener: l, key: key}
	t.Cleanup(func() {
		_ = l.Close()
		h.cut()
		h.wg.Wait()
	})
	return h
}

func (h *host) listen() {
	for {
		c, err := h.listener.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.conns = append(h.conns, c)
		h.mu.Unlock()
		h.wg.Go(func() { h.serve(c) })
	}
}

// cut closes all connections.
func (h *host) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Close()
	}
}

func (h *host) serve(c net.Conn) {
	if h.accept != nil && h.accept(c) {
		return
	}
	conf := &ssh.ServerConfig{
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return &ssh.Permissions{}, nil },
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) != "hunter2hunter2" {
				return nil, io.EOF
			}
			return &ssh.Permissions{}, nil
		},
	}
	conf.AddHostKey(h.key)
	conn, channels, requests, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	h.wg.Go(func() { ssh.DiscardRequests(requests) })
	for n := range channels {
		if n.ChannelType() != "session" {
			_ = n.Reject(ssh.UnknownChannelType, "no")
			continue
		}
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		h.wg.Go(func() {
			for r := range requests {
				if r.Type == "env" && !r.WantReply && slices.ContainsFunc(marks[:], func(name string) bool { return strings.HasPrefix(string(r.Payload[4:]), name+"\x00") }) {
					continue
				}
				if r.Type != "exec" {
					_ = r.Reply(false, nil)
					h.t.Errorf("J16: the client asked for %s", r.Type)
					continue
				}
				_ = r.Reply(true, nil)
				if command := string(r.Payload[4:]); strings.HasPrefix(command, killCommand) {
					_, _ = io.WriteString(ch, h.says)
					exit(ch, 0)
				} else {
					h.exec(ch, command, requests)
				}
				for r := range requests {
					_ = r.Reply(false, nil)
				}
				return
			}
		})
	}
}

func exit(ch ssh.Channel, status uint32) {
	_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
	_ = ch.Close()
}

// hop leads to the host, which serves from the first call on: it is configured then.
func (h *host) hop(t *testing.T) Hop {
	t.Helper()
	h.once.Do(func() { h.wg.Go(h.listen) })
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	return Hop{
		Target: ops.Target{ID: ops.NewID(), Name: "bad", Kind: "ssh", Address: "127.0.0.1", Port: h.listener.Addr().(*net.TCPAddr).Port, User: "u",
			HostKey: string(ssh.MarshalAuthorizedKey(h.key.PublicKey()))},
		Credential: ops.Credential{ID: ops.NewID(), Name: "key", Kind: "ssh_key", Version: 1},
		Open:       func() (ops.Secret, error) { return ops.NewSecret(string(pem.EncodeToMemory(block))), nil },
	}
}

func pool(t *testing.T) *Pool {
	t.Helper()
	p := NewPool(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return p
}

func TestSignalAndHangUp(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	heard := make(chan string, 10)
	h.exec = func(ch ssh.Channel, command string, requests <-chan *ssh.Request) {
		_, _ = io.WriteString(ch, "started "+command+"\n")
		for r := range requests {
			heard <- r.Type + " " + string(r.Payload[4:])
			if command == "obedient" {
				_, _ = io.WriteString(ch, "last words\n")
				_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Signal string
					Core   bool
					Error  string
					Lang   string
				}{"KILL", false, "", ""}))
				_ = ch.Close()
			}
		}
		heard <- "closed"
	}
	p := pool(t)
	p.killing, p.grace = 10*time.Second, 2*time.Second // a machine that does other things is no stubborn host
	const unconfirmed = "; the host did not confirm that it was killed"
	for _, tt := range []struct{ says, command, want string }{
		{saysNone, "obedient", ""},
		{saysNone, "stubborn", unconfirmed},
		{saysKilled, "stubborn", ""}, // something else holds its output
		{"", "obedient", unconfirmed},
		{"sh: killed\n", "obedient", unconfirmed},
		{strings.Repeat(saysKilled, 1<<20), "obedient", unconfirmed},
	} {
		h.says = tt.says
		ctx, cancel := context.WithCancelCause(t.Context())
		out, err := p.Run(ctx, []Hop{h.hop(t)}, nil, tt.command, Sink{Live: func(string) { cancel(ops.Errorf(ops.CodeForbidden, "the run has ended")) }})
		require.NoError(t, err)
		require.Equal(t, "the run has ended"+tt.want, out.Stopped)
		require.Nil(t, out.ExitCode)
		require.Equal(t, "signal KILL", <-heard)
		require.Equal(t, "closed", <-heard)
		if tt.command == "obedient" {
			require.Equal(t, "started obedient\nlast words\n", out.Text)
		}
	}
}

func TestHostThatHangs(t *testing.T) {
	t.Parallel()
	t.Run("before its banner", func(t *testing.T) {
		t.Parallel()
		h := newHost(t)
		h.accept = func(net.Conn) bool { return true }
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := pool(t).Run(ctx, []Hop{h.hop(t)}, nil, "x", Sink{})
		require.Equal(t, ops.CodeUnavailable, ops.CodeOf(err))
	})
	t.Run("with a command", func(t *testing.T) {
		t.Parallel()
		h := newHost(t)
		started := make(chan struct{})
		h.exec = func(ssh.Channel, string, <-chan *ssh.Request) { close(started) }
		p := pool(t)
		p.dial = freezeAt(started)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		out, err := p.Run(ctx, []Hop{h.hop(t)}, nil, "x", Sink{})
		require.NoError(t, err)
		require.Contains(t, out.Stopped, "did not confirm")
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(t, p.conns, "a connection of a host that hangs is not used again")
	})
	t.Run("with everything", func(t *testing.T) {
		t.Parallel()
		h := newHost(t)
		started := make(chan struct{})
		h.exec = func(ssh.Channel, string, <-chan *ssh.Request) { close(started) }
		p := pool(t)
		p.keepalive, p.answer = 20*time.Millisecond, 50*time.Millisecond
		p.dial = freezeAt(started)
		hop := h.hop(t)
		out, err := p.Run(t.Context(), []Hop{hop}, nil, "x", Sink{})
		require.NoError(t, err)
		require.Contains(t, out.Stopped, "was lost; whether the command ended is not known")
	})
}

func freezeAt(moment chan struct{}) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &freezing{Conn: c, from: moment}, err
	}
}

// freezing swallows what is written from some moment on.
type freezing struct {
	net.Conn
	from chan struct{}
}

func (f *freezing) Write(p []byte) (int, error) {
	select {
	case <-f.from:
		return len(p), nil
	default:
		return f.Conn.Write(p)
	}
}

func TestConnectionLost(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var mu sync.Mutex
	runs := map[string]int{}
	h.exec = func(ch ssh.Channel, command string, _ <-chan *ssh.Request) {
		mu.Lock()
		runs[command]++
		mu.Unlock()
		_, _ = io.WriteString(ch, "part\n")
		if command == "cut" {
			h.cut()
			return
		}
		exit(ch, 0)
	}
	p := pool(t)
	hop := h.hop(t)
	out, err := p.Run(t.Context(), []Hop{hop}, nil, "cut", Sink{})
	require.NoError(t, err)
	require.Contains(t, out.Stopped, "lost")
	require.Nil(t, out.ExitCode)
	// A dead connection costs the next command nothing, and is not noticed by its caller.
	for range 20 {
		out, err = p.Run(t.Context(), []Hop{hop}, nil, "fine", Sink{})
		require.NoError(t, err)
		require.Equal(t, "part\n", out.Text)
		h.cut()
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]int{"cut": 1, "fine": 20}, runs, "each command ran once")
}

// TestGigabytes: memory does not grow with output, and the end is kept; so is
// the start, as evidence, up to its bounds.
//
// It is not parallel: others have deadlines, and this takes all that there is.
//
// threats: J15
func TestGigabytes(t *testing.T) {
	const size = gigabyte
	h := newHost(t)
	h.exec = func(ch ssh.Channel, _ string, _ <-chan *ssh.Request) {
		chunk := []byte(strings.Repeat("0123456789abcde\n", 2048))
		for sent := 0; sent < size; sent += len(chunk) {
			if _, err := ch.Write(chunk); err != nil {
				return
			}
		}
		_, _ = io.WriteString(ch, "the end\n")
		exit(ch, 3)
	}
	var most uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
	})
	p, hop := pool(t), h.hop(t)
	var commands sync.WaitGroup
	for range 8 {
		commands.Go(func() {
			live, kept := 0, int64(0)
			out, err := p.Run(t.Context(), []Hop{hop}, nil, "x", Sink{
				Live: func(s string) { live += len(s) },
				Keep: func(c ops.EvidenceChunk) error { kept += int64(c.Size); return nil },
			})
			if err != nil || out.ExitCode == nil || *out.ExitCode != 3 || !strings.HasSuffix(out.Text, "the end\n") ||
				out.Truncated != int64(size)+8-2*plain.Half || live != 2*plain.Half || kept != out.Kept.Size ||
				out.Kept.Size < min(size, maxKept-chunkSize) || out.Kept.Size > maxKept || out.Kept.Whole != int64(size)+8 {
				t.Errorf("%v, exit %v, truncated %d, live %d, kept %d of %+v", err, out.ExitCode, out.Truncated, live, kept, out.Kept)
			}
		})
	}
	commands.Wait()
	close(stop)
	wg.Wait()
	require.Less(t, most, uint64(256<<20)) // of all tests that run now
}

func TestPassword(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.exec = func(ch ssh.Channel, _ string, _ <-chan *ssh.Request) {
		_, _ = io.WriteString(ch, "the password is hunter2hunter2\n")
		_, _ = io.WriteString(ch.Stderr(), "aHVudGVyMmh1bnRlcjI=\n")
		exit(ch, 0)
	}
	hop := h.hop(t)
	hop.Credential.Kind = "ssh_password"
	hop.Open = func() (ops.Secret, error) { return ops.NewSecret("hunter2hunter2"), nil }
	p := pool(t)
	for range 2 { // the second time on the pooled connection, where nothing is opened
		out, err := p.Run(t.Context(), []Hop{hop}, nil, "x", Sink{})
		require.NoError(t, err)
		require.NotContains(t, out.Text, "hunter2")
		require.NotContains(t, out.Text, "aHVudGVyMmh1bnRl")
		require.Equal(t, 2, strings.Count(out.Text, ops.Redacted))
		hop.Open = func() (ops.Secret, error) {
			t.Error("opened again")
			return ops.Secret{}, nil
		}
	}
	hop.Credential.Version++
	hop.Open = func() (ops.Secret, error) { return ops.NewSecret("wrong wrong"), nil }
	_, err := p.Run(t.Context(), []Hop{hop}, nil, "x", Sink{})
	require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
	require.NotContains(t, err.Error(), "wrong wrong")
}

func TestIdleConnectionCloses(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.exec = func(ch ssh.Channel, _ string, _ <-chan *ssh.Request) { exit(ch, 0) }
	p := pool(t)
	p.idle, p.keepalive = 10*time.Millisecond, 5*time.Millisecond
	_, err := p.Run(t.Context(), []Hop{h.hop(t)}, nil, "x", Sink{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.conns) == 0
	}, 5*time.Second, 5*time.Millisecond)
}

func TestClosedPool(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	running := make(chan struct{})
	h.exec = func(ch ssh.Channel, _ string, requests <-chan *ssh.Request) {
		close(running)
		for range requests {
		}
	}
	p := pool(t)
	done := make(chan Outcome, 1)
	go func() {
		out, _ := p.Run(t.Context(), []Hop{h.hop(t)}, nil, "x", Sink{})
		done <- out
	}()
	<-running
	p.Close()
	require.Contains(t, (<-done).Stopped, "lost")
	_, err := p.Run(t.Context(), []Hop{h.hop(t)}, nil, "x", Sink{})
	require.Equal(t, ops.CodeUnavailable, ops.CodeOf(err))
}

// TestReadFileOfALiar: what a host says of where a path leads is its own text, also
// in the error of who refuses to read there. It does not even wait to be asked.
//
// threats: J18
func TestReadFileOfALiar(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.exec = func(ch ssh.Channel, _ string, _ <-chan *ssh.Request) {
		_, _ = io.WriteString(ch, "/tmp/\x1b]0;title\x07\u202e\x00hunter2\u200bhunter2\n1\n")
		_, _ = io.Copy(io.Discard, ch)
		exit(ch, 96)
	}
	hop := h.hop(t)
	hop.Credential.Kind = "ssh_password"
	hop.Open = func() (ops.Secret, error) { return ops.NewSecret("hunter2hunter2"), nil }
	out, err := sshReadFile(pool(t)).Run(t.Context(), Call{Args: Args{"path": "/var/log/x"}, Hops: []Hop{hop}, Leads: func(path string) error {
		return ops.Errorf(ops.CodeForbidden, "it leads to %s", path)
	}})
	require.Empty(t, out)
	require.Equal(t, &ops.Error{Code: ops.CodeForbidden, Message: "it leads to /tmp/" + ops.Redacted}, err)
}
