package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// proc is a process as /proc shows it.
type proc struct {
	parent int
	start  uint64 // in ticks; with the pid it names a process for good
	zombie bool
}

// processes gives all that can be seen.
func processes() map[int]proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	all := make(map[int]proc, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			all[pid] = p
		}
	}
	return all
}

// readProc reads /proc/PID/stat. The name in it, in parentheses, may contain anything.
func readProc(pid int) (p proc, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return p, false
	}
	p.zombie = fields[0][0] == 'Z'
	p.parent, _ = strconv.Atoi(string(fields[1]))
	p.start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return p, err == nil
}

// below gives what descends from root without what descends from skip.
func below(all map[int]proc, root int, skip map[int]bool) map[int]proc {
	children := map[int][]int{}
	for pid, p := range all {
		children[p.parent] = append(children[p.parent], pid)
	}
	found := map[int]proc{}
	for next := []int{root}; len(next) > 0; {
		pid := next[len(next)-1]
		next = next[:len(next)-1]
		for _, child := range children[pid] {
			if _, seen := found[child]; !seen && !skip[child] {
				found[child] = all[child]
				next = append(next, child)
			}
		}
	}
	return found
}

// killBelow kills what descends from root and says whether there was anything.
// All of it is stopped first: a stopped process starts no other, and it takes up the
// place under the limit that one would need, so a fork bomb cannot outrun this.
func killBelow(root int, skip map[int]bool) bool {
	stopped := map[int]proc{}
	for range 100 {
		more := false
		for pid, p := range below(processes(), root, skip) {
			if stopped[pid] != p && !p.zombie {
				more = true
				signal(pid, p, unix.SIGSTOP)
			}
			stopped[pid] = p
		}
		if !more {
			break
		}
	}
	for pid, p := range stopped {
		signal(pid, p, unix.SIGKILL)
	}
	return len(stopped) > 0
}

// signal reaches that process or none: its number may belong to another one by now.
func signal(pid int, p proc, sig unix.Signal) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if now, ok := readProc(pid); ok && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}
