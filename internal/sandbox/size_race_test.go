//go:build race

package sandbox

const bigOutput = 100_000_000 // the race detector is slow
