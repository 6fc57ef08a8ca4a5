//go:build unix && !linux

package proc

import "syscall"

func sysProcAttr(user *User, _ syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	setCredential(attr, user)
	return attr
}
