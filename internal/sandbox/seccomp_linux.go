package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are system calls that no text tool needs: they look into other
// processes, leave the confinement by namespaces, or open much of the kernel.
var forbidden = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
}

// missing are answered as if the kernel did not have them: programs then take
// an older call that can be judged.
var missing = []uint32{unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP}

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Where struct seccomp_data has the call's number, its architecture and the
// lower half of its first argument (little endian).
const (
	offsetCall         = 0
	offsetArchitecture = 4
	offsetArgument     = 16
)

// filter forbids, for this thread and what it becomes and starts, the calls
// above, sockets other than local ones, and calls of another architecture,
// whose numbers mean something else.
func filter() error {
	architecture, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("not known how to filter on %s", runtime.GOARCH)
	}
	program := filterProgram(architecture)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

func filterProgram(architecture uint32) []unix.SockFilter {
	const x32 = 0x40000000 // numbers from here on are another architecture's
	errno := func(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | op, K: k, Jt: yes, Jf: no}
	}
	p := []unix.SockFilter{
		load(offsetArchitecture),
		jump(unix.BPF_JEQ, architecture, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
		jump(unix.BPF_JGE, x32, 0, 1),
		ret(errno(unix.ENOSYS)),
	}
	for _, call := range forbidden {
		p = append(p, jump(unix.BPF_JEQ, call, 0, 1), ret(errno(unix.EPERM)))
	}
	for _, call := range missing {
		p = append(p, jump(unix.BPF_JEQ, call, 0, 1), ret(errno(unix.ENOSYS)))
	}
	return append(p,
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 4),
		load(offsetArgument),
		jump(unix.BPF_JEQ, unix.AF_UNIX, 1, 0),
		ret(errno(unix.EPERM)),
		ret(unix.SECCOMP_RET_ALLOW),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 3),
		load(offsetArgument),
		jump(unix.BPF_JSET, namespaces, 0, 1),
		ret(errno(unix.EPERM)),
		ret(unix.SECCOMP_RET_ALLOW),
	)
}
