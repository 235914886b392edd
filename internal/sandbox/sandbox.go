package sandbox

import (
	"log/slog"
	"time"
)

// Config says where commands run and what bounds them.
type Config struct {
	// Root is the folder of all folders. It is made if need be, and it belongs to
	// one process alone: what is found in it at the start is removed. Required.
	Root string
	// Library is a folder that commands may read and not write: what the links
	// below skills/ and runbooks/ lead to. It need not be there; empty: none.
	Library string
	// WithoutLandlock lets commands run on a kernel that has no Landlock. They can
	// then read and write what the agent's user can.
	WithoutLandlock bool
	// Limits of one command; zero values mean the defaults.
	Limits Limits
	// Log is required.
	Log *slog.Logger
}

// Limits bound one command.
type Limits struct {
	Processes int           // that it may add to those of the user; 0 means 256
	Memory    int64         // bytes of data of each process; 0 means 1 GiB
	FileSize  int64         // bytes of each file; 0 means 64 MiB
	CPU       time.Duration // processor time of each process; 0 means 10 minutes
	OpenFiles int           // of each process; 0 means 256
}

func (l *Limits) defaults() {
	if l.Processes <= 0 {
		l.Processes = 256
	}
	if l.Memory <= 0 {
		l.Memory = 1 << 30
	}
	if l.FileSize <= 0 {
		l.FileSize = 64 << 20
	}
	if l.CPU <= 0 {
		l.CPU = 10 * time.Minute
	}
	if l.OpenFiles <= 0 {
		l.OpenFiles = 256
	}
}

// Command is one command for a shell.
type Command struct {
	Text string
	// Timeout is required.
	Timeout time.Duration
	// Live is called with pieces of the output, one at a time. It may be nil.
	Live func(text string)
}

// Outcome is what became of a command.
type Outcome struct {
	// Text is what it printed on both streams, in order: plain and capped.
	Text string
	// Truncated counts bytes of output that Text leaves out.
	Truncated int64
	// ExitCode is set if it ended by itself.
	ExitCode *int
	// Stopped says why it did not.
	Stopped string
}

// FileError says, for whoever named a file, why it cannot be had.
type FileError string

// Error implements error.
func (e FileError) Error() string { return string(e) }

// libraryFolders have links into the library.
var libraryFolders = []string{"skills", "runbooks"}
