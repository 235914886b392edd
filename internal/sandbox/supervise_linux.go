package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervise is the process between the agent and the shell: input is the spec
// and then nothing until it is to stop; descriptor 3 takes the report.
func supervise() int {
	unix.CloseOnExec(3)
	r, err := supervised()
	if err != nil {
		r.Error = err.Error()
	}
	if json.NewEncoder(os.NewFile(3, "report")).Encode(r) != nil {
		return 1
	}
	return 0
}

func supervised() (report, error) {
	if err := Harden(); err != nil {
		return report{}, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return report{}, fmt.Errorf("adopt orphans: %w", err)
	}
	var s spec
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return report{}, fmt.Errorf("what to run: %w", err)
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	shell, failed, err := startShell(s)
	if err != nil {
		return report{}, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	childless := make(chan struct{})
	go func() {
		defer close(childless)
		for {
			var status syscall.WaitStatus
			switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
			case err == syscall.EINTR:
			case err != nil: // ECHILD: there is none, so nothing is below us
				return
			case pid == shell:
				ended <- status
			}
		}
	}()
	var r report
	select {
	case status := <-ended:
		r.Exit, r.Signal = status.ExitStatus(), 0
		if status.Signaled() {
			r.Signal = int(status.Signal())
		}
	case <-stop:
	}
	for self, pause := os.Getpid(), time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		select {
		case <-childless:
			if why := <-failed; why != "" {
				return report{}, fmt.Errorf("%s", why)
			}
			return r, nil
		case <-time.After(pause):
			killBelow(self, nil)
		}
	}
}

// startShell starts the process that becomes the shell. failed gets one text:
// why it did not, or nothing.
func startShell(s spec) (pid int, failed <-chan string, err error) {
	line, err := json.Marshal(s)
	if err != nil {
		return 0, nil, err
	}
	var in, why [2]int
	for _, p := range []*[2]int{&in, &why} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return 0, nil, err
		}
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("/dev/null: %w", err)
	}
	pid, err = syscall.ForkExec("/proc/self/exe", []string{os.Args[0], argEnter}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{uintptr(null), 1, 2, uintptr(in[0]), uintptr(why[1])},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	for _, fd := range []int{null, in[0], why[1]} {
		_ = unix.Close(fd)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("the shell cannot be started: %w", err)
	}
	// If it dies before it has read this, it says why.
	told := os.NewFile(uintptr(in[1]), "spec")
	_, _ = told.Write(append(line, '\n'))
	_ = told.Close()
	result := make(chan string, 1)
	go func() {
		f := os.NewFile(uintptr(why[0]), "why")
		text, _ := io.ReadAll(io.LimitReader(f, 4<<10))
		_ = f.Close()
		result <- strings.TrimSpace(string(text))
	}()
	return pid, result, nil
}
