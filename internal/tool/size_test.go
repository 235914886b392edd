//go:build !race

package tool

const gigabyte = 1 << 30
