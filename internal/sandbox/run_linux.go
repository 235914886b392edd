package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/akmatori/akmatori/internal/plain"
	"golang.org/x/sys/unix"
)

// grace is how long a supervisor may take to clear away what is below it.
const grace = 2 * time.Second

// spec is what the processes in between are told.
type spec struct {
	Command string
	Folder  string // work/ and tmp/ are in it
	Library string // may be read, too; may be empty
	ABI     int    // of Landlock; 0: do without
	Limits  Limits
}

// report is what the supervisor says at the end.
type report struct {
	Error  string // the command was not run
	Exit   int    // if Signal is 0
	Signal int
}

// Run runs a command and returns when nothing of it is left. It fails if the
// command could not be run or ctx has ended; a command that fails or whose time
// is up is an [Outcome].
func (f *Folder) Run(ctx context.Context, c Command) (Outcome, error) {
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	p, err := f.sandbox.start(spec{Command: c.Text, Folder: f.dir, Library: f.sandbox.cfg.Library, ABI: f.sandbox.abi, Limits: f.sandbox.cfg.Limits})
	if err != nil {
		return Outcome{}, err
	}
	over := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop(limited, over)
	}()
	reported := make(chan struct{})
	var r report
	var failed error
	go func() {
		defer close(reported)
		r, failed = f.sandbox.ended(p)
	}()
	out := &output{excerpt: plain.Excerpt{Live: c.Live}}
	_, _ = io.Copy(out, p.output) // its end is that of everything below the supervisor
	<-reported
	close(over)
	<-stopped
	_ = p.output.Close()

	var o Outcome
	o.Text, o.Truncated = out.close()
	switch {
	case ctx.Err() != nil:
		return o, context.Cause(ctx)
	case limited.Err() != nil:
		o.Stopped = fmt.Sprintf("it did not end within %s", c.Timeout)
	case failed != nil:
		o.Stopped = "its supervisor was killed"
	case r.Error != "":
		return Outcome{}, fmt.Errorf("sandbox: %s", r.Error)
	case r.Signal != 0:
		o.Stopped = fmt.Sprintf("it was ended by a signal (%s)", syscall.Signal(r.Signal))
	default:
		o.ExitCode = &r.Exit
	}
	return o, nil
}

// process is a supervisor, from outside.
type process struct {
	cmd     *exec.Cmd
	control *os.File // closing it stops the command
	output  *os.File
	report  *os.File
}

// start starts a supervisor and tells it what to do.
func (s *Sandbox) start(sp spec) (*process, error) {
	line, err := json.Marshal(sp)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	var files []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close()
		}
	}
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("sandbox: %w", err)
		}
		files = append(files, r, w)
	}
	theirs := []*os.File{files[0], files[3], files[5]}
	p := &process{control: files[1], output: files[2], report: files[4]}
	p.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{os.Args[0], argSupervise}, Env: []string{},
		Dir: "/", Stdin: files[0], Stdout: files[3], Stderr: files[3], ExtraFiles: []*os.File{files[5]},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if os.Geteuid() == 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	s.mu.Lock()
	err = p.cmd.Start()
	if err == nil {
		s.supervisors[p.cmd.Process.Pid] = true
	}
	s.mu.Unlock()
	closeAll(theirs)
	if err != nil {
		closeAll([]*os.File{p.control, p.output, p.report})
		return nil, fmt.Errorf("sandbox: the launcher cannot be started: %w", err)
	}
	// If it dies before it has read this, its report will be missing.
	_, _ = p.control.Write(append(line, '\n'))
	return p, nil
}

// stop ends the command when ctx does, with more and more force, until over.
func (p *process) stop(ctx context.Context, over <-chan struct{}) {
	defer func() { _ = p.control.Close() }()
	select {
	case <-over:
		return
	case <-ctx.Done():
	}
	_ = p.control.Close()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-over:
		return
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
}

// ended waits for a supervisor to end and gives its report. Without one it did
// not clear away what was below it, which has become ours and is killed.
func (s *Sandbox) ended(p *process) (r report, err error) {
	err = json.NewDecoder(io.LimitReader(p.report, 64<<10)).Decode(&r)
	_ = p.report.Close()
	_ = p.cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.supervisors, p.cmd.Process.Pid)
	if err == nil {
		return r, nil
	}
	s.cfg.Log.Warn("the supervisor of a command was killed, what it leaves behind is too")
	self := os.Getpid()
	for end := time.Now().Add(grace); time.Now().Before(end); {
		if !killBelow(self, s.supervisors) {
			return r, err
		}
		for pid, stray := range processes() {
			if stray.parent == self && !s.supervisors[pid] {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}
	s.cfg.Log.Error("processes of a command are left")
	_ = p.output.SetReadDeadline(time.Now()) // which they may hold open
	return r, err
}

// Harden keeps processes of the same user from tracing this one and from reading
// its memory and environment, and keeps it from writing its memory to a file.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

// The first argument of the processes in between.
const (
	argSupervise = "sandbox-exec"
	argEnter     = "sandbox-enter"
)

// Launch becomes a process in between if that is what args (without the
// program's name) say, and then does not return. It is the first thing that
// main does.
func Launch(args []string) {
	if len(args) != 1 {
		return
	}
	switch args[0] {
	case argSupervise:
		syscall.Exit(supervise()) // nothing is left to do, which os.Exit would wait for
	case argEnter:
		syscall.Exit(enter())
	}
}
