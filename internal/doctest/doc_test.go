package doctest_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/bustest"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/internal/doctest"
)

func TestMain(m *testing.M) { bustest.Main(m) }

const (
	root   = "../.."
	setups = "testdata"
)

// documents returns the blocks of README.md and docs/*.md.
func documents(t *testing.T) []doctest.Block {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	var blocks []doctest.Block
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		file, err := filepath.Abs(file)
		require.NoError(t, err)
		found, err := doctest.Read(file)
		require.NoError(t, err)
		blocks = append(blocks, found...)
	}
	return blocks
}

// touch looks at every Go file of the module, so that go test's cache knows what the go command will read.
func touch(t *testing.T) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(file) == ".go" {
			_, err = os.Stat(file)
		}
		return err
	}))
}

func TestEveryBlockCompiles(t *testing.T) {
	t.Parallel()
	touch(t)
	packages, err := doctest.Packages(documents(t), root, setups)
	require.NoError(t, err)
	require.NotEmpty(t, packages)
	tree, err := doctest.Lay(packages, root, t.TempDir())
	require.NoError(t, err)
	require.NoError(t, tree.Compile(t.Context()))
}

func TestExcerptsStandInTheirFiles(t *testing.T) {
	t.Parallel()
	for _, block := range documents(t) {
		if block.Is("file") {
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(block.Directive[1])))
			require.NoError(t, err, block.At())
			require.NoError(t, block.Excerpt(string(text)))
		}
	}
}

func TestEverySetupIsUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, block := range documents(t) {
		used[block.Name()] = true
		if block.Is("package") {
			used[block.Name()+"_"+block.Directive[1]] = true
		}
	}
	files, err := os.ReadDir(setups)
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(file.Name(), filepath.Ext(file.Name()))
		require.True(t, used[name], "no document for %s", file.Name())
	}
}

func TestProgramsRun(t *testing.T) {
	t.Parallel()
	blocks := documents(t)
	for i, block := range blocks {
		if !block.Is("run") {
			continue
		}
		var want *doctest.Block
		if i+1 < len(blocks) && blocks[i+1].Is("output") {
			want = &blocks[i+1]
		}
		t.Run(filepath.Base(block.At()), func(t *testing.T) {
			t.Parallel()
			db, environment := service(t)
			if setup, err := os.ReadFile(filepath.Join(setups, block.Name()+".sql")); !errors.Is(err, fs.ErrNotExist) {
				require.NoError(t, err)
				_, err = db.ExecContext(t.Context(), string(setup))
				require.NoError(t, err)
			}
			output := run(t, block, append(environment, "KAFKA_BROKERS="+strings.Join(bustest.Kafka(t, bustest.KafkaAutoCreate(1)).Brokers(), ",")))
			if want != nil {
				require.Equal(t, want.Text, output, want.At())
			}
		})
	}
}

// TestTheDocumentsTestsRun: a test that a document shows is run as its reader would run it.
func TestTheDocumentsTestsRun(t *testing.T) {
	t.Parallel()
	packages, err := doctest.Packages(documents(t), root, setups)
	require.NoError(t, err)
	scratch := t.TempDir()
	tree, err := doctest.Lay(packages, root, scratch)
	require.NoError(t, err)
	ran := 0
	for i, pkg := range packages {
		if len(pkg.Tests) == 0 {
			continue
		}
		ran += len(pkg.Tests)
		binary := filepath.Join(scratch, pkg.Name+".test")
		require.NoError(t, tree.BuildTests(t.Context(), i, binary))
		command := exec.CommandContext(t.Context(), binary, "-test.v")
		command.Dir = scratch
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s: %s", pkg.Name, output)
		for _, name := range pkg.Tests {
			require.Contains(t, string(output), "--- PASS: TestDocument/"+name)
		}
	}
	require.NotZero(t, ran)
}

// service returns a database with an outbox, and an environment that names it.
func service(t *testing.T) (*sql.DB, []string) {
	t.Helper()
	db, dsn := bustest.Postgres(t)
	_, err := outbox.Migrate(t.Context(), db, outbox.MigrateConfig{})
	require.NoError(t, err)
	return db, []string{"DATABASE_URL=" + dsn, "SERVICE_NAME=user-service"}
}

// run builds a block as a program, runs it and returns what it prints.
func run(t *testing.T, block doctest.Block, environment []string) string {
	t.Helper()
	block.Directive = []string{"run"}
	packages, err := doctest.Packages([]doctest.Block{block}, root, setups)
	require.NoError(t, err)
	scratch := t.TempDir()
	tree, err := doctest.Lay(packages, root, scratch)
	require.NoError(t, err)
	binary := filepath.Join(scratch, "program")
	require.NoError(t, tree.Build(t.Context(), 0, binary))
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s: %s", block.At(), output)
	return string(output)
}

// TestTheReadmesExamplePublishes runs it on a database of its own, and looks there.
func TestTheReadmesExamplePublishes(t *testing.T) {
	t.Parallel()
	db, environment := service(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE users (id text PRIMARY KEY, email text)`)
	require.NoError(t, err)
	for _, block := range documents(t) {
		if block.Name() == "readme" && strings.Contains(block.Text, "func main()") {
			require.Contains(t, run(t, block, environment), "registered: true")
		}
	}
	var topic, key string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT topic, convert_from(key, 'UTF8') FROM event_outbox`).Scan(&topic, &key))
	require.Equal(t, "marty.user-service.user.user_created", topic)
	require.Equal(t, "user-123", key)
}

// TestTheReadmeNamesEveryVariable of the environment that connect reads.
func TestTheReadmeNamesEveryVariable(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join(root, "bus", "connect", "config.go"))
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`env:"([A-Z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		name := match[1]
		_, last, _ := strings.Cut(name[len("KAFKA_"):], "_")
		require.True(t, strings.Contains(string(readme), name) || strings.Contains(string(readme), "…_"+last), name)
	}
}
