package outbox

import (
	"context"
	stdsql "database/sql"
	"sync"
	"time"
)

// prepared are the statements that a [Writer] with WriterConfig.Prepare has database/sql keep prepared, on each
// connection that uses them.
type prepared struct {
	db *stdsql.DB

	mu     sync.Mutex
	byText map[string]*stdsql.Stmt // nil while one is being made
}

// prepareWithin bounds how long the first preparation may wait for a connection of the pool.
const prepareWithin = 10 * time.Second

func newPrepared(db *stdsql.DB) *prepared {
	return &prepared{db: db, byText: map[string]*stdsql.Stmt{}}
}

// exec executes a statement, prepared if it can be. The first preparation takes a connection of the pool, which may
// all be in transactions that wait for this one: it is made beside them, and what comes meanwhile goes without.
func (p *prepared) exec(ctx context.Context, exec executor, query string, args []any) (stdsql.Result, error) {
	if stmt := p.of(query); stmt != nil {
		switch e := exec.(type) {
		case *stdsql.DB:
			return stmt.ExecContext(ctx, args...)
		case interface {
			StmtContext(context.Context, *stdsql.Stmt) *stdsql.Stmt
		}:
			return e.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // It ends with the transaction.
		}
	}
	return exec.ExecContext(ctx, query, args...)
}

// of returns the prepared statement of a text, nil for now when there is none yet.
func (p *prepared) of(query string) *stdsql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt, begun := p.byText[query]
	if !begun {
		p.byText[query] = nil
		go p.prepare(query)
	}
	return stmt
}

func (p *prepared) prepare(query string) {
	ctx, cancel := context.WithTimeout(context.Background(), prepareWithin)
	defer cancel()
	stmt, err := p.db.PrepareContext(ctx, query) //nolint:sqlclosecheck // It ends with the pool.
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		delete(p.byText, query) // The statement itself tells what is wrong, and the next one tries again.
		return
	}
	p.byText[query] = stmt
}
