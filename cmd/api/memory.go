package main

import (
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// Of what intake allocates nearly nothing lives on, and little else lives here.
	// So the heap may grow to four times of that before it is collected: that saves
	// a quarter of the processor time of a large batch of alerts.
	gcPercent = 300
	// From here on it is collected more often, where the container has no limit.
	mostMemory = 384 << 20
)

// spareCollections sets both, unless the environment says otherwise in Go's own
// variables. In a container with a limit the heap keeps a quarter away from it: a
// process over the limit is killed.
func spareCollections(getenv func(string) string, readFile func(string) ([]byte, error)) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		limit, err := readFile("/sys/fs/cgroup/memory.max") // cgroup v2
		if err != nil {
			limit = nil
		}
		debug.SetMemoryLimit(heapLimit(string(limit)))
	}
}

// heapLimit is for a container's memory.max: bytes, or "max" for none.
func heapLimit(containers string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(containers), 10, 64)
	if err != nil || n <= 0 {
		return mostMemory
	}
	return n / 4 * 3
}
