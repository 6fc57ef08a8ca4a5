package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

var initArgs = []string{"-U", "postgres", "--encoding=UTF8", "--locale=C", "--auth=trust", "--no-sync"}

// hba lets in whoever may enter the socket's directory (mode 0700), and over TCP whoever has the
// password: other accounts of the machine share the loopback.
const hba = `local all all trust
host all all 127.0.0.1/32 scram-sha-256
local replication all trust
host replication all 127.0.0.1/32 scram-sha-256
`

// makeData fills dir with a new cluster: a copy of the cached one, or what initdb makes, which is then
// cached. The copy takes about a tenth of a second, initdb about one.
func makeData(ctx context.Context, bin binaries, dir string, owner *proc.User) error {
	template := templateDir(bin)
	if template != "" {
		if _, err := os.Stat(filepath.Join(template, "PG_VERSION")); err == nil {
			if err := copyTree(template, dir, owner); err == nil {
				return writeOwned(filepath.Join(dir, "pg_hba.conf"), hba, owner)
			}
			// A cache that somebody is clearing away is no reason to fail.
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	cmd := exec.CommandContext(ctx, bin.path("initdb"), append([]string{"-D", dir}, initArgs...)...)
	cmd.Dir = filepath.Dir(dir)
	cmd.SysProcAttr = credential(owner)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(output)))
	}
	if template != "" {
		cacheTemplate(dir, template)
	}
	return writeOwned(filepath.Join(dir, "pg_hba.conf"), hba, owner)
}

// templateDir is where a new cluster of this version is cached, "" when the account has no cache.
func templateDir(bin binaries) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(bin.dir + "\n" + bin.version + "\n" + strings.Join(initArgs, "\n")))
	return filepath.Join(cache, "tailrace", "postgres", bin.version+"-"+hex.EncodeToString(sum[:6]))
}

// cacheTemplate copies a new cluster into the cache. It appears there whole or not at all; failing to is
// only slower the next time.
func cacheTemplate(data, template string) {
	if err := os.MkdirAll(filepath.Dir(template), 0o700); err != nil {
		return
	}
	partial, err := os.MkdirTemp(filepath.Dir(template), "partial-*")
	if err != nil {
		return
	}
	defer os.RemoveAll(partial)
	target := filepath.Join(partial, "data")
	if err := copyTree(data, target, nil); err != nil {
		return
	}
	_ = os.Rename(target, template)
}

// copyTree copies a directory with its modes and gives it to owner.
func copyTree(from, to string, owner *proc.User) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return own(target, owner)
		}
		if err := copyFile(path, target); err != nil {
			return err
		}
		return own(target, owner)
	})
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		_ = target.Close()
		return err
	}
	return target.Close()
}

func writeOwned(path, content string, owner *proc.User) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	return own(path, owner)
}

func own(path string, owner *proc.User) error {
	if owner == nil {
		return nil
	}
	return os.Lchown(path, int(owner.UID), int(owner.GID))
}

// workDir makes a directory of owner's which owner can reach.
func workDir(owner *proc.User) (string, error) {
	var reason error
	for _, base := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if owner != nil && !reachable(base) {
			reason = fmt.Errorf("%s cannot be entered by %s", base, owner.Name)
			continue
		}
		dir, err := os.MkdirTemp(base, "tailrace-pg-")
		if err != nil {
			reason = err
			continue
		}
		return dir, own(dir, owner)
	}
	return "", fmt.Errorf("no directory for the data, set TMPDIR: %w", reason)
}

// reachable reports whether every directory down to path may be entered by any account.
func reachable(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		path = parent
	}
}
