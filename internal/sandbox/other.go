//go:build !linux

package sandbox

import (
	"context"
	"errors"
)

// Sandbox exists on Linux alone.
type Sandbox struct{}

// Folder exists on Linux alone.
type Folder struct{}

var errLinux = errors.New("sandbox: commands can be confined on Linux alone")

// Open fails: there is nothing here that could confine a command.
func Open(context.Context, Config) (*Sandbox, error) { return nil, errLinux }

// Close does nothing.
func (*Sandbox) Close() error { return nil }

// Folder fails.
func (*Sandbox) Folder(string) (*Folder, error) { return nil, errLinux }

// Put fails.
func (*Folder) Put(string, []byte) error { return errLinux }

// Run fails.
func (*Folder) Run(context.Context, Command) (Outcome, error) { return Outcome{}, errLinux }

// Remove does nothing.
func (*Folder) Remove() error { return nil }

// Launch does nothing.
func Launch([]string) {}

// Harden does nothing.
func Harden() error { return nil }
