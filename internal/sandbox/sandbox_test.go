package sandbox

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/plain"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asUser tells the second run of the tests, as a user without powers.
const asUser = "AKMATORI_SANDBOX_TEST_AS_USER"

func TestMain(m *testing.M) {
	Launch(os.Args[1:])
	flag.Parse()
	if err := Harden(); err != nil {
		panic(err)
	}
	if os.Geteuid() == 0 && os.Getenv(asUser) == "" {
		if err := againAsUser(64001); err != nil {
			fmt.Println("the tests as another user:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

func againAsUser(uid int) error {
	dir, err := os.MkdirTemp("", "sandbox-user")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chown(dir, uid, uid); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", "-test.run="+flag.Lookup("test.run").Value.String(), "-test.v="+flag.Lookup("test.v").Value.String())
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", os.Stdout, os.Stderr
	cmd.Env = []string{asUser + "=akmw_canary", "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	return cmd.Run()
}

// tempDir is one that everybody can pass through.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox-test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return dir
}

func open(t *testing.T, change ...func(*Config)) *Sandbox {
	t.Helper()
	cfg := Config{Root: filepath.Join(tempDir(t), "workspace"), Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func folder(t *testing.T, s *Sandbox, name string) *Folder {
	t.Helper()
	f, err := s.Folder(name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Remove()) })
	return f
}

func run(t *testing.T, f *Folder, text string) Outcome {
	t.Helper()
	out, err := f.Run(t.Context(), Command{Text: mark(text), Timeout: 30 * time.Second})
	require.NoError(t, err)
	return out
}

func code(n int) *int { return &n }

// mark replaces the first digits of the times that commands sleep, so that they
// are not taken for those of another run of these tests.
func mark(text string) string {
	return strings.ReplaceAll(text, "90007", fmt.Sprintf("9%07d", os.Getpid()))
}

// running says which processes have a word in their command line.
func running(word string) (found []string) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if data, _ := os.ReadFile(name); strings.Contains(string(data), mark(word)) {
			found = append(found, name+" "+strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return found
}

func TestRun(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	for text, want := range map[string]Outcome{
		"echo out; echo err >&2; exit 3":    {Text: "out\nerr\n", ExitCode: code(3)},
		"cat":                               {ExitCode: code(0)},
		"pwd":                               {Text: f.work() + "\n", ExitCode: code(0)},
		"nosuchprogram":                     {Text: "/bin/bash: line 1: nosuchprogram: command not found\n", ExitCode: code(127)},
		"-c x":                              {Text: "/bin/bash: line 1: -c: command not found\n", ExitCode: code(127)},
		"kill -TERM $$":                     {Stopped: "it was ended by a signal (terminated)"},
		`printf 'a\x1b[31mb\x07c\r\nd\xff'`: {Text: "abc\nd\uFFFD", ExitCode: code(0)},
		"umask":                             {Text: "0077\n", ExitCode: code(0)},
		"echo a > f && mkdir d && mv f d/g && cat d/g && rm -r d && touch $TMPDIR/x && mv $TMPDIR/x . && rm x": {Text: "a\n", ExitCode: code(0)},
		"cat <(echo sub)":       {Text: "sub\n", ExitCode: code(0)},
		"ulimit -n; ulimit -c":  {Text: "256\n0\n", ExitCode: code(0)},
		"ulimit -n 512 && echo": {Text: "/bin/bash: line 1: ulimit: open files: cannot modify limit: Operation not permitted\n", ExitCode: code(1)},
		"for i in {3..9}; do { echo >&$i; } 2>/dev/null && echo $i; done; true": {ExitCode: code(0)},
		"id -u | tr -d 0-9":                            {Text: "\n", ExitCode: code(0)},
		"nproc >/dev/null && free | head -c 1 | wc -c": {Text: "1\n", ExitCode: code(0)},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, run(t, f, text))
		})
	}
}

func TestEnvironmentIsFixed(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	out := run(t, f, "exec env")
	require.ElementsMatch(t, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + f.work(), "PWD=" + f.work(), "TMPDIR=" + f.tmp(),
		"LANG=C.UTF-8", "TERM=dumb", "SHLVL=0"}, strings.Split(strings.TrimSpace(out.Text), "\n"))
}

// The agent's memory holds the tokens of all runs. Nothing gives it away, with
// Landlock or, because it is hardened, without.
func TestTheAgentIsOutOfReach(t *testing.T) {
	t.Parallel()
	for name, abi := range map[string]int{"landlock": landlockABI(), "no landlock": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			s.abi = abi
			f := folder(t, s, "r1")
			agent := fmt.Sprintf("/proc/%d", os.Getpid())
			for _, text := range []string{
				"cat " + agent + "/environ", "cat " + agent + "/maps", "head -c 1 " + agent + "/mem", "ls " + agent + "/fd",
				"readlink -v " + agent + "/exe", "ls " + agent + "/root/", "ls " + agent + "/cwd/", "cat " + agent + "/auxv", "cat " + agent + fmt.Sprintf("/task/%d/environ", os.Getpid()),
				"cat /proc/$PPID/environ", "head -c 1 /proc/$PPID/mem", "ls /proc/$PPID/fd",
			} {
				out := run(t, f, text)
				require.NotEqual(t, code(0), out.ExitCode, "%s: %s", text, out.Text)
				require.NotContains(t, out.Text, "akmw_")
				require.Contains(t, out.Text, "denied", text)
			}
			if abi >= 6 || os.Geteuid() == 0 {
				require.NotEqual(t, code(0), run(t, f, fmt.Sprintf("kill -0 %d", os.Getpid())).ExitCode)
			}
			if abi >= 6 {
				require.NotEqual(t, code(0), run(t, f, "kill -0 $PPID").ExitCode)
			}
		})
	}
}

