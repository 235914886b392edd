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
	// What these make outlives the command, counts for none of its limits, and is
	// there for other runs.
	unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_MQ_OPEN,
	// Landlock leaves modes and owners alone, and the folders of all runs have one
	// owner: one of them could close those of the others.
	unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWNAT,
	// They slow down any process of the same user: the agent's, too.
	unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET,
	unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR,
}

// unsupported are answered as if no file had attributes, which hold modes as well
// (POSIX ACLs).
var unsupported = []uint32{
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT,
}

// ignored are answered as if they were done: sed -i, gzip and tar end with an error
// if they cannot give a file that they have open its mode. Done they are not, since
// a file of another run's may be open, too: those of the library are.
var ignored = []uint32{unix.SYS_FCHMOD, unix.SYS_FCHOWN}

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

// machine is what differs between those that are known.
type machine struct {
	architecture uint32
	forbidden    []uint32 // calls that the others do not have
}

var machines = map[string]machine{
	"amd64": {unix.AUDIT_ARCH_X86_64, []uint32{90, 92, 94}}, // chmod, chown, lchown
	"arm64": {unix.AUDIT_ARCH_AARCH64, nil},
}

// filter forbids, for this thread and what it becomes and starts, the calls
// above, sockets other than local ones, limits of other processes, and calls of
// another architecture, whose numbers mean something else.
func filter() error {
	m, ok := machines[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("not known how to filter on %s", runtime.GOARCH)
	}
	program := filterProgram(m)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

func filterProgram(m machine) []unix.SockFilter {
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
		jump(unix.BPF_JEQ, m.architecture, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
		jump(unix.BPF_JGE, x32, 0, 1),
		ret(errno(unix.ENOSYS)),
	}
	answer := func(with unix.Errno, calls []uint32) {
		for _, call := range calls {
			p = append(p, jump(unix.BPF_JEQ, call, 0, 1), ret(errno(with)))
		}
	}
	answer(unix.EPERM, forbidden)
	answer(unix.EPERM, m.forbidden)
	answer(unix.ENOSYS, missing)
	answer(unix.EOPNOTSUPP, unsupported)
	answer(0, ignored)
	return append(p,
		jump(unix.BPF_JEQ, unix.SYS_PRLIMIT64, 0, 4), // 0 is the process itself
		load(offsetArgument),
		jump(unix.BPF_JEQ, 0, 1, 0),
		ret(errno(unix.EPERM)),
		ret(unix.SECCOMP_RET_ALLOW),
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
