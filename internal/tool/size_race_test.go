//go:build race

package tool

// The race detector makes each byte some twenty times as expensive.
const gigabyte = 8 << 20
