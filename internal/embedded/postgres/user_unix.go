//go:build unix

package postgres

import (
	"os"
	"syscall"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// serverUser is the account the server runs under: this process's own (nil), or for root, as whom
// PostgreSQL refuses to run, an unprivileged one.
func serverUser() (*proc.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	return proc.LookupUser("postgres", "nobody")
}

func credential(owner *proc.User) *syscall.SysProcAttr {
	if owner == nil {
		return nil
	}
	return &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: owner.UID, Gid: owner.GID, Groups: []uint32{owner.GID}},
	}
}

func ownedByRoot(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}
