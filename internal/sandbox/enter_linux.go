package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// enter is the process that takes its own powers away and becomes the shell:
// descriptor 3 gives the spec, 4 takes the reason if it fails.
func enter() int {
	// Landlock, seccomp and the rest are of a thread; it is this one that becomes
	// the shell.
	runtime.LockOSThread()
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	err := entered()
	_, _ = os.NewFile(4, "why").WriteString(err.Error())
	return 1
}

func entered() error {
	var s spec
	if err := json.NewDecoder(os.NewFile(3, "spec")).Decode(&s); err != nil {
		return fmt.Errorf("what to run: %w", err)
	}
	work, tmp := filepath.Join(s.Folder, "work"), filepath.Join(s.Folder, "tmp")
	if err := os.Chdir(work); err != nil {
		return err
	}
	unix.Umask(0o077)
	// If memory is short, this goes first; if it is busy, others do. Both may be
	// forbidden and are courtesy.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 10)

	shell := []string{"/bin/bash", "--noprofile", "--norc", "-c", "--", s.Command}
	if _, err := os.Stat(shell[0]); err != nil {
		shell = []string{"/bin/sh", "-c", "--", s.Command}
	}
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + work, "TMPDIR=" + tmp, "LANG=C.UTF-8", "TERM=dumb"}

	users, err := ofUser(os.Geteuid())
	if err != nil {
		return fmt.Errorf("count processes: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if s.ABI > 0 {
		if err := restrict(s.ABI, s.Folder, work, tmp, s.Library); err != nil {
			return fmt.Errorf("landlock: %w", err)
		}
	}
	if err := filter(); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	// Last, since they bind this process, too.
	if err := limit(s.Limits, users); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", shell[0], syscall.Exec(shell[0], shell, env))
}

// limit sets limits that nothing can raise again.
func limit(l Limits, users int) error {
	for _, one := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core size", unix.RLIMIT_CORE, 0},
		{"file size", unix.RLIMIT_FSIZE, uint64(l.FileSize)},
		{"processor time", unix.RLIMIT_CPU, uint64(max(1, l.CPU/time.Second))},
		{"open files", unix.RLIMIT_NOFILE, uint64(l.OpenFiles)},
		{"processes", unix.RLIMIT_NPROC, uint64(users + l.Processes)},
		{"memory", unix.RLIMIT_DATA, uint64(l.Memory)},
	} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(one.resource, &now); err != nil {
			return fmt.Errorf("limit of %s: %w", one.name, err)
		}
		value := min(one.value, now.Max) // what is stricter already stays so
		// Not x/sys: the standard library restores a limit on open files that it
		// does not know to be set.
		if err := syscall.Setrlimit(one.resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
			return fmt.Errorf("limit of %s: %w", one.name, err)
		}
	}
	return nil
}

// ofUser counts the threads of a user's processes, as the kernel does for its limit.
func ofUser(uid int) (int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	total := 0
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		theirs, threads := false, 0
		for line := range strings.Lines(string(data)) {
			switch key, value, _ := strings.Cut(line, ":"); key {
			case "Uid":
				fields := strings.Fields(value)
				theirs = len(fields) > 0 && fields[0] == strconv.Itoa(uid)
			case "Threads":
				threads, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		if theirs {
			total += threads
		}
	}
	return total, nil
}
