//go:build race

package main_test

// Under the race detector, the processes run under it too.
func init() { buildFlags = append(buildFlags, "-race") }
