//go:build !unix

package postgres

import (
	"os"
	"syscall"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

func serverUser() (*proc.User, error) { return nil, nil }

func credential(*proc.User) *syscall.SysProcAttr { return nil }

func ownedByRoot(os.FileInfo) bool { return false }