// TestNothingOutsideIsReadOrWritten tries by paths, by links and by descriptors.
//
// threats: C8
func TestNothingOutsideIsReadOrWritten(t *testing.T) {
	t.Parallel()
	s := open(t)
	f, other := folder(t, s, "r1"), folder(t, s, "r2")
	require.Equal(t, code(0), run(t, other, "echo theirs > secret; chmod -R a+rwX ..; true").ExitCode)
	outside := filepath.Join(tempDir(t), "token")
	require.NoError(t, os.WriteFile(outside, []byte("akmw_token"), 0o666))
	require.NoError(t, os.Chmod(outside, 0o666))
	require.NoError(t, f.Put("incident.json", []byte("given")))
	require.Error(t, f.Put("incident.json", []byte("again")))
	for _, name := range []string{"", "..", ".x", "work", "work/x", "/x", "a b"} {
		require.Error(t, f.Put(name, nil), name)
	}
	require.Equal(t, "given", run(t, f, "cat ../incident.json").Text)

	secret := filepath.Join(other.work(), "secret")
	for _, text := range []string{
		"cat " + outside, "echo x > " + outside, "echo x >> " + outside, "truncate -s 0 " + outside, "rm " + outside, "mv " + outside + " .",
		"ln " + outside + " hard", "ln -s " + outside + " soft; cat soft", "ln -sf " + outside + " soft; echo x > soft",
		"cat " + secret, "echo x > " + secret, "ls " + other.work(), "ls ..//..", "touch ../x", "echo x > ../incident.json", "mkdir ../../r3",
		"chmod 666 ../incident.json ; echo x > ../incident.json", "rm -f ../incident.json", "mv ../incident.json .", "cp /etc/passwd ../incident.json",
		"echo x > y && mv y ../incident.json", "ln ../incident.json z", "truncate -s 0 ../incident.json", "sed -i s/given/taken/ ../incident.json", "mv ../work ../w",
		"touch /tmp/x", "touch /var/tmp/x", "touch /dev/shm/x", "touch /x", "mknod null c 1 3", "mkfifo /tmp/p", "ls /root", "ls /home", "ls /run", "ls /var/log",
		"ls /proc", "cat /proc/self/environ", "cat /proc/1/cmdline", "echo 0 > /proc/self/oom_score_adj", "ls /sys",
		"cp /bin/true t && chmod 755 t && ./t", "printf '#!/bin/sh\\n' > s && chmod 755 s && ./s", "cat /etc/shadow",
	} {
		out := run(t, f, text)
		require.NotEqual(t, code(0), out.ExitCode, "%s: %s", text, out.Text)
		require.NotContains(t, out.Text, "akmw_token", text)
		require.NotContains(t, out.Text, "theirs", text)
	}
	data, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "akmw_token", string(data))
	require.Equal(t, "theirs\n", run(t, other, "cat secret").Text)
}

