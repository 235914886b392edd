//go:build !linux

package pgserver

import "syscall"

// dieWithParent does nothing where the kernel offers nothing.
func dieWithParent(*syscall.SysProcAttr) {}
