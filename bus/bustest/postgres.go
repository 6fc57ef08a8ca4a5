package bustest

import (
	"context"
	"database/sql"
	"os"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"

	"github.com/tailrace-go/tailrace/internal/embedded/postgres"
)

// PostgresConfig is a server to start; its zero value is a server for tests, from what the machine has.
type PostgresConfig = postgres.Config

// PostgresServer is a PostgreSQL server, started by [StartPostgres].
type PostgresServer = postgres.Server

// StartPostgres starts a server of the caller's own, for tests that stop, kill or restart it. The caller
// stops it; it also ends with the process. Config.URL is left alone: DATABASE_URL does not apply here.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*PostgresServer, error) {
	return postgres.Start(ctx, cfg)
}

var sharedPostgres struct {
	sync.Mutex
	server *postgres.Server
	err    error
}

// SharedPostgres returns the server this test process shares, starting it if need be: the one
// DATABASE_URL names, else one of PostgreSQL's binaries on this machine, else downloaded ones.
func SharedPostgres(t testing.TB) *PostgresServer {
	t.Helper()
	shared := &sharedPostgres
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		shared.server, shared.err = postgres.Start(ctx, postgres.Config{URL: os.Getenv("DATABASE_URL")})
	}
	if shared.err != nil {
		t.Fatalf("bustest: %v", shared.err)
	}
	return shared.server
}

// Postgres returns a new, empty database for this test, and its DSN. The test's cleanup closes the handle
// and drops the database. The driver is lib/pq under the name "postgres".
func Postgres(t testing.TB) (db *sql.DB, dsn string) {
	t.Helper()
	server := SharedPostgres(t)
	name, err := server.CreateDatabase(context.Background(), t.Name())
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	dsn = server.DSN(name)
	db, err = sql.Open("postgres", dsn)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(func() {
		_ = db.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := server.DropDatabase(ctx, name); err != nil {
			t.Errorf("bustest: %v", err)
		}
	})
	return db, dsn
}