func TestNoNetworkNoNamespaces(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	s := open(t)
	for _, abi := range []int{s.abi, 0} { // seccomp alone must do
		s.abi = abi
		f := folder(t, s, "r"+strconv.Itoa(abi))
		for _, text := range []string{
			fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d", port), fmt.Sprintf("exec 3<>/dev/udp/127.0.0.1/%d", port),
			"unshare -r true", "unshare -Urn true",
		} {
			out := run(t, f, text)
			require.NotEqual(t, code(0), out.ExitCode, text)
			require.Contains(t, out.Text, "not permitted", text)
		}
		if perl, err := exec.LookPath("perl"); err == nil {
			out := run(t, f, perl+` -MSocket -e 'socket($s, PF_UNIX, SOCK_STREAM, 0) or die "unix"; for ([2,1],[2,2],[10,1],[16,3],[17,3],[40,1]) { socket($s, $_->[0], $_->[1], 0) and print "open @$_\n" } print "end\n"'`)
			require.Equal(t, "end\n", out.Text)
		}
	}
}

func TestForkBombIsBounded(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *Config) { c.Limits.Processes = 100 })
	f := folder(t, s, "r1")
	out, err := f.Run(t.Context(), Command{Text: mark("for i in $(seq 300); do sleep 90007001 & echo $i; done"), Timeout: 5 * time.Second})
	require.NoError(t, err)
	require.Contains(t, out.Text, "\n50\n")
	require.Contains(t, out.Text, "Resource temporarily unavailable")
	require.NotContains(t, out.Text, "\n150\n")
	require.Empty(t, running("90007001"))

	began := time.Now()
	bomb, err := f.Run(t.Context(), Command{Text: mark(":(){ : 90007002 | : 90007002 & }; : 90007002; while :; do :; done"), Timeout: time.Second})
	require.NoError(t, err)
	t.Logf("cleared away after %s: %s", time.Since(began).Round(time.Millisecond), bomb.Stopped)
	require.Less(t, time.Since(began), 3*time.Second)
	require.Empty(t, running("90007002"))
	require.Equal(t, "well\n", run(t, f, "echo well").Text)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *Config) { c.Limits = Limits{FileSize: 1 << 20, CPU: time.Second} })
	f := folder(t, s, "r1")
	out := run(t, f, "exec head -c 100M /dev/zero > big")
	require.Contains(t, out.Stopped, "file size limit exceeded", out.Text)
	info, err := os.Stat(filepath.Join(f.work(), "big"))
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), info.Size())
	require.Contains(t, run(t, f, "while :; do :; done").Stopped, "killed")
	require.Contains(t, run(t, f, "dd if=/dev/zero of=/dev/null bs=2G count=1").Text, "memory exhausted")
}

func TestTimeoutLeavesNothing(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	began := time.Now()
	out, err := f.Run(t.Context(), Command{Timeout: 700 * time.Millisecond, Text: mark(`echo begin
trap '' TERM HUP INT
sleep 90007101 & setsid sleep 90007102 & (setsid bash -c 'trap "" TERM; sleep 90007103 & sleep 90007104' >/dev/null 2>&1 &)
nohup setsid setsid sleep 90007105 < /dev/null > /dev/null 2>&1 &
kill -STOP $!
wait`)})
	require.NoError(t, err)
	require.Equal(t, Outcome{Text: "begin\n", Stopped: "it did not end within 700ms"}, out)
	require.Less(t, time.Since(began), 1700*time.Millisecond)
	require.Empty(t, running("9000710"))
}

