// Package sandbox runs shell commands of an agent on the agent's own machine,
// in a folder that is made for one run and removed with it. It decides nothing:
// whoever calls it has judged the command. What it promises is that a command
// reaches nothing but its folder, and that nothing of it is left when
// [Folder.Run] returns.
//
// # How a command is run
//
// The program starts itself again, twice ([Launch]), and then a shell:
//
//	agent ── supervisor ("sandbox-exec") ── shell ("sandbox-enter", then bash)
//
// The supervisor is told the command over a pipe and adopts every process that
// the shell leaves behind (PR_SET_CHILD_SUBREAPER). When the shell has ended, or
// the pipe is closed because the time is up, the run is cancelled or the agent
// has died, it stops and kills everything below it, until it has no child: a
// process that has made itself a daemon does not get away.
//
// The second process takes its own powers away and becomes the shell:
//
//   - no_new_privs: no setuid program gives it any;
//   - Landlock: it writes below work/ and tmp/ alone, executes nothing there, reads
//     the system's programs and settings, its run's folder and a few files of
//     /proc about the machine, and no process. It cannot signal or trace what is
//     outside (signals: from Linux 6.12 on);
//   - seccomp: no network, no namespaces, no tracing, no io_uring; no modes, owners
//     and attributes of files, which Landlock leaves alone; nothing that outlives
//     the command (System V memory, queues); no limits and priorities of others;
//   - limits on processes, memory, file size, processor time and open files;
//   - an environment of fixed values, no input, no terminal, no other open file.
//
// If the agent is root, which is for development, all of it runs as nobody.
//
// The agent itself calls [Harden], so that processes of its own user can
// neither trace it nor read its memory and environment, with Landlock or without.
//
// # Files
//
// The agent itself reads and writes files of a folder ([Folder.Open],
// [Folder.Write], [Folder.Walk]) while commands may be running: none of them
// follows a symbolic link, waits for a FIFO or writes to a file in place. Links
// below skills/ and runbooks/ into [Config.Library] are read.
//
// # Failure
//
// A kernel without Landlock is an error of [Open] unless [Config.WithoutLandlock]
// says otherwise, and that is logged. Everything else is not optional: if a
// limit cannot be set, the command is not run. [Open] tries it once.
//
// The limit on processes is one of the kernel's per user, so it counts what the
// user's processes are when the command starts and adds [Limits.Processes]; the
// sum over all commands, and memory, are for the container to bound.
//
// # Bounds
//
// Output is read as fast as it comes and kept up to 256 KiB, the first half and
// the last; the rest is counted and dropped. Live output ends after the same
// amount. If whoever gets it blocks, so does the command.
package sandbox
