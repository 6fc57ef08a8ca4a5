//go:build !unix

package proc

import "syscall"

func sysProcAttr(*User, syscall.Signal) *syscall.SysProcAttr { return nil }

type watchdog struct{}

// watch does nothing here: the child outlives a parent that is killed.
func watch(int, Config) (*watchdog, error) { return &watchdog{}, nil }

func (*watchdog) dismiss() {}
