package doctest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Package is Go files to be compiled together, their sources by file name.
type Package struct {
	// Name says where it comes from, as a name for a folder.
	Name  string
	Files map[string]string
	// Tests are the names of its test functions, in the order of the document.
	Tests []string
}

// Packages returns what has to be compiled for the blocks: packages of the documents, whole files, and
// programs. setups is the folder of the setups, root that of the module.
func Packages(blocks []Block, root, setups string) ([]Package, error) {
	known, err := importable(root)
	if err != nil {
		return nil, err
	}
	groups := map[string][]Block{}
	for _, block := range blocks {
		name := block.Name()
		switch {
		case block.Language != "go" || block.Is("file"):
			continue
		case block.Is("package"):
			name += "_" + block.Directive[1]
		case block.Is("run") || whole(block.Text):
			name = fmt.Sprintf("%s_line%d", name, block.Line)
		}
		groups[name] = append(groups[name], block)
	}
	var packages []Package
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		pkg, err := group(name, groups[name], setups, known)
		packages, faults = append(packages, pkg), append(faults, err)
	}
	return packages, errors.Join(faults...)
}

// whole reports whether the text is a Go file by itself.
func whole(text string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", text, parser.PackageClauseOnly)
	return err == nil
}

// source is a file on its way to be one.
type source struct {
	name, clause, head, body string
	parsed                   *ast.File
}

func group(name string, blocks []Block, setups string, known map[string]string) (Package, error) {
	clause := "package doc\n"
	if blocks[0].Is("run") {
		clause = "package main\n"
	}
	known = maps.Clone(known)
	var sources []source
	var faults []error
	file := filepath.Join(setups, name+".go")
	setup, err := os.ReadFile(file) //nolint:gosec // The repository's own.
	switch {
	case err == nil:
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, file, setup, 0)
		if err != nil {
			return Package{}, err
		}
		maps.Copy(known, importsOf(parsed))
		sources = append(sources, source{
			name: "setup.go", clause: clause, parsed: parsed,
			head: fmt.Sprintf("//line %s:%d\n", file, files.Position(parsed.Name.Pos()).Line),
			body: string(setup[files.Position(parsed.Name.End()).Offset:]),
		})
	case !errors.Is(err, os.ErrNotExist):
		return Package{}, err
	}
	for _, block := range blocks {
		s, err := wrap(block, clause)
		sources, faults = append(sources, s), append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return Package{}, err
	}
	own := map[string]bool{}
	for _, s := range sources {
		for _, declared := range declared(s.parsed) {
			own[declared] = true
		}
	}
	pkg := Package{Name: name, Files: map[string]string{}}
	for _, s := range sources {
		if s.clause != "" {
			s.clause += imports(s.parsed, own, known)
		}
		pkg.Files[s.name] = s.clause + s.head + s.body
		pkg.Tests = append(pkg.Tests, tests(s.parsed)...)
	}
	if len(pkg.Tests) > 0 {
		pkg.Files["run_test.go"] = runner(clause, pkg.Tests)
	}
	return pkg, nil
}

// tests are the names of the file's test functions.
func tests(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

// runner is a file by which go test finds the test functions, whose own files are no test files: what a document
// shows of a test and of the rest is one package.
func runner(clause string, tests []string) string {
	var out strings.Builder
	out.WriteString(clause + "import \"testing\"\nfunc TestDocument(t *testing.T) {\n")
	for _, name := range tests {
		fmt.Fprintf(&out, "t.Run(%q, %s)\n", name, name)
	}
	return out.String() + "}\n"
}

// imports are the declarations that the file lacks, on one line each.
func imports(file *ast.File, own map[string]bool, known map[string]string) string {
	has := importsOf(file)
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(foreign(file))) {
		if importPath, ok := known[name]; ok && has[name] == "" && !own[name] {
			fmt.Fprintf(&out, "import %s %q\n", name, importPath)
		}
	}
	return out.String()
}

// wrap makes a file of a block: as it is when it begins with a package clause, declarations as they are,
// statements in a function. Its lines are told to be those of the document.
func wrap(block Block, clause string) (source, error) {
	s := source{name: fmt.Sprintf("line%d.go", block.Line), body: block.Text}
	here := fmt.Sprintf("//line %s\n", block.At())
	parse := func() (err error) {
		s.parsed, err = parser.ParseFile(token.NewFileSet(), block.Document, s.clause+s.head+s.body, 0)
		return err
	}
	if whole(block.Text) {
		s.head = here
		return s, parse()
	}
	s.clause, s.head = clause, here
	asDeclarations := parse()
	if asDeclarations == nil {
		return s, nil
	}
	s.head = "func _() {\n" + here
	s.body = block.Text + "}\n"
	if asStatements := parse(); asStatements != nil {
		// Whichever came further says what is wrong.
		if line(asDeclarations) > line(asStatements) {
			return s, asDeclarations
		}
		return s, asStatements
	}
	function := s.parsed.Decls[len(s.parsed.Decls)-1].(*ast.FuncDecl)
	results, end := results(function.Body), ""
	if used := assigned(function.Body); used != "" {
		end = used + "\n"
	}
	if results != "" {
		end += "panic(0)\n"
	}
	s.head = "func _() " + results + "{\n" + here
	s.body = block.Text + end + "}\n"
	return s, parse()
}

// line is the line of a parser's first error.
func line(err error) int {
	var list scanner.ErrorList
	if errors.As(err, &list) && len(list) > 0 {
		return list[0].Pos.Line
	}
	return 0
}

// results are those that the body's own returns need.
func results(body *ast.BlockStmt) string {
	count := 0
	ast.Inspect(body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			count = max(count, len(node.Results))
		}
		return true
	})
	return [...]string{"", "error ", "(any, error) "}[min(count, 2)]
}

// assigned is a statement that uses the variables that the body itself declares.
func assigned(body *ast.BlockStmt) string {
	var names []string
	for _, statement := range body.List {
		switch statement := statement.(type) {
		case *ast.AssignStmt:
			if statement.Tok != token.DEFINE {
				continue
			}
			for _, left := range statement.Lhs {
				names = append(names, left.(*ast.Ident).Name)
			}
		case *ast.DeclStmt:
			if decl := statement.Decl.(*ast.GenDecl); decl.Tok == token.VAR {
				for _, spec := range decl.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "_" })
	if len(names) == 0 {
		return ""
	}
	return strings.Repeat("_, ", len(names)-1) + "_ = " + strings.Join(names, ", ")
}
