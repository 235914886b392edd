//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"os"
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

// Mkdir fails.
func (*Folder) Mkdir(string) error { return errLinux }

// Dir is nowhere.
func (*Folder) Dir() string { return "" }

// Owner is nobody else.
func (*Folder) Owner() (uid int, other bool) { return 0, false }

// Put fails.
func (*Folder) Put(string, []byte) error { return errLinux }

// Open fails.
func (*Folder) Open(string) (*os.File, error) { return nil, errLinux }

// Write fails.
func (*Folder) Write(string, []byte) error { return errLinux }

// Walk fails.
func (*Folder) Walk(string, int, func(string, int64) bool) error { return errLinux }

// Run fails.
func (*Folder) Run(context.Context, Command) (Outcome, error) { return Outcome{}, errLinux }

// Remove does nothing.
func (*Folder) Remove() error { return nil }

// Launch does nothing.
func Launch([]string) {}

// Harden does nothing.
func Harden() error { return nil }
