package pgserver

import "syscall"

// dieWithParent has the kernel end the server at once when the thread that
// started it ends. Its own children notice that by themselves.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
