package postgres

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// download fetches the binaries through embedded-postgres, once an account. TAILRACE_MAVEN_REPO names the
// Maven repository to take them from, in place of that module's default.
//
// The module can only fetch by starting a server, which it cannot as root; a failure after the binaries
// are there is therefore none.
func download(owner *proc.User) (binaries, error) {
	dir, err := downloadDir(owner)
	if err != nil {
		return binaries{}, fmt.Errorf("%w, and nowhere to download it to: %w", errNoBinaries, err)
	}
	installed := filepath.Join(dir, "pg")
	if found, err := probe(filepath.Join(installed, "bin")); err == nil {
		return found, nil
	}
	scratch, err := os.MkdirTemp(dir, "scratch-*")
	if err != nil {
		return binaries{}, err
	}
	defer os.RemoveAll(scratch)
	port, err := freePort()
	if err != nil {
		return binaries{}, err
	}
	partial := filepath.Join(scratch, "pg")
	cfg := embeddedpostgres.DefaultConfig().Port(uint32(port)).Logger(io.Discard).
		BinariesPath(partial).RuntimePath(filepath.Join(scratch, "run")).CachePath(filepath.Join(scratch, "cache"))
	if repository := os.Getenv("TAILRACE_MAVEN_REPO"); repository != "" {
		cfg = cfg.BinaryRepositoryURL(repository)
	}
	server := embeddedpostgres.NewDatabase(cfg)
	startErr := server.Start()
	if startErr == nil {
		_ = server.Stop()
	}
	if _, err := probe(filepath.Join(partial, "bin")); err != nil {
		return binaries{}, fmt.Errorf("%w, and downloading it failed (install PostgreSQL, or set DATABASE_URL to a "+
			"running server, or TAILRACE_MAVEN_REPO to a reachable repository): %w", errNoBinaries, startErr)
	}
	// Another process may have been quicker; its copy is as good.
	_ = os.Rename(partial, installed)
	return probe(filepath.Join(installed, "bin"))
}

// downloadDir is the account's cache, or for root, whose cache the server's account cannot enter, a
// directory of root's that everybody can.
func downloadDir(owner *proc.User) (string, error) {
	if owner == nil {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir := filepath.Join(cache, "tailrace", "postgres-binaries")
		return dir, os.MkdirAll(dir, 0o700)
	}
	dir := "/var/tmp/tailrace-postgres"
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) { //nolint:gosec // The unprivileged account runs what is in it.
		return "", err
	}
	// Somebody else could have put a directory of theirs, with binaries of theirs, under this name.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 || !ownedByRoot(info) {
		return "", fmt.Errorf("%s is not a directory of root's alone, remove it", dir)
	}
	return dir, nil
}
