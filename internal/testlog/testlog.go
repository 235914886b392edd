// Package testlog is a log for tests of what runs at the same time.
package testlog

import (
	"bytes"
	"sync"
)

// Log keeps what is written to it, for a test that reads it meanwhile. The zero
// value is empty.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer]. It does not fail.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String gives all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
