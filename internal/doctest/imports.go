package doctest

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const module = "github.com/tailrace-go/tailrace"

// Known are the packages that a block need not import, beside this module's own.
var Known = []string{
	"bytes", "cmp", "context", "database/sql", "encoding/json", "errors", "fmt", "io", "log", "log/slog", "maps", "net", "net/http",
	"net/http/httptest", "os", "os/signal", "slices", "strconv", "strings", "sync", "sync/atomic", "syscall", "testing", "time",
	"github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill/message",
	"github.com/ThreeDotsLabs/watermill/components/cqrs", "github.com/ThreeDotsLabs/watermill/message/router/middleware",
	"github.com/google/uuid", "github.com/jackc/pgx/v5", "github.com/jackc/pgx/v5/pgxpool", "github.com/prometheus/client_golang/prometheus",
	"github.com/stretchr/testify/require",
	"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", "google.golang.org/grpc",
}

// importable returns the paths of the known packages and of the module's public ones, by name.
func importable(root string) (map[string]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(root, func(file string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() {
			if file != root && (name[0] == '.' || name == "internal" || name == "testdata" || name == "cmd" || name == "examples") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(file) == ".go" {
			within, err := filepath.Rel(root, filepath.Dir(file))
			if err != nil {
				return err
			}
			paths[filepath.Base(filepath.Dir(file))] = path.Join(module, filepath.ToSlash(within))
		}
		return nil
	})
	for _, known := range Known {
		paths[nameOf(known)] = known
	}
	return paths, err
}

// nameOf guesses a package's name from its path.
func nameOf(importPath string) string {
	base := path.Base(importPath)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(importPath))
	}
	return base
}

// importsOf returns what a file imports, by the name it has there.
func importsOf(file *ast.File) map[string]string {
	found := map[string]string{}
	for _, spec := range file.Imports {
		importPath := strings.Trim(spec.Path.Value, `"`)
		name := nameOf(importPath)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		found[name] = importPath
	}
	return found
}

// foreign returns the names before a dot that the file itself does not declare.
func foreign(file *ast.File) map[string]bool {
	unresolved := make(map[*ast.Ident]bool, len(file.Unresolved))
	for _, name := range file.Unresolved {
		unresolved[name] = true
	}
	found := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok && unresolved[name] {
				found[name.Name] = true
			}
		}
		return true
	})
	return found
}

// declared returns the names of the file's package scope.
func declared(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				names = append(names, decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}
