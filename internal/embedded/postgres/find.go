package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// minMajor is the oldest PostgreSQL the outbox supports.
const minMajor = 14

// errNoBinaries says that this machine has no usable PostgreSQL.
var errNoBinaries = errors.New("no PostgreSQL 14 or newer on this machine")

// binaries is an installation of PostgreSQL.
type binaries struct {
	dir     string
	version string // as in "15.18"
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// findBinaries returns the first usable installation: in dir if that is given, else of PATH, of
// pg_config, then the newest in the places packages put it.
func findBinaries(dir string) (binaries, error) {
	if dir != "" {
		return probe(dir)
	}
	for _, candidate := range candidates() {
		if found, err := probe(candidate); err == nil {
			return found, nil
		}
	}
	return binaries{}, errNoBinaries
}

func candidates() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		// Often a lone symbolic link, with initdb only beside what it points to.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	if output, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(output)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(pathMajor(b), pathMajor(a)) })
		dirs = append(dirs, found...)
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

// pathMajor returns the version a directory is named after, 0 if it names none.
func pathMajor(dir string) int {
	major, _ := strconv.Atoi(digits.FindString(dir))
	return major
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)([.\d]*)`)

// probe reports the installation in dir.
func probe(dir string) (binaries, error) {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return binaries{}, err
		}
	}
	output, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, err
	}
	match := versionPattern.FindStringSubmatch(string(output))
	if match == nil {
		return binaries{}, fmt.Errorf("%s/postgres does not say its version", dir)
	}
	if major, _ := strconv.Atoi(match[1]); major < minMajor {
		return binaries{}, fmt.Errorf("PostgreSQL %s in %s is older than %d", match[1], dir, minMajor)
	}
	return binaries{dir: dir, version: match[1] + match[2]}, nil
}