func TestEndLeavesNothing(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	out := run(t, f, "sleep 90007201 & (setsid sleep 90007202 >/dev/null 2>&1 &); (setsid bash -c 'sleep 90007203 & disown; exec sleep 90007204' &); echo done")
	require.Equal(t, Outcome{Text: "done\n", ExitCode: code(0)}, out)
	require.Empty(t, running("9000720"))
}

func TestCancel(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("people stopped it")
	var asked time.Time
	out, err := f.Run(ctx, Command{Text: mark("echo there; setsid sleep 90007301 & yes 90007301"), Timeout: time.Minute, Live: func(text string) {
		if strings.HasPrefix(text, "there") {
			asked = time.Now()
			cancel(why)
		}
	}})
	require.ErrorIs(t, err, why)
	require.Contains(t, out.Text, "there\n")
	require.Less(t, time.Since(asked), time.Second)
	require.Empty(t, running("90007301"))
}

func TestBigOutputIsBounded(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	live := 0
	began := time.Now()
	out, err := f.Run(t.Context(), Command{Text: fmt.Sprintf("echo first; yes 123456789 | head -c %d; echo; echo last", bigOutput), Timeout: time.Minute,
		Live: func(text string) { live += len(text) }})
	require.NoError(t, err)
	t.Logf("%d MB took %s", bigOutput/1_000_000, time.Since(began).Round(time.Millisecond))
	require.Equal(t, code(0), out.ExitCode)
	require.Equal(t, int64(bigOutput+12-2*plain.Half), out.Truncated)
	require.LessOrEqual(t, len(out.Text), 2*plain.Half+100)
	require.True(t, strings.HasPrefix(out.Text, "first\n1234"))
	require.True(t, strings.HasSuffix(out.Text, "\n\nlast\n"))
	require.Equal(t, 2*plain.Half, live)
}

// On a kernel whose Landlock does not scope signals, a command may kill its
// supervisor. It does not get away with that.
func TestKilledSupervisor(t *testing.T) {
	s := open(t) // alone: what it leaves is looked for among all children of this process
	s.abi = 0
	f := folder(t, s, "r1")
	began := time.Now()
	out := run(t, f, "setsid sleep 90007401 & kill -9 $PPID; sleep 90007402")
	require.Equal(t, "its supervisor was killed", out.Stopped)
	require.Less(t, time.Since(began), 3*time.Second)
	require.Empty(t, running("9000740"))

	// One that is stopped is killed.
	began = time.Now()
	out, err := f.Run(t.Context(), Command{Text: mark("kill -STOP $PPID; sleep 90007403"), Timeout: 300 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, "it did not end within 300ms", out.Stopped)
	require.Less(t, time.Since(began), grace+2*time.Second)
	require.Empty(t, running("9000740"))
}

func TestManyAtATime(t *testing.T) {
	t.Parallel()
	s := open(t)
	for i := range 8 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			f := folder(t, s, "r"+strconv.Itoa(i))
			for range 4 {
				require.Equal(t, fmt.Sprintf("%d\n", i), run(t, f, fmt.Sprintf("echo %d > f; cat f", i)).Text)
			}
		})
	}
}

