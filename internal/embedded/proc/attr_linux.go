package proc

import "syscall"

// sysProcAttr puts the child in a process group of its own, so that Ctrl-C reaches it through this
// process only, and asks the kernel for the parent-death signal.
func sysProcAttr(user *User, death syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	setCredential(attr, user)
	return attr
}
