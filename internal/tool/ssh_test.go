package tool_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPool(t testing.TB) *tool.Pool {
	t.Helper()
	p := tool.NewPool(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return p
}

// hop is a hop with a key, and counts how often the key was opened.
func hop(target ops.Target, secret ops.Secret, opened *atomic.Int32) tool.Hop {
	return tool.Hop{
		Target:     target,
		Credential: ops.Credential{ID: ops.NewID(), Name: "key", Kind: "ssh_key", Version: 1},
		Open: func() (ops.Secret, error) {
			if opened != nil {
				opened.Add(1)
			}
			return secret, nil
		},
	}
}

func run(t testing.TB, p *tool.Pool, command string, hops ...tool.Hop) tool.Outcome {
	t.Helper()
	out, err := p.Run(t.Context(), hops, nil, command, tool.Sink{})
	require.NoError(t, err)
	return out
}

func code(n int) *int { return &n }

// threats: J15
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t, debian)
	var opened atomic.Int32
	h := hop(s.Target("demo"), s.Key, &opened)
	p := newPool(t)

	require.Equal(t, tool.Outcome{Text: "hello\n", ExitCode: code(0)}, run(t, p, "echo hello", h))
	require.Equal(t, tool.Outcome{ExitCode: code(7)}, run(t, p, "exit 7", h))
	require.Equal(t, "out\nerr\n", run(t, p, "echo out; sleep 0.1; echo err >&2", h).Text)
	// No input, no terminal, nothing of our environment.
	require.Equal(t, "not a tty\n", run(t, p, "cat; tty", h).Text)
	require.NotContains(t, run(t, p, "env", h).Text, "TERM=")
	require.Equal(t, "é\n", run(t, p, `printf '\033[31m\303\251\033[0m\r\n'`, h).Text)
	killed := run(t, p, "kill -9 $$", h)
	require.Contains(t, killed.Text, `ended by signal "KILL"`)
	require.Equal(t, int32(1), opened.Load(), "one connection, one login")

	t.Run("the key does not come out", func(t *testing.T) {
		t.Parallel()
		lines := strings.Split(s.Key.Reveal(), "\n")
		out := run(t, p, "cat "+s.KeyFile+"; base64 -w0 "+s.KeyFile+"; echo; head -n 2 "+s.KeyFile, h)
		for _, line := range lines[1 : len(lines)-2] {
			require.NotContains(t, out.Text, line)
		}
		require.NotContains(t, out.Text, base64.StdEncoding.EncodeToString([]byte(lines[2]))[4:60])
		require.Contains(t, out.Text, ops.Redacted)
	})
	t.Run("live", func(t *testing.T) {
		t.Parallel()
		live := make(chan string, 10)
		done := make(chan tool.Outcome, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			out, err := p.Run(ctx, []tool.Hop{h}, nil, "echo first; sleep 60; echo second", tool.Sink{Live: func(s string) { live <- s }})
			if err == nil {
				done <- out
			}
		}()
		require.Equal(t, "first\n", <-live)
		start := time.Now()
		cancel(ops.Errorf(ops.CodeForbidden, "the run has ended"))
		out := <-done
		require.Equal(t, "first\n", out.Text)
		require.Equal(t, "the run has ended", out.Stopped)
		require.Nil(t, out.ExitCode)
		require.Less(t, time.Since(start), 2*time.Second)
	})
	t.Run("over before the start", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(ops.Errorf(ops.CodeForbidden, "the run has ended"))
		_, err := p.Run(ctx, []tool.Hop{hop(s.Target("other"), s.Key, nil)}, nil, "echo x", tool.Sink{})
		require.ErrorContains(t, err, "before the command was started")
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		var logins atomic.Int32
		h := hop(s.Target("many"), s.Key, &logins)
		var wg sync.WaitGroup
		for i := range 200 { // a connection of OpenSSH takes 10
			wg.Go(func() {
				out, err := p.Run(t.Context(), []tool.Hop{h}, nil, fmt.Sprintf("sleep 0.05; echo %d", i), tool.Sink{})
				if err != nil || out.Text != fmt.Sprintf("%d\n", i) {
					t.Errorf("%d: %q %v", i, out.Text, err)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, logins.Load(), int32(4))
	})
	t.Run("much output", func(t *testing.T) {
		t.Parallel()
		out := run(t, p, "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end", h)
		require.Less(t, len(out.Text), 257<<10)
		require.Equal(t, int64(50_000_005-256<<10), out.Truncated)
		require.True(t, strings.HasSuffix(out.Text, "x\nend\n"))
	})
	t.Run("wrong login", func(t *testing.T) {
		t.Parallel()
		other, _ := sshtest.Key(t, "")
		_, err := p.Run(t.Context(), []tool.Hop{hop(s.Target("stranger"), other, nil)}, nil, "id", tool.Sink{})
		require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
		require.Contains(t, ops.MessageOf(err), "refuses the login")
	})
	t.Run("unusable credential", func(t *testing.T) {
		t.Parallel()
		for secret, want := range map[string]string{"garbage": "not a PEM", `{"key":"x","pass":"y"}`: "JSON is not"} {
			_, err := p.Run(t.Context(), []tool.Hop{hop(s.Target("x"), ops.NewSecret(secret), nil)}, nil, "id", tool.Sink{})
			require.Contains(t, ops.MessageOf(err), want)
			require.NotContains(t, err.Error(), secret)
		}
		h := hop(s.Target("x"), s.Key, nil)
		h.Open = func() (ops.Secret, error) { return ops.Secret{}, errors.New("the seal is broken") }
		_, err := p.Run(t.Context(), []tool.Hop{h}, nil, "id", tool.Sink{})
		require.ErrorContains(t, err, "the seal is broken")
		require.Equal(t, ops.CodeInternal, ops.CodeOf(err))
		h = hop(s.Target("x"), s.Key, nil)
		h.Credential.Kind = "llm_key"
		_, err = p.Run(t.Context(), []tool.Hop{h}, nil, "id", tool.Sink{})
		require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		gone := s.Target("gone")
		gone.Port = 1
		_, err := p.Run(t.Context(), []tool.Hop{hop(gone, s.Key, nil)}, nil, "id", tool.Sink{})
		require.Equal(t, ops.CodeUnavailable, ops.CodeOf(err))
		require.Contains(t, ops.MessageOf(err), "cannot be reached")
	})
}

// What sshd takes of its clients' environment as Debian and Red Hat set it up.
const (
	debian = "AcceptEnv LANG LC_* COLORTERM NO_COLOR"
	redHat = "AcceptEnv LANG LC_CTYPE LC_NUMERIC LC_TIME LC_COLLATE LC_MONETARY LC_MESSAGES\n" +
		"AcceptEnv LC_PAPER LC_NAME LC_ADDRESS LC_TELEPHONE LC_MEASUREMENT\n" +
		"AcceptEnv LC_IDENTIFICATION LC_ALL LANGUAGE\n" +
		"AcceptEnv XMODIFIERS"
)

// TestOpenSSHKill: a command that is stopped ends with all that it has started,
// and nothing else does; or it is said that nobody knows.
//
// threats: J15
func TestOpenSSHKill(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{"debian": debian, "red hat": redHat} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.New(t, config)
			h := hop(s.Target("demo"), s.Key, nil)
			p := newPool(t)
			began, apart := make(chan string, 1), make(chan tool.Outcome, 1)
			go func() {
				out, _ := p.Run(t.Context(), []tool.Hop{h}, nil, "echo begun; cat "+s.Dir+"/wait", tool.Sink{Live: func(text string) { began <- text }})
				apart <- out
			}()
			require.NoError(t, syscall.Mkfifo(s.Dir+"/wait", 0o600))
			<-began
			for i, command := range []string{
				"sleep N",
				"sleep N | cat",
				"timeout 60 sleep N",
				"timeout 60 sleep N | cat",
				"sh -c 'timeout 60 sleep N; true'",
				"sh -c 'timeout 60 sleep N >/dev/null 2>&1; true'",
				"trap '' TERM; sleep N; true",
				"setsid sleep N & wait",
				"nohup sleep N >/dev/null 2>&1 & cat " + s.Dir + "/wait",
				"(setsid nohup sleep N >/dev/null 2>&1 &); cat " + s.Dir + "/wait",
				"env -i sleep N; true",
				"env -i setsid sh -c 'sleep N; true' >/dev/null 2>&1 & cat " + s.Dir + "/wait",
			} {
				n := fmt.Sprintf("6%d.%d", i, s.Port)
				command = strings.ReplaceAll(command, "N", n)
				ctx, cancel := context.WithCancelCause(t.Context())
				done := make(chan tool.Outcome, 1)
				go func() {
					out, _ := p.Run(ctx, []tool.Hop{h}, nil, command, tool.Sink{})
					done <- out
				}()
				require.Eventually(t, func() bool { return slices.Contains(processes(t, n), "sleep "+n) }, 10*time.Second, 5*time.Millisecond, command)
				start := time.Now()
				cancel(ops.Errorf(ops.CodeForbidden, "the run has ended"))
				require.Equal(t, tool.Outcome{Stopped: "the run has ended"}, <-done, command)
				require.Less(t, time.Since(start), 2*time.Second, command)
				require.Empty(t, processes(t, n), command)
			}
			require.NoError(t, os.WriteFile(s.Dir+"/wait", []byte("survived\n"), 0o600))
			require.Equal(t, "begun\nsurvived\n", (<-apart).Text)
		})
	}
	t.Run("a host that takes no mark", func(t *testing.T) {
		t.Parallel()
		s := sshtest.New(t)
		p := newPool(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		out, err := p.Run(ctx, []tool.Hop{hop(s.Target("demo"), s.Key, nil)}, nil, "sleep 5", tool.Sink{})
		require.NoError(t, err)
		require.Equal(t, tool.Outcome{Stopped: "the time is over; the host did not confirm that it was killed"}, out)
		require.Less(t, time.Since(start), 3*time.Second)
	})
	t.Run("several of one connection at once", func(t *testing.T) {
		t.Parallel()
		s := sshtest.New(t, debian)
		h := hop(s.Target("demo"), s.Key, nil)
		p := newPool(t)
		run(t, p, "true", h)
		n := fmt.Sprintf("69.%d", s.Port)
		ctx, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				out, err := p.Run(ctx, []tool.Hop{h}, nil, "sleep "+n, tool.Sink{})
				if err != nil || out.Stopped != "the run has ended" {
					t.Errorf("%+v %v", out, err)
				}
			})
		}
		require.Eventually(t, func() bool { return len(processes(t, n)) == 4 }, 10*time.Second, 5*time.Millisecond)
		cancel(ops.Errorf(ops.CodeForbidden, "the run has ended"))
		all.Wait()
		require.Empty(t, processes(t, n))
	})
}

