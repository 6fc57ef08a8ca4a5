package proc

import (
	"fmt"
	"os/user"
	"strconv"
)

// User is an account to run a child under.
type User struct {
	Name     string
	UID, GID uint32
}

// LookupUser returns the first of the named accounts that exists.
func LookupUser(names ...string) (*User, error) {
	for _, name := range names {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &User{Name: name, UID: uint32(uid), GID: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("proc: none of the accounts %q exists", names)
}
