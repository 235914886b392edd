//go:build !race

package sandbox

const bigOutput = 1_000_000_000