// processes are the command lines with these words, of processes that are not at
// their end.
func processes(t *testing.T, words string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range all {
		text, err := os.ReadFile(path)
		if line := strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " ")); err == nil && strings.Contains(line, words) {
			found = append(found, line)
		}
	}
	return found
}

// TestOpenSSHPassphrase is not parallel: opening such a key takes a second of
// computing by design, ten with the race detector, and a login has a deadline.
func TestOpenSSHPassphrase(t *testing.T) {
	s := sshtest.New(t)
	private, public := sshtest.Key(t, "correct horse")
	s.Authorize(public)
	p := newPool(t)
	both, err := json.Marshal(map[string]string{"key": private.Reveal(), "passphrase": "correct horse"})
	require.NoError(t, err)
	h := hop(s.Target("a"), ops.NewSecret(string(both)), nil)
	require.Equal(t, "[redacted]\n", run(t, p, "echo correct' 'horse", h).Text)

	_, err = p.Run(t.Context(), []tool.Hop{hop(s.Target("b"), private, nil)}, nil, "id", tool.Sink{})
	require.Contains(t, ops.MessageOf(err), "passphrase is missing")
	wrong, err := json.Marshal(map[string]string{"key": private.Reveal(), "passphrase": "battery staple"})
	require.NoError(t, err)
	_, err = p.Run(t.Context(), []tool.Hop{hop(s.Target("c"), ops.NewSecret(string(wrong)), nil)}, nil, "id", tool.Sink{})
	require.Contains(t, ops.MessageOf(err), "does not open with its passphrase")
}

