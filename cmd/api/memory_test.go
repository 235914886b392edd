package main

import (
	"errors"
	"math"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpareCollections(t *testing.T) {
	t.Cleanup(func() {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	})
	env := map[string]string{}
	getenv := func(name string) string { return env[name] }
	for text, want := range map[string]int64{"536870912\n": 384 << 20, "268435456\n": 192 << 20, "max\n": mostMemory, "": mostMemory, "-1": mostMemory, "0": mostMemory} {
		spareCollections(getenv, func(string) ([]byte, error) { return []byte(text), nil })
		require.Equal(t, want, debug.SetMemoryLimit(-1), text)
		require.Equal(t, gcPercent, debug.SetGCPercent(gcPercent))
	}
	spareCollections(getenv, func(string) ([]byte, error) { return []byte("4096"), errors.New("gone") })
	require.EqualValues(t, mostMemory, debug.SetMemoryLimit(-1))

	env["GOGC"], env["GOMEMLIMIT"] = "50", "100MiB"
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(100 << 20)
	spareCollections(getenv, func(string) ([]byte, error) { return []byte("268435456"), nil })
	require.EqualValues(t, 100<<20, debug.SetMemoryLimit(-1), "whoever runs it decides")
	require.Equal(t, 50, debug.SetGCPercent(50))
}
