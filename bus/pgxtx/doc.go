// Package pgxtx lets a Bus publish in a transaction of pgx, [github.com/jackc/pgx/v5]. It is a package of
// its own, so that a service without pgx links none.
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if _, err := tx.Exec(ctx, `INSERT INTO users …`); err != nil {
//			return err
//		}
//		_, err := UserCreated.Publish(ctx, b.InTx(pgxtx.New(tx)), id, User{Email: email})
//		return err
//	})
//
// The transaction is begun and ended by pgx, as ever. The errors of publishing are those with
// database/sql: bus.ErrDuplicate, sql.ErrTxDone for a transaction that has ended, outbox.ErrRowsOpen for
// one that is still reading, the context's.
//
// For everything else a Bus wants a *sql.DB: github.com/jackc/pgx/v5/stdlib makes one over the pool the
// service has (stdlib.OpenDBFromPool). A Bus that only publishes in transactions needs none: give it an
// outbox.Writer without a DB as Config.Outbox. See docs/transactions.md.
//
// All of pgx's query modes will do, the simple protocol too, so a pooler may be in between.
package pgxtx