// TestOpenSSHHostKey is J12: a host that cannot prove the pinned key gets
// neither a login nor makes us open the credential.
//
// threats: J12
func TestOpenSSHHostKey(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	p := newPool(t)
	var opened atomic.Int32
	_, other := sshtest.Key(t, "")
	for name, pinned := range map[string]string{
		"another key":         other,
		"another type":        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
		"none":                "",
		"a comment and blank": "# nothing\n\n",
	} {
		target := s.Target("host")
		target.HostKey = pinned
		_, err := p.Run(t.Context(), []tool.Hop{hop(target, s.Key, &opened)}, nil, "id", tool.Sink{})
		var changed *tool.HostKeyError
		require.ErrorAs(t, err, &changed, name)
		require.Equal(t, "host", changed.Target)
		require.Equal(t, sshtest.Fingerprint(t, s.HostKey), changed.Offered, name)
		if strings.Contains(pinned, "AAAA") {
			require.Equal(t, []string{sshtest.Fingerprint(t, pinned)}, changed.Pinned, name)
			require.Contains(t, ops.MessageOf(err), changed.Pinned[0])
		}
		require.Equal(t, ops.CodeForbidden, ops.CodeOf(err))
		require.Contains(t, ops.MessageOf(err), changed.Offered)
	}
	broken := s.Target("broken")
	broken.HostKey = "ssh-ed25519 AAAA"
	_, err := p.Run(t.Context(), []tool.Hop{hop(broken, s.Key, &opened)}, nil, "id", tool.Sink{})
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))

	require.Zero(t, opened.Load(), "the credential was opened for a host that is not the pinned one")
	require.NotContains(t, s.Log(), "publickey", "a login was tried")
	require.NotContains(t, s.Log(), "Accepted")

	// One of several pinned keys suffices.
	several := s.Target("several")
	several.HostKey = other + "\n# now\n" + s.HostKey + "\n"
	require.Equal(t, "x\n", run(t, p, "echo x", hop(several, s.Key, nil)).Text)

	// A host that changes under a pooled connection: the connection is the one
	// that was proved; the next one is refused.
	target := s.Target("moved")
	h := hop(target, s.Key, &opened)
	require.Equal(t, "x\n", run(t, p, "echo x", h).Text)
	s.NewHostKey()
	s.Restart()
	h.Credential.Version++
	_, err = p.Run(t.Context(), []tool.Hop{h}, nil, "echo x", tool.Sink{})
	var changed *tool.HostKeyError
	require.ErrorAs(t, err, &changed)
}