// TestOtherRunsAreLeftAlone tries what one user may do to all that is its own.
//
// threats: L5 L7
func TestOtherRunsAreLeftAlone(t *testing.T) {
	t.Parallel()
	library := tempDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(library, "how"), nil, 0o444))
	s := open(t, func(c *Config) { c.Library = library })
	f, other := folder(t, s, "r1"), folder(t, s, "r2")
	bystander := exec.Command("sleep", "60")
	if os.Geteuid() == 0 {
		bystander.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	require.NoError(t, bystander.Start())
	t.Cleanup(func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	})
	pid := strconv.Itoa(bystander.Process.Pid)
	limits := func() string {
		text, err := os.ReadFile("/proc/" + pid + "/limits")
		require.NoError(t, err)
		return string(text)
	}
	before := limits()
	for _, text := range []string{
		"chmod 0 " + other.work(), "chmod 0 ../../r2", "chmod 0 ../..", "chmod 0 ..", "chgrp " + strconv.Itoa(os.Getgid()) + " " + other.work(),
		"perl -e 'chmod(0, $ARGV[0]) or die $!' " + other.work(), "perl -e 'syscall(90, $ARGV[0], 0) == 0 or die $!' " + other.work(),
		"perl -e 'use POSIX; syscall(188, $ARGV[0], \"user.x\", \"y\", 1, 0) == 0 or die $!' " + other.work(),
		"prlimit --pid " + pid + " --nofile=1:1", "prlimit --pid " + strconv.Itoa(os.Getpid()) + " --core=0:0", "renice 19 -p " + pid, "taskset -p 1 " + pid, "kill -9 " + pid,
		"ipcmk -M 4096", "ipcmk -Q", "ipcmk -S 1",
	} {
		out := run(t, f, text)
		require.NotEqual(t, code(0), out.ExitCode, "%s: %s", text, out.Text)
		require.NotEqual(t, code(127), out.ExitCode, "%s: %s", text, out.Text)
	}
	require.Equal(t, before, limits())

	// A file that is open may be another's: its mode stays.
	require.Equal(t, code(0), run(t, f, "perl -e 'open(F, $ARGV[0]) or die $!; chmod(0, *F) or die $!' "+filepath.Join(library, "how")).ExitCode)
	info, err := os.Stat(filepath.Join(library, "how"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o444), info.Mode())
	require.Equal(t, "there\n", run(t, other, "echo there").Text)
}

// TestToolsThatSetModes do their work, though nothing has another mode for it.
func TestToolsThatSetModes(t *testing.T) {
	t.Parallel()
	f := folder(t, open(t), "r1")
	for _, text := range []string{
		"echo a > f && sed -i s/a/b/ f && cat f", "gzip -k f && zcat f.gz", "mkdir d && cp f d/f && tar cf d.tar d && rm -r d && tar xf d.tar && cat d/f",
		"sort -o f f && cat f", "install -m 600 f g 2> /dev/null; cat f", "awk '{print > \"h\"}' f && cat h", "nice cat f 2> /dev/null",
	} {
		require.Equal(t, Outcome{Text: "b\n", ExitCode: code(0)}, run(t, f, text), text)
	}
}

func TestFoldersAreRemovedWhateverIsInThem(t *testing.T) {
	t.Parallel()
	s := open(t)
	f, err := s.Folder("r1")
	require.NoError(t, err)
	keep := filepath.Join(tempDir(t), "keep")
	require.NoError(t, os.WriteFile(keep, nil, 0o600))
	require.Equal(t, code(0), run(t, f, "mkdir -p a/b/c && touch a/b/c/f && ln -s "+filepath.Dir(keep)+" a/link && umask 777 && mkdir closed a/closed && touch a/f").ExitCode)
	require.NoError(t, f.Remove())
	require.NoDirExists(t, f.dir)
	require.FileExists(t, keep)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "workspace")
	log := slog.New(slog.DiscardHandler)
	s, err := Open(t.Context(), Config{Root: root, Log: log})
	require.NoError(t, err)
	dead, err := s.Folder("dead")
	require.NoError(t, err)
	_, err = s.Folder("dead")
	require.ErrorIs(t, err, os.ErrExist)
	for _, name := range []string{"", ".", "..", "a/b", ".lock", "a b"} {
		_, err = s.Folder(name)
		require.Error(t, err, name)
	}

	_, err = Open(t.Context(), Config{Root: root, Log: log})
	require.ErrorContains(t, err, "another agent uses the workspace")
	require.DirExists(t, dead.dir)
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), Config{Root: root, Log: log})
	require.NoError(t, err)
	require.NoDirExists(t, dead.dir)
	require.NoError(t, s.Close())

	_, err = Open(t.Context(), Config{Root: "/proc/nowhere", Log: log})
	require.ErrorContains(t, err, "the workspace cannot be made")
	if os.Geteuid() == 0 {
		closed := tempDir(t)
		require.NoError(t, os.Chmod(closed, 0o700))
		_, err = Open(t.Context(), Config{Root: filepath.Join(closed, "w"), Log: log})
		require.ErrorContains(t, err, "cannot pass through "+closed)
	}
}
