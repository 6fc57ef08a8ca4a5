// Package postgres runs a PostgreSQL server for tests, examples and demonstrations, from what the machine
// has. The server ends with the process that started it, however that one ends.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"

	"github.com/tailrace-go/tailrace/internal/embedded/proc"
)

// ErrExternal is returned by what only the owner of a server may do to it, when the server is somebody
// else's (Config.URL).
var ErrExternal = errors.New("postgres: the server was not started here")

// ErrStopped is returned when the server is not running.
var ErrStopped = errors.New("postgres: the server is stopped")

// Config is the server to start. The zero value is a server for tests, from what the machine has.
type Config struct {
	// URL is a running server to use instead of starting one: a URL or a keyword/value string that lib/pq
	// accepts, of an account that may create databases.
	URL string
	// BinDir is the directory of initdb and postgres. Default: where PATH, `pg_config --bindir` and the
	// usual places of packages have them; failing that, they are downloaded once.
	BinDir string
	// DataDir keeps the data there from one run to the next. Default: a temporary directory, removed at
	// the end. For root it must be reachable by the account the server runs under (postgres or nobody).
	DataDir string
	// Durable turns fsync and full-page writes on, for tests that crash the machine under the server. A
	// crash of the server alone loses nothing without it.
	Durable bool
	// Settings are further server settings, which win over the defaults: 300 connections, 10 prepared
	// transactions, 64 MB of shared buffers.
	Settings map[string]string
	// StartTimeout bounds one start, crash recovery included. Default 60 s.
	StartTimeout time.Duration
}

// Server is a running PostgreSQL. It is safe for concurrent use.
type Server struct {
	cfg      Config
	external bool
	bin      binaries
	user     *proc.User
	dir      string // ours, removed at the end
	data     string
	port     int
	password string
	version  string

	mu      sync.Mutex
	process *proc.Process
	removed bool
}

// Start starts a server, or with Config.URL checks that the given one answers. The context bounds the
// start, not the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	s := &Server{cfg: cfg}
	if cfg.URL != "" {
		s.external = true
		return s, s.readVersion(ctx, cfg.URL)
	}
	if err := s.prepare(ctx); err != nil {
		s.remove()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if err := s.launch(ctx, 0); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// prepare finds the binaries and makes the directories.
func (s *Server) prepare(ctx context.Context) (err error) {
	if s.user, err = serverUser(); err != nil {
		return err
	}
	s.bin, err = findBinaries(s.cfg.BinDir)
	if errors.Is(err, errNoBinaries) {
		s.bin, err = download(s.user)
	}
	if err != nil {
		return err
	}
	s.password = rand.Text()
	if s.dir, err = workDir(s.user); err != nil {
		return err
	}
	socket := filepath.Join(s.dir, "s")
	if err := os.Mkdir(socket, 0o700); err != nil {
		return err
	}
	if err := own(socket, s.user); err != nil {
		return err
	}
	s.data = s.cfg.DataDir
	if s.data == "" {
		s.data = filepath.Join(s.dir, "data")
	}
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); err == nil {
		return nil
	}
	return makeData(ctx, s.bin, s.data, s.user)
}

// launch starts the server process on the port (0: any free one) and waits until it answers.
func (s *Server) launch(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		s.port = port
		if port == 0 {
			free, err := freePort()
			if err != nil {
				return fmt.Errorf("postgres: %w", err)
			}
			s.port = free
		}
		err := s.try(ctx)
		if err == nil {
			return nil
		}
		// Between our looking for a free port and the server's taking it, somebody else may have.
		if attempt == 5 || port != 0 || ctx.Err() != nil || !strings.Contains(err.Error(), "could not bind") &&
			!strings.Contains(err.Error(), "could not create any TCP/IP sockets") {
			return err
		}
	}
}

func (s *Server) try(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer log.Close()
	process, err := proc.Start(proc.Config{
		Path: s.bin.path("postgres"), Args: s.args(), Dir: s.dir, Output: log, User: s.user,
		// The immediate shutdown: the postmaster takes its children with it at once.
		DeathSignal: syscall.SIGQUIT, Remove: s.dir,
	})
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if err := s.await(ctx, process); err != nil {
		_ = process.Stop(syscall.SIGQUIT, 5*time.Second)
		return fmt.Errorf("postgres: the server did not start: %w; its log ends:\n%s", err, s.logTail())
	}
	s.mu.Lock()
	s.process = process
	s.mu.Unlock()
	return nil
}

func (s *Server) args() []string {
	settings := map[string]string{
		"listen_addresses":          "127.0.0.1",
		"port":                      strconv.Itoa(s.port),
		"unix_socket_directories":   filepath.Join(s.dir, "s"),
		"max_connections":           "300",
		"max_prepared_transactions": "10",
		"shared_buffers":            "64MB",
		"fsync":                     "off",
		"full_page_writes":          "off",
		"max_wal_size":              "1GB",
		"jit":                       "off",
	}
	if s.cfg.Durable {
		delete(settings, "fsync")
		delete(settings, "full_page_writes")
	}
	maps.Copy(settings, s.cfg.Settings)
	args := []string{"-D", s.data}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

// await waits until the server answers on its socket, and sets this run's password.
func (s *Server) await(ctx context.Context, process *proc.Process) error {
	dsn := fmt.Sprintf("host='%s' port=%d user=postgres dbname=postgres sslmode=disable", filepath.Join(s.dir, "s"), s.port)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := s.readVersion(ctx, dsn)
		if err == nil {
			return execute(ctx, dsn, "ALTER ROLE postgres PASSWORD "+pq.QuoteLiteral(s.password))
		}
		select {
		case <-ticker.C:
		case <-process.Done():
			return fmt.Errorf("it ended: %v", process.Err()) //nolint:errorlint // It may have ended without an error.
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (s *Server) readVersion(ctx context.Context, dsn string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, "SHOW server_version").Scan(&s.version); err != nil {
		return fmt.Errorf("postgres: ask the server's version: %w", err)
	}
	return nil
}

// DSN is the connection URL of a database of the server; "" is the database postgres, or for an external
// server the one its URL names.
func (s *Server) DSN(database string) string {
	if s.external {
		return withDatabase(s.cfg.URL, database)
	}
	if database == "" {
		database = "postgres"
	}
	dsn := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", s.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return dsn.String()
}

// withDatabase replaces the database a connection string names.
func withDatabase(dsn, database string) string {
	if database == "" {
		return dsn
	}
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		if parsed, err := url.Parse(dsn); err == nil {
			parsed.Path = "/" + database
			return parsed.String()
		}
	}
	// In the keyword/value form the last one wins.
	return fmt.Sprintf("%s dbname='%s'", dsn, database)
}

// Version is the server's version, as in "15.18".
func (s *Server) Version() string {
	version, _, _ := strings.Cut(s.version, " ")
	return version
}

// External reports whether the server was running before and is not ours to stop.
func (s *Server) External() bool { return s.external }

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func execute(ctx context.Context, dsn, statement string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}