func TestOpenSSHRSA(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	p := newPool(t)
	s.NewRSAHostKey()
	s.Restart()
	require.Contains(t, s.HostKey, "ssh-rsa ")
	require.Equal(t, "x\n", run(t, p, "echo x", hop(s.Target("rsa"), s.Key, nil)).Text)
}

func TestOpenSSHJump(t *testing.T) {
	t.Parallel()
	jump, inner := sshtest.New(t), sshtest.New(t)
	p := newPool(t)
	var opened atomic.Int32
	first, last := hop(jump.Target("jump"), jump.Key, &opened), hop(inner.Target("inner"), inner.Key, &opened)
	require.Equal(t, "through\n", run(t, p, "echo through", first, last).Text)
	require.Equal(t, int32(2), opened.Load())
	require.Contains(t, jump.Log(), "Accepted publickey")
	require.Contains(t, inner.Log(), "Accepted publickey")

	// The key of the host behind is checked end to end, and the jump host's too.
	_, other := sshtest.Key(t, "")
	for i, name := range []string{"jump", "inner"} {
		hops := []tool.Hop{first, last}
		hops[i].Target.HostKey = other
		_, err := p.Run(t.Context(), hops, nil, "id", tool.Sink{})
		var changed *tool.HostKeyError
		require.ErrorAs(t, err, &changed)
		require.Equal(t, name, changed.Target)
	}
	// A jump host that does not forward.
	closed := sshtest.New(t, "AllowTcpForwarding no")
	_, err := p.Run(t.Context(), []tool.Hop{hop(closed.Target("closed"), closed.Key, nil), last}, nil, "id", tool.Sink{})
	require.Equal(t, ops.CodeUnavailable, ops.CodeOf(err))
}

