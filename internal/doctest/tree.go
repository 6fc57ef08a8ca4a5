package doctest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Tree is packages as the go command sees them: within the module, so that its dependencies and internal
// packages resolve, but through an overlay, so that nobody else ever sees them.
type Tree struct {
	root, overlay string
	dirs          []string
}

// Lay writes the packages into scratch, an absolute path. root is the module's.
func Lay(packages []Package, root, scratch string) (*Tree, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	tree := &Tree{root: root, overlay: filepath.Join(scratch, "overlay.json")}
	replace := map[string]string{}
	for _, pkg := range packages {
		dir := filepath.Join("internal", "doctest", "blocks", pkg.Name)
		tree.dirs = append(tree.dirs, "./"+filepath.ToSlash(dir))
		if err := os.MkdirAll(filepath.Join(scratch, pkg.Name), 0o750); err != nil {
			return nil, err
		}
		for name, text := range pkg.Files {
			file := filepath.Join(scratch, pkg.Name, name)
			replace[filepath.Join(root, dir, name)] = file
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return nil, err
			}
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	return tree, os.WriteFile(tree.overlay, text, 0o600)
}

// Compile compiles all packages in one run of the go command. It is go list, which links nothing.
func (t *Tree) Compile(ctx context.Context) error {
	return t.goCommand(ctx, append([]string{"list", "-export", "-overlay", t.overlay}, t.dirs...)...)
}

// Build makes the program of the i-th package.
func (t *Tree) Build(ctx context.Context, i int, binary string) error {
	return t.goCommand(ctx, "build", "-overlay", t.overlay, "-o", binary, t.dirs[i])
}

// BuildTests makes the test program of the i-th package. Vet would look for its folder, which is not there.
func (t *Tree) BuildTests(ctx context.Context, i int, binary string) error {
	return t.goCommand(ctx, "test", "-c", "-vet=off", "-overlay", t.overlay, "-o", binary, t.dirs[i])
}

func (t *Tree) goCommand(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, "go", args...) //nolint:gosec // The words are this package's own.
	command.Dir = t.root
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, output)
	}
	return nil
}
