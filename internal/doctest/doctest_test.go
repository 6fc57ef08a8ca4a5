package doctest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/internal/doctest"
)

// document writes a document of its lines, with ”' for the fences.
func document(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Some.md")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "'''", "```")), 0o600))
	return file
}

func TestReadRefusesWhatWouldBeOverlooked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"another name of the language", "'''golang\nx\n'''\n", "Some.md:1: write the language of a Go block as go"},
		{"an indented fence", "- item\n  '''go\n  x\n  '''\n", "Some.md:2: a fence that does not begin in the first column"},
		{"an open block", "'''go\nx\n", "Some.md:2: the block is not closed"},
		{"an unknown comment", "<!-- go: skip -->\n'''go\nx\n'''\n", "Some.md:3: the comment <!-- go: skip --> before a go block is none"},
		{"a comment without its argument", "<!-- go: file -->\n'''go\nx\n'''\n", "<!-- go: file --> before a go block is none"},
		{"an empty comment", "<!-- go: -->\n'''go\nx\n'''\n", "before a go block is none"},
		{"the comment of another language", "<!-- go: run -->\n'''text\nx\n'''\n", "<!-- go: run --> before a text block is none"},
		{"an output of nothing", "<!-- go: output -->\n'''text\nx\n'''\n", "an output follows the program that prints it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := doctest.Read(document(t, test.text))
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestPackages compiles one document in which every rule of the package's documentation is used, and others with one
// mistake each, whose place the compiler tells.
func TestPackages(t *testing.T) {
	t.Parallel()
	const fine = `
'''go
type User struct{ Email string }

var UserCreated = bus.Define[User]("user", "user_created")
'''
Statements, with a variable nobody uses, what a block before declared, and what the setup does.
'''go
id, err := UserCreated.Publish(ctx, b, "user-1", User{})
if err != nil {
	return err
}
var unused int
'''
Two results.
'''go
if false {
	return User{}, errors.New("no")
}
'''
A name of the setup is not taken for a package.
'''go
fmt.Println(message.Text)
'''
<!-- go: package after -->
'''go
type User struct{ Name string }
'''
'''go
// Package whole is a file.
package whole

import "time"

var _ = time.Now
'''
<!-- go: run -->
'''go
func main() { fmt.Println(os.Getenv("SERVICE_NAME")) }
'''
<!-- go: output -->
'''text
user-service
'''
'''sh
not Go
'''
`
	for _, test := range []struct{ name, text, want string }{
		{"nothing wrong", fine, ""},
		{"no such function", fine + "'''go\n\nctx.Nothing()\n'''\n", "Some.md:50: ctx.Nothing undefined"},
		{"neither declarations nor statements", "'''go\nx := \n'''\n", "Some.md:3: expected operand"},
		{"a mistake in a declaration", "'''go\nfunc f() {}\n\nvar x +\n'''\n", "Some.md:4: expected type"},
		{"an unknown package", "'''go\nnowhere.Do()\n'''\n", "Some.md:2: undefined: nowhere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := document(t, test.text)
			require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), "some.go"), []byte(`// The setup.
package doc

import "context"

var (
	ctx     context.Context
	b       *bus.Bus
	message struct{ Text string }
)
`), 0o600))
			blocks, err := doctest.Read(file)
			require.NoError(t, err)
			packages, err := doctest.Packages(blocks, root, filepath.Dir(file))
			if err == nil {
				var tree *doctest.Tree
				tree, err = doctest.Lay(packages, root, t.TempDir())
				require.NoError(t, err)
				err = tree.Compile(t.Context())
			}
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	const text = "package x\n\nfunc f() {\n\tif true {\n\n\t\tg()\n\t}\n}\n"
	for _, test := range []struct {
		name, block string
		stands      bool
	}{
		{"as it is", "func f() {\n\tif true {\n", true},
		{"without its indentation", "if true {\n\n\tg()\n}\n", true},
		{"with another", "\t\tif true {\n", false},
		{"a line left out", "if true {\n\tg()\n}\n", false},
		{"half a line", "true {\n", false},
		{"not all of it", "if true {\n\n\tg()\n}\n}\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			block := doctest.Block{Text: test.block, Directive: []string{"file", "x.go"}}
			require.Equal(t, test.stands, block.Excerpt(text) == nil)
		})
	}
}