// TestOpenSSHFewSessions: a server that allows one channel per connection gets
// more connections.
// TestOpenSSHAhead: a channel that is opened before it is used, or is not.
func TestOpenSSHAhead(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	p := newPool(t)
	h := []tool.Hop{hop(s.Target("demo"), s.Key, nil)}
	var none *tool.Ahead
	none.Close()
	require.Nil(t, p.Ahead(h), "there is no connection, and none is made ahead")
	run := func(a *tool.Ahead, command, want string) {
		out, err := p.Run(t.Context(), h, a, command, tool.Sink{})
		require.NoError(t, err)
		require.Equal(t, want, out.Text)
	}
	run(nil, "echo x", "x\n")
	for range 20 { // more than a connection has channels: each is given back
		a := p.Ahead(h)
		require.NotNil(t, a)
		run(a, "echo y", "y\n")
		a.Close()
		unused := p.Ahead(h)
		require.NotNil(t, unused)
		unused.Close()
		unused.Close()
	}
	// Used up, it is as none.
	a := p.Ahead(h)
	run(a, "echo z", "z\n")
	run(a, "echo z", "z\n")
	// All channels of the connection are taken: none ahead, and the call gets another connection.
	var held []*tool.Ahead
	require.Eventually(t, func() bool {
		a := p.Ahead(h)
		if a != nil {
			held = append(held, a)
		}
		return len(held) == 8
	}, 5*time.Second, time.Millisecond)
	require.Nil(t, p.Ahead(h))
	run(nil, "echo w", "w\n")
	for _, a := range held {
		a.Close()
	}
}

func TestOpenSSHFewSessions(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t, "MaxSessions 1")
	p := newPool(t)
	h := hop(s.Target("few"), s.Key, nil)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			out, err := p.Run(t.Context(), []tool.Hop{h}, nil, "sleep 0.3; echo x", tool.Sink{})
			if err != nil || out.Text != "x\n" {
				t.Errorf("%q %v", out.Text, err)
			}
		})
	}
	wg.Wait()
}

// TestOpenSSHGivesNothingAway: whatever a host would take, it gets no agent, no
// display, no port and nothing of our environment, and it opens no channel to us.
//
// threats: J16
func TestOpenSSHGivesNothingAway(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(t.TempDir(), "agent"))
	t.Setenv("DISPLAY", ":7")
	t.Setenv("LC_CANARY", "canary")
	s := sshtest.New(t, "AllowAgentForwarding yes", "X11Forwarding yes", "AllowTcpForwarding yes", "GatewayPorts yes", "PermitTunnel yes", "AcceptEnv *", "PermitUserEnvironment yes")
	p := newPool(t)
	h := hop(s.Target("generous"), s.Key, nil)
	env := run(t, p, "env; ls -d /tmp/ssh-* 2>/dev/null", h).Text
	require.Contains(t, env, "SSH_CONNECTION=")
	for _, given := range []string{"SSH_AUTH_SOCK", "DISPLAY", "LC_CANARY", "canary", "SSH_TTY"} {
		require.NotContains(t, env, given)
	}
	log := strings.ToLower(s.Log())
	for _, asked := range []string{"auth-agent-req", "x11-req", "tcpip-forward", "subsystem request", "pty-req", "direct-tcpip", "tun@openssh.com"} {
		require.NotContains(t, log, asked)
	}
	require.Contains(t, log, "starting session")
}
